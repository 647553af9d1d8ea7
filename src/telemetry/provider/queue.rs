//! What waits for the collector, bounded by what it costs.
//!
//! **Invariant:** what was pushed is counted once, as one of [`Tally`], also where those who would send it get no time to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};

use super::export::Export;
use crate::telemetry::labels::{Label, Labels};
use crate::telemetry::metrics::{self, DropReason, Signal};

/// The most that waits, where a span without links is one: those of 600 intents, as they come when a queue of the writer empties. Of some
/// hundred bytes each, 10 MB. The SDK's own processors hold 2048.
pub const QUEUE_MAX: usize = 16_384;

/// The most that one request carries; it stays below the 4 MiB that a collector reads by default.
pub const BATCH_MAX: usize = 2048;

/// Takes what is to be sent, and waits for nobody.
pub(super) struct Queue<E: Export> {
    items: mpsc::UnboundedSender<E::Item>,
    shared: Arc<Shared>,
}

/// How much waits, who is told when it is a batch, and what became of the rest.
#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    /// How many were pushed of which it is not known yet what becomes of them; [`GIVEN_UP`] at the end.
    open: AtomicUsize,
    full: Notify,
    exported: AtomicUsize,
    dropped: [AtomicUsize; DropReason::ALL.len()],
}

/// Nothing is open any more, nor will be.
const GIVEN_UP: usize = usize::MAX;

/// What became of everything that was pushed, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The collector took it.
    pub exported: usize,
    /// It found no room.
    pub queue: usize,
    /// It was not delivered in time.
    pub export: usize,
    /// The collector did not want it.
    pub rejected: usize,
}

impl Shared {
    /// One more is open, unless it was given up.
    fn open(&self) -> bool {
        let more = |open: usize| (open != GIVEN_UP).then(|| open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// So many are open no more, unless they were given up: then they are counted already.
    fn settle(&self, count: usize) -> bool {
        let fewer = |open: usize| if open == GIVEN_UP { None } else { open.checked_sub(count) };
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer).is_ok()
    }

    fn dropped(&self, signal: Signal, why: DropReason, count: usize) {
        metrics::telemetry_dropped(signal, why, count);
        if let Some(dropped) = self.dropped.get(why.place()) {
            dropped.fetch_add(count, Ordering::AcqRel);
        }
    }

    /// The same of what is open.
    fn drop_open(&self, signal: Signal, why: DropReason, count: usize) {
        if self.settle(count) {
            self.dropped(signal, why, count);
        }
    }

    fn tally(&self) -> Tally {
        let of = |why: DropReason| self.dropped.get(why.place()).map_or(0, |dropped| dropped.load(Ordering::Acquire));
        Tally {
            exported: self.exported.load(Ordering::Acquire),
            queue: of(DropReason::Queue),
            export: of(DropReason::Export),
            rejected: of(DropReason::Rejected),
        }
    }
}

/// The other end.
pub(super) struct Waiting<E: Export> {
    items: mpsc::UnboundedReceiver<E::Item>,
    shared: Arc<Shared>,
}

impl<E: Export> Clone for Queue<E> {
    fn clone(&self) -> Queue<E> {
        Queue { items: self.items.clone(), shared: Arc::clone(&self.shared) }
    }
}

pub(super) fn pair<E: Export>() -> (Queue<E>, Waiting<E>) {
    let (sender, items) = mpsc::unbounded_channel();
    let shared = Arc::<Shared>::default();
    (Queue { items: sender, shared: Arc::clone(&shared) }, Waiting { items, shared })
}

impl<E: Export> Queue<E> {
    /// Takes it, or drops and counts it.
    pub(super) fn push(&self, item: E::Item) {
        if !self.shared.open() {
            return self.shared.dropped(E::SIGNAL, DropReason::Queue, 1);
        }
        let cost = E::cost(&item);
        let room = |waiting: usize| waiting.checked_add(cost).filter(|waiting| *waiting <= QUEUE_MAX);
        let Ok(before) = self.shared.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, room) else {
            return self.shared.drop_open(E::SIGNAL, DropReason::Queue, 1);
        };
        if self.items.send(item).is_err() {
            self.shared.waiting.fetch_sub(cost, Ordering::AcqRel);
            self.shared.drop_open(E::SIGNAL, DropReason::Queue, 1);
        } else if before < BATCH_MAX && before + cost >= BATCH_MAX {
            self.shared.full.notify_one();
        }
    }

    /// What is open is not delivered in time, whatever is still done with it. From now on nothing is taken.
    pub(super) fn give_up(&self) {
        let open = self.shared.open.swap(GIVEN_UP, Ordering::AcqRel);
        if open != GIVEN_UP {
            self.shared.dropped(E::SIGNAL, DropReason::Export, open);
        }
    }

    /// What became of it all so far.
    pub(super) fn tally(&self) -> Tally {
        self.shared.tally()
    }
}

impl<E: Export> Waiting<E> {
    /// Waits until a batch is there.
    pub(super) async fn full(&self) {
        self.shared.full.notified().await;
    }

    /// Whether a whole batch waits.
    pub(super) fn is_full(&self) -> bool {
        self.shared.waiting.load(Ordering::Acquire) >= BATCH_MAX
    }

    /// What waits, up to a batch; nothing once nothing does.
    pub(super) fn take(&mut self) -> Vec<E::Item> {
        let (mut batch, mut costs) = (Vec::new(), 0);
        while costs < BATCH_MAX {
            let Ok(item) = self.items.try_recv() else { break };
            costs += E::cost(&item);
            batch.push(item);
        }
        self.shared.waiting.fetch_sub(costs, Ordering::AcqRel);
        batch
    }

    /// The collector took so many.
    pub(super) fn exported(&self, count: usize) {
        if self.shared.settle(count) {
            metrics::telemetry_exported(E::SIGNAL, count);
            self.shared.exported.fetch_add(count, Ordering::AcqRel);
        }
    }

    /// So many were dropped.
    pub(super) fn dropped(&self, why: DropReason, count: usize) {
        self.shared.drop_open(E::SIGNAL, why, count);
    }

    /// Takes nothing more: what comes later is dropped and counted by those who push it.
    pub(super) fn close(&mut self) {
        self.items.close();
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::logs::v1::LogRecord;

    use super::super::logs::{Line, Logs};
    use super::{DropReason, Tally, pair};

    fn line() -> Line {
        Line { target: "test", record: LogRecord::default() }
    }

    #[test]
    fn what_those_who_send_get_no_time_for_is_counted_once() {
        let (queue, mut waiting) = pair::<Logs>();
        (0..2).for_each(|_| queue.push(line()));
        let under_way = waiting.take().len();
        waiting.exported(1);
        (0..3).for_each(|_| queue.push(line()));
        queue.give_up();
        let given_up = Tally { exported: 1, export: 4, ..Tally::default() };
        assert_eq!(queue.tally(), given_up);
        // Those who send were stopped in the middle of something, and may end it.
        waiting.dropped(DropReason::Export, under_way - 1);
        let waited = waiting.take().len();
        waiting.exported(waited);
        queue.give_up();
        assert_eq!(queue.tally(), given_up);
        queue.push(line());
        assert_eq!(queue.tally(), Tally { queue: 1, ..given_up });
    }
}
