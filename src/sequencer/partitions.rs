//! What the writer remembers of Kafka's partitions, besides what the log says of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use writ_log::Storage;
use writ_schemas::event::{Event, Partition, Position, Source};
use writ_schemas::ids::Name;

use super::batch::Batch;
use super::quota::Quotas;
use super::{Sequencer, Submission};
use crate::clock::Stopwatch;
use crate::error::Result;
use crate::holds::{Hold, Holds};
use crate::telemetry::metrics;

/// How often what added no entry is recorded, as `SourceAdvanced` or `RecordsOverQuota`: once a second, however much it is.
const PASSED_EVERY: Duration = Duration::from_secs(1);

/// How often it is said of one partition that it is held: one that goes on record by record would fill the disk with lines.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// What there is no room at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Full {
    /// The disk.
    Disk,
    /// A connector that is down: enough waits for it.
    Connector(Name),
    /// The places that a tenant has outside, by this connector.
    Outside {
        /// The tenant.
        tenant: Name,
        /// The connector.
        connector: Name,
    },
}

impl Full {
    /// The connector, if it is one.
    pub(super) fn connector(&self) -> Option<&Name> {
        match self {
            Full::Disk => None,
            Full::Connector(connector) | Full::Outside { connector, .. } => Some(connector),
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Full::Disk => write!(f, "the disk is short of room"),
            Full::Connector(connector) => write!(f, "too many executions wait for connector {connector}"),
            // It is logged, and log lines leave the process: whose executions they are, the producer knows.
            Full::Outside { connector, .. } => {
                write!(f, "too many executions of the tenant are outside by connector {connector}")
            }
        }
    }
}

/// What the writer remembers of partitions.
#[derive(Default)]
pub struct Partitions {
    pub(super) quotas: Quotas,
    /// Where intake stands in those whose last records added no entry.
    passed: BTreeMap<Partition, u64>,
    passed_since: Option<Stopwatch>,
    held: BTreeMap<Partition, Held>,
    /// Since when each has had no room for a record that wanted it. One clock for all records: were there one for each, an outage would
    /// hold a partition anew at every record.
    full_since: BTreeMap<Full, Stopwatch>,
    /// When it was said last of a partition that it is held.
    said: BTreeMap<Partition, Stopwatch>,
    holds: Arc<Holds>,
}

/// A partition that is held: what comes of it is dropped, and read again later.
enum Held {
    /// Its first record waits. It may not be refused yet, for nobody would send it again.
    Waits {
        record: Box<Submission>,
        full: Full,
        /// Whether the one who reads the log has heard of it.
        said: bool,
    },
    /// That has its answer. What comes now was still read before it.
    Resumes,
}

impl Partitions {
    /// Those of a ledger whose reader heeds these holds.
    #[must_use]
    pub fn of(holds: Arc<Holds>) -> Partitions {
        Partitions { holds, ..Partitions::default() }
    }

    /// A record added no entry.
    pub(super) fn pass(&mut self, partition: Partition, offset: u64) {
        self.passed.insert(partition, offset.saturating_add(1));
        self.count();
    }

    /// The same, of one that the quotas have counted.
    pub(super) fn count(&mut self) {
        self.passed_since.get_or_insert_with(Stopwatch::start);
    }

    pub(super) fn passed_is_due(&self) -> bool {
        self.passed_since.is_some_and(|since| since.elapsed() >= PASSED_EVERY)
    }

    /// Whether what comes of it is dropped.
    pub(super) fn is_held(&self, partition: &Partition) -> bool {
        self.held.contains_key(partition)
    }

