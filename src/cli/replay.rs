//! `writ replay`: decide everything again.

use serde_json::json;

use writ_schemas::ids::Seq;

use super::verify::{self, PinArgs};
use super::{Data, Found, audit, output};
use crate::error::Result;
use crate::replay::{Replayed, replay};
use crate::telemetry::metrics::Check;

/// Arguments of `writ replay`.
#[derive(clap::Args)]
#[command(after_help = "Example:  writ replay --data ./ledger --json")]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    pins: PinArgs,
    /// Fold up to this entry only
    #[arg(long, value_name = "SEQ")]
    until: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<Found> {
    let progress = output::Progress::of("entries replayed");
    let (folder, pins) = (args.data.folder(), args.pins.read()?);
    let replayed = replay(&folder, &pins, args.until.map(Seq), &mut |count| progress.at(count));
    if args.until.is_none() {
        audit::tell(&folder, Check::Replay, replayed.as_ref().map(|it| it.verified.ok));
    }
    let replayed = replayed?;
    let elapsed = progress.end();
    if args.json {
        let mut value = json!(replayed);
        value["elapsed_ms"] = json!(elapsed);
        output::json(&value);
    } else {
        print(&replayed);
    }
    replayed.verified.broken.iter().for_each(|broken| super::advise(broken.code));
    Ok(if replayed.verified.ok { Found::Yes } else { Found::No })
}

/// What replay found, for people.
pub(super) fn print(replayed: &Replayed) {
    verify::print(&replayed.verified);
    output::line(format!("decided     {} intents again", replayed.decided_again));
    output::line(format!("state       {} ({} hashes in the log compared)", replayed.state_hash, replayed.state_hashes));
    for (view, digest) in &replayed.views {
        output::line(format!("{view:<11} {digest}"));
    }
    if let Some(divergence) = &replayed.divergence {
        output::line(format!("\nfirst divergence: entry {} ({})", divergence.seq, divergence.kind));
        let mut table = output::table(&["field", "the log says", "it follows"]);
        for field in &divergence.fields {
            table.add_row([field.field.clone(), output::compact(&field.recorded), output::compact(&field.derived)]);
        }
        output::line(table);
    }
}
