"""Flags that every command that trains has."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bert_ko.copies import local_path
from bert_ko.flags import Flags, flag
from bert_ko.modeling.config import ModelConfig
from bert_ko.notification import require_notify_url
from bert_ko.outlook import DryRunFlags
from bert_ko.tokenization.settings import TokenizerSettings
from bert_ko.training.backend import AttentionName, DeviceConfig, Precision
from bert_ko.training.optimization import (
    DECAY_PROPORTION,
    INITIAL_ACCUMULATOR,
    OptimizerConfig,
    OptimizerName,
    Schedule,
)
from bert_ko.training.positions import UntrainedPositions
from bert_ko.training.tracking.tracker import SERVICES

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class DeviceFlags(Flags):
    """Devices and precision."""

    group = "Devices and precision"

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
        help="Number of devices to use. Default: all GPUs, or one CPU.",
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
        help="fused: in one operation, the device's kernel where it has one, if "
        "attention_probs_dropout_prob is 0; auto: fused on GPUs and TPUs.",
    )

    @property
    def device_config(self) -> DeviceConfig:
        """For ``load_backend``."""
        names = [field.name for field in dataclasses.fields(DeviceConfig)]
        return DeviceConfig(**{name: getattr(self, name) for name in names if hasattr(self, name)})


@dataclass(frozen=True)
class HostFlags(Flags):
    """The hosts that train together; all get the same command, but for --process_id."""

    group = "Several hosts"

    coordinator_address: str | None = flag(
        None,
        help="To train on several hosts: HOST:PORT of the first, at which the others find it; or "
        "auto: found in a step of Slurm or on a TPU pod. With TensorFlow TF_CONFIG does, too. "
        "--num_devices counts those of a host.",
        affects_output=False,
    )
    num_processes: int | None = flag(
        None, help="Number of hosts, a process each.", affects_output=False, at_least=1
    )
    process_id: int | None = flag(
        None,
        help="Of this host, from 0: the first, which alone writes, prints, evaluates and predicts.",
        affects_output=False,
        at_least=0,
    )


@dataclass(frozen=True)
class OptimizerFlags(Flags):
    """Optimizer and schedule."""

    group = "Optimizer and schedule"

    learning_rate: float = flag(
        5e-5, main=True, help="The peak of the learning rate.", at_least=0, at_most=_LARGEST
    )
    optimizer: OptimizerName = flag(
        "adam_weight_decay",
        help="adam_weight_decay: Google's, without bias correction; adamw: with it; lamb: for "
        "batches of thousands; adagrad: ELMo's, without weight decay, for rates around 0.2.",
    )
    initial_accumulator: float | None = flag(
        None,
        help=f"Of adagrad: what its sums of squares begin with. Default: {INITIAL_ACCUMULATOR}.",
        above=0,
        at_most=_LARGEST,
    )
    learning_rate_schedule: Schedule = flag(
        "linear",
        help="After warm-up: linear to 0 at the last update; constant; cosine to 0; or wsd "
        "(warm-up, stable, decay): constant, then to 0 by 1 - sqrt in the last "
        "--decay_proportion of the updates.",
    )
    decay_proportion: float | None = flag(
        None,
        help="Of wsd: share of the updates in which the learning rate falls, in (0, 1]. Default: "
        f"{DECAY_PROPORTION}.",
        above=0,
        at_most=1,
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

    def __post_init__(self) -> None:
        """Raises: ValueError: a flag without effect."""
        super().__post_init__()
        if self.decay_proportion is not None and self.learning_rate_schedule != "wsd":
            raise ValueError(
                f"--decay_proportion={self.decay_proportion} has no effect with "
                f"--learning_rate_schedule={self.learning_rate_schedule}; give wsd, or leave it "
                "out."
            )
        if self.initial_accumulator is not None and self.optimizer != "adagrad":
            raise ValueError(
                f"--initial_accumulator={self.initial_accumulator} has no effect with "
                f"--optimizer={self.optimizer}; give adagrad, or leave it out."
            )


@dataclass(frozen=True)
class DropoutFlags(Flags):
    """Dropout of a run, in the place of what the model's configuration says."""

    group = "Dropout"

    hidden_dropout_prob: float | None = flag(
        None,
        help="Dropout of the run, in [0, 1), between the layers and before the head. Default: as "
        "bert_config.json says, which keeps its own value.",
        at_least=0,
        below=1,
    )
    attention_probs_dropout_prob: float | None = flag(
        None,
        help="Dropout of the run among attention probabilities, in [0, 1); only 0 can use a fused "
        "attention kernel. Default: as bert_config.json says, which keeps its own value.",
        at_least=0,
        below=1,
    )

    def with_dropout(self, config: ModelConfig) -> ModelConfig:
        """The configuration that is trained with.

        Raises:
            ValueError: the encoder has no such dropout.
        """
        given = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(DropoutFlags)
            if getattr(self, field.name) is not None
        }
        known = {field.name for field in dataclasses.fields(config)}
        for name in given:
            if name not in known:
                raise ValueError(
                    f"--{name}={given[name]}: a model of model_type {config.model_type} has no "
                    "such dropout; leave the flag out."
                )
        return dataclasses.replace(config, **given)


