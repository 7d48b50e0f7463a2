"""JAX: the whole step compiled, the batch split over all devices of all hosts."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras  # noqa: F401 - bound to its backend before anything is traced
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bert_ko.modeling.compute import Compute, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.dropout import Dropout, child_seed, step_seed
from bert_ko.modeling.heads import (
    Head,
    HostBatch,
    HostScalars,
    carried_shapes,
    loss_and_carried,
)
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.backend import (
    Backend,
    BackendName,
    DeviceConfig,
    MatmulDtype,
    OutputFunction,
    Predict,
    no_tpu_message,
)
from bert_ko.training.compiled_programs import programs_folder, programs_of_processor
from bert_ko.training.hosts import Hosts, free_port
from bert_ko.training.jax_operations import attention, with_own_gradients
from bert_ko.training.optimization import OptimizerConfig, clip_scale, update


class JaxBackend(Backend):
    """The devices, and how to compute on them."""

    name: BackendName = "jax"

    def __init__(self, config: DeviceConfig, hosts: Hosts):
        if hosts.count > 1:
            _join(hosts)
        local_devices = _find_devices(config)
        devices = _of_all_hosts(local_devices, hosts)
        self.is_cpu = is_cpu = devices[0].platform == "cpu"
        _keep_compiled(is_cpu)
        self.num_devices, self.num_local_devices = len(devices), len(local_devices)
        self.has_others = hosts.count > 1
        # XLA's products on a CPU gain nothing from bfloat16.
        auto: MatmulDtype = "float32" if is_cpu else "bfloat16"
        self.precision = auto if config.precision == "auto" else config.precision
        compute = _cpu_compute(self.precision) if is_cpu else accelerator_compute(self.precision)
        if config.attention != "auto":
            is_fused = config.attention == "fused"
            compute = dataclasses.replace(compute, attention=attention if is_fused else None)
        if config.remat:
            compute = dataclasses.replace(compute, remat=jax.checkpoint)
        self.compute = compute
        self.mesh = Mesh(np.array(devices), ("batch",))
        self.local_mesh = Mesh(np.array(local_devices), ("batch",))
        self.device_kind = devices[0].device_kind
        self.description = f"{self.num_devices} x {self.device_kind}, JAX {jax.__version__}"

    def peak_memory(self) -> int | None:
        """See Backend."""
        found = jax.local_devices()[0].memory_stats() or {}
        return found.get("peak_bytes_in_use")

    def visible_devices(self) -> list[str]:
        """See Backend."""
        return [_kind(device) for device in jax.local_devices()]

    def _program(self, *arguments: Any) -> JaxProgram:
        return JaxProgram(self, *arguments)


def _kind(device: Any) -> str:
    return "CPU" if device.platform == "cpu" else str(device.device_kind)


def _join(hosts: Hosts) -> None:
    """Makes JAX know the devices of all hosts; who has ended we notice ourselves."""
    jax.config.update("jax_enable_recoverability", True)  # else it aborts the process
    jax.config.update("jax_enable_preemption_service", False)  # which takes SIGTERM
    address = hosts.decide(f"{hosts.address}:{free_port()}" if hosts.is_first else None)
    try:
        jax.distributed.initialize(address, hosts.count, hosts.index)
    except RuntimeError as error:
        raise ValueError(f"JAX can't connect the hosts at {address}: {error}") from None
    hosts.at_end(jax.distributed.shutdown)


def _of_all_hosts(devices: list[Any], hosts: Hosts) -> list[Any]:
    """The devices in the order of the hosts; a host's share of a batch is one stretch.

    Raises:
        ValueError: a host has another number of devices, or another place than JAX knows it by.
    """
    if hosts.count == 1:
        return devices
    hosts.require_same({"the number of devices": len(devices), "JAX": jax.__version__})
    if jax.process_index() != hosts.index:
        raise ValueError(
            f"this is host {hosts.index}, but the devices say {jax.process_index()}; give each "
            "host of a TPU pod its own number as --process_id, or --coordinator_address=auto."
        )
    ids = hosts.gather([device.id for device in devices])
    by_id = {device.id: device for device in jax.devices(devices[0].platform)}
    return [by_id[number] for host in ids for number in host]


def _find_devices(config: DeviceConfig) -> list[Any]:
    if config.use_tpu:
        try:
            devices = jax.local_devices(backend="tpu")
        except RuntimeError as error:
            detail = (str(error).strip().splitlines() or [""])[0]
            raise ValueError(no_tpu_message("jax", detail)) from None
    else:
        devices = jax.local_devices()
    default = 1 if devices[0].platform == "cpu" else len(devices)
    count = config.num_devices or default
    if count > len(devices):
        raise ValueError(f"--num_devices={count}, but JAX sees {len(devices)} devices.")
    return list(devices[:count])


def _keep_compiled(is_cpu: bool) -> None:
    """A run that is resumed, or the next seed, does not compile again."""
    if jax.config.jax_compilation_cache_dir is None:  # JAX_COMPILATION_CACHE_DIR is the user's
        folder = programs_of_processor("jax") if is_cpu else programs_folder("jax")
        jax.config.update("jax_compilation_cache_dir", folder)


def accelerator_compute(precision: MatmulDtype) -> Compute:
    """How a GPU or a TPU computes: little is kept for gradients, and nothing in float32."""
    return Compute(
        activation_dtype=precision,
        matmul_dtype=precision,
        fuse=with_own_gradients,
        differentiate=with_own_gradients,
        attention=attention,
        recompute=jax.checkpoint,
    )


def _cpu_compute(precision: MatmulDtype) -> Compute:
    return Compute(matmul_dtype=precision, product=_cpu_product, differentiate=with_own_gradients)


def _cpu_product(a: Any, b: Any, transpose_b: bool) -> Any:
    b = jnp.swapaxes(b, -1, -2) if transpose_b else b
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


class JaxProgram:
    """Variables on the devices and the compiled steps that work on them; see TrainProgram."""

    def __init__(
        self,
        backend: JaxBackend,
        config: ModelConfig,
        head: Head | None,
        optimizer: OptimizerConfig | None,
        arrays: Arrays,
        seed: int,
    ):
        self._backend, self._config, self._head = backend, config, head
        self._optimizer, self._names = optimizer, list(arrays)
        # Those that are updated; the others are no part of what a step gives back.
        self._trained = [
            name for name in self._names if optimizer is not None and optimizer.trains(name)
        ]
        self._carried_shapes = carried_shapes(head, config) if optimizer is not None else {}
        self._train_function = jax.jit(self._step, donate_argnums=(0, 1, 2))
        self._eval_function = jax.jit(self._eval)
        self.restart(arrays, seed)

    def restart(self, parameters: Arrays, seed: int) -> None:
        """See TrainProgram."""
        zeros = {name: np.zeros_like(parameters[name]) for name in self._trained}
        slots = self._optimizer.slots if self._optimizer is not None else ()
        self._params = self._everywhere({name: parameters[name] for name in self._names})
        self._slots = {slot: self._everywhere(zeros) for slot in slots}
        self._carried: Any = {
            name: np.zeros(shape, np.float32) for name, shape in self._carried_shapes.items()
        }
        self._seed = seed

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        """See TrainProgram."""
        self._params = self._everywhere({name: parameters[name] for name in self._names})
        self._slots = {
            slot: self._everywhere({name: slots[f"{name}/{slot}"] for name in self._trained})
            for slot in self._slots
        }
        self._carried = {name: slots[name] for name in self._carried_shapes}

    def parameters(self) -> Arrays:
        """See TrainProgram."""
        return {name: np.asarray(value) for name, value in self._params.items()}

    def slots(self) -> Arrays:
        """See TrainProgram."""
        return {
            f"{name}/{slot}": np.asarray(value)
            for slot, values in self._slots.items()
            for name, value in values.items()
        } | {
            name: self._gathered(value).reshape(self._carried_shapes[name])
            for name, value in self._carried.items()
        }

    def _gathered(self, value: Any) -> Any:
        """The whole of an array whose parts the hosts have."""
        if self._backend.has_others and not isinstance(value, np.ndarray):
            return multihost_utils.process_allgather(value, tiled=True)
        return np.asarray(value)

    def _everywhere(self, arrays: Any) -> Any:
        return self._placed(arrays, PartitionSpec())

    def _placed(self, arrays: Any, spec: Any) -> Any:
        """Whole arrays, by name, on the devices of all hosts; each host has them."""
        sharding = NamedSharding(self._backend.mesh, spec)
        if not self._backend.has_others:
            return jax.device_put(arrays, sharding)
        return {
            name: jax.make_array_from_callback(value.shape, sharding, value.__getitem__)
            for name, value in arrays.items()
        }

    def _split(self, batch: HostBatch, axis: int) -> Any:
        """This host's share of arrays on its devices, as a part of the whole."""
        sharding = NamedSharding(self._backend.mesh, PartitionSpec(*[None] * axis, "batch"))
        if not self._backend.has_others:
            return jax.device_put(batch, sharding)
        return {
            name: jax.make_array_from_process_local_data(sharding, value)
            for name, value in batch.items()
        }

    def _split_here(self, batch: HostBatch) -> Any:
        """Arrays on this host's devices alone."""
        return jax.device_put(
            batch, NamedSharding(self._backend.local_mesh, PartitionSpec("batch"))
        )

    def _params_here(self) -> Any:
        """The variables as this host's devices have them."""
        if not self._backend.has_others:
            return self._params
        sharding = NamedSharding(self._backend.local_mesh, PartitionSpec())
        return {
            name: jax.make_array_from_single_device_arrays(
                value.shape, sharding, [shard.data for shard in value.addressable_shards]
            )
            for name, value in self._params.items()
        }

    def _shares(self, scalars: HostScalars) -> Any:
        """Numbers that are to be summed over all hosts, float32 [devices] each."""
        if not self._backend.has_others:
            return scalars
        shares = {n: np.zeros(self._backend.num_local_devices, np.float32) for n in scalars}
        for name, value in scalars.items():
            shares[name][0] = value
        return self._split(shares, 0)

    def _model(self, params: Any, dropout: Dropout) -> Model:
        return Model(params, self._config, self._backend.compute, dropout)

    def _loss(self, params: Any, dropout: Dropout, features: Any) -> tuple[Any, Any]:
        assert self._head is not None
        return self._head.loss(self._model(params, dropout), features)

    def predictor(self, outputs: OutputFunction) -> Predict:
        """See TrainProgram."""

        def compute(params: Any, batch: Any) -> Any:
            return outputs(self._model(params, Dropout()), batch)

        function = jax.jit(compute)

        def predict(batch: HostBatch) -> HostBatch:
            found = function(self._params_here(), self._split_here(batch))
            return {name: np.asarray(value) for name, value in jax.device_get(found).items()}

        return predict

    def train_step(
        self, step: int, batch: HostBatch, scalars: HostScalars, hyper: HostScalars
    ) -> Callable[[], dict[str, float]]:
        """See TrainProgram."""
        placed, seed = self._split(batch, 1), step_seed(self._seed, step)
        self._place_carried(len(next(iter(batch.values()))))
        frozen = dict(self._params)
        trained = {name: frozen.pop(name) for name in self._trained}
        trained, self._slots, self._carried, sums = self._train_function(
            trained, self._slots, self._carried, frozen, placed, self._shares(scalars), hyper, seed
        )
        self._params = {**frozen, **trained}
        return lambda: {name: float(value) for name, value in jax.device_get(sums).items()}

    def _place_carried(self, parts: int) -> None:
        """Moves what the head carries to the devices, as parts [K, B, ...], if it is not there."""
        if any(isinstance(value, np.ndarray) for value in self._carried.values()):
            rows = {n: v.reshape(parts, -1, *v.shape[1:]) for n, v in self._carried.items()}
            self._carried = self._placed(rows, PartitionSpec(None, "batch"))

    def eval_step(self, batch: HostBatch, scalars: HostScalars) -> dict[str, float]:
        """See TrainProgram."""
        sums = self._eval_function(self._params_here(), self._split_here(batch), scalars)
        return {name: float(value) for name, value in jax.device_get(sums).items()}

    def _step(
        self, params: Any, slots: Any, carried: Any, frozen: Any, batch: Any, *rest: Any
    ) -> tuple[Any, Any, Any, Any]:
        scalars, hyper, seed = rest
        if self._backend.has_others:
            scalars = {name: jnp.sum(shares) for name, shares in scalars.items()}
        features = {**batch, **carried}
        gradients, sums, carried = self._gradients((params, frozen), features, scalars, seed)
        with jax.named_scope("optimizer"):  # for profiles
            new_params, new_slots, norm = self._update(params, slots, gradients, hyper)
        return new_params, new_slots, carried, {**sums, "gradient_norm": norm}

    def _update(
        self, params: Any, slots: Any, gradients: Any, hyper: Any
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Any]:
        """New variables and slots, and the norm of the gradients."""
        assert self._optimizer is not None
        norm, scale = clip_scale(self._optimizer, list(gradients.values()))
        new_params: dict[str, Any] = {}
        new_slots: dict[str, dict[str, Any]] = {slot: {} for slot in self._optimizer.slots}
        for name, gradient in gradients.items():
            new_params[name], updated = update(
                self._optimizer,
                name,
                params[name],
                gradient * scale,
                tuple(values[name] for values in slots.values()),
                hyper,
            )
            for slot, value in zip(new_slots, updated, strict=True):
                new_slots[slot][name] = value
        return new_params, new_slots, norm

    def _gradients(
        self, params: Any, batch: Any, scalars: Any, seed: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Of all parts together; every array of the batch, and what is carried, is [K, B, ...]."""
        parts = next(iter(batch.values())).shape[0]

        def part(index: Any, features: Any) -> tuple[Any, Any]:
            dropout = Dropout(child_seed(seed, index))
            return self._part_gradients(params, {**features, **scalars}, dropout)

        first, carried = part(0, {name: value[0] for name, value in batch.items()})
        if parts == 1:
            return (*first, {name: value[None] for name, value in carried.items()})

        def add(total: Any, inputs: Any) -> tuple[Any, Any]:
            found, carried = part(*inputs)
            return jax.tree.map(operator.add, total, found), carried

        rest = {name: value[1:] for name, value in batch.items()}
        (gradients, sums), others = jax.lax.scan(add, first, (jnp.arange(1, parts), rest))
        joined = {n: jnp.concatenate([v[None], others[n]]) for n, v in carried.items()}
        return gradients, sums, joined

    def _part_gradients(self, params: Any, features: Any, dropout: Dropout) -> tuple[Any, Any]:
        """Gradients and sums, which are added up; and what is carried."""
        trained, frozen = params

        def loss(trained: Any) -> tuple[Any, Any]:
            assert self._head is not None
            model = self._model({**trained, **frozen}, dropout)
            objective, *others = loss_and_carried(self._head, model, features)
            return objective, others

        (objective, (sums, carried)), gradients = jax.value_and_grad(loss, has_aux=True)(trained)
        return (gradients, {**sums, "objective": objective}), carried

    def _eval(self, params: Any, batch: Any, scalars: Any) -> Any:
        return self._loss(params, Dropout(), {**batch, **scalars})[1]
