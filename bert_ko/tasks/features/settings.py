"""What is extracted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bert_ko.modeling.config import ModelConfig

Pooling = Literal["none", "cls", "mean"]
DType = Literal["float32", "float16"]


@dataclass(frozen=True)
class FeatureSettings:
    """What is extracted, and in which batches.

    Attributes:
        layers: -1 is the last one, -2 the one before it; 0 the first.
        pooling: none keeps every piece.
        dtype: of the values.
        max_seq_length: pieces of a sentence with [CLS] and [SEP].
        batch_size: sentences that are computed together.
    """

    layers: tuple[int, ...]
    pooling: Pooling = "none"
    dtype: DType = "float32"
    max_seq_length: int = 128
    batch_size: int = 32

    @property
    def is_pooled(self) -> bool:
        """Whether there is one vector a sentence, and not one a piece."""
        return self.pooling != "none"

    def positions(self, config: ModelConfig) -> list[int]:
        """The layers counted from the embeddings, which are 0.

        Raises:
            ValueError: the model does not have one of them.
        """
        count = config.num_hidden_layers
        for layer in self.layers:
            if not -count - 1 <= layer < count:
                raise ValueError(
                    f"--layers: there is no layer {layer}; the model has {count}, from 0 to "
                    f"{count - 1} or from -1 back to {-count}, and {-count - 1} for the embeddings."
                )
        return [layer + 1 if layer >= 0 else count + 1 + layer for layer in self.layers]


def parse_layers(texts: Sequence[str]) -> tuple[int, ...]:
    """The layers of a flag.

    Raises:
        ValueError: none, no number, or one twice.
    """
    try:
        layers = tuple(map(int, texts))
    except ValueError:
        layers = ()
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(
            f"--layers must be different integers such as -1,-2, got {','.join(texts)!r}."
        )
    return layers
