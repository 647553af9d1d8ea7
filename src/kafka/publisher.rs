//! Publishes what is durable: decisions, receipts and refusals, each once, in the order of the log.
//!
//! The outputs and the record of how far this ledger has published are one transaction, so a reader of committed records
//! sees each thing once, whatever crashed: see [`transactions`](super::transactions).
//!
//! **Invariant:** reads the log only up to what the sequencer has committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use writ_log::Reader;
use writ_schemas::canonical;
use writ_schemas::entry::Entry;
use writ_schemas::errors::Code;
use writ_schemas::event::{Event, EventKind};
use writ_schemas::ids::{LedgerId, Seq};

use crate::clock::Stopwatch;
use crate::error::{Failure, Result};
use crate::folder::random;
use crate::kafka::broker::{Output, Publishing};
use crate::kafka::cluster::Cluster;
use crate::kafka::topic_description::Right;
use crate::kafka::transactions::{Ended, Published, Transactions};
use crate::kafka::{DECISIONS, PROGRESS, RECEIPTS, REFUSALS};
use crate::progress::Progress;
use crate::telemetry::facts::{Fact, Interval, Topics};
use crate::telemetry::metrics::{self, Follower};
use crate::telemetry::tracer::Tracer;

/// The most outputs of one transaction.
const OUTPUTS_MAX: usize = 2000;

/// How long it waits for entries before it looks what else there is.
const PATIENCE: Duration = Duration::from_millis(500);

/// Envelopes are JSON, and this says which (DSSE).
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";

/// The publisher of one ledger.
pub struct Publisher {
    transactions: Transactions<Publishing>,
    furthest: Published,
    topics: Arc<Topics>,
    ledger: LedgerId,
}

/// What is published together.
struct Batch {
    outputs: Vec<Output>,
    at: Published,
}

impl Publisher {
    /// Fences every other process that publishes for this ledger, and only then reads how far it has come.
    ///
    /// # Errors
    /// `ERR_KAFKA_UNAVAILABLE`, or what the broker says.
    pub fn connect(cluster: &Cluster, ledger: LedgerId) -> Result<Publisher> {
        let written = [DECISIONS, RECEIPTS, REFUSALS, PROGRESS].map(|topic| (topic, Right::Write));
        cluster.require(&[&written[..], &[(PROGRESS, Right::Read)]].concat())?;
        let transactions = Transactions::fence(Publishing::of(cluster, ledger), random()?)?;
        let furthest = transactions.broker().progress().furthest()?;
        let [decisions, receipts, refusals] = [DECISIONS, RECEIPTS, REFUSALS].map(|name| cluster.topic(name));
        let topics = Arc::new(Topics { decisions, receipts, refusals });
        Ok(Publisher { transactions, furthest, topics, ledger })
    }

    /// The furthest that this ledger has published, or began to: its log has all of that.
    #[must_use]
    pub fn furthest(&self) -> Published {
        self.furthest
    }

    /// Publishes until the ledger closes and all of it is out. Once `stop` is set, a broker that is away is not waited for:
    /// what is left goes out after the next start.
    ///
    /// # Errors
    /// `ERR_KAFKA_FENCED`: another process publishes for this ledger, and this one must end at once. Or the log could not be
    /// read, or Kafka refuses for good. A broker that is away is waited for.
    pub fn run(&mut self, log: &Reader, progress: &Progress, stop: &AtomicBool, tracer: &Tracer) -> Result<()> {
        let waits = || !stop.load(Ordering::Relaxed);
        let done = |at: Published| progress.done(Follower::Publisher, at.next);
        // Until that is known, it is at most what was begun.
        done(self.furthest);
        let known = self.transactions.published(&waits)?;
        let Some(mut at) = known else { return Ok(()) };
        loop {
            done(at);
            let until = progress.wait_beyond(at.next, PATIENCE);
            if until == at.next {
                if progress.is_closed() {
                    return Ok(());
                }
                self.transactions.idle();
                continue;
            }
            let mut batch = Batch { outputs: Vec::new(), at };
            self.collect(log, until, &mut batch)?;
            if !batch.outputs.is_empty() {
                // What comes meanwhile goes with it.
                self.transactions.settle();
                self.collect(log, progress.next(), &mut batch)?;
                let from = Stopwatch::start();
                match self.transactions.publish(&batch.outputs, batch.at, &waits)? {
                    Ended::NotNow => return Ok(()),
                    Ended::Committed => {
                        metrics::kafka_published(batch.outputs.len());
                        let took = Interval::since(from);
                        metrics::stage(metrics::Stage::Publish, took.length());
                        let (until, records) = (batch.at.next, batch.outputs.len());
                        let topics = Arc::clone(&self.topics);
                        tracer.record(|| Fact::Published { topics, until, took, records });
                    }
                }
            }
            at = batch.at;
        }
    }

    /// The outputs of the next entries.
    fn collect(&self, log: &Reader, until: Seq, batch: &mut Batch) -> Result<()> {
        if batch.at.next >= until || batch.outputs.len() >= OUTPUTS_MAX {
            return Ok(());
        }
        for located in log.entries(batch.at.next)?.until(until) {
            let entry = located?.entry;
            batch.at = Published { next: entry.header.seq.next(), head: entry.hash() };
            batch.outputs.extend(self.output(&entry)?);
            if batch.outputs.len() >= OUTPUTS_MAX {
                break;
            }
        }
        Ok(())
    }

    fn output(&self, entry: &Entry) -> Result<Option<Output>> {
        let seq = entry.header.seq;
        let wanted =
            [EventKind::DecisionMade, EventKind::ReceiptIssued, EventKind::RecordRefused, EventKind::RecordsOverQuota];
        if !wanted.contains(&entry.header.kind) {
            return Ok(None);
        }
        let Topics { decisions, receipts, refusals } = &*self.topics;
        let output = |topic: &str, kind, content_type, key: String, value| Output {
            topic: topic.to_owned(),
            key,
            value,
            headers: self.headers(seq, kind, content_type),
        };
        let refusal = |kind, document: &serde_json::Value| {
            let value = canonical::bytes(document).map_err(|e| Failure::new(Code::Schema, e))?;
            Ok(Some(output(refusals, kind, "application/json", self.ledger.to_string(), value)))
        };
        match entry.event()? {
            Event::DecisionMade(decision) => {
                let key = decision.value().tenant.to_string();
                Ok(Some(output(decisions, "writ.decision.v1", DSSE, key, decision.to_envelope())))
            }
            Event::ReceiptIssued(issued) => {
                let key = issued.receipt.value().tenant.to_string();
                Ok(Some(output(receipts, "writ.receipt.v1", DSSE, key, issued.receipt.to_envelope())))
            }
            Event::RecordRefused(refused) => refusal("writ.refusal.v1", &refused.to_json(seq)),
            Event::RecordsOverQuota(over) => refusal("writ.over-quota.v1", &over.to_json(seq)),
            _ => Ok(None),
        }
    }

    /// CloudEvents 1.0, Kafka binding, binary mode.
    fn headers(&self, seq: Seq, kind: &str, content_type: &str) -> Vec<(&'static str, String)> {
        vec![
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", format!("{}/{seq}", self.ledger)),
            ("ce_source", format!("/ledgers/{}", self.ledger)),
            ("ce_type", kind.to_owned()),
            ("content-type", content_type.to_owned()),
        ]
    }
}
