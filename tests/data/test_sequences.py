import numpy as np
import pytest

from bert_ko.data.sequences import build_sequences, word_ids
from bert_ko.data.walk import Plan
from bert_ko.tokenization.encoder import EOJEOL_START, MORPHEME_START
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

VOCAB = Vocabulary([*SPECIAL_TOKENS, *"가나다라마바사아자차"])
PAD, CLS, SEP = VOCAB.pad_id, VOCAB.cls_id, VOCAB.sep_id
EOJEOL = EOJEOL_START | MORPHEME_START
# Pieces 10 to 17: three eojeols, five morphemes.
STARTS = [EOJEOL, 0, MORPHEME_START, EOJEOL, MORPHEME_START, 0, EOJEOL, 0]
PIECES = np.array([10 + i | bits for i, bits in enumerate(STARTS)], np.uint32)


def build(
    a: tuple[int, int], b: tuple[int, int] = (0, 0), max_seq_length: int = 12
) -> dict[str, list[int]]:
    """One instance of pieces [a0, a1) and [b0, b1)."""
    values = (a[0], a[1] - a[0], b[0], b[1] - b[0], 0, 0)
    plan = Plan(*(np.array([value]) for value in values))
    sequences = build_sequences(PIECES, plan, max_seq_length, VOCAB)
    return {name: array[0].astype(int).tolist() for name, array in sequences._asdict().items()}


def test_build_sequences_pair_worked_example() -> None:
    assert build((0, 3), (6, 8)) == {
        "input_ids": [CLS, 10, 11, 12, SEP, 16, 17, SEP, PAD, PAD, PAD, PAD],
        "input_mask": [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        "segment_ids": [0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0],
        "is_piece": [0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0],
        "morpheme_starts": [0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0],
        "eojeol_starts": [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    }


def test_build_sequences_one_segment_worked_example() -> None:
    found = build((0, 3), max_seq_length=8)
    assert found["input_ids"] == [CLS, 10, 11, 12, SEP, PAD, PAD, PAD]
    assert found["input_mask"] == [1, 1, 1, 1, 1, 0, 0, 0]
    assert found["segment_ids"] == [0] * 8


@pytest.mark.parametrize(("a", "b", "length"), [((0, 5), (5, 8), 11), ((0, 8), (0, 0), 10)])
def test_build_sequences_full_sequence_has_no_padding(
    a: tuple[int, int], b: tuple[int, int], length: int
) -> None:
    found = build(a, b, length)
    assert found["input_mask"] == [1] * length
    assert found["input_ids"][-1] == SEP
    assert sum(found["is_piece"]) == 8


def test_build_sequences_word_cut_by_truncation_starts_at_the_edge() -> None:
    # Both segments begin inside a word.
    found = build((1, 3), (5, 8))
    assert found["input_ids"][:8] == [CLS, 11, 12, SEP, 15, 16, 17, SEP]
    assert found["morpheme_starts"][:8] == [0, 1, 1, 0, 1, 1, 0, 0]
    assert found["eojeol_starts"][:8] == [0, 1, 0, 0, 1, 1, 0, 0]


def test_build_sequences_rows_equal_one_at_a_time() -> None:
    spans = [((0, 3), (3, 8)), ((2, 7), (0, 0)), ((7, 8), (0, 1)), ((3, 4), (1, 6))]
    columns = zip(*[(a[0], a[1] - a[0], b[0], b[1] - b[0], 0, 0) for a, b in spans], strict=True)
    plan = Plan(*map(np.array, columns))
    together = build_sequences(PIECES, plan, 12, VOCAB)
    for row, (a, b) in enumerate(spans):
        alone = build(a, b)
        for name, array in together._asdict().items():
            assert array[row].astype(int).tolist() == alone[name], name


def test_word_ids_number_words_from_one() -> None:
    plan = Plan(*(np.array([value]) for value in (0, 5, 5, 3, 0, 0)))
    found = build_sequences(PIECES, plan, 13, VOCAB)
    morphemes = word_ids(found.morpheme_starts, found.is_piece)
    assert morphemes[0].tolist() == [0, 1, 1, 2, 3, 4, 0, 5, 6, 6, 0, 0, 0]
    eojeols = word_ids(found.eojeol_starts, found.is_piece)
    assert eojeols[0].tolist() == [0, 1, 1, 1, 2, 2, 0, 3, 4, 4, 0, 0, 0]
