#!/usr/bin/env python3
"""Draws the plots of docs/performance.md from the output of `cargo bench --bench fanout -- --csv FILE`.

usage: plot.py FILE.csv DIRECTORY

Writes cpu-per-delivery.svg and latency.svg. Needs only Python 3.9. The drawings adapt to the light or dark colour scheme of the
reader.
"""

import csv
import math
import sys
from pathlib import Path

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 118, 48, 56

# The colours of Okabe and Ito, which are distinguishable with colour blindness; the second ones are for dark backgrounds.
COLOURS = {
    "floor": ("#767676", "#a0a0a0"),
    "mapcast": ("#0072b2", "#56b4e9"),
    "redis": ("#d55e00", "#f08040"),
    "nats": ("#007a5a", "#2fc79c"),
    "mosquitto": ("#a8508a", "#dd8fbf"),
}

CPU = "CPU per delivery, us"
P50 = "change to client p50, ms"
P99 = "change to client p99, ms"


def read(path):
    """Returns {figure: {server: [(clients, value), ...]}}, the points in order."""
    figures = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            points = figures.setdefault(row["figure"], {}).setdefault(row["server"], [])
            points.append((int(row["clients"]), float(row["value"])))
    for servers in figures.values():
        for points in servers.values():
            points.sort()
    return figures


def style():
    def colours(index):
        return "".join(
            f".{name} .line {{ stroke: {pair[index]} }} .{name} .dot, .{name} text {{ fill: {pair[index]} }} "
            for name, pair in COLOURS.items()
        )

    return (
        "<style>"
        "svg { color: #1f2328; font: 13px system-ui, sans-serif } text { fill: currentColor } "
        ".title { font-size: 15px; font-weight: 600 } "
        ".grid { stroke: currentColor; stroke-opacity: .15 } .axis { stroke: currentColor; stroke-opacity: .6 } "
        ".line { fill: none; stroke-width: 2 } .mapcast .line { stroke-width: 3 } .mapcast text { font-weight: 600 } "
        ".dashed { stroke-dasharray: 5 4 } "
        + colours(0)
        + "@media (prefers-color-scheme: dark) { svg { color: #e6edf3 } " + colours(1) + "}"
        "</style>"
    )


class Axis:
    """Maps values to positions on a linear or logarithmic axis."""

    def __init__(self, low, high, start, end, log):
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def place(self, value):
        scale = math.log10 if self.log else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return self.start + share * (self.end - self.start)


def ceiling(most):
    """Returns a round number not below `most`, and a step that divides it."""
    step = 10 ** math.floor(math.log10(most))
    step = next(step * part for part in (0.2, 0.5, 1) if most <= 6 * step * part or part == 1)
    return math.ceil(most / step) * step, step


def powers(low, high):
    """Returns 1, 2 and 5 times the powers of ten from `low` to `high`."""
    ticks = (part * 10.0**power for power in range(-3, 6) for part in (1, 2, 5))
    return [tick for tick in ticks if low <= tick <= high * 1.0001]


def number(value):
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def spread(places, gap):
    """Returns the positions of labels, moved apart by at least `gap`, in the same order."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    for before, after in zip(order, order[1:]):
        moved[after] = max(moved[after], moved[before] + gap)
    excess = max((moved[index] for index in order), default=0) - (HEIGHT - BOTTOM)
    return [place - max(excess, 0) for place in moved]


def draw(title, unit, lines, log):
    """Returns an SVG. `lines` are (server, label, dashed, points)."""
    points = [point for *_, line in lines for point in line]
    clients = sorted({x for x, _ in points})
    values = [y for _, y in points if y > 0]
    x_axis = Axis(clients[0], clients[-1], LEFT, WIDTH - RIGHT, True)
    if log:
        lowest, highest = min(values) / 1.2, max(values) * 1.2
        ticks = powers(lowest, highest)
    else:
        lowest, (highest, step) = 0, ceiling(max(values))
        ticks = [step * index for index in range(round(highest / step) + 1)]
    y_axis = Axis(lowest, highest, HEIGHT - BOTTOM, TOP, log)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        style(),
        f'<text class="title" x="{LEFT}" y="20">{title}</text>',
        f'<text x="{LEFT}" y="38">{unit}</text>',
    ]
    for tick in ticks:
        y = y_axis.place(tick)
        out.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for count in clients:
        x = x_axis.place(count)
        out.append(f'<path class="axis" d="M{x:.1f} {HEIGHT - BOTTOM}v5"/>')
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{count:,}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    out.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">clients (logarithmic)</text>')
    ends = spread([y_axis.place(line[-1][1]) for *_, line in lines], 15)
    for (server, label, dashed, line), end in zip(lines, ends):
        places = [(x_axis.place(x), y_axis.place(max(y, lowest))) for x, y in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        out.append(f'<g class="{server}"><path class="line{" dashed" if dashed else ""}" d="M{path}"/>')
        out.extend(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
        out.append(f'<text x="{places[-1][0] + 8:.1f}" y="{end + 4:.1f}">{label}</text></g>')
    return "\n".join([*out, "</svg>", ""])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    figures, directory = read(sys.argv[1]), Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    cpu = [(server, server, False, figures[CPU][server]) for server in COLOURS if server in figures.get(CPU, {})]
    latency = [
        (server, f"{server} {name}", dashed, figures[figure][server])
        for server in COLOURS
        for figure, name, dashed in ((P50, "p50", False), (P99, "p99", True))
        if server in figures.get(figure, {})
    ]
    if not cpu or not latency:
        sys.exit(f"{sys.argv[1]} has neither {CPU!r} nor {P50!r}")
    title, unit = "Server CPU per delivery of a change of 200 bytes", "microseconds (all threads, user and system)"
    (directory / "cpu-per-delivery.svg").write_text(draw(title, unit, cpu, False), encoding="utf-8")
    title, unit = "From publishing a change to its arrival at a client", "milliseconds (logarithmic; dashed: 99 % are faster)"
    (directory / "latency.svg").write_text(draw(title, unit, latency, True), encoding="utf-8")


if __name__ == "__main__":
    main()
