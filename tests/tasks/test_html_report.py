"""What the pages of all tasks share: markup, data, curves; the list in a browser."""

import configparser
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bert_ko.tasks.html_curves import Series, curves, metric_curves, metric_series, ticks
from bert_ko.tasks.html_list import (
    Choice,
    Menu,
    counted_link,
    filtered_list,
    list_link,
    mark_legend,
)
from bert_ko.tasks.html_report import (
    Html,
    Section,
    element,
    fact_list,
    finite,
    headline,
    join,
    json_script,
    number,
    page,
    problem_list,
    table,
)

ROOT = Path(__file__).parents[2]
NASTY = "</script><img src=x onerror=\"document.title='가'\">&amp;<!--\u2028\u2029'"
Parse = Callable[[str], Any]


def test_element_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "a<b", Html("<i>"), title='"&') == ('<p title="&quot;&amp;">a&lt;b<i></p>')


def test_element_attributes_are_named_and_left_out() -> None:
    made = element("input", class_="x", aria_label="y", hidden=True, open=False, lang=None)
    assert made == '<input class="x" aria-label="y" hidden>'


def test_element_unprintable_text_is_shown() -> None:
    assert element("p", "\ud83d \x00\r\x85\t가😀") == "<p>\\ud83d \\x00\\r\\x85\t가😀</p>"


def test_join_text_is_escaped() -> None:
    assert join("<", Html("<br>")) == "&lt;<br>"
    assert isinstance(join(), Html)


def test_table_has_scopes_and_numbers_at_the_right(parse: Parse) -> None:
    made = table("점수", ["", "EM", "rule"], [["<a>", number(1234.5), "b"]], [["sum", "", ""]])
    root = parse(made)
    assert [(th.attributes["scope"], th.text) for th in root.all("th")] == [
        ("col", ""), ("col", "EM"), ("col", "rule"), ("row", "<a>"), ("row", "sum"),
    ]  # fmt: skip
    assert [th.text for th in root.all("th", "number")] == ["EM"]
    assert [td.text for td in root.all("td")] == ["1,234.50", "b", "", ""]
    assert root.all("caption")[0].text == "점수"


def test_table_without_rows_has_its_head(parse: Parse) -> None:
    assert [th.text for th in parse(table("t", ["a", "b"], [])).all("th")] == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "expected"), [(0.12345, 0.123), (math.nan, None), (-math.inf, None)]
)
def test_finite_is_a_number_of_json(value: float, expected: float | None) -> None:
    assert finite(value, 3) == expected


@pytest.mark.parametrize("text", [NASTY, "😀", "]]>", "\x00\x7f\\u003c", "<!--<script>"])
def test_json_script_any_text_comes_back(text: str, parse: Parse) -> None:
    made = json_script("data", {text: [text]})
    made.encode()  # a file can hold it
    assert not re.search("[<>&\u2028\u2029]", made.removesuffix("</script>").split(">", 1)[1])
    (script,) = parse(made).all("script")
    assert script.attributes == {"type": "application/json", "id": "data"}
    assert json.loads(script.text) == {text: [text]}


def test_json_script_lone_surrogates_are_replaced_one_for_one(parse: Parse) -> None:
    made = json_script("data", ["\ud800가", "\ud83d\ude00"])  # two of them are no emoji
    assert json.loads(parse(made).all("script")[0].text) == ["\ufffd가", "\ufffd\ufffd"]


def test_json_script_nan_raises() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_script("data", math.nan)


def a_page(**more: str) -> str:
    content = join(headline([("F1", "1", NASTY)]), fact_list([(NASTY, NASTY)]))
    return page(NASTY, [Section("a", NASTY, content), Section("b", "B", Html(""))], **more)


def test_page_is_well_formed_and_has_one_title(parse: Parse) -> None:
    root = parse(a_page())
    assert root.all("html")[0].attributes == {"lang": "en"}
    assert root.all("title")[0].text == root.all("h1")[0].text == NASTY
    assert [link.attributes["href"] for link in root.all("a")] == ["#a", "#b"]
    assert [heading.text for heading in root.by_id("a").all("h2")] == [NASTY]
    assert root.by_id("a").all("dd", "note")[0].text == NASTY


