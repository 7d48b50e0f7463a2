"""report.html of run_squad: scores, curves and every question with its answer in its context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bert_ko.display import shown
from bert_ko.report.blocks import (
    Block,
    Choice,
    Folded,
    Headline,
    Items,
    Listing,
    Note,
    Row,
    Section,
    Table,
    number,
    numbers,
    text,
)
from bert_ko.report.groups import group_tables, length_name, length_names
from bert_ko.report.languages import Texts
from bert_ko.report.page import (
    Page,
    calibration_sections,
    counted_choice,
    curve_sections,
    dataset_problems,
    render_task_page,
)
from bert_ko.report.rendering import finite
from bert_ko.tasks import fine_tuning
from bert_ko.tasks.squad.comparison import Effect, JosaReport
from bert_ko.tasks.squad.examples import Dataset, Gold, Question, Span
from bert_ko.tasks.squad.groups import OTHER, QUESTION_WORDS, UNKNOWN_PLACES, question_word
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
_EFFECT_LABELS: dict[Effect, str] = {
    "better": "Better by stripping",
    "worse": "Worse by stripping",
    "same": "Stripped, same score",
}
_ORDERS = {
    "file": "As in the file",
    "lowest": "Lowest F1 first",
    "highest": "Highest F1 first",
}
_LENGTHS = (250, 500, 1000)  # characters of a context
_MAX_ENDINGS = 10  # that are seen at once
_CURVES = {
    "Loss": {"loss": "training", "eval_loss": "evaluation"},
    "Learning rate": {"learning_rate": "learning rate"},
    "Evaluation, percent": {"eval_exact_match": "exact match", "eval_f1": "F1"},
}


@dataclass(frozen=True)
class ReportData(fine_tuning.ReportData):
    """What a report shows."""

    dataset: Dataset
    predictions: Sequence[Prediction]  # in the order of the dataset
    josa: JosaReport
    answers: Mapping[str, Span]  # question id to final answer
    scores: Scores  # of the final answers
    confidences: Mapping[str, float]  # question id to the probability of the answer
    unknown: Sequence[Collection[str]]  # of each question, where it has [UNK]


def render_report(data: ReportData) -> str:
    """The report as HTML."""
    t, values = data.t, report_values(data)
    score_names = [(name, t(label)) for name, label in _SCORE_NAMES.items()]
    scores = [
        Headline(_headline(data)),
        Items(_problems(data)),
        *_klue_tables(t, klue_rows(klue_values(data.dataset, data.scores))),
        *_group_tables(t, data),
        *_josa_blocks(t, data.josa),
    ]
    filters = _filters(t, values["questions"])
    orders = [Choice(name, t(label)) for name, label in _ORDERS.items()]
    sections = [
        Section("scores", t("Scores"), scores),
        *_calibration(data),
        *curve_sections(t, data.curves(_CURVES)),
        data.run_section(score_names),
        Section("questions", t("Questions"), [Listing(filters, orders, legend="answer")]),
    ]
    return render_task_page("tasks/squad", Page(data.title, sections, values), t)


def _problems(data: ReportData) -> list[str]:
    """What the scores leave out, and what was wrong with the dataset."""
    t, missing = data.t, len(data.scores.missing)
    said = t("{count} questions have no prediction and score 0", count=f"{missing:,}")
    return [
        *([said] if missing else []),
        *dataset_problems(t, data.dataset.problem_counts().items()),
    ]


def _group_tables(t: Texts, data: ReportData) -> list[Table]:
    """Scores by question word, by the length of the context, and by where [UNK] is."""
    scored = [
        (asked.question, paragraph.context, unknown, score)
        for (paragraph, asked), unknown in zip(data.dataset.questions(), data.unknown, strict=True)
        if (score := data.scores.by_question.get(asked.qas_id))
    ]
    scores = {
        "Exact match": [100.0 * score.exact_match for *_, score in scored],
        "F1": [100.0 * score.f1 for *_, score in scored],
    }
    words = [[question_word(question)] for question, *_ in scored]
    lengths = [[length_name(len(context), _LENGTHS)] for _, context, *_ in scored]
    places = [unknown for *_, unknown, _ in scored]
    by_word = ("Scores by question word", "Question word", "Questions")
    by_length = ("Scores by length of the context", "Characters", "Questions")
    by_place = ("Scores by where pieces are [UNK]", "[UNK]", "Questions")
    return [
        *group_tables(t, by_word, words, scores, (*QUESTION_WORDS, OTHER)),
        *group_tables(t, by_length, lengths, scores, length_names(_LENGTHS)),
        *group_tables(t, by_place, places, scores, UNKNOWN_PLACES),
    ]


def _calibration(data: ReportData) -> list[Section]:
    """The probability of answers against exact match."""
    found = [
        (data.confidences[qas_id], score.exact_match)
        for qas_id, score in data.scores.by_question.items()
        if qas_id in data.confidences
    ]
    confidences, is_right = [one for one, _ in found], [right for _, right in found]
    return calibration_sections(data.t, "Answers", confidences, is_right)


def _klue_tables(t: Texts, rows: Sequence[tuple[str, float, float, int]]) -> list[Table]:
    if not rows:
        return []
    headers = [t("Questions"), t("Exact match"), "ROUGE-W", t("Number")]
    cells: list[Row] = [
        (t(name), *numbers(scores), number(count, ",d")) for name, *scores, count in rows
    ]
    return [Table("KLUE-MRC", headers, cells)]


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
    t = data.t
    figures = [
        (
            t(label),
            f"{data.scores.means[name]:.2f}",
            t("{score} without stripping", score=f"{before:.2f}"),
        )
        for (name, label), before in zip(
            _SCORE_NAMES.items(), data.josa.before.means.values(), strict=True
        )
    ]
    total = sum(len(paragraph.questions) for paragraph in data.dataset.paragraphs)
    contexts = t("{count} contexts", count=f"{len(data.dataset.paragraphs):,}")
    return [*figures, (t("Questions"), f"{total:,}", contexts)]


def _josa_blocks(t: Texts, josa: JosaReport) -> list[Block]:
    """What stripping josa has changed."""
    before, after = josa.before.means, josa.after.means
    headers = [t("Percent"), t("Not stripped"), t("Stripped"), t("Difference")]
    rows: list[Row] = [
        (
            t(_SCORE_NAMES[name]),
            *numbers([before[name], after[name]]),
            number(after[name] - before[name], "+,.2f"),
        )
        for name in before
    ]
    effects = ", ".join(f"{count:,} {t(effect)}" for effect, count in josa.effects.items())
    changes = t("{count} answers shortened", count=f"{len(josa.changes):,}")
    blocks: list[Block] = [
        Table(t("Stripping of josa and endings"), headers, rows),
        Note(f"{changes}: {effects}"),
    ]
    endings: list[Row] = [
        (text(shown(one.ending)), t(one.rule), *numbers(one[2:], ",d")) for one in josa.endings()
    ]
    first, others = endings[:_MAX_ENDINGS], endings[_MAX_ENDINGS:]
    headers = [t("Ending"), t("Rule"), t("Answers"), t("Better"), t("Worse")]
    if first:
        blocks.append(Table(t("Endings cut off"), headers, first))
    if others:
        more = Table(t("Other endings cut off"), headers, others)
        blocks.append(Folded(t("{count} others", count=f"{len(others):,}"), [more]))
    return blocks


def _filters(t: Texts, questions: Sequence[Mapping[str, Any]]) -> list[Choice]:
    outcomes = Counter(question["outcome"] for question in questions)
    effects = Counter(question["change"]["effect"] for question in questions if question["change"])
    return [
        counted_choice("all", t("All"), len(questions)),
        *(
            counted_choice(value, t(label), outcomes[value])
            for value, label in _OUTCOME_LABELS.items()
            if value != "unscored" or outcomes[value]
        ),
        *(
            counted_choice(value, t(label), effects[value])
            for value, label in _EFFECT_LABELS.items()
            if effects
        ),
    ]
