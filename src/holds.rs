//! Which partitions of Kafka are held: the writer says so here, and the thread that reads them heeds it.
//!
//! Of a partition that is held the writer keeps one record, the first that has to wait. It drops what comes after it, and has it read
//! again once that record has its answer. So nothing piles up, however long a partition is held and however many there are.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use writ_schemas::event::Partition;

/// What is to be done about a partition that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Read nothing more of it.
    Waits,
    /// Read it again from this offset, and tell the writer where that begins: with `Input::Resumed`, before the first record.
    ResumesAt(u64),
}

/// The partitions that are held.
#[derive(Debug, Default)]
pub struct Holds(Mutex<BTreeMap<Partition, Hold>>);

impl Holds {
    /// A thread that panicked while it held the lock left a whole map behind: no operation here stops half-way.
    fn holds(&self) -> MutexGuard<'_, BTreeMap<Partition, Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of one topic.
    #[must_use]
    pub fn of(&self, topic_id: &str) -> Vec<(Partition, Hold)> {
        let holds = self.holds();
        let of_topic = holds.iter().filter(|(partition, _)| partition.topic_id == topic_id);
        of_topic.map(|(partition, hold)| (partition.clone(), *hold)).collect()
    }

    /// What is to be done about this one from now on.
    pub(crate) fn set(&self, partition: &Partition, hold: Hold) {
        self.holds().insert(partition.clone(), hold);
    }

    /// It is being read again.
    pub fn heeded(&self, partition: &Partition) {
        self.holds().remove(partition);
    }
}
