//! What is counted and measured, through a function for each. [`super::declared`] says what all of it means.
//!
//! **Invariant:** counting waits for nobody, and fails nowhere. A process that did not [`install`] counts nothing.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::metrics::Meter;

use writ_kernel::budget::Used;
use writ_kernel::policy::Policy;
use writ_kernel::state::State;
use writ_schemas::decision::{Answer, Gate};
use writ_schemas::errors::Code;
use writ_schemas::event::Source;
use writ_schemas::ids::Name;
use writ_schemas::receipt::Status;

use super::declared::Handles;
use super::exposition::Exposition;
use super::labels::{Label, Why};
use super::recorder::{recorder, refused};
use crate::error::Result;
use crate::queue::Waiting;

pub use super::labels::{
    Answered, CallResult, Check, DropReason, Finding, Follower, HeldFor, HttpStatus, Lane, Listener, Origin, Route,
    Signal, Stage,
};
use super::labels::{GateResult, StateItem, Version};

static HANDLES: OnceLock<Handles> = OnceLock::new();

/// Starts counting: for `/metrics`, and for a collector where there is a meter. Every series begins here, at 0.
///
/// # Errors
/// `ERR_CONFIG` if this process counts already.
pub fn install(meter: Option<Meter>) -> Result<Exposition> {
    let (recorder, recorded) = recorder(meter)?;
    ::metrics::set_global_recorder(recorder).map_err(|e| refused(&e))?;
    let handles = HANDLES.get_or_init(Handles::begun);
    handles.build.with(Version::Running, |it| it.set(1));
    for check in Check::ALL {
        handles.audit_age.with(*check, |it| it.set(-1));
    }
    Ok(Exposition::of(recorded))
}

/// Whether this process counts. What is looked for only to be counted need not be looked for otherwise.
#[must_use]
pub fn is_installed() -> bool {
    HANDLES.get().is_some()
}

fn count(then: impl FnOnce(&Handles)) {
    if let Some(handles) = HANDLES.get() {
        then(handles);
    }
}

/// A policy comes into force: its connectors and budgets are counted under their names from now on.
pub fn policy(policy: &Policy) {
    let bundle = policy.bundle();
    count(|it| {
        let connectors = || bundle.connectors.keys().map(Name::as_str);
        it.connector_calls.name(connectors());
        it.connector.name(connectors());
        it.connector_waiting.name(connectors());
        it.connector_breaker.name(connectors());
        it.budget_used.name(bundle.budgets.keys().map(Name::as_str));
    });
}

/// An intent was answered.
pub fn intent(how: impl Into<Answered>, code: Code) {
    count(|it| it.intents.with((how.into(), code), |it| it.increment(1)));
}

/// An execution ended.
pub fn receipt(status: Status, code: Code) {
    count(|it| it.receipts.with((status, code), |it| it.increment(1)));
}

/// The decision of an intent is durable, so long after the intent arrived.
pub fn decision(source: &Source, took: Duration) {
    count(|it| it.decision.with(source.into(), |it| it.record(took)));
}

/// A stage of the pipeline ran.
pub fn stage(stage: Stage, took: Duration) {
    count(|it| it.stage.with(stage, |it| it.record(took)));
}

/// A stage of the pipeline met an error.
pub fn stage_error(stage: Stage, code: Code) {
    count(|it| it.stage_errors.with((stage, code), |it| it.increment(1)));
}

/// A gate answered, with this code where it refused. One that was not reached does not count.
pub fn gate(gate: Gate, answer: &Answer, code: Option<Code>, took: Duration) {
    let Some(result) = GateResult::of(answer) else { return };
    count(|it| {
        it.gate.with(gate, |it| it.record(took));
        it.gate_answers.with((gate, result), |it| it.increment(1));
        if let Some(code) = code.filter(|_| result == GateResult::Refused) {
            it.gate_refusals.with((gate, code), |it| it.increment(1));
        }
    });
}

/// A batch became durable.
pub fn append(took: Duration, entries: usize) {
    stage(Stage::Append, took);
    count(|it| {
        it.batches.with((), |it| it.increment(1));
        it.entries.with((), |it| it.increment(wide(entries)));
    });
}

/// The log was synced.
pub fn sync(took: Duration) {
    count(|it| {
        it.syncs.with((), |it| it.increment(1));
        it.sync.with((), |it| it.record(took));
    });
}

