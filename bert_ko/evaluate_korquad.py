"""evaluate_korquad: the official KorQuAD score of a file of predictions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bert_ko import files
from bert_ko.display import shown_list
from bert_ko.flags import Flags, flag, run_command
from bert_ko.json_files import format_json
from bert_ko.progress import format_table
from bert_ko.tasks.squad.baseline_report import BaselineReport, make_baseline_report
from bert_ko.tasks.squad.changes import score_values
from bert_ko.tasks.squad.examples import Dataset, read_dataset
from bert_ko.tasks.squad.josa_report import JosaReport, make_josa_report, strip_answers
from bert_ko.tasks.squad.prediction_file import PredictionFile, read_predictions
from bert_ko.tasks.squad.scores import Scores, score_predictions


@dataclass(frozen=True)
class EvaluateKorquadConfig(Flags):
    """Scores answers to the questions of a KorQuAD or SQuAD file exactly as KorQuAD 1.0 does.

    The score of the predictions as they stand comes first, whatever else is asked for.
    """

    file: tuple[str, ...] = flag(
        positional=True,
        help="Two files: DATASET, in SQuAD's form, and PREDICTIONS, a JSON object of question id "
        "to answer; an answer is a string, or an object with text and answer_start (characters).",
    )
    json: bool = flag(False, help="Print JSON: exact_match, f1 (percent) and details.")
    strip_josa: bool = flag(
        False,
        help="Also score with josa stripped from the answers; one without answer_start is taken at "
        "its first place in the context.",
    )
    baseline: str | None = flag(None, help="Other predictions, to compare PREDICTIONS with.")
    output_file: str | None = flag(
        None,
        help="JSON lines: every answer that --strip_josa or --baseline shows changed; without "
        "these, the score of every question.",
    )

    def __post_init__(self) -> None:
        """Checks the rules between flags."""
        super().__post_init__()
        if len(self.file) != 2:
            raise ValueError(
                f"give two files, DATASET and PREDICTIONS, got {len(self.file)}: "
                f"{' '.join(self.file)}."
            )
        if self.strip_josa and self.baseline is not None:
            raise ValueError("--strip_josa and --baseline: give one of them, got both.")
        inputs = {os.path.realpath(path) for path in (*self.file, self.baseline or self.file[0])}
        if self.output_file is not None and os.path.realpath(self.output_file) in inputs:
            raise ValueError(f"--output_file must be a file of its own, got {self.output_file}.")


def run(config: EvaluateKorquadConfig) -> None:
    """Reads, scores, compares, shows."""
    dataset, predictions = read_dataset(config.file[0]), read_predictions(config.file[1])
    golds = dataset.golds()
    if not golds:
        raise ValueError(f"{config.file[0]} has no question with answers to score.")
    scores = score_predictions(golds, predictions.texts)
    details = _details(scores, dataset, predictions)
    blocks = [_format_scores(scores, dataset, predictions)]
    records = _question_records(golds, predictions, scores)
    if report := _report(config, dataset, predictions, scores):
        details["josa" if config.strip_josa else "baseline"] = report.summary()
        blocks.append(report.format())
        records = report.records()
    if config.output_file is not None:
        lines = "".join(format_json(record) + "\n" for record in records)
        files.write_atomic(config.output_file, lines)
    if config.json:
        print(format_json({**score_values(scores), "details": details}, indent=2))
    else:
        print("\n\n".join(blocks))


def _report(
    config: EvaluateKorquadConfig, dataset: Dataset, predictions: PredictionFile, scores: Scores
) -> JosaReport | BaselineReport | None:
    golds, texts = dataset.golds(), predictions.texts
    if config.strip_josa:
        from bert_ko.tasks.squad.josa import JosaStripper  # MeCab's dictionary is opened here

        located = predictions.locate(dataset)
        shortened = strip_answers(dataset, located.spans, JosaStripper())
        report = make_josa_report(golds, texts, scores, shortened)
        return replace(report, not_found=located.not_found, ambiguous=located.ambiguous)
    if config.baseline is not None:
        return make_baseline_report(golds, read_predictions(config.baseline).texts, texts, scores)
    return None


def _details(scores: Scores, dataset: Dataset, predictions: PredictionFile) -> dict[str, Any]:
    return {
        "total": scores.total,
        "missing": scores.missing,
        "extra": scores.extra,
        "repeated": predictions.repeated,
        "problems": [asdict(problem) for problem in dataset.problems],
    }


def _format_scores(scores: Scores, dataset: Dataset, predictions: PredictionFile) -> str:
    rows: list[tuple[str, object]] = [
        *score_values(scores).items(),
        ("questions", scores.total),
        ("missing", len(scores.missing)),
        ("extra", scores.extra),
    ]
    lines = [format_table(rows, ["", "official"])]
    if scores.missing:
        lines.append(f"without a prediction, scored 0: {shown_list(scores.missing)}")
    if len(scores.missing) == scores.total:
        lines.append("no prediction has the id of a question: do the two files belong together?")
    if predictions.repeated:
        lines.append(f"repeated in the predictions, the last one taken: {predictions.repeated:,}")
    for kind, count in dataset.problem_counts().items():
        found = [problem for problem in dataset.problems if problem.kind == kind]
        where = shown_list([problem.qas_id or problem.detail for problem in found])
        lines.append(f"dataset: {kind}: {count:,} ({where})")
    return "\n".join(lines)


def _question_records(
    golds: Mapping[str, Sequence[str]], predictions: PredictionFile, scores: Scores
) -> Iterator[dict[str, Any]]:
    for qas_id, score in scores.by_question.items():
        yield {
            "id": qas_id,
            "prediction": predictions.texts.get(qas_id),
            "golds": list(golds[qas_id]),
            **score._asdict(),
        }


def main() -> int:
    """Runs the command."""
    return run_command(EvaluateKorquadConfig, run)
