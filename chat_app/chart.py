"""Small line charts as SVG text: a few points, one plain sentence, colours of the page.

All measures here begin at zero, so the y axis does as well. Text is escaped; the numbers stand in a
folded table, too, for those who cannot see the line.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from chat_app.language import tr, upper_first

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 38, 12, 10, 34
TABLE_ROWS = 12
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
    band: Sequence[tuple[int, float, float]] = ()
    """Where the truth may lie: x, lowest, highest."""
    level: float | None = None
    """A value to compare with, drawn as a dashed line."""
    x_range: tuple[int, int] | None = None
    """Ends of the x axis; None fits it to the points."""
    diagonal: bool = False
    """Whether the line of equal x and y is drawn, dashed."""
    joined: bool = True
    """Whether a line joins the points; bands are then an area, else a bar at each point."""


def chart_html(chart: Chart) -> str:
    """A figure. There must be a point to draw."""
    return (
        f"<figure><figcaption><strong>{escape(chart.title)}</strong> "
        f"{escape(chart.sentence)}</figcaption>{_svg(chart)}{_table(chart)}</figure>"
    )


def _table(chart: Chart) -> str:
    """At most ``TABLE_ROWS`` of the points, evenly spread, the last one among them."""
    step = max(1, -(-len(chart.points) // TABLE_ROWS))
    bands = {x: (low, high) for x, low, high in chart.band}
    rows = []
    for x, y in reversed(list(chart.points)[::-1][::step]):
        low_high = (
            tr("{low:.3g} to {high:.3g}", low=bands[x][0], high=bands[x][1]) if x in bands else ""
        )
        rows.append(f"<tr><td>{x}</td><td>{y:.3g}</td><td>{low_high}</td></tr>")
    likely = f'<th scope="col">{tr("Likely")}</th>' if bands else "<th></th>"
    return (
        f"<details><summary>{tr('Numbers')}</summary><table class='figures'><thead><tr>"
        f'<th scope="col">{escape(upper_first(chart.x))}</th>'
        f'<th scope="col">{escape(chart.unit)}</th>{likely}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></details>"
    )


def _svg(chart: Chart) -> str:
    first, last = chart.points[0], chart.points[-1]
    start, end = chart.x_range or (first[0], last[0])
    values = [value for _, value in chart.points] + [high for _, _, high in chart.band]
    top = chart.top or nice_ceiling(max(values))
    right_end = WIDTH - RIGHT if start != end else LEFT + 20

    def place(point: tuple[int, float]) -> tuple[float, float]:
        along = (point[0] - start) / max(end - start, 1)
        x = LEFT + 8 + along * (right_end - LEFT - 8)
        return x, TOP + (1 - point[1] / top) * (HEIGHT - TOP - BOTTOM)

    places = [place(point) for point in chart.points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = places if len(places) <= MARKED_POINTS else places[-1:]
    said = tr(
        "{title}: {value:.3g} {unit} after {count} {x}",
        title=chart.title,
        value=last[1],
        unit=chart.unit,
        count=last[0],
        x=chart.x,
    )
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">',
        *_y_axis(top),
        *(_x_tick(number, place((number, 0))[0]) for number in _ticks(start, end)),
        f'<text class="axis end" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}">{escape(chart.x)}</text>',
        f'<text class="axis" x="{LEFT}" y="{HEIGHT - 4}">{escape(chart.unit)}</text>',
        *_band(chart, place),
        *_level(chart, top),
        *_diagonal(chart, place),
        f'<polyline class="line" points="{line}"/>' if chart.joined else "",
        *(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in dots),
        "</svg>",
    ]
    return "".join(parts)


def _band(chart: Chart, place: Callable[[tuple[int, float]], tuple[float, float]]) -> Iterator[str]:
    if not chart.band:
        return
    if not chart.joined:
        for x, low, high in chart.band:
            (along, bottom), (_, ceiling) = place((x, low)), place((x, high))
            yield (
                f'<line class="bar" x1="{along:.1f}" x2="{along:.1f}" y1="{bottom:.1f}" '
                f'y2="{ceiling:.1f}"/>'
            )
        return
    upper = [place((x, high)) for x, _, high in chart.band]
    lower = [place((x, low)) for x, low, _ in reversed(chart.band)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (*upper, *lower))
    yield f'<polygon class="band" points="{points}"/>'


def _diagonal(
    chart: Chart, place: Callable[[tuple[int, float]], tuple[float, float]]
) -> Iterator[str]:
    if chart.diagonal and chart.x_range is not None:
        (x1, y1), (x2, y2) = (place((end, end)) for end in chart.x_range)
        yield f'<line class="level" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _level(chart: Chart, top: float) -> Iterator[str]:
    if chart.level is not None:
        y = TOP + (1 - chart.level / top) * (HEIGHT - TOP - BOTTOM)
        yield f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


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
