"""BERT and every head on it against transformers and numpy, under the backend of KERAS_BACKEND.

All heads share one batch with the labels of each.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import log_softmax, softmax

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.compute import Model
from bert_ko.modeling.encoder import encode
from bert_ko.modeling.heads import (
    CLASS_WEIGHTS,
    SPAN_BIAS,
    TAG_BIAS,
    TAG_CRF,
    TAG_END,
    TAG_START,
    TAG_TRANSITIONS,
    Head,
    PretrainingHead,
    SpanHead,
    model_specs,
)
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import Arrays, initial_parameters
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import load_backend
from bert_ko.training.optimization import OptimizerConfig, hyperparameters
from tests.modeling.trained_heads import HEADS, LABELS
from tests.modeling.transformers_models import TransformersModel

Array = npt.NDArray[Any]
Batch = dict[str, Array]

# Importing torch, transformers, Keras and its backend takes seconds.
slow = pytest.mark.slow

LENGTHS = np.array([32, 21, 9, 3])  # pieces of the rows; the last has one of text
LENGTH, LONGER, PREDICTIONS = 32, 48, 4
CONFIG = BertConfig(
    vocab_size=61,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    hidden_act="gelu_erf",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    max_position_embeddings=LONGER,
)


@functools.cache
def arrays_of(kind: str) -> Arrays:
    """Far from the initial values, so that every variable shows in the results."""
    rng = np.random.default_rng(4)
    specs = model_specs(CONFIG, HEADS[kind])
    found = {
        name: value + rng.normal(0, 0.1, value.shape).astype("f")
        for name, value in initial_parameters(specs, 0.2, seed=4).items()
    }
    for name in (name for name in found if name.startswith(TAG_CRF)):
        found[name] = rng.normal(0, 1, found[name].shape).astype("f")
    return found


def make_batch(kind: str, length: int = LENGTH) -> Batch:
    """Four rows with two segments; the content of padding depends on the length."""
    rng = np.random.default_rng(6)
    column, last = np.arange(LENGTH), LENGTHS[:, None] - 1
    ids = rng.integers(1, CONFIG.vocab_size, (4, LENGTH))
    tags = rng.integers(0, len(LABELS), (4, LENGTH))
    masked = (np.arange(PREDICTIONS) < np.array([4, 2, 1, 1])[:, None]).astype(np.float32)
    is_score = kind == "scores"
    batch = {
        "input_ids": ids.astype(np.int32),
        "input_mask": (column <= last).astype(np.int32),
        "segment_ids": np.tile(column >= 6, (4, 1)).astype(np.int32),
        "example_weights": np.ones(4, np.float32),
        "masked_lm_positions": np.stack([rng.integers(1, n, PREDICTIONS) for n in LENGTHS]),
        "masked_lm_ids": rng.integers(1, CONFIG.vocab_size, masked.shape),
        "masked_lm_weights": masked,
        "next_sentence_labels": np.array([[0], [1], [1], [0]]),
        "next_sentence_weights": np.ones(4, np.float32),
        "start_positions": np.array([12, 0, 8, 1]),
        "end_positions": np.array([14, 0, 8, 2]),
        "targets": np.float32([0, 5, 2.5, -1]) if is_score else np.array([3, 0, 2, 2]),
        "label_weights": np.float32([1, 1, 1, 1] if is_score else [3, 0.5, 2, 2]),
        "tag_ids": np.where((column > 0) & (column < last), tags, 4),
    }
    for name in ("input_ids", "input_mask", "segment_ids", "tag_ids"):
        fill = 0 if name == "input_mask" else 1
        batch[name] = np.pad(batch[name], ((0, 0), (0, length - LENGTH)), constant_values=fill)
    return {n: v.astype(np.int32) if v.dtype.kind == "i" else v for n, v in batch.items()}


def rows_of(batch: Batch, rows: slice) -> Batch:
    return {name: value[rows] for name, value in batch.items()}


class Results(NamedTuple):
    """What a head makes of a batch; see Head."""

    logits: Batch
    outputs: Batch
    sums: dict[str, float]
    loss: float
    gradients: Arrays  # of the loss


def logits_of(head: Any, model: Model, batch: Any) -> dict[str, Any]:
    output = encode(model, batch)
    if isinstance(head, PretrainingHead):
        masked = head.masked_lm.logits(model, output, batch["masked_lm_positions"])
        return {"masked": masked, "following": head.next_sentence.logits(model, batch, output)}
    if isinstance(head, SpanHead):
        return dict(zip(("start", "end"), head.logits(model, batch, output), strict=True))
    return {"all": head.logits(model, batch, output)}


@functools.cache
def compiled(kind: str, hidden_act: str, attention: Any) -> Any:
    """Variables and features to ((loss, the other results), gradients)."""
    backend: Any = load_backend(DeviceConfig(precision="float32", attention=attention))
    head, config = HEADS[kind], dataclasses.replace(CONFIG, hidden_act=hidden_act)

    def compute(params: Any, features: Any) -> tuple[Any, Any]:
        model = Model(params, config, backend.compute)
        loss, sums = head.loss(model, features)
        return loss, (logits_of(head, model, features), head.outputs(model, features), sums)

    if backend.name == "jax":  # one operation after the other takes half as long again
        import jax

        return jax.jit(jax.value_and_grad(compute, has_aux=True))

    import tensorflow as tf

    def differentiate(params: Any, features: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(params)
            found = compute(params, features)
        gradients = tape.gradient(found[0], params, unconnected_gradients="zero")
        return found, {name: tf.convert_to_tensor(g) for name, g in gradients.items()}

    return differentiate


def results(
    kind: str,
    batch: Batch,
    of_whole: Batch | None = None,
    hidden_act: str = CONFIG.hidden_act,
    attention: str = "auto",
    **changed: Array,
) -> Results:
    """Args: of_whole: the batch that ``batch`` is a part of; changed: variables."""
    denominators = HEADS[kind].denominators(batch if of_whole is None else of_whole)
    params = {n: ops.convert_to_tensor(v) for n, v in {**arrays_of(kind), **changed}.items()}
    features = {n: ops.convert_to_tensor(v) for n, v in {**batch, **denominators}.items()}
    (loss, (logits, outputs, sums)), gradients = compiled(kind, hidden_act, attention)(
        params, features
    )
    logits, outputs, gradients = (
        {name: np.asarray(ops.convert_to_numpy(value)) for name, value in values.items()}
        for values in (logits, outputs, gradients)
    )
    return Results(logits, outputs, {n: float(v) for n, v in sums.items()}, float(loss), gradients)


@functools.cache
def whole(kind: str) -> Results:
    """Of make_batch(kind)."""
    return results(kind, make_batch(kind))


def real(logits: Array, batch: Batch) -> Array:
    """Logits without those of padding: [B, L] of spans, [B, L - 2, T] of tags."""
    if logits.shape[1] not in (LENGTH, LENGTH - 2):
        return logits
    found: Array = logits[batch["input_mask"][:, LENGTH - logits.shape[1] :] == 1]
    return found


def assert_near(found: Results, wanted: Results) -> None:
    """Losses, sums and gradients."""
    assert found.loss == pytest.approx(wanted.loss, rel=1e-5)
    assert found.sums == pytest.approx(wanted.sums, rel=2e-5)
    for name, gradient in wanted.gradients.items():
        atol = 1e-5 * max(1.0, wanted.loss)
        np.testing.assert_allclose(found.gradients[name], gradient, rtol=0, atol=atol, err_msg=name)


def has_no_gradient(kind: str, name: str) -> bool:
    """Softmaxes over keys, and over positions, do not see what is added to all of them."""
    of_spans = kind == "spans" and name in (SPAN_BIAS, "bert/encoder/layer_1/output/LayerNorm/beta")
    return of_spans or name.endswith("key/bias")


every_head = pytest.mark.parametrize("kind", HEADS)


# What holds for every head


@slow
@every_head
def test_loss_gradients_reach_every_variable(kind: str) -> None:
    found = whole(kind).gradients
    assert found.keys() == arrays_of(kind).keys()
    for name, gradient in found.items():
        assert np.abs(gradient).max() > 1e-4 or has_no_gradient(kind, name), name


@slow
@every_head
def test_loss_padding_and_length_of_the_batch_decide_nothing(kind: str) -> None:
    batch = make_batch(kind, LONGER)
    padding = batch["input_mask"] == 0
    batch["input_ids"][padding] = 60
    found, wanted = results(kind, batch), whole(kind)
    assert_near(found, wanted)
    own = make_batch(kind)
    for name, logits in wanted.logits.items():
        cut = found.logits[name][:, : logits.shape[1]]
        np.testing.assert_allclose(real(cut, own), real(logits, own), rtol=0, atol=1e-5)


@slow
@every_head
def test_loss_parts_of_a_batch_add_up(kind: str) -> None:
    batch, wanted = make_batch(kind), whole(kind)
    parts = [results(kind, rows_of(batch, rows), batch) for rows in (slice(2), slice(2, 4))]
    total = Results(
        {},
        {},
        {name: sum(part.sums[name] for part in parts) for name in wanted.sums},
        sum(part.loss for part in parts),
        {name: sum(part.gradients[name] for part in parts) for name in wanted.gradients},
    )
    assert_near(total, wanted)


@slow
@every_head
def test_loss_rows_of_weight_zero_decide_nothing(kind: str) -> None:
    batch = make_batch(kind)
    wanted = results(kind, rows_of(batch, slice(2)))
    for name in ("example_weights", "masked_lm_weights", "next_sentence_weights"):
        batch[name][2:] = 0
    batch["label_weights"][2:] = 9
    assert_near(results(kind, batch), wanted)


def scored(logits: Array, labels: Array, weights: Array) -> tuple[float, float]:
    """Of logits [..., K]: the sums of losses, and of the weights of what is right."""
    logs = log_softmax(logits.astype(float), axis=-1)
    losses = -np.take_along_axis(logs, labels[..., None], axis=-1)[..., 0]
    rights = (logits.argmax(axis=-1) == labels) * weights
    return float((losses * weights).sum()), float(rights.sum())


def with_right_answers(kind: str, batch: Batch, logits: Batch) -> Batch:
    """Of every second row."""
    best = {name: value[::2].argmax(axis=-1) for name, value in logits.items()}
    changed = {name: value.copy() for name, value in batch.items()}
    if kind == "pretraining":
        changed["masked_lm_ids"][::2] = best["masked"]
        changed["next_sentence_labels"][::2, 0] = best["following"]
    elif kind == "spans":
        for name, positions in best.items():
            changed[f"{name}_positions"][::2] = positions
    elif kind == "classes":
        changed["targets"][::2] = best["all"]
    elif kind in ("tags", "crf"):
        changed["tag_ids"][::2, 1:-1] = best["all"]
    return changed


def wanted_sums(kind: str, logits: Batch, batch: Batch) -> dict[str, float]:
    examples = batch["example_weights"]
    if kind == "pretraining":
        found = {}
        for name, score, labels in (
            ("masked_lm", logits["masked"], batch["masked_lm_ids"]),
            ("next_sentence", logits["following"], batch["next_sentence_labels"][:, 0]),
        ):
            weights = batch[f"{name}_weights"]
            loss, right = scored(score, labels, weights)
            found.update({f"{name}_loss": loss, f"{name}_correct": right})
            found[f"{name}_weight"] = float(weights.sum())
        return found
    if kind == "spans":
        ends = [(logits[name], batch[f"{name}_positions"]) for name in ("start", "end")]
        right = np.all([scores.argmax(axis=1) == label for scores, label in ends], axis=0)
        return {
            "span_loss": sum(scored(*end, examples)[0] for end in ends) / 2,
            "span_correct": float((right * examples).sum()),
            "span_weight": float(examples.sum()),
        }
    of_texts = logits["all"]
    if kind == "scores":
        errors = (of_texts[:, 0].astype(np.float64) - batch["targets"]) ** 2
        return {"loss_sum": (errors * examples).sum(), "loss_weight": float(examples.sum())}
    if kind == "classes":
        weights = batch["label_weights"] * examples
        return {
            "loss_sum": scored(of_texts, batch["targets"], weights)[0],
            "loss_weight": float(weights.sum()),
            "num_right": scored(of_texts, batch["targets"], examples)[1],
            "num_examples": float(examples.sum()),
        }
    weights = batch["input_mask"][:, 2:] * examples[:, None]
    loss, right = scored(of_texts, batch["tag_ids"][:, 1:-1], weights)
    if kind == "crf":
        paths = [path_sums(*row).likelihood for row in stretches(batch, of_texts)]
        loss = -float((paths * examples).sum())
    return {"tag_loss": loss, "tags_right": right, "tag_weight": float(weights.sum())}


@slow
@every_head
def test_loss_sums_equal_numpy(kind: str) -> None:
    logits = whole(kind).logits
    batch = with_right_answers(kind, make_batch(kind), logits)
    batch["example_weights"][3] = batch["next_sentence_weights"][3] = 0
    found = results(kind, batch)
    assert found.sums == pytest.approx(wanted_sums(kind, logits, batch), rel=1e-5)
    assert found.loss == pytest.approx(HEADS[kind].metrics(found.sums)["loss"], rel=1e-5)
    rights = [v for n, v in found.sums.items() if n.endswith(("right", "correct"))]
    assert all(0 < right < 100 for right in rights)
    assert all(value.dtype == np.float32 for value in logits.values())


@pytest.mark.slow
@every_head
def test_head_nothing_to_learn_from_has_a_loss_of_zero_and_not_nan(kind: str) -> None:
    head: Head = HEADS[kind]
    batch = make_batch(kind)
    nothing = {n: 0 * value if n.endswith("weights") else value for n, value in batch.items()}
    assert not any(head.denominators(nothing).values())
    found = results(kind, nothing)
    assert np.isfinite(found.loss) and found.loss == 0
    assert all(type(value) is np.float32 for value in head.denominators(nothing).values())
    sums = dict.fromkeys(METRICS[kind][0], 0.0)
    metrics = head.metrics(sums)
    assert not any(metrics.values())
    assert {name for name, _ in head.headline} <= metrics.keys()


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("pretraining", {"masked_lm_denominator": 6, "next_sentence_denominator": 3}),
        ("spans", {"span_denominator": 3}),
        ("classes", {"label_denominator": 5}),
        ("scores", {"label_denominator": 3}),
        ("tags", {"tag_denominator": 30 + 7 + 1}),
        ("crf", {"tag_denominator": 30 + 7 + 1}),
    ],
)
def test_denominators_are_the_weights_of_the_batch(kind: str, wanted: dict[str, float]) -> None:
    batch = make_batch(kind)  # the second of four rows is filling
    batch["example_weights"][1] = batch["next_sentence_weights"][1] = 0
    batch["masked_lm_weights"][1] = 0
    batch["label_weights"][:] = 1 if kind == "scores" else [2, 9, 0.5, 2.5]
    assert HEADS[kind].denominators(batch) == pytest.approx(wanted, abs=2e-5)


METRICS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "pretraining": (
        {
            "masked_lm_loss": 60, "masked_lm_correct": 5, "masked_lm_weight": 20,
            "next_sentence_loss": 4, "next_sentence_correct": 6, "next_sentence_weight": 8,
            "objective": 99, "gradient_norm": 99,
        },
        {
            "loss": 3.5, "masked_lm_loss": 3.0, "masked_lm_accuracy": 0.25,
            "next_sentence_loss": 0.5, "next_sentence_accuracy": 0.75,
        },
    ),
    "spans": (
        {"span_loss": 6, "span_correct": 1, "span_weight": 4}, {"loss": 1.5, "span_accuracy": 0.25}
    ),
    "classes": (
        {"loss_sum": 6, "loss_weight": 8, "num_right": 1, "num_examples": 4},
        {"loss": 0.75, "accuracy": 0.25},
    ),
    "scores": ({"loss_sum": 6, "loss_weight": 8}, {"loss": 0.75}),
    "tags": ({"tag_loss": 6, "tags_right": 1, "tag_weight": 4}, {"loss": 1.5, "accuracy": 0.25}),
}  # fmt: skip
METRICS["crf"] = METRICS["tags"]


@every_head
def test_metrics_are_means(kind: str) -> None:
    sums, wanted = METRICS[kind]
    assert HEADS[kind].metrics(sums) == pytest.approx(wanted, rel=1e-5)


@slow
@every_head
def test_outputs_are_made_of_the_logits(kind: str) -> None:
    logits, outputs, batch = whole(kind).logits, whole(kind).outputs, make_batch(kind)
    first = logits.get("masked", logits.get("all", logits.get("start")))
    assert first is not None
    probabilities = softmax(first, axis=-1)
    wanted = {
        "pretraining": {"probabilities": probabilities},
        "spans": {f"{name}_logits": value for name, value in logits.items()},
        "classes": {"probabilities": probabilities},
        "scores": {"scores": first[:, 0]},
        "tags": {
            "tag_ids": first.argmax(axis=-1), "probabilities": probabilities.max(axis=-1)
        },
    }.get(kind)  # fmt: skip
    if wanted is None:
        wanted = {"tag_ids": outputs["tag_ids"], "probabilities": 0.0 * outputs["probabilities"]}
        for row, (own, _) in enumerate(stretches(batch, first)):
            tags = outputs["tag_ids"][row, : len(own)]
            chances = path_sums(own, tags).chances
            wanted["probabilities"][row, : len(own)] = chances[np.arange(len(own)), tags]
    assert outputs.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(outputs[name], value, rtol=0, atol=1e-5, err_msg=name)
        assert outputs[name].dtype == (np.int32 if name == "tag_ids" else np.float32)


@slow
@pytest.mark.parametrize(
    ("kind", "theirs", "hidden_act", "attention", "settings"),
    [
        ("pretraining", "ForPreTraining", "gelu", "plain", {}),
        ("pretraining", "ForPreTraining", "gelu_erf", "fused", {}),
        ("pretraining", "ForPreTraining", "relu", "plain", {}),
        ("spans", "ForQuestionAnswering", "gelu_erf", "auto", {}),
        ("classes", "ForSequenceClassification", "gelu_erf", "auto", {"num_labels": 4}),
        ("scores", "ForSequenceClassification", "gelu_erf", "auto", {"num_labels": 1}),
        ("tags", "ForTokenClassification", "gelu_erf", "auto", {"num_labels": 5}),
    ],
)
def test_logits_loss_and_gradients_equal_transformers(
    kind: str, theirs: str, hidden_act: str, attention: str, settings: dict[str, Any]
) -> None:
    # There padding takes its share of the softmax over positions.
    batch = rows_of(make_batch(kind), slice(1 if kind == "spans" else 4))
    batch["label_weights"][:] = 1
    config = dataclasses.replace(CONFIG, hidden_act=hidden_act)
    model = TransformersModel(theirs, config, arrays_of(kind), **settings)
    output = model(batch, **transformers_labels(kind, batch))
    output.loss.backward()
    found = results(kind, batch, None, hidden_act, attention)
    if kind == "pretraining":
        masked = output.prediction_logits[np.arange(4)[:, None], batch["masked_lm_positions"]]
        logits = {"masked": masked, "following": output.seq_relationship_logits}
    elif kind == "spans":
        logits = {"start": output.start_logits, "end": output.end_logits}
    else:
        logits = {"all": output.logits[:, 1:-1] if kind == "tags" else output.logits}
    for name, value in logits.items():
        wanted = real(value.detach().numpy(), batch)
        assert np.abs(wanted).max() > 0.5
        np.testing.assert_allclose(real(found.logits[name], batch), wanted, rtol=0, atol=1e-5)
    assert_near(found, Results({}, {}, found.sums, output.loss.item(), model.gradients()))


def transformers_labels(kind: str, batch: Batch) -> Batch:
    if kind == "spans":
        return {name: batch[name] for name in ("start_positions", "end_positions")}
    if kind == "tags":
        column = np.arange(LENGTH)
        is_text = (column > 0) & (column < LENGTHS[:, None] - 1)
        return {"labels": np.where(is_text, batch["tag_ids"], -100)}
    if kind != "pretraining":
        return {"labels": batch["targets"]}
    labels, masked = np.full((4, LENGTH), -100), batch["masked_lm_weights"] > 0
    rows = np.nonzero(masked)[0]
    labels[rows, batch["masked_lm_positions"][masked]] = batch["masked_lm_ids"][masked]
    assert (labels >= 0).sum() == masked.sum()  # no position is masked twice
    return {"labels": labels, "next_sentence_label": batch["next_sentence_labels"]}


# Spans


@slow
def test_span_logits_padding_is_never_the_answer() -> None:
    # Every piece is bad as an answer; padding, whose output nothing has shaped, must be worse.
    bad = results("spans", make_batch("spans"), **{SPAN_BIAS: np.full(2, -1000, np.float32)})
    padding = make_batch("spans")["input_mask"] == 0
    for found in (whole("spans"), bad):
        for logits in found.logits.values():
            worst = np.where(padding, np.inf, logits).min(axis=1)
            assert (np.where(padding, logits, -np.inf).max(axis=1) < worst - 1000).all()


# Tags


class Paths(NamedTuple):
    """Of one stretch, in float64: log-likelihood of its tags, and what each tag's chance is."""

    likelihood: float
    chances: Array


