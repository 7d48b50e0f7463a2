"""JAX: the whole step compiled, the batch split over all devices of this host."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import keras  # noqa: F401 - bound to its backend before anything is traced
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bert_ko.modeling.compute import Compute, Dropout, Model, plain_matmul
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.heads import Head, HostBatch, HostScalars
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.backend import (
    SLOTS,
    BackendName,
    DeviceConfig,
    OutputFunction,
    Predict,
    no_tpu_message,
)
from bert_ko.training.optimization import clip_scale, update
from bert_ko.training.schedule import OptimizerConfig


class JaxBackend:
    """The devices, and how to compute on them."""

    name: BackendName = "jax"

    def __init__(self, config: DeviceConfig):
        devices = _find_devices(config)
        self.is_cpu = is_cpu = devices[0].platform == "cpu"
        self.num_devices = len(devices)
        self.precision: Literal["float32", "bfloat16"]
        if config.precision == "auto":  # XLA's products on a CPU gain nothing from bfloat16
            self.precision = "float32" if is_cpu else "bfloat16"
        else:
            self.precision = config.precision
        self.compute = Compute(
            activation_dtype="float32" if is_cpu else self.precision,
            matmul_dtype=self.precision,
            product=_cpu_product if is_cpu else plain_matmul,
            fused_attention=config.attention == "fused"
            or (config.attention == "auto" and not is_cpu),
        )
        self.mesh = Mesh(np.array(devices), ("batch",))
        # Threefry is slow on accelerators, and rbg draws differently on other numbers of devices.
        self.random = "threefry2x32" if is_cpu else "rbg"
        kind = devices[0].device_kind
        self.description = f"{self.num_devices} x {kind}, JAX {jax.__version__}"

    def train_program(
        self,
        config: ModelConfig,
        head: Head,
        optimizer: OptimizerConfig | None,
        arrays: Arrays,
        seed: int,
    ) -> JaxProgram:
        """See Backend."""
        return JaxProgram(self, config, head, optimizer, arrays, seed)

    def predictor(self, config: ModelConfig, arrays: Arrays, outputs: OutputFunction) -> Predict:
        """See Backend."""
        return JaxVariables(self, config, arrays).predictor(outputs)


def _find_devices(config: DeviceConfig) -> list[Any]:
    if config.use_tpu:
        try:
            devices = jax.devices("tpu")
        except RuntimeError as error:
            detail = (str(error).strip().splitlines() or [""])[0]
            raise ValueError(no_tpu_message("jax", detail)) from None
    else:
        devices = jax.devices()
    default = 1 if devices[0].platform == "cpu" else len(devices)
    count = config.num_devices or default
    if count > len(devices):
        raise ValueError(f"--num_devices={count}, but JAX sees {len(devices)} devices.")
    return list(devices[:count])


def _cpu_product(a: Any, b: Any, transpose_b: bool) -> Any:
    b = jnp.swapaxes(b, -1, -2) if transpose_b else b
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


class JaxVariables:
    """Variables on the devices."""

    def __init__(self, backend: JaxBackend, config: ModelConfig, arrays: Arrays):
        self._compute, self._config = backend.compute, config
        self._everywhere = NamedSharding(backend.mesh, PartitionSpec())
        self._split = {
            axis: NamedSharding(backend.mesh, PartitionSpec(*[None] * axis, "batch"))
            for axis in (0, 1)
        }
        self._params = jax.device_put(arrays, self._everywhere)

    def _model(self, params: Any, dropout: Dropout) -> Model:
        return Model(params, self._config, self._compute, dropout)

    def predictor(self, outputs: OutputFunction) -> Predict:
        """See TrainProgram."""

        def compute(params: Any, batch: Any) -> Any:
            return outputs(self._model(params, Dropout()), batch)

        function = jax.jit(compute)

        def predict(batch: HostBatch) -> HostBatch:
            found = function(self._params, jax.device_put(batch, self._split[0]))
            return {name: np.asarray(value) for name, value in jax.device_get(found).items()}

        return predict

    def parameters(self) -> Arrays:
        """See TrainProgram."""
        return {name: np.asarray(value) for name, value in self._params.items()}


class JaxProgram(JaxVariables):
    """Variables on the devices and the compiled steps that work on them."""

    def __init__(
        self,
        backend: JaxBackend,
        config: ModelConfig,
        head: Head,
        optimizer: OptimizerConfig | None,
        arrays: Arrays,
        seed: int,
    ):
        super().__init__(backend, config, arrays)
        self._loss, self._optimizer = head.loss, optimizer
        self._random = backend.random
        self._key = jax.random.key(seed, impl=self._random)
        self._slots = self._new_slots(arrays)
        self._train_function = jax.jit(self._step, donate_argnums=(0, 1))
        self._eval_function = jax.jit(self._eval)

    def _new_slots(self, arrays: Arrays) -> dict[str, Any]:
        zeros = {name: np.zeros_like(array) for name, array in arrays.items()}
        slots = SLOTS if self._optimizer is not None else ()
        return {slot: jax.device_put(zeros, self._everywhere) for slot in slots}

    def train_step(
        self, step: int, batch: HostBatch, scalars: HostScalars, hyper: HostScalars
    ) -> Callable[[], dict[str, float]]:
        """See TrainProgram."""
        assert self._optimizer is not None
        placed = jax.device_put(batch, self._split[1])
        self._params, self._slots, sums = self._train_function(
            self._params, self._slots, placed, scalars, hyper, (self._key, np.uint32(step))
        )
        return lambda: {name: float(value) for name, value in jax.device_get(sums).items()}

    def eval_step(self, batch: HostBatch, scalars: HostScalars) -> dict[str, float]:
        """See TrainProgram."""
        placed = jax.device_put(batch, self._split[0])
        sums = jax.device_get(self._eval_function(self._params, placed, scalars))
        return {name: float(value) for name, value in sums.items()}

    def _step(
        self, params: Any, slots: Any, batch: Any, scalars: Any, hyper: Any, step: Any
    ) -> tuple[Any, Any, Any]:
        """Step is the key of dropout and the number of the step."""
        assert self._optimizer is not None
        gradients, sums = self._gradients(params, batch, scalars, step)
        norm, scale = clip_scale(self._optimizer, list(gradients.values()))
        new_params: dict[str, Any] = {}
        new_slots: dict[str, dict[str, Any]] = {slot: {} for slot in SLOTS}
        for name, gradient in gradients.items():
            new_params[name], updated = update(
                self._optimizer,
                name,
                params[name],
                gradient * scale,
                (slots[SLOTS[0]][name], slots[SLOTS[1]][name]),
                hyper,
            )
            for slot, value in zip(SLOTS, updated, strict=True):
                new_slots[slot][name] = value
        return new_params, new_slots, {**sums, "gradient_norm": norm}

    def _gradients(self, params: Any, batch: Any, scalars: Any, step: Any) -> tuple[Any, Any]:
        """Of all parts together; every array of the batch is [K, B, ...]."""
        parts = next(iter(batch.values())).shape[0]
        key = jax.random.fold_in(*step)

        def part(index: Any, features: Any) -> tuple[Any, Any]:
            return self._part_gradients(
                params, {**features, **scalars}, jax.random.fold_in(key, index)
            )

        first = part(0, {name: value[0] for name, value in batch.items()})
        if parts == 1:
            return first

        def add(total: Any, inputs: Any) -> tuple[Any, None]:
            return jax.tree.map(operator.add, total, part(*inputs)), None

        rest = {name: value[1:] for name, value in batch.items()}
        (gradients, sums), _ = jax.lax.scan(add, first, (jnp.arange(1, parts), rest))
        return gradients, sums

    def _part_gradients(self, params: Any, features: Any, key: Any) -> tuple[Any, Any]:
        def loss(params: Any) -> tuple[Any, Any]:
            dropout = Dropout(functools.partial(_random_bits, key))
            return self._loss(self._model(params, dropout), features)

        (objective, sums), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return gradients, {**sums, "objective": objective}

    def _eval(self, params: Any, batch: Any, scalars: Any) -> Any:
        return self._loss(self._model(params, Dropout()), {**batch, **scalars})[1]

    def slots(self) -> Arrays:
        """See TrainProgram."""
        return {
            f"{name}/{slot}": np.asarray(value)
            for slot, values in self._slots.items()
            for name, value in values.items()
        }

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        """See TrainProgram."""
        self._params = jax.device_put(
            {name: parameters[name] for name in self._params}, self._everywhere
        )
        self._slots = {
            slot: jax.device_put(
                {name: slots[f"{name}/{slot}"] for name in self._params}, self._everywhere
            )
            for slot in self._slots
        }

    def restart(self, parameters: Arrays, seed: int) -> None:
        """See TrainProgram."""
        self._params = jax.device_put(
            {name: parameters[name] for name in self._params}, self._everywhere
        )
        self._slots = self._new_slots(parameters)
        self._key = jax.random.key(seed, impl=self._random)


def _random_bits(key: Any, use: int, shape: tuple[int, ...]) -> Any:
    return jax.random.bits(jax.random.fold_in(key, use), shape, np.uint16)
