#!/usr/bin/env python3
"""A producer: signs intents, sends them to Kafka, and waits until the ledger has answered each of them.

    producer.py --bootstrap 127.0.0.1:9092 --key keys/producer.key --run monday --count 10
    producer.py --kafka-config kafka.toml  --key keys/producer.key --run monday --count 10

Run it again with the same --run and it sends the same bytes again: the ledger adds nothing, and the first answers are found
on the topic. Exit status: 0 everything was answered, 1 something was not or was refused as a record, 2 could not run.
"""

import argparse
import base64
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import tomllib

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

INTENTS, DECISIONS, REFUSALS = "writ.intents.v1", "writ.decisions.v1", "writ.refusals.v1"
INTENT_TYPE = "application/vnd.writ.intent.v1+json"
DECISION_TYPE = "application/vnd.writ.decision.v1+json"

# The ledger refuses what expires more than 7 days ahead.
EXPIRY_SECONDS_MAX = 7 * 24 * 3600
INTEGER_MAX = 2**53 - 1
NAME = re.compile(r"[A-Za-z0-9._:@/-]{1,128}")


class CouldNotRun(Exception):
    """Ends the program with status 2 and this sentence."""


# --- Documents: canonical JSON, DSSE, Ed25519 -------------------------------------------------------------------------


def canonical(value) -> bytes:
    """RFC 8785, for the values that intents should hold. Equal intents then have equal bytes, whoever writes them."""

    def text(value):
        if isinstance(value, dict):
            # By UTF-16 code units, as ECMAScript sorts: not the order of code points that sort_keys would give.
            members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
            return "{" + ",".join(f"{text(key)}:{text(member)}" for key, member in members) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(text, value)) + "]"
        if isinstance(value, float) or (isinstance(value, int) and abs(value) > INTEGER_MAX):
            # RFC 8785 prints floats as ECMAScript does, which Python does not; quantities are integers with a named unit.
            raise CouldNotRun(f"{value!r}: use integers within 2^53 - 1, or text")
        return json.dumps(value, ensure_ascii=False)

    return text(value).encode("utf-8")


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed, so that no document can pass for one of another kind."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)


def load_key(path) -> Ed25519PrivateKey:
    """A key file: 64 hex digits of the seed, then lines of comment."""
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(pathlib.Path(path).read_text().splitlines()[0]))
    except (OSError, ValueError, IndexError) as why:
        raise CouldNotRun(f"{path} is not a key file: {why}") from None


def key_id(key: Ed25519PrivateKey) -> str:
    return f"ed25519:{key.public_key().public_bytes_raw().hex()}"


def sign(key: Ed25519PrivateKey, payload_type: str, document: dict) -> bytes:
    """The envelope that is sent, kept and sent again."""
    payload = canonical(document)
    signature = key.sign(pae(payload_type, payload))
    return canonical({
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": key_id(key), "sig": base64.b64encode(signature).decode()}],
    })


def open_envelope(envelope: bytes, payload_type: str) -> tuple[dict, set[str]]:
    """The document and the ids of the keys that signed it. ValueError if anything about it is wrong."""
    try:
        fields = json.loads(envelope)
        payload = base64.b64decode(fields["payload"], validate=True)
        signers = set()
        for one in fields["signatures"]:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(one["keyid"].removeprefix("ed25519:")))
            public.verify(base64.b64decode(one["sig"], validate=True), pae(payload_type, payload))
            signers.add(one["keyid"])
        if fields["payloadType"] != payload_type or not signers:
            raise ValueError("another payloadType, or nobody signed it")
        return json.loads(payload), signers
    except (KeyError, TypeError, AttributeError, InvalidSignature) as why:
        raise ValueError(f"not an envelope of {payload_type}: {why!r}") from None


# --- What is sent -----------------------------------------------------------------------------------------------------


