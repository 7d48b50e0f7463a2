"""Pages that show a task's results: one HTML file each, without network and without other files.

Text and markup differ by type: a string is text and is escaped wherever it is put; `Html` is
markup, which `element` alone makes. A page makes sense without its script.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

_VOID = frozenset(("input", "link", "meta"))
# Neither HTML nor UTF-8 can hold them all, and nobody can see them.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


class Html(str):
    """Markup, which is written as it is."""

    __slots__ = ()


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        name: its id, for links: a word in ASCII.
        heading: as text.
        content: markup below the heading.
    """

    name: str
    heading: str
    content: Html


def element(tag: str, *children: str, **attributes: str | bool | None) -> Html:
    """Makes an element.

    Args:
        tag: its name.
        children: text, which is escaped, and markup.
        attributes: text, True for an attribute without a value, None or False for none. An
            underscore stands for a hyphen (aria_label), one at the end for nothing (class_).
    """
    opening = tag
    for key, value in attributes.items():
        name = key.removesuffix("_").replace("_", "-")
        if value is True:
            opening += f" {name}"
        elif value is not None and value is not False:
            opening += f' {name}="{escape(value)}"'
    if tag in _VOID:
        assert not children, f"<{tag}> holds nothing"
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{join(*children)}</{tag}>")


def join(*parts: str) -> Html:
    """Puts text, which is escaped, and markup in a row."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def escape(text: str) -> str:
    r"""Returns text for HTML; what can't be seen or written is shown as in Python: \x00, \ud800."""
    seen = _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return html.escape(seen)


def korean(text: str) -> Html:
    """Marks text as Korean, for fonts, line breaks and screen readers."""
    return element("span", text, lang="ko")


def number(value: float, form: str = ",.2f") -> Html:
    """Makes a number that stands at the right of its cell.

    Args:
        value: any number; NaN and infinity too.
        form: how it is written, as for `format`.
    """
    return element("data", format(value, form), value=repr(value))


def finite(value: float, digits: int) -> float | None:
    """Returns a number rounded for JSON, which knows neither NaN nor infinity: they become None."""
    return round(value, digits) if math.isfinite(value) else None


def table(
    caption: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    foot: Sequence[Sequence[str]] = (),
) -> Html:
    """Makes a table that scrolls by itself where the screen is narrow.

    Args:
        caption: what it shows.
        headers: one for each column.
        rows: text or markup; the first cell is the header of its row.
        foot: rows that sum up the others.
    """
    first = rows[0] if rows else [""] * len(headers)
    head = [
        element("th", header, scope="col", class_="number" if _is_number(cell) else None)
        for header, cell in zip(headers, first, strict=True)
    ]
    parts = [
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *map(_row, rows)),
    ]
    if foot:
        parts.append(element("tfoot", *map(_row, foot)))
    return element(
        "div",
        element("table", *parts),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def _row(cells: Sequence[str]) -> Html:
    header, *others = cells
    return element(
        "tr", element("th", header, scope="row"), *(element("td", cell) for cell in others)
    )


def _is_number(cell: str) -> bool:
    return isinstance(cell, Html) and cell.startswith("<data ")


def seed_table(seeds: Sequence[tuple[int, Mapping[str, float]]], names: Mapping[str, str]) -> Html:
    """Makes a table of the scores of several runs, with mean and deviation; nothing of none.

    Args:
        seeds: of the runs, with scores in percent.
        names: scores to be shown, and what people read.
    """
    if not seeds:
        return Html("")
    rows = [[str(seed), *(number(scores[name]) for name in names)] for seed, scores in seeds]
    columns = [[scores[name] for _, scores in seeds] for name in names]
    foot = [["Mean", *(number(statistics.fmean(column)) for column in columns)]]
    if len(seeds) > 1:
        deviations = (number(statistics.stdev(column)) for column in columns)
        foot.append(["Standard deviation", *deviations])
    headers = ["Seed", *names.values()]
    return table("Runs that differ in their seed alone, in percent", headers, rows, foot)


def fact_list(facts: Sequence[tuple[str, str]]) -> Html:
    """Makes a list of names and values."""
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in facts),
        class_="facts",
    )


def headline(figures: Sequence[tuple[str, str, str]]) -> Html:
    """Makes the figures that are seen first: (name, value, a note or "")."""
    tiles = [
        element(
            "div",
            element("dt", name),
            element("dd", value, class_="figure"),
            *([element("dd", note, class_="note")] if note else []),
        )
        for name, value, note in figures
    ]
    return element("dl", *tiles, class_="headline")


def problem_list(problems: Iterable[tuple[int, str]]) -> Html:
    """Makes a list of what was wrong: (how often, what); nothing of none."""
    items = [element("li", f"{count:,} {text}") for count, text in problems if count]
    return element("ul", *items) if items else Html("")


def json_script(name: str, value: Any) -> Html:
    """Embeds data, which the script reads with `readData(name)`.

    Args:
        name: the id of the element.
        value: for JSON, with finite numbers alone. Lone surrogates, which no file and no address
            can hold, become U+FFFD, one for one, so that offsets stay right.
    """
    data = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    data = _SURROGATE.sub("\ufffd", data.translate(_JSON_ESCAPES))
    return Html(f'<script type="application/json" id="{name}">{data}</script>')


def asset(package: str, name: str) -> str:
    """Reads a style or a script that lies beside a package's modules."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def page(
    title: str, sections: Sequence[Section], style: str = "", script: str = "", data: str = ""
) -> str:
    """Puts a page together.

    Args:
        title: as text.
        sections: in order; links to them stand at the top.
        style: CSS behind what all pages share.
        script: JavaScript behind what all pages share, no other runs: neither another script nor
            an attribute of an element.
        data: markup of `json_script`.
    """
    style = asset(__package__, "html_report.css") + style
    script = asset(__package__, "html_report.js") + script
    assert "</" not in style and "</script" not in script.lower()
    links = [element("a", section.heading, href=f"#{section.name}") for section in sections]
    parts = [
        element(
            "section",
            element("h2", section.heading),
            section.content,
            id=section.name,
        )
        for section in sections
    ]
    body = element(
        "body",
        element("header", element("h1", title), element("nav", *links, aria_label="Sections")),
        element("main", *parts),
        Html(data),
        Html(f"<script>{script}</script>"),
    )
    head = element("head", *_metadata(script), element("title", title), Html(_style(style)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _style(style: str) -> str:
    return f"<style>{style}</style>"


def _metadata(script: str) -> list[Html]:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),  # no request for favicon.ico
    ]
