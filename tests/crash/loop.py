#!/usr/bin/env python3
"""The crash loop: `kill -9` of `writ serve` under Kafka load, again and again, and after each restart an audit from outside.

    loop.py [--rounds 50] [--seed N] [--writ target/release/writ] [--keep FOLDER]

A round: serve, load, kill at a chosen moment, serve again, wait until everything that was sent is answered, stop, audit. One
ledger, one Kafka and one world of effects live through all rounds, so that a later round stands on what earlier ones left.
Exit status: 0 all rounds passed, 1 one did not, 2 could not run.
"""

import argparse
import base64
import collections
import json
import math
import pathlib
import random
import secrets
import sys
import tempfile
import threading
import time
import traceback

import system
from system import Broken, get

import producer  # examples/python: signing, sending
from confluent_kafka import Consumer, OFFSET_BEGINNING, Producer, TopicPartition

DECISIONS, RECEIPTS, REFUSALS = producer.DECISIONS, "writ.receipts.v1", producer.REFUSALS
OUTPUTS = {DECISIONS: "writ.decision.v1", RECEIPTS: "writ.receipt.v1", REFUSALS: "writ.refusal.v1"}  # and their ce_type

# Of 50 rounds at least 10 must end a call that had been dispatched and had no receipt.
INTERRUPTED_SHARE_MIN = 10 / 50
SETTLE_SECONDS_MAX = 90
INTENTS_PER_ROUND = 60

# How the moment of the kill is chosen. Half of the rounds wait for a call to be under way, since that moment is rare and the
# one that matters most; `opening` kills during recovery, which must itself survive it.
MOMENTS = ["call", "any", "call", "opening"]


class Watcher(threading.Thread):
    """A `read_committed` client that reads every output from the first record on, all through the loop."""

    def __init__(self, bootstrap):
        super().__init__(daemon=True)
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": "crash-loop", "enable.auto.commit": False,
            "isolation.level": "read_committed", **producer.QUIET,
        })
        topics = self.consumer.list_topics(timeout=20).topics
        missing = [topic for topic in OUTPUTS if topic not in topics]
        if missing:
            raise Broken(f"writ init did not create {missing}")
        self.consumer.assign([
            TopicPartition(topic, partition, OFFSET_BEGINNING) for topic in OUTPUTS for partition in topics[topic].partitions
        ])
        self.lock = threading.Lock()
        self.records = {topic: [] for topic in OUTPUTS}
        self.decided, self.passed, self.ended, self.refused = set(), set(), set(), set()
        self.trouble = None

    def run(self):
        try:
            while True:
                record = self.consumer.poll(0.5)
                if record is not None and record.error() is None:
                    with self.lock:
                        self.take(record)
        except Exception as trouble:  # the audit reports it: a thread that dies silently would look like a ledger that does
            self.trouble = trouble

    def take(self, record):
        self.records[record.topic()].append(record)
        if record.topic() == REFUSALS:
            source = json.loads(record.value())["source"]["kafka"]
            self.refused.add((source["partition"]["number"], source["offset"]))
            return
        document = json.loads(base64.b64decode(json.loads(record.value())["payload"]))
        if record.topic() == RECEIPTS:
            self.ended.add(document["id"])
        else:
            self.decided.add(document["id"])
            if document["verdict"] == "PASS":
                self.passed.add(document["id"])

    def seen_decisions(self):
        with self.lock:
            return [record.value() for record in self.records[DECISIONS]]

    def settled(self, load):
        """Whether all that was sent is answered, and all that passed has ended."""
        with self.lock:
            if self.trouble:
                raise Broken(f"the watching client failed: {self.trouble!r}")
            return load.intents <= self.decided and load.unreadable <= self.refused and self.passed <= self.ended


