#!/usr/bin/env python3
"""Pictures of the dashboards of ops/grafana over a run of a workload, by the queries that stand in them, from a real Prometheus.

    pictures.py [--writ target/release/writ] [--seconds 180] [--into docs/dashboards]

It is not Grafana that draws (it cannot be had where this runs), and each picture says so. The run has a Kafka, connectors that succeed,
fail and hang for a while, a pause of the broker, and more load in its middle. Exit status: 0 all drawn, 1 a panel of them had no data
that should have some, 2 could not run.
"""

import argparse
import json
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
from prometheus import Prometheus

DASHBOARDS = ROOT / "ops/grafana/dashboards"
WIDTH, UNIT = 1320, 36  # pixels: of a picture, of one row of Grafana's grid
COLUMNS = 24
TOP, GAP = 56, 6
POINTS = 150
BYTES_MAX = 300_000
INTERVAL_S = 5  # what `$__rate_interval` and its like are at least made of


def panels_of(dashboard):
    """All that have a place, those in rows, too."""
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from (inner for inner in panel.get("panels", []))


def filled(query, dashboard, start, end):
    """A query with its variables: of a choice, everything."""
    seconds = int(end - start)
    step = max(1, seconds // POINTS)
    named = {"__rate_interval": f"{max(4 * INTERVAL_S, step)}s", "__interval": f"{step}s", "__range": f"{seconds}s", "__range_s": str(seconds)}
    for variable in dashboard.get("templating", {}).get("list", []):
        named[variable["name"]] = chosen(variable)
    names = "|".join(map(re.escape, sorted(named, key=len, reverse=True)))
    return re.sub(rf"\$\{{({names})(?::[a-z]+)?\}}|\$({names})\b", lambda it: named[it[1] or it[2]], query)


def chosen(variable):
    kind = variable.get("type")
    if kind in ("query", "datasource"):
        return ".+" if kind == "query" else "prometheus"
    value = variable.get("current", {}).get("value") or variable.get("query", "")
    return value if isinstance(value, str) and value != "$__all" else ".+"


def legend(target, labels):
    pattern = target.get("legendFormat") or ""
    if pattern in ("", "__auto"):
        return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()) if key not in ("__name__", "job", "instance")) or labels.get("__name__", "value")
    return re.sub(r"\{\{\s*([^}\s]+)\s*\}\}", lambda it: labels.get(it[1], ""), pattern)


def found(prometheus, panel, dashboard, start, end):
    """Named series of all queries of a panel."""
    series = []
    for target in panel.get("targets", []):
        query = filled(target["expr"], dashboard, start, end)
        for labels, points in prometheus.over(query, start, end, max(1, (end - start) // POINTS)):
            series.append((legend(target, labels), points))
    return sorted(series, key=lambda one: one[0])


def words_of(defaults):
    """What Grafana writes for some values."""
    found = {}
    for mapping in defaults.get("mappings", []):
        if mapping.get("type") == "value":
            found |= {float(key): option.get("text", key) for key, option in mapping["options"].items() if re.fullmatch(r"-?[\d.]+", key)}
    return found


def draw(prometheus, panel, dashboard, start, end, top):
    """The box of a panel, and whether it has data."""
    grid, column = panel["gridPos"], (WIDTH - 2 * GAP) / COLUMNS
    box = svg.Box(GAP + grid["x"] * column + GAP / 2, top + grid["y"] * UNIT, grid["w"] * column - GAP, grid["h"] * UNIT - GAP, panel.get("title", ""))
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    unit = defaults.get("unit", "")
    if panel["type"] == "text":
        box.words(re.sub(r"[*`#]", "", panel.get("options", {}).get("content", "")).splitlines())
        return box, True
    series = found(prometheus, panel, dashboard, start, end)
    if panel["type"] in ("timeseries", "graph", "heatmap", "state-timeline"):
        box.lines(series, unit, start, end, defaults.get("min"), defaults.get("max"))
    else:
        box.values([(name, points[-1][1]) for name, points in series if points], unit, words_of(defaults))
    return box, bool(series)


def picture(prometheus, path, start, end):
    """The SVG of a dashboard, and the titles of panels without data."""
    dashboard = json.loads(path.read_text())
    panels = list(panels_of(dashboard))
    boxes, empty = [], []
    for panel in panels:
        box, has_data = draw(prometheus, panel, dashboard, start, end, TOP)
        boxes.append(box)
        if not has_data:
            empty.append(panel.get("title", ""))
    height = TOP + max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * UNIT + GAP
    foot = (f"Not a screenshot of Grafana: drawn by tests/telemetry/pictures.py from Prometheus' data, by the queries of {path.relative_to(ROOT)}; "
            f"a run of {end - start:.0f} s of the demo workload")
    return svg.document(WIDTH, height, dashboard["title"], foot, boxes), empty


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
    with tempfile.TemporaryDirectory(prefix="writ-pictures-") as folder, show.running(options.writ, pathlib.Path(folder)) as run:
        with Prometheus(pathlib.Path(folder) / "prometheus", {run.ledger.http: {"instance": "ledger"}}, sorted((ROOT / "ops/prometheus/rules").glob("*.yml"))) as prometheus:
            start = time.time()
            run.play(options.seconds)
            end = time.time()
            status = 0
            for path in paths:
                text, empty = picture(prometheus, path, start, end)
                into = options.into / f"{path.stem}.svg"
                into.write_text(text)
                print(f"{into}: {len(text) >> 10} KiB{', without data: ' + '; '.join(empty) if empty else ''}")
                if len(text) > BYTES_MAX:
                    raise Broken(f"{into} is larger than {BYTES_MAX} bytes")
                status = 1 if empty else status
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Broken as problem:
        print(f"pictures: {problem}", file=sys.stderr)
        sys.exit(1)
    except (producer.CouldNotRun, subprocess.SubprocessError, OSError) as problem:
        print(f"pictures: {problem}", file=sys.stderr)
        sys.exit(2)