/// The log could not be written or synced.
pub fn sync_failed() {
    count(|it| it.sync_errors.with((), |it| it.increment(1)));
}

/// What waits in a lane of the queue.
pub fn queue(lane: Lane, waiting: Waiting) {
    count(|it| {
        it.queue_inputs.with(lane, |it| it.set(lossy(wide(waiting.inputs))));
        it.queue_bytes.with(lane, |it| it.set(lossy(wide(waiting.bytes))));
        it.queue_oldest.with(lane, |it| it.set(waiting.oldest));
    });
}

/// A request was answered.
pub fn http_request(route: Route, status: HttpStatus, took: Duration) {
    count(|it| {
        it.http_requests.with((route, status), |it| it.increment(1));
        it.http.with(route, |it| it.record(took));
    });
}

/// What the clients of a listener take.
pub fn clients(listener: Listener, connections: usize, body_bytes: usize, questions: usize) {
    count(|it| {
        it.connections.with(listener, |it| it.set(lossy(wide(connections))));
        it.body_bytes.with(listener, |it| it.set(lossy(wide(body_bytes))));
        it.questions.with(listener, |it| it.set(lossy(wide(questions))));
    });
}

/// How far a follower lies behind the log: in entries, and how long ago the oldest of them became durable.
pub fn lag(follower: Follower, entries: u64, oldest: Duration) {
    count(|it| {
        it.lag_entries.with(follower, |it| it.set(lossy(entries)));
        it.lag_seconds.with(follower, |it| it.set(oldest));
        if follower == Follower::Checkpointer {
            it.checkpoint_age.with((), |it| it.set(oldest));
        }
    });
}

/// A checkpoint was signed.
pub fn checkpoint(size: u64) {
    count(|it| it.checkpoint_entries.with((), |it| it.set(lossy(size))));
}

/// A checkpoint could not be signed or stored.
pub fn checkpoint_failed(code: Code) {
    stage_error(Stage::Checkpoint, code);
    count(|it| it.checkpoint_failures.with((), |it| it.increment(1)));
}

/// How many executions are under way.
pub fn executions(count_now: usize) {
    count(|it| it.executions.with((), |it| it.set(lossy(wide(count_now)))));
}

/// How many executions are open, and how old the oldest is.
pub fn executions_open(open: usize, oldest: Duration) {
    count(|it| {
        it.executions_open.with((), |it| it.set(lossy(wide(open))));
        it.executions_oldest.with((), |it| it.set(oldest));
    });
}

/// A connector was called.
pub fn connector(name: &Name, result: CallResult, took: Duration) {
    stage(Stage::Connector, took);
    count(|it| {
        it.connector_calls.with(name.as_str(), result, |it| it.increment(1));
        it.connector.with(name.as_str(), (), |it| it.record(took));
    });
}

/// Of each connector, how many executions wait until it is tried again, and whether it is left alone until then. Of what is not named, none
/// and not.
pub fn connectors(state: &BTreeMap<&Name, (u64, bool)>) {
    let each = || state.iter().map(|(name, state)| (name.as_str(), *state));
    count(|it| {
        it.connector_waiting.set(each().map(|(name, (waiting, _))| (name, lossy(waiting))), |a, b| a + b);
        it.connector_breaker.set(each().map(|(name, (_, is_open))| (name, flag(is_open))), f64::max);
    });
}

/// Of each budget, how much of it is used. Of what is not named, nothing.
pub fn budgets(used: &BTreeMap<Name, Used>) {
    let ratio = |used: &Used| if used.amount == 0 { 0.0 } else { lossy(used.amount) / lossy(used.limit) };
    count(|it| it.budget_used.set(used.iter().map(|(name, used)| (name.as_str(), ratio(used))), f64::max));
}

/// What the state holds.
pub fn remembered(state: &State) {
    count(|it| {
        for (kind, (_, held)) in StateItem::ALL.iter().zip(state.remembered()) {
            it.state_items.with(*kind, |it| it.set(lossy(wide(held))));
        }
    });
}

/// Records were read from Kafka.
pub fn kafka_read(records: usize) {
    count(|it| it.kafka_records.with((), |it| it.increment(wide(records))));
}

