"""Equality with transformers' BertForTokenClassification, and with sums over paths of the CRF.

Under the backend of KERAS_BACKEND.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import (
    TAG_CRF,
    TAG_END,
    TAG_START,
    TAG_TRANSITIONS,
    TAG_WEIGHTS,
    Arrays,
    initial_parameters,
    tag_specs,
)
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import load_backend
from bert_ko.training.hugging_face import from_hugging_face
from bert_ko.training.schedule import OptimizerConfig, hyperparameters

Array = npt.NDArray[Any]
Batch = dict[str, Array]

# Importing torch, transformers, Keras and its backend takes seconds.
pytestmark = pytest.mark.slow

LABELS = ("O", "B-LC", "I-LC", "B-PS", "I-PS")
LENGTHS = (32, 21, 3)  # pieces of the stretches; the last has one of text
PIECES = 30 + 19 + 1  # of the text: each length less [CLS] and [SEP]
CONFIG = BertConfig(
    vocab_size=61,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    hidden_act="gelu_erf",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=48,
)
# The softmax over keys does not see what is added to all of them.
UNSEEN = "key/bias"


def make_arrays(use_crf: bool) -> Arrays:
    """Far from the initial values, so that every variable shows in the results."""
    rng = np.random.default_rng(4)
    values = initial_parameters(tag_specs(CONFIG, len(LABELS), use_crf), 0.2, seed=4)
    found = {name: a + rng.normal(0, 0.1, a.shape).astype("f") for name, a in values.items()}
    for name in (name for name in found if name.startswith(TAG_CRF)):
        found[name] = rng.normal(0, 1, found[name].shape).astype("f")
    return found


def make_batch(length: int = 32) -> Batch:
    """Stretches of 32, 21 and 3 pieces; tags of [CLS], [SEP] and padding are 0, as in a batch."""
    rng = np.random.default_rng(6)
    ids = rng.integers(1, CONFIG.vocab_size, (3, LENGTHS[0]))
    tags = rng.integers(0, len(LABELS), (3, LENGTHS[0]))
    column = np.arange(length)
    pieces = np.array(LENGTHS)[:, None]
    is_text = (column > 0) & (column < pieces - 1)
    padding = ((0, 0), (0, length - LENGTHS[0]))
    return {
        "input_ids": (np.pad(ids, padding) * (column < pieces)).astype(np.int32),
        "input_mask": (column < pieces).astype(np.int32),
        "segment_ids": np.zeros((3, length), np.int32),
        "tag_ids": (np.pad(tags, padding) * is_text).astype(np.int32),
        "example_weights": np.ones(3, np.float32),
    }


def rows_of(batch: Batch, rows: slice) -> Batch:
    return {name: value[rows] for name, value in batch.items()}


class Results(NamedTuple):
    """Logits [B, L - 2, T], the loss of the batch and the sums over it, and its gradients."""

    logits: Array
    loss: float
    sums: dict[str, float]
    gradients: Arrays


def own_results(
    arrays: Arrays, batch: Batch, value_and_gradients: Any = None, denominator: float | None = None
) -> Results:
    """Args: the last is what the loss is divided by; None takes that of the batch."""
    backend: Any = load_backend(DeviceConfig(precision="float32"))
    from keras import ops

    from bert_ko.modeling.bert import Model
    from bert_ko.tasks.ner.head import load_head, tag_denominators, tag_logits

    loss_of = load_head(LABELS, TAG_TRANSITIONS in arrays).loss
    scalars = tag_denominators(batch)
    if denominator is not None:
        scalars = {"tag_denominator": np.float32(denominator)}
    features = {n: ops.convert_to_tensor(value) for n, value in {**batch, **scalars}.items()}
    params = {name: ops.convert_to_tensor(value) for name, value in arrays.items()}

    def compute(params: Any) -> Any:
        model = Model(params, CONFIG, backend.compute)
        return tag_logits(model, features), loss_of(model, features)

    if backend.name == "jax":  # one operation after the other takes half as long again
        import jax

        compute = jax.jit(compute)
    logits, (loss, sums) = compute(params)
    gradients = {}
    if value_and_gradients is not None:
        value, found = value_and_gradients(
            lambda p: loss_of(Model(p, CONFIG, backend.compute), features)[0], params
        )
        assert float(value) == pytest.approx(float(loss), abs=1e-6)
        gradients = {name: np.asarray(ops.convert_to_numpy(g)) for name, g in found.items()}
    logits = np.asarray(ops.convert_to_numpy(logits))
    return Results(logits, float(loss), {n: float(v) for n, v in sums.items()}, gradients)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "crf"])
def arrays(request: pytest.FixtureRequest) -> Arrays:
    return make_arrays(request.param)


@pytest.fixture(scope="module")
def whole(arrays: Arrays, value_and_gradients: Any) -> Results:
    """Of make_batch()."""
    return own_results(arrays, make_batch(), value_and_gradients)


def hugging_face_results(arrays: Arrays, batch: Batch) -> Results:
    import torch
    import transformers

    settings = {**CONFIG.to_dict(), "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    model = transformers.BertForTokenClassification(
        transformers.BertConfig(**settings, num_labels=len(LABELS))
    ).eval()
    targets = {key: from_hugging_face(key, has_tags=True) for key in model.state_dict()}
    found = {key: target for key, target in targets.items() if target is not None}
    assert sorted(name for name, _ in found.values()) == sorted(arrays)
    weights = {
        key: torch.from_numpy(np.ascontiguousarray(arrays[name].T if transpose else arrays[name]))
        for key, (name, transpose) in found.items()
    }
    model.load_state_dict(weights, strict=False)
    tensors = {name: torch.from_numpy(value).long() for name, value in batch.items()}
    column, pieces = np.arange(32), batch["input_mask"].sum(axis=1)[:, None]
    is_text = torch.from_numpy((column > 0) & (column < pieces - 1))
    output = model(
        input_ids=tensors["input_ids"],
        attention_mask=tensors["input_mask"],
        token_type_ids=tensors["segment_ids"],
        labels=torch.where(is_text, tensors["tag_ids"], -100),
    )
    output.loss.backward()
    parameters = dict(model.named_parameters())
    gradients = {}
    for key, (name, transpose) in found.items():
        gradient = parameters[key].grad.numpy()
        gradients[name] = gradient.T if transpose else gradient
    return Results(output.logits.detach().numpy()[:, 1:-1], output.loss.item(), {}, gradients)


def test_tag_logits_loss_and_gradients_equal_hugging_faces(value_and_gradients: Any) -> None:
    arrays, batch = make_arrays(use_crf=False), make_batch()
    found = own_results(arrays, batch, value_and_gradients)
    wanted = hugging_face_results(arrays, batch)
    real = batch["input_mask"][:, 2:] == 1
    assert real.sum() == PIECES and np.abs(wanted.logits[real]).max() > 1
    assert found.logits.dtype == np.float32 and found.logits.shape == (3, 30, 5)
    np.testing.assert_allclose(found.logits[real], wanted.logits[real], rtol=0, atol=1e-5)
    assert found.loss == pytest.approx(wanted.loss, abs=1e-5)
    assert found.gradients.keys() == wanted.gradients.keys()
    for name, gradient in found.gradients.items():
        other = wanted.gradients[name]
        assert np.abs(other).max() > 1e-3 or name.endswith(UNSEEN), name
        np.testing.assert_allclose(gradient, other, rtol=0, atol=1e-5, err_msg=name)


class Paths(NamedTuple):
    """Of one stretch, in float64: log-likelihood of its tags, and what each tag's chance is."""

    likelihood: float
    chances: Array


