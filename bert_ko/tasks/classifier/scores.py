"""Scores of predicted classes and numbers, and the weights of classes in training.

Legend: N examples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.progress import format_table

Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]

BALANCED = "balanced"


@dataclass(frozen=True)
class ClassScore:
    """Of one class.

    precision, recall, f1: in percent; 0 where nothing stands below the line.
    support: the number of examples of the class.
    predicted: the number of examples that were given the class.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True)
class ClassScores:
    """Of a file of predicted classes; all in percent, 0 if there is no example.

    accuracy: examples that were given their class.
    macro_f1: the mean of the F1 of the classes that occur, among the golds or the predictions.
    micro_f1: F1 over all decisions, which is the accuracy where each example has one class.
    weighted_f1: the mean of the F1 weighted by support.
    mcc: Matthews' correlation coefficient, from -100 to 100; 0 where it is not defined, as when all
        golds or all predictions are the same.
    by_class: the K classes, in the order of the labels, those that do not occur too.
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
        """Returns the scores of the whole by name, in percent."""
        names = ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "mcc")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class RegressionScores:
    """Of a file of predicted numbers.

    pearson, spearman: correlations in percent, from -100 to 100; 0 where they are not defined: all
        golds or all predictions are the same, or there is no example.
    mse: mean squared error, in the unit of the scores squared.
    mae: mean absolute error, in the unit of the scores.
    """

    pearson: float
    spearman: float
    mse: float
    mae: float

    def summary(self) -> dict[str, float]:
        """Returns the scores by name."""
        return asdict(self)


def score_classes(golds: Ints, predictions: Ints, labels: Sequence[str]) -> ClassScores:
    """Scores predicted classes.

    Args:
        golds: [N], in [0, K).
        predictions: [N], in [0, K).
        labels: K names, two or more.

    Source: scikit-learn, with zero_division=0; macro_f1 and weighted_f1 are those of its f1_score.
    """
    from sklearn import metrics  # takes a second, and --help needs no score

    assert golds.shape == predictions.shape and golds.ndim == 1
    numbers = np.arange(len(labels))
    assert np.isin([golds, predictions], numbers).all()
    if not len(golds):
        nothing = tuple(ClassScore(label, 0.0, 0.0, 0.0, 0, 0) for label in labels)
        confusion = np.zeros((len(labels), len(labels)), np.int64)
        return ClassScores(0.0, 0.0, 0.0, 0.0, 0.0, nothing, confusion)
    confusion = metrics.confusion_matrix(golds, predictions, labels=numbers)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall, f1 = (
        100 * values
        for values in metrics.precision_recall_fscore_support(
            golds, predictions, labels=numbers, zero_division=0
        )[:3]
    )
    occurs = support + predicted > 0
    accuracy = 100 * float(metrics.accuracy_score(golds, predictions))
    rows = zip(labels, precision, recall, f1, support, predicted, strict=True)
    return ClassScores(
        accuracy=accuracy,
        macro_f1=float(f1 @ occurs / occurs.sum()),
        micro_f1=accuracy,
        weighted_f1=float(f1 @ support / support.sum()),
        # Of a single class scikit-learn's would be 0 with a warning.
        mcc=100 * float(metrics.matthews_corrcoef(golds, predictions)) if occurs.sum() > 1 else 0.0,
        by_class=tuple(
            ClassScore(label, float(p), float(r), float(f), int(n), int(m))
            for label, p, r, f, n, m in rows
        ),
        confusion=confusion,
    )


def score_values(golds: Floats, predictions: Floats) -> RegressionScores:
    """Scores predicted numbers.

    Args:
        golds: [N], finite.
        predictions: [N].

    Raises:
        ValueError: A prediction is not a finite number.

    Source: scipy's pearsonr and rankdata.
    """
    from scipy.stats import rankdata

    assert golds.shape == predictions.shape and golds.ndim == 1
    wanted, found = golds.astype(np.float64), predictions.astype(np.float64)
    num_bad = int((~np.isfinite(found)).sum())
    if num_bad:
        raise ValueError(
            f"{num_bad:,} of {len(found):,} predictions are no finite numbers: training has "
            "gone astray; try a smaller --learning_rate."
        )
    errors = found - wanted
    return RegressionScores(
        pearson=100 * _pearson(wanted, found),
        spearman=100 * _pearson(rankdata(wanted), rankdata(found)),
        mse=float(np.mean(errors**2)) if len(errors) else 0.0,
        mae=float(np.mean(np.abs(errors))) if len(errors) else 0.0,
    )


def format_classes(scores: ClassScores) -> str:
    """Returns a table of the scores of the classes, in percent, and how many there are."""
    rows = [list(asdict(score).values()) for score in scores.by_class]
    return format_table(rows, ["label", "precision", "recall", "F1", "support", "predicted"])


def class_weights(
    mode: str, labels: Sequence[str], counts: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Returns what an example of each class counts in training.

    Args:
        mode: "balanced": N / (K * count), so that all classes weigh the same; a class without
            examples counts 1, and not among the K. Or weights by label, "label=2.0,other=0.5",
            where the labels that are not named count 1.
        labels: K names.
        counts: [K], examples of each in training.

    Returns:
        [K], positive.

    Raises:
        ValueError: It is neither, a label is unknown or stands there twice, or a weight is not a
            positive number; the message begins with the flag.

    Source: scikit-learn's compute_class_weight for "balanced".
    """
    if mode == BALANCED:
        from sklearn.utils.class_weight import compute_class_weight

        there = np.flatnonzero(counts)
        golds = np.repeat(np.arange(len(labels)), counts)
        weights = np.ones(len(labels))
        weights[there] = compute_class_weight(BALANCED, classes=there, y=golds)
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
