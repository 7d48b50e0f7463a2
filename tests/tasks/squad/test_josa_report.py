"""The josa report, with a stripper that knows a few endings by heart."""

import json
from typing import NamedTuple

from bert_ko.tasks.squad.examples import Answer, Dataset, Paragraph, Question
from bert_ko.tasks.squad.josa_report import (
    EndingCount,
    JosaReport,
    Removal,
    StrippedAnswers,
    make_josa_report,
    strip_answers,
)

CONTEXT = "도서관은 언덕에 있다. 옛 도서관(圖書館)은 강가에 있었다. 인도는 강가에서 멀다."


class Cut(NamedTuple):
    start: int
    end: int
    removed: str
    rule: str


class FakeStripper:
    """Cuts one ending, though MeCab would know better: 인도 loses its tail."""

    def __init__(self) -> None:
        self.analyzed: list[str] = []

    def analyze(self, context: str) -> str:
        self.analyzed.append(context)
        return context

    def strip(self, analysis: str, start: int, end: int) -> Cut:
        answer = analysis[start:end]
        rules = {"(圖書館)은": "bracket", "은": "josa", "에": "josa", "도": "josa", ".": "mark"}
        for ending, rule in rules.items():
            if answer.endswith(ending) and answer != ending:
                return Cut(start, end - len(ending), ending, rule)
        return Cut(start, end, "", "")


def dataset(golds: dict[str, str], context: str = CONTEXT) -> Dataset:
    questions = tuple(
        Question(qas_id, "어디?", (Answer(gold, context.index(gold)),), False)
        for qas_id, gold in golds.items()
    )
    return Dataset("1.1", (Paragraph("", context, questions),), ())


def report(
    golds: dict[str, str], predictions: dict[str, str], starts: dict[str, int] | None = None
) -> JosaReport:
    data = dataset(golds)
    answers = strip_answers(data, predictions, starts or {}, FakeStripper())
    return make_josa_report(data.golds(), predictions, answers)


GOLDS = {"a": "도서관", "b": "언덕", "c": "인도", "d": "강가", "e": "옛 도서관", "f": "멀다"}
PREDICTIONS = {
    "a": "도서관은",
    "b": "언덕에",
    "c": "인도",
    "d": "언덕에",
    "e": "옛 도서관(圖書館)은",
    "f": "멀다.",
    "x": "언덕에",
}


def test_strip_answers_gives_literal_texts_and_keeps_the_others() -> None:
    stripper = FakeStripper()
    answers = strip_answers(dataset(GOLDS), PREDICTIONS, {}, stripper)
    assert answers == StrippedAnswers(
        texts={
            "a": "도서관", "b": "언덕", "c": "인", "d": "언덕", "e": "옛 도서관", "f": "멀다",
            "x": "언덕에",
        },
        removals={
            "a": Removal("은", "josa"),
            "b": Removal("에", "josa"),
            "c": Removal("도", "josa"),
            "d": Removal("에", "josa"),
            "e": Removal("(圖書館)은", "bracket"),
            "f": Removal(".", "mark"),
        },
        not_found=[],
        ambiguous=[],
        spans={"a": (0, 3), "b": (5, 7), "c": (34, 35), "d": (5, 7), "e": (13, 18), "f": (43, 45)},
    )  # fmt: skip
    assert stripper.analyzed == [CONTEXT]  # once for all answers


def test_strip_answers_analyzes_no_context_without_answers() -> None:
    stripper = FakeStripper()
    answers = strip_answers(dataset(GOLDS), {"a": "", "b": "바다에"}, {}, stripper)
    assert stripper.analyzed == []
    assert (answers.texts, answers.not_found) == ({"a": "", "b": "바다에"}, ["b"])


def test_strip_answers_spans_are_of_what_was_found() -> None:
    predictions = {"a": " 도서관은 ", "b": "바다에", "c": "", "d": "강가에"}
    last = CONTEXT.rindex("강가에")
    answers = strip_answers(dataset(GOLDS), predictions, {"d": last}, FakeStripper())
    assert answers.spans == {"a": (0, 3), "d": (last, last + 2)}
    assert answers.texts == {"a": "도서관", "b": "바다에", "c": "", "d": "강가"}


