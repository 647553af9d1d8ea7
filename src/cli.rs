//! The command line. Data goes to standard output, everything else to standard error.
//!
//! Exit status: 0 yes or done; 1 a negative answer (broken, diverged, refused); 2 could not run. Each command is a file here;
//! a new one is a variant of `Command`, a line in `run`, and its file.
#![allow(clippy::indexing_slicing, reason = "reading a JSON value by a key that is not there gives null")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use writ_schemas::errors::Code;
use writ_schemas::ids::Name;

use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::telemetry::logging::Format;
use crate::{signals, telemetry, threads};

mod input;
mod output;
mod panics;
mod audit;
mod session;
mod act;
mod approvals;
mod demo;
mod errors;
mod evidence;
mod graph;
mod init;
mod key;
mod log;
mod outcome;
mod policy;
mod replay;
mod serve;
mod show;
mod submit;
mod top;
mod usage;
mod verify;

/// A ledger for the actions of software agents: signed decisions and receipts in one hash-chained log.
#[derive(Parser)]
#[command(name = "writ", version, arg_required_else_help = true, after_help = "Start here:  writ demo")]
struct Cli {
    /// How lines on standard error look
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    log_format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the whole story in a few seconds, without any set-up
    Demo(demo::Args),
    /// Make a new ledger: keys, genesis, an example policy; with --kafka also topics, bound to it
    Init(init::Args),
    /// Serve a ledger: HTTP, its socket, and Kafka
    Serve(serve::Args),
    /// Submit intents, one JSON a line, and print their decisions
    Submit(submit::Args),
    /// Show what became of an intent
    Show(show::Args),
    /// Read the log
    #[command(subcommand)]
    Log(log::Command),
    /// Check every byte: chain, commitments, signatures, checkpoints, content
    Verify(verify::Args),
    /// Decide everything again and show the first divergence
    Replay(replay::Args),
    /// Check, sign and activate policy bundles
    #[command(subcommand)]
    Policy(policy::Command),
    /// Make, encrypt, trust and revoke keys
    #[command(subcommand)]
    Key(key::Command),
    /// Register evidence
    #[command(subcommand)]
    Evidence(evidence::Command),
    /// Show what an intent's outcome stands on
    #[command(subcommand)]
    Graph(graph::Command),
    /// Show what was used, and from which receipts it was counted
    #[command(subcommand)]
    Usage(usage::Command),
    /// Show what waits for approval, and answer
    #[command(subcommand)]
    Approvals(approvals::Command),
    /// Show what is carried out outside, and report what became of it
    #[command(subcommand)]
    Outcome(outcome::Command),
    /// Write down, sign and submit administrative acts, where several operators have to sign
    #[command(subcommand)]
    Act(act::Command),
    /// Say what really became of an UNCERTAIN receipt
    Reconcile(act::Reconcile),
    /// Refuse every intent and every dispatch from now on, or those of a tenant or principal
    Freeze(act::Freeze),
    /// End a freeze
    Thaw(act::Thaw),
    /// Say that this machine's clock is right, where the ledger does not believe it
    Clock(act::ClockIsRight),
    /// Show what a ledger is doing, on one screen, each second
    Top(top::Args),
    /// List every error code, with what to do about it
    Errors(errors::Args),
}

/// The folder of a ledger, as every command takes it.
#[derive(clap::Args, Clone)]
pub struct Data {
    /// The ledger's folder
    #[arg(long = "data", value_name = "DIR")]
    dir: PathBuf,
}

impl Data {
    fn folder(&self) -> Folder {
        Folder::at(&self.dir)
    }
}

/// What a command found, for the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Yes, or done.
    Yes,
    /// A negative answer: it was printed.
    No,
    /// Some of it: a signal of this number asked for the end.
    Stopped(u8),
}

/// Parses the arguments, runs the command, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            if error.use_stderr() && !help {
                output::note(error.to_string().trim_end());
                complain(&Failure::new(Code::Usage, "see above"));
            } else {
                let _ = error.print(); // a reader that has enough is no fault
            }
            return ExitCode::from(if error.use_stderr() { Code::Usage.entry().exit } else { 0 });
        }
    };
    telemetry::logging::start("warn", cli.log_format);
    panics::report();
    let told = |found| match output::refused() {
        // A reader that has enough is no fault; a disk that is full is one, whatever was found.
        None | Some(std::io::ErrorKind::BrokenPipe) => Ok(found),
        Some(kind) => Err(Failure::new(Code::Io, format!("standard output: {kind}"))),
    };
    let ran = panics::caught(|| run(cli.command).and_then(told));
    match ran {
        Ok(Found::Yes) => ExitCode::SUCCESS,
        Ok(Found::No) => ExitCode::from(1),
        Ok(Found::Stopped(signal)) => ExitCode::from(signal.saturating_add(128)),
        Err(failure) => {
            complain(&failure);
            ExitCode::from(failure.code.entry().exit)
        }
    }
}

fn run(command: Command) -> Result<Found> {
    signals::survive_file_size_limit()?;
    threads::require()?;
    threads::start_pool()?;
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Submit(args) => submit::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Log(command) => log::run(&command),
        Command::Verify(args) => verify::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Policy(command) => policy::run(&command),
        Command::Key(command) => key::run(&command),
        Command::Evidence(command) => evidence::run(&command),
        Command::Graph(command) => graph::run(&command),
        Command::Usage(command) => usage::run(&command),
        Command::Approvals(command) => approvals::run(&command),
        Command::Outcome(command) => outcome::run(&command),
        Command::Act(command) => act::run(&command),
        Command::Reconcile(args) => act::reconcile(&args),
        Command::Freeze(args) => act::freeze(&args),
        Command::Thaw(args) => act::thaw(&args),
        Command::Clock(args) => act::clock_is_right(&args),
        Command::Top(args) => top::run(&args),
        Command::Errors(args) => errors::run(&args),
    }
}

/// What to do about a negative answer, which is data and was printed as such.
pub fn advise(code: Code) {
    output::note(format!("writ: {code}: {}", code.entry().remedy));
}

/// A failure on standard error: what, where, and what to do.
pub fn complain(failure: &Failure) {
    if telemetry::logging::note_failure(failure) {
        return;
    }
    let entry = failure.code.entry();
    // Some of it may be quoted: no line of that begins like one of ours.
    let detail = failure.detail.replace('\n', "\n      ");
    output::note(format!("writ: {}: {}: {detail}\n      {}", entry.code, entry.message, entry.remedy));
}

/// A name from the command line.
fn name(text: &str) -> Result<Name> {
    text.parse().map_err(|e| Failure::new(Code::Usage, format!("{text:?}: {e}")))
}
