import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from bert_ko.display import shown, shown_list


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "(none)"),
        ("", ""),
        ("마을 도서관", "마을 도서관"),
        ('그는 "책"이라 했다', '그는 "책"이라 했다'),
        ("a\tb\nc\rd", "a\\tb\\nc\\rd"),
        ("a\\b", "a\\\\b"),
        ("\ud800가", "\\ud800가"),
        ("\x00\x1b[31m", "\\u0000\\u001b[31m"),
        # What JSON leaves as it is, and a terminal does not.
        ("\x7f\x9b2J", "\\u007f\\u009b2J"),
        ("가\x85나\u2028다\u2029", "가\\u0085나\\u2028다\\u2029"),
        ("가\u202e나\u2066다", "가\\u202e나\\u2066다"),
        ("가\u00a0나\u3000다\u200d", "가\u00a0나\u3000다\u200d"),
    ],
)
def test_shown_is_one_printable_line(text: str | None, line: str) -> None:
    assert shown(text) == line


@pytest.mark.parametrize(
    ("text", "width", "line"),
    [
        ("가나다라", 8, "가나다라"),
        ("가나다라", 7, "가나다…"),
        ("가나다라", 6, "가나…"),
        ("abcdef", 5, "abcd…"),
        ("abcdef", 1, "…"),
        ("ㄱ" * 3, 6, "ㄱㄱㄱ"),
        # Decomposed, each is three characters in two columns.
        ("\u1112\u1161\u11ab" * 2, 4, "\u1112\u1161\u11ab" * 2),
    ],
)
def test_shown_is_cut_at_its_width(text: str, width: int, line: str) -> None:
    assert shown(text, width) == line


@pytest.mark.slow
@given(st.text(), st.integers(1, 30))
@example("\u0301" * 1000, 10)  # characters without a width
def test_shown_never_takes_more_than_its_width(text: str, width: int) -> None:
    found = shown(text, width)
    assert cell_len(found) <= width and len(found) <= 3 * width + 1
    assert len(found.splitlines()) <= 1


def test_shown_list_has_the_first_and_counts_the_others() -> None:
    assert shown_list([]) == ""
    assert shown_list(["q1", "q2"]) == "q1, q2"
    assert shown_list(list("abcde")) == "a, b, c, d, e"
    assert shown_list(list("abcdef")) == "a, b, c, d, e and 1 more"
    assert shown_list(list("ab") * 1000, 2) == "a, b and 1,998 more"
    assert shown_list(["x" * 90, "가\n나"]) == f"{'x' * 79}…, 가\\n나"
    assert shown_list(["x" * 90], width=90) == "x" * 90
