"""report.html of run_ner: scores, kinds of errors, curves and every sentence with its entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bert_ko.tasks.html_curves import metric_curves
from bert_ko.tasks.html_list import Choice, Menu, counted_link, filtered_list, mark_legend
from bert_ko.tasks.html_report import (
    Html,
    Section,
    element,
    fact_list,
    headline,
    join,
    number,
    problem_list,
    table,
)
from bert_ko.tasks.html_task import task_page
from bert_ko.tasks.ner.errors import ERROR_KINDS, ErrorKind, find_errors
from bert_ko.tasks.ner.examples import Dataset
from bert_ko.tasks.ner.scores import Scores

_SCORE_NAMES = {
    "f1": "Entity F1",
    "macro_f1": "Entity macro F1",
    "klue_entity_macro_f1": "KLUE's entity macro F1",
    "klue_char_macro_f1": "KLUE's character macro F1",
}
_ERROR_LABELS: dict[ErrorKind, str] = {
    "type": "Wrong type",
    "boundary": "Wrong boundary",
    "both": "Wrong type and boundary",
    "missed": "Missed",
    "spurious": "Spurious",
}
_ORDERS = (Choice("file", "As in the file"), Choice("errors", "Most errors first"))
_CURVES = {
    "Loss": {"loss": "training", "eval_loss": "evaluation"},
    "Learning rate": {"learning_rate": "learning rate"},
    "Accuracy of tags in training, percent": {"accuracy": "training"},
    "Evaluation, percent": {
        "eval_f1": "entity F1",
        "eval_macro_f1": "entity macro F1",
        "eval_klue_char_macro_f1": "KLUE's character macro F1",
    },
}


@dataclass(frozen=True)
class ReportData:
    """What a report shows.

    Attributes:
        title: of the page.
        facts: of the run, in order: name and value.
        dataset: sentences with gold tags.
        predictions: tags of the units of each sentence.
        scores: of them.
        metrics: records of metrics.jsonl.
        seeds: (seed, scores) of runs that differ in their seed alone, in percent.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    dataset: Dataset
    predictions: Sequence[tuple[str, ...]]
    scores: Scores
    metrics: Sequence[Mapping[str, Any]]
    seeds: Sequence[tuple[int, Mapping[str, float]]]


def render_report(data: ReportData) -> str:
    """Returns the report as HTML.

    Args:
        data: what it shows.
    """
    values = report_values(data)
    return task_page(
        __package__,
        data,
        _scores(data, values["sentences"]),
        _SCORE_NAMES,
        metric_curves(data.metrics, _CURVES, fractions=("accuracy",)),
        Section("sentences", "Sentences", _sentences(values["sentences"], data.scores)),
        values,
    )


def report_values(data: ReportData) -> dict[str, Any]:
    """Returns what the script of the page lists.

    Args:
        data: what the report shows.

    Returns:
        kinds, what people read of each kind of error, and sentences. An entity is [type, start,
        end] in characters of the text, an error its kind, type, gold and predicted entity or None.
    """
    sentences = []
    for sentence, tags in zip(data.dataset.sentences, data.predictions, strict=True):
        golds, predicted = sentence.spans(sentence.tags), sentence.spans(tags)
        errors = find_errors(golds, predicted)
        sentences.append(
            {
                "id": sentence.sentence_id,
                "text": sentence.text,
                "golds": golds,
                "predicted": predicted,
                "errors": [
                    {
                        "kind": error.kind,
                        "type": error.type,
                        "gold": error.gold,
                        "predicted": error.predicted,
                    }
                    for error in errors
                ],
            }
        )
    return {"kinds": _ERROR_LABELS, "sentences": sentences}


def _scores(data: ReportData, sentences: Sequence[Mapping[str, Any]]) -> Html:
    scores = data.scores
    entity_note = f"precision {scores.precision:.2f}, recall {scores.recall:.2f}"
    figures = [
        ("Entity F1", f"{scores.f1:.2f}", entity_note),
        ("KLUE's character macro F1", f"{scores.klue_char_macro_f1:.2f}", "mean over the tags"),
        ("KLUE's entity macro F1", f"{scores.klue_entity_macro_f1:.2f}", "mean over the types"),
        ("Sentences", f"{scores.num_sentences:,}", f"{scores.num_units:,} {data.dataset.unit}s"),
    ]
    others = [
        ("Entity macro F1", f"{scores.macro_f1:.2f}"),
        ("Entity F1, weighted by type", f"{scores.weighted_f1:.2f}"),
        ("Right tags, percent", f"{scores.accuracy:.2f}"),
    ]
    problems = [
        (count, f"times in the dataset: {kind.replace('_', ' ')}")
        for kind, count in data.dataset.problem_counts().items()
    ]
    return join(
        headline(figures),
        fact_list(others),
        problem_list(problems),
        _type_table(scores),
        _error_table(scores, sentences),
    )


def _type_table(scores: Scores) -> Html:
    rows = [
        [
            kind,
            *(number(value) for value in (score.precision, score.recall, score.f1)),
            *(number(count, ",d") for count in (score.support, score.predicted, score.correct)),
        ]
        for kind, score in scores.by_type.items()
    ]
    headers = ["Type", "Precision", "Recall", "F1", "Entities", "Predicted", "Right"]
    return table("Types, in percent", headers, rows)


def _error_table(scores: Scores, sentences: Sequence[Mapping[str, Any]]) -> Html:
    """How often each kind of error was made with entities of each type."""
    errors = Counter(
        (error["kind"], error["type"]) for sentence in sentences for error in sentence["errors"]
    )
    rows = [
        [kind, *(counted_link(errors[k, kind], filter=k, type=kind) for k in ERROR_KINDS)]
        for kind in scores.by_type
    ]
    totals = [sum(errors[k, kind] for kind in scores.by_type) for k in ERROR_KINDS]
    foot = [
        "All",
        *(counted_link(n, filter=k) for k, n in zip(ERROR_KINDS, totals, strict=True)),
    ]
    caption = "Errors by type of the gold entity, of spurious ones by their own"
    return table(caption, ["Type", *_ERROR_LABELS.values()], rows, [foot])


def _sentences(sentences: Sequence[Mapping[str, Any]], scores: Scores) -> Html:
    total = len(sentences)
    kinds = Counter(
        kind for sentence in sentences for kind in {error["kind"] for error in sentence["errors"]}
    )
    wrong = sum(bool(sentence["errors"]) for sentence in sentences)
    filters = [
        Choice("all", f"All ({total:,})"),
        Choice("right", f"Right ({total - wrong:,})"),
        Choice("wrong", f"With errors ({wrong:,})"),
        *(Choice(kind, f"{label} ({kinds[kind]:,})") for kind, label in _ERROR_LABELS.items()),
    ]
    types = Menu("type", "Type", [Choice("", "Any"), *(Choice(t, t) for t in scores.by_type)])
    note = element("p", "The type stands behind each entity.", class_="note")
    legend = join(mark_legend("entity"), note)
    return filtered_list("sentences", filters, _ORDERS, legend, [types])
