"""The best score that answers in whole pieces can reach, without a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bert_ko import files
from bert_ko.display import shown
from bert_ko.json_files import format_json
from bert_ko.progress import format_table
from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.features import Features, gold_spans
from bert_ko.tasks.squad.reading import read_questions
from bert_ko.tasks.squad.scores import Scores, score_predictions
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.tokenization.tokenizer import Tokenizer

UNREACHABLE_NAME = "unreachable.jsonl"
_SHOWN = 20  # unreachable answers on screen


@dataclass(frozen=True)
class OracleReport:
    """What pieces can and cannot answer.

    scores: of the best answers in whole pieces.
    answers: question id to these.
    golds: question id to gold answers.
    """

    scores: Scores
    answers: dict[str, str]
    golds: dict[str, list[str]]

    def unreachable(self) -> Iterator[dict[str, Any]]:
        """Yields a record for each question whose gold answer is no sequence of pieces."""
        for qas_id, score in self.scores.by_question.items():
            if not score.exact_match:
                yield {
                    "id": qas_id,
                    "golds": self.golds[qas_id],
                    "best": self.answers.get(qas_id),
                    "f1": score.f1,
                }

    def format(self) -> str:
        """Returns tables for people."""
        records = list(self.unreachable())
        scores = self.scores
        rows: list[tuple[str, object]] = [
            ("exact_match", scores.exact_match),
            ("f1", scores.f1),
            ("questions", scores.total),
            ("unreachable", len(records)),
        ]
        blocks = [format_table(rows, ["", "oracle"])]
        if records:
            shown_rows = [
                [shown(r["id"]), shown(" / ".join(r["golds"])), shown(r["best"])]
                for r in records[:_SHOWN]
            ]
            blocks.append(format_table(shown_rows, ["unreachable", "gold", "in whole pieces"]))
        if len(records) > _SHOWN:
            blocks.append(f"and {len(records) - _SHOWN:,} more")
        return "\n\n".join(blocks)


def consult_oracle(dataset: Dataset, features: Features) -> OracleReport:
    """Answers every question with the pieces that its first gold answer touches.

    Args:
        dataset: with gold answers.
        features: of the same.
    """
    answers = {qas_id: span.text for qas_id, span in gold_spans(dataset, features).items()}
    answers |= {q.qas_id: "" for _, q in dataset.questions() if q.is_impossible}
    golds = dataset.golds()
    return OracleReport(score_predictions(golds, answers), answers, golds)


def report_oracle(config: SquadFlags, tokenizer: Tokenizer) -> None:
    """Prints what pieces can answer, and writes unreachable.jsonl.

    Args:
        config: flags, with the questions.
        tokenizer: of the pieces.
    """
    path = config.predict_file or config.train_file
    assert path is not None
    questions = read_questions(config, path, tokenizer)
    report = consult_oracle(questions.dataset, questions.features)
    lines = "".join(format_json(record) + "\n" for record in report.unreachable())
    files.write_atomic(os.path.join(config.output_dir, UNREACHABLE_NAME), lines)
    print(report.format())
