"""Operations with gradients of their own, under the backend of KERAS_BACKEND."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from bert_ko.modeling import fused
from bert_ko.modeling.ops import ops

Array = npt.NDArray[Any]

# Importing Keras and its backend takes seconds.
pytestmark = pytest.mark.slow

RATE = 0.25
ACTIVATIONS = ("gelu", "gelu_erf", "relu", "tanh")


class Case(NamedTuple):
    """Tensors of an operation in order, which are of the compute dtype, and settings."""

    tensors: dict[str, Array]
    low_precision: tuple[str, ...]
    settings: dict[str, Any]


def make_case(name: str, with_dropout: bool = False) -> Case:
    rng = np.random.default_rng(len(name))

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32) * 2

    def gamma(*shape: int) -> Array:
        return rng.uniform(0.5, 2, shape).astype(np.float32)

    op, _, activation = name.partition(":")
    rows, columns = 10, 7
    if op == "NORM_DROPOUT":
        tensors = {"x": normal(rows, columns), "gamma": gamma(columns), "beta": normal(columns)}
        case = Case(tensors, ("x",), {"rate": RATE})
    elif op == "DROPOUT_ADD_NORM":
        tensors = {
            "x": normal(rows, columns),
            "bias": normal(columns),
            "residual": normal(rows, columns),
            "gamma": gamma(columns),
            "beta": normal(columns),
        }
        case = Case(tensors, ("x", "residual"), {"rate": RATE})
    elif op == "BIAS_ACTIVATION":
        tensors = {"x": normal(rows, columns), "bias": normal(columns)}
        case = Case(tensors, ("x",), {"activation": activation})
    elif op == "SPLIT_HEADS":
        batch, length, heads, size = 2, 5, 3, 4
        columns = 3 * heads * size
        tensors = {"x": normal(batch * length, columns), "bias": normal(columns)}
        case = Case(tensors, ("x",), {"shape": (batch, length, heads)})
    elif op == "SOFTMAX_DROPOUT":
        batch, length, heads = 2, 5, 3
        bias = np.zeros((batch, 1, 1, length), np.float32)
        bias[1, ..., 3:] = -10000
        tensors = {"scores": normal(batch, heads, length, length), "bias": bias}
        case = Case(tensors, ("scores",), {"scale": 0.7, "rate": RATE})
    elif op == "ATTENTION":
        batch, length, heads, size = 2, 5, 3, 4
        names = ("query", "key", "value")
        tensors = {one: normal(batch, length, heads, size) for one in names}
        tensors["bias"] = np.zeros((batch, 1, 1, length), np.float32)
        tensors["bias"][1, ..., 3:] = -10000
        case = Case(tensors, names, {"scale": 0.3})
    else:
        labels = rng.integers(0, columns, rows).astype(np.int32)
        tensors = {"logits": normal(rows, columns), "bias": normal(columns), "labels": labels}
        return Case(tensors, ("logits",), {})
    if with_dropout:
        case.tensors["seed"] = rng.integers(0, 1 << 32, 3).astype(np.uint32)
    return case


WITH_DROPOUT = ("NORM_DROPOUT", "DROPOUT_ADD_NORM", "SOFTMAX_DROPOUT")
ALL = (
    *((name, with_dropout) for name in WITH_DROPOUT for with_dropout in (False, True)),
    *((f"BIAS_ACTIVATION:{activation}", False) for activation in ACTIVATIONS),
    ("SPLIT_HEADS", False),
    ("ATTENTION", False),
    ("CROSS_ENTROPY", False),
)


def test_all_operations_are_tested() -> None:
    names = {name.partition(":")[0] for name, _ in ALL}
    assert {id(getattr(fused, name)) for name in names} == {id(op) for op in fused.ALL}


@pytest.fixture(params=[False, True], ids=["sums", "products"])
def way_to_sum(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways to sum rows."""
    with fused.sums_rows_by_products() if request.param else contextlib.nullcontext():
        yield