def path_sums(arrays: Arrays, logits: Array, tags: Array) -> Paths:
    """Args: logits: [P, T] of the text; tags: [P]."""
    start, end, moves = (
        arrays[n].astype(np.float64) for n in (TAG_START, TAG_END, TAG_TRANSITIONS)
    )
    logits = logits.astype(np.float64)
    forward, backward = [start + logits[0]], [end]
    for row in logits[1:]:
        forward.append(np.logaddexp.reduce(forward[-1][:, None] + moves, axis=0) + row)
    for row in logits[:0:-1]:
        backward.insert(0, np.logaddexp.reduce(moves + row + backward[0], axis=1))
    total = np.logaddexp.reduce(forward[-1] + end)
    score = start[tags[0]] + end[tags[-1]] + logits[np.arange(len(tags)), tags].sum()
    score += moves[tags[:-1], tags[1:]].sum()
    return Paths(float(score - total), np.exp(np.array(forward) + np.array(backward) - total))


def stretches(batch: Batch, logits: Array) -> Iterator[tuple[Array, Array]]:
    """Logits and tags of the text of each stretch."""
    for row, length in enumerate(batch["input_mask"].sum(axis=1)):
        yield logits[row, : length - 2], batch["tag_ids"][row, 1 : length - 1]


def test_crf_loss_is_that_of_all_paths_per_piece() -> None:
    arrays, batch = make_arrays(use_crf=True), make_batch()
    found = own_results(arrays, batch)
    likelihoods = [path_sums(arrays, *row).likelihood for row in stretches(batch, found.logits)]
    assert found.sums["tag_loss"] == pytest.approx(-sum(likelihoods), rel=1e-5)
    assert found.loss == pytest.approx(-sum(likelihoods) / PIECES, rel=1e-5)
    assert found.sums["tag_weight"] == PIECES


