"""What the pages of all tasks share: markup, data, and the list, in a browser too."""

import base64
import configparser
import hashlib
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest

from bert_ko.report import blocks, page
from bert_ko.report.blocks import Block, Choice, Headline, Items, Listing, Menu, Section, Table
from bert_ko.report.languages import ENGLISH
from bert_ko.report.rendering import environment, finite, render, script_json

ROOT = Path(__file__).parents[2]
NASTY = "</script><img src=x onerror=\"document.title='가'\">&amp;<!--\u2028\u2029'"
Parse = Callable[[str], Any]


def a_page(listing: Listing | None = None, data: Any = None, script: str = "") -> str:
    listing = listing or Listing([], [])
    sections = [
        Section("scores", "Scores", [Headline([("F1", "1", NASTY)])]),
        page.run_section(ENGLISH, [(NASTY, NASTY)], []),
        Section("texts", "Texts", [listing]),
    ]
    return page.render_page(page.Page(NASTY, sections, data), script=script)


def block(shown: Block) -> str:
    """Renders a block."""
    return render(shown.template, block=shown)


def expand(expression: str, **values: Any) -> str:
    """Renders an expression of a template."""
    return environment().from_string(f"{{{{ {expression} }}}}").render(values)


def test_render_text_is_escaped_in_elements_and_attributes(parse: Parse) -> None:
    made = block(Listing([Choice(NASTY, NASTY)], []))
    (option,) = parse(made).all("option")
    assert (option.attributes, option.text) == ({"value": NASTY}, NASTY)


def test_render_unprintable_text_is_shown_and_unknown_name_raises() -> None:
    assert expand("text", text="\ud83d \x00\r\x85\t가😀") == "\\ud83d \\x00\\r\\x85\t가😀"
    with pytest.raises(jinja2.UndefinedError, match="'text' is undefined"):
        expand("text")


@pytest.mark.slow
def test_reports_import_libraries_when_they_are_rendered_only() -> None:
    modules = ", ".join(f"bert_ko.tasks.{task}.report" for task in ("squad", "classifier", "ner"))
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {"jinja2", "markupsafe", "sklearn", "scipy"}.isdisjoint(done.stdout.split())


def template_files(*kinds: str) -> set[Path]:
    return {path for kind in kinds for path in (ROOT / "bert_ko").rglob(f"*.{kind}")}


def test_setup_cfg_installs_templates() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    packages = [path.parent for path in (ROOT / "bert_ko").rglob("__init__.py")]
    installed = {
        path
        for package, value in setup["options.package_data"].items()
        for folder in (packages if package == "*" else [ROOT / package.replace(".", "/")])
        for pattern in value.split(",")
        for path in folder.glob(pattern.strip())
    }
    files = template_files("css", "html", "js", "svg")
    assert files and files <= installed


def test_styles_and_scripts_do_not_end_themselves() -> None:
    for path in template_files("css", "js"):
        assert not re.search("</s(tyle|cript)", path.read_text(encoding="utf-8"), re.IGNORECASE)


def test_table_has_scopes_and_numbers_at_the_right(parse: Parse) -> None:
    root = parse(block(Table("점수", ["<a>", "EM"], [("b", blocks.number(1234.5))])))
    assert [(th.attributes["scope"], th.text) for th in root.all("th")] == [
        ("col", "<a>"), ("col", "EM"), ("row", "b"),
    ]  # fmt: skip
    assert [th.text for th in root.all("th", "number")] == ["EM"]
    (data,) = root.all("data")
    assert (data.attributes, data.text) == ({"value": "1234.5"}, "1,234.50")
    assert root.all("caption")[0].text == root.all("div")[0].attributes["aria-label"] == "점수"


def test_count_links_to_what_was_counted(parse: Parse) -> None:
    cells = [blocks.count(1234, gold="가&", type="P S"), blocks.count(0, filter="wrong")]
    data, nothing = parse(block(Table("", ["", "a", "b"], [("", *cells)]))).all("data")
    assert (data.attributes, data.text) == ({"value": "1234"}, "1,234")
    assert data.all("a")[0].attributes == {"href": "#gold=%EA%B0%80%26&type=P+S"}
    assert (nothing.attributes, nothing.children) == ({"value": "0"}, ["0"])


def test_mark_legend_marks_as_the_script_does(parse: Parse) -> None:
    (root,) = parse(block(Listing([], [], legend="<b>"))).all("p", "key")
    assert root.text == "gold <b> (solid line below), predicted <b> (dashed line above), both"
    assert [mark.attributes["class"] for mark in root.all("mark")] == [
        "gold", "answer", "answer gold",
    ]  # fmt: skip


def test_problems_has_what_occurs(parse: Parse) -> None:
    found = page.dataset_problems(ENGLISH, [("x_<y>", 1200), ("z", 0), ("a", 2)])
    (problems,) = parse(block(Items(found))).all("ul")
    assert [item.text for item in problems.all("li")] == [
        "1,200 times in the dataset: x <y>", "2 times in the dataset: a",
    ]  # fmt: skip
    assert parse(block(Items([]))).all("ul") == []