def path_sums(logits: Array, tags: Array, **changed: Array) -> Paths:
    """Args: logits: [P, T] of the text; tags: [P]."""
    values = {**arrays_of("crf"), **changed}
    start, end, moves = (
        values[n].astype(np.float64) for n in (TAG_START, TAG_END, TAG_TRANSITIONS)
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


@slow
def test_crf_outputs_are_the_best_path() -> None:
    found = whole("crf")
    for row, (own, _) in enumerate(stretches(make_batch("crf"), found.logits["all"])):
        tags = found.outputs["tag_ids"][row, : len(own)]
        best = path_sums(own, tags).likelihood
        for other in range(len(LABELS)):  # no path beside it is better
            near = np.where(np.arange(len(own)) == len(own) // 2, other, tags)
            is_formed = all(
                LABELS[b][0] != "I" or LABELS[a][1:] == LABELS[b][1:]
                for a, b in itertools.pairwise(near)
            )
            assert not is_formed or path_sums(own, near).likelihood <= best + 1e-9


@slow
@pytest.mark.parametrize("label", ["I-LC", "I-PS"])
def test_crf_outputs_may_begin_inside_an_entity_but_not_change_its_type(label: str) -> None:
    # I is what every piece wants to be; only the moves from B and I of the same type are allowed.
    bias = np.array([100 * (x == label) for x in LABELS], np.float32)
    found = results("crf", make_batch("crf"), **{TAG_BIAS: bias}).outputs["tag_ids"]
    for row, length in enumerate(LENGTHS):
        assert found[row, : length - 2].tolist() == [LABELS.index(label)] * (length - 2)
    start = np.float32([-1e4, 0, -1e4, -1e4, -1e4])  # LC begins
    changed = {TAG_BIAS: bias, TAG_START: start}
    found = results("crf", make_batch("crf"), **changed).outputs["tag_ids"][0]
    wanted = ["B-LC", *["I-LC"] * 29] if label == "I-LC" else ["B-LC", "B-PS", *["I-PS"] * 28]
    assert [LABELS[i] for i in found] == wanted


# Compiled programs


def new_program(kind: str, config: BertConfig = CONFIG, **settings: Any) -> Any:
    """A program, and a function that updates it with a batch."""
    backend: Any = load_backend(DeviceConfig(precision="float32"))
    optimizer = OptimizerConfig(num_train_steps=10, num_warmup_steps=0, **settings)
    arrays = {name: array.copy() for name, array in arrays_of(kind).items()}
    program = backend.train_program(config, HEADS[kind], optimizer, arrays, seed=1)

    def update(batch: Batch, step: int = 0) -> dict[str, float]:
        rows = {name: value[None] for name, value in batch.items()}
        scalars = HEADS[kind].denominators(batch)
        found: dict[str, float] = program.train_step(
            step, rows, scalars, hyperparameters(optimizer, 0)
        )()
        return found

    return program, update


@slow
def test_train_step_drops_units_below_the_classes_in_training_alone() -> None:
    dropping = dataclasses.replace(CONFIG, hidden_dropout_prob=0.5)
    program, update = new_program("classes", dropping, learning_rate=0.0)
    # Where nothing but a constant pooled output reaches the head, what differs is dropped there.
    flat = {
        **arrays_of("classes"),
        "bert/pooler/dense/kernel": np.zeros((24, 24), np.float32),
        "bert/pooler/dense/bias": np.full(24, 0.5, np.float32),
    }
    program.restore(flat, program.slots())
    batch = make_batch("classes")
    losses = [update(batch, step)["objective"] for step in (0, 1, 2, 3, 2)]
    assert len({round(value, 4) for value in losses}) == 4
    assert losses[4] == pytest.approx(losses[2], abs=1e-6)
    pooled = np.tanh(np.full((4, 24), 0.5))
    logits = pooled @ flat[CLASS_WEIGHTS].T + flat["output_bias"]
    evaluated = program.eval_step(batch, HEADS["classes"].denominators(batch))
    assert evaluated == pytest.approx(wanted_sums("classes", {"all": logits}, batch), rel=1e-5)
    inputs = {name: batch[name] for name in ("input_ids", "input_mask", "segment_ids")}
    found = program.predictor(HEADS["classes"].outputs)(inputs)["probabilities"]
    np.testing.assert_allclose(
        found, np.exp(log_softmax(logits.astype(float), axis=-1)), rtol=0, atol=1e-6
    )


@slow
def test_train_step_crf_has_a_learning_rate_of_its_own() -> None:
    program, update = new_program(
        "crf", name="adamw", learning_rate=1e-3, weight_decay=0.0, multiples=((TAG_CRF, 100.0),)
    )
    update(make_batch("crf"))
    before, after = arrays_of("crf"), program.parameters()
    for name in (TAG_BIAS, TAG_START, TAG_END, TAG_TRANSITIONS):
        # The first update of adamw is the rate, whatever the gradient is.
        rate = 1e-3 * (100 if name.startswith(TAG_CRF) else 1)
        assert np.abs(after[name] - before[name]).max() == pytest.approx(rate, rel=0.02), name
