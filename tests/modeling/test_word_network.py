"""The network that a task has on a biLM, beside numpy, and what of the biLM it changes."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from bert_ko.data.word_characters import sentence_features
from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.dropout import Dropout, step_seed
from bert_ko.modeling.elmo import ElmoConfig, elmo_layers
from bert_ko.modeling.heads import ClassHead, TagHead, WordNetwork, model_specs
from bert_ko.modeling.heads.words import DEVIATIONS, MEANS, WORD_TABLE, MixName
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import initial_parameters
from tests.conftest import ValueAndGradients

# Importing TensorFlow takes seconds.
pytestmark = pytest.mark.slow

SENTENCES = [["오늘", "은", "날씨", "가", "참", "좋다"], ["네"], ["abc", "고맙습니다", "!"]]
CONFIG = ElmoConfig(
    vocab_size=20, hidden_size=8, characters="jamo", character_embedding_size=3,
    filters=((1, 3), (2, 4)), highway_layers=1, cell_size=5, hidden_dropout_prob=0.5,
)  # fmt: skip
UNITS = 4


def batch_of(sentences: list[list[str]]) -> Features:
    """What a task's batch has of texts."""
    found = sentence_features(sentences, "jamo", CONFIG.places)
    places = found["word_places"]
    characters = found["characters"][places]
    # Any number will do for a word, if it is always the same.
    return {"characters": characters, "input_mask": found["input_mask"], "word_ids": places}


def model_of(network: WordNetwork, **options: Any) -> Model:
    specs = model_specs(CONFIG, ClassHead(3, network=network))
    arrays = initial_parameters(specs, 0.5, 3)
    rng = np.random.default_rng(5)
    for name in arrays:
        if "_mix/" in name or name.endswith("bias") or name == WORD_TABLE:
            arrays[name] = arrays[name] + rng.normal(0, 0.5, arrays[name].shape).astype("f")
    return Model(arrays, CONFIG, **options)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def lstm(arrays: Any, scope: str, x: Any) -> Any:
    """[T, H] to [T, U], step by step."""
    cell, hidden, found = np.zeros(UNITS), np.zeros(UNITS), []
    for row in x:
        gates = row @ arrays[f"{scope}/input/kernel"] + hidden @ arrays[f"{scope}/recurrent/kernel"]
        i, new, forget, out = np.split(gates + arrays[f"{scope}/bias"], 4)
        cell = sigmoid(forget + 1) * cell + sigmoid(i) * np.tanh(new)
        hidden = (sigmoid(out) * np.tanh(cell)) @ arrays[f"{scope}/projection/kernel"]
        found.append(hidden)
    return np.array(found)


def mixed(arrays: Any, layers: Any, place: str) -> Any:
    """Gamma times the sum of softmax(weights) times layer: [3, T, H] to [T, H]."""
    weights = np.exp(arrays[f"network/{place}_mix/weights"])
    total = np.tensordot(weights / weights.sum(), layers, 1)
    return total * arrays[f"network/{place}_mix/gamma"]


