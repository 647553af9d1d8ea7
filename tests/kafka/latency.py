#!/usr/bin/env python3
"""From produced to consumed: the ledger beside a plain copy in transactions, in turns, on one broker, in one run.

    latency.py [--writ target/release/writ] [--rates 200,1000] [--seconds 8] [--rounds 5] [--json]

Records come at a steady rate, each at a time that is planned before; latency counts from that time, so that whoever is held up hides
nothing. `ours`: signed intents go to the ledger, and their decisions are awaited. `copy`: a process reads as many records of the same size
and writes, a transaction a batch, one of a decision's size and one of a receipt's for each, and one record of progress. Both are read by the
same kind of consumer, of committed records. Compare the ratios of one run, never figures of two.
Exit status: 0 measured, 1 a record has no answer or another than PASS, 2 could not run.
"""

import argparse
import base64
import gc
import json
import multiprocessing
import pathlib
import signal
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))
import system
from system import Broken

import producer  # examples/python: signing, the topics' names
from confluent_kafka import OFFSET_END, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

RECEIPTS = "writ.receipts.v1"
COPY_IN, COPY_OUT, COPY_RECEIPTS, COPY_PROGRESS = "copy.in", "copy.out", "copy.receipts", "copy.progress"
PARTITIONS = 4  # as `writ init` makes them; one tenant, so one of them is used, on both sides

WARM_SECONDS = 8  # a broker that has just started is slow: Java compiles what is run often
START_NS = 300_000_000  # from "go" to the first record: everybody listens by then
DRAIN_SECONDS_MAX = 60
ID_BYTES = 32  # of a copied record: which one it is
# A generator that is later than this measures itself.
LATE_MS_MAX = 2.0

# Nothing lingers, and nothing waits for more bytes than one record. Nagle's algorithm is off by default.
PRODUCER = {"enable.idempotence": True, "linger.ms": 0, **producer.QUIET}
CONSUMER = {"group.id": "latency", "enable.auto.commit": False, "isolation.level": "read_committed", "fetch.min.bytes": 1,
            "fetch.wait.max.ms": 100, "fetch.queue.backoff.ms": 0, **producer.QUIET}
COPY_BATCH_MAX = 2000
# The broker says that a transaction will end before it has ended; a next one that comes at once is sent back for 20 ms. Of pauses from 0
# to 8 ms this one made the fastest copy at 200/s and, with no pause at all, at 1000/s: 2.7 and 4.8 ms in the middle.
COPY_PAUSE_SECONDS = 0.001


# --- Processes, each with an interpreter of its own: what one does, no other waits for ---------------------------------


SPAWN = multiprocessing.get_context("spawn")


class Worker:
    """A process that runs `body(pipe, *arguments)` and answers what it is asked, in turn."""

    def __init__(self, body, *arguments):
        self.body = body.__name__
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=work, args=(body, theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, *what):
        self.pipe.send(what)

    def answer(self, seconds):
        if not self.pipe.poll(seconds):
            raise producer.CouldNotRun(f"{self.body}: no answer within {seconds} s")
        return self.received()

    def received(self):
        try:
            answer = self.pipe.recv()
        except EOFError:
            raise producer.CouldNotRun(f"{self.body}: the process has ended") from None
        if isinstance(answer, str):
            raise producer.CouldNotRun(answer)
        return answer

    def require_well(self):
        """What has nothing to say has said nothing, or it has failed."""
        if self.pipe.poll():
            self.received()


def work(body, pipe, *arguments):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # an exception in a callback of the client library would be a riddle
    gc.disable()  # a pause of ours would be counted as theirs
    try:
        body(pipe, *arguments)
    except (EOFError, KeyboardInterrupt, SystemExit):
        pass
    except Exception:
        pipe.send(f"{body.__name__}:\n{traceback.format_exc()}")


def consumer(bootstrap, topic):
    """One that stands at the end of a topic."""
    client = Consumer({"bootstrap.servers": bootstrap, **CONSUMER})
    places = [TopicPartition(topic, number, OFFSET_END) for number in client.list_topics(topic, timeout=20).topics[topic].partitions]
    client.assign([TopicPartition(topic, one.partition, client.get_watermark_offsets(one, 20, cached=False)[1]) for one in places])
    return client


def generate(pipe, bootstrap):
    """Asked (topic, values, rate): sends each at its time. Answers when the first was due, and how late each was."""
    client, failed = Producer({"bootstrap.servers": bootstrap, **PRODUCER}), []
    key = system.TENANT.encode()
    while True:
        topic, values, rate = pipe.recv()
        begins, late = time.monotonic_ns() + START_NS, []
        for number, value in enumerate(values):
            due = begins + number * 1_000_000_000 // rate
            client.poll(0)
            if (left := due - time.monotonic_ns()) > 0:
                time.sleep(left / 1e9)
            late.append(max(0, time.monotonic_ns() - due))
            client.produce(topic, value, key=key, on_delivery=lambda error, _: failed.append(error.str()) if error else None)
        if client.flush(DRAIN_SECONDS_MAX) or failed:
            raise producer.CouldNotRun(f"records were not stored: {failed[:1]}")
        pipe.send((begins, late))
        gc.collect()