def test_finite_is_a_number_of_json() -> None:
    assert [finite(value, 3) for value in (0.12345, math.nan, -math.inf)] == [0.123, None, None]


@pytest.mark.parametrize("text", [NASTY, "😀", "]]>", "\x00\x7f\\u003c", "<!--<script>"])
def test_script_json_any_text_comes_back(text: str, parse: Parse) -> None:
    made = script_json({text: [text]})
    made.encode()  # a file can hold it
    assert not re.search("[<>&\u2028\u2029]", made)
    script = parse(a_page(data={text: [text]})).by_id("data")
    assert script.attributes == {"type": "application/json", "id": "data"}
    assert json.loads(script.text) == {text: [text]}


def test_script_json_surrogates_are_replaced_one_for_one_and_nan_raises() -> None:
    made = script_json(["\ud800가", "\ud83d\ude00"])  # two of them are no emoji
    assert json.loads(made) == ["\ufffd가", "\ufffd\ufffd"]
    with pytest.raises(ValueError, match="JSON"):
        script_json(math.nan)


def test_render_page_is_well_formed_and_text_makes_no_elements(parse: Parse) -> None:
    made = a_page()
    root = parse(made)
    assert made.startswith("<!doctype html>\n<html")
    assert root.all("html")[0].attributes == {"lang": "en"}
    assert root.all("title")[0].text == root.all("h1")[0].text == NASTY
    assert [(link.attributes["href"], link.text) for link in root.all("a")] == [
        ("#scores", "Scores"), ("#run", "Run"), ("#texts", "Texts"),
    ]  # fmt: skip
    assert [heading.text for heading in root.by_id("texts").all("h2")] == ["Texts"]
    assert root.by_id("scores").all("dd", "note")[0].text == NASTY
    assert root.by_id("run").all("dl", "facts")[0].text == 2 * NASTY
    assert (len(root.all("img")), len(root.all("script"))) == (0, 3)


def test_render_page_names_no_address_of_the_network(parse: Parse) -> None:
    root = parse(a_page())
    addresses = [
        value
        for node in root
        for name, value in node.attributes.items()
        if name in ("href", "src", "action", "srcset", "poster", "data")
    ]
    assert sorted(addresses) == ["#run", "#scores", "#texts", "data:,"]
    style = root.all("style")[0].text
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"https?:|fetch\(|XMLHttp|innerHTML|insertAdjacent|eval\(", a_page())


def test_render_page_policy_allows_nothing_but_itself(parse: Parse) -> None:
    root = parse(a_page(script="alert('가')"))
    (policy,) = (
        meta.attributes["content"]
        for meta in root.all("meta")
        if meta.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = hashlib.sha256(root.all("script")[-1].text.encode()).digest()
    assert rules == {
        "script-src": f"'sha256-{base64.b64encode(digest).decode()}'",
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


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
    listing = Listing(filters, [Choice("file", "f"), Choice("size", "s")])
    return a_page(listing, items, LIST_SCRIPT)


def shown(root: Any) -> list[str]:
    return [item.text for item in root.by_id("items").all("li")]


def test_listing_labels_its_controls_and_is_hidden_without_script(parse: Parse) -> None:
    root = parse(list_page())
    assert "hidden" in root.by_id("list").attributes
    assert root.all("noscript")[0].text == "The list needs JavaScript."
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


@pytest.mark.slow
def test_listing_address_chooses_what_is_shown(browser: Any) -> None:
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


@pytest.mark.slow
def test_listing_address_when_opened_chooses_what_is_shown(browser: Any) -> None:
    root = browser.show(list_page(), "page=3&order=size")
    assert shown(root) == TEXTS[9::-1]
    assert "hidden" not in root.by_id("list").attributes


@pytest.mark.slow
def test_listing_controls_change_what_is_shown_and_the_address(browser: Any) -> None:
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
    assert root.all("title")[0].text == "21–40 of 50#page=2 #filter=odd&order=size&q=%EA%B8%80+4"
    assert all("disabled" in root.by_id(name).attributes for name in ("previous", "next"))


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
        {"id": str(i), "kind": ("even", "odd")[i % 2], "text": f"글{i % 3}", "size": "ab"[i > 5]}
        for i in range(12)
    ]
    items[3]["id"] = "A 1&<b>"
    filters = [Choice("all", "All"), Choice("odd", "Odd")]
    menus = [Menu("size", "Size", [Choice("", "Any"), Choice("a", "A"), Choice("b", "B")])]
    return a_page(Listing(filters, [Choice("file", "f")], menus), items, MENU_SCRIPT)


def test_listing_menus_stand_before_the_order(parse: Parse) -> None:
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


@pytest.mark.slow
def test_listing_menus_and_ids_choose_what_is_shown(browser: Any) -> None:
    seen = browser.list_ids(menu_page(), MENU_STATES)
    assert dict(zip(MENU_STATES, seen, strict=True)) == MENU_STATES


@pytest.mark.slow
def test_listing_links_and_menus_change_what_is_shown(browser: Any) -> None:
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
