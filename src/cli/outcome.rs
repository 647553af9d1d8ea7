//! `writ outcome`: what is carried out outside, and what became of it.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use writ_kernel::outcome::REPORT_BYTES_MAX;
use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::ids::Digest;
use writ_schemas::strict;

use super::session::{self, Session, encode};
use super::{Data, Found, input, name, output};
use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::folder::KeyRole;
use crate::keyfile;
use crate::ledger;
use crate::query::Library;

/// `writ outcome ...`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Show what was dispatched to an external connector and is not reported yet
    #[command(after_help = "Example:  writ outcome list --data ./ledger --tenant acme --connector robot")]
    List {
        #[command(flatten)]
        data: Data,
        /// Whose
        #[arg(long)]
        tenant: String,
        /// Which connector's
        #[arg(long)]
        connector: String,
        /// Print JSON, a line each: the signed intents and decisions
        #[arg(long)]
        json: bool,
    },
    /// Report what became of an effect that was carried out outside
    #[command(
        after_help = "Example:  writ outcome report --data ./ledger acme parcel-7 --applied --output label.json --key robot.key"
    )]
    Report(Box<Report>),
}

/// A report.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("outcome").required(true).args(["applied", "not_applied"]))]
pub(super) struct Report {
    #[command(flatten)]
    data: Data,
    /// The intent's tenant
    tenant: String,
    /// The intent's id
    id: String,
    /// The effect happened
    #[arg(long)]
    applied: bool,
    /// What came of it, as a file of JSON [default: null]
    #[arg(long, value_name = "FILE", requires = "applied")]
    output: Option<PathBuf>,
    /// The effect did not happen, and will not
    #[arg(long, requires = "because")]
    not_applied: bool,
    /// Why it did not happen
    #[arg(long, value_name = "TEXT", requires = "not_applied")]
    because: Option<String>,
    /// The key file of whoever carried it out [default: keys/approver.key of the folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(super) fn run(command: &Command) -> Result<Found> {
    match command {
        Command::List { data, tenant, connector, json } => list(data, tenant, connector, *json),
        Command::Report(told) => report(told),
    }
}

fn list(data: &Data, tenant: &str, connector: &str, as_json: bool) -> Result<Found> {
    let (tenant, connector) = (name(tenant)?, name(connector)?);
    let path = format!("/v1/dispatches/{}/{}", encode(tenant.as_str()), encode(connector.as_str()));
    let own = |library: &Library, part: &_| library.dispatches(&tenant, &connector, part);
    session::show(&data.folder(), &path, own, (as_json, print, "nothing is carried out there"))?;
    Ok(Found::Yes)
}

fn print(dispatches: &[Value]) {
    let now = Clock::Wall.now();
    let mut table = output::table(&["id", "action", "args", "decision", "entry", "seconds left"]);
    for one in dispatches {
        let left = one["due"].as_u64().unwrap_or_default().saturating_sub(now.0) / 1_000_000;
        table.add_row([
            output::text(one, "/id"),
            output::text(one, "/intent/payload/action"),
            output::compact(&one["intent"]["payload"]["args"]),
            output::text(one, "/decision/digest"),
            one["decision_seq"].to_string(),
            left.to_string(),
        ]);
    }
    output::line(table);
}

/// Signs a report of the decision that an id has now, and submits it. Nothing is carried out here.
fn report(Report { data, tenant, id, applied, output: file, because, key, .. }: &Report) -> Result<Found> {
    let (tenant, id) = (name(tenant)?, name(id)?);
    let folder = data.folder();
    folder.require()?;
    let said = match file {
        None => None,
        Some(path) => {
            let refused =
                |why: &dyn std::fmt::Display| Failure::new(Code::InputFile, format!("{}: {why}", path.display()));
            let bytes = input::read(path, REPORT_BYTES_MAX)?;
            Some(strict::parse::<Value>(&bytes, REPORT_BYTES_MAX).map_err(|e| refused(&e))?)
        }
    };
    let key = key.clone().unwrap_or_else(|| folder.key(KeyRole::Approver));
    let key = keyfile::read(&key, || folder.passphrase_file())?;
    let genesis = ledger::genesis(&folder)?;
    let session = Session::administer(&folder)?;
    let path = format!("/v1/decisions/{}/{}", encode(tenant.as_str()), encode(id.as_str()));
    let answered = (|| -> Result<Value> {
        let case = session.get(&path)?;
        let decision = case.pointer("/decision/event/digest").and_then(Value::as_str);
        let decision: Option<Digest> = decision.and_then(|digest| digest.parse().ok());
        let decision = decision.ok_or_else(|| Failure::new(Code::OutcomeUnknown, format!("{tenant}/{id}")))?;
        let statement = Statement::Report { applied: *applied, because: because.clone(), decision, output: said };
        let act = ledger::act_by(std::slice::from_ref(&key), genesis.ledger, statement, &Clock::Wall)?;
        let mut answer = session.post("/v1/outcomes", act.to_envelope())?;
        // The receipt that follows from it; or the uncertain one that it settles.
        let case = session.get(&path)?;
        let last = case["receipts"].as_array().and_then(|receipts| receipts.last()).cloned().unwrap_or_default();
        for field in ["status", "code"] {
            answer[field] = last["event"]["payload"][field].clone();
        }
        Ok(answer)
    })();
    session.close()?;
    output::json(&answered?);
    Ok(Found::Yes)
}