@pytest.mark.usefixtures("way_to_sum")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "with_dropout"), ALL)
def test_gradients_equal_automatic_differentiation(
    value_and_gradients: Any,
    name: str,
    with_dropout: bool,
    dtype: str,
) -> None:
    case, op = make_case(name, with_dropout), getattr(fused, name.partition(":")[0])
    tensors = {
        key: ops.cast(value, dtype) if key in case.low_precision else ops.convert_to_tensor(value)
        for key, value in case.tensors.items()
    }
    settings = case.settings if name == "CROSS_ENTROPY" else {**case.settings, "dtype": dtype}

    def first_result(inputs: dict[str, Any]) -> Any:  # JAX sorts the keys
        result, _ = op.split(op.forward(*(inputs[key] for key in tensors), **settings))
        return result[0] if isinstance(result, tuple) else result

    output = first_result(tensors)
    assert ops.dtype(output) == settings.get("dtype", "float32")
    rng = np.random.default_rng(1)
    upstream = ops.cast(rng.standard_normal(output.shape, np.float32), ops.dtype(output))
    differentiated = list(tensors)[: op.num_gradients]
    others = {key: tensors[key] for key in tensors if key not in differentiated}
    _, wanted = value_and_gradients(
        lambda inputs: ops.sum(
            ops.cast(first_result({**inputs, **others}), "float32") * ops.cast(upstream, "float32")
        ),
        {key: tensors[key] for key in differentiated},
    )
    _, kept = op.split(op.forward(*tensors.values(), **settings))
    found = op.gradients(upstream, *tensors.values(), *kept, **settings)
    assert len(found) == op.num_gradients
    for key, gradient in zip(differentiated, found, strict=True):
        assert ops.dtype(gradient) == ops.dtype(tensors[key]), key
        a, b = (ops.convert_to_numpy(ops.cast(g, "float32")) for g in (gradient, wanted[key]))
        assert a.shape == tensors[key].shape and np.abs(b).max() > 0.01, key
        # Both are computed in float32; those of bfloat16 are rounded to 8 bits at the end.
        tolerance = 2**-7 if ops.dtype(gradient) == "bfloat16" else 1e-5
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


def numpy_norm(x: Array, gamma: Array, beta: Array) -> Array:
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * gamma + beta


def numpy_words(seed: Array, shape: tuple[int, ...]) -> Array:
    """The words of dropout, with whole numbers of any size."""
    first, second, begin = (int(word) for word in seed)
    words = []
    for i in range(math.prod(shape)):
        word = ((i + begin) % 2**32) ^ first
        word = ((word ^ word >> 16) * 0x21F0AAAD + second) % 2**32
        word = (word ^ word >> 15) * 0x735A2D97 % 2**32
        words.append(word ^ word >> 15)
    return np.array(words).reshape(shape)


def numpy_drop(x: Array, seed: Array | None) -> Array:
    # 2**30 of 2**32 values are below the threshold at a rate of 1/4.
    return x if seed is None else np.where(numpy_words(seed, x.shape) >= 2**30, x / 0.75, 0)


