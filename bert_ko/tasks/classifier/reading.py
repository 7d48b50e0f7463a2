"""Reading the files that run_classifier names, and finding the labels of its model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from bert_ko.display import shown_list
from bert_ko.progress import warn
from bert_ko.tasks.classifier.examples import Dataset, Example, read_dataset
from bert_ko.tasks.classifier.forms import Split, find_file
from bert_ko.tasks.classifier.scores import class_weights
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.settings import draw_examples, no_labels_error, stored_labels, weights_place
from bert_ko.training.labels import Labels


def read_split(config: ClassifierFlags, split: Split) -> Dataset:
    """Reads a file of the task; the labels of a test file are not looked at.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not of the task.
    """
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


def find_labels(config: ClassifierFlags, train: Dataset | None) -> Labels:
    """Those of the examples to train on; else those beside the weights; none for a regression.

    Raises:
        ValueError: there are none, or the weights are of another kind.
    """
    stored = None
    if not config.do_train:
        stored = stored_labels(config)
        _refuse_other_kind(config, stored)
    if config.is_regression:
        return ()
    if train is None:
        if stored:
            return stored
        if config.train_file is None and config.data_dir is None:
            raise no_labels_error(config)
        train = read_split(config, "train")
    labels = tuple(train.label_counts())
    if len(labels) < 2:
        raise ValueError(
            f"{train.path}: a classifier needs at least two labels, there is only "
            f"{shown_list(labels)}."
        )
    return labels


def _refuse_other_kind(config: ClassifierFlags, labels: Labels | None) -> None:
    if labels is None or config.is_regression != bool(labels):
        return
    found = f"{len(labels)} labels, not for a score" if labels else "a score, not for labels"
    raise ValueError(
        f"the model of {weights_place(config)} is for {found}; give its --task_name or --task_type."
    )


def refuse_other_labels(dataset: Dataset, labels: Labels) -> None:
    """Raises: ValueError: a dataset has labels that the model does not know."""
    others = [label for label in dataset.label_counts() if label not in labels]
    if others:
        raise ValueError(
            f"{dataset.path}: the model does not know the labels {shown_list(others)}; it knows "
            f"{shown_list(labels, 20)}."
        )


def trainable(config: ClassifierFlags, train: Dataset) -> list[Example]:
    """Those with a text, or as many of them as are wanted.

    Raises:
        ValueError: there are none.
    """
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


def label_weights(
    config: ClassifierFlags, labels: Labels, examples: Sequence[Example]
) -> Sequence[float]:
    """What an example of each class weighs in the loss; none for 1."""
    if config.class_weights == "none":
        return ()
    counts = Counter(example.label for example in examples)
    weights = class_weights(config.class_weights, labels, [counts[label] for label in labels])
    shown = ", ".join(f"{a} {w:.3g}" for a, w in zip(labels, weights, strict=True))
    print(f"class weights: {shown}", flush=True)
    return list(map(float, weights))
