"""A tag for every piece of a text.

Legend: B batch, L length of the batch, H hidden_size, T tags, N sequences: B, or B * S of a packed
batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.compute import Features, Model, Parameters
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.crf import Crf, bio_transitions, log_likelihood, marginals, viterbi
from bert_ko.modeling.encoder import encode
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.heads.base import (
    HostBatch,
    HostScalars,
    Metrics,
    Sums,
    cross_entropy,
    divided,
    output_specs,
    project,
)
from bert_ko.modeling.heads.words import WordNetwork
from bert_ko.modeling.ops import ops
from bert_ko.modeling.packing import is_packed, of_sequences, separate, sequence_mask
from bert_ko.modeling.parameters import ParameterSpec, Specs

TAG_WEIGHTS = "cls/tags/output_weights"
TAG_BIAS = "cls/tags/output_bias"
TAG_CRF = "cls/tags/crf/"
TAG_TRANSITIONS = f"{TAG_CRF}transitions"
TAG_START = f"{TAG_CRF}start"
TAG_END = f"{TAG_CRF}end"


@dataclass(frozen=True)
class TagHead:
    """A tag for every piece of a text, on its own or joined by a CRF.

    Pieces of the text are those between [CLS] and [SEP]: positions 1 to L - 2 of the batch, of
    which the first ones are real. Batches hold tag_ids int32 [B, L], and example_weights float32
    [B], or [B, S] if it is packed.

    Attributes:
        network: what is read of a model of words, whose sentence marks are in the places of [CLS]
            and [SEP]; of one of pieces, its output is.
    """

    labels: tuple[str, ...]
    use_crf: bool = False
    headline: tuple[tuple[str, str], ...] = (("loss", "loss"), ("accuracy", "accuracy of pieces"))
    network: WordNetwork | None = None

    def specs(self, config: ModelConfig) -> Specs:
        """See Head."""
        count = len(self.labels)
        below: Specs = {}
        width = config.hidden_size
        if self.network is not None:
            below, width = self.network.specs(config), self.network.width(config)
        specs = {**below, **output_specs(TAG_WEIGHTS, TAG_BIAS, count, width)}
        if self.use_crf:
            specs[TAG_TRANSITIONS] = ParameterSpec((count, count), "zeros")
            specs[TAG_START] = specs[TAG_END] = ParameterSpec((count,), "zeros")
        return specs

    def logits(self, model: Model, features: Features, sequence_output: Tensor) -> Tensor:
        """Logits of each tag at each piece of the text: [B, L, H] -> float32 [N, L - 2, T]."""
        output = ops.cast(sequence_output, "float32")[:, 1:-1]
        logits = project(model, model.drop_units(output), TAG_WEIGHTS, TAG_BIAS)
        return separate(features, logits)

    def _read(self, model: Model, batch: Features) -> Tensor:
        """Logits of each tag at each piece of the text, float32 [N, L - 2, T]."""
        if self.network is None:
            return self.logits(model, batch, encode(model, batch))
        return project(model, self.network.outputs(model, batch).values, TAG_WEIGHTS, TAG_BIAS)

    @cached_property
    def allowed(self) -> npt.NDArray[np.bool_]:
        """Which tags may follow which, and begin a batch's row; see ``viterbi``."""
        allowed = bio_transitions(self.labels)
        allowed[-1] = True  # a long sentence's second stretch may begin inside an entity
        return allowed

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """tag_ids int32 [N, L - 2], and the probability of each, float32.

        With a CRF they are those of its best path, and the marginal of each tag.
        """
        logits = self._read(model, batch)
        if not self.use_crf:
            probabilities = ops.softmax(logits, axis=-1)
            tag_ids = ops.cast(ops.argmax(probabilities, axis=-1), "int32")
            return {"tag_ids": tag_ids, "probabilities": ops.max(probabilities, axis=-1)}
        mask, crf = _text_mask(batch), crf_of(model.params)
        tag_ids = viterbi(logits, mask, crf, self.allowed)
        one_hot = ops.one_hot(tag_ids, logits.shape[-1], dtype="float32")
        probabilities = ops.sum(marginals(logits, mask, crf) * one_hot, axis=-1)
        return {"tag_ids": tag_ids, "probabilities": probabilities}

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """Cross-entropy of each piece's tag, or the negative log-likelihood of each path."""
        logits, mask = self._read(model, batch), _text_mask(batch)
        tag_ids = separate(batch, batch["tag_ids"][:, 1:-1])
        of_examples = of_sequences(batch, "example_weights")
        weights = mask * of_examples[:, None]
        losses, is_right = cross_entropy(logits, tag_ids)
        if self.use_crf:
            likelihoods = log_likelihood(logits, tag_ids, mask, crf_of(model.params))
            total = -ops.sum(likelihoods * of_examples)
        else:
            total = ops.sum(losses * weights)
        sums = {
            "tag_loss": total,
            "tags_right": ops.sum(is_right * weights),
            "tag_weight": ops.sum(weights),
        }
        return divided(total, batch["tag_denominator"]), sums

    def denominators(self, batch: HostBatch) -> HostScalars:
        """See Head."""
        if is_packed(batch):
            counts = np.maximum(batch["sequence_lengths"] - 2, 0)
        else:
            counts = batch["input_mask"][:, 2:].sum(axis=1)
        pieces = counts * batch["example_weights"]
        return {"tag_denominator": np.float32(pieces.sum())}

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Means over pieces: loss, and the share whose tag has the largest logit."""
        weight = max(sums["tag_weight"], 1.0)
        return {"loss": sums["tag_loss"] / weight, "accuracy": sums["tags_right"] / weight}


def _text_mask(features: Features) -> Tensor:
    """1 for pieces of the text, float32 [N, L - 2]: the last real position is [SEP]."""
    return sequence_mask(features)[:, 2:]


def crf_of(params: Parameters) -> Crf:
    """The variables of a head's CRF among those of a model."""
    return Crf(params[TAG_TRANSITIONS], params[TAG_START], params[TAG_END])
