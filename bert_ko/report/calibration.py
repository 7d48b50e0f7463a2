"""How far the probability of a prediction is the chance that it is right.

Legend: N predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.report.curves import Axis

_BINS = 10
_ROUNDING = 1e-6  # the 0.9 of float32 is a little less
_WIDTH, _HEIGHT = 330, 340  # of the drawing, in units of about a pixel
_LEFT, _RIGHT, _TOP = 38, 6, 10  # margins
_BOTTOM = 212  # of the shares
_FLOOR, _CEILING = 318, 268  # of the counts, below
_MANY = 10_000  # counts from here on have no room but in thousands


class Bin(NamedTuple):
    """The predictions whose probabilities are in a range."""

    low: float  # of the range; 1 is in the last one
    high: float
    size: int  # at least 1
    confidence: float  # mean of their probabilities
    right: float  # share of them that is right


def calibrate(confidences: Sequence[float], is_right: Sequence[bool]) -> list[Bin]:
    """Compares probabilities with what came true.

    Args:
        confidences: N, in [0, 1]; what is not finite is left out.
        is_right: N.

    Returns:
        Those of ten equal ranges that have a prediction, the lowest first.
    """
    values = np.asarray(confidences, np.float64)
    kept = np.isfinite(values)
    values, right = values[kept], np.asarray(is_right, np.bool_)[kept]
    numbers = np.clip((values * _BINS + _ROUNDING).astype(np.int64), 0, _BINS - 1)
    return [
        _bin(int(number), values[numbers == number], right[numbers == number])
        for number in np.unique(numbers)
    ]


def _bin(number: int, values: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> Bin:
    low, high = number / _BINS, (number + 1) / _BINS
    return Bin(low, high, len(values), float(values.mean()), float(right.mean()))


def calibration_error(bins: Sequence[Bin]) -> float:
    """Returns the expected calibration error in percent; 0 of no predictions.

    Source: Guo et al., arXiv:1706.04599, with equal bins.
    """
    total = sum(one.size for one in bins)
    return 100 * sum(one.size * abs(one.right - one.confidence) for one in bins) / max(1, total)


class Bar(NamedTuple):
    """A bin as it is drawn: a bar of its share, above one of its size."""

    bin: Bin
    x: float
    width: float
    right: float  # top of its bar
    confidence: float  # where the share would be equal to it
    many: float
    label: str  # how many


class Reliability(NamedTuple):
    """A reliability diagram as reliability.html draws it."""

    bars: Sequence[Bar]
    x: Axis  # of probabilities
    y: Axis  # of shares
    counts: Axis
    width: int = _WIDTH
    height: int = _HEIGHT


def draw_reliability(bins: Sequence[Bin]) -> Reliability:
    """Draws bins, at least one: the share that is right of each, and its count."""
    x = Axis(0.0, 1.0, _LEFT, _WIDTH - _RIGHT)
    y = Axis(0.0, 1.0, _BOTTOM, _TOP)
    counts = Axis(0.0, max(one.size for one in bins), _FLOOR, _CEILING)
    bars = [
        Bar(
            one,
            x.place(one.low) + 1,
            x.place(one.high) - x.place(one.low) - 2,
            y.place(one.right),
            y.place(one.confidence),
            counts.place(one.size),
            f"{one.size}" if one.size < _MANY else f"{one.size / 1000:.0f}k",
        )
        for one in bins
    ]
    return Reliability(bars, x, y, counts)
