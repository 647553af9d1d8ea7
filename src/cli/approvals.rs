//! `writ approvals`: what waits for people, and what they say.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use writ_schemas::act::Statement;
use writ_schemas::errors::Code;
use writ_schemas::ids::Digest;

use super::session::{self, Session, encode};
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
    /// The rule in force, as `writ approvals list` shows it, where it is not the one that asked
    #[arg(long, value_name = "DIGEST")]
    rule: Option<String>,
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
    session::show(&data.folder(), &path, own, (as_json, print, "nothing waits for approval"))?;
    Ok(Found::Yes)
}

fn print(waiting: &[Value]) {
    let now = Clock::Wall.now();
    let mut table = output::table(&["tenant", "id", "action", "by", "args", "asks", "so far", "seconds left"]);
    let mut notes = Vec::new();
    for one in waiting {
        let answers = || one["answers"].as_array().into_iter().flatten();
        let granted = answers().filter(|it| it["granted"] == true && it["counts"] == true).count();
        let id = format!("{}/{}", output::text(one, "/tenant"), output::text(one, "/id"));
        notes.extend(answers().filter(|it| it["counts"] == false).map(|it| {
            format!("{id}: what {} said does not count: {}", output::text(it, "/signer"), output::text(it, "/because"))
        }));
        if one["asks_now"]["rule"] != one["asks"]["rule"] {
            notes.push(match one["asks_now"]["rule"].as_str() {
                Some(rule) => format!("{id}: the rule has changed since it asked; answer about it with --rule {rule}"),
                None => format!("{id}: the policy in force asks nobody about it"),
            });
        }
        let left = one["asks"]["deadline"].as_u64().unwrap_or_default().saturating_sub(now.0) / 1_000_000;
        let word = |pointer| output::text(one, pointer);
        table.add_row([
            word("/tenant"),
            word("/id"),
            word("/action"),
            word("/principal"),
            output::compact(&one["args"]),
            match &one["asks_now"] {
                Value::Null => "nobody".to_owned(),
                asked => format!("{} in role {}", asked["quorum"], output::text(asked, "/role")),
            },
            format!("{granted} granted"),
            left.to_string(),
        ]);
    }
    output::line(table);
    notes.iter().for_each(output::line);
}

/// Signs an answer to what waits under this id now, and submits it.
fn submit(Answer { data, tenant, id, reason, rule, key }: &Answer, granted: bool) -> Result<Found> {
    let (tenant, id) = (name(tenant)?, name(id)?);
    let usage = |text: &String| text.parse().map_err(|e| Failure::new(Code::Usage, format!("{text:?}: {e}")));
    let rule: Option<Digest> = rule.as_ref().map(usage).transpose()?;
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
        let seen = Seen::of(&session.get(&of_case)?, rule).ok_or_else(unknown)?;
        let statement = seen.answered(granted, reason.clone());
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

/// What an approver has before their eyes.
pub(super) struct Seen {
    intent: Digest,
    policy: Digest,
    rule: Digest,
}

impl Seen {
    /// Of an intent that waits, asked by the rule of its decision; or by this one of the policy in force.
    pub(super) fn of(case: &Value, rule: Option<Digest>) -> Option<Seen> {
        let decision = case.pointer("/decision/event/payload").filter(|decision| decision["verdict"] == "ESCALATE")?;
        let digest = |of: &Value| of.as_str()?.parse().ok();
        let (policy, rule) = match rule {
            Some(rule) => (digest(&case["asks_now"]["policy"])?, rule),
            None => (digest(&decision["policy"])?, digest(&decision["asks"]["rule"])?),
        };
        Some(Seen { intent: digest(&decision["intent_digest"])?, policy, rule })
    }

    /// An answer about it.
    pub(super) fn answered(self, granted: bool, reason: String) -> Statement {
        let Seen { intent, policy, rule } = self;
        Statement::Approve { granted, intent, policy, reason, rule }
    }
}