class Load:
    """Sends intents, some of them twice, and unreadable records: in each round until it is told to stop, or enough is sent."""

    def __init__(self, bootstrap, key, seed):
        self.random, self.key = random.Random(seed), key
        self.producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2, **producer.QUIET})
        self.intents, self.unreadable = set(), set()  # what Kafka has stored, in all rounds
        self.trouble = None

    def start(self, number):
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, args=[f"round-{number:03}"], daemon=True)
        self.thread.start()

    def run(self, session):
        sent = []
        for number in range(INTENTS_PER_ROUND):
            if self.stopping.wait(self.random.expovariate(1 / 0.03)):
                break
            name = f"{session}-{number:04}"
            action = "effect.count" if self.random.random() < 0.4 else "notes.add"
            action = "nobody.may" if self.random.random() < 0.05 else action
            envelope = producer.sign(self.key, producer.INTENT_TYPE, {
                "tenant": system.TENANT, "principal": system.PRINCIPAL, "id": name, "action": action, "session": session,
                "args": {"note": name}, "expires_at": int((time.time() + 3600) * 1_000_000),
            })
            sent.append((name, envelope))
            self.send(name, envelope)
            if self.random.random() < 0.1:
                self.send(*self.random.choice(sent))
            if self.random.random() < 0.1:
                self.send(None, producer.unreadable(number, envelope))
        self.producer.flush(30)

    def send(self, name, value):
        def stored(error, record):
            if error:
                self.trouble = error
            elif name:
                self.intents.add(name)
            else:
                self.unreadable.add((record.partition(), record.offset()))
        # Unreadable records go anywhere: their refusals come from every partition.
        key = system.TENANT if name else str(self.random.random())
        self.producer.produce(producer.INTENTS, value, key=key.encode(), on_delivery=stored)
        self.producer.poll(0)

    def finish(self):
        self.stopping.set()
        self.thread.join(60)
        if self.thread.is_alive() or self.trouble:
            raise Broken(f"the load could not be sent: {self.trouble}")


# --- The audit: everything here is read from outside, after a clean stop ----------------------------------------------


def documents(entries, kind):
    """(seq, document, envelope bytes) of a kind of entry, in the log's order."""
    for entry in entries:
        if entry["kind"] == kind:
            yield entry["seq"], entry["event"]["payload"], entry["event"]["envelope"].encode()


def refusals(entries):
    """(seq, the canonical JSON that is published) of each refused record."""
    for entry in entries:
        if entry["kind"] == "RecordRefused":
            fields = ("claims", "code", "detail", "digest", "length", "source")
            yield entry["seq"], producer.canonical({"seq": entry["seq"], **{field: entry["event"][field] for field in fields}})


def differences(expected, found, what):
    """What one multiset has and the other has not, in a few words."""
    lost, extra = expected - found, found - expected
    if lost:
        yield f"{sum(lost.values())} {what} of the log did not reach the client, the first is seq {min(lost)[0]}"
    if extra:
        yield f"{sum(extra.values())} {what} that are not in the log, or came twice, reached the client, the first as seq {min(extra)[0]}"


def audit_topics(entries, ledger_id, records):
    """A `read_committed` client got the log's outputs, each once, byte for byte."""
    expected = {
        DECISIONS: [(seq, envelope) for seq, _, envelope in documents(entries, "DecisionMade")],
        RECEIPTS: [(seq, envelope) for seq, _, envelope in documents(entries, "ReceiptIssued")],
        REFUSALS: list(refusals(entries)),
    }
    for topic, wanted in expected.items():
        found = collections.Counter()
        for record in records[topic]:
            headers = {name: (value or b"").decode() for name, value in record.headers() or []}
            ledger, _, seq = headers.get("ce_id", "").rpartition("/")
            if ledger != ledger_id or headers.get("ce_type") != OUTPUTS[topic] or not seq.isdigit():
                yield f"{topic}/{record.partition()}/{record.offset()} has headers {headers}"
            if topic != REFUSALS and record.key() != system.TENANT.encode():
                yield f"{topic}/{record.partition()}/{record.offset()} has key {record.key()}"
            found[int(seq) if seq.isdigit() else -1, record.value()] += 1
        yield from differences(collections.Counter(wanted), found, topic)


def audit_decisions(entries, load, seen_before_kill):
    """Each intent that Kafka stored is decided once; what a client saw before the kill is there."""
    decisions = list(documents(entries, "DecisionMade"))
    envelopes = {envelope for _, _, envelope in decisions}
    forgotten = [value for value in seen_before_kill if value not in envelopes]
    if forgotten:
        yield f"{len(forgotten)} decisions that a client had seen are not in the log: {forgotten[0][:200]}"
    times = collections.Counter((document["tenant"], document["id"]) for _, document, _ in decisions)
    for name in load.intents:
        if times[system.TENANT, name] != 1:
            yield f"intent {name} was decided {times[system.TENANT, name]} times"
    if strangers := {name for _, name in times} - load.intents:
        yield f"decisions on intents that nobody sent: {sorted(strangers)[:3]}"


