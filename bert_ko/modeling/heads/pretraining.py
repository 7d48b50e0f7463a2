"""Masked pieces and next sentences.

Legend: B batch, L length of the batch, P max_predictions_per_seq (of a row, if it is packed),
H hidden_size, V vocabulary, N sequences: B, or B * S of a packed batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encode, encoder_of
from bert_ko.modeling.fused import BIAS_ACTIVATION, CROSS_ENTROPY, NORM_DROPOUT, Tensor
from bert_ko.modeling.heads.base import (
    HostBatch,
    HostScalars,
    Metrics,
    Sums,
    output_specs,
    pool,
    pooler_specs,
)
from bert_ko.modeling.ops import ops
from bert_ko.modeling.packing import of_sequences, take_rows
from bert_ko.modeling.parameters import ParameterSpec, Specs, dense_specs, norm_specs

TRANSFORM = "cls/predictions/transform"
OUTPUT_BIAS = "cls/predictions/output_bias"
RELATIONSHIP_WEIGHTS = "cls/seq_relationship/output_weights"
RELATIONSHIP_BIAS = "cls/seq_relationship/output_bias"
_TINY = 1e-5  # in the denominator of pre-training's losses, as in Google's code


@dataclass(frozen=True)
class MaskedLmHead:
    """The pieces at masked positions; only these reach the vocabulary.

    Source: get_masked_lm_output of run_pretraining.py of google-research/bert.
    """

    def specs(self, config: ModelConfig) -> Specs:
        """See Head."""
        h = config.hidden_size
        return {
            **dict(dense_specs(f"{TRANSFORM}/dense", h, h)),
            **dict(norm_specs(f"{TRANSFORM}/LayerNorm", h)),
            OUTPUT_BIAS: ParameterSpec((config.vocab_size,), "zeros"),
        }

    def scores(self, model: Model, sequence_output: Tensor, positions: Tensor) -> Tensor:
        """[B, L, H] and int32 [B, P] to logits [B * P, V] without the output bias.

        The fused cross-entropy adds the bias.
        """
        x = take_rows(sequence_output, positions)
        compute = model.compute
        hidden = compute.fuse(BIAS_ACTIVATION)(
            *model.dense(x, f"{TRANSFORM}/dense"),
            activation=model.config.hidden_act,
            dtype=compute.activation_dtype,
        )
        norm = model.norm(f"{TRANSFORM}/LayerNorm")
        hidden = compute.fuse(NORM_DROPOUT)(hidden, *norm, rate=0.0, dtype=compute.activation_dtype)
        words = model.params[encoder_of(model.config).word_embeddings]
        return compute.matmul(hidden, words, transpose_b=True)

    def logits(self, model: Model, sequence_output: Tensor, positions: Tensor) -> Tensor:
        """Logits of all pieces: [B, L, H] and int32 [B, P] -> float32 [B, P, V]."""
        rows = ops.cast(self.scores(model, sequence_output, positions), "float32")
        return ops.reshape(rows + model.params[OUTPUT_BIAS], (*ops.shape(positions), -1))

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """Probabilities of all pieces at masked_lm_positions, float32 [B, P, V]."""
        logits = self.logits(model, encode(model, batch), batch["masked_lm_positions"])
        return {"probabilities": ops.softmax(logits)}

    def sums(self, model: Model, batch: Features, sequence_output: Tensor) -> Sums:
        """Sums over masked pieces of losses, of right predictions, of weights: float32 scalars.

        Args:
            model: variables and settings.
            batch: masked_lm_positions, masked_lm_ids int32, masked_lm_weights float32, [B, P].
            sequence_output: [B, L, H].
        """
        scores = self.scores(model, sequence_output, batch["masked_lm_positions"])
        weights = ops.reshape(batch["masked_lm_weights"], (-1,))
        labels = batch["masked_lm_ids"]
        return _pretraining_sums("masked_lm", model, scores, OUTPUT_BIAS, labels, weights)


@dataclass(frozen=True)
class NextSentenceHead:
    """Whether the second segment follows the first (0) or is random (1)."""

    def specs(self, config: ModelConfig) -> Specs:
        """See Head."""
        return output_specs(RELATIONSHIP_WEIGHTS, RELATIONSHIP_BIAS, 2, config.hidden_size)

    def scores(self, model: Model, features: Features, sequence_output: Tensor) -> Tensor:
        """Logits without the output bias: [B, L, H] -> float32 [N, 2]."""
        pooled = pool(model, features, sequence_output)
        return ops.matmul(pooled, ops.transpose(model.params[RELATIONSHIP_WEIGHTS]))

    def logits(self, model: Model, features: Features, sequence_output: Tensor) -> Tensor:
        """Logits of both labels: [B, L, H] -> float32 [N, 2]."""
        return self.scores(model, features, sequence_output) + model.params[RELATIONSHIP_BIAS]

    def sums(self, model: Model, batch: Features, sequence_output: Tensor) -> Sums:
        """Sums over examples of losses, of right predictions, of weights: float32 scalars.

        Args:
            model: variables and settings.
            batch: next_sentence_labels int32 [B, 1], next_sentence_weights float32 [B]; both
                [B, S] if it is packed.
            sequence_output: [B, L, H].
        """
        scores, labels = self.scores(model, batch, sequence_output), batch["next_sentence_labels"]
        weights = of_sequences(batch, "next_sentence_weights")
        return _pretraining_sums("next_sentence", model, scores, RELATIONSHIP_BIAS, labels, weights)


def _pretraining_sums(
    name: str, model: Model, scores: Tensor, bias: str, labels: Tensor, weights: Tensor
) -> Sums:
    """Of scores [R, N], labels int32 of R elements and weights float32 [R]."""
    losses, correct = model.compute.fuse(CROSS_ENTROPY)(
        scores, model.params[bias], ops.reshape(labels, (-1,))
    )
    return {
        f"{name}_loss": ops.sum(losses * weights),
        f"{name}_correct": ops.sum(correct * weights),
        f"{name}_weight": ops.sum(weights),
    }


@dataclass(frozen=True)
class PretrainingHead:
    """Masked pieces and next sentences, with the batches of both heads."""

    masked_lm: MaskedLmHead = MaskedLmHead()
    next_sentence: NextSentenceHead = NextSentenceHead()
    headline: tuple[tuple[str, str], ...] = (
        ("loss", "loss"),
        ("masked_lm_accuracy", "masked-LM accuracy"),
    )

    def specs(self, config: ModelConfig) -> Specs:
        """See Head."""
        heads = {**self.masked_lm.specs(config), **self.next_sentence.specs(config)}
        return {**pooler_specs(config), **heads}

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """See Head."""
        sequence_output = encode(model, batch)
        masked_lm = self.masked_lm.sums(model, batch, sequence_output)
        next_sentence = self.next_sentence.sums(model, batch, sequence_output)
        objective = masked_lm["masked_lm_loss"] / (
            batch["masked_lm_denominator"] + _TINY
        ) + next_sentence["next_sentence_loss"] / (batch["next_sentence_denominator"] + _TINY)
        return objective, {**masked_lm, **next_sentence}

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """See MaskedLmHead."""
        return self.masked_lm.outputs(model, batch)

    def denominators(self, batch: HostBatch) -> HostScalars:
        """See Head."""
        return {
            f"{name}_denominator": np.float32(batch[f"{name}_weights"].sum())
            for name in ("masked_lm", "next_sentence")
        }

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Means under Google's names."""
        metrics = {}
        for name in ("masked_lm", "next_sentence"):
            weight = sums[f"{name}_weight"] + _TINY
            metrics[f"{name}_loss"] = sums[f"{name}_loss"] / weight
            metrics[f"{name}_accuracy"] = sums[f"{name}_correct"] / weight
        return {"loss": metrics["masked_lm_loss"] + metrics["next_sentence_loss"], **metrics}
