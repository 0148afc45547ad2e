#!/usr/bin/env python3
"""Draws Config/grafana/ringkv.json from a Prometheus: every panel's own queries, asked of it, as one PNG.

It is no screenshot of Grafana, whose place this takes where there is none: it needs python3-matplotlib alone.

  Scripts/dashboard-picture.py http://127.0.0.1:9090 OUT.png [--minutes 5] [--step 2] [--end UNIX-TIME]

Exit code 1 when a query is refused or every panel is empty; panels without data are named on stderr.
"""
import argparse
import json
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as pyplot  # noqa: E402
from matplotlib.gridspec import GridSpec  # noqa: E402

SCALES = {"bytes": (1 << 20, "MiB"), "Bps": (1 << 20, "MiB/s"), "s": (1e-3, "ms"), "percentunit": (0.01, "%")}


def ask(server, expression, options):
    """The series of a range query: [(labels, [(time, value)])]."""
    for name, value in {"$job": ".*", "$node": ".*", "$__rate_interval": "20s"}.items():
        expression = expression.replace(name, value)
    start = options.end - options.minutes * 60
    query = {"query": expression, "start": start, "end": options.end, "step": options.step}
    url = f"{server}/api/v1/query_range?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            result = json.load(reply)["data"]["result"]
    except urllib.error.HTTPError as error:
        sys.exit(f"refused: {expression}\n{error.read().decode()}")
    series = [(row["metric"], [(float(t), float(v)) for t, v in row["values"]]) for row in result]
    return sorted(series, key=lambda row: sorted(row[0].items()))


def legend(form, labels):
    for name, value in labels.items():
        form = form.replace("{{%s}}" % name, value)
    return form


def draw_lines(axes, panel, found, options):
    factor, unit = SCALES.get(panel["fieldConfig"]["defaults"]["unit"], (1, ""))
    for target, rows in found:
        for labels, points in rows:
            x = [t - options.end for t, _ in points]
            axes.plot(x, [v / factor for _, v in points], linewidth=0.8, label=legend(target["legendFormat"], labels))
    axes.set_xlim(-options.minutes * 60, 0)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(unit, fontsize=5)
    if len(axes.lines) <= 12:
        axes.legend(fontsize=3.6, loc="upper left", frameon=False, ncols=2)


def draw_heat(axes, panel, found):
    rows = [points for _, result in found for _, points in result]
    buckets = "le" in next((labels for _, result in found for labels, _ in result), {})
    if buckets:
        by_bound = sorted(found[0][1], key=lambda row: float(row[0]["le"]))
        times = {t for _, points in by_bound for t, _ in points}
        grid = [[dict(points).get(t, 0) for t in sorted(times)] for _, points in by_bound]
        grid = [grid[0]] + [[b - a for a, b in zip(low, high)] for low, high in zip(grid, grid[1:])]
        axes.set_ylabel("bucket", fontsize=5)
    else:
        width = min(len(points) for points in rows)
        grid = [[v for _, v in points[-width:]] for points in rows]
        axes.set_ylabel("series", fontsize=5)
    axes.pcolormesh(grid, cmap="Oranges")


def draw_stat(axes, panel, found):
    values = [points[-1][1] for _, rows in found for _, points in rows]
    factor, unit = SCALES.get(panel["fieldConfig"]["defaults"]["unit"], (1, ""))
    if panel["fieldConfig"]["defaults"]["unit"] == "s":
        factor, unit = 1, "s"
    text = " / ".join(f"{value / factor:,.0f}" for value in values)
    axes.text(0.5, 0.4, f"{text} {unit}", ha="center", va="center", fontsize=11)
    axes.set_axis_off()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("picture")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--step", type=float, default=2)
    parser.add_argument("--end", type=float, default=time.time(), help="Unix time of the right edge; default: now")
    options = parser.parse_args()
    file = pathlib.Path(__file__).parent.parent / "Config/grafana/ringkv.json"
    panels = [panel for panel in json.loads(file.read_text())["panels"] if panel["type"] != "row"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = pyplot.figure(figsize=(15, height * 0.2), dpi=110)
    grid = GridSpec(height, 24, figure=figure, left=0.03, right=0.99, top=0.985, bottom=0.01, wspace=2.2, hspace=1.5)
    empty = []
    for panel in panels:
        place = panel["gridPos"]
        axes = figure.add_subplot(grid[place["y"]:place["y"] + place["h"] - 1, place["x"]:place["x"] + place["w"]])
        axes.set_title(panel["title"], fontsize=6.5, loc="left")
        axes.tick_params(labelsize=4.5)
        found = [(target, ask(options.server, target["expr"], options)) for target in panel["targets"]]
        if not any(rows for _, rows in found):
            empty.append(panel["title"])
            axes.text(0.5, 0.5, "nothing happened", ha="center", fontsize=6, color="gray")
            axes.set_axis_off()
            continue
        if panel["type"] == "timeseries":
            draw_lines(axes, panel, found, options)
        else:
            {"heatmap": draw_heat, "stat": draw_stat}[panel["type"]](axes, panel, found)
    figure.savefig(options.picture)
    print(f"{len(panels) - len(empty)} of {len(panels)} panels have data; without: {', '.join(empty) or 'none'}", file=sys.stderr)
    sys.exit(1 if len(empty) == len(panels) else 0)


main()
