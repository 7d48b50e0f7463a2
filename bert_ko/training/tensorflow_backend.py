"""TensorFlow: one device, a strategy over several of this host or of all hosts, or TPUStrategy.

On a CPU matrix products run outside XLA, where oneDNN has the fast kernels, and the operations
between them inside, each compiled with a gradient of its own. On a GPU or TPU XLA gets the step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from bert_ko.modeling.compute import Compute, Model, attention_of, forward_only
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.dropout import Dropout, child_seed, step_seed
from bert_ko.modeling.fused import sums_rows_by_products
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
    cpu_has_bfloat16,
    has_gpu,
)
from bert_ko.training.compiled_programs import keep_programs_of_tensorflow
from bert_ko.training.hosts import Hosts
from bert_ko.training.optimization import OptimizerConfig, clip_scale, update
from bert_ko.training.tensorflow_devices import find_devices, gpu_name, visible_devices
from bert_ko.training.tensorflow_operations import (
    Lookups,
    compiled,
    copies_of,
    keras_attention,
    product,
    with_own_gradients,
)
from bert_ko.workers import num_processors


class TensorFlowBackend(Backend):
    """The devices, and how to compute on them."""

    name: BackendName = "tensorflow"

    def __init__(self, config: DeviceConfig, hosts: Hosts):
        if not config.use_tpu and not has_gpu():
            keep_programs_of_tensorflow(tf.__version__)
        tf.config.experimental.enable_op_determinism()
        tf.get_logger().addFilter(_is_no_news)
        self.has_others = hosts.count > 1
        self.strategy, kind = find_devices(config, hosts)
        self.num_devices = self.strategy.num_replicas_in_sync if self.strategy else 1
        self.num_local_devices = self.num_devices // hosts.count
        self.first_device = hosts.index * self.num_local_devices  # of this host among all
        self.is_cpu = is_cpu = kind == "CPU"
        auto: MatmulDtype = "float32" if is_cpu and not cpu_has_bfloat16() else "bfloat16"
        self.precision = auto if config.precision == "auto" else config.precision
        self.compiles_step = not is_cpu and self.strategy is None
        compute = accelerator_compute(self.precision)
        if is_cpu:
            compute = Compute(
                matmul_dtype=self.precision,
                product=product,
                # MirroredStrategy can't hold compiled functions.
                fuse=compiled if self.strategy is None else forward_only,
                differentiate=with_own_gradients,
                # Two, however many cores: more take as long on two, and memory for gradients.
                shares=2 if self.strategy is None and num_processors() > 1 else 1,
                attention=keras_attention if config.attention == "fused" else None,
            )
            # In float32 the kernel itself is as good, and TensorFlow's own sum is faster.
            if self.strategy is None and self.precision != "float32":
                compute = dataclasses.replace(compute, copies=copies_of(self.precision))
        elif config.attention == "plain":
            compute = dataclasses.replace(compute, attention=None)
        if config.remat:
            compute = dataclasses.replace(compute, remat=tf.recompute_grad)
        self.compute = compute
        self.device_kind = gpu_name() if kind == "GPU" else kind
        self.description = f"{self.num_devices} x {kind}, TensorFlow {tf.__version__}"

    def peak_memory(self) -> int | None:
        """See Backend."""
        if not tf.config.list_logical_devices("GPU"):
            return None
        return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])

    def visible_devices(self) -> list[str]:
        """See Backend."""
        return visible_devices()

    def _program(self, *arguments: Any) -> TensorFlowProgram:
        return TensorFlowProgram(self, *arguments)


def accelerator_compute(precision: MatmulDtype) -> Compute:
    """How a GPU or a TPU computes: nothing is kept for gradients in float32."""
    return Compute(
        activation_dtype=precision,
        matmul_dtype=precision,
        product=product,
        fuse=with_own_gradients,
        differentiate=with_own_gradients,
        attention=attention_of(with_own_gradients),
    )


def _is_no_news(record: logging.LogRecord) -> bool:
    """Batches of several lengths are compiled one by one on purpose."""
    return "triggered tf.function retracing" not in record.getMessage()


class TensorFlowProgram:
    """Variables on the devices and the compiled steps that work on them; see TrainProgram."""

    def __init__(
        self,
        backend: TensorFlowBackend,
        config: ModelConfig,
        head: Head | None,
        optimizer: OptimizerConfig | None,
        arrays: Arrays,
        seed: int,
    ):
        self._strategy, self._is_cpu, self._seed = backend.strategy, backend.is_cpu, seed
        self._backend = backend
        self._config, self._compute, self._head = config, backend.compute, head
        self._trained_with, self._names = optimizer, list(arrays)
        # Those that are updated; the others get no gradient.
        self._trained = [n for n in self._names if optimizer is not None and optimizer.trains(n)]
        with self._strategy.scope() if self._strategy else tf.device(None):
            self._variables = [tf.Variable(arrays[name], name=name) for name in self._names]
            self._slots = {  # NAME/adam_m and NAME/adam_v, or what else the optimizer keeps
                f"{name}/{slot}": tf.Variable(
                    np.zeros_like(arrays[name]), name=f"{name}/{slot}", trainable=False
                )
                for name in self._trained
                for slot in (optimizer.slots if optimizer is not None else ())
            }
        self._carried_shapes = carried_shapes(head, config) if optimizer is not None else {}
        self._forget_carried()
        step = self._distributed_step if self._strategy else self._single_step
        evaluate = self._distributed_eval if self._strategy else self._eval
        self._function = functools.partial(
            tf.function, autograph=False, jit_compile=True if backend.compiles_step else None
        )
        self._train_function = self._function(step)
        self._eval_function = self._function(evaluate)
        self._update_function = tf.function(
            self._update_all, autograph=False, jit_compile=None if self._strategy else True
        )

    def parameters(self) -> Arrays:
        """See TrainProgram."""
        return {
            name: variable.numpy()
            for name, variable in zip(self._names, self._variables, strict=True)
        }

    def slots(self) -> Arrays:
        """See TrainProgram."""
        slots = {name: variable.numpy() for name, variable in self._slots.items()}
        return {**slots, **{name: self._whole(name) for name in self._carried_shapes}}

    def _whole(self, name: str) -> Any:
        """What is carried by that name, [B, ...]."""
        value = self._carried[name]
        if self._strategy is not None and not isinstance(value, np.ndarray):
            if self._backend.has_others:
                value = self._strategy.gather(value, axis=1)
            else:
                value = tf.concat(self._strategy.experimental_local_results(value), 1)
        return np.array(value).reshape(self._carried_shapes[name])

    def _forget_carried(self) -> None:
        self._carried: dict[str, Any] = {
            name: np.zeros(shape, np.float32) for name, shape in self._carried_shapes.items()
        }

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        """See TrainProgram."""
        for name, variable in zip(self._names, self._variables, strict=True):
            variable.assign(parameters[name])
        for name, variable in self._slots.items():
            variable.assign(slots[name])
        self._carried = {name: slots[name] for name in self._carried_shapes}

    def restart(self, parameters: Arrays, seed: int) -> None:
        """See TrainProgram."""
        slots = {name: np.zeros(v.shape, np.float32) for name, v in self._slots.items()}
        self._forget_carried()
        self.restore(parameters, {**slots, **self._carried})
        self._seed = seed

    @property
    def _optimizer(self) -> OptimizerConfig:
        assert self._trained_with is not None
        return self._trained_with

    def _place(self, batch: HostBatch, axis: int) -> Any:
        """Tensors; with a strategy, each device's share along the axis."""
        if self._strategy is None:
            return _tensors(batch)

        first, count = self._backend.first_device, self._backend.num_local_devices

        def share(context: Any) -> dict[str, Any]:
            i = context.replica_id_in_sync_group - first
            return _tensors({k: np.split(v, count, axis)[i] for k, v in batch.items()})

        return self._strategy.experimental_distribute_values_from_function(share)

    def _first(self, values: dict[str, Any]) -> dict[str, Any]:
        """Of values that are equal on all devices."""
        return {k: self._strategy.experimental_local_results(v)[0] for k, v in values.items()}

    def _values(self) -> list[Any]:
        return [variable.read_value() for variable in self._variables]

    def _only_trained(self, values: list[Any]) -> list[Any]:
        return [x for n, x in zip(self._names, values, strict=True) if n in self._trained]

    def _model(self, values: list[Any], dropout: Dropout) -> Model:
        params = dict(zip(self._names, values, strict=True))
        return Model(params, self._config, self._compute, dropout)

    def _loss(
        self, values: list[Any], dropout: Dropout, features: Any, lookups: Lookups | None = None
    ) -> tuple[Any, Any, Any]:
        """See ``loss_and_carried``."""
        assert self._head is not None
        model = self._model(values, dropout)
        if lookups is not None and self._is_cpu:
            model = model._replace(compute=dataclasses.replace(model.compute, lookup=lookups))
        return loss_and_carried(self._head, model, features)

    def predictor(self, outputs: OutputFunction) -> Predict:
        """See TrainProgram."""

        def compute(batch: Any) -> Any:
            return outputs(self._model(self._values(), Dropout()), batch)

        def distributed(batch: Any) -> Any:
            found = self._strategy.run(compute, args=(batch,))
            parts = {k: self._strategy.experimental_local_results(v) for k, v in found.items()}
            return {name: tf.concat(values, 0) for name, values in parts.items()}

        function = self._function(distributed if self._strategy else compute)

        def predict(batch: HostBatch) -> HostBatch:
            return {k: value.numpy() for k, value in function(self._place(batch, 0)).items()}

        return predict

    def train_step(
        self, step: int, batch: HostBatch, scalars: HostScalars, hyper: HostScalars
    ) -> Callable[[], dict[str, float]]:
        """See TrainProgram."""
        seed = tf.constant(step_seed(self._seed, step))
        carried = self._placed_carried(len(next(iter(batch.values()))))
        sums, self._carried = self._train_function(
            self._place(batch, 1), carried, self._shares(scalars), _tensors(hyper), seed
        )
        return lambda: {name: float(value) for name, value in sums.items()}

    def _shares(self, scalars: HostScalars) -> Any:
        """Numbers; with other hosts, this one's shares of them, which the devices add up."""
        if not self._backend.has_others:
            return _tensors(scalars)
        first = self._backend.first_device

        def share(context: Any) -> dict[str, Any]:
            is_first = context.replica_id_in_sync_group == first
            return _tensors({k: v * np.float32(is_first) for k, v in scalars.items()})

        return self._strategy.experimental_distribute_values_from_function(share)

    def _placed_carried(self, parts: int) -> dict[str, Any]:
        """What the head carries on the devices, as parts [K, B, ...]."""
        placed = {}
        for name, value in self._carried.items():
            if isinstance(value, np.ndarray):  # not yet there
                rows = value.reshape(parts, -1, *value.shape[1:])
                value = self._place_one(rows) if self._strategy else tf.constant(rows)
            placed[name] = value
        return placed

    def _place_one(self, rows: Any) -> Any:
        """Each device's share of a whole array [K, B, ...]."""

        def share(context: Any) -> Any:
            i, count = context.replica_id_in_sync_group, context.num_replicas_in_sync
            return tf.constant(np.split(rows, count, 1)[i])

        return self._strategy.experimental_distribute_values_from_function(share)

    def eval_step(self, batch: HostBatch, scalars: HostScalars) -> dict[str, float]:
        """See TrainProgram."""
        sums = self._eval_function(self._place(batch, 0), _tensors(scalars))
        return {name: float(value) for name, value in sums.items()}

    def _single_step(
        self, batch: Any, carried: Any, scalars: Any, hyper: Any, seed: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        gradients, sums, carried = self._gradients({**batch, **carried}, scalars, seed, 0)
        norm = self._update_function(gradients, hyper)
        return {**sums, "gradient_norm": norm}, carried

    def _distributed_step(
        self, batch: Any, carried: Any, scalars: Any, hyper: Any, seed: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        def replica_step(
            batch: Any, carried: Any, scalars: Any
        ) -> tuple[dict[str, Any], dict[str, Any]]:
            context = tf.distribute.get_replica_context()
            if self._backend.has_others:
                # What came from outside has no device yet, which TensorFlow asks for.
                scalars = {name: tf.identity(value) for name, value in scalars.items()}
                scalars = context.all_reduce(tf.distribute.ReduceOp.SUM, scalars)
            replica = context.replica_id_in_sync_group
            batch = {**batch, **carried}
            gradients, sums, carried = self._gradients(batch, scalars, seed, replica)
            gradients, sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [gradients, sums])
            norm, scale = clip_scale(self._optimizer, gradients)
            context.merge_call(self._update_replicas, args=(gradients, scale, hyper))
            return {**sums, "gradient_norm": norm}, carried

        sums, carried = self._strategy.run(replica_step, args=(batch, carried, scalars))
        return self._first(sums), carried

    def _update_replicas(self, strategy: Any, gradients: Any, scale: Any, hyper: Any) -> None:
        for name, variable, slots, gradient in self._with_slots(gradients):
            strategy.extended.update(
                variable,
                functools.partial(self._assign, name),
                args=(*slots, gradient, scale, hyper),
                group=False,
            )

    def _update_all(self, gradients: Any, hyper: Any) -> Any:
        with sums_rows_by_products() if self._is_cpu else contextlib.nullcontext():
            norm, scale = clip_scale(self._optimizer, gradients)
            for name, variable, slots, gradient in self._with_slots(gradients):
                self._assign(name, variable, *slots, gradient, scale, hyper)
        return norm

    def _with_slots(self, gradients: Any) -> Iterator[tuple[str, Any, list[Any], Any]]:
        variables = self._only_trained(self._variables)
        for name, variable, gradient in zip(self._trained, variables, gradients, strict=True):
            slots = [self._slots[f"{name}/{slot}"] for slot in self._optimizer.slots]
            yield name, variable, slots, gradient

    def _assign(self, name: str, variable: Any, *rest: Any) -> None:
        """Rest: the slots, the gradient, its scale and the hyperparameters."""
        *slots, gradient, scale, hyper = rest
        before = tuple(slot.read_value() for slot in slots)
        value, after = update(
            self._optimizer, name, variable.read_value(), gradient * scale, before, hyper
        )
        for slot, new in zip(slots, after, strict=True):
            slot.assign(new)
        variable.assign(value)

    def _gradients(
        self, batch: Any, scalars: Any, seed: Any, replica: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Of all parts together; every array of the batch, and what is carried, is [K, B, ...]."""
        parts = next(iter(batch.values())).shape[0]

        def part(index: Any) -> tuple[Any, Any]:
            features = {name: value[index] for name, value in batch.items()}
            dropout = Dropout(child_seed(seed, index), replica)
            return self._part_gradients({**features, **scalars}, dropout)

        first, carried = part(0)
        if parts == 1:
            return (*first, {name: value[None] for name, value in carried.items()})

        def put(index: Any, rows: Any, all_rows: Any) -> Any:
            return tf.tensor_scatter_nd_update(all_rows, [[index]], rows[None])

        def add(index: Any, total: Any, carried: Any) -> Any:
            found, rows = part(index)
            carried = {name: put(index, rows[name], carried[name]) for name in carried}
            return index + 1, tf.nest.map_structure(tf.add, total, found), carried

        all_rows = {name: put(0, rows, batch[name]) for name, rows in carried.items()}
        _, (gradients, sums), carried = tf.while_loop(
            lambda index, *_: index < parts, add, (1, first, all_rows), parallel_iterations=1
        )
        return gradients, sums, carried

    def _part_gradients(self, features: Any, dropout: Dropout) -> tuple[Any, dict[str, Any]]:
        """Gradients and sums, which are added up; and what is carried."""
        values = self._values()
        trained = self._only_trained(values)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trained)
            lookups = Lookups(tape, trained)
            objective, sums, carried = self._loss(values, dropout, features, lookups)
        gradients, of_rows = tape.gradient(
            objective, (trained, lookups.rows), unconnected_gradients="zero"
        )
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        gradients = lookups.add(gradients, of_rows)
        return (gradients, {**sums, "objective": objective}), dict(carried)

    def _eval(self, batch: Any, scalars: Any) -> dict[str, Any]:
        _, sums, _ = self._loss(self._values(), Dropout(), {**batch, **scalars})
        return dict(sums)

    def _distributed_eval(self, batch: Any, scalars: Any) -> dict[str, Any]:
        """On this host's devices; other hosts have no part in it."""
        found = self._strategy.run(self._eval, args=(batch, scalars))
        parts = {k: self._strategy.experimental_local_results(v) for k, v in found.items()}
        return {name: tf.add_n(values) for name, values in parts.items()}


def _tensors(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: tf.constant(array) for name, array in arrays.items()}