def test_loss_without_what_a_crf_knows_is_the_plain_one() -> None:
    arrays = make_arrays(use_crf=True)
    for name in (TAG_START, TAG_END, TAG_TRANSITIONS):
        arrays[name] = np.zeros_like(arrays[name])
    plain = {name: array for name, array in arrays.items() if not name.startswith(TAG_CRF)}
    one, other = own_results(arrays, make_batch()), own_results(plain, make_batch())
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert one.sums == pytest.approx(other.sums, rel=1e-5)


def test_loss_gradients_reach_every_variable(whole: Results, arrays: Arrays) -> None:
    assert whole.gradients.keys() == arrays.keys()
    for name, gradient in whole.gradients.items():
        assert np.abs(gradient).max() > 1e-3 or name.endswith(UNSEEN), name


def test_loss_length_of_the_batch_decides_nothing(
    arrays: Arrays, whole: Results, value_and_gradients: Any
) -> None:
    long = own_results(arrays, make_batch(48), value_and_gradients)
    real = make_batch()["input_mask"][:, 2:] == 1
    np.testing.assert_allclose(long.logits[:, :30][real], whole.logits[real], rtol=0, atol=1e-5)
    assert long.loss == pytest.approx(whole.loss, abs=1e-6)
    assert long.sums == pytest.approx(whole.sums, abs=1e-4)
    for name, gradient in whole.gradients.items():
        np.testing.assert_allclose(long.gradients[name], gradient, rtol=0, atol=1e-5, err_msg=name)


def test_loss_tags_of_special_pieces_and_padding_decide_nothing(
    arrays: Arrays, whole: Results
) -> None:
    batch = make_batch()
    column, pieces = np.arange(32), np.array(LENGTHS)[:, None]
    is_text = (column > 0) & (column < pieces - 1)
    batch["tag_ids"] = np.where(is_text, batch["tag_ids"], 4).astype(np.int32)
    found = own_results(arrays, batch)
    assert (found.loss, found.sums) == (whole.loss, whole.sums)


def test_loss_filling_rows_change_nothing(
    arrays: Arrays, whole: Results, value_and_gradients: Any
) -> None:
    batch = make_batch()
    filled = {n: np.concatenate([value, value[:1], value[:1]]) for n, value in batch.items()}
    filled["example_weights"][3:] = 0
    filled["tag_ids"][3:] = 2
    found = own_results(arrays, filled, value_and_gradients)
    assert found.loss == pytest.approx(whole.loss, abs=1e-6)
    assert found.sums == pytest.approx(whole.sums, abs=1e-4)
    for name, gradient in whole.gradients.items():
        np.testing.assert_allclose(found.gradients[name], gradient, rtol=0, atol=1e-5)


