#!/usr/bin/env python3
"""Kafka goes away and comes back, in many ways, and `writ serve` lives through all of it: what is decided is published, once.

    outages.py [--rounds 50] [--part 1/10] [--busy] [--seed N] [--writ target/release/writ]
    outages.py freeze:45:heavy suspend:45:heavy:within ...     only these rounds

One ledger and one Kafka for all rounds. The ledger reaches the node through a relay (relay.py); who reads and who sends go past it. A
round: intents come over HTTP and Kafka, something is taken away for some seconds, and comes back; within a minute everything that was
decided must have reached a reader of committed records, each thing once, by the process that was there before. Where that process ends or
gets stuck the round has failed, and the next one begins with a new process. In the end the topics are compared with the log.

    freeze     the node's process stops (SIGSTOP) and goes on; what reached its socket meanwhile it reads then
    suspend    its machine stops, and goes on some time before its network does: the node ends the transactions that took too long
    kill       SIGKILL, and a start                     restart    a clean stop, and a start
    cut        connections are reset, and new ones      hold       no byte passes, either way
    mute       what is asked passes, answers are lost
    fence      the node answers, and says that its cluster has no nodes (fencing.py)

`within`: it begins while a transaction is open whose end has not reached the node; otherwise at any moment.
Exit status: 0 all passed, 1 one did not, 2 could not run.
"""

import argparse
import base64
import collections
import contextlib
import hashlib
import http.client
import json
import multiprocessing
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "crash"))
sys.path.insert(0, str(HERE))

import loop  # tests/crash: what a log holds
import system
from relay import Relay
from system import BROKER, COMMAND_SECONDS_MAX, PRINCIPAL, TENANT, Broken, get

import producer  # examples/python: signing, the topics' names
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

# From less than the 15 s that the ledger gives a commit, to twice the 30 s after which the broker ends a transaction by itself.
SECONDS = (5, 8, 15, 25, 45, 60)
# Intents a second over each way, HTTP and Kafka. `quiet`: nothing is under way when it begins, and some are submitted meanwhile.
LOADS = {"quiet": 0, "light": 10, "heavy": 150}
QUIET_INTENTS = 20
MOMENTS = ("any", "within")

LEAD_SECONDS = 3  # of load before something goes away
TAIL_SECONDS = 1  # and when it is back
BACK_SECONDS_MAX = 60
AWAKE_SECONDS = 2  # of a machine without its network; the node looks for transactions to end as soon as it is awake
TWICE_SECONDS = 1  # what comes twice comes late
BUSY_LOOPS = 4

ABANDONED, LAG = "writ_kafka_transactions_abandoned_total", 'writ_follower_lag_entries{follower="publisher"}'
# A client that waits longer between its attempts would be what is measured.
FAST = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500, **producer.QUIET}
# One that has heard nothing for so long is replaced: a node that was frozen may have told it that there are no nodes (fencing.py).
SILENT_SECONDS = 5


# --- What is taken away -----------------------------------------------------------------------------------------------


class Node:
    """The node, and the network between it and the ledger."""

    def __init__(self, folder, network):
        self.folder, self.network = folder, network

    def command(self, what):
        subprocess.run([BROKER, what, self.folder], check=True, stdout=subprocess.DEVNULL, timeout=COMMAND_SECONDS_MAX * 2)

    def send(self, what):
        os.kill(int((self.folder / "pid").read_text()), what)

    @contextlib.contextmanager
    def away(self, chosen):
        """An outage, as long as the block runs; after it, everything is there again."""
        begin, end = OUTAGES[chosen.outage]
        if chosen.moment == "within" and not self.network.tell("within"):
            raise Broken("under load, nothing is published")
        begin(self)
        if chosen.outage not in OF_THE_NETWORK:
            self.network.tell("open")
        try:
            yield
        finally:
            end(self)
            self.network.tell("open")


def suspend(node):
    node.network.tell("hold")
    node.send(signal.SIGSTOP)


def wake(node):
    node.send(signal.SIGCONT)
    time.sleep(AWAKE_SECONDS)


