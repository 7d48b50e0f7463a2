"""What run_classifier has before it computes: examples, their pieces, and the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from bert_ko.display import shown_list
from bert_ko.progress import warn
from bert_ko.tasks.batches import BatchPlan
from bert_ko.tasks.classifier.examples import Dataset, Example, read_dataset
from bert_ko.tasks.classifier.features import ClassFeatures, class_features
from bert_ko.tasks.classifier.forms import Split, find_file
from bert_ko.tasks.classifier.scores import class_weights
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.command import Parts
from bert_ko.tasks.label_flags import (
    draw_examples,
    no_labels_error,
    stored_labels,
    weights_place,
)
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.labels import Labels


class Texts(NamedTuple):
    """A file of examples, cut into pieces.

    Attributes:
        path: the file.
        examples: of it, that are used.
        features: of the same.
    """

    path: str
    examples: tuple[Example, ...]
    features: ClassFeatures


class Setting(NamedTuple):
    """What a command line has led to, before anything is computed.

    Attributes:
        config: flags.
        parts: the model's configuration and its tokenizer.
        labels: names of the classes; none for a regression.
        training: to train on; None for nothing.
        evaluated: to be compared with its labels; None for nothing.
        predicted: to be predicted for; None for nothing.
    """

    config: ClassifierFlags
    parts: Parts
    labels: Labels
    training: Texts | None
    evaluated: Texts | None
    predicted: Texts | None

    @property
    def num_outputs(self) -> int:
        """Rows of the head."""
        return 1 if self.config.is_regression else len(self.labels)

    def plan(self, batch_size: int, features: ClassFeatures | None) -> BatchPlan:
        """How examples are put into batches; features are None where they are not known yet."""
        lengths = features.lengths if features is not None else None
        return self.config.plan(self.parts.tokenizer, batch_size, lengths)


def prepare(config: ClassifierFlags, parts: Parts) -> Setting:
    """Reads and cuts the files that a command line needs.

    Args:
        config: flags.
        parts: the model's configuration and its tokenizer.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is not of the task, or its labels are not the model's.
    """
    if not config.do_train:
        _refuse_other_kind(config)
    train = _read(config, "train") if config.do_train else None
    evaluation = _read(config, "dev") if config.evaluates else None
    test = _read(config, "test") if config.do_predict else None
    labels: Labels = () if config.is_regression else _find_labels(config, train)
    for dataset in (train, evaluation):
        if dataset is not None and not config.is_regression:
            _refuse_other_labels(dataset, labels)
    cut = partial(_cut, config, parts.tokenizer, labels)
    training = None
    if train is not None:
        examples = _trainable(config, train)
        training = cut(train.path, examples, _weights(config, labels, examples))
    return Setting(
        config,
        parts,
        labels,
        training,
        cut(evaluation.path, evaluation.examples) if evaluation is not None else None,
        cut(test.path, test.examples) if test is not None else None,
    )


def _read(config: ClassifierFlags, split: Split) -> Dataset:
    path = {"train": config.train_file, "dev": config.eval_file, "test": config.predict_file}[split]
    if path is None:
        assert config.data_dir is not None
        path = find_file(config.data_dir, config.form, split)
    dataset = read_dataset(path, config.form, needs_labels=split != "test")
    print(f"{path}: {len(dataset.examples):,} examples", flush=True)
    for kind, count in dataset.problem_counts().items():
        found = [problem.detail for problem in dataset.problems if problem.kind == kind]
        warn(f"{kind}: {count:,} ({shown_list(found, 3, width=200)})")
    if split == "test":
        unknown = [example._replace(label=None, score=None) for example in dataset.examples]
        return replace(dataset, examples=tuple(unknown))
    return dataset


def _refuse_other_kind(config: ClassifierFlags) -> None:
    labels = stored_labels(config)
    if labels is None or config.is_regression != bool(labels):
        return
    found = f"{len(labels)} labels, not for a score" if labels else "a score, not for labels"
    raise ValueError(
        f"the model of {weights_place(config)} is for {found}; give its --task_name or --task_type."
    )


def _find_labels(config: ClassifierFlags, train: Dataset | None) -> Labels:
    """Those of the examples to train on; else those that stand beside the weights."""
    if train is not None:
        return _labels_of(train)
    found = stored_labels(config)
    if found:
        return found
    if config.train_file is not None or config.data_dir is not None:
        return _labels_of(_read(config, "train"))
    raise no_labels_error(config)


def _labels_of(dataset: Dataset) -> Labels:
    labels = tuple(dataset.label_counts())
    if len(labels) < 2:
        raise ValueError(
            f"{dataset.path}: a classifier needs two labels or more, there is only "
            f"{shown_list(labels)}."
        )
    return labels


def _refuse_other_labels(dataset: Dataset, labels: Labels) -> None:
    others = [label for label in dataset.label_counts() if label not in labels]
    if others:
        raise ValueError(
            f"{dataset.path}: the model does not know the labels {shown_list(others)}; it knows "
            f"{shown_list(labels, 20)}."
        )


def _trainable(config: ClassifierFlags, train: Dataset) -> list[Example]:
    """Those with a text, or as many of them as are wanted."""
    examples = [example for example in train.examples if example.text_a.strip()]
    if len(examples) < len(train.examples):
        missing = len(train.examples) - len(examples)
        warn(f"{train.path}: {missing:,} examples without a text are not trained on")
    chosen = draw_examples(config, len(examples))
    if len(chosen) < len(examples):
        print(f"trained on {len(chosen):,} of them (--max_train_examples)", flush=True)
    if not len(chosen):
        raise ValueError(f"{train.path} has no example to train on.")
    return [examples[i] for i in chosen]


def _weights(
    config: ClassifierFlags, labels: Labels, examples: Sequence[Example]
) -> Sequence[float]:
    if config.class_weights == "none":
        return ()
    counts = Counter(example.label for example in examples)
    weights = class_weights(config.class_weights, labels, [counts[label] for label in labels])
    shown = ", ".join(f"{a} {w:.3g}" for a, w in zip(labels, weights, strict=True))
    print(f"class weights: {shown}", flush=True)
    return list(map(float, weights))


def _cut(
    config: ClassifierFlags,
    tokenizer: Tokenizer,
    labels: Labels,
    path: str,
    examples: Sequence[Example],
    weights: Sequence[float] = (),
) -> Texts:
    features = class_features(examples, tokenizer, config.max_seq_length, labels, weights)
    if features.sentences.num_cut:
        warn(
            f"{path}: {features.sentences.num_cut:,} examples are longer than "
            f"--max_seq_length={config.max_seq_length} pieces, and are cut",
        )
    return Texts(path, tuple(examples), features)
