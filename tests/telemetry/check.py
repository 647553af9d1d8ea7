#!/usr/bin/env python3
"""A ledger's telemetry, end to end: a real Kafka, a real collector with mutual TLS, a real Prometheus, and a workload of which all is known.

    check.py [--writ target/release/writ]

Traces are what docs/tracing.md says, metrics are what the log gives when it is counted, both ways out say the same, nothing that is
planted is found in anything, and who is not known to the collector is told so. Exit status: 0 all of it holds, 1 something does not,
2 could not run.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("crash", "kafka")]
import system
from system import Broken, get

import counts
import policy
import producer
import services
import spans
import strangers
import traces
import ways_out
import workload
from collector import Collector
from confluent_kafka import KafkaException
from ledger import Ledger
from prometheus import Prometheus

QUIET_SECONDS_MAX = 60
SERVICE, ENVIRONMENT = "writ-check", "tests"
SETTINGS = {
    # Also what is said about single calls, which is in the trace of an intent.
    "WRIT_LOG": "warn,writ=info,writ::executor=debug",
    "OTEL_TRACES_SAMPLER": "parentbased_always_on", "OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_METRIC_EXPORT_INTERVAL": "500",
    "OTEL_SERVICE_NAME": SERVICE, "OTEL_RESOURCE_ATTRIBUTES": f"deployment.environment.name={ENVIRONMENT}",
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={workload.HEADER}",
}
# A caller may have every intent sampled here.
TABLE = "[telemetry]\nremote_per_second = 1000\nends_per_second = 1000"

# What goes on by itself, or by being asked, so that two looks at it differ.
MOVING = ("process_", "writ_disk_free_bytes", "writ_audit_age_seconds", "writ_clock_off_seconds", "writ_connections", "writ_segments_prepared",
          "writ_telemetry_exported_total")
ASKED = {("route", "/metrics"), ("route", "/health/ready")}


def moves(series):
    return series.name.startswith(MOVING) or ASKED & set(series.labels)


# --- What must hold ---------------------------------------------------------------------------------------------------


def both_ways_out_agree(prometheus, collector):
    """Series of one that the other lacks or has otherwise."""
    scraped, exported = ways_out.scraped(prometheus), ways_out.exported(collector)
    names = {series for series in scraped.keys() ^ exported.keys() if not ASKED & set(series.labels)}
    values = [series for series in scraped.keys() & exported.keys() if not moves(series) and not equal(scraped[series], exported[series])]
    return [f"{series}: scraped {scraped.get(series)}, exported {exported.get(series)}" for series in sorted([*names, *values])]


def equal(one, other):
    # Sums of seconds are added up in another order.
    return abs(one - other) <= 1e-9 * max(1, abs(one), abs(other))


def the_log_agrees(load, values):
    """Series that say something else than the log."""
    expected = counts.counted(load)
    told = {series.name for series in expected}
    different = [series for series in expected.keys() | values.keys() if series.name in told and counts.is_told(series)
                 and not equal(values.get(series, math.nan), expected.get(series, 0))]
    loud = [series for series, value in values.items() if value != 0 and counts.NOT_IN_THE_LOG.get(series.name) == counts.QUIET]
    return [f"{series}: {values.get(series)}, counted {expected.get(series, 0)}" for series in sorted([*different, *loud])]


def everything_declared_is_there(load, values):
    """And nothing else; each with the labels that the page names."""
    declared = ways_out.declared()
    found = {}
    for series in values:
        name = ways_out.base(series.name, declared)
        if name is None:
            raise Broken(f"{series} is not declared")
        found.setdefault(name, set()).add(tuple(sorted(key for key, _ in series.labels if key != "le")))
    if missing := declared.keys() - found.keys():
        raise Broken(f"declared, and not there: {sorted(missing)}")
    for name, labels in found.items():
        if labels != {tuple(sorted(declared[name]))}:
            raise Broken(f"{name} has the labels {labels}, the page says {declared[name]}")
    checked = counts.NOT_IN_THE_LOG.keys() | {ways_out.base(series.name, declared) for series in counts.counted(load)}
    if unknown := declared.keys() - checked:
        raise Broken(f"nothing checks {sorted(unknown)}: add them to counts.py")
    return len(declared)


def promtool_is_pleased(ledger):
    done = subprocess.run(["promtool", "check", "metrics"], input=get(ledger.http, "/metrics", 20)[1], capture_output=True, timeout=60)
    if done.returncode != 0 or done.stdout or done.stderr:
        raise Broken(f"promtool check metrics: {(done.stdout + done.stderr).decode()[:1000]}")


def connectors_got_the_context(load, service, received):
    """Each call has the trace of its intent, and as parent the span of the call."""
    cases = traces.cases(load.ledger.entries())
    by_key = {decision["execution"]["idempotency_key"].removeprefix("blake3:"): case for case in cases.values() for decision in case.decisions if decision.get("execution")}
    for call in service.calls:
        case = by_key[call.headers["idempotency-key"].strip('"')]
        _, trace, parent, flags = call.headers.get("traceparent", "---").split("-")
        span = received.get(parent)
        sampled = load.sent[case.id.removeprefix(load.prefix)].sampled
        if trace != case.trace or flags != ("01" if sampled else "00") or (sampled and (span is None or span.name != "POST" or span.trace != trace)):
            raise Broken(f"{call.path} was called for {case.id} with traceparent {call.headers.get('traceparent')}; its trace is {case.trace}, its span {span}")
    return len(service.calls)


def show_prints_the_trace(load):
    for case in traces.cases(load.ledger.entries()).values():
        words = load.ledger.run("show", "--data", load.ledger.folder, workload.TENANT, case.id)
        if case.trace and case.trace not in words:
            raise Broken(f"writ show {case.id} does not print the trace {case.trace}: {words[:500]}")


def resources(collector):
    """Every signal says of what service it is."""
    for kind, key in (("traces", "resourceSpans"), ("metrics", "resourceMetrics"), ("logs", "resourceLogs")):
        said = [spans.attributes_of(one["resource"]["attributes"]) for request in collector.requests(kind) for one in request[key]]
        if not said:
            raise Broken(f"no {kind} have come")
        for one in said:
            if (one.get("service.name"), one.get("deployment.environment.name")) != (SERVICE, ENVIRONMENT) or not one.get("service.version"):
                raise Broken(f"{kind} come from {one}")


def logs_have_traces(load, collector, received):
    """Lines on standard error are JSON, those about an intent carry its trace, and the collector has them, too."""
    lines = [json.loads(line) for line in load.ledger.said()]
    ours = {(line["trace_id"], line.get("span_id")) for line in lines if line.get("trace_id")}
    records = [record for request in collector.requests("logs") for one in request["resourceLogs"] for scope in one["scopeLogs"] for record in scope["logRecords"]]
    theirs = {(record["traceId"], record.get("spanId")) for record in records if record.get("traceId")}
    if not ours or ours != theirs:
        raise Broken(f"lines with traces: {len(ours)} on standard error, {len(theirs)} came to the collector, {len(ours ^ theirs)} differ")
    if strange := [(trace, span) for trace, span in ours if span not in received or received[span].trace != trace]:
        raise Broken(f"lines carry {strange[:3]}, and there are no such spans")
    return len(lines), len(records)


def nothing_planted_is_found(*places):
    """In what was exported, scraped and said."""
    for place, content in places:
        # Connectors are named by the policy, not by who asks.
        if (at := content.find(workload.PLANTED.encode())) >= 0:
            raise Broken(f"{place} has {content[max(0, at - 80):at + 60]!r}")


# --- The run ----------------------------------------------------------------------------------------------------------


def settle(what, different):
    """Waits until there is no difference any more; what is exported and scraped comes a little later than it happens."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while found := different():
        if time.monotonic() > deadline:
            raise Broken(f"{what}: {len(found)} differ:\n" + "\n".join(found[:40]))
        time.sleep(0.3)


