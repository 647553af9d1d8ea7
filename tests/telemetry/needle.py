#!/usr/bin/env python3
"""One slow decision among 100 000 is found by somebody who has nothing but the alert's page.

    needle.py [--writ target/release/writ] [--intents 100000]

The sync of one decision takes 3 s longer, once. When WritDecisionStalled fires, the queries and commands of docs/runbooks/WritDecisionStalled.md are
taken from the page and run as they stand there; what is put into them is what the one before has printed. It is done twice: the producer of
the slow intent has a trace that is sampled, or none.
Exit status: 0 the page leads to the intent and to what held it up, 1 not, 2 could not run.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("crash", "kafka")]
import system
from system import ROOT, Broken

import alerts
import producer
import strangers
import traffic
import workload
from collector import Collector
from ledger import Ledger
from prometheus import Prometheus
from traffic import Traffic

PAGE = ROOT / "docs/runbooks/WritDecisionStalled.md"
ALERT = "WritDecisionStalled"
STALL_S = 3
LINES = 2000
# What the stages are called that a slow sync shows in.
STAGE = "append"
FIRES_SECONDS_MAX = 120
SETTINGS = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}


def blocks(kind):
    """Of the page, in order."""
    return [re.sub(r"(?m)^   ", "", block) for block in re.findall(rf"(?ms)^ *```{kind}\n(.*?)^ *```$", PAGE.read_text())]


class Reader:
    """Somebody new, at three in the morning: he has the page, Prometheus, the collector's files and the ledger."""

    def __init__(self, ledger, prometheus, collector, since):
        self.ledger, self.prometheus, self.collector, self.since = ledger, prometheus, collector, since
        self.tools = collector.folder / "bin"
        self.tools.mkdir()
        (self.tools / "writ").symlink_to(pathlib.Path(ledger.writ).resolve())

    def query(self, text):
        """The labels of what a query found since then, with when it did."""
        return [(labels, points[0][0]) for labels, points in self.prometheus.over(text, self.since, time.time(), 1)]

    def shell(self, text, **put):
        for word, value in {"DIR": self.ledger.folder, **put}.items():
            text = re.sub(rf"\b{word}\b", str(value), text)
        env = {**os.environ, "PATH": f"{self.tools}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", text], cwd=self.collector.folder, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise Broken(f"a command of the page fails: {text}\n{done.stderr[-1000:]}")
        return done.stdout

    def stages(self):
        """Steps 1 and 2: sources, stages and gates that took longer than 2.5 s."""
        first, second = blocks("promql")
        found = [label for query in (first, *second.splitlines()) for labels, _ in self.query(query) for label in labels.values()]
        if STAGE not in found:
            raise Broken(f"the queries of the page find {found}, not {STAGE}")
        return found

    def by_trace(self):
        """Step 3: the seq of the slowest intent, and the spans of its trace."""
        slowest, spans, *_ = blocks("sh")
        lines = self.shell(slowest).splitlines()
        seconds, trace, _ = lines[0].split(" ", 2)
        if float(seconds) < STALL_S:
            return None
        rows = self.shell(spans, TRACE_ID=trace).splitlines()
        [seq] = {found for row in rows if "\tdecide\t" in row for found in re.findall(r"writ\.seq=(\d+)", row)}
        return int(seq)

    def by_gap(self):
        """Step 5: the entries on both sides of the longest gap."""
        gaps = self.shell(blocks("sh")[3]).splitlines()
        return [tuple(map(int, re.search(r"between entries (\d+) and (\d+)", gap).groups())) for gap in gaps]

    def intent(self, seq):
        """Step 4: tenant and id, and what became of it."""
        show, case, explain = blocks("sh")[2].strip().splitlines()
        line = self.shell(show, SEQ=seq)
        tenant, name = re.search(rf"({system.TENANT})/(\S+)", line).groups()
        return name, self.shell(case, TENANT=tenant, ID=name), self.shell(explain, TENANT=tenant, ID=name)


