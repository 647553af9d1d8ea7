#!/usr/bin/env python3
"""Every alert of ops/prometheus/rules fires by its cause, and ends with it: many ledgers beside each other under one Prometheus.

    alerts.py [--writ target/release/writ] [--only CAUSE]... [--markdown FILE]

Windows, and times for which something must last, are divided by 60, so that hours are minutes; thresholds in hours and days, and that of
memory, too. What lasts a day is divided by 1440. Nothing else of a rule is changed. The table of docs/slo.md is what --markdown writes.
A disk of its own is mounted for some of the causes, for which root is needed.
Exit status: 0 every alert of the rules was seen to fire and to end, 1 not, 2 could not run.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("crash", "kafka")]
import system
from system import ROOT, Broken

import disks
import followers
import outside
import processes
from prometheus import Prometheus

RULES = ROOT / "ops/prometheus/rules"
CAUSES = (
    disks.SlowDisk, disks.StalledDisk, disks.FailingDisk, disks.FullDisk, disks.FillingDisk, processes.Killed, processes.Restarts, processes.JumpedClock,
    processes.ForgedLog, processes.NoAudit, processes.StuckSigner, processes.MuchMemory, processes.ManyFiles, followers.StoppedView,
    followers.LostView, followers.Flood, followers.LostCollector, outside.HangingConnector, outside.OldExecution, outside.AwayBroker,
    outside.FullConnector,
)

FACTOR, FACTOR_OF_DAYS = 60, 1440
# Thresholds that are as long as windows are, or as large as machines: divided, too.
THRESHOLDS = {"WritExecutionsOld": "3600", "WritMemoryHigh": "4 * 1024 * 1024 * 1024", "WritDiskFillsUp": "86400"}
OF_DAYS = {"WritAuditNotRun": "86400"}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

QUIET_SECONDS, FIRES_SECONDS_MAX, ENDS_SECONDS_MAX = 20, 420, 600
LOOK_SECONDS = 0.5
AT_ONCE = 6  # ledgers that are made at the same time


# --- Rules, in a hurry ------------------------------------------------------------------------------------------------


def divided(duration, factor):
    number, unit = re.fullmatch(r"(\d+)([smhd])", duration).groups()
    return f"{max(1, round(int(number) * SECONDS[unit] * 1000 / factor))}ms"


def scaled(text):
    """The rules of a file, with windows and durations divided."""
    out = []
    # An alert begins a block; what comes before the first one, and records, are blocks, too.
    for block in re.split(r"(?m)^(?= *- (?:alert|record|name): )", text):
        name = (re.search(r"- alert: (\w+)", block) or [None, ""])[1]
        factor = FACTOR_OF_DAYS if name in OF_DAYS else FACTOR
        block = re.sub(r"\[(\d+[smhd])\]", lambda it: f"[{divided(it[1], factor)}]", block)
        block = re.sub(r"(?m)^( *for: )(\d+[smhd])$", lambda it: it[1] + divided(it[2], factor), block)
        if threshold := (THRESHOLDS | OF_DAYS).get(name):
            if threshold not in block:
                raise Broken(f"{name} has no {threshold} any more: mend this test")
            block = block.replace(threshold, f"({threshold} / {factor})")
        out.append(block)
    return "".join(out)


def alerts_of(text):
    """Each with the window that tells it from others of its name, and its severity."""
    for block in re.split(r"(?m)^(?= *- (?:alert|record|name): )", text):
        if name := re.search(r"- alert: (\w+)", block):
            window = re.search(r"window: (\w+)", block)
            yield (name[1], window[1]) if window else name[1], re.search(r"severity: (\w+)", block)[1]


# --- The world --------------------------------------------------------------------------------------------------------


class Node:
    """A Kafka of one cause's own."""

    def __init__(self, folder):
        self.context = system.kafka(folder)
        self.bootstrap, self.folder = self.context.__enter__(), folder

    def send(self, number):
        os.kill(int((self.folder / "pid").read_text()), number)

    def suspend(self):
        self.send(signal.SIGSTOP)

    def resume(self):
        self.send(signal.SIGCONT)

    def end(self):
        self.resume()
        self.context.__exit__(None, None, None)


class World:
    def __init__(self, writ, folder):
        self.writ, self.folder, self.nodes = writ, folder, {}
        self.hinder = library(folder, ROOT / "tests/telemetry/hinder.c")
        self.shift = library(folder, ROOT / "tests/it/shift.c")

    def node(self, name):
        if name not in self.nodes:
            self.nodes[name] = Node(self.folder / f"{name}-kafka")
        return self.nodes[name]

    def end(self):
        for node in self.nodes.values():
            node.end()


def library(folder, source):
    path = folder / f"{source.stem}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, source], check=True, timeout=60)
    return path


