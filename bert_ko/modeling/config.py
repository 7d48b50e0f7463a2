"""The configuration that all models share; each encoder adds its own keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

ACTIVATIONS = ("gelu", "gelu_erf", "relu", "tanh")
MODEL_TYPE_KEY = "model_type"
DEFAULT_MODEL_TYPE = "bert"  # Google's bert_config.json names none
# Far above every model that was ever published; what is larger is a slip, and would only fill the
# memory before it fails.
_LARGEST = {
    "vocab_size": 10_000_000,
    "hidden_size": 65_536,
    "num_hidden_layers": 1_000,
    "max_position_embeddings": 1_000_000,
}
_LARGEST_OTHERWISE = 1_000_000
_MOST_PARAMETERS = 20_000_000_000
# Written by Google's multilingual models; no released code reads them.
PASSED_OVER = frozenset((
    "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
    "pooler_size_per_head", "pooler_type",
))  # fmt: skip
_SHOWN = 60  # characters of a value in a message

C = TypeVar("C", bound="ModelConfig")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a model, as heads, tasks, backends and conversion know it."""

    model_type: ClassVar[str]  # name of the encoder

    vocab_size: int  # V, rows of the word embeddings
    hidden_size: int = 768  # H, units of the encoder's output
    num_hidden_layers: int = 12
    # gelu is the tanh approximation, as in Google's code; gelu_erf the exact one, which Hugging
    # Face calls gelu.
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    max_position_embeddings: int = 512  # pieces of the longest sequence
    initializer_range: float = 0.02  # standard deviation of the truncated normal

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by its key."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int":
                _check_size(field.name, value)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if field.type == "float" and not (is_number and 0 <= value < 1):
                raise ValueError(f"{field.name} must be a number in [0, 1), got {shown(value)}.")
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {shown(self.hidden_act)}."
            )

    @classmethod
    def from_dict(cls: type[C], values: Mapping[str, Any], source: str) -> C:
        """Makes a configuration of the values of a JSON object; ``source`` is the file's name.

        Raises:
            ValueError: an unknown or missing key, or a bad value.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(values.keys() - known - {MODEL_TYPE_KEY} - PASSED_OVER)
        if unknown:
            raise ValueError(
                f"{source}: unknown keys {shown(', '.join(unknown))[1:-1]}; known are "
                f"{', '.join(sorted(known))}. Delete them."
            )
        if values.get("directionality", "bidi") != "bidi":
            raise ValueError(
                f"{source}: directionality is {shown(values['directionality'])}, but only bidi is "
                "computed."
            )
        if "vocab_size" not in values:
            raise ValueError(f"{source}: vocab_size is missing: the number of lines of vocab.txt.")
        try:
            return cls(**{name: value for name, value in values.items() if name in known})
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """The values by their keys, for JSON."""
        kind = {MODEL_TYPE_KEY: self.model_type}
        is_default = self.model_type == DEFAULT_MODEL_TYPE
        return {**({} if is_default else kind), **dataclasses.asdict(self)}


def _check_size(name: str, value: object) -> None:
    """Raises: ValueError: no positive integer, or larger than any model."""
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {shown(value)}.")
    largest = _LARGEST.get(name, _LARGEST_OTHERWISE)
    if value > largest:
        raise ValueError(f"{name} must be at most {largest:,}, got {shown(value)}.")


def refuse_giant(num_parameters: int, config: ModelConfig) -> None:
    """Raises: ValueError: an encoder of that many parameters is too large for any machine here."""
    if num_parameters > _MOST_PARAMETERS:
        raise ValueError(
            f"the encoder would have {num_parameters:,} parameters, at most {_MOST_PARAMETERS:,} "
            f"are computed; lower vocab_size ({config.vocab_size:,}), hidden_size "
            f"({config.hidden_size:,}) or num_hidden_layers ({config.num_hidden_layers:,})."
        )


def shown(value: object) -> str:
    """A value as it is shown in a message, cut if it is long."""
    text = repr(value)
    if len(text) <= _SHOWN:
        return text
    return f"{text[: _SHOWN // 2]}… ({len(text):,} characters)"
