//! What goes into the writer and what comes out of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use writ_kernel::execution::Ending;
use writ_kernel::policy::Policy;
use writ_kernel::state::Open;
use writ_schemas::act::{Act, Statement};
use writ_schemas::decision::Decision;
use writ_schemas::dsse::Signed;
use writ_schemas::event::{IntentAdmitted, Partition, Source, SourceGap, TraceParent};
use writ_schemas::evidence::Evidence;
use writ_schemas::ids::Seq;
use writ_schemas::intent::Intent;
use writ_schemas::strict::Refusal;

use crate::clock::Stopwatch;
use crate::telemetry::facts::Arrival;

/// Something for the writer.
#[derive(Debug)]
pub enum Input {
    /// From outside.
    Submit(Submission),
    /// A `PASS` whose turn has come.
    Dispatch(Seq),
    /// An attempt that certainly did nothing and may be made again; why, for a person; and how many microseconds its connector asks
    /// to be left alone.
    DidNothing(Seq, String, u64),
    /// An execution that ended, with its canonical output where it is short.
    Ended(Ending, Option<Vec<u8>>),
    /// Records that were gone before they were read.
    Gap(SourceGap),
    /// What comes of this partition from here on was read after its hold was over.
    Resumed(Partition),
    /// Adds nothing; it is answered when everything before it in its lane is durable and handed out.
    Barrier(oneshot::Sender<Answer>),
}

/// Something from outside.
#[derive(Debug)]
pub struct Submission {
    /// What it is.
    pub what: Submitted,
    /// The bytes of an intent from Kafka, as they came: a refusal names them, and its producer knows no others. Moved here,
    /// never copied, and hashed only for a refusal. Empty where a refusal is not recorded.
    pub raw: Vec<u8>,
    /// Where it came from.
    pub source: Source,
    /// How it came here.
    pub arrival: Arrival,
    /// Who waits for the answer.
    pub reply: Option<oneshot::Sender<Answer>>,
}

/// Whether it is taken while nobody believes the clock: what operators say of it, and what adds nothing.
pub(super) fn is_timeless(input: &Input) -> bool {
    match input {
        Input::Barrier(_) => true,
        Input::Submit(Submission { what: Submitted::Act(act), .. }) => {
            matches!(act.value().statement, Statement::AdjustClock { .. })
        }
        Input::Submit(_)
        | Input::Dispatch(_)
        | Input::DidNothing(..)
        | Input::Ended(..)
        | Input::Gap(_)
        | Input::Resumed(_) => false,
    }
}

/// What was submitted, its signatures checked as mathematics.
#[derive(Debug)]
pub enum Submitted {
    /// An intent.
    Intent(Box<Signed<Intent>>),
    /// An administrative act.
    Act(Box<Signed<Act>>),
    /// Evidence.
    Evidence(Box<Signed<Evidence>>),
    /// Bytes that are none of these.
    Unreadable(Refusal, Vec<u8>),
}

/// What a submitter hears, once it is durable.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The intent was decided by this entry.
    Decided(Seq, Arc<Signed<Decision>>),
    /// The very same intent was decided before, by this entry.
    Known(Seq),
    /// The act or the evidence is this entry.
    Recorded(Seq),
    /// The very same act or evidence was recorded before.
    Already,
    /// It was refused; where nobody waits for an answer, this entry says so.
    Refused(Refusal),
}

/// What follows from an entry, once it is durable.
#[derive(Debug)]
pub enum Effect {
    /// A `PASS` waits for its turn.
    Ready(Box<Job>),
    /// It is recorded as dispatched: call the connector.
    Call(Seq),
    /// It is to be asked for again, not before so long has passed.
    Later(Seq, Duration),
    /// It has its receipt.
    Closed(Seq),
    /// Another policy is in force.
    Policy(Arc<Policy>),
    /// Nothing more will be dispatched; end when the calls under way have ended.
    Drain,
    /// End when everything that waits has ended too.
    Finish,
    /// The writer has ended: end at once, since nothing will be answered any more.
    Abandon,
}

/// What becomes of what passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// This process carries it out.
    CarriedOut,
    /// It waits for a process that does.
    Waits,
}

/// An execution that waits for its turn.
#[derive(Debug)]
pub struct Job {
    /// The entry of the decision.
    pub decision: Seq,
    /// What was authorised.
    pub open: Open,
    /// Since when that is durable, as far as this process knows.
    pub since: Stopwatch,
    /// The intent, while it is carried along; the log has it, too.
    pub carried: Option<Carried>,
}

/// An intent in memory.
#[derive(Debug)]
pub struct Carried {
    /// The intent.
    pub intent: Box<Signed<Intent>>,
    /// Its span, as its entry says.
    pub trace: TraceParent,
    /// What it weighs, until it is dropped.
    pub weight: Weight,
}

impl Carried {
    /// An intent that weighs among all the others.
    #[must_use]
    pub fn of(admitted: IntentAdmitted, all: &Arc<AtomicUsize>) -> Carried {
        let IntentAdmitted { intent, trace, .. } = admitted;
        let weight = Weight::of(&intent, all);
        Carried { intent: Box::new(intent), trace, weight }
    }
}

/// A share of the memory of all jobs; given back when it is dropped.
#[derive(Debug)]
pub struct Weight {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Weight {
    fn of(intent: &Signed<Intent>, all: &Arc<AtomicUsize>) -> Weight {
        let bytes = intent.payload().len();
        all.fetch_add(bytes, Ordering::Relaxed);
        Weight { all: Arc::clone(all), bytes }
    }

    /// What all of them weigh now.
    #[must_use]
    pub fn all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
