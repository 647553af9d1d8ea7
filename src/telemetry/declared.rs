//! Every metric there is: the one table. `docs/metrics.md` is written from it.
//!
//! A line declares a metric and makes the field of `Handles` that it is counted through, so nothing is counted that is not declared
//! here, and the compiler names what is declared and never counted. Its labels are types ([`super::labels`]), so their values are
//! bounded.

use metrics::{Counter, Gauge, Histogram};

use writ_kernel::execution::endings;
use writ_schemas::decision::Gate;
use writ_schemas::errors::{Class, Code, Domain};
use writ_schemas::receipt::Status;

pub use super::family::Kind;
use super::family::{Family, Named};
use super::labels::{
    Answered, Budget, CallResult, Check, Connector, DropReason, Finding, Follower, GateResult, HeldFor, HttpStatus,
    Lane, Listener, Origin, Route, Signal, Stage, StateItem, Values, Version, Why, is_error_inside,
};

/// The upper bounds of the buckets of every histogram, in seconds: microseconds for gates, milliseconds for syncs, seconds for
/// connectors. The same for all, so that what was measured in one place can be held against another.
pub const BUCKETS: [f64; 19] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0,
];

/// In what it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Pieces, or a flag.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A part of one.
    Ratio,
}

/// A metric: all series of one name.
#[derive(Debug)]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// What kind.
    pub kind: Kind,
    /// In what it is counted.
    pub unit: Unit,
    /// What it says.
    pub help: &'static str,
    /// Its labels, and what each of them may be.
    pub labels: fn() -> Vec<(&'static str, Values)>,
}

macro_rules! series {
    ($($field:ident: $family:ty = $name:literal $unit:ident $help:literal $begins:expr;)+) => {
        /// Every metric, in the order of the pipeline.
        pub static ALL: &[Series] = &[$(Series {
            name: $name,
            kind: <$family>::KIND,
            unit: Unit::$unit,
            help: $help,
            labels: <$family>::labels,
        }),+];

        /// Where each metric is counted.
        pub(super) struct Handles { $(pub(super) $field: $family),+ }

        impl Handles {
            /// Begins every series.
            pub(super) fn begun() -> Handles {
                Handles { $($field: <$family>::begun($name, $begins)),+ }
            }

            /// Counts something in every series that has begun.
            #[cfg(test)]
            pub(super) fn exercise(&self) {
                $(self.$field.exercise();)+
            }
        }
    };
}

