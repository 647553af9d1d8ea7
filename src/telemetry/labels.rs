//! The labels of metrics: closed sets of values.
//!
//! **Invariant:** a label is an enum whose every value is written here, so no series can be made of what somebody sends: no tenants, no
//! principals, no ids. Only `family::Named` takes names, those of the signed policy, and bounds them.

use writ_projections::metering::Metering;
use writ_projections::projection::Projection;
use writ_projections::proofgraph::ProofGraph;
use writ_schemas::decision::{self, Gate, Verdict};
use writ_schemas::errors::Code;
use writ_schemas::event;
use writ_schemas::receipt::Status;

/// Why a trace is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// By the ratio.
    Ratio,
    /// Its caller asked for it.
    Parent,
    /// Its end matters.
    End,
    /// It is not.
    Unsampled,
}

/// A label, and each value that it can have.
pub trait Label: Copy + PartialEq + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Every value.
    const ALL: &'static [Self];
    /// What its values are, where nobody wants to read all of them.
    const IN_WORDS: Option<&'static str> = None;

    /// The value as it is shown.
    fn text(self) -> &'static str;
}

/// The labels of a series: none, one or two.
pub trait Labels: Copy + 'static {
    /// Their names.
    const NAMES: &'static [&'static str];

    /// Every combination, in order.
    fn every() -> Vec<Self>;
    /// The place of this combination in that order.
    fn place(self) -> usize;
    /// The values as they are shown.
    fn texts(self) -> Vec<&'static str>;
    /// What each of them may be.
    fn values() -> Vec<Values>;
}

/// A label whose values are names of the signed policy.
pub trait NameLabel: 'static {
    /// Its name.
    const NAME: &'static str;
}

/// A connector.
#[derive(Debug)]
pub enum Connector {}

impl NameLabel for Connector {
    const NAME: &'static str = "connector";
}

/// A budget.
#[derive(Debug)]
pub enum Budget {}

impl NameLabel for Budget {
    const NAME: &'static str = "budget";
}

/// What a label may be, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these.
    Listed(Vec<&'static str>),
    /// What this says.
    InWords(&'static str),
    /// Names of the signed policy.
    Named {
        /// How many of them.
        most: usize,
        /// What stands for the others.
        others: &'static str,
    },
}

impl Labels for () {
    const NAMES: &'static [&'static str] = &[];

    fn every() -> Vec<()> {
        vec![()]
    }

    fn place(self) -> usize {
        0
    }

    fn texts(self) -> Vec<&'static str> {
        Vec::new()
    }

    fn values() -> Vec<Values> {
        Vec::new()
    }
}

impl<A: Label> Labels for A {
    const NAMES: &'static [&'static str] = &[A::NAME];

    fn every() -> Vec<A> {
        A::ALL.to_vec()
    }

    fn place(self) -> usize {
        A::ALL.iter().position(|it| *it == self).unwrap_or_default() // it is there: see `labels!`
    }

    fn texts(self) -> Vec<&'static str> {
        vec![self.text()]
    }

    fn values() -> Vec<Values> {
        let listed = || Values::Listed(A::ALL.iter().map(|it| it.text()).collect());
        vec![A::IN_WORDS.map_or_else(listed, Values::InWords)]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const NAMES: &'static [&'static str] = &[A::NAME, B::NAME];

    fn every() -> Vec<(A, B)> {
        A::ALL.iter().flat_map(|a| B::ALL.iter().map(|b| (*a, *b))).collect()
    }

    fn place(self) -> usize {
        self.0.place() * B::ALL.len() + self.1.place()
    }

    fn texts(self) -> Vec<&'static str> {
        vec![self.0.text(), self.1.text()]
    }

    fn values() -> Vec<Values> {
        [A::values(), B::values()].concat()
    }
}

