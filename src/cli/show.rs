//! `writ show`: what became of an intent.

use serde_json::Value;

use super::session::{self, encode};
use super::{Data, Found, name, output};
use crate::error::Result;

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
    let intent = &case["intent"];
    table.add_row([&seq(intent), "intent", output::text(intent, "/event/payload/action"), "", ""]);
    let decision = &case["decision"];
    let payload = &decision["event"]["payload"];
    table.add_row([
        &seq(decision),
        "decision",
        &output::verdict(output::text(payload, "/verdict")),
        output::text(payload, "/code"),
        output::text(payload, "/because"),
    ]);
    for receipt in case["receipts"].as_array().into_iter().flatten() {
        let payload = &receipt["event"]["payload"];
        let (status, code) = (output::text(payload, "/status"), output::text(payload, "/code"));
        let digest = output::text(receipt, "/event/digest");
        table.add_row([&seq(receipt), "receipt", &output::verdict(status), code, digest]);
    }
    if !case["reconciled"].is_null() {
        let applied = case.pointer("/reconciled/event/payload/statement/applied") == Some(&Value::Bool(true));
        table.add_row([
            seq(&case["reconciled"]).as_str(),
            "reconciled",
            if applied { "applied" } else { "not applied" },
            "",
            "",
        ]);
    }
    output::line(table);
    for gate in payload["gates"].as_array().into_iter().flatten() {
        output::line(format!("  {:<11} {}", output::text(gate, "/gate"), gate["answer"].to_string().trim_matches('"')));
    }
    Ok(Found::Yes)
}