def test_page_text_makes_no_elements(parse: Parse) -> None:
    root = parse(a_page())
    assert root.all("img") == []
    assert len(root.all("script")) == 1


def test_page_names_no_address_of_the_network(parse: Parse) -> None:
    root = parse(a_page())
    addresses = [
        value
        for node in root
        for name, value in node.attributes.items()
        if name in ("href", "src", "action", "srcset", "poster", "data")
    ]
    assert sorted(addresses) == ["#a", "#b", "data:,"]
    style = root.all("style")[0].text
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"https?:|fetch\(|XMLHttp|innerHTML|insertAdjacent|eval\(", a_page())


def test_page_policy_allows_nothing_but_itself(parse: Parse) -> None:
    (policy,) = (
        meta.attributes["content"]
        for meta in parse(a_page()).all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = rules.pop("script-src")
    assert re.fullmatch(r"'sha256-[\w+/]{43}='", digest)
    assert rules == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_page_script_that_ends_itself_is_refused() -> None:
    with pytest.raises(AssertionError):
        a_page(script="'</SCRIPT>'")
    with pytest.raises(AssertionError):
        a_page(style="</style>")


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.3, 5.6) == [(1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5")]
    assert [label for _, label in ticks(0, 5e-5)] == [
        "0.00000", "0.00001", "0.00002", "0.00003", "0.00004", "0.00005",
    ]  # fmt: skip
    assert [label for _, label in ticks(0, 12000)] == [
        "0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000",
    ]  # fmt: skip
    assert [label for _, label in ticks(0, 3e9, 3)] == ["0", "1e+09", "2e+09", "3e+09"]


def test_metric_series_records_without_the_key_are_passed_over() -> None:
    records = [
        {"step": 1, "loss": 2},
        {"step": 2, "f1": 3.0},
        {"loss": 1.0},
        {"step": 4, "loss": "x"},
    ]
    assert metric_series(records, "loss", "training") == Series("training", [(1.0, 2.0)])


def test_metric_curves_draw_what_is_there_and_fractions_in_percent(parse: Parse) -> None:
    records = [{"step": 1, "loss": 2.0, "accuracy": 0.25}, {"step": 2, "accuracy": 0.5}]
    figures = {"Loss": {"loss": "a", "eval_loss": "b"}, "F1": {"f1": "c"}, "%": {"accuracy": "d"}}
    root = parse(metric_curves(records, figures, fractions=("accuracy",)))
    assert [caption.text for caption in root.all("figcaption")] == ["Loss", "%"]
    assert [item.text for item in root.all("li")] == [
        " a: first 2, last 2, lowest 2, highest 2", " d: first 25, last 50, lowest 25, highest 50",
    ]  # fmt: skip
    assert metric_curves([], figures) == ""


def test_curves_line_runs_from_the_lower_left_to_the_upper_right(parse: Parse) -> None:
    root = parse(curves("손실", [Series("a", [(0, 0.0), (5, 1.0), (10, 4.0)])]))
    places = [
        tuple(float(part) for part in place.split(","))
        for place in root.all("polyline")[0].attributes["points"].split()
    ]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == x2 - x1 > 100
    assert y0 - y1 == pytest.approx((y1 - y2) / 3, abs=0.2)
    assert y2 < y1 < y0  # down is more in SVG
    labels = [text.text for text in root.all("text")]
    assert labels == ["0", "1", "2", "3", "4", "0", "2", "4", "6", "8", "10", "step"]
    assert root.all("svg")[0].attributes["aria-label"] == "손실 by step"
    assert root.all("li")[0].text == " a: first 0, last 4, lowest 0, highest 4"


def test_curves_numbers_that_are_not_finite_are_counted(parse: Parse) -> None:
    root = parse(curves("x", [Series("a", [(0, math.nan), (1, 2.0), (2, math.inf)])]))
    assert "nan" not in root.all("polyline")[0].attributes["points"]
    assert root.all("li")[-1].text == "2 values that are not finite are left out"
    assert len(root.all("circle")) == 1


@pytest.mark.parametrize("value", [0.0, 1e-320, -1e300 / 2, 1e-9, 7.0])
def test_curves_constant_of_any_size_is_drawn(value: float, parse: Parse) -> None:
    root = parse(curves("x", [Series("a", [(1, value), (2, value)])]))
    assert len(root.all("circle")) == 2
    assert len(root.all("text")) > 4


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats()), min_size=1, max_size=5),
)
@example([(1.0, 0.0), (2.0, 5e-324)])
@example([(1.0, 1e299), (2.0, -1e299)])
def test_curves_any_numbers_lie_in_the_drawing(points: list[tuple[float, float]]) -> None:
    made = curves("x", [Series("a", points)])
    places = re.findall(r' (?:c|x|y|x1|y1|x2|y2)="([^"]*)"', made)
    assert all(-1 <= float(place) <= 441 for place in places)
    labels = re.findall("<text", made)
    assert not made or 5 <= len(labels) <= 20


