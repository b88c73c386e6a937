"""Draws the README's picture from a recording of `scale`: `plot_throughput.py RECORDING.json PICTURE.svg`.

Shards a second against workers, on logarithmic axes, beside the rate that as many workers would reach if only their
shards took time. Needs no package. The picture has no background, and its colors read well on a light and on a dark page;
viewers that know the page's color scheme get more contrast on a dark one.
"""

import json
import math
import sys

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 52, 52
X_RANGE, Y_RANGE = (3.2, 1300), (36, 30000)

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #6e7781 }
  .title { font-size: 16px; font-weight: 600; fill: #6e7781 }
  .value { font-weight: 600; fill: #2f7de1 }
  .grid { stroke: #8c959f; stroke-opacity: 0.3; stroke-width: 1 }
  .ideal { stroke: #8c959f; stroke-width: 2; stroke-dasharray: 6 5; fill: none }
  .ours { stroke: #2f7de1; stroke-width: 3; fill: none; stroke-linejoin: round }
  .dot { fill: #2f7de1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 }
    .title { fill: #f0f6fc }
    .value { fill: #79c0ff }
        .ideal { stroke: #7d8590 }
    .ours { stroke: #58a6ff }
    .dot { fill: #58a6ff }
  }
"""


def scaled(value, bounds, low, high):
    """Where a value lies between two coordinates, on a logarithmic axis."""
    part = (math.log(value) - math.log(bounds[0])) / (math.log(bounds[1]) - math.log(bounds[0]))
    return round(low + part * (high - low), 1)


def x_of(workers):
    return scaled(workers, X_RANGE, LEFT, WIDTH - RIGHT)


def y_of(rate):
    return scaled(rate, Y_RANGE, HEIGHT - BOTTOM, TOP)


def points(lines):
    """Workers, shards a second and the ideal, in the order of workers."""
    prefix, suffix = "swarm_scale_", "_workers"
    for line in lines:
        middle = line["workload"].removeprefix(prefix).removesuffix(suffix)
        if middle.isdigit():
            yield int(middle), line["ours"], line["floor"]


def picture(recording):
    measured = sorted(points(recording["lines"]))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t">',
        f"<style>{STYLE}</style>",
        '<title id="t">Shards a second against the number of workers</title>',
        f'<text class="title" x="{LEFT}" y="22">Throughput against workers: shards of 50 ms, committed durably</text>',
        f'<text x="{LEFT}" y="41">shards a second, on one machine with 2 cores; the dashed line is perfect scaling</text>',
    ]
    for rate in (100, 1000, 10000):
        y = y_of(rate)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{rate:,}</text>')
    for workers, _, _ in measured:
        out.append(f'<text x="{x_of(workers)}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{workers:,}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">workers</text>')
    ideal = " ".join(f"{x_of(workers)},{y_of(floor)}" for workers, _, floor in measured)
    ours = " ".join(f"{x_of(workers)},{y_of(rate)}" for workers, rate, _ in measured)
    out.append(f'<polyline class="ideal" points="{ideal}"/>')
    out.append(f'<polyline class="ours" points="{ours}"/>')
    for workers, rate, _ in measured:
        x, y = x_of(workers), y_of(rate)
        out.append(f'<circle class="dot" cx="{x}" cy="{y}" r="4"/>')
        out.append(f'<text class="value" x="{x + 4}" y="{y + 22}" text-anchor="middle">{rate:,.0f}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main(recording, target):
    with open(recording) as file:
        text = picture(json.load(file))
    with open(target, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
