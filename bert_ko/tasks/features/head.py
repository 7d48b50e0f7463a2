"""What is taken from the layers of a model, on its devices.

Legend: B batch, L length of the batch, N layers that are wanted, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from bert_ko.modeling.bert import Features, Model, all_layers
from bert_ko.modeling.fused import Tensor
from bert_ko.tasks.features.settings import Pooling
from bert_ko.training.backend import OutputFunction


def feature_outputs(positions: Sequence[int], pooling: Pooling) -> OutputFunction:
    """A function for ``predictor``.

    Args:
        positions: of the layers; 0 is the embeddings.
        pooling: what is made of the pieces of a sentence.

    Returns:
        Takes input_ids, input_mask, segment_ids int32 [B, L], and for means piece_weights float32
        [B, L]. Returns values float32 [B, L, N, H], with pooling [B, N, H].
    """

    def outputs(model: Model, batch: Features) -> dict[str, Tensor]:
        layers = all_layers(model, batch)
        found = [ops.cast(layers[position], "float32") for position in positions]
        if pooling == "cls":
            found = [layer[:, 0] for layer in found]
        elif pooling == "mean":
            weights = batch["piece_weights"][:, None, :]
            found = [ops.matmul(weights, layer)[:, 0] for layer in found]
        return {"values": ops.stack(found, axis=-2)}

    return outputs
