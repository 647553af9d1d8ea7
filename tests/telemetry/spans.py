"""Spans as a collector got them, and the table of docs/tracing.md, which says what each must be."""

import collections
import functools
import re
from typing import NamedTuple

from system import ROOT, Broken

PAGE = ROOT / "docs/tracing.md"
HEAD = ("span", "kind", "parent", "links", "attributes")
KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}


class Span(NamedTuple):
    trace: str
    id: str
    parent: str
    name: str
    kind: str
    links: tuple  # of (trace, span)
    attributes: dict
    error: bool
    began: int  # nanoseconds since 1970
    ended: int


def value_of(value):
    """OTLP's any-value in JSON, where a 64-bit integer is a string."""
    [(kind, found)] = value.items() or [("none", None)]
    if kind == "arrayValue":
        return [value_of(one) for one in found.get("values", [])]
    return int(found) if kind == "intValue" else found


def attributes_of(pairs):
    return {pair["key"]: value_of(pair["value"]) for pair in pairs}


def received(collector):
    """Each span by its id; one that came twice is a fault of the exporter's."""
    found = {}
    for request in collector.requests("traces"):
        for resource in request["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for it in scope["spans"]:
                    span = Span(
                        it["traceId"], it["spanId"], it.get("parentSpanId", ""), it["name"], KINDS[it["kind"]],
                        tuple((link["traceId"], link["spanId"]) for link in it.get("links", [])), attributes_of(it.get("attributes", [])),
                        it.get("status", {}).get("code") == 2, int(it["startTimeUnixNano"]), int(it["endTimeUnixNano"]))
                    if found.setdefault(span.id, span) != span:
                        raise Broken(f"two spans have the id {span.id}: {span.name} and {found[span.id].name}")
    return found


# --- The table --------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    name: str  # as the page writes it: `gate {name}`
    kind: str
    parents: str
    links: str
    attributes: frozenset

    def fits(self, name):
        return re.fullmatch(".+".join(map(re.escape, re.split(r"\{[^}]*\}", self.name))), name) is not None


@functools.cache
def table(page=PAGE):
    """The rows, and which of them a letter stands for: `I` are two."""
    rows, letters, inside = [], collections.defaultdict(list), False
    for line in page.read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if not line.startswith("|"):
            inside = False
        elif cells == HEAD:
            inside = True
        elif inside and not set(line) <= set("|- :"):
            name, letter = re.fullmatch(r"`([^`]+)`(?: \((?:([A-Z])\b)?.*\))?", cells[0]).groups()
            if len(cells) != len(HEAD) or cells[1] not in KINDS.values():
                raise Broken(f"{page}: a row that cannot be read: {line}")
            row = Row(name, cells[1], cells[2], cells[3], frozenset(re.findall(r"`([^`]+)`", cells[4])))
            rows.append(row)
            if letter:
                letters[letter].append(row)
    if not rows:
        raise Broken(f"{page} has no table {' | '.join(HEAD)}")
    # A literal name goes before one with a hole.
    return sorted(rows, key=lambda row: "{" in row.name), letters


def row_of(span):
    for row in table()[0]:
        if row.fits(span.name):
            return row
    raise Broken(f"no row of {PAGE.name} speaks of a span `{span.name}`")


# What stands in a cell for a context from outside.
OUTSIDE = ("the producer's", "the caller's", "the producers'")


def leads_to(cell):
    """The rows that a cell of parents or links names, and whether it names a context from outside."""
    rows, outside = [], False
    for phrase in re.split(r",| or | and ", cell.replace("`", "").removeprefix("each ").removesuffix(" in it")):
        phrase = phrase.strip()
        if phrase in OUTSIDE:
            outside = True
        elif phrase:
            named = table()[1].get(phrase) or [row for row in table()[0] if phrase in (row.name, row.name.partition(" {")[0])]
            if not named:
                raise Broken(f"{PAGE.name} says `{phrase}` of a parent or a link: mend this test")
            rows += named
    return rows, outside


def differences(span, spans, contexts):
    """What of a span is not as the page says; `contexts` are traces by the spans that came from outside."""
    row = row_of(span)
    if span.kind != row.kind:
        yield f"is {span.kind}, {row.kind} on the page"
    rows, outside = leads_to(row.parents)
    if not span.parent:
        if rows and not outside:
            yield f"has no parent; the page says: {row.parents}"
    elif parent := spans.get(span.parent):
        if row_of(parent) not in rows or parent.trace != span.trace:
            yield f"has the parent `{parent.name}`; the page says: {row.parents or 'none'}"
    elif not outside or contexts.get(span.parent) != span.trace:
        yield f"has a parent that never came; the page says: {row.parents or 'none'}"
    rows, outside = leads_to(row.links)
    for trace, link in span.links:
        target = spans.get(link)
        if target is not None and (target.trace != trace or row_of(target) not in rows):
            yield f"links `{target.name}`; the page says: {row.links or 'none'}"
        if target is None and (not outside or contexts.get(link) != trace):
            yield f"links what never came; the page says: {row.links or 'none'}"
    if unknown := span.attributes.keys() - row.attributes:
        yield f"has {', '.join(sorted(unknown))}; the page has no such attributes of it"
    if span.ended < span.began:
        yield "ends before it begins"
