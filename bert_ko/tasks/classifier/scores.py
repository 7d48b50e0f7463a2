"""Scores of predicted classes and numbers, and the weights of classes in training.

Legend: N examples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.progress import format_table

Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]

BALANCED = "balanced"


class ClassScore(NamedTuple):
    """Scores of one class in percent, 0 where undefined, and numbers of examples."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int  # gold examples
    predicted: int


@dataclass(frozen=True)
class ClassScores:
    """Of predicted classes; all in percent, 0 without examples.

    Attributes:
        accuracy: correct examples.
        macro_f1: mean of the F1 of the classes that occur, among the golds or the predictions.
        micro_f1: F1 over all decisions, which is the accuracy where each example has one class.
        weighted_f1: mean of the F1, weighted by support.
        mcc: Matthews' correlation coefficient, from -100 to 100; 0 where it is undefined, as when
            all golds or all predictions are the same.
        by_class: all K classes, in the order of the labels.
        confusion: int64 [K, K]; rows are the golds, columns the predictions.
    """

    accuracy: float
    macro_f1: float
    micro_f1: float
    weighted_f1: float
    mcc: float
    by_class: tuple[ClassScore, ...]
    confusion: npt.NDArray[np.int64]

    def summary(self) -> dict[str, float]:
        """Returns the scores over all classes by name, in percent."""
        names = ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "mcc")
        return {name: getattr(self, name) for name in names}


class RegressionScores(NamedTuple):
    """Of predicted numbers: correlations in percent, 0 where undefined, and mean errors."""

    pearson: float
    spearman: float
    mse: float
    mae: float

    def summary(self) -> dict[str, float]:
        """Returns the scores by name."""
        return self._asdict()


def score_classes(golds: Ints, predictions: Ints, labels: Sequence[str]) -> ClassScores:
    """Scores predicted classes.

    Args:
        golds: integers [N], in [0, K).
        predictions: the same.
        labels: K names, two or more.

    Source: scikit-learn, with zero_division=0; macro_f1 and weighted_f1 are those of its f1_score.
    """
    from sklearn import metrics  # takes a second to import

    assert golds.shape == predictions.shape and golds.ndim == 1
    numbers = np.arange(len(labels))
    assert np.isin([golds, predictions], numbers).all()
    if not len(golds):
        nothing = tuple(ClassScore(label, 0.0, 0.0, 0.0, 0, 0) for label in labels)
        empty = np.zeros((len(labels), len(labels)), np.int64)
        return ClassScores(0.0, 0.0, 0.0, 0.0, 0.0, nothing, empty)
    confusion = metrics.confusion_matrix(golds, predictions, labels=numbers)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    found = metrics.precision_recall_fscore_support(
        golds, predictions, labels=numbers, zero_division=0
    )
    precision, recall, f1 = (100 * values for values in found[:3])
    occurs = support + predicted > 0
    accuracy = 100 * float(metrics.accuracy_score(golds, predictions))
    columns = (values.tolist() for values in (precision, recall, f1, support, predicted))
    return ClassScores(
        accuracy=accuracy,
        macro_f1=float(f1 @ occurs / occurs.sum()),
        micro_f1=accuracy,
        weighted_f1=float(f1 @ support / support.sum()),
        # Of a single class scikit-learn's would be 0 with a warning.
        mcc=100 * float(metrics.matthews_corrcoef(golds, predictions)) if occurs.sum() > 1 else 0.0,
        by_class=tuple(map(ClassScore, labels, *columns)),
        confusion=confusion,
    )


def score_values(golds: Floats, predictions: Floats) -> RegressionScores:
    """Scores predicted numbers.

    Args:
        golds: floats [N], finite.
        predictions: floats [N].

    Raises:
        ValueError: a prediction is not a finite number.

    Source: scipy's pearsonr and rankdata.
    """
    from scipy.stats import rankdata

    assert golds.shape == predictions.shape and golds.ndim == 1
    wanted, found = golds.astype(np.float64), predictions.astype(np.float64)
    num_bad = int((~np.isfinite(found)).sum())
    if num_bad:
        raise ValueError(
            f"{num_bad:,} of {len(found):,} predictions are not finite numbers: training "
            "diverged; try a smaller --learning_rate."
        )
    errors = found - wanted
    return RegressionScores(
        pearson=100 * _pearson(wanted, found),
        spearman=100 * _pearson(rankdata(wanted), rankdata(found)),
        mse=float(np.mean(errors**2)) if len(errors) else 0.0,
        mae=float(np.mean(np.abs(errors))) if len(errors) else 0.0,
    )


def binary_f1(golds: Floats, predictions: Floats, threshold: float) -> float:
    """Returns the F1, in percent, of telling the scores that reach a threshold; 0 where undefined.

    Source: the F1 of KLUE-STS.
    """
    wanted, found = golds >= threshold, predictions >= threshold
    total = int(wanted.sum() + found.sum())
    return 200.0 * int((wanted & found).sum()) / total if total else 0.0


def format_classes(scores: ClassScores) -> str:
    """Returns a table of the scores of the classes, in percent, and numbers of examples."""
    rows: list[list[object]] = [list(score) for score in scores.by_class]
    return format_table(rows, ["label", "precision", "recall", "F1", "support", "predicted"])


def class_weights(
    mode: str, labels: Sequence[str], counts: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Returns the weight of each class in the loss, positive, float64 [K].

    Args:
        mode: "balanced": N / (K * count), so that all classes weigh the same; a class without
            examples has weight 1 and does not count in K. Or weights by label,
            "label=2.0,other=0.5"; the other labels have weight 1.
        labels: K names.
        counts: of each label's examples in training.

    Raises:
        ValueError: the mode is neither, a label is unknown or repeated, or a weight is not a
            positive number; the message begins with the flag.

    Source: scikit-learn's compute_class_weight for "balanced".
    """
    if mode == BALANCED:
        from sklearn.utils.class_weight import compute_class_weight

        present = np.flatnonzero(counts)
        golds = np.repeat(np.arange(len(labels)), counts)
        weights = np.ones(len(labels))
        weights[present] = compute_class_weight(BALANCED, classes=present, y=golds)
        return weights
    given: dict[str, float] = {}
    for item in mode.split(","):
        label, weight = _parse_weight(item, labels)
        if label in given:
            raise ValueError(f"--class_weights names the label {label!r} twice.")
        given[label] = weight
    return np.array([given.get(label, 1.0) for label in labels])


def _parse_weight(item: str, labels: Sequence[str]) -> tuple[str, float]:
    label, equals, text = (part.strip() for part in item.rpartition("="))
    if not equals:
        raise ValueError(
            f"--class_weights must be {BALANCED} or weights as in 'label=2.0,other=0.5', "
            f"got {item!r}."
        )
    if label not in labels:
        raise ValueError(
            f"--class_weights names the label {label!r}; the labels are {', '.join(labels)}."
        )
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ValueError(
            f"--class_weights: the weight of {label!r} must be a positive number, got {text!r}."
        )
    return label, weight


def _pearson(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    from scipy.stats import pearsonr

    # Of equal numbers scipy's would be NaN with a warning.
    if not len(a) or a.min() == a.max() or b.min() == b.max():
        return 0.0
    return float(pearsonr(a, b).statistic)
