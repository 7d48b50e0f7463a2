"""The confusion matrix as a picture: SVG, for a file of its own and for a page.

Legend: K classes. Lengths are in units that are about a pixel.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.report.page import render

_SIDE = 640.0  # of all cells, if they are neither very large nor very small then
_MIN_CELL, _MAX_CELL = 12.0, 60.0
_FONT, _MIN_FONT = 13.0, 8.0  # sizes of the letters; numbers that would be smaller are left out
_LETTER, _HANGUL = 0.62, 1.0  # widths in parts of the size
_MOST_LABEL = 11.0  # width that a label may take, in parts of the size
_GAP = 8.0
_TITLE = 24.0  # height of a line of text around the cells
_MIN_WIDTH = 360.0  # the note below the cells is as wide
_MIN_SLOPING = 25.0  # side of cells above which sloping labels would not touch each other
_NO_XML = re.compile("[\ufffe\uffff]")
Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Layout:
    """Where things are.

    left, top: the first cell's corner.
    cell: side of a cell.
    label_font: size of labels.
    number_font: size of numbers in cells; 0 for none.
    angle: by which the labels above the cells rise, in degrees.
    """

    gap: ClassVar[float] = _GAP
    font: ClassVar[float] = _FONT

    left: float
    top: float
    width: float
    height: float
    cell: float
    label_font: float
    number_font: float
    angle: int


class Drawing(NamedTuple):
    """A confusion matrix; confusion.svg draws it.

    Attributes:
        layout: where things are.
        labels: K names, as they are shown and in full.
        rows: K of K counts.
        is_linked: whether cells with examples lead to them in the page's list.
    """

    layout: Layout
    labels: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[int]]
    is_linked: bool


def confusion_svg(confusion: Ints, labels: Sequence[str]) -> str:
    """Draws a confusion matrix: a file by itself.

    A cell says how many examples of its row's label were given its column's, and how much of the
    row that is, which its shade says too. Small cells have no numbers but in their titles.

    Args:
        confusion: [K, K]; rows are the golds, columns the predictions.
        labels: K names, which are clipped where they are long; their titles are whole.
    """
    drawing = draw_confusion(confusion, labels, is_linked=False)
    return render("report/templates/confusion.svg", drawing=drawing)


def draw_confusion(confusion: Ints, labels: Sequence[str], is_linked: bool = True) -> Drawing:
    """Draws a confusion matrix for a page; see `confusion_svg`.

    Args:
        confusion: [K, K].
        labels: K names.
        is_linked: whether cells with examples lead to them in the list, whose menus "gold" and
            "predicted" take the labels' numbers.
    """
    assert labels and confusion.shape == (len(labels), len(labels))
    names = [unicodedata.normalize("NFC", _NO_XML.sub("\ufffd", label)) for label in labels]
    return Drawing(
        _layout(confusion, names),
        [(clipped(name, _MOST_LABEL), name) for name in names],
        confusion.tolist(),
        is_linked,
    )


def clipped(text: str, most: float) -> str:
    """Returns text that is no wider than some letters of Hangul, with "…" for what is cut off."""
    if _width(text) <= most:
        return text
    kept = len(text)
    while kept and _width(text[:kept]) + _HANGUL > most:
        kept -= 1
    return f"{text[:kept].rstrip()}…"


def _layout(confusion: Ints, names: Sequence[str]) -> Layout:
    count = len(names)
    cell = min(_MAX_CELL, max(_MIN_CELL, _SIDE / count))
    label_font = min(_FONT, 0.9 * cell)
    number_font = min(_FONT, cell / (_LETTER * max(len(f"{confusion.max():,}"), 5)))
    widest = label_font * max(_width(clipped(name, _MOST_LABEL)) for name in names)
    angle = 0 if widest <= cell - 4 else 45 if cell >= _MIN_SLOPING else 90
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    overhang = cosine * widest - cell / 2 if angle else 0.0
    left = _TITLE + widest + _GAP
    top = _TITLE + sine * widest + label_font + _GAP
    return Layout(
        left=left,
        top=top,
        width=max(left + count * cell + max(overhang, 0.0) + _GAP, _MIN_WIDTH),
        height=top + count * cell + _TITLE + _GAP,
        cell=cell,
        label_font=label_font,
        number_font=number_font if number_font >= _MIN_FONT else 0.0,
        angle=angle,
    )


def _width(text: str) -> float:
    """Width in parts of the size: of Hangul and other wide letters 1."""
    return sum(
        0.0
        if unicodedata.combining(char)
        else _HANGUL
        if unicodedata.east_asian_width(char) in "WF"
        else _LETTER
        for char in text
    )
