"""Heads on an encoder: their variables, logits and losses.

Losses are sums, with the weights to divide by, so that parts of a batch add up exactly.

Legend: B batch, L length of the batch, P max_predictions_per_seq, H hidden_size, V vocabulary,
K classes, T tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.crf import Crf, bio_transitions, log_likelihood, marginals, viterbi
from bert_ko.modeling.encoder import encode, encoder_of
from bert_ko.modeling.fused import BIAS_ACTIVATION, CROSS_ENTROPY, NORM_DROPOUT, Tensor
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import ParameterSpec, Specs, dense_specs, norm_specs

TRANSFORM = "cls/predictions/transform"
OUTPUT_BIAS = "cls/predictions/output_bias"
RELATIONSHIP_WEIGHTS = "cls/seq_relationship/output_weights"
RELATIONSHIP_BIAS = "cls/seq_relationship/output_bias"
SPAN_WEIGHTS = "cls/squad/output_weights"
SPAN_BIAS = "cls/squad/output_bias"
CLASS_WEIGHTS = "output_weights"  # as Google's run_classifier calls it
CLASS_BIAS = "output_bias"
TAG_WEIGHTS = "cls/tags/output_weights"
TAG_BIAS = "cls/tags/output_bias"
TAG_CRF = "cls/tags/crf/"
TAG_TRANSITIONS = f"{TAG_CRF}transitions"
TAG_START = f"{TAG_CRF}start"
TAG_END = f"{TAG_CRF}end"
# Variables that mean nothing without their labels.
LABEL_VARIABLES = (
    CLASS_WEIGHTS, CLASS_BIAS, TAG_WEIGHTS, TAG_BIAS, TAG_TRANSITIONS, TAG_START, TAG_END,
)  # fmt: skip

HostBatch = dict[str, npt.NDArray[Any]]
HostScalars = dict[str, np.float32]
Sums = dict[str, Tensor]
Metrics = dict[str, float]
_OUTSIDE = -10000.0  # added to the logits of padding
_TINY = 1e-5  # in the denominator of pre-training's losses, as in Google's code


class PredictingHead(Protocol):
    """A head that predicts."""

    def specs(self, config: ModelConfig) -> Specs:
        """The head's variables, with the pooler if the head uses it."""

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """What prediction needs of each example of a batch, tensors [B, ...]."""


