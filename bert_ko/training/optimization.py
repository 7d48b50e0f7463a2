"""Optimizers and the learning-rate schedule.

An optimizer is a function of one variable, its gradient and its slots; a backend runs it over all
variables, compiled. What depends on the step alone is computed outside, in ``hyperparameters``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from keras import ops

from bert_ko.modeling.fused import Tensor

OptimizerName = Literal["adam_weight_decay", "adamw", "lamb"]
Schedule = Literal["linear", "constant"]
# Google's exclusions: layer normalization and biases.
_NO_DECAY = ("/LayerNorm/", "/layer_norm/")


@dataclass(frozen=True)
class OptimizerConfig:
    """How variables are updated.

    Attributes:
        name: adam_weight_decay is Google's, without bias correction; adamw has it (Loshchilov and
            Hutter, arXiv:1711.05101); lamb scales each variable's update by the ratio of norms (You
            et al., arXiv:1904.00962).
        learning_rate: at its peak.
        num_train_steps: updates until the rate is 0.
        num_warmup_steps: updates with a rising rate.
        schedule: after warm-up: linear to 0, or constant.
        weight_decay: of kernels and embeddings, as a share of the learning rate.
        beta_1, beta_2, epsilon: of Adam.
        clip_norm: largest global norm of the gradients; 0 clips nothing.
    """

    name: OptimizerName = "adam_weight_decay"
    learning_rate: float = 5e-5
    num_train_steps: int = 100_000
    num_warmup_steps: int = 10_000
    schedule: Schedule = "linear"
    weight_decay: float = 0.01
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-6
    clip_norm: float = 1.0


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """The rate of an update.

    Args:
        config: the schedule.
        step: updates done before, from 0.

    Source: create_optimizer of google-research/bert: during warm-up peak * step / warm-up steps
        (the first update has rate 0), then linear from the start of training, not from the end of
        warm-up.
    """
    if step < config.num_warmup_steps:
        return config.learning_rate * step / config.num_warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * max(0.0, 1 - step / config.num_train_steps)


def hyperparameters(config: OptimizerConfig, step: int) -> dict[str, np.float32]:
    """Scalars of one update: the rate, and Adam's bias corrections (1 where there are none)."""
    corrected = config.name != "adam_weight_decay"
    return {
        "learning_rate": np.float32(learning_rate(config, step)),
        "correction_1": np.float32(1 - config.beta_1 ** (step + 1) if corrected else 1),
        "correction_2": np.float32(1 - config.beta_2 ** (step + 1) if corrected else 1),
    }


def has_decay(name: str) -> bool:
    """Whether a variable decays: all but biases and layer normalization."""
    return not (name.endswith("bias") or any(part in name for part in _NO_DECAY))


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
    if config.name == "lamb" and has_decay(name):
        rate = rate * _trust_ratio(value, change)
    return value - rate * change, (mean, square)


def _trust_ratio(value: Tensor, change: Tensor) -> Tensor:
    of_value, of_change = (ops.sqrt(ops.sum(ops.square(x))) for x in (value, change))
    is_defined = ops.logical_and(of_value > 0, of_change > 0)
    return ops.where(is_defined, of_value / ops.where(is_defined, of_change, 1.0), 1.0)
