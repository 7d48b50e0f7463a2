"""What classification and tagging share: a trained model that labels texts, and its task."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from bert_ko import files
from bert_ko.compression import COMPRESSIONS
from bert_ko.display import shown_list
from bert_ko.json_files import format_json
from bert_ko.messages import say, show, warn
from bert_ko.modeling.heads import Head, Metrics, WordNetwork
from bert_ko.modeling.parameters import Arrays
from bert_ko.prompts import typed_lines
from bert_ko.tasks.batches import BatchPlan
from bert_ko.tasks.fine_tuning import FineTuneTask, Report, TrainingData, file_identities
from bert_ko.tasks.loading import BATCH_SIZE, Loadable, find_length, place
from bert_ko.tasks.sentences import AnyTokenizer
from bert_ko.tasks.settings import LabelFlags, Split, no_labels_error, stored_labels, weights_place
from bert_ko.tasks.stored_layers import LayerStore, layer_statistics
from bert_ko.tasks.word_networks import of_training, refuse_other_network
from bert_ko.tokenization.word_vocabulary import WORDS_NAME
from bert_ko.training.backend import Predict
from bert_ko.training.labels import Labels
from bert_ko.training.model_files import (
    ModelFiles,
    TrainedModel,
    compare_vocab_size,
    remembered_flags,
)
from bert_ko.training.results import Results
from bert_ko.training.task import Trained

_TABLES = (".csv", ".json", ".jsonl", ".ndjson", ".xlsx", ".parquet")


class Labeller(Loadable):
    """Base class of trained models that label texts.

    A subclass adds ``find_head``, ``cut(texts)`` to features, ``compute(features, plan, label)`` to
    predictions, and ``records(texts, found)``, the predictions as values for JSON.
    """

    def __init__(
        self,
        tokenizer: AnyTokenizer,
        labels: Labels,
        max_seq_length: int,
        plan: BatchPlan,
        predict: Predict,
    ):
        """Joins the parts; ``bert_ko.load`` makes them.

        Args:
            tokenizer: of the model.
            labels: all of them; none for scores.
            max_seq_length: most pieces of a text with its special tokens.
            plan: how texts of unknown lengths are put into batches.
            predict: input_ids, input_mask, segment_ids int32 [B, L] to the head's outputs.
        """
        self.labels, self.max_seq_length = labels, max_seq_length
        self._tokenizer, self._plan, self._predict = tokenizer, plan, predict

    @classmethod
    def from_model(
        cls,
        model: TrainedModel,
        *,
        max_seq_length: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Self:
        """Places an opened model on devices.

        Args:
            model: open.
            max_seq_length: pieces of a text with its special tokens; None for the length that the
                model was trained with.
            batch_size: texts that are computed together.

        Raises:
            ValueError: the model is of another kind, its labels are unknown, or it has fewer
                positions.
        """
        length = find_length(model, max_seq_length, LabelFlags.max_seq_length)
        labels, head = cls.find_head(model)
        predict, plan = place(model, head, length, batch_size)
        return cls(model.any_tokenizer, labels, length, plan, predict)

    @classmethod
    def find_head(cls, model: TrainedModel) -> tuple[Labels, Head]:
        """The labels and the head of an opened model."""
        raise NotImplementedError


class Texts(NamedTuple):
    """A file of texts, and its texts cut into pieces."""

    dataset: Any
    features: Any


class LabelTask(FineTuneTask):
    """Base class of tasks that label texts; see training.task.Task.

    Attributes:
        labeller: the class of the trained model, a ``Labeller``.
        noun: what the texts are called, in the plural.
        found: what is found in them, for the title of the page.
        prompt: what is to be typed with --interactive.
    """

    config: LabelFlags
    labels: Labels
    labeller: ClassVar[type[Any]]
    noun: ClassVar[str] = "texts"
    found: ClassVar[str] = "labels"
    prompt = "a text"

    def __init__(self, config: LabelFlags, model: ModelFiles):
        """Reads and cuts the files that a command line needs.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is not of the task, or labels are unknown or not the model's.
        """
        super().__init__(config, model)
        self.network = self._find_network()
        self.frozen = self.network.frozen if self.network is not None else ()
        _refuse_table(config.input_file)
        train = self.read_training() if config.do_train else None
        evaluation = self.read_file("dev", config.eval_file) if config.evaluates else None
        test = self.read_file("test", config.predict_file) if config.do_predict else None
        self.set_labels(train, evaluation)
        if train is not None:
            features = self.cut(train, is_training=True)
            self.training = TrainingData(train.path, features, features.describe)
        self._evaluated = Texts(evaluation, self.cut(evaluation)) if evaluation else None
        self._predicted = Texts(test, self.cut(test)) if test else None
        chooses = config.eval_every_steps is not None
        self.identity = file_identities(
            {
                "train_file": train.path if train else None,
                # It decides which weights are the best.
                "eval_file": evaluation.path if evaluation and chooses else None,
            }
        )

    def _find_network(self) -> WordNetwork | None:
        """The network on a model of words.

        Raises:
            ValueError: a flag is for another model, or not the one that the weights were trained
                with; a biLM that stays as it is would be random; or there are more words than the
                model's.
        """
        config, network = self.config, self.config.network(self.model.config)
        if network is None:
            return None
        if not config.do_train:
            place = weights_place(config)
            remembered = remembered_flags(place)
            refuse_other_network(config, remembered, place)
            standardizes = of_training(remembered).get("elmo_standardize", network.standardizes)
            network = replace(network, standardizes=standardizes)
        elif config.init_checkpoint is None and network.reads and not network.tunes:
            raise ValueError(
                "an ELMo without --init_checkpoint is random, and stays so without --elmo_tune; "
                "give one of them."
            )
        if network.word_units and (words := self.model.words) is not None:
            size, model = len(words.words), self.model
            compare_vocab_size(
                size, WORDS_NAME, words.source, model.config.vocab_size, model.config_file
            )
        return network

    # What a subclass knows

    def read_file(self, split: Split, path: str | None) -> Any:
        """Reads a file, or the one found in --data_dir; a test file's labels are removed."""
        raise NotImplementedError

    def read_training(self) -> Any:
        """Reads what is trained on."""
        return self.read_file("train", self.config.train_file)

    def read_texts(self, path: str) -> Sequence[Any]:
        """Reads --input_file."""
        raise NotImplementedError

    def set_labels(self, train: Any, evaluation: Any) -> None:
        """Sets ``labels`` and ``head``, and compares the labels of the evaluation with them."""
        raise NotImplementedError

    def cut(self, dataset: Any, is_training: bool = False) -> Any:
        """Cuts the texts of a dataset into pieces; of the training data, those to train on."""
        raise NotImplementedError

    def score(self, texts: Texts, found: Any) -> tuple[Any, dict[str, float]]:
        """Scores predictions; also gives the numbers of eval_results.txt."""
        raise NotImplementedError

    def report(
        self, texts: Texts, found: Any, scores: Any, folder: str, shared: dict[str, Any]
    ) -> Report:
        """Prints scores, and gives ``Results.report``; ``shared`` has the fields of ReportData."""
        raise NotImplementedError

    def answer(self, labeller: Any, text: str) -> str:
        """One line about a text that was typed."""
        raise NotImplementedError

    # What all of them do

    @property
    def batch_sizes(self) -> Sequence[str]:
        """Flags of the batches that are evaluated or predicted."""
        found = ["eval_batch_size"] if self.config.evaluates else []
        return [*found, *super().batch_sizes]

    @property
    def is_asked(self) -> bool:
        """See Task."""
        return self.config.do_eval or self.config.do_predict or self.config.is_trial

    def find_labels(self, train: Any, labels_of: Callable[[Any], Labels]) -> Labels:
        """Those of the training data; else those beside the weights, or of --train_file.

        Raises:
            ValueError: they are missing.
        """
        if train is None:
            if stored := stored_labels(self.config):
                return stored
            if self.config.train_file is None and self.config.data_dir is None:
                raise no_labels_error(self.config)
            train = self.read_training()
        return labels_of(train)

    @property
    def needs_preparation(self) -> bool:
        """See Task: the layers of a biLM that stays as it is."""
        network = self.network
        return network is not None and network.reads and not network.tunes

    def prepare(self, model: Trained) -> Arrays:
        """See Task."""
        network, training = self.network, self.training
        if network is None or training is None or not network.reads:
            return {}
        reading, decided = model.program.predictor(network.reading), Arrays()
        if network.standardizes:
            features: Any = training.examples
            plan = self.plan(self.config.train_batch_size, features.lengths)
            decided = layer_statistics(features.sentences, reading, plan)
        if self.needs_preparation:
            self._keep_layers(model, reading)
        return decided

    def _keep_layers(self, model: Trained, reading: Predict) -> None:
        store = LayerStore(
            reading,
            self.config.local_dir,
            np.float16 if model.precision == "bfloat16" else np.float32,
        )

        def with_layers(features: Any, batch_size: int) -> Any:
            plan = self.plan(batch_size, features.lengths)
            return features.with_layers(lambda texts: store.keep(texts, plan, self.noun))

        config = self.config
        if (training := self.training) is not None:
            examples = with_layers(training.examples, config.train_batch_size)
            self.training = training._replace(examples=examples)
        if (texts := self._evaluated) is not None:
            kept = with_layers(texts.features, config.eval_batch_size)
            self._evaluated = texts._replace(features=kept)
        if (texts := self._predicted) is not None:
            kept = with_layers(texts.features, config.predict_batch_size)
            self._predicted = texts._replace(features=kept)

    def _labeller(self, model: Trained) -> Any:
        length = self.config.max_seq_length
        plan = self.plan(self.config.predict_batch_size, None)
        return self.labeller(self.any_tokenizer, self.labels, length, plan, model.predict)

    def _compute(self, labeller: Any, texts: Texts, label: str | None, batch_size: int) -> Any:
        plan = self.plan(batch_size, texts.features.lengths)
        return labeller.compute(texts.features, plan, label)

    def evaluate(self, model: Trained) -> Metrics:
        """See Task."""
        texts = self._evaluated
        assert texts is not None
        found = self._compute(self._labeller(model), texts, None, self.config.eval_batch_size)
        return self.score(texts, found)[1]

    def finish(self, model: Trained, folder: str, step: int) -> Results | None:
        """See Task."""
        config, labeller = self.config, self._labeller(model)
        if (texts := self._predicted) is not None:
            found = self._compute(labeller, texts, "predicting", config.predict_batch_size)
            records = labeller.records(texts.features.texts, found)
            path = self.write(folder, "test", records, found)
            say(f"{len(found):,} {self.noun} predicted: {path}")
        results = None
        if config.do_eval:
            results = self._report(labeller, folder, step, self._learnt(model))
        if config.input_file is not None:
            plain = self.read_texts(config.input_file)
            for record in labeller.records(plain, labeller.compute(labeller.cut(plain))):
                show(format_json(record))
        if config.interactive:
            say(f"type {self.prompt}; Ctrl-D ends")
            for line in typed_lines(lambda: "text"):
                if line.strip():
                    show(self.answer(labeller, line.rstrip("\r\n")))
        return results

    def write(self, folder: str, split: str, records: Sequence[Any], found: Any) -> str:
        """Writes predictions; returns the paths of the files, for a message."""
        path = os.path.join(folder, f"{split}_predictions.jsonl")
        files.write_atomic(path, "".join(format_json(record) + "\n" for record in records))
        return path

    def _learnt(self, model: Trained) -> dict[str, float]:
        """Weights of a biLM's layers, and gamma."""
        return {} if self.network is None else self.network.learnt(model.program.parameters())

    def _report(
        self, labeller: Any, folder: str, step: int, learnt: Mapping[str, float]
    ) -> Results:
        """Evaluates, and writes predictions; ``learnt`` is a part of what is reported."""
        texts = self._evaluated
        assert texts is not None
        start = time.perf_counter()
        found = self._compute(labeller, texts, "evaluating", self.config.eval_batch_size)
        seconds = time.perf_counter() - start
        scores, values = self.score(texts, found)
        self.write(folder, "eval", labeller.records(texts.features.texts, found), found)
        path = texts.dataset.path
        shared = self.shared_report(self.noun, path, self.found, folder, step, seconds)
        shared["facts"] += [(name, f"{value:.3f}") for name, value in learnt.items()]
        report = self.report(texts, found, scores, folder, shared)
        say(f"{len(found):,} {self.noun} in {seconds:.1f} s")
        return Results({**values, **learnt}, report)


