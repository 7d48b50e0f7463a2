"""report.html of run_ner: what it lists, its markup, and what a browser makes of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bert_ko.page_flags import Language
from bert_ko.report.languages import Texts
from bert_ko.tasks.ner.bio import Entity
from bert_ko.tasks.ner.examples import Dataset, Sentence, plain_sentence
from bert_ko.tasks.ner.features import Tagged
from bert_ko.tasks.ner.report import (
    ReportData,
    render_report,
    report_values,
)
from bert_ko.tasks.ner.scores import score, score_values
from tests.pages import check_page
from tests.small_data import from_entities

Parse = Callable[[str], Any]

INJECTED = "</script><img src=x onerror=\"document.title='나'\"><b>굵게</b>"
BAD_TYPE = "<b>&"
Spans = list[tuple[str, str]]

# Text, gold entities and predicted ones as (type, text).
SENTENCES: dict[str, tuple[str, Spans, Spans]] = {
    "right": (
        "😀 민수는 강릉에 갔다.",
        [("PS", "민수"), ("LC", "강릉")],
        [("PS", "민수"), ("LC", "강릉")],
    ),
    "type": ("한강초 아이들", [("OG", "한강초")], [("LC", "한강초")]),
    "boundary": ("산마을 도서관이 열렸다.", [("OG", "산마을 도서관")], [("OG", "도서관")]),
    "both": (
        "봄꽃 잔치에서 민수를 보았다.",
        [("OG", "봄꽃 잔치"), ("PS", "민수")],
        [("LC", "봄꽃")],
    ),
    "spurious": (f"{INJECTED} \ud800 한글 \u1103\u1169서관", [], [(BAD_TYPE, "굵게")]),
    "none": ("비가 온다.", [], []),
}


def tags_of(text: str, spans: Spans) -> tuple[str, ...]:
    found = [Entity(kind, text.index(part), text.index(part) + len(part)) for kind, part in spans]
    return from_entities(found, len(text))


def tagged(tags: tuple[str, ...], confidence: float = 0.75) -> Tagged:
    return Tagged(tags, np.full(len(tags), confidence, np.float32))


def make_dataset() -> Dataset:
    sentences = tuple(
        replace(plain_sentence(text, line), sentence_id=name, tags=tags_of(text, golds))
        for line, (name, (text, golds, _)) in enumerate(SENTENCES.items(), start=1)
    )
    return Dataset("klue.tsv", "character", sentences, {})


LANGUAGES: tuple[Language, ...] = ("en", "ko")


def make_data(**more: Any) -> ReportData:
    dataset = make_dataset()
    tags = [tags_of(text, predicted) for text, _, predicted in SENTENCES.values()]
    scores = score([sentence.tags for sentence in dataset.sentences], tags, dataset.labels)
    data = ReportData(
        title="개체명 <1>",
        facts=[("model", "base & large")],
        dataset=dataset,
        predictions=list(map(tagged, tags)),
        scores=scores,
        unknown=np.array([name in ("type", "both") for name in SENTENCES]),
        flags=[("--learning_rate", "<1e-5>")],
        runs=[
            [
                {"step": 1, "loss": 3.0, "accuracy": 0.25, "learning_rate": 1e-5},
                {
                    "step": 2,
                    "eval_f1": 50.0,
                    "eval_macro_f1": 40.0,
                    "eval_klue_char_macro_f1": 70.0,
                },
            ]
        ],
        t=Texts("en"),
        seeds=[(1, score_values(scores))],
    )
    return replace(data, **more)


def table_rows(table: Any) -> list[list[str]]:
    return [[cell.text for cell in tr if cell.tag in ("th", "td")] for tr in table.all("tr")]


def marks(item: Any) -> list[tuple[str, str]]:
    return [(mark.attributes["class"], mark.text) for mark in item.all("mark")]


def test_report_values_of_a_sentence_with_errors() -> None:
    values = report_values(make_data())
    assert values["sentences"][3] == {
        "id": "both",
        "text": "봄꽃 잔치에서 민수를 보았다.",
        "golds": [("OG", 0, 5), ("PS", 8, 10)],
        "predicted": [("LC", 0, 2)],
        "errors": [
            {"kind": "both", "type": "OG", "gold": ("OG", 0, 5), "predicted": ("LC", 0, 2)},
            {"kind": "missed", "type": "PS", "gold": ("PS", 8, 10), "predicted": None},
        ],
    }
    assert [[e["kind"] for e in value["errors"]] for value in values["sentences"]] == [
        [], ["type"], ["boundary"], ["both", "missed"], ["spurious"], [],
    ]  # fmt: skip


def test_report_values_words_are_spans_of_the_text() -> None:
    sentence = Sentence("1", "민수 씨는 왔다", (0, 3, 6), (2, 5, 8), ("B-PS", "I-PS", "O"))
    dataset = Dataset("x", "word", (sentence,), {})
    tags = ("O", "I-PS", "O")  # ill-formed
    data = make_data(
        dataset=dataset, predictions=[tagged(tags)], scores=score([sentence.tags], [tags], [])
    )
    (value,) = report_values(data)["sentences"]
    assert (value["golds"], value["predicted"]) == ([("PS", 0, 5)], [("PS", 3, 5)])
    assert value["errors"][0]["kind"] == "boundary"


def test_render_report_scores_and_tables_need_no_script(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    main = root.all("main")[0]
    assert [dd.text for dd in main.all("dd", "figure")] == ["33.33", "49.53", "29.17", "6"]
    assert [dd.text for dd in main.all("dd", "note")] == [
        "precision 33.33, recall 33.33", "mean over the tags", "mean over the types",
        "123 characters",
    ]  # fmt: skip
    tables = {table.all("caption")[0].text: table_rows(table) for table in main.all("table")}
    assert tables["Types, in percent"] == [
        ["Type", "Precision", "Recall", "F1", "Entities", "Predicted", "Right"],
        [BAD_TYPE, "0.00", "0.00", "0.00", "0", "1", "0"],
        ["LC", "33.33", "100.00", "50.00", "1", "3", "1"],
        ["OG", "0.00", "0.00", "0.00", "3", "1", "0"],
        ["PS", "100.00", "50.00", "66.67", "2", "1", "1"],
    ]
    assert tables["Errors by type of the gold entity, of spurious ones by their own"] == [
        ["Type", "Wrong type", "Wrong boundary", "Wrong type and boundary", "Missed", "Spurious"],
        [BAD_TYPE, "0", "0", "0", "0", "1"],
        ["LC", "0", "0", "0", "0", "0"],
        ["OG", "1", "1", "1", "0", "0"],
        ["PS", "0", "0", "0", "1", "0"],
        ["All", "1", "1", "1", "1", "1"],
    ]
    assert tables["Entities by length, in percent"] == [
        ["Characters", "Precision", "Recall", "F1", "Entities", "Predicted", "Right"],
        ["1–2", "50.00", "66.67", "57.14", "3", "4", "2"],
        ["3–4", "0.00", "0.00", "0.00", "1", "2", "0"],
        ["5–8", "0.00", "0.00", "0.00", "2", "0", "0"],
    ]
    assert tables["Entities of sentences with [UNK] and without, in percent"] == [
        ["Sentences", "Precision", "Recall", "F1", "Entities", "Predicted", "Right"],
        ["with [UNK]", "0.00", "0.00", "0.00", "3", "2", "0"],
        ["without", "50.00", "66.67", "57.14", "3", "4", "2"],
    ]
    assert tables["Share of right predictions by their probability"] == [
        ["Probability", "Mean, percent", "Right, percent", "Entities"],
        ["0.7–0.8", "75.00", "33.33", "6"],
    ]
    assert tables["Runs that differ in their seed alone, in percent"][0] == [
        "Seed", "Entity F1", "Entity macro F1", "KLUE's entity macro F1",
        "KLUE's character macro F1",
    ]  # fmt: skip
    drawings = [svg.attributes["aria-label"] for svg in main.all("svg") if "role" in svg.attributes]
    assert drawings == [
        "Share of right predictions by their probability",
        "Loss by step", "Learning rate by step", "Accuracy of tags in training, percent by step",
        "Evaluation, percent by step",
    ]  # fmt: skip
    curves = [item.text for item in main.all("li")]
    assert " training: first 25, last 25, lowest 25, highest 25" in curves  # in percent
    assert root.all("noscript")[0].text == "The list needs JavaScript."


def test_render_report_menus_count_the_sentences(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    menus = {
        select.attributes["id"]: [option.text for option in select.all("option")]
        for select in root.all("select")
    }
    assert menus == {
        "filter": [
            "All (6)", "Right (2)", "With errors (4)", "Wrong type (1)", "Wrong boundary (1)",
            "Wrong type and boundary (1)", "Missed (1)", "Spurious (1)",
        ],
        "type": ["Any", BAD_TYPE, "LC", "OG", "PS"],
        "order": ["As in the file", "Most errors first"],
    }  # fmt: skip


def test_render_report_counts_lead_to_the_sentences(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    (table,) = (table for table in root.all("table") if "Errors" in table.all("caption")[0].text)
    links = [link.attributes["href"] for link in table.all("a")]
    assert links[:2] == ["#filter=spurious&type=%3Cb%3E%26", "#filter=type&type=OG"]
    assert links[-1] == "#filter=spurious"


def test_render_report_data_come_back_and_text_makes_no_elements(parse: Parse) -> None:
    root = parse(render_report(make_data()))
    values = json.loads(root.by_id("data").text)
    assert values["sentences"][4]["text"] == SENTENCES["spurious"][0].replace("\ud800", "\ufffd")
    assert root.all("img") == root.all("b") == []
    assert len(root.all("script")) == 3
    assert root.all("h1")[0].text == "개체명 <1>"


def test_render_report_what_was_wrong_is_counted(parse: Parse) -> None:
    data = make_data(dataset=replace(make_dataset(), problems={"ill_formed_tag": ["x", "y"]}))
    items = [item.text for item in parse(render_report(data)).by_id("scores").all("li")]
    assert items == ["2 times in the dataset: ill formed tag"]


def test_render_report_no_entities_and_metrics_is_a_page(parse: Parse) -> None:
    sentence = Sentence("1", "비", (0,), (1,), ("O",))
    data = make_data(
        dataset=Dataset("x", "character", (sentence,), {}),
        predictions=[tagged(("O",))],
        unknown=None,
        scores=score([("O",)], [("O",)], ("O",)),
        runs=[[]],
        seeds=[],
    )
    root = parse(render_report(data))
    assert [heading.text for heading in root.all("h2")] == ["Scores", "Run", "Sentences"]
    assert [option.text for option in root.by_id("type").all("option")] == ["Any"]


def test_render_report_other_number_of_predictions_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        render_report(make_data(predictions=[]))


@pytest.mark.slow
def test_browser_marks_are_right_and_injected_script_is_inert(browser: Any) -> None:
    root = browser.show(render_report(make_data()))
    items = root.by_id("items").children
    assert [marks(item) for item in items] == [
        [("answer gold", "민수"), ("answer gold", "강릉")],
        [("answer gold", "한강초")],
        [("gold", "산마을 "), ("answer gold", "도서관")],
        [("answer gold", "봄꽃"), ("gold", " 잔치"), ("gold", "민수")],
        [("answer", "굵게")],
        [],
    ]
    labels = [[(s.attributes["class"], s.text) for s in item.all("small")] for item in items]
    assert labels == [
        [("label answer gold", "PS"), ("label answer gold", "LC")],
        [("label gold", "OG"), ("label answer", "LC")],
        [("label answer gold", "OG")],
        [("label answer", "LC"), ("label gold", "OG"), ("label gold", "PS")],
        [("label answer", BAD_TYPE)],
        [],
    ]
    assert [item.all("p", "about")[0].text for item in items] == [
        "rightright", "1 errortype", "1 errorboundary", "2 errorsboth", "1 errorspurious",
        "rightnone",
    ]  # fmt: skip
    assert [[li.text for li in item.all("li")[1:]] for item in items] == [
        [],
        ["Wrong type: gold 한강초 (OG), predicted 한강초 (LC)"],
        ["Wrong boundary: gold 산마을 도서관 (OG), predicted 도서관 (OG)"],
        [
            "Wrong type and boundary: gold 봄꽃 잔치 (OG), predicted 봄꽃 (LC)",
            "Missed: gold 민수 (PS)",
        ],
        [f"Spurious: predicted 굵게 ({BAD_TYPE})"],
        [],
    ]
    assert items[0].all("p", "sentence")[0].text == "😀 민수PS는 강릉LC에 갔다."
    assert root.all("title")[0].text == "개체명 <1>"
    assert root.all("img") == []
    assert browser.requests == ["/report.html"]


STATES = {
    "filter=right": ["right", "none"],
    "filter=right&type=PS": ["right"],
    "filter=wrong": ["type", "boundary", "both", "spurious"],
    "filter=wrong&type=PS": ["both"],
    "filter=wrong&type=LC": [],  # predicted for an OG, for which the errors count
    "type=LC": ["right", "type", "both"],
    "filter=type": ["type"],
    "filter=boundary&type=OG": ["boundary"],
    "filter=both&type=PS": [],  # the missed one is no error of this kind
    "filter=missed&type=PS": ["both"],
    "filter=spurious&type=%3Cb%3E%26": ["spurious"],
    "order=errors": ["both", "type", "boundary", "spurious", "right", "none"],
    "q=도서관": ["boundary", "spurious"],  # decomposed in the second
    "q=id:none": ["none"],
    "filter=all": list(SENTENCES),
}


@pytest.mark.slow
def test_browser_address_chooses_sentences(browser: Any) -> None:
    seen = browser.list_ids(render_report(make_data()), STATES)
    assert dict(zip(STATES, seen, strict=True)) == STATES


@pytest.mark.slow
def test_browser_ten_thousand_sentences_are_listed(browser: Any) -> None:
    text = "민수는 강릉에 갔다."
    golds = tags_of(text, [("PS", "민수"), ("LC", "강릉")])
    sentences = tuple(replace(plain_sentence(text, i), tags=golds) for i in range(10_000))
    outside = ("O",) * len(text)
    predictions = [outside if i % 10 == 0 else golds for i in range(10_000)]
    scores = score([golds] * 10_000, predictions, [])
    data = make_data(
        dataset=Dataset("x", "character", sentences, {}),
        predictions=list(map(tagged, predictions)),
        unknown=None,
        scores=scores,
    )
    root = browser.show(render_report(data), "filter=missed&type=LC&q=강릉&page=50")
    assert root.by_id("count").text == "981–1000 of 1,000 (10,000 in all)"
    assert root.by_id("items").all("a")[-1].text == "9990"


@pytest.mark.slow
def test_page_is_readable_everywhere_and_korean_has_no_english(browser: Any) -> None:
    page, korean = (render_report(make_data(t=Texts(language))) for language in LANGUAGES)
    check_page(
        browser,
        page,
        korean,
        [*INJECTED.split("굵게"), BAD_TYPE, *SENTENCES, "model", "base & large"],
    )
