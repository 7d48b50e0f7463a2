"""Answers without and with stripping, by a stripper that knows a few endings by heart."""

import json
from dataclasses import replace
from typing import Any

from bert_ko.tasks.squad.comparison import EndingCount, JosaReport
from bert_ko.tasks.squad.examples import (
    NO_ANSWER,
    Dataset,
    Gold,
    Paragraph,
    Question,
    Span,
)
from bert_ko.tasks.squad.josa import JosaStripper, strip_answers
from bert_ko.tasks.squad.josa_rules import Stripped
from bert_ko.tasks.squad.prediction_files import PredictionFile
from bert_ko.tasks.squad.scores import score_predictions

CONTEXT = "도서관은 언덕에 있다. 옛 도서관(圖書館)은 강가에 있었다. 인도는 강가에서 멀다."
RULES = {"(圖書館)은": "bracket", "은": "josa", "에": "josa", "도": "josa", ".": "mark"}


class FakeStripper(JosaStripper):
    """Cuts one ending, though MeCab would know better: 인도 loses its last syllable."""

    def __init__(self, rules: dict[str, str] = RULES, front: int = 0) -> None:
        self.rules, self.front = rules, front
        self.analyzed: list[str] = []

    def analyze(self, context: str) -> Any:
        self.analyzed.append(context)
        return context

    def strip(self, analysis: Any, span: Span) -> Stripped:
        for ending, rule in self.rules.items():
            if span.text.endswith(ending) and span.text != ending:
                start, end = span.start + self.front, span.end - len(ending)
                return Stripped(part(start, end, analysis), ending, rule)
        return Stripped(span, "", "")


def part(start: int, end: int, context: str = CONTEXT) -> Span:
    return Span(context[start:end], start, end)


def dataset(golds: dict[str, str], context: str = CONTEXT) -> Dataset:
    questions = tuple(
        Question(qas_id, "어디?", (Gold(gold, context.index(gold)),), False)
        for qas_id, gold in golds.items()
    )
    return Dataset("1.1", (Paragraph("", context, questions),), ())


def report(
    golds: dict[str, str], predictions: dict[str, str], context: str = CONTEXT, **stripper: Any
) -> JosaReport:
    data = dataset(golds, context)
    spans = PredictionFile(predictions, {}, 0).locate(data).spans
    scores = score_predictions(data.golds(), predictions)
    return JosaReport.of(scores, strip_answers(data, spans, FakeStripper(**stripper)))


GOLDS = {"a": "도서관", "b": "언덕", "c": "인도", "d": "강가", "e": "옛 도서관", "f": "멀다"}
PREDICTIONS = {
    "a": "도서관은", "b": "언덕에", "c": "인도", "d": "언덕에", "e": "옛 도서관(圖書館)은",
    "f": "멀다.", "x": "언덕에",
}  # fmt: skip


def test_strip_answers_gives_those_that_became_shorter() -> None:
    stripper = FakeStripper()
    spans = {"a": part(0, 4), "b": NO_ANSWER, "d": part(36, 38), "e": part(13, 24), "x": part(5, 8)}
    assert strip_answers(dataset(GOLDS), spans, stripper) == {
        "a": Stripped(Span("도서관", 0, 3), "은", "josa"),
        "e": Stripped(Span("옛 도서관", 13, 18), "(圖書館)은", "bracket"),
    }
    assert stripper.analyzed == [CONTEXT]  # once for all answers
    stripper = FakeStripper()
    assert strip_answers(dataset(GOLDS), {"a": NO_ANSWER, "x": part(5, 7)}, stripper) == {}
    assert stripper.analyzed == []  # there is no answer to strip


def test_josa_report_scores_effects_and_endings_are_literal() -> None:
    found = report(GOLDS, PREDICTIONS)
    assert found.before.means["exact_match"] == 100 * 2 / 6
    assert found.after.means["exact_match"] == 100 * 4 / 6
    assert "".join(change.qas_id for change in found.changes) == "abcdef"
    assert [change.effect for change in found.changes] == [
        "better", "better", "worse", "same", "better", "same",
    ]  # fmt: skip
    assert found.endings() == [
        EndingCount("에", "josa", 2, 1, 0),
        EndingCount("(…)은", "bracket", 1, 1, 0),
        EndingCount(".", "mark", 1, 0, 0),
        EndingCount("도", "josa", 1, 0, 1),
        EndingCount("은", "josa", 1, 1, 0),
    ]


def test_josa_report_cut_at_the_front_counts_as_changed() -> None:
    found = report({"a": "서관"}, {"a": "도서관"}, rules={"": "quote"}, front=1)
    assert found.endings() == [EndingCount("(at the front)", "quote", 1, 1, 0)]
    assert found.changes[0].after == "서관"


def test_josa_report_blanks_around_an_answer_stay_if_nothing_is_cut() -> None:
    (change,) = report(GOLDS, {"a": " 도서관 ", "b": "언덕에\n"}).changes
    assert (change.before, change.after) == ("언덕에\n", "언덕")


def test_josa_report_summary_records_and_tables_agree() -> None:
    found = report(GOLDS, {**PREDICTIONS, "b": "바다에", "d": "강가"})
    found = replace(found, not_found=["b"], ambiguous=["d"])
    summary = json.loads(json.dumps(found.summary()))
    assert summary["with"]["exact_match"] == 100 * 4 / 6
    assert summary["changed"] == {"total": 4, "better": 2, "worse": 1, "same": 1}
    assert (summary["not_found"], summary["ambiguous"]) == (["b"], ["d"])
    assert summary["endings"][0] == {
        "ending": "(…)은", "rule": "bracket", "answers": 1, "better": 1, "worse": 0,
    }  # fmt: skip
    assert list(found.records())[1] == {
        "id": "c", "before": "인도", "after": "인", "golds": ["인도"], "effect": "worse",
        "scores": {
            "before": {"exact_match": True, "f1": 1.0},
            "after": {"exact_match": False, "f1": 2 / 3},
        },
        "removed": "도", "rule": "josa",
    }  # fmt: skip
    lines = found.format().split("\n")
    assert lines[0].split() == ["not", "stripped", "stripped", "difference"]
    assert lines[2].split() == ["exact_match", "50.00", "66.67", "+16.67"]
    assert "answers shortened: 4 (2 better, 1 worse, 1 without effect)" in lines
    assert "not in their context, left as they are: 1 (b)" in lines
    assert "at several places and without answer_start, the first one used: 1 (d)" in lines
    assert lines[-1].split() == ["은", "josa", "1", "1", "0"]


def test_josa_report_many_endings_are_summed_up_on_screen() -> None:
    endings = [chr(0xAC00 + 28 * number) for number in range(30)]
    golds = {ending: f"나{ending}" for ending in endings}
    context, rules = " ".join(golds.values()), dict.fromkeys(endings, "josa")
    last = report(golds, golds, context, rules=rules).format().split("\n")[-1]
    assert last.split() == ["(5", "others)", "5", "0", "5"]


def test_josa_report_nothing_to_strip_has_no_table() -> None:
    text = report(GOLDS, {"a": "도서관"}).format()
    assert text.split("\n")[-1] == "answers shortened: 0 (0 better, 0 worse, 0 without effect)"
