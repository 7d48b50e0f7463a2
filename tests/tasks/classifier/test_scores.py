"""Scores of classes and of numbers; weights of classes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko.tasks.classifier.scores import (
    ClassScore,
    ClassScores,
    class_weights,
    format_classes,
    score_classes,
    score_values,
)


def scored(golds: list[int], predictions: list[int], labels: list[str]) -> ClassScores:
    return score_classes(np.array(golds, np.int32), np.array(predictions, np.int32), labels)


def valued(golds: list[float], predictions: list[float]) -> dict[str, float]:
    return score_values(np.array(golds, np.float64), np.array(predictions, np.float64)).summary()


def test_score_classes_worked_example_gives_literal_values() -> None:
    scores = scored([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0], ["ㄱ", "ㄴ", "ㄷ", "ㄹ"])
    assert scores.accuracy == pytest.approx(50)
    assert scores.micro_f1 == pytest.approx(50)
    # F1: 4/7, 1/2, 0; ㄹ occurs nowhere and is no part of the mean.
    assert scores.macro_f1 == pytest.approx(100 * (4 / 7 + 1 / 2) / 3)
    assert scores.weighted_f1 == pytest.approx(100 * (3 * 4 / 7 + 2 / 2) / 6)
    assert scores.confusion.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert scores.by_class[1] == ClassScore("ㄴ", 50.0, 50.0, 50.0, support=2, predicted=2)
    assert scores.by_class[2] == ClassScore("ㄷ", 0.0, 0.0, 0.0, support=1, predicted=0)
    assert scores.by_class[3] == ClassScore("ㄹ", 0.0, 0.0, 0.0, support=0, predicted=0)


def test_score_classes_class_that_is_only_predicted_counts_in_the_mean() -> None:
    assert scored([0, 0], [0, 1], ["ㄱ", "ㄴ"]).macro_f1 == pytest.approx(100 * (2 / 3) / 2)


def test_score_classes_without_examples_is_0() -> None:
    scores = scored([], [], ["ㄱ", "ㄴ"])
    assert set(scores.summary().values()) == {0.0}
    assert scores.confusion.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("golds", "predictions", "mcc"),
    [
        ([0, 1, 0, 1], [0, 1, 0, 1], 100.0),
        ([0, 1, 0, 1], [1, 0, 1, 0], -100.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.0),
        ([0, 1, 0, 1], [1, 1, 1, 1], 0.0),
    ],
)
def test_score_classes_mcc_of_extremes(
    golds: list[int], predictions: list[int], mcc: float
) -> None:
    assert scored(golds, predictions, ["ㄱ", "ㄴ"]).mcc == pytest.approx(mcc)


@pytest.mark.parametrize(
    ("golds", "predictions"), [([0, 2], [0, 1]), ([0, 1], [0, -1]), ([0, 1], [0])]
)
def test_score_classes_ids_out_of_range_are_our_fault(
    golds: list[int], predictions: list[int]
) -> None:
    with pytest.raises(AssertionError):
        scored(golds, predictions, ["ㄱ", "ㄴ"])


@pytest.mark.slow
@given(data=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
@settings(max_examples=20)
def test_score_classes_order_of_examples_and_labels_changes_nothing(
    data: list[tuple[int, int]],
) -> None:
    golds, predictions = (list(column) for column in zip(*data, strict=True))
    scores = scored(golds, predictions, list("ㄱㄴㄷㄹ"))
    turned = scored(
        [3 - gold for gold in reversed(golds)],
        [3 - prediction for prediction in reversed(predictions)],
        list("ㄹㄷㄴㄱ"),
    )
    assert turned.summary() == pytest.approx(scores.summary())
    assert turned.by_class == tuple(reversed(scores.by_class))
    assert turned.confusion.tolist() == scores.confusion[::-1, ::-1].tolist()
    assert all(0 <= value <= 100 for name, value in scores.summary().items() if name != "mcc")


def test_score_values_worked_example_gives_literal_values() -> None:
    scores = valued([1, 2, 3, 4], [1, 2, 2, 8])
    assert scores == {
        "pearson": pytest.approx(100 * 10.5 / math.sqrt(5 * 30.75)),
        "spearman": pytest.approx(100 * 4.5 / math.sqrt(5 * 4.5)),
        "mse": 4.25,
        "mae": 1.25,
    }


@pytest.mark.parametrize(
    ("golds", "predictions"),
    [
        ([], []),
        ([1.0], [2.0]),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0]),
        ([0.1] * 7, [0.3] * 7),
    ],
)
def test_score_values_constant_input_has_no_correlation(
    golds: list[float], predictions: list[float]
) -> None:
    scores = valued(golds, predictions)
    assert (scores["pearson"], scores["spearman"]) == (0.0, 0.0)
    assert math.isfinite(scores["mse"]) and math.isfinite(scores["mae"])


def test_score_values_without_examples_has_no_error() -> None:
    assert valued([], []) == {"pearson": 0.0, "spearman": 0.0, "mse": 0.0, "mae": 0.0}


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30])
def test_score_values_scale_does_not_change_correlations(scale: float) -> None:
    golds, predictions = [1.0, 2.0, 4.0], [3.0, 2.0, 5.0]
    scores = valued(golds, [scale * value for value in predictions])
    wanted = valued(golds, predictions)
    assert scores["pearson"] == pytest.approx(wanted["pearson"])
    assert scores["spearman"] == pytest.approx(wanted["spearman"]) == pytest.approx(50)


@pytest.mark.slow
@given(
    values=st.lists(st.integers(-1000, 1000), min_size=2, max_size=20, unique=True),
    slope=st.sampled_from([-2.0, -0.5, 0.5, 3.0]),
)
def test_score_values_of_a_line_is_all_or_less_than_nothing(
    values: list[int], slope: float
) -> None:
    golds = [float(value) for value in values]
    scores = valued(golds, [slope * value + 1 for value in golds])
    wanted = math.copysign(100, slope)
    assert scores["pearson"] == pytest.approx(wanted)
    assert scores["spearman"] == pytest.approx(wanted)
    assert abs(scores["pearson"]) <= 100


def test_score_values_of_32_bits_are_counted_in_64() -> None:
    golds = np.array([0.0, 1.0, 2.0], np.float32)
    scores = score_values(golds, golds + np.float32(1e30))
    assert scores.mse == pytest.approx(1e60)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_score_values_prediction_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"1 of 2 predictions are not finite numbers: .*_rate\."):
        valued([1.0, 2.0], [1.0, bad])


def test_format_classes_gives_a_table() -> None:
    scores = scored([0, 0, 0, 1, 1], [0, 0, 1, 1, 0], ["긍정", "부정"])
    assert format_classes(scores) == "\n".join(
        [
            "label  precision  recall     F1  support  predicted",
            "-----  ---------  ------  -----  -------  ---------",
            "긍정       66.67   66.67  66.67        3          3",
            "부정       50.00   50.00  50.00        2          2",
        ]
    )


def test_class_weights_balanced_weighs_all_classes_the_same() -> None:
    weights = class_weights("balanced", ["ㄱ", "ㄴ", "ㄷ"], [6, 2, 0])
    assert weights.tolist() == pytest.approx([8 / 12, 2.0, 1.0])


@pytest.mark.parametrize(
    ("mode", "weights"),
    [
        ("긍정=2.0,부정=0.5", [2.0, 0.5, 1.0]),
        (" 부정 = .5 , 긍정=2", [2.0, 0.5, 1.0]),
        ("a=b=3", [1.0, 1.0, 3.0]),
    ],
)
def test_class_weights_by_label_stand_in_the_labels_order(mode: str, weights: list[float]) -> None:
    assert class_weights(mode, ["긍정", "부정", "a=b"], [1, 1, 1]).tolist() == weights


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("", r"must be balanced or weights as in 'label=2\.0,other=0\.5', got ''\."),
        ("balance", r"must be balanced or weights as in .*, got 'balance'\."),
        ("긍정=2,", r"must be balanced or weights as in .*, got ''\."),
        ("긍졍=2", r"names the label '긍졍'; the labels are 긍정, 부정\."),
        ("=2", r"names the label ''; the labels are 긍정, 부정\."),
        ("긍정=2,긍정=3", r"names the label '긍정' twice\."),
        ("긍정=", r"the weight of '긍정' must be a positive number, got ''\."),
        ("긍정=둘", r"must be a positive number, got '둘'\."),
        ("긍정=0", r"must be a positive number, got '0'\."),
        ("긍정=-1", r"must be a positive number, got '-1'\."),
        ("긍정=nan", r"must be a positive number, got 'nan'\."),
        ("긍정=inf", r"must be a positive number, got 'inf'\."),
    ],
)
def test_class_weights_bad_value_is_refused(mode: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^--class_weights.*{message}$"):
        class_weights(mode, ["긍정", "부정"], [1, 1])
