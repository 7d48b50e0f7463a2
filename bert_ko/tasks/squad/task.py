"""KorQuAD as a task: answers as spans of characters, trained and scored, and the files of both."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from bert_ko import files
from bert_ko.json_files import format_json, write_json
from bert_ko.messages import hint, say, show_scores
from bert_ko.modeling.heads import Metrics, SpanHead
from bert_ko.tasks.fine_tuning import (
    FineTuneTask,
    TrainingData,
    file_identities,
    file_identity,
)
from bert_ko.tasks.squad.comparison import JosaReport
from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.features import Features
from bert_ko.tasks.squad.groups import unknown_places
from bert_ko.tasks.squad.josa import JosaStripper, strip_answers
from bert_ko.tasks.squad.klue import format_klue, klue_values
from bert_ko.tasks.squad.reader import Reader, Reading
from bert_ko.tasks.squad.reading import (
    ENDINGS_NAME,
    Questions,
    choose_stripper,
    learn_endings,
    read_questions,
)
from bert_ko.tasks.squad.report import ReportData, render_report
from bert_ko.tasks.squad.scores import mean_scores
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.tasks.squad.trial import answer_file, converse
from bert_ko.training.model_files import ModelFiles
from bert_ko.training.results import Results
from bert_ko.training.task import Trained

CHANGES_NAME = "josa_changes.jsonl"
PROBLEMS_NAME = "dataset_problems.jsonl"


class SquadTask(FineTuneTask):
    """Questions on contexts; see training.task.Task."""

    config: SquadFlags
    head = SpanHead()
    main_metric = "f1"
    main_scores = ("exact_match", "f1")
    tokenized = "the questions are cut with"

    def __init__(self, config: SquadFlags, model: ModelFiles):
        """Reads the questions that a command line needs, and cuts their contexts into windows.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: it is not a dataset, or has nothing to train on or to score with.
        """
        super().__init__(config, model)
        asks = config.do_predict or config.evaluates_in_training
        # A run that is only trained learns what its readers will strip.
        strips = asks or config.is_trial or config.do_train
        learns = strips and config.strip_josa == "auto"
        known = self._read(config.train_file, config.do_train or learns)
        self._asked = self._read(config.predict_file, asks)
        if config.evaluates_in_training and self._asked and not self._asked.dataset.golds():
            path = self._asked.path
            raise ValueError(f"--eval_every_steps: {path} has no gold answers to score with.")
        self._parts = {part.path: part for part in (known, self._asked) if part is not None}
        # The endings worth stripping; None if they are not learnt here.
        self._endings: list[str] | None = None
        if learns and known is not None:
            stripper = JosaStripper(self.tokenizer.user_dictionaries)
            self._endings = learn_endings(known.dataset, known.features, stripper)
        self._stripper = choose_stripper(config, self.tokenizer, self._endings) if strips else None
        if config.do_train and known is not None:
            chosen = known.trainable()
            self.training = TrainingData(known.path, chosen.features, chosen.describe)
        # The questions that are asked in training decide which weights are the best.
        decides = self._asked is not None and config.eval_every_steps is not None
        self.identity = file_identities(
            {
                "train_file": known.path if known else None,
                "predict_file": config.predict_file if decides else None,
            }
        )

    def begin(self, folder: str) -> None:
        """See Task."""
        write_problems(self.config.local_dir, self._parts.values())
        if self._endings is not None and self.config.train_file is not None:
            learnt = {"file": file_identity(self.config.train_file), "endings": self._endings}
            for place in {self.config.local_dir, folder}:
                write_json(os.path.join(place, ENDINGS_NAME), learnt)

    def _read(self, path: str | None, is_needed: bool) -> Questions | None:
        if path is None or not is_needed:
            return None
        return read_questions(self.config, path, self.tokenizer)

    @property
    def batch_sizes(self) -> list[str]:
        """Flags of the batches that are predicted."""
        is_asked = self._asked is not None or self.config.is_trial
        return ["predict_batch_size"] if is_asked else []

    @property
    def is_asked(self) -> bool:
        """See Task."""
        return self.config.do_predict or self.config.is_trial

    def _reader(self, model: Trained, features: Features | None) -> Reader:
        """A reader; of features, in batches that fit them."""
        config = self.config
        lengths = features.lengths if features is not None else None
        return Reader(
            self.tokenizer,
            config.window_config,
            self.plan(config.predict_batch_size, lengths),
            config.prediction_config,
            self._stripper,
            model.predict,
        )

    def evaluate(self, model: Trained) -> Metrics:
        """See Task."""
        assert self._asked is not None
        dataset, features = self._asked.dataset, self._asked.features
        reading = self._reader(model, features).read(dataset, features)
        return result_values(reading.report(dataset.golds()), dataset)

    def finish(self, model: Trained, folder: str, step: int) -> Results | None:
        """See Task."""
        results = None
        if self.config.do_predict and self._asked is not None:
            results = self._answer(model, self._asked, folder, step)
        if self.config.input_file is not None:
            answer_file(
                self._reader(model, None), self.config.input_file, self.config.input_encoding
            )
        if self.config.interactive:
            converse(self._reader(model, None))
        return results

    def _answer(self, model: Trained, asked: Questions, folder: str, step: int) -> Results | None:
        """Answers questions and scores the answers, if they can be, and writes all files."""
        config, start = self.config, time.perf_counter()
        reader = self._reader(model, asked.features)
        reading = reader.read(asked.dataset, asked.features, "answering")
        seconds = time.perf_counter() - start
        write_predictions(folder, reading, config.version_2_with_negative)
        golds = asked.dataset.golds()
        if not golds:
            say(f"{asked.path} has no gold answers: nothing is scored")
            return None
        report = reading.report(golds)
        scores, values = report.after, result_values(report, asked.dataset)
        if config.strip_josa == "never":
            stripper = JosaStripper(self.tokenizer.user_dictionaries)
            shortened = strip_answers(asked.dataset, reading.chosen, stripper)
            report = JosaReport.of(scores, shortened)
            show_scores("what --strip_josa=always would do:")
        _write_lines(folder, CHANGES_NAME, report.records())
        show_scores(report.format())
        if not any(span.text for span in reading.chosen.values()):
            hint(
                "the model answers no question: train it longer, or with another --learning_rate, "
                "or lower --null_score_diff_threshold."
            )
        if klue := klue_values(asked.dataset, scores):
            show_scores(f"\n{format_klue(klue)}\n")
        say(f"{len(reading.predictions):,} questions answered in {seconds:.1f} s")
        shared = self.shared_report("questions", asked.path, "answers", folder, step, seconds)
        t, windows = shared["t"], {"length": config.max_seq_length, "stride": config.doc_stride}
        shared["facts"] += [
            (t("windows"), t("{length} pieces, {stride} apart", **windows)),
            ("strip_josa", config.strip_josa),
        ]
        data = ReportData(
            **shared,
            dataset=asked.dataset,
            predictions=reading.predictions,
            josa=report,
            answers=reading.answers,
            scores=scores,
            confidences={
                prediction.qas_id: prediction.best(config.prediction_config).probability
                for prediction in reading.predictions
            },
            unknown=unknown_places(asked.features, self.tokenizer.vocab.unk_id),
        )
        return Results(values, self.reporter(data, render_report, "answers"))


def result_values(report: JosaReport, dataset: Dataset) -> dict[str, float]:
    """The numbers of eval_results.txt, in percent: of the final answers, and before stripping."""
    scores = report.after
    values = {
        **scores.means,
        **{f"{name}_not_stripped": value for name, value in report.before.means.items()},
        "total": scores.total,
    }
    values |= klue_values(dataset, scores)
    impossible = {q.qas_id for _, q in dataset.questions() if q.is_impossible}
    if impossible:
        for name, wanted in (("has_answer", False), ("no_answer", True)):
            part = [s for i, s in scores.by_question.items() if (i in impossible) == wanted]
            values |= {f"{name}_{metric}": value for metric, value in mean_scores(part).items()}
            values[f"{name}_total"] = len(part)
    return values


def write_predictions(folder: str, reading: Reading, is_version_2: bool) -> None:
    """Writes what a reader answers; in version 2 the odds of no answer too.

    Source: write_predictions of run_squad.py of google-research/bert. Differs: n-best answers have
        their characters, and are those before stripping.
    """
    contents: dict[str, Any] = {
        "predictions.json": {qas_id: span.text for qas_id, span in reading.answers.items()},
        "nbest_predictions.json": {
            prediction.qas_id: [
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
            for prediction in reading.predictions
        },
    }
    if is_version_2:
        # JSON has no infinity, which they are for a context without pieces.
        odds = {p.qas_id: min(p.null_odds, sys.float_info.max) for p in reading.predictions}
        contents["null_odds.json"] = odds
    for name, value in contents.items():
        files.write_atomic(os.path.join(folder, name), format_json(value, indent=2) + "\n")


def write_problems(folder: str, parts: Iterable[Questions]) -> None:
    """Writes what is wrong with the questions of files, a line each; no file if nothing ever is."""
    records = [
        {"file": part.path, "kind": found.kind, "id": found.qas_id, "detail": found.detail}
        for part in parts
        for found in part.dataset.problems
    ]
    if records or os.path.exists(os.path.join(folder, PROBLEMS_NAME)):
        _write_lines(folder, PROBLEMS_NAME, records)


def _write_lines(folder: str, name: str, records: Iterable[dict[str, Any]]) -> None:
    lines = "".join(format_json(record) + "\n" for record in records)
    files.write_atomic(os.path.join(folder, name), lines)
