//! `writ errors`: the registry of codes, as a table for a terminal, as JSON, and as `docs/errors.md`.

use serde_json::json;

use writ_schemas::errors::{Class, Code, Domain, Entry};

use super::{Found, output};
use crate::error::Result;

/// Arguments of `writ errors`.
#[derive(clap::Args)]
#[command(after_help = "Example:  writ errors --json | jq '.[] | select(.class == \"indeterminate\")'")]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print a page of Markdown: docs/errors.md
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

const COLUMNS: [&str; 6] = ["code", "class", "http", "exit", "meaning", "what to do"];

pub(super) fn run(args: &Args) -> Result<Found> {
    let entries = || Code::ALL.iter().map(|code| code.entry());
    if args.json {
        output::json(&json!(entries().collect::<Vec<_>>()));
    } else if args.markdown {
        print_page(&entries().collect::<Vec<_>>());
    } else {
        let mut table = output::table(&COLUMNS);
        for entry in entries() {
            table.add_row(cells(&entry));
        }
        output::line(table);
    }
    Ok(Found::Yes)
}

/// An entry under [`COLUMNS`].
fn cells(entry: &Entry) -> [String; 6] {
    let Entry { code, class, http, exit, message, remedy, .. } = entry;
    [(*code).to_owned(), word(class), http.to_string(), exit.to_string(), (*message).to_owned(), (*remedy).to_owned()]
}

/// A class as everybody reads it.
fn word(class: &Class) -> String {
    json!(class).as_str().unwrap_or_default().to_owned()
}

const CLASSES: [(Class, &str); 5] = [
    (Class::Fine, "nothing is wrong"),
    (Class::Determinate, "it did not happen, and a retry is safe"),
    (Class::Indeterminate, "it may have happened: find out first"),
    (Class::Final, "it did not happen, and the same input never will"),
    (Class::Stop, "the process stops, or does not start; an operator is needed"),
];

const DOMAINS: [(Domain, &str); 8] = [
    (Domain::Input, "Input: bytes at the edge"),
    (Domain::Trust, "Trust: who is asking"),
    (Domain::Policy, "Policy: the Guardian"),
    (Domain::Execution, "Execution: the Executor and its connectors"),
    (Domain::Log, "Log: its files, its keys and its signatures"),
    (Domain::Kafka, "Kafka"),
    (Domain::Derived, "Derived: views, replay"),
    (Domain::Operation, "Operation: the command line and the configuration"),
];

fn print_page(entries: &[Entry]) {
    output::line(
        "# Errors\n\nEvery code that Writ tells, from the registry in `schemas/src/errors.rs`: `writ errors --markdown` prints this page, and a \
         test\nholds it. Codes are never renamed, reused or removed. *http* is the status of a problem document (RFC 9457), *exit* that of\n\
         `writ` when the code ends it: 1 is a negative answer, 2 could not run.\n\n| class | what the caller knows |\n| --- | --- |",
    );
    CLASSES.iter().for_each(|(class, means)| output::line(format!("| {} | {means} |", word(class))));
    for (domain, heading) in DOMAINS {
        output::line(format!("\n## {heading}\n"));
        row(COLUMNS.map(str::to_owned));
        row(COLUMNS.map(|_| "---".to_owned()));
        for entry in entries.iter().filter(|entry| entry.domain == domain) {
            let [code, rest @ ..] = cells(entry);
            let [class, http, exit, meaning, remedy] = rest.map(|cell| cell.replace('|', "\\|"));
            row([format!("`{code}`"), class, http, exit, meaning, remedy]);
        }
    }
}

fn row(cells: [String; 6]) {
    output::line(format!("| {} |", cells.join(" | ")));
}
