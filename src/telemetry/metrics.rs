//! Metrics. Every metric is declared in `describe`, with its help and unit; labels are bounded: no tenants, no
//! principals, no ids. So every series can be there from the start, at 0: `begin`.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use writ_kernel::execution::endings;
use writ_kernel::state::State;
use writ_projections::metering::Metering;
use writ_projections::projection::Projection;
use writ_projections::proofgraph::ProofGraph;
use writ_schemas::decision::{Answer, Gate};
use writ_schemas::errors::{Code, Domain};
use writ_schemas::event::Source;
use writ_schemas::ids::Name;

use super::sampler::Why;
use crate::error::{Failure, Result};

const INTENTS: &str = "writ_intents_total";
const RECEIPTS: &str = "writ_receipts_total";
const ENTRIES: &str = "writ_entries_total";
const BATCHES: &str = "writ_batches_total";
const STAGE: &str = "writ_stage_duration_seconds";
const CHECKPOINT_SIZE: &str = "writ_checkpoint_entries";
const EXECUTIONS: &str = "writ_executions_under_way";
const QUEUE: &str = "writ_queue_inputs";
const KAFKA_RECORDS: &str = "writ_kafka_records_total";
const KAFKA_PUBLISHED: &str = "writ_kafka_published_total";
const KAFKA_ABANDONED: &str = "writ_kafka_transactions_abandoned_total";
const KAFKA_HELD: &str = "writ_kafka_partitions_held";
const KAFKA_HOLD_REFUSED: &str = "writ_kafka_hold_refused_total";
const KAFKA_LAG: &str = "writ_kafka_lag_entries";
const VIEW_LAG: &str = "writ_view_lag_entries";
const VIEWS_LOST: &str = "writ_views_lost_total";
const DISK_SHORT: &str = "writ_disk_short";
const DISK_FREE: &str = "writ_disk_free_bytes";
const DISK_RESERVE: &str = "writ_disk_reserve_bytes";
const LINES_LOST: &str = "writ_lines_lost_total";
const CONNECTIONS: &str = "writ_connections";
const BODY_BYTES: &str = "writ_request_body_bytes";
const QUESTIONS: &str = "writ_questions_waiting";
const REMEMBERED: &str = "writ_state_items";

/// Every metric there is.
fn describe() {
    describe_counter!(
        INTENTS,
        Unit::Count,
        "Intents by verdict and reason code; KNOWN are duplicates, REFUSED became no decision"
    );
    describe_counter!(RECEIPTS, Unit::Count, "Receipts by status and code");
    describe_counter!(ENTRIES, Unit::Count, "Entries that are durable");
    describe_counter!(BATCHES, Unit::Count, "Batches that are durable: one write and one sync each");
    describe_histogram!(STAGE, Unit::Seconds, "How long each stage of the pipeline took");
    describe_gauge!(CHECKPOINT_SIZE, Unit::Count, "Entries covered by the last signed checkpoint");
    describe_gauge!(EXECUTIONS, Unit::Count, "Executions that are dispatched or about to be");
    describe_gauge!(QUEUE, Unit::Count, "Inputs that wait for the writer");
    describe_counter!(KAFKA_RECORDS, Unit::Count, "Records read from bound partitions");
    describe_counter!(KAFKA_PUBLISHED, Unit::Count, "Records published in committed transactions");
    describe_counter!(
        KAFKA_ABANDONED,
        Unit::Count,
        "Transactions that were given up with their producer; a new one published what was missing"
    );
    describe_gauge!(
        KAFKA_HELD,
        Unit::Count,
        "Partitions of which a record waits, and all behind it: for room on the disk, or for a connector without room"
    );
    describe_counter!(
        KAFKA_HOLD_REFUSED,
        Unit::Count,
        "Records refused because their connector had no room for longer than the policy holds a partition"
    );
    describe_gauge!(
        KAFKA_LAG,
        Unit::Count,
        "Entries that are durable and not published yet; one that stays above zero says that Kafka is away"
    );
    describe_gauge!(VIEW_LAG, Unit::Count, "Entries that a view has not applied yet");
    describe_counter!(VIEWS_LOST, Unit::Count, "How often the views ended before the ledger, and were begun anew");
    describe_counter!(LINES_LOST, Unit::Count, "Lines that standard error did not take");
    describe_gauge!(CONNECTIONS, Unit::Count, "Connections of the listener that was asked for this");
    describe_gauge!(BODY_BYTES, Unit::Bytes, "Bytes that the bodies of its requests hold");
    describe_gauge!(
        QUESTIONS,
        Unit::Count,
        "Questions of it that wait for the views or for their turn, or are being answered"
    );
    describe_gauge!(REMEMBERED, Unit::Count, "How many things of each kind the kernel's state holds");
    describe_gauge!(
        DISK_SHORT,
        Unit::Count,
        "1 while the disk has no room for new work, which is refused; 2 while it has none for anything, and the writer stands still"
    );
    describe_gauge!(DISK_FREE, Unit::Bytes, "Bytes of the ledger's disk that are free");
    describe_gauge!(DISK_RESERVE, Unit::Bytes, "Bytes that the ledger keeps to finish what is under way");
}

