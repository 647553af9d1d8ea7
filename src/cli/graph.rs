//! `writ graph`: what an outcome stands on.

use clap::{Subcommand, ValueEnum};

use super::{Data, Found, name, output, session};
use crate::error::Result;

/// `writ graph ...`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the proof graph of an intent's outcome
    #[command(
        after_help = "Example:  writ graph show --data ./ledger acme n-1\n          writ graph show --data ./ledger acme n-1 --format dot | dot -Tsvg > graph.svg"
    )]
    Show {
        #[command(flatten)]
        data: Data,
        /// The tenant
        tenant: String,
        /// The intent's id
        id: String,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Format::Tree)]
        format: Format,
        /// The same as --format json
        #[arg(long)]
        json: bool,
    },
}

/// How a graph is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// An indented tree
    Tree,
    /// Graphviz
    Dot,
    /// JSON
    Json,
}

pub(super) fn run(command: &Command) -> Result<Found> {
    let Command::Show { data, tenant, id, format, json } = command;
    let (tenant, id) = (name(tenant)?, name(id)?);
    let path = format!("/v1/graph/{}/{}", session::encode(tenant.as_str()), session::encode(id.as_str()));
    let graph = session::ask(&data.folder(), &path, |library| library.graph(library.last_of(&tenant, &id)?))?;
    match if *json { Format::Json } else { *format } {
        Format::Tree => output::line(graph["tree"].as_str().unwrap_or_default().trim_end()),
        Format::Dot => output::line(graph["dot"].as_str().unwrap_or_default().trim_end()),
        Format::Json => output::json(&graph["graph"]),
    }
    Ok(Found::Yes)
}
