"""Intents at a steady rate, over HTTP or Kafka, for as long as a block runs: what a ledger that is watched has to do."""

import http.client
import itertools
import json
import random
import threading
import time

import system

import producer  # examples/python: signing, the topics' names
from confluent_kafka import Producer

EXPIRES_SECONDS = 3600
HTTP_SECONDS_MAX = 60
PAUSE_AFTER_FAILURE_SECONDS = 0.2


class Traffic:
    """Signed by the ledger's own producer. `actions` has weights by name; `args` makes the args of an action."""

    def __init__(self, ledger, rate, actions=None, args=None, kafka=False, name="t", threads=1):
        self.ledger, self.rate, self.kafka, self.name = ledger, rate, kafka, name
        self.actions, self.args = actions or {"notes.add": 1}, args or (lambda action: {"text": "hi"})
        self.key = producer.load_key(ledger.folder / "keys/producer.key")
        self.ended, self.numbers = threading.Event(), itertools.count()
        self.answers = {}  # how often, by status or code
        self.lock, self.random = threading.Lock(), random.Random(1)
        self.threads = [threading.Thread(target=self.run, args=(threads,), daemon=True) for _ in range(threads)]

    def envelope(self):
        action = self.random.choices(list(self.actions), list(self.actions.values()))[0]
        return producer.sign(self.key, producer.INTENT_TYPE, {
            "tenant": system.TENANT, "principal": system.PRINCIPAL, "id": f"{self.name}-{next(self.numbers):07}", "action": action,
            "args": self.args(action), "expires_at": int((time.time() + EXPIRES_SECONDS) * 1_000_000)})

    def run(self, threads):
        send, due = self.kafka_sender() if self.kafka else self.http_sender(), time.monotonic()
        while not self.ended.wait(max(0, due - time.monotonic())):
            # Who was held up does not make up for it: a steady rate, not a flood.
            due = max(due + threads / self.rate, time.monotonic() - 1)
            answer = send(self.envelope())
            with self.lock:
                self.answers[answer] = self.answers.get(answer, 0) + 1

    def http_sender(self):
        host, port = self.ledger.http.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=HTTP_SECONDS_MAX)

        def send(envelope):
            try:
                connection.request("POST", "/v1/intents", envelope, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                return answer.status
            except (OSError, http.client.HTTPException):
                connection.close()  # the next one opens another
                self.ended.wait(PAUSE_AFTER_FAILURE_SECONDS)
                return 0
        return send

    def kafka_sender(self):
        client = Producer({"bootstrap.servers": self.ledger.bootstrap, "linger.ms": 5, **producer.QUIET})

        def send(envelope):
            client.produce(producer.INTENTS, envelope, key=system.TENANT.encode())
            client.poll(0)
            return "sent"
        return send

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()


def at_once(ledger, count, name="once"):
    """So many intents as one request's lines; the answers."""
    traffic = Traffic(ledger, 1, name=name)
    body = b"".join(traffic.envelope() + b"\n" for _ in range(count))
    host, port = ledger.http.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=HTTP_SECONDS_MAX)
    try:
        connection.request("POST", "/v1/intents", body, {"Content-Type": "application/x-ndjson"})
        return [json.loads(line) for line in connection.getresponse().read().splitlines()]
    finally:
        connection.close()
