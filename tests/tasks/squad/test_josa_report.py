"""The josa report, with a stripper that knows a few endings by heart."""

import json
from dataclasses import replace

from bert_ko.tasks.squad.examples import NO_ANSWER, Dataset, Gold, Paragraph, Question, Span
from bert_ko.tasks.squad.josa import Stripped
from bert_ko.tasks.squad.josa_report import (
    EndingCount,
    JosaReport,
    Stripper,
    make_josa_report,
    strip_answers,
)
from bert_ko.tasks.squad.prediction_file import PredictionFile
from bert_ko.tasks.squad.scores import score_predictions

CONTEXT = "도서관은 언덕에 있다. 옛 도서관(圖書館)은 강가에 있었다. 인도는 강가에서 멀다."


class FakeStripper:
    """Cuts one ending, though MeCab would know better: 인도 loses its tail."""

    def __init__(self) -> None:
        self.analyzed: list[str] = []

    def analyze(self, context: str) -> str:
        self.analyzed.append(context)
        return context

    def strip(self, analysis: str, span: Span) -> Stripped:
        rules = {"(圖書館)은": "bracket", "은": "josa", "에": "josa", "도": "josa", ".": "mark"}
        for ending, rule in rules.items():
            if span.text.endswith(ending) and span.text != ending:
                return Stripped(part(analysis, span.start, span.end - len(ending)), ending, rule)
        return Stripped(span, "", "")


def part(context: str, start: int, end: int) -> Span:
    return Span(context[start:end], start, end)


def dataset(golds: dict[str, str], context: str = CONTEXT) -> Dataset:
    questions = tuple(
        Question(qas_id, "어디?", (Gold(gold, context.index(gold)),), False)
        for qas_id, gold in golds.items()
    )
    return Dataset("1.1", (Paragraph("", context, questions),), ())


def report(
    golds: dict[str, str],
    predictions: dict[str, str],
    stripper: Stripper | None = None,
    context: str = CONTEXT,
) -> JosaReport:
    data = dataset(golds, context)
    spans = PredictionFile(predictions, {}, 0).locate(data).spans
    scores = score_predictions(data.golds(), predictions)
    shortened = strip_answers(data, spans, stripper or FakeStripper())
    return make_josa_report(data.golds(), predictions, scores, shortened)


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


def test_strip_answers_gives_those_that_became_shorter() -> None:
    stripper = FakeStripper()
    spans = {
        "a": part(CONTEXT, 0, 4), "b": NO_ANSWER, "d": part(CONTEXT, 36, 38),
        "e": part(CONTEXT, 13, 24), "x": part(CONTEXT, 5, 8),
    }  # fmt: skip
    assert strip_answers(dataset(GOLDS), spans, stripper) == {
        "a": Stripped(Span("도서관", 0, 3), "은", "josa"),
        "e": Stripped(Span("옛 도서관", 13, 18), "(圖書館)은", "bracket"),
    }
    assert stripper.analyzed == [CONTEXT]  # once for all answers


def test_strip_answers_analyzes_no_context_without_answers() -> None:
    stripper = FakeStripper()
    assert strip_answers(dataset(GOLDS), {"a": NO_ANSWER, "x": Span("언덕", 5, 7)}, stripper) == {}
    assert stripper.analyzed == []


def test_josa_report_cut_at_the_front_counts_as_changed() -> None:
    class FrontStripper(FakeStripper):
        def strip(self, analysis: str, span: Span) -> Stripped:
            return Stripped(part(analysis, span.start + 1, span.end), "", "quote")

    found = report({"a": "서관"}, {"a": "도서관"}, FrontStripper())
    assert found.endings() == [EndingCount("(at the front)", "quote", 1, 1, 0)]
    assert found.changes[0].after == "서관"


def test_josa_report_blanks_around_an_answer_stay_where_nothing_is_cut() -> None:
    (change,) = report(GOLDS, {"a": " 도서관 ", "b": "언덕에\n"}).changes
    assert (change.before, change.after) == ("언덕에\n", "언덕")


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
    found = replace(found, not_found=["b"], ambiguous=["d"])
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
    found = report(GOLDS, {**PREDICTIONS, "b": "바다에", "d": "강가"})
    lines = replace(found, not_found=["b"], ambiguous=["d"]).format().split("\n")
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
        def strip(self, analysis: str, span: Span) -> Stripped:
            return Stripped(part(analysis, span.start + 1, span.end), span.text[0], "josa")

    golds = {str(number): word for number, word in enumerate(words)}
    text = report(golds, golds, LastStripper(), context).format()
    assert text.split("\n")[-1].split() == ["(5", "others)", "5", "0", "5"]


def test_josa_report_nothing_to_strip_has_no_table() -> None:
    text = report(GOLDS, {"a": "도서관"}).format()
    assert text.split("\n")[-1] == "answers shortened: 0 (0 better, 0 worse, 0 without effect)"