/// The stages of the pipeline.
const STAGES: [&str; 11] =
    ["parse", "queue", "decide", "sign", "append", "dispatch", "connector", "judge", "receipt", "publish", "view"];

/// The views.
const VIEWS: [&str; 2] = [ProofGraph::NAME, Metering::NAME];

/// Begins every series at 0: what appears with its first event has no increase to be seen.
fn begin() {
    for name in
        [ENTRIES, BATCHES, KAFKA_RECORDS, KAFKA_HOLD_REFUSED, KAFKA_PUBLISHED, KAFKA_ABANDONED, VIEWS_LOST, LINES_LOST]
    {
        counter!(name).absolute(0);
    }
    for name in [
        CHECKPOINT_SIZE,
        EXECUTIONS,
        QUEUE,
        KAFKA_LAG,
        DISK_SHORT,
        DISK_FREE,
        DISK_RESERVE,
        CONNECTIONS,
        BODY_BYTES,
        QUESTIONS,
    ] {
        gauge!(name).set(0);
    }
    kafka_held(0, 0);
    remembered(&State::default());
    for (verdict, code) in answers() {
        counter!(INTENTS, "verdict" => verdict, "code" => code.as_str()).absolute(0);
    }
    for (status, code) in endings() {
        counter!(RECEIPTS, "status" => status.as_str(), "code" => code.as_str()).absolute(0);
    }
    for stage in STAGES {
        let _ = histogram!(STAGE, "stage" => stage); // it is there without a value
    }
    for view in VIEWS {
        gauge!(VIEW_LAG, "view" => view).set(0);
    }
}

/// How an intent may be answered: whatever speaks of the input, of trust or of policy may refuse it, before the gates or at them.
fn answers() -> impl Iterator<Item = (&'static str, Code)> {
    let certain = [
        ("PASS", Code::Ok),
        ("ESCALATE", Code::ApprovalNeeded),
        ("KNOWN", Code::Ok),
        ("REFUSED", Code::Overloaded),
        ("REFUSED", Code::OverQuota),
        ("REFUSED", Code::DiskFull),
    ];
    let speaks = |code: &Code| matches!(code.entry().domain, Domain::Input | Domain::Trust | Domain::Policy);
    let codes = Code::ALL.iter().copied().filter(move |code| speaks(code) && *code != Code::Ok);
    certain.into_iter().chain(codes.flat_map(|code| [("FAIL", code), ("REFUSED", code)]))
}

/// Starts counting, for `/metrics`.
///
/// # Errors
/// `ERR_CONFIG` if this process counts already.
pub fn start() -> Result<PrometheusHandle> {
    let refuse = |e: &dyn std::fmt::Display| Failure::new(Code::Config, format!("metrics: {e}"));
    let buckets = [0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(STAGE.to_owned()), &buckets)
        .map_err(|e| refuse(&e))?
        .install_recorder()
        .map_err(|e| refuse(&e))?;
    describe();
    begin();
    Ok(handle)
}

/// Standard error did not take a line.
pub fn line_lost() {
    counter!(LINES_LOST).increment(1);
}

