"""report.html of run_classifier: scores, confusion matrix, curves and every example.

Legend: N examples, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.report.blocks import (
    Block,
    Choice,
    Confusion,
    Headline,
    Listing,
    Menu,
    Section,
    Table,
    count,
    number,
    numbers,
    text,
)
from bert_ko.report.confusion import draw_confusion
from bert_ko.report.groups import group_tables, length_name, length_names
from bert_ko.report.languages import Texts
from bert_ko.report.page import (
    Page,
    calibration_sections,
    counted_choice,
    curve_sections,
    render_task_page,
)
from bert_ko.report.rendering import finite
from bert_ko.tasks import fine_tuning
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.scores import ClassScores, Floats, Ints, RegressionScores

_BEST = 3  # labels that are shown for each example
_MAX_CONFUSIONS = 10
_LENGTHS = (20, 40, 80, 160)  # characters of a text or of a pair
_UNKNOWN = ("with [UNK]", "without")
_CLASS_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "mcc": "MCC",
}
_REGRESSION_NAMES = {"pearson": "Pearson", "spearman": "Spearman"}
_CLASS_ORDERS = {
    "file": "As in the file",
    "confident": "Most confident wrong first",
    "unlikely": "Lowest probability of the gold label first",
}
_REGRESSION_ORDERS = {
    "file": "As in the file",
    "largest": "Largest error first",
    "smallest": "Smallest error first",
}
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
        unknown: bool [N], whether an example has [UNK]; None of a model of words.
    """

    examples: Sequence[Example]
    labels: Sequence[str]
    golds: Ints | Floats
    predictions: Floats
    scores: ClassScores | RegressionScores
    unknown: npt.NDArray[np.bool_] | None


def render_report(data: ReportData) -> str:
    """Returns the report as HTML."""
    t, values = data.t, report_values(data)
    is_classes = isinstance(data.scores, ClassScores)
    blocks = _class_blocks(t, data) if is_classes else _regression_blocks(t, data)
    listing = (_class_listing if is_classes else _regression_listing)(t, data, values["examples"])
    names = _CLASS_NAMES if is_classes else _REGRESSION_NAMES
    sections = [
        Section("scores", t("Scores"), [*blocks, *_group_tables(t, data)]),
        *(_calibration(data) if is_classes else []),
        *curve_sections(t, data.curves(_CURVES, fractions=("accuracy",))),
        data.run_section([(name, t(label)) for name, label in names.items()]),
        Section("examples", t("Examples"), [listing]),
    ]
    return render_task_page("tasks/classifier", Page(data.title, sections, values), t)


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


def _class_blocks(t: Texts, data: ReportData) -> list[Block]:
    scores = data.scores
    assert isinstance(scores, ClassScores)
    values = scores.summary()
    figures = [(t(name), f"{values[key]:.2f}", "") for key, name in _CLASS_NAMES.items()]
    total = int(scores.confusion.sum())
    labels = t("{count} labels", count=f"{len(scores.by_class):,}")
    return [
        Headline([*figures, (t("Examples"), f"{total:,}", labels)]),
        _class_table(t, scores),
        *_confusion_tables(t, scores),
        Confusion(draw_confusion(scores.confusion, data.labels)),
    ]


def _class_table(t: Texts, scores: ClassScores) -> Table:
    names = ("Label", "Precision", "Recall", "F1", "Examples", "Predicted")
    rows = [
        (
            text(score.label),
            *numbers([score.precision, score.recall, score.f1]),
            count(score.support, gold=label),
            count(score.predicted, predicted=label),
        )
        for label, score in enumerate(scores.by_class)
    ]
    return Table(t("Labels, in percent"), [t(name) for name in names], rows)


