//! How many records of bound partitions wait in Kafka, for whoever watches.
//!
//! Asked by a client of its own: the reader's knows only what it fetches, and fetches nothing of a partition that is held, or while the
//! disk is short, which is when it matters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use tracing::warn;

use crate::kafka::cluster::Cluster;
use crate::kafka::context::Consumer;
use crate::telemetry::metrics;
use crate::threads::spawn;

/// How often it asks.
const EVERY: Duration = Duration::from_secs(5);

/// How long one answer may take. One that does not come ends the round: what was known before stands.
const PATIENCE: Duration = Duration::from_secs(1);

/// How soon it notices that it is to end.
const STEP: Duration = Duration::from_millis(100);

/// The offset after the last record that was read, of each partition of a topic.
#[derive(Clone, Debug)]
pub struct Read {
    topic: Arc<str>,
    next: Arc<[AtomicU64]>,
}

impl Read {
    /// Of a topic with so many partitions.
    #[must_use]
    pub fn of(topic: Arc<str>, partitions: u32) -> Read {
        Read { topic, next: (0..partitions).map(|_| AtomicU64::new(0)).collect() }
    }

    /// All of them were read up to there.
    pub(super) fn reached(&self, partitions: &BTreeMap<u32, u64>) {
        for (at, next) in self.next.iter().zip(partitions.values()) {
            at.store(*next, Ordering::Relaxed);
        }
    }
}

/// Whoever asks.
struct IntakeLag {
    consumer: Consumer,
    topics: Vec<Read>,
}

/// Asks now and then what waits of these topics, on a thread of its own, until it is told to stop: it ends when the answer under way has come,
/// or its time is over. Nothing else depends on it: what fails is said.
pub fn watch(cluster: &Cluster, topics: Vec<Read>, stop: Arc<AtomicBool>) -> Option<JoinHandle<()>> {
    let begun = cluster.consumer("writ", &[], &[]).and_then(|consumer| {
        let lag = IntakeLag { consumer, topics };
        spawn("intake-lag", move || lag.run(&stop))
    });
    begun.inspect_err(|failure| warn!(%failure, "how many records wait in Kafka is not known")).ok()
}

impl IntakeLag {
    fn run(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.consumer.poll(Duration::ZERO); // it has nothing assigned: this serves what the library tells
            if let Some(records) = self.look(stop) {
                metrics::kafka_intake_lag(records);
            }
            let mut left = EVERY;
            while !left.is_zero() && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(STEP);
                left = left.saturating_sub(STEP);
            }
        }
    }

    /// What waits, if every broker says so. What was not committed waits, too.
    fn look(&self, stop: &AtomicBool) -> Option<u64> {
        let mut waiting = 0;
        for Read { topic, next } in &self.topics {
            for (partition, next) in (0..).zip(next.iter()) {
                if stop.load(Ordering::Relaxed) {
                    return None;
                }
                let (_, high) = self.consumer.fetch_watermarks(topic, partition, PATIENCE).ok()?;
                waiting += u64::try_from(high).unwrap_or(0).saturating_sub(next.load(Ordering::Relaxed));
            }
        }
        Some(waiting)
    }
}