def test_curves_values_that_hardly_differ_have_labels_that_do(parse: Parse) -> None:
    root = parse(curves("x", [Series("a", [(1, 1.0), (2, math.nextafter(1.0, 2.0))])]))
    labels = [text.text for text in root.all("text") if text.attributes["text-anchor"] == "end"]
    assert labels == ["0.6", "0.8", "1.0", "1.2", "1.4"]


@pytest.mark.parametrize("points", [[], [(1, math.nan)]])
def test_curves_nothing_to_draw_is_empty(points: list[tuple[float, float]]) -> None:
    assert curves("x", [Series("a", points)]) == ""


def test_curves_long_line_keeps_its_peaks(parse: Parse) -> None:
    points = [(float(i), 0.0) for i in range(100_000)]
    points[77_777] = (77_777.0, 9.0)
    root = parse(curves("x", [Series("a", points)]))
    places = root.all("polyline")[0].attributes["points"].split()
    assert len(places) <= 400
    assert len({place.split(",")[1] for place in places}) == 2


def test_setup_cfg_installs_styles_and_scripts() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = re.split(r"[,\s]+", setup["options.package_data"]["*"].strip())
    for suffix in ("css", "js"):
        assert list((ROOT / "bert_ko").rglob(f"*.{suffix}"))
        assert f"*.{suffix}" in patterns


def test_list_link_state_is_an_address(parse: Parse) -> None:
    (link,) = parse(list_link("<1>", gold="가&", type="P S")).all("a")
    assert link.attributes == {"href": "#gold=%EA%B0%80%26&type=P+S"}
    assert link.text == "<1>"


def test_counted_link_nothing_counted_is_no_link(parse: Parse) -> None:
    (data,) = parse(counted_link(1234, filter="wrong")).all("data")
    assert (data.attributes, data.text) == ({"value": "1234"}, "1,234")
    assert data.all("a")[0].attributes == {"href": "#filter=wrong"}
    assert counted_link(0, filter="wrong") == '<data value="0">0</data>'


def test_mark_legend_marks_as_the_script_does(parse: Parse) -> None:
    root = parse(mark_legend("<b>"))
    assert root.text == "gold <b> (solid line below), predicted <b> (dashed line above), both"
    assert [mark.attributes["class"] for mark in root.all("mark")] == [
        "gold", "answer", "answer gold",
    ]  # fmt: skip


def test_problem_list_has_what_occurs(parse: Parse) -> None:
    root = parse(problem_list([(1200, "x <y>"), (0, "z")]))
    assert [item.text for item in root.all("li")] == ["1,200 x <y>"]
    assert problem_list([(0, "z")]) == ""


LIST_SCRIPT = """
showList({
  items: readData("data"),
  matches: (item, filter) => filter === "all" || item.kind === filter,
  contains: (item, query) => folded(item.text).includes(query),
  compare: { size: (a, b) => a.size - b.size },
  render: (item) => make("li", {}, item.text),
});
"""


def list_page() -> str:
    items = [{"kind": "odd" if i % 2 else "even", "text": f"글 {i}", "size": -i} for i in range(50)]
    items[7]["text"] = "한글 Ab"
    filters = [Choice("all", "All"), Choice("odd", "Odd")]
    content = filtered_list("texts", filters, [Choice("file", "f"), Choice("size", "s")], Html(""))
    return page(
        "t", [Section("s", "S", content)], script=LIST_SCRIPT, data=json_script("data", items)
    )


