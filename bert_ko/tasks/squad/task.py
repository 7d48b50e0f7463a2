"""KorQuAD as a task: answers as spans of characters, trained and scored."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

from bert_ko.json_files import format_json
from bert_ko.modeling.heads import Metrics, SpanHead
from bert_ko.tasks.fine_tuning import FineTuneTask, TrainingData, file_identities, reporter
from bert_ko.tasks.squad.features import Features
from bert_ko.tasks.squad.josa import JosaStripper
from bert_ko.tasks.squad.josa_report import strip_answers
from bert_ko.tasks.squad.outputs import (
    result_values,
    write_changes,
    write_predictions,
    write_problems,
)
from bert_ko.tasks.squad.pairs import Pair, converse, read_pairs
from bert_ko.tasks.squad.reader import Answer, Reader
from bert_ko.tasks.squad.reading import Questions, choose_stripper, read_questions
from bert_ko.tasks.squad.report import ReportData, render_report
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.model_files import ModelFiles
from bert_ko.training.session import Results, Trained


class SquadTask(FineTuneTask):
    """Questions on contexts; see training.session.Task."""

    config: SquadFlags
    head = SpanHead()
    main_metric = "f1"
    tokenized = "the questions are cut with"

    def __init__(self, config: SquadFlags, model: ModelFiles):
        """Reads the questions that a command line needs, and cuts their contexts into windows.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: it is no dataset, or has nothing to train on or to score with.
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
        found = [part for part in (known, self._asked) if part is not None]
        write_problems(config.output_dir, {part.path: part.dataset for part in found})
        self._stripper = choose_stripper(config, self.tokenizer, known) if strips else None
        if config.do_train and known is not None:
            chosen = known.trainable()
            self.training = TrainingData(known.path, chosen.features, chosen.describe)
        self.identity = file_identities(
            {
                "train_file": known.path if known else None,
                # It decides which weights are the best.
                "predict_file": self._asked.path
                if self._asked and config.eval_every_steps is not None
                else None,
            }
        )

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
        """Whether ``finish`` has anything to do."""
        return self.config.do_predict or self.config.is_trial

    def _reader(self, model: Trained, features: Features | None) -> Reader:
        """Of windows that are known or not."""
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
        if self.config.is_trial:
            reader = self._reader(model, None)
            if self.config.input_file is not None:
                _answer_file(reader, read_pairs(self.config.input_file))
            if self.config.interactive:
                _converse(reader, sys.stdin)
        return results

    def _answer(self, model: Trained, asked: Questions, folder: str, step: int) -> Results | None:
        """Answers questions, and writes the answers and what stripping changed.

        Returns:
            None where the questions have no gold answers.
        """
        start = time.perf_counter()
        reader = self._reader(model, asked.features)
        reading = reader.read(asked.dataset, asked.features, "answering")
        seconds = time.perf_counter() - start
        write_predictions(folder, reading, self.config.version_2_with_negative)
        golds = asked.dataset.golds()
        if not golds:
            print(f"{asked.path} has no gold answers: nothing is scored")
            return None
        report = reading.report(golds)
        scores, values = report.stripped, result_values(report, asked.dataset)
        if self.config.strip_josa == "never":
            stripper = JosaStripper(self.tokenizer.user_dictionaries)
            shortened = strip_answers(asked.dataset, reading.chosen, stripper)
            report = reading._replace(shortened=shortened).report(golds, scores)
            print("what --strip_josa=always would do:")
        write_changes(folder, report)
        print(report.format())
        print(f"{len(reading.predictions):,} questions answered in {seconds:.1f} s")
        data = ReportData(
            title=f"{os.path.basename(asked.path)}: answers of {os.path.abspath(folder)}",
            facts=self._facts(asked, step, seconds),
            dataset=asked.dataset,
            predictions=reading.predictions,
            josa=report,
            answers=reading.answers,
            scores=scores,
            metrics=read_metrics(os.path.join(folder, METRICS_NAME)),
            seeds=(),
        )
        return Results(values, reporter(data, render_report, "answers"))

    def _facts(self, asked: Questions, step: int, seconds: float) -> list[tuple[str, str]]:
        config = self.config
        return [
            ("questions", asked.path),
            *self.run_facts(step, seconds),
            ("windows", f"{config.max_seq_length} pieces, {config.doc_stride} apart"),
            ("strip_josa", config.strip_josa),
        ]


def _answer_file(reader: Reader, pairs: list[Pair]) -> None:
    """Prints answers as JSON lines."""
    answers = reader.answer([pair.question for pair in pairs], [pair.context for pair in pairs])
    for pair, answer in zip(pairs, answers, strict=True):
        record = {
            "id": pair.qas_id,
            "question": pair.question,
            "answer": answer.text,
            "answer_start": answer.start,
            "answer_end": answer.end,
            "probability": answer.probability,
            "others": [
                {"text": other.text, "probability": other.probability}
                for other in answer.candidates[1:4]
            ],
        }
        print(format_json(record))


def _converse(reader: Reader, lines: Iterable[str]) -> None:
    """Prints answers to what is typed."""
    print("a context, then questions on it; an empty line before the next context", flush=True)
    for pair in converse(iter(lines)):
        print(_format_answer(reader.answer(pair.question, pair.context)), flush=True)


def _format_answer(answer: Answer) -> str:
    others = ", ".join(f"{c.text} {c.probability:.2f}" for c in answer.candidates[1:4])
    place = f"{answer.start}:{answer.end}"
    text = answer.text or "(no answer)"
    return f"→ {text}  ({answer.probability:.2f}, characters {place}; else {others})"