/// Labels of enums that are declared elsewhere. Whoever adds a variant there is told by the compiler, here.
macro_rules! labels {
    ($($type:ty as $name:literal: $($variant:ident $text:expr),+;)+) => {$(
        impl Label for $type {
            const NAME: &'static str = $name;
            const ALL: &'static [$type] = &[$(<$type>::$variant),+];

            fn text(self) -> &'static str {
                match self { $(<$type>::$variant => $text),+ }
            }
        }
    )+};
}

/// Labels that only metrics have.
macro_rules! own_labels {
    ($($(#[$doc:meta])* $type:ident as $name:literal: $($(#[$value:meta])* $variant:ident $text:expr),+;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $type { $($(#[$value])* $variant),+ }

        labels! { $type as $name: $($variant $text),+; }
    )+};
}

labels! {
    Status as "status": Succeeded "SUCCEEDED", Failed "FAILED", Uncertain "UNCERTAIN", Expired "EXPIRED";
    Why as "why": Ratio "ratio", Parent "parent", End "end", Unsampled "unsampled";
}

impl Label for Gate {
    const NAME: &'static str = "gate";
    const ALL: &'static [Gate] = &Gate::ALL;

    fn text(self) -> &'static str {
        self.as_str()
    }
}

impl Label for Code {
    const NAME: &'static str = "code";
    const ALL: &'static [Code] = Code::ALL;
    const IN_WORDS: Option<&'static str> = Some("a registered code ([errors.md](errors.md))");

    fn text(self) -> &'static str {
        self.as_str()
    }
}

