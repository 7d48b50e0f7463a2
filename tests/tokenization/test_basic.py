"""Google's words."""

import pytest

from bert_ko.tokenization.basic import BasicSegmenter


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
    ],
)
def test_parts_worked_examples_keep_leading_blanks(text: str, expected: list[str]) -> None:
    segmenter = BasicSegmenter()
    assert segmenter.parts(text) == expected
    assert segmenter.printed(text) == "".join(f"{part}\n" for part in expected)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0x4E00, 0x9FFF),
        (0x3400, 0x4DBF),
        (0x20000, 0x2A6DF),
        (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F),
        (0x2B820, 0x2CEAF),
        (0xF900, 0xFAFF),
        (0x2F800, 0x2FA1F),
    ],
)
def test_parts_every_chinese_block_of_google_s_is_cut_to_its_ends(first: int, last: int) -> None:
    for char in (chr(first), chr(last)):
        assert BasicSegmenter().parts(f"가{char}{char}나") == ["가", char, char, "나"]


@pytest.mark.parametrize("char", ["\u33ff", "\ua000", "\u3042", "\u30a2", "\U0002cec0"])
def test_parts_other_east_asian_letters_stay_in_their_word(char: str) -> None:
    assert BasicSegmenter().parts(f"가{char}나") == [f"가{char}나"]
