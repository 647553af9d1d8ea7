//! `writ show`: what became of an intent.

use serde_json::Value;

use super::session::{self, encode};
use super::{Data, Found, name, output};
use crate::error::Result;
use crate::telemetry::context::TraceContext;

/// Arguments of `writ show`.
#[derive(clap::Args)]
#[command(after_help = "Example:  writ show --data ./ledger acme n-1")]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    /// The tenant
    tenant: String,
    /// The intent's id
    id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Found> {
    let (tenant, id) = (name(&args.tenant)?, name(&args.id)?);
    let path = format!("/v1/decisions/{}/{}", encode(tenant.as_str()), encode(id.as_str()));
    let case = session::ask(&args.data.folder(), &path, |library| library.case(&tenant, &id))?;
    if args.json {
        output::json(&case);
        return Ok(Found::Yes);
    }
    let seq = |part: &Value| part["seq"].as_u64().map(|seq| seq.to_string()).unwrap_or_default();
    let mut table = output::table(&["entry", "what", "", "code", "because"]);
    let mut row = |part: &Value, what: &str, word: &str, code: String, because: String| {
        table.add_row([seq(part), what.to_owned(), output::verdict(word), code, because]);
    };
    let none = String::new;
    let intent = &case["intent"];
    row(intent, "intent", &output::text(intent, "/event/payload/action"), none(), none());
    let decision = &case["decision"];
    let payload = &decision["event"]["payload"];
    let field = |name: &str| output::text(payload, name);
    row(decision, "decision", &field("/verdict"), field("/code"), field("/because"));
    for receipt in case["receipts"].as_array().into_iter().flatten() {
        let field = |name: &str| output::text(receipt, name);
        let (status, code) = (field("/event/payload/status"), field("/event/payload/code"));
        row(receipt, "receipt", &status, code, field("/event/digest"));
    }
    let reconciled = &case["reconciled"];
    if !reconciled.is_null() {
        let applied = reconciled.pointer("/event/payload/statement/applied") == Some(&Value::Bool(true));
        row(reconciled, "reconciled", if applied { "applied" } else { "not applied" }, none(), none());
    }
    output::line(table);
    for gate in payload["gates"].as_array().into_iter().flatten() {
        let answer = output::compact(&gate["answer"]);
        output::line(format!("  {:<11} {}", output::text(gate, "/gate"), answer.trim_matches('"')));
    }
    if let Ok(trace) = output::text(intent, "/event/trace").parse::<TraceContext>() {
        output::line(format!("  {:<11} {}", "trace", trace.trace));
    }
    Ok(Found::Yes)
}
