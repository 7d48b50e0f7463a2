"""All that a model says of a batch, by the heads whose variables it has."""

from __future__ import annotations

from keras import ops

from bert_ko.modeling import parameters as names
from bert_ko.modeling.bert import (
    Features,
    Model,
    encode,
    masked_lm_logits,
    next_sentence_logits,
    pool,
)
from bert_ko.modeling.fused import Tensor
from bert_ko.tasks.squad.head import span_logits


def all_outputs(model: Model, batch: Features) -> dict[str, Tensor]:
    """Sequence_output [B, L, H], and the logits of the heads that there are.

    Args:
        model: variables and settings.
        batch: input_ids, input_mask, segment_ids, int32 [B, L].
    """
    output = encode(model, batch)
    found = {"sequence_output": output}
    params = model.params
    rows, length = batch["input_ids"].shape
    if names.OUTPUT_BIAS in params:
        places = ops.tile(ops.arange(length, dtype="int32")[None], (rows, 1))
        logits = masked_lm_logits(model, output, places) + params[names.OUTPUT_BIAS]
        found["masked_lm_logits"] = ops.reshape(logits, (rows, length, -1))
    if names.RELATIONSHIP_WEIGHTS in params:
        logits = next_sentence_logits(model, pool(model, output))
        found["next_sentence_logits"] = logits + params[names.RELATIONSHIP_BIAS]
    if names.CLASS_WEIGHTS in params:
        weights, bias = params[names.CLASS_WEIGHTS], params[names.CLASS_BIAS]
        found["class_logits"] = ops.matmul(pool(model, output), ops.transpose(weights)) + bias
    if names.TAG_WEIGHTS in params:
        weights, bias = params[names.TAG_WEIGHTS], params[names.TAG_BIAS]
        found["tag_logits"] = ops.matmul(output, ops.transpose(weights)) + bias
    if names.SPAN_WEIGHTS in params:
        found["start_logits"], found["end_logits"] = span_logits(model, batch)
    return found


def no_loss(model: Model, batch: Features) -> tuple[Tensor, dict[str, Tensor]]:
    """Stands where nothing is trained."""
    raise NotImplementedError
