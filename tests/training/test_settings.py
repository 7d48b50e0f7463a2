"""Flags that every command that trains has: what they refuse and what they become."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from bert_ko.flags import FlagError, parse
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.config import ModelConfig
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.optimization import OptimizerConfig
from bert_ko.training.settings import (
    DeviceFlags,
    DropoutFlags,
    LoopFlags,
    OptimizerFlags,
    TrainFlags,
)


@dataclass(frozen=True)
class Flags(OptimizerFlags, DeviceFlags, LoopFlags):
    """All of them."""


def test_flags_defaults_are_googles() -> None:
    flags = parse(Flags, [])
    assert flags.learning_rate == 5e-5
    assert flags.save_checkpoints_steps == 1000 and flags.iterations_per_loop == 1000
    assert not flags.use_tpu and flags.num_tpu_cores == 8
    assert flags.device_config == DeviceConfig()
    assert flags.report_to == ("tensorboard",) and parse(Flags, ["--report_to="]).report_to == ()


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("save_checkpoints_steps", 0, 1),
        ("keep_checkpoint_max", -1, 0),
        ("iterations_per_loop", 0, 1),
        ("log_every_steps", 0, 1),
    ],
)
def test_flags_below_the_least_name_the_flag(name: str, value: int, least: int) -> None:
    with pytest.raises(ValueError) as error:
        parse(Flags, [f"--{name}={value}"])
    assert str(error.value) == f"--{name} must be at least {least}, got {value}."
    assert getattr(parse(Flags, [f"--{name}={least}"]), name) == least


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--random_seed=2147483648", r"--random_seed must be in \[0, 2\*\*31\), got 2147483648"),
        ("--max_hours=0", r"--max_hours must be above 0, got 0\.0"),
        ("--max_hours=nan", "--max_hours must be above 0, got nan"),
        (
            "--report_to=mlfow,wandb",
            "--report_to must be of tensorboard, mlflow, wandb, got 'mlfow'.",
        ),
        ("--precision=float16", "--precision must be one of float32, bfloat16, auto"),
        ("--attention=flash", "--attention must be one of plain, fused, auto"),
        ("--optimizer=sgd", "--optimizer must be one of adam_weight_decay, adamw, lamb"),
    ],
)
def test_flags_bad_value_names_the_flag(flag: str, message: str) -> None:
    with pytest.raises((ValueError, FlagError), match=message):
        parse(Flags, [flag])


@pytest.mark.parametrize("value", [-1e-9, float("nan"), 1e39, float("inf")])
@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "clip_norm"])
def test_optimizer_flags_out_of_float32_name_the_flag(name: str, value: float) -> None:
    with pytest.raises(ValueError) as error:
        OptimizerFlags(**{name: value})
    assert str(error.value) == f"--{name} must be in [0, 3.4e38], got {value}."


@dataclass(frozen=True)
class Training(TrainFlags):
    """Of a fixed length."""

    def num_updates(self, steps_per_epoch: int) -> tuple[int, int]:
        return 7 * steps_per_epoch, 3


def test_optimizer_config_has_every_flag() -> None:
    flags = Training(
        output_dir="o", learning_rate=1e-3, optimizer="lamb", learning_rate_schedule="constant",
        weight_decay=0.5, clip_norm=0.0,
    )  # fmt: skip
    assert flags.optimizer_config(2, 12) == OptimizerConfig(
        name="lamb", learning_rate=1e-3, num_train_steps=14, num_warmup_steps=3,
        schedule="constant", weight_decay=0.5, clip_norm=0.0, num_hidden_layers=12,
    )  # fmt: skip


def test_optimizer_config_has_the_decay_of_wsd() -> None:
    flags = {"output_dir": "o", "learning_rate_schedule": "wsd"}
    assert Training(**flags).optimizer_config(2, 1).decay_proportion == 0.2
    assert Training(**flags, decay_proportion=0.5).optimizer_config(2, 1).decay_proportion == 0.5


@pytest.mark.parametrize("schedule", ["linear", "constant", "cosine"])
def test_decay_proportion_without_wsd_is_refused(schedule: Any) -> None:
    with pytest.raises(ValueError) as error:
        OptimizerFlags(learning_rate_schedule=schedule, decay_proportion=0.5)
    assert str(error.value) == (
        f"--decay_proportion=0.5 has no effect with --learning_rate_schedule={schedule}; give wsd, "
        "or leave it out."
    )


def test_with_dropout_changes_what_is_given_alone() -> None:
    config = BertConfig(vocab_size=9, hidden_dropout_prob=0.3)
    assert DropoutFlags().with_dropout(config) == config
    found = DropoutFlags(attention_probs_dropout_prob=0.0).with_dropout(config)
    assert found == dataclasses.replace(config, attention_probs_dropout_prob=0.0)


def test_with_dropout_that_the_encoder_lacks_is_refused_by_name() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Neighbours(ModelConfig):
        model_type: ClassVar[str] = "neighbours"

    config = Neighbours(vocab_size=9)
    assert DropoutFlags(hidden_dropout_prob=0.0).with_dropout(config).hidden_dropout_prob == 0
    with pytest.raises(ValueError) as error:
        DropoutFlags(attention_probs_dropout_prob=0.0).with_dropout(config)
    assert str(error.value) == (
        "--attention_probs_dropout_prob=0.0: a model of model_type neighbours has no such dropout; "
        "leave the flag out."
    )


@pytest.mark.parametrize("name", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_dropout_flags_out_of_bounds_name_the_flag(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^--{name} must be in \[0, 1\), got {value}\.$"):
        DropoutFlags(**{name: value})


def test_device_config_has_every_flag() -> None:
    values: dict[str, Any] = {
        "num_devices": 3, "use_tpu": True, "tpu_name": "a", "tpu_zone": "b", "gcp_project": "c",
        "master": "d", "precision": "bfloat16", "attention": "fused",
    }  # fmt: skip
    assert DeviceFlags(**values).device_config == DeviceConfig(**values)
    found = Training(output_dir="o", **values, remat=True).device_config
    assert found == DeviceConfig(**values, remat=True)
