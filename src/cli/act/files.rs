//! `writ act`: an act as a file, which is written down, signed by one operator after the other, and submitted.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use writ_kernel::policy::Policy;
use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::{DOCUMENT_BYTES_MAX, ENVELOPE_BYTES_MAX, SIGNATURES_MAX, Signed, ToSign};
use writ_schemas::errors::Code;
use writ_schemas::genesis::Genesis;
use writ_schemas::strict;

use super::{applied, post, words};
use crate::cli::{Data, Found, input, key, output, policy};
use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::folder::{Folder, KeyRole};
use crate::signer::Signer;
use crate::{config, keyfile, ledger};

/// `writ act ...`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Write a statement down, as an act that nobody has signed yet
    #[command(subcommand)]
    New(New),
    /// Show what an act states, and who has signed it
    #[command(after_help = "Example:  writ act show --data ./ledger act.json")]
    Show {
        /// The folder of its ledger, which knows its operators
        #[arg(long = "data", value_name = "DIR")]
        data: Option<PathBuf>,
        /// The act
        file: PathBuf,
    },
    /// Show what an act states, and add a signature to it
    #[command(after_help = "Example:  writ act sign act.json --key operator.key")]
    Sign {
        #[command(flatten)]
        by: By,
        /// The act
        file: PathBuf,
    },
    /// Submit an act that enough operators have signed
    #[command(after_help = "Example:  writ act submit --data ./ledger act.json")]
    Submit {
        #[command(flatten)]
        data: Data,
        /// The act
        file: PathBuf,
    },
}

/// Who signs.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct By {
    /// The operator's key file
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
    /// The operator of this folder: its key file, or the command that writ.toml names
    #[arg(long = "data", value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Where an act goes, and for how long.
#[derive(clap::Args)]
pub(in crate::cli) struct To {
    #[command(flatten)]
    data: Data,
    /// Where to write the act; the file must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How long it may be signed and submitted, in hours
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=168))]
    hours: u64,
}

/// `writ act new ...`
#[derive(Subcommand)]
pub(in crate::cli) enum New {
    /// Refuse every intent and every dispatch
    #[command(
        after_help = "Example:  writ act new freeze --reason 'agent-7 misbehaves' --data ./ledger --out act.json"
    )]
    Freeze {
        /// Why, for those who read the log
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        extent: super::Extent,
        #[command(flatten)]
        to: To,
    },
    /// End a freeze
    #[command(after_help = "Example:  writ act new thaw --data ./ledger --out act.json")]
    Thaw {
        #[command(flatten)]
        extent: super::Extent,
        #[command(flatten)]
        to: To,
    },
    /// Say that the clock of the ledger's machine is right, if it shows what this one's does; within the hour
    #[command(after_help = "Example:  date && writ act new clock --data ./ledger --out act.json")]
    Clock {
        #[command(flatten)]
        to: To,
    },
    /// Trust a public key for one tenant and principal
    #[command(
        after_help = "Example:  writ act new trust-key ed25519:8a88... --tenant acme --principal agent-2 --role agent --data ./ledger --out act.json"
    )]
    TrustKey {
        #[command(flatten)]
        trust: key::Trustee,
        #[command(flatten)]
        to: To,
    },
    /// End the trust in a public key
    #[command(after_help = "Example:  writ act new revoke-key ed25519:8a88... --data ./ledger --out act.json")]
    RevokeKey {
        /// The public key
        key: String,
        #[command(flatten)]
        to: To,
    },
    /// Put a policy bundle in force
    #[command(after_help = "Example:  writ act new activate-policy ./policy --data ./ledger --out act.json")]
    ActivatePolicy {
        /// The bundle: a directory with policy.json
        bundle: PathBuf,
        #[command(flatten)]
        to: To,
    },
    /// Say what really became of an UNCERTAIN receipt
    #[command(after_help = "Example:  writ act new reconcile blake3:93b1... --applied --data ./ledger --out act.json")]
    Reconcile {
        #[command(flatten)]
        outcome: super::Outcome,
        #[command(flatten)]
        to: To,
    },
    /// Any statement, as JSON: schemas/v1/act.schema.json
    #[command(
        after_help = "Example:  echo '{\"kind\":\"thaw\"}' | writ act new statement - --data ./ledger --out act.json"
    )]
    Statement {
        /// The file, or - for standard input
        json: PathBuf,
        #[command(flatten)]
        to: To,
    },
}