class Watch(threading.Thread):
    """What fires, of which ledger, looked at again and again."""

    def __init__(self, prometheus):
        super().__init__(daemon=True)
        self.prometheus, self.firing, self.over = prometheus, {}, threading.Event()

    def run(self):
        while not self.over.wait(LOOK_SECONDS):
            try:
                alerts = self.prometheus.alerts()
            except Broken:
                continue  # the machine is busy
            found = {}
            for alert in (alert for alert in alerts if alert["state"] == "firing"):
                labels = alert["labels"]
                name = (labels["alertname"], labels["window"]) if "window" in labels else labels["alertname"]
                found.setdefault(labels.get("instance"), set()).add(name)
            self.firing = found

    def of(self, cause):
        return self.firing.get(cause.name, set())


# --- The run ----------------------------------------------------------------------------------------------------------


def seen(cause, watch):
    """Seconds until each alert fired, and until the last of them had ended; `never` has those that did not."""
    fired, began = {}, time.monotonic()
    provoked = concurrent.futures.ThreadPoolExecutor(1).submit(cause.provoke)
    while len(fired) < len(cause.alerts) and time.monotonic() < began + FIRES_SECONDS_MAX:
        for name in watch.of(cause) & set(cause.alerts):
            fired.setdefault(name, time.monotonic() - began)
        time.sleep(LOOK_SECONDS)
    provoked.result()
    cause.mend()
    ended, mended = {}, time.monotonic()
    while len(ended) < len(fired) and time.monotonic() < mended + ENDS_SECONDS_MAX:
        for name in fired.keys() - watch.of(cause):
            ended.setdefault(name, time.monotonic() - mended)
        for name in watch.of(cause) & ended.keys():
            del ended[name]
        time.sleep(LOOK_SECONDS)
    rows = {name: (fired.get(name), ended.get(name)) for name in cause.alerts}
    print(f"{cause.name}: {', '.join(f'{shown(name)} {seconds(one)}/{seconds(other)}' for name, (one, other) in rows.items())}", flush=True)
    return rows


def seconds(value):
    return "never" if value is None else f"{value:.0f} s"


def shown(name):
    return f"{name[0]} ({name[1]})" if isinstance(name, tuple) else name


def run(options, folder):
    texts = {path.name: path.read_text() for path in sorted(RULES.glob("*.yml"))}
    declared = dict(alert for text in texts.values() for alert in alerts_of(text))
    rules = folder / "rules"
    rules.mkdir()
    for name, text in texts.items():
        (rules / name).write_text(scaled(text))
    world, causes = World(options.writ, folder), []
    chosen = [one for one in CAUSES if not options.only or one.__name__ in options.only]
    try:
        for one in chosen:
            causes.append(one(world))
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda cause: cause.begin(), causes))
        targets = {cause.ledger.http: {"instance": cause.name} for cause in causes}
        with Prometheus(folder / "prometheus", targets, sorted(rules.iterdir())) as prometheus:
            watch = Watch(prometheus)
            watch.start()
            world.watch = watch
            time.sleep(QUIET_SECONDS)
            loud = {cause.name: watch.of(cause) - set(cause.alerts) for cause in causes}
            if loud := {name: alerts for name, alerts in loud.items() if alerts}:
                print(f"before anything was broken: {loud}", flush=True)
            with concurrent.futures.ThreadPoolExecutor(len(causes)) as pool:
                rows = list(pool.map(lambda cause: seen(cause, watch), causes))
            watch.over.set()
            watch.join()
    finally:
        for cause in causes:
            cause.end()
        world.end()
    return declared, [(cause, name, *row[name]) for cause, row in zip(causes, rows) for name in cause.alerts]


def table(declared, rows):
    yield "| alert | severity | cause | fires after | ends after |"
    yield "| --- | --- | --- | --- | --- |"
    for cause, name, fired, ended in sorted(rows, key=lambda row: shown(row[1])):
        yield f"| {shown(name)} | {declared.get(name, '?')} | {cause.does} | {seconds(fired)} | {seconds(ended)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--writ", type=pathlib.Path, default=system.default_writ())
    add("--only", action="append", choices=[one.__name__ for one in CAUSES], metavar="CAUSE")
    add("--markdown", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    if not options.writ.is_file():
        print(f"alerts: {options.writ} is not there: cargo build --release", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="writ-alerts-", ignore_cleanup_errors=True) as folder:
        declared, rows = run(options, pathlib.Path(folder))
    lines = list(table(declared, rows))
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")
    missing = [] if options.only else sorted(shown(name) for name in declared.keys() - {name for _, name, _, _ in rows})
    failed = [shown(name) for _, name, fired, ended in rows if fired is None or ended is None]
    unknown = [shown(name) for _, name, _, _ in rows if name not in declared]
    print(f"{len(rows) - len(failed)} alerts fired and ended; {len(failed)} did not: {failed}; without a cause: {missing}; not of the rules: {unknown}")
    return 1 if failed or missing or unknown else 0


if __name__ == "__main__":
    system.script("alerts", main, subprocess.SubprocessError, OSError)
