"""report.html of run_squad: scores, curves and every question with its answer in its context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bert_ko.display import shown
from bert_ko.report.curves import metric_curves
from bert_ko.report.page import (
    Choice,
    Listing,
    Page,
    counted_choice,
    dataset_problems,
    finite,
    render_task_page,
)
from bert_ko.tasks.squad.comparison import Change, JosaReport, count_effects
from bert_ko.tasks.squad.examples import Dataset, Gold, Question, Span
from bert_ko.tasks.squad.predictions import Prediction
from bert_ko.tasks.squad.scores import AnswerScore, Scores

Outcome = Literal["exact", "partly", "wrong", "unscored"]

_SCORE_NAMES = {"exact_match": "Exact match", "f1": "F1"}
_OUTCOME_LABELS: dict[Outcome, str] = {
    "exact": "Exact",
    "partly": "Partly right",
    "wrong": "Wrong",
    "unscored": "Without a score",
}
_EFFECT_LABELS = {
    "better": "Better by stripping",
    "worse": "Worse by stripping",
    "same": "Stripped, same score",
}
_ORDERS = (
    Choice("file", "As in the file"),
    Choice("lowest", "Lowest F1 first"),
    Choice("highest", "Highest F1 first"),
)
_MAX_ENDINGS = 10  # that are seen at once
_CURVES = {
    "Loss": {"loss": "training", "eval_loss": "evaluation"},
    "Learning rate": {"learning_rate": "learning rate"},
    "Evaluation, percent": {"eval_exact_match": "exact match", "eval_f1": "F1"},
}


@dataclass(frozen=True)
class ReportData:
    """What a report shows.

    Attributes:
        title: of the page.
        facts: of the run, in order: name and value.
        dataset: contexts and questions.
        predictions: candidates, in the order of the dataset; a question may have none.
        josa: the scores without and with stripping; None where nothing was stripped.
        answers: question id to final answer.
        scores: of the final answers; None where the dataset has no golds.
        metrics: records of metrics.jsonl.
        seeds: (seed, scores) of runs that differ in their seed alone, in percent.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    dataset: Dataset
    predictions: Sequence[Prediction]
    josa: JosaReport | None
    answers: Mapping[str, Span]
    scores: Scores | None
    metrics: Sequence[Mapping[str, Any]]
    seeds: Sequence[tuple[int, Mapping[str, float]]]


def render_report(data: ReportData) -> str:
    """Returns the report as HTML.

    Args:
        data: what it shows.
    """
    values = report_values(data)
    page = Page(
        data.title,
        _headline(data),
        data.facts,
        data.seeds,
        _SCORE_NAMES,
        metric_curves(data.metrics, _CURVES),
        Listing("questions", _filters(values["questions"]), _ORDERS),
        values,
    )
    return render_task_page(
        "tasks/squad",
        page,
        scored=data.scores is not None,
        problems=_problems(data.scores, data.dataset) if data.scores else (),
        josa=_josa_values(data.josa) if data.scores and data.josa else None,
    )


def report_values(data: ReportData) -> dict[str, Any]:
    """Returns what the script of the page lists.

    Args:
        data: what the report shows.

    Returns:
        contexts, and questions with the number of theirs. An answer is [start, end] in characters
        of the context, a gold that is not there its text; a candidate [start, end, probability].
    """
    candidates = {
        prediction.qas_id: [
            [c.start, c.end, finite(c.probability, 5)] for c in prediction.candidates
        ]
        for prediction in data.predictions
    }
    scores = data.scores.by_question if data.scores else {}
    changes = {change.qas_id: change for change in data.josa.changes} if data.josa else {}
    questions = []
    for place, paragraph in enumerate(data.dataset.paragraphs):
        for question in paragraph.questions:
            qas_id = question.qas_id
            score, answer = scores.get(qas_id), data.answers.get(qas_id)
            questions.append(
                {
                    "id": qas_id,
                    "context": place,
                    "question": question.question,
                    "golds": _golds(question),
                    "answer": [answer.start, answer.end] if answer else None,
                    "outcome": outcome(score),
                    "em": score.exact_match if score else None,
                    "f1": round(score.f1, 6) if score else None,
                    "change": _change(changes.get(qas_id)),
                    "candidates": candidates.get(qas_id, []),
                }
            )
    contexts = [{"title": p.title, "text": p.context} for p in data.dataset.paragraphs]
    return {"contexts": contexts, "questions": questions}


def outcome(score: AnswerScore | None) -> Outcome:
    """Says in a word how good an answer is; an F1 of 1 with other spaces is only partly right."""
    if score is None:
        return "unscored"
    if score.exact_match:
        return "exact"
    return "partly" if score.f1 else "wrong"


def _golds(question: Question) -> list[list[int] | str]:
    """The golds that differ in text or place."""
    distinct: dict[Gold, list[int] | str] = {
        answer: answer.text if answer.start is None else [answer.start, answer.end or 0]
        for answer in question.answers
    }
    return list(distinct.values())


def _change(change: Change | None) -> dict[str, Any] | None:
    if change is None:
        return None
    em, f1 = change.score_before
    return {"before": change.before, "em": em, "f1": round(f1, 6), "effect": change.effect}


def _headline(data: ReportData) -> list[tuple[str, str, str]]:
    figures = []
    if data.scores:
        before = data.josa.without.values() if data.josa else {}
        for name, value in data.scores.values().items():
            note = f"{before[name]:.2f} without stripping" if before else ""
            figures.append((_SCORE_NAMES[name], f"{value:.2f}", note))
    total = sum(len(paragraph.questions) for paragraph in data.dataset.paragraphs)
    contexts = f"{len(data.dataset.paragraphs):,} contexts"
    return [*figures, ("Questions", f"{total:,}", contexts)]


def _problems(scores: Scores, dataset: Dataset) -> list[tuple[int, str]]:
    """What the scores leave out, and what was wrong with the dataset."""
    missing = (len(scores.missing), "questions have no prediction and score 0")
    return [missing, *dataset_problems(dataset.problem_counts().items())]


def _josa_values(josa: JosaReport) -> dict[str, Any]:
    before, after = josa.without.values(), josa.stripped.values()
    endings = [
        (shown(row.ending), row.rule, row.answers, row.better, row.worse) for row in josa.endings()
    ]
    return {
        "scores": [(_SCORE_NAMES[name], before[name], after[name]) for name in before],
        "changes": len(josa.changes),
        "effects": count_effects(josa.changes),
        "endings": endings[:_MAX_ENDINGS],
        "other_endings": endings[_MAX_ENDINGS:],
    }


def _filters(questions: Sequence[Mapping[str, Any]]) -> list[Choice]:
    outcomes = Counter(question["outcome"] for question in questions)
    effects = Counter(question["change"]["effect"] for question in questions if question["change"])
    filters = [counted_choice("all", "All", len(questions))]
    filters += [
        counted_choice(value, label, outcomes[value])
        for value, label in _OUTCOME_LABELS.items()
        if value != "unscored" or outcomes[value]
    ]
    filters += [
        counted_choice(value, label, effects[value])
        for value, label in _EFFECT_LABELS.items()
        if effects.total()
    ]
    return filters
