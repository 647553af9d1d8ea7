//! `writ log`: read the log.

use std::time::Duration;

use clap::Subcommand;

use writ_log::Reader;
use writ_schemas::act::Statement;
use writ_schemas::entry::Entry;
use writ_schemas::event::Event;
use writ_schemas::ids::{Seq, hex};

use super::{Data, Found, output, session};
use crate::error::Result;
use crate::{query, visible};

/// `writ log ...`
#[derive(Subcommand)]
pub(super) enum Command {
    /// Print entries
    #[command(after_help = "Example:  writ log show --data ./ledger --from 4 --json")]
    Show {
        #[command(flatten)]
        data: Data,
        /// The first entry
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// The last entry
        #[arg(long)]
        to: Option<u64>,
        /// Go on as entries come, until interrupted
        #[arg(long)]
        follow: bool,
        /// Print JSON, an entry a line
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &Command) -> Result<Found> {
    let Command::Show { data, from, to, follow, json } = command;
    let folder = data.folder();
    folder.require()?;
    let reader = Reader::open(folder.log())?;
    let (mut next, mut cautioned, durable) = (Seq(*from), false, session::durable(&folder));
    loop {
        for located in reader.entries(next)? {
            let entry = located?.entry;
            if to.is_some_and(|to| entry.header.seq.0 > to) || output::refused().is_some() {
                return Ok(Found::Yes);
            }
            next = entry.header.seq.next();
            if next > durable && !std::mem::replace(&mut cautioned, true) {
                session::caution(durable, next);
            }
            if *json {
                output::json(&query::entry(&entry)?);
            } else {
                output::line(brief(&entry)?);
            }
        }
        if !follow || to.is_some_and(|to| next.0 > to) {
            return Ok(Found::Yes);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// An entry in a line.
fn brief(entry: &Entry) -> Result<String> {
    let header = &entry.header;
    let hash = hex(&entry.hash());
    let short = hash.get(..12).unwrap_or_default();
    Ok(format!("{:>8}  {short}  {:<18} {}", header.seq.0, header.kind.as_str(), gist(&entry.event()?)))
}

fn gist(event: &Event) -> String {
    match event {
        Event::LedgerOpened(genesis) => format!("ledger {}", genesis.value().ledger),
        Event::IntentAdmitted(admitted) => {
            let intent = admitted.intent.value();
            format!("{}/{} {} by {}", intent.tenant, intent.id, intent.action, intent.principal)
        }
        Event::DecisionMade(decision) => {
            let decision = decision.value();
            let verdict = output::verdict(decision.verdict.as_str());
            let because = visible::text(&decision.because);
            format!("{}/{} {verdict} {} {because}", decision.tenant, decision.id, decision.code)
        }
        Event::DispatchStarted(decision) => format!("decision {decision}"),
        Event::DispatchRetried(it) => {
            format!("decision {} attempt {}: {}", it.decision, it.attempts, visible::text(&it.because))
        }
        Event::ReceiptIssued(issued) => {
            let receipt = issued.receipt.value();
            format!("{}/{} {} {}", receipt.tenant, receipt.id, output::verdict(receipt.status.as_str()), receipt.code)
        }
        Event::RecordRefused(refused) => {
            format!("{} {}", visible::text(&refused.code), visible::text(&refused.detail))
        }
        Event::EvidenceRegistered(evidence) => {
            format!("{} {} {}", evidence.value().tenant, evidence.value().kind, evidence.digest())
        }
        Event::ApprovalRecorded(act) => match &act.value().statement {
            Statement::Approve { intent, granted, .. } => {
                format!("{} {intent}", if *granted { "granted" } else { "refused" })
            }
            _ => String::new(),
        },
        Event::OutcomeReconciled(act) => match &act.value().statement {
            Statement::Report { decision, applied, .. } => {
                format!("reported: {} {decision}", if *applied { "applied" } else { "not applied" })
            }
            _ => format!("act {}", act.digest()),
        },
        Event::DeadlinePassed(of) => of.to_string(),
        Event::StateHashed(hash) => hash.to_string(),
        Event::CheckpointSigned(note) => format!("size {}", note.lines().nth(1).unwrap_or_default()),
        Event::SourceAdvanced(positions) => format!("{} partitions", positions.len()),
        Event::TailCut(cut) => format!("{} bytes of segment {}", cut.bytes, cut.segment),
        Event::SourceGap(gap) => format!("offsets {} to {} were gone", gap.expected, gap.found),
        other => other.act().map(|act| format!("act {}", act.digest())).unwrap_or_default(),
    }
}
