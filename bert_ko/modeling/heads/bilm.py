"""The next word and the word before: a softmax over the vocabulary on each direction alone.

Both directions share its weights, but never what it reads: joined, the vector of one would have
seen the word that the other is to predict.

Legend: B batch, T steps, R = B * T, P units of a direction, C cells, V vocabulary, S negatives, G
groups of rows whose distinct words D stand together, K places of a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.elmo import (
    DIRECTIONS,
    State,
    drop_steps,
    run_direction,
    word_vectors,
)
from bert_ko.modeling.fused import CROSS_ENTROPY, FusedOp, Tensor
from bert_ko.modeling.heads.base import HostBatch, HostScalars, Metrics, Sums, divided
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import ParameterSpec, Specs

WORD_WEIGHTS = "cls/bilm/output_weights"
WORD_BIAS = "cls/bilm/output_bias"
_NEVER = -1e9  # added to the score of a negative that is the word itself


def _sampled_cross_entropy(
    scores: Tensor, bias: Tensor, own: Tensor, labels: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor]:
    total = _sampled_scores(scores, bias, labels, negatives)
    own = ops.cast(own, "float32")
    largest = ops.maximum(ops.max(total, axis=-1), own)
    powers = ops.sum(ops.exp(total - largest[:, None]), axis=-1) + ops.exp(own - largest)
    log_total = ops.log(powers) + largest
    return log_total - own, log_total


def _sampled_scores(scores: Tensor, bias: Tensor, labels: Tensor, negatives: Tensor) -> Tensor:
    is_own = ops.cast(labels, "int32")[:, None] == ops.cast(negatives, "int32")[None]
    return ops.cast(scores, "float32") + bias + ops.where(is_own, _NEVER, 0.0)


def _sampled_cross_entropy_gradients(
    dy: Tensor,
    scores: Tensor,
    bias: Tensor,
    own: Tensor,
    labels: Tensor,
    negatives: Tensor,
    log_total: Tensor,
) -> tuple[Tensor, ...]:
    total = _sampled_scores(scores, bias, labels, negatives)
    dscores = ops.exp(total - log_total[:, None]) * dy[:, None]
    down = (ops.exp(ops.cast(own, "float32") - log_total) - 1.0) * dy
    return ops.cast(dscores, scores.dtype), ops.sum(dscores, axis=0), ops.cast(down, own.dtype)


# scores of negatives [R, S], their bias [S], scores of the right words [R], both minus the
# logarithm of how often a word is expected among the negatives; labels [R], negatives [S] -> losses
# [R]; kept: the logarithms of the softmax's sums [R].
SAMPLED_CROSS_ENTROPY = FusedOp(_sampled_cross_entropy, _sampled_cross_entropy_gradients, 3, 1)


@dataclass(frozen=True)
class BiLmHead:
    """Words on both sides, in windows whose states are carried from batch to batch.

    Batches hold, for both directions each in its own order: DIRECTION_inputs int32 [B, T], rows of
    the distinct words of their group, and DIRECTION_targets int32 [B, T], ids; what both share:
    characters int32 [G, D, K], where the rows of a group are B / G consecutive ones; input_mask
    int32 [B, T], 1 for steps that are predicted, which come first; num_cut int32 [B, 1]. With a
    sampled softmax also negatives int32 [G, S] and negative_log_counts float32 [G, S], the same in
    all groups, and DIRECTION_target_log_counts float32 [B, T].

    Attributes:
        batch_size: B, rows whose states are carried.
        is_sampled: whether training scores negatives alone; prediction scores all words.

    Source: Peters et al., arXiv:1802.05365; Jean et al., arXiv:1412.2007 (sampled softmax).
    """

    batch_size: int
    is_sampled: bool = False
    headline: tuple[tuple[str, str], ...] = (("loss", "loss"),)

    def specs(self, config: Any) -> Specs:
        """See Head."""
        return {
            WORD_WEIGHTS: ParameterSpec((config.vocab_size, config.units), "normal"),
            WORD_BIAS: ParameterSpec((config.vocab_size,), "zeros"),
        }

    def carried(self, config: Any) -> dict[str, tuple[int, ...]]:
        """See CarryingHead."""
        shapes = {"cell": config.cell_size, "hidden": config.units}
        return {
            _state_name(direction, layer, part): (self.batch_size, size)
            for direction in DIRECTIONS
            for layer in range(config.num_hidden_layers)
            for part, size in shapes.items()
        }

    def carried_loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums, Features]:
        """See CarryingHead; the loss is the mean of both directions."""
        losses, carried = self._losses(model, batch, is_sampled=self.is_sampled)
        sums = {f"{direction}_loss": ops.sum(value) for direction, value in losses.items()}
        mask = ops.cast(batch["input_mask"], "float32")
        sums["num_words"] = ops.sum(mask)
        sums["num_cut"] = ops.sum(ops.cast(batch["num_cut"], "float32"))
        total = sums["forward_loss"] + sums["backward_loss"]
        return divided(0.5 * total, batch["word_denominator"]), sums, carried

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """See Head."""
        return self.carried_loss(model, batch)[:2]

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """Losses by the softmax over all words, and the states to carry on.

        Returns:
            DIRECTION_loss float32 [B], sums over the steps; the arrays of ``carried``.
        """
        losses, carried = self._losses(model, batch, is_sampled=False)
        sums = {f"{name}_loss": ops.sum(value, axis=1) for name, value in losses.items()}
        return {**sums, **carried}

    def _losses(
        self, model: Model, batch: Features, *, is_sampled: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """By direction [B, T], 0 where nothing is predicted; and what is to be carried."""
        groups, distinct, letters = batch["characters"].shape
        characters = ops.reshape(batch["characters"], (groups * distinct, letters))
        vectors = word_vectors(model, characters)
        rows = batch["input_mask"].shape[0]
        group = ops.arange(rows, dtype="int32") // (rows // groups)
        mask = ops.cast(batch["input_mask"], "float32")
        lengths = ops.sum(ops.cast(batch["input_mask"], "int32"), axis=1)
        losses, carried = {}, {}
        for direction in DIRECTIONS:
            states = [
                State(*(batch[_state_name(direction, layer, part)] for part in State._fields))
                for layer in range(model.config.num_hidden_layers)
            ]
            places = batch[f"{direction}_inputs"] + group[:, None] * distinct
            x = ops.transpose(ops.take(vectors, places, axis=0), (1, 0, 2))
            outputs, after = run_direction(model, direction, x, states, lengths)
            hidden = ops.transpose(drop_steps(model, outputs[-1]), (1, 0, 2))
            score = self._sampled_losses if is_sampled else self._full_losses
            hidden = ops.reshape(hidden, (-1, hidden.shape[-1]))
            found = score(model, batch, direction, hidden)
            losses[direction] = ops.reshape(found, mask.shape) * mask
            for layer, state in enumerate(after):
                for part, value in state._asdict().items():
                    carried[_state_name(direction, layer, part)] = value
        return losses, carried

    def _full_losses(self, model: Model, batch: Features, direction: str, hidden: Tensor) -> Tensor:
        """[R, P] -> [R]."""
        params, compute = model.params, model.compute
        scores = compute.matmul(hidden, params[WORD_WEIGHTS], transpose_b=True)
        losses, _ = compute.fuse(CROSS_ENTROPY)(
            scores, params[WORD_BIAS], _of_steps(batch, f"{direction}_targets")
        )
        return losses

    def _sampled_losses(
        self, model: Model, batch: Features, direction: str, hidden: Tensor
    ) -> Tensor:
        """[R, P] -> [R]."""
        params, compute = model.params, model.compute
        weights, bias = params[WORD_WEIGHTS], params[WORD_BIAS]
        negatives, targets = batch["negatives"][0], _of_steps(batch, f"{direction}_targets")
        scores = compute.matmul(hidden, ops.take(weights, negatives, axis=0), transpose_b=True)
        own_weights = compute.cast(ops.take(weights, targets, axis=0))
        # The rounding of a product, as that of the negatives.
        own = ops.sum(ops.cast(compute.cast(hidden) * own_weights, "float32"), axis=-1)
        own = own + ops.take(bias, targets, axis=0)
        own = own - _of_steps(batch, f"{direction}_target_log_counts")
        of_negatives = ops.take(bias, negatives, axis=0) - batch["negative_log_counts"][0]
        found: Tensor = compute.fuse(SAMPLED_CROSS_ENTROPY)(
            scores, of_negatives, own, targets, negatives
        )
        return found

    def denominators(self, batch: HostBatch) -> HostScalars:
        """See Head."""
        return {"word_denominator": np.float32(batch["input_mask"].sum())}

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Means over words: the loss of each direction and of both; and the share of cut words."""
        count = max(sums["num_words"], 1.0)
        losses = {f"{name}_loss": sums[f"{name}_loss"] / count for name in DIRECTIONS}
        loss = sum(losses.values()) / len(losses)
        return {"loss": loss, **losses, "cut_share": sums["num_cut"] / count}


def _state_name(direction: str, layer: int, part: str) -> str:
    return f"carried/{direction}/layer_{layer}/{part}"


def _of_steps(batch: Features, name: str) -> Any:
    """[B, T] -> [R]."""
    return ops.reshape(batch[name], (-1,))
