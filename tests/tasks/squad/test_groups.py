"""Groups of questions."""

import numpy as np
import pytest

from bert_ko.tasks.squad.examples import Dataset, Gold, Paragraph, Question
from bert_ko.tasks.squad.features import WindowConfig, build_features
from bert_ko.tasks.squad.groups import OTHER, question_word, unknown_places
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.unknown import have_unknown
from tests.tasks.squad.conftest import HILL


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("이 책은 누가 썼나?", "누가"), ("언제 어디에서 열렸나?", "언제"), ("몇 명인가?", "몇"),
        ("수도는?", OTHER), ("무슨 까닭으로 왜?", "무슨"),
    ],
)  # fmt: skip
def test_question_word_is_the_first_of_the_list(question: str, word: str) -> None:
    assert question_word(question) == word


def test_have_unknown_looks_at_each_part() -> None:
    ids = np.array([1, 5, 5, 1], np.int32)
    starts, ends = np.array([0, 1, 1, 3]), np.array([1, 3, 1, 4])
    assert have_unknown(ids, 1, starts, ends).tolist() == [True, False, False, True]
    assert have_unknown(ids[:0], 1, np.zeros(1, int), np.zeros(1, int)).tolist() == [False]


def test_unknown_places_of_questions(blanks: Tokenizer) -> None:
    """나루 has no piece."""
    known, other = HILL, "마을 도서관은 나루 위에 있다."
    asked = [
        (known, "무엇인가?", "언덕"),
        (known, "나루 무엇인가?", "언덕"),
        (other, "무엇인가?", "나루"),
        (other, "무엇인가?", "도서관"),
        (other, "나루 무엇인가?", None),
    ]
    paragraphs = tuple(
        Paragraph("", context, (Question(str(i), text, golds(context, gold), gold is None),))
        for i, (context, text, gold) in enumerate(asked)
    )
    config = WindowConfig(max_seq_length=24, doc_stride=4, max_query_length=8)
    features = build_features(Dataset("", paragraphs, ()), blanks, config)
    assert unknown_places(features, blanks.vocab.unk_id) == [
        ("nowhere",),
        ("in the question",),
        ("in the gold answer", "in the context"),
        ("in the context",),
        ("in the question", "in the context"),
    ]


def golds(context: str, text: str | None) -> tuple[Gold, ...]:
    return () if text is None else (Gold(text, context.index(text)),)
