"""evaluate_korquad: the official KorQuAD score of a file of predictions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bert_ko import files
from bert_ko.closing import advise, command_line
from bert_ko.content import HEAD_SIZE, encoding_of
from bert_ko.display import shown_list
from bert_ko.flags import flag, run_command, run_module
from bert_ko.json_files import format_json
from bert_ko.progress import format_table
from bert_ko.tasks.squad.comparison import BaselineReport, JosaReport
from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.klue import format_klue, klue_scores, klue_values
from bert_ko.tasks.squad.prediction_files import PredictionFile, read_predictions
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tasks.squad.scores import Scores, score_predictions
from bert_ko.text_lines import EncodingFlags


@dataclass(frozen=True)
class EvaluateKorquadConfig(EncodingFlags):
    """Scores answers to the questions of a KorQuAD or SQuAD file exactly as KorQuAD 1.0 does.

    The score of the unchanged predictions always comes first. KLUE-MRC has its own scores beside.
    """

    file: tuple[str, ...] = flag(
        positional=True,
        help="Two files: DATASET, in SQuAD's form, and PREDICTIONS, a JSON object of question id "
        "to answer; an answer is a string, or an object with text and answer_start (characters). A "
        "list of objects with id and prediction_text will do, too.",
    )
    json: bool = flag(False, main=True, help="Print JSON: exact_match, f1 (percent) and details.")
    strip_josa: bool = flag(
        False,
        main=True,
        help="Also score with josa stripped from the answers; an answer without answer_start is "
        "looked up at its first place in the context.",
    )
    baseline: str | None = flag(
        None, main=True, help="Other predictions, to compare PREDICTIONS with."
    )
    output_file: str | None = flag(
        None,
        main=True,
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
    encoding = config.input_encoding
    dataset = read_dataset(config.file[0], encoding)
    predictions = _read_predictions(config.file[1], encoding)
    scores = score_predictions(dataset.golds(), predictions.texts)
    if not scores.total:
        raise ValueError(f"{config.file[0]} has no question with answers to score.")
    details: dict[str, Any] = {
        "total": scores.total,
        "missing": scores.missing,
        "extra": scores.extra,
        "repeated": predictions.repeated,
        "other_form": scores.other_form,
        "problems": [asdict(problem) for problem in dataset.problems],
    }
    blocks = [_format_scores(scores, dataset, predictions)]
    klue = klue_values(dataset, scores)
    if klue:
        blocks.append(format_klue(klue))
    records: Iterable[dict[str, Any]] = _records(scores, dataset)
    if report := _compare(config, dataset, predictions, scores):
        details["josa" if config.strip_josa else "baseline"] = report.summary()
        blocks.append(report.format())
        records = report.records()
    if config.output_file is not None:
        lines = "".join(format_json(record) + "\n" for record in records)
        files.write_atomic(config.output_file, lines)
    if config.json:
        print(format_json({**scores.means, **klue, "details": details}, indent=2))
    else:
        print("\n\n".join(blocks))
    if not (config.strip_josa or config.baseline):
        advise(command_line("evaluate_korquad", *config.file, "--strip_josa"))


def _read_predictions(path: str, encoding: str | None) -> PredictionFile:
    """Those that run_squad wrote are UTF-8, whatever the dataset's encoding is."""
    if encoding is not None and os.path.isfile(path):
        with files.open_binary(path) as stream:
            if encoding_of(stream.read(HEAD_SIZE)) == "utf-8":
                encoding = None
    return read_predictions(path, encoding)


def _records(scores: Scores, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """The score of each question, KLUE's too if the dataset is KLUE-MRC."""
    klue = klue_scores(scores) if dataset.is_klue else {}
    types = {question.qas_id: question.question_type for _, question in dataset.questions()}
    for qas_id, score in scores.by_question.items():
        record = {
            "id": qas_id,
            "prediction": scores.answers.get(qas_id),
            "golds": scores.golds[qas_id],
            **score._asdict(),
        }
        if qas_id in klue:
            found = {f"klue_{name}": value for name, value in klue[qas_id]._asdict().items()}
            record |= {**found, "question_type": types[qas_id]}
        yield record


def _compare(
    config: EvaluateKorquadConfig, dataset: Dataset, predictions: PredictionFile, scores: Scores
) -> JosaReport | BaselineReport | None:
    if config.strip_josa:
        from bert_ko.tasks.squad.josa import JosaStripper, strip_answers  # they import MeCab

        spans, not_found, ambiguous = predictions.locate(dataset)
        shortened = strip_answers(dataset, spans, JosaStripper())
        return JosaReport.of(scores, shortened, not_found=not_found, ambiguous=ambiguous)
    if config.baseline is not None:
        baseline = _read_predictions(config.baseline, config.input_encoding).texts
        return BaselineReport(score_predictions(scores.golds, baseline), scores)
    return None


def _format_scores(scores: Scores, dataset: Dataset, predictions: PredictionFile) -> str:
    rows: list[tuple[str, object]] = [
        *scores.means.items(),
        ("questions", scores.total),
        ("missing", len(scores.missing)),
        ("extra", scores.extra),
    ]
    lines = [format_table(rows, ["", "official"])]
    if scores.missing:
        lines.append(f"without a prediction, scored 0: {shown_list(scores.missing)}")
    if len(scores.missing) == scores.total:
        lines.append("no prediction has the id of a question: do the two files belong together?")
    if scores.other_form:
        lines.append(
            "right but for their Unicode form (NFC against NFD), scored as the official script "
            f"does: {len(scores.other_form):,} ({shown_list(scores.other_form)})"
        )
    if predictions.repeated:
        lines.append(f"repeated in the predictions, the last one counts: {predictions.repeated:,}")
    lines += [f"dataset: {line}" for line, _ in dataset.describe_problems()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(EvaluateKorquadConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