# How it begins, and how it ends; the network is open by itself when it is over.
OUTAGES = {
    "freeze": (lambda node: node.send(signal.SIGSTOP), lambda node: node.send(signal.SIGCONT)),
    "suspend": (suspend, wake),
    "kill": (lambda node: node.command("kill"), lambda node: node.command("start")),
    "restart": (lambda node: node.command("stop"), lambda node: node.command("start")),
    "cut": (lambda node: node.network.tell("cut"), lambda _: None),
    "hold": (lambda node: node.network.tell("hold"), lambda _: None),
    "mute": (lambda node: node.network.tell("mute"), lambda _: None),
    "fence": (lambda node: node.network.tell("fence"), lambda _: None),
}
OF_THE_NETWORK = {"suspend", "cut", "hold", "mute", "fence"}

Round = collections.namedtuple("Round", "outage seconds load moment")


def parse_round(text):
    """`freeze:45:heavy`."""
    outage, seconds, load, moment = [*text.split(":"), "any"][:4]
    if outage not in OUTAGES or load not in LOADS or moment not in MOMENTS or (load == "quiet" and moment == "within"):
        raise ValueError
    return Round(outage, int(seconds), load, moment)


def plan(count, seed):
    """As many of each outage as of any other, short and long, under each load, at each moment, in an order that the seed says."""
    dice, rounds = random.Random(seed), []
    for outage in OUTAGES:
        lengths, loads = list(SECONDS), [(load, moment) for load in LOADS for moment in MOMENTS if (load, moment) != ("quiet", "within")]
        dice.shuffle(lengths)
        dice.shuffle(loads)
        rounds.append([Round(outage, lengths[turn % len(lengths)], *loads[turn % len(loads)]) for turn in range(count)])
    rounds = [one for turn in zip(*rounds) for one in turn][:count]
    dice.shuffle(rounds)
    return rounds


# --- Who sends and who reads ------------------------------------------------------------------------------------------