    /// The first records that wait, and what for.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Partition, &Submission, &Full)> {
        self.held.iter().filter_map(|(partition, held)| match held {
            Held::Waits { record, full, .. } => Some((partition, &**record, full)),
            Held::Resumes => None,
        })
    }

    /// For how long this has had no room, as far as records have asked: from now on, if this is the first.
    pub(super) fn full_for(&mut self, full: &Full) -> Duration {
        self.full_since.entry(full.clone()).or_insert_with(Stopwatch::start).elapsed()
    }

    /// The same of what a record has asked for already.
    pub(super) fn was_full_for(&self, full: &Full) -> Duration {
        self.full_since.get(full).map_or(Duration::ZERO, Stopwatch::elapsed)
    }

    /// Forgets what has room again.
    pub(super) fn retain_full(&mut self, is_full: impl Fn(&Full) -> bool) {
        self.full_since.retain(|full, _| is_full(full));
    }

    /// Holds a partition at this record of it.
    fn hold(&mut self, partition: Partition, record: Submission, full: Full) {
        self.holds.set(&partition, Hold::Waits);
        self.held.insert(partition, Held::Waits { record: Box::new(record), full, said: false });
    }

    /// The first record of a partition, which is held no more, and whether anybody has heard that it was.
    fn release(&mut self, partition: &Partition) -> Option<(Submission, bool)> {
        match self.held.remove(partition)? {
            Held::Waits { record, said, .. } => Some((*record, said)),
            Held::Resumes => None,
        }
    }

    /// The record that was released has its answer: the partition goes on after it.
    fn resume(&mut self, partition: Partition, next: u64) {
        self.holds.set(&partition, Hold::ResumesAt(next));
        self.held.insert(partition, Held::Resumes);
    }

    /// What comes of it now was read after it went on.
    pub(super) fn resumed(&mut self, partition: &Partition) {
        if matches!(self.held.get(partition), Some(Held::Resumes)) {
            self.held.remove(partition);
        }
    }

    /// Those of which somebody should hear now that they wait for a connector. Of the disk another says so.
    fn unsaid(&mut self) -> Vec<(Partition, Full)> {
        let lately = |partition: &Partition| self.said.get(partition).is_some_and(|when| when.elapsed() < SAID_EVERY);
        let mut unsaid = Vec::new();
        for (partition, held) in &mut self.held {
            if let Held::Waits { full, said, .. } = held
                && !*said
                && full.connector().is_some()
                && !lately(partition)
            {
                *said = true;
                unsaid.push((partition.clone(), full.clone()));
            }
        }
        self.said.extend(unsaid.iter().map(|(partition, _)| (partition.clone(), Stopwatch::start())));
        unsaid
    }

    /// Somebody has heard of the hold that goes on.
    fn heard(&mut self, partition: &Partition) {
        if let Some(Held::Waits { said, .. }) = self.held.get_mut(partition) {
            *said = true;
        }
    }

    /// Says how many wait.
    fn tell(&self) {
        let all = self.waiting().count();
        let disk = self.waiting().filter(|(_, _, full)| **full == Full::Disk).count();
        metrics::kafka_held(disk, all - disk);
    }
}

impl<S: Storage + Clone> Sequencer<S> {
    /// Holds the partition of a record until there is room.
    pub(super) fn hold(&mut self, record: Submission, full: Full) {
        let Source::Kafka { partition, .. } = record.source.clone() else { return };
        self.partitions.hold(partition, record, full);
        self.partitions.tell();
    }

    /// Says which partitions wait for a connector, once they have done so for a batch.
    pub(super) fn say_holds(&mut self) {
        for (partition, full) in self.partitions.unsaid() {
            let (topic, bound) = (self.topic(&partition), self.hold_max(&full));
            warn!(topic, partition = partition.number, ?bound, "a partition of Kafka waits: {full}");
        }
    }

    /// Decides the first records of these partitions, as many as the batch holds. A partition whose record finds no room after all is
    /// held again.
    pub(super) fn go_on(&mut self, ready: Vec<Partition>, batch: &mut Batch) -> Result<()> {
        if ready.is_empty() {
            return Ok(());
        }
        for partition in ready {
            if batch.is_full() {
                break;
            }
            let Some((record, said)) = self.partitions.release(&partition) else { continue };
            let Source::Kafka { offset, .. } = record.source else { continue };
            self.submit(record, batch)?;
            match (self.partitions.is_held(&partition), said) {
                (true, true) => self.partitions.heard(&partition),
                (true, false) => {}
                (false, _) => {
                    if said {
                        warn!(
                            topic = self.topic(&partition),
                            partition = partition.number,
                            offset,
                            "the partition of Kafka goes on"
                        );
                    }
                    self.partitions.resume(partition, offset.saturating_add(1));
                }
            }
        }
        self.partitions.tell();
        Ok(())
    }

    fn topic(&self, partition: &Partition) -> String {
        let bound = self.state.bindings().iter().find(|(_, binding)| binding.topic_id == partition.topic_id);
        bound.map_or_else(|| partition.topic_id.clone(), |(topic, _)| topic.clone())
    }

    pub(super) fn flush_passed(&mut self, batch: &mut Batch) -> Result<()> {
        self.partitions.passed_since = None;
        for over in self.partitions.quotas.all_over() {
            self.record(batch, Event::RecordsOverQuota(over))?;
        }
        let known = self.state.positions();
        let positions: Vec<Position> = std::mem::take(&mut self.partitions.passed)
            .into_iter()
            .filter(|(partition, next)| known.get(partition).is_none_or(|known| known < next))
            .map(|(partition, next)| Position { partition, next })
            .collect();
        if positions.is_empty() { Ok(()) } else { self.record(batch, Event::SourceAdvanced(positions)) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Full, Name};

    #[test]
    fn what_is_logged_of_a_partition_that_waits_names_no_tenant() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let text = Full::Outside { tenant: name("acme"), connector: name("bank") }.to_string();
        assert!(text.contains("bank") && !text.contains("acme"), "{text}");
    }
}
