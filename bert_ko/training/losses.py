"""Losses as sums, with the weights to divide by, so that parts of a batch add up exactly.

Legend: B batch, P max_predictions_per_seq.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
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
from bert_ko.modeling.fused import CROSS_ENTROPY, Tensor
from bert_ko.training.backend import HostBatch, HostScalars
from bert_ko.training.objective import Objective

Sums = dict[str, Tensor]
_TINY = 1e-5  # in the denominator, as in Google's code


def pretraining_loss(model: Model, batch: Features) -> tuple[Tensor, Sums]:
    """Masked-LM and next-sentence loss of a batch, or of a part of one.

    Args:
        model: variables and settings.
        batch: the features of an instance, [B, ...], next_sentence_weights float32 [B], and the
            scalars of ``pretraining_denominators`` of the whole batch.

    Returns:
        The part's share of the loss, a scalar; and sums over the part: of losses, of right
        predictions, and of weights.
    """
    sequence_output = encode(model, batch)
    logits = masked_lm_logits(model, sequence_output, batch["masked_lm_positions"])
    cross_entropy = model.compute.fuse(CROSS_ENTROPY)
    labels = ops.reshape(batch["masked_lm_ids"], (-1,))
    weights = ops.reshape(batch["masked_lm_weights"], (-1,))
    losses, correct = cross_entropy(logits, model.params[names.OUTPUT_BIAS], labels)
    masked_lm = _weighted("masked_lm", losses, correct, weights)

    logits = next_sentence_logits(model, pool(model, sequence_output))
    labels = ops.reshape(batch["next_sentence_labels"], (-1,))
    losses, correct = cross_entropy(logits, model.params[names.RELATIONSHIP_BIAS], labels)
    next_sentence = _weighted("next_sentence", losses, correct, batch["next_sentence_weights"])

    objective = (
        masked_lm["masked_lm_loss"] / batch["masked_lm_denominator"]
        + next_sentence["next_sentence_loss"] / batch["next_sentence_denominator"]
    )
    return objective, {**masked_lm, **next_sentence}


def _weighted(name: str, losses: Tensor, correct: Tensor, weights: Tensor) -> Sums:
    return {
        f"{name}_loss": ops.sum(losses * weights),
        f"{name}_correct": ops.sum(correct * weights),
        f"{name}_weight": ops.sum(weights),
    }


def pretraining_denominators(batch: HostBatch) -> HostScalars:
    """What the sums of a batch are divided by: its weights."""
    return {
        f"{name}_denominator": np.float32(float(batch[f"{name}_weights"].sum()) + _TINY)
        for name in ("masked_lm", "next_sentence")
    }


def pretraining_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """Means under Google's names.

    Args:
        sums: of ``pretraining_loss``, over any number of batches.
    """
    metrics = {}
    for name in ("masked_lm", "next_sentence"):
        weight = sums[f"{name}_weight"] + _TINY
        metrics[f"{name}_loss"] = sums[f"{name}_loss"] / weight
        metrics[f"{name}_accuracy"] = sums[f"{name}_correct"] / weight
    return {"loss": metrics["masked_lm_loss"] + metrics["next_sentence_loss"], **metrics}


PRETRAINING = Objective(
    pretraining_denominators,
    pretraining_metrics,
    (("loss", "loss"), ("masked_lm_accuracy", "masked-LM accuracy")),
)
