"""Whole traces: which spans an intent must have, told by the log, and which it has."""

import collections

import producer
import spans
from counts import answer_of
from system import Broken

RECEIPTS = "writ.receipts.v1"
VIEWS = ("proofgraph", "metering")
REQUEST = "POST /v1/intents"
CALLER = "the caller"

# What stands of an execution that nobody was called for.
NOT_CALLED = ("ERR_WINDOW_CLOSED", "ERR_OUTCOME_MISSING")


class Case:
    """An intent as the log has it: its entry, its decisions, whether it was dispatched, its receipt."""

    def __init__(self, entry):
        self.admitted, self.decisions, self.dispatched, self.receipt = entry["event"], [], False, None

    @property
    def id(self):
        return self.admitted["payload"]["id"]

    @property
    def trace(self):
        """The id that the entry records."""
        return self.admitted["trace"] and self.admitted["trace"].split("-")[1]

    @property
    def span(self):
        return self.admitted["trace"].split("-")[2]

    @property
    def from_kafka(self):
        return isinstance(self.admitted["source"], dict) and "kafka" in self.admitted["source"]

    def edges(self, connectors, published=True):
        """How often each name stands below each: (parent, name)."""
        found = collections.Counter()
        own = f"process {producer.INTENTS}" if self.from_kafka else "process intent"
        found[CALLER if self.from_kafka else REQUEST, own] += 1
        if not self.from_kafka:
            found[CALLER, REQUEST] += 1
        found[own, "parse"] += 1
        found[own, "queue"] += 1
        for decision in self.decisions:
            found[own, "decide"] += 1
            found[own, "commit"] += 1
            followed(found, own, published and producer.DECISIONS)
            for gate in decision["gates"]:
                if answer_of(gate) != "not_reached":
                    found["decide", f"gate {gate['gate']}"] += 1
        if self.receipt:
            self.execution(found, own, connectors, published)
        return found

    def execution(self, found, own, connectors, published):
        name = f"execute_tool {self.admitted['payload']['action']}"
        found[own, name] += 1
        kind = connectors[self.receipt["connector"]]["kind"]
        if self.dispatched:
            found[name, "dispatch"] += 1
        if self.dispatched and not (isinstance(kind, dict) and "external" in kind):
            found[name, "echo" if kind == "echo" else "POST"] += 1
            found[name, "judge"] += 1
        found[name, "receipt"] += 1
        followed(found, name, published and RECEIPTS)


def followed(found, parent, topic):
    """`topic` is none where nothing is published."""
    if topic:
        found[parent, f"send {topic}"] += 1
    for view in VIEWS:
        found[parent, f"apply {view}"] += 1


def cases(entries):
    """By id."""
    found, by_seq, decision_of = {}, {}, {}
    for entry in entries:
        event = entry["event"]
        if entry["kind"] == "IntentAdmitted":
            by_seq[entry["seq"]] = found[event["payload"]["id"]] = Case(entry)
        elif entry["kind"] == "DecisionMade":
            case = decision_of[entry["seq"]] = by_seq[event["payload"]["intent_seq"]]
            case.decisions.append(event["payload"])
        elif entry["kind"] == "DispatchStarted":
            decision_of[event["decision"]].dispatched = True
        elif entry["kind"] == "ReceiptIssued":
            decision_of[event["payload"]["decision_seq"]].receipt = event["payload"]
    return found


def edges_of(trace, received, contexts):
    """The same of the spans of a trace."""
    found = collections.Counter()
    for span in trace:
        parent = received.get(span.parent)
        found[parent.name if parent else CALLER if span.parent in contexts or not span.parent else "?", span.name] += 1
    return found


def require_whole(case, received, contexts, connectors, callers):
    """`callers` has the span that was sent with an intent; one that had none begins the trace itself."""
    trace = [span for span in received.values() if span.trace == case.trace]
    expected, found = case.edges(connectors), edges_of(trace, received, contexts)
    if found != expected:
        raise Broken(f"the trace of {case.id}: missing {dict(expected - found)}, too many {dict(found - expected)}")
    own = received.get(case.span)
    if own is None or not own.name.startswith("process "):
        raise Broken(f"the entry of {case.id} records the span {case.span}, which is {own and own.name}")
    [top] = [span for span in trace if span.parent not in received]
    if top.parent != (callers.get(case.id) or ""):
        raise Broken(f"the trace of {case.id} begins below {top.parent or 'nothing'}, not below the caller's {callers.get(case.id)}")
    require_linked(case, own, trace, received)


