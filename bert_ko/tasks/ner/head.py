"""The heads for tags of pieces: each by itself, or joined by a CRF.

Legend: B batch, L length of the batch, T tags. Pieces of the text are those between [CLS] and
[SEP]: positions 1 to L - 2 of the batch, of which the first ones are real.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from keras import ops

from bert_ko.modeling import parameters as names
from bert_ko.modeling.bert import Features, Model, drop_units, encode
from bert_ko.modeling.fused import Tensor
from bert_ko.tasks.fine_tuning import Head
from bert_ko.tasks.ner.crf import Crf, bio_transitions, log_likelihood, marginals, viterbi
from bert_ko.training.backend import HostBatch, HostScalars
from bert_ko.training.objective import Objective


def tag_logits(model: Model, features: Features) -> Tensor:
    """What is said of each tag at each piece of the text.

    Args:
        model: variables and settings.
        features: input_ids, input_mask, segment_ids, int32 [B, L].

    Returns:
        float32 [B, L - 2, T].
    """
    output = ops.cast(encode(model, features), "float32")[:, 1:-1]
    weights, bias = model.params[names.TAG_WEIGHTS], model.params[names.TAG_BIAS]
    return ops.matmul(drop_units(model, output), ops.transpose(weights)) + bias


def text_mask(features: Features) -> Tensor:
    """1 for pieces of the text, float32 [B, L - 2]: the last real position is [SEP]."""
    return ops.cast(features["input_mask"][:, 2:], "float32")


def crf_of(model: Model) -> Crf:
    """The variables of the CRF."""
    params = model.params
    return Crf(params[names.TAG_TRANSITIONS], params[names.TAG_START], params[names.TAG_END])


def tag_outputs(model: Model, batch: Features) -> dict[str, Tensor]:
    """What prediction needs: tag_ids int32 [B, L - 2], and their probabilities float32."""
    probabilities = ops.softmax(tag_logits(model, batch), axis=-1)
    tag_ids = ops.cast(ops.argmax(probabilities, axis=-1), "int32")
    return {"tag_ids": tag_ids, "probabilities": ops.max(probabilities, axis=-1)}


def crf_outputs(allowed: npt.NDArray[np.bool_], model: Model, batch: Features) -> dict[str, Tensor]:
    """The same of the best path of the CRF; probabilities are those of each tag by itself.

    Args:
        allowed: see ``crf.bio_transitions``.
        model: variables and settings.
        batch: input_ids, input_mask, segment_ids, int32 [B, L].
    """
    logits, mask, crf = tag_logits(model, batch), text_mask(batch), crf_of(model)
    tag_ids = viterbi(logits, mask, crf, allowed)
    one_hot = ops.one_hot(tag_ids, logits.shape[-1], dtype="float32")
    return {
        "tag_ids": tag_ids,
        "probabilities": ops.sum(marginals(logits, mask, crf) * one_hot, axis=-1),
    }


def tag_loss(model: Model, batch: Features) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of the tag of each piece.

    Args:
        model: variables and settings.
        batch: features, tag_ids int32 [B, L], example_weights float32 [B], and the scalar of
            ``tag_denominators`` of the whole batch.

    Returns:
        The part's share of the loss, and sums over the part.
    """
    logits = tag_logits(model, batch)
    weights = text_mask(batch) * batch["example_weights"][:, None]
    one_hot = ops.one_hot(batch["tag_ids"][:, 1:-1], logits.shape[-1], dtype="float32")
    chosen = ops.sum(logits * one_hot, axis=-1)
    losses = ops.logsumexp(logits, axis=-1) - chosen
    total = ops.sum(losses * weights)
    return total / batch["tag_denominator"], _sums(total, logits, chosen, weights)


def crf_loss(model: Model, batch: Features) -> tuple[Tensor, dict[str, Tensor]]:
    """Negative log-likelihood of the tags of each stretch, per piece; see ``tag_loss``."""
    logits, mask = tag_logits(model, batch), text_mask(batch)
    tag_ids = batch["tag_ids"][:, 1:-1]
    likelihoods = log_likelihood(logits, tag_ids, mask, crf_of(model))
    total = -ops.sum(likelihoods * batch["example_weights"])
    one_hot = ops.one_hot(tag_ids, logits.shape[-1], dtype="float32")
    chosen = ops.sum(logits * one_hot, axis=-1)
    weights = mask * batch["example_weights"][:, None]
    return total / batch["tag_denominator"], _sums(total, logits, chosen, weights)


def _sums(total: Tensor, logits: Tensor, chosen: Tensor, weights: Tensor) -> dict[str, Tensor]:
    is_right = ops.cast(chosen >= ops.max(logits, axis=-1), "float32")
    return {
        "tag_loss": total,
        "tags_right": ops.sum(is_right * weights),
        "tag_weight": ops.sum(weights),
    }


def tag_denominators(batch: HostBatch) -> HostScalars:
    """What the sums of a batch are divided by: its pieces of text."""
    pieces = batch["input_mask"][:, 2:].sum(axis=1) * batch["example_weights"]
    return {"tag_denominator": np.float32(max(float(pieces.sum()), 1.0))}


def tag_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """Means over pieces: loss, and the share whose tag has the largest logit."""
    weight = max(sums["tag_weight"], 1.0)
    return {"loss": sums["tag_loss"] / weight, "accuracy": sums["tags_right"] / weight}


TAGS = Objective(
    tag_denominators, tag_metrics, (("loss", "loss"), ("accuracy", "accuracy of pieces"))
)


def load_head(labels: Sequence[str], use_crf: bool) -> Head:
    """What run_ner computes.

    Args:
        labels: all tags.
        use_crf: joins them.
    """
    if not use_crf:
        return Head(tag_loss, tag_outputs, TAGS)
    allowed = bio_transitions(labels)
    allowed[-1] = True  # a long sentence's second stretch may begin inside of an entity
    return Head(crf_loss, partial(crf_outputs, allowed), TAGS)
