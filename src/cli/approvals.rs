//! `writ approvals`: what waits for people, and what they say.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::ids::Digest;

use super::session::{self, Session, encode, items};
use super::{Data, Found, name, output};
use crate::clock::Clock;
use crate::error::{Failure, Result};
use crate::folder::KeyRole;
use crate::keyfile;
use crate::ledger;
use crate::query::Library;

/// `writ approvals ...`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the intents that wait for approval
    #[command(after_help = "Example:  writ approvals list --data ./ledger --tenant acme")]
    List {
        #[command(flatten)]
        data: Data,
        /// Only this tenant's
        #[arg(long)]
        tenant: Option<String>,
        /// Print JSON, a line each
        #[arg(long)]
        json: bool,
    },
    /// Grant what an intent asks; it is decided again when enough have
    #[command(
        after_help = "Example:  writ approvals grant --data ./ledger acme refund-17 --reason 'the customer is right'"
    )]
    Grant(Answer),
    /// Refuse what an intent asks; one refusal is enough
    #[command(after_help = "Example:  writ approvals refuse --data ./ledger acme refund-17 --reason 'paid twice'")]
    Refuse(Answer),
}

/// An answer.
#[derive(clap::Args)]
pub(super) struct Answer {
    #[command(flatten)]
    data: Data,
    /// The intent's tenant
    tenant: String,
    /// The intent's id
    id: String,
    /// Why, for those who read the log
    #[arg(long)]
    reason: String,
    /// The approver's key file [default: keys/approver.key of the folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(super) fn run(command: &Command) -> Result<Found> {
    match command {
        Command::List { data, tenant, json } => list(data, tenant.as_deref(), *json),
        Command::Grant(answer) => submit(answer, true),
        Command::Refuse(answer) => submit(answer, false),
    }
}

fn list(data: &Data, tenant: Option<&str>, as_json: bool) -> Result<Found> {
    let tenant = tenant.map(name).transpose()?;
    let path = match &tenant {
        Some(tenant) => format!("/v1/approvals/{}", encode(tenant.as_str())),
        None => "/v1/approvals".to_owned(),
    };
    let own = |library: &Library, part: &_| library.approvals(tenant.as_ref(), part);
    let mut none = true;
    session::list(&data.folder(), &path, own, |answer| {
        let waiting = items(answer);
        none &= waiting.is_empty();
        if as_json {
            waiting.iter().for_each(output::json);
        } else if !waiting.is_empty() {
            print(waiting);
        }
        ControlFlow::Continue(())
    })?;
    if none && !as_json {
        output::line("nothing waits for approval");
    }
    Ok(Found::Yes)
}

fn print(waiting: &[Value]) {
    let now = Clock::Wall.now();
    let mut table = output::table(&["tenant", "id", "action", "by", "args", "asks", "so far", "seconds left"]);
    for one in waiting {
        let granted = one["answers"].as_array().into_iter().flatten().filter(|it| it["granted"] == true).count();
        let left = one["asks"]["deadline"].as_u64().unwrap_or_default().saturating_sub(now.0) / 1_000_000;
        let word = |pointer| output::text(one, pointer);
        table.add_row([
            word("/tenant"),
            word("/id"),
            word("/action"),
            word("/principal"),
            output::compact(&one["args"]),
            format!("{} in role {}", one["asks"]["quorum"], output::text(one, "/asks/role")),
            format!("{granted} granted"),
            left.to_string(),
        ]);
    }
    output::line(table);
}

/// Signs an answer to what waits under this id now, and submits it.
fn submit(Answer { data, tenant, id, reason, key }: &Answer, granted: bool) -> Result<Found> {
    let (tenant, id) = (name(tenant)?, name(id)?);
    let folder = data.folder();
    folder.require()?;
    let key = key.clone().unwrap_or_else(|| folder.key(KeyRole::Approver));
    let key = keyfile::read(&key, || folder.passphrase_file())?;
    let genesis = ledger::genesis(&folder)?;
    // What it lets pass is carried out, as if it had passed at once.
    let session = Session::open(&folder)?;
    let answered = (|| -> Result<Value> {
        let of_case = format!("/v1/decisions/{}/{}", encode(tenant.as_str()), encode(id.as_str()));
        let unknown = || Failure::new(Code::ApprovalUnknown, format!("{tenant}/{id} does not wait"));
        let intent = intent_of(&session.get(&of_case)?).ok_or_else(unknown)?;
        let statement = Statement::Approve { granted, intent, reason: reason.clone() };
        let act = ledger::act_by(std::slice::from_ref(&key), genesis.ledger, statement, &Clock::Wall)?;
        let mut answer = session.post("/v1/approvals", act.to_envelope())?;
        // What became of it: still waiting, or decided again.
        let case = session.get(&of_case)?;
        for field in ["verdict", "code"] {
            answer[field] = case["decision"]["event"]["payload"][field].clone();
        }
        Ok(answer)
    })();
    session.close()?;
    output::json(&answered?);
    Ok(Found::Yes)
}

/// The digest of an intent that waits.
fn intent_of(case: &Value) -> Option<Digest> {
    let decision = case.pointer("/decision/event/payload").filter(|decision| decision["verdict"] == "ESCALATE")?;
    decision["intent_digest"].as_str()?.parse().ok()
}
