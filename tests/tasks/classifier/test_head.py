"""Equality with transformers' BertForSequenceClassification, under the backend of KERAS_BACKEND."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import (
    CLASS_BIAS,
    CLASS_WEIGHTS,
    Arrays,
    class_specs,
    initial_parameters,
)
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import load_backend
from bert_ko.training.hugging_face import from_hugging_face
from bert_ko.training.schedule import OptimizerConfig, hyperparameters

Array = npt.NDArray[Any]
Batch = dict[str, Array]

# Importing torch, transformers, Keras and its backend takes seconds.
pytestmark = pytest.mark.slow

CONFIG = BertConfig(
    vocab_size=61,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    hidden_act="gelu_erf",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=64,
)
NUM_LABELS = 4
LENGTHS = (32, 21, 9, 2)  # pieces of the texts
TARGETS = np.array([3, 0, 2, 2], np.int32)
SCORES = np.array([0.0, 5.0, 2.5, -1.0], np.float32)


def make_arrays(num_outputs: int) -> Arrays:
    """Far from the initial values, so that every variable shows in the results."""
    rng = np.random.default_rng(4)
    values = initial_parameters(class_specs(CONFIG, num_outputs), 0.2, seed=4)
    return {name: a + rng.normal(0, 0.1, a.shape).astype("f") for name, a in values.items()}


def make_batch(targets: Array = TARGETS, length: int = 32) -> Batch:
    """Texts of 32, 21, 9 and 2 pieces with two segments."""
    rng = np.random.default_rng(6)
    ids = rng.integers(1, CONFIG.vocab_size, (4, LENGTHS[0]))
    ids = np.pad(ids, ((0, 0), (0, length - LENGTHS[0])))
    columns = np.arange(length)
    mask = columns < np.array(LENGTHS)[:, None]
    return {
        "input_ids": (ids * mask).astype(np.int32),
        "input_mask": mask.astype(np.int32),
        "segment_ids": ((columns >= 6) & mask).astype(np.int32),
        "targets": targets,
        "label_weights": np.ones(4, np.float32),
        "example_weights": np.ones(4, np.float32),
    }


class Results(NamedTuple):
    """Logits [B, K], the loss of the batch and the sums over it, and its gradients by name."""

    logits: Array
    loss: float
    sums: dict[str, float]
    gradients: Arrays


def compiled(backend: Any, function: Any) -> Any:
    """Under JAX: one operation after the other takes half as long again there."""
    if backend.name != "jax":
        return function
    import jax

    return jax.jit(function)


def own_results(
    arrays: Arrays, batch: Batch, value_and_gradients: Any = None, denominator: float | None = None
) -> Results:
    """Args: the last is what the loss is divided by; None takes that of the batch."""
    backend: Any = load_backend(DeviceConfig(precision="float32"))
    from keras import ops

    from bert_ko.modeling.bert import Model
    from bert_ko.tasks.classifier import head

    is_regression = batch["targets"].dtype == np.float32
    function = head.score_loss if is_regression else head.class_loss
    scalars = head.label_denominators(batch)
    if denominator is not None:
        scalars = {"label_denominator": np.float32(denominator)}
    features = {n: ops.convert_to_tensor(value) for n, value in {**batch, **scalars}.items()}
    params = {name: ops.convert_to_tensor(value) for name, value in arrays.items()}

    def compute(params: Any) -> Any:
        model = Model(params, CONFIG, backend.compute)
        return head.class_logits(model, features), function(model, features)

    found, (loss, sums) = compiled(backend, compute)(params)
    logits = np.asarray(ops.convert_to_numpy(found))
    gradients = {}
    if value_and_gradients is not None:
        value, by_name = value_and_gradients(
            lambda p: function(Model(p, CONFIG, backend.compute), features)[0], params
        )
        assert float(value) == pytest.approx(float(loss), abs=1e-5)
        gradients = {name: np.asarray(ops.convert_to_numpy(g)) for name, g in by_name.items()}
    return Results(logits, float(loss), {n: float(v) for n, v in sums.items()}, gradients)


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return make_arrays(NUM_LABELS)


@pytest.fixture(scope="module")
def whole(arrays: Arrays, value_and_gradients: Any) -> Results:
    """Of make_batch()."""
    return own_results(arrays, make_batch(), value_and_gradients)


def hugging_face_results(arrays: Arrays, batch: Batch) -> Results:
    import torch
    import transformers

    num_labels = len(arrays[CLASS_BIAS])
    settings = {**CONFIG.to_dict(), "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    config = transformers.BertConfig(**settings, num_labels=num_labels)
    model = transformers.BertForSequenceClassification(config).eval()
    targets = {key: from_hugging_face(key) for key in model.state_dict()}
    found = {key: target for key, target in targets.items() if target is not None}
    assert sorted(name for name, _ in found.values()) == sorted(arrays)
    weights = {
        key: torch.from_numpy(np.ascontiguousarray(arrays[name].T if transpose else arrays[name]))
        for key, (name, transpose) in found.items()
    }
    model.load_state_dict(weights, strict=False)
    tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
    labels = tensors["targets"]
    output = model(
        input_ids=tensors["input_ids"].long(),
        attention_mask=tensors["input_mask"].long(),
        token_type_ids=tensors["segment_ids"].long(),
        labels=labels if num_labels == 1 else labels.long(),
    )
    output.loss.backward()
    parameters = dict(model.named_parameters())
    gradients = {}
    for key, (name, transpose) in found.items():
        gradient = parameters[key].grad.numpy()
        gradients[name] = gradient.T if transpose else gradient
    return Results(output.logits.detach().numpy(), output.loss.item(), {}, gradients)


# The softmax over keys does not see what is added to all of them.
UNSEEN = ("key/bias",)


def assert_near(found: Results, wanted: Results) -> None:
    scale = max(1.0, wanted.loss)
    np.testing.assert_allclose(found.logits, wanted.logits, rtol=0, atol=1e-5)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-5)
    assert found.gradients.keys() == wanted.gradients.keys()
    for name, gradient in wanted.gradients.items():
        assert np.abs(gradient).max() > 1e-4 or name.endswith(UNSEEN), name
        other = found.gradients[name]
        np.testing.assert_allclose(other, gradient, rtol=0, atol=2e-5 * scale, err_msg=name)


def test_class_loss_logits_and_gradients_equal_hugging_faces(
    arrays: Arrays, whole: Results
) -> None:
    wanted = hugging_face_results(arrays, make_batch())
    assert whole.logits.shape == (4, NUM_LABELS) and whole.logits.dtype == np.float32
    assert np.abs(wanted.logits).max() > 0.5
    assert_near(whole, wanted)


def test_score_loss_and_gradients_equal_hugging_faces(value_and_gradients: Any) -> None:
    arrays, batch = make_arrays(1), make_batch(SCORES)
    found = own_results(arrays, batch, value_and_gradients)
    assert_near(found, hugging_face_results(arrays, batch))
    errors = found.logits[:, 0] - SCORES
    assert found.loss == pytest.approx(np.mean(errors**2), rel=1e-5)
    assert found.sums == pytest.approx(
        {"loss_sum": np.sum(errors**2), "loss_weight": 4}, rel=1e-5
    )  # fmt: skip


def cross_entropies(logits: Array, targets: Array) -> Array:
    """In float64."""
    values = logits.astype(np.float64)
    chosen = np.take_along_axis(values, targets[:, None].astype(int), axis=1)[:, 0]
    found: Array = np.log(np.exp(values).sum(axis=1)) - chosen
    return found


def test_class_loss_weights_of_classes_are_torchs(
    arrays: Arrays, whole: Results, value_and_gradients: Any
) -> None:
    import torch

    of_classes = np.array([0.5, 7.0, 2.0, 3.0], np.float32)
    batch = {**make_batch(), "label_weights": of_classes[TARGETS]}
    found = own_results(arrays, batch, value_and_gradients)
    torchs = torch.nn.CrossEntropyLoss(weight=torch.from_numpy(of_classes))
    wanted = torchs(torch.from_numpy(whole.logits), torch.from_numpy(TARGETS).long()).item()
    assert found.loss == pytest.approx(wanted, abs=1e-6)
    losses = cross_entropies(whole.logits, TARGETS)
    assert found.loss == pytest.approx(np.average(losses, weights=[3, 0.5, 2, 2]), abs=1e-6)
    assert found.loss != pytest.approx(whole.loss, abs=1e-2)
    assert found.sums["loss_weight"] == 7.5 and found.sums["num_examples"] == 4
    assert np.abs(found.gradients[CLASS_WEIGHTS] - whole.gradients[CLASS_WEIGHTS]).max() > 1e-3


@pytest.mark.parametrize("targets", [TARGETS, SCORES])
def test_losses_filling_rows_change_nothing(targets: Array, value_and_gradients: Any) -> None:
    arrays = make_arrays(NUM_LABELS if targets is TARGETS else 1)
    batch = make_batch(targets)
    wanted = own_results(arrays, batch, value_and_gradients)
    filled = {n: np.concatenate([value, value[:1], value[:1]]) for n, value in batch.items()}
    filled["example_weights"][4:] = 0
    filled["targets"][4:] = 1
    filled["label_weights"][4:] = 9
    found = own_results(arrays, filled, value_and_gradients)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-5)
    assert found.sums == pytest.approx(wanted.sums, rel=1e-5)
    for name, gradient in wanted.gradients.items():
        scale = max(1.0, wanted.loss)
        np.testing.assert_allclose(found.gradients[name], gradient, rtol=0, atol=1e-5 * scale)


def test_class_loss_length_of_the_batch_decides_nothing(
    arrays: Arrays, whole: Results, value_and_gradients: Any
) -> None:
    found = own_results(arrays, make_batch(length=48), value_and_gradients)
    np.testing.assert_allclose(found.logits, whole.logits, rtol=0, atol=1e-6)
    assert found.loss == pytest.approx(whole.loss, abs=1e-6)
    assert found.sums == pytest.approx(whole.sums, abs=3e-6)
    for name, gradient in whole.gradients.items():
        np.testing.assert_allclose(found.gradients[name], gradient, rtol=0, atol=1e-5)


def test_class_loss_shares_of_parts_add_up(arrays: Arrays, value_and_gradients: Any) -> None:
    batch = {**make_batch(), "label_weights": np.array([3, 0.5, 2, 2], np.float32)}
    wanted = own_results(arrays, batch, value_and_gradients)
    parts = [
        own_results(
            arrays, {n: v[rows] for n, v in batch.items()}, value_and_gradients, denominator=7.5
        )
        for rows in (slice(0, 1), slice(1, 4))
    ]
    assert sum(part.loss for part in parts) == pytest.approx(wanted.loss, abs=1e-6)
    for name, value in wanted.sums.items():
        assert sum(part.sums[name] for part in parts) == pytest.approx(value, abs=1e-5), name
    for name, gradient in wanted.gradients.items():
        total = sum(part.gradients[name] for part in parts)
        np.testing.assert_allclose(total, gradient, rtol=0, atol=1e-5, err_msg=name)


def test_class_loss_counts_examples_whose_class_is_right(arrays: Arrays, whole: Results) -> None:
    best = whole.logits.argmax(axis=1).astype(np.int32)
    batch = {**make_batch(best), "label_weights": np.full(4, 0.25, np.float32)}
    assert own_results(arrays, batch).sums["num_right"] == 4  # whatever they weigh
    batch["targets"] = np.array([best[0], (best[1] + 1) % NUM_LABELS, *best[2:]], np.int32)
    assert own_results(arrays, batch).sums["num_right"] == 3
    batch["example_weights"] = np.array([1, 1, 0, 0], np.float32)
    sums = own_results(arrays, batch).sums
    assert (sums["num_right"], sums["num_examples"]) == (1, 2)


def test_objectives_are_means_over_examples() -> None:
    from bert_ko.tasks.classifier.head import CLASSES
    from bert_ko.tasks.classifier.head import SCORES as OF_SCORES

    sums = {"loss_sum": 6.0, "loss_weight": 8.0, "num_right": 1.0, "num_examples": 4.0}
    assert CLASSES.metrics(sums) == {"loss": 0.75, "accuracy": 0.25}
    assert OF_SCORES.metrics({"loss_sum": 6.0, "loss_weight": 8.0}) == {"loss": 0.75}
    batch = {
        "label_weights": np.array([0.5, 2, 9], np.float32),
        "example_weights": np.array([1, 1, 0], np.float32),
    }
    for objective in (CLASSES, OF_SCORES):
        assert objective.denominators(batch) == {"label_denominator": 2.5}
        assert {name for name, _ in objective.headline} <= objective.metrics(sums).keys()
    # A batch of filling alone has a loss of 0, not nan.
    nothing = {**batch, "example_weights": np.zeros(3, np.float32)}
    assert CLASSES.denominators(nothing)["label_denominator"] > 0
    nothing_seen = dict.fromkeys(sums, 0.0)
    assert CLASSES.metrics(nothing_seen) == {"loss": 0, "accuracy": 0}


# Compiled


def train_program(arrays: Arrays, config: BertConfig, loss: Any) -> Any:
    backend: Any = load_backend(DeviceConfig(precision="float32"))
    optimizer = OptimizerConfig(learning_rate=0.01, num_train_steps=10, num_warmup_steps=0)
    return backend.train_program(config, loss, optimizer, arrays, seed=1)


def parts_of(batch: Batch, count: int) -> Batch:
    return {name: value.reshape(count, -1, *value.shape[1:]) for name, value in batch.items()}


def test_outputs_are_probabilities_and_scores(arrays: Arrays, whole: Results) -> None:
    load_backend(DeviceConfig(precision="float32"))
    from bert_ko.tasks.classifier import head

    batch = make_batch()
    inputs = {name: batch[name] for name in ("input_ids", "input_mask", "segment_ids")}
    found = train_program(arrays, CONFIG, head.class_loss).predictor(head.class_outputs)(inputs)
    exponents = np.exp(whole.logits.astype(np.float64))
    wanted = exponents / exponents.sum(axis=1, keepdims=True)
    assert found.keys() == {"probabilities"}
    np.testing.assert_allclose(found["probabilities"], wanted, rtol=0, atol=1e-6)
    program = train_program(make_arrays(1), CONFIG, head.score_loss)
    scores = program.predictor(head.score_outputs)(inputs)
    assert scores.keys() == {"scores"}
    logits = own_results(make_arrays(1), make_batch(SCORES)).logits
    np.testing.assert_allclose(scores["scores"], logits[:, 0], rtol=0, atol=1e-5)


def test_train_step_of_parts_is_that_of_the_whole(arrays: Arrays) -> None:
    load_backend(DeviceConfig(precision="float32"))
    from bert_ko.tasks.classifier import head

    batch = {**make_batch(), "label_weights": np.array([3, 0.5, 2, 2], np.float32)}
    batch["example_weights"][3] = 0
    scalars = head.label_denominators(batch)
    results = []
    for count in (1, 2, 4):
        program = train_program(arrays, CONFIG, head.class_loss)
        hyper = hyperparameters(OptimizerConfig(num_train_steps=10, num_warmup_steps=0), 0)
        sums = program.train_step(0, parts_of(batch, count), scalars, hyper)()
        results.append((sums, program.slots()))
    for sums, slots in results[1:]:
        assert sums == pytest.approx(results[0][0], rel=1e-5)
        for name, slot in results[0][1].items():
            np.testing.assert_allclose(slots[name], slot, rtol=0, atol=1e-6, err_msg=name)
    assert results[0][0]["num_examples"] == 3 and results[0][0]["loss_weight"] == 5.5


def test_train_step_drops_units_of_the_pooled_output(arrays: Arrays) -> None:
    """In training alone, and by the step."""
    load_backend(DeviceConfig(precision="float32"))
    from bert_ko.modeling import parameters as names
    from bert_ko.tasks.classifier import head

    # Where nothing but a constant pooled output reaches the head, what differs is dropped there.
    flat = {
        **arrays,
        f"{names.POOLER}/kernel": np.zeros((24, 24), np.float32),
        f"{names.POOLER}/bias": np.full(24, 0.5, np.float32),
    }
    batch = make_batch()
    scalars = head.label_denominators(batch)
    dropping = dataclasses.replace(CONFIG, hidden_dropout_prob=0.5)
    hyper = {**hyperparameters(OptimizerConfig(num_warmup_steps=0), 0)}
    hyper["learning_rate"] = np.float32(0)
    program = train_program(flat, dropping, head.class_loss)

    def loss(step: int) -> float:
        found = program.train_step(step, parts_of(batch, 1), scalars, hyper)()["objective"]
        return float(found)

    losses = [loss(step) for step in range(4)]
    assert len({round(value, 4) for value in losses}) == 4
    assert loss(2) == pytest.approx(losses[2], abs=1e-6)
    wanted = own_results(flat, batch)
    evaluated = program.eval_step(batch, scalars)
    assert evaluated["loss_sum"] == pytest.approx(wanted.sums["loss_sum"], rel=1e-5)
    inputs = {name: batch[name] for name in ("input_ids", "input_mask", "segment_ids")}
    for _ in range(2):
        found = program.predictor(head.class_outputs)(inputs)["probabilities"]
        np.testing.assert_allclose(found, np.tile(found[:1], (4, 1)), rtol=0, atol=1e-6)
