"""What metrics must say, counted from the log; and of the others, why the log cannot tell them."""

import collections

import policy
import workload
from ways_out import series

# No entry tells these. Each must be there, and 0 where it says so.
QUIET = 0
ANYTHING = None
NOT_IN_THE_LOG = {
    "writ_syncs_total": ANYTHING, "writ_sync_errors_total": QUIET, "writ_sync_duration_seconds": ANYTHING,
    "writ_queue_inputs": QUIET, "writ_queue_bytes": QUIET, "writ_queue_oldest_seconds": QUIET,
    "writ_http_request_duration_seconds": ANYTHING,
    "writ_connections": ANYTHING, "writ_request_body_bytes": QUIET, "writ_questions_waiting": QUIET,
    "writ_follower_lag_entries": QUIET, "writ_follower_lag_seconds": QUIET,
    "writ_checkpoint_age_seconds": QUIET, "writ_checkpoint_failures_total": QUIET,
    "writ_executions_open": QUIET, "writ_executions_under_way": QUIET, "writ_executions_oldest_seconds": QUIET,
    "writ_connector_waiting": QUIET, "writ_connector_breaker_open": ANYTHING,
    "writ_kafka_transactions_abandoned_total": QUIET, "writ_kafka_partitions_held": QUIET, "writ_kafka_hold_refused_total": QUIET,
    "writ_kafka_intake_lag_records": QUIET, "writ_views_lost_total": QUIET, "writ_lines_lost_total": QUIET,
    "writ_disk_short": QUIET, "writ_disk_free_bytes": ANYTHING, "writ_disk_reserve_bytes": ANYTHING,
    "writ_segments_prepared": ANYTHING, "writ_segments_unprepared_total": ANYTHING,
    "writ_clock_off_seconds": ANYTHING, "writ_clock_stopped": QUIET, "writ_audit_age_seconds": ANYTHING,
    "writ_fatal_total": QUIET, "writ_build_info": ANYTHING,
    "writ_telemetry_dropped_total": QUIET, "writ_telemetry_exported_total": ANYTHING, "writ_telemetry_export_failures_total": QUIET,
    **dict.fromkeys(("process_cpu_seconds_total", "process_open_fds", "process_max_fds", "process_resident_memory_bytes",
                     "process_start_time_seconds"), ANYTHING),
}

# Of metrics that are counted, what no entry tells.
UNTOLD = {("stage", "publish"), ("stage", "view"), ("stage", "checkpoint"),
          *(("kind", kind) for kind in ("accounts", "acts", "keys", "sessions", "paces", "used_evidence"))}


def is_told(series):
    return not UNTOLD & set(series.labels) and all(key != "route" or value == "/v1/intents" for key, value in series.labels)


# A connector's result, by the code of the receipt.
RESULTS = {"OK": "done", "ERR_CONNECTOR_CONTRACT_DRIFT": "done", "ERR_CONNECTOR_REFUSED": "refused",
           "ERR_CONNECTOR_UNAVAILABLE": "unavailable", "ERR_CONNECTOR_UNCERTAIN": "unknown"}
ERRORS_OF_GATES = ("ERR_POLICY_INVALID", "ERR_PROOF_ERROR", "ERR_BUDGET_ERROR", "ERR_APPROVAL_ERROR")


class Counts(collections.Counter):
    """By series."""

    def add(self, name, number=1, **labels):
        self[series(name, labels)] += number


def source_of(entry):
    source = entry["event"]["source"]
    return source if isinstance(source, str) else next(iter(source))


def answer_of(gate):
    answer = gate["answer"]
    return answer if isinstance(answer, str) else next(iter(answer))


