"""Small charts as inline SVG: numbers in, markup out. Colours come from the page's style, by class name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from solon.intervals import Interval

WIDTH, HEIGHT = 340, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 12, 26

Points = Sequence[tuple[float, float]]
"""(x, y) in data units, x ascending."""


def bar(interval: Interval, low: float, high: float, series: str) -> Markup:
    """A horizontal bar from 0 to the value with a whisker over the interval, on a scale from `low` to `high`."""

    def at(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / ((high - low) or 1.0)

    start, end = sorted((at(0.0), at(interval.value)))
    return Markup(
        '<svg class="bar {series}" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" x="0" y="5.5" width="100" height="1"/>'
        '<rect class="value" x="{start:.2f}" y="1" width="{width:.2f}" height="10"/>'
        '<path class="whisker" d="M{a:.2f} 6H{b:.2f}M{a:.2f} 3V9M{b:.2f} 3V9"/></svg>'
    ).format(series=series, start=start, width=max(end - start, 0.3), a=at(interval.low), b=at(interval.high))


def scale(intervals: Sequence[Interval], unit: str) -> tuple[float, float]:
    """The axis that holds the intervals and 0; shares always have 0 to 1, so that rows can be compared."""
    if unit == "share":
        return 0.0, 1.0
    low, high = min(0.0, *(i.low for i in intervals)), max(0.0, *(i.high for i in intervals))
    return low, high if high > low else low + 1.0


@dataclass(frozen=True)
class _Frame:
    """Maps data to the drawing."""

    x: tuple[float, float]
    y: tuple[float, float]

    def point(self, x: float, y: float) -> str:
        left = _LEFT + (WIDTH - _LEFT - _RIGHT) * (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        return f"{left:.1f} {self.height(y):.1f}"

    def height(self, y: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (y - self.y[0]) / (self.y[1] - self.y[0])


def lines(series: Mapping[str, Points], title: str, *, include: Sequence[float] = ()) -> Markup:
    """A line chart over training steps; each series is drawn faint as measured and firm as a running mean.

    `include` are values the vertical axis must reach, each with a dotted line.
    """
    drawn = {name: points for name, points in series.items() if points}
    xs = [x for points in drawn.values() for x, _ in points] or [0.0]
    ticks = _ticks([y for points in drawn.values() for _, y in points] + list(include))
    frame = _Frame((min(xs), max(xs)), (ticks[0], ticks[-1]))
    parts = [_axes(frame, ticks)]
    parts += [_rule(frame, value) for value in include]
    for name, points in drawn.items():
        parts.append(_path(frame, points, f"raw {name}"))
        parts.append(_path(frame, _running_mean(points), f"mean {name}"))
    return Markup('<svg class="lines" viewBox="0 0 {w} {h}" role="img" aria-label="{title}">{inner}</svg>').format(
        w=WIDTH, h=HEIGHT, title=title, inner=Markup("").join(parts)
    )


@dataclass(frozen=True)
class Mark:
    """A measured point of a curve."""

    x: float
    y: float
    error: float | None = None
    """Half the length of its whisker; None draws none."""


def curves(
    series: Mapping[str, Sequence[Mark]],
    title: str,
    x_title: str,
    *,
    fits: Mapping[str, Points] | None = None,
    include: Sequence[float] = (),
) -> Markup:
    """Points joined in the order given, with whiskers, over any quantity; a fit of a series is a dotted line.

    `include` are values the vertical axis must reach, each with a dotted line.
    """
    marks = [mark for points in series.values() for mark in points]
    bounds = [mark.y + sign * (mark.error or 0.0) for mark in marks for sign in (-1, 1)]
    ticks = _ticks([*bounds, *include])
    frame = _Frame((min([0.0, *(m.x for m in marks)]), max([1e-9, *(m.x for m in marks)])), (ticks[0], ticks[-1]))
    parts = [_grid(frame, ticks), _ends(number(frame.x[0]), f"{x_title} {number(round(frame.x[1], 2))}")]
    parts += [_rule(frame, value) for value in include]
    for name, points in series.items():
        parts.append(_path(frame, [(mark.x, mark.y) for mark in points], f"mean {name}"))
        parts += [_dot(frame, mark, name) for mark in points]
    parts += [_path(frame, points, f"fit {name}") for name, points in (fits or {}).items() if points]
    return Markup('<svg class="lines" viewBox="0 0 {w} {h}" role="img" aria-label="{title}">{inner}</svg>').format(
        w=WIDTH, h=HEIGHT, title=title, inner=Markup("").join(parts)
    )


def _dot(frame: _Frame, mark: Mark, name: str) -> Markup:
    x, y = frame.point(mark.x, mark.y).split()
    error = mark.error or 0.0
    low, high = frame.height(mark.y - error), frame.height(mark.y + error)
    whisker = Markup('<path class="line whisker {name}" d="M{x} {low:.1f}V{high:.1f}"/>').format(
        name=name, x=x, low=low, high=high
    )
    dot = Markup('<circle class="point {name}" cx="{x}" cy="{y}" r="2.6"/>').format(name=name, x=x, y=y)
    return dot if mark.error is None else whisker + dot


def reliability(bins: Sequence[tuple[float, float, int]], title: str) -> Markup:
    """Accuracy over confidence, a dot for each (confidence, accuracy, count) whose area is its count.

    Dots on the diagonal are calibrated, dots below it boastful.
    """
    frame = _Frame((0.5, 1.0), (0.0, 1.0))
    most = max((count for _, _, count in bins), default=1)
    dots = Markup("").join(
        Markup('<circle class="dot" cx="{x}" cy="{y}" r="{r:.1f}"><title>{t}</title></circle>').format(
            x=frame.point(confidence, accuracy).split()[0],
            y=frame.point(confidence, accuracy).split()[1],
            r=2.5 + 3.5 * math.sqrt(count / most),
            t=f"says {confidence:.2f}, right {accuracy:.2f}, n = {count}",
        )
        for confidence, accuracy, count in bins
    )
    diagonal = Markup('<path class="rule" d="M{a}L{b}"/>').format(a=frame.point(0.5, 0.5), b=frame.point(1.0, 1.0))
    return Markup('<svg class="lines" viewBox="0 0 {w} {h}" role="img" aria-label="{title}">{inner}</svg>').format(
        w=WIDTH,
        h=HEIGHT,
        title=title,
        inner=_grid(frame, _ticks([0.0, 1.0])) + _ends("0.5", "says 1.0") + diagonal + dots,
    )


def _axes(frame: _Frame, ticks: Sequence[float]) -> Markup:
    return _grid(frame, ticks) + _ends(f"step {frame.x[0]:.0f}", f"{frame.x[1]:.0f}")


def _grid(frame: _Frame, ticks: Sequence[float]) -> Markup:
    return Markup("").join(
        Markup(
            '<path class="grid" d="M{x0} {y:.1f}H{x1}"/><text x="{tx}" y="{ty:.1f}" text-anchor="end">{label}</text>'
        ).format(
            x0=_LEFT,
            x1=WIDTH - _RIGHT,
            y=frame.height(tick),
            tx=_LEFT - 6,
            ty=frame.height(tick) + 3.5,
            label=number(tick),
        )
        for tick in ticks
    )


def _ends(low: str, high: str) -> Markup:
    return Markup('<text x="{x0}" y="{y}">{a}</text><text x="{x1}" y="{y}" text-anchor="end">{b}</text>').format(
        x0=_LEFT, x1=WIDTH - _RIGHT, y=HEIGHT - 8, a=low, b=high
    )


def _rule(frame: _Frame, value: float) -> Markup:
    return Markup('<path class="rule" d="M{x0} {y:.1f}H{x1}"/>').format(
        x0=_LEFT, x1=WIDTH - _RIGHT, y=frame.height(value)
    )


def _path(frame: _Frame, points: Points, classes: str) -> Markup:
    return Markup('<path class="line {classes}" d="M{d}"/>').format(
        classes=classes, d="L".join(frame.point(x, y) for x, y in points)
    )


def _running_mean(points: Points) -> Points:
    """Each point with the mean of its neighbourhood, a tenth of the curve wide."""
    half = max(1, len(points) // 20)
    windows = [points[max(0, i - half) : i + half + 1] for i in range(len(points))]
    return [(x, sum(y for _, y in window) / len(window)) for (x, _), window in zip(points, windows, strict=True)]


def _ticks(values: Sequence[float]) -> list[float]:
    """Three to six round numbers that hold all values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 10) for i in range(first, last + 1)]


def number(value: float) -> str:
    """A short number with a true minus sign."""
    return f"{value:.4g}".replace("-", "\u2212")


def shares(parts: Mapping[str, float], title: str) -> Markup:
    """One bar cut in proportion to `parts`, in order."""
    total = sum(parts.values()) or 1.0
    left, rects = 0.0, list[Markup]()
    for index, (name, value) in enumerate(parts.items()):
        width = 100 * value / total
        rects.append(
            Markup(
                '<rect class="part part-{i}" x="{x:.2f}" y="0" width="{w:.2f}" height="10"><title>{t}</title></rect>'
            ).format(i=index % 6, x=left, w=max(width - 0.25, 0.1), t=f"{name}: {number(value)}")
        )
        left += width
    return Markup(
        '<svg class="shares" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{t}">{r}</svg>'
    ).format(t=escape(title), r=Markup("").join(rects))
