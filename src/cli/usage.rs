//! `writ usage`: what was used, and the receipts behind it.

use std::ops::ControlFlow;

use clap::Subcommand;
use serde_json::Value;

use writ_projections::metering::LineKey;
use writ_schemas::errors::Code;
use writ_schemas::ids::Name;

use super::session::{self, items};
use super::{Data, Found, name, output};
use crate::error::{Failure, Result};
use crate::folder::Folder;
use crate::query::Library;
use crate::visible;

/// `writ usage ...`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Show usage by tenant, action, day and unit
    #[command(after_help = "Example:  writ usage show --data ./ledger --tenant acme --json")]
    Show {
        #[command(flatten)]
        data: Data,
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Print JSON, a line each
        #[arg(long)]
        json: bool,
    },
    /// Show the receipts that a line of usage was counted from
    #[command(
        after_help = "Example:  writ usage receipts --data ./ledger acme payments.refund 2026-09-21 --unit cents --json"
    )]
    Receipts(Of),
}

/// A line of usage.
#[derive(clap::Args)]
pub(super) struct Of {
    #[command(flatten)]
    data: Data,
    /// The tenant
    tenant: String,
    /// The action
    action: String,
    /// The UTC day, as the line says it
    day: String,
    /// The unit; without it, the line of what spends nothing
    #[arg(long)]
    unit: Option<String>,
    /// Print JSON, a line each
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Command) -> Result<Found> {
    match command {
        Command::Show { data, tenant, json } => {
            let tenant = tenant.as_deref().map(name).transpose()?;
            let none = show(&data.folder(), tenant.as_ref(), |lines| {
                if *json {
                    lines.iter().for_each(output::json)
                } else {
                    print(lines)
                }
                ControlFlow::Continue(())
            })?;
            if none && !json {
                print(&[]);
            }
            Ok(Found::Yes)
        }
        Command::Receipts(of) => receipts(of),
    }
}

/// Whether there was no line.
fn show(folder: &Folder, tenant: Option<&Name>, mut lines: impl FnMut(&[Value]) -> ControlFlow<()>) -> Result<bool> {
    let path = match tenant {
        Some(tenant) => format!("/v1/usage?tenant={}", session::encode(tenant.as_str())),
        None => "/v1/usage".to_owned(),
    };
    let mut none = true;
    let own = |library: &Library, part: &_| library.usage(tenant, part);
    session::list(folder, &path, own, |answer| {
        let found = items(answer);
        if found.is_empty() {
            return ControlFlow::Continue(());
        }
        none = false;
        lines(found)
    })?;
    Ok(none)
}

fn receipts(of: &Of) -> Result<Found> {
    let folder = of.data.folder();
    let tenant = name(&of.tenant)?;
    let is = |line: &&Value| {
        let same = |field: &str, wanted: &str| line[field] == *wanted;
        same("action", &of.action) && same("day", &of.day) && line["unit"].as_str() == of.unit.as_deref()
    };
    let mut found = None;
    show(&folder, Some(&tenant), |lines| {
        found = lines.iter().find(is).and_then(|line| line["line"].as_str()).map(str::to_owned);
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let named = found.as_deref().and_then(|text| Some((text, LineKey::named(&text.parse().ok()?)?)));
    let (text, line) = named.ok_or_else(|| {
        let unit = of.unit.as_deref().unwrap_or("no unit");
        Failure::new(Code::NotFound, format!("usage of {tenant}, {}, {}, {unit}", of.action, of.day))
    })?;
    let own = |library: &Library, part: &_| library.usage_receipts(&line, part);
    session::list(&folder, &format!("/v1/usage/{text}"), own, |answer| {
        if of.json {
            items(answer).iter().for_each(output::json);
        } else {
            print_as(&["receipt", "status", "amount", "reconciled_by"], items(answer));
        }
        ControlFlow::Continue(())
    })?;
    Ok(Found::Yes)
}

/// Usage for people.
pub(super) fn print(lines: &[Value]) {
    print_as(
        &["tenant", "action", "day", "count", "sum", "overdrawn", "unit", "failed", "uncertain", "expired"],
        lines,
    );
}

fn print_as(columns: &[&str], rows: &[Value]) {
    let mut table = output::table(columns);
    for row in rows {
        table.add_row(columns.iter().map(|name| match &row[*name] {
            Value::String(text) => visible::text(text),
            Value::Null => String::new(),
            value => value.to_string(),
        }));
    }
    output::line(table);
}
