"""The confusion matrix as SVG: well formed, with its counts, labels and shades."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bert_ko.report.confusion import clipped, confusion_svg, draw_confusion
from bert_ko.report.rendering import render

Parse = Callable[[str], Any]

SVG = "{http://www.w3.org/2000/svg}"
TWO = np.array([[9, 1], [0, 1200]])


def texts(root: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def cells(root: ET.Element) -> list[tuple[str, str, str]]:
    """Of each cell with examples: kind, shade, title."""
    found = []
    for group in root.iter(f"{SVG}g"):
        rect, title = group.find(f"{SVG}rect"), group.find(f"{SVG}title")
        assert rect is not None and title is not None
        found.append((rect.attrib["class"], rect.attrib["fill-opacity"], title.text or ""))
    return found


def test_confusion_svg_cells_have_count_share_and_labels() -> None:
    root = ET.fromstring(confusion_svg(TWO, ["부정", "긍정"]))
    assert cells(root) == [
        ("hit", "0.664", "gold 부정, predicted 부정: 9 of 10 (90.0 %)"),
        ("miss", "0.221", "gold 부정, predicted 긍정: 1 of 10 (10.0 %)"),
        ("hit", "0.700", "gold 긍정, predicted 긍정: 1,200 of 1,200 (100.0 %)"),
    ]
    assert texts(root)[3:] == [
        "부정", "긍정", "부정", "긍정",
        "9", "90.0%", "1", "10.0%", "0", "1,200", "100.0%",
    ]  # fmt: skip
    (x0, y0), (x1, y1), (x2, y2) = (
        (float(rect.attrib["x"]), float(rect.attrib["y"]))
        for rect in root.iter(f"{SVG}rect")
        if "fill-opacity" in rect.attrib
    )
    assert y0 == y1 < y2 and x0 < x1 == x2  # rows are golds
    label = "Confusion matrix: rows are gold labels, columns predicted ones"
    assert (root.attrib["role"], root.attrib["aria-label"]) == ("img", label)
    assert [title.text for title in root.findall(f"{SVG}title")] == ["Confusion matrix"]


def test_confusion_svg_knows_light_and_dark_and_names_no_address() -> None:
    made = confusion_svg(TWO, ["a", "b"])
    assert made == confusion_svg(TWO.copy(), ("a", "b"))
    assert "prefers-color-scheme: dark" in made
    assert "url(" not in made and "href" not in made and "@import" not in made
    assert made.count("http") == 1  # of the namespace
    assert made.endswith("</svg>\n")


@pytest.mark.parametrize(("count", "has_numbers"), [(7, True), (20, True), (30, False)])
def test_confusion_svg_small_cells_have_no_numbers(count: int, has_numbers: bool) -> None:
    confusion = np.eye(count, dtype=np.int64) * 50
    root = ET.fromstring(confusion_svg(confusion, [f"갈래{i}" for i in range(count)]))
    assert ("100.0%" in texts(root)) == has_numbers
    assert ("0" in texts(root)) == has_numbers
    assert len(cells(root)) == count


def test_confusion_svg_large_counts_fit_or_are_left_out() -> None:
    for most in (10, 10**5, 10**9):
        root = ET.fromstring(confusion_svg(np.array([[most, 0], [0, 1]]), ["a", "b"]))
        for text in root.iter(f"{SVG}text"):
            if text.text == f"{most:,}":
                assert len(text.text) * 0.62 * float(text.attrib["font-size"]) <= 60.5
    root = ET.fromstring(confusion_svg(np.array([[10**12, 0], [0, 1]]), ["a", "b"]))
    assert "1,000,000,000,000" not in texts(root)


@pytest.mark.parametrize("count", [1, 2, 3, 12, 26, 50])
def test_confusion_svg_all_lies_in_the_picture(count: int) -> None:
    labels = ["아주 길고 긴 이름의 갈래" * 2] * count
    root = ET.fromstring(confusion_svg(np.ones((count, count), np.int64), labels))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.attrib.get("x", 0)), float(rect.attrib.get("y", 0))
        assert x + float(rect.attrib["width"]) <= width + 0.1
        assert y + float(rect.attrib["height"]) <= height + 0.1
    for text in root.iter(f"{SVG}text"):
        assert 0 < float(text.attrib["x"]) < width
        assert 0 < float(text.attrib["y"]) < height


@pytest.mark.parametrize(("count", "angle"), [(2, 45), (12, 45), (50, 90)])
def test_confusion_svg_labels_lie_in_the_picture(count: int, angle: int) -> None:
    name = "열글자나되는갈래이름"
    root = ET.fromstring(confusion_svg(np.ones((count, count), np.int64), [name] * count))
    labels = [text for text in root.iter(f"{SVG}text") if text.text == name]
    rows, columns = labels[:count], labels[count:]
    for label in rows:
        assert label.attrib["text-anchor"] == "end"
        assert float(label.attrib["x"]) >= len(name) * float(label.attrib["font-size"])
    for label in columns:
        x, y = float(label.attrib["x"]), float(label.attrib["y"])
        assert label.attrib["transform"] == f"rotate(-{angle} {x} {y})"
        length = len(name) * float(label.attrib["font-size"])
        assert y >= length * math.sin(math.radians(angle))
        assert x + length * math.cos(math.radians(angle)) <= float(root.attrib["width"])


def test_confusion_svg_long_label_is_clipped_and_whole_in_its_title() -> None:
    name = "날씨와 기후 그리고 계절의 변화"
    root = ET.fromstring(confusion_svg(TWO, [name, "b"]))
    labels = [text for text in root.iter(f"{SVG}text") if text.attrib.get("lang") == "ko"]
    (row, _, column, _) = labels
    for label in (row, column):
        assert label.findtext(f"{SVG}title") == name
        assert label.findtext(f"{SVG}tspan") == "날씨와 기후 그리고…"
    assert cells(root)[0][2].startswith(f"gold {name}, predicted {name}:")


@given(st.text(st.characters(exclude_categories=())))
@example("</title><script>alert(1)</script>")
@example("\ud800\x00\ufffe\uffff\x85\u2028")
@settings(max_examples=50)
def test_confusion_svg_any_label_is_well_formed_and_no_markup(label: str) -> None:
    made = confusion_svg(TWO, [label, "긍정"])
    root = ET.fromstring(made.encode())
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags - {"tspan"} == {"svg", "title", "style", "rect", "text", "g"}


def test_confusion_svg_without_examples_has_zeros_and_composed_labels() -> None:
    root = ET.fromstring(confusion_svg(np.zeros((2, 2), np.int64), ["\u1112\u1161\u11ab", "b"]))
    assert cells(root) == []
    assert texts(root)[3] == "한"
    assert texts(root)[-4:] == ["0"] * 4


def test_draw_confusion_cells_with_examples_are_links(parse: Parse) -> None:
    drawing = draw_confusion(TWO, ["a", "b"])
    root = parse(render("report/templates/confusion.svg", drawing=drawing))
    assert [(link.attributes["href"], link.attributes["tabindex"]) for link in root.all("a")] == [
        (f"#gold={gold}&predicted={predicted}", "-1")
        for gold, predicted in ((0, 0), (0, 1), (1, 1))
    ]
    with pytest.raises(AssertionError):
        draw_confusion(TWO, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("도서관", 3.0, "도서관"), ("도서관", 2.9, "도…"), ("도서관 앞", 4.5, "도서관…"),
        ("abcdef", 3.0, "abc…"), ("도", 0.5, "…"), ("", 1.0, ""),
    ],
)  # fmt: skip
def test_clipped_is_no_wider_than_wanted(text: str, most: float, expected: str) -> None:
    assert clipped(text, most) == expected
