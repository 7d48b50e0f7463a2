"""An optimizer's settings and its learning-rate schedule, known before any framework is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

OptimizerName = Literal["adam_weight_decay", "adamw", "lamb"]
Schedule = Literal["linear", "constant"]


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
        layer_decay: a layer's rate as a share of that of the layer above it.
        num_hidden_layers: of the model; needed for layer_decay alone.
        multiples: (beginning of a name, multiple of the learning rate of such variables).
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
    layer_decay: float = 1.0
    num_hidden_layers: int = 0
    multiples: tuple[tuple[str, float], ...] = ()


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
