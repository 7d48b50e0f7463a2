"""The heads for the class and for the score of a text.

Legend: B batch, L length of the batch, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from keras import ops

from bert_ko.modeling import parameters as names
from bert_ko.modeling.bert import Features, Model, drop_units, encode, pool
from bert_ko.modeling.fused import Tensor
from bert_ko.training.backend import HostBatch, HostScalars
from bert_ko.training.objective import Objective


def class_logits(model: Model, features: Features) -> Tensor:
    """What is said of each class, or of the score.

    Args:
        model: variables and settings.
        features: input_ids, input_mask, segment_ids, int32 [B, L].

    Returns:
        float32 [B, K]; K is 1 for a score.

    Source: create_model of run_classifier.py of google-research/bert.
    """
    pooled = drop_units(model, pool(model, encode(model, features)))
    weights, bias = model.params[names.CLASS_WEIGHTS], model.params[names.CLASS_BIAS]
    return ops.matmul(pooled, ops.transpose(weights)) + bias


def class_outputs(model: Model, batch: Features) -> dict[str, Tensor]:
    """What prediction needs: probabilities, float32 [B, K]."""
    return {"probabilities": ops.softmax(class_logits(model, batch), axis=-1)}


def score_outputs(model: Model, batch: Features) -> dict[str, Tensor]:
    """What prediction needs: scores, float32 [B]."""
    return {"scores": class_logits(model, batch)[:, 0]}


def class_loss(model: Model, batch: Features) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy, weighted by class.

    Args:
        model: variables and settings.
        batch: features, targets int32 [B], label_weights and example_weights float32 [B], and the
            scalar of ``label_denominators`` of the whole batch.

    Returns:
        The part's share of the loss, and sums over the part.
    """
    logits = class_logits(model, batch)
    one_hot = ops.one_hot(batch["targets"], logits.shape[-1], dtype="float32")
    chosen = ops.sum(logits * one_hot, axis=-1)
    losses = ops.logsumexp(logits, axis=-1) - chosen
    is_right = ops.cast(chosen >= ops.max(logits, axis=-1), "float32")
    weights = batch["label_weights"] * batch["example_weights"]
    total = ops.sum(losses * weights)
    sums = {
        "loss_sum": total,
        "loss_weight": ops.sum(weights),
        "num_right": ops.sum(is_right * batch["example_weights"]),
        "num_examples": ops.sum(batch["example_weights"]),
    }
    return total / batch["label_denominator"], sums


def score_loss(model: Model, batch: Features) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error; see ``class_loss``, with targets float32 [B]."""
    errors = ops.square(class_logits(model, batch)[:, 0] - batch["targets"])
    weights = batch["example_weights"]
    total = ops.sum(errors * weights)
    return total / batch["label_denominator"], {"loss_sum": total, "loss_weight": ops.sum(weights)}


def label_denominators(batch: HostBatch) -> HostScalars:
    """What the sums of a batch are divided by: the weights of its examples."""
    total = float((batch["label_weights"] * batch["example_weights"]).sum())
    return {"label_denominator": np.float32(max(total, 1e-6))}


def class_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """Means over examples: loss, and the share whose class is right."""
    accuracy = sums["num_right"] / max(sums["num_examples"], 1.0)
    return {**score_metrics(sums), "accuracy": accuracy}


def score_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """The mean squared error, as loss."""
    return {"loss": sums["loss_sum"] / max(sums["loss_weight"], 1e-6)}


CLASSES = Objective(label_denominators, class_metrics, (("loss", "loss"), ("accuracy", "accuracy")))
SCORES = Objective(label_denominators, score_metrics, (("loss", "loss"),))
