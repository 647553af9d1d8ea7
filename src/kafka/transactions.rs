//! Each batch of outputs in one transaction, exactly once, whatever the client library and the brokers answer.
//!
//! The record of how far a ledger has published is part of each transaction, so what became of one can always be read from Kafka. So
//! there is one way out of whatever goes wrong: the producer is dropped with its transaction, a new one connects, by which the brokers
//! end whatever was open, and the record says whether the outputs are published.
//!
//! A broker that ends a transaction because it took too long fences its producer, as another process would that publishes for this
//! ledger. The record tells them apart: each process writes its own `instance` into it when it connects.
//!
//! **Invariant:** nothing waits without a bound, and nothing here knows the client library, the log, or the clock: [`Broker`] hands them in.

use std::time::Duration;

use tracing::warn;

use writ_schemas::errors::Code;
use writ_schemas::ids::Seq;

use crate::error::{Failure, Result};
use crate::telemetry::metrics;

/// How long a transaction may take: less than the 30 s after which the broker ends it.
const BOUND: Duration = Duration::from_secs(20);

/// How long the broker is not asked for another transaction behind a commit: until it has completed that one, it answers that it cannot
/// begin another, and the library then waits for 20 ms and more.
const SETTLE: Duration = Duration::from_millis(3);

/// How long it waits before it connects again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it looks whether what was sent is stored.
const TICK: Duration = Duration::from_millis(1);

/// How long an answer is waited for at once, before it looks whether the process is to end.
const SLICE: Duration = Duration::from_secs(1);

/// How long an ending process goes on with a transaction that is under way.
const FAREWELL: Duration = Duration::from_secs(2);

/// How far a ledger has published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    /// The seq after the last entry that was published.
    pub next: Seq,
    /// The hash of that entry: a count alone would accept any log that is long enough.
    pub head: [u8; 32],
}

/// The same, and who wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// How far.
    pub at: Published,
    /// The process: chosen at random when it began to publish.
    pub instance: [u8; 16],
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may still come: the same is to be asked again.
    Later(Failure),
    /// This producer is of no use any more, or its transaction takes too long.
    Lost(Failure),
    /// Kafka will never do it.
    Final(Failure),
    /// The process is ending, and Kafka does not answer.
    Ending,
}

/// The cluster, and the clock.
pub trait Broker {
    /// What is published.
    type Output;
    /// A producer that is connected.
    type Producer: TransactionalProducer<Output = Self::Output>;

    /// A new producer, still alone: see [`TransactionalProducer::fence`].
    ///
    /// # Errors
    /// [`Trouble::Lost`] if none can be made now.
    fn producer(&self) -> Result<Self::Producer, Trouble>;

    /// The last record that was committed for this ledger, once it is certain that there is no later one: nothing but that of others
    /// may be under way.
    ///
    /// # Errors
    /// [`Trouble::Later`] while that is not known.
    fn recorded(&self) -> Result<Record, Trouble>;

    /// The time since some moment, for the bounds.
    fn now(&self) -> Duration;

    /// Waits.
    fn pause(&self, time: Duration);
}

/// A producer of transactions.
pub trait TransactionalProducer {
    /// What is published.
    type Output;

    /// Ends what any other producer of this ledger has under way, and keeps it from publishing. Asked again after [`Trouble::Later`].
    ///
    /// # Errors
    /// As [`Trouble`] says.
    fn fence(&mut self, patience: Duration) -> Result<(), Trouble>;

    /// Begins a transaction.
    ///
    /// # Errors
    /// As [`Trouble`] says.
    fn begin(&mut self) -> Result<(), Trouble>;

    /// Sends an output. False if there is no room for it now.
    ///
    /// # Errors
    /// As [`Trouble`] says.
    fn send(&mut self, output: &Self::Output) -> Result<bool, Trouble>;

    /// Sends the record of how far it goes. False if there is no room for it now.
    ///
    /// # Errors
    /// As [`Trouble`] says.
    fn send_record(&mut self, record: Record) -> Result<bool, Trouble>;

