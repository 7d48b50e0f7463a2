"""The oracle, with pieces that are whole words or not."""

import pytest

from bert_ko.tasks.squad.examples import Dataset, Gold, Paragraph, Question
from bert_ko.tasks.squad.features import WindowConfig, build_features
from bert_ko.tasks.squad.oracle import OracleReport, consult_oracle
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary

PIECES = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "마을", "도서관", "##은", "언덕", "위"),
    *("##에", "있", "##다", "##.", "종이배", "##가", "강가에"),
)
FIRST, SECOND = "마을 도서관은  언덕\u00a0위에 있다.", "강가에 종이배가 있다."


@pytest.fixture(scope="module")
def tiny() -> Tokenizer:
    # Blanks alone part words, so that the pieces do not hang on MeCab's dictionary.
    config = TokenizerConfig("wordpiece", "morpheme", normalization="google")
    return Tokenizer(Vocabulary(PIECES), config)


def question(qas_id: str, context: str, *golds: str, is_impossible: bool = False) -> Question:
    answers = tuple(Gold(gold, context.index(gold) if gold in context else None) for gold in golds)
    return Question(qas_id, "무엇인가?", answers, is_impossible)


def consult(tokenizer: Tokenizer, first: list[Question], *others: Question) -> OracleReport:
    paragraphs = (Paragraph("", FIRST, tuple(first)), Paragraph("", SECOND, others))
    data = Dataset("", paragraphs, ())
    return consult_oracle(data, build_features(data, tokenizer, WindowConfig()))


@pytest.fixture
def report(tiny: Tokenizer) -> OracleReport:
    return consult(
        tiny,
        [
            question("whole", FIRST, "도서관"),
            question("blanks", FIRST, "도서관은  언덕\u00a0위"),
            question("inside", FIRST, "서관"),
            question("second", FIRST, "서관", "도서관"),
        ],
        question("later", SECOND, "종이배"),
        question("cut", SECOND, "강가"),
        question("lost", SECOND, "바다"),
        question("silence", SECOND, is_impossible=True),
        question("unknown", SECOND),
    )


def test_oracle_answers_are_the_pieces_that_the_first_gold_touches(report: OracleReport) -> None:
    assert report.answers == {
        "whole": "도서관",
        "blanks": "도서관은  언덕\u00a0위",
        "inside": "도서관",
        "second": "도서관",
        "later": "종이배",
        "cut": "강가에",
        "silence": "",
    }
    assert list(report.golds) == [
        "whole", "blanks", "inside", "second", "later", "cut", "lost", "silence",
    ]  # fmt: skip


def test_oracle_scores_are_those_of_its_answers(report: OracleReport) -> None:
    scores = report.scores
    assert (scores.total, scores.missing, scores.extra) == (8, ["lost"], 0)
    assert scores.exact_match == 100 * 5 / 8
    assert scores.f1 == pytest.approx(100 * (5 + 0.8 + 0.8) / 8)


def test_oracle_unreachable_are_answers_that_are_no_whole_pieces(report: OracleReport) -> None:
    assert list(report.unreachable()) == [
        {"id": "inside", "golds": ["서관"], "best": "도서관", "f1": 0.8},
        {"id": "cut", "golds": ["강가"], "best": "강가에", "f1": 0.8},
        {"id": "lost", "golds": ["바다"], "best": None, "f1": 0.0},
    ]


def test_oracle_format_has_scores_and_unreachable_answers(report: OracleReport) -> None:
    rows = [line.split() for line in report.format().split("\n")]
    assert rows == [
        ["oracle"],
        ["-----------", "------"],
        ["exact_match", "62.50"],
        ["f1", "82.50"],
        ["questions", "8"],
        ["unreachable", "3"],
        [],
        ["unreachable", "gold", "in", "whole", "pieces"],
        ["-----------", "----", "---------------"],
        ["inside", "서관", "도서관"],
        ["cut", "강가", "강가에"],
        ["lost", "바다", "(none)"],
    ]


def test_oracle_format_several_golds_stand_in_one_cell(tiny: Tokenizer) -> None:
    report = consult(tiny, [question("q", FIRST, "서관", "관", "도서")])
    assert report.format().split("\n")[-1].split() == [
        "q",
        "서관",
        "/",
        "관",
        "/",
        "도서",
        "도서관",
    ]


def test_oracle_format_all_reachable_has_one_table(tiny: Tokenizer) -> None:
    report = consult(tiny, [question("q", FIRST, "마을")])
    assert list(report.unreachable()) == []
    assert report.format().split("\n")[-1].split() == ["unreachable", "0"]


@pytest.mark.parametrize(
    ("count", "last"), [(20, "q19"), (21, "and 1 more"), (1025, "and 1,005 more")]
)
def test_oracle_format_shows_20_and_counts_the_rest(count: int, last: str, tiny: Tokenizer) -> None:
    report = consult(tiny, [question(f"q{number}", FIRST, "서관") for number in range(count)])
    lines = report.format().split("\n")
    assert sum("서관" in line for line in lines) == 20
    assert lines[-1].startswith(last)
    assert len(list(report.unreachable())) == count


def test_oracle_no_questions_is_zero(tiny: Tokenizer) -> None:
    report = consult(tiny, [])
    assert (report.scores.exact_match, report.scores.total, report.answers) == (0, 0, {})
    assert "unreachable       0" in report.format()
