//! `writ verify`: check every byte.

use std::path::PathBuf;

use serde_json::json;

use writ_schemas::errors::Code;
use writ_schemas::keys;

use super::{Data, Found, audit, input, key, output};
use crate::error::{Failure, Result};
use crate::telemetry::metrics::Check;
use crate::verify::{Pins, Report, verify};
use crate::visible;

/// The longest file of a public key, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// Arguments of `writ verify`.
#[derive(clap::Args)]
#[command(after_help = "Example:  writ verify --data ./ledger --public-key ledger.pub --checkpoint yesterday.note")]
pub(super) struct Args {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    pins: PinArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is pinned from outside the folder.
#[derive(clap::Args)]
pub(super) struct PinArgs {
    /// A file with a public key that must have signed genesis
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// A checkpoint kept elsewhere, which the log must extend
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

impl PinArgs {
    /// Reads the pins.
    pub(super) fn read(&self) -> Result<Pins> {
        let public = self.public_key.as_ref().map(|path| {
            let text = input::read(path, KEY_BYTES_MAX)?;
            let key = key::parse(String::from_utf8_lossy(&text).trim())?;
            let nobodys = || Failure::new(Code::Usage, format!("{}: nobody can sign with {key}", path.display()));
            keys::can_sign(&key).then_some(key).ok_or_else(nobodys)
        });
        if let Some(path) = &self.checkpoint {
            std::fs::File::open(path).map_err(|e| Failure::new(Code::InputFile, format!("{}: {e}", path.display())))?;
        }
        Ok(Pins { key: public.transpose()?, checkpoint: self.checkpoint.clone() })
    }
}

pub(super) fn run(args: &Args) -> Result<Found> {
    let progress = output::Progress::of("entries verified");
    let (folder, pins) = (args.data.folder(), args.pins.read()?);
    let report = verify(&folder, &pins, &mut |count| progress.at(count));
    audit::tell(&folder, Check::Verify, report.as_ref().map(|it| it.ok));
    let report = report?;
    let elapsed = progress.end();
    if args.json {
        let mut value = json!(report);
        value["elapsed_ms"] = json!(elapsed);
        output::json(&value);
    } else {
        print(&report);
    }
    report.broken.iter().for_each(|broken| super::advise(broken.code));
    Ok(if report.ok { Found::Yes } else { Found::No })
}

/// A report for people.
pub(super) fn print(report: &Report) {
    let ok = if report.ok { "yes" } else { "NO" };
    output::line(format!("holds       {}", output::verdict(ok)));
    if let Some(broken) = &report.broken {
        output::line(format!("broken      {}: {}", broken.code, visible::text(&broken.what)));
    }
    output::line(format!("entries     {}", report.entries));
    output::line(format!("signatures  {}", report.signatures));
    output::line(format!("decisions   {}", report.decisions));
    output::line(format!("receipts    {}", report.receipts));
    output::line(format!("head        {}", report.head));
    output::line(format!("root        {}", report.root));
    for note in &report.notes {
        output::line(format!("note        {note}"));
    }
}
