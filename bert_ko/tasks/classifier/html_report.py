"""report.html of run_classifier: scores, confusion matrix, curves and every example.

Legend: N examples, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bert_ko.tasks.classifier.confusion_picture import confusion_drawing
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.scores import ClassScores, Floats, Ints, RegressionScores
from bert_ko.tasks.html_curves import metric_curves
from bert_ko.tasks.html_list import Choice, Menu, counted_link, filtered_list, mark_legend
from bert_ko.tasks.html_report import (
    Html,
    Section,
    element,
    finite,
    headline,
    join,
    korean,
    number,
    table,
)
from bert_ko.tasks.html_task import task_page

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
class ReportData:
    """What a report shows.

    Attributes:
        title: of the page.
        facts: of the run, in order: name and value.
        examples: N, in the order of the file.
        labels: K names; none for a regression.
        golds: [N], the number of the label, or the score.
        predictions: float32, probabilities [N, K], or scores [N].
        scores: of them.
        metrics: records of metrics.jsonl.
        seeds: (seed, scores) of runs that differ in their seed alone.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    examples: Sequence[Example]
    labels: Sequence[str]
    golds: Ints | Floats
    predictions: Floats
    scores: ClassScores | RegressionScores
    metrics: Sequence[Mapping[str, Any]]
    seeds: Sequence[tuple[int, Mapping[str, float]]]


def render_report(data: ReportData) -> str:
    """Returns the report as HTML.

    Args:
        data: what it shows.
    """
    values = report_values(data)
    if isinstance(data.scores, ClassScores):
        scores, names = _class_scores(data.scores, data.labels), _CLASS_NAMES
        listed = _class_list(values["examples"], data.labels)
    else:
        scores, names = _regression_scores(data.scores, len(data.examples)), _REGRESSION_NAMES
        listed = _regression_list(values["examples"])
    return task_page(
        __package__,
        data,
        scores,
        names,
        metric_curves(data.metrics, _CURVES, fractions=("accuracy",)),
        Section("examples", "Examples", listed),
        values,
    )


def report_values(data: ReportData) -> dict[str, Any]:
    """Returns what the script of the page lists.

    Args:
        data: what the report shows.

    Returns:
        labels, and examples. Of classes: gold, the number of the label; its probability; best, the
        likeliest labels, [number, probability], the predicted one first; outcome, right or wrong.
        Of a regression: gold and predicted. None stands for what is not finite.
    """
    is_regression = isinstance(data.scores, RegressionScores)
    results = _score_results(data) if is_regression else _class_results(data)
    examples = [
        {"id": example.example_id, "texts": _texts(example), **result}
        for example, result in zip(data.examples, results, strict=True)
    ]
    return {"labels": list(data.labels), "examples": examples}


def _texts(example: Example) -> list[str]:
    return [text for text in (example.text_a, example.text_b) if text is not None]


def _class_results(data: ReportData) -> list[dict[str, Any]]:
    best = np.argsort(-data.predictions, axis=1, kind="stable")[:, :_BEST]
    results = []
    for gold, labels, row in zip(
        data.golds.tolist(), best.tolist(), data.predictions.tolist(), strict=True
    ):
        results.append(
            {
                "gold": gold,
                "probability": finite(row[gold], 5),
                "best": [[label, finite(row[label], 5)] for label in labels],
                "outcome": "right" if labels[0] == gold else "wrong",
            }
        )
    return results


def _score_results(data: ReportData) -> list[dict[str, Any]]:
    pairs = zip(data.golds.tolist(), data.predictions.tolist(), strict=True)
    return [{"gold": finite(gold, 6), "predicted": finite(found, 6)} for gold, found in pairs]


def _class_scores(scores: ClassScores, labels: Sequence[str]) -> Html:
    values = scores.summary()
    figures = [(name, f"{values[key]:.2f}", "") for key, name in _CLASS_NAMES.items()]
    total = int(scores.confusion.sum())
    drawing = element(
        "div",
        confusion_drawing(scores.confusion, labels, _pair_address),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="Confusion matrix",
    )
    caption = "Confusion matrix: gold labels in rows, predicted ones in columns; cells lead to "
    return join(
        headline([*figures, ("Examples", f"{total:,}", f"{len(labels):,} labels")]),
        _class_table(scores),
        _confusions(scores, labels),
        element("figure", element("figcaption", f"{caption}their examples"), drawing, class_="map"),
    )


def _pair_address(gold: int, predicted: int) -> str:
    return f"#gold={gold}&predicted={predicted}"


def _class_table(scores: ClassScores) -> Html:
    rows = [
        [
            korean(score.label),
            *(number(value) for value in (score.precision, score.recall, score.f1)),
            counted_link(score.support, gold=str(i)),
            counted_link(score.predicted, predicted=str(i)),
        ]
        for i, score in enumerate(scores.by_class)
    ]
    headers = ["Label", "Precision", "Recall", "F1", "Examples", "Predicted"]
    return table("Labels, in percent", headers, rows)


def _confusions(scores: ClassScores, labels: Sequence[str]) -> Html:
    """The mistakes that are made most often."""
    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_CONFUSIONS]
    rows = []
    for place in order.tolist():
        gold, predicted = divmod(place, len(labels))
        count = int(wrong[gold, predicted])
        share = 100 * count / max(scores.by_class[gold].support, 1)
        link = counted_link(count, gold=str(gold), predicted=str(predicted))
        if count:
            rows.append([korean(labels[gold]), korean(labels[predicted]), link, number(share)])
    headers = ["Gold", "Predicted", "Examples", "Percent of the gold label"]
    return table("Most frequent confusions", headers, rows) if rows else Html("")


def _regression_scores(scores: RegressionScores, count: int) -> Html:
    return headline(
        [
            ("Pearson", f"{scores.pearson:.2f}", "correlation, percent"),
            ("Spearman", f"{scores.spearman:.2f}", "correlation of ranks, percent"),
            ("Mean squared error", f"{scores.mse:.4g}", ""),
            ("Mean absolute error", f"{scores.mae:.4g}", ""),
            ("Examples", f"{count:,}", ""),
        ]
    )


def _class_list(examples: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Html:
    outcomes = Counter(example["outcome"] for example in examples)
    filters = [
        Choice("all", f"All ({len(examples):,})"),
        Choice("right", f"Right ({outcomes['right']:,})"),
        Choice("wrong", f"Wrong ({outcomes['wrong']:,})"),
    ]
    golds = Counter(example["gold"] for example in examples)
    predicted = Counter(example["best"][0][0] for example in examples)
    menus = [
        _label_menu("gold", "Gold label", labels, golds),
        _label_menu("predicted", "Predicted label", labels, predicted),
    ]
    return filtered_list("examples", filters, _CLASS_ORDERS, mark_legend("label"), menus)


def _label_menu(name: str, label: str, labels: Sequence[str], counts: Counter[int]) -> Menu:
    choices = [Choice(str(i), f"{text} ({counts[i]:,})") for i, text in enumerate(labels)]
    return Menu(name, label, [Choice("", "Any"), *choices])


def _regression_list(examples: Sequence[Mapping[str, Any]]) -> Html:
    signs = Counter(
        np.sign(example["predicted"] - example["gold"])
        for example in examples
        if example["predicted"] is not None
    )
    filters = [
        Choice("all", f"All ({len(examples):,})"),
        Choice("high", f"Predicted too high ({signs[1]:,})"),
        Choice("low", f"Predicted too low ({signs[-1]:,})"),
    ]
    return filtered_list("examples", filters, _REGRESSION_ORDERS, Html(""))
