#!/usr/bin/env python3
"""What telemetry costs: ledgers side by side in turns, without it, with it, and with a collector that stands still.

    load.py [--writ target/release/writ] [--rounds 20] [--intents 4000] [--json]

A round sends as many intents to each in turn, in an order that rotates, and takes the time from the first byte until the last
receipt is durable. `off` has no endpoint; `on` samples 10 % and sends traces, metrics and logs over mutual TLS; `stopped` is the same until
its collector is suspended in the middle of a round (SIGSTOP), which is not counted. Compare the ratios of one run.
Then a ledger that samples everything loses its collector under load: spans that were exported and spans that were dropped are
together those that were made, as the log gives them when it is counted. Exit status: 0 within the bounds, 1 not, 2 could not run.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("crash", "kafka")]
import system
from system import Broken

import producer
import strangers
import traces
from collector import Collector
from ledger import Ledger
from traffic import Traffic

SENDERS = 4
HTTP_SECONDS_MAX = 120
PAUSE_SECONDS = 0.5  # after a turn: what is left to do is done, so that the next one has the cores for itself
POLL_SECONDS = 0.02
ON_RATIO_MIN, STOPPED_RATIO_MIN = 0.95, 0.98
STOP_SECONDS_MAX = 3
EXACT_INTENTS, EXACT_SECONDS_MAX = 6000, 480  # nine batches wait, and each is tried for 30 s
TICKS = os.sysconf("SC_CLK_TCK")

ON = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1", "OTEL_METRIC_EXPORT_INTERVAL": "5000"}
ALL = {**ON, "OTEL_TRACES_SAMPLER_ARG": "1.0", "OTEL_BSP_SCHEDULE_DELAY": "500"}


class Side:
    """A ledger with or without a collector; `sent` counts intents."""

    def __init__(self, writ, folder, name, collector=None, settings=ON):
        self.name, self.collector, self.sent = name, collector, 0
        self.ledger = Ledger(writ, folder / name, None)
        self.ledger.found(strangers.plain())
        self.maker = Traffic(self.ledger, 1, name=name)
        env = {**os.environ, **(collector.variables() | settings if collector else {})}
        self.ledger.serve("--log-format", "json", env=env)
        self.ledger.wait_until_ready()

    def bodies(self, intents):
        return [b"".join(self.maker.envelope() + b"\n" for _ in range(intents // SENDERS)) for _ in range(SENDERS)]

    def send(self, body):
        host, port = self.ledger.http.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=HTTP_SECONDS_MAX)
        try:
            connection.request("POST", "/v1/intents", body, {"Content-Type": "application/x-ndjson"})
            return connection.getresponse().read().count(b'"answer":"decided"')
        finally:
            connection.close()

    def turn(self, bodies, during=lambda: None):
        """Seconds from the first byte until the last receipt is durable, and those of a processor that it took."""
        intents = sum(body.count(b"\n") for body in bodies)
        used, began = self.cpu_seconds(), time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(SENDERS) as pool:
            answers = [pool.submit(self.send, body) for body in bodies]
            during()
            decided = sum(answer.result() for answer in answers)
        if decided != intents:
            raise Broken(f"{self.name}: {decided} of {intents} intents were decided")
        self.sent += intents
        while self.ledger.metric("writ_receipts_total") < self.sent:
            if time.monotonic() > began + HTTP_SECONDS_MAX:
                raise Broken(f"{self.name}: {self.ledger.metric('writ_receipts_total')} receipts of {self.sent}")
            time.sleep(POLL_SECONDS)
        took = time.monotonic() - began
        time.sleep(PAUSE_SECONDS)
        return took, self.cpu_seconds() - used

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.ledger.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def dropped(self):
        return self.values("writ_telemetry_dropped_total")

    def values(self, name):
        """By labels as they stand in the line."""
        lines = system.get(self.ledger.http, "/metrics", 20)[1].decode().splitlines()
        return {line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if line.startswith(f"{name}{{")}

    def end(self):
        """Seconds that a polite end takes."""
        began = time.monotonic()
        self.ledger.stop()
        return time.monotonic() - began

    def kill(self):
        if self.ledger.process.poll() is None:
            self.ledger.kill()


def rounds(sides, options):
    """Rows of seconds by name; the collector of `stopped` is suspended in the middle of a round that does not count."""
    found, order = {side.name: [] for side in sides}, list(sides)
    for number in range(-2, options.rounds):
        bodies = {side.name: side.bodies(options.intents) for side in sides}
        for side in order:
            suspended = number == -1 and side.name == "stopped"
            took, cpu = side.turn(bodies[side.name], side.collector.suspend if suspended else lambda: None)
            if number >= 0:
                found[side.name].append((took, cpu))
        order = order[1:] + order[:1]
        print(f"round {number}: {', '.join(f'{name} {rows[-1][0]:.2f} s' for name, rows in found.items() if rows)}", file=sys.stderr, flush=True)
    return found


def ratio(found, one, other):
    """How fast one is beside the other: the median of the rounds, in each of which both had the same machine."""
    return statistics.median(there[0] / here[0] for here, there in zip(found[one], found[other]))


def cost(found, one, other):
    """The same of processors' time: 1.03 is 3 % more."""
    return statistics.median(here[1] / there[1] for here, there in zip(found[one], found[other]))


