"""Optimizers as functions of one variable, its gradient and its slots.

A backend runs them over all variables, compiled. What depends on the step alone comes in as scalars
from ``hyperparameters``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bert_ko.modeling.fused import Tensor, row_sum
from bert_ko.modeling.ops import ops

_LAYER = re.compile(r"/layer_(\d+)/")
# Google's exclusions: layer normalization and biases. Mixes of layers begin as what they should be.
_NO_DECAY = ("/LayerNorm/", "/layer_norm/", "/input_mix/", "/output_mix/")


OptimizerName = Literal["adam_weight_decay", "adamw", "lamb", "adagrad"]
Schedule = Literal["linear", "constant", "cosine", "wsd"]
INITIAL_ACCUMULATOR = 1.0
DECAY_PROPORTION = 0.2  # of wsd, unless the user says another


@dataclass(frozen=True)
class OptimizerConfig:
    """How variables are updated."""

    # adam_weight_decay is Google's, without bias correction; adamw has it (Loshchilov and Hutter,
    # arXiv:1711.05101); lamb scales each variable's update by the ratio of norms (You et al.,
    # arXiv:1904.00962); adagrad divides by the root of all squares so far (Duchi et al., JMLR 12,
    # 2011) and has no weight decay.
    name: OptimizerName = "adam_weight_decay"
    learning_rate: float = 5e-5  # at its peak
    num_train_steps: int = 100_000  # updates until the rate is 0
    num_warmup_steps: int = 10_000  # updates with a rising rate
    schedule: Schedule = "linear"  # after warm-up; see ``learning_rate``
    decay_proportion: float = DECAY_PROPORTION  # of wsd: share of num_train_steps, at their end
    weight_decay: float = 0.01  # of kernels and embeddings, as a share of the learning rate
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-6
    initial_accumulator: float = INITIAL_ACCUMULATOR  # of adagrad, the squares before the first
    clip_norm: float = 1.0  # largest global norm of the gradients; 0 clips nothing
    layer_decay: float = 1.0  # a layer's rate as a share of that of the layer above it
    num_hidden_layers: int = 0  # of the model, for layer_decay
    # (beginning of a name, multiple of the learning rate of such variables)
    multiples: tuple[tuple[str, float], ...] = ()
    frozen: tuple[str, ...] = ()  # beginnings of the names of variables that stay as they are

    def __post_init__(self) -> None:
        """Raises: ValueError: wsd's decay would begin before the end of warm-up."""
        if self.schedule == "wsd" and self.num_warmup_steps > self.first_decay_step:
            raise ValueError(
                f"--learning_rate_schedule=wsd: of {self.num_train_steps:,} updates "
                f"{self.num_warmup_steps:,} are warm-up and "
                f"{self.num_train_steps - self.first_decay_step:,} decay; shorten the warm-up, or "
                "lower --decay_proportion."
            )

    def trains(self, name: str) -> bool:
        """Whether a variable is updated, and has slots."""
        return not name.startswith(self.frozen)

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of what is kept of each variable, which begins as zeros."""
        return ("adagrad_squares",) if self.name == "adagrad" else ("adam_m", "adam_v")

    @property
    def first_decay_step(self) -> int:
        """Of wsd: updates before the decay."""
        return self.num_train_steps - round(self.num_train_steps * self.decay_proportion)


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """The rate of the update that follows ``step`` updates.

    During warm-up it is peak * step / warm-up steps, so that the first update has rate 0. Then

    linear    falls to 0 along the line that began at the peak at step 0, not at the end of warm-up,
              as Google's
    constant  stays
    cosine    falls from the peak, at the end of warm-up, to 0 by half a cosine
    wsd       stays (warm-up, stable, decay) and, in the last ``decay_proportion`` of the updates,
              falls to 0 by 1 - sqrt of how much of the decay is over. What came before the decay
              doesn't depend on the number of updates.

    Source: create_optimizer of google-research/bert (warm-up, linear); Loshchilov and Hutter,
        arXiv:1608.03983, without restarts (cosine); Hu et al., arXiv:2404.06395 (wsd), with the
        form of decay that Haegele et al., arXiv:2405.18392, found better than linear, at 10 to
        20 % of the updates.
    """
    peak, warmup, steps = config.learning_rate, config.num_warmup_steps, config.num_train_steps
    if step < warmup:
        return peak * step / warmup
    if config.schedule == "linear":
        return peak * max(0.0, 1 - step / steps)
    if config.schedule == "cosine":
        return peak * (1 + math.cos(math.pi * _share_done(step, warmup, steps))) / 2
    if config.schedule == "wsd":
        return peak * (1 - math.sqrt(_share_done(step, config.first_decay_step, steps)))
    return peak


def _share_done(step: int, begin: int, end: int) -> float:
    """How much of the steps from begin to end is over, in [0, 1]."""
    return min(max((step - begin) / max(end - begin, 1), 0.0), 1.0)


def hyperparameters(config: OptimizerConfig, step: int) -> dict[str, np.float32]:
    """Scalars of one update: the rate and Adam's bias corrections, 1 for none."""
    corrected = config.name != "adam_weight_decay"
    return {
        "learning_rate": np.float32(learning_rate(config, step)),
        "correction_1": np.float32(1 - config.beta_1 ** (step + 1) if corrected else 1),
        "correction_2": np.float32(1 - config.beta_2 ** (step + 1) if corrected else 1),
    }


