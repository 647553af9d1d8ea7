"""Spans as a collector got them, and the table of docs/tracing.md, which says what each must be."""

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
    names: tuple  # as the page writes them: `gate {name}`
    kinds: tuple  # one, or one for each name
    parents: str
    links: str
    attributes: frozenset

    def fits(self, name):
        """The place of the name that fits, or None."""
        for place, pattern in enumerate(self.names):
            if re.fullmatch(".+".join(map(re.escape, re.split(r"\{[^}]*\}", pattern))), name):
                return place
        return None

    def kind(self, place):
        return self.kinds[place if len(self.kinds) > 1 else 0]


@functools.cache
def table(page=PAGE):
    """The rows, and what stands for which: `I` is a row."""
    rows, aliases, inside = [], {}, False
    for line in page.read_text().splitlines():
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if not line.startswith("|"):
            inside = False
        elif cells == HEAD:
            inside = True
        elif inside and not set(line) <= set("|- :"):
            names = tuple(re.findall(r"`([^`]+)`", cells[0]))
            kinds = tuple(kind for kind in re.findall(r"[A-Z]+", cells[1]) if kind in KINDS.values())
            if len(cells) != len(HEAD) or not names or len(kinds) not in (1, len(names)):
                raise Broken(f"{page}: a row that cannot be read: {line}")
            row = Row(names, kinds, cells[2], cells[3], frozenset(re.findall(r"[a-z_]+(?:\.[a-z_*]+)+", cells[4])))
            rows.append(row)
            if alias := re.search(r": ([A-Z])$", cells[0]):
                aliases[alias[1]] = row
    if not rows:
        raise Broken(f"{page} has no table {' | '.join(HEAD)}")
    return rows, aliases


def row_of(span):
    """The row of a span and the place of its name in it."""
    rows, _ = table()
    # A literal name goes before one with a hole.
    for row in sorted(rows, key=lambda row: any("{" in name for name in row.names)):
        if (place := row.fits(span.name)) is not None:
            return row, place
    raise Broken(f"no row of {PAGE.name} speaks of a span `{span.name}`")


def row_named(word):
    """`I`, or the name of a span."""
    rows, aliases = table()
    return aliases.get(word) or next((row for row in rows if word in row.names), None)


# How the page says where a parent or a link leads. `None` is a context that came from outside.
OUTSIDE = ("producer's context", "the caller's context", "each sampled I's producer context")
PHRASES = {
    "the request's span": "POST /v1/intents", "the poll": "poll {topic}", "the batch": "batch", "its batch": "batch",
    "every sampled I in it": "I", "the transaction": "transaction",
}


def leads_to(cell):
    """The rows that a cell names, and whether it names a context from outside."""
    rows, outside = [], False
    for phrase in re.split(r";| or ", cell.replace("`", "")):
        phrase = phrase.strip().removeprefix("HTTP: ").removeprefix("Kafka: ")
        if phrase in OUTSIDE:
            outside = True
        elif phrase:
            row = row_named(PHRASES.get(phrase, phrase))
            if row is None:
                raise Broken(f"{PAGE.name} says `{phrase}` of a parent or a link: mend this test")
            rows.append(row)
    return rows, outside


def require_as_the_page_says(span, spans, contexts):
    """Kind, parent, links and attributes of one span; `contexts` are the span ids that came from outside."""
    row, place = row_of(span)
    if span.kind != row.kind(place):
        raise Broken(f"`{span.name}` is {span.kind}, {row.kind(place)} on the page")
    rows, outside = leads_to(row.parents)
    if not span.parent:
        if rows and not outside:
            raise Broken(f"`{span.name}` has no parent; the page says: {row.parents}")
    elif span.parent in spans:
        parent = spans[span.parent]
        if row_of(parent)[0] not in rows or parent.trace != span.trace:
            raise Broken(f"`{span.name}` has the parent `{parent.name}`; the page says: {row.parents or 'none'}")
    elif not (outside and span.parent in contexts):
        raise Broken(f"`{span.name}` has a parent that never came: {span}; the page says: {row.parents or 'none'}")
    rows, outside = leads_to(row.links)
    for trace, link in span.links:
        target = spans.get(link)
        if target is not None and (target.trace != trace or row_of(target)[0] not in rows):
            raise Broken(f"`{span.name}` links `{target.name}`; the page says: {row.links or 'none'}")
        if target is None and not (outside and contexts.get(link) == trace):
            raise Broken(f"`{span.name}` links what never came: {trace} {link}; the page says: {row.links or 'none'}")
    said = {one for one in span.attributes if not any(re.fullmatch(re.escape(it).replace(r"\*", ".+"), one) for it in row.attributes)}
    if said:
        raise Broken(f"`{span.name}` has {sorted(said)}; the page has no such attributes of it")
    if span.ended < span.began:
        raise Broken(f"`{span.name}` ends before it begins: {span}")
