"""A workload of which is known what comes of it: each verdict, each receipt status, each gate refusing, over each way in.

Whatever nobody may find in telemetry has `planted` in it: tenant, principals, ids, args, reasons, a query of an URL.
"""

import collections
import json
import secrets
import time
from typing import NamedTuple

from system import Broken, free_port

import policy
import producer  # examples/python: signing, the topics' names
from confluent_kafka import Producer

PLANTED = "planted"
TENANT = "planted-tenant"
PRINCIPAL, FROZEN, STRANGER, APPROVER, CARRIER = (f"planted-{name}" for name in ("principal", "frozen", "stranger", "approver", "carrier"))
HEADER = "planted-header"
KEYS = {PRINCIPAL: "agent", FROZEN: "agent", APPROVER: "approver", CARRIER: "carrier"}  # principal -> role

WEEK_AND_A_DAY = 8 * 24 * 3600
GARBAGE = b"this is not JSON: planted-garbage"


class Row(NamedTuple):
    """An intent, and what comes of it: `ends` are the verdicts and codes of its rounds, then its receipt's status and code."""

    name: str
    via: str  # kafka, http, local
    action: str
    ends: tuple
    args: dict = {}
    signer: str = PRINCIPAL
    more: dict = {}


SUCCEEDED = ("SUCCEEDED", "OK")

ROWS = (
    Row("note-kafka", "kafka", "notes.add", (("PASS", "OK"), SUCCEEDED)),
    Row("note-http", "http", "notes.add", (("PASS", "OK"), SUCCEEDED)),
    Row("note-local", "local", "notes.add", (("PASS", "OK"), SUCCEEDED)),
    Row("paid-kafka", "kafka", "pay", (("PASS", "OK"), SUCCEEDED), {"cents": 5}),
    Row("paid-http", "http", "pay", (("PASS", "OK"), SUCCEEDED), {"cents": 7}),
    Row("unsampled", "http", "notes.add", (("PASS", "OK"), SUCCEEDED), more={"sampled": False}),
    # Gates that refuse, and those that cannot tell.
    Row("freeze", "kafka", "notes.add", (("FAIL", "ERR_FROZEN"),), signer=FROZEN),
    Row("trust", "kafka", "notes.add", (("FAIL", "ERR_TENANT_MISMATCH"),), more={"principal": STRANGER}),
    Row("envelope", "http", "notes.add", (("FAIL", "ERR_EXPIRY_TOO_FAR"),), more={"expires_in": WEEK_AND_A_DAY}),
    Row("policy", "http", "no.such", (("FAIL", "ERR_POLICY_NO_RULE"),)),
    Row("temporal", "kafka", "another.day", (("FAIL", "ERR_OUTSIDE_HOURS"),)),
    Row("proof", "http", "shown", (("FAIL", "ERR_PROOF_MISSING"),)),
    Row("budget", "kafka", "pay", (("FAIL", "ERR_BUDGET_EXCEEDED"),), {"cents": policy.LIMIT_CENTS + 1}),
    Row("budget-error", "http", "pay", (("FAIL", "ERR_BUDGET_ERROR"),), {"cents": -1}),
    Row("granted", "kafka", "pay", (("ESCALATE", "ERR_APPROVAL_NEEDED"), ("PASS", "OK"), SUCCEEDED), {"cents": policy.ASKED_FROM_CENTS}),
    Row("denied", "http", "pay", (("ESCALATE", "ERR_APPROVAL_NEEDED"), ("FAIL", "ERR_APPROVAL_DENIED")), {"cents": policy.ASKED_FROM_CENTS}),
    # Receipts.
    Row("drift", "kafka", "drift", (("PASS", "OK"), ("FAILED", "ERR_CONNECTOR_CONTRACT_DRIFT"))),
    Row("hang", "http", "hang", (("PASS", "OK"), ("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN"))),
    Row("broken", "kafka", "broken", (("PASS", "OK"), ("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN"))),
    Row("refuse", "http", "refuse", (("PASS", "OK"), ("FAILED", "ERR_CONNECTOR_REFUSED"))),
    Row("away", "local", "away", (("PASS", "OK"), ("FAILED", "ERR_CONNECTOR_UNAVAILABLE"))),
    Row("cut-1", "http", "cut", (("PASS", "OK"), ("UNCERTAIN", "ERR_CONNECTOR_UNCERTAIN"))),
    Row("cut-2", "http", "cut", (("PASS", "OK"), ("EXPIRED", "ERR_WINDOW_CLOSED"))),
    Row("outside-1", "kafka", "outside", (("PASS", "OK"), SUCCEEDED)),
    Row("outside-2", "http", "outside", (("PASS", "OK"), ("UNCERTAIN", "ERR_OUTCOME_MISSING"))),
)
# What makes a later one wait must have its receipt first.
BEHIND = {"cut-2": "cut-1"}