def test_strip_answers_place_is_taken_from_answer_start_or_the_first() -> None:
    class Recorder(FakeStripper):
        def strip(self, analysis: str, start: int, end: int) -> Cut:
            spans.append((start, analysis[start:end]))
            return super().strip(analysis, start, end)

    spans: list[tuple[int, str]] = []
    second = CONTEXT.index("도서관", 5)
    for starts in ({}, {"a": second}, {"a": second - 2}, {"a": 9999}):
        answers = strip_answers(dataset(GOLDS), {"a": " 도서관 "}, starts, Recorder())
        assert answers.texts == {"a": " 도서관 "}
        assert answers.ambiguous == ([] if starts else ["a"])
    assert spans == [(0, "도서관"), (second, "도서관"), (second, "도서관"), (second, "도서관")]


def test_strip_answers_cut_at_the_front_counts_as_changed() -> None:
    class FrontStripper(FakeStripper):
        def strip(self, analysis: str, start: int, end: int) -> Cut:
            return Cut(start + 1, end, "", "quote")

    data = dataset({"a": "서관"})
    answers = strip_answers(data, {"a": "도서관"}, {}, FrontStripper())
    assert answers.texts == {"a": "서관"}
    found = make_josa_report(data.golds(), {"a": "도서관"}, answers)
    assert found.endings() == [EndingCount("(at the front)", "quote", 1, 1, 0)]


def test_josa_report_scores_and_effects_are_literal() -> None:
    found = report(GOLDS, PREDICTIONS)
    assert found.without.exact_match == 100 * 2 / 6
    assert found.stripped.exact_match == 100 * 4 / 6
    assert [(change.qas_id, change.effect) for change in found.changes] == [
        ("a", "better"), ("b", "better"), ("c", "worse"), ("d", "same"), ("e", "better"),
        ("f", "same"),
    ]  # fmt: skip
    assert found.endings() == [
        EndingCount("에", "josa", 2, 1, 0),
        EndingCount("(…)은", "bracket", 1, 1, 0),
        EndingCount(".", "mark", 1, 0, 0),
        EndingCount("도", "josa", 1, 0, 1),
        EndingCount("은", "josa", 1, 1, 0),
    ]


def test_josa_report_summary_and_records_go_through_json() -> None:
    found = report(GOLDS, {**PREDICTIONS, "b": "바다에", "d": "강가"})
    summary = json.loads(json.dumps(found.summary()))
    assert summary["with"]["exact_match"] == 100 * 4 / 6
    assert summary["changed"] == {"total": 4, "better": 2, "worse": 1, "same": 1}
    assert summary["not_found"] == ["b"]
    assert summary["ambiguous"] == ["d"]
    assert summary["endings"][0] == {
        "ending": "(…)은", "rule": "bracket", "answers": 1, "better": 1, "worse": 0,
    }  # fmt: skip
    assert list(found.records())[1] == {
        "id": "c",
        "before": "인도",
        "after": "인",
        "golds": ["인도"],
        "effect": "worse",
        "scores": {
            "before": {"exact_match": True, "f1": 1.0},
            "after": {"exact_match": False, "f1": 2 / 3},
        },
        "removed": "도",
        "rule": "josa",
    }


def test_josa_report_format_shows_scores_effects_and_endings() -> None:
    lines = report(GOLDS, {**PREDICTIONS, "b": "바다에", "d": "강가"}).format().split("\n")
    assert lines[0].split() == ["not", "stripped", "stripped", "difference"]
    assert lines[2].split() == ["exact_match", "50.00", "66.67", "+16.67"]
    assert "answers shortened: 4 (2 better, 1 worse, 1 without effect)" in lines
    assert "not in their context, left as they are: 1 (b)" in lines
    assert any(line.startswith("at several places") for line in lines)
    assert lines[-1].split() == ["은", "josa", "1", "1", "0"]


def test_josa_report_many_endings_are_summed_up_on_screen() -> None:
    words = [f"{chr(0xAC00 + 28 * number)}나" for number in range(30)]
    context = " ".join(words)

    class LastStripper(FakeStripper):
        def strip(self, analysis: str, start: int, end: int) -> Cut:
            return Cut(start + 1, end, analysis[start], "josa")

    golds = {str(number): word for number, word in enumerate(words)}
    data = dataset(golds, context)
    answers = strip_answers(data, golds, {}, LastStripper())
    text = make_josa_report(data.golds(), golds, answers).format()
    assert text.split("\n")[-1].split() == ["(5", "others)", "5", "0", "5"]


def test_josa_report_nothing_to_strip_has_no_table() -> None:
    text = report(GOLDS, {"a": "도서관"}).format()
    assert text.split("\n")[-2:] == [
        "answers shortened: 0 (0 better, 0 worse, 0 without effect)",
        "at several places and without answer_start, the first taken: 1 (a)",
    ]
