"""Curves: what is picked from the metrics and where it is drawn."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bert_ko.report.curves import Figure, draw_curves, metric_curves, ticks
from bert_ko.report.languages import ENGLISH
from bert_ko.report.rendering import render

Parse = Callable[[str], Any]


def drawn(figures: list[Figure]) -> str:
    return "".join(render("report/templates/curves.html", figure=figure) for figure in figures)


def line(points: list[tuple[float, float]]) -> str:
    figure = draw_curves("손실", {"a": points})
    return drawn([figure] if figure else [])


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.3, 5.6) == [(1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5")]
    for high, most, labels in (
        (5e-5, 7, "0 1e-05 2e-05 3e-05 4e-05 5e-05"),
        (12000, 7, "0 2,000 4,000 6,000 8,000 10,000 12,000"),
        (3e9, 3, "0 1e+09 2e+09 3e+09"),
    ):
        assert [label for _, label in ticks(0, high, most)] == labels.split()


def test_metric_curves_draw_what_is_there_and_fractions_in_percent(parse: Parse) -> None:
    records = [
        {"step": 1, "loss": 2.0, "accuracy": 0.25},
        {"step": 2, "accuracy": 0.5},
        {"loss": 1.0},
        {"step": 4, "loss": "x"},
    ]
    figures = {"Loss": {"loss": "a", "eval_loss": "b"}, "F1": {"f1": "c"}, "%": {"accuracy": "d"}}
    root = parse(drawn(metric_curves(ENGLISH, [records], figures, fractions=("accuracy",))))
    assert [caption.text for caption in root.all("figcaption")] == ["Loss", "%"]
    assert [item.text for item in root.all("li")] == [
        " a: first 2, last 2, lowest 2, highest 2", " d: first 25, last 50, lowest 25, highest 50",
    ]  # fmt: skip
    assert metric_curves(ENGLISH, [[]], figures) == []


def test_curves_line_runs_from_the_lower_left_to_the_upper_right(parse: Parse) -> None:
    root = parse(line([(0, 0.0), (5, 1.0), (10, 4.0)]))
    places = [
        tuple(float(part) for part in place.split(","))
        for place in root.all("polyline")[0].attributes["points"].split()
    ]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == x2 - x1 > 100
    assert y0 - y1 == pytest.approx((y1 - y2) / 3, abs=0.2)
    assert y2 < y1 < y0  # down is more in SVG
    labels = [text.text for text in root.all("text")]
    assert labels == ["0", "1", "2", "3", "4", "0", "2", "4", "6", "8", "10", "step"]
    assert root.all("svg")[0].attributes["aria-label"] == "손실 by step"
    assert root.all("li")[0].text == " a: first 0, last 4, lowest 0, highest 4"


def test_curves_numbers_that_are_not_finite_are_counted(parse: Parse) -> None:
    root = parse(line([(0, math.nan), (1, 2.0), (2, math.inf)]))
    assert "nan" not in root.all("polyline")[0].attributes["points"]
    assert root.all("li")[-1].text == "2 values that are not finite are left out"
    assert len(root.all("circle")) == 1
    assert draw_curves("x", {"a": [], "b": [(1, math.nan)]}) is None


@pytest.mark.parametrize("value", [0.0, 1e-320, -1e300 / 2, 1e-9, 7.0])
def test_curves_constant_of_any_size_is_drawn(value: float, parse: Parse) -> None:
    root = parse(line([(1, value), (2, value)]))
    assert len(root.all("circle")) == 2
    assert len(root.all("text")) > 4


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats()), min_size=1, max_size=5))
@example([(1.0, 0.0), (2.0, 5e-324)])
@example([(1.0, 1e299), (2.0, -1e299)])
def test_curves_any_numbers_lie_in_the_drawing(points: list[tuple[float, float]]) -> None:
    made = line(points)
    places = re.findall(r' (?:c|x|y|x1|y1|x2|y2)="([^"]*)"', made)
    assert all(-1 <= float(place) <= 441 for place in places)
    assert not made or 5 <= made.count("<text") <= 20


def test_curves_values_that_hardly_differ_have_labels_that_do(parse: Parse) -> None:
    root = parse(line([(1, 1.0), (2, math.nextafter(1.0, 2.0))]))
    labels = [text.text for text in root.all("text") if text.attributes["text-anchor"] == "end"]
    assert labels == ["0.6", "0.8", "1.0", "1.2", "1.4"]


@pytest.mark.slow
def test_curves_long_line_keeps_its_peaks(parse: Parse) -> None:
    points = [(float(i), 0.0) for i in range(100_000)]
    points[77_777] = (77_777.0, 9.0)
    places = parse(line(points)).all("polyline")[0].attributes["points"].split()
    assert len(places) <= 400
    assert len({place.split(",")[1] for place in places}) == 2
