"""Packed rows give what their sequences give alone, under the backend of KERAS_BACKEND.

All heads stand on the output of one BERT, so that each shape is compiled once.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from bert_ko.modeling import encoder
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.compute import Model
from bert_ko.modeling.encoder import BERT, Encoder, encode, register
from bert_ko.modeling.heads import (
    TAG_CRF,
    model_specs,
)
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import Arrays, initial_parameters
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.devices import load_backend
from tests.modeling.trained_heads import HEADS, LABELS

Array = npt.NDArray[Any]
Batch = dict[str, Array]

# Importing Keras and its backend takes seconds.
pytestmark = pytest.mark.slow

# The sequences of each row: one that fills it, as many as there are slots, none, fewer.
ROWS = ((0,), (1, 2, 3), (), (4, 5), (), ())  # as many as sequences: shapes are compiled once
LENGTHS = (16, 7, 4, 5, 3, 9)
LENGTH, SLOTS, MASKED = 16, 3, 2
SIZES: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3,
    "intermediate_size": 40, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 24,
}  # fmt: skip
CONFIG = BertConfig(**SIZES)
KINDS = {"plain": tuple(HEADS), "fused": ("spans",)}  # heads do not know the attention
every_attention = pytest.mark.parametrize("attention", KINDS)


@dataclass(frozen=True, kw_only=True)
class GivenConfig(BertConfig):
    """Of an encoder whose output is one of the features."""

    model_type: ClassVar[str] = "given"


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "_ENCODERS", dict(encoder._ENCODERS))
        given = lambda model, features: [features["sequence_output"]]  # noqa: E731
        register(Encoder(GivenConfig, BERT.scope, BERT.specs, given, packs=True))
        yield


@functools.cache
def arrays_of(kind: str) -> Arrays:
    """Of the encoder and a head, far from the initial values."""
    rng = np.random.default_rng(4)
    found = {
        name: value + rng.normal(0, 0.1, value.shape).astype("f")
        for name, value in initial_parameters(model_specs(CONFIG, HEADS[kind]), 0.2, 4).items()
    }
    for name in (name for name in found if name.startswith(TAG_CRF)):
        found[name] = rng.normal(0, 1, found[name].shape).astype("f")
    return found


def make_parameters() -> dict[str, Arrays]:
    encoder = model_specs(CONFIG).keys()
    heads = {
        kind: {name: value for name, value in arrays_of(kind).items() if name not in encoder}
        for kind in HEADS
    }
    return {"encoder": {name: arrays_of("spans")[name] for name in encoder}, **heads}


def make_sequences() -> list[Batch]:
    """Each by itself, without padding: [n] of pieces, scalars of sequences."""
    rng = np.random.default_rng(6)
    found = []
    for number, length in enumerate(LENGTHS):
        is_masked = np.arange(MASKED) <= number % MASKED
        first, last = sorted(rng.integers(0, length, 2))
        found.append({
            "input_ids": rng.integers(1, CONFIG.vocab_size, length),
            "input_mask": np.ones(length, int),
            "segment_ids": (np.arange(length) > length // 2).astype(int),
            "tag_ids": rng.integers(0, len(LABELS), length),
            "masked_lm_positions": rng.choice(np.arange(1, length), MASKED, False) * is_masked,
            "masked_lm_ids": rng.integers(1, CONFIG.vocab_size, MASKED) * is_masked,
            "masked_lm_weights": is_masked.astype(np.float32),
            "next_sentence_labels": np.array(number % 2),
            "next_sentence_weights": np.float32(number != 2),
            "start_positions": np.array(first),
            "end_positions": np.array(last),
            "targets": np.array(number % 4),
            "scores": np.float32(number - 1.5),
            "label_weights": np.float32(0.5 + number),
            "example_weights": np.float32(number != 3),
        })  # fmt: skip
    return found


def unpacked(sequences: list[Batch]) -> Batch:
    """A row for each sequence."""
    rows = [
        {
            name: np.pad(value, (0, LENGTH - len(value))) if is_of_pieces(name) else value
            for name, value in sequence.items()
        }
        for sequence in sequences
    ]
    return with_dtypes({name: np.stack([row[name] for row in rows]) for name in rows[0]})


def packed(sequences: list[Batch]) -> Batch:
    """The rows of ROWS."""
    shapes = {name: (SLOTS,) for name in sequences[0]}
    shapes |= {name: (LENGTH,) for name in sequences[0] if is_of_pieces(name)}
    shapes |= {name: (SLOTS * MASKED,) for name in sequences[0] if name.startswith("masked_lm")}
    shapes |= {"sequence_ids": (LENGTH,), "position_ids": (LENGTH,)}
    shapes |= {"first_positions": (SLOTS,), "sequence_lengths": (SLOTS,)}
    batch: Batch = {name: np.zeros((len(ROWS), *shape)) for name, shape in shapes.items()}
    for row, numbers in enumerate(ROWS):
        start = 0
        for slot, number in enumerate(numbers):
            sequence, length = sequences[number], LENGTHS[number]
            batch["sequence_ids"][row, start : start + length] = slot + 1
            batch["position_ids"][row, start : start + length] = np.arange(length)
            batch["first_positions"][row, slot] = start
            batch["sequence_lengths"][row, slot] = length
            for name, value in sequence.items():
                if is_of_pieces(name):
                    batch[name][row, start : start + length] = value
                elif name.startswith("masked_lm"):
                    shift = start if name == "masked_lm_positions" else 0
                    batch[name][row, slot * MASKED : (slot + 1) * MASKED] = value + shift
                else:
                    batch[name][row, slot] = value
            start += length
    return with_dtypes(batch)


def is_of_pieces(name: str) -> bool:
    return name in ("input_ids", "input_mask", "segment_ids", "tag_ids")


def with_dtypes(batch: Batch) -> Batch:
    of_floats = lambda name: name == "scores" or name.endswith("weights")  # noqa: E731
    return {n: v.astype(np.float32 if of_floats(n) else np.int32) for n, v in batch.items()}


def batch_of(kind: str, batch: Any) -> Any:
    return {**batch, "targets": batch["scores"]} if kind == "scores" else batch


class Results(NamedTuple):
    """Of all heads: losses, sums and outputs by head and name; gradients of their sum."""

    losses: Batch
    sums: Batch
    outputs: Batch
    gradients: Batch


@functools.cache
def compiled(attention: Any) -> Any:
    """Parameters and features to ((loss, the other results), gradients)."""
    backend: Any = load_backend(DeviceConfig(precision="float32", attention=attention))

    def compute(params: Any, features: Any) -> tuple[Any, Any]:
        losses, outputs, sums = {}, {}, {}
        whole = Model(params["encoder"], CONFIG, backend.compute)
        given = {"sequence_output": encode(whole, features["batch"])}
        for kind in KINDS[attention]:
            head = HEADS[kind]
            variables = {**params["encoder"], **params[kind]}
            model = Model(variables, GivenConfig(**SIZES), backend.compute)
            batch = {**batch_of(kind, features["batch"]), **features[kind], **given}
            losses[kind], found = head.loss(model, batch)
            sums |= {f"{kind}/{name}": value for name, value in found.items()}
            found = head.outputs(model, batch)
            outputs |= {f"{kind}/{name}": value for name, value in found.items()}
        return sum(losses.values()), (losses, sums, outputs)

    if backend.name == "jax":
        import jax

        return jax.jit(jax.value_and_grad(compute, has_aux=True))

    import tensorflow as tf

    def differentiate(params: Any, features: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(params)
            found = compute(params, features)
        gradients = tape.gradient(found[0], params, unconnected_gradients="zero")
        return found, tf.nest.map_structure(tf.convert_to_tensor, gradients)

    return differentiate


def results(batch: Batch, attention: str, of_whole: Batch | None = None) -> Results:
    """Args: of_whole: the batch that ``batch`` is a part of."""
    whole = batch if of_whole is None else of_whole
    features = {"batch": batch}
    features |= {kind: head.denominators(batch_of(kind, whole)) for kind, head in HEADS.items()}
    params, features = (
        {key: {n: ops.convert_to_tensor(v) for n, v in values.items()} for key, values in d.items()}
        for d in (make_parameters(), features)
    )
    (_, (losses, sums, outputs)), gradients = compiled(attention)(params, features)
    flat = {f"{kind}/{n}": v for kind, values in gradients.items() for n, v in values.items()}
    return Results(*(
        {name: np.asarray(ops.convert_to_numpy(value)) for name, value in values.items()}
        for values in (losses, sums, outputs, flat)
    ))  # fmt: skip


@functools.cache
def alone() -> Results:
    return results(unpacked(make_sequences()), "plain")


@functools.cache
def together(attention: str) -> Results:
    return results(packed(make_sequences()), attention)


def by_sequence(outputs: Batch, number: int, *, is_packed: bool) -> Batch:
    """The outputs of a sequence without padding; of pre-training, at its masked pieces."""
    row, slot = next((r, s.index(number)) for r, s in enumerate(ROWS) if number in s)
    masked = slice(slot * MASKED, (slot + 1) * MASKED)
    found = {}
    for name, value in outputs.items():
        if name.startswith("pretraining"):
            own = value[row, masked] if is_packed else value[number]
            is_masked = make_sequences()[number]["masked_lm_weights"] > 0
            found[name] = own[is_masked]
            continue
        own = value[row * SLOTS + slot if is_packed else number]
        if name.startswith("spans"):
            own = own[: LENGTHS[number]]
        elif name.startswith(("tags", "crf")):
            own = own[: LENGTHS[number] - 2]
        found[name] = own
    return found


def largest_difference(found: Batch, wanted: Batch) -> float:
    """Of what ``found`` has."""
    assert found.keys() <= wanted.keys()
    return max(float(np.abs(found[n] - wanted[n]).max(initial=0)) for n in found)


def output_difference(found: Batch, number: int) -> float:
    """Between a sequence in packed rows and alone."""
    own = by_sequence(found, number, is_packed=True)
    return largest_difference(own, by_sequence(alone().outputs, number, is_packed=False))


@every_attention
def test_packed_outputs_of_every_sequence_equal_unpacked(attention: str) -> None:
    found = together(attention).outputs
    assert max(output_difference(found, number) for number in range(len(LENGTHS))) < 1e-5


def test_packed_losses_sums_and_gradients_equal_unpacked() -> None:
    found, wanted = together("plain"), alone()
    assert largest_difference(found.losses, wanted.losses) < 1e-5
    for name, value in wanted.sums.items():
        assert found.sums[name] == pytest.approx(value, rel=1e-5), name
    assert largest_difference(found.gradients, wanted.gradients) < 1e-5
    # The test would see a loss or a gradient that is missing.
    assert min(wanted.losses.values()) > 0.1
    for name, gradient in wanted.gradients.items():
        assert np.abs(gradient).max() > 1e-4 or "key/bias" in name or "/squad/" in name, name


def test_packed_losses_and_gradients_of_parts_add_up() -> None:
    batch, wanted = packed(make_sequences()), together("plain")
    for name in ("losses", "gradients"):
        parts = []
        for first in (True, False):  # the rows of the other half become padding
            rows = (np.arange(len(ROWS)) < 3) == first
            part = {
                n: np.where(rows.reshape(-1, *[1] * (v.ndim - 1)), v, 0) for n, v in batch.items()
            }
            parts.append(getattr(results(with_dtypes(part), "plain", batch), name))
        total = {n: parts[0][n] + parts[1][n] for n in parts[0]}
        assert largest_difference(total, getattr(wanted, name)) < 1e-5


@every_attention
def test_packed_sequence_does_not_change_with_its_neighbours(attention: str) -> None:
    sequences = make_sequences()
    for sequence in (sequences[1], sequences[3], sequences[5]):  # beside 2, and behind 4
        for name in sequence:
            if name.endswith("weights"):
                sequence[name] = 0 * sequence[name]
    batch = packed(sequences)
    other = {name: value.copy() for name, value in batch.items()}
    is_neighbour = (batch["sequence_ids"] % 2 == 1) & (np.arange(len(ROWS)) == 1)[:, None]
    is_neighbour |= (batch["sequence_ids"] == 2) & (np.arange(len(ROWS)) == 3)[:, None]
    other["input_ids"] = np.where(is_neighbour, 60 - batch["input_ids"], batch["input_ids"])
    other["segment_ids"] = np.where(is_neighbour, 1 - batch["segment_ids"], batch["segment_ids"])
    first, second = (results(one, attention) for one in (batch, other))
    assert largest_difference(first.outputs, second.outputs) > 0.1  # those of the neighbours
    for number in (0, 2, 4):
        pair = (by_sequence(one.outputs, number, is_packed=True) for one in (first, second))
        assert largest_difference(*pair) == 0
    assert largest_difference(first.losses, second.losses) == 0
    assert largest_difference(first.gradients, second.gradients) == 0


def broken(name: str) -> Batch:
    """A packed batch as a common mistake would make it."""
    batch = packed(make_sequences())
    whole_row = np.broadcast_to(np.arange(LENGTH), batch["position_ids"].shape)
    return with_dtypes({**batch, **{
        "positions that go on through the row": {"position_ids": whole_row},
        "all pieces of the row seen": {"sequence_ids": batch["input_mask"]},
        "the first [CLS] for all": {"first_positions": 0 * batch["first_positions"]},
        "lengths of one piece more": {"sequence_lengths": batch["sequence_lengths"] + 1},
    }[name]})  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "positions that go on through the row", "all pieces of the row seen",
        "the first [CLS] for all", "lengths of one piece more",
    ],
)  # fmt: skip
def test_packed_batch_with_a_mistake_shows_in_losses_and_gradients(name: str) -> None:
    found, wanted = results(broken(name), "plain"), alone()
    assert largest_difference(found.losses, wanted.losses) > 1e-3
    assert largest_difference(found.gradients, wanted.gradients) > 1e-3
    assert output_difference(found.outputs, 0) < 1e-5 or "lengths" in name  # it has its row alone
