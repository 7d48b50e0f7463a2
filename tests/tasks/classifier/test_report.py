"""report.html of run_classifier: what it lists, its markup, and what a browser makes of it."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bert_ko.page_flags import Language
from bert_ko.report.languages import Texts
from bert_ko.tasks.classifier.examples import Example
from bert_ko.tasks.classifier.report import (
    ReportData,
    render_report,
    report_values,
)
from bert_ko.tasks.classifier.scores import score_classes, score_values
from tests.pages import check_page

Parse = Callable[[str], Any]

INJECTED = "</script><img src=x onerror=\"document.title='나'\"><b>굵게</b>"
LABELS = ["날씨", INJECTED, "축제", "책"]
EXAMPLES = [
    Example("a", "오늘은 바람이 분다.", label="날씨"),
    Example("b", INJECTED, label=INJECTED),
    Example("c", "강가에서 \ud800 불꽃놀이를 한다.", "  ", label="축제"),
    Example("d", "\u1103\u1169서관에 책이 많다. 😀", "사서가 웃는다.", label="책"),
    Example("e", "비가 온다.", label="날씨"),
]
GOLDS = np.array([0, 1, 2, 3, 0], np.int32)
PROBABILITIES = np.array(
    [
        [0.90, 0.05, 0.03, 0.02],
        [0.55, 0.25, 0.15, 0.05],
        [0.80, 0.10, 0.07, 0.03],
        [0.50, 0.30, 0.15, 0.05],
        [0.60, 0.20, 0.15, 0.05],
    ],
    np.float32,
)


LANGUAGES: tuple[Language, ...] = ("en", "ko")


def make_data(**more: Any) -> ReportData:
    data = ReportData(
        title="분류 <1>",
        facts=[("model", "base & large")],
        examples=EXAMPLES,
        labels=LABELS,
        golds=GOLDS,
        predictions=PROBABILITIES,
        scores=score_classes(GOLDS, PROBABILITIES.argmax(axis=1), LABELS),
        flags=[("--learning_rate", "<1e-5>")],
        runs=[
            [
                {"step": 1, "loss": 3.0, "accuracy": 0.25, "learning_rate": 1e-5},
                {"step": 2, "eval_loss": 2.5, "eval_accuracy": 50.0, "eval_macro_f1": 40.0},
            ]
        ],
        t=Texts("en"),
        seeds=[
            (1, {"accuracy": 60.0, "macro_f1": 50.0, "weighted_f1": 55.0, "mcc": 40.0}),
            (2, {"accuracy": 62.0, "macro_f1": 54.0, "weighted_f1": 56.0, "mcc": 44.0}),
        ],
        unknown=np.array([False, False, True, False, True]),
    )
    return replace(data, **more)


def make_regression(predictions: Sequence[float] = (3.0, 0.5, 4.25)) -> ReportData:
    golds = np.array([3.0, 2.0, 4.0], np.float32)
    found = np.array(predictions, np.float32)
    finite = np.nan_to_num(found)
    return ReportData(
        title="비슷함",
        facts=[],
        examples=[Example(str(i), f"글 {i}", f"다른 글 {i}", score=3.0) for i in range(3)],
        labels=[],
        golds=golds,
        predictions=found,
        scores=score_values(golds, finite),
        flags=[],
        runs=[[{"step": 1, "loss": 2.0}, {"step": 2, "eval_pearson": 80.0, "eval_mse": 0.5}]],
        t=Texts("en"),
        seeds=[(1, {"pearson": 80.0, "spearman": 70.0, "mse": 1.0, "mae": 1.0})],
        unknown=np.array([False, True, False]),
    )


def table_rows(table: Any) -> list[list[str]]:
    return [[cell.text for cell in tr if cell.tag in ("th", "td")] for tr in table.all("tr")]


def tables(root: Any) -> dict[str, list[list[str]]]:
    return {table.all("caption")[0].text: table_rows(table) for table in root.all("table")}


def ids(root: Any) -> list[str]:
    return [item.all("a")[0].text for item in root.by_id("items").all("li") if item.all("a")]


def test_report_values_of_classes() -> None:
    values = report_values(make_data())
    assert values["labels"] == LABELS
    assert values["examples"][3] == {
        "id": "d",
        "texts": ["\u1103\u1169서관에 책이 많다. 😀", "사서가 웃는다."],
        "gold": 3,
        "probability": 0.05,
        "best": [[0, 0.5], [1, 0.3], [2, 0.15]],
        "outcome": "wrong",
    }
    assert [example["outcome"] for example in values["examples"]] == [
        "right", "wrong", "wrong", "wrong", "right",
    ]  # fmt: skip


def test_report_values_equal_probabilities_the_first_label_is_predicted() -> None:
    same = np.full((1, 2), 0.5, np.float32)
    golds = np.array([0], np.int32)
    data = make_data(
        examples=EXAMPLES[:1],
        labels=["가", "나"],
        golds=golds,
        predictions=same,
        scores=score_classes(golds, same.argmax(axis=1), ["가", "나"]),
    )
    (value,) = report_values(data)["examples"]
    assert (value["best"], value["outcome"]) == ([[0, 0.5], [1, 0.5]], "right")


def test_report_values_of_a_regression() -> None:
    values = report_values(make_regression((3.0, math.nan, 4.25)))
    assert values["labels"] == []
    assert [(value["gold"], value["predicted"]) for value in values["examples"]] == [
        (3.0, 3.0), (2.0, None), (4.0, 4.25),
    ]  # fmt: skip
    assert values["examples"][1]["texts"] == ["글 1", "다른 글 1"]


def test_report_values_probability_that_is_no_number_is_none() -> None:
    probabilities = PROBABILITIES.copy()
    probabilities[0] = math.nan
    value = report_values(make_data(predictions=probabilities))["examples"][0]
    assert value["probability"] is None
    assert value["best"] == [[0, None], [1, None], [2, None]]


def test_render_report_scores_and_tables_need_no_script(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    main = root.all("main")[0]
    assert [dd.text for dd in main.all("dd", "figure")] == [
        "40.00", "14.29", "22.86", "0.00", "5",
    ]  # fmt: skip
    assert tables(main) == {
        "Labels, in percent": [
            ["Label", "Precision", "Recall", "F1", "Examples", "Predicted"],
            ["날씨", "40.00", "100.00", "57.14", "2", "5"],
            [INJECTED, "0.00", "0.00", "0.00", "1", "0"],
            ["축제", "0.00", "0.00", "0.00", "1", "0"],
            ["책", "0.00", "0.00", "0.00", "1", "0"],
        ],
        "Most frequent confusions": [
            ["Gold", "Predicted", "Examples", "Percent of the gold label"],
            [INJECTED, "날씨", "1", "100.00"],
            ["축제", "날씨", "1", "100.00"],
            ["책", "날씨", "1", "100.00"],
        ],
        "Accuracy by length of the text": [
            ["Characters", "Accuracy", "Examples"],
            ["1–20", "66.67", "3"],
            ["21–40", "0.00", "1"],
            ["41–80", "0.00", "1"],
        ],
        "Accuracy with [UNK] and without": [
            ["Texts", "Accuracy", "Examples"],
            ["with [UNK]", "50.00", "2"],
            ["without", "33.33", "3"],
        ],
        "Share of right predictions by their probability": [
            ["Probability", "Mean, percent", "Right, percent", "Examples"],
            ["0.5–0.6", "52.50", "0.00", "2"],
            ["0.6–0.7", "60.00", "100.00", "1"],
            ["0.8–0.9", "80.00", "0.00", "1"],
            ["0.9–1.0", "90.00", "100.00", "1"],
        ],
        "Runs that differ in their seed alone, in percent": [
            ["Seed", "Accuracy", "Macro F1", "Weighted F1", "MCC"],
            ["1", "60.00", "50.00", "55.00", "40.00"],
            ["2", "62.00", "54.00", "56.00", "44.00"],
            ["Mean", "61.00", "52.00", "55.50", "42.00"],
            ["Standard deviation", "1.41", "2.83", "0.71", "2.83"],
        ],
        "Flags that are not at their defaults": [["Flag", "Value"], ["--learning_rate", "<1e-5>"]],
    }
    drawings = [svg.attributes["aria-label"] for svg in main.all("svg") if "role" in svg.attributes]
    assert drawings == [
        "Confusion matrix: rows are gold labels, columns predicted ones",
        "Share of right predictions by their probability",
        "Loss by step", "Learning rate by step", "Accuracy in training, percent by step",
        "Evaluation, percent by step",
    ]  # fmt: skip
    curves = [item.text for item in main.all("li")]
    assert " training: first 25, last 25, lowest 25, highest 25" in curves  # in percent
    assert root.all("noscript")[0].text == "The list needs JavaScript."


def test_render_report_links_choose_gold_and_predicted(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    (table,) = (
        table for table in root.all("table") if "confusions" in table.all("caption")[0].text
    )
    assert [link.attributes["href"] for link in table.all("a")] == [
        "#gold=1&predicted=0", "#gold=2&predicted=0", "#gold=3&predicted=0",
    ]  # fmt: skip
    labels = [link.attributes["href"] for link in root.all("table")[0].all("a")]
    assert labels == ["#gold=0", "#predicted=0", "#gold=1", "#gold=2", "#gold=3"]
    (drawing,) = root.all("svg", "confusion")
    assert [link.attributes["href"] for link in drawing.all("a")] == [
        "#gold=0&predicted=0", "#gold=1&predicted=0", "#gold=2&predicted=0", "#gold=3&predicted=0",
    ]  # fmt: skip


def test_render_report_menus_count_the_examples(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    menus = {
        select.attributes["id"]: [option.text for option in select.all("option")]
        for select in root.all("select")
    }
    assert menus == {
        "filter": ["All (5)", "Right (2)", "Wrong (3)"],
        "gold": ["Any", "날씨 (2)", f"{INJECTED} (1)", "축제 (1)", "책 (1)"],
        "predicted": ["Any", "날씨 (5)", f"{INJECTED} (0)", "축제 (0)", "책 (0)"],
        "order": [
            "As in the file", "Most confident wrong first",
            "Lowest probability of the gold label first",
        ],
    }  # fmt: skip


def test_render_report_data_come_back_and_text_makes_no_elements(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    values = json.loads(root.by_id("data").text)
    assert values["examples"][1]["texts"] == [INJECTED]
    assert values["examples"][2]["texts"][0] == "강가에서 \ufffd 불꽃놀이를 한다."
    assert root.all("img") == root.all("b") == []
    assert len(root.all("script")) == 3
    assert root.all("h1")[0].text == "분류 <1>"


def test_render_report_without_mistakes_and_metrics(parse: Parse) -> None:
    right = np.eye(4, dtype=np.float32)[GOLDS]
    data = make_data(
        predictions=right, scores=score_classes(GOLDS, GOLDS, LABELS), runs=[[]], seeds=[], flags=[]
    )
    root = parse(render_report(data))
    assert "Most frequent confusions" not in tables(root)
    assert [heading.text for heading in root.all("h2")] == [
        "Scores", "Calibration", "Run", "Examples",
    ]  # fmt: skip


def test_render_report_no_more_than_ten_confusions(parse: Parse) -> None:
    golds = np.repeat(np.arange(4), 4)
    found = np.tile(np.arange(4), 4)
    data = make_data(
        examples=[Example(str(i), "글", label="날씨") for i in range(16)],
        golds=golds,
        predictions=np.eye(4, dtype=np.float32)[found],
        scores=score_classes(golds, found, LABELS),
    )
    assert len(tables(parse(render_report(data)))["Most frequent confusions"]) == 11


def test_render_report_no_examples_is_a_page(parse: Parse) -> None:
    nothing = np.zeros(0, np.int32)
    data = make_data(
        examples=[],
        golds=nothing,
        predictions=np.zeros((0, 4), np.float32),
        scores=score_classes(nothing, nothing, LABELS),
        unknown=np.zeros(0, np.bool_),
    )
    root = parse(render_report(data))
    assert [dd.text for dd in root.all("dd", "figure")] == ["0.00"] * 4 + ["0"]


def test_render_report_of_a_regression(parse: Parse) -> None:
    root = parse(render_report(make_regression()))
    assert [dd.text for dd in root.all("dd", "figure")] == [
        "98.20", "100.00", "0.7708", "0.5833", "3",
    ]  # fmt: skip
    assert tables(root)["Runs that differ in their seed alone, in percent"] == [
        ["Seed", "Pearson", "Spearman"], ["1", "80.00", "70.00"], ["Mean", "80.00", "70.00"],
    ]  # fmt: skip
    assert [caption.text for caption in root.all("figcaption")] == [
        "Loss", "Evaluation, percent", "Evaluation, mean squared error",
    ]  # fmt: skip
    assert tables(root)["Error with [UNK] and without"] == [
        ["Texts", "Mean absolute error", "Examples"],
        ["with [UNK]", "1.50", "1"],
        ["without", "0.12", "2"],
    ]
    assert root.all("svg", "confusion") == []


def test_render_report_of_a_regression_counts_what_is_too_high(parse: Parse) -> None:
    root = parse(render_report(make_regression((3.5, math.nan, 4.25))))
    assert [option.text for option in root.by_id("filter").all("option")] == [
        "All (3)", "Predicted too high (2)", "Predicted too low (0)",
    ]  # fmt: skip


@pytest.mark.slow
def test_browser_items_are_right_and_injected_script_is_inert(browser: Any) -> None:
    root = browser.show(render_report(make_data()))
    items = root.by_id("items").children
    assert [[text.text for text in item.all("ul", "texts")[0].all("li")] for item in items] == [
        ["오늘은 바람이 분다."],
        [INJECTED],
        ["강가에서 \ufffd 불꽃놀이를 한다.", "no text"],
        ["\u1103\u1169서관에 책이 많다. 😀", "사서가 웃는다."],
        ["비가 온다."],
    ]
    assert [item.all("p", "about")[0].text for item in items] == [
        "righta", "wrongb", "wrongc", "wrongd", "righte",
    ]  # fmt: skip
    assert items[1].all("dl", "answers")[0].text == f"Gold{INJECTED}Predicted날씨"
    best = [[row.text for row in item.all("ul", "best")[0].all("li")] for item in items]
    assert best[0] == ["날씨90.00 %", f"{INJECTED}5.00 %", "축제3.00 %"]
    assert best[3][2:] == ["축제15.00 %", "책5.00 %"]  # the gold label is none of the best
    marks = [[(m.attributes["class"], m.text) for m in item.all("mark")] for item in items]
    assert marks[0] == [("answer gold", "날씨")]
    assert marks[3] == [("answer", "날씨"), ("gold", "책")]
    bars = [span.attributes["style"] for span in items[0].all("span") if "style" in span.attributes]
    assert bars == ["width: 90.00%", "width: 5.00%", "width: 3.00%"]
    assert root.all("title")[0].text == "분류 <1>"
    assert root.all("img") == []
    assert browser.requests == ["/report.html"]


CLASS_STATES = {
    "filter=wrong": ["b", "c", "d"],
    "filter=right": ["a", "e"],
    "gold=0": ["a", "e"],
    "gold=0&filter=wrong": [],
    "gold=2&predicted=0": ["c"],
    "predicted=1": [],
    "order=confident": ["c", "b", "d", "e", "a"],
    "order=unlikely": ["d", "c", "b", "e", "a"],
    "q=도서관": ["d"],  # decomposed in the data
    "q=사서가": ["d"],
    "q=id:e": ["e"],
    "filter=all&q=": ["a", "b", "c", "d", "e"],
}


@pytest.mark.slow
def test_browser_address_chooses_examples(browser: Any) -> None:
    seen = browser.list_ids(render_report(make_data()), CLASS_STATES)
    assert dict(zip(CLASS_STATES, seen, strict=True)) == CLASS_STATES


@pytest.mark.slow
def test_browser_cell_of_the_matrix_leads_to_its_examples(browser: Any) -> None:
    script = """
      const cell = document.querySelector(".confusion a[href='#gold=2&predicted=0']");
      cell.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
    """
    root = browser.show(render_report(make_data()), script=script)
    assert ids(root) == ["c"]


SCORE_STATES = {
    "order=largest": ["1", "2", "0"],
    "order=smallest": ["0", "2", "1"],
    "filter=high": ["2"],
    "filter=low": ["1"],
    "q=다른 글 2": ["2"],
    "filter=all": ["0", "1", "2"],
}


@pytest.mark.slow
def test_browser_address_chooses_examples_of_a_regression(browser: Any) -> None:
    seen = browser.list_ids(render_report(make_regression()), SCORE_STATES)
    assert dict(zip(SCORE_STATES, seen, strict=True)) == SCORE_STATES


@pytest.mark.slow
def test_browser_regression_shows_differences(browser: Any) -> None:
    root = browser.show(render_report(make_regression((3.0, math.nan, 4.25))), "order=largest")
    assert [dl.text for dl in root.by_id("items").all("dl")] == [
        "Gold2Predicted–Difference–",
        "Gold4Predicted4.25Difference+0.25",
        "Gold3Predicted3Difference0",
    ]


@pytest.mark.slow
def test_page_is_readable_everywhere_and_korean_has_no_english(browser: Any) -> None:
    page, korean = (render_report(make_data(t=Texts(language))) for language in LANGUAGES)
    check_page(browser, page, korean, [INJECTED, "</script><img sr", "model", "base & large"])
