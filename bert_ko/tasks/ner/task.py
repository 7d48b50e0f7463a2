"""Named entities as a task: tags of characters or words, by the pieces that cover them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.display import shown_list
from bert_ko.messages import hint, say, show_scores, warn
from bert_ko.modeling.heads import TAG_CRF, TagHead
from bert_ko.tasks.fine_tuning import Report, file_identity
from bert_ko.tasks.labelling import LabelTask, Texts, find_file, warn_of_problems
from bert_ko.tasks.ner.bio import OUTSIDE, label_list
from bert_ko.tasks.ner.examples import Dataset, Sentence, plain_sentence, read_dataset, read_texts
from bert_ko.tasks.ner.features import TagFeatures, Tagged, tag_features
from bert_ko.tasks.ner.report import ReportData, render_report
from bert_ko.tasks.ner.scores import Scores, format_types, score, score_values
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.tasks.ner.tagger import Tagger, tagged_lines
from bert_ko.tasks.settings import Split, draw_examples, weights_place
from bert_ko.tokenization.unknown import have_unknown, warn_of_unknown_ids
from bert_ko.training.labels import Labels
from bert_ko.training.model_files import ModelFiles, remembered_flags

# In --data_dir, in this order: names for files cut by hand, and those that KLUE publishes.
_NAMES = ("{}.tsv", "{}.txt", "{}.conll", "klue-ner-v1.1_{}.tsv", "klue-ner-v1_{}.tsv")


class NerTask(LabelTask):
    """Tags of named entities; see training.task.Task."""

    config: NerFlags
    main_metric = "f1"
    main_scores = ("f1", "klue_char_macro_f1")
    tokenized = "the sentences are cut with"
    labeller = Tagger
    noun = "sentences"
    found = "entities"
    prompt = "a sentence"

    def __init__(self, config: NerFlags, model: ModelFiles):
        """See LabelTask.

        Raises:
            ValueError: the weights were trained with a CRF and are used without one, or the other
                way round, which would give other tags without any error.
        """
        place = weights_place(config)
        used_crf = remembered_flags(place).get("use_crf", config.use_crf)
        if not config.do_train and used_crf != config.use_crf:
            how, what = ("with", "give") if used_crf else ("without", "leave out")
            raise ValueError(f"{place} was trained {how} --use_crf; {what} the flag.")
        super().__init__(config, model)
        self.rate_multiples = ((TAG_CRF, config.crf_learning_rate_multiple),)
        extra = list(map(file_identity, config.extra_train_file))
        self.identity = {**self.identity, "extra_train_file": extra}

    def read_file(self, split: Split, path: str | None) -> Dataset:
        """See LabelTask."""
        names = [name.format(split) for name in _NAMES]
        path = path or find_file(self.config.data_dir, names, split)
        dataset = read_dataset(path, self.config.file_format, self.config.input_encoding)
        count = sum(tag.startswith("B-") for one in dataset.sentences for tag in one.tags)
        converted = ""
        if dataset.conversions:
            (old, new), *_ = dataset.conversions
            number = sum(dataset.conversions.values())
            converted = f"; tags are {dataset.scheme}: {number:,} rewritten, such as {old} as {new}"
        say(
            f"{path}: {len(dataset.sentences):,} sentences, {count:,} entities, "
            f"a tag a {dataset.unit}{converted}"
        )
        warn_of_problems(dataset)
        if split == "test":
            untagged = [replace(sentence, tags=()) for sentence in dataset.sentences]
            return replace(dataset, sentences=tuple(untagged))
        return dataset

    def read_training(self) -> Dataset:
        """Reads --train_file and --extra_train_file, or as many sentences as are wanted."""
        first: Dataset = super().read_training()
        sentences = list(first.sentences)
        for path in self.config.extra_train_file:
            other = self.read_file("train", path)
            if other.unit != first.unit:
                raise ValueError(
                    f"--extra_train_file: {path} has a tag a {other.unit}, but {first.path} a tag "
                    f"a {first.unit}."
                )
            missing = sorted({tag[2:] for tag in first.labels} - {tag[2:] for tag in other.labels})
            if missing:
                warn(
                    f"{path} has no entity of type {', '.join(missing)}: what {first.path} calls "
                    "so is O there, or another type",
                )
            sentences += other.sentences
        chosen = draw_examples(self.config, len(sentences))
        if len(chosen) < len(sentences):
            say(f"trained on {len(chosen):,} of {len(sentences):,} (--max_train_examples)")
        return replace(first, sentences=tuple(sentences[i] for i in chosen), problems={})

    def read_texts(self, path: str) -> Sequence[Sentence]:
        """See LabelTask."""
        return list(read_texts(path, self.config.input_encoding))

    def set_labels(self, train: Dataset | None, evaluation: Dataset | None) -> None:
        """See LabelTask."""
        self.labels = self.find_labels(train, _training_labels)
        others = [label for label in self.labels if not re.fullmatch(r"O|[BI]-.+", label)]
        if others:
            raise ValueError(
                f"the labels of {weights_place(self.config)} must be O, B-TYPE or I-TYPE, got "
                f"{shown_list(others, 3)}; give weights that were trained for tags."
            )
        self.head = TagHead(self.labels, self.config.use_crf, network=self.network)
        others = [
            tag for tag in (evaluation.labels if evaluation else ()) if tag not in self.labels
        ]
        if evaluation is not None and others:
            warn(
                f"{evaluation.path}: the model does not know the tags {shown_list(others)}; it "
                "never predicts them",
            )

    def cut(self, dataset: Dataset, is_training: bool = False) -> TagFeatures:
        """See LabelTask."""
        labels = self.labels if is_training else ()
        length = self.config.max_seq_length
        features = tag_features(dataset.sentences, self.any_tokenizer, length, labels)
        if is_training and not len(features.lengths):
            raise ValueError(f"{dataset.path} has no sentence with pieces to train on.")
        if self.network is None:
            warn_of_unknown_ids(features.stretches.input_ids, self.tokenizer, dataset.path)
        return features

    def score(self, texts: Texts, found: Sequence[Tagged]) -> tuple[Scores, dict[str, float]]:
        """See LabelTask; scores are in percent."""
        golds = [sentence.tags for sentence in texts.dataset.sentences]
        labels = list(dict.fromkeys([*self.labels, *texts.dataset.labels]))
        scores = score(golds, [tagged.tags for tagged in found], labels)
        return scores, {**score_values(scores), "total": float(scores.num_sentences)}

    def write(self, folder: str, split: str, records: Sequence[Any], found: Any) -> str:
        """Writes the records, and the tagged sentences as text."""
        path = os.path.join(folder, f"{split}_predictions.txt")
        files.write_atomic(path, tagged_lines(records))
        return f"{super().write(folder, split, records, found)}, {path}"

    def report(
        self,
        texts: Texts,
        found: Sequence[Tagged],
        scores: Scores,
        folder: str,
        shared: dict[str, Any],
    ) -> Report:
        """See LabelTask."""
        show_scores(format_types(scores))
        if not any(tag != OUTSIDE for tagged in found for tag in tagged.tags):
            hint(
                "the model finds no entity at all: train it longer, or with another "
                "--learning_rate, or from a pre-trained --init_checkpoint."
            )
        t = shared["t"]
        shared["facts"].append(("CRF", t("yes") if self.config.use_crf else t("no")))
        data = ReportData(
            **shared,
            dataset=texts.dataset,
            predictions=found,
            scores=scores,
            unknown=None if self.network is not None else self._have_unknown(texts.features),
        )
        return self.reporter(data, render_report, self.noun)

    def _have_unknown(self, features: TagFeatures) -> npt.NDArray[np.bool_]:
        """Bool of each sentence, whether it has [UNK]."""
        stretches, offsets = features.stretches, features.stretches.sentence_offsets
        unk_id = self.tokenizer.vocab.unk_id
        found = have_unknown(stretches.input_ids, unk_id, offsets[:-1], offsets[1:])
        return np.isin(np.arange(len(features.texts)), features.owners[found])

    def answer(self, labeller: Tagger, text: str) -> str:
        """See LabelTask."""
        sentences = [plain_sentence(text, 1)]
        found = labeller.compute(labeller.cut(sentences))
        return f"→ {labeller.records(sentences, found)[0]['tagged']}"


def _training_labels(train: Dataset) -> Labels:
    labels = label_list(tag[2:] for tag in train.labels if tag != OUTSIDE)
    if len(labels) == 1:
        raise ValueError(f"{train.path} has no entity to learn from.")
    return labels
