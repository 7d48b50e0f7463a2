"""One interface over TensorFlow and JAX: where tensors live, and compiled steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from bert_ko.modeling.compute import Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.heads import Head, HostBatch, HostScalars
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.schedule import OptimizerConfig

Precision = Literal["float32", "bfloat16", "auto"]
BackendName = Literal["tensorflow", "jax"]
AttentionName = Literal["plain", "fused", "auto"]
SLOTS = ("adam_m", "adam_v")


@dataclass(frozen=True)
class DeviceConfig:
    """Which devices compute, and how.

    Attributes:
        num_devices: use so many; None all accelerators, or one CPU.
        use_tpu: a TPU and nothing else.
        tpu_name, tpu_zone, gcp_project, master: where the TPU is (TensorFlow).
        precision: of matrix products; auto takes bfloat16 where the hardware has it.
        attention: plain, or the backend's fused kernel where nothing is dropped.
    """

    num_devices: int | None = None
    use_tpu: bool = False
    tpu_name: str | None = None
    tpu_zone: str | None = None
    gcp_project: str | None = None
    master: str | None = None
    precision: Precision = "auto"
    attention: AttentionName = "auto"


# What a model says of each example of a batch: tensors [B, ...].
OutputFunction = Callable[[Model, dict[str, Tensor]], dict[str, Tensor]]
# The same from arrays to arrays [B, ...], where B divides by the number of devices.
Predict = Callable[[HostBatch], HostBatch]


class Backend(Protocol):
    """Runs a model on devices; all arrays come and go as numpy."""

    name: BackendName
    description: str  # of the devices, for people
    num_devices: int  # a batch must divide by it
    is_cpu: bool
    precision: Literal["float32", "bfloat16"]

    def train_program(
        self,
        config: ModelConfig,
        head: Head,
        optimizer: OptimizerConfig | None,
        arrays: Arrays,
        seed: int,
    ) -> TrainProgram:
        """Places variables on the devices, with slots of zeros.

        Args:
            config: of the model.
            head: whose loss is differentiated.
            optimizer: how variables are updated; None, without slots, where it is only evaluated.
            arrays: initial values.
            seed: of dropout.
        """
        ...

    def predictor(self, config: ModelConfig, arrays: Arrays, outputs: OutputFunction) -> Predict:
        """Places variables on the devices, and compiles a function of them, without dropout.

        Args:
            config: of the model.
            arrays: values.
            outputs: of a batch; each length of a batch is compiled by itself.
        """
        ...


class TrainProgram(Protocol):
    """Variables on devices and the compiled steps that work on them."""

    def train_step(
        self, step: int, batch: HostBatch, scalars: HostScalars, hyper: HostScalars
    ) -> Callable[[], dict[str, float]]:
        """One update.

        Args:
            step: updates done before; with the seed it decides what is dropped.
            batch: arrays [K, B, ...]: K parts one after another, whose gradients add up; B divides
                by the number of devices.
            scalars: what the loss divides by, of the whole batch.
            hyper: of the optimizer.

        Returns:
            A function that waits for the sums of the loss over the batch, "objective" and
            "gradient_norm"; until it is called the devices may still work.
        """
        ...

    def eval_step(self, batch: HostBatch, scalars: HostScalars) -> dict[str, float]:
        """The sums of a batch [B, ...], without dropout."""
        ...

    def predictor(self, outputs: OutputFunction) -> Predict:
        """Compiles a function of the variables, as they are whenever it is called.

        Args:
            outputs: of a batch, without dropout.
        """
        ...

    def parameters(self) -> Arrays:
        """Copies of the variables."""
        ...

    def slots(self) -> Arrays:
        """Copies of the optimizer's slots, as name/adam_m and name/adam_v."""
        ...

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        """Sets all variables and slots."""
        ...

    def restart(self, parameters: Arrays, seed: int) -> None:
        """Begins anew with other variables and dropout, without compiling anything again."""
        ...


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 (AVX-512 BF16 or AMX), as Linux tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))


def no_tpu_message(backend: BackendName, detail: str = "") -> str:
    """What to say where --use_tpu finds no TPU."""
    where = (
        "give --tpu_name (and --tpu_zone, --gcp_project) of a running Cloud TPU"
        if backend == "tensorflow"
        else "run on a TPU VM with jax[tpu] installed"
    )
    reason = f" ({detail})" if detail else ""
    return f"--use_tpu: no TPU was found{reason}; {where}, or leave --use_tpu out."
