"""One interface over TensorFlow and JAX: where tensors live, and compiled steps."""

from __future__ import annotations

import glob
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from bert_ko.modeling.compute import Compute, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.heads import Head, HostBatch, HostScalars
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.optimization import OptimizerConfig
from bert_ko.training.peaks import peak_flops

MatmulDtype = Literal["float32", "bfloat16"]
Precision = Literal["float32", "bfloat16", "auto"]
BackendName = Literal["tensorflow", "jax"]
AttentionName = Literal["plain", "fused", "auto"]


@dataclass(frozen=True)
class DeviceConfig:
    """Which devices compute, and how."""

    num_devices: int | None = None  # None: all accelerators, or one CPU
    use_tpu: bool = False
    # Where the TPU is, for TensorFlow.
    tpu_name: str | None = None
    tpu_zone: str | None = None
    gcp_project: str | None = None
    master: str | None = None
    precision: Precision = "auto"  # of matrix products
    attention: AttentionName = "auto"
    remat: bool = False  # compute the layers again for the gradients


# From a batch of tensors [B, ...] to a model's outputs, tensors [B, ...].
OutputFunction = Callable[[Model, dict[str, Tensor]], dict[str, Tensor]]
# Axes of a tensor that other programs see: the names of open sizes, and the sizes of others.
Axes = Sequence[str | int]
# The same from arrays to arrays, without dropout, on this host's devices alone; B is a multiple of
# their number.
Predict = Callable[[HostBatch], HostBatch]


class Backend(ABC):
    """Runs a model on devices; all arrays come and go as numpy."""

    name: BackendName
    description: str  # of the devices
    num_devices: int  # of all hosts; a batch to train on must be a multiple of it
    num_local_devices: int  # of this one, which evaluate and predict; their batches must be too
    device_kind: str  # what a device calls itself
    is_cpu: bool
    precision: MatmulDtype
    compute: Compute

    @property
    def peak_flops(self) -> float | None:
        """Operations a second of all devices by their data sheets; None if that is not known."""
        peak = peak_flops(self.device_kind) if self.precision == "bfloat16" else None
        return None if peak is None else peak * self.num_devices

    @property
    def fused_attention(self) -> bool:
        """Whether the backend's fused attention is used where nothing is dropped."""
        return self.compute.attention is not None

    def train_program(
        self,
        config: ModelConfig,
        head: Head,
        optimizer: OptimizerConfig | None,
        arrays: Arrays,
        seed: int,
    ) -> TrainProgram:
        """Places variables on the devices, and slots of zeros.

        Args:
            config: of the model.
            head: whose loss is differentiated.
            optimizer: None, and no slots, for a model that is only evaluated.
            arrays: float32, the values of the variables.
            seed: of dropout.
        """
        return self._program(config, head, optimizer, arrays, seed)

    def predictor(self, config: ModelConfig, arrays: Arrays, outputs: OutputFunction) -> Predict:
        """Places variables on the devices and compiles a function of them, once for each length."""
        return self._program(config, None, None, arrays, 0).predictor(outputs)

    def peak_memory(self) -> int | None:
        """Bytes of the first device that were used at most; None if it is not known."""
        return None

    @abstractmethod
    def visible_devices(self) -> list[str]:
        """What each device of this host that the framework sees calls itself, used or not."""

    @abstractmethod
    def _program(self, *arguments: Any) -> TrainProgram: ...


class TrainProgram(Protocol):
    """Variables on devices and the compiled steps that work on them."""

    def train_step(
        self, step: int, batch: HostBatch, scalars: HostScalars, hyper: HostScalars
    ) -> Callable[[], dict[str, float]]:
        """Begins one update, and keeps what the head carries to the next; see CarryingHead.

        Args:
            step: updates done before; with the seed it decides what is dropped.
            batch: arrays [K, B, ...]: K parts one after another, whose gradients add up; B is a
                multiple of the number of devices. Each of several hosts has its share.
            scalars: what the loss divides by, for the whole batch; each host has its share's.
            hyper: of the optimizer; see ``hyperparameters``.

        Returns:
            A function that waits for the devices and returns the sums of the loss over the batch,
            "objective" and "gradient_norm".
        """
        ...

    def eval_step(self, batch: HostBatch, scalars: HostScalars) -> dict[str, float]:
        """The sums of the loss over a batch [B, ...], without dropout, on this host alone."""
        ...

    def predictor(self, outputs: OutputFunction) -> Predict:
        """Compiles a function of the variables, as they are whenever it is called."""
        ...

    def parameters(self) -> Arrays:
        """Copies of the variables, float32."""
        ...

    def slots(self) -> Arrays:
        """Copies of what training needs besides the variables, float32; all hosts call it together.

        They are the optimizer's slots, NAME/adam_m and NAME/adam_v of each variable or what else
        ``OptimizerConfig.slots`` says; and what the head carries, [B, ...], by its name.
        """
        ...

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        """Sets all variables, and what ``slots`` returned; with whole arrays on each host."""
        ...

    def restart(self, parameters: Arrays, seed: int) -> None:
        """Sets variables, zeros ``slots`` and draws new dropout; compiles nothing again."""
        ...


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 (AVX-512 BF16 or AMX), according to Linux."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            flags = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return False
    return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))


def has_gpu() -> bool:
    """Whether the system has a GPU, which this process may not be allowed to use."""
    return any(glob.glob(f"/dev/{name}") for name in ("nvidia[0-9]*", "kfd", "dxg"))


def no_tpu_message(backend: BackendName, detail: str = "") -> str:
    """The message when --use_tpu finds no TPU."""
    where = (
        "give --tpu_name (and --tpu_zone, --gcp_project) of a running Cloud TPU"
        if backend == "tensorflow"
        else "run on a TPU VM with jax[tpu] installed"
    )
    reason = f" ({detail})" if detail else ""
    return f"--use_tpu: no TPU was found{reason}; {where}, or leave --use_tpu out."
