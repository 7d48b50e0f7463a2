"""Rows of the embeddings that are cut, padded and made of others: literal values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.modeling.bert import WORD_EMBEDDINGS, BertConfig
from bert_ko.modeling.growth import NewPiece, add_pieces, resize
from bert_ko.modeling.heads import OUTPUT_BIAS
from bert_ko.modeling.parameters import Arrays

CONFIG = BertConfig(vocab_size=4)

NORM = "bert/embeddings/LayerNorm/gamma"
WORDS = [[1, 2], [3, 4], [5, 6], [70, 80]]
BIAS = [1, 2, 3, 40]


def arrays(words: object = WORDS, bias: object = BIAS) -> Arrays:
    return {
        WORD_EMBEDDINGS: np.array(words, np.float32),
        OUTPUT_BIAS: np.array(bias, np.float32),
        NORM: np.ones(2, np.float32),
    }


def values(found: Arrays) -> tuple[object, object]:
    assert all(array.dtype == np.float32 for array in found.values())
    assert list(found) == [WORD_EMBEDDINGS, OUTPUT_BIAS, NORM]
    assert found[NORM].tolist() == [1, 1]
    return found[WORD_EMBEDDINGS].tolist(), found[OUTPUT_BIAS].tolist()


@pytest.mark.parametrize(
    ("rows", "words", "bias"),
    [
        (2, [[1, 2], [3, 4]], [1, 2]),
        (4, WORDS, BIAS),
        (6, [*WORDS, [0, 0], [0, 0]], [*BIAS, 0, 0]),
    ],
)
def test_resize_cuts_or_pads_embeddings_and_bias_alone(
    rows: int, words: object, bias: object
) -> None:
    given = arrays()
    assert values(resize(given, CONFIG, rows)) == (words, bias)
    assert values(given) == (WORDS, BIAS)


def test_resize_changes_slots_too_but_no_variable_whose_name_begins_alike() -> None:
    names = [f"{WORD_EMBEDDINGS}/adam_m", f"{OUTPUT_BIAS}/adam_v", f"{WORD_EMBEDDINGS}_2"]
    found = resize({name: np.ones(4, np.float32) for name in names}, CONFIG, 6)
    assert [len(found[name]) for name in names] == [6, 6, 4]


def test_resize_without_a_masked_lm_head_changes_the_embeddings() -> None:
    found = resize({WORD_EMBEDDINGS: np.ones((4, 2), np.float32)}, CONFIG, 5)
    assert list(found) == [WORD_EMBEDDINGS] and found[WORD_EMBEDDINGS].shape == (5, 2)


@given(rows=st.integers(0, 9), more=st.integers(0, 9))
def test_resize_there_and_back_changes_no_bit(rows: int, more: int) -> None:
    rng = np.random.default_rng(rows)
    before = arrays(rng.standard_normal((rows, 2)), rng.standard_normal(rows))
    after = resize(resize(before, CONFIG, rows + more), CONFIG, rows)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


def test_add_pieces_new_rows_are_the_mean_of_their_parts() -> None:
    given = arrays()
    found = add_pieces(given, CONFIG, [NewPiece(3, [0, 2]), NewPiece(1, [2])], num_old=4)
    assert values(found) == ([[1, 2], [5, 6], [5, 6], [3, 4]], [1, 3, 3, 2])
    assert values(given) == (WORDS, BIAS)


def test_add_pieces_parts_may_repeat() -> None:
    found = add_pieces(arrays(), CONFIG, [NewPiece(3, [0, 0, 1])], num_old=3)
    assert found[OUTPUT_BIAS][3] == np.float32(4 / 3)


def test_add_pieces_without_parts_takes_the_mean_of_old_pieces_alone() -> None:
    """Neither of the row that goes, nor of other new ones, nor of padding behind the pieces."""
    given = arrays([*WORDS, [900, 900], [900, 900]], [*BIAS, 900, 900])
    found = add_pieces(given, CONFIG, [NewPiece(3, []), NewPiece(4, [])], num_old=4)
    assert values(found) == (
        [*WORDS[:3], [3, 4], [3, 4], [900, 900]],
        [*BIAS[:3], 2, 2, 900],
    )


def test_add_pieces_none_changes_nothing() -> None:
    assert values(add_pieces(arrays(), CONFIG, [], num_old=4)) == (WORDS, BIAS)
