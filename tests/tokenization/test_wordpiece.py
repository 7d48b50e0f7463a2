"""Google's words, greedy longest match, and literal `##` in a text."""

import pytest

from bert_ko.tokenization.wordpiece import (
    MAX_CHARS_PER_WORD,
    WordPiece,
    basic_parts,
    without_prefix,
)

PIECES = ("도서", "도", "##서", "##서관", "##관", "##에", "에", "#", "###", "##", "##가", "가")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("값은 3.5%다", ["값은", " 3", ".", "5", "%", "다"]),
        ("  두  칸", ["  두", "  칸"]),
        ("大韓民國의 봄", ["大", "韓", "民", "國", "의", " 봄"]),
        ("\U00020000은", ["\U00020000", "은"]),
        ("##가", ["#", "#", "가"]),
        ("《책》, 「글」", ["《", "책", "》", ",", " 「", "글", "」"]),
        ("a_b`c~$", ["a", "_", "b", "`", "c", "~", "$"]),
        ("😀😀 좋다", ["😀😀", " 좋다"]),
        ("끝 ", ["끝"]),
        ("   ", []),
        ("", []),
        # Other East Asian letters.
        ("가\u33ff\ua000\u3042\u30a2\U0002cec0나", ["가\u33ff\ua000\u3042\u30a2\U0002cec0나"]),
    ],
)
def test_parts_worked_examples_keep_leading_blanks(text: str, expected: list[str]) -> None:
    assert basic_parts(text) == expected


def test_parts_every_chinese_block_of_google_s_is_split_to_its_ends() -> None:
    for code in (
        *(0x4E00, 0x9FFF, 0x3400, 0x4DBF, 0x20000, 0x2A6DF, 0x2A700, 0x2B73F),
        *(0x2B740, 0x2B81F, 0x2B820, 0x2CEAF, 0xF900, 0xFAFF, 0x2F800, 0x2FA1F),
    ):
        char = chr(code)
        assert basic_parts(f"가{char}{char}나") == ["가", char, char, "나"]


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
        ("가" * MAX_CHARS_PER_WORD, False, ["가"] + ["##가"] * (MAX_CHARS_PER_WORD - 1)),
        ("가" * (MAX_CHARS_PER_WORD + 1), False, None),
    ],
)
def test_split_worked_examples(word: str, continues: bool, expected: list[str] | None) -> None:
    found = WordPiece({piece: i for i, piece in enumerate(PIECES)}).split(word, continues)
    assert found == expected
    if found is not None:
        assert "".join(map(without_prefix, found)) == word


def test_without_prefix_is_the_text_of_a_piece() -> None:
    pieces = ["가나", "##가", "#", "##", "###", "####"]
    assert [without_prefix(piece) for piece in pieces] == ["가나", "가", "#", "##", "#", "##"]
