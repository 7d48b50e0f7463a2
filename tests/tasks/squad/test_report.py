"""report.html: what it lists, its markup, and what a browser makes of it."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bert_ko.page_flags import Language
from bert_ko.report.languages import Texts
from bert_ko.tasks.squad.comparison import JosaReport
from bert_ko.tasks.squad.examples import Dataset, Gold, Paragraph, Problem, Question, Span
from bert_ko.tasks.squad.josa_rules import Stripped
from bert_ko.tasks.squad.predictions import Candidate, Prediction
from bert_ko.tasks.squad.report import ReportData, outcome, render_report, report_values
from bert_ko.tasks.squad.scores import AnswerScore, score_predictions
from tests.pages import check_page

Parse = Callable[[str], Any]

INJECTED = "</script><img src=x onerror=\"document.title='나'\"><b>굵게</b>"
EMOJI = "😀 도서관은 👩‍👧 언덕 위에 있다. 강가에는 다리가 있다."
NASTY = f"배는 {INJECTED} 섬에 \ud800 닿는다."


def question(qas_id: str, context: str, *golds: str, text: str = "어디인가?") -> Question:
    answers = tuple(Gold(gold, context.index(gold) if gold in context else None) for gold in golds)
    return Question(qas_id, text, answers, not golds)


MARKET = (
    question("exact", EMOJI, "언덕", "언덕", "산 위"),
    question("partly", EMOJI, "언덕 위"),
    question("wrong", EMOJI, "도서관"),
    question("null", EMOJI),
)
INJECTING = Paragraph(INJECTED, NASTY, (question("nasty", NASTY, "섬", text=INJECTED),))
DATASET = Dataset("v2.0", (Paragraph("마을", EMOJI, MARKET), INJECTING), ())
BEFORE = {"exact": "언덕 위에", "partly": "위에", "wrong": "다리", "null": "", "nasty": "섬에"}
AFTER = BEFORE | {"exact": "언덕", "partly": "위", "nasty": "섬"}


def spans(dataset: Dataset, texts: dict[str, str]) -> dict[str, Span]:
    places = {}
    for paragraph, asked in dataset.questions():
        text = texts[asked.qas_id]
        start = paragraph.context.index(text)
        places[asked.qas_id] = Span(text, start, start + len(text))
    return places


LANGUAGES: tuple[Language, ...] = ("en", "ko")


def make_data(dataset: Dataset = DATASET, **more: Any) -> ReportData:
    answers = spans(dataset, AFTER)
    shortened = {
        qas_id: Stripped(answer, "에", "josa")
        for qas_id, answer in answers.items()
        if answer.text != BEFORE[qas_id]
    }
    josa = JosaReport.of(score_predictions(dataset.golds(), BEFORE), shortened)
    predictions = []
    for paragraph, asked in dataset.questions():
        span = spans(dataset, BEFORE)[asked.qas_id]
        best = Candidate(span.text, span.start, span.end, 2.0, 0.75, 1.0, 1.0)
        other = Candidate(paragraph.context[:1], 0, 1, 1.0, 0.25, 1.0, 0.0)
        predictions.append(Prediction(asked.qas_id, [best, other], 0.0))
    data = ReportData(
        title="질의응답 <1>",
        facts=[("model", "base & large")],
        dataset=dataset,
        predictions=predictions,
        josa=josa,
        answers=answers,
        scores=josa.after,
        flags=[("--learning_rate", "<1e-5>")],
        runs=[
            [
                {"step": 1, "loss": 3.0, "learning_rate": 1e-5},
                {"step": 2, "loss": 2.0, "learning_rate": 2e-5},
                {"step": 2, "eval_exact_match": 50.0, "eval_f1": 75.0, "eval_loss": 2.5},
            ]
        ],
        t=Texts("en"),
        seeds=[(1, {"exact_match": 60.0, "f1": 80.0}), (2, {"exact_match": 62.0, "f1": 84.0})],
        confidences=dict.fromkeys(answers, 0.75),
        unknown=[("in the context",), *[("nowhere",)] * (len(predictions) - 1)],
    )
    return replace(data, **more)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (AnswerScore(True, 1.0), "exact"),
        (AnswerScore(True, 0.0), "exact"),  # both normalise to nothing
        (AnswerScore(False, 1.0), "partly"),  # other spaces
        (AnswerScore(False, 0.1), "partly"),
        (AnswerScore(False, 0.0), "wrong"),
        (None, "unscored"),
    ],
)
def test_outcome_is_a_word(score: AnswerScore | None, expected: str) -> None:
    assert outcome(score) == expected


def test_report_values_of_a_stripped_answer() -> None:
    values = report_values(make_data())
    assert values["contexts"][0] == {"title": "마을", "text": EMOJI}
    assert len(values["contexts"]) == 2
    assert values["questions"][0] == {
        "id": "exact", "context": 0, "question": "어디인가?", "golds": [[11, 13], "산 위"],
        "answer": [11, 13], "outcome": "exact", "em": True, "f1": 1.0,
        "change": {"before": "언덕 위에", "em": False, "f1": 0.666667, "effect": "better"},
        "candidates": [[11, 16, 0.75], [0, 1, 0.25]],
    }  # fmt: skip
    assert [value["outcome"] for value in values["questions"]] == [
        "exact", "partly", "wrong", "exact", "exact",
    ]  # fmt: skip


def test_report_values_question_without_prediction_and_probability() -> None:
    data = make_data()
    candidate = data.predictions[1].candidates[0]._replace(probability=math.nan)
    prediction = data.predictions[1]._replace(candidates=[candidate])
    first, second, *_ = report_values(replace(data, predictions=[prediction], answers={}))[
        "questions"
    ]
    assert (first["answer"], first["candidates"]) == (None, [])
    assert second["candidates"] == [[candidate.start, candidate.end, None]]


def test_render_report_scores_and_tables_need_no_script(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    main = root.all("main")[0]
    assert [dd.text for dd in main.all("dd", "figure")] == ["60.00", "70.00", "5"]
    assert [dd.text for dd in main.all("dd", "note")] == [
        "20.00 without stripping", "54.67 without stripping", "2 contexts",
    ]  # fmt: skip
    rows = {table.all("caption")[0].text: table_rows(table) for table in main.all("table")}
    assert rows == {
        "Scores by question word": [
            ["Question word", "Exact match", "F1", "Questions"],
            ["어디", "50.00", "62.50", "4"],
            ["others", "100.00", "100.00", "1"],
        ],
        "Scores by length of the context": [
            ["Characters", "Exact match", "F1", "Questions"],
            ["1–250", "60.00", "70.00", "5"],
        ],
        "Scores by where pieces are [UNK]": [
            ["[UNK]", "Exact match", "F1", "Questions"],
            ["in the context", "100.00", "100.00", "1"],
            ["nowhere", "50.00", "62.50", "4"],
        ],
        "Share of right predictions by their probability": [
            ["Probability", "Mean, percent", "Right, percent", "Answers"],
            ["0.7–0.8", "75.00", "60.00", "5"],
        ],
        "Stripping of josa and endings": [
            ["Percent", "Not stripped", "Stripped", "Difference"],
            ["Exact match", "20.00", "60.00", "+40.00"],
            ["F1", "54.67", "70.00", "+15.33"],
        ],
        "Endings cut off": [
            ["Ending", "Rule", "Answers", "Better", "Worse"],
            ["에", "josa", "3", "3", "0"],
        ],
        "Runs that differ in their seed alone, in percent": [
            ["Seed", "Exact match", "F1"],
            ["1", "60.00", "80.00"],
            ["2", "62.00", "84.00"],
            ["Mean", "61.00", "82.00"],
            ["Standard deviation", "1.41", "2.83"],
        ],
        "Flags that are not at their defaults": [["Flag", "Value"], ["--learning_rate", "<1e-5>"]],
    }
    drawings = [svg for svg in main.all("svg") if "role" in svg.attributes]
    assert [svg.attributes["aria-label"] for svg in drawings] == [
        "Share of right predictions by their probability",
        "Loss by step", "Learning rate by step", "Evaluation, percent by step",
    ]  # fmt: skip
    assert [facts.text for facts in main.all("dl", "facts")] == [
        "Expected calibration error, percent15.00", "modelbase & large",
    ]  # fmt: skip


def table_rows(table: Any) -> list[list[str]]:
    return [[cell.text for cell in tr if cell.tag in ("th", "td")] for tr in table.all("tr")]


def test_render_report_filters_count_the_questions(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    assert {o.attributes["value"]: o.text for o in root.by_id("filter").all("option")} == {
        "all": "All (5)",
        "exact": "Exact (3)",
        "partly": "Partly right (1)",
        "wrong": "Wrong (1)",
        "better": "Better by stripping (3)",
        "worse": "Worse by stripping (0)",
        "same": "Stripped, same score (0)",
    }


def test_render_report_data_come_back_and_text_makes_no_elements(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    context = json.loads(root.by_id("data").text)["contexts"][1]
    assert context == {"title": INJECTED, "text": NASTY.replace("\ud800", "\ufffd")}
    assert root.all("img") == root.all("b") == []
    assert len(root.all("script")) == 3
    assert root.all("h1")[0].text == "질의응답 <1>"


def test_render_report_many_endings_are_folded(parse: Parse) -> None:
    golds, texts = {str(i): ["강"] for i in range(12)}, {str(i): f"강{i}" for i in range(12)}
    shortened = {str(i): Stripped(Span("강", 0, 1), str(i), "josa") for i in range(12)}
    josa = JosaReport.of(score_predictions(golds, texts), shortened)
    root = parse(render_report(make_data(josa=josa)))
    assert root.all("summary")[0].text == "2 others"
    assert len(root.all("details")[0].all("tbody")[0].all("tr")) == 2


def test_render_report_empty_dataset_is_a_page(parse: Parse) -> None:
    josa = JosaReport.of(score_predictions({}, {}), {})
    empty = make_data(
        Dataset("", (), ()),
        predictions=[],
        josa=josa,
        answers={},
        scores=josa.after,
        unknown=[],
        runs=[[]],
        seeds=[],
        flags=[],
    )
    root = parse(render_report(empty))
    assert [dd.text for dd in root.all("dd", "figure")] == ["0.00", "0.00", "0"]
    assert root.all("h2")[-1].text == "Questions"
    assert root.all("svg") == []
    assert not any("tripp" in option.text for option in root.by_id("filter").all("option"))


def test_render_report_problems_are_counted_and_one_seed_has_no_deviation(parse: Parse) -> None:
    problems = (Problem("answer_moved", "exact", "x"), Problem("answer_moved", "wrong", "y"))
    data = make_data(
        dataset=replace(DATASET, problems=problems),
        scores=score_predictions(DATASET.golds(), {}),
        seeds=[(7, {"exact_match": 60.0, "f1": 80.0})],
    )
    root = parse(render_report(data))
    assert [item.text for item in root.by_id("scores").all("li")] == [
        "5 questions have no prediction and score 0",
        "2 times in the dataset: answer moved",
    ]
    assert "Standard deviation" not in root.all("main")[0].text


def marks(item: Any) -> list[tuple[str, str]]:
    return [(mark.attributes["class"], mark.text) for mark in item.all("mark")]


@pytest.mark.slow
def test_browser_marks_are_right_and_injected_script_is_inert(browser: Any) -> None:
    root = browser.show(render_report(make_data()))
    items = root.by_id("items").all("li")
    assert [marks(item) for item in items] == [
        [("answer gold", "언덕")],
        [("gold", "언덕 "), ("answer gold", "위")],
        [("gold", "도서관"), ("answer", "다리")],
        [],
        [("answer gold", "섬")],
    ]
    assert [item.all("dl", "answers")[0].text for item in items] == [
        "Gold언덕 / 산 위Answer언덕Not stripped언덕 위에 (EM 0, F1 66.67; stripping: better)",
        "Gold언덕 위Answer위Not stripped위에 (EM 0, F1 40.00; stripping: better)",
        "Gold도서관Answer다리",
        "Goldno answerAnswerno answer",
        "Gold섬Answer섬Not stripped섬에 (EM 0, F1 66.67; stripping: better)",
    ]
    assert [item.all("p", "about")[0].text for item in items][1:3] == [
        "partlyEM 0, F1 50.00마을partly", "wrongEM 0, F1 0.00마을wrong",
    ]  # fmt: skip
    assert items[4].all("h3")[0].text == INJECTED
    assert root.all("title")[0].text == "질의응답 <1>"
    assert root.all("img") == []
    assert browser.requests == ["/report.html"]


OPEN_ALL = "document.querySelectorAll('details').forEach((node) => { node.open = true; });"


@pytest.mark.slow
def test_browser_injected_script_is_inert_without_the_policy_too(browser: Any) -> None:
    root = browser.show(render_report(make_data()), script=OPEN_ALL)
    assert root.all("title")[0].text == "질의응답 <1>"
    assert root.all("img") == []
    assert browser.requests == ["/report.html"]


@pytest.mark.slow
def test_browser_details_are_built_when_opened(browser: Any) -> None:
    page = render_report(make_data())
    assert browser.show(page).by_id("items").all("table") == []
    root = browser.show(page, "q=exact", OPEN_ALL)
    (item,) = root.by_id("items").all("li")
    assert table_rows(item.all("table")[0]) == [
        ["rank", "answer", "probability", "characters"],
        ["1", "언덕 위에", "75.00 %", "11–16"],
        ["2", "😀", "25.00 %", "0–1"],
    ]
    assert item.all("p", "context")[1].text == EMOJI
    assert marks(item) == [("answer gold", "언덕")] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("filter=better&order=lowest", ["partly", "exact", "nasty"]),
        ("filter=wrong", ["wrong"]),
        ("order=highest", ["exact", "null", "nasty", "partly", "wrong"]),
        ("q=닿는다", ["nasty"]),
        ("q=산 위", ["exact"]),
        ("q=마을&filter=exact", ["exact", "null"]),
    ],
)
def test_browser_address_chooses_questions(browser: Any, state: str, expected: list[str]) -> None:
    root = browser.show(render_report(make_data()), state)
    assert [link.text for link in root.by_id("items").all("a")] == expected


@pytest.mark.slow
def test_browser_unknown_golds_and_no_prediction_say_so(browser: Any) -> None:
    asked = Question("unknown", "어디인가?", (), False)
    paragraphs = (*DATASET.paragraphs, Paragraph("마을", EMOJI, (asked,)))
    dataset, unknown = Dataset("", paragraphs, ()), [("nowhere",)] * 6
    page = render_report(replace(make_data(), dataset=dataset, unknown=unknown))
    root = browser.show(page, "q=unknown")
    (item,) = root.by_id("items").all("li")
    assert item.all("dl", "answers")[0].text == "GoldunknownAnswerno prediction"
    assert item.all("p", "about")[0].text == "마을unknown"
    assert root.by_id("filter").all("option")[4].text == "Without a score (1)"


@pytest.mark.slow
def test_browser_no_answer_shows_the_context_around_the_gold_alone(browser: Any) -> None:
    context = "".join(f"{i}번 집은 비어 있다. " for i in range(100))
    asked = (question("far", context, "70번"), question("none", context))
    data = replace(
        make_data(),
        dataset=Dataset("v2.0", (Paragraph("", context, asked),), ()),
        predictions=[],
        answers={"far": Span("", 0, 0), "none": Span("", 0, 0)},
        unknown=[("nowhere",)] * 2,
    )
    far, none = browser.show(render_report(data)).by_id("items").all("li")
    assert marks(far) == [("gold", "70번")]
    place = context.index("70번")
    around = context[place - 80 : place + 83]
    assert far.all("p", "context")[0].text == f"… {around} …"
    assert none.all("p", "context")[0].text == f"{context[:80]} …"


def test_render_report_klue_mrc_has_a_table_of_its_scores() -> None:
    asked = tuple(replace(found, question_type=1) for found in MARKET)
    dataset = Dataset("klue-mrc-v1.1", (Paragraph("마을", EMOJI, asked), INJECTING), ())
    page = re.sub(r"\s+", " ", render_report(make_data(dataset)))
    assert "ROUGE-W" in page
    assert re.search(
        r'<th scope="row">type 1</th> <td data-header="Exact match"><data value="50.0">', page
    )
    assert "ROUGE-W" not in render_report(make_data())


@pytest.mark.slow
def test_page_is_readable_everywhere_and_korean_has_no_english(browser: Any) -> None:
    page, korean = (render_report(make_data(t=Texts(language))) for language in LANGUAGES)
    check_page(
        browser,
        page,
        korean,
        [INJECTED, "exact", "partly", "wrong", "null", "nasty", "model", "base & large"],
    )
