"""Curves of a run as inline SVG, for pages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

_WIDTH, _HEIGHT = 440, 260  # of the drawing, in units of about a pixel
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 24, 12, 44  # margins
_MAX_POINTS = 400  # of a line; there are about as many pixels
_MAX_DOTS = 30  # a line with more points has no dots
_LARGEST = 1e300  # the difference of two larger values may be infinite

Points = Sequence[tuple[float, float]]


class Axis(NamedTuple):
    """Values and where they are drawn."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Returns where a value is drawn."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Returns where the round numbers of the axis are drawn, and their labels."""
        return [(self.place(value), label) for value, label in ticks(self.low, self.high)]


class Line(NamedTuple):
    """A line as it is drawn."""

    points: Points  # (x, y)
    has_dots: bool
    summary: str  # its name with first, last, lowest and highest value


class Figure(NamedTuple):
    """Lines that share their axes, drawn by curves.html."""

    title: str  # what the values are
    x: Axis  # of the steps
    y: Axis  # of the values
    lines: Sequence[Line]  # only six look different
    left_out: int  # values that are not finite
    width: int = _WIDTH
    height: int = _HEIGHT


def metric_curves(
    records: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Mapping[str, str]],
    fractions: Collection[str] = (),
) -> list[Figure]:
    """Draws the values of metrics.jsonl.

    Args:
        records: Of the file; a figure leaves out those without its key or a step.
        figures: Title of each figure to its lines: key of the records, such as "loss", to name.
        fractions: Keys whose values are drawn in percent.

    Returns:
        The figures that have a value.
    """
    drawn = (
        draw_curves(
            title,
            {
                name: _points(records, key, 100.0 if key in fractions else 1.0)
                for key, name in lines.items()
            },
        )
        for title, lines in figures.items()
    )
    return [figure for figure in drawn if figure]


def _points(records: Iterable[Mapping[str, Any]], key: str, factor: float) -> Points:
    return [
        (float(record["step"]), factor * float(record[key]))
        for record in records
        if isinstance(record.get("step"), Real) and isinstance(record.get(key), Real)
    ]


def draw_curves(title: str, lines: Mapping[str, Points]) -> Figure | None:
    """Draws lines over the steps of a run; returns None if they have no finite value.

    Args:
        title: What the values are.
        lines: Name to points (step, value).
    """
    finite = {
        name: [point for point in points if all(abs(number) < _LARGEST for number in point)]
        for name, points in lines.items()
    }
    kept = {name: points for name, points in finite.items() if points}
    if not kept:
        return None
    left_out = sum(map(len, lines.values())) - sum(map(len, kept.values()))
    steps, values = zip(*itertools.chain.from_iterable(kept.values()), strict=True)
    x = Axis(*_range(steps, 0.0), _LEFT, _WIDTH - _RIGHT)
    y = Axis(*_range(values, 0.04), _HEIGHT - _BOTTOM, _TOP)
    return Figure(title, x, y, [_line(name, kept[name], x, y) for name in kept], left_out)


def ticks(low: float, high: float, most: int = 7) -> list[tuple[float, str]]:
    """Returns round numbers between two, at most about `most`, and their labels."""
    rough = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(
        (factor * magnitude for factor in (1, 2, 5) if factor * magnitude >= rough), 10 * magnitude
    )
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    is_plain = decimals <= 6 and max(abs(low), abs(high)) < 1e7
    form = f",.{decimals}f" if is_plain else ".3g"
    values = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [(value, format(value, form)) for value in values]


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    """Returns the least and the greatest value with a margin; never equal."""
    low, high = min(values), max(values)
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * max(largest, 1e-200):
        room = 0.5 * largest or 1.0
        return low - room, high + room
    return low - margin * (high - low), high + margin * (high - low)


def _line(name: str, points: Points, x: Axis, y: Axis) -> Line:
    places = [(x.place(step), y.place(value)) for step, value in _thinned(points)]
    values = [value for _, value in points]
    first, last, low, high = (
        f"{value:.4g}" for value in (values[0], values[-1], min(values), max(values))
    )
    summary = f"{name}: first {first}, last {last}, lowest {low}, highest {high}"
    return Line(places, len(places) <= _MAX_DOTS, summary)


def _thinned(points: Points) -> Points:
    """Keeps the lowest and the highest point of each stretch of a long line, so that peaks stay."""
    if len(points) <= _MAX_POINTS:
        return points
    size = math.ceil(2 * len(points) / _MAX_POINTS)
    kept = []
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        lowest = min(stretch, key=lambda i: points[i][1])
        highest = max(stretch, key=lambda i: points[i][1])
        kept += [points[i] for i in sorted({lowest, highest})]
    return kept