def shown(root: Any) -> list[str]:
    return [item.text for item in root.by_id("items").all("li")]


def test_filtered_list_labels_its_controls_and_is_hidden_without_script(parse: Parse) -> None:
    root = parse(list_page())
    assert "hidden" in root.by_id("list").attributes
    assert root.all("noscript")[0].text == "The list of texts needs JavaScript."
    assert root.all("label")[0].text == "Search"
    controls = [node for label in root.all("label") for node in label if node.tag != "label"]
    assert [node.tag for node in controls if node.tag in ("input", "select")] == [
        "input", "select", "select",
    ]  # fmt: skip


TEXTS = [f"글 {i}" if i != 7 else "한글 Ab" for i in range(50)]
STATES = {
    "page=3": ("41–50 of 50", TEXTS[40:]),
    "": ("41–50 of 50", TEXTS[40:]),  # a link without a state keeps it
    "order=size&page=99": ("41–50 of 50", TEXTS[9::-1]),
    "filter=odd&q=%EA%B8%80+1": ("1–6 of 6 (50 in all)", ["글 1", *TEXTS[11:20:2]]),
    # Decomposed, and in other case.
    "q=%E1%84%92%E1%85%A1%E1%86%AB%EA%B8%80%20aB": ("1–1 of 1 (50 in all)", ["한글 Ab"]),
    "q=zz": ("0 (50 in all)", []),
    "filter=bad&order=bad&page=bad": ("1–20 of 50", TEXTS[:20]),
}


def test_list_address_chooses_what_is_shown(browser: Any) -> None:
    script = f"""
      (async () => {{
        const seen = [];
        for (const state of {json.dumps(list(STATES))}) {{
          location.hash = state;
          await new Promise((resolve) => setTimeout(resolve, 50));
          const items = [...document.querySelectorAll("#items li")].map((li) => li.textContent);
          seen.push([document.getElementById("count").textContent, items]);
        }}
        document.title = JSON.stringify(seen);
      }})();
    """
    root = browser.show(list_page(), script=script)
    seen = [tuple(state) for state in json.loads(root.all("title")[0].text)]
    assert seen == list(STATES.values())


def test_list_address_when_opened_chooses_what_is_shown(browser: Any) -> None:
    root = browser.show(list_page(), "page=3&order=size")
    assert shown(root) == TEXTS[9::-1]
    assert "hidden" not in root.by_id("list").attributes


def test_list_controls_change_what_is_shown_and_the_address(browser: Any) -> None:
    script = """
      const get = (name) => document.getElementById(name);
      const tell = (node, type) => node.dispatchEvent(new Event(type));
      get("next").click();
      get("next").click();
      get("previous").click();
      const second = get("count").textContent + location.hash;
      get("filter").value = "odd";
      tell(get("filter"), "change");
      get("order").value = "size";
      tell(get("order"), "change");
      get("search").value = "글 4";
      tell(get("search"), "input");
      setTimeout(() => { document.title = `${second} ${location.hash}`; }, 1000);
    """
    root = browser.show(list_page(), script=script)
    assert shown(root) == ["글 49", "글 47", "글 45", "글 43", "글 41"]
    assert root.all("title")[0].text == ("21–40 of 50#page=2 #filter=odd&order=size&q=%EA%B8%80+4")
    assert ["disabled" in root.by_id(name).attributes for name in ("previous", "next")] == [
        True,
        True,
    ]


MENU_SCRIPT = """
showList({
  items: readData("data"),
  matches: (item, filter, { filter: same, size }) =>
    filter === same && (filter === "all" || item.kind === filter) && (!size || item.size === size),
  contains: (item, query) => item.text.includes(query),
  compare: {},
  render: (item) => make("li", {}, makeAbout(item.id, item.text)),
});
"""


