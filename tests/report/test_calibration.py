"""Probabilities against what is right."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bert_ko.report.calibration import Bin, calibrate, calibration_error, draw_reliability
from bert_ko.report.languages import ENGLISH
from bert_ko.report.page import Page, calibration_sections, render_page

CONFIDENCES = [0.05, 0.125, 0.175, 0.9375, 1.0, 1.0]
IS_RIGHT = [False, True, False, True, True, False]


def test_calibrate_means_and_shares_of_ten_ranges() -> None:
    low, second, high = calibrate(CONFIDENCES, IS_RIGHT)
    assert low == Bin(0.0, 0.1, 1, 0.05, 0.0)
    assert second == pytest.approx((0.1, 0.2, 2, 0.15, 0.5))
    assert high == pytest.approx((0.9, 1.0, 3, 0.979167, 0.666667), rel=1e-5)


def test_calibrate_a_bound_is_in_the_range_above_and_rounding_leaves_none() -> None:
    found = calibrate([float(np.float32(0.7)), 1.0000001, -1e-9], [True, True, False])
    assert [(one.low, one.high, one.size) for one in found] == [
        (0.0, 0.1, 1), (0.7, 0.8, 1), (0.9, 1.0, 1),
    ]  # fmt: skip


def test_calibrate_leaves_out_what_is_no_number() -> None:
    assert calibrate([math.nan, 0.25], [True, False]) == [Bin(0.2, 0.3, 1, 0.25, 0.0)]
    assert calibrate([], []) == []


def test_calibration_error_is_the_mean_distance_in_percent() -> None:
    # (1 · 0.05 + 2 · 0.35 + 3 · 0.3125) / 6
    assert calibration_error(calibrate(CONFIDENCES, IS_RIGHT)) == pytest.approx(28.125)
    assert calibration_error(calibrate([1.0, 1.0], [True, True])) == 0.0
    assert calibration_error(calibrate([1.0], [False])) == 100.0
    assert calibration_error([]) == 0.0


def test_draw_reliability_bars_are_as_high_as_shares_and_counts() -> None:
    drawing = draw_reliability([Bin(0.0, 0.1, 25, 0.0, 0.5), Bin(0.9, 1.0, 12_345, 0.9, 1.0)])
    first, last = drawing.bars
    assert (first.right, first.confidence, last.right) == (111.0, 212.0, 10.0)
    assert (first.label, last.label, last.many) == ("25", "12k", 268.0)
    assert (first.x, last.x + last.width) == pytest.approx((39.0, 323.0))


def test_calibration_sections_have_the_error_a_drawing_and_a_table(
    parse: Callable[[str], Any],
) -> None:
    sections = calibration_sections(ENGLISH, "Answers", CONFIDENCES, IS_RIGHT)
    root = parse(render_page(Page("가", sections)))
    assert root.all("dl", "facts")[0].text == "Expected calibration error, percent28.12"
    drawing = next(svg for svg in root.all("svg") if "role" in svg.attributes)
    assert [len(drawing.all("rect", kind)) for kind in ("share", "many")] == [3, 3]
    assert [row.text for row in root.all("tr")] == [
        "ProbabilityMean, percentRight, percentAnswers",
        "0.0–0.15.000.001", "0.1–0.215.0050.002", "0.9–1.097.9266.673",
    ]  # fmt: skip
    assert calibration_sections(ENGLISH, "Answers", [], []) == []