@pytest.mark.usefixtures("way_to_sum")
@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("name", WITH_DROPOUT)
def test_forward_with_dropout_equals_numpy(name: str, with_dropout: bool) -> None:
    case = make_case(name, with_dropout)
    t = {k: v.astype(np.float64) if k != "seed" else v for k, v in case.tensors.items()}
    seed = t.get("seed")
    if name == "NORM_DROPOUT":
        wanted = numpy_drop(numpy_norm(t["x"], t["gamma"], t["beta"]), seed)
    elif name == "DROPOUT_ADD_NORM":
        total = numpy_drop(t["x"] + t["bias"], seed) + t["residual"]
        wanted = numpy_norm(total, t["gamma"], t["beta"])
    else:
        powers = np.exp(t["scores"] * 0.7 + t["bias"])
        wanted = numpy_drop(powers / powers.sum(-1, keepdims=True), seed)
    op = getattr(fused, name)
    found, _ = op.split(op.forward(*case.tensors.values(), **case.settings, dtype="float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(found), wanted, rtol=2e-5, atol=2e-5)


def test_attention_equals_numpy() -> None:
    case = make_case("ATTENTION")
    query, key, value, bias = (x.astype(np.float64) for x in case.tensors.values())
    scores = np.einsum("bqnd,bknd->bnqk", query, key) * 0.3 + bias
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = np.einsum("bnqk,bknd->bqnd", powers / powers.sum(-1, keepdims=True), value)
    found, _ = fused.ATTENTION.forward(*case.tensors.values(), **case.settings, dtype="float32")
    np.testing.assert_allclose(ops.convert_to_numpy(found), wanted, rtol=2e-5, atol=2e-5)


def test_cross_entropy_literal_values() -> None:
    logits = np.log(np.array([[1, 2, 5], [8, 1, 1]], np.float32))
    bias = np.log(np.array([1, 1, 0.2], np.float32))  # the shares are 1 2 1 and 8 1 0.2
    losses, correct, _ = fused.CROSS_ENTROPY.forward(logits, bias, np.array([1, 2], np.int32))
    wanted = [math.log(2), math.log(46)]
    assert ops.convert_to_numpy(losses) == pytest.approx(wanted, rel=1e-6)
    assert ops.convert_to_numpy(correct).tolist() == [1, 0]


def test_cross_entropy_large_logits_stay_finite() -> None:
    logits = np.array([[1e4, -1e4, 0]], np.float32)
    losses, *_ = fused.CROSS_ENTROPY.forward(logits, np.zeros(3, np.float32), np.array([1]))
    assert ops.convert_to_numpy(losses).tolist() == [2e4]


@pytest.mark.parametrize(
    ("activation", "wanted"),
    [
        ("gelu", [-0.1588080, 0.0, 0.8411920, 1.9545977]),  # Hendrycks and Gimpel's tanh formula
        ("gelu_erf", [-0.1586553, 0.0, 0.8413447, 1.9544997]),  # x times the normal distribution
        ("relu", [0, 0, 1, 2]),
        ("tanh", [-0.7615942, 0, 0.7615942, 0.9640276]),
    ],
)
def test_bias_activation_literal_values(activation: str, wanted: list[float]) -> None:
    x, bias = np.array([[-2, -1, 0, 1]], np.float32), np.ones(4, np.float32)
    found = fused.BIAS_ACTIVATION.forward(x, bias, activation=activation, dtype="float32")
    assert ops.convert_to_numpy(found)[0].tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("name", WITH_DROPOUT)
def test_dropout_masks_of_forward_and_gradient_agree(name: str) -> None:
    case, op = make_case(name, True), getattr(fused, name)
    shape = next(iter(case.tensors.values())).shape
    dropped = numpy_words(case.tensors["seed"], shape) < 2**30
    assert 0 < dropped.sum() < dropped.size
    settings = {**case.settings, "dtype": "float32"}
    first = next(iter(case.tensors))

    def forward(x: Array) -> Array:
        tensors = {**case.tensors, first: x}
        return np.array(
            ops.convert_to_numpy(op.split(op.forward(*tensors.values(), **settings))[0])
        )

    def gradient(dy: Array) -> Array:
        _, kept = op.split(op.forward(*case.tensors.values(), **settings))
        found = op.gradients(dy, *case.tensors.values(), *kept, **settings)
        return np.array(ops.convert_to_numpy(found[0]))

    x = case.tensors[first]
    if name == "DROPOUT_ADD_NORM":  # the dropped is the input
        changed = forward(np.where(dropped, x + 1, x))
        assert (changed == forward(x)).all()
        slopes = gradient(np.random.default_rng(3).standard_normal(x.shape, np.float32))
        assert ((slopes == 0) == dropped).all()
    else:  # the dropped is the output
        y = forward(x)
        alive = ~dropped & (case.tensors["bias"] == 0 if name == "SOFTMAX_DROPOUT" else True)
        assert ((y != 0) == alive).all()
        assert not gradient(dropped.astype(np.float32)).any()
        assert gradient(alive * np.arange(alive.size, dtype=np.float32).reshape(x.shape)).any()
