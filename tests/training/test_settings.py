"""Flags that every command that trains has: what they refuse and what they become."""

from dataclasses import dataclass
from typing import Any

import pytest

from bert_ko.flags import FlagError, parse
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.schedule import OptimizerConfig
from bert_ko.training.settings import DeviceFlags, LoopFlags, OptimizerFlags, TrainFlags


@dataclass(frozen=True)
class Flags(OptimizerFlags, DeviceFlags, LoopFlags):
    """All of them."""


def test_flags_defaults_are_googles() -> None:
    flags = parse(Flags, [])
    assert flags.learning_rate == 5e-5
    assert flags.save_checkpoints_steps == 1000 and flags.iterations_per_loop == 1000
    assert not flags.use_tpu and flags.num_tpu_cores == 8
    assert flags.device_config == DeviceConfig()


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


@pytest.mark.parametrize("count", [0, -2])
def test_device_flags_no_device_names_the_flag(count: int) -> None:
    with pytest.raises(ValueError, match=rf"^--num_devices must be at least 1, got {count}\.$"):
        DeviceFlags(num_devices=count)


def test_device_config_has_every_flag() -> None:
    values: dict[str, Any] = {
        "num_devices": 3, "use_tpu": True, "tpu_name": "a", "tpu_zone": "b", "gcp_project": "c",
        "master": "d", "precision": "bfloat16", "attention": "fused",
    }  # fmt: skip
    assert DeviceFlags(**values).device_config == DeviceConfig(**values)