def compare(options, folder):
    with Collector(folder / "collector") as well, Collector(folder / "suspended") as suspended:
        sides = []
        try:
            for name, collector in (("off", None), ("on", well), ("stopped", suspended)):
                sides.append(Side(options.writ, folder, name, collector))
            found = rounds(sides, options)
            dropped = {side.name: {labels: number for labels, number in side.dropped().items() if number} for side in sides}
            ended = {side.name: side.end() for side in sides}
        finally:
            for side in sides:
                side.kill()
    return {
        "per_s": {name: round(options.intents / statistics.median(took for took, _ in rows)) for name, rows in found.items()},
        "cpu_us": {name: round(1e6 * statistics.median(cpu for _, cpu in rows) / options.intents) for name, rows in found.items()},
        "on_ratio": round(ratio(found, "on", "off"), 3), "stopped_ratio": round(ratio(found, "stopped", "on"), 3),
        "on_cpu_ratio": round(cost(found, "on", "off"), 3), "stopped_cpu_ratio": round(cost(found, "stopped", "on"), 3),
        "dropped": dropped, "stop_s": {name: round(seconds, 2) for name, seconds in ended.items()},
    }


def exact(options, folder):
    """Spans of a ledger whose collector stops under load: made, exported, dropped."""
    with Collector(folder / "lost") as collector:
        side = Side(options.writ, folder, "exact", collector, ALL)
        try:
            side.turn(side.bodies(EXACT_INTENTS // 3))
            side.turn(side.bodies(EXACT_INTENTS // 3), collector.suspend)
            side.turn(side.bodies(EXACT_INTENTS // 3))
            made, deadline = made_of(side.ledger), time.monotonic() + EXACT_SECONDS_MAX
            while (told := counted(side))[0] + told[1] != made:
                if time.monotonic() > deadline or told[2]:
                    raise Broken(f"{made} spans were made; {told[0]} were exported, {told[1]} dropped, {told[2]} facts of them: {side.dropped()}")
                time.sleep(0.5)
            stop_s = side.end()
        finally:
            side.kill()
        collector.stop()
        came = sum(len(scope["spans"]) for request in collector.requests("traces") for one in request["resourceSpans"] for scope in one["scopeSpans"])
    if not told[0] <= came <= made:
        raise Broken(f"{came} spans came to the collector, {told[0]} were exported, {made} made")
    return {"made": made, "exported": int(told[0]), "dropped": int(told[1]), "stop_s": round(stop_s, 2)}


def counted(side):
    """Spans exported, spans dropped, facts dropped."""
    of = lambda values, kind: sum(value for labels, value in values.items() if f'signal="{kind}"' in labels)
    dropped = side.dropped()
    return of(side.values("writ_telemetry_exported_total"), "traces"), of(dropped, "traces"), of(dropped, "facts")


def made_of(ledger):
    """Spans that the log's intents must have: theirs, and three of each batch that one of them is in."""
    entries = ledger.entries()
    cases = traces.cases(entries)
    batches = {entry["recorded_at"] for entry in entries if entry["kind"] in ("IntentAdmitted", "DispatchStarted", "ReceiptIssued")}
    # A request has one span, whatever stands in its lines.
    requests = 3 * SENDERS
    spans = sum(sum(number for (_, name), number in case.edges(ledger.policy["connectors"], published=False).items() if name != traces.REQUEST)
                for case in cases.values())
    return spans + requests + 3 * len(batches)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--writ", type=pathlib.Path, default=system.default_writ())
    add("--rounds", type=int, default=20)
    add("--intents", type=int, default=4000, help="of each turn")
    add("--json", action="store_true")
    options = parser.parse_args()
    if not options.writ.is_file():
        raise producer.CouldNotRun(f"{options.writ} is not there: cargo build --release")
    with tempfile.TemporaryDirectory(prefix="writ-load-") as scratch:
        found = compare(options, pathlib.Path(scratch))
        found["exact"] = exact(options, pathlib.Path(scratch))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))
    slow = [name for name, least in (("on_ratio", ON_RATIO_MIN), ("stopped_ratio", STOPPED_RATIO_MIN)) if found[name] < least]
    late = [seconds for seconds in (*found["stop_s"].values(), found["exact"]["stop_s"]) if seconds > STOP_SECONDS_MAX]
    if slow or late:
        raise Broken(f"too slow: {slow}, {late}")
    return 0


if __name__ == "__main__":
    system.script("load", main, producer.CouldNotRun, subprocess.SubprocessError)
