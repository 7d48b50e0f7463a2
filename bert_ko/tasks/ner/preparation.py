"""What run_ner has before it computes: tagged sentences, their pieces, and the tags."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from bert_ko.display import shown_list
from bert_ko.json_files import read_json
from bert_ko.progress import warn
from bert_ko.tasks.batches import BatchPlan
from bert_ko.tasks.command import Parts
from bert_ko.tasks.label_flags import (
    draw_examples,
    no_labels_error,
    stored_labels,
    weights_place,
)
from bert_ko.tasks.ner.bio import OUTSIDE, label_list
from bert_ko.tasks.ner.examples import Dataset, Sentence, read_dataset
from bert_ko.tasks.ner.features import TagFeatures, tag_features
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.training.checkpoints import STATE_NAME, list_checkpoints
from bert_ko.training.labels import Labels

Split = Literal["train", "dev", "test"]
# Names in --data_dir, in this order: as cut here and there, and as KLUE publishes them.
_NAMES = ("{}.tsv", "{}.txt", "{}.conll", "klue-ner-v1.1_{}.tsv", "klue-ner-v1_{}.tsv")


class Texts(NamedTuple):
    """Sentences cut into pieces.

    Attributes:
        dataset: the file, with the sentences that are used.
        features: of the same.
    """

    dataset: Dataset
    features: TagFeatures


class Setting(NamedTuple):
    """What a command line has led to, before anything is computed.

    Attributes:
        config: flags.
        parts: the model's configuration and its tokenizer.
        labels: all tags.
        training: to train on; None for nothing.
        evaluated: to be compared with its tags; None for nothing.
        predicted: to be predicted for; None for nothing.
    """

    config: NerFlags
    parts: Parts
    labels: Labels
    training: Texts | None
    evaluated: Texts | None
    predicted: Texts | None

    def plan(self, batch_size: int, features: TagFeatures | None) -> BatchPlan:
        """How stretches are put into batches; features are None where they are not known yet."""
        lengths = features.lengths if features is not None else None
        return self.config.plan(self.parts.tokenizer, batch_size, lengths)

    def cut(self, sentences: Sequence[Sentence], with_tags: bool = False) -> TagFeatures:
        """Cuts sentences into pieces; their tags are looked at only if asked for."""
        tokenizer, length = self.parts.tokenizer, self.config.max_seq_length
        return tag_features(sentences, tokenizer, length, self.labels if with_tags else ())


def prepare(config: NerFlags, parts: Parts) -> Setting:
    """Reads and cuts the files that a command line needs.

    Args:
        config: flags.
        parts: the model's configuration and its tokenizer.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is of another form, no tags are known, or the weights are another head's.
    """
    if not config.do_train:
        _refuse_other_crf(config)
    train = _read_training(config) if config.do_train else None
    evaluation = _read(config, "dev") if config.evaluates else None
    test = _read(config, "test") if config.do_predict else None
    labels = _find_labels(config, train)
    _warn_of_other_tags(evaluation, labels)
    setting = Setting(config, parts, labels, None, None, None)

    def texts(dataset: Dataset | None, with_tags: bool) -> Texts | None:
        if dataset is None:
            return None
        return Texts(dataset, setting.cut(dataset.sentences, with_tags))

    training = texts(train, with_tags=True)
    if training is not None and not len(training.features.lengths):
        raise ValueError(f"{training.dataset.path} has no sentence with pieces to train on.")
    return setting._replace(
        training=training,
        evaluated=texts(evaluation, with_tags=False),
        predicted=texts(test, with_tags=False),
    )


def _read(config: NerFlags, split: Split) -> Dataset:
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


def _read_training(config: NerFlags) -> Dataset:
    """The file, and what is added to it."""
    first = _read(config, "train")
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


def _find_labels(config: NerFlags, train: Dataset | None) -> Labels:
    """Those of the sentences to train on; else those that stand beside the weights."""
    if train is None:
        found = stored_labels(config)
        if found:
            _refuse_no_tags(config, found)
            return found
        if config.train_file is None and config.data_dir is None:
            raise no_labels_error(config)
        train = _read_training(config)
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


def _refuse_other_crf(config: NerFlags) -> None:
    """Without the CRF that they were trained with, weights would say something else in silence."""
    place = weights_place(config)
    folders = list_checkpoints(place, "best") or list_checkpoints(place) or [place]
    state = read_json(os.path.join(folders[-1], STATE_NAME)) or {}
    used_crf = (state.get("identity") or {}).get("use_crf", config.use_crf)
    if used_crf != config.use_crf:
        how, what = ("with", "give") if used_crf else ("without", "leave out")
        raise ValueError(f"{place} was trained {how} --use_crf; {what} the flag.")


def _warn_of_other_tags(dataset: Dataset | None, labels: Labels) -> None:
    others = [tag for tag in (dataset.labels if dataset else ()) if tag not in labels]
    if dataset is not None and others:
        warn(
            f"{dataset.path}: the model does not know the tags {shown_list(others)}; it never "
            "predicts them",
        )
