"""Probabilities of pieces at the masks of a text, in keras.ops."""

from __future__ import annotations

from keras import ops

from bert_ko.modeling import parameters as names
from bert_ko.modeling.bert import Features, Model, encode, masked_lm_logits
from bert_ko.modeling.fused import Tensor


def masked_lm_outputs(model: Model, batch: Features) -> dict[str, Tensor]:
    """The probabilities of all pieces at the masks, float32 [B, P, V].

    Args:
        model: variables and settings.
        batch: input_ids, input_mask, segment_ids int32 [B, L], masked_lm_positions int32 [B, P].
    """
    positions = batch["masked_lm_positions"]
    rows = masked_lm_logits(model, encode(model, batch), positions)  # [B * P, V]
    logits = ops.cast(rows, "float32") + model.params[names.OUTPUT_BIAS]
    return {"probabilities": ops.reshape(ops.softmax(logits), (*positions.shape, -1))}