series! {
    intents: Family<Counter, (Answered, Code)> = "writ_intents_total" Count
        "Intents by verdict and reason code; KNOWN are duplicates, REFUSED became no decision" answers;
    receipts: Family<Counter, (Status, Code)> = "writ_receipts_total" Count
        "Receipts by status and code" |it| endings().any(|ending| ending == it);
    entries: Family<Counter, ()> = "writ_entries_total" Count
        "Entries that became durable" all;
    batches: Family<Counter, ()> = "writ_batches_total" Count
        "Batches that became durable: one write and one sync each" all;
    decision: Family<Histogram, Origin> = "writ_decision_duration_seconds" Seconds
        "From the arrival of an intent until its decision was durable" all;
    stage: Family<Histogram, Stage> = "writ_stage_duration_seconds" Seconds
        "How long each stage of the pipeline took" all;
    stage_errors: Family<Counter, (Stage, Code)> = "writ_stage_errors_total" Count
        "Errors of each stage by code" stage_may_fail;
    gate: Family<Histogram, Gate> = "writ_gate_duration_seconds" Seconds
        "How long each gate took" all;
    gate_answers: Family<Counter, (Gate, GateResult)> = "writ_gate_answers_total" Count
        "How each gate answered" all;
    gate_refusals: Family<Counter, (Gate, Code)> = "writ_gate_refusals_total" Count
        "Refusals of each gate by code" gate_may_refuse;
    syncs: Family<Counter, ()> = "writ_syncs_total" Count
        "Syncs of the log's files to the disk" all;
    sync_errors: Family<Counter, ()> = "writ_sync_errors_total" Count
        "Writes and syncs of the log that failed; the process ends after one, unless the disk was full" all;
    sync: Family<Histogram, ()> = "writ_sync_duration_seconds" Seconds
        "How long each sync of the log took" all;
    queue_inputs: Family<Gauge, Lane> = "writ_queue_inputs" Count
        "Inputs that wait for the writer" all;
    queue_bytes: Family<Gauge, Lane> = "writ_queue_bytes" Bytes
        "What they weigh; what comes from inside is not weighed" all;
    queue_oldest: Family<Gauge, Lane> = "writ_queue_oldest_seconds" Seconds
        "How long the oldest of them has waited" all;
    http_requests: Family<Counter, (Route, HttpStatus)> = "writ_http_requests_total" Count
        "Requests by route and the status of the answer" all;
    http: Family<Histogram, Route> = "writ_http_request_duration_seconds" Seconds
        "From the head of a request until its answer was ready" all;
    connections: Family<Gauge, Listener> = "writ_connections" Count
        "Connections" all;
    body_bytes: Family<Gauge, Listener> = "writ_request_body_bytes" Bytes
        "What the bodies of requests hold" all;
    questions: Family<Gauge, Listener> = "writ_questions_waiting" Count
        "Questions that wait for the views or for their turn, or are being answered" all;
    lag_entries: Family<Gauge, Follower> = "writ_follower_lag_entries" Count
        "Entries that are durable and that a follower has not done yet; one that stays above zero says that it is stuck, or Kafka is away" all;
    lag_seconds: Family<Gauge, Follower> = "writ_follower_lag_seconds" Seconds
        "For how long the oldest of them has been durable" all;
    checkpoint_entries: Family<Gauge, ()> = "writ_checkpoint_entries" Count
        "Entries that the last signed checkpoint covers" all;
    checkpoint_age: Family<Gauge, ()> = "writ_checkpoint_age_seconds" Seconds
        "For how long the oldest entry that no checkpoint covers has been durable; 0 where all are covered" all;
    checkpoint_failures: Family<Counter, ()> = "writ_checkpoint_failures_total" Count
        "Checkpoints that could not be signed or stored" all;
    executions_open: Family<Gauge, ()> = "writ_executions_open" Count
        "Executions that passed and have not ended, those outside among them" all;
    executions: Family<Gauge, ()> = "writ_executions_under_way" Count
        "Executions that are dispatched here or about to be" all;
    executions_oldest: Family<Gauge, ()> = "writ_executions_oldest_seconds" Seconds
        "How long ago the oldest open execution was decided" all;
    connector_calls: Named<Counter, Connector, CallResult> = "writ_connector_calls_total" Count
        "Calls of each connector by what it answered" all;
    connector: Named<Histogram, Connector, ()> = "writ_connector_duration_seconds" Seconds
        "How long each call of a connector took" all;
    connector_waiting: Named<Gauge, Connector, ()> = "writ_connector_waiting" Count
        "Executions that wait for a connector that is down, or to be tried again" all;
    connector_breaker: Named<Gauge, Connector, ()> = "writ_connector_breaker_open" Count
        "1 while a connector is down and is not called before its pause is over" all;
    budget_used: Named<Gauge, Budget, ()> = "writ_budget_used_ratio" Ratio
        "How much of a budget is reserved or spent, by whoever has used most of a limit of their own" all;
    state_items: Family<Gauge, StateItem> = "writ_state_items" Count
        "How many things of each kind the kernel's state holds" all;
    kafka_records: Family<Counter, ()> = "writ_kafka_records_total" Count
        "Records read from bound partitions" all;
    kafka_published: Family<Counter, ()> = "writ_kafka_published_total" Count
        "Records published in committed transactions" all;
    kafka_abandoned: Family<Counter, ()> = "writ_kafka_transactions_abandoned_total" Count
        "Transactions that were given up with their producer; a new one published what was missing" all;
    kafka_held: Family<Gauge, HeldFor> = "writ_kafka_partitions_held" Count
        "Partitions of which a record waits, and all behind it: for room on the disk, or for a connector without room" all;
    kafka_hold_refused: Family<Counter, ()> = "writ_kafka_hold_refused_total" Count
        "Records refused because their connector had no room for longer than the policy holds a partition" all;
    kafka_intake_lag: Family<Gauge, ()> = "writ_kafka_intake_lag_records" Count
        "Records of bound partitions that were not read yet, as Kafka last said" all;
    views_lost: Family<Counter, ()> = "writ_views_lost_total" Count
        "How often the views ended before the ledger, and were begun anew" all;
    lines_lost: Family<Counter, ()> = "writ_lines_lost_total" Count
        "Lines that standard error did not take" all;
    disk_short: Family<Gauge, ()> = "writ_disk_short" Count
        "1 while the disk has no room for new work, which is refused; 2 while it has none for anything, and the writer stands still" all;
    disk_free: Family<Gauge, ()> = "writ_disk_free_bytes" Bytes
        "Bytes of the ledger's disk that are free" all;
    disk_reserve: Family<Gauge, ()> = "writ_disk_reserve_bytes" Bytes
        "Bytes that the ledger keeps to finish what is under way" all;
    segments_prepared: Family<Gauge, ()> = "writ_segments_prepared" Count
        "Segments of zeros that wait to be written" all;
    segments_unprepared: Family<Counter, ()> = "writ_segments_unprepared_total" Count
        "Segments that the writer had to make itself, because none was prepared" all;
    clock_off: Family<Gauge, ()> = "writ_clock_off_seconds" Seconds
        "How far the wall clock has gained on the time since boot, since the last batch; below 0 where it lost" all;
    clock_stopped: Family<Gauge, ()> = "writ_clock_stopped" Count
        "1 while the clock is not believed: the next batch would end the process" all;
    audits: Family<Counter, (Check, Finding)> = "writ_audits_total" Count
        "What `writ verify` and `writ replay` found of this ledger" all;
    audit_age: Family<Gauge, Check> = "writ_audit_age_seconds" Seconds
        "How long ago a check last found that everything holds; -1 if none did since the start" all;
    fatal: Family<Counter, Code> = "writ_fatal_total" Count
        "What ended the processes that served this ledger, by code; of class stop it is kept across restarts" |code: Code| code.entry().class == Class::Stop;
    build: Family<Gauge, Version> = "writ_build_info" Count
        "1 for the program that is running" all;
    telemetry_dropped: Family<Counter, (Signal, DropReason)> = "writ_telemetry_dropped_total" Count
        "Spans, log lines, points and facts that were dropped, and why" all;
    telemetry_exported: Family<Counter, Signal> = "writ_telemetry_exported_total" Count
        "Spans and log lines that the collector took" |signal| matches!(signal, Signal::Traces | Signal::Logs);
    telemetry_failures: Family<Counter, Signal> = "writ_telemetry_export_failures_total" Count
        "Exports that failed" |signal: Signal| signal != Signal::Facts;
    traces: Family<Counter, Why> = "writ_traces_total" Count
        "Traces of intents, by why they were kept" all;
    process_cpu: Family<Counter, ()> = "process_cpu_seconds_total" Seconds
        "Time of processors that the process used, in whole seconds" all;
    process_open_fds: Family<Gauge, ()> = "process_open_fds" Count
        "Open file descriptors" all;
    process_max_fds: Family<Gauge, ()> = "process_max_fds" Count
        "The most file descriptors that it may open" all;
    process_resident: Family<Gauge, ()> = "process_resident_memory_bytes" Bytes
        "Resident memory" all;
    process_start: Family<Gauge, ()> = "process_start_time_seconds" Seconds
        "When the process started, in seconds since 1970" all;
}

