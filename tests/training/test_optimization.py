"""Optimizers against formulas in float64, and against torch."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import PretrainingHead, model_specs
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.optimization import (
    OptimizerConfig,
    clip_scale,
    has_decay,
    hyperparameters,
    rate_multiple,
    update,
)
from tests.training.backend_worker import (
    DECAYED,
    OPTIMIZERS,
    load_results,
    toy_arrays,
    toy_gradient,
    toy_optimizer,
)

Array = npt.NDArray[np.float64]
Gradients = Callable[[int, dict[str, Array]], dict[str, Array]]

# Importing Keras and its backend takes seconds.
pytestmark = pytest.mark.slow

STEPS = 20
# AdamWeightDecayOptimizer of google-research/bert leaves these out, by re.search.
GOOGLES_EXCLUSIONS = ("LayerNorm", "layer_norm", "bias")


def googles_decay(name: str) -> bool:
    return not any(re.search(pattern, name) for pattern in GOOGLES_EXCLUSIONS)


def layers_above(name: str, num_hidden_layers: int) -> int:
    """As large as the distance to the head: 0 for the pooler and the heads."""
    scopes = ["bert/embeddings/"]
    scopes += [f"bert/encoder/layer_{layer}/" for layer in range(num_hidden_layers)]
    found = [number for number, scope in enumerate(scopes) if name.startswith(scope)]
    return len(scopes) - found[0] if found else 0


def reference(
    config: OptimizerConfig, arrays: Arrays, gradients: Gradients
) -> tuple[dict[str, Array], dict[str, Array], list[float]]:
    """Values and slots after STEPS updates and the norms before clipping, all in float64.

    Source: optimization.py of google-research/bert; algorithm 2 of arXiv:1711.05101; algorithm 2
    of arXiv:1904.00962 with the identity for phi.
    """
    values = {name: array.astype(np.float64) for name, array in arrays.items()}
    m = {name: np.zeros_like(value) for name, value in values.items()}
    v = {name: np.zeros_like(value) for name, value in values.items()}
    norms = []
    for step in range(STEPS):
        raw = gradients(step, values)
        norm = np.sqrt(sum((g**2).sum() for g in raw.values()))
        norms.append(float(norm))
        factor = min(1.0, config.clip_norm / norm) if config.clip_norm else 1.0
        if step < config.num_warmup_steps:
            rate = config.learning_rate * step / config.num_warmup_steps
        else:
            rate = config.learning_rate * (1 - step / config.num_train_steps)
        for name, value in values.items():
            multiple = config.layer_decay ** layers_above(name, config.num_hidden_layers)
            g = raw[name] * factor
            m[name] = config.beta_1 * m[name] + (1 - config.beta_1) * g
            v[name] = config.beta_2 * v[name] + (1 - config.beta_2) * g**2
            mean, square = m[name], v[name]
            if config.name != "adam_weight_decay":
                mean = mean / (1 - config.beta_1 ** (step + 1))
                square = square / (1 - config.beta_2 ** (step + 1))
            change = mean / (np.sqrt(square) + config.epsilon)
            ratio = 1.0
            if googles_decay(name):
                change = change + config.weight_decay * value
                norms_of = np.linalg.norm(value), np.linalg.norm(change)
                if config.name == "lamb" and min(norms_of) > 0:
                    ratio = norms_of[0] / norms_of[1]
            values[name] = value - rate * multiple * ratio * change
    slots = {f"{name}/adam_m": array for name, array in m.items()}
    return values, {**slots, **{f"{name}/adam_v": array for name, array in v.items()}}, norms


def random_gradients(step: int, values: dict[str, Array]) -> dict[str, Array]:
    """Of norms around 0.8 and 80 in turn."""
    rng = np.random.default_rng(step)
    scale = 0.1 if step % 2 else 10.0
    return {name: rng.normal(0, scale, value.shape) for name, value in values.items()}


def run(config: OptimizerConfig, arrays: Arrays) -> tuple[Arrays, Arrays, list[float]]:
    """The same as ``reference`` by the package's functions."""
    from keras import ops

    values = {name: ops.convert_to_tensor(array) for name, array in arrays.items()}
    slots = {name: (ops.zeros_like(value), ops.zeros_like(value)) for name, value in values.items()}
    norms = []
    for step in range(STEPS):
        raw = random_gradients(step, {name: np.asarray(array) for name, array in arrays.items()})
        gradients = {name: ops.cast(gradient, "float32") for name, gradient in raw.items()}
        norm, scale = clip_scale(config, list(gradients.values()))
        norms.append(float(norm))
        hyper = hyperparameters(config, step)
        for name, gradient in gradients.items():
            values[name], slots[name] = update(
                config, name, values[name], gradient * scale, slots[name], hyper
            )
    found = {name: ops.convert_to_numpy(value) for name, value in values.items()}
    found_slots = {
        f"{name}/{slot}": ops.convert_to_numpy(value)
        for name, pair in slots.items()
        for slot, value in zip(("adam_m", "adam_v"), pair, strict=True)
    }
    return found, found_slots, norms


