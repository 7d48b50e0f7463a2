"""The class of a text, or a number for it.

Legend: B batch, L length of the batch, H hidden_size, K classes, N sequences: B, or B * S of a
packed batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
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
    pool,
    pooler_specs,
    project,
)
from bert_ko.modeling.heads.words import WordNetwork
from bert_ko.modeling.ops import ops
from bert_ko.modeling.packing import of_sequences
from bert_ko.modeling.parameters import Specs

CLASS_WEIGHTS = "output_weights"  # as Google's run_classifier calls it
CLASS_BIAS = "output_bias"
_LEAST = 1e-6  # that sums are divided by; weights of labels may be small


@dataclass(frozen=True)
class ClassHead:
    """The class of a text, one of num_labels.

    Batches hold targets int32 [B], label_weights and example_weights float32 [B]; all are [B, S]
    if it is packed.

    Attributes:
        network: what is read of a model of words; of one of pieces, its output at [CLS] is.

    Source: create_model of run_classifier.py of google-research/bert.
    """

    num_labels: int
    headline: tuple[tuple[str, str], ...] = (("loss", "loss"), ("accuracy", "accuracy"))
    network: WordNetwork | None = None

    def specs(self, config: ModelConfig) -> Specs:
        """See Head."""
        below, width = pooler_specs(config), config.hidden_size
        if self.network is not None:
            below, width = self.network.specs(config), self.network.width(config)
        return {**below, **output_specs(CLASS_WEIGHTS, CLASS_BIAS, self.num_labels, width)}

    def logits(self, model: Model, features: Features, sequence_output: Tensor) -> Tensor:
        """Logits of each class: [B, L, H] -> float32 [N, K]."""
        pooled = model.drop_units(pool(model, features, sequence_output))
        return project(model, pooled, CLASS_WEIGHTS, CLASS_BIAS)

    def _read(self, model: Model, batch: Features) -> Tensor:
        """Logits of each class, float32 [N, K]."""
        if self.network is None:
            return self.logits(model, batch, encode(model, batch))
        return project(model, self.network.pooled(model, batch), CLASS_WEIGHTS, CLASS_BIAS)

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """Probabilities, float32 [N, K]."""
        logits = self._read(model, batch)
        return {"probabilities": ops.softmax(logits, axis=-1)}

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """Cross-entropy, weighted by class; see Head."""
        logits = self._read(model, batch)
        losses, is_right = cross_entropy(logits, of_sequences(batch, "targets"))
        of_examples = of_sequences(batch, "example_weights")
        weights = of_sequences(batch, "label_weights") * of_examples
        total = ops.sum(losses * weights)
        sums = {
            "loss_sum": total,
            "loss_weight": ops.sum(weights),
            "num_right": ops.sum(is_right * of_examples),
            "num_examples": ops.sum(of_examples),
        }
        return divided(total, batch["label_denominator"], _LEAST), sums

    def denominators(self, batch: HostBatch) -> HostScalars:
        """See Head."""
        total = (batch["label_weights"] * batch["example_weights"]).sum()
        return {"label_denominator": np.float32(total)}

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Means over examples: loss, and the share whose class is right."""
        accuracy = sums["num_right"] / max(sums["num_examples"], 1.0)
        return {"loss": sums["loss_sum"] / max(sums["loss_weight"], _LEAST), "accuracy": accuracy}


@dataclass(frozen=True)
class ScoreHead(ClassHead):
    """A number for a text; see ClassHead, with targets float32."""

    num_labels: int = 1
    headline: tuple[tuple[str, str], ...] = (("loss", "loss"),)

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """Scores, float32 [N]."""
        return {"scores": self._read(model, batch)[:, 0]}

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """Squared error; see Head."""
        logits = self._read(model, batch)
        targets, weights = (of_sequences(batch, name) for name in ("targets", "example_weights"))
        total = ops.sum(ops.square(logits[:, 0] - targets) * weights)
        sums = {"loss_sum": total, "loss_weight": ops.sum(weights)}
        return divided(total, batch["label_denominator"], _LEAST), sums

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """The mean squared error, as loss."""
        return {"loss": sums["loss_sum"] / max(sums["loss_weight"], _LEAST)}