    /// How much of what was sent is not known to be stored. Serves what the library has to tell, and does not wait for it.
    ///
    /// # Errors
    /// As [`Trouble`] says: something of it was not stored.
    fn unstored(&mut self) -> Result<usize, Trouble>;

    /// Commits. Asked again after [`Trouble::Later`].
    ///
    /// # Errors
    /// As [`Trouble`] says.
    fn commit(&mut self, patience: Duration) -> Result<(), Trouble>;
}

/// What became of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// They are published.
    Committed,
    /// The process is ending, and Kafka is away: what is left goes out after the next start.
    NotNow,
}

/// Publishes for one ledger, one transaction after the other.
pub struct Transactions<B: Broker> {
    broker: B,
    instance: [u8; 16],
    producer: Option<B::Producer>,
    /// The last record that is known to be committed; nothing before the first was read.
    known: Option<Record>,
    /// The record of the transaction of which it is not known whether it was committed.
    attempted: Option<Record>,
    /// Whether the producer has made itself known.
    claimed: bool,
    committed: Option<Duration>,
}

impl<B: Broker> Transactions<B> {
    /// Keeps every other process from publishing for this ledger.
    ///
    /// # Errors
    /// Those of the cluster; `ERR_KAFKA_FENCED` if another process does the same at the same time.
    pub fn fence(broker: B, instance: [u8; 16]) -> Result<Transactions<B>> {
        let mut transactions = Transactions {
            broker,
            instance,
            producer: None,
            known: None,
            attempted: None,
            claimed: false,
            committed: None,
        };
        match transactions.connect(&|| true) {
            Ok(_) => Ok(transactions),
            Err(Trouble::Later(failure) | Trouble::Lost(failure) | Trouble::Final(failure)) => Err(failure),
            Err(Trouble::Ending) => Err(unavailable("the process is ending")),
        }
    }

    /// The cluster.
    #[must_use]
    pub fn broker(&self) -> &B {
        &self.broker
    }

