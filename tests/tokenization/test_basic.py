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