def consume(pipe, bootstrap, topic, name_of):
    """Asked (count, seconds): when each record came, by the name that `name_of` reads in it, in the order of their coming."""
    client = consumer(bootstrap, topic)
    pipe.send(("ready",))
    while True:
        count, seconds = pipe.recv()
        came, deadline = [], time.monotonic() + seconds
        while len(came) < count and time.monotonic() < deadline:
            record = client.poll(0.2)
            if record is not None and record.error() is None:
                came.append((time.monotonic_ns(), record.value()))
        pipe.send(([(name_of(value), at) for at, value in came],))
        gc.collect()


def copy(pipe, bootstrap, decision_bytes, receipt_bytes):
    """Copies until the pipe is closed."""
    source = consumer(bootstrap, COPY_IN)
    client = Producer({"bootstrap.servers": bootstrap, "transactional.id": "copy", "transaction.timeout.ms": 30_000, **PRODUCER})
    client.init_transactions(30)
    decision, receipt, key, copied = b"d" * (decision_bytes - ID_BYTES), b"r" * receipt_bytes, system.TENANT.encode(), 0
    pipe.send(("ready",))
    while not pipe.poll():
        first = source.poll(0.2)
        if first is None or first.error():
            continue
        batch = [first, *source.consume(COPY_BATCH_MAX - 1, 0)]
        client.begin_transaction()
        for record in batch:
            client.produce(COPY_OUT, record.value()[:ID_BYTES] + decision, key=key)
            client.produce(COPY_RECEIPTS, receipt, key=key)
        copied += len(batch)
        client.produce(COPY_PROGRESS, b'{"head":"%064d","next":%d}' % (0, copied), key=b"copy")
        client.commit_transaction(30)
        time.sleep(COPY_PAUSE_SECONDS)


def intent_of(decision):
    """The id of an intent that passed."""
    document = json.loads(base64.b64decode(json.loads(decision)["payload"]))
    return document["id"] if document["verdict"] == "PASS" else f"{document['verdict']} {document['code']}: {document['because']}"


def record_of(copied):
    return copied[:ID_BYTES].decode().strip()


# --- What is measured -------------------------------------------------------------------------------------------------


class Side:
    """Who answers: where its records go, how they are made, and who reads the answers."""

    def __init__(self, topic, make, reader):
        self.topic, self.make, self.reader = topic, make, reader

    def measure(self, generator, name, rate, seconds):
        """Nanoseconds from when each record was due to when its answer came; how late the generator was with each."""
        names = [f"{name}-{number:06}" for number in range(rate * seconds)]
        values = [self.make(one) for one in names]
        self.reader.ask(len(names), seconds + DRAIN_SECONDS_MAX)
        generator.ask(self.topic, values, rate)
        begins, late = generator.answer(seconds + 2 * DRAIN_SECONDS_MAX)
        [came] = self.reader.answer(seconds + 2 * DRAIN_SECONDS_MAX)
        if sorted(found for found, _ in came) != names:
            missing, strange = set(names) - {found for found, _ in came}, [found for found, _ in came if found not in set(names)]
            raise Broken(f"{name}: {len(names)} records, {len(came)} answers; no answer: {sorted(missing)[:1]}; others: {strange[:1]}")
        due = {one: begins + number * 1_000_000_000 // rate for number, one in enumerate(names)}
        return [at - due[one] for one, at in came], late


def percentile(nanoseconds, part):
    """In milliseconds."""
    ranked = sorted(nanoseconds)
    return ranked[min(len(ranked) - 1, int(part * len(ranked)))] / 1e6


def figures_of(latencies):
    return {"records": len(latencies), "p50_ms": round(percentile(latencies, 0.5), 2), "p99_ms": round(percentile(latencies, 0.99), 2),
            "max_ms": round(max(latencies) / 1e6, 2)}


def compare(sides, generator, rate, options):
    """The figures of a rate: both sides in turn, `rounds` times, after a round that does not count."""
    latencies, late, rounds = {name: [] for name in sides}, [], []
    for number in range(options.rounds + 1):
        warm = number == 0
        for name, side in sides.items():
            label = f"{name}-{rate}-{number}"
            found, behind = side.measure(generator, label, rate, WARM_SECONDS if warm else options.seconds)
            print(f"{label}: {figures_of(found)}{', not counted' if warm else ''}", file=sys.stderr, flush=True)
            if not warm:
                latencies[name] += found
                late += behind
                rounds.append({"of": name, **figures_of(found)})
    figures = {name: figures_of(found) for name, found in latencies.items()}
    for part in ("p50", "p99"):
        figures[f"{part}_ratio"] = round(figures["ours"][f"{part}_ms"] / figures["copy"][f"{part}_ms"], 2)
    late_ms = {"p50": percentile(late, 0.5), "p99": percentile(late, 0.99), "max": max(late) / 1e6}
    return {"rate": rate, **figures, "generator_late_ms": {part: round(value, 2) for part, value in late_ms.items()}, "rounds": rounds}


def create_topics(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap, **producer.QUIET})
    topics = [NewTopic(name, PARTITIONS, 1) for name in (COPY_IN, COPY_OUT, COPY_RECEIPTS)]
    topics.append(NewTopic(COPY_PROGRESS, 1, 1, config={"cleanup.policy": "compact"}))
    for made in admin.create_topics(topics).values():
        made.result(30)