    /// How far this ledger has published, for certain: waits until Kafka says it. An ending process asks once; nothing, if it is not told.
    ///
    /// # Errors
    /// `ERR_KAFKA_FENCED` if another process publishes for this ledger; what Kafka refuses for good.
    pub fn published(&mut self, waits: &dyn Fn() -> bool) -> Result<Option<Published>> {
        let mut told = false;
        while !self.claimed {
            match self.claim(waits) {
                Ok(()) => break,
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Ending) => return Ok(None),
                // It is still fenced: what it waits for is said by others.
                Err(Trouble::Later(why)) => {
                    if !std::mem::replace(&mut told, true) {
                        warn!(%why, "nothing is published yet");
                    }
                }
                Err(Trouble::Lost(why)) => {
                    warn!(%why, "nothing can be published; it is tried again");
                    self.drop_producer();
                }
            }
            if !waits() {
                return Ok(None);
            }
            self.broker.pause(PAUSE);
        }
        Ok(self.known.map(|record| record.at))
    }

    /// Publishes outputs, up to an entry: in one transaction, which is tried again until it is known to be committed.
    ///
    /// # Errors
    /// As [`Transactions::published`].
    pub fn publish(&mut self, outputs: &[B::Output], at: Published, waits: &dyn Fn() -> bool) -> Result<Ended> {
        loop {
            match self.published(waits)? {
                None => return Ok(Ended::NotNow),
                Some(published) if published == at => return Ok(Ended::Committed),
                Some(_) => {}
            }
            match self.attempt(outputs, Record { at, instance: self.instance }, waits) {
                Ok(()) => return Ok(Ended::Committed),
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Ending) => return Ok(Ended::NotNow),
                Err(Trouble::Later(why) | Trouble::Lost(why)) => {
                    metrics::kafka_abandoned();
                    metrics::stage_error(metrics::Stage::Publish, Code::KafkaUnavailable);
                    warn!(%why, "a transaction is given up with its producer; a new one finds out what became of it");
                    self.drop_producer();
                    if !waits() {
                        return Ok(Ended::NotNow);
                    }
                    self.broker.pause(PAUSE);
                }
            }
        }
    }

    /// Waits until the last transaction has settled.
    pub fn settle(&self) {
        if let Some(left) = self.committed.and_then(|at| (at + SETTLE).checked_sub(self.broker.now())) {
            self.broker.pause(left);
        }
    }

    /// Serves what the library has to tell while there is nothing to publish.
    pub fn idle(&mut self) {
        if let Some(producer) = &mut self.producer
            && let Err(Trouble::Later(why) | Trouble::Lost(why) | Trouble::Final(why)) = producer.unstored()
        {
            warn!(%why, "the producer cannot go on");
            self.drop_producer();
        }
    }

    fn drop_producer(&mut self) {
        (self.producer, self.claimed) = (None, false);
    }

    /// A producer that nobody else publishes beside.
    fn connect(&mut self, waits: &dyn Fn() -> bool) -> Result<&mut B::Producer, Trouble> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => {
                let mut producer = self.broker.producer()?;
                let since = self.broker.now();
                while let Err(trouble) = producer.fence(SLICE) {
                    self.within_bound(trouble, since, waits)?;
                }
                producer
            }
        };
        Ok(self.producer.insert(producer))
    }

    /// Reads how far it is, and makes itself known, so that a process that was fenced finds out by whom.
    fn claim(&mut self, waits: &dyn Fn() -> bool) -> Result<(), Trouble> {
        self.connect(waits)?;
        let record = self.broker.recorded()?;
        if self.known.is_some_and(|known| ![Some(known), self.attempted].contains(&Some(record))) {
            let why = "another process has published for this ledger";
            return Err(Trouble::Final(Failure::new(Code::KafkaFenced, why)));
        }
        (self.known, self.attempted) = (Some(record), None);
        self.attempt(&[], Record { instance: self.instance, ..record }, waits)?;
        self.claimed = true;
        Ok(())
    }

    /// One transaction.
    fn attempt(&mut self, outputs: &[B::Output], record: Record, waits: &dyn Fn() -> bool) -> Result<(), Trouble> {
        self.settle();
        let since = self.broker.now();
        self.attempted = Some(record);
        let lost = || Trouble::Lost(unavailable("there is no producer"));
        let mut producer = self.producer.take().ok_or_else(lost)?;
        producer.begin()?;
        for output in outputs {
            while !producer.send(output)? {
                self.rest(&mut producer, since, waits)?;
            }
        }
        while !producer.send_record(record)? {
            self.rest(&mut producer, since, waits)?;
        }
        // Only then: a commit would wait for it in larger steps.
        while producer.unstored()? > 0 {
            self.rest(&mut producer, since, waits)?;
        }
        while let Err(trouble) = producer.commit(SLICE) {
            self.within_bound(trouble, since, waits)?;
        }
        self.committed = Some(self.broker.now());
        (self.producer, self.known, self.attempted) = (Some(producer), Some(record), None);
        Ok(())
    }

    fn rest(&self, producer: &mut B::Producer, since: Duration, waits: &dyn Fn() -> bool) -> Result<(), Trouble> {
        producer.unstored()?;
        self.broker.pause(TICK);
        self.within_bound(Trouble::Later(unavailable("what was sent is not stored")), since, waits)
    }

    /// Whether the same may be asked again.
    fn within_bound(&self, trouble: Trouble, since: Duration, waits: &dyn Fn() -> bool) -> Result<(), Trouble> {
        let Trouble::Later(why) = trouble else { return Err(trouble) };
        let took = self.broker.now().saturating_sub(since);
        if took > BOUND {
            let detail = format!("{}, for {} s", why.detail, BOUND.as_secs());
            return Err(Trouble::Lost(Failure { detail, ..why }));
        }
        if took > FAREWELL && !waits() { Err(Trouble::Ending) } else { Ok(()) }
    }
}

fn unavailable(why: &str) -> Failure {
    Failure::new(Code::KafkaUnavailable, why)
}

#[cfg(test)]
mod tests;