/// An intent was answered.
pub fn intent(verdict: &'static str, code: Code) {
    counter!(INTENTS, "verdict" => verdict, "code" => code.as_str()).increment(1);
}

/// An execution ended.
pub fn receipt(status: &'static str, code: Code) {
    counter!(RECEIPTS, "status" => status, "code" => code.as_str()).increment(1);
}

/// A stage of the pipeline ran.
pub fn stage(stage: &'static str, took: Duration) {
    histogram!(STAGE, "stage" => stage).record(took.as_secs_f64());
}

/// A gate answered.
pub fn gate(_gate: Gate, _answer: &Answer, _code: Option<Code>, _took: Duration) {}

/// An intent was decided, and its decision is durable.
pub fn decision(_source: &Source, _took: Duration) {}

/// A connector was called.
pub fn connector(_connector: &Name, _result: &'static str, took: Duration) {
    stage("connector", took);
}

/// A trace began, or was kept at its end.
pub fn trace(_why: Why) {}

/// Something for the collector was dropped.
pub fn telemetry_dropped(_signal: &'static str, _reason: &'static str, _count: usize) {}

/// A batch became durable.
pub fn append(took: Duration, entries: usize) {
    stage("append", took);
    counter!(BATCHES).increment(1);
    counter!(ENTRIES).increment(wide(entries));
}

/// A checkpoint was signed.
pub fn checkpoint(size: u64) {
    gauge!(CHECKPOINT_SIZE).set(lossy(size));
}

/// How many executions are under way.
pub fn executions(count: usize) {
    gauge!(EXECUTIONS).set(lossy(wide(count)));
}

/// What the clients of one listener take.
pub fn clients(connections: usize, body_bytes: usize, questions: usize) {
    for (name, count) in [(CONNECTIONS, connections), (BODY_BYTES, body_bytes), (QUESTIONS, questions)] {
        gauge!(name).set(lossy(wide(count)));
    }
}

/// What the state holds.
pub fn remembered(state: &State) {
    for (kind, count) in state.remembered() {
        gauge!(REMEMBERED, "kind" => kind).set(lossy(wide(count)));
    }
}

/// How many inputs wait.
pub fn queue(len: usize) {
    gauge!(QUEUE).set(lossy(wide(len)));
}

/// Records were read from Kafka.
pub fn kafka_read(count: usize) {
    counter!(KAFKA_RECORDS).increment(wide(count));
}

/// How many partitions are held for want of room on the disk, and at connectors.
pub fn kafka_held(disk: usize, connector: usize) {
    for (reason, count) in [("disk", disk), ("connector", connector)] {
        gauge!(KAFKA_HELD, "reason" => reason).set(lossy(wide(count)));
    }
}

/// A record waited for its connector as long as the policy lets it, and was refused.
pub fn kafka_hold_refused() {
    counter!(KAFKA_HOLD_REFUSED).increment(1);
}

/// Records were published to Kafka.
pub fn kafka_published(count: usize) {
    counter!(KAFKA_PUBLISHED).increment(wide(count));
}

/// A transaction was given up.
pub fn kafka_abandoned() {
    counter!(KAFKA_ABANDONED).increment(1);
}

/// How far what is published lies behind the log.
pub fn kafka_lag(entries: u64) {
    gauge!(KAFKA_LAG).set(lossy(entries));
}

/// How far a view lies behind the log.
pub fn view_lag(view: &'static str, entries: u64) {
    gauge!(VIEW_LAG, "view" => view).set(lossy(entries));
}

/// The views ended.
pub fn views_lost() {
    counter!(VIEWS_LOST).increment(1);
}

/// How short the disk is of room.
pub fn disk_short(how: u64) {
    gauge!(DISK_SHORT).set(lossy(how));
}

/// How much of the disk is free, and how much the ledger keeps.
pub fn disk(free: u64, reserve: u64) {
    gauge!(DISK_FREE).set(lossy(free));
    gauge!(DISK_RESERVE).set(lossy(reserve));
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "gauges are floats; counts here stay far below 2^53"
)]
fn lossy(count: u64) -> f64 {
    count as f64
}
