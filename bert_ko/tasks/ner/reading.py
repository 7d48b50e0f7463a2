"""Reading the files that run_ner names, and finding the tags of its model."""

from __future__ import annotations

import os
import re
from typing import Literal

from bert_ko.display import shown_list
from bert_ko.progress import warn
from bert_ko.tasks.ner.bio import OUTSIDE, label_list
from bert_ko.tasks.ner.examples import Dataset, read_dataset
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.tasks.settings import draw_examples, no_labels_error, stored_labels, weights_place
from bert_ko.training.labels import Labels
from bert_ko.training.model_files import remembered_flags

Split = Literal["train", "dev", "test"]
# Names in --data_dir, in this order: as cut here and there, and as KLUE publishes them.
_NAMES = ("{}.tsv", "{}.txt", "{}.conll", "klue-ner-v1.1_{}.tsv", "klue-ner-v1_{}.tsv")


def read_split(config: NerFlags, split: Split) -> Dataset:
    """Reads a file of the task.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of another form.
    """
    path = {"train": config.train_file, "dev": config.eval_file, "test": config.predict_file}[split]
    return _read_file(config, path or _find_file(config, split))


def _find_file(config: NerFlags, split: Split) -> str:
    assert config.data_dir is not None
    paths = [os.path.join(config.data_dir, name.format(split)) for name in _NAMES]
    found = next((path for path in paths if os.path.isfile(path)), None)
    if found is None:
        names = ", ".join(map(os.path.basename, paths))
        raise FileNotFoundError(
            f"--data_dir={config.data_dir} has no file for {split}; looked for {names}."
        )
    return found


def _read_file(config: NerFlags, path: str) -> Dataset:
    dataset = read_dataset(path, config.file_format)
    count = sum(tag.startswith("B-") for sentence in dataset.sentences for tag in sentence.tags)
    print(
        f"{path}: {len(dataset.sentences):,} sentences, {count:,} entities, a tag a {dataset.unit}",
        flush=True,
    )
    for kind, number in dataset.problem_counts().items():
        found = [problem.detail for problem in dataset.problems if problem.kind == kind]
        warn(f"{kind}: {number:,} ({shown_list(found, 3, width=200)})")
    return dataset


def read_training(config: NerFlags) -> Dataset:
    """The file to train on, and what is added to it; see ``read_split``."""
    first = read_split(config, "train")
    sentences = list(first.sentences)
    for path in config.extra_train_file:
        other = _read_file(config, path)
        if other.unit != first.unit:
            raise ValueError(
                f"--extra_train_file: {path} has a tag a {other.unit}, but {first.path} a tag a "
                f"{first.unit}."
            )
        missing = sorted({tag[2:] for tag in first.labels} - {tag[2:] for tag in other.labels})
        if missing:
            warn(
                f"{path} has no entity of type {', '.join(missing)}: what {first.path} calls so "
                "is O there, or another type",
            )
        sentences += other.sentences
    chosen = draw_examples(config, len(sentences))
    if len(chosen) < len(sentences):
        print(f"trained on {len(chosen):,} of {len(sentences):,} (--max_train_examples)")
    return Dataset(first.path, first.unit, tuple(sentences[i] for i in chosen), ())


def find_labels(config: NerFlags, train: Dataset | None) -> Labels:
    """Those of the sentences to train on; else those beside the weights.

    Raises:
        ValueError: there are none, or they are no tags.
    """
    if train is None:
        found = stored_labels(config)
        if found:
            _refuse_no_tags(config, found)
            return found
        if config.train_file is None and config.data_dir is None:
            raise no_labels_error(config)
        train = read_training(config)
    labels = label_list(tag[2:] for tag in train.labels if tag != OUTSIDE)
    if len(labels) == 1:
        raise ValueError(f"{train.path} has no entity; there is nothing to learn from it.")
    return labels


def _refuse_no_tags(config: NerFlags, labels: Labels) -> None:
    others = [label for label in labels if not re.fullmatch(r"O|[BI]-.+", label)]
    if others:
        raise ValueError(
            f"the labels of {weights_place(config)} must be O, B-TYPE or I-TYPE, got "
            f"{shown_list(others, 3)}; give weights that were trained for tags."
        )


def refuse_other_crf(config: NerFlags) -> None:
    """Without the CRF that they were trained with, weights would say something else in silence."""
    place = weights_place(config)
    used_crf = remembered_flags(place).get("use_crf", config.use_crf)
    if used_crf != config.use_crf:
        how, what = ("with", "give") if used_crf else ("without", "leave out")
        raise ValueError(f"{place} was trained {how} --use_crf; {what} the flag.")


def warn_of_other_tags(dataset: Dataset | None, labels: Labels) -> None:
    """Warns of tags that the model never predicts."""
    others = [tag for tag in (dataset.labels if dataset else ()) if tag not in labels]
    if dataset is not None and others:
        warn(
            f"{dataset.path}: the model does not know the tags {shown_list(others)}; it never "
            "predicts them",
        )
