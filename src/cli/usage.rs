//! `writ usage`: what was used.

use clap::Subcommand;
use serde_json::Value;

use super::{Data, Found, name, output, session};
use crate::error::Result;
use crate::visible;

/// `writ usage ...`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Show usage by tenant, action and day
    #[command(after_help = "Example:  writ usage show --data ./ledger --tenant acme --json")]
    Show {
        #[command(flatten)]
        data: Data,
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Print JSON, with the entries of the receipts behind each line
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &Command) -> Result<Found> {
    let Command::Show { data, tenant, json } = command;
    let tenant = tenant.as_deref().map(name).transpose()?;
    let path = match &tenant {
        Some(tenant) => format!("/v1/usage?tenant={}", tenant.as_str().replace('/', "%2F")),
        None => "/v1/usage".to_owned(),
    };
    let usage = session::ask(&data.folder(), &path, |library| library.usage(tenant.as_ref()))?;
    if *json {
        output::json(&usage);
    } else {
        print(&usage);
    }
    Ok(Found::Yes)
}

const COLUMNS: [&str; 10] =
    ["tenant", "action", "day", "count", "sum", "overdrawn", "unit", "failed", "uncertain", "expired"];

/// Usage for people.
pub(super) fn print(usage: &Value) {
    let mut table = output::table(&COLUMNS);
    for line in usage["lines"].as_array().into_iter().flatten() {
        let cell = |name: &str| match &line[name] {
            Value::String(text) => visible::text(text),
            Value::Null => String::new(),
            value => value.to_string(),
        };
        table.add_row(COLUMNS.map(cell));
    }
    output::line(table);
}