def send(pipe, bootstrap, address, key_file):
    """Asked (name, rate): sends intents over both ways until it is asked for anything, and answers which of them were taken."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    key = producer.load_key(key_file)

    def connect():
        return Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 300_000,
                         "queue.buffering.max.messages": 1_000_000, **FAST})

    def intent(name):
        return producer.sign(key, producer.INTENT_TYPE, {
            "tenant": TENANT, "principal": PRINCIPAL, "id": name, "action": "notes.add", "args": {"note": name},
            "expires_at": int((time.time() + 6 * 3600) * 1_000_000)})

    def over_kafka(name, envelope):
        def stored(error, _):
            if not error and waiting.pop(name, None):
                taken.append(name)
        waiting[name] = envelope
        client.produce(producer.INTENTS, envelope, key=TENANT.encode(), on_delivery=stored)

    def over_http(names):
        connection = http.client.HTTPConnection(*address.split(":"), timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/intents", b"\n".join(map(intent, names)), {"content-type": "application/x-ndjson"})
            answer = connection.getresponse()
            lines = answer.read().splitlines()
        if answer.status == 200:  # otherwise it has too much to do, and says so
            taken.extend(name for name, line in zip(names, lines) if json.loads(line)["answer"] == "decided")

    client, waiting = connect(), {}
    try:
        while True:
            name, rate = pipe.recv()
            taken, trouble, number, due = [], [], 0, time.monotonic()
            while not pipe.poll(max(0, due - time.monotonic())):
                due = max(due + 0.1, time.monotonic() - 1)  # what a busy machine did not send in a second it does not send
                names = [f"{name}-{number + one:06}" for one in range(rate // 10)]
                number += len(names)
                for one in names:
                    over_kafka(f"{one}-kafka", intent(f"{one}-kafka"))
                client.poll(0)
                try:
                    over_http([f"{one}-http" for one in names])
                except (OSError, http.client.HTTPException) as why:
                    trouble.append(f"over HTTP: {why!r}")
            pipe.recv()
            until = time.monotonic() + BACK_SECONDS_MAX
            while client.flush(SILENT_SECONDS) and waiting and time.monotonic() < until:
                client = connect()  # the same bytes again are the same intents
                for one, envelope in list(waiting.items()):
                    over_kafka(one, envelope)
            if waiting:
                trouble.append(f"{len(waiting)} records are not stored")
                client, waiting = connect(), {}
            pipe.send((taken, trouble))
    except EOFError:
        pass
    except Exception:
        pipe.send(([], [traceback.format_exc()]))


class Load:
    """A process that sends intents. What the machine is busy with beside it slows it down, and not those who watch."""

    def __init__(self, *arguments):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=send, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()
        self.sends = False

    def begin(self, name, rate):
        if rate:
            self.pipe.send((name, rate))
            self.sends = True

    def end(self):
        """The names of the intents that were taken."""
        if not self.sends:
            return []
        self.pipe.send("end")
        self.sends = False
        if not self.pipe.poll(2 * BACK_SECONDS_MAX):
            raise producer.CouldNotRun("the load does not end")
        taken, trouble = self.pipe.recv()
        if trouble:
            raise Broken(f"{len(trouble)} times something could not be sent: {trouble[0]}")
        return taken


class Reader(threading.Thread):
    """A `read_committed` client that reads every output from the first record on, all through the rounds."""

    def __init__(self, bootstrap):
        super().__init__(daemon=True)
        self.bootstrap = bootstrap
        topics = Consumer({"bootstrap.servers": bootstrap, "group.id": "outages", **FAST}).list_topics(timeout=20).topics
        self.next = {(topic, partition): OFFSET_BEGINNING for topic in loop.OUTPUTS for partition in topics[topic].partitions}
        self.lock = threading.Lock()
        self.seen = {topic: {} for topic in loop.OUTPUTS}  # the digest of each record by its seq
        self.twice, self.decided, self.open, self.trouble = [], set(), set(), None

    def run(self):
        try:
            while True:
                self.read_until_silent()
        except Exception as trouble:  # a thread that dies silently would look like a ledger that does
            self.trouble = trouble

    def read_until_silent(self):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "outages", "enable.auto.commit": False,
                             "isolation.level": "read_committed", "auto.offset.reset": "error", **FAST})
        consumer.assign([TopicPartition(*place, offset) for place, offset in self.next.items()])
        heard = time.monotonic()
        while time.monotonic() - heard < SILENT_SECONDS:
            record = consumer.poll(0.5)
            if record is not None and record.error() is None:
                heard = time.monotonic()
                self.next[record.topic(), record.partition()] = record.offset() + 1
                self.take(record.topic(), int(dict(record.headers())["ce_id"].decode().rpartition("/")[2]), record.value())
        consumer.close()

    def take(self, topic, seq, value):
        name = None
        if topic != producer.REFUSALS:
            document = json.loads(base64.b64decode(json.loads(value)["payload"]))
            name = document["id"]
        with self.lock:
            if seq in self.seen[topic]:
                self.twice.append((topic, seq))
            self.seen[topic][seq] = digest(value)
            if topic == producer.DECISIONS:
                self.decided.add(name)
                self.open ^= {name}  # a receipt may be read before its decision
            elif name:
                self.open ^= {name}

    def require_once(self):
        with self.lock:
            if self.trouble:
                raise Broken(f"the reader failed: {self.trouble!r}")
            if self.twice:
                raise Broken(f"{len(self.twice)} records came twice, the first on {self.twice[0][0]} with seq {self.twice[0][1]}")

    def missing(self, names):
        """What of this has no decision; the decisions without a receipt."""
        self.require_once()
        with self.lock:
            return names - self.decided, set(self.open)

    def count(self):
        with self.lock:
            return len(self.seen[producer.DECISIONS])


def digest(value):
    return hashlib.blake2b(value, digest_size=16).digest()


# --- The rounds -------------------------------------------------------------------------------------------------------


class Rounds:
    """What lives through all rounds."""

    def __init__(self, ledger, node, load, reader):
        self.ledger, self.node, self.load, self.reader = ledger, node, load, reader
        self.taken = set()

    def require_served(self):
        if (status := self.ledger.process.poll()) is not None:
            raise Broken(f"writ serve ended by itself with status {status}")

    def wait(self, seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.require_served()
            time.sleep(min(0.1, left))

    def submit(self, name, count):
        """Over the ledger's socket."""
        hour = time.time_ns() // 1000 + 3_600_000_000
        names = [f"{name}-{number:06}-socket" for number in range(count)]
        file = self.ledger.folder.with_suffix(".jsonl")
        file.write_text("".join(json.dumps({
            "tenant": TENANT, "id": one, "principal": PRINCIPAL, "action": "notes.add", "args": {"note": one}, "expires_at": hour,
        }) + "\n" for one in names))
        self.ledger.run("submit", "--data", self.ledger.folder, "--json", file)
        self.taken.update(names)

    def wait_until_published(self, until):
        """Until everything that was taken is published, and the ledger says so, too."""
        while True:
            self.require_served()
            undecided, open_ends = self.reader.missing(self.taken)
            lag = None if undecided or open_ends else self.ledger.metric(LAG)
            if lag == 0:
                return
            if time.monotonic() > until:
                raise Broken(f"{BACK_SECONDS_MAX} s after it is back {len(undecided)} intents have no decision and {len(open_ends)} decisions no receipt "
                             f"on their topics; {self.ledger.metric(LAG)} entries lag behind: {sorted(undecided | open_ends)[:1]}")
            time.sleep(0.1)

    def round(self, name, chosen):
        """Seconds from the end of the outage until everything is published."""
        self.load.begin(name, LOADS[chosen.load])
        self.wait(LEAD_SECONDS if LOADS[chosen.load] else 0)
        with self.node.away(chosen):
            until = time.monotonic() + chosen.seconds
            if chosen.load == "quiet":
                self.submit(name, QUIET_INTENTS)
            self.wait(until - time.monotonic())
            # A node that says that there are none still takes what comes.
            if chosen.outage != "fence" and not (self.ledger.metric(LAG) or 0) > 0:
                raise Broken(f"nothing can be published, and {LAG} does not say so")
        back = time.monotonic()
        self.wait(TAIL_SECONDS)
        self.taken.update(self.load.end())
        self.wait_until_published(back + BACK_SECONDS_MAX)
        took = time.monotonic() - back
        time.sleep(TWICE_SECONDS)
        self.reader.require_once()
        return took

    def again(self):
        """After a round that failed: a new process, which the next round may find well. What the load has sent since then is only
        compared with the log."""
        with contextlib.suppress(Broken):
            self.load.end()
        if self.ledger.process.poll() is None:
            self.ledger.kill()
        self.ledger.serve()
        self.ledger.wait_until_ready()
        self.wait_until_published(time.monotonic() + 2 * BACK_SECONDS_MAX)

    def compare(self):
        """The topics are what the log is: each output once, byte for byte. The ledger is closed."""
        expected = {topic: {} for topic in loop.OUTPUTS}
        for line in self.ledger.run("log", "show", "--data", self.ledger.folder, "--json").splitlines():
            entry = [json.loads(line)]
            for topic, kind in ((producer.DECISIONS, "DecisionMade"), (loop.RECEIPTS, "ReceiptIssued")):
                expected[topic].update((seq, digest(envelope)) for seq, _, envelope in loop.documents(entry, kind))
            expected[producer.REFUSALS].update((seq, digest(value)) for seq, value in loop.refusals(entry))
        self.reader.require_once()
        for topic, wanted in expected.items():
            found = self.reader.seen[topic]
            if different := sorted(seq for seq in wanted.keys() | found.keys() if wanted.get(seq) != found.get(seq)):
                raise Broken(f"{len(different)} entries of {len(wanted)} are not on {topic} as they are in the log, the first has seq {different[0]}")
        return sum(map(len, expected.values()))


