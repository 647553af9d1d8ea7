"""Who is not known to the collector: it refuses them, and a ledger says so, once, and goes on."""

import os
import time

from collector import Collector
from ledger import Ledger
from system import Broken

import system
import traffic
import workload

SAID_SECONDS_MAX = 60
STOP_SECONDS_MAX = 3
INTENTS = 20
FAILURES_MIN = 3  # exports that fail before it is asked how often that was said
SETTINGS = {"OTEL_TRACES_SAMPLER": "parentbased_always_on", "OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_METRIC_EXPORT_INTERVAL": "300"}


def plain():
    """A policy under which a note passes."""
    return system.bundle(workload.unreachable())


def all_are_refused(writ, folder):
    with Collector(folder / "strict") as collector:
        for client, why in ((None, "CertificateRequired"), ("stranger", "UnknownCA")):
            refused(writ, folder, collector, client, why)
        for kind in ("traces", "metrics", "logs"):
            if collector.requests(kind):
                raise Broken(f"the collector has taken {kind} of somebody it does not know")
    print("a client without a certificate, and one of another authority, are refused, and say so")


def refused(writ, folder, collector, client, why):
    name = client or "nobody"
    ledger = Ledger(writ, folder / name, None)
    ledger.found(plain())
    ledger.serve(env={**os.environ, **collector.variables(client), **SETTINGS})
    try:
        ledger.wait_until_ready()
        answers = traffic.at_once(ledger, INTENTS)
        if any(answer.get("answer") != "decided" for answer in answers):
            raise Broken(f"{name}: the ledger does not decide while the collector refuses it: {answers[:1]}")
        failures = lambda: (ledger.metric("writ_telemetry_export_failures_total") or 0) >= FAILURES_MIN
        ledger.wait("failed exports", failures, SAID_SECONDS_MAX)
        said = [line for line in ledger.said() if "the collector" in line]
        if len(said) != 1 or why not in said[0]:
            raise Broken(f"{name}: the collector refuses it, and it says {len(said)} times why ({why}): {said[:5]}")
        began = time.monotonic()
        ledger.stop()
        if (took := time.monotonic() - began) > STOP_SECONDS_MAX:
            raise Broken(f"{name}: it took {took:.1f} s to stop")
    finally:
        if ledger.process.poll() is None:
            ledger.kill()
