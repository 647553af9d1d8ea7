"""Draws panels: lines over time, single values, bars, tables. Plain SVG, without any library."""

import html
import math
import time

INK, PALE, GRID, PAPER = "#1b1f24", "#6e7781", "#e4e7eb", "#ffffff"
COLOURS = ("#1f77b4", "#e8710a", "#2e9e44", "#c62828", "#7b52ab", "#8d5a3a", "#d6619f", "#5f6b76", "#a3a010", "#12a5b5")
FONT = "font-family='DejaVu Sans,Helvetica,Arial,sans-serif'"
LEGEND_MAX = 10  # what is left out is counted
LEGEND_COLUMNS = 2
TICKS = 4
CHAR = 6.1  # pixels that a character of 11 takes, about
BIG = 26

# Grafana's names of units: what a value is divided by, from what on, and what stands behind it.
SCALES = {
    "s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (60, "min"), (3600, "h")),
    "bytes": ((1, "B"), (1 << 10, "KiB"), (1 << 20, "MiB"), (1 << 30, "GiB")),
    "percentunit": ((0.01, "%"),),
    "short": ((1, ""), (1e3, "k"), (1e6, "M")),
}
SCALES |= {"decbytes": SCALES["bytes"], "none": SCALES["short"], "": SCALES["short"]}
BEHIND = {"reqps": "/s", "ops": "/s", "cps": "/s", "wps": "/s", "iops": "/s", "percent": "%"}


def said(value, unit=""):
    """A value with its unit, in few characters."""
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return f"0{BEHIND.get(unit, '')}"
    scales = SCALES.get(unit, SCALES["short"])
    if unit == "s" and 0 < abs(value) < 1:
        scales = scales[1:3]
    by, behind = max((one for one in scales if abs(value) >= one[0]), default=min(scales))
    text = f"{value / by:.3g}" if abs(value / by) < 1000 else f"{value / by:.0f}"
    return f"{text}{' ' if behind and behind != '%' else ''}{behind}{BEHIND.get(unit, '')}"


def text(x, y, words, size=11, colour=INK, anchor="start", weight="normal"):
    return (f"<text x='{x:.0f}' y='{y:.0f}' font-size='{size}' fill='{colour}' text-anchor='{anchor}' font-weight='{weight}'>"
            f"{html.escape(str(words))}</text>")


def shortened(words, width):
    most = max(4, int(width / CHAR))
    return words if len(words) <= most else f"{words[: most - 1]}…"


def nice(low, high, unit):
    """Round numbers that have all of it between them, and the step."""
    if high <= low:
        high = low + (abs(low) or 1)
    if unit == "bytes":
        step = 2.0 ** math.ceil(math.log2((high - low) / TICKS))
    else:
        step = 10 ** math.floor(math.log10((high - low) / TICKS))
        step *= next(times for times in (1, 2, 5, 10, 20) if (high - low) / (step * times) <= TICKS + 1)
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


class Heading:
    """What stands over a row of panels."""

    def __init__(self, x, y, width, height, title):
        self.parts = [text(x + 2, y + height / 2 + 6, title, 14, weight="bold"),
                      f"<line x1='{x:.0f}' x2='{x + width:.0f}' y1='{y + height:.0f}' y2='{y + height:.0f}' stroke='{PALE}'/>"]


