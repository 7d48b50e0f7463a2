"""Runs experiments on the backend of KERAS_BACKEND in a process of its own, for several tests.

Keras is imported once in a process and several devices must be asked for before the first use, so
that each backend has its process; the tests make claims about what it writes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.compute import Model
from bert_ko.modeling.encoder import encode
from bert_ko.modeling.heads import MaskedLmHead, NextSentenceHead, PretrainingHead, model_specs
from bert_ko.modeling.parameters import Arrays, initial_parameters
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import load_backend
from bert_ko.training.optimization import OptimizerConfig, hyperparameters

Array = npt.NDArray[Any]
Batch = dict[str, Array]
Losses = list[dict[str, float]]

ROOT = Path(__file__).parents[2]
MANY_DEVICES = {"tensorflow": 2, "jax": 4}
BATCH, LENGTH, PREDICTIONS = 8, 12, 3
OPTIMIZERS = ("adam_weight_decay", "adamw", "lamb")
DECAYED = "layer_decay"  # adamw with a learning rate for each layer
SHORT = 8  # updates where devices and parts are compared
LONG = 50  # updates where backends are compared
DRAW_ROWS, DRAW_UNITS = 8, 20_000
HEAD = PretrainingHead()


def tiny_config(dropout: float = 0.0) -> BertConfig:
    return BertConfig(
        vocab_size=53, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        max_position_embeddings=LENGTH,
    )  # fmt: skip


def tiny_arrays() -> Arrays:
    return initial_parameters(model_specs(tiny_config(), HEAD), 0.1, seed=2)


def make_batch(seed: int) -> Batch:
    """Sequences of several lengths with two segments; some have fewer masked pieces."""
    rng = np.random.default_rng(seed)
    columns, vocab_size = np.arange(LENGTH), tiny_config().vocab_size
    lengths = rng.integers(6, LENGTH + 1, (BATCH, 1))
    input_mask = columns < lengths
    weights = (np.arange(PREDICTIONS) < rng.integers(1, PREDICTIONS + 1, (BATCH, 1))).astype("f")
    positions = np.stack(
        [np.sort(rng.choice(np.arange(1, n), PREDICTIONS, False)) for n in lengths[:, 0]]
    )
    ids = rng.integers(1, vocab_size, (BATCH, LENGTH))
    return {
        "input_ids": (ids * input_mask).astype(np.int32),
        "input_mask": input_mask.astype(np.int32),
        "segment_ids": ((columns >= lengths // 2) & input_mask).astype(np.int32),
        "masked_lm_positions": (positions * (weights > 0)).astype(np.int32),
        "masked_lm_ids": (rng.integers(1, vocab_size, weights.shape) * (weights > 0)).astype("i4"),
        "masked_lm_weights": weights,
        "next_sentence_labels": rng.integers(0, 2, (BATCH, 1)).astype(np.int32),
        "next_sentence_weights": np.ones(BATCH, np.float32),
    }


def toy_optimizer(name: str) -> OptimizerConfig:
    is_decayed = name == DECAYED
    return OptimizerConfig(
        name="adamw" if is_decayed else name,  # type: ignore[arg-type]
        learning_rate=0.01, num_train_steps=30, num_warmup_steps=4, weight_decay=0.1,
        clip_norm=2.0, layer_decay=0.7 if is_decayed else 1.0, num_hidden_layers=2,
    )  # fmt: skip


def toy_arrays() -> Arrays:
    rng = np.random.default_rng(9)
    shapes = {
        "bert/embeddings/word_embeddings": (7, 4),
        "bert/encoder/layer_0/output/dense/kernel": (4, 3),
        "bert/encoder/layer_0/output/dense/bias": (3,),
        "bert/encoder/layer_0/output/LayerNorm/gamma": (3,),
        "bert/encoder/layer_0/output/LayerNorm/beta": (3,),
        "bert/pooler/dense/kernel": (2, 2),
        "cls/predictions/output_bias": (5,),
        "cls/seq_relationship/output_weights": (2, 4),
    }
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    arrays["bert/pooler/dense/kernel"][:] = 0  # lamb's ratio of norms is not defined
    return arrays


def toy_targets(name: str, step: int) -> float:
    """What a variable is drawn to; the pull is at times above clip_norm and at times below."""
    return (len(name) % 7 - 3) * (3.0 if step % 3 == 0 else 0.05)


def toy_gradient(name: str, value: Array, step: int) -> Array:
    return np.asarray(0.01 * value + toy_targets(name, step) * 0.1)


def write_results(folder: Path) -> None:
    """Runs all experiments; called in the process."""
    name = os.environ["KERAS_BACKEND"]
    _make_cpus(name)
    experiments = Experiments()
    values: dict[str, Any] = {}
    for experiment in (
        experiments.messages, experiments.long_run, experiments.parts, experiments.devices,
        experiments.evaluation, experiments.overfit, experiments.bfloat16, experiments.dropout,
        experiments.draws, experiments.restore, experiments.copies, experiments.optimizers,
        experiments.prediction, experiments.restart, experiments.untrained,
        experiments.layer_decay, experiments.own_gradients, experiments.remat,
        experiments.fused_attention,
    ):  # fmt: skip
        began = time.perf_counter()
        values.update(experiment())
        print(f"{experiment.__name__}: {time.perf_counter() - began:.1f} s", flush=True)
    values["modules"] = [m for m in ("tensorflow", "jax", "torch") if m in sys.modules]
    arrays = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
    np.savez(folder / f"{name}.npz", **arrays)
    rest = {key: value for key, value in values.items() if key not in arrays}
    (folder / f"{name}.json").write_text(json.dumps(rest), encoding="utf-8")


def _make_cpus(name: str) -> None:
    if name == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", MANY_DEVICES[name])
        return
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration() for _ in range(MANY_DEVICES[name])]
    tf.config.set_logical_device_configuration(cpu, logical)


def load_results(name: str, base_folder: Path) -> dict[str, Any]:
    """What the experiments on a backend gave; they run once for all workers of a test run.

    Args:
        name: of the backend.
        base_folder: pytest's for temporary files; under xdist it is a worker's, in the shared one.
    """
    shared = base_folder.parent if "PYTEST_XDIST_WORKER" in os.environ else base_folder
    folder = shared / "backend_worker"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        if not (folder / f"{name}.log").exists():
            environment = {
                **os.environ,
                "KERAS_BACKEND": name,
                "PYTHONPATH": str(ROOT),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "-1",  # the devices are made of the processor
            }
            command = [sys.executable, "-W", "error::UserWarning", __file__, str(folder)]
            done = subprocess.run(
                command,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            (folder / f"{name}.log").write_text(done.stdout, encoding="utf-8")
    if not (folder / f"{name}.json").exists():
        raise AssertionError((folder / f"{name}.log").read_text(encoding="utf-8"))
    values = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(folder / f"{name}.npz") as arrays:
        return {**values, **arrays}


class Experiments:
    """One device and several, of one backend."""

    def __init__(self) -> None:
        self.name = os.environ["KERAS_BACKEND"]
        self.one: Any = load_backend(DeviceConfig(precision="float32"))
        count = MANY_DEVICES[self.name]
        self.many: Any = load_backend(DeviceConfig(precision="float32", num_devices=count))
        assert (self.one.num_devices, self.many.num_devices) == (1, count)
        self.batches = [make_batch(seed) for seed in range(4)]
        self.optimizer = OptimizerConfig(
            learning_rate=2e-3, num_train_steps=1000, num_warmup_steps=10
        )
        # Most of the time goes into compilation, so that programs are used again.
        self.given = tiny_arrays()
        self.plain = self.program(self.one, arrays=self.given)
        self.spread = self.program(self.many, arrays=self.given)
        self.dropping = self.program(self.one, dropout=0.1)

    def program(self, backend: Any, dropout: float = 0.0, arrays: Arrays | None = None) -> Any:
        """A new one with the tiny model."""
        arrays = tiny_arrays() if arrays is None else arrays
        return backend.train_program(tiny_config(dropout), HEAD, self.optimizer, arrays, seed=3)

    def train(
        self, program: Any, steps: Iterable[int], parts: int = 1,
        learning_rate: float | None = None, batches: list[Batch] | None = None,
    ) -> Losses:  # fmt: skip
        batches = batches or self.batches
        results: list[Callable[[], dict[str, float]]] = []
        for step in steps:
            batch = batches[step % len(batches)]
            features = {k: v.reshape(parts, -1, *v.shape[1:]) for k, v in batch.items()}
            hyper = hyperparameters(self.optimizer, step)
            if learning_rate is not None:
                hyper["learning_rate"] = np.float32(learning_rate)
            results.append(program.train_step(step, features, HEAD.denominators(batch), hyper))
        return [result() for result in results]

    def reset(self, program: Any) -> None:
        arrays = tiny_arrays()
        zeros = {name: np.zeros_like(value) for name, value in arrays.items()}
        slots = {f"{n}/{slot}": zero for n, zero in zeros.items() for slot in ("adam_m", "adam_v")}
        program.restore(arrays, slots)

    def messages(self) -> dict[str, Any]:
        def refusal(config: DeviceConfig) -> str:
            try:
                load_backend(config)
            except ValueError as error:
                return str(error)
            return ""

        return {
            "no_tpu": refusal(DeviceConfig(use_tpu=True)),
            "no_named_tpu": refusal(DeviceConfig(use_tpu=True, tpu_name="grpc://127.0.0.1:1")),
            "too_many_devices": refusal(DeviceConfig(num_devices=99)),
            "description": self.many.description,
            "auto_precision": load_backend(DeviceConfig()).precision,
        }

    def long_run(self) -> dict[str, Any]:
        return {"losses": self.train(self.plain, range(LONG))}

    def parts(self) -> dict[str, Any]:
        self.reset(self.plain)
        return {"losses_2_parts": self.train(self.plain, range(SHORT), 2)}

    def devices(self) -> dict[str, Any]:
        values = {"losses_many": self.train(self.spread, range(SHORT))}
        self.reset(self.spread)
        values["losses_many_2_parts"] = self.train(self.spread, range(SHORT), 2)
        return values

    def evaluation(self) -> dict[str, Any]:
        """At the initial weights, where the first update's loss is known."""
        values = {}
        for key, program in (("evaluation", self.plain), ("evaluation_many", self.spread)):
            self.reset(program)
            batch = self.batches[0]
            values[key] = program.eval_step(batch, HEAD.denominators(batch))
        return values

    def overfit(self) -> dict[str, Any]:
        self.reset(self.plain)
        losses = self.train(self.plain, range(150), learning_rate=1e-2, batches=self.batches[:1])
        return {"overfit": [loss["masked_lm_loss"] / loss["masked_lm_weight"] for loss in losses]}

    def bfloat16(self) -> dict[str, Any]:
        backend = load_backend(DeviceConfig(precision="bfloat16"))
        return {
            "losses_bfloat16": self.train(self.program(backend), range(LONG)),
            "precisions": [self.one.precision, backend.precision],
        }

    def dropout(self) -> dict[str, Any]:
        """The same batch and weights, in an update with the same or another number."""
        values = {}
        for key, step in (("first", 0), ("again", 0), ("other_step", 1)):
            self.reset(self.dropping)
            batches = self.batches[:1]
            values[f"dropout_{key}"] = self.train(self.dropping, [step], batches=batches)
        return values

    def own_gradients(self) -> dict[str, Any]:
        """What accelerators use, computed on a CPU."""
        module = importlib.import_module(f"bert_ko.training.{self.name}_backend")
        backend = load_backend(DeviceConfig(precision="float32"))
        backend.compute = module.accelerator_compute("float32")
        self.reset(self.dropping)
        return {
            "losses_derived": self.train(self.dropping, range(SHORT)),
            "losses_own": self.train(self.program(backend, dropout=0.1), range(SHORT)),
            # Without dropout attention is one operation.
            "losses_own_attention": self.train(self.program(backend), range(SHORT)),
        }

    def fused_attention(self) -> dict[str, Any]:
        backend = load_backend(DeviceConfig(precision="float32", attention="fused"))
        return {"losses_fused": self.train(self.program(backend), range(SHORT))}

    def remat(self) -> dict[str, Any]:
        """Updates of the model with dropout, all kept and computed again."""
        backend = load_backend(DeviceConfig(precision="float32", remat=True))
        again = self.program(backend, dropout=0.1)
        self.reset(self.dropping)
        values: dict[str, Any] = {"remat_kept": self.train(self.dropping, range(SHORT))}
        values["remat_again"] = self.train(again, range(SHORT))
        kept, found = self.dropping.slots(), again.slots()
        values["remat_slots"] = max(float(np.abs(kept[n] - found[n]).max()) for n in kept)
        if self.name == "jax":
            values["remat_numbers"] = [self.residuals(backend) for backend in (self.one, backend)]
        return values

    def residuals(self, backend: Any) -> int:
        """Numbers that a gradient keeps of the layers, the model's variables among them."""
        import jax

        config, batch = tiny_config(), predicted_features(self.batches[0])

        def pull(params: Any) -> Any:
            model = Model(params, config, backend.compute)
            return jax.vjp(lambda p: encode(model._replace(params=p), batch), params)[1]

        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(pull, tiny_arrays())))

    def draws(self) -> dict[str, Any]:
        """Random words themselves, for parts and devices; a row of the batch says who it is."""
        from keras import ops

        from bert_ko.modeling.dropout import random_words

        def loss(model: Any, features: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            sums = {}
            for use in ("first", "second"):
                rows = features["row"].shape[0]
                (seed,) = model.dropout.seeds(0.1, (rows, DRAW_UNITS))
                # The upper half of a word is exact in float32.
                words = random_words(seed, (rows, DRAW_UNITS))
                values = ops.cast(ops.right_shift(words, np.uint32(16)), "float32")
                low = ops.cast(values < 6554, "float32")  # 0.1 of 65,536
                for row in range(DRAW_ROWS):
                    chosen = ops.cast(features["row"] == row, "float32")
                    sums[f"{use}_mean_{row}"] = ops.sum(ops.mean(values, axis=1) * chosen)
                    sums[f"{use}_low_{row}"] = ops.sum(ops.mean(low, axis=1) * chosen)
            return ops.sum(model.params["x/kernel"]), sums

        values = {}
        for key, backend, seed in (
            ("one", self.one, 11), ("one_again", self.one, 11), ("one_other_seed", self.one, 12),
            ("many", self.many, 11),
        ):  # fmt: skip
            weight = {"x/kernel": np.ones(2, np.float32)}
            program = backend.train_program(
                tiny_config(), loss_alone(loss), self.optimizer, weight, seed
            )
            hyper = hyperparameters(self.optimizer, 0)
            for parts in (1, 2):
                batch = {"row": np.arange(DRAW_ROWS, dtype=np.int32).reshape(parts, -1)}
                for step in (0, 1):
                    sums = program.train_step(step, batch, {}, hyper)()
                    values[f"draws_{key}_{parts}_parts_step_{step}"] = sums
        return values

    def restore(self) -> dict[str, Any]:
        """Four updates with dropout, and the last two of them again in another program."""
        self.reset(self.dropping)
        self.train(self.dropping, (1, 2))
        saved = self.dropping.parameters(), self.dropping.slots()
        values: dict[str, Any] = {"restore_straight": self.train(self.dropping, (3, 4))}
        other = self.program(self.one, dropout=0.1)
        self.train(other, (1,))
        other.restore(*saved)
        values["restore_again"] = self.train(other, (3, 4))
        values["restore_differing"] = list(_differing(self.dropping, other))
        return values

    def copies(self) -> dict[str, Any]:
        """Whether arrays that came from outside, or went there, change with later updates."""
        original = tiny_arrays()
        changed = [n for n, value in self.given.items() if (value != original[n]).any()]
        values: dict[str, Any] = {"given_changed": changed}
        for key, program in (("one", self.plain), ("many", self.spread)):
            arrays, slots = tiny_arrays(), self.plain.slots()
            program.restore(arrays, slots)
            self.train(program, (1, 2))
            got = {**program.parameters(), **program.slots()}
            kept = {name: np.array(value) for name, value in got.items()}
            self.train(program, (3, 4))
            changed = [name for name in got if (got[name] != kept[name]).any()]
            changed += [name for name in arrays if (arrays[name] != original[name]).any()]
            values[f"copies_changed_{key}"] = changed
            now = program.parameters()
            values[f"trained_{key}"] = [n for n in now if (now[n] != kept[n]).any()]
        return values

    def optimizers(self, names: Iterable[str] = OPTIMIZERS) -> dict[str, Any]:
        from keras import ops

        def loss(model: Any, features: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            """Its gradient is toy_gradient of the mean over the rows of the batch."""
            total = 0.0
            for name, value in model.params.items():
                target = ops.sum(features[name]) / features["count"]
                share = features[name].shape[0] / features["count"]
                total += 0.005 * share * ops.sum(value * value) + 0.1 * target * ops.sum(value)
            return total, {"rows": ops.sum(ops.ones_like(next(iter(features.values()))))}

        values: dict[str, Any] = {}
        for name in names:
            for key, backend in (("one", self.one), ("many", self.many)):
                config, arrays = toy_optimizer(name), toy_arrays()
                program = backend.train_program(tiny_config(), loss_alone(loss), config, arrays, 3)
                norms = []
                for step in range(20):
                    batch = {n: np.full((2, 4), toy_targets(n, step), np.float32) for n in arrays}
                    scalars = {"count": np.float32(8)}
                    hyper = hyperparameters(config, step)
                    norms.append(program.train_step(step, batch, scalars, hyper)()["gradient_norm"])
                values[f"{name}_{key}/gradient_norms"] = np.array(norms)
                for array, value in {**program.parameters(), **program.slots()}.items():
                    values[f"{name}_{key}/{array}"] = np.array(value)
        return values

    def prediction(self) -> dict[str, Any]:
        """One compiled function, while the variables that it reads change."""
        values: dict[str, Any] = {}
        for key, program in (("one", self.plain), ("many", self.spread)):
            traces: list[int] = []
            predict = program.predictor(_counting(pretraining_outputs, traces))
            self.reset(program)
            batch = predicted_features(self.batches[0])
            values.update(_named(f"predicted_{key}", predict(batch)))
            compiled = len(traces)
            self.train(program, range(1, 4))
            values.update(_named(f"predicted_{key}_trained", predict(batch)))
            values[f"evaluation_{key}_trained"] = self.evaluate(program)
            parameters, slots = program.parameters(), program.slots()
            self.train(program, range(4, 6))
            values.update(_named(f"predicted_{key}_further", predict(batch)))
            program.restore(parameters, slots)
            values.update(_named(f"predicted_{key}_restored", predict(batch)))
            program.restart(tiny_arrays(), 5)
            values.update(_named(f"predicted_{key}_restarted", predict(batch)))
            values[f"predictor_{key}_traces"] = [compiled, len(traces)]
        return values

    def evaluate(self, program: Any) -> dict[str, float]:
        """The sums of the first batch."""
        batch = self.batches[0]
        sums: dict[str, float] = program.eval_step(batch, HEAD.denominators(batch))
        return sums

    def restart(self) -> dict[str, Any]:
        """A program that has trained with another seed begins again with that of ``dropping``."""
        self.reset(self.dropping)
        values: dict[str, Any] = {"restart_fresh": self.train(self.dropping, range(1, 5))}
        traces: list[int] = []
        arrays = {name: value + np.float32(0.01) for name, value in tiny_arrays().items()}
        program = self.one.train_program(
            tiny_config(0.1),
            loss_alone(_counting(HEAD.loss, traces)),
            self.optimizer,
            arrays,
            seed=7,
        )
        values["restart_other_seed"] = self.train(program, range(1, 5))
        compiled, given = len(traces), tiny_arrays()
        program.restart(given, 3)
        values["restart_slots"] = float(sum(np.abs(s).sum() for s in program.slots().values()))
        values["restart_again"] = self.train(program, range(1, 5))
        values["restart_differing"] = list(_differing(self.dropping, program))
        values["restart_traces"] = [compiled, len(traces)]
        original = tiny_arrays()
        values["restart_given_changed"] = [n for n in given if (given[n] != original[n]).any()]
        program.restart(given, 4)
        values["restart_next_seed"] = self.train(program, range(1, 5))
        self.spread.restart(tiny_arrays(), 3)
        values["restart_many"] = self.train(self.spread, range(SHORT))
        return values

    def untrained(self) -> dict[str, Any]:
        """Programs without an optimizer."""
        values: dict[str, Any] = {}
        for key, backend in (("one", self.one), ("many", self.many)):
            program = backend.train_program(tiny_config(0.1), HEAD, None, tiny_arrays(), seed=3)
            predict = program.predictor(pretraining_outputs)
            batch = predicted_features(self.batches[0])
            values[f"untrained_{key}_slots"] = list(program.slots())
            values.update(_named(f"untrained_{key}", predict(batch)))
            values[f"untrained_{key}_evaluation"] = self.evaluate(program)
            moved = {name: value * np.float32(1.5) for name, value in tiny_arrays().items()}
            program.restore(moved, {})
            values.update(_named(f"untrained_{key}_moved", predict(batch)))
            program.restart(tiny_arrays(), 4)
            values.update(_named(f"untrained_{key}_restarted", predict(batch)))
            values[f"untrained_{key}_slots"] += list(program.slots())
            predict = backend.predictor(tiny_config(0.1), tiny_arrays(), pretraining_outputs)
            values.update(_named(f"predictor_{key}", predict(batch)))
        return values

    def layer_decay(self) -> dict[str, Any]:
        """Updates in the toy's two layers; see optimizers."""
        return self.optimizers((DECAYED,))


def predicted_features(batch: Batch) -> Batch:
    """What pretraining_outputs reads."""
    names = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions")
    return {name: batch[name] for name in names}


def pretraining_outputs(model: Any, batch: Any) -> dict[str, Any]:
    """Logits of masked pieces [B, P, V] and of the next sentence [B, 2]."""
    output = encode(model, batch)
    return {
        "masked_lm": MaskedLmHead().logits(model, output, batch["masked_lm_positions"]),
        "next_sentence": NextSentenceHead().logits(model, batch, output),
    }


def loss_alone(loss: Callable[..., Any]) -> Any:
    """As much of a head as a program asks for."""
    return SimpleNamespace(loss=loss)


def _counting(function: Callable[..., Any], traces: list[int]) -> Callable[..., Any]:
    """Notes when the function runs, which it does while it is compiled alone."""

    def counted(*args: Any) -> Any:
        traces.append(1)
        return function(*args)

    return counted


def _named(key: str, arrays: Batch) -> dict[str, Array]:
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    return {f"{key}/{name}": array for name, array in arrays.items()}


def _differing(a: Any, b: Any) -> Iterator[str]:
    """Names of variables and slots that are not the same to the last bit."""
    for first, second in ((a.parameters(), b.parameters()), (a.slots(), b.slots())):
        assert first.keys() == second.keys()
        yield from (n for n in first if first[n].tobytes() != second[n].tobytes())


if __name__ == "__main__":
    write_results(Path(sys.argv[1]))