def assert_near(found: dict[str, Any], wanted: dict[str, Array]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        scale = np.abs(value).max() + 1e-6
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_equals_the_formulas(name: Any, clip_norm: float, weight_decay: float) -> None:
    config = OptimizerConfig(
        name=name,
        learning_rate=0.05,
        num_train_steps=30,
        num_warmup_steps=5,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
    )
    values, slots, norms = run(config, toy_arrays())
    wanted_values, wanted_slots, wanted_norms = reference(config, toy_arrays(), random_gradients)
    assert norms == pytest.approx(wanted_norms, rel=1e-6)
    assert min(norms) < 1 < 50 < max(norms)
    assert_near(values, wanted_values)
    assert_near(slots, wanted_slots)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_layer_decay_equals_the_formulas(name: Any) -> None:
    config = OptimizerConfig(
        name=name,
        learning_rate=0.05,
        num_train_steps=30,
        num_warmup_steps=5,
        weight_decay=0.1,
        clip_norm=1.0,
        layer_decay=0.6,
        num_hidden_layers=12,
    )
    names = [
        "bert/embeddings/word_embeddings", "bert/embeddings/LayerNorm/beta",
        "bert/encoder/layer_0/output/dense/kernel", "bert/encoder/layer_1/output/dense/bias",
        "bert/encoder/layer_10/attention/self/query/kernel",
        "bert/encoder/layer_11/output/LayerNorm/gamma", "bert/pooler/dense/kernel",
        "cls/squad/output_weights", "cls/squad/output_bias",
    ]  # fmt: skip
    assert [layers_above(n, 12) for n in names] == [13, 13, 12, 11, 2, 1, 0, 0, 0]
    rng = np.random.default_rng(3)
    arrays = {n: rng.standard_normal((4, 3), np.float32) for n in names}
    values, slots, _ = run(config, arrays)
    wanted_values, wanted_slots, _ = reference(config, arrays, random_gradients)
    assert_near(values, wanted_values)
    assert_near(slots, wanted_slots)
    moved = [float(np.abs(values[n] - arrays[n]).mean()) for n in names]
    assert 0 < moved[0] < 0.1 * moved[-1]


@pytest.mark.parametrize("devices", ["one", "many"])
@pytest.mark.parametrize("name", [*OPTIMIZERS, DECAYED])
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_train_step_equals_the_formulas(
    tmp_path_factory: pytest.TempPathFactory, backend: str, name: str, devices: str
) -> None:
    results = load_results(backend, tmp_path_factory.getbasetemp())
    prefix = f"{name}_{devices}/"
    found = {k.removeprefix(prefix): v for k, v in results.items() if k.startswith(prefix)}
    norms = found.pop("gradient_norms")

    def gradients(step: int, values: dict[str, Array]) -> dict[str, Array]:
        return {name: toy_gradient(name, value, step) for name, value in values.items()}

    config = toy_optimizer(name)
    wanted_values, wanted_slots, wanted_norms = reference(config, toy_arrays(), gradients)
    np.testing.assert_allclose(norms, wanted_norms, rtol=1e-5)
    assert norms.min() < config.clip_norm < norms.max()
    assert_near(found, {**wanted_values, **wanted_slots})


def test_update_adamw_equals_torch() -> None:
    import torch

    config = OptimizerConfig(
        name="adamw", learning_rate=0.05, num_train_steps=30, num_warmup_steps=5, clip_norm=1.0
    )
    arrays = toy_arrays()
    tensors = {name: torch.nn.Parameter(torch.from_numpy(a.copy())) for name, a in arrays.items()}
    groups = [
        {"params": [t for n, t in tensors.items() if googles_decay(n)], "weight_decay": 0.01},
        {"params": [t for n, t in tensors.items() if not googles_decay(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-6)
    for step in range(STEPS):
        raw = random_gradients(step, {name: np.asarray(array) for name, array in arrays.items()})
        for name, tensor in tensors.items():
            tensor.grad = torch.from_numpy(raw[name].astype(np.float32))
        torch.nn.utils.clip_grad_norm_(tensors.values(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = float(hyperparameters(config, step)["learning_rate"])
        optimizer.step()
    wanted = {name: tensor.detach().double().numpy() for name, tensor in tensors.items()}
    assert_near(run(config, arrays)[0], wanted)


def test_has_decay_is_googles_for_every_variable() -> None:
    specs = model_specs(BertConfig(vocab_size=9, num_hidden_layers=2), PretrainingHead())
    decaying = {name for name in specs if has_decay(name)}
    assert decaying == {name for name in specs if googles_decay(name)}
    assert decaying == {name for name, spec in specs.items() if len(spec.shape) == 2}
    assert "cls/predictions/output_bias" not in decaying
    assert "bert/embeddings/LayerNorm/gamma" not in decaying


@pytest.mark.parametrize(
    ("clip_norm", "gradients", "norm", "scale"),
    [
        (1.0, [[3.0], [0.0, 4.0]], 5.0, 0.2),
        (1.0, [[0.3], [0.0, 0.4]], 0.5, 1.0),
        (10.0, [[3.0], [0.0, 4.0]], 5.0, 1.0),
        (0.0, [[300.0], [400.0]], 500.0, 1.0),
        (1.0, [[0.0], [0.0]], 0.0, 1.0),
    ],
)
def test_clip_scale_literal_values(
    clip_norm: float, gradients: list[list[float]], norm: float, scale: float
) -> None:
    from keras import ops

    tensors = [ops.convert_to_tensor(gradient, "float32") for gradient in gradients]
    found = clip_scale(OptimizerConfig(clip_norm=clip_norm), tensors)
    assert [float(x) for x in found] == pytest.approx([norm, scale])
    for value in (float("nan"), float("inf")):  # the norm shows what is not finite
        spoiled = [*tensors, ops.convert_to_tensor([value], "float32")]
        assert not np.isfinite(float(clip_scale(OptimizerConfig(), spoiled)[0]))


def updated(variable: str, value: float, gradient: float, **settings: Any) -> tuple[float, Any]:
    """The first update of one number, and its slots."""
    from keras import ops

    config = OptimizerConfig(num_warmup_steps=0, num_train_steps=10, **settings)
    zeros, numbers = ops.zeros((1,)), (ops.full((1,), x) for x in (value, gradient))
    new, slots = update(config, variable, *numbers, (zeros, zeros), hyperparameters(config, 0))
    return float(new[0]), [float(slot[0]) for slot in slots]


@pytest.mark.parametrize(
    ("name", "wanted"),
    # The gradient is 2 and the value 4: m is 0.2, v 0.004, corrected 2 and 4. Google's Adam moves
    # by 0.2 / 0.0632 = 3.162, with decay 0.1 * 4 more; adamw by 1 and 0.4; lamb by 1.4 times the
    # ratio of 4 to 1.4, which is the value itself. The rate is 0.5.
    [("adam_weight_decay", 4 - 0.5 * 3.562228), ("adamw", 3.3), ("lamb", 2.0)],
)
def test_update_first_step_literal_values(name: Any, wanted: float) -> None:
    settings = {"name": name, "learning_rate": 0.5, "weight_decay": 0.1}
    value, slots = updated("x/kernel", 4.0, 2.0, **settings)
    assert value == pytest.approx(wanted, abs=1e-4)
    assert slots == pytest.approx([0.2, 0.004])
    assert updated("x/bias", 4.0, 0.0, **settings)[0] == 4  # neither decay nor ratio


MULTIPLES = (("cls/tags/crf/", 50.0), ("cls/tags/", 5.0))


@pytest.mark.parametrize(
    ("name", "multiple"),
    [
        ("cls/tags/crf/transitions", 50.0),
        ("cls/tags/output_bias", 5.0),  # the first that fits
        ("bert/encoder/layer_1/output/dense/kernel", 0.5),
        ("bert/embeddings/word_embeddings", 0.125),
        ("bert/cls/tags/crf/start", 1.0),  # its beginning alone counts
    ],
)
def test_rate_multiple_names_come_before_layers(name: str, multiple: float) -> None:
    config = OptimizerConfig(layer_decay=0.5, num_hidden_layers=2, multiples=MULTIPLES)
    assert rate_multiple(config, name) == multiple
    of_layers = OptimizerConfig(
        layer_decay=0.5, num_hidden_layers=2, multiples=(("bert/encoder/", 3.0),)
    )
    assert rate_multiple(of_layers, "bert/encoder/layer_0/output/dense/bias") == 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_with_a_multiple_moves_that_much_further(name: Any) -> None:
    def moved(multiples: Any) -> tuple[float, Any]:
        value, slots = updated(
            "cls/tags/crf/start", 4.0, 2.0, name=name, learning_rate=0.01, multiples=multiples
        )
        return 4 - value, slots

    plain, slots = moved(())
    assert moved(MULTIPLES) == (pytest.approx(50 * plain, rel=1e-4), slots)
    assert moved((("cls/squad/", 50.0),)) == (plain, slots)