class Box:
    """A rectangle with a title; `parts` are what was drawn into it."""

    def __init__(self, x, y, width, height, title):
        self.x, self.y, self.width, self.height = x, y, width, height
        self.parts = [
            f"<rect x='{x:.0f}' y='{y:.0f}' width='{width:.0f}' height='{height:.0f}' rx='3' fill='{PAPER}' stroke='{GRID}'/>",
            text(x + 8, y + 17, shortened(title, width - 16), 12, weight="bold"),
        ]

    def note(self, words):
        self.parts.append(text(self.x + self.width / 2, self.y + self.height / 2 + 6, words, 12, PALE, "middle"))

    def lines(self, named, unit, start, end, low=None, high=None):
        """`named` has pairs of a name and its points (seconds, value)."""
        legend = named[:LEGEND_MAX]
        left, top = self.x + 58, self.y + 28
        rows = math.ceil(len(legend) / LEGEND_COLUMNS)
        right, bottom = self.x + self.width - 12, self.y + self.height - 22 - 14 * (rows + (len(named) > LEGEND_MAX))
        values = [value for _, points in named for _, value in points if math.isfinite(value)]
        if not values:
            return self.note("no data")
        floor, ceiling, step = nice(min(0, *values) if low is None else low, max(values) if high is None else high, unit)
        across = lambda at: left + (at - start) / (end - start) * (right - left)
        up = lambda value: bottom - (min(max(value, floor), ceiling) - floor) / (ceiling - floor) * (bottom - top)
        for number in range(round((ceiling - floor) / step) + 1):
            value = floor + number * step
            self.parts.append(f"<line x1='{left}' x2='{right:.0f}' y1='{up(value):.1f}' y2='{up(value):.1f}' stroke='{GRID}'/>")
            self.parts.append(text(left - 5, up(value) + 4, said(0.0 if abs(value) < step / 1e6 else value, unit), 10, PALE, "end"))
        self.times(left, right, bottom, start, end)
        for place, (_, points) in enumerate(named):
            self.parts.append(path(points, across, up, COLOURS[place % len(COLOURS)]))
        self.legend(legend, unit, self.x + 12, right, bottom + 29)
        if len(named) > LEGEND_MAX:
            self.parts.append(text(self.x + 12, bottom + 29 + 14 * rows, f"and {len(named) - LEGEND_MAX} more", 10.5, PALE))
        return None

    def legend(self, named, unit, left, right, top):
        """Each with its last value, column by column."""
        columns = min(LEGEND_COLUMNS, len(named))
        rows, wide = math.ceil(len(named) / columns), (right - left) / columns
        for place, (name, points) in enumerate(named):
            x, y = left + place // rows * wide, top + 14 * (place % rows)
            last = said(next((value for _, value in reversed(points) if math.isfinite(value)), None), unit)
            self.parts.append(f"<rect x='{x:.0f}' y='{y - 6:.0f}' width='9' height='3' fill='{COLOURS[place % len(COLOURS)]}'/>")
            self.parts.append(text(x + 13, y, shortened(name, wide - 36 - CHAR * len(last)), 10.5))
            self.parts.append(text(x + wide - 10, y, last, 10.5, PALE, "end"))

    def heat(self, named, unit, start, end):
        """`named` are cumulative buckets by their upper bounds: a cell is the darker the more came between two of them."""
        rows = sorted((math.inf if name == "+Inf" else float(name), dict(points)) for name, points in named)
        cells = {(at, place): value - (rows[place - 1][1].get(at, 0) if place else 0) for place, (_, points) in enumerate(rows) for at, value in points.items()}
        used = sorted({place for (_, place), value in cells.items() if value > 0})
        if not used:
            return self.note("nothing came")
        low, high = used[0], used[-1]
        left, top, right, bottom = self.x + 58, self.y + 28, self.x + self.width - 12, self.y + self.height - 22
        times = sorted({at for at, _ in cells})
        wide, tall = (right - left) / max(1, len(times)), (bottom - top) / (high - low + 1)
        most = max(cells.values())
        for (at, place), value in cells.items():
            if value > 0:
                x, y = left + times.index(at) * wide, bottom - (place - low + 1) * tall
                self.parts.append(f"<rect x='{x:.1f}' y='{y:.1f}' width='{wide:.1f}' height='{tall:.1f}' fill='{COLOURS[0]}' "
                                  f"fill-opacity='{0.1 + 0.9 * math.sqrt(value / most):.2f}'/>")
        for place in range(low, high + 1):
            self.parts.append(text(left - 5, bottom - (place - low) * tall - tall / 2 + 4, said(rows[place][0], unit), 10, PALE, "end"))
        return self.times(left, right, bottom, start, end)

    def times(self, left, right, bottom, start, end):
        for part, anchor in ((0, "start"), (0.5, "middle"), (1, "end")):
            words = time.strftime("%H:%M:%S", time.gmtime(start + part * (end - start)))
            self.parts.append(text(left + part * (right - left), bottom + 14, words, 10, PALE, anchor))

    def values(self, named, unit, words=None):
        """Each as a number; a few large ones, or a table. `words` are what stands for some values."""
        if not named:
            return self.note("no data")
        shown = lambda value: (words or {}).get(value) or said(value, unit)
        if len(named) == 1:
            self.parts.append(text(self.x + self.width / 2, self.y + self.height / 2 + 18, shown(named[0][1]), BIG, COLOURS[0], "middle", "bold"))
            return None
        room = max(1, int((self.height - 34) // 16))
        for place, (name, value) in enumerate(named[:room]):
            y = self.y + 40 + 16 * place
            if place == room - 1 and len(named) > room:
                self.parts.append(text(self.x + 10, y, f"and {len(named) - room + 1} more", 11, PALE))
                break
            self.parts.append(text(self.x + 10, y, shortened(name, self.width - 90)))
            self.parts.append(text(self.x + self.width - 10, y, shown(value), 11, COLOURS[0], "end", "bold"))
        return None


def path(points, across, up, colour):
    """A line with gaps where there is no value; points that lie on one line between others are left out."""
    parts, pen, before = [], "M", None
    kept = []
    for at, value in points:
        if not math.isfinite(value):
            kept.append(None)
            continue
        point = (round(across(at), 1), round(up(value), 1))
        if len(kept) >= 2 and kept[-1] and kept[-2] and kept[-1][1] == kept[-2][1] == point[1]:
            kept[-1] = point
        else:
            kept.append(point)
    for point in kept:
        if point is None:
            pen = "M"
            continue
        parts.append(f"{pen}{point[0]:g} {point[1]:g}")
        pen, before = "L", point
    if len(parts) == 1 and before:  # a single point would be invisible
        parts.append("h2")
    return f"<path d='{''.join(parts)}' fill='none' stroke='{colour}' stroke-width='1.5'/>" if parts else ""


def document(width, height, head, foot, boxes):
    body = "\n".join(part for box in boxes for part in box.parts if part)
    return (f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}' {FONT}>\n"
            f"<rect width='{width}' height='{height}' fill='#f6f8fa'/>\n"
            f"{text(12, 26, head, 17, weight='bold')}\n{text(12, 44, foot, 11.5, PALE)}\n{body}\n</svg>\n")
