//! `writ errors`: the registry of codes.

use serde_json::json;

use writ_schemas::errors::Code;

use super::{Found, output};
use crate::error::Result;

/// Arguments of `writ errors`.
#[derive(clap::Args)]
#[command(after_help = "Example:  writ errors --json | jq '.[] | select(.class == \"indeterminate\")'")]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Found> {
    if args.json {
        output::json(&json!(Code::ALL.iter().map(|code| code.entry()).collect::<Vec<_>>()));
        return Ok(Found::Yes);
    }
    let mut table = output::table(&["code", "class", "http", "exit", "meaning", "what to do"]);
    for entry in Code::ALL.iter().map(|code| code.entry()) {
        let class = format!("{:?}", entry.class).to_lowercase();
        table.add_row([
            entry.code,
            &class,
            &entry.http.to_string(),
            &entry.exit.to_string(),
            entry.message,
            entry.remedy,
        ]);
    }
    output::line(table);
    Ok(Found::Yes)
}