pub(in crate::cli) fn run(command: &Command) -> Result<Found> {
    match command {
        Command::New(new) => write_down(new),
        Command::Show { data, file } => {
            let genesis = data.as_ref().map(|dir| ledger::genesis(&Folder::at(dir))).transpose()?;
            words::show(&read(file)?, genesis.as_ref(), &Clock::Wall);
            Ok(Found::Yes)
        }
        Command::Sign { by, file } => sign(by, file),
        Command::Submit { data, file } => post(data, input::read(file, ENVELOPE_BYTES_MAX)?),
    }
}

fn write_down(new: &New) -> Result<Found> {
    let (statement, to) = match new {
        New::Freeze { reason, extent, to } => (extent.freeze(reason)?, to),
        New::Thaw { extent, to } => (extent.thaw()?, to),
        New::TrustKey { trust, to } => (trust.statement()?, to),
        New::Clock { to } => (Statement::AdjustClock { now: Clock::Wall.now() }, to),
        New::RevokeKey { key, to } => (Statement::RevokeKey { key: key::parse(key)? }, to),
        New::ActivatePolicy { bundle, to } => (Statement::ActivatePolicy { bundle: policy::read(bundle)? }, to),
        New::Reconcile { outcome, to } => (applied(outcome)?, to),
        New::Statement { json, to } => (statement(json)?, to),
    };
    let folder = to.data.folder();
    folder.require()?;
    let genesis = ledger::genesis(&folder)?;
    let act = ledger::draft(genesis.ledger, statement, to.hours * 3_600_000_000, &Clock::Wall)?;
    let written = OpenOptions::new().write(true).create_new(true).open(&to.out);
    let written = written.and_then(|mut file| {
        let whole = file.write_all(&act.to_envelope()).and_then(|()| file.sync_all());
        whole.inspect_err(|_| drop(std::fs::remove_file(&to.out)))
    });
    written.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => Failure::new(Code::LogExists, to.out.display()),
        _ => Failure::io(&to.out, &e),
    })?;
    words::show(&act, Some(&genesis), &Clock::Wall);
    Ok(Found::Yes)
}

/// A statement from outside. What can be told without the ledger is told here, and not after everybody has signed.
fn statement(path: &Path) -> Result<Statement> {
    let statement: Statement = strict::parse(&input::read(path, DOCUMENT_BYTES_MAX)?, DOCUMENT_BYTES_MAX)?;
    if let Statement::ActivatePolicy { bundle } = &statement {
        Policy::compile(bundle)?;
    }
    Ok(statement)
}

fn sign(by: &By, file: &Path) -> Result<Found> {
    // A dash is standard input, and there is no putting a signature back into that.
    let name = file.file_name().and_then(OsStr::to_str).filter(|name| *name != "-");
    let name = name.ok_or_else(|| Failure::new(Code::Usage, format!("{file:?} is no file to sign")))?;
    let mut act = read(file)?;
    let genesis: Option<Genesis> = by.data.as_ref().map(|dir| ledger::genesis(&Folder::at(dir))).transpose()?;
    words::show(&act, genesis.as_ref(), &Clock::Wall);
    let refuse = |code, why: String| Err(Failure::new(code, format!("{}: {why}", file.display())));
    if act.value().expires_at <= Clock::Wall.now() {
        return refuse(Code::ActRefused, "it has expired".to_owned());
    }
    if act.signatures().len() >= SIGNATURES_MAX {
        return refuse(Code::Envelope, format!("{SIGNATURES_MAX} have signed it: nobody reads more"));
    }
    let mut signer = match (&by.key, &by.data, &genesis) {
        (_, Some(_), Some(genesis)) if genesis.ledger != act.value().ledger => {
            return refuse(Code::LedgerMismatch, format!("it is for ledger {}", act.value().ledger));
        }
        (_, Some(dir), Some(genesis)) => Signer::of(&Folder::at(dir), KeyRole::Operator, &genesis.operators)?,
        (Some(path), ..) => Signer::Held(Box::new(keyfile::read(path, || Ok(config::passphrase_file()))?)),
        _ => return refuse(Code::Usage, "nobody signs it: --key, or --data".to_owned()),
    };
    let signature = signer.sign(&act.message())?;
    if act.signatures().iter().any(|one| one.key == signature.key) {
        return refuse(Code::ActSigned, format!("signed by {}", signature.key));
    }
    act.attach(signature);
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    writ_log::replace(folder, name, &act.to_envelope())?;
    output::line(format!("signed    now by {}", signature.key));
    Ok(Found::Yes)
}

/// An act that others may still have to sign.
fn read(path: &Path) -> Result<Signed<Act>> {
    let act = Signed::from_draft(&input::read(path, ENVELOPE_BYTES_MAX)?);
    act.map_err(|refusal| Failure::new(refusal.code, format!("{}: {}", path.display(), refusal.detail)))
}
