//! `writ policy`: check, test, sign and activate bundles, and explain what they decided.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use writ_kernel::policy::Policy;
use writ_schemas::act::{Act, Statement};
use writ_schemas::dsse::{DOCUMENT_BYTES_MAX, ENVELOPE_BYTES_MAX, Signed};
use writ_schemas::errors::Code;
use writ_schemas::policy::Bundle;
use writ_schemas::strict;

use super::session::{self, Session, encode};
use super::{Data, Found, input, name, output};
use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::ledger;
use crate::visible;

mod cases;
mod doubts;

/// `writ policy ...`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Check a bundle and print its digest
    #[command(after_help = "Example:  writ policy check ./ledger/policy")]
    Check {
        /// The bundle: a directory with policy.json
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a bundle to the cases that its author wrote down
    #[command(
        after_help = "Example:  writ policy test ./ledger/policy        (its cases are in ./ledger/policy/cases)"
    )]
    Test {
        /// The bundle: a directory with policy.json and cases/*.json
        dir: PathBuf,
        /// The cases: a directory or a file
        #[arg(long, value_name = "PATH")]
        cases: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show which requirement of a decision was met, and what would meet those that were not
    #[command(after_help = "Example:  writ policy explain --data ./ledger acme r-2")]
    Explain {
        #[command(flatten)]
        data: Data,
        /// The tenant
        tenant: String,
        /// The intent's id
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign the act that puts a bundle in force, into a file
    #[command(after_help = "Example:  writ policy sign --data ./ledger ./policy --out act.json")]
    Sign {
        #[command(flatten)]
        data: Data,
        /// The bundle: a directory with policy.json
        bundle: PathBuf,
        /// Where to write the signed act
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Put a bundle in force
    #[command(
        after_help = "Example:  writ policy activate --data ./ledger ./policy\n          writ policy activate --data ./ledger act.json"
    )]
    Activate {
        #[command(flatten)]
        data: Data,
        /// A bundle, which is signed with the folder's operator key; or a signed act
        from: PathBuf,
    },
}

pub(super) fn run(command: &Command) -> Result<Found> {
    match command {
        Command::Check { dir, json } => check(dir, *json),
        Command::Test { dir, cases: at, json } => {
            let policy = Policy::compile(&read(dir)?)?;
            cases::run(&policy, at.as_deref().unwrap_or(&dir.join("cases")), *json)
        }
        Command::Explain { data, tenant, id, json } => explain(data, tenant, id, *json),
        Command::Sign { data, bundle, out } => {
            std::fs::write(out, sign(data, bundle)?.to_envelope()).map_err(|e| Failure::io(out, &e))?;
            output::line(format!("signed    {}", output::path(out)));
            Ok(Found::Yes)
        }
        Command::Activate { data, from } => {
            data.folder().require()?;
            let act =
                if from.is_dir() { sign(data, from)?.to_envelope() } else { input::read(from, ENVELOPE_BYTES_MAX)? };
            let session = Session::administer(&data.folder())?;
            let answer = session.post("/v1/acts", act);
            session.close()?;
            let answer = answer?;
            match answer["answer"].as_str() {
                // An act is carried out once: what came after it stays in force.
                Some("already") => output::line("already   this very act was recorded before; it changes nothing now"),
                _ => output::line(format!("recorded  entry {}", answer["seq"])),
            }
            Ok(Found::Yes)
        }
    }
}

fn check(dir: &Path, json: bool) -> Result<Found> {
    let bundle = read(dir)?;
    let policy = Policy::compile(&bundle)?;
    let doubts = doubts::of(&bundle);
    if json {
        output::json(&json!({
            "doubts": doubts, "name": bundle.name, "ok": true, "policy": policy.digest(), "rules": bundle.rules.len(),
        }));
        return Ok(Found::Yes);
    }
    output::line(format!("{} is valid: {}", bundle.name, policy.digest()));
    let mut table = output::table(&["action", "requires", "spends", "connector"]);
    for rule in &bundle.rules {
        table.add_row([
            rule.action.to_string(),
            output::compact(&json!(rule.requires)),
            output::compact(&json!(rule.spends)),
            rule.connector.to_string(),
        ]);
    }
    output::line(table);
    doubts.iter().for_each(|doubt| output::line(format!("is this meant?  {}", visible::text(doubt))));
    Ok(Found::Yes)
}

fn explain(data: &Data, tenant: &str, id: &str, json: bool) -> Result<Found> {
    let (tenant, id) = (name(tenant)?, name(id)?);
    let path = format!("/v1/explanations/{}/{}", encode(tenant.as_str()), encode(id.as_str()));
    let told = session::ask(&data.folder(), &path, |library| library.explanation(&tenant, &id))?;
    if json {
        output::json(&told);
        return Ok(Found::Yes);
    }
    print_explanation(&told);
    Ok(Found::Yes)
}

/// A decision, and what of its requirement was met.
pub(super) fn print_explanation(told: &Value) {
    let (verdict, code) = (output::text(told, "/verdict"), output::text(told, "/code"));
    output::line(format!("{} {code}  {}", output::verdict(&verdict), output::text(told, "/because")));
    match &told["requirement"] {
        Value::Null => output::line("the gate of proof requirements was not reached, or asks for nothing"),
        requirement => print_tree(requirement, 1),
    }
}

fn print_tree(node: &Value, depth: usize) {
    let outcome = match node["outcome"].as_str() {
        Some("met") => "yes",
        Some(_) => "NO",
        None => "?",
    };
    // Coloured words are as wide as plain ones to a person only.
    let (gap, indent) = (" ".repeat(4_usize.saturating_sub(outcome.len())), " ".repeat(depth * 2));
    output::line(format!("{indent}{}{gap}{}", output::verdict(outcome), output::text(node, "/asks")));
    if !node["outcome"]["untold"].is_null() {
        output::line(format!("{indent}    {}", output::text(node, "/outcome/untold")));
    }
    node["parts"].as_array().into_iter().flatten().for_each(|part| print_tree(part, depth + 1));
}

fn sign(data: &Data, dir: &Path) -> Result<Signed<Act>> {
    let folder = data.folder();
    folder.require()?;
    let genesis = ledger::genesis(&folder)?;
    ledger::act(&folder, &genesis, Statement::ActivatePolicy { bundle: read(dir)? }, &Clock::Wall)
}

/// The bundle of a directory, checked in every way that can be checked without a ledger.
pub(super) fn read(dir: &Path) -> Result<Bundle> {
    let path = dir.join("policy.json");
    let bytes = input::read(&path, DOCUMENT_BYTES_MAX)?;
    parse(&bytes).map_err(|failure| Failure::new(failure.code, format!("{}: {}", path.display(), failure.detail)))
}

/// The bundle of a policy.json.
pub(super) fn parse(bytes: &[u8]) -> Result<Bundle> {
    let bundle: Bundle = strict::parse(bytes, DOCUMENT_BYTES_MAX).map_err(|refusal| {
        let code = if refusal.code == Code::Schema { Code::PolicyInvalid } else { refusal.code };
        Failure::new(code, refusal.detail)
    })?;
    Policy::compile(&bundle)?;
    Ok(bundle)
}
