"""Plots as inline SVG of our own: no library, no file to load, colours from the page's style, so it has both themes.

Used by the report and by the console. All text in a plot is escaped.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

WIDTH, HEIGHT = 380.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 10.0, 34.0
LEGEND_LINE = 15.0
ROOM = 16.0  # of half a tick's text
TICKS = 5
LONGEST_NAME = 34  # characters of a name on an axis or in a legend

Point = tuple[float, float]


@dataclass(frozen=True)
class PlotLine:
    """One curve: points in data coordinates. `dots` marks each point, with its own words as a tooltip in `notes`."""

    name: str
    points: Sequence[Point]
    dots: bool = False
    dashed: bool = False
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Axis:
    """An axis: from `low` to `high` in data, linear or logarithmic, with a label. `dates`: seconds since the epoch."""

    label: str
    low: float
    high: float
    log: bool = False
    dates: bool = False

    @classmethod
    def over(cls, label: str, values: Iterable[float], *, log: bool = False, dates: bool = False) -> "Axis":
        """An axis that holds these values, with room around a single one."""
        finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
        if not finite:
            return cls(label, 0.1 if log else 0.0, 1.0, log, dates)
        low, high = min(finite), max(finite)
        if low == high:
            room = 3600.0 if dates else abs(low) * 0.1 or 1.0
            low, high = (low / 2, high * 2) if log else (low - room, high + room)
        return cls(label, low, high, log, dates)

    def place(self, value: float) -> float:
        """Where a value lies, 0 to 1; beyond the ends it stays at the end."""
        if self.log:
            value, low, high = (math.log10(max(one, self.low)) for one in (value, self.low, self.high))
        else:
            low, high = self.low, self.high
        return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5

    def ticks(self) -> list[float]:
        """Round values along it."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            step = max(1, math.ceil((last - first + 1) / TICKS))
            return [10.0**power for power in range(first, last + 1, step)] or [self.low, self.high]
        width = _round_step((self.high - self.low) / (TICKS - 1), self.dates)
        start = math.ceil(self.low / width - 1e-9)
        found = [n * width for n in range(start, start + 3 * TICKS) if n * width <= self.high + width * 1e-9]
        return found or [self.low, self.high]


def curves(
    lines: Sequence[PlotLine], across: Axis, up: Axis, title: str, marks: Mapping[str, float] | None = None
) -> str:
    """One plot of several curves; `marks` are vertical lines by name. `title` is what a screen reader says."""
    named = [line for line in lines if line.name]
    marks = marks or {}
    legend = _rows([*(line.name for line in named), *marks])
    height = HEIGHT + LEGEND_LINE * len(legend)
    box = _Box(across, up, TOP + LEGEND_LINE * len(legend), height - BOTTOM)
    parts = [box.grid()]
    for number, (_, at) in enumerate(marks.items()):
        x = box.x(at)
        parts.append(
            f'<line class="mark m{number}" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top:.1f}" y2="{box.bottom:.1f}"/>'
        )
    parts += [_curve(line, number, box) for number, line in reversed(list(enumerate(lines)))]
    classes = [
        *(f"s{number}" for number, line in enumerate(lines) if line.name),
        *(f"mark m{n}" for n in range(len(marks))),
    ]
    parts.append(_legend(legend, classes))
    return _svg(parts, height, title)


def histogram(
    edges: Sequence[float], counts: Mapping[str, Sequence[int]], across: Axis, title: str, mark: float
) -> str:
    """Bars of counts [B] between `edges` [B + 1] on a logarithmic axis, the series before each other."""
    top = max((max(values, default=0) for values in counts.values()), default=0)
    up = Axis("transactions", 0.8, max(top, 2), log=True)
    legend = _rows([*counts, "threshold"])
    height = HEIGHT + LEGEND_LINE * len(legend)
    box = _Box(across, up, TOP + LEGEND_LINE * len(legend), height - BOTTOM)
    parts = [box.grid()]
    names = list(counts)
    for name in reversed(names):
        for number, count in enumerate(counts[name]):
            if count:
                x, right, y = box.x(edges[number]), box.x(edges[number + 1]), box.y(count)
                parts.append(
                    f'<rect class="bar s{names.index(name)}" x="{x:.1f}" y="{y:.1f}" '
                    f'width="{max(right - x - 0.5, 0.5):.1f}" '
                    f'height="{box.bottom - y:.1f}"><title>{escape(name)}: {count:,}</title></rect>'
                )
    x = box.x(mark)
    parts.append(f'<line class="mark m0" x1="{x:.1f}" x2="{x:.1f}" y1="{box.top:.1f}" y2="{box.bottom:.1f}"/>')
    parts.append(_legend(legend, [*(f"s{n}" for n in range(len(names))), "mark m0"]))
    return _svg(parts, height, title)


def bars(values: Mapping[str, float], title: str, limit: float | None = None) -> str:
    """Horizontal bars with their values, the largest on top; those above `limit` stand out."""
    ranked = sorted(values.items(), key=lambda item: -item[1])
    most = max([value for _, value in ranked] + [limit or 0.0, 1e-9])
    line, room = 19.0, 150.0
    parts = []
    for number, (name, value) in enumerate(ranked):
        y, width = 4 + number * line, max((WIDTH - room - 52) * value / most, 1.0)
        over = " over" if limit is not None and value > limit else ""
        parts.append(
            f'<text class="name" x="{room - 6:.0f}" y="{y + 12:.1f}" text-anchor="end">{_name(name, 24)}</text>'
            f'<rect class="bar s0{over}" x="{room:.0f}" y="{y + 2:.1f}" width="{width:.1f}" height="12" rx="2"/>'
            f'<text class="tick" x="{room + width + 5:.1f}" y="{y + 12:.1f}">{_figure(value)}</text>'
        )
    return _svg(parts, 8 + line * max(len(ranked), 1), title)


