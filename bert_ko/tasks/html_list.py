"""The list of a page, which its script fills: search, menus, links into it."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from typing import NamedTuple

from bert_ko.tasks.html_report import Html, element, join


class Choice(NamedTuple):
    """An option of a menu.

    Attributes:
        value: what the script gets.
        label: what people read.
    """

    value: str
    label: str


class Menu(NamedTuple):
    """One more menu of a list.

    Attributes:
        name: what its choice is called in the page's address and for the script; not "filter",
            "order", "q" or "page".
        label: what people read.
        choices: the first one lets all through; its value is "".
    """

    name: str
    label: str
    choices: Sequence[Choice]


def filtered_list(
    noun: str,
    filters: Sequence[Choice],
    orders: Sequence[Choice],
    legend: Html,
    menus: Sequence[Menu] = (),
) -> Html:
    """Makes a list that `showList` of html_report.js fills, with its search, menus and pages.

    Args:
        noun: what is listed, in the plural.
        filters: the first one shows all.
        orders: the first one is the order of the data.
        legend: how to read the items.
        menus: more of them that filter.
    """
    search = element(
        "input",
        type="search",
        id="search",
        placeholder="text, or id:…",
        autocomplete="off",
        spellcheck="false",
    )
    pager = [
        element("button", "Previous", type="button", id="previous"),
        element("button", "Next", type="button", id="next"),
    ]
    controls = [
        element("label", "Search", search),
        element("label", "Show", _menu("filter", filters)),
        *(element("label", menu.label, _menu(menu.name, menu.choices)) for menu in menus),
        element("label", "Sort", _menu("order", orders)),
    ]
    return join(
        element("noscript", element("p", f"The list of {noun} needs JavaScript.")),
        element(
            "div",
            element("form", *controls, role="search", class_="controls"),
            legend,
            element("p", id="count", role="status"),
            element("ol", id="items", class_="items"),
            element("nav", *pager, aria_label=f"Pages of {noun}", class_="pager"),
            id="list",
            hidden=True,
        ),
    )


def _menu(name: str, choices: Sequence[Choice]) -> Html:
    options = [element("option", choice.label, value=choice.value) for choice in choices]
    return element("select", *options, id=name)


def list_link(text: str, **state: str) -> Html:
    """Makes a link to a part of the page's list.

    Args:
        text: of the link.
        state: what is chosen there, such as filter="wrong".
    """
    return element("a", text, href=f"#{urllib.parse.urlencode(state)}")


def counted_link(count: int, **state: str) -> Html:
    """Makes a number, and of a positive one a link to what was counted; see `list_link`."""
    text = f"{count:,}"
    return element("data", list_link(text, **state) if count else text, value=str(count))


def mark_legend(noun: str) -> Html:
    """Says how gold and predicted parts of a text are marked.

    Args:
        noun: what is marked, such as "answer".
    """
    return element(
        "p",
        element("mark", f"gold {noun}", class_="gold"),
        " (solid line below), ",
        element("mark", f"predicted {noun}", class_="answer"),
        " (dashed line above), ",
        element("mark", "both", class_="answer gold"),
        class_="key",
    )