def _confusion_tables(t: Texts, scores: ClassScores) -> list[Table]:
    """The most frequent mistakes, if there are any."""
    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MAX_CONFUSIONS]
    rows = []
    for place in order.tolist():
        gold, predicted = divmod(place, len(wrong))
        if found := int(wrong[gold, predicted]):
            pair = [text(scores.by_class[label].label) for label in (gold, predicted)]
            share = 100 * found / scores.by_class[gold].support
            rows.append((*pair, count(found, gold=gold, predicted=predicted), number(share)))
    names = ("Gold", "Predicted", "Examples", "Percent of the gold label")
    caption = t("Most frequent confusions")
    return [Table(caption, [t(name) for name in names], rows)] if rows else []


def _group_tables(t: Texts, data: ReportData) -> list[Table]:
    """How good the predictions are by the length of the text, and with [UNK] and without."""
    if isinstance(data.scores, ClassScores):
        scores = {"Accuracy": (100.0 * _is_right(data)).tolist()}
        titles = ("Accuracy by length of the text", "Accuracy with [UNK] and without")
    else:
        scores = {"Mean absolute error": np.abs(data.predictions - data.golds).tolist()}
        titles = ("Error by length of the text", "Error with [UNK] and without")
    lengths = [[length_name(sum(map(len, one.texts)), _LENGTHS)] for one in data.examples]
    by_length = (titles[0], "Characters", "Examples")
    tables = group_tables(t, by_length, lengths, scores, length_names(_LENGTHS))
    if data.unknown is not None:
        groups = [[_UNKNOWN[not has]] for has in data.unknown.tolist()]
        tables += group_tables(t, (titles[1], "Texts", "Examples"), groups, scores, _UNKNOWN)
    return tables


def _is_right(data: ReportData) -> npt.NDArray[np.bool_]:
    """Bool [N], whether the class is the gold one."""
    found: npt.NDArray[np.bool_] = data.predictions.argmax(axis=1) == data.golds
    return found


def _calibration(data: ReportData) -> list[Section]:
    """The probability of the predicted class against whether it is the gold one."""
    confidences = data.predictions.max(axis=1, initial=0.0).tolist()
    return calibration_sections(data.t, "Examples", confidences, _is_right(data).tolist())


def _regression_blocks(t: Texts, data: ReportData) -> list[Block]:
    scores = data.scores
    assert isinstance(scores, RegressionScores)
    figures = [
        ("Pearson", f"{scores.pearson:.2f}", t("correlation, percent")),
        ("Spearman", f"{scores.spearman:.2f}", t("correlation of ranks, percent")),
        (t("Mean squared error"), f"{scores.mse:.4g}", ""),
        (t("Mean absolute error"), f"{scores.mae:.4g}", ""),
        (t("Examples"), f"{len(data.examples):,}", ""),
    ]
    return [Headline(figures)]


def _class_listing(t: Texts, data: ReportData, examples: Sequence[Mapping[str, Any]]) -> Listing:
    outcomes = Counter(example["outcome"] for example in examples)
    filters = [
        counted_choice("all", t("All"), len(examples)),
        counted_choice("right", t("Right"), outcomes["right"]),
        counted_choice("wrong", t("Wrong"), outcomes["wrong"]),
    ]
    counts = {
        ("gold", "Gold label"): Counter(example["gold"] for example in examples),
        ("predicted", "Predicted label"): Counter(example["best"][0][0] for example in examples),
    }
    menus = []
    for (name, title), found in counts.items():
        choices = [counted_choice(str(i), label, found[i]) for i, label in enumerate(data.labels)]
        menus.append(Menu(name, t(title), [Choice("", t("Any")), *choices]))
    orders = [Choice(name, t(label)) for name, label in _CLASS_ORDERS.items()]
    return Listing(filters, orders, menus, legend="label")


def _regression_listing(
    t: Texts, data: ReportData, examples: Sequence[Mapping[str, Any]]
) -> Listing:
    signs = Counter(
        np.sign(example["predicted"] - example["gold"])
        for example in examples
        if example["predicted"] is not None
    )
    filters = [
        counted_choice("all", t("All"), len(examples)),
        counted_choice("high", t("Predicted too high"), signs[1]),
        counted_choice("low", t("Predicted too low"), signs[-1]),
    ]
    return Listing(filters, [Choice(name, t(label)) for name, label in _REGRESSION_ORDERS.items()])
