"""Texts to vectors, with a function of the ids instead of a model."""

from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.tasks.batches import BatchPlan
from bert_ko.tasks.features.extraction import Device, Extractor, FeatureSettings, parse_layers
from bert_ko.tasks.features.featurizer import Featurizer
from bert_ko.tasks.sentences import encode_texts
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "나무", "##는", "크", "##다", "숲"]
TOKENIZER = Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))
CONFIG = BertConfig(vocab_size=len(PIECES), hidden_size=4, num_attention_heads=2)
LAYERS = (-1, -2)


def vectors(ids: Any, segments: Any) -> Any:
    """[..., layers, 4]: the id, its place, its segment and the layer."""
    places = np.broadcast_to(np.arange(ids.shape[-1]), ids.shape)
    layers = [np.stack([ids, places, segments, np.full(ids.shape, n)], axis=-1) for n in LAYERS]
    return np.stack(layers, axis=-2).astype(np.float32)


class Recorder:
    """Computes ``vectors`` and pools them."""

    def __init__(self, pooling: str = "none"):
        self.pooling = pooling
        self.batches: list[dict[str, Any]] = []

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.batches.append(batch)
        found = vectors(batch["input_ids"], batch["segment_ids"])
        if self.pooling == "cls":
            found = found[:, 0]
        if self.pooling == "mean":
            found = np.einsum("bl,blnh->bnh", batch["piece_weights"], found)
        return {"values": found}


def make_extractor(
    recorder: Recorder, batch_size: int = 3, num_devices: int = 1, is_cpu: bool = True
) -> Extractor:
    pooling: Any = recorder.pooling
    settings = FeatureSettings(LAYERS, pooling, max_seq_length=128, batch_size=batch_size)
    return Extractor(
        recorder, CONFIG, TOKENIZER.vocab.special_ids, settings, Device(num_devices, is_cpu)
    )


def test_features_have_the_pieces_and_their_places_in_their_own_text() -> None:
    featurizer = Featurizer(TOKENIZER, make_extractor(Recorder()))
    found = featurizer.features((" 나무는", "큰 숲"))
    assert found.pieces == ("[CLS]", "나무", "##는", "[SEP]", "[UNK]", "숲", "[SEP]")
    assert found.offsets == ((0, 0), (1, 3), (3, 4), (0, 0), (0, 1), (2, 3), (0, 0))
    assert found.segment_ids == (0, 0, 0, 0, 1, 1, 1)
    assert found.vectors.dtype == np.float32
    ids = np.array([2, 5, 6, 3, 1, 9, 3])
    assert np.array_equal(found.vectors, vectors(ids, np.array(found.segment_ids)))
    assert (featurizer.layers, featurizer.max_seq_length) == (LAYERS, 128)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_features_of_a_list_are_those_of_each_text(batch_size: int) -> None:
    recorder = Recorder()
    featurizer = Featurizer(TOKENIZER, make_extractor(recorder, batch_size))
    texts = ["숲", "", "나무는 크다", "숲 " * 90, "나무는"]
    found = featurizer.features(texts)
    assert {batch["input_ids"].shape for batch in recorder.batches} <= {
        (batch_size, 64), (batch_size, 128),
    }  # fmt: skip
    for text, one in zip(texts, found, strict=True):
        alone = featurizer.features(text)
        assert (alone.pieces, alone.offsets) == (one.pieces, one.offsets)
        assert np.array_equal(alone.vectors, one.vectors)
        assert len(one.vectors) == len(one.pieces)
    assert featurizer.features([]) == []


@pytest.mark.parametrize(("pooling", "expected"), [("cls", [2, 0, 0]), ("mean", [6.5, 2.5, 0])])
def test_features_pooled_are_a_vector_of_each_layer(pooling: str, expected: list[float]) -> None:
    featurizer = Featurizer(TOKENIZER, make_extractor(Recorder(pooling)))
    text, empty = featurizer.features(["나무는 크다", ""])
    assert text.vectors.tolist() == [[*expected, -1], [*expected, -2]]
    assert len(text.pieces) == 6
    if pooling == "mean":  # a text without pieces has none
        assert empty.vectors.tolist() == [[0] * 4] * 2


def test_features_longer_text_is_cut() -> None:
    found = Featurizer(TOKENIZER, make_extractor(Recorder())).features("숲 " * 200)
    assert len(found.pieces) == 128
    assert found.offsets[-2:] == ((250, 251), (0, 0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "is_cpu", "devices", "plan"),
    [
        ([1] * 40, True, 1, (32, (8, 128))),
        ([1] * 5, True, 1, (5, (8, 128))),
        ([1] * 5, True, 4, (8, (8, 128))),
        ([126], True, 1, (1, (128,))),
        ([1] * 550 + [58] * 550, True, 1, (32, (8, 64, 128))),  # there are more: it pays
        ([1] * 50 + [58] * 50, False, 1, (32, (64, 128))),
    ],
)
def test_choose_plan_has_a_length_where_compiling_it_pays(
    counts: list[int], is_cpu: bool, devices: int, plan: tuple[int, tuple[int, ...]]
) -> None:
    extractor = make_extractor(Recorder(), 32, devices, is_cpu)
    sentences = encode_texts([("숲 " * count, None) for count in counts], TOKENIZER, 128)
    assert extractor.choose_plan(sentences) == BatchPlan(plan[0], (0, 2, 3), plan[1])


def test_positions_are_googles_and_the_embeddings_are_below() -> None:
    model = BertConfig(vocab_size=9, num_hidden_layers=4)
    assert FeatureSettings((-1, -4, -5, 0, 3)).positions(model) == [4, 1, 0, 1, 4]
    for layer in (4, -6):
        with pytest.raises(ValueError) as error:
            FeatureSettings((-1, layer)).positions(model)
        assert str(error.value) == (
            f"--layers: there is no layer {layer}; the model has 4, from 0 to 3 or from -1 back to "
            "-4, and -5 for the embeddings."
        )


@pytest.mark.parametrize("texts", [("-1", "x"), ("1.0",), ("-1", "-1")])
def test_parse_layers_bad_ones_are_an_error(texts: tuple[str, ...]) -> None:
    assert parse_layers(("-1", " 2")) == (-1, 2)
    with pytest.raises(ValueError) as error:
        parse_layers(texts)
    assert str(error.value) == (
        f"--layers must be different integers such as -1,-2, got {','.join(texts)!r}."
    )
