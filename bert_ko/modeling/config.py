"""bert_config.json."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

ACTIVATIONS = ("gelu", "gelu_erf", "relu", "tanh")


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """The shape of a BERT model; Google's keys and defaults.

    Attributes:
        vocab_size: V, rows of the word embeddings.
        hidden_size: H.
        num_hidden_layers: Transformer layers.
        num_attention_heads: N; divides hidden_size.
        intermediate_size: units of the feed-forward layer.
        hidden_act: gelu is the tanh approximation, as in Google's code; gelu_erf the exact one, as
            what Hugging Face calls gelu.
        hidden_dropout_prob: in [0, 1), for embeddings and the output of each sublayer.
        attention_probs_dropout_prob: in [0, 1).
        max_position_embeddings: longest sequence in pieces.
        type_vocab_size: segment ids.
        initializer_range: standard deviation of the truncated normal for new weights.
    """

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by its key."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (type(value) is not int or value < 1):
                raise ValueError(f"{field.name} must be a positive integer, got {value!r}.")
            if field.type == "float" and (isinstance(value, bool) or not 0 <= _number(value) < 1):
                raise ValueError(f"{field.name} must be a number in [0, 1), got {value!r}.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_attention_heads, got {self.hidden_size} "
                f"and {self.num_attention_heads}."
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act must be one of {', '.join(ACTIVATIONS)}, got {self.hidden_act!r}."
            )

    @property
    def head_size(self) -> int:
        """D, hidden units of an attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> BertConfig:
        """Reads bert_config.json.

        Args:
            text: the content of the file.
            source: its name, for error messages.

        Raises:
            ValueError: no JSON object, an unknown or missing key, or a bad value.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{source}: not JSON ({error}).") from None
        if not isinstance(values, dict):
            raise ValueError(f"{source}: must be a JSON object, got {type(values).__name__}.")
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise ValueError(
                f"{source}: unknown keys {', '.join(unknown)}; known are "
                f"{', '.join(sorted(known))}. Delete them."
            )
        if "vocab_size" not in values:
            raise ValueError(f"{source}: vocab_size is missing: the number of lines of vocab.txt.")
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """The values by their keys, for JSON."""
        return dataclasses.asdict(self)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else -1.0
