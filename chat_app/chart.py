"""Small line charts as SVG text: a few points, one plain sentence, colours of the page.

All measures here begin at zero, so the y axis does as well. Text is escaped; the numbers are told
in words too, for those who cannot see the line.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 38, 12, 10, 34
MARKED_POINTS = 30
"""Each point gets a dot up to this many; beyond, the line alone is easier to read."""

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    title: str
    sentence: str
    x: str
    """What is counted along the bottom, in the plural."""
    unit: str
    points: Points
    top: float | None = None
    """Upper end of the y axis; None fits it to the points."""


def chart_html(chart: Chart) -> str:
    """A figure. There must be a point to draw."""
    return (
        f"<figure><figcaption><strong>{escape(chart.title)}</strong> "
        f"{escape(chart.sentence)}</figcaption>{_svg(chart)}</figure>"
    )


def _svg(chart: Chart) -> str:
    first, last = chart.points[0], chart.points[-1]
    top = chart.top or nice_ceiling(max(value for _, value in chart.points))
    right_end = WIDTH - RIGHT if first[0] != last[0] else LEFT + 20

    def place(point: tuple[int, float]) -> tuple[float, float]:
        along = (point[0] - first[0]) / max(last[0] - first[0], 1)
        x = LEFT + 8 + along * (right_end - LEFT - 8)
        return x, TOP + (1 - point[1] / top) * (HEIGHT - TOP - BOTTOM)

    places = [place(point) for point in chart.points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = places if len(places) <= MARKED_POINTS else places[-1:]
    said = f"{chart.title}: {last[1]:.3g} {chart.unit} after {last[0]} {chart.x}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">',
        *_y_axis(top),
        *(_x_tick(number, place((number, 0))[0]) for number in _ticks(first[0], last[0])),
        f'<text class="axis end" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}">{escape(chart.x)}</text>',
        f'<text class="axis" x="{LEFT}" y="{HEIGHT - 4}">{escape(chart.unit)}</text>',
        f'<polyline class="line" points="{line}"/>',
        *(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in dots),
        "</svg>",
    ]
    return "".join(parts)


def _y_axis(top: float) -> Iterator[str]:
    for step in range(3):
        value = top * step / 2
        y = TOP + (1 - step / 2) * (HEIGHT - TOP - BOTTOM)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick end" x="{LEFT - 6}" y="{y + 4:.1f}">{value:g}</text>'


def _x_tick(number: int, x: float) -> str:
    y = HEIGHT - BOTTOM + 15
    return f'<text class="tick middle" x="{x:.1f}" y="{y}">{number}</text>'


def _ticks(first: int, last: int) -> list[int]:
    """Both ends, and the middle where there is room for it."""
    return sorted({first, (first + last) // 2, last})


def nice_ceiling(value: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is not below ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