def audit_effects(entries, effects):
    """No key has two effects; every effect has its decision; each ending says the truth about its effect."""
    keys = {}
    for seq, document, _ in documents(entries, "DecisionMade"):
        if document["verdict"] == "PASS" and document["execution"]["connector"] == "effects":
            keys[seq] = document["execution"]["idempotency_key"].removeprefix("blake3:")
    effects = collections.Counter({key.removeprefix("blake3:"): count for key, count in effects.items()})
    for key, count in effects.items():
        if count > 1:
            yield f"{count} effects under the idempotency key {key}"
    if unknown := set(effects) - set(keys.values()):
        yield f"{len(unknown)} effects that no decision authorised: {min(unknown)}"
    # What the status of a receipt says about its number of effects.
    truth = {"SUCCEEDED": {1}, "FAILED": {0}, "EXPIRED": {0}, "UNCERTAIN": {0, 1}}
    statuses = collections.Counter()
    for seq, document, _ in documents(entries, "ReceiptIssued"):
        if document["decision_seq"] in keys:
            count = effects[keys[document["decision_seq"]]]
            statuses[document["status"]] += 1
            if count not in truth[document["status"]]:
                yield f"the receipt at seq {seq} says {document['status']}, and there were {count} effects"
    total = sum(effects.values())
    if not statuses["SUCCEEDED"] <= total <= statuses["SUCCEEDED"] + statuses["UNCERTAIN"]:
        yield f"{statuses['SUCCEEDED']} SUCCEEDED, {total} effects, {statuses['UNCERTAIN']} UNCERTAIN"


def interrupted(entries):
    return {seq for seq, document, _ in documents(entries, "ReceiptIssued") if document["code"] == "ERR_INTERRUPTED"}


# --- The rounds -------------------------------------------------------------------------------------------------------


class Loop:
    """What lives through all rounds."""

    def __init__(self, ledger, world, watcher, load, dice):
        self.ledger, self.world, self.watcher, self.load, self.dice = ledger, world, watcher, load, dice
        self.ledger_id, self.interrupted, self.interrupted_rounds = None, set(), 0

    def kill_at(self, number, moment):
        """Serves under load, and kills at the moment; how long that took, in milliseconds."""
        began = time.monotonic()
        self.ledger.serve()
        if moment == "opening":
            self.load.start(number)
            time.sleep(self.dice.uniform(0, 0.4))
        else:
            # The load comes once it is served: nearly all of it would be sent before the first intent is read otherwise.
            self.ledger.wait_until_ready()
            self.load.start(number)
            if moment == "call":
                # Skip some calls, so that it is not always the first one that is cut.
                for _ in range(self.dice.randint(1, 4)):
                    if get(self.world, "/next?seconds=5", 10)[0] != 200:
                        break
            else:
                time.sleep(self.dice.uniform(0, 2))
        self.ledger.kill()
        return int((time.monotonic() - began) * 1000)

    def wait_until_settled(self):
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while not self.watcher.settled(self.load):
            if self.ledger.process.poll() is not None:
                raise Broken(f"writ serve ended by itself: {self.ledger.last_words()}")
            if time.monotonic() > deadline:
                with self.watcher.lock:
                    missing = self.load.intents - self.watcher.decided
                    open_ends = self.watcher.passed - self.watcher.ended
                    silent = self.load.unreadable - self.watcher.refused
                raise Broken(f"after {SETTLE_SECONDS_MAX} s {len(missing)} intents have no decision, {len(silent)} records no "
                             f"refusal, {len(open_ends)} decisions no receipt: {sorted(missing | open_ends)[:3]}")
            time.sleep(0.05)

    def round(self, number, moment):
        killed_after = self.kill_at(number, moment)
        seen = self.watcher.seen_decisions()
        self.ledger.serve()
        self.ledger.wait_until_ready()
        self.load.finish()
        self.wait_until_settled()
        self.ledger.stop()
        return self.audit(number, moment, killed_after, seen)

    def audit(self, number, moment, killed_after, seen):
        self.ledger.run("verify", "--data", self.ledger.folder)
        entries = self.ledger.entries()
        self.ledger_id = self.ledger_id or next(documents(entries, "LedgerOpened"))[1]["ledger"]
        time.sleep(0.5)  # what came too often would come last; give it the time to come
        effects = json.loads(get(self.world, "/counts", 10)[1])["effects"]
        with self.watcher.lock:
            records = {topic: list(found) for topic, found in self.watcher.records.items()}
        problems = [
            *audit_decisions(entries, self.load, seen),
            *audit_effects(entries, effects),
            *audit_topics(entries, self.ledger_id, records),
        ]
        cut = interrupted(entries) - self.interrupted
        self.interrupted |= cut
        self.interrupted_rounds += bool(cut)
        statuses = collections.Counter(document["status"] for _, document, _ in documents(entries, "ReceiptIssued"))
        row(number, moment, killed_after, len(entries), len(self.load.intents), len(self.load.unreadable), statuses["SUCCEEDED"],
            statuses["FAILED"], statuses["UNCERTAIN"], len(cut), sum(effects.values()), "ok" if not problems else "BROKEN")
        return problems


