"""Floating-point operations of an update, for model FLOPs utilisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.packing import is_packed

# A multiplication and an addition, in the forward pass and twice in the backward pass.
_OPERATIONS = 6


def update_flops(config: ModelConfig, batch: Mapping[str, Any]) -> float | None:
    """Operations of the matrix products that a batch needs, padding left out.

    Nothing that is computed again for the gradients counts, and of the heads only masked pieces,
    since the products of the others are less than a hundredth.

    Args:
        config: of the model.
        batch: arrays as a task trains on them, packed or not.

    Returns:
        A number; None for an encoder that doesn't count its products.

    Source: Chowdhery et al., arXiv:2204.02311, appendix B.
    """
    count = encoder_of(config).multiplications
    if count is None:
        return None
    if is_packed(batch):
        lengths = batch["sequence_lengths"].ravel()
    else:
        lengths = batch["input_mask"].sum(axis=-1)
    products = count(config, lengths.astype(np.float64))
    if "masked_lm_weights" in batch:
        masked, units = np.count_nonzero(batch["masked_lm_weights"]), config.hidden_size
        products += masked * units * (units + config.vocab_size)
    return float(_OPERATIONS * products)
