"""The softmax over words: what a prediction has seen, and that drawn words stand for all."""

from typing import Any

import numpy as np
import pytest

from bert_ko.data.word_characters import sentence_features
from bert_ko.modeling.compute import Compute, Model
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.modeling.heads import BiLmHead, bilm, carried_shapes, model_specs
from bert_ko.modeling.heads.bilm import SAMPLED_CROSS_ENTROPY
from bert_ko.modeling.parameters import initial_parameters
from tests.conftest import ValueAndGradients

# Importing TensorFlow takes seconds.
pytestmark = pytest.mark.slow

WORDS = ["오늘", "은", "비", "가", "온다"]
STEPS = len(WORDS) + 1
VOCAB_SIZE = 9
CONFIG = ElmoConfig(
    vocab_size=VOCAB_SIZE, hidden_size=8, character_embedding_size=3, filters=((1, 3), (2, 4)),
    highway_layers=1, cell_size=5, hidden_dropout_prob=0.0,
)  # fmt: skip


def model_with(params: Any = None, compute: Compute | None = None) -> Model:
    arrays = initial_parameters(model_specs(CONFIG, BiLmHead(1)), 0.5, 3)
    return Model({**arrays, **(params or {})}, CONFIG, compute or Compute())


def batch_of(rows: int, *, grouped: bool = False) -> dict[str, Any]:
    """The sentence in every row; a row may have its words for itself."""
    features = sentence_features([WORDS], "syllable", CONFIG.places)
    marked = features["word_places"][0]  # all different
    targets = np.array([0, *range(3, 3 + len(WORDS)), 1])
    groups = rows if grouped else 1
    batch = {
        "characters": np.repeat(features["characters"][None], groups, 0),
        "input_mask": np.ones((rows, STEPS), np.int32),
        "num_cut": np.zeros((rows, 1), np.int32),
        "word_denominator": np.float32(rows * STEPS),
    }
    for direction, step in (("forward", 1), ("backward", -1)):
        read, predicted = marked[::step], targets[::step]
        batch[f"{direction}_inputs"] = np.repeat(read[None, :-1], rows, 0).astype("i4")
        batch[f"{direction}_targets"] = np.repeat(predicted[None, 1:], rows, 0).astype("i4")
    for name, shape in carried_shapes(BiLmHead(rows), CONFIG).items():
        batch[name] = np.zeros(shape, np.float32)
    return batch


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_no_prediction_depends_on_its_target(
    direction: str, value_and_gradients: ValueAndGradients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the gradient of every step's loss by the vector of every word of the sentence."""
    from keras import ops

    batch = batch_of(STEPS, grouped=True)
    distinct = batch["characters"].shape[1]
    vectors = np.random.default_rng(0).normal(0, 1, (distinct, 4)).astype("f")
    given = {"vectors": ops.convert_to_tensor(np.tile(vectors, (STEPS, 1)))}

    def loss(tensors: Any) -> Any:
        monkeypatch.setattr(bilm, "word_vectors", lambda model, characters: tensors["vectors"])
        losses, _ = BiLmHead(STEPS)._losses(model_with(), batch, is_sampled=False)
        return ops.sum(losses[direction] * np.eye(STEPS, dtype="f"))  # a step of each row

    _, gradients = value_and_gradients(loss, given)
    seen = np.abs(np.reshape(gradients["vectors"], (STEPS, distinct, 4))).max(axis=2) > 0
    for step in range(STEPS):
        inputs = set(batch[f"{direction}_inputs"][0, : step + 1].tolist())
        assert set(np.flatnonzero(seen[step]).tolist()) == inputs
        later = set(batch[f"{direction}_inputs"][0, step + 1 :].tolist())
        assert not inputs & later  # which the target is the first of


def test_softmax_over_all_words_drawn_equals_the_full_one(
    value_and_gradients: ValueAndGradients,
) -> None:
    from keras import ops

    batch, head = batch_of(2), BiLmHead(2, is_sampled=True)
    batch["negatives"] = np.random.default_rng(0).permutation(VOCAB_SIZE)[None].astype("i4")
    batch["negative_log_counts"] = np.zeros((1, VOCAB_SIZE), np.float32)
    for direction in ("forward", "backward"):
        batch[f"{direction}_target_log_counts"] = np.zeros((2, STEPS), np.float32)
    params = {
        name: ops.convert_to_tensor(value)
        for name, value in model_with().params.items()
        if name.startswith("cls/")
    }
    sampled, of_sampled = value_and_gradients(
        lambda tensors: head.loss(model_with(tensors), batch)[0], params
    )
    full, of_full = value_and_gradients(
        lambda tensors: BiLmHead(2).loss(model_with(tensors), batch)[0], params
    )
    assert float(sampled) == pytest.approx(float(full), rel=1e-5)
    for name, gradient in of_full.items():
        np.testing.assert_allclose(
            np.asarray(of_sampled[name]), np.asarray(gradient), rtol=1e-4, atol=1e-6
        )


def test_sampled_cross_entropy_own_gradients_equal_derived_ones(
    value_and_gradients: ValueAndGradients,
) -> None:
    from keras import ops

    from bert_ko.training.backend import DeviceConfig
    from bert_ko.training.devices import load_backend

    rng = np.random.default_rng(0)
    shapes = {"scores": (6, 4), "bias": (4,), "own": (6,)}
    tensors = {n: ops.convert_to_tensor(rng.normal(0, 1, s).astype("f")) for n, s in shapes.items()}
    labels, negatives = np.array([3, 1, 8, 0, 1, 2], "i4"), np.array([1, 5, 3, 7], "i4")
    weights = rng.normal(0, 1, 6).astype("f")

    def loss_of(compute: Compute) -> Any:
        return lambda tensors: ops.sum(
            compute.fuse(SAMPLED_CROSS_ENTROPY)(*(tensors[n] for n in shapes), labels, negatives)
            * weights
        )

    own = load_backend(DeviceConfig(precision="float32")).compute
    _, found = value_and_gradients(loss_of(own), tensors)
    _, wanted = value_and_gradients(loss_of(Compute()), tensors)
    for name, gradient in wanted.items():
        np.testing.assert_allclose(
            np.asarray(found[name]), np.asarray(gradient), rtol=1e-4, atol=1e-6
        )


def test_losses_equal_numpy_and_groups_change_nothing() -> None:
    one, other = (BiLmHead(2).outputs(model_with(), batch_of(2, grouped=g)) for g in (False, True))
    batch, sums = BiLmHead(2).loss(model_with(), batch_of(2))
    for direction in ("forward", "backward"):
        rows = np.asarray(one[f"{direction}_loss"])
        np.testing.assert_allclose(rows, np.asarray(other[f"{direction}_loss"]), rtol=1e-6)
        assert float(sums[f"{direction}_loss"]) == pytest.approx(rows.sum(), rel=1e-5)
        assert rows[0] == pytest.approx(rows[1], rel=1e-6)
    mean = (float(sums["forward_loss"]) + float(sums["backward_loss"])) / 2 / (2 * STEPS)
    assert float(batch) == pytest.approx(mean, rel=1e-5)