def test_loss_shares_of_parts_add_up(
    arrays: Arrays, whole: Results, value_and_gradients: Any
) -> None:
    parts = [
        own_results(arrays, rows_of(make_batch(), rows), value_and_gradients, denominator=PIECES)
        for rows in (slice(0, 1), slice(1, 3))
    ]
    assert sum(part.loss for part in parts) == pytest.approx(whole.loss, abs=1e-6)
    for name, value in whole.sums.items():
        assert sum(part.sums[name] for part in parts) == pytest.approx(value, abs=1e-4), name
    for name, gradient in whole.gradients.items():
        total = sum(part.gradients[name] for part in parts)
        np.testing.assert_allclose(total, gradient, rtol=0, atol=1e-5, err_msg=name)


def test_loss_counts_pieces_whose_largest_logit_is_right(arrays: Arrays, whole: Results) -> None:
    batch = make_batch()
    batch["tag_ids"][:, 1:-1] = whole.logits.argmax(axis=-1)
    assert own_results(arrays, batch).sums["tags_right"] == PIECES
    batch["tag_ids"][0, 5] = (batch["tag_ids"][0, 5] + 1) % 5
    assert own_results(arrays, batch).sums["tags_right"] == PIECES - 1
    batch["tag_ids"][1, 21:] = 0  # behind the text
    assert own_results(arrays, batch).sums["tags_right"] == PIECES - 1
    batch["example_weights"][0] = 0
    assert own_results(arrays, batch).sums["tags_right"] == PIECES - 30


def test_tags_are_means_over_pieces() -> None:
    from bert_ko.tasks.ner.head import TAGS

    sums = {"tag_loss": 6.0, "tags_right": 1.0, "tag_weight": 4.0}
    assert TAGS.metrics(sums) == {"loss": 1.5, "accuracy": 0.25}
    assert TAGS.metrics({"tag_loss": 0.0, "tags_right": 0.0, "tag_weight": 0.0}) == {
        "loss": 0, "accuracy": 0
    }  # fmt: skip
    batch = make_batch()
    assert TAGS.denominators(batch) == {"tag_denominator": PIECES}
    batch["example_weights"][1] = 0
    assert TAGS.denominators(batch) == {"tag_denominator": PIECES - 19}
    # A batch of filling alone has a loss of 0, not nan.
    assert TAGS.denominators({**batch, "example_weights": np.zeros(3, "f")}) == {
        "tag_denominator": 1
    }
    assert {name for name, _ in TAGS.headline} <= TAGS.metrics(sums).keys()


# Programs


def new_program(arrays: Arrays, **settings: Any) -> Any:
    backend: Any = load_backend(DeviceConfig(precision="float32"))
    from bert_ko.tasks.ner.head import load_head

    head = load_head(LABELS, TAG_TRANSITIONS in arrays)
    optimizer = OptimizerConfig(**settings)
    copies = {name: array.copy() for name, array in arrays.items()}
    program = backend.train_program(CONFIG, head.loss, optimizer, copies, seed=1)
    return program, program.predictor(head.outputs)


def outputs(arrays: Arrays, batch: Batch) -> Batch:
    _, predict = new_program(arrays)
    found = predict({name: batch[name] for name in ("input_ids", "input_mask", "segment_ids")})
    return {name: np.asarray(value) for name, value in found.items()}


def test_tag_outputs_are_the_likeliest_tags() -> None:
    arrays, batch = make_arrays(use_crf=False), make_batch()
    logits = own_results(arrays, batch).logits.astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    found = outputs(arrays, batch)
    assert found.keys() == {"tag_ids", "probabilities"}
    assert (found["tag_ids"].dtype, found["probabilities"].dtype) == (np.int32, np.float32)
    real = batch["input_mask"][:, 2:] == 1
    assert (found["tag_ids"][real] == logits.argmax(axis=-1)[real]).all()
    np.testing.assert_allclose(
        found["probabilities"][real], chances.max(axis=-1)[real], rtol=0, atol=1e-5
    )


