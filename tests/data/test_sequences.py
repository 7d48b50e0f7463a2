import numpy as np
import pytest

from bert_ko.data.sequences import UNITS, Sequences, WordNumbers, build_sequences, word_ids
from bert_ko.data.walk import Plan
from bert_ko.tokenization.encoder import EOJEOL_START, MORPHEME_START
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

VOCAB = Vocabulary([*SPECIAL_TOKENS, *"가나다라마바사아자차"])
PAD, CLS, SEP = VOCAB.pad_id, VOCAB.cls_id, VOCAB.sep_id
EOJEOL = EOJEOL_START | MORPHEME_START
# Pieces 10 to 17: three eojeols, five morphemes.
STARTS = [EOJEOL, 0, MORPHEME_START, EOJEOL, MORPHEME_START, 0, EOJEOL, 0]
SPANS = [((0, 3), (3, 8)), ((2, 7), (0, 0)), ((7, 8), (0, 1)), ((3, 4), (1, 6)), ((1, 2), (2, 4))]
PIECES = np.array([10 + i | bits for i, bits in enumerate(STARTS)], np.uint32)


def build(
    a: tuple[int, int], b: tuple[int, int] = (0, 0), max_seq_length: int = 12
) -> dict[str, list[int]]:
    """One instance of pieces [a0, a1) and [b0, b1)."""
    sequences = build_sequences(PIECES, plan_of([(a, b)]), max_seq_length, VOCAB)
    return {name: array[0].astype(int).tolist() for name, array in arrays(sequences).items()}


def plan_of(spans: list[tuple[tuple[int, int], tuple[int, int]]]) -> Plan:
    """Instances of two segments, pieces [a0, a1) and [b0, b1)."""
    columns = zip(*[(a[0], a[1] - a[0], b[0], b[1] - b[0], 0, 0) for a, b in spans], strict=True)
    return Plan(*map(np.array, columns))


def arrays(sequences: Sequences) -> dict[str, np.ndarray]:
    """The arrays of sequences, and the starts of both units."""
    starts = {f"{unit}_starts": sequences.word_starts(unit) for unit in UNITS}
    found = {**sequences._asdict(), **starts}
    del found["pieces"]
    return found


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
    together = build_sequences(PIECES, plan_of(SPANS), 12, VOCAB)
    for row, (a, b) in enumerate(SPANS):
        alone = build(a, b)
        for name, array in arrays(together).items():
            assert array[row].astype(int).tolist() == alone[name], name


def test_word_ids_number_words_from_one() -> None:
    plan = Plan(*(np.array([value]) for value in (0, 5, 5, 3, 0, 0)))
    found = build_sequences(PIECES, plan, 13, VOCAB)
    morphemes = word_ids(found.word_starts("morpheme"), found.is_piece)
    assert morphemes[0].tolist() == [0, 1, 1, 2, 3, 4, 0, 5, 6, 6, 0, 0, 0]
    eojeols = word_ids(found.word_starts("eojeol"), found.is_piece)
    assert eojeols[0].tolist() == [0, 1, 1, 1, 2, 2, 0, 3, 4, 4, 0, 0, 0]


@pytest.mark.parametrize("unit", UNITS)
def test_word_numbers_counts_equal_those_of_the_matrices(unit: str) -> None:
    plan, length = plan_of(SPANS), 12
    found = build_sequences(PIECES, plan, length, VOCAB)
    numbers = word_ids(found.word_starts(unit), found.is_piece)
    words = WordNumbers(PIECES, unit)
    assert words.count(plan) == numbers.max(axis=1).sum()
    rng = np.random.default_rng(1)
    for share in (0, 0.1, 0.5, 1):
        chosen = found.is_piece & (rng.random(found.is_piece.shape) < share)
        touched = {(row, numbers[row, column]) for row, column in np.argwhere(chosen).tolist()}
        assert words.count_touched(plan, np.flatnonzero(chosen), length) == len(touched)
