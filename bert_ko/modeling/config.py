"""The configuration that all models share; each encoder adds its own keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

ACTIVATIONS = ("gelu", "gelu_erf", "relu", "tanh")
MODEL_TYPE_KEY = "model_type"
DEFAULT_MODEL_TYPE = "bert"  # Google's bert_config.json names none

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
            if field.type == "int" and (type(value) is not int or value < 1):
                raise ValueError(f"{field.name} must be a positive integer, got {value!r}.")
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if field.type == "float" and not (is_number and 0 <= value < 1):
                raise ValueError(f"{field.name} must be a number in [0, 1), got {value!r}.")
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {self.hidden_act!r}."
            )

    @classmethod
    def from_dict(cls: type[C], values: Mapping[str, Any], source: str) -> C:
        """Makes a configuration of the values of a JSON object; ``source`` is the file's name.

        Raises:
            ValueError: an unknown or missing key, or a bad value.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(values.keys() - known - {MODEL_TYPE_KEY})
        if unknown:
            raise ValueError(
                f"{source}: unknown keys {', '.join(unknown)}; known are "
                f"{', '.join(sorted(known))}. Delete them."
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