def intents(options, key) -> dict[str, bytes]:
    """The signed intents of this run by id; made once, then read from the outbox.

    `expires_at` is part of what is signed. Making an intent anew would give other bytes under the same id, and the ledger
    refuses those by name. So a producer that wants to be able to ask again writes down what it signed *before* it sends.
    """
    outbox = options.outbox / f"{options.run}-{key_id(key)[8:24]}.jsonl"
    expected = [f"{options.run}-{number:04}" for number in range(1, options.count + 1)]
    if not outbox.exists():
        expires_at = int((time.time() + options.expires_in) * 1_000_000)
        common = {"tenant": options.tenant, "principal": options.principal, "action": options.action,
                  "args": options.args, "expires_at": expires_at}
        if options.session:
            common["session"] = options.session
        outbox.parent.mkdir(parents=True, exist_ok=True)
        partial = outbox.with_suffix(f".{os.getpid()}")
        with partial.open("wb") as file:
            for name in expected:
                file.write(sign(key, INTENT_TYPE, {"id": name, **common}) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        partial.rename(outbox)
    signed = {}
    for line in outbox.read_bytes().splitlines():
        intent, _ = open_envelope(line, INTENT_TYPE)
        for field in ("tenant", "principal", "action", "args"):
            if intent[field] != getattr(options, field):
                raise CouldNotRun(f"{outbox} holds intents with {field} = {intent[field]!r}: choose another --run")
        signed[intent["id"]] = line
    if list(signed) != expected:
        raise CouldNotRun(f"{outbox} holds {len(signed)} intents, not {len(expected)}: choose another --run")
    return signed


def unreadable(number: int, envelope: bytes) -> bytes | None:
    """The `number`-th record that no ledger can read, each kind in its turn."""
    kinds = [
        b"this is not JSON",
        envelope[: len(envelope) // 2],
        envelope.replace(b'"payloadType"', b'"payloadtype"'),
        b'{"payload":"%s"}' % base64.b64encode(os.urandom(24)),
        b"\xff\xfe\x00",
        None,
    ]
    return kinds[number % len(kinds)]


# --- Kafka ------------------------------------------------------------------------------------------------------------

SECRET_SECONDS_MAX = 30


def report(error):
    """librdkafka reports every attempt to reach a broker. One that comes back is no error, and one that does not ends in a
    time-out here, which is reported once. A wrong password or certificate never comes right, and the time-out would not name it."""
    if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
        raise CouldNotRun(error.str())


QUIET = {"log_level": 2, "error_cb": report}


def secret(name: str, source: dict, folder: pathlib.Path) -> str:
    """What stands in a file, in the environment, or is printed by a command, without its final line break.

    No error says what it is, nor the words of a command that failed: they may hold it.
    """
    match source:
        case {"file": str(path), **rest} if not rest:
            if (folder / path).stat().st_mode & 0o077:
                raise CouldNotRun(f"{name}: others may open {folder / path}: chmod 600")
            text = (folder / path).read_bytes().decode()
        case {"env": str(variable), **rest} if not rest:
            text = os.environ.get(variable, "")
        case {"command": [str(_), *_] as command, **rest} if not rest:
            try:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECRET_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                raise CouldNotRun(f"{name}: {command[0]} did not end in {SECRET_SECONDS_MAX} s") from None
            if done.returncode != 0:
                raise CouldNotRun(f"{name}: {command[0]} ended with status {done.returncode}")
            text = done.stdout
        case _:
            raise CouldNotRun(f"{name}: a secret is {{ file = ... }}, {{ env = ... }} or {{ command = [...] }}")
    text = re.sub(r"\r?\n\Z", "", text)
    if not text:
        raise CouldNotRun(f"{name}: {next(iter(source))} holds no secret")
    return text


class Kafka:
    """Where the cluster is, what stands before the names of topics, and librdkafka's properties."""

    def __init__(self, bootstrap: str, prefix: str = "", **tables: dict):
        self.bootstrap, self.prefix, self.tables = bootstrap, prefix, tables

    @classmethod
    def read(cls, path: pathlib.Path, bootstrap: str | None) -> "Kafka":
        """The [kafka] table of a TOML file, such as a ledger's writ.toml; `bootstrap` goes before what stands there."""
        table = tomllib.loads(path.read_text()).get("kafka")
        if not isinstance(table, dict) or not (bootstrap or table.get("bootstrap")):
            raise CouldNotRun(f"{path} has no [kafka] table with `bootstrap`")
        tables = {
            kind: {name: secret(name, value, path.parent) if isinstance(value, dict) else value
                   for name, value in table.get(kind, {}).items()}
            for kind in ("client", "consumer", "producer")
        }
        return cls(bootstrap or table["bootstrap"], table.get("prefix", ""), **tables)

    def settings(self, kind: str) -> dict:
        """The properties of a consumer or a producer."""
        return {**self.tables.get("client", {}), **self.tables.get(kind, {}), "bootstrap.servers": self.bootstrap, **QUIET}

    def topic(self, name: str) -> str:
        return self.prefix + name


class Reader:
    """Reads whole topics from their start, and only what was committed: no group, so nothing to rebalance or remember."""

    def __init__(self, kafka: Kafka, topics: list[str], seconds: float):
        self.kafka = kafka
        self.consumer = Consumer({
            **kafka.settings("consumer"),
            "group.id": "writ-example-reader",  # librdkafka asks for one; nothing is ever committed under it
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        })
        self.partitions = [
            TopicPartition(topic, partition, OFFSET_BEGINNING)
            for topic in map(kafka.topic, topics)
            for partition in self._partitions(topic, seconds)
        ]
        # Where the topics ended when we came: an answer below is from before.
        self.ends = {
            (one.topic, one.partition): self.consumer.get_watermark_offsets(TopicPartition(one.topic, one.partition), seconds)[1]
            for one in self.partitions
        }
        self.consumer.assign(self.partitions)

    def _partitions(self, topic, seconds):
        try:
            found = self.consumer.list_topics(topic, timeout=seconds).topics[topic]
        except KafkaException:
            self.consumer.poll(0)  # the reason, if it was reported
            raise
        if found.error is not None:
            raise CouldNotRun(f"topic {topic}: {found.error.str()}")
        return sorted(found.partitions)

    def records(self, deadline: float):
        """Records, until the deadline."""
        while (left := deadline - time.monotonic()) > 0:
            record = self.consumer.poll(min(left, 0.5))
            if record is not None and record.error() is None:
                yield record

    def is_old(self, record) -> bool:
        return record.offset() < self.ends[record.topic(), record.partition()]

    def close(self):
        self.consumer.close()


def send(kafka: Kafka, tenant: str, values: list[bytes | None], seconds: float) -> list[tuple[int, int]]:
    """Sends each value, in order; the partition and offset at which Kafka stored each."""
    producer = Producer({
        "linger.ms": 5,
        **kafka.settings("producer"),
        "enable.idempotence": True,  # what librdkafka sends again after a lost answer stands in the topic once
        "message.timeout.ms": int(seconds * 1000),
    })
    places = {}

    def stored(number):
        def report(error, record):
            places[number] = error or (record.partition(), record.offset())
        return report

    deadline = time.monotonic() + seconds
    for number, value in enumerate(values):
        while True:
            try:
                producer.produce(kafka.topic(INTENTS), value, key=tenant.encode(), on_delivery=stored(number))
                break
            except BufferError:  # librdkafka's queue is full: let it send
                if time.monotonic() > deadline:
                    raise CouldNotRun("Kafka takes no records") from None
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(max(0.1, deadline - time.monotonic()))
    lost = [places.get(number, "no answer in time") for number in range(len(values))]
    lost = [place for place in lost if not isinstance(place, tuple)]
    if lost:
        raise CouldNotRun(f"{len(lost)} of {len(values)} records were not stored: {lost[0]}")
    return [places[number] for number in range(len(values))]


def answers(reader: Reader, options, wanted: dict[tuple[int, int], str], unreadables: set[tuple[int, int]], deadline: float):
    """Yields (kind, name, document, whether it is from before) until everything is answered or the deadline has come.

    `wanted` maps the places of our intents to their ids. An id is answered by its decision, wherever that was asked from; a
    place is answered by a refusal.
    """
    open_ids, open_places = set(wanted.values()), set(unreadables)
    decisions, refusals = reader.kafka.topic(DECISIONS), reader.kafka.topic(REFUSALS)
    for record in reader.records(deadline):
        old = reader.is_old(record)
        if record.topic() == decisions and record.key() == options.tenant.encode():
            try:
                decision, signers = open_envelope(record.value(), DECISION_TYPE)
            except ValueError as why:
                print(f"skipped {decisions}/{record.partition()}/{record.offset()}: {why}", file=sys.stderr)
                continue
            if options.decision_key and options.decision_key not in signers:
                continue
            if decision["tenant"] == options.tenant and decision["id"] in open_ids:
                open_ids.discard(decision["id"])
                yield "decision", decision["id"], decision, old
        elif record.topic() == refusals:
            refusal = json.loads(record.value())
            source = refusal["source"].get("kafka") if isinstance(refusal["source"], dict) else None
            place = source and (source["partition"]["number"], source["offset"])
            if place in open_places:
                open_places.discard(place)
                yield "refusal", f"partition {place[0]}, offset {place[1]}", refusal, old
            elif wanted.get(place) in open_ids:
                open_ids.discard(wanted[place])
                yield "refused intent", wanted[place], refusal, old
        if not open_ids and not open_places:
            return
    for name in sorted(open_ids):
        yield "nothing", name, {}, False
    for partition, offset in sorted(open_places):
        yield "nothing", f"partition {partition}, offset {offset}", {}, False


# --- The program ------------------------------------------------------------------------------------------------------


def arguments():
    def name(text):
        if not NAME.fullmatch(text):
            raise argparse.ArgumentTypeError("1 to 128 of A-Z a-z 0-9 . _ : @ / -")
        return text

    def run_name(text):
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", text):
            raise argparse.ArgumentTypeError("1 to 100 of A-Z a-z 0-9 . _ - (it names a file, too)")
        return text

    def json_object(text):
        try:
            value = json.loads(text)
        except ValueError as why:
            raise argparse.ArgumentTypeError(str(why)) from None
        if not isinstance(value, dict):
            raise argparse.ArgumentTypeError("a JSON object")
        return value

    def between(low, high, number):
        def parse(text):
            if not low <= (value := number(text)) <= high:
                raise argparse.ArgumentTypeError(f"{low} to {high}")
            return value
        return parse

    state = pathlib.Path(os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local/state") / "writ-producer"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--bootstrap", metavar="HOST:PORT", help="the Kafka cluster; 127.0.0.1:9092, or that of --kafka-config")
    add("--kafka-config", metavar="FILE", type=pathlib.Path, help="a TOML file with the [kafka] table that writ.toml has")
    add("--key", metavar="FILE", required=True, help="the key that signs: keys/producer.key of the ledger's folder")
    add("--run", metavar="NAME", type=run_name, required=True, help="names the intents NAME-0001, NAME-0002, ...")
    add("--tenant", type=name, default="acme")
    add("--principal", type=name, default="agent-1")
    add("--session", type=name, help="chains the receipts of this run")
    add("--action", type=name, default="notes.add")
    add("--args", metavar="JSON", type=json_object, default={}, help="the action's arguments")
    add("--count", type=between(1, 9999, int), default=10, help="how many intents")
    add("--garbage", metavar="N", type=between(0, 9999, int), default=0, help="sends N unreadable records, too")
    add("--expires-in", metavar="SECONDS", type=between(1, EXPIRY_SECONDS_MAX, int), default=24 * 3600)
    add("--outbox", metavar="DIR", type=pathlib.Path, default=state, help="where signed intents are kept")
    add("--decision-key", metavar="ed25519:HEX", help="trust only decisions that this key signed")
    add("--timeout", metavar="SECONDS", type=between(1, 3600, float), default=60.0, help="for everything together")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    deadline = time.monotonic() + options.timeout
    if options.kafka_config:
        kafka = Kafka.read(options.kafka_config, options.bootstrap)
    else:
        kafka = Kafka(options.bootstrap or "127.0.0.1:9092")
    key = load_key(options.key)
    signed = intents(options, key)
    garbage = [unreadable(number, next(iter(signed.values()))) for number in range(options.garbage)]

    reader = Reader(kafka, [DECISIONS, REFUSALS], min(10.0, options.timeout))
    places = send(kafka, options.tenant, [*signed.values(), *garbage], deadline - time.monotonic())
    print(f"sent {len(signed)} intents and {len(garbage)} unreadable records as {key_id(key)}", flush=True)

    counts = collections.Counter()
    wanted = dict(zip(places, signed))
    for kind, subject, document, old in answers(reader, options, wanted, set(places[len(signed):]), deadline):
        before = "  (answered before)" if old else ""
        counts["before"] += old
        match kind:
            case "decision":
                counts[document["verdict"]] += 1
                because = f"  {document['because']}" if document["because"] else ""
                print(f"{subject}  {document['verdict']:8}  {document['code']}{because}{before}", flush=True)
            case "refusal" | "refused intent":
                counts[kind] += 1
                print(f"{subject}  REFUSED   {document['code']}  {document['detail']}", flush=True)
            case "nothing":
                counts[kind] += 1
                print(f"{subject}  no answer within {options.timeout:g} s", flush=True)
    reader.close()

    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("PASS", "FAIL", "ESCALATE"))
    print(f"{len(signed)} intents: {verdicts}, {counts['refused intent']} refused, {counts['before']} answered before; "
          f"{len(garbage)} unreadable: {counts['refusal']} refused; {counts['nothing']} without answer")
    return 1 if counts["nothing"] or counts["refused intent"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CouldNotRun as problem:
        print(f"producer: {problem}", file=sys.stderr)
    except KafkaException as problem:
        print(f"producer: Kafka: {problem.args[0].str()}", file=sys.stderr)
    except (OSError, ValueError) as problem:
        print(f"producer: {problem}", file=sys.stderr)
    except KeyboardInterrupt:
        pass
    sys.exit(2)
