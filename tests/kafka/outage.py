#!/usr/bin/env python3
"""Kafka goes away for longer than any patience, and comes back: what was decided in between must be published, once.

    outage.py [--writ target/release/writ]

On one ledger: while nothing is under way, and under load, so that a transaction is cut. Each time intents are submitted over the
ledger's socket while the broker is dead. A broker that ends a transaction because it took too long fences its producer as another
process would, and nobody can tell them apart: then, and only then, `writ serve` may end, and is started again.
Exit status: 0 all passed, 1 one did not, 2 could not run.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))

import system
from system import BROKER, COMMAND_SECONDS_MAX, PRINCIPAL, TENANT, Broken, get

import producer  # examples/python: the topics' names, quiet clients
from confluent_kafka import Consumer, OFFSET_BEGINNING, TopicPartition

# Above the 15 s that the outlet gives a commit, and in the second case above the 30 s that the broker gives a transaction.
QUIET_SECONDS, LOADED_SECONDS = 25, 45
BACK_SECONDS_MAX = 90
LOAD = 3000  # intents: more than one transaction


class Decisions:
    """What a `read_committed` reader sees of the decisions topic, from its first record on."""

    def __init__(self, bootstrap):
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": "outage", "enable.auto.commit": False,
            "isolation.level": "read_committed", **producer.QUIET,
        })
        partitions = self.consumer.list_topics(timeout=20).topics[producer.DECISIONS].partitions
        self.consumer.assign([TopicPartition(producer.DECISIONS, number, OFFSET_BEGINNING) for number in partitions])
        self.seen = []

    def poll(self):
        message = self.consumer.poll(0.2)
        if message is not None and not message.error():
            self.seen.append(dict(message.headers())["ce_id"].decode())

    def wait_for(self, count, ledger):
        deadline = time.monotonic() + BACK_SECONDS_MAX
        while len(self.seen) < count:
            require_served(ledger)
            if time.monotonic() > deadline:
                raise Broken(f"{len(self.seen)} of {count} decisions have come {BACK_SECONDS_MAX} s after the broker is back")
            self.poll()
        until = time.monotonic() + 2  # what comes twice comes late
        while time.monotonic() < until:
            self.poll()
        if len(self.seen) != count or len(set(self.seen)) != count:
            raise Broken(f"{len(self.seen)} decisions have come, {len(set(self.seen))} different ones, not {count}")


def require_served(ledger):
    if (status := ledger.process.poll()) is None:
        return
    if "ERR_KAFKA_FENCED" not in ledger.last_words():
        raise Broken(f"writ serve ended by itself with status {status}")
    print("fenced: served again", flush=True)
    ledger.serve()
    ledger.wait_until_ready()


def submit(ledger, name, count):
    hour = time.time_ns() // 1000 + 3_600_000_000
    intents = [
        {"tenant": TENANT, "id": f"{name}-{number}", "principal": PRINCIPAL, "action": "notes.add", "args": {"text": "x"},
         "expires_at": hour} for number in range(count)
    ]
    file = ledger.folder.with_suffix(f".{name}.jsonl")
    file.write_text("".join(json.dumps(intent) + "\n" for intent in intents))
    ledger.run("submit", "--data", ledger.folder, "--json", file)


def lag(ledger):
    lines = get(ledger.http, "/metrics", 10)[1].decode().splitlines()
    values = [line.rpartition(" ")[2] for line in lines if line.startswith("writ_kafka_lag_entries")]
    return float(values[0]) if values else 0.0


def outage(ledger, kafka, decisions, seconds, before, during):
    """Kills the broker right after `before` was submitted, and starts it again when it was away for so long."""
    came = len(decisions.seen)
    for name, count in before:
        submit(ledger, name, count)
    subprocess.run([BROKER, "kill", kafka], check=True, timeout=COMMAND_SECONDS_MAX)
    for name, count in during:
        submit(ledger, name, count)
    time.sleep(seconds)
    if ledger.process.poll() is not None:
        raise Broken(f"writ serve ended by itself: {ledger.last_words()}")
    if not lag(ledger) > 0:
        raise Broken("nothing can be published, and no metric says so")
    subprocess.run([BROKER, "start", kafka], check=True, stdout=subprocess.DEVNULL, timeout=COMMAND_SECONDS_MAX * 2)
    decisions.wait_for(came + sum(count for _, count in before + during), ledger)
    deadline = time.monotonic() + 10
    while lag(ledger) != 0:
        if time.monotonic() > deadline:
            raise Broken(f"everything is published, and {lag(ledger)} entries lag behind")
        time.sleep(0.2)


def run(options, folder):
    """(passed, failed)"""
    kafka = folder / "kafka"
    with system.kafka(kafka) as bootstrap:
        ledger = system.Ledger(options.writ, folder / "ledger", bootstrap)
        ledger.init("http://127.0.0.1:9/")
        ledger.serve()
        try:
            ledger.wait_until_ready()
            decisions = Decisions(bootstrap)
            submit(ledger, "first", 1)
            decisions.wait_for(1, ledger)
            cases = [
                # More than once: whether the broker had heard of the transaction makes another story of it.
                ("quiet", QUIET_SECONDS, [], [("quiet-1", 1)]),
                ("quiet", QUIET_SECONDS, [], [("quiet-2", 20)]),
                ("loaded", LOADED_SECONDS, [("cut", LOAD)], [("away", 1)]),
            ]
            for number, (name, seconds, before, during) in enumerate(cases):
                try:
                    outage(ledger, kafka, decisions, seconds, before, during)
                    again = ledger.log.read_text(errors="replace").count("a new producer finds out")
                    print(f"{name}: {seconds} s away; {len(decisions.seen)} decisions so far, each once; {again} new producers",
                          flush=True)
                except Broken as problem:
                    print(f"{name}: {problem}; the log of the service ends in: {ledger.last_words()}", flush=True)
                    return number, len(cases) - number
            ledger.stop()
            ledger.run("verify", "--data", ledger.folder)
            return len(cases), 0
        finally:
            if ledger.process.poll() is None:
                ledger.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writ", type=pathlib.Path, default=system.default_writ())
    options = parser.parse_args()
    if not options.writ.is_file():
        print(f"outage: {options.writ} is not there: cargo build --release", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="writ-outage-") as folder:
        passed, failed = run(options, pathlib.Path(folder))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Broken, producer.CouldNotRun) as problem:
        print(f"outage: {problem}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    sys.exit(2)