def one_answer(ledger, bootstrap, envelope):
    """The bytes of a decision and of a receipt: the copy writes as many."""
    client = consumer(bootstrap, producer.DECISIONS), consumer(bootstrap, RECEIPTS)
    sender = Producer({"bootstrap.servers": bootstrap, **PRODUCER})
    sender.produce(producer.INTENTS, envelope, key=system.TENANT.encode())
    sender.flush(30)
    found = [one.poll(DRAIN_SECONDS_MAX) for one in client]
    if None in found:
        raise Broken(f"the first intent has no answer: {ledger.last_words()}")
    return [len(one.value()) for one in found]


def measure(options, folder):
    with system.kafka(folder / "kafka") as bootstrap:
        ledger = system.Ledger(options.writ, folder / "ledger", bootstrap)
        ledger.init("http://127.0.0.1:9/", segment_bytes=None)  # nothing calls it; segments as anybody has them
        ledger.serve()
        try:
            ledger.wait_until_ready()
            create_topics(bootstrap)
            key, expires_at = producer.load_key(ledger.folder / "keys/producer.key"), int((time.time() + 6 * 3600) * 1_000_000)

            def intent(name):
                return producer.sign(key, producer.INTENT_TYPE, {
                    "tenant": system.TENANT, "principal": system.PRINCIPAL, "id": name, "action": "notes.add", "args": {"note": name},
                    "expires_at": expires_at})

            intent_bytes = len(intent("copy-1000-0-000000"))
            decision_bytes, receipt_bytes = one_answer(ledger, bootstrap, intent("size-1000-0-000000"))
            copier = Worker(copy, bootstrap, decision_bytes, receipt_bytes)
            copied, decided = Worker(consume, bootstrap, COPY_OUT, record_of), Worker(consume, bootstrap, producer.DECISIONS, intent_of)
            for worker in (copier, copied, decided):
                worker.answer(60)
            sides = {
                "copy": Side(COPY_IN, lambda name: name.ljust(ID_BYTES).encode().ljust(intent_bytes, b"i"), copied),
                "ours": Side(producer.INTENTS, intent, decided),
            }
            generator = Worker(generate, bootstrap)
            try:
                rates = [compare(sides, generator, rate, options) for rate in options.rates]
            except Broken as problem:
                copier.require_well()
                if ledger.process.poll() is not None:
                    raise Broken(f"{problem}; writ serve has ended: {ledger.last_words()}") from None
                raise
            ledger.stop()
        finally:
            if ledger.process.poll() is None:
                ledger.kill()
    return {"bytes": {"intent": intent_bytes, "decision": decision_bytes, "receipt": receipt_bytes}, "seconds": options.seconds, "rates": rates}


def show(found):
    print(f"{'rate':>6}  {'':6}{'records':>9}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    for row in found["rates"]:
        for name in ("copy", "ours"):
            one = row[name]
            print(f"{row['rate']:>6}  {name:6}{one['records']:>9}{one['p50_ms']:>10.1f}{one['p99_ms']:>10.1f}{one['max_ms']:>10.1f}")
        print(f"{'':6}  {'ratio':6}{'':9}{row['p50_ratio']:>10.2f}{row['p99_ratio']:>10.2f}")
    print(f"bytes of an intent, a decision, a receipt: {', '.join(map(str, found['bytes'].values()))}")
    for row in found["rates"]:
        late = row["generator_late_ms"]
        print(f"the generator at {row['rate']}/s was late by {late['p50']:.2f} ms (p50), {late['p99']:.2f} (p99), {late['max']:.1f} (max)"
              f"{': TOO MUCH; this machine is too busy for these figures' if late['p99'] > LATE_MS_MAX else ''}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--writ", type=pathlib.Path, default=system.default_writ())
    add("--rates", type=lambda text: [int(one) for one in text.split(",")], default=[200, 1000], metavar="N,N", help="records a second")
    add("--seconds", type=int, default=8, help="of each turn")
    add("--rounds", type=int, default=5, help="turns of each side at each rate")
    add("--json", action="store_true", help="figures for a program")
    options = parser.parse_args()
    if not options.writ.is_file():
        print(f"latency: {options.writ} is not there: cargo build --release", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="writ-latency-") as folder:
        found = measure(options, pathlib.Path(folder))
    print(json.dumps(found, indent=2)) if options.json else show(found)
    return 0


if __name__ == "__main__":
    system.script("latency", main, producer.CouldNotRun, KafkaException)