def spans_have_come(collector, prometheus, load):
    """Every span that was made is there."""
    made = sum(value for series, value in ways_out.scraped(prometheus).items()
               if series.name == "writ_telemetry_exported_total" and ("signal", "traces") in series.labels)
    came = len(spans.received(collector))
    return [] if made == came and all(load.ledger.metric(name) == 0 for name in ("writ_follower_lag_entries",)) else [f"spans: {made} exported, {came} came"]


def check(options, folder):
    with system.kafka(folder / "kafka") as bootstrap, services.Service() as service, Collector(folder / "collector") as collector:
        ledger = Ledger(options.writ, folder / "ledger", bootstrap)
        ledger.found(policy.bundle(service, workload.unreachable(), time.gmtime().tm_wday))
        ledger.configure(TABLE)
        load = workload.Workload(ledger)
        ledger.serve("--log-format", "json", env={**os.environ, **collector.variables(), **SETTINGS})
        try:
            ledger.wait_until_ready()
            with Prometheus(folder / "prometheus", {ledger.http: {}}, interval="500ms") as prometheus:
                load.run()
                load.require_as_planned()
                settle("spans", lambda: spans_have_come(collector, prometheus, load))
                received = spans.received(collector)
                whole = traces.all_of(load, received)
                print(f"{whole} traces are whole: {len(received)} spans")
                print(f"{connectors_got_the_context(load, service, received)} calls carried the context of their intent")
                settle("the log and /metrics", lambda: the_log_agrees(load, ways_out.scraped(prometheus)))
                settle("/metrics and OTLP", lambda: both_ways_out_agree(prometheus, collector))
                values = ways_out.scraped(prometheus)
                print(f"{everything_declared_is_there(load, values)} metrics, {len(values)} series: as counted from the log, the same both ways")
            promtool_is_pleased(ledger)
            show_prints_the_trace(load)
            metrics = get(ledger.http, "/metrics", 20)[1]
            ledger.stop()
        finally:
            if ledger.process.poll() is None:
                ledger.kill()
        collector.stop()
        resources(collector)
        lines, records = logs_have_traces(load, collector, received)
        print(f"{lines} lines, {records} of them came to the collector, with their traces")
        nothing_planted_is_found(("/metrics", metrics), ("standard error", ledger.log.read_bytes()),
                                 *((f"what came as {kind}", collector.file(kind).read_bytes()) for kind in ("traces", "metrics", "logs")))
    strangers.all_are_refused(options.writ, folder)
    print("telemetry: all of it holds")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writ", type=pathlib.Path, default=system.default_writ())
    parser.add_argument("--keep", type=pathlib.Path, metavar="FOLDER", help="where everything is left behind")
    options = parser.parse_args()
    if not options.writ.is_file():
        print(f"telemetry: {options.writ} is not there: cargo build --release", file=sys.stderr)
        return 2
    if options.keep:
        options.keep.mkdir(parents=True)
        return check(options, options.keep)
    with tempfile.TemporaryDirectory(prefix="writ-telemetry-") as folder:
        return check(options, pathlib.Path(folder))


if __name__ == "__main__":
    system.script("telemetry", main, producer.CouldNotRun, KafkaException, subprocess.SubprocessError)
