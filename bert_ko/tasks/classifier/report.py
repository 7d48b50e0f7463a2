"""report.html of run_classifier: scores, confusion matrix, curves and every example.

Legend: N examples, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bert_ko.report.confusion import draw_confusion
from bert_ko.report.curves import metric_curves
from bert_ko.report.page import (
    Choice,
    Listing,
    Menu,
    Page,
    counted_choice,
    finite,
    render_task_page,
)
from bert_ko.tasks import fine_tuning
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.scores import ClassScores, Floats, Ints, RegressionScores

_BEST = 3  # labels that are shown for each example
_MAX_CONFUSIONS = 10
_CLASS_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "mcc": "MCC",
}
_REGRESSION_NAMES = {"pearson": "Pearson", "spearman": "Spearman"}
_CLASS_ORDERS = (
    Choice("file", "As in the file"),
    Choice("confident", "Most confident wrong first"),
    Choice("unlikely", "Lowest probability of the gold label first"),
)
_REGRESSION_ORDERS = (
    Choice("file", "As in the file"),
    Choice("largest", "Largest error first"),
    Choice("smallest", "Smallest error first"),
)
_CURVES = {
    "Loss": {"loss": "training", "eval_loss": "evaluation"},
    "Learning rate": {"learning_rate": "learning rate"},
    "Accuracy in training, percent": {"accuracy": "training"},
    "Evaluation, percent": {
        "eval_accuracy": "accuracy",
        "eval_macro_f1": "macro F1",
        "eval_pearson": "Pearson",
    },
    "Evaluation, mean squared error": {"eval_mse": "evaluation"},
}


@dataclass(frozen=True)
class ReportData(fine_tuning.ReportData):
    """What a report shows.

    Attributes:
        examples: N, in the order of the file.
        labels: K names; none for a regression.
        golds: [N], the number of the label, or the score.
        predictions: float32, probabilities [N, K], or scores [N].
        scores: of them.
    """

    examples: Sequence[Example]
    labels: Sequence[str]
    golds: Ints | Floats
    predictions: Floats
    scores: ClassScores | RegressionScores


def render_report(data: ReportData) -> str:
    """Returns the report as HTML."""
    values = report_values(data)
    if isinstance(data.scores, ClassScores):
        headline, names = _class_headline(data.scores), _CLASS_NAMES
        listing = _class_listing(values["examples"], data.labels)
        more: dict[str, Any] = {
            "classes": data.scores.by_class,
            "confusions": _confusions(data.scores),
            "drawing": draw_confusion(data.scores.confusion, data.labels),
        }
    else:
        headline, names = _regression_headline(data.scores, len(data.examples)), _REGRESSION_NAMES
        listing = _regression_listing(values["examples"])
        more = {"drawing": None}
    curves = metric_curves(data.metrics, _CURVES, fractions=("accuracy",))
    page = Page(data.title, headline, data.facts, data.seeds, names, curves, listing, values)
    return render_task_page("tasks/classifier", page, **more)


def report_values(data: ReportData) -> dict[str, Any]:
    """Returns what the script of the page lists.

    Returns:
        labels, and examples. Of classes: gold, the number of the label; its probability; best, the
        likeliest labels, [number, probability], the predicted one first; outcome, right or wrong.
        Of a regression: gold and predicted. None replaces what is not finite.
    """
    is_regression = isinstance(data.scores, RegressionScores)
    results = _score_results(data) if is_regression else _class_results(data)
    examples = [
        {"id": example.example_id, "texts": list(example.texts), **result}
        for example, result in zip(data.examples, results, strict=True)
    ]
    return {"labels": list(data.labels), "examples": examples}


def _class_results(data: ReportData) -> list[dict[str, Any]]:
    best = np.argsort(-data.predictions, axis=1, kind="stable")[:, :_BEST]
    rows = zip(data.golds.tolist(), best.tolist(), data.predictions.tolist(), strict=True)
    return [
        {
            "gold": gold,
            "probability": finite(row[gold], 5),
            "best": [[label, finite(row[label], 5)] for label in labels],
            "outcome": "right" if labels[0] == gold else "wrong",
        }
        for gold, labels, row in rows
    ]


def _score_results(data: ReportData) -> list[dict[str, Any]]:
    pairs = zip(data.golds.tolist(), data.predictions.tolist(), strict=True)
    return [{"gold": finite(gold, 6), "predicted": finite(found, 6)} for gold, found in pairs]


def _class_headline(scores: ClassScores) -> list[tuple[str, str, str]]:
    values = scores.summary()
    figures = [(name, f"{values[key]:.2f}", "") for key, name in _CLASS_NAMES.items()]
    total, labels = int(scores.confusion.sum()), f"{len(scores.by_class):,} labels"
    return [*figures, ("Examples", f"{total:,}", labels)]


def _confusions(scores: ClassScores) -> list[tuple[int, int, int, float]]:
    """The most frequent mistakes: (gold, predicted, count, percent of the gold)."""
    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_CONFUSIONS]
    rows = []
    for place in order.tolist():
        gold, predicted = divmod(place, len(wrong))
        if count := int(wrong[gold, predicted]):
            share = 100 * count / scores.by_class[gold].support
            rows.append((gold, predicted, count, share))
    return rows


def _regression_headline(scores: RegressionScores, count: int) -> list[tuple[str, str, str]]:
    return [
        ("Pearson", f"{scores.pearson:.2f}", "correlation, percent"),
        ("Spearman", f"{scores.spearman:.2f}", "correlation of ranks, percent"),
        ("Mean squared error", f"{scores.mse:.4g}", ""),
        ("Mean absolute error", f"{scores.mae:.4g}", ""),
        ("Examples", f"{count:,}", ""),
    ]


def _class_listing(examples: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Listing:
    outcomes = Counter(example["outcome"] for example in examples)
    filters = [
        counted_choice("all", "All", len(examples)),
        counted_choice("right", "Right", outcomes["right"]),
        counted_choice("wrong", "Wrong", outcomes["wrong"]),
    ]
    numbers = {
        ("gold", "Gold label"): Counter(example["gold"] for example in examples),
        ("predicted", "Predicted label"): Counter(example["best"][0][0] for example in examples),
    }
    menus = []
    for (name, title), counts in numbers.items():
        choices = [counted_choice(str(i), label, counts[i]) for i, label in enumerate(labels)]
        menus.append(Menu(name, title, [Choice("", "Any"), *choices]))
    return Listing("examples", filters, _CLASS_ORDERS, menus)


def _regression_listing(examples: Sequence[Mapping[str, Any]]) -> Listing:
    signs = Counter(
        np.sign(example["predicted"] - example["gold"])
        for example in examples
        if example["predicted"] is not None
    )
    filters = [
        counted_choice("all", "All", len(examples)),
        counted_choice("high", "Predicted too high", signs[1]),
        counted_choice("low", "Predicted too low", signs[-1]),
    ]
    return Listing("examples", filters, _REGRESSION_ORDERS)