def _refuse_table(path: str | None) -> None:
    """Refuses a table as texts: its separators and its labels would be read as texts."""
    if path is not None and path.lower().endswith(_TABLES):
        raise ValueError(
            f"--input_file={path}: expected a text a line, not a table; give --predict_file, or "
            "the texts alone in a .txt file."
        )


def warn_of_problems(dataset: Any) -> None:
    """Warns of what is odd in a dataset: how often, and where first."""
    for kind, details in dataset.problems.items():
        warn(f"{kind}: {len(details):,} ({shown_list(details, 3, width=200)})")


def find_file(data_dir: str | None, names: Sequence[str], split: Split) -> str:
    """Returns the path of a task's file in a folder, local or remote, compressed or not.

    Raises:
        FileNotFoundError: it is missing; the message lists the names that were tried.
    """
    assert data_dir is not None  # LabelFlags: it is given, or the file is
    if not files.is_remote(data_dir) and not os.path.isdir(data_dir):
        raise FileNotFoundError(f"--data_dir={data_dir} is not a folder.")
    for name in names:
        for extension in ("", *COMPRESSIONS):
            path = os.path.join(data_dir, name + extension)
            if _is_file(path):
                return path
    found = "other files"
    if not files.is_remote(data_dir):
        found = shown_list(sorted(os.listdir(data_dir)), 8) or "nothing"
    raise FileNotFoundError(
        f"--data_dir={data_dir} has no file for {split}; looked for {', '.join(names)}, "
        f"each also with {', '.join(COMPRESSIONS)}; it has {found}."
    )


def _is_file(path: str) -> bool:
    if not files.is_remote(path):
        return os.path.isfile(path)
    try:
        return bool(files.expand_inputs([path]))
    except FileNotFoundError:
        return False
