"""Curves of a run as inline SVG, for pages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from bert_ko.report.languages import ENGLISH, Texts

_WIDTH, _HEIGHT = 440, 260  # of the drawing, in units of about a pixel
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 24, 12, 44  # margins
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
    series: int  # number of its legend


class Figure(NamedTuple):
    """Lines that share their axes, drawn by curves.html."""

    title: str  # what the values are
    x: Axis  # of the steps
    y: Axis  # of the values
    lines: Sequence[Line]
    legend: Sequence[
        str
    ]  # of each series: its name and what values it has; only six look different
    left_out: int  # values that are not finite
    marks: Sequence[float] = ()  # where on the axis of the steps the run was resumed
    width: int = _WIDTH
    height: int = _HEIGHT


def metric_curves(
    t: Texts,
    runs: Sequence[Sequence[Mapping[str, Any]]],
    figures: Mapping[str, Mapping[str, str]],
    fractions: Collection[str] = (),
    resumes: Collection[int] = (),
) -> list[Figure]:
    """Draws the values of metrics.jsonl.

    Args:
        t: the page's language.
        runs: records of the file of each run; one run, or several that differ in their seed. A
            figure leaves out records without its key or a step.
        figures: English title of each figure to its lines: key of the records, such as "loss", to
            name.
        fractions: Keys whose values are drawn in percent.
        resumes: Steps at which the run was resumed.

    Returns:
        The figures that have a value.
    """
    drawn = (
        draw_runs(
            t(title),
            {
                t(name): [
                    _points(records, key, 100.0 if key in fractions else 1.0) for records in runs
                ]
                for key, name in lines.items()
            },
            t,
            resumes,
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
    return draw_runs(title, {name: [points] for name, points in lines.items()})


def draw_runs(
    title: str,
    series: Mapping[str, Sequence[Points]],
    t: Texts = ENGLISH,
    resumes: Collection[int] = (),
) -> Figure | None:
    """Draws the same lines of several runs; see `draw_curves`.

    Args:
        title: What the values are.
        series: Name to the points (step, value) of each run.
        t: The page's language.
        resumes: Steps to mark.
    """
    finite = {
        name: [[p for p in points if all(abs(n) < _LARGEST for n in p)] for points in lines]
        for name, lines in series.items()
    }
    kept = {name: list(filter(None, lines)) for name, lines in finite.items() if any(lines)}
    if not kept:
        return None
    left_out = sum(map(len, _flat(series.values()))) - sum(map(len, _flat(kept.values())))
    steps, values = zip(*_flat(_flat(kept.values())), strict=True)
    x = Axis(*_range(steps, 0.0), _LEFT, _WIDTH - _RIGHT)
    y = Axis(*_range(values, 0.04), _HEIGHT - _BOTTOM, _TOP)
    drawn = [
        _line(points, number, x, y)
        for number, lines in enumerate(kept.values())
        for points in lines
    ]
    legend = [_summary(t, name, lines) for name, lines in kept.items()]
    marks = [x.place(step) for step in sorted(set(resumes)) if x.low <= step <= x.high]
    return Figure(title, x, y, drawn, legend, left_out, marks)


def _flat(nested: Iterable[Iterable[Any]]) -> list[Any]:
    return list(itertools.chain.from_iterable(nested))


def ticks(low: float, high: float, most: int = 7) -> list[tuple[float, str]]:
    """Returns round numbers between two, at most about `most`, and their labels."""
    rough = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(
        (factor * magnitude for factor in (1, 2, 5) if factor * magnitude >= rough), 10 * magnitude
    )
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    is_plain = decimals <= 4 and max(abs(low), abs(high)) < 1e7
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


def _line(points: Points, series: int, x: Axis, y: Axis) -> Line:
    places = [(x.place(step), y.place(value)) for step, value in _thinned(points)]
    return Line(places, len(places) <= _MAX_DOTS, series)


def _summary(t: Texts, name: str, lines: Sequence[Points]) -> str:
    """What the values of a series are, in words."""
    if len(lines) > 1:
        lasts = [points[-1][1] for points in lines]
        low, high = f"{min(lasts):.4g}", f"{max(lasts):.4g}"
        text = t("last {low} to {high}, of {count} seeds", low=low, high=high, count=len(lines))
        return f"{name}: {text}"
    values = [value for _, value in lines[0]]
    first, last, low, high = (
        f"{value:.4g}" for value in (values[0], values[-1], min(values), max(values))
    )
    text = "first {first}, last {last}, lowest {low}, highest {high}"
    return f"{name}: {t(text, first=first, last=last, low=low, high=high)}"


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