/// How many partitions are held for want of room on the disk, and at connectors.
pub fn kafka_held(disk: usize, connector: usize) {
    count(|it| {
        it.kafka_held.with(HeldFor::Disk, |it| it.set(lossy(wide(disk))));
        it.kafka_held.with(HeldFor::Connector, |it| it.set(lossy(wide(connector))));
    });
}

/// A record waited for its connector as long as the policy lets it, and was refused.
pub fn kafka_hold_refused() {
    count(|it| it.kafka_hold_refused.with((), |it| it.increment(1)));
}

/// How many records of bound partitions wait in Kafka.
pub fn kafka_intake_lag(records: u64) {
    count(|it| it.kafka_intake_lag.with((), |it| it.set(lossy(records))));
}

/// Records were published to Kafka.
pub fn kafka_published(records: usize) {
    count(|it| it.kafka_published.with((), |it| it.increment(wide(records))));
}

/// A transaction was given up.
pub fn kafka_abandoned() {
    count(|it| it.kafka_abandoned.with((), |it| it.increment(1)));
}

/// The views ended.
pub fn views_lost() {
    count(|it| it.views_lost.with((), |it| it.increment(1)));
}

/// Standard error did not take a line.
pub fn line_lost() {
    count(|it| it.lines_lost.with((), |it| it.increment(1)));
}

/// How short the disk is of room.
pub fn disk_short(how: u64) {
    count(|it| it.disk_short.with((), |it| it.set(lossy(how))));
}

/// How much of the disk is free, and how much the ledger keeps.
pub fn disk(free: u64, reserve: u64) {
    count(|it| {
        it.disk_free.with((), |it| it.set(lossy(free)));
        it.disk_reserve.with((), |it| it.set(lossy(reserve)));
    });
}

/// How many segments wait to be written.
pub fn segments_prepared(segments: usize) {
    count(|it| it.segments_prepared.with((), |it| it.set(lossy(wide(segments)))));
}

/// The writer had to make a segment itself.
pub fn segment_unprepared() {
    count(|it| it.segments_unprepared.with((), |it| it.increment(1)));
}

/// By how many microseconds the wall clock has moved by itself, and whether it is not believed.
pub fn clock(off_us: i64, stopped: bool) {
    let seconds = Duration::from_micros(off_us.unsigned_abs()).as_secs_f64();
    count(|it| {
        it.clock_off.with((), |it| it.set(if off_us < 0 { -seconds } else { seconds }));
        it.clock_stopped.with((), |it| it.set(flag(stopped)));
    });
}

/// A check of this ledger told what it found.
pub fn audit(check: Check, finding: Finding) {
    count(|it| it.audits.with((check, finding), |it| it.increment(1)));
}

/// How long ago a check last found that everything holds.
pub fn audit_age(check: Check, age: Duration) {
    count(|it| it.audit_age.with(check, |it| it.set(age)));
}

/// The process ends because of this.
pub fn fatal(code: Code, times: u64) {
    count(|it| it.fatal.with(code, |it| it.increment(times)));
}

/// Telemetry was dropped.
pub fn telemetry_dropped(signal: Signal, why: DropReason, how_many: usize) {
    count(|it| it.telemetry_dropped.with((signal, why), |it| it.increment(wide(how_many))));
}

/// The collector took spans or log lines.
pub fn telemetry_exported(signal: Signal, how_many: usize) {
    count(|it| it.telemetry_exported.with(signal, |it| it.increment(wide(how_many))));
}

/// An export failed.
pub fn telemetry_export_failed(signal: Signal) {
    count(|it| it.telemetry_failures.with(signal, |it| it.increment(1)));
}

/// A trace was kept, or not.
pub fn trace(why: Why) {
    count(|it| it.traces.with(why, |it| it.increment(1)));
}

/// What the process takes of the machine.
pub(super) fn process(seen: &super::process::Seen) {
    count(|it| {
        it.process_cpu.with((), |it| it.absolute(seen.cpu_seconds));
        it.process_open_fds.with((), |it| it.set(lossy(wide(seen.open_fds))));
        it.process_max_fds.with((), |it| it.set(lossy(seen.max_fds)));
        it.process_resident.with((), |it| it.set(lossy(seen.resident_bytes)));
        it.process_start.with((), |it| it.set(seen.start_seconds));
    });
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "gauges are floats; counts here stay far below 2^53"
)]
fn lossy(count: u64) -> f64 {
    count as f64
}
