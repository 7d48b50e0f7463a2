"""The first and the last piece of an answer.

Legend: B batch, L length of the batch, H hidden_size, N sequences: B, or B * S of a packed batch.
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
    project,
)
from bert_ko.modeling.ops import ops
from bert_ko.modeling.packing import of_sequences, separate, sequence_mask
from bert_ko.modeling.parameters import Specs

SPAN_WEIGHTS = "cls/squad/output_weights"
SPAN_BIAS = "cls/squad/output_bias"
_OUTSIDE = -10000.0  # added to the logits of padding


@dataclass(frozen=True)
class SpanHead:
    """The first and the last piece of an answer.

    Batches hold start_positions and end_positions int32 [B], and example_weights float32 [B]; all
    are [B, S] if it is packed, with positions counted from the beginning of each sequence.

    Source: create_model of run_squad.py of google-research/bert. Differs: there padding may be an
        answer.
    """

    headline: tuple[tuple[str, str], ...] = (("loss", "loss"), ("span_accuracy", "exact windows"))

    def specs(self, config: ModelConfig) -> Specs:
        """See Head."""
        return output_specs(SPAN_WEIGHTS, SPAN_BIAS, 2, config.hidden_size)

    def logits(
        self, model: Model, features: Features, sequence_output: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits of every piece as the first and as the last of the answer, float32 [N, L].

        Those of padding, and of what else is outside of a sequence, are low, so that the length of
        a batch changes nothing.
        """
        output = ops.cast(sequence_output, "float32")
        logits = project(model, output, SPAN_WEIGHTS, SPAN_BIAS)  # [B, L, 2]
        logits = separate(features, logits)
        outside = (1.0 - sequence_mask(features)) * _OUTSIDE
        return logits[:, :, 0] + outside, logits[:, :, 1] + outside

    def outputs(self, model: Model, batch: Features) -> dict[str, Tensor]:
        """start_logits and end_logits, float32 [N, L]."""
        start, end = self.logits(model, batch, encode(model, batch))
        return {"start_logits": start, "end_logits": end}

    def loss(self, model: Model, batch: Features) -> tuple[Tensor, Sums]:
        """The mean of the losses of both ends; see Head."""
        start, end = self.logits(model, batch, encode(model, batch))
        weights = of_sequences(batch, "example_weights")
        of_start, start_is_right = cross_entropy(start, of_sequences(batch, "start_positions"))
        of_end, end_is_right = cross_entropy(end, of_sequences(batch, "end_positions"))
        total = ops.sum((of_start + of_end) / 2 * weights)
        sums = {
            "span_loss": total,
            "span_correct": ops.sum(start_is_right * end_is_right * weights),
            "span_weight": ops.sum(weights),
        }
        return divided(total, batch["span_denominator"]), sums

    def denominators(self, batch: HostBatch) -> HostScalars:
        """See Head."""
        return {"span_denominator": np.float32(batch["example_weights"].sum())}

    def metrics(self, sums: Mapping[str, float]) -> Metrics:
        """Loss, and the share of windows whose ends are both right."""
        weight = max(sums["span_weight"], 1.0)
        return {"loss": sums["span_loss"] / weight, "span_accuracy": sums["span_correct"] / weight}
