"""The pages of a server, as a browser shows them."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.pages import Node, parse
from tests.saved_models import TEXT
from tests.serving.conftest import Running, serving

# Types into the page, asks, and keeps the document after the answer.
ACT = """
  const pages = [];
  const until = async (isSo) => {
    while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  const keep = () => pages.push(document.documentElement.outerHTML);
  const act = async (name, text, more = "") => {
    choice.value = name;
    choice.dispatchEvent(new Event("change"));
    [first.value, second.value] = [text, more];
    form.dispatchEvent(new Event("input"));
    form.requestSubmit();
    await until(() => last || status.className === "error");
    keep();
  };
"""


@pytest.fixture(scope="module")
def server(folders: dict[str, str]) -> Iterator[Running]:
    with serving(folders) as found:
        yield found


def visit(browser: Any, server: Running, acts: str, *flags: str) -> list[Node]:
    """Opens the page, acts, and returns the documents that were kept."""
    script = f"(async () => {{{ACT}{acts} document.title = JSON.stringify(pages); }})();"
    address = f"http://127.0.0.1:{server.port}/scripted#{quote(script)}"
    (title,) = browser.open(address, *flags).all("title")
    assert title.text.startswith("["), title.text
    return [parse(page) for page in json.loads(title.text)]


def marks(page: Node) -> list[tuple[str, str]]:
    """What is marked in the text, with the label behind it."""
    (text,) = page.by_id("results").all("p", "text")
    nodes = [*text.children, ""]
    return [
        (one.text, following.text if isinstance(following, Node) else "")
        for one, following in itertools.pairwise(nodes)
        if isinstance(one, Node) and one.tag == "mark"
    ]


def texts(page: Node, tag: str, kind: str | None = None) -> list[str]:
    return [node.text for node in page.by_id("results").all(tag, kind)]


@pytest.mark.slow
def test_home_asks_its_server_alone_and_offers_its_models(server: Running, browser: Any) -> None:
    page = browser.open(f"http://127.0.0.1:{server.port}/", "--accept-lang=ko-KR")
    assert "hidden" not in page.by_id("form").attributes  # its script was let run
    assert page.by_id("status").text == ""  # and to ask for the server's health
    assert [one.text for one in page.by_id("model").all("option")] == list(server.workers)
    assert page.all("html")[0].attributes["lang"] == "ko"
    assert page.by_id("first-name").text == "답을 찾을 글"
    for path in ("/", "/docs"):
        text = server.ask("GET", path).body.decode()
        assert re.search(r"default-src 'none'; [^\"]*base-uri 'none'", text)
        assert not re.search(r"https?://", text)


@pytest.mark.slow
def test_home_marks_what_each_kind_of_model_finds(server: Running, browser: Any) -> None:
    acts = f"""
      await act("독해", "<b>한글</b>을 지었다 😀 세종은.", "누가?\\n 누가 지었나? \\n\\n");
      await act("entities", "😀 {TEXT}");
      await act("entities", "아무도 없다");
      await act("topics", "{TEXT}", "한글");
      await act("scores", "세종은 한양");
      await act("model", "세종은 [MASK]에서 [MASK]");
      await act("model", "세종은");
      document.querySelector("[data-language=ko]").click();
      keep();
    """
    reader, tagger, nobody, classifier, scorer, masked, no_mask, korean = visit(
        browser, server, acts, "--accept-lang=en"
    )
    assert marks(reader) == [("세종", "1")] and texts(reader, "small", "label answer") == ["1", "2"]
    assert texts(reader, "p", "text")[0].startswith("<b>한글</b>을 지었다 😀 세종")
    assert texts(reader, "p", "about") == ["1. 누가?", "2. 누가 지었나?"]
    assert texts(reader, "h3") == ["세종", "세종"]
    assert reader.by_id("count").text == "52 / 20,000 characters"
    assert marks(tagger) == [("세종", "PS"), ("한양", "LC")]
    assert texts(tagger, "li") == ["세종 (PS)90.00 %", "한양 (LC)90.00 %"]
    assert marks(nobody) == [] and "No entities were found." in texts(nobody, "p")
    assert marks(classifier) == [(f"{TEXT}\n한글", "과학")]
    assert texts(classifier, "li") == ["과학50.00 %", "문화30.00 %", "정치20.00 %"]
    assert texts(scorer, "p", "figure") == ["5.000"]
    assert marks(masked) == [("[PAD]", "1"), ("[PAD]", "2")] and len(texts(masked, "ul")) == 2
    assert no_mask.by_id("status").text == "Put [MASK] where a word is missing."
    assert korean.by_id("ask").text == "실행" and korean.all("html")[0].attributes["lang"] == "ko"


@pytest.mark.slow
def test_home_on_a_phone_says_in_korean_why_there_is_no_answer(
    server: Running, browser: Any
) -> None:
    acts = """
      await act("entities", "가".repeat(20001));
      const frame = make("iframe", { src: "/", width: 360, height: 800 });
      document.body.append(frame);
      await new Promise((resolve) => frame.addEventListener("load", resolve));
      const inner = (id) => frame.contentDocument.getElementById(id);
      inner("model").value = "entities";
      inner("model").dispatchEvent(new Event("change"));
      inner("example").click();
      inner("form").requestSubmit();
      await until(() => inner("results").children.length);
      const { scrollWidth } = frame.contentDocument.documentElement;
      inner("count").textContent = scrollWidth <= frame.contentWindow.innerWidth;
      pages.push(frame.contentDocument.documentElement.outerHTML);
    """
    page, example = visit(browser, server, acts, "--accept-lang=ko")
    assert page.by_id("status").text.startswith("글이 너무 깁니다.a request may have 20,000 ")
    assert "error" in (page.by_id("count").attributes["class"] or "")
    assert page.by_id("results").children == []
    assert texts(example, "p", "text")[0].startswith("김서연 씨는")
    assert example.by_id("count").text == "true"  # no wider than the screen


def test_docs_have_every_address_with_an_example(server: Running) -> None:
    page = parse(server.ask("GET", "/docs").body.decode())
    headings = [node.text for node in page.all("h2")]
    assert headings[:2] == ["POST /models/독해/answer", "POST /models/topics/classify"]
    assert headings[-1] == "GET /health" and len(headings) == 6
    section = page.by_id("entities.tag")
    fields = [node.text for node in section.all("dt")]
    assert fields[:3] == [
        "texts list of string, 1 to 64", "results list of object",
        "results[].entities list of object",
    ]  # fmt: skip
    (example,) = section.all("pre")
    body = re.search(r"-d '(.*)' \"\$ADDRESS\"(\S+)$", example.text)
    assert body is not None
    assert server.post(body[2], body[1].encode()).status == 200
    assert not page.all("script")