own_labels! {
    /// How an intent was answered.
    Answered as "verdict":
        /// It passed.
        Pass "PASS",
        /// It failed.
        Fail "FAIL",
        /// People are asked.
        Escalate "ESCALATE",
        /// A duplicate: the decision stands already.
        Known "KNOWN",
        /// It became no decision.
        Refused "REFUSED";

    /// A stage of the pipeline.
    Stage as "stage":
        /// Bytes to an intent, its signature checked.
        Parse "parse",
        /// Waiting for the writer.
        Queue "queue",
        /// All gates, and folding the events of a batch.
        Decide "decide",
        /// Signing and encoding a batch.
        Sign "sign",
        /// Writing and syncing a batch.
        Append "append",
        /// From the `PASS` until its dispatch is durable.
        Dispatch "dispatch",
        /// The call of a connector.
        Connector "connector",
        /// Holding an output against its shape, and keeping it.
        Judge "judge",
        /// From the ending until its receipt is durable.
        Receipt "receipt",
        /// Publishing a batch in a transaction.
        Publish "publish",
        /// Applying entries to the views.
        View "view",
        /// Signing and storing a checkpoint.
        Checkpoint "checkpoint";

    /// How a gate answered.
    GateResult as "answer":
        /// It let the intent pass.
        Passed "passed",
        /// It refused.
        Refused "refused",
        /// It asks people.
        Asks "asks",
        /// The policy disables it.
        Disabled "disabled",
        /// The rule exempts the action.
        Exempt "exempt";

    /// Where an intent came from.
    Origin as "source":
        /// A record.
        Kafka "kafka",
        /// The HTTP API.
        Http "http",
        /// The ledger's socket, or the command line.
        Local "local";

    /// A lane of the writer's queue.
    Lane as "lane":
        /// Intents, acts, evidence.
        Outside "outside",
        /// What approvers and executors outside answer.
        Answers "answers",
        /// What the executor reports.
        Inside "inside";

    /// Which listener.
    Listener as "listener":
        /// The network's.
        Tcp "tcp",
        /// The ledger's own.
        Socket "socket";

    /// Who follows the log.
    Follower as "follower":
        /// Signs checkpoints.
        Checkpointer "checkpointer",
        /// Publishes to Kafka.
        Publisher "publisher",
        /// The view of the proof graph.
        ProofGraph ProofGraph::NAME,
        /// The view of usage.
        Metering Metering::NAME;

    /// What a connector answered.
    CallResult as "result":
        /// It did it.
        Done "done",
        /// It does not do it.
        Refused "refused",
        /// It did nothing, and may another time.
        Unavailable "unavailable",
        /// Nobody knows.
        Unknown "unknown";

    /// Why partitions are held.
    HeldFor as "reason":
        /// The disk has no room.
        Disk "disk",
        /// A connector has no room.
        Connector "connector";

    /// What looked at the log.
    Check as "check":
        /// `writ verify`.
        Verify "verify",
        /// `writ replay`.
        Replay "replay";

    /// What a check found.
    Finding as "verdict":
        /// Everything holds.
        Holds "holds",
        /// The log is broken, or replay diverged.
        Broken "broken",
        /// The check could not be carried out.
        Failed "failed";

    /// A signal of telemetry.
    Signal as "signal":
        /// Spans.
        Traces "traces",
        /// Log lines.
        Logs "logs",
        /// Metrics.
        Metrics "metrics",
        /// What the pipeline tells of an intent, from which spans are made.
        Facts "facts";

    /// Why telemetry was dropped.
    DropReason as "reason":
        /// A queue was full.
        Queue "queue",
        /// The collector could not be reached, or did not answer in time.
        Export "export",
        /// The collector did not take it.
        Rejected "rejected",
        /// More was under way than is remembered.
        Limit "limit";

    /// A kind of things that the kernel's state holds.
    StateItem as "kind":
        /// Ids of intents that are remembered.
        Ids "ids",
        /// Evidence.
        Evidence "evidence",
        /// Evidence that was used up.
        UsedEvidence "used_evidence",
        /// Sessions.
        Sessions "sessions",
        /// Executions that are open.
        Open "open",
        /// Accounts of budgets.
        Accounts "accounts",
        /// How principals have been asking.
        Paces "paces",
        /// Intents that wait for approval.
        Escalated "escalated",
        /// Executions of which nobody knows how they ended.
        Uncertain "uncertain",
        /// Acts whose ids are remembered.
        Acts "acts",
        /// Keys.
        Keys "keys";

    /// A route of the HTTP API, without what is filled in.
    Route as "route":
        /// Intents.
        Intents "/v1/intents",
        /// Acts.
        Acts "/v1/acts",
        /// What waits for approval, and answers to it.
        Approvals "/v1/approvals",
        /// What waits for approval in a tenant.
        ApprovalsOf "/v1/approvals/{tenant}",
        /// Reports of executors outside.
        Outcomes "/v1/outcomes",
        /// Evidence.
        Evidence "/v1/evidence",
        /// What a check found.
        Audits "/v1/audits",
        /// What became of an intent.
        Decisions "/v1/decisions/{tenant}/{id}",
        /// Why it was decided so.
        Explanations "/v1/explanations/{tenant}/{id}",
        /// What executors outside are to do.
        Dispatches "/v1/dispatches/{tenant}/{connector}",
        /// Entries.
        Entries "/v1/entries/{seq}",
        /// Usage.
        Usage "/v1/usage",
        /// The receipts of a line of usage.
        UsageLine "/v1/usage/{line}",
        /// The graph.
        Graph "/v1/graph/{tenant}/{id}",
        /// Metrics.
        Metrics "/metrics",
        /// Whether the process lives.
        Live "/health/live",
        /// Whether it takes intents.
        Ready "/health/ready",
        /// No route, or no request that could be read.
        Other "other";

    /// The status of an HTTP answer.
    HttpStatus as "status":
        /// Done.
        Ok "200",
        /// Taken, not done.
        Accepted "202",
        /// The request is wrong.
        BadRequest "400",
        /// Nobody who is trusted.
        Unauthorized "401",
        /// Not allowed.
        Forbidden "403",
        /// Not there.
        NotFound "404",
        /// Not this method.
        MethodNotAllowed "405",
        /// Not in time.
        RequestTimeout "408",
        /// Against what stands.
        Conflict "409",
        /// Over.
        Gone "410",
        /// Too large.
        PayloadTooLarge "413",
        /// Another kind of body.
        UnsupportedMediaType "415",
        /// Another host.
        MisdirectedRequest "421",
        /// Against a rule.
        UnprocessableEntity "422",
        /// Too many.
        TooManyRequests "429",
        /// Our own failure.
        InternalServerError "500",
        /// A connector's.
        BadGateway "502",
        /// Not now.
        ServiceUnavailable "503",
        /// Nobody knows.
        GatewayTimeout "504",
        /// No room.
        InsufficientStorage "507",
        /// Another one.
        Other "other";

    /// The program.
    Version as "version":
        /// That is running.
        Running env!("CARGO_PKG_VERSION");
}

