"""Classification as a task: classes and scores of texts and of pairs of texts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.display import shown_list
from bert_ko.messages import hint, say, show_scores, warn
from bert_ko.modeling.heads import ClassHead, ScoreHead
from bert_ko.report.confusion import confusion_svg
from bert_ko.tasks.classifier.classifier import Classifier, format_said
from bert_ko.tasks.classifier.examples import (
    Dataset,
    Example,
    plain_form,
    read_dataset,
    read_texts,
)
from bert_ko.tasks.classifier.features import ClassFeatures, Floats, class_features
from bert_ko.tasks.classifier.report import ReportData, render_report
from bert_ko.tasks.classifier.scores import (
    ClassScores,
    RegressionScores,
    binary_f1,
    class_weights,
    format_classes,
    score_classes,
    score_values,
)
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.fine_tuning import Report
from bert_ko.tasks.labelling import LabelTask, Texts, find_file, warn_of_problems
from bert_ko.tasks.settings import Split, draw_examples, stored_labels, weights_place
from bert_ko.tokenization.unknown import have_unknown, warn_of_unknown_ids
from bert_ko.training.labels import Labels
from bert_ko.training.model_files import ModelFiles

_MANY_LABELS = 20  # more of them than half of the examples are no classes
_LEAST = 1e-30  # of a probability whose logarithm is taken


class ClassifierTask(LabelTask):
    """Classes of texts, or a score; see training.task.Task.

    Source: run_classifier.py of google-research/bert for test_results.tsv: a line for each text,
        in the order of the file, with the probabilities of the classes in the order of the labels.
        Differs: for a regression it has the score.
    """

    config: ClassifierFlags
    labeller = Classifier

    def __init__(self, config: ClassifierFlags, model: ModelFiles):
        """See LabelTask."""
        super().__init__(config, model)
        self.main_metric = "pearson" if config.is_regression else "macro_f1"
        if config.form.is_pair:
            self.prompt = "two texts, a tab between them"

    def read_file(self, split: Split, path: str | None) -> Dataset:
        """See LabelTask."""
        form = self.config.form
        path = path or find_file(self.config.data_dir, form.files[split], split)
        dataset = read_dataset(
            path, form, needs_labels=split != "test", encoding=self.config.input_encoding
        )
        say(f"{path}: {len(dataset.examples):,} examples")
        warn_of_problems(dataset)
        if split == "test":
            unknown = [example._replace(label=None, score=None) for example in dataset.examples]
            return replace(dataset, examples=tuple(unknown))
        return dataset

    def read_texts(self, path: str) -> Sequence[Example]:
        """See LabelTask."""
        is_pair, encoding = self.config.form.is_pair, self.config.input_encoding
        return read_texts(path, is_pair=is_pair, encoding=encoding)

    def set_labels(self, train: Dataset | None, evaluation: Dataset | None) -> None:
        """See LabelTask; a regression has no labels."""
        if not self.config.do_train:
            self._refuse_other_kind(stored_labels(self.config))
        if self.config.is_regression:
            self.labels, self.head = (), ScoreHead(network=self.network)
            return
        self.labels = self.find_labels(train, _training_labels)
        self.head = ClassHead(len(self.labels), network=self.network)
        others = [
            label for label in (evaluation.label_counts() if evaluation else ())
            if label not in self.labels
        ]  # fmt: skip
        if evaluation is not None and others:
            first = others[0]
            known = [one for one in self.labels if plain_form(one) == plain_form(first)]
            alike = f" ({known[0]!r} is spelt otherwise)" if known else ""
            what = f"{len(others):,} labels, such as" if len(others) > 1 else "the label"
            raise ValueError(
                f"{evaluation.label_places[first]}: the model does not know {what} "
                f"{first!r}; it knows {shown_list(self.labels, 20)}{alike}."
            )

    def _refuse_other_kind(self, labels: Labels | None) -> None:
        if labels is None or self.config.is_regression != bool(labels):
            return
        found = f"{len(labels)} labels, not for a score" if labels else "a score, not for labels"
        raise ValueError(
            f"the model of {weights_place(self.config)} is for {found}; give its --task_name or "
            "--task_type."
        )

    def cut(self, dataset: Dataset, is_training: bool = False) -> ClassFeatures:
        """See LabelTask; cut texts are counted."""
        examples, weights = dataset.examples, list[float]()
        if is_training:
            examples = self._trainable(dataset)
            weights = self._label_weights(examples)
        length = self.config.max_seq_length
        features = class_features(examples, self.any_tokenizer, length, self.labels, weights)
        if features.sentences.num_cut:
            warn(
                f"{dataset.path}: {features.sentences.num_cut:,} examples are longer than "
                f"--max_seq_length={length} {'words' if self.network else 'pieces'}, and are cut"
            )
        if self.network is None:
            warn_of_unknown_ids(features.sentences.input_ids, self.tokenizer, dataset.path)
        return features

    def _trainable(self, train: Dataset) -> tuple[Example, ...]:
        """Those with a text, or as many of them as are wanted."""
        examples = [example for example in train.examples if example.text_a.strip()]
        if len(examples) < len(train.examples):
            missing = len(train.examples) - len(examples)
            warn(f"{train.path}: {missing:,} examples without a text are not trained on")
        chosen = draw_examples(self.config, len(examples))
        if len(chosen) < len(examples):
            say(f"trained on {len(chosen):,} of them (--max_train_examples)")
        if not len(chosen):
            raise ValueError(f"{train.path} has no example to train on.")
        return tuple(examples[i] for i in chosen)

    def _label_weights(self, examples: Sequence[Example]) -> list[float]:
        """What an example of each class weighs in the loss; none for 1."""
        mode, labels = self.config.class_weights, self.labels
        if mode == "none":
            return []
        counts = Counter(example.label for example in examples)
        weights = class_weights(mode, labels, [counts[label] for label in labels])
        shown = ", ".join(f"{a} {w:.3g}" for a, w in zip(labels, weights, strict=True))
        say(f"class weights: {shown}")
        return list(map(float, weights))

    @property
    def main_scores(self) -> Sequence[str]:
        """See Task."""
        second = "spearman" if self.config.is_regression else "accuracy"
        return [self.main_metric, second]

    def score(
        self, texts: Texts, found: Floats
    ) -> tuple[ClassScores | RegressionScores, dict[str, float]]:
        """See LabelTask: scores, in percent, and the mean loss."""
        targets = texts.features.targets
        if self.config.is_regression:
            golds, predicted = targets.astype(np.float32), found[:, 0]
            values = score_values(golds, predicted)
            summary = values.summary()
            if self.config.form.threshold is not None:
                summary["binary_f1"] = binary_f1(golds, predicted, self.config.form.threshold)
            return values, {**summary, "total": float(len(found))}
        scores = score_classes(targets.astype(np.int32), found.argmax(axis=1), self.labels)
        chosen = np.take_along_axis(found, targets[:, None].astype(np.int64), axis=1)
        loss = float(-np.log(np.maximum(chosen, _LEAST)).mean())
        return scores, {**scores.summary(), "total": float(len(found)), "loss": loss}

    def write(self, folder: str, split: str, records: Sequence[Any], found: Floats) -> str:
        """Writes the records and, of what is predicted, test_results.tsv."""
        path = super().write(folder, split, records, found)
        if split == "test":
            path = os.path.join(folder, "test_results.tsv")
            lines = ("\t".join(map(str, row)) + "\n" for row in found.tolist())
            files.write_atomic(path, "".join(lines))
        return path

    def report(
        self,
        texts: Texts,
        found: Floats,
        scores: ClassScores | RegressionScores,
        folder: str,
        shared: dict[str, Any],
    ) -> Report:
        """See LabelTask; the confusion matrix is a file, too."""
        if isinstance(scores, ClassScores):
            picture = confusion_svg(scores.confusion, self.labels)
            files.write_atomic(os.path.join(folder, "confusion_matrix.svg"), picture)
            show_scores(format_classes(scores))
            predicted = set(found.argmax(axis=1).tolist())
            if len(predicted) == 1 and len(found) > 1 and len(self.labels) > 1:
                hint(
                    f"the model predicts {self.labels[predicted.pop()]} for every text: train it "
                    "longer, with another --learning_rate, from a pre-trained --init_checkpoint, "
                    "or with --class_weights=balanced."
                )
        shared["facts"].insert(0, (shared["t"]("task"), self.config.task_name))
        data = ReportData(
            **shared,
            examples=texts.features.texts,
            labels=self.labels,
            golds=texts.features.targets,
            predictions=found[:, 0] if self.config.is_regression else found,
            scores=scores,
            unknown=None if self.network is not None else self._have_unknown(texts.features),
        )
        return self.reporter(data, render_report, self.noun)

    def _have_unknown(self, features: ClassFeatures) -> npt.NDArray[np.bool_]:
        """Bool [N], whether an example has [UNK]."""
        sentences, offsets = features.sentences, features.sentences.sentence_offsets
        unk_id = self.tokenizer.vocab.unk_id
        return have_unknown(sentences.input_ids, unk_id, offsets[:-1], offsets[1:])

    def answer(self, labeller: Classifier, text: str) -> str:
        """See LabelTask."""
        first, *second = text.split("\t")
        if len(second) != self.config.form.is_pair:
            return f"expected {self.prompt}"
        return format_said(labeller.classify((first, second[0]) if second else first))


def _training_labels(train: Dataset) -> Labels:
    labels = tuple(train.label_counts())
    if len(labels) < 2:
        raise ValueError(
            f"{train.path}: a classifier needs at least two labels, found only "
            f"{shown_list(labels)}."
        )
    if len(labels) > max(_MANY_LABELS, len(train.examples) // 2):
        warn(
            f"{train.path}: {len(train.examples):,} examples have {len(labels):,} labels; is it "
            "--label_column? Numbers are predicted with --task_type=regression"
        )
    return labels
