"""The confusion matrix as SVG, for a file of its own and for a page.

Legend: K classes. Lengths are in units of about a pixel.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.report.rendering import render

_SIDE = 640.0  # of all cells, unless they become very large or very small
_MIN_CELL, _MAX_CELL = 12.0, 60.0
_FONT, _MIN_FONT = 13.0, 8.0  # font sizes; numbers that would be smaller are left out
_LETTER, _HANGUL = 0.62, 1.0  # widths relative to the font size
_MOST_LABEL = 11.0  # maximal width of a label relative to the font size
_GAP = 8.0
_TITLE = 24.0  # height of a line of text around the cells
_MIN_WIDTH = 360.0  # of the note below the cells
_MIN_SLOPING = 25.0  # side of cells above which sloping labels do not touch each other
_NO_XML = re.compile("[\ufffe\uffff]")
Ints = npt.NDArray[np.integer[Any]]


class Drawing(NamedTuple):
    """A confusion matrix as confusion.svg draws it."""

    labels: Sequence[tuple[str, str]]  # K names, clipped and in full
    rows: Sequence[Sequence[int]]  # K of K counts
    is_linked: bool  # whether cells with examples are links to the page's list
    left: float  # the first cell's corner
    top: float
    width: float
    height: float
    cell: float  # side of a cell
    label_font: float
    number_font: float  # of the numbers in cells; 0 for none
    angle: int  # slope of the labels above the cells, in degrees
    gap: float = _GAP
    font: float = _FONT


def confusion_svg(confusion: Ints, labels: Sequence[str]) -> str:
    """Returns a confusion matrix as an SVG file.

    Each cell has the count and the share of its row, which its shade shows too; cells that are too
    small for numbers have them in their titles alone.

    Args:
        confusion: [K, K]; rows are the golds, columns the predictions.
        labels: K names; long ones are clipped, but whole in their titles.
    """
    drawing = draw_confusion(confusion, labels, is_linked=False)
    return render("report/templates/confusion.svg", drawing=drawing)


def draw_confusion(confusion: Ints, labels: Sequence[str], is_linked: bool = True) -> Drawing:
    """Draws a confusion matrix for a page; see `confusion_svg`.

    Args:
        confusion: [K, K].
        labels: K names.
        is_linked: Whether cells with examples are links to them in the list, whose menus "gold" and
            "predicted" have the labels' numbers as values.
    """
    count = len(labels)
    assert labels and confusion.shape == (count, count)
    names = [unicodedata.normalize("NFC", _NO_XML.sub("\ufffd", label)) for label in labels]
    clips = [clipped(name, _MOST_LABEL) for name in names]
    cell = min(_MAX_CELL, max(_MIN_CELL, _SIDE / count))
    label_font = min(_FONT, 0.9 * cell)
    number_font = min(_FONT, cell / (_LETTER * max(len(f"{confusion.max():,}"), 5)))
    widest = label_font * max(map(_width, clips))
    angle = 0 if widest <= cell - 4 else 45 if cell >= _MIN_SLOPING else 90
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    overhang = cosine * widest - cell / 2 if angle else 0.0
    left = _TITLE + widest + _GAP
    top = _TITLE + sine * widest + label_font + _GAP
    return Drawing(
        labels=list(zip(clips, names, strict=True)),
        rows=confusion.tolist(),
        is_linked=is_linked,
        left=left,
        top=top,
        width=max(left + count * cell + max(overhang, 0.0) + _GAP, _MIN_WIDTH),
        height=top + count * cell + _TITLE + _GAP,
        cell=cell,
        label_font=label_font,
        number_font=number_font if number_font >= _MIN_FONT else 0.0,
        angle=angle,
    )


def clipped(text: str, most: float) -> str:
    """Returns text at most `most` letters of Hangul wide, with "…" for what is cut off."""
    if _width(text) <= most:
        return text
    kept = len(text)
    while kept and _width(text[:kept]) + _HANGUL > most:
        kept -= 1
    return f"{text[:kept].rstrip()}…"


def _width(text: str) -> float:
    """Returns the width relative to the font size: 1 for Hangul and other wide letters."""
    wide = (unicodedata.east_asian_width(char) in "WF" for char in text)
    return sum(
        0.0 if unicodedata.combining(char) else _HANGUL if is_wide else _LETTER
        for char, is_wide in zip(text, wide, strict=True)
    )