def row(*cells):
    widths = (5, 8, 8, 8, 8, 10, 9, 7, 10, 4, 8, 6)
    print("  ".join(str(cell).rjust(width) for cell, width in zip(cells, widths)), flush=True)


def moments(rounds, dice):
    chosen = [MOMENTS[number % len(MOMENTS)] for number in range(rounds)]
    dice.shuffle(chosen)
    return chosen


def rounds(options, folder):
    """(passed, failed)"""
    dice = random.Random(options.seed)
    # Long enough that a call is under way for most of the time; one in ten does not end as it should.
    world = ["--delay-ms", 50, 300, "--refuse", 0.04, "--fail", 0.02, "--break", 0.02, "--vanish", 0.02, "--seed", options.seed]
    with system.kafka(folder / "kafka") as bootstrap, system.effects(folder / "effects.txt", *world) as address:
        ledger = system.Ledger(options.writ, folder / "ledger", bootstrap)
        ledger.init(f"http://{address}/effects")
        watcher = Watcher(bootstrap)
        watcher.start()
        load = Load(bootstrap, producer.load_key(ledger.folder / "keys/producer.key"), options.seed)
        loop = Loop(ledger, address, watcher, load, dice)
        row(*"round moment ms entries intents unreadable succeeded failed uncertain cut effects audit".split())
        try:
            for number, moment in enumerate(moments(options.rounds, dice), start=1):
                try:
                    problems = loop.round(number, moment)
                except Broken as problem:
                    row(number, moment, *[""] * 9, "BROKEN")
                    problems = [str(problem)]
                for problem in problems:
                    print(f"       {problem}")
                if problems:
                    # What is broken stays broken: later rounds on this ledger would only repeat it.
                    print(f"{options.rounds - number} further rounds were not run")
                    return number - 1, 1
        finally:
            if ledger.process and ledger.process.poll() is None:
                ledger.kill()
        needed = math.ceil(options.rounds * INTERRUPTED_SHARE_MIN)
        if loop.interrupted_rounds < needed:
            print(f"only {loop.interrupted_rounds} rounds were killed between dispatch and receipt, {needed} are asked for")
            return options.rounds - 1, 1
        print(f"{loop.interrupted_rounds} rounds were killed between dispatch and receipt (at least {needed} are asked for)")
        return options.rounds, 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rounds", type=int, default=50)
    add("--seed", type=int, default=secrets.randbits(32), help="of load, effects and moments; timing still differs")
    add("--writ", type=pathlib.Path, default=system.default_writ())
    add("--keep", type=pathlib.Path, metavar="FOLDER", help="a new folder that is left behind, for looking into it")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    if not options.writ.is_file():
        print(f"loop: {options.writ} is not there: cargo build --release", file=sys.stderr)
        return 2
    if options.keep:
        options.keep.mkdir(parents=True)
        passed, failed = rounds(options, options.keep.resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="writ-crash-") as folder:
            passed, failed = rounds(options, pathlib.Path(folder))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Broken, producer.CouldNotRun) as problem:
        print(f"loop: {problem}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    sys.exit(2)
