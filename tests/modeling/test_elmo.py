"""The biLM's encoder: configuration, layers beside a reference in numpy, and what they may see."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from bert_ko.data.word_characters import sentence_features
from bert_ko.modeling.compute import Compute, Model
from bert_ko.modeling.elmo import (
    DIRECTIONS,
    ElmoConfig,
    State,
    elmo_layers,
    elmo_specs,
    run_direction,
    word_vectors,
    zero_states,
)
from bert_ko.modeling.encoder import config_from_values
from bert_ko.modeling.lstm import LSTM
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.training.bilm import config_from_options, from_data_sets
from tests import bilm_reference
from tests.bilm_reference import OPTIONS
from tests.conftest import ValueAndGradients

# Importing TensorFlow takes seconds.
pytestmark = pytest.mark.slow

SENTENCES = [["오늘", "은", "날씨", "가", "참", "좋다"], ["네"], ["abc", "고맙습니다", "!"]]
TINY = ElmoConfig(
    vocab_size=20, hidden_size=8, characters="jamo", character_embedding_size=3,
    filters=((1, 3), (2, 4)), highway_layers=1, cell_size=5, hidden_dropout_prob=0.0,
)  # fmt: skip


def tiny_model(config: ElmoConfig = TINY, **options: Any) -> Model:
    return Model(initial_parameters(elmo_specs(config), 0.5, 3), config, **options)


def test_layers_equal_a_reference_in_numpy_with_bilm_weights() -> None:
    weights = bilm_reference.random_weights(OPTIONS)
    config = config_from_options(OPTIONS, "options.json")
    model = Model(from_data_sets(weights, config, "weights.hdf5"), config)
    features = sentence_features(SENTENCES, "byte", config.places)
    found = np.stack([np.asarray(layer) for layer in elmo_layers(model, features)])
    assert found.shape == (3, 3, 8, 12)
    for row, sentence in enumerate(SENTENCES):
        wanted = bilm_reference.layers(weights, OPTIONS, sentence)
        np.testing.assert_allclose(
            found[:, row, 1 : len(sentence) + 1], wanted, rtol=1e-5, atol=1e-5
        )


def test_reference_is_clipped_and_cut() -> None:
    """Else the test before would say nothing about both."""
    weights = bilm_reference.random_weights(OPTIONS)
    vectors = np.random.default_rng(1).normal(0, 2, (30, 6))
    free: Any = {**OPTIONS, "lstm": {**OPTIONS["lstm"], "cell_clip": 99, "proj_clip": 99}}  # type: ignore[dict-item]
    one, other = (bilm_reference.run(weights, o, 0, vectors) for o in (OPTIONS, free))
    assert np.abs(one[0] - other[0]).max() > 0.1
    assert bilm_reference.character_ids("고맙습니다", 12)[-1] == bilm_reference.END_WORD


@pytest.mark.parametrize("residual", [True, False])
def test_windows_with_carried_states_equal_one_long_window(residual: bool) -> None:
    config = dataclasses.replace(TINY, residual=residual)
    model = tiny_model(config)
    x = np.random.default_rng(0).normal(0, 1, (70, 3, 4)).astype("f")  # more than is unrolled
    lengths = np.full(3, 70, np.int32)
    whole, last = run_direction(model, "forward", x, zero_states(config, 3), lengths)
    states, parts = zero_states(config, 3), []
    for start in range(0, 70, 20):
        window = x[start : start + 20]
        lengths = np.full(3, len(window), np.int32)
        outputs, states = run_direction(model, "forward", window, states, lengths)
        parts.append(outputs)
    for layer in range(2):
        joined = np.concatenate([np.asarray(part[layer]) for part in parts])
        np.testing.assert_allclose(joined, np.asarray(whole[layer]), rtol=1e-5, atol=1e-6)
        for one, other in zip(states[layer], last[layer], strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5, atol=1e-6)


def test_states_are_those_of_each_rows_last_step() -> None:
    model, rng = tiny_model(), np.random.default_rng(0)
    x = rng.normal(0, 1, (6, 3, 4)).astype("f")
    before = [State(*(rng.normal(0, 1, (3, n)).astype("f") for n in (5, 4))) for _ in range(2)]
    _, states = run_direction(model, "backward", x, before, np.array([6, 2, 0], np.int32))
    for row, steps in ((0, 6), (1, 2)):
        _, wanted = run_direction(model, "backward", x[:steps], before, np.full(3, steps, "i4"))
        for layer in range(2):
            for one, other in zip(states[layer], wanted[layer], strict=True):
                np.testing.assert_allclose(np.asarray(one)[row], np.asarray(other)[row], atol=1e-6)
    np.testing.assert_array_equal(np.asarray(states[1].cell)[2], before[1].cell[2])


def _own_gradients() -> Compute:
    """What the backend trains with on this processor."""
    from bert_ko.training.backend import DeviceConfig
    from bert_ko.training.devices import load_backend

    return load_backend(DeviceConfig(precision="float32")).compute


@pytest.mark.parametrize("steps", [7, 66])
def test_lstm_own_gradients_equal_derived_ones(
    steps: int, value_and_gradients: ValueAndGradients
) -> None:
    from keras import ops

    rng, own = np.random.default_rng(2), _own_gradients()
    assert own.differentiate is not Compute().differentiate
    shapes = {"x": (steps, 3, 20), "bias": (20,), "recurrent": (4, 20), "projection": (5, 4)}
    tensors = {n: ops.convert_to_tensor(rng.normal(0, 1, s).astype("f")) for n, s in shapes.items()}
    cell, hidden = (ops.convert_to_tensor(rng.normal(0, 1, (3, n)).astype("f")) for n in (5, 4))
    upstream = rng.normal(0, 1, (steps, 3, 4)).astype("f")

    def loss_of(compute: Compute) -> Any:
        def loss(tensors: Any) -> Any:
            found, _ = compute.differentiate(LSTM)(
                *(tensors[name] for name in shapes), cell, hidden, compute=compute, clips=(0.9, 0.8)
            )
            return ops.sum(found * upstream)

        return loss

    value, gradients = value_and_gradients(loss_of(own), tensors)
    wanted, derived = value_and_gradients(loss_of(Compute()), tensors)
    np.testing.assert_allclose(np.asarray(value), np.asarray(wanted), rtol=1e-4)
    for name, gradient in derived.items():
        found = np.asarray(gradients[name])
        np.testing.assert_allclose(found, np.asarray(gradient), rtol=1e-3, atol=1e-4, err_msg=name)


def test_no_direction_sees_beyond_its_own_word(value_and_gradients: ValueAndGradients) -> None:
    """The gradient of each step's output by the word's vectors, for every pair of steps."""
    from keras import ops

    model, steps = tiny_model(), 6
    # A row for each step, of which that step alone is looked at.
    row = np.random.default_rng(0).normal(0, 1, (steps, 1, 4)).astype("f")
    x = ops.convert_to_tensor(np.repeat(row, steps, axis=1))
    looked_at = np.eye(steps, dtype="f")[:, :, None] * np.arange(1, 5, dtype="f")
    lengths = np.full(steps, steps, np.int32)
    for direction in DIRECTIONS:

        def output(tensors: Any, direction: str = direction) -> Any:
            states = zero_states(TINY, steps)
            outputs, _ = run_direction(model, direction, tensors["x"], states, lengths)
            return ops.sum(outputs[-1] * looked_at)

        _, gradients = value_and_gradients(output, {"x": x})
        seen = np.abs(np.asarray(gradients["x"])).max(axis=2) > 0  # [step seen, row]
        np.testing.assert_array_equal(seen, np.triu(np.ones((steps, steps), bool)))


def test_word_vectors_own_gradients_equal_derived_ones(
    value_and_gradients: ValueAndGradients,
) -> None:
    from keras import ops

    characters = sentence_features(SENTENCES, "jamo", TINY.places)["characters"]
    params = {
        name: ops.convert_to_tensor(value)
        for name, value in initial_parameters(elmo_specs(TINY), 0.5, 3).items()
        if "/embeddings/" in name
    }
    weights = np.random.default_rng(0).normal(0, 1, (len(characters), 4)).astype("f")

    def loss_of(compute: Compute) -> Any:
        return lambda tensors: ops.sum(
            word_vectors(Model(tensors, TINY, compute), characters) * weights
        )

    value, gradients = value_and_gradients(loss_of(_own_gradients()), params)
    wanted, derived = value_and_gradients(loss_of(Compute()), params)
    np.testing.assert_allclose(np.asarray(value), np.asarray(wanted), rtol=1e-4)
    for name, gradient in derived.items():
        np.testing.assert_allclose(
            np.asarray(gradients[name]), np.asarray(gradient), rtol=1e-3, atol=1e-4, err_msg=name
        )


def test_config_round_trip_keeps_every_value() -> None:
    config = dataclasses.replace(TINY, cell_clip=None, residual=False)
    assert config_from_values(config.to_dict(), "elmo.json") == config
    assert "max_position_embeddings" not in config.to_dict()
    assert ElmoConfig(vocab_size=9, characters="byte").places == 50


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"characters": "letter"}, "characters must be one of syllable, jamo, byte, got 'letter'."),
        ({"hidden_size": 9}, "hidden_size must be even, half of it for each direction, got 9."),
        ({"cell_clip": -1}, "cell_clip must be a positive number or null, got -1."),
        ({"residual": 1}, "residual must be true or false, got 1."),
        ({"filters": [[1]]}, "filters must be a list of pairs [width, number] of positive integers,"
         " got [[1]]."),
        ({"filters": [[9, 4]], "max_characters_per_word": 8}, "max_characters_per_word must be an "
         "integer that holds the widest filter (9) and a character between two marks, got 8."),
    ],
)  # fmt: skip
def test_config_bad_value_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        config_from_values({"model_type": "elmo", "vocab_size": 9, **values}, "elmo.json")
    assert str(error.value) == f"elmo.json: {message}"
