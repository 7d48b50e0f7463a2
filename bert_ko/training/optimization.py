"""Optimizers as functions of one variable, its gradient and its slots.

A backend runs them over all variables, compiled. What depends on the step alone comes in as scalars
from ``schedule.hyperparameters``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.ops import ops
from bert_ko.training.schedule import OptimizerConfig

_LAYER = re.compile(r"/layer_(\d+)/")
# Google's exclusions: layer normalization and biases.
_NO_DECAY = ("/LayerNorm/", "/layer_norm/")


def has_decay(name: str) -> bool:
    """Whether a variable decays: all but biases and layer normalization."""
    return not (name.endswith("bias") or any(part in name for part in _NO_DECAY))


def rate_multiple(config: OptimizerConfig, name: str) -> float:
    """By which a variable's learning rate is multiplied: layer_decay for each layer above it.

    What ``config.multiples`` name by the beginning of a variable's name comes before that.

    >>> config = OptimizerConfig(layer_decay=0.5, num_hidden_layers=2)
    >>> [rate_multiple(config, n) for n in ("bert/embeddings/LayerNorm/beta",
    ...     "bert/encoder/layer_0/output/dense/bias", "bert/encoder/layer_1/output/dense/bias",
    ...     "cls/squad/output_bias")]
    [0.125, 0.25, 0.5, 1.0]

    Source: Howard and Ruder, arXiv:1801.06146; Clark et al., arXiv:2003.10555.
    """
    for beginning, multiple in config.multiples:
        if name.startswith(beginning):
            return multiple
    layer = _LAYER.search(name)
    if layer:
        return float(config.layer_decay ** (config.num_hidden_layers - int(layer[1])))
    if "/embeddings/" in name:
        return float(config.layer_decay ** (config.num_hidden_layers + 1))
    return 1.0


def clip_scale(config: OptimizerConfig, gradients: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The global norm of the gradients, and the factor that limits it to clip_norm."""
    squares = [ops.sum(ops.square(gradient)) for gradient in gradients]
    norm = ops.sqrt(sum(squares[1:], squares[0]))
    if not config.clip_norm:
        return norm, ops.ones_like(norm)
    return norm, config.clip_norm / ops.maximum(norm, config.clip_norm)


def update(
    config: OptimizerConfig,
    name: str,
    value: Tensor,
    gradient: Tensor,
    slots: tuple[Tensor, Tensor],
    hyper: Mapping[str, Any],
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One update of one variable.

    Args:
        config: the optimizer.
        name: of the variable; decides about decay and its multiple of the learning rate.
        value: float32.
        gradient: already clipped.
        slots: the running means of the gradient and of its square (adam_m, adam_v).
        hyper: of ``hyperparameters``.

    Returns:
        The new value and slots.
    """
    mean = config.beta_1 * slots[0] + (1 - config.beta_1) * gradient
    square = config.beta_2 * slots[1] + (1 - config.beta_2) * ops.square(gradient)
    change = (mean / hyper["correction_1"]) / (
        ops.sqrt(square / hyper["correction_2"]) + config.epsilon
    )
    if has_decay(name) and config.weight_decay:
        change = change + config.weight_decay * value
    rate = hyper["learning_rate"]
    multiple = rate_multiple(config, name)
    if multiple != 1.0:
        rate = rate * multiple
    if config.name == "lamb" and has_decay(name):
        rate = rate * _trust_ratio(value, change)
    return value - rate * change, (mean, square)


def _trust_ratio(value: Tensor, change: Tensor) -> Tensor:
    of_value, of_change = (ops.sqrt(ops.sum(ops.square(x))) for x in (value, change))
    is_defined = ops.logical_and(of_value > 0, of_change > 0)
    return ops.where(is_defined, of_value / ops.where(is_defined, of_change, 1.0), 1.0)