# What no entry tells: sent again, signed by nobody who is trusted, no document at all.
KNOWN, UNKNOWN_KEY, UNREADABLE = 1, 1, 1

AUDITS = ("verify", "replay")


class Sent(NamedTuple):
    envelope: bytes
    traceparent: str | None

    @property
    def sampled(self):
        return not self.traceparent or self.traceparent.endswith("01")

    @property
    def trace(self):
        return self.traceparent and self.traceparent.split("-")[1]

    @property
    def span(self):
        return self.traceparent and self.traceparent.split("-")[2]


def traceparent(sampled=True):
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{'01' if sampled else '00'}"


PREFIX = "planted-id-"


def name_of(row):
    return PREFIX + row.name


class Workload:
    """On a ledger whose policy is `policy.bundle`; it has been made, and is not served yet."""

    def __init__(self, ledger):
        self.ledger, self.keys, self.sent, self.prefix = ledger, {}, {}, PREFIX
        self.statuses = collections.Counter()  # of answers to POST /v1/intents
        self.others = {}  # trace by span: contexts of what has no entry of its own
        for principal, role in KEYS.items():
            file = ledger.folder.with_suffix(f".{principal}.key")
            public = ledger.run("key", "new", file).strip()
            ledger.run("key", "trust", "--data", ledger.folder, public, "--tenant", TENANT, "--principal", principal, "--role", role)
            self.keys[principal] = file
        self.entries_before = len(ledger.entries())

    def intent(self, row):
        expires_at = int((time.time() + row.more.get("expires_in", 3600)) * 1_000_000)
        return {"tenant": TENANT, "principal": row.more.get("principal", row.signer), "id": name_of(row), "action": row.action,
                "args": {"text": "planted-args", **row.args}, "expires_at": expires_at}

    def sign(self, row, key=None):
        return producer.sign(producer.load_key(key or self.keys[row.signer]), producer.INTENT_TYPE, self.intent(row))

    def send(self, row):
        sent = Sent(self.sign(row), None if row.via == "local" else traceparent(row.more.get("sampled", True)))
        self.sent[row.name] = sent
        if row.via == "http":
            self.submit(sent.envelope, sent.traceparent)
        elif row.via == "local":
            file = self.ledger.folder.with_suffix(".jsonl")
            file.write_bytes(sent.envelope + b"\n")
            self.ledger.run("submit", "--data", self.ledger.folder, file)
            self.statuses[200] += 1

    def send_kafka(self, rows):
        """All of them at once, with a record that nobody can read behind."""
        client = Producer({"bootstrap.servers": self.ledger.bootstrap, **producer.QUIET})
        for row in rows:
            self.send(row)
            sent = self.sent[row.name]
            client.produce(producer.INTENTS, sent.envelope, key=TENANT.encode(), headers=[("traceparent", sent.traceparent.encode())])
        client.produce(producer.INTENTS, GARBAGE, key=TENANT.encode())
        if client.flush(60):
            raise producer.CouldNotRun("Kafka takes no records")

    def decided(self, name):
        return any(entry["kind"] == "DecisionMade" and entry["event"]["payload"]["id"] == name for entry in self.ledger.entries())

    def ended(self, name):
        return any(entry["kind"] == "ReceiptIssued" and entry["event"]["payload"]["id"] == name for entry in self.ledger.entries())

    def of(self, name):
        return name_of(next(row for row in ROWS if row.name == name))

    def run(self):
        """All of it; the ledger is served."""
        ledger, data = self.ledger, ("--data", self.ledger.folder)
        ledger.run("freeze", *data, "--tenant", TENANT, "--principal", FROZEN, "--reason", "planted-reason")
        self.send_kafka([row for row in ROWS if row.via == "kafka"])
        for row in (row for row in ROWS if row.via != "kafka"):
            if row.name in BEHIND:
                ledger.wait(f"receipt of {row.name}'s predecessor", lambda: self.ended(self.of(BEHIND[row.name])))
            self.send(row)
        ledger.wait("decision that asks", lambda: self.decided(self.of("granted")))
        answer = (*data, "--key", self.keys[APPROVER], "--reason", "planted-reason")
        ledger.run("approvals", "grant", *answer, TENANT, self.of("granted"))
        ledger.run("approvals", "refuse", *answer, TENANT, self.of("denied"))
        self.report("outside-1")
        self.odd()
        ledger.wait("receipt of everything that passed", self.all_ended)
        for check in AUDITS:
            ledger.run(check, *data)

    def report(self, name):
        """What an executor outside says, as soon as there is something to report."""
        ledger = self.ledger
        output = ledger.folder.with_suffix(".output.json")
        output.write_text(json.dumps({"done": True}))
        listed = lambda: self.of(name) in ledger.run("outcome", "list", "--data", ledger.folder, "--tenant", TENANT, "--connector", "outside")
        ledger.wait(f"dispatch of {name}", listed)
        ledger.run("outcome", "report", "--data", ledger.folder, "--applied", "--output", output, "--key", self.keys[CARRIER], TENANT, self.of(name))

    def submit(self, envelope, context):
        status, answer = self.ledger.submit(envelope, traceparent=context)
        self.statuses[status] += 1
        return status, answer

    def another(self):
        context = traceparent()
        self.others[context.split("-")[2]] = context.split("-")[1]
        return context

    def odd(self):
        """KNOWN, UNKNOWN_KEY."""
        again = self.sent["note-http"]
        status, answer = self.submit(again.envelope, self.another())
        if answer.get("answer") != "known":
            raise Broken(f"sent again: {status} {answer}")
        key = self.ledger.folder.with_suffix(".unknown.key")
        self.ledger.run("key", "new", key)
        status, answer = self.submit(self.sign(Row("unknown", "http", "notes.add", ()), key), self.another())
        if answer.get("code") != "ERR_KEY_UNKNOWN":
            raise Broken(f"by a key that nobody trusts: {status} {answer}")

    def ends(self):
        """What the log says of each intent: verdict and code of each round, then status and code of its receipt."""
        found = {}
        for entry in self.ledger.entries():
            if entry["kind"] in ("DecisionMade", "ReceiptIssued"):
                it = entry["event"]["payload"]
                found.setdefault(it["id"], []).append((it.get("verdict") or it["status"], it["code"]))
        return {name: tuple(ends) for name, ends in found.items()}

    def all_ended(self):
        found = self.ends()
        return all(len(found.get(name_of(row), ())) >= len(row.ends) for row in ROWS)

    def require_as_planned(self):
        found, planned = self.ends(), {name_of(row): row.ends for row in ROWS}
        if found != planned:
            different = {name: (found.get(name), planned.get(name)) for name in found.keys() | planned.keys() if found.get(name) != planned.get(name)}
            raise Broken(f"the workload came to something else than it was made for (found, planned): {different}")


def unreachable():
    return f"http://127.0.0.1:{free_port()}/"
