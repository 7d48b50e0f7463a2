"""What a file of features says of itself."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy.typing as npt

from bert_ko.tasks.features.settings import FeatureSettings
from bert_ko.tasks.sentences import Sentences
from bert_ko.training.model_files import TrainedModel

FORMAT = "bert_ko features 1"


class Layout(NamedTuple):
    """What is written beside the values.

    Attributes:
        settings: what was extracted.
        hidden_size: H.
        pieces: of the vocabulary, by id.
        metadata: values for JSON, by name.
    """

    settings: FeatureSettings
    hidden_size: int
    pieces: tuple[str, ...]
    metadata: dict[str, Any]

    @property
    def metadata_texts(self) -> dict[str, str]:
        """Each value as JSON."""
        return {
            name: json.dumps(value, ensure_ascii=False) for name, value in self.metadata.items()
        }

    def values_shape(self, whole: Sentences) -> tuple[int, int, int]:
        """Of all sentences together: [P, N, H], with pooling [S, N, H]."""
        count = len(whole) if self.settings.is_pooled else whole.num_pieces
        return count, len(self.settings.layers), self.hidden_size

    def arrays(self, whole: Sentences) -> dict[str, npt.NDArray[Any]]:
        """What stands beside the values; nothing with pooling, where no piece is left."""
        if self.settings.is_pooled:
            return {}
        return {"sentence_offsets": whole.sentence_offsets, **whole.columns()}


def make_layout(
    model: TrainedModel, settings: FeatureSettings, init_checkpoint: str, computed_with: str
) -> Layout:
    """Describes features.

    Args:
        model: which they are of.
        settings: what is extracted.
        init_checkpoint: the model's name.
        computed_with: devices and precision.
    """
    metadata = {
        "format": FORMAT,
        "layers": list(settings.layers),
        "pooling": settings.pooling,
        "dtype": settings.dtype,
        "hidden_size": model.config.hidden_size,
        "max_seq_length": settings.max_seq_length,
        "computed_with": computed_with,
        "model": {
            "init_checkpoint": init_checkpoint,
            "kind": model.source.kind,
            "config": model.config.to_dict(),
            "tokenizer_fingerprint": model.tokenizer.fingerprint,
        },
    }
    return Layout(settings, model.config.hidden_size, model.tokenizer.vocab.pieces, metadata)