class Head(PredictingHead, Protocol):
    """A head that a task trains, with its encoder."""

    @property
    def headline(self) -> tuple[tuple[str, str], ...]:
        """Metrics for the progress line: (name, label)."""

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """The loss of a batch, or of a part of one.

        Args:
            model: variables and settings.
            batch: the task's batch, [B, ...], and the scalars of ``denominators`` of the whole
                batch.

        Returns:
            The part's share of the loss, a scalar; and sums over the part, for ``metrics``.
        """

    def denominators(self, batch: HostBatch) -> HostScalars:
        """The numbers by which the sums of a whole batch [B, ...] are divided."""

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Means by name, "loss" among them, of sums over any number of batches."""


def model_specs(config: ModelConfig, head: PredictingHead | None = None) -> Specs:
    """The variables of an encoder, and of a head on it."""
    specs = encoder_of(config).specs(config)
    return {**specs, **head.specs(config)} if head is not None else specs


def pool(model: Model, sequence_output: Tensor) -> Tensor:
    """The output at [CLS] through a tanh layer: [B, L, H] -> float32 [B, H]."""
    first = ops.cast(sequence_output[:, 0], "float32")
    scope = encoder_of(model.config).pooler
    return ops.tanh(
        ops.matmul(first, model.params[f"{scope}/kernel"]) + model.params[f"{scope}/bias"]
    )


def pooler_specs(config: ModelConfig) -> Specs:
    """The variables of ``pool``."""
    return dict(dense_specs(encoder_of(config).pooler, config.hidden_size, config.hidden_size))


def _output_specs(weights: str, bias: str, units: int, config: ModelConfig) -> Specs:
    return {
        weights: ParameterSpec((units, config.hidden_size), "normal"),
        bias: ParameterSpec((units,), "zeros"),
    }


def _project(model: Model, x: Tensor, weights: str, bias: str) -> Tensor:
    """[..., H] -> [..., units], by weights [units, H]."""
    return ops.matmul(x, ops.transpose(model.params[weights])) + model.params[bias]


def _cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Losses, and 1 where the label has the largest logit: [..., N] and [...] -> two of [...]."""
    one_hot = ops.one_hot(labels, logits.shape[-1], dtype="float32")
    chosen = ops.sum(logits * one_hot, axis=-1)
    losses = ops.logsumexp(logits, axis=-1) - chosen
    return losses, ops.cast(chosen >= ops.max(logits, axis=-1), "float32")


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
        batch, length, units = sequence_output.shape
        rows = ops.reshape(positions + ops.arange(batch, dtype="int32")[:, None] * length, (-1,))
        x = ops.take(ops.reshape(sequence_output, (-1, units)), rows, axis=0)
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
        return ops.reshape(rows + model.params[OUTPUT_BIAS], (*positions.shape, -1))

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
        return _output_specs(RELATIONSHIP_WEIGHTS, RELATIONSHIP_BIAS, 2, config)

    def scores(self, model: Model, sequence_output: Tensor) -> Tensor:
        """Logits without the output bias: [B, L, H] -> float32 [B, 2]."""
        pooled = pool(model, sequence_output)
        return ops.matmul(pooled, ops.transpose(model.params[RELATIONSHIP_WEIGHTS]))

    def logits(self, model: Model, sequence_output: Tensor) -> Tensor:
        """Logits of both labels: [B, L, H] -> float32 [B, 2]."""
        return self.scores(model, sequence_output) + model.params[RELATIONSHIP_BIAS]

    def sums(self, model: Model, batch: Features, sequence_output: Tensor) -> Sums:
        """Sums over examples of losses, of right predictions, of weights: float32 scalars.

        Args:
            model: variables and settings.
            batch: next_sentence_labels int32 [B, 1], next_sentence_weights float32 [B].
            sequence_output: [B, L, H].
        """
        scores, labels = self.scores(model, sequence_output), batch["next_sentence_labels"]
        weights = batch["next_sentence_weights"]
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
        objective = (
            masked_lm["masked_lm_loss"] / batch["masked_lm_denominator"]
            + next_sentence["next_sentence_loss"] / batch["next_sentence_denominator"]
        )
        return objective, {**masked_lm, **next_sentence}

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """See MaskedLmHead."""
        return self.masked_lm.outputs(model, batch)

    def denominators(self, batch: HostBatch) -> HostScalars:
        """See Head."""
        return {
            f"{name}_denominator": np.float32(float(batch[f"{name}_weights"].sum()) + _TINY)
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


@dataclass(frozen=True)
class SpanHead:
    """The first and the last piece of an answer.

    Batches hold start_positions and end_positions int32 [B], and example_weights float32 [B].

    Source: create_model of run_squad.py of google-research/bert. Differs: there padding may be an
        answer.
    """

    headline: tuple[tuple[str, str], ...] = (("loss", "loss"), ("span_accuracy", "exact windows"))

    def specs(self, config: ModelConfig) -> Specs:
        """See Head."""
        return _output_specs(SPAN_WEIGHTS, SPAN_BIAS, 2, config)

    def logits(
        self, model: Model, features: Features, sequence_output: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of every piece as the first and as the last of the answer, float32 [B, L].

        Those of padding, where input_mask int32 [B, L] is 0, are low, so that the length of a batch
        changes nothing.
        """
        output = ops.cast(sequence_output, "float32")
        logits = _project(model, output, SPAN_WEIGHTS, SPAN_BIAS)  # [B, L, 2]
        outside = (1.0 - ops.cast(features["input_mask"], "float32")) * _OUTSIDE
        return logits[:, :, 0] + outside, logits[:, :, 1] + outside

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """start_logits and end_logits, float32 [B, L]."""
        start, end = self.logits(model, batch, encode(model, batch))
        return {"start_logits": start, "end_logits": end}

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """The mean of the losses of both ends; see Head."""
        start, end = self.logits(model, batch, encode(model, batch))
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

    def denominators(self, batch: HostBatch) -> HostScalars:
        """See Head."""
        return {"span_denominator": np.float32(max(float(batch["example_weights"].sum()), 1.0))}

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Loss, and the share of windows whose ends are both right."""
        weight = max(sums["span_weight"], 1.0)
        return {"loss": sums["span_loss"] / weight, "span_accuracy": sums["span_correct"] / weight}


@dataclass(frozen=True)
class ClassHead:
    """The class of a text, one of num_labels.

    Batches hold targets int32 [B], label_weights and example_weights float32 [B].

    Source: create_model of run_classifier.py of google-research/bert.
    """

    num_labels: int
    headline: tuple[tuple[str, str], ...] = (("loss", "loss"), ("accuracy", "accuracy"))

    def specs(self, config: ModelConfig) -> Specs:
        """See Head."""
        outputs = _output_specs(CLASS_WEIGHTS, CLASS_BIAS, self.num_labels, config)
        return {**pooler_specs(config), **outputs}

    def logits(self, model: Model, sequence_output: Tensor) -> Tensor:
        """Logits of each class: [B, L, H] -> float32 [B, K]."""
        pooled = model.drop_units(pool(model, sequence_output))
        return _project(model, pooled, CLASS_WEIGHTS, CLASS_BIAS)

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """Probabilities, float32 [B, K]."""
        return {"probabilities": ops.softmax(self.logits(model, encode(model, batch)), axis=-1)}

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """Cross-entropy, weighted by class; see Head."""
        logits = self.logits(model, encode(model, batch))
        losses, is_right = _cross_entropy(logits, batch["targets"])
        weights = batch["label_weights"] * batch["example_weights"]
        total = ops.sum(losses * weights)
        sums = {
            "loss_sum": total,
            "loss_weight": ops.sum(weights),
            "num_right": ops.sum(is_right * batch["example_weights"]),
            "num_examples": ops.sum(batch["example_weights"]),
        }
        return total / batch["label_denominator"], sums

    def denominators(self, batch: HostBatch) -> HostScalars:
        """See Head."""
        total = float((batch["label_weights"] * batch["example_weights"]).sum())
        return {"label_denominator": np.float32(max(total, 1e-6))}

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Means over examples: loss, and the share whose class is right."""
        accuracy = sums["num_right"] / max(sums["num_examples"], 1.0)
        return {"loss": sums["loss_sum"] / max(sums["loss_weight"], 1e-6), "accuracy": accuracy}


@dataclass(frozen=True)
class ScoreHead(ClassHead):
    """A number for a text; see ClassHead, with targets float32 [B]."""

    num_labels: int = 1
    headline: tuple[tuple[str, str], ...] = (("loss", "loss"),)

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """Scores, float32 [B]."""
        return {"scores": self.logits(model, encode(model, batch))[:, 0]}

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """Squared error; see Head."""
        logits = self.logits(model, encode(model, batch))
        weights = batch["example_weights"]
        total = ops.sum(ops.square(logits[:, 0] - batch["targets"]) * weights)
        sums = {"loss_sum": total, "loss_weight": ops.sum(weights)}
        return total / batch["label_denominator"], sums

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """The mean squared error, as loss."""
        return {"loss": sums["loss_sum"] / max(sums["loss_weight"], 1e-6)}


@dataclass(frozen=True)
class TagHead:
    """A tag for every piece of a text, on its own or joined by a CRF.

    Pieces of the text are those between [CLS] and [SEP]: positions 1 to L - 2 of the batch, of
    which the first ones are real. Batches hold tag_ids int32 [B, L], example_weights float32 [B].
    """

    labels: tuple[str, ...]
    use_crf: bool = False
    headline: tuple[tuple[str, str], ...] = (("loss", "loss"), ("accuracy", "accuracy of pieces"))

    def specs(self, config: ModelConfig) -> Specs:
        """See Head."""
        count = len(self.labels)
        specs = _output_specs(TAG_WEIGHTS, TAG_BIAS, count, config)
        if self.use_crf:
            specs[TAG_TRANSITIONS] = ParameterSpec((count, count), "zeros")
            specs[TAG_START] = specs[TAG_END] = ParameterSpec((count,), "zeros")
        return specs

    def logits(self, model: Model, sequence_output: Tensor) -> Tensor:
        """Logits of each tag at each piece of the text: [B, L, H] -> float32 [B, L - 2, T]."""
        output = ops.cast(sequence_output, "float32")[:, 1:-1]
        return _project(model, model.drop_units(output), TAG_WEIGHTS, TAG_BIAS)

    @cached_property
    def _allowed(self) -> npt.NDArray[np.bool_]:
        allowed = bio_transitions(self.labels)
        allowed[-1] = True  # a long sentence's second stretch may begin inside an entity
        return allowed

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """tag_ids int32 [B, L - 2], and the probability of each, float32.

        With a CRF they are those of its best path, and the marginal of each tag.
        """
        logits = self.logits(model, encode(model, batch))
        if not self.use_crf:
            probabilities = ops.softmax(logits, axis=-1)
            tag_ids = ops.cast(ops.argmax(probabilities, axis=-1), "int32")
            return {"tag_ids": tag_ids, "probabilities": ops.max(probabilities, axis=-1)}
        mask, crf = _text_mask(batch), _crf_of(model)
        tag_ids = viterbi(logits, mask, crf, self._allowed)
        one_hot = ops.one_hot(tag_ids, logits.shape[-1], dtype="float32")
        probabilities = ops.sum(marginals(logits, mask, crf) * one_hot, axis=-1)
        return {"tag_ids": tag_ids, "probabilities": probabilities}

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """Cross-entropy of each piece's tag, or the negative log-likelihood of each row's path."""
        logits, mask = self.logits(model, encode(model, batch)), _text_mask(batch)
        tag_ids = batch["tag_ids"][:, 1:-1]
        weights = mask * batch["example_weights"][:, None]
        losses, is_right = _cross_entropy(logits, tag_ids)
        if self.use_crf:
            likelihoods = log_likelihood(logits, tag_ids, mask, _crf_of(model))
            total = -ops.sum(likelihoods * batch["example_weights"])
        else:
            total = ops.sum(losses * weights)
        sums = {
            "tag_loss": total,
            "tags_right": ops.sum(is_right * weights),
            "tag_weight": ops.sum(weights),
        }
        return total / batch["tag_denominator"], sums

    def denominators(self, batch: HostBatch) -> HostScalars:
        """See Head."""
        pieces = batch["input_mask"][:, 2:].sum(axis=1) * batch["example_weights"]
        return {"tag_denominator": np.float32(max(float(pieces.sum()), 1.0))}

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Means over pieces: loss, and the share whose tag has the largest logit."""
        weight = max(sums["tag_weight"], 1.0)
        return {"loss": sums["tag_loss"] / weight, "accuracy": sums["tags_right"] / weight}


def _text_mask(features: Features) -> Tensor:
    """1 for pieces of the text, float32 [B, L - 2]: the last real position is [SEP]."""
    return ops.cast(features["input_mask"][:, 2:], "float32")


def _crf_of(model: Model) -> Crf:
    params = model.params
    return Crf(params[TAG_TRANSITIONS], params[TAG_START], params[TAG_END])
