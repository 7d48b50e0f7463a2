"""Groups of questions."""

import pytest

from bert_ko.tasks.squad.groups import LENGTH_NAMES, OTHER, context_length, question_word


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("이 책은 누가 썼나?", "누가"), ("언제 어디에서 열렸나?", "언제"), ("몇 명인가?", "몇"),
        ("수도는?", OTHER), ("무슨 까닭으로 왜?", "무슨"),
    ],
)  # fmt: skip
def test_question_word_is_the_first_of_the_list(question: str, word: str) -> None:
    assert question_word(question) == word


def test_context_length_is_a_range_of_characters() -> None:
    names = [context_length("가" * size) for size in (0, 250, 251, 1000, 1001)]
    assert names == ["1–250", "1–250", "251–500", "501–1000", "1001+"]
    assert LENGTH_NAMES == ("1–250", "251–500", "501–1000", "1001+")
