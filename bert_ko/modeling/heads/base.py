"""What a head is, and what several share.

Losses are sums, with the weights to divide by, so that parts of a batch add up exactly.

Legend: B batch, L length of the batch, H hidden_size, N sequences: B, or B * S of a packed batch
(see modeling/packing.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.ops import ops
from bert_ko.modeling.packing import take_first
from bert_ko.modeling.parameters import ParameterSpec, Specs, dense_specs

HostBatch = dict[str, npt.NDArray[Any]]
HostScalars = dict[str, np.float32]
Sums = dict[str, Tensor]
Metrics = dict[str, float]


class PredictingHead(Protocol):
    """A head that predicts."""

    def specs(self, config: ModelConfig) -> Specs:
        """The head's variables, with the pooler if the head uses it."""

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """What prediction needs of each example of a batch, tensors [N, ...]."""


class Head(PredictingHead, Protocol):
    """A head that a task trains, with its encoder."""

    @property
    def headline(self) -> tuple[tuple[str, str], ...]:
        """Metrics for the progress line: (name, label)."""

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """The loss of a batch, or of a part of one.

        Args:
            model: variables and settings.
            batch: the task's batch, [B, ...], which may be packed, and the scalars of
                ``denominators`` of the whole batch.

        Returns:
            The part's share of the loss, a scalar; and sums over the part, for ``metrics``.
        """

    def denominators(self, batch: HostBatch) -> HostScalars:
        """The numbers by which the sums of a whole batch [B, ...] are divided, as ``divided`` does.

        They are sums over rows: those of the shares of several hosts add up to the batch's.
        """

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Means by name, "loss" among them, of sums over any number of batches."""


@runtime_checkable
class CarryingHead(Protocol):
    """A Head whose loss depends on arrays that the batch before has left.

    They begin as zeros. A program keeps them between its steps, and its checkpoints have them.
    """

    def carried(self, config: Any) -> dict[str, tuple[int, ...]]:
        """Shapes [B, ...] of the arrays by name, where B is that of the whole batch in training."""

    def carried_loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums, Features]:
        """The loss as ``Head.loss`` has it, and the arrays for the next batch, float32.

        Args:
            model: variables and settings.
            batch: see ``Head.loss``; the arrays are among the features, of the rows of a part.
        """


def divided(total: Tensor, denominator: Tensor, least: float = 1.0) -> Tensor:
    """A sum over a batch by one of its denominators, which is 0 for a batch of padding."""
    return total / ops.maximum(denominator, np.float32(least))


def carried_shapes(head: object, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes [B, ...] of what a head carries from batch to batch; most carry nothing."""
    return head.carried(config) if isinstance(head, CarryingHead) else {}


def loss_and_carried(
    head: Head, model: Model, batch: Features
) -> tuple[Tensor, Sums, Mapping[str, Tensor]]:
    """The loss of any head, and what is carried to the next batch; see CarryingHead."""
    if isinstance(head, CarryingHead):
        return head.carried_loss(model, batch)
    return (*head.loss(model, batch), {})


def model_specs(config: ModelConfig, head: PredictingHead | None = None) -> Specs:
    """The variables of an encoder, and of a head on it."""
    specs = encoder_of(config).specs(config)
    return {**specs, **head.specs(config)} if head is not None else specs


def pool(model: Model, features: Features, sequence_output: Tensor) -> Tensor:
    """The output at each [CLS] through a tanh layer: [B, L, H] -> float32 [N, H]."""
    first = ops.cast(take_first(features, sequence_output), "float32")
    scope = encoder_of(model.config).pooler
    return ops.tanh(
        ops.matmul(first, model.params[f"{scope}/kernel"]) + model.params[f"{scope}/bias"]
    )


def pooler_specs(config: ModelConfig) -> Specs:
    """The variables of ``pool``."""
    return dict(dense_specs(encoder_of(config).pooler, config.hidden_size, config.hidden_size))


def output_specs(weights: str, bias: str, units: int, inputs: int) -> Specs:
    """The variables of ``project``: weights [units, inputs] and bias [units]."""
    return {
        weights: ParameterSpec((units, inputs), "normal"),
        bias: ParameterSpec((units,), "zeros"),
    }


def project(model: Model, x: Tensor, weights: str, bias: str) -> Tensor:
    """[..., H] -> [..., units], by weights [units, H]."""
    return ops.matmul(x, ops.transpose(model.params[weights])) + model.params[bias]


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Losses, and 1 where the label has the largest logit: [..., K] and [...] -> two of [...]."""
    one_hot = ops.one_hot(labels, logits.shape[-1], dtype="float32")
    chosen = ops.sum(logits * one_hot, axis=-1)
    losses = ops.logsumexp(logits, axis=-1) - chosen
    return losses, ops.cast(chosen >= ops.max(logits, axis=-1), "float32")
