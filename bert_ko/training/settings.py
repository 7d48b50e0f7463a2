"""Flags that every command that trains has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_ko.flags import Flags, flag
from bert_ko.notification import require_notify_url
from bert_ko.training.backend import AttentionName, DeviceConfig, Precision
from bert_ko.training.schedule import OptimizerConfig, OptimizerName, Schedule

if TYPE_CHECKING:
    from bert_ko.training.loop import LoopConfig

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class DeviceFlags(Flags):
    """Devices and precision."""

    use_tpu: bool = flag(False, help="Train on a TPU.", affects_output=False)
    tpu_name: str | None = flag(
        None, help="Name or grpc:// address of the Cloud TPU (TensorFlow).", affects_output=False
    )
    tpu_zone: str | None = flag(
        None, help="Zone of the TPU. Default: that of this machine.", affects_output=False
    )
    gcp_project: str | None = flag(
        None, help="Project of the TPU. Default: that of this machine.", affects_output=False
    )
    master: str | None = flag(
        None, help="Address of the TPU's master, instead of --tpu_name.", affects_output=False
    )
    num_tpu_cores: int = flag(
        8, help="Cores of the TPU; all that it has are used.", affects_output=False
    )
    num_devices: int | None = flag(
        None,
        help="Use so many devices. Default: all GPUs, or one CPU.",
        affects_output=False,
        at_least=1,
    )
    precision: Precision = flag(
        "auto",
        help="Of matrix products; weights and losses are float32 always. auto: bfloat16 on GPUs, "
        "TPUs, and under TensorFlow on CPUs that multiply it; else float32.",
    )
    attention: AttentionName = flag(
        "auto",
        help="fused: the backend's fused kernel, where attention_probs_dropout_prob is 0; auto: "
        "fused under JAX on GPUs and TPUs.",
    )

    @property
    def device_config(self) -> DeviceConfig:
        """As the backend takes it."""
        return DeviceConfig(
            self.num_devices,
            self.use_tpu,
            self.tpu_name,
            self.tpu_zone,
            self.gcp_project,
            self.master,
            self.precision,
            self.attention,
        )


@dataclass(frozen=True)
class OptimizerFlags(Flags):
    """Optimizer and schedule."""

    learning_rate: float = flag(
        5e-5, help="The peak of the learning rate.", at_least=0, at_most=_LARGEST
    )
    optimizer: OptimizerName = flag(
        "adam_weight_decay",
        help="adam_weight_decay: Google's, without bias correction; adamw: with it; lamb: for "
        "batches of thousands.",
    )
    learning_rate_schedule: Schedule = flag(
        "linear", help="After warm-up: linear decay to 0 at --num_train_steps, or constant."
    )
    weight_decay: float = flag(
        0.01,
        help="Decoupled weight decay of kernels and embeddings, times the learning rate.",
        at_least=0,
        at_most=_LARGEST,
    )
    clip_norm: float = flag(
        1.0,
        help="Largest global norm of the gradients; 0 clips nothing.",
        at_least=0,
        at_most=_LARGEST,
    )

    def optimizer_config(
        self,
        num_train_steps: int,
        num_warmup_steps: int,
        layer_decay: float = 1.0,
        num_hidden_layers: int = 0,
    ) -> OptimizerConfig:
        """As the optimizer takes it; see there."""
        return OptimizerConfig(
            name=self.optimizer,
            learning_rate=self.learning_rate,
            num_train_steps=num_train_steps,
            num_warmup_steps=num_warmup_steps,
            schedule=self.learning_rate_schedule,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            layer_decay=layer_decay,
            num_hidden_layers=num_hidden_layers,
        )


@dataclass(frozen=True)
class LoopFlags(Flags):
    """How a run saves, logs and ends."""

    save_checkpoints_steps: int = flag(
        1000, help="Updates between two checkpoints.", affects_output=False, at_least=1
    )
    keep_checkpoint_max: int = flag(
        5, help="Checkpoints that stay; 0 keeps all.", affects_output=False, at_least=0
    )
    iterations_per_loop: int = flag(
        1000,
        help="Updates that may be under way on an accelerator before their losses are read; a "
        "loss that is not finite is noticed then. No effect beyond --log_every_steps.",
        affects_output=False,
        at_least=1,
    )
    log_every_steps: int = flag(
        10, help="Updates between two lines of metrics.jsonl.", affects_output=False, at_least=1
    )
    max_hours: float | None = flag(
        None,
        help="Save and stop after so many hours of training, those of earlier runs into "
        "--output_dir included.",
        affects_output=False,
        above=0,
    )
    random_seed: int = flag(
        12345,
        help="Seed of weights, dropout, masks and order, in [0, 2**31).",
        at_least=0,
        below=1 << 31,
    )
    notify_url: str | None = flag(
        None,
        help="Webhook, as Slack's, that is told when the run has ended, and how. A secret: it is "
        "printed and written nowhere; in a --flagfile other users of the machine do not see it.",
        secret=True,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        if self.notify_url is not None:
            require_notify_url(self.notify_url)

    def loop_config(self, folder: str, num_train_steps: int, **others: Any) -> LoopConfig:
        """How the loop runs.

        Args:
            folder: of the run.
            num_train_steps: updates in all.
            others: fields of LoopConfig that are no flags of these.
        """
        from bert_ko.training.loop import LoopConfig

        return LoopConfig(
            folder=folder,
            num_train_steps=num_train_steps,
            save_steps=self.save_checkpoints_steps,
            keep=self.keep_checkpoint_max,
            log_steps=self.log_every_steps,
            steps_under_way=self.iterations_per_loop,
            max_seconds=self.max_hours * 3600 if self.max_hours is not None else None,
            **others,
        )
