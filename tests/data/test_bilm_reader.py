"""Windows of words: what a row reads and predicts, in both directions, and how it is resumed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.characters import Mark, letters, num_characters, num_letters
from bert_ko.data.bilm_reader import BiLmReader, BiLmReaderConfig, WordBatch
from bert_ko.data.negatives import draw_negatives
from bert_ko.data.position import PositionError
from bert_ko.data.word_characters import WordCharacters, sentence_features
from tests.word_shards import MARKS, encode, write_records, write_words

VOCABULARY = (*MARKS, "비", "가", "온다", "네", "눈", "이", "많이")
DOCUMENTS = [
    [["비", "가", "온다"], ["네"]],
    [["눈", "이", "많이", "온다"]],
    [["우박", "이", "온다"], ["비", "가", "많이", "온다"]],
]


@pytest.fixture
def shard(tmp_path: Path) -> str:
    return write_words(tmp_path / "words.tfrecord", DOCUMENTS, VOCABULARY)


def config_of(shard: str, **values: Any) -> BiLmReaderConfig:
    settings: dict[str, Any] = {
        "batch_size": 2, "num_steps": 4, "vocab_size": len(VOCABULARY), "characters": "syllable",
        "places": 6, "shuffle_buffer_size": 0,
    }  # fmt: skip
    return BiLmReaderConfig((shard,), **{**settings, **values})


def read_words(batch: WordBatch, direction: str) -> list[list[str]]:
    """The inputs of each row, from their characters."""
    known = {tuple(letters(word, "syllable")): word for word in (*VOCABULARY, "우박")}
    first = num_letters("syllable")
    known |= {(first + mark,): f"<{mark.name}>" for mark in Mark}
    features, rows = batch.features, []
    groups, per_group = len(features["characters"]), -1
    per_group = len(features["input_mask"]) // groups
    for row, places in enumerate(features[f"{direction}_inputs"]):
        characters = features["characters"][row // per_group]
        count = int(features["input_mask"][row].sum())
        inside = [[c for c in characters[p] if c not in _around(first)] for p in places[:count]]
        rows.append([known[tuple(word)] for word in inside])
    return rows


def _around(first: int) -> tuple[int, ...]:
    return tuple(first + mark for mark in (Mark.WORD_BEGIN, Mark.WORD_END, Mark.PADDING))


def predicted(batch: WordBatch, direction: str) -> list[list[str]]:
    features = batch.features
    counts = features["input_mask"].sum(axis=1)
    rows = zip(features[f"{direction}_targets"], counts, strict=True)
    return [[VOCABULARY[word] for word in row[:count]] for row, count in rows]


def joined(parts: list[list[list[str]]], row: int) -> list[str]:
    return [word for part in parts for word in part[row]]


def test_batches_rows_go_on_where_the_batch_before_has_ended(shard: str) -> None:
    batches = list(BiLmReader(config_of(shard)).one_epoch())
    begin, end = "<SENTENCE_BEGIN>", "<SENTENCE_END>"
    # 20 steps: 10 in each row, in windows of 4.
    forward = [
        [begin, "비", "가", "온다", begin, "네", begin, "눈", "이", "많이"],
        ["온다", begin, "우박", "이", "온다", begin, "비", "가", "많이", "온다"],
    ]
    backward = [
        [end, "온다", "가", "비", end, "네", end, "온다", "많이", "이"],
        ["눈", end, "온다", "이", "우박", end, "온다", "많이", "가", "비"],
    ]
    assert [b.features["input_mask"].sum(axis=1).tolist() for b in batches] == [[4] * 2] * 2 + [
        [2] * 2
    ]
    for direction, wanted in (("forward", forward), ("backward", backward)):
        parts = [read_words(batch, direction) for batch in batches]
        assert [joined(parts, row) for row in (0, 1)] == wanted
    targets = [predicted(batch, "forward") for batch in batches]
    assert joined(targets, 0) == [
        "비", "가", "온다", "</S>", "네", "</S>", "눈", "이", "많이", "온다",
    ]  # fmt: skip
    assert joined(targets, 1)[:3] == ["</S>", "<UNK>", "이"]
    targets = [predicted(batch, "backward") for batch in batches]
    assert joined(targets, 1) == [
        "<S>", "온다", "이", "<UNK>", "<S>", "온다", "많이", "가", "비", "<S>",
    ]  # fmt: skip
    assert [batch.num_unknown for batch in batches] == [1, 0, 0]


def test_batches_groups_have_their_own_distinct_words(shard: str) -> None:
    together = list(BiLmReader(config_of(shard)).one_epoch())
    apart = list(BiLmReader(config_of(shard, num_groups=2)).one_epoch())
    for one, other in zip(together, apart, strict=True):
        assert (len(one.features["characters"]), len(other.features["characters"])) == (1, 2)
        for direction in ("forward", "backward"):
            assert read_words(one, direction) == read_words(other, direction)


@pytest.mark.parametrize("buffer", [0, 2, 100])
def test_batches_resumed_anywhere_are_the_same(shard: str, buffer: int) -> None:
    config = config_of(shard, shuffle_buffer_size=buffer, num_negatives=3, seed=7)
    stream = BiLmReader(config).batches()
    batches = [next(stream) for _ in range(12)]
    assert batches[-1].epoch > 1
    for number in (0, 1, 4, 7):
        position = json.loads(json.dumps(batches[number].position))
        again = BiLmReader(config, position).batches()
        for wanted in batches[number + 1 :]:
            found = next(again)
            assert found.position == wanted.position
            assert found.features.keys() == wanted.features.keys()
            for name, value in wanted.features.items():
                np.testing.assert_array_equal(found.features[name], value, err_msg=name)


def test_batches_more_rows_than_steps_are_padding(shard: str) -> None:
    (batch,) = BiLmReader(config_of(shard, batch_size=32)).one_epoch()
    assert batch.features["input_mask"].sum() == 20
    assert batch.features["input_mask"].sum(axis=1).tolist() == [1] * 20 + [0] * 12
    assert "words.tfrecord: record 0" in BiLmReader(config_of(shard)).place(batch)


def test_position_of_other_shards_is_refused(shard: str) -> None:
    position = next(BiLmReader(config_of(shard)).batches()).position
    with pytest.raises(PositionError):
        BiLmReader(config_of(shard), {**position, "next_shard": 2})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"x", "not a record of words (1 bytes): it has no sentence_lengths, as "
         "bin/create_pretraining_data --objective=bilm writes them."),
        (encode([b"a"], [3], [2]), "a record of 1 words has 1 word_ids and sentence_lengths that "
         "add up to 2; make the shard again."),
    ],
)  # fmt: skip
def test_damaged_record_is_named(record: bytes, message: str, tmp_path: Path) -> None:
    path = write_records(tmp_path / "bad", [encode([b"a"], [3], [1]), record])
    with pytest.raises(ValueError) as error:
        list(BiLmReader(config_of(path)).one_epoch())
    assert str(error.value) == f"{path}: record 1: {message}"


def test_id_beyond_the_models_vocabulary_is_named(shard: str) -> None:
    with pytest.raises(ValueError, match="record 1: word id 9, but vocab_size is 9 in"):
        list(BiLmReader(config_of(shard, vocab_size=9)).one_epoch())


def test_word_characters_long_words_are_cut_and_counted() -> None:
    words = WordCharacters("syllable", 5)
    found = words.distinct(["가나다라", "ab", "가나다라", Mark.SENTENCE_END])
    first = num_letters("syllable")
    assert found.places.tolist() == [0, 1, 0, 2]
    assert found.is_cut.tolist() == [True, False, True, False]
    begin, end, padding = (first + m for m in (Mark.WORD_BEGIN, Mark.WORD_END, Mark.PADDING))
    assert found.characters[0].tolist() == [begin, 0, 588 * 2, 588 * 3, end]
    assert found.characters[2].tolist() == [begin, first + Mark.SENTENCE_END, end, padding, padding]


@pytest.mark.parametrize("unit", ["syllable", "jamo", "byte"])
def test_letters_have_numbers_below_the_marks(unit: Any) -> None:
    text = "뷁가힣ㅋㅠ aZ~漢é🙂"
    found = letters(text, unit)
    assert min(found) >= 0 and max(found) < num_letters(unit) == num_characters(unit) - 5
    if unit != "byte":
        single = [tuple(letters(character, unit)) for character in text]
        assert len(set(single)) == len(text)


def test_sentence_features_words_stand_between_marks() -> None:
    features = sentence_features([["비", "가"], ["네"]], "byte", 8)
    assert features["input_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    row = features["characters"][features["word_places"][1, 1]]
    assert row.tolist() == [258, *"네".encode(), 259, 260, 260, 260]


def test_negatives_are_distinct_and_as_frequent_as_expected() -> None:
    rng, size, draws = np.random.default_rng(0), 50, 3000
    counts, expected = np.zeros(size), np.zeros(size)
    for _ in range(draws):
        drawn = draw_negatives(size, 10, rng)
        assert len(set(drawn.ids.tolist())) == 10
        counts[drawn.ids] += 1
        expected += np.exp(drawn.log_counts(np.arange(size)))
    # Of each word the share of the draws that have it; 4 standard deviations.
    assert np.abs(counts - expected).max() < 4 * np.sqrt(draws / 4)
    assert counts[0] > 3 * counts[20]