fn all<L>(_: L) -> bool {
    true
}

/// How an intent may be answered: whatever speaks of the input, of trust or of policy may refuse it, before the gates or at them.
fn answers((verdict, code): (Answered, Code)) -> bool {
    match verdict {
        Answered::Pass | Answered::Known => code == Code::Ok,
        Answered::Escalate => code == Code::ApprovalNeeded,
        Answered::Refused if matches!(code, Code::Overloaded | Code::OverQuota | Code::DiskFull | Code::Stopping) => {
            true
        }
        Answered::Fail | Answered::Refused => {
            code != Code::Ok && matches!(code.entry().domain, Domain::Input | Domain::Trust | Domain::Policy)
        }
    }
}

/// Where which errors are to be expected. What fails when a receipt is made fails in the batch that it is in.
fn stage_may_fail((stage, code): (Stage, Code)) -> bool {
    let domain = code.entry().domain;
    match stage {
        Stage::Parse => matches!(domain, Domain::Input | Domain::Trust),
        Stage::Queue => matches!(code, Code::Overloaded | Code::Stopping | Code::DiskFull),
        Stage::Decide => is_error_inside(code),
        Stage::Sign => matches!(code, Code::SignerFailed | Code::KeyFile),
        Stage::Append => matches!(code, Code::LogWrite | Code::DiskFull | Code::Io),
        Stage::Dispatch => endings().any(|ending| ending == (Status::Expired, code)),
        Stage::Connector => {
            matches!(code, Code::ConnectorRefused | Code::ConnectorUnavailable | Code::ConnectorUncertain)
        }
        Stage::Judge => {
            matches!(code, Code::ConnectorContractDrift | Code::OutputNotCanonical | Code::ContentIntegrity)
        }
        Stage::Receipt => false,
        Stage::Publish => domain == Domain::Kafka,
        Stage::View => domain == Domain::Derived || matches!(code, Code::Io | Code::DiskFull | Code::LogDamaged),
        Stage::Checkpoint => matches!(code, Code::SignerFailed | Code::LogWrite | Code::DiskFull | Code::Io),
    }
}

/// With which codes each gate refuses.
fn gate_may_refuse((gate, code): (Gate, Code)) -> bool {
    match gate {
        Gate::Freeze => code == Code::Frozen,
        Gate::Trust => matches!(code, Code::KeyUnknown | Code::KeyRevoked | Code::TenantMismatch),
        Gate::Envelope => matches!(code, Code::IntentExpired | Code::ExpiryTooFar | Code::Schema),
        Gate::Policy => matches!(code, Code::PolicyNone | Code::PolicyNoRule | Code::PolicyInvalid | Code::InputSchema),
        Gate::Temporal => {
            matches!(code, Code::PolicyInvalid | Code::OutsideHours | Code::CoolingDown | Code::RateExceeded)
        }
        Gate::Proof => matches!(code, Code::PolicyInvalid | Code::Schema | Code::ProofMissing | Code::ProofError),
        Gate::Budget => matches!(code, Code::BudgetError | Code::BudgetExceeded),
        Gate::Escalation => matches!(
            code,
            Code::ApprovalDenied
                | Code::ApprovalTimedOut
                | Code::ApprovalError
                | Code::ApprovalsFull
                | Code::PolicyInvalid
        ),
    }
}
