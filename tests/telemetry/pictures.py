#!/usr/bin/env python3
"""Pictures of the dashboards of ops/grafana over a run of a workload, by the queries that stand in them, from a real Prometheus.

    pictures.py [--writ target/release/writ] [--seconds 180] [--into docs/dashboards]

It is not Grafana that draws (it cannot be had where this runs), and each picture says so. The run has a Kafka, connectors that succeed,
fail and hang for a while, a pause of the broker, and more load in its middle. Exit status: 0 all drawn, 1 not, 2 could not run.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("crash", "kafka")]
import system
from system import ROOT, Broken

import producer
import show
import svg
from collector import Collector
from prometheus import Prometheus

DASHBOARDS = ROOT / "ops/grafana/dashboards"
WIDTH, UNIT = 1320, 30  # pixels: of a picture, of one row of Grafana's grid
COLUMNS = 24
TOP, GAP = 56, 6
POINTS = 100
BYTES_MAX = 300_000
INTERVAL_S = 5  # what `$__rate_interval` and its like are at least made of


def filled(query, start, end):
    """A query with its variables."""
    seconds = int(end - start)
    step = max(1, seconds // POINTS)
    named = {"__rate_interval": f"{max(4 * INTERVAL_S, step)}s", "__interval": f"{step}s", "__range": f"{seconds}s", **show.CHOSEN}
    return re.sub(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))", lambda it: named[it[1] or it[2]], query)


def legend(target, labels):
    pattern = target.get("legendFormat") or ""
    if pattern in ("", "__auto"):
        return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()) if key not in ("__name__", "job", "instance")) or labels.get("__name__", "value")
    return re.sub(r"\{\{\s*([^}\s]+)\s*\}\}", lambda it: labels.get(it[1], ""), pattern)


def found(prometheus, panel, start, end):
    """Named series of all queries of a panel."""
    series = []
    for target in panel.get("targets", []):
        for labels, points in prometheus.over(filled(target["expr"], start, end), start, end, max(1, (end - start) / POINTS)):
            series.append((legend(target, labels), points))
    return sorted(series, key=lambda one: one[0])


def words_of(defaults):
    """What Grafana writes for some values."""
    mappings = [mapping["options"] for mapping in defaults.get("mappings", []) if mapping["type"] == "value"]
    return {float(value): option["text"] for options in mappings for value, option in options.items()}


def draw(prometheus, panel, start, end):
    """The box of a panel, and whether it has data."""
    grid, column = panel["gridPos"], (WIDTH - 2 * GAP) / COLUMNS
    place = GAP + grid["x"] * column + GAP / 2, TOP + grid["y"] * UNIT, grid["w"] * column - GAP, grid["h"] * UNIT - GAP
    if panel["type"] == "row":
        return svg.Heading(*place, panel["title"]), True
    box, defaults = svg.Box(*place, panel["title"]), panel.get("fieldConfig", {}).get("defaults", {})
    series, unit = found(prometheus, panel, start, end), defaults.get("unit", "")
    match panel["type"]:
        case "timeseries":
            box.lines(series, unit, start, end, defaults.get("min"), defaults.get("max"))
        case "heatmap":
            box.heat(series, "s", start, end)
        case "stat":
            box.values([(name, points[-1][1]) for name, points in series if points], unit, words_of(defaults))
        case other:
            raise Broken(f"{panel['title']} is a {other}, which nothing draws here")
    return box, bool(series)


def picture(prometheus, path, start, end):
    """The SVG of a dashboard, and the titles of panels without data."""
    dashboard = json.loads(path.read_text())
    panels = dashboard["panels"]
    boxes, has_data = zip(*(draw(prometheus, panel, start, end) for panel in panels))
    height = TOP + max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * UNIT + GAP
    foot = (f"Not a screenshot of Grafana: drawn by tests/telemetry/pictures.py from Prometheus' data, by the queries of {path.relative_to(ROOT)}; "
            f"a run of {end - start:.0f} s of the demo workload")
    return svg.document(WIDTH, height, dashboard["title"], foot, boxes), [panel["title"] for panel, has in zip(panels, has_data) if not has]


def write(path, text, empty):
    if len(text) > BYTES_MAX:
        raise Broken(f"{path} would be larger than {BYTES_MAX} bytes: {len(text)}")
    path.write_text(text)
    print(f"{path}: {len(text) >> 10} KiB{', without data: ' + '; '.join(empty) if empty else ''}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--writ", type=pathlib.Path, default=system.default_writ())
    add("--seconds", type=int, default=180)
    add("--into", type=pathlib.Path, default=ROOT / "docs/dashboards")
    options = parser.parse_args()
    paths = sorted(DASHBOARDS.glob("*.json"))
    if not options.writ.is_file() or not paths:
        print(f"pictures: {options.writ} or {DASHBOARDS}/*.json is not there", file=sys.stderr)
        return 2
    options.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="writ-pictures-") as scratch:
        folder = pathlib.Path(scratch)
        rules = sorted((ROOT / "ops/prometheus/rules").glob("*.yml"))
        with Collector(folder / "collector") as collector, show.running(options.writ, folder, {**os.environ, **collector.variables()}) as run:
            with Prometheus(folder / "prometheus", {run.ledger.http: {"instance": show.CHOSEN["instance"]}}, rules) as prometheus:
                start = time.time()
                run.play(options.seconds)
                end = time.time()
                for path in paths:
                    write(options.into / f"{path.stem}.svg", *picture(prometheus, path, start, end))
    return 0


if __name__ == "__main__":
    system.script("pictures", main, producer.CouldNotRun, subprocess.SubprocessError, OSError)
