"""The head for answers: where they begin and where they end.

Legend: B batch, L length of the batch, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from keras import ops

from bert_ko.modeling import parameters as names
from bert_ko.modeling.bert import Features, Model, encode
from bert_ko.modeling.fused import Tensor
from bert_ko.training.backend import HostBatch, HostScalars
from bert_ko.training.objective import Objective

_OUTSIDE = -10000.0  # added to the logits of padding


def span_logits(model: Model, features: Features) -> tuple[Tensor, Tensor]:
    """Logits of every piece as the first and the last of the answer.

    Args:
        model: variables and settings.
        features: input_ids, input_mask, segment_ids, int32 [B, L].

    Returns:
        Two of float32 [B, L]; those of padding are low, so that the length of a batch decides
        nothing.

    Source: create_model of run_squad.py of google-research/bert. Differs: there padding may be an
        answer.
    """
    output = ops.cast(encode(model, features), "float32")
    weights, bias = model.params[names.SPAN_WEIGHTS], model.params[names.SPAN_BIAS]
    logits = ops.matmul(output, ops.transpose(weights)) + bias  # [B, L, 2]
    outside = (1.0 - ops.cast(features["input_mask"], "float32")) * _OUTSIDE
    return logits[:, :, 0] + outside, logits[:, :, 1] + outside


def span_outputs(model: Model, batch: Features) -> dict[str, Tensor]:
    """What prediction needs: start_logits and end_logits, float32 [B, L]."""
    start, end = span_logits(model, batch)
    return {"start_logits": start, "end_logits": end}


def span_loss(model: Model, batch: Features) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean of the losses of both ends.

    Args:
        model: variables and settings.
        batch: features, start_positions and end_positions int32 [B], example_weights float32 [B],
            and the scalar of ``span_denominators`` of the whole batch.

    Returns:
        The part's share of the loss, and sums over the part: of losses, of windows whose ends are
        both right, and of weights.
    """
    start, end = span_logits(model, batch)
    weights = batch["example_weights"]
    of_start, start_is_right = _cross_entropy(start, batch["start_positions"])
    of_end, end_is_right = _cross_entropy(end, batch["end_positions"])
    total = ops.sum((of_start + of_end) / 2 * weights)
    sums = {
        "span_loss": total,
        "span_correct": ops.sum(start_is_right * end_is_right * weights),
        "span_weight": ops.sum(weights),
    }
    return total / batch["span_denominator"], sums


def _cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [B], and 1 where the label has the largest logit [B]."""
    one_hot = ops.one_hot(labels, logits.shape[-1], dtype="float32")
    chosen = ops.sum(logits * one_hot, axis=-1)
    losses = ops.logsumexp(logits, axis=-1) - chosen
    return losses, ops.cast(chosen >= ops.max(logits, axis=-1), "float32")


def span_denominators(batch: HostBatch) -> HostScalars:
    """What the sums of a batch are divided by: its windows."""
    return {"span_denominator": np.float32(max(float(batch["example_weights"].sum()), 1.0))}


def span_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """Means over windows: loss, and the share whose ends are both right."""
    weight = max(sums["span_weight"], 1.0)
    return {"loss": sums["span_loss"] / weight, "span_accuracy": sums["span_correct"] / weight}


SPANS = Objective(
    span_denominators, span_metrics, (("loss", "loss"), ("span_accuracy", "exact windows"))
)