def intervals(rows: Sequence[tuple[str, float, float, float]], title: str) -> str:
    """Means with intervals (name, low, mean, high) around a line at zero: to the right of it is better."""
    reach = max([abs(bound) for _, low, _, high in rows for bound in (low, high)] + [0.01])
    line, room = 19.0, 150.0
    middle = room + (WIDTH - room - 12) / 2
    unit = (WIDTH - room - 12) / 2 / reach
    height = 12 + line * max(len(rows), 1) + 20
    parts = [f'<line class="zero" x1="{middle:.1f}" x2="{middle:.1f}" y1="2" y2="{height - 20:.1f}"/>']
    for number, (name, low, mean, high) in enumerate(rows):
        y = 14 + number * line
        kind = "better" if low > 0 else "worse" if high < 0 else "even"
        parts.append(
            f'<text class="name" x="{room - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{_name(name, 24)}</text>'
            f'<g class="{kind}"><title>{escape(name)}: {mean:+.3f} ({low:+.3f} to {high:+.3f})</title>'
            f'<line class="whisker" x1="{middle + low * unit:.1f}" x2="{middle + high * unit:.1f}" y1="{y}" y2="{y}"/>'
            f'<circle cx="{middle + mean * unit:.1f}" cy="{y}" r="4"/></g>'
        )
    for at, anchor in ((-reach, "start"), (0.0, "middle"), (reach, "end")):
        parts.append(
            f'<text class="tick" x="{middle + at * unit:.1f}" y="{height - 6:.1f}" text-anchor="{anchor}">'
            f"{at:+.3g}</text>"
        )
    return _svg(parts, height, title)


@dataclass(frozen=True)
class _Box:
    """The plot's area: data to pixels, `top` to `bottom`."""

    across: Axis
    up: Axis
    top: float
    bottom: float

    def x(self, value: float) -> float:
        return LEFT + self.across.place(value) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.bottom - self.up.place(value) * (self.bottom - self.top)

    def grid(self) -> str:
        parts = []
        for tick in self.up.ticks():
            y = self.y(tick)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{_tick(tick, self.up)}</text>'
            )
        for tick in self.across.ticks():
            x = self.x(tick)
            parts.append(
                f'<text class="tick" x="{min(x, WIDTH - ROOM):.1f}" y="{self.bottom + 14:.1f}" text-anchor="middle">'
                f"{_tick(tick, self.across)}</text>"
            )
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.bottom:.1f}" y2="{self.bottom:.1f}"/>'
        )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text class="label" x="{middle:.1f}" y="{self.bottom + 29:.1f}" text-anchor="middle">'
            f"{escape(self.across.label)}</text>"
        )
        if self.up.label:
            half = (self.top + self.bottom) / 2
            parts.append(
                f'<text class="label" transform="rotate(-90 10 {half:.1f})" x="10" y="{half:.1f}" text-anchor="middle">'
                f"{escape(self.up.label)}</text>"
            )
        return "".join(parts)


def _curve(line: PlotLine, number: int, box: _Box) -> str:
    places = [(box.x(x), box.y(y)) for x, y in line.points if math.isfinite(x) and math.isfinite(y)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) if places else ""
    drawn = f'<path class="line s{number}{" dashed" if line.dashed else ""}" d="{path}"/>' if len(places) > 1 else ""
    if not line.dots:
        return drawn
    notes = [*line.notes, *[""] * (len(places) - len(line.notes))]
    return drawn + "".join(
        f'<circle class="dot s{number}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
        f"{f'<title>{escape(note)}</title>' if note else ''}</circle>"
        for (x, y), note in zip(places, notes, strict=False)
    )


def _rows(names: Sequence[str]) -> list[list[tuple[str, float]]]:
    """Legend entries by lines: (name, x)."""
    rows: list[list[tuple[str, float]]] = [[]]
    x = LEFT
    for name in names:
        width = 24 + 5.9 * min(len(name), LONGEST_NAME)
        if rows[-1] and x + width > WIDTH:
            rows.append([])
            x = LEFT
        rows[-1].append((name, x))
        x += width + 8
    return rows if rows != [[]] else []


def _legend(rows: Sequence[Sequence[tuple[str, float]]], classes: Sequence[str]) -> str:
    parts, number = [], 0
    for at, row in enumerate(rows):
        y = 9 + LEGEND_LINE * at
        for name, x in row:
            parts.append(
                f'<line class="key {classes[number]}" x1="{x:.1f}" x2="{x + 16:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="name" x="{x + 21:.1f}" y="{y + 4:.1f}">{_name(name, LONGEST_NAME)}</text>'
            )
            number += 1
    return "".join(parts)


def _svg(parts: Iterable[str], height: float, title: str) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _name(name: str, most: int) -> str:
    return escape(name if len(name) <= most else f"{name[: most - 1]}…")


def _tick(value: float, scale: Axis) -> str:
    if scale.dates:
        then = datetime.fromtimestamp(value, UTC)
        return f"{then:%d %b}" if scale.high - scale.low > 2 * 86_400 else f"{then:%H:%M}"
    return _figure(value)


def _figure(value: float) -> str:
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e9 or size < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def _round_step(step: float, dates: bool) -> float:
    """The next 1, 2 or 5 times a power of ten; of dates, whole minutes, hours and days."""
    if dates:
        wanted = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 2 * 86_400, 7 * 86_400, 30 * 86_400)
        return next((float(each) for each in wanted if each >= step), 365 * 86_400.0)
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * (1 - 1e-9))