def counted(load):
    """From the entries since the ledger has been served, and from what no entry tells but the workload knows."""
    entries = load.ledger.entries()
    after, counts = entries[load.entries_before:], Counts()
    of = lambda kind: [entry["event"]["payload"] for entry in after if entry["kind"] == kind]
    decisions, receipts = of("DecisionMade"), of("ReceiptIssued")
    refused = [entry["event"] for entry in after if entry["kind"] == "RecordRefused"]
    sources = {entry["event"]["payload"]["id"]: source_of(entry) for entry in after if entry["kind"] == "IntentAdmitted"}

    counts.add("writ_entries_total", len(after))
    # Each batch has a time of its own.
    batches = len({entry["recorded_at"] for entry in after})
    counts.add("writ_batches_total", batches)
    for stage in ("sign", "append"):
        counts.add("writ_stage_duration_seconds_count", batches, stage=stage)
    for decision in decisions:
        decided(counts, decision, sources)
    for receipt in receipts:
        ended(counts, receipt)
    for event in refused:
        counts.add("writ_intents_total", verdict="REFUSED", code=event["code"])
        counts.add("writ_stage_errors_total", stage="parse", code=event["code"])
    counts.add("writ_intents_total", workload.KNOWN, verdict="KNOWN", code="OK")
    counts.add("writ_intents_total", workload.UNKNOWN_KEY, verdict="REFUSED", code="ERR_KEY_UNKNOWN")
    dispatched = sum(entry["kind"] == "DispatchStarted" for entry in after)
    counts.add("writ_stage_duration_seconds_count", dispatched, stage="dispatch")
    for stage in ("parse", "queue"):
        counts.add("writ_stage_duration_seconds_count", len(load.sent) + workload.KNOWN + workload.UNKNOWN_KEY + workload.UNREADABLE, stage=stage)
    counts.add("writ_kafka_records_total", sum(row.via == "kafka" for row in workload.ROWS) + workload.UNREADABLE)
    counts.add("writ_kafka_published_total", len(decisions) + len(receipts) + len(refused))
    counts.add("writ_checkpoint_entries", len(entries))
    counts.add("writ_budget_used_ratio", charged(receipts) / policy.LIMIT_CENTS, budget="cents")
    for why, number in sampled(load).items():
        counts.add("writ_traces_total", number, why=why)
    for check in workload.AUDITS:
        counts.add("writ_audits_total", check=check, verdict="holds")
    for status, number in load.statuses.items():
        counts.add("writ_http_requests_total", number, route="/v1/intents", status=status)
    for kind, number in state(entries).items():
        counts.add("writ_state_items", number, kind=kind)
    return counts


def decided(counts, decision, sources):
    counts.add("writ_intents_total", verdict=decision["verdict"], code=decision["code"])
    if decision["round"] == 0:
        counts.add("writ_decision_duration_seconds_count", source=sources[decision["id"]])
    counts.add("writ_stage_duration_seconds_count", stage="decide")
    for gate in decision["gates"]:
        answer = answer_of(gate)
        if answer == "not_reached":
            continue
        counts.add("writ_gate_answers_total", gate=gate["gate"], answer=answer)
        counts.add("writ_gate_duration_seconds_count", gate=gate["gate"])
        if answer == "refused":
            counts.add("writ_gate_refusals_total", gate=gate["gate"], code=decision["code"])
    if decision["code"] in ERRORS_OF_GATES:
        counts.add("writ_stage_errors_total", stage="decide", code=decision["code"])


def ended(counts, receipt):
    counts.add("writ_receipts_total", status=receipt["status"], code=receipt["code"])
    counts.add("writ_stage_duration_seconds_count", stage="receipt")
    if receipt["status"] == "EXPIRED":
        counts.add("writ_stage_errors_total", stage="dispatch", code=receipt["code"])
    if receipt["connector"] == "outside" or receipt["code"] not in RESULTS:
        return  # nobody was called
    result = RESULTS[receipt["code"]]
    counts.add("writ_connector_calls_total", connector=receipt["connector"], result=result)
    for name, labels in (("writ_connector_duration_seconds_count", {"connector": receipt["connector"]}),
                         ("writ_stage_duration_seconds_count", {"stage": "connector"}), ("writ_stage_duration_seconds_count", {"stage": "judge"})):
        counts.add(name, **labels)
    if receipt["code"] != "OK":
        stage = "judge" if result == "done" else "connector"
        counts.add("writ_stage_errors_total", stage=stage, code=receipt["code"])


def charged(receipts):
    """Cents; the usage of one budget stands there by itself."""
    return sum(receipt["usage"]["amount"] for receipt in receipts if receipt["usage"])


def sampled(load):
    """Why traces are kept, where everything is that nobody asked about."""
    asked = [sent.sampled for sent in load.sent.values() if sent.traceparent] + [True] * len(load.others)
    return {"parent": asked.count(True), "unsampled": asked.count(False), "end": 0,
            "ratio": sum(sent.traceparent is None for sent in load.sent.values()) + workload.UNREADABLE}


def state(entries):
    of = lambda kind: [entry["event"] for entry in entries if entry["kind"] == kind]
    receipts = [event["payload"] for event in of("ReceiptIssued")]
    # An intent that did not get past trust and envelope has no claim on its id.
    claimed = {event["payload"]["id"] for event in of("DecisionMade")
               if all(answer_of(gate) == "passed" for gate in event["payload"]["gates"] if gate["gate"] in ("freeze", "trust", "envelope"))}
    return {"ids": len(claimed), "uncertain": sum(receipt["status"] == "UNCERTAIN" for receipt in receipts), "open": 0, "escalated": 0,
            "evidence": len(of("EvidenceRegistered"))}
