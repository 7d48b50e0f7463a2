"""Greedy longest match, and literal `##` in a text."""

import pytest

from bert_ko.tokenization.wordpiece import MAX_CHARS_PER_WORD, WordPiece, piece_length

PIECES = ("도서", "도", "##서", "##서관", "##관", "##에", "에", "#", "###", "##", "##가", "가")


@pytest.mark.parametrize(
    ("word", "continues", "expected"),
    [
        ("도서관", False, ["도서", "##관"]),
        ("도서관에", False, ["도서", "##관", "##에"]),
        ("서관", True, ["##서관"]),
        ("서관", False, None),
        ("에", False, ["에"]),
        ("에", True, ["##에"]),
        ("도책", False, None),
        # "##가" is a continuation piece, and never stands for three characters of text.
        ("##가", False, ["##", "##가"]),
        ("#가", False, ["#", "##가"]),
        ("###", False, ["##", "###"]),
        ("##", True, ["###", "###"]),
    ],
)
def test_split_worked_examples(word: str, continues: bool, expected: list[str] | None) -> None:
    found = WordPiece({piece: i for i, piece in enumerate(PIECES)}).split(word, continues)
    assert found == expected
    if found is not None:
        assert sum(map(piece_length, found)) == len(word)


def test_split_word_past_the_limit_is_unknown() -> None:
    wordpiece = WordPiece({"가": 0, "##가": 1})
    assert wordpiece.split("가" * MAX_CHARS_PER_WORD) == ["가"] + ["##가"] * (
        MAX_CHARS_PER_WORD - 1
    )
    assert wordpiece.split("가" * (MAX_CHARS_PER_WORD + 1)) is None


@pytest.mark.parametrize(
    ("piece", "expected"), [("가나", 2), ("##가", 1), ("#", 1), ("##", 2), ("###", 1), ("####", 2)]
)
def test_piece_length_counts_characters_of_text(piece: str, expected: int) -> None:
    assert piece_length(piece) == expected