def test_crf_outputs_are_the_best_path_and_its_chances() -> None:
    arrays, batch = make_arrays(use_crf=True), make_batch()
    logits = own_results(arrays, batch).logits
    found = outputs(arrays, batch)
    assert found.keys() == {"tag_ids", "probabilities"}
    for row, (own, _) in enumerate(stretches(batch, logits)):
        tags = found["tag_ids"][row, : len(own)]
        best = path_sums(arrays, own, tags)
        for other in range(len(LABELS)):  # no path beside it is better
            near = np.where(np.arange(len(own)) == len(own) // 2, other, tags)
            is_formed = all(
                LABELS[b][0] != "I" or LABELS[a][1:] == LABELS[b][1:]
                for a, b in itertools.pairwise(near)
            )
            if is_formed:
                assert path_sums(arrays, own, near).likelihood <= best.likelihood + 1e-9
        np.testing.assert_allclose(
            found["probabilities"][row, : len(own)],
            best.chances[np.arange(len(own)), tags],
            rtol=0,
            atol=1e-5,
        )


@pytest.mark.parametrize("label", ["I-LC", "I-PS"])
def test_crf_outputs_stretch_may_begin_inside_an_entity_but_nothing_else(label: str) -> None:
    arrays, batch = make_arrays(use_crf=True), make_batch()
    # I is what every piece wants to be; only the moves from B and I of the same type are allowed.
    arrays["cls/tags/output_bias"] = np.array([100 * (x == label) for x in LABELS], np.float32)
    found = outputs(arrays, batch)["tag_ids"]
    for row, length in enumerate(LENGTHS):
        assert found[row, : length - 2].tolist() == [LABELS.index(label)] * (length - 2)
    # After another type, an I needs its B.
    arrays[TAG_START][:] = [-1e4, 0, -1e4, -1e4, -1e4]  # LC begins
    found = outputs(arrays, batch)["tag_ids"][0]
    wanted = ["B-LC", *["I-LC"] * 29] if label == "I-LC" else ["B-LC", "B-PS", *["I-PS"] * 28]
    assert [LABELS[i] for i in found] == wanted


def test_train_step_parts_equal_the_whole(arrays: Arrays) -> None:
    from bert_ko.tasks.ner.head import TAGS

    batch = make_batch()
    batch = {n: np.concatenate([value, value[:1]]) for n, value in batch.items()}
    changed = []
    for parts in (1, 4):
        program, _ = new_program(arrays, learning_rate=1e-2, num_warmup_steps=0)
        rows = {name: value.reshape(parts, -1, *value.shape[1:]) for name, value in batch.items()}
        hyper = hyperparameters(OptimizerConfig(learning_rate=1e-2, num_warmup_steps=0), 0)
        sums = program.train_step(0, rows, TAGS.denominators(batch), hyper)()
        changed.append((sums, program.parameters()))
    (sums, parameters), (wanted, others) = changed
    assert sums == pytest.approx(wanted, rel=1e-4)
    for name, array in parameters.items():
        if not name.endswith(UNSEEN):  # whose gradient is rounding alone
            np.testing.assert_allclose(array, others[name], rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("multiple", [0.0, 100.0])
def test_train_step_crf_has_a_learning_rate_of_its_own(multiple: float) -> None:
    from bert_ko.tasks.ner.head import TAGS

    arrays, batch = make_arrays(use_crf=True), make_batch()
    settings: dict[str, Any] = {
        "name": "adamw", "learning_rate": 1e-3, "num_warmup_steps": 0, "weight_decay": 0.0,
        "multiples": ((TAG_CRF, multiple),),
    }  # fmt: skip
    program, _ = new_program(arrays, **settings)
    rows = {name: value[None] for name, value in batch.items()}
    hyper = hyperparameters(OptimizerConfig(**settings), 0)
    program.train_step(0, rows, TAGS.denominators(batch), hyper)()
    moved = {n: np.abs(value - arrays[n]).max() for n, value in program.parameters().items()}
    # The first update of adamw is the rate, whatever the gradient is.
    assert moved[TAG_WEIGHTS] == pytest.approx(1e-3, rel=0.02)
    for name in (TAG_START, TAG_END, TAG_TRANSITIONS):
        assert moved[name] == pytest.approx(1e-3 * multiple, rel=0.02), name
