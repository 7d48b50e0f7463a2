"""Lines to pieces, and the place of every piece in its line."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tasks.sentences import (
    PIECE_COLUMNS,
    BlockSize,
    Sentences,
    encode_blocks,
    encode_stretches,
    encode_texts,
    join,
    split_pair,
)
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "나무", "##는", "크", "##다", "숲"]
LARGE = BlockSize(100, 1000)


@pytest.fixture(scope="module")
def tiny() -> Tokenizer:
    return Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))


def encode(tokenizer: Tokenizer, *lines: str, max_seq_length: int = 16) -> Sentences:
    return join(encode_blocks(lines, tokenizer, max_seq_length, LARGE))


def rows(sentences: Sentences) -> dict[str, list[int]]:
    return {name: array.tolist() for name, array in sentences.columns().items()}


def test_encode_blocks_pair_has_characters_and_words_of_the_line(tiny: Tokenizer) -> None:
    found = encode(tiny, "나무는 크다", "  나무는 ||| 큰 숲")
    assert found.sentence_offsets.tolist() == [0, 6, 13]
    assert {name: values[:6] for name, values in rows(found).items()} == {
        "input_ids": [2, 5, 6, 7, 8, 3],
        "segment_ids": [0] * 6,
        "starts": [-1, 0, 2, 4, 5, -1],
        "ends": [-1, 2, 3, 5, 6, -1],
        "eojeol_ids": [-1, 0, 0, 1, 1, -1],
        "morpheme_ids": [-1, 0, 0, 1, 1, -1],
    }
    # [CLS] 나무 ##는 [SEP] [UNK] 숲 [SEP]; the words of the second sentence are counted on.
    assert {name: values[6:] for name, values in rows(found).items()} == {
        "input_ids": [2, 5, 6, 3, 1, 9, 3],
        "segment_ids": [0, 0, 0, 0, 1, 1, 1],
        "starts": [-1, 2, 4, -1, 10, 12, -1],
        "ends": [-1, 4, 5, -1, 11, 13, -1],
        "eojeol_ids": [-1, 0, 0, -1, 1, 2, -1],
        "morpheme_ids": [-1, 0, 0, -1, 1, 2, -1],
    }
    assert found.num_cut == 0
    assert found.lengths.tolist() == [6, 7] and len(found) == 2 and found.num_pieces == 13


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("", [2, 3]),
        ("   ", [2, 3]),
        ("\0", [2, 3]),
        ("나무 ||| ", [2, 5, 1, 1, 1, 3]),  # stripped, as Google's: no second sentence
        (" ||| 숲", [2, 1, 1, 1, 9, 3]),
        ("나무 ||| \u200b\0 숲", [2, 5, 3, 9, 3]),
        ("나무 ||| \ufffd", [2, 5, 3]),  # nothing is left of it
        ("\ufffd ||| 숲", [2, 3, 9, 3]),
        ("나무|||숲", [2, 5, 1, 1, 1, 1, 3]),
        ("나무 ||| 크다 ||| 숲", [2, 5, 1, 1, 1, 7, 8, 3, 9, 3]),
        ("[SEP]", [2, 1, 1, 1, 3]),
    ],
)
def test_encode_blocks_odd_lines(line: str, ids: list[int], tiny: Tokenizer) -> None:
    assert encode(tiny, line).input_ids.tolist() == ids


def test_encode_blocks_lone_surrogate_moves_no_character(tiny: Tokenizer) -> None:
    found = encode(tiny, "\ud800나무 \udfff숲")
    assert found.input_ids.tolist() == [2, 5, 9, 3]
    assert found.starts.tolist() == [-1, 1, 5, -1] and found.ends.tolist() == [-1, 3, 6, -1]


def test_encode_blocks_long_lines_are_cut_and_counted(tiny: Tokenizer) -> None:
    found = encode(tiny, "숲 " * 9, "나무 ||| " + "숲 " * 9, "숲 숲", max_seq_length=6)
    assert found.lengths.tolist() == [6, 6, 4]
    assert found.input_ids.tolist() == [2, 9, 9, 9, 9, 3, 2, 5, 3, 9, 9, 3, 2, 9, 9, 3]
    assert found.num_cut == 2


def test_encode_blocks_no_room_for_a_second_sentence(tiny: Tokenizer) -> None:
    found = encode(tiny, "나무 ||| 숲", max_seq_length=4)
    assert found.input_ids.tolist() == [2, 5, 3] and found.num_cut == 1
    found = encode(tiny, "나무 ||| 숲", max_seq_length=3)
    assert found.input_ids.tolist() == [2, 3]


def test_encode_blocks_offsets_give_the_text_of_the_pieces(
    tokenizer: Tokenizer, sample_lines: list[str]
) -> None:
    lines = [f"  {a} ||| {b}" for a, b in itertools.pairwise(sample_lines)]
    found = encode(tokenizer, *lines, max_seq_length=512)
    assert found.num_cut == 0
    checked = 0
    spans = itertools.pairwise(found.sentence_offsets)
    for line, (start, end) in zip(lines, spans, strict=True):
        texts: dict[int, str] = {}
        for i in range(start, end):
            piece = tokenizer.vocab.pieces[found.input_ids[i]]
            text = line[found.starts[i] : found.ends[i]]
            if piece in ("[CLS]", "[SEP]"):
                assert text == "" and found.starts[i] == found.eojeol_ids[i] == -1
            elif piece != "[UNK]":
                assert text.lower() == piece.removeprefix("##")
                checked += 1
            eojeol = int(found.eojeol_ids[i])
            if eojeol >= 0:
                texts[eojeol] = texts.get(eojeol, "") + text
        eojeols = [word for a, b in split_pair(line) for word in line[a:b].split()]
        assert [texts[i] for i in range(len(texts))] == eojeols
    assert checked > 1000


def test_encode_blocks_are_bounded_and_keep_the_order(tiny: Tokenizer) -> None:
    lines = ["숲 " * count for count in (1, 2, 3, 9, 1, 1, 1)]

    def lengths(size: BlockSize) -> list[list[int]]:
        return [w.lengths.tolist() for w in encode_blocks(lines, tiny, 16, size)]

    assert lengths(BlockSize(3, 1000)) == [[3, 4, 5], [11, 3, 3], [3]]
    assert lengths(BlockSize(100, 9)) == [[3, 4], [5], [11], [3, 3, 3]]
    assert lengths(LARGE) == [[3, 4, 5, 11, 3, 3, 3]]
    assert list(encode_blocks([], tiny, 16, LARGE)) == []


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 30))
def test_join_is_one_block(counts: list[int], pieces: int) -> None:
    tokenizer = Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))
    lines = ["숲 " * count for count in counts]
    small = join(encode_blocks(lines, tokenizer, 8, BlockSize(4, pieces)))
    (whole,) = encode_blocks(lines, tokenizer, 8, LARGE)
    assert small.sentence_offsets.tolist() == whole.sentence_offsets.tolist()
    assert rows(small) == rows(whole) and small.num_cut == whole.num_cut


def test_join_nothing_is_empty() -> None:
    found = join([])
    assert len(found) == 0 and found.sentence_offsets.tolist() == [0]
    assert all(getattr(found, name).shape == (0,) for name in PIECE_COLUMNS)


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("나무", ["나무"]),
        ("나무 ||| 숲", ["나무", "숲"]),
        (" 가 ||| 나 ||| 다 ", ["가 ||| 나", "다"]),
        ("가 ||| ||| 나", ["가 |||", "나"]),
        ("가 |||", ["가 |||"]),
        ("||| 가", ["||| 가"]),
        ("", [""]),
    ],
)
def test_split_pair_is_googles(line: str, texts: list[str]) -> None:
    assert [line[start:end] for start, end in split_pair(line)] == texts


def test_sentences_columns_have_the_same_type(tiny: Tokenizer) -> None:
    found = encode(tiny, "숲")
    arrays: list[Any] = list(found.columns().values())
    assert {array.dtype for array in arrays} == {np.dtype(np.int32)}
    assert found.sentence_offsets.dtype == np.int64


# Texts of tasks


def test_encode_texts_places_are_those_in_their_own_text(tiny: Tokenizer) -> None:
    found = encode_texts([("나무는 크다", None), (" 나무는", "큰 숲")], tiny, 16)
    assert found.sentence_offsets.tolist() == [0, 6, 13]
    assert {name: values[6:] for name, values in rows(found).items()} == {
        "input_ids": [2, 5, 6, 3, 1, 9, 3],
        "segment_ids": [0, 0, 0, 0, 1, 1, 1],
        "starts": [-1, 1, 3, -1, 0, 2, -1],
        "ends": [-1, 3, 4, -1, 1, 3, -1],
        "eojeol_ids": [-1, 0, 0, -1, 1, 2, -1],
        "morpheme_ids": [-1, 0, 0, -1, 1, 2, -1],
    }


@pytest.mark.parametrize(
    ("texts", "ids"),
    [
        (("", None), [2, 3]),
        (("\ufffd", None), [2, 3]),
        (("나무 ||| 숲", None), [2, 5, 1, 1, 1, 9, 3]),  # no pair, as in a line
        (("나무", ""), [2, 5, 3]),
        (("나무", " \0"), [2, 5, 3]),
        (("", "숲"), [2, 3, 9, 3]),
        (("", ""), [2, 3]),
        (("[SEP]", "[CLS]"), [2, 1, 1, 1, 3, 1, 1, 1, 3]),
    ],
)
def test_encode_texts_odd_texts(
    texts: tuple[str, str | None], ids: list[int], tiny: Tokenizer
) -> None:
    found = encode_texts([texts], tiny, 16)
    assert (found.input_ids.tolist(), found.num_cut) == (ids, 0)


@pytest.mark.parametrize(
    ("length", "one", "two"),
    [
        (8, [2, 9, 9, 9, 9, 3], [2, 9, 9, 9, 3, 5, 6, 3]),
        (6, [2, 9, 9, 9, 9, 3], [2, 9, 9, 3, 5, 3]),
        (5, [2, 9, 9, 9, 3], [2, 9, 3, 5, 3]),
        (4, [2, 9, 9, 3], [2, 9, 3]),
        (3, [2, 9, 3], [2, 3]),
    ],
)
def test_encode_texts_what_is_longer_is_cut_and_counted(
    length: int, one: list[int], two: list[int], tiny: Tokenizer
) -> None:
    for texts, ids in ((("숲 숲 숲 숲", None), one), (("숲 숲 숲 숲", "나무는"), two)):
        found = encode_texts([texts, ("", None)], tiny, length)
        assert found.input_ids.tolist() == [*ids, 2, 3]
        assert found.num_cut == (length < (6 if texts[1] is None else 9))


def test_encode_texts_nothing_is_empty(tiny: Tokenizer) -> None:
    found = encode_texts([], tiny, 16)
    assert (len(found), found.num_pieces, found.lengths.tolist()) == (0, 0, [])


def test_sentences_gather_pads_and_takes_any_rows(tiny: Tokenizer) -> None:
    found = encode_texts([("숲", None), ("나무는", "숲"), ("", None)], tiny, 16)
    batch = found.gather(np.array([2, 1, 1], np.int32), 8, (7, 2, 3))
    assert {name: values.tolist() for name, values in batch.items()} == {
        "input_ids": [[2, 3, *[7] * 6], *[[2, 5, 6, 3, 9, 3, 7, 7]] * 2],
        "input_mask": [[1, 1, *[0] * 6], *[[1] * 6 + [0, 0]] * 2],
        "segment_ids": [[0] * 8, *[[0, 0, 0, 0, 1, 1, 0, 0]] * 2],
    }
    assert {values.dtype for values in batch.values()} == {np.dtype(np.int32)}


def test_sentences_places_lead_into_every_column(tiny: Tokenizer) -> None:
    found = encode_texts([("숲", None), ("나무는 크다", None)], tiny, 16)
    places, mask = found.places(np.array([1, 0], np.int32), 7)
    assert places.tolist() == [[3, 4, 5, 6, 7, 8, 0], [0, 1, 2, 0, 0, 0, 0]]
    assert mask.tolist() == [[True] * 6 + [False], [True] * 3 + [False] * 4]
    assert found.starts[places][mask].tolist() == [-1, 0, 2, 4, 5, -1, -1, 0, -1]


@given(st.data())
def test_encode_stretches_leave_no_piece_out(data: Any) -> None:
    tokenizer = Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))
    words = st.lists(st.sampled_from(["숲", "나무", "나무는", "크다는는는", "산"]), max_size=12)
    texts = [" ".join(found) for found in data.draw(st.lists(words, max_size=4))]
    length = data.draw(st.integers(3, 12))
    encodings = [tokenizer.encode(text) for text in texts]
    found, owners = encode_stretches(encodings, tokenizer.vocab, length)
    assert found.num_cut == 0 and len(found) == len(owners)
    assert (np.diff(owners) >= 0).all()
    spans = list(itertools.pairwise(found.sentence_offsets.tolist()))
    for number, encoding in enumerate(encodings):
        stretches = [span for span, owner in zip(spans, owners, strict=True) if owner == number]
        assert bool(stretches) == bool(len(encoding))
        inside = [i for start, end in stretches for i in range(start + 1, end - 1)]
        assert found.input_ids[inside].tolist() == encoding.ids
        assert found.starts[inside].tolist() == encoding.starts
        assert found.ends[inside].tolist() == encoding.ends
        assert found.eojeol_ids[inside].tolist() == encoding.eojeol_ids
        for (start, end), (after, _) in itertools.pairwise(stretches):
            assert end == after
            eojeols = found.eojeol_ids[start + 1 : end - 1]
            if found.eojeol_ids[after + 1] == eojeols[-1]:  # cut inside an eojeol
                assert len(set(eojeols)) == 1 and end - start == length
            # As much as has room: the next eojeol has none.
            following = found.eojeol_ids[after + 1 :] == found.eojeol_ids[after + 1]
            assert end - start + int(
                following.argmin() if not following.all() else 99
            ) > length or (found.eojeol_ids[after + 1] == eojeols[-1])
    for start, end in spans:
        assert 3 <= end - start <= length
        assert (found.input_ids[start], found.input_ids[end - 1]) == (2, 3)


def test_encode_stretches_literal_cuts(tiny: Tokenizer) -> None:
    texts = ["숲 나무는 크다", "", "나무는는는 숲", "숲"]
    found, owners = encode_stretches(map(tiny.encode, texts), tiny.vocab, 5)
    assert owners.tolist() == [0, 0, 2, 2, 3] and owners.dtype == np.int32
    cuts = itertools.pairwise(found.sentence_offsets)
    assert [found.input_ids[start:end].tolist() for start, end in cuts] == [
        [2, 9, 5, 6, 3], [2, 7, 8, 3], [2, 5, 6, 6, 3], [2, 6, 9, 3], [2, 9, 3],
    ]  # fmt: skip
    assert found.segment_ids.tolist() == [0] * found.num_pieces


def test_encode_stretches_nothing_is_empty(tiny: Tokenizer) -> None:
    for texts in ([], ["", " "]):
        found, owners = encode_stretches(map(tiny.encode, texts), tiny.vocab, 5)
        assert (len(found), len(owners)) == (0, 0)


def test_encode_texts_second_text_without_a_piece_takes_no_room(tiny: Tokenizer) -> None:
    found = encode_texts([("숲 숲 숲 숲", "\ufffd"), ("숲 숲 숲", "")], tiny, 5)
    assert found.input_ids.tolist() == [2, 9, 9, 9, 3] * 2
    assert found.num_cut == 1
