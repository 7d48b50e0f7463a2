"""Curves of a run as inline SVG, for pages of html_report."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from bert_ko.tasks.html_report import Html, element, join

_WIDTH, _HEIGHT = 440, 260  # of the drawing, in units that are about a pixel
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 24, 12, 44  # margins
_MAX_POINTS = 400  # of a line; there are about as many pixels
_MAX_DOTS = 30  # points of a line that are drawn as dots, too
_LARGEST = 1e300  # the difference of two larger values may be infinite


class Series(NamedTuple):
    """A line: its name and points (step, value), of which NaN and infinity are left out."""

    name: str
    points: Sequence[tuple[float, float]]


class _Axis(NamedTuple):
    """Values and where they are drawn."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


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
) -> Html:
    """Draws what metrics.jsonl has.

    Args:
        records: of the file.
        figures: title of each figure to its lines: key of the records to name.
        fractions: keys whose values are drawn in percent.

    Returns:
        The figures that have a value, side by side; empty if none has.
    """
    drawn = join(
        *(
            curves(
                title,
                [
                    metric_series(records, key, name, 100.0 if key in fractions else 1.0)
                    for key, name in lines.items()
                ],
            )
            for title, lines in figures.items()
        )
    )
    return element("div", drawn, class_="figures") if drawn else drawn


def curves(title: str, series: Sequence[Series]) -> Html:
    """Draws lines over the steps of a run.

    Args:
        title: what the values are.
        series: lines that share their axes, six at most look different.

    Returns:
        A figure with a caption that says first, last, lowest and highest value; empty where there
        is no value to draw.
    """
    kept = [Series(line.name, _finite(line.points)) for line in series]
    kept = [line for line in kept if line.points]
    if not kept:
        return Html("")
    left_out = sum(len(line.points) for line in series) - sum(len(line.points) for line in kept)
    x, y = _axes(kept)
    drawing = element(
        "svg",
        *_grid(x, y),
        *(_line(i, line, x, y) for i, line in enumerate(kept)),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title} by step",
    )
    rows = [_summary(i, line) for i, line in enumerate(kept)]
    if left_out:
        rows.append(element("li", f"{left_out:,} values that are not finite are left out"))
    return element(
        "figure",
        element("figcaption", element("strong", title)),
        drawing,
        element("ul", *rows, class_="legend"),
        class_="curves",
    )


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


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [
        (step, value) for step, value in points if abs(step) < _LARGEST and abs(value) < _LARGEST
    ]


def _axes(series: Sequence[Series]) -> tuple[_Axis, _Axis]:
    steps = [step for line in series for step, _ in line.points]
    values = [value for line in series for _, value in line.points]
    x = _Axis(*_range(steps, 0.0), _LEFT, _WIDTH - _RIGHT)
    y = _Axis(*_range(values, 0.04), _HEIGHT - _BOTTOM, _TOP)
    return x, y


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    """The least and the greatest value with some room; never the same."""
    low, high = min(values), max(values)
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * max(largest, 1e-200):
        room = 0.5 * largest or 1.0
        return low - room, high + room
    return low - margin * (high - low), high + margin * (high - low)


def _grid(x: _Axis, y: _Axis) -> list[Html]:
    parts = []
    for value, label in ticks(y.low, y.high):
        place = y.place(value)
        parts.append(_rule(x.start, place, x.end, place, "grid"))
        parts.append(_label(label, x.start - 6, place + 4, "end"))
    for value, label in ticks(x.low, x.high):
        place = x.place(value)
        parts.append(_rule(place, y.start, place, y.start + 4, "axis"))
        parts.append(_label(label, place, y.start + 18, "middle"))
    parts.append(_rule(x.start, y.start, x.end, y.start, "axis"))
    parts.append(_rule(x.start, y.start, x.start, y.end, "axis"))
    parts.append(_label("step", (x.start + x.end) / 2, _HEIGHT - 6, "middle"))
    return parts


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    places = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return element("line", class_=kind, **{name: f"{place:.1f}" for name, place in places.items()})


def _label(text: str, x: float, y: float, anchor: str) -> Html:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _line(index: int, series: Series, x: _Axis, y: _Axis) -> Html:
    places = [
        (f"{x.place(step):.1f}", f"{y.place(value):.1f}") for step, value in _thinned(series.points)
    ]
    kind = f"series{index % 6}"
    line = element(
        "polyline", points=" ".join(",".join(place) for place in places), class_=f"line {kind}"
    )
    if len(places) > _MAX_DOTS:
        return line
    dots = (element("circle", cx=cx, cy=cy, r="3", class_=f"dot {kind}") for cx, cy in places)
    return join(line, *dots)


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
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


def _summary(index: int, series: Series) -> Html:
    values = [value for _, value in series.points]
    first, last, low, high = (
        f"{value:.4g}" for value in (values[0], values[-1], min(values), max(values))
    )
    sample = element(
        "svg",
        element("line", x1="0", y1="5", x2="26", y2="5", class_=f"line series{index % 6}"),
        viewBox="0 0 26 10",
        class_="sample",
        aria_hidden="true",
    )
    return element(
        "li", sample, f" {series.name}: first {first}, last {last}, lowest {low}, highest {high}"
    )