def require_linked(case, own, trace, received):
    """What the batches, the poll and the transactions of it are linked to; each batch also links back."""
    for span in trace:
        linked = [received[link] for _, link in span.links if link in received]
        if span.name in ("commit", "dispatch", "receipt"):
            if [one.name for one in linked] != ["batch"]:
                raise Broken(f"`{span.name}` of {case.id} links {[one.name for one in linked]}, not one batch")
            if (span.trace, span.parent) not in linked[0].links:
                raise Broken(f"the batch of `{span.name}` of {case.id} does not link what stands in it")
        elif span.name.startswith("send ") and [one.name for one in linked] != ["transaction"]:
            raise Broken(f"`{span.name}` of {case.id} links {[one.name for one in linked]}, not one transaction")
    if case.from_kafka:
        polls = [received[link] for _, link in own.links if link in received]
        if [one.name for one in polls] != [f"poll {producer.INTENTS}"] or (own.trace, own.parent) not in own.links:
            raise Broken(f"`{own.name}` of {case.id} links {own.links}, not its producer and one poll")
        if (own.trace, own.parent) not in polls[0].links:
            raise Broken(f"the poll that read {case.id} does not link its producer")


def require_ends(case, received):
    """What spans say of how it ended is what the log says."""
    own, last = received[case.span], case.decisions[0]
    if (own.attributes.get("writ.verdict"), own.attributes.get("writ.code")) != (last["verdict"], last["code"]):
        raise Broken(f"the span of {case.id} says {own.attributes}, the log {last['verdict']} {last['code']}")
    for span in (span for span in received.values() if span.trace == case.trace and case.receipt):
        if span.name == "receipt" or span.name.startswith("execute_tool "):
            said = span.attributes.get("writ.receipt.status"), span.attributes.get("writ.code")
            if said != (case.receipt["status"], case.receipt["code"]):
                raise Broken(f"`{span.name}` of {case.id} says {said}, the log {case.receipt['status']} {case.receipt['code']}")


def in_order(case, received):
    """Gates are asked one after the other, as the decision has them."""
    decides = sorted((span for span in received.values() if span.trace == case.trace and span.name == "decide"), key=lambda span: span.began)
    for decide, decision in zip(decides, case.decisions):
        gates = sorted((span for span in received.values() if span.parent == decide.id), key=lambda span: span.began)
        asked = [f"gate {gate['gate']}" for gate in decision["gates"] if answer_of(gate) != "not_reached"]
        if [gate.name for gate in gates] != asked:
            raise Broken(f"{case.id}: gates in the order {[gate.name for gate in gates]}, not {asked}")


def all_of(load, received):
    """Every intent of the log; how many spans there are of them."""
    bundle = load.ledger.policy
    contexts = {sent.span: sent.trace for sent in load.sent.values() if sent.span} | load.others
    callers = {load.of(name): sent.span for name, sent in load.sent.items()}
    if wrong := sorted({f"`{span.name}` {what}" for span in received.values() for what in spans.differences(span, received, contexts)}):
        raise Broken("\n".join([f"{len(wrong)} things are not as {spans.PAGE.name} says:", *wrong]))
    found = cases(load.ledger.entries())
    for case in found.values():
        sent = load.sent[case.id.removeprefix(load.prefix)]
        if sent.trace and case.trace != sent.trace:
            raise Broken(f"{case.id} was sent in the trace {sent.trace}, and its entry has {case.trace}")
        if not sent.sampled:
            if any(span.trace == case.trace for span in received.values()):
                raise Broken(f"the caller of {case.id} said that it is not to be sampled, and it was")
            continue
        require_whole(case, received, contexts, bundle["connectors"], callers)
        require_ends(case, received)
        in_order(case, received)
    return len(found)
