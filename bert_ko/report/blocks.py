"""What the sections of a page consist of; each kind has a template of its own.

All text is in the language of the page already, and none of it is markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlencode

from bert_ko.report.calibration import Reliability
from bert_ko.report.confusion import Drawing
from bert_ko.report.curves import Figure

_FOLDER = "report/templates"


@dataclass(frozen=True)
class Cell:
    """What stands in a table."""

    text: str
    value: float | None = None  # of a number, which stands at the right
    link: str = ""  # the address in the page, after #
    is_data: bool = False  # text of the data, Korean for the most part
    is_code: bool = False  # what is typed


def number(value: float, spec: str = ",.2f") -> Cell:
    """Returns a number as a cell."""
    return Cell(format(value, spec), value)


def numbers(values: Iterable[float], spec: str = ",.2f") -> list[Cell]:
    """Returns numbers as cells."""
    return [number(value, spec) for value in values]


def count(value: int, **choices: Any) -> Cell:
    """Returns a number of items, with a link to them if it isn't 0: the list's choices by name."""
    return Cell(f"{value:,}", value, urlencode(choices) if value and choices else "")


def text(value: str) -> Cell:
    """Returns text of the data, such as a label, as a cell."""
    return Cell(value, is_data=True)


Row = Sequence[Cell | str]


class Block:
    """A part of a section."""

    template: ClassVar[str]


@dataclass(frozen=True)
class Headline(Block):
    """The main figures: name, value, a note or ""."""

    template = f"{_FOLDER}/headline.html"
    figures: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Facts(Block):
    """Names and values."""

    template = f"{_FOLDER}/facts.html"
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table(Block):
    """A table; on a narrow screen each row stands by itself, its cells with their headers.

    Attributes:
        caption: what it shows.
        headers: of the columns; the first is that of the rows' own headers.
        rows: as many cells as there are headers; a str is a cell of text.
        footer: rows below.
    """

    template = f"{_FOLDER}/table.html"
    caption: str
    headers: Sequence[str]
    rows: Sequence[Row]
    footer: Sequence[Row] = ()

    def parts(self) -> list[tuple[str, list[list[Cell]]]]:
        """Returns the rows of the body and of the footer by element."""
        parts = {"tbody": self.rows, "tfoot": self.footer}
        return [
            (name, [[Cell(c) if isinstance(c, str) else c for c in row] for row in rows])
            for name, rows in parts.items()
            if rows
        ]

    def columns(self) -> list[tuple[str, bool]]:
        """Returns the headers, and whether numbers stand below."""
        first = [*self.rows, *self.footer][:1]
        cells = first[0] if first else [""] * len(self.headers)
        is_number = [isinstance(cell, Cell) and cell.value is not None for cell in cells]
        return list(zip(self.headers, is_number, strict=True))


@dataclass(frozen=True)
class Note(Block):
    """A paragraph."""

    template = f"{_FOLDER}/note.html"
    text: str


@dataclass(frozen=True)
class Items(Block):
    """A list of sentences; nothing if there are none."""

    template = f"{_FOLDER}/items.html"
    items: Sequence[str]


@dataclass(frozen=True)
class Folded(Block):
    """What is seen when it is opened."""

    template = f"{_FOLDER}/folded.html"
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Figures(Block):
    """Drawings of lines, side by side where there is room."""

    template = f"{_FOLDER}/figures.html"
    figures: Sequence[Figure]


@dataclass(frozen=True)
class Confusion(Block):
    """A confusion matrix."""

    template = f"{_FOLDER}/matrix.html"
    drawing: Drawing


@dataclass(frozen=True)
class Calibration(Block):
    """A reliability diagram of what the noun names."""

    template = f"{_FOLDER}/reliability.html"
    caption: str
    noun: str
    drawing: Reliability


class Choice(NamedTuple):
    """An option of a menu."""

    value: str  # for the script
    label: str


class Menu(NamedTuple):
    """One more menu of a list."""

    name: str  # in the page's address and for the script; not "filter", "order", "q" or "page"
    label: str
    choices: Sequence[Choice]  # the first one, with the value "", lets everything through


@dataclass(frozen=True)
class Listing(Block):
    """A list that `showList` of page.js fills, with its search, menus and pages.

    Attributes:
        filters: the first one shows everything.
        orders: the first one is the order of the data.
        menus: more filters.
        legend: of the marks in the items: what gold and predicted parts are; or "".
        note: below the legend, or "".
    """

    template = f"{_FOLDER}/listing.html"
    filters: Sequence[Choice]
    orders: Sequence[Choice]
    menus: Sequence[Menu] = ()
    legend: str = ""
    note: str = ""


@dataclass(frozen=True)
class Bars(Block):
    """A bar for each row: (label, share of the longest in [0, 1], text)."""

    template = f"{_FOLDER}/bars.html"
    caption: str
    rows: Sequence[tuple[str, float, str]]


def bars(caption: str, counts: Mapping[str, int]) -> Bars:
    """Returns bars of counts, with their share of all."""
    total, most = max(1, sum(counts.values())), max([1, *counts.values()])
    return Bars(
        caption,
        [(name, n / most, f"{n:,} ({100 * n / total:.1f} %)") for name, n in counts.items()],
    )


@dataclass(frozen=True)
class Map(Block):
    """A map of squares in several parts, each with a class that the legend explains.

    Attributes:
        parts: (name, width, height, class to the path of its squares).
        legend: class to what it says.
    """

    template = f"{_FOLDER}/map.html"
    caption: str
    parts: Sequence[tuple[str, int, int, Mapping[str, str]]]
    legend: Mapping[str, str]


@dataclass(frozen=True)
class MarkedTexts(Block):
    """Texts with marked parts: one a row, each with what is known of it.

    Attributes:
        rows: each is (parts of the text as (text, class of the mark or ""), a note).
    """

    template = f"{_FOLDER}/texts.html"
    rows: Sequence[tuple[Sequence[tuple[str, str]], str]]
    legend: Mapping[str, str] = field(default_factory=dict)  # class of a mark to what it says


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading, which the page's menu leads to."""

    id: str
    title: str
    blocks: Sequence[Block]