def has_decay(name: str) -> bool:
    """Whether a variable decays: all but biases and layer normalization."""
    return not (name.endswith("bias") or any(part in name for part in _NO_DECAY))


def rate_multiple(config: OptimizerConfig, name: str) -> float:
    """A variable's own multiple of the learning rate, or layer_decay for each layer above it.

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
    squares = [_sum_of_squares(gradient) for gradient in gradients]
    norm = ops.sqrt(sum(squares[1:], squares[0]))
    if not config.clip_norm:
        return norm, ops.ones_like(norm)
    return norm, config.clip_norm / ops.maximum(norm, config.clip_norm)


def _sum_of_squares(x: Tensor) -> Tensor:
    return ops.sum(row_sum(ops.square(x)))


def update(
    config: OptimizerConfig,
    name: str,
    value: Tensor,
    gradient: Tensor,
    slots: tuple[Tensor, ...],
    hyper: Mapping[str, Any],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One update of one variable.

    Args:
        config: the optimizer.
        name: of the variable; decides about decay and its multiple of the learning rate.
        value: float32 [...].
        gradient: float32 [...], already clipped.
        slots: float32 [...], by ``config.slots``: the running means of the gradient and its square
            (adam_m, adam_v), or adagrad's sum of squares without the initial accumulator.
        hyper: from ``hyperparameters``.

    Returns:
        The new value and slots.
    """
    rate = _rate(config, name, hyper)
    if config.name == "adagrad":
        squares = slots[0] + ops.square(gradient)
        root = ops.sqrt(squares + config.initial_accumulator)
        return value - rate * gradient / root, (squares,)
    mean = config.beta_1 * slots[0] + (1 - config.beta_1) * gradient
    square = config.beta_2 * slots[1] + (1 - config.beta_2) * ops.square(gradient)
    change = (mean / hyper["correction_1"]) / (
        ops.sqrt(square / hyper["correction_2"]) + config.epsilon
    )
    if has_decay(name) and config.weight_decay:
        change = change + config.weight_decay * value
    if config.name == "lamb" and has_decay(name):
        rate = rate * _trust_ratio(value, change)
    return value - rate * change, (mean, square)


def _rate(config: OptimizerConfig, name: str, hyper: Mapping[str, Any]) -> Any:
    """The learning rate of a variable."""
    multiple = rate_multiple(config, name)
    rate = hyper["learning_rate"]
    return rate if multiple == 1.0 else rate * multiple


def _trust_ratio(value: Tensor, change: Tensor) -> Tensor:
    of_value, of_change = (ops.sqrt(_sum_of_squares(x)) for x in (value, change))
    is_defined = ops.logical_and(of_value > 0, of_change > 0)
    return ops.where(is_defined, of_value / ops.where(is_defined, of_change, 1.0), 1.0)
