"""Equality with transformers' BertForQuestionAnswering, under the backend of KERAS_BACKEND."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import Arrays, initial_parameters, span_specs
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import load_backend
from bert_ko.training.hugging_face import from_hugging_face

Array = npt.NDArray[Any]
Batch = dict[str, Array]

# Importing torch, transformers, Keras and its backend takes seconds.
pytestmark = pytest.mark.slow

LENGTHS = (64, 51, 20)  # pieces of the windows
CONFIG = BertConfig(
    vocab_size=61,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    hidden_act="gelu_erf",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=96,
)


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """Far from the initial values, so that every variable shows in the results."""
    rng = np.random.default_rng(4)
    values = initial_parameters(span_specs(CONFIG), 0.2, seed=4)
    return {name: a + rng.normal(0, 0.1, a.shape).astype("f") for name, a in values.items()}


def make_batch(length: int = 64, rows: int = 3) -> Batch:
    """Windows of 64, 51 and 20 pieces with two segments; the first ``rows`` of them."""
    rng = np.random.default_rng(6)
    pieces = np.array(LENGTHS)[:, None]
    ids = rng.integers(1, CONFIG.vocab_size, (3, LENGTHS[0]))
    ids = np.pad(ids, ((0, 0), (0, length - LENGTHS[0])))
    columns = np.arange(length)
    mask = columns < pieces
    batch = {
        "input_ids": (ids * mask).astype(np.int32),
        "input_mask": mask.astype(np.int32),
        "segment_ids": ((columns >= 9) & mask).astype(np.int32),
        "start_positions": np.array([12, 0, 19], np.int32),
        "end_positions": np.array([14, 0, 19], np.int32),
        "example_weights": np.ones(3, np.float32),
    }
    return {name: value[:rows] for name, value in batch.items()}


# The softmax over positions, and that over keys, does not see what is added to all of them.
UNSEEN = ("key/bias", "layer_1/output/LayerNorm/beta", "squad/output_bias")


class Results(NamedTuple):
    """Logits [B, L], the loss of the batch and the sums over it, and its gradients by name."""

    start: Array
    end: Array
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
    from bert_ko.tasks.squad.head import span_denominators, span_logits, span_loss

    scalars = span_denominators(batch)
    if denominator is not None:
        scalars = {"span_denominator": np.float32(denominator)}
    features = {n: ops.convert_to_tensor(value) for n, value in {**batch, **scalars}.items()}
    params = {name: ops.convert_to_tensor(value) for name, value in arrays.items()}

    def compute(params: Any) -> Any:
        model = Model(params, CONFIG, backend.compute)
        return span_logits(model, features), span_loss(model, features)

    logits, (loss, sums) = compiled(backend, compute)(params)
    start, end = (np.asarray(ops.convert_to_numpy(x)) for x in logits)
    gradients = {}
    if value_and_gradients is not None:
        value, found = value_and_gradients(
            lambda p: span_loss(Model(p, CONFIG, backend.compute), features)[0], params
        )
        assert float(value) == pytest.approx(float(loss), abs=1e-6)
        gradients = {name: np.asarray(ops.convert_to_numpy(g)) for name, g in found.items()}
    return Results(start, end, float(loss), {n: float(v) for n, v in sums.items()}, gradients)


@pytest.fixture(scope="module")
def whole(arrays: Arrays, value_and_gradients: Any) -> Results:
    """Of make_batch()."""
    return own_results(arrays, make_batch(), value_and_gradients)


def hugging_face_results(arrays: Arrays, batch: Batch) -> Results:
    import torch
    import transformers

    settings = {**CONFIG.to_dict(), "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    model = transformers.BertForQuestionAnswering(transformers.BertConfig(**settings)).eval()
    targets = {key: from_hugging_face(key) for key in model.state_dict()}
    found = {key: target for key, target in targets.items() if target is not None}
    assert sorted(name for name, _ in found.values()) == sorted(arrays)
    weights = {
        key: torch.from_numpy(np.ascontiguousarray(arrays[name].T if transpose else arrays[name]))
        for key, (name, transpose) in found.items()
    }
    model.load_state_dict(weights, strict=False)
    tensors = {name: torch.from_numpy(value).long() for name, value in batch.items()}
    output = model(
        input_ids=tensors["input_ids"],
        attention_mask=tensors["input_mask"],
        token_type_ids=tensors["segment_ids"],
        start_positions=tensors["start_positions"],
        end_positions=tensors["end_positions"],
    )
    output.loss.backward()
    parameters = dict(model.named_parameters())
    gradients = {}
    for key, (name, transpose) in found.items():
        gradient = parameters[key].grad.numpy()
        gradients[name] = gradient.T if transpose else gradient
    logits = (output.start_logits.detach().numpy(), output.end_logits.detach().numpy())
    return Results(*logits, output.loss.item(), {}, gradients)


def cut(batch: Batch, rows: slice, length: int) -> Batch:
    return {n: v[rows, :length] if v.ndim == 2 else v[rows] for n, v in batch.items()}


def test_span_logits_equal_hugging_faces_where_there_are_pieces(
    arrays: Arrays, whole: Results
) -> None:
    batch, found = make_batch(), whole
    wanted = hugging_face_results(arrays, batch)
    real = batch["input_mask"] == 1
    assert np.abs(wanted.start[real]).max() > 1
    for own, other in ((found.start, wanted.start), (found.end, wanted.end)):
        assert own.dtype == np.float32
        np.testing.assert_allclose(own[real], other[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_span_loss_and_gradients_equal_hugging_faces(
    arrays: Arrays, value_and_gradients: Any, row: int
) -> None:
    # There padding takes its share of the softmax, so that its windows have none.
    batch, rows = make_batch(), slice(row, row + 1)
    wanted = hugging_face_results(arrays, cut(batch, rows, LENGTHS[row]))
    found = own_results(arrays, cut(batch, rows, 64), value_and_gradients)
    assert found.loss == pytest.approx(wanted.loss, abs=1e-5)
    assert found.gradients.keys() == wanted.gradients.keys() == span_specs(CONFIG).keys()
    for name, gradient in found.gradients.items():
        other = wanted.gradients[name]
        assert np.abs(other).max() > 1e-3 or name.endswith(UNSEEN), name
        np.testing.assert_allclose(gradient, other, rtol=0, atol=1e-5, err_msg=name)


def test_span_loss_is_the_mean_over_windows(arrays: Arrays, whole: Results) -> None:
    single = [
        hugging_face_results(arrays, cut(make_batch(), slice(row, row + 1), length)).loss
        for row, length in enumerate(LENGTHS)
    ]
    assert whole.loss == pytest.approx(np.mean(single), abs=1e-5)
    assert whole.sums["span_loss"] == pytest.approx(np.sum(single), abs=3e-5)
    assert whole.sums["span_weight"] == 3


def test_span_logits_padding_is_never_the_answer(arrays: Arrays) -> None:
    # Every piece is bad as an answer; padding, whose output nothing has shaped, must be worse.
    bad = {**arrays, "cls/squad/output_bias": np.full(2, -1000, np.float32)}
    batch = make_batch(96)
    padding = batch["input_mask"] == 0
    for values in (arrays, bad):
        found = own_results(values, batch)
        for logits in (found.start, found.end):
            assert np.isfinite(logits).all()
            worst = np.where(padding, np.inf, logits).min(axis=1)
            assert (np.where(padding, logits, -np.inf).max(axis=1) < worst - 1000).all()


def test_span_loss_length_of_the_batch_decides_nothing(
    arrays: Arrays, whole: Results, value_and_gradients: Any
) -> None:
    short, long = whole, own_results(arrays, make_batch(96), value_and_gradients)
    real = make_batch()["input_mask"] == 1
    assert long.start.shape == (3, 96)
    for one, other in ((short.start, long.start[:, :64]), (short.end, long.end[:, :64])):
        np.testing.assert_allclose(other[real], one[real], rtol=0, atol=1e-6)
    assert long.loss == pytest.approx(short.loss, abs=1e-6)
    assert long.sums == pytest.approx(short.sums, abs=3e-6)
    for name, gradient in short.gradients.items():
        np.testing.assert_allclose(long.gradients[name], gradient, rtol=0, atol=1e-5, err_msg=name)


def test_span_loss_filling_rows_change_nothing(
    arrays: Arrays, whole: Results, value_and_gradients: Any
) -> None:
    batch = make_batch()
    filled = {n: np.concatenate([value, value[:1], value[:1]]) for n, value in batch.items()}
    filled["example_weights"][3:] = 0
    filled["start_positions"][3:], filled["end_positions"][3:] = 40, 5
    found = own_results(arrays, filled, value_and_gradients)
    assert found.loss == pytest.approx(whole.loss, abs=1e-6)
    assert found.sums == pytest.approx(whole.sums, abs=3e-6)
    for name, gradient in whole.gradients.items():
        np.testing.assert_allclose(found.gradients[name], gradient, rtol=0, atol=1e-5)


def test_span_loss_sums_and_shares_of_parts_add_up(
    arrays: Arrays, whole: Results, value_and_gradients: Any
) -> None:
    batch = make_batch()
    parts = [
        own_results(arrays, cut(batch, rows, 64), value_and_gradients, denominator=3)
        for rows in (slice(0, 1), slice(1, 3))
    ]
    assert sum(part.loss for part in parts) == pytest.approx(whole.loss, abs=1e-6)
    for name, value in whole.sums.items():
        assert sum(part.sums[name] for part in parts) == pytest.approx(value, abs=3e-6), name
    for name, gradient in whole.gradients.items():
        total = sum(part.gradients[name] for part in parts)
        np.testing.assert_allclose(total, gradient, rtol=0, atol=1e-5, err_msg=name)


def test_span_loss_counts_windows_whose_ends_are_both_right(arrays: Arrays, whole: Results) -> None:
    batch = make_batch()
    start, end = whole.start.argmax(axis=1), whole.end.argmax(axis=1)
    batch["start_positions"], batch["end_positions"] = start.astype("i4"), end.astype("i4")
    assert own_results(arrays, batch).sums["span_correct"] == 3
    batch["start_positions"][1] = (start[1] + 1) % LENGTHS[1]
    assert own_results(arrays, batch).sums["span_correct"] == 2
    batch["end_positions"][2] = (end[2] + 1) % LENGTHS[2]
    assert own_results(arrays, batch).sums["span_correct"] == 1
    batch["example_weights"][0] = 0
    assert own_results(arrays, batch).sums["span_correct"] == 0


def test_spans_are_means_over_windows() -> None:
    from bert_ko.tasks.squad.head import SPANS

    sums = {"span_loss": 6.0, "span_correct": 1.0, "span_weight": 4.0}
    assert SPANS.metrics(sums) == {"loss": 1.5, "span_accuracy": 0.25}
    weights = np.array([1, 1, 0], np.float32)
    assert SPANS.denominators({"example_weights": weights}) == {"span_denominator": 2}
    # A batch of filling alone has a loss of 0, not nan.
    assert SPANS.denominators({"example_weights": 0 * weights}) == {"span_denominator": 1}
    assert {name for name, _ in SPANS.headline} <= SPANS.metrics(sums).keys()


def test_span_outputs_are_the_logits(arrays: Arrays, whole: Results) -> None:
    backend: Any = load_backend(DeviceConfig(precision="float32"))
    from bert_ko.tasks.squad.head import SPANS, span_loss, span_outputs
    from bert_ko.training.schedule import OptimizerConfig

    batch = make_batch()
    program = backend.train_program(CONFIG, span_loss, OptimizerConfig(), arrays, seed=1)
    inputs = {name: batch[name] for name in ("input_ids", "input_mask", "segment_ids")}
    found, wanted = program.predictor(span_outputs)(inputs), whole
    assert found.keys() == {"start_logits", "end_logits"}
    np.testing.assert_allclose(found["start_logits"], wanted.start, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["end_logits"], wanted.end, rtol=0, atol=1e-5)
    sums = program.eval_step(batch, SPANS.denominators(batch))
    assert sums == pytest.approx(wanted.sums, abs=3e-5)
