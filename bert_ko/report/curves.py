"""Curves of a run as inline SVG, for pages."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, NamedTuple

_WIDTH, _HEIGHT = 440, 260  # of the drawing, in units that are about a pixel
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 24, 12, 44  # margins
_MAX_POINTS = 400  # of a line; there are about as many pixels
_MAX_DOTS = 30  # points of a line that are drawn as dots, too
_LARGEST = 1e300  # the difference of two larger values may be infinite

Points = Sequence[tuple[float, float]]


class Series(NamedTuple):
    """A line: its name and points (step, value), of which NaN and infinity are left out."""

    name: str
    points: Points


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
        """Returns where the round numbers of the axis are drawn, and how they are written."""
        return [(self.place(value), label) for value, label in ticks(self.low, self.high)]


class Line(NamedTuple):
    """A line as it is drawn.

    Attributes:
        points: (x, y).
        has_dots: whether its points are marked.
        summary: its name with first, last, lowest and highest value.
    """

    points: Points
    has_dots: bool
    summary: str


@dataclass(frozen=True)
class Figure:
    """A drawing of lines that share their axes; curves.html draws it.

    Attributes:
        title: what the values are.
        x: the axis of the steps.
        y: the axis of the values.
        lines: six at most look different.
        left_out: values that are not finite.
    """

    width: ClassVar[int] = _WIDTH
    height: ClassVar[int] = _HEIGHT

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line]
    left_out: int


def metric_series(
    records: Iterable[Mapping[str, Any]], key: str, name: str, factor: float = 1.0
) -> Series:
    """Picks a line from the records of metrics.jsonl.

    Args:
        records: those without the key or a step are passed over.
        key: such as "loss".
        name: of the line.
        factor: the values are multiplied by it.
    """
    points = [
        (float(record["step"]), factor * float(record[key]))
        for record in records
        if isinstance(record.get("step"), Real) and isinstance(record.get(key), Real)
    ]
    return Series(name, points)


def metric_curves(
    records: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Mapping[str, str]],
    fractions: Collection[str] = (),
) -> list[Figure]:
    """Draws what metrics.jsonl has.

    Args:
        records: of the file.
        figures: title of each figure to its lines: key of the records to name.
        fractions: keys whose values are drawn in percent.

    Returns:
        The figures that have a value.
    """
    figures_or_none = (
        draw_curves(
            title,
            [
                metric_series(records, key, name, 100.0 if key in fractions else 1.0)
                for key, name in lines.items()
            ],
        )
        for title, lines in figures.items()
    )
    return [figure for figure in figures_or_none if figure]


def draw_curves(title: str, series: Sequence[Series]) -> Figure | None:
    """Draws lines over the steps of a run.

    Args:
        title: what the values are.
        series: lines that share their axes.

    Returns:
        A figure; None where there is no value to draw.
    """
    kept = [Series(line.name, _finite(line.points)) for line in series]
    kept = [line for line in kept if line.points]
    if not kept:
        return None
    left_out = sum(len(line.points) for line in series) - sum(len(line.points) for line in kept)
    x, y = _axes(kept)
    return Figure(title, x, y, [_line(line, x, y) for line in kept], left_out)


def ticks(low: float, high: float, most: int = 7) -> list[tuple[float, str]]:
    """Returns round numbers between two, at most about `most`, and how they are written."""
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


def _finite(points: Points) -> list[tuple[float, float]]:
    return [
        (step, value) for step, value in points if abs(step) < _LARGEST and abs(value) < _LARGEST
    ]


def _axes(series: Sequence[Series]) -> tuple[Axis, Axis]:
    steps = [step for line in series for step, _ in line.points]
    values = [value for line in series for _, value in line.points]
    x = Axis(*_range(steps, 0.0), _LEFT, _WIDTH - _RIGHT)
    y = Axis(*_range(values, 0.04), _HEIGHT - _BOTTOM, _TOP)
    return x, y


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    """The least and the greatest value with some room; never the same."""
    low, high = min(values), max(values)
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * max(largest, 1e-200):
        room = 0.5 * largest or 1.0
        return low - room, high + room
    return low - margin * (high - low), high + margin * (high - low)


def _line(series: Series, x: Axis, y: Axis) -> Line:
    places = [(x.place(step), y.place(value)) for step, value in _thinned(series.points)]
    values = [value for _, value in series.points]
    first, last, low, high = (
        f"{value:.4g}" for value in (values[0], values[-1], min(values), max(values))
    )
    summary = f"{series.name}: first {first}, last {last}, lowest {low}, highest {high}"
    return Line(places, len(places) <= _MAX_DOTS, summary)


def _thinned(points: Points) -> Points:
    """The lowest and the highest of each stretch of a long line, so that no peak is lost."""
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