def slow_one(ledger, hinder, name, context):
    """A decision by itself, whose sync takes so much longer."""
    maker = Traffic(ledger, 1, name=name)
    hinder.write_text(f"/log/ {STALL_S * 1_000_000} 0\n")
    headers = {"traceparent": context} if context else {}
    status, answer = ledger.submit(maker.envelope(), **headers)
    hinder.write_text("")
    if answer.get("answer") != "decided":
        raise Broken(f"{status} {answer}")
    return f"{name}-0000000"


def play(ledger, hinder, intents, context):
    """The id of the slow one: it comes in the middle of the others."""
    many = lambda name: [traffic.at_once(ledger, LINES, f"{name}-{number}") for number in range(intents // LINES // 2)]
    many("before")
    name = slow_one(ledger, hinder, "needle", context)
    many("after")
    return name


def find(options, folder, context):
    folder.mkdir()
    hinder = folder / "hinder"
    hinder.touch()
    library = alerts.library(folder, ROOT / "tests/telemetry/hinder.c")
    with Collector(folder / "collector") as collector:
        ledger = Ledger(options.writ, folder / "ledger", None)
        ledger.found(strangers.plain())
        env = {**os.environ, "LD_PRELOAD": str(library), "HINDER": str(hinder), **collector.variables(), **SETTINGS, "OTEL_SERVICE_NAME": "writ"}
        ledger.serve(env=env)
        try:
            ledger.wait_until_ready()
            with Prometheus(folder / "prometheus", {ledger.http: {"instance": "ledger"}}, sorted(alerts.RULES.glob("*.yml"))) as prometheus:
                since = time.time()
                name = play(ledger, hinder, options.intents, context)
                fires = lambda: any(alert["labels"]["alertname"] == ALERT and alert["state"] == "firing" for alert in prometheus.alerts())
                ledger.wait(ALERT, fires, FIRES_SECONDS_MAX)
                reader = Reader(ledger, prometheus, collector, since)
                stages, found = reader.stages(), seek(reader, context)
                ledger.stop()
        finally:
            if ledger.process.poll() is None:
                ledger.kill()
    if found[0] != name:
        raise Broken(f"the page leads to {found[0]}, and {name} was the slow one")
    print(f"{ALERT} fired; {', '.join(sorted(set(stages)))} took longer than 2.5 s; the page leads to {found[0]} "
          f"{'by its trace' if context else 'by the gap in the log'}, among {options.intents} others")


def seek(reader, context):
    if context:
        seq = reader.by_trace()
        if seq is None:
            raise Broken("the slowest trace is not that of the slow one")
        return reader.intent(seq)
    gaps = reader.by_gap()
    for before, after in gaps:
        for seq in (before, after):
            found = candidate(reader, seq)
            if found:
                return found
    raise Broken(f"no gap of the log leads to an intent: {gaps}")


def candidate(reader, seq):
    """The intent of the batch that an entry is in: entries of one time."""
    entries = reader.ledger.entries()
    [at] = {entry["recorded_at"] for entry in entries if entry["seq"] == seq}
    admitted = [entry["seq"] for entry in entries if entry["recorded_at"] == at and entry["kind"] == "IntentAdmitted"]
    return reader.intent(admitted[0]) if len(admitted) == 1 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writ", type=pathlib.Path, default=system.default_writ())
    parser.add_argument("--intents", type=int, default=100_000)
    options = parser.parse_args()
    if not options.writ.is_file():
        print(f"needle: {options.writ} is not there: cargo build --release", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="writ-needle-") as folder:
        for name, context in (("traced", workload.traceparent()), ("untraced", None)):
            find(options, pathlib.Path(folder) / name, context)
    return 0


if __name__ == "__main__":
    system.script("needle", main, producer.CouldNotRun, subprocess.SubprocessError, OSError)