@pytest.mark.parametrize("standardizes", [False, True])
def test_outputs_equal_a_reference_in_numpy(standardizes: bool) -> None:
    network = WordNetwork(UNITS, place="both", standardizes=standardizes)
    model = model_of(network)
    if standardizes:
        rng = np.random.default_rng(6)
        model.params[MEANS] = rng.normal(size=(3, 8)).astype("f")
        model.params[DEVIATIONS] = rng.uniform(0.5, 2, (3, 8)).astype("f")
    found = network.outputs(model, batch_of(SENTENCES))
    pooled = np.asarray(network.pooled(model, batch_of(SENTENCES)))
    features = sentence_features(SENTENCES, "jamo", CONFIG.places)
    layers = np.stack([np.asarray(layer) for layer in elmo_layers(model, features)])
    assert found.values.shape == (3, 6, network.width(CONFIG)) == (3, 6, 2 * UNITS + 8)
    for row, sentence in enumerate(SENTENCES):
        count = len(sentence)
        own = layers[:, row, 1 : count + 1]
        if standardizes:
            own = (own - model.params[MEANS][:, None]) / model.params[DEVIATIONS][:, None]
        x = mixed(model.params, own, "input")
        forward = lstm(model.params, "network/lstm/forward", x)
        backward = lstm(model.params, "network/lstm/backward", x[::-1])[::-1]
        output = mixed(model.params, own, "output")
        wanted = np.concatenate([forward, backward, output], axis=-1)
        np.testing.assert_allclose(found.values[row, :count], wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(pooled[row], wanted.max(axis=0), rtol=1e-4, atol=1e-5)
        assert np.asarray(found.mask)[row].tolist() == [1] * count + [0] * (6 - count)


@pytest.mark.parametrize("mix", ["top", "none"])
def test_words_of_the_task_join_the_mix(mix: MixName) -> None:
    network = WordNetwork(UNITS, mix=mix, gamma=False, word_units=3, standardizes=mix == "none")
    model, batch = model_of(network), batch_of(SENTENCES)
    found = network.outputs(model, batch)
    features = sentence_features(SENTENCES, "jamo", CONFIG.places)
    top = np.asarray(elmo_layers(model, features)[-1])
    for row, sentence in enumerate(SENTENCES):
        own = slice(1, len(sentence) + 1)
        x = model.params[WORD_TABLE][batch["word_ids"][row, own]]
        if mix == "top":
            x = np.concatenate([top[row, own], x], axis=-1)
        forward = lstm(model.params, "network/lstm/forward", x)
        backward = lstm(model.params, "network/lstm/backward", x[::-1])[::-1]
        wanted = np.concatenate([forward, backward], axis=-1)
        outputs = np.asarray(found.values)[row, : len(sentence)]
        np.testing.assert_allclose(outputs, wanted, rtol=1e-4, atol=1e-5)


def test_text_without_words_is_pooled_to_zeros() -> None:
    network = WordNetwork(UNITS)
    pooled = np.asarray(network.pooled(model_of(network), batch_of([["가", "나"], []])))
    assert np.abs(pooled[0]).min() > 0 and (pooled[1] == 0).all()


def test_outputs_depend_on_no_padding() -> None:
    network = WordNetwork(UNITS)
    model = model_of(network)
    alone = network.outputs(model, batch_of([["네"]])).values
    beside = network.outputs(model, batch_of([["네"], ["가"] * 9])).values
    np.testing.assert_allclose(alone[0, 0], beside[0, 0], rtol=1e-5, atol=1e-6)


def test_new_mix_is_the_mean_of_the_layers() -> None:
    network = WordNetwork(UNITS, place="both")
    arrays = initial_parameters(model_specs(CONFIG, ClassHead(3, network=network)), 0.5, 3)
    third = pytest.approx(1 / 3)
    assert network.learnt(arrays) == {
        "elmo_input_layer_0": third, "elmo_input_layer_1": third, "elmo_input_layer_2": third,
        "elmo_input_gamma": 1.0,
        "elmo_output_layer_0": third, "elmo_output_layer_1": third, "elmo_output_layer_2": third,
        "elmo_output_gamma": 1.0,
    }  # fmt: skip


def test_top_reads_the_last_layer_and_words_read_no_neighbours() -> None:
    features = batch_of([["가", "나", "다"], ["라", "나", "마"]])
    for mix in ("top", "words"):
        network = WordNetwork(UNITS, mix=mix, place="both", gamma=False)
        assert not [name for name in network.specs(CONFIG) if "_mix" in name]
        assert network.learnt({}) == {}
        own = np.asarray(network.outputs(model_of(network), features).values)[:, 1, 2 * UNITS :]
        # The same word between others.
        assert np.allclose(own[0], own[1], atol=1e-6) == (mix == "words"), mix


def class_batch(head: ClassHead) -> Features:
    batch: dict[str, Any] = dict(batch_of(SENTENCES))
    batch |= {"targets": np.array([0, 2, 1], np.int32)}
    batch |= {name: np.ones(3, np.float32) for name in ("label_weights", "example_weights")}
    return {**batch, **head.denominators(batch)}


@pytest.mark.parametrize(
    ("network", "learning"),
    [
        (WordNetwork(UNITS), ("network/", "output_")),
        (WordNetwork(UNITS, standardizes=True), ("network/lstm/", "network/input_mix/", "output_")),
        (WordNetwork(UNITS, tunes=True), ("network/", "output_", "elmo/")),
        (WordNetwork(UNITS, mix="words", tunes=True), ("network/", "output_", "elmo/embeddings/")),
        (WordNetwork(UNITS, word_units=3), ("network/", "output_")),
        (WordNetwork(UNITS, mix="none", word_units=3), ("network/", "output_")),
    ],
)
def test_what_is_frozen_has_no_gradient_and_all_else_has(
    network: WordNetwork, learning: tuple[str, ...], value_and_gradients: ValueAndGradients
) -> None:
    head = ClassHead(3, network=network)
    model = model_of(network, dropout=Dropout(step_seed(1, 2)))
    batch = class_batch(head)

    def loss(params: Any) -> Any:
        return head.loss(model._replace(params=params), batch)[0]

    tensors = {name: ops.convert_to_tensor(value) for name, value in model.params.items()}
    _, found = value_and_gradients(loss, tensors)
    for name, gradient in found.items():
        learns = name.startswith(learning)
        assert (np.abs(np.asarray(gradient)).max() > 0) == learns, name
        assert learns != name.startswith(network.frozen), name


def test_frozen_model_drops_nothing_inside() -> None:
    network = WordNetwork(UNITS)
    seed = step_seed(1, 2)
    batch = batch_of(SENTENCES)
    calm = np.asarray(network.outputs(model_of(network), batch).values)
    one = network.outputs(model_of(network, dropout=Dropout(seed)), batch).values
    np.testing.assert_array_equal(np.asarray(one), calm)
    for changed in (dataclasses.replace(network, dropout=0.5), WordNetwork(UNITS, tunes=True)):
        other = changed.outputs(model_of(changed, dropout=Dropout(seed)), batch).values
        assert not np.allclose(np.asarray(other), calm)


@pytest.mark.parametrize("use_crf", [False, True])
def test_tags_of_words_are_between_the_marks(use_crf: bool) -> None:
    head = TagHead(("O", "B-가", "I-가"), use_crf, network=WordNetwork(UNITS))
    params = initial_parameters(model_specs(CONFIG, head), 0.5, 3)
    batch = dict(batch_of(SENTENCES))
    found = head.outputs(Model(params, CONFIG), batch)
    assert {name: tuple(values.shape) for name, values in found.items()} == {
        "tag_ids": (3, 6), "probabilities": (3, 6),
    }  # fmt: skip
    batch["tag_ids"] = np.zeros((3, 8), np.int32)
    batch["tag_ids"][:, 1:-1] = np.asarray(found["tag_ids"])
    batch["example_weights"] = np.ones(3, np.float32)
    loss, sums = head.loss(Model(params, CONFIG), {**batch, **head.denominators(batch)})
    assert float(loss) > 0 and float(sums["tag_weight"]) == sum(map(len, SENTENCES))
