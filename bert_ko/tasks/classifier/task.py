"""Classification as a task: classes and scores of texts and of pairs of texts."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bert_ko import files
from bert_ko.json_files import format_json
from bert_ko.modeling.heads import ClassHead, Metrics, ScoreHead
from bert_ko.progress import warn
from bert_ko.report.confusion import confusion_svg
from bert_ko.tasks.batches import BatchPlan, Ints
from bert_ko.tasks.classifier.classifier import Classifier, format_said
from bert_ko.tasks.classifier.examples import Dataset, Example, read_texts
from bert_ko.tasks.classifier.features import ClassFeatures, Floats, class_features
from bert_ko.tasks.classifier.reading import (
    find_labels,
    label_weights,
    read_split,
    refuse_other_labels,
    trainable,
)
from bert_ko.tasks.classifier.report import ReportData, render_report
from bert_ko.tasks.classifier.scores import (
    ClassScores,
    RegressionScores,
    format_classes,
    score_classes,
    score_values,
)
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.fine_tuning import FineTuneTask, TrainingData, file_identities, reporter
from bert_ko.training.labels import Labels
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from bert_ko.training.model_files import ModelFiles
from bert_ko.training.session import Results, Trained

CONFUSION_NAME = "confusion_matrix.svg"
EVALUATED_NAME = "eval_predictions.jsonl"
RESULTS_NAME = "test_results.tsv"
PREDICTED_NAME = "test_predictions.jsonl"
_LEAST = 1e-30  # of a probability whose logarithm is taken


@dataclass(frozen=True)
class Texts:
    """A file of examples, cut into pieces."""

    path: str
    examples: Sequence[Example]
    features: ClassFeatures

    @property
    def lengths(self) -> Ints:
        """Pieces of each example."""
        return self.features.lengths

    def describe(self, rows: Ints) -> str:
        """Names examples by their numbers."""
        return f"the examples {', '.join(self.examples[row].example_id for row in rows)}"


class ClassifierTask(FineTuneTask):
    """Classes of texts, or a score; see training.session.Task."""

    config: ClassifierFlags
    labels: Labels

    def __init__(self, config: ClassifierFlags, model: ModelFiles):
        """Reads and cuts the files that a command line needs.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is not of the task, or its labels are not the model's.
        """
        super().__init__(config, model)
        train = read_split(config, "train") if config.do_train else None
        evaluation = read_split(config, "dev") if config.evaluates else None
        test = read_split(config, "test") if config.do_predict else None
        self.labels = find_labels(config, train)
        self.head = ScoreHead() if config.is_regression else ClassHead(len(self.labels))
        self.main_metric = "pearson" if config.is_regression else "macro_f1"
        for dataset in (train, evaluation):
            if dataset is not None and not config.is_regression:
                refuse_other_labels(dataset, self.labels)
        if train is not None:
            examples = trainable(config, train)
            texts = self._cut(train.path, examples, label_weights(config, self.labels, examples))
            self.training = TrainingData(texts.path, texts.features, texts.describe)
        self._evaluated = self._cut_dataset(evaluation)
        self._predicted = self._cut_dataset(test)
        decides = evaluation is not None and config.eval_every_steps is not None
        self.identity = file_identities(
            {
                "train_file": train.path if train else None,
                "eval_file": evaluation.path if evaluation and decides else None,
            }
        )

    @property
    def batch_sizes(self) -> Sequence[str]:
        """Flags of the batches that are predicted."""
        found = ["eval_batch_size"] if self.config.evaluates else []
        return [*found, *super().batch_sizes]

    @property
    def is_asked(self) -> bool:
        """Whether ``finish`` has anything to do."""
        config = self.config
        return config.do_eval or config.do_predict or config.is_trial

    def _cut_dataset(self, dataset: Dataset | None) -> Texts | None:
        return self._cut(dataset.path, dataset.examples) if dataset is not None else None

    def _cut(self, path: str, examples: Sequence[Example], weights: Sequence[float] = ()) -> Texts:
        length = self.config.max_seq_length
        features = class_features(examples, self.tokenizer, length, self.labels, weights)
        if features.sentences.num_cut:
            warn(
                f"{path}: {features.sentences.num_cut:,} examples are longer than "
                f"--max_seq_length={length} pieces, and are cut"
            )
        return Texts(path, examples, features)

    def _classifier(self, model: Trained) -> Classifier:
        config = self.config
        plan = self.plan(config.predict_batch_size, None)
        return Classifier(self.tokenizer, self.labels, config.max_seq_length, plan, model.predict)

    def evaluate(self, model: Trained) -> Metrics:
        """See Task."""
        assert self._evaluated is not None
        plan = self.plan(self.config.eval_batch_size, self._evaluated.lengths)
        found = self._classifier(model).compute(self._evaluated.features, plan)
        return self._values(self._evaluated, found, self._score(self._evaluated, found))

    def finish(self, model: Trained, folder: str, step: int) -> Results | None:
        """See Task."""
        config, classifier = self.config, self._classifier(model)
        if self._predicted is not None:
            plan = self.plan(config.predict_batch_size, self._predicted.lengths)
            _predict_and_write(classifier, self._predicted, plan, folder)
        results = None
        if config.do_eval and self._evaluated is not None:
            results = self._report(classifier, self._evaluated, folder, step)
        if config.input_file is not None:
            examples = read_texts(config.input_file, is_pair=config.form.is_pair)
            _answer_file(classifier, examples)
        if config.interactive:
            _converse(classifier, sys.stdin, config.form.is_pair)
        return results

    def _score(self, texts: Texts, found: Floats) -> ClassScores | RegressionScores:
        targets = texts.features.targets
        if self.config.is_regression:
            return score_values(targets.astype(np.float32), found[:, 0])
        return score_classes(targets.astype(np.int32), found.argmax(axis=1), self.labels)

    def _values(
        self, texts: Texts, found: Floats, scores: ClassScores | RegressionScores
    ) -> dict[str, float]:
        """The numbers of eval_results.txt: scores, in percent, and the mean loss."""
        values = {**scores.summary(), "total": float(len(found))}
        if self.config.is_regression:
            return values
        golds = texts.features.targets[:, None].astype(np.int64)
        chosen = np.take_along_axis(found, golds, axis=1)
        return {**values, "loss": float(-np.log(np.maximum(chosen, _LEAST)).mean())}

    def _report(self, classifier: Classifier, texts: Texts, folder: str, step: int) -> Results:
        """Evaluates, and writes predictions and the confusion matrix."""
        start = time.perf_counter()
        plan = self.plan(self.config.eval_batch_size, texts.lengths)
        found = classifier.compute(texts.features, plan, "evaluating")
        seconds = time.perf_counter() - start
        scores = self._score(texts, found)
        lines = classifier.records(texts.examples, found)
        _write_lines(os.path.join(folder, EVALUATED_NAME), lines)
        if isinstance(scores, ClassScores):
            picture = confusion_svg(scores.confusion, self.labels)
            files.write_atomic(os.path.join(folder, CONFUSION_NAME), picture)
            print(format_classes(scores))
        print(f"{len(found):,} texts in {seconds:.1f} s")
        data = ReportData(
            title=f"{os.path.basename(texts.path)}: labels of {os.path.abspath(folder)}",
            facts=[
                ("task", self.config.task_name),
                ("texts", texts.path),
                *self.run_facts(step, seconds),
            ],
            examples=texts.examples,
            labels=self.labels,
            golds=texts.features.targets,
            predictions=found[:, 0] if self.config.is_regression else found,
            scores=scores,
            metrics=read_metrics(os.path.join(folder, METRICS_NAME)),
            seeds=(),
        )
        values = self._values(texts, found, scores)
        return Results(values, reporter(data, render_report, "texts"))


def _predict_and_write(classifier: Classifier, texts: Texts, plan: BatchPlan, folder: str) -> None:
    """Writes test_results.tsv and test_predictions.jsonl.

    Source: run_classifier.py of google-research/bert for test_results.tsv: a line for each text,
        in the order of the file, with the probabilities of the classes in the order of the labels.
        Differs: for a regression it has the score.
    """
    found = classifier.compute(texts.features, plan, "predicting")
    lines = "".join("\t".join(map(str, row)) + "\n" for row in found.tolist())
    files.write_atomic(os.path.join(folder, RESULTS_NAME), lines)
    records = classifier.records(texts.examples, found)
    _write_lines(os.path.join(folder, PREDICTED_NAME), records)
    print(f"{len(found):,} texts predicted: {os.path.join(folder, RESULTS_NAME)}")


def _write_lines(path: str, values: Iterable[dict[str, Any]]) -> None:
    files.write_atomic(path, "".join(format_json(value) + "\n" for value in values))


def _answer_file(classifier: Classifier, examples: Sequence[Example]) -> None:
    """Prints what a model says of texts as JSON lines."""
    for record in classifier.records(examples, classifier.compute(classifier.cut(examples))):
        print(format_json(record))


def _converse(classifier: Classifier, lines: Iterable[str], is_pair: bool) -> None:
    """Prints what a model says of what is typed."""
    wanted = "two texts, a tab between them" if is_pair else "a text"
    print(f"type {wanted}; Ctrl-D ends", flush=True)
    for line in lines:
        texts = line.rstrip("\r\n").split("\t")
        if not line.strip():
            continue
        if len(texts) != 1 + is_pair:
            print(f"expected {wanted}", flush=True)
            continue
        said = classifier.classify((texts[0], texts[1]) if is_pair else texts[0])
        print(format_said(said), flush=True)
