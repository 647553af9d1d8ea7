"""The values of all series, from both ways out: what Prometheus scraped, and what a collector got over OTLP; and which there must be."""

import re
from typing import NamedTuple

from spans import attributes_of
from system import ROOT, Broken

PAGE = ROOT / "docs/metrics.md"
# What Prometheus adds by itself.
ADDED = ("instance", "job")
SAMPLED_BY_PROMETHEUS = ("up", "scrape_")


class Series(NamedTuple):
    """A name with labels; a histogram's are its buckets, its count and its sum, as in Prometheus."""

    name: str
    labels: tuple

    def __str__(self):
        return self.name + "{" + ",".join(f"{key}={value!r}" for key, value in self.labels) + "}"


def number(text):
    """`le` as a number, so that 1, 1.0 and 1e0 are one bucket."""
    return "inf" if text in ("+Inf", "inf") else repr(float(text))


def series(name, labels):
    labels = {key: number(str(value)) if key == "le" else str(value) for key, value in labels.items()}
    return Series(name, tuple(sorted(labels.items())))


def scraped(prometheus):
    """By series."""
    found = {}
    for one in prometheus.ask("query", query='{__name__!=""}')["result"]:
        labels = {key: value for key, value in one["metric"].items() if key not in ADDED}
        name = labels.pop("__name__")
        if not name.startswith(SAMPLED_BY_PROMETHEUS):
            found[series(name, labels)] = float(one["value"][1])
    return found


def points(metric):
    """Each data point of a metric, as Prometheus would write it."""
    name = metric["name"]
    for kind in ("sum", "gauge"):
        for point in metric.get(kind, {}).get("dataPoints", []):
            yield series(name, attributes_of(point.get("attributes", []))), float(point.get("asDouble", point.get("asInt", 0)))
    for point in metric.get("histogram", {}).get("dataPoints", []):
        labels = attributes_of(point.get("attributes", []))
        total, bounds = 0, [*point["explicitBounds"], "inf"]
        # What is zero is left out of the JSON.
        for bound, count in zip(bounds, point.get("bucketCounts") or [0] * len(bounds)):
            total += int(count)
            yield series(f"{name}_bucket", {**labels, "le": bound}), float(total)
        yield series(f"{name}_count", labels), float(point.get("count", 0))
        yield series(f"{name}_sum", labels), float(point.get("sum", 0))


def exported(collector):
    """By series: the last value that came."""
    found = {}
    for request in collector.requests("metrics"):
        for resource in request["resourceMetrics"]:
            for scope in resource["scopeMetrics"]:
                for metric in scope["metrics"]:
                    found.update(points(metric))
    return found


def exports(collector):
    """How many times metrics have come."""
    return len(collector.requests("metrics"))


def declared(page=PAGE):
    """The names of the labels of each metric of docs/metrics.md."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (?:counter|gauge|histogram)[^|]* \| ([^|]*) \|", page.read_text(), re.MULTILINE)
    if not rows:
        raise Broken(f"{page} declares no metrics")
    return {name: tuple(re.findall(r"`([a-z_]+)`:", labels)) for name, labels in rows}


def base(name, known):
    """The declared name of a series."""
    for suffix in ("", "_bucket", "_count", "_sum"):
        if name.endswith(suffix) and (it := name.removesuffix(suffix)) in known:
            return it
    return None
