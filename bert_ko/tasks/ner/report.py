"""report.html of run_ner: scores, kinds of errors, curves and every sentence with its entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bert_ko.report.curves import metric_curves
from bert_ko.report.page import (
    Choice,
    Listing,
    Menu,
    Page,
    counted_choice,
    dataset_problems,
    render_task_page,
)
from bert_ko.tasks.ner.errors import ErrorKind, find_errors
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
    sentences = values["sentences"]
    page = Page(
        data.title,
        _headline(data.scores, data.dataset.unit),
        data.facts,
        data.seeds,
        _SCORE_NAMES,
        metric_curves(data.metrics, _CURVES, fractions=("accuracy",)),
        _listing(sentences, list(data.scores.by_type)),
        values,
    )
    errors = [(error["kind"], error["type"]) for value in sentences for error in value["errors"]]
    return render_task_page(
        "tasks/ner",
        page,
        other_scores=_other_scores(data.scores),
        problems=dataset_problems(data.dataset.problem_counts().items()),
        types=data.scores.by_type,
        kinds=_ERROR_LABELS,
        errors=Counter(errors),
        totals=Counter(kind for kind, _ in errors),
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


def _headline(scores: Scores, unit: str) -> list[tuple[str, str, str]]:
    entity_note = f"precision {scores.precision:.2f}, recall {scores.recall:.2f}"
    return [
        ("Entity F1", f"{scores.f1:.2f}", entity_note),
        ("KLUE's character macro F1", f"{scores.klue_char_macro_f1:.2f}", "mean over the tags"),
        ("KLUE's entity macro F1", f"{scores.klue_entity_macro_f1:.2f}", "mean over the types"),
        ("Sentences", f"{scores.num_sentences:,}", f"{scores.num_units:,} {unit}s"),
    ]


def _other_scores(scores: Scores) -> list[tuple[str, str]]:
    return [
        ("Entity macro F1", f"{scores.macro_f1:.2f}"),
        ("Entity F1, weighted by type", f"{scores.weighted_f1:.2f}"),
        ("Right tags, percent", f"{scores.accuracy:.2f}"),
    ]


def _listing(sentences: Sequence[Mapping[str, Any]], types: Sequence[str]) -> Listing:
    total = len(sentences)
    kinds = Counter(
        kind for sentence in sentences for kind in {error["kind"] for error in sentence["errors"]}
    )
    wrong = sum(bool(sentence["errors"]) for sentence in sentences)
    filters = [
        counted_choice("all", "All", total),
        counted_choice("right", "Right", total - wrong),
        counted_choice("wrong", "With errors", wrong),
        *(counted_choice(kind, label, kinds[kind]) for kind, label in _ERROR_LABELS.items()),
    ]
    menu = Menu("type", "Type", [Choice("", "Any"), *(Choice(type, type) for type in types)])
    return Listing("sentences", filters, _ORDERS, [menu])
