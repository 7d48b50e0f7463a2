"""Files of a reading: Google's predictions, n-best lists and null odds, scores and changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bert_ko import files
from bert_ko.json_files import format_json
from bert_ko.tasks.squad.changes import score_values
from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.josa_report import JosaReport
from bert_ko.tasks.squad.predictions import Prediction
from bert_ko.tasks.squad.reader import Reading
from bert_ko.tasks.squad.scores import AnswerScore

PREDICTIONS_NAME = "predictions.json"
NBEST_NAME = "nbest_predictions.json"
NULL_ODDS_NAME = "null_odds.json"
CHANGES_NAME = "josa_changes.jsonl"
PROBLEMS_NAME = "dataset_problems.jsonl"


def write_predictions(folder: str, reading: Reading, is_version_2: bool) -> None:
    """Writes what a reader answers.

    Args:
        folder: of the run.
        reading: answers.
        is_version_2: there may be none, whose odds are written too.

    Source: write_predictions of run_squad.py of google-research/bert. Differs: n-best answers have
        their characters, and are those before stripping.
    """
    answers = {qas_id: span.text for qas_id, span in reading.answers.items()}
    _write(folder, PREDICTIONS_NAME, answers)
    _write(folder, NBEST_NAME, {p.qas_id: _nbest(p) for p in reading.predictions})
    if is_version_2:
        # JSON has no infinity, which they are where the context has no pieces.
        odds = {p.qas_id: min(p.null_odds, sys.float_info.max) for p in reading.predictions}
        _write(folder, NULL_ODDS_NAME, odds)


def _nbest(prediction: Prediction) -> list[dict[str, Any]]:
    return [
        {
            "text": candidate.text,
            "probability": candidate.probability,
            "start_logit": candidate.start_logit,
            "end_logit": candidate.end_logit,
            "answer_start": candidate.start if candidate.text else None,
            "answer_end": candidate.end if candidate.text else None,
        }
        for candidate in prediction.candidates
    ]


def write_changes(folder: str, report: JosaReport) -> None:
    """Writes every answer that stripping changed, a line each."""
    lines = "".join(format_json(record) + "\n" for record in report.records())
    files.write_atomic(os.path.join(folder, CHANGES_NAME), lines)


def write_problems(folder: str, datasets: Mapping[str, Dataset]) -> None:
    """Writes what is wrong with the questions of files, a line each.

    Args:
        folder: of the run.
        datasets: by path.
    """
    lines = [
        format_json({"file": path, **_problem_record(problem)}) + "\n"
        for path, dataset in datasets.items()
        for problem in dataset.problems
    ]
    path = os.path.join(folder, PROBLEMS_NAME)
    if lines or os.path.exists(path):
        files.write_atomic(path, "".join(lines))


def _problem_record(problem: Any) -> dict[str, Any]:
    return {"kind": problem.kind, "id": problem.qas_id, "detail": problem.detail}


def result_values(report: JosaReport, dataset: Dataset) -> dict[str, float]:
    """The numbers of eval_results.txt, in percent: of the final answers, and before stripping."""
    scores = report.stripped
    values = {
        **score_values(scores),
        **{f"{name}_not_stripped": v for name, v in score_values(report.without).items()},
        "total": scores.total,
    }
    impossible = {q.qas_id for _, q in dataset.questions() if q.is_impossible}
    if impossible:
        for name, wanted in (("has_answer", False), ("no_answer", True)):
            part = [s for i, s in scores.by_question.items() if (i in impossible) == wanted]
            values.update(_means(part, name))
    return values


def _means(scores: Sequence[AnswerScore], name: str) -> dict[str, float]:
    count = max(len(scores), 1)
    return {
        f"{name}_exact_match": 100 * sum(s.exact_match for s in scores) / count,
        f"{name}_f1": 100 * sum(s.f1 for s in scores) / count,
        f"{name}_total": len(scores),
    }


def _write(folder: str, name: str, value: Any) -> None:
    files.write_atomic(os.path.join(folder, name), format_json(value, indent=2) + "\n")
