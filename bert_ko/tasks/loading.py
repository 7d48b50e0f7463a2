"""Trained models, opened and placed on devices: the beginning of every prediction."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, get_args

from bert_ko.copies import named
from bert_ko.modeling.heads import PredictingHead, model_specs
from bert_ko.tasks.batches import BatchPlan, batch_lengths
from bert_ko.training.backend import AttentionName, Precision, Predict
from bert_ko.training.devices import load_backend
from bert_ko.training.model_files import ModelFlags, TrainedModel, compare_length, open_model
from bert_ko.training.runs import check_batch_size

BATCH_SIZE = 8
_OPENING = frozenset(field.name for field in dataclasses.fields(ModelFlags)) - {"init_checkpoint"}
_FLAG = re.compile(r"(?<![\w/])--(?=[a-z])")


class Loadable:
    """Base class of models that predict; a subclass adds ``from_model``."""

    kind: ClassVar[str]  # its name for ``bert_ko.load``
    variable: ClassVar[str | None]  # one that no other kind has; None if any model will do

    @classmethod
    def load(cls, path: str, **settings: Any) -> Self:
        """Opens a trained model.

        Args:
            path: a folder of a run or one of its checkpoints, a converted folder, a Hugging Face
                folder with safetensors, or the prefix of a TF1 checkpoint.
            settings: of ``from_model``, and those of ``ModelFlags``: precision ("float32" unless
                given), num_devices, attention, bert_config_file, vocab_file …

        Raises:
            FileNotFoundError: the weights, the configuration or the vocabulary is missing.
            ValueError: they do not match or are damaged, or the model is of another kind.
        """
        with plain_messages():
            return cls.checked(*open_trained(path, settings))

    @classmethod
    def fits(cls, model: TrainedModel) -> bool:
        """Whether a model is of this kind."""
        return cls.variable is None or cls.variable in model.source.arrays

    @classmethod
    def checked(cls, model: TrainedModel, settings: Mapping[str, Any]) -> Self:
        """``from_model`` of a model of unknown kind.

        Raises:
            ValueError: it is of another kind.
        """
        if not cls.fits(model):
            raise ValueError(
                f"{model.source.path} can't be loaded as {cls.kind}: it has no {cls.variable}."
            )
        return cls.from_model(model, **settings)

    @classmethod
    def from_model(cls, model: TrainedModel, *args: Any, **settings: Any) -> Self:
        """Places an open model on devices, with the settings of the subclass.

        Raises:
            ValueError: the model is of another kind, or a setting does not fit it.
        """
        raise NotImplementedError


def open_trained(path: str, settings: Mapping[str, Any]) -> tuple[TrainedModel, dict[str, Any]]:
    """Reads a model with those settings that ``ModelFlags`` has; returns the others too."""
    opening = {name: value for name, value in settings.items() if name in _OPENING}
    flags = ModelFlags(init_checkpoint=path, **{"precision": "float32", **opening})
    for name, choices in (("precision", Precision), ("attention", AttentionName)):
        require_choice(name, getattr(flags, name), get_args(choices))
    model = open_model(flags, allows_words=True)
    return model, {n: value for n, value in settings.items() if n not in _OPENING}


def place(
    model: TrainedModel, head: PredictingHead, max_seq_length: int, batch_size: int
) -> tuple[Predict, BatchPlan]:
    """Moves an open model onto devices.

    Returns:
        The outputs of the head, and the batches for texts of at most max_seq_length pieces; one
        text alone does not wait for a whole batch to be computed.

    Raises:
        ValueError: the model lacks the head, or the batches can't be split.
    """
    require_positive(batch_size=batch_size)
    arrays = model.arrays(model_specs(model.config, head))
    backend = load_backend(model.devices)
    check_batch_size("batch_size", batch_size, backend.num_devices)
    lengths = batch_lengths(max_seq_length, length_buckets=True, lengths=None)
    special_ids = model.any_tokenizer.vocab.special_ids
    plan = BatchPlan(batch_size, special_ids, lengths, lone_size=backend.num_devices)
    return backend.predictor(model.config, arrays, head.outputs), plan


def find_length(model: TrainedModel, given: int | None, default: int) -> int:
    """Pieces of the longest text: the given number, else that of the training, else the default.

    The model's positions limit the last two.

    Raises:
        ValueError: the model has fewer positions.
    """
    if given is not None:
        require_positive(max_seq_length=given)
        compare_length(given, model.config, model.files.config_file)
        return given
    known: int = model.remembered.get("max_seq_length", default)
    return min(known, model.config.max_position_embeddings)


def require_positive(**values: int) -> None:
    """Raises: ValueError: a setting is less than 1."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}.")


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raises: ValueError: a setting is none of its choices."""
    if value not in choices:
        raise ValueError(f"--{name} must be one of {', '.join(choices)}, got {value!r}.")


@contextlib.contextmanager
def plain_messages() -> Iterator[None]:
    """Turns messages for the command line into messages for Python, where --name is name."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        kind = type(error)
        if kind not in (FileNotFoundError, ValueError) or len(error.args) != 1:
            raise  # of the system or of another library
        message = named(str(error)).removeprefix("--init_checkpoint: ")
        raise kind(_FLAG.sub("", message)) from None