@contextlib.contextmanager
def busy(loops):
    """Loops that want the same cores; each ends with this process, however that ends."""
    body = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    processes = [subprocess.Popen([sys.executable, "-c", body]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def row(*cells):
    widths = (5, 7, 3, 5, 6, 9, 9, 9)
    print("  ".join(str(cell).rjust(width) for cell, width in zip(cells, widths)), *cells[len(widths):], flush=True)


def run(options, chosen, folder):
    """(passed, failed)"""
    passed = failed = 0
    with Relay() as network, system.kafka(folder / "kafka", "--advertise", network.address) as addresses:
        bootstrap, behind = addresses.split()
        network.tell("to", behind)
        ledger = system.Ledger(options.writ, folder / "ledger", network.address)
        ledger.init("http://127.0.0.1:9/", segment_bytes=None)
        ledger.serve()
        try:
            ledger.wait_until_ready()
            reader = Reader(bootstrap)
            reader.start()
            node = Node(folder / "kafka", network)
            rounds = Rounds(ledger, node, Load(bootstrap, ledger.http, ledger.folder / "keys/producer.key"), reader)
            rounds.submit("first", 1)
            rounds.wait_until_published(time.monotonic() + BACK_SECONDS_MAX)
            row("round", "outage", "s", "load", "moment", "decisions", "abandoned", "back in s")
            with busy(BUSY_LOOPS if options.busy else 0):
                for number, one in enumerate(chosen, start=1):
                    before, abandoned = reader.count(), rounds.ledger.metric(ABANDONED)
                    try:
                        took, problem = f"{rounds.round(f'round-{number:03}', one):.1f}", None
                    except Broken as why:
                        took, problem = "FAILED", why
                    if abandoned is not None and (now := rounds.ledger.metric(ABANDONED)) is not None:
                        abandoned = int(now - abandoned)
                    row(number, *one, reader.count() - before, "-" if abandoned is None else abandoned, took)
                    if not problem:
                        passed += 1
                        continue
                    failed += 1
                    print(f"       {problem}; its log ends in:\n{ledger.last_words()}", flush=True)
                    try:
                        rounds.again()
                    except Broken as why:
                        print(f"       and a new process does not mend it: {why}\n{len(chosen) - number} further rounds were not run", flush=True)
                        return passed, failed
            ledger.stop()
            ledger.run("verify", "--data", ledger.folder)
            print(f"{rounds.compare()} records are on the topics as in the log, each once")
        finally:
            if ledger.process.poll() is None:
                ledger.kill()
            if options.keep:
                (options.keep / "serve.log").write_bytes(ledger.log.read_bytes())
    return passed, failed


def main():
    def part(text):
        number, of = map(int, text.split("/"))
        if not 1 <= number <= of:
            raise ValueError
        return number, of

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("chosen", nargs="*", type=parse_round, metavar="OUTAGE:SECONDS:LOAD[:within]",
        help=f"outages: {' '.join(OUTAGES)}; loads: {' '.join(LOADS)}")
    add("--rounds", type=int, default=50)
    add("--part", type=part, default=(1, 1), metavar="N/OF", help="only this part of the rounds")
    add("--seed", type=int, default=1, help="of which rounds there are, and of their order; timing still differs")
    add("--busy", action="store_true", help=f"{BUSY_LOOPS} busy loops beside it")
    add("--writ", type=pathlib.Path, default=system.default_writ())
    add("--keep", type=pathlib.Path, metavar="FOLDER", help="where the log of the service is left behind")
    options = parser.parse_args()
    if not options.writ.is_file():
        print(f"outages: {options.writ} is not there: cargo build --release", file=sys.stderr)
        return 2
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    number, of = options.part
    chosen = options.chosen or plan(options.rounds, options.seed)[number - 1 :: of]
    with tempfile.TemporaryDirectory(prefix="writ-outages-") as folder:
        passed, failed = run(options, chosen, pathlib.Path(folder))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    system.script("outages", main, producer.CouldNotRun, KafkaException, subprocess.SubprocessError)