impl From<Verdict> for Answered {
    fn from(verdict: Verdict) -> Answered {
        match verdict {
            Verdict::Pass => Answered::Pass,
            Verdict::Fail => Answered::Fail,
            Verdict::Escalate => Answered::Escalate,
        }
    }
}

impl From<&event::Source> for Origin {
    fn from(source: &event::Source) -> Origin {
        match source {
            event::Source::Local => Origin::Local,
            event::Source::Http => Origin::Http,
            event::Source::Kafka { .. } => Origin::Kafka,
        }
    }
}

impl Route {
    /// The route that a request met.
    #[must_use]
    pub fn of(path: Option<&str>) -> Route {
        Route::ALL.iter().copied().find(|route| Some(route.text()) == path).unwrap_or(Route::Other)
    }
}

impl HttpStatus {
    /// The status with this number, as text.
    #[must_use]
    pub fn of(number: &str) -> HttpStatus {
        HttpStatus::ALL.iter().copied().find(|status| status.text() == number).unwrap_or(HttpStatus::Other)
    }
}

impl GateResult {
    /// Nothing of a gate that was not reached.
    #[must_use]
    pub fn of(answer: &decision::Answer) -> Option<GateResult> {
        match answer {
            decision::Answer::Passed => Some(GateResult::Passed),
            decision::Answer::Refused => Some(GateResult::Refused),
            decision::Answer::Asks => Some(GateResult::Asks),
            decision::Answer::NotReached => None,
            decision::Answer::Disabled(_) => Some(GateResult::Disabled),
            decision::Answer::Exempt(_) => Some(GateResult::Exempt),
        }
    }
}

/// Whether a decision's code says that a gate could not answer, rather than that it refuses.
#[must_use]
pub fn is_error_inside(code: Code) -> bool {
    matches!(code, Code::PolicyInvalid | Code::ProofError | Code::BudgetError | Code::ApprovalError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use writ_kernel::state::State;

    #[test]
    fn every_combination_has_its_own_place() {
        let every = <(Gate, GateResult)>::every();
        assert_eq!(every.len(), 8 * 5);
        for (place, it) in every.iter().enumerate() {
            assert_eq!(it.place(), place);
        }
    }

    #[test]
    fn every_route_status_and_kind_there_is_has_a_value() {
        let sources = [include_str!("../api.rs"), include_str!("../api/questions.rs")];
        let routes = sources.iter().flat_map(|source| source.split(".route(\"").skip(1));
        let routes: Vec<&str> = routes.filter_map(|rest| rest.split('"').next()).collect();
        assert!(routes.len() > 10, "{routes:?}");
        for path in routes {
            assert_ne!(Route::of(Some(path)), Route::Other, "{path}");
        }
        for code in Code::ALL {
            let status = code.entry().http.to_string();
            assert_ne!(HttpStatus::of(&status), HttpStatus::Other, "{code}: {status}");
        }
        let kinds: Vec<&str> = State::default().remembered().iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, StateItem::ALL.iter().map(|it| it.text()).collect::<Vec<_>>());
    }
}
