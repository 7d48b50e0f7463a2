"""Curves: what is picked from the metrics and where it is drawn."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bert_ko.report.curves import Figure, Series, draw_curves, metric_curves, metric_series, ticks
from bert_ko.report.page import render

Parse = Callable[[str], Any]


def drawn(figures: Iterable[Figure | None]) -> str:
    return "".join(render("report/templates/curves.html", figure=figure) for figure in figures)


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.3, 5.6) == [(1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5")]
    assert [label for _, label in ticks(0, 5e-5)] == [
        "0.00000", "0.00001", "0.00002", "0.00003", "0.00004", "0.00005",
    ]  # fmt: skip
    assert [label for _, label in ticks(0, 12000)] == [
        "0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000",
    ]  # fmt: skip
    assert [label for _, label in ticks(0, 3e9, 3)] == ["0", "1e+09", "2e+09", "3e+09"]


def test_metric_series_records_without_the_key_are_passed_over() -> None:
    records = [
        {"step": 1, "loss": 2},
        {"step": 2, "f1": 3.0},
        {"loss": 1.0},
        {"step": 4, "loss": "x"},
    ]
    assert metric_series(records, "loss", "training") == Series("training", [(1.0, 2.0)])


def test_metric_curves_draw_what_is_there_and_fractions_in_percent(parse: Parse) -> None:
    records = [{"step": 1, "loss": 2.0, "accuracy": 0.25}, {"step": 2, "accuracy": 0.5}]
    figures = {"Loss": {"loss": "a", "eval_loss": "b"}, "F1": {"f1": "c"}, "%": {"accuracy": "d"}}
    root = parse(drawn(metric_curves(records, figures, fractions=("accuracy",))))
    assert [caption.text for caption in root.all("figcaption")] == ["Loss", "%"]
    assert [item.text for item in root.all("li")] == [
        " a: first 2, last 2, lowest 2, highest 2", " d: first 25, last 50, lowest 25, highest 50",
    ]  # fmt: skip
    assert metric_curves([], figures) == []


def test_curves_line_runs_from_the_lower_left_to_the_upper_right(parse: Parse) -> None:
    root = parse(drawn([draw_curves("손실", [Series("a", [(0, 0.0), (5, 1.0), (10, 4.0)])])]))
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
    root = parse(drawn([draw_curves("x", [Series("a", [(0, math.nan), (1, 2.0), (2, math.inf)])])]))
    assert "nan" not in root.all("polyline")[0].attributes["points"]
    assert root.all("li")[-1].text == "2 values that are not finite are left out"
    assert len(root.all("circle")) == 1


@pytest.mark.parametrize("value", [0.0, 1e-320, -1e300 / 2, 1e-9, 7.0])
def test_curves_constant_of_any_size_is_drawn(value: float, parse: Parse) -> None:
    root = parse(drawn([draw_curves("x", [Series("a", [(1, value), (2, value)])])]))
    assert len(root.all("circle")) == 2
    assert len(root.all("text")) > 4


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats()), min_size=1, max_size=5),
)
@example([(1.0, 0.0), (2.0, 5e-324)])
@example([(1.0, 1e299), (2.0, -1e299)])
def test_curves_any_numbers_lie_in_the_drawing(points: list[tuple[float, float]]) -> None:
    figure = draw_curves("x", [Series("a", points)])
    made = drawn([figure] if figure else [])
    places = re.findall(r' (?:c|x|y|x1|y1|x2|y2)="([^"]*)"', made)
    assert all(-1 <= float(place) <= 441 for place in places)
    labels = re.findall("<text", made)
    assert not made or 5 <= len(labels) <= 20


def test_curves_values_that_hardly_differ_have_labels_that_do(parse: Parse) -> None:
    root = parse(
        drawn([draw_curves("x", [Series("a", [(1, 1.0), (2, math.nextafter(1.0, 2.0))])])])
    )
    labels = [text.text for text in root.all("text") if text.attributes["text-anchor"] == "end"]
    assert labels == ["0.6", "0.8", "1.0", "1.2", "1.4"]


@pytest.mark.parametrize("points", [[], [(1, math.nan)]])
def test_curves_nothing_to_draw_is_empty(points: list[tuple[float, float]]) -> None:
    assert draw_curves("x", [Series("a", points)]) is None


def test_curves_long_line_keeps_its_peaks(parse: Parse) -> None:
    points = [(float(i), 0.0) for i in range(100_000)]
    points[77_777] = (77_777.0, 9.0)
    root = parse(drawn([draw_curves("x", [Series("a", points)])]))
    places = root.all("polyline")[0].attributes["points"].split()
    assert len(places) <= 400
    assert len({place.split(",")[1] for place in places}) == 2
