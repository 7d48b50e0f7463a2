"""Texts to words with their places, and batches of them, with a function of words for a model."""

from typing import Any

import numpy as np
import pytest

from bert_ko.characters import letters
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.tasks.features.extraction import FeatureSettings, all_layers
from bert_ko.tasks.features.featurizer import Featurizer, TextFeatures
from bert_ko.tasks.features.word_extraction import WordExtractor, WordPlan, rounded_length
from bert_ko.tasks.features.words import WordEncoder, join_words
from bert_ko.tasks.sentences import BlockSize
from bert_ko.tokenization.word_splitting import WordSplitter

CONFIG = ElmoConfig(vocab_size=5, hidden_size=4, max_characters_per_word=6)
EOJEOLS = WordEncoder(WordSplitter("eojeol"), "syllable", 6)
TEXTS = ["나무는 크다", "", " 큰\t숲  숲 ", "가" * 5, "\0숲"]


def vector(word: str, step: int, length: int) -> Any:
    """[layers, H], which depends on the word, its place and the words of its sentence."""
    first = letters(word, "syllable")[0]
    return np.array([[first, step, length, layer] for layer in range(3)], np.float32)


class Recorder:
    """Computes ``vector`` of each word, and rubbish where there is none."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.batches.append(batch)
        (count, steps), mask = batch["word_places"].shape, batch["input_mask"]
        values = np.full((count, steps, 3, 4), np.nan, np.float32)
        for row, places in enumerate(batch["word_places"]):
            for step in range(1, mask[row].sum() - 1):
                first = batch["characters"][places[step]][1]  # behind the mark of the word
                values[row, step] = vector("가", step, mask[row].sum() - 2)
                values[row, step, :, 0] = first
        return {"values": values}


def make_featurizer(recorder: Recorder, pooling: Any = "none", batch_size: int = 2) -> Featurizer:
    settings = FeatureSettings(all_layers(CONFIG), pooling, batch_size=batch_size)
    return Featurizer(EOJEOLS, WordExtractor(recorder, CONFIG, settings, is_cpu=True))


def test_encode_words_have_their_places_in_the_text() -> None:
    found = EOJEOLS.encode(TEXTS)
    assert found.words == ("나무는", "크다", "큰", "숲", "숲", "가" * 5, "숲")
    assert found.sentence_offsets.tolist() == [0, 2, 2, 5, 6, 7]
    assert found.lengths.tolist() == [2, 0, 3, 1, 1] and found.lengths.dtype == np.int32
    assert found.starts.tolist() == [0, 4, 1, 3, 6, 0, 1]
    assert found.ends.tolist() == [3, 6, 2, 4, 7, 5, 2]
    assert found.eojeol_ids.tolist() == [0, 1, 0, 1, 2, 0, 0]
    assert found.num_cut == 1  # five characters where there is room for four


def test_encode_morphemes_are_those_of_the_splitter() -> None:
    splitter = WordSplitter("morpheme")
    texts = ["숲에서 나무가 자란다.", "각\u1100\u1161\u11a8 가\u200b각", "ㅋㅋ 2026년!", "..  ."]
    found = WordEncoder(splitter, "byte", 50).encode(texts)
    for number, text in enumerate(texts):
        here = slice(*found.sentence_offsets[number : number + 2])
        assert list(found.words[here]) == splitter.split(text)
        spans = zip(found.starts[here], found.ends[here], strict=True)
        assert all(start < end <= len(text) for start, end in spans)
    first = slice(0, found.sentence_offsets[1])
    places = zip(found.starts[first], found.ends[first], strict=True)
    assert tuple(texts[0][start:end] for start, end in places) == found.words[first]
    assert found.eojeol_ids[first].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("size", [BlockSize(2, 100), BlockSize(100, 3), BlockSize(1, 1)])
def test_encode_blocks_are_the_whole(size: BlockSize) -> None:
    blocks = list(EOJEOLS.encode_blocks(TEXTS, size))
    assert len(blocks) > 2
    whole, joined = EOJEOLS.encode(TEXTS), join_words(blocks)
    assert joined.words == whole.words and joined.num_cut == whole.num_cut
    assert joined.sentence_offsets.tolist() == whole.sentence_offsets.tolist()
    for name, column in whole.columns().items():
        assert joined.columns()[name].tolist() == column.tolist() and column.dtype == np.int32
    assert len(join_words([])) == 0 and list(EOJEOLS.encode_blocks([], size)) == []


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_features_of_a_list_are_those_of_each_text(batch_size: int) -> None:
    recorder = Recorder()
    featurizer = make_featurizer(recorder, batch_size=batch_size)
    texts = [*TEXTS, "숲 " * 40]
    found = featurizer.features(texts)
    assert {batch["input_mask"].shape for batch in recorder.batches} <= {
        (batch_size, 8), (batch_size, 48),
    }  # fmt: skip
    for text, one in zip(texts, found, strict=True):
        words = tuple(text.replace("\0", "").split())
        wanted = [vector(word, i + 1, len(words)) for i, word in enumerate(words)]
        assert one.pieces == words and one.segment_ids == (0,) * len(words)
        assert np.array_equal(one.vectors, np.array(wanted).reshape(-1, 3, 4))
        assert np.array_equal(featurizer.features(text).vectors, one.vectors)
    assert found[2].offsets == ((1, 2), (3, 4), (6, 7))
    assert featurizer.features([]) == [] and featurizer.max_seq_length is None


def test_features_pooled_are_the_mean_of_the_words() -> None:
    text, empty = make_featurizer(Recorder(), "mean").features(["가 나 다", ""])
    assert text.vectors[:, 1:].tolist() == [[2.0, 3.0, layer] for layer in range(3)]
    assert empty.vectors.tolist() == [[0.0] * 4] * 3
    assert text.mix().shape == (4,)


def test_features_of_a_pair_are_refused() -> None:
    featurizer = make_featurizer(Recorder())
    for pair in (("숲", "나무"), [("숲", "나무")]):
        with pytest.raises(ValueError, match="reads single texts, no pairs"):
            featurizer.features(pair)  # type: ignore[call-overload]


def test_fewer_distinct_words_take_the_program_that_is_there() -> None:
    recorder = Recorder()
    featurizer = make_featurizer(recorder, batch_size=1)
    many = " ".join(map(chr, range(0xAC00, 0xAC00 + 200)))
    for text in (many, "숲 " * 200, "숲"):
        featurizer.features(text)
    assert [batch["characters"].shape for batch in recorder.batches] == [
        (256, 6), (256, 6), (64, 6),
    ]  # fmt: skip


def test_plan_long_sentences_are_fewer_in_a_batch() -> None:
    plan = WordPlan(32, (10, 20))
    assert [plan.shape(n) for n in (2, 11, 20, 21)] == [(32, 10), (32, 20), (32, 20), (32, 24)]
    assert plan.shape(1000) == (8, 1024) and plan.shape(10**5) == (1, 131072)
    assert all(n <= rounded_length(n) < n + max(8, n / 2) for n in range(2, 500))


def test_mix_is_the_weighted_sum_of_the_layers() -> None:
    vectors = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = TextFeatures(("가", "나"), ((0, 1), (1, 2)), (0, 0), vectors)
    assert found.layers.shape == (3, 2, 4)
    assert np.array_equal(found.layers[1], vectors[:, 1])
    assert found.mix() == pytest.approx(vectors.mean(axis=1)) and found.mix().dtype == np.float32
    wanted = 2 * (0.5 * vectors[:, 0] + 0.2 * vectors[:, 2])
    assert found.mix([0.5, 0, 0.2], gamma=2.0) == pytest.approx(wanted)
    for weights in ([0.5, 0.5], [0.1, float("nan"), 1]):
        with pytest.raises(ValueError, match="weights must be 3 finite numbers"):
            found.mix(weights)
