#!/usr/bin/env python3
"""What only a real Kafka has: transactions of others that stay open, and records as large as a broker lets pass.

    edges.py [--writ target/release/writ]

One ledger and one Kafka for all cases, in their order. Exit status: 0 all passed, 1 one did not, 2 could not run.
"""

import argparse
import contextlib
import os
import pathlib
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
import system
from system import Broken

import producer  # examples/python: signing, sending
import topics
from confluent_kafka import KafkaError, Producer, TopicPartition

PROGRESS = "writ.progress.v1"
ANSWER_SECONDS_MAX = 60
MIB = 1 << 20

# Longer than this test, so that the broker does not end what the test is to end.
TRANSACTION_TIMEOUT_MS = 600_000


class Options:
    """What producer.answers asks of a command line."""

    tenant, decision_key = system.TENANT, None


class Edge:
    """The ledger, and what the cases do with it."""

    def __init__(self, ledger, bootstrap):
        self.ledger, self.bootstrap = ledger, bootstrap
        self.key = producer.load_key(ledger.folder / "keys/producer.key")

    def intent(self, name, note="hi"):
        return producer.sign(self.key, producer.INTENT_TYPE, {
            "tenant": system.TENANT, "principal": system.PRINCIPAL, "id": name, "action": "notes.add", "args": {"note": note},
            "expires_at": int((time.time() + 3600) * 1_000_000),
        })

    def send(self, value, **settings):
        """Sends one record, far above the limits that a client has by default; its place, or why it was not taken."""
        client = Producer({"bootstrap.servers": self.bootstrap, "message.max.bytes": 64 * MIB, **settings, **producer.QUIET})
        said = []
        client.produce(producer.INTENTS, value, key=system.TENANT.encode(), on_delivery=lambda *report: said.append(report))
        client.flush(ANSWER_SECONDS_MAX)
        if not said:
            raise Broken(f"Kafka did not answer within {ANSWER_SECONDS_MAX} s")
        [(error, record)] = said
        return error or (record.partition(), record.offset())

    def answer(self, place, name=None):
        """The decision on the intent of this name, or the refusal of the record at this place."""
        reader = producer.Reader(producer.Kafka(self.bootstrap), [producer.DECISIONS, producer.REFUSALS], 20)
        wanted, unreadable = ({place: name}, set()) if name else ({}, {place})
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        [(kind, _, document, _)] = producer.answers(reader, Options, wanted, unreadable, deadline)
        reader.close()
        return kind, document.get("verdict") or document.get("code")

    def decide(self, name):
        """An ordinary intent, and its decision."""
        place = self.send(self.intent(name))
        expect(("decision", "PASS"), self.answer(place, name), f"the answer to {name}")

    def refuse(self, value):
        """A record that is too large for a document but not for the topic, and what is said about it."""
        if len(value) < 2 * MIB:
            raise Broken(f"{len(value)} bytes are not too many: this tests nothing")
        place = self.send(value)
        if isinstance(place, KafkaError):
            raise Broken(f"the topic does not take {len(value)} bytes: {place.str()}")
        expect(("refusal", "ERR_TOO_LARGE"), self.answer(place), f"the answer to {len(value)} bytes")

    def end_of_progress(self, isolation):
        with contextlib.closing(topics.consumer(self.bootstrap, isolation)) as consumer:
            return consumer.get_watermark_offsets(TopicPartition(PROGRESS, 0), 20, cached=False)[1]


def expect(wanted, found, what):
    if wanted != found:
        raise Broken(f"{what} is {found}, not {wanted}")


# --- The cases --------------------------------------------------------------------------------------------------------


def another_ledgers_open_transaction(edge):
    """A transaction of another ledger that stays open delays no start, and hides nothing that this ledger published."""
    edge.decide("progress-1")
    other = Producer({"bootstrap.servers": edge.bootstrap, "transactional.id": "writ-of-another-ledger",
                      "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS, **producer.QUIET})
    other.init_transactions(20)
    other.begin_transaction()
    other.produce(PROGRESS, b'{"next":7}', key=b"another-ledger")
    other.flush(20)
    # From here on this ledger's own records lie behind the first open one.
    edge.decide("progress-2")
    edge.ledger.stop()
    edge.ledger.serve()
    edge.ledger.wait_until_ready()
    if edge.end_of_progress("read_committed") >= edge.end_of_progress("read_uncommitted"):
        raise Broken("the other transaction ended before the start: this tests nothing")
    place = edge.send(edge.intent("progress-3"))
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while not edge.ledger.metric('writ_follower_lag_entries{follower="publisher"}'):
        if time.monotonic() > deadline:
            raise Broken("nothing is published, and no metric says so")
        time.sleep(0.1)
    other.abort_transaction(20)
    expect(("decision", "PASS"), edge.answer(place, "progress-3"), "the answer to progress-3")
    twice = {name: times for name, times in topics.decisions(edge.bootstrap).items() if times > 1}
    expect({}, twice, "what was published more than once")


def a_large_envelope(edge):
    """A signed envelope of 2 MiB is refused by name, and the next intent is decided."""
    edge.refuse(edge.intent("large", "x" * (3 * MIB // 2)))
    edge.decide("after-a-large-envelope")


def large_garbage(edge):
    """2 MiB of garbage are refused by name, and the next intent is decided."""
    edge.refuse(os.urandom(2 * MIB))
    edge.decide("after-large-garbage")


def a_record_that_inflates(edge):
    """A small record that inflates beyond the topic's limit is refused by the broker, and the next intent is decided."""
    place = edge.send(bytes(32 * MIB), **{"compression.type": "gzip"})
    if not isinstance(place, KafkaError):
        raise Broken(f"it was stored at {place}")
    expect(KafkaError.MSG_SIZE_TOO_LARGE, place.code(), "what the broker says")
    edge.decide("after-a-record-that-inflates")


CASES = [another_ledgers_open_transaction, a_large_envelope, large_garbage, a_record_that_inflates]


def run(case, edge):
    print(f"{case.__name__} ... ", end="", flush=True)
    began = time.monotonic()
    try:
        if edge.ledger.process is None or edge.ledger.process.poll() is not None:
            edge.ledger.serve()
            edge.ledger.wait_until_ready()
        case(edge)
    except Exception as why:  # the next case may pass all the same
        print(f"FAILED\n    {case.__doc__}\n    {why if isinstance(why, Broken) else traceback.format_exc()}", flush=True)
        return False
    print(f"ok ({time.monotonic() - began:.0f} s)", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writ", type=pathlib.Path, default=system.default_writ())
    options = parser.parse_args()
    if not options.writ.exists():
        print(f"edges: there is no {options.writ}: cargo build --release", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="writ-edges-") as folder, system.kafka(pathlib.Path(folder) / "kafka") as bootstrap:
        ledger = system.Ledger(options.writ, pathlib.Path(folder) / "ledger", bootstrap)
        ledger.init("http://127.0.0.1:9/")  # nothing here calls it
        try:
            passed = [run(case, Edge(ledger, bootstrap)) for case in CASES]
            ledger.stop()
            ledger.run("verify", "--data", ledger.folder)
        finally:
            if ledger.process is not None and ledger.process.poll() is None:
                ledger.kill()
    print(f"{passed.count(True)} passed, {passed.count(False)} failed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