def menu_page() -> str:
    items = [
        {
            "id": str(i),
            "kind": "odd" if i % 2 else "even",
            "text": f"글{i % 3}",
            "size": "ab"[i > 5],
        }
        for i in range(12)
    ]
    items[3]["id"] = "A 1&<b>"
    filters = [Choice("all", "All"), Choice("odd", "Odd")]
    menus = [Menu("size", "Size", [Choice("", "Any"), Choice("a", "A"), Choice("b", "B")])]
    content = filtered_list("texts", filters, [Choice("file", "f")], Html(""), menus)
    return page(
        "t", [Section("s", "S", content)], script=MENU_SCRIPT, data=json_script("data", items)
    )


def test_filtered_list_menus_stand_before_the_order(parse: Parse) -> None:
    root = parse(menu_page())
    assert [select.attributes["id"] for select in root.all("select")] == ["filter", "size", "order"]
    assert [label.text for label in root.all("label")][2] == "SizeAnyAB"


MENU_STATES = {
    "filter=odd&size=b": ["7", "9", "11"],
    "size=a&q=글2": ["2", "5"],
    "size=z": ["0", "1", "2", "A 1&<b>", "4", "5", "6", "7", "8", "9", "10", "11"],
    "q=id:1": ["1"],  # not 10, 11
    "q=id%3Aa+1%26%3Cb%3E": ["A 1&<b>"],
    "q=id:": [],
}


def test_list_menus_and_ids_choose_what_is_shown(browser: Any) -> None:
    seen = browser.list_ids(menu_page(), MENU_STATES)
    assert dict(zip(MENU_STATES, seen, strict=True)) == MENU_STATES


def test_list_links_and_menus_change_what_is_shown(browser: Any) -> None:
    script = """
      (async () => {
        const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
        const seen = () => `${document.getElementById("items").textContent} ${location.hash}`;
        const menu = document.getElementById("size");
        menu.value = "b";
        menu.dispatchEvent(new Event("change"));
        const chosen = seen();
        document.querySelectorAll("#items a")[1].click();
        await pause();
        document.title = `${chosen} | ${seen()} ${menu.value}`;
      })();
    """
    root = browser.show(menu_page(), script=script)
    assert root.all("title")[0].text == "글06글17글28글09글110글211 #size=b | 글17 #q=id%3A7 "


def test_mark_spans_labels_stand_behind_and_are_shared(browser: Any) -> None:
    script = """
      const chars = characters("가나다라마바");
      const spans = [[0, 2, "gold", "<b>"], [0, 2, "answer", "<b>"], [2, 4, "gold", "LC"],
        [2, 4, "answer", "OG"], [4, 5, "gold"]];
      document.querySelector("h1").replaceChildren(markSpans(chars, spans, 0, chars.length));
    """
    (heading,) = browser.show(menu_page(), script=script).all("h1")
    assert heading.text == "가나<b>다라LCOG마바"
    labels = [(label.attributes["class"], label.text) for label in heading.all("small")]
    assert labels == [("label answer gold", "<b>"), ("label gold", "LC"), ("label answer", "OG")]


def test_mark_spans_overlap_and_emoji_are_exact(browser: Any) -> None:
    script = """
      const chars = characters("가😀나다👩‍👧라");
      const spans = [[1, 3, "b"], [2, 4, "a"], [5, 5, "c"]];
      document.querySelector("h1").replaceChildren(markSpans(chars, spans, 0, chars.length));
    """
    root = browser.show(list_page(), script=script)
    marks = [(mark.attributes["class"], mark.text) for mark in root.all("mark")]
    assert marks == [("b", "😀"), ("a b", "나"), ("a", "다")]
    assert root.all("h1")[0].text == "가😀나다👩‍👧라"


def test_mark_excerpt_far_spans_are_apart(browser: Any) -> None:
    script = """
      const chars = characters("0123456789abcdefghij");
      const texts = [[[12, 13, "b"], [3, 4, "a"]], [[3, 4, "a"], [6, 7, "b"]], []].map((spans) => {
        const p = make("p", {});
        p.append(markExcerpt(chars, spans, 2));
        return p;
      });
      document.body.replaceChildren(...texts);
    """
    root = browser.show(list_page(), script=script)
    assert [p.text for p in root.all("p")] == ["… 12345… abcde …", "… 12345678 …", "01 …"]
