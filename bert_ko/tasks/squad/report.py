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
from bert_ko.tasks.squad.comparison import JosaReport
from bert_ko.tasks.squad.examples import Dataset, Gold, Question, Span
from bert_ko.tasks.squad.klue import klue_rows, klue_values
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
    """What a report shows."""

    title: str
    facts: Sequence[tuple[str, str]]  # of the run, in order: name and value
    dataset: Dataset
    predictions: Sequence[Prediction]  # in the order of the dataset
    josa: JosaReport
    answers: Mapping[str, Span]  # question id to final answer
    scores: Scores  # of the final answers
    metrics: Sequence[Mapping[str, Any]]  # records of metrics.jsonl
    seeds: Sequence[tuple[int, Mapping[str, float]]]  # scores of other seeds, in percent


def render_report(data: ReportData) -> str:
    """The report as HTML."""
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
    # What the scores leave out, and what was wrong with the dataset.
    problems = [
        (len(data.scores.missing), "questions have no prediction and score 0"),
        *dataset_problems(data.dataset.problem_counts().items()),
    ]
    return render_task_page(
        "tasks/squad",
        page,
        problems=problems,
        klue=klue_rows(klue_values(data.dataset, data.scores)),
        josa=_josa_values(data.josa),
    )


def report_values(data: ReportData) -> dict[str, Any]:
    """What the script of the page lists.

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
    scores = data.scores.by_question
    changes = {
        change.qas_id: {
            "before": change.before,
            "em": change.score_before.exact_match,
            "f1": round(change.score_before.f1, 6),
            "effect": change.effect,
        }
        for change in data.josa.changes
    }
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
                    "change": changes.get(qas_id),
                    "candidates": candidates.get(qas_id, []),
                }
            )
    contexts = [{"title": p.title, "text": p.context} for p in data.dataset.paragraphs]
    return {"contexts": contexts, "questions": questions}


def outcome(score: AnswerScore | None) -> Outcome:
    """How good an answer is, in a word; an F1 of 1 with other spaces is only partly right."""
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


def _headline(data: ReportData) -> list[tuple[str, str, str]]:
    figures = [
        (label, f"{data.scores.means[name]:.2f}", f"{before:.2f} without stripping")
        for (name, label), before in zip(
            _SCORE_NAMES.items(), data.josa.before.means.values(), strict=True
        )
    ]
    total = sum(len(paragraph.questions) for paragraph in data.dataset.paragraphs)
    contexts = f"{len(data.dataset.paragraphs):,} contexts"
    return [*figures, ("Questions", f"{total:,}", contexts)]


def _josa_values(josa: JosaReport) -> dict[str, Any]:
    before, after = josa.before.means, josa.after.means
    endings = [
        (shown(row.ending), row.rule, row.answers, row.better, row.worse) for row in josa.endings()
    ]
    return {
        "scores": [(_SCORE_NAMES[name], before[name], after[name]) for name in before],
        "changes": len(josa.changes),
        "effects": josa.effects,
        "endings": endings[:_MAX_ENDINGS],
        "other_endings": endings[_MAX_ENDINGS:],
    }


def _filters(questions: Sequence[Mapping[str, Any]]) -> list[Choice]:
    outcomes = Counter(question["outcome"] for question in questions)
    effects = Counter(question["change"]["effect"] for question in questions if question["change"])
    return [
        counted_choice("all", "All", len(questions)),
        *(
            counted_choice(value, label, outcomes[value])
            for value, label in _OUTCOME_LABELS.items()
            if value != "unscored" or outcomes[value]
        ),
        *(
            counted_choice(value, label, effects[value])
            for value, label in _EFFECT_LABELS.items()
            if effects
        ),
    ]
