//! What the pipeline tells about itself, for traces: moments and ids, not spans. It costs those who tell it next to nothing, and is made
//! into spans by [`spans`](super::spans), on another thread.

use std::sync::Arc;
use std::time::Duration;

use writ_schemas::decision::Gate;
use writ_schemas::errors::Code;
use writ_schemas::event::Source;
use writ_schemas::ids::{Name, Seq};
use writ_schemas::receipt::Status;

use super::context::TraceContext;
use crate::clock::Stopwatch;

/// How something came here.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When its bytes were here.
    pub read: Stopwatch,
    /// When it was parsed, and its signature checked.
    pub parsed: Stopwatch,
    /// Its own span, or its caller's where nobody traces.
    pub own: Option<TraceContext>,
    /// The span that it came from.
    pub caller: Option<TraceContext>,
    /// How it was read from Kafka.
    pub poll: Option<Arc<Poll>>,
}

impl Arrival {
    /// It is here and parsed now, and nobody traces it.
    #[must_use]
    pub fn now() -> Arrival {
        let now = Stopwatch::start();
        Arrival { read: now, parsed: now, own: None, caller: None, poll: None }
    }
}

/// One reading of records from Kafka.
#[derive(Debug)]
pub struct Poll {
    /// The topic.
    pub topic: Arc<str>,
    /// Its span, where somebody traces.
    pub own: Option<TraceContext>,
}

/// Something that happened.
#[derive(Debug)]
pub enum Fact {
    /// Records were read from Kafka.
    Polled {
        /// Of which topic, and the span.
        poll: Arc<Poll>,
        /// From when until when.
        took: Interval,
        /// How many.
        records: usize,
        /// The spans that sampled ones of them came from.
        callers: Vec<TraceContext>,
    },
    /// Intents came in a request of HTTP.
    Requested {
        /// Its span.
        own: TraceContext,
        /// The span that it came from.
        caller: Option<TraceContext>,
        /// From when until when.
        took: Interval,
        /// The status of the response.
        status: u16,
        /// Why it was no answer.
        failed: Option<Code>,
    },
    /// A batch is durable.
    Durable(Box<Batch>),
    /// An execution was open when this process began.
    Reopened {
        /// The decision that allows it.
        decision: Seq,
        /// The intent's span, as its entry says.
        intent: TraceContext,
        /// What the decision allows.
        passed: Passed,
        /// When this process found it.
        since: Stopwatch,
    },
    /// An intent waited for people when this process began.
    Awaited {
        /// Its entry.
        intent: Seq,
        /// Its span, as its entry says.
        own: TraceContext,
    },
    /// A connector was called.
    Called(Box<Call>),
    /// The entries before this one are published to Kafka, or need no publication.
    Published {
        /// Where to.
        topics: Arc<Topics>,
        /// The entry after the last.
        until: Seq,
        /// From when until when.
        took: Interval,
        /// How many records.
        records: usize,
    },
    /// A view has applied the entries before this one.
    Applied {
        /// The view.
        view: &'static str,
        /// The entry after the last.
        until: Seq,
        /// From when until when.
        took: Interval,
    },
}

impl Fact {
    /// How many it is, where memory is concerned.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Fact::Durable(batch) => 1 + batch.intents.len(),
            Fact::Polled { .. }
            | Fact::Requested { .. }
            | Fact::Reopened { .. }
            | Fact::Awaited { .. }
            | Fact::Called(_)
            | Fact::Published { .. }
            | Fact::Applied { .. } => 1,
        }
    }
}

/// The full names of the topics that are published to.
#[derive(Debug)]
pub struct Topics {
    /// Of decisions.
    pub decisions: String,
    /// Of receipts.
    pub receipts: String,
    /// Of refusals.
    pub refusals: String,
}

/// From one moment until another.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// The first.
    pub from: Stopwatch,
    /// The last.
    pub until: Stopwatch,
}

impl Interval {
    /// From then until now.
    #[must_use]
    pub fn since(from: Stopwatch) -> Interval {
        Interval { from, until: Stopwatch::start() }
    }

    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.from.until(&self.until)
    }
}

/// A batch on its way to the disk.
#[derive(Debug)]
pub struct Batch {
    /// Its first entry.
    pub first: Seq,
    /// How many entries it has.
    pub entries: usize,
    /// When its first input was taken.
    pub began: Stopwatch,
    /// When it was signed.
    pub signed: Interval,
    /// When it was written and synced.
    pub appended: Interval,
    /// What was answered by it.
    pub intents: Vec<Intent>,
    /// The decisions whose dispatch is recorded in it.
    pub dispatched: Vec<Seq>,
    /// The executions that ended in it.
    pub receipts: Vec<Receipt>,
}

/// An intent and its answer.
#[derive(Debug)]
pub struct Intent {
    /// How it came here; nothing where it waited, and is decided again.
    pub arrival: Option<Arrival>,
    /// Where it came from.
    pub source: Source,
    /// When it was decided.
    pub decided: Interval,
    /// The gates that were asked.
    pub gates: Vec<GateTime>,
    /// The verdict, or `KNOWN`, or `REFUSED`.
    pub verdict: &'static str,
    /// Its code.
    pub code: Code,
    /// The entry of the intent, where there is one.
    pub intent: Option<Seq>,
    /// The entry of its decision or of its refusal, where there is one.
    pub seq: Option<Seq>,
    /// How often it was decided before.
    pub round: u32,
    /// What a `PASS` allows.
    pub passed: Option<Passed>,
    /// Tenant and id, where operators want to see them.
    pub identity: Option<(Name, Name)>,
}

/// What a `PASS` allows.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The action.
    pub action: Name,
    /// Who carries it out.
    pub connector: Name,
}

/// A gate that was asked.
#[derive(Clone, Copy, Debug)]
pub struct GateTime {
    /// Which.
    pub gate: Gate,
    /// When.
    pub took: Interval,
    /// How it answered.
    pub answer: &'static str,
    /// Why it refused.
    pub code: Option<Code>,
}

/// A call of a connector.
#[derive(Debug)]
pub struct Call {
    /// The decision that allows it.
    pub decision: Seq,
    /// Its own span, which the connector was told.
    pub own: TraceContext,
    /// The intent's span, as its entry says.
    pub intent: TraceContext,
    /// What the decision allows.
    pub passed: Passed,
    /// When the connector worked.
    pub took: Interval,
    /// When its answer was judged.
    pub judged: Interval,
    /// Where it is; nothing if it is within this process.
    pub http: Option<Http>,
    /// Why the connector did not do it, or why nobody knows.
    pub failed: Option<Code>,
    /// What its answer was judged to be.
    pub code: Code,
}

/// What of a call over HTTP is told.
#[derive(Debug)]
pub struct Http {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The status of the response, if one came.
    pub status: Option<u16>,
}

/// An execution that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// The decision that allowed it.
    pub decision: Seq,
    /// The entry of the receipt.
    pub seq: Seq,
    /// How it ended.
    pub status: Status,
    /// Why.
    pub code: Code,
}
