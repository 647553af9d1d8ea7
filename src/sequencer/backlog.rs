//! What the writer remembers from batch to batch, besides log and state.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use writ_log::Storage;
use writ_schemas::event::{Event, Partition, Position};

use super::batch::Batch;
use super::quota::Quotas;
use super::{Input, Sequencer};
use crate::clock::Stopwatch;
use crate::error::Result;
use crate::space::Space;

/// How often what added no entry is recorded, as `SourceAdvanced` or `RecordsOverQuota`: once a second, however much it is.
const PASSED_EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Backlog {
    /// Taken from the queue, not decided yet: the batch before was full.
    pub(super) inputs: VecDeque<Input>,
    /// Whether the disk is short of room now.
    pub(super) is_short: bool,
    /// Records of Kafka that wait for room: they may not be refused, for nobody would send them again. Intake stops reading, so there
    /// are no more than the queue held.
    pub(super) held: VecDeque<Input>,
    /// Where intake stands in partitions whose last records added no entry.
    passed: BTreeMap<Partition, u64>,
    passed_since: Option<Stopwatch>,
    pub(super) quotas: Quotas,
}

impl Backlog {
    /// Looks whether there is room. Once there is, what was held comes before what came after it.
    pub(super) fn look(&mut self, space: &Space) {
        self.is_short = space.is_short();
        if !self.is_short && !self.held.is_empty() {
            self.held.append(&mut self.inputs);
            std::mem::swap(&mut self.held, &mut self.inputs);
        }
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
}

impl<S: Storage + Clone> Sequencer<S> {
    pub(super) fn flush_passed(&mut self, backlog: &mut Backlog, batch: &mut Batch) -> Result<()> {
        backlog.passed_since = None;
        for over in backlog.quotas.all_over() {
            self.record(batch, Event::RecordsOverQuota(over))?;
        }
        let known = self.state.positions();
        let positions: Vec<Position> = std::mem::take(&mut backlog.passed)
            .into_iter()
            .filter(|(partition, next)| known.get(partition).is_none_or(|known| known < next))
            .map(|(partition, next)| Position { partition, next })
            .collect();
        if positions.is_empty() { Ok(()) } else { self.record(batch, Event::SourceAdvanced(positions)) }
    }
}