@dataclass(frozen=True)
class LoopFlags(Flags):
    """How a run saves, logs and ends."""

    group = "Checkpoints, logs and the end"

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
        help="Save and stop after this many hours of training, those of earlier runs into "
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
        help="Webhook (as Slack's) notified when the run ends, and how it ended. A secret: it is "
        "never printed or written; in a --flagfile other users of the machine do not see it.",
        secret=True,
    )
    report_to: tuple[str, ...] = flag(
        ("tensorboard",),
        help="Where to show the run: tensorboard, mlflow, wandb, or several; empty: metrics.jsonl "
        "alone. The last two are pip install 'bert_ko[mlflow]' and 'bert_ko[wandb]'.",
        affects_output=False,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        if self.notify_url is not None:
            require_notify_url(self.notify_url)
        for name in self.report_to:
            if name not in SERVICES:
                raise ValueError(f"--report_to must be of {', '.join(SERVICES)}, got {name!r}.")


@dataclass(frozen=True)
class TrainFlags(
    DryRunFlags, TokenizerSettings, OptimizerFlags, DropoutFlags, DeviceFlags, HostFlags, LoopFlags
):
    """Flags of every command that trains, whatever the task."""

    group = "Training"

    warmup_flag: ClassVar[str]  # by which warm-up is lengthened
    needs_tokenizer: ClassVar[bool] = False
    reads_words: ClassVar[bool] = False  # instead of pieces, if the model does
    if TYPE_CHECKING:  # fields of every command, each with a default and help of its own
        vocab_file: str | None = None
        max_seq_length: int = 0
        eval_every_steps: int | None = None

    bert_config_file: str | None = flag(
        None,
        other_name="config_file",
        help="Configuration of the model, as bert_config.json, or config.json of transformers. "
        "Default: as found in --output_dir, or beside --init_checkpoint.",
        affects_output=False,
    )
    output_dir: str = flag(
        help="Folder for checkpoints, metrics.jsonl, TensorBoard events, results and the report, "
        "local or remote (s3://BUCKET/RUN); a run that is found there is resumed.",
        affects_output=False,
    )
    init_checkpoint: str | None = flag(
        None,
        main=True,
        help="Weights to begin with: a folder of run_pretraining, the prefix of a TF1 checkpoint "
        "(bert_model.ckpt), or a Hugging Face folder with safetensors.",
    )
    untrained_positions: UntrainedPositions = flag(
        "extend",
        help="What positions of --init_checkpoint that its training has not reached begin as where "
        "--max_seq_length is greater, or the configuration has more positions. extend: the trained "
        "ones repeated; keep: as they are, new ones random.",
    )
    do_train: bool = flag(False, main=True, help="Train.", affects_output=False)
    train_batch_size: int = flag(
        32, main=True, help="Examples of an update, over all devices.", at_least=1
    )
    gradient_accumulation_steps: int = flag(
        1,
        help="Split a batch into this many parts, to save memory; the update is that of the whole.",
        at_least=1,
    )
    remat: bool = flag(
        False,
        help="Keep only the input of each layer for the gradients, and compute the layer again: "
        "much less memory, about a third more computation, the same losses but for rounding.",
        affects_output=False,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: flags that contradict each other."""
        super().__post_init__()
        if self.train_batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"--train_batch_size={self.train_batch_size} must be a multiple of "
                f"--gradient_accumulation_steps={self.gradient_accumulation_steps}."
            )

    @property
    def local_dir(self) -> str:
        """--output_dir; the folder of this machine that stands for a remote one."""
        return local_path(self.output_dir)

    @property
    def seeds(self) -> Sequence[int]:
        """One for each run."""
        return [self.random_seed]

    def folder(self, seed: int) -> str:
        """The folder of a seed's run, on this machine."""
        return self.local_dir

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the best evaluation are kept, and used at the end."""
        return False

    @property
    def is_trial(self) -> bool:
        """Whether a model is tried on texts without labels, and its answers are printed."""
        return False

    @abstractmethod
    def num_updates(self, steps_per_epoch: int) -> tuple[int, int]:
        """Updates of a run, and how many of them have a rising learning rate.

        Args:
            steps_per_epoch: batches of a pass over the training data.
        """

    def optimizer_config(self, steps_per_epoch: int, num_hidden_layers: int) -> OptimizerConfig:
        """The optimizer's settings; see ``num_updates``."""
        num_train_steps, num_warmup_steps = self.num_updates(steps_per_epoch)
        return OptimizerConfig(
            name=self.optimizer,
            learning_rate=self.learning_rate,
            num_train_steps=num_train_steps,
            num_warmup_steps=num_warmup_steps,
            schedule=self.learning_rate_schedule,
            decay_proportion=self.decay_proportion or DECAY_PROPORTION,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            initial_accumulator=self.initial_accumulator or INITIAL_ACCUMULATOR,
            num_hidden_layers=num_hidden_layers,
        )
