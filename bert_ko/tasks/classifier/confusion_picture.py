"""The confusion matrix as a picture: SVG, for a file of its own and for a page.

Legend: K classes. Lengths are in units that are about a pixel.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bert_ko.tasks.classifier.scores import Ints
from bert_ko.tasks.html_report import Html, element

_SIDE = 640.0  # of all cells, if they are neither very large nor very small then
_MIN_CELL, _MAX_CELL = 12.0, 60.0
_FONT, _MIN_FONT = 13.0, 8.0  # sizes of the letters; numbers that would be smaller are left out
_LETTER, _HANGUL = 0.62, 1.0  # widths in parts of the size
_MOST_LABEL = 11.0  # width that a label may take, in parts of the size
_GAP = 8.0
_TITLE = 24.0  # height of a line of text around the cells
_MIN_WIDTH = 360.0  # the note below the cells is as wide
_MIN_SLOPING = 25.0  # side of cells above which sloping labels would not touch each other
_STRONGEST = 0.7  # opacity of a cell; text on it can still be read
_NO_XML = re.compile("[\ufffe\uffff]")
# Without variables, which viewers and converters of SVG often don't know.
_STYLE = """
.confusion { font-family: system-ui, "Apple SD Gothic Neo", "Noto Sans KR", "Malgun Gothic",
  sans-serif; font-variant-numeric: tabular-nums; }
.confusion .back { fill: #ffffff; }
.confusion text { fill: #1c1e21; }
.confusion .quiet { fill: #5a6068; }
.confusion .hit { fill: #1f5fbf; }
.confusion .miss { fill: #d0651a; }
.confusion .hit, .confusion .miss { stroke: #ffffff; }
.confusion .frame { fill: none; stroke: #d9dbde; }
@media (prefers-color-scheme: dark) {
  .confusion .back { fill: #1e2125; }
  .confusion text { fill: #e8e9eb; }
  .confusion .quiet { fill: #a3a9b1; }
  .confusion .hit { fill: #4a86d8; }
  .confusion .miss { fill: #c8641e; }
  .confusion .hit, .confusion .miss { stroke: #1e2125; }
  .confusion .frame { stroke: #3a3f46; }
}
"""

Link = Callable[[int, int], str]


@dataclass(frozen=True)
class _Layout:
    """Where things are.

    left, top: the first cell's corner.
    cell: side of a cell.
    label_font: size of labels.
    number_font: size of numbers in cells; 0 for none.
    angle: by which the labels above the cells rise, in degrees.
    """

    left: float
    top: float
    width: float
    height: float
    cell: float
    label_font: float
    number_font: float
    angle: int


def confusion_svg(confusion: Ints, labels: Sequence[str]) -> str:
    """Draws a confusion matrix: a file by itself.

    A cell says how many examples of its row's label were given its column's, and how much of the
    row that is, which its shade says too. Small cells have no numbers but in their titles.

    Args:
        confusion: [K, K]; rows are the golds, columns the predictions.
        labels: K names, which are clipped where they are long; their titles are whole.
    """
    return f"{confusion_drawing(confusion, labels)}\n"


def confusion_drawing(confusion: Ints, labels: Sequence[str], link: Link | None = None) -> Html:
    """Draws a confusion matrix for a page; see `confusion_svg`.

    Args:
        confusion: [K, K].
        labels: K names.
        link: address for a gold and a predicted label's numbers; cells with examples lead there.
    """
    assert labels and confusion.shape == (len(labels), len(labels))
    names = [unicodedata.normalize("NFC", _NO_XML.sub("\ufffd", label)) for label in labels]
    layout = _layout(confusion, names)
    return element(
        "svg",
        element("title", "Confusion matrix"),
        Html(f"<style>{_STYLE}</style>"),
        element("rect", width=f"{layout.width:.1f}", height=f"{layout.height:.1f}", class_="back"),
        *_headings(layout, len(names)),
        *_row_labels(layout, names),
        *_column_labels(layout, names),
        *_cells(layout, confusion, names, link),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {layout.width:.1f} {layout.height:.1f}",
        width=f"{layout.width:.1f}",
        height=f"{layout.height:.1f}",
        class_="confusion",
        role="img",
        aria_label="Confusion matrix: rows are gold labels, columns predicted ones",
    )


def clipped(text: str, most: float) -> str:
    """Returns text that is no wider than some letters of Hangul, with "…" for what is cut off."""
    if _width(text) <= most:
        return text
    kept = len(text)
    while kept and _width(text[:kept]) + _HANGUL > most:
        kept -= 1
    return f"{text[:kept].rstrip()}…"


def _layout(confusion: Ints, names: Sequence[str]) -> _Layout:
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
    return _Layout(
        left=left,
        top=top,
        width=max(left + count * cell + max(overhang, 0.0) + _GAP, _MIN_WIDTH),
        height=top + count * cell + _TITLE + _GAP,
        cell=cell,
        label_font=label_font,
        number_font=number_font if number_font >= _MIN_FONT else 0.0,
        angle=angle,
    )


def _headings(layout: _Layout, count: int) -> list[Html]:
    side = count * layout.cell
    x, y = layout.left + side / 2, layout.top + side / 2
    edge = _FONT + 4
    turned = f"rotate(-90 {edge:.1f} {y:.1f})"
    note = "shade and %: share of the gold label; blue: right, orange: wrong"
    return [
        _text("predicted 예측", x, _FONT + 2, _FONT, "quiet", text_anchor="middle"),
        _text("gold 정답", edge, y, _FONT, "quiet", text_anchor="middle", transform=turned),
        _text(note, _GAP, layout.height - _GAP, 0.85 * _FONT, "quiet"),
    ]


def _row_labels(layout: _Layout, names: Sequence[str]) -> list[Html]:
    x = layout.left - _GAP
    shift = layout.cell / 2 + 0.35 * layout.label_font
    return [
        _label(name, x, layout.top + i * layout.cell + shift, layout, text_anchor="end")
        for i, name in enumerate(names)
    ]


def _column_labels(layout: _Layout, names: Sequence[str]) -> list[Html]:
    made = []
    for i, name in enumerate(names):
        x, y = layout.left + (i + 0.5) * layout.cell, layout.top - _GAP
        if layout.angle == 90:
            x += 0.35 * layout.label_font
        turned = f"rotate(-{layout.angle} {x:.1f} {y:.1f})" if layout.angle else None
        anchor = "start" if layout.angle else "middle"
        made.append(_label(name, x, y, layout, text_anchor=anchor, transform=turned))
    return made


def _cells(layout: _Layout, confusion: Ints, names: Sequence[str], link: Link | None) -> list[Html]:
    made = []
    for row, counts in enumerate(confusion.tolist()):
        total = sum(counts)
        for column, count in enumerate(counts):
            if not count:
                if layout.number_font:
                    made.append(_number(layout, "0", row, column, 0.5, "quiet"))
                continue
            about = f"gold {names[row]}, predicted {names[column]}"
            title = f"{about}: {count:,} of {total:,} ({100 * count / total:.1f} %)"
            parts = _cell(layout, row, column, count, count / total)
            cell = element("g", element("title", title), *parts)
            made.append(_linked(cell, link(row, column)) if link else cell)
    return [*made, _frame(layout, len(names))]


def _frame(layout: _Layout, count: int) -> Html:
    side = f"{count * layout.cell:.1f}"
    x, y = f"{layout.left:.1f}", f"{layout.top:.1f}"
    return element("rect", x=x, y=y, width=side, height=side, class_="frame")


def _linked(cell: Html, address: str) -> Html:
    # Not a stop for the tabulator key: there may be thousands.
    return element("a", cell, href=address, tabindex="-1")


def _cell(layout: _Layout, row: int, column: int, count: int, share: float) -> list[Html]:
    parts = [
        element(
            "rect",
            x=f"{layout.left + column * layout.cell:.1f}",
            y=f"{layout.top + row * layout.cell:.1f}",
            width=f"{layout.cell:.1f}",
            height=f"{layout.cell:.1f}",
            class_="hit" if row == column else "miss",
            # The root, so that rare mistakes can be told from none.
            fill_opacity=f"{_STRONGEST * math.sqrt(share):.3f}",
        )
    ]
    if layout.number_font:
        parts.append(_number(layout, f"{count:,}", row, column, 0.38, ""))
        parts.append(_number(layout, f"{100 * share:.1f}%", row, column, 0.74, "", 0.85))
    return parts


def _number(
    layout: _Layout, text: str, row: int, column: int, height: float, kind: str, size: float = 1.0
) -> Html:
    """Args: height: of its middle, in parts of the cell. size: in parts of the numbers'."""
    font = size * layout.number_font
    x = layout.left + (column + 0.5) * layout.cell
    y = layout.top + (row + height) * layout.cell + 0.35 * font
    return _text(text, x, y, font, kind, text_anchor="middle")


def _label(name: str, x: float, y: float, layout: _Layout, **more: str | None) -> Html:
    shown = clipped(name, _MOST_LABEL)
    parts = [element("title", name), element("tspan", shown)] if shown != name else [shown]
    return _text(parts, x, y, layout.label_font, "", lang="ko", **more)


def _text(
    parts: str | Sequence[str], x: float, y: float, size: float, kind: str, **more: str | None
) -> Html:
    children = [parts] if isinstance(parts, str) else parts
    return element(
        "text",
        *children,
        x=f"{x:.1f}",
        y=f"{y:.1f}",
        font_size=f"{size:.1f}",
        class_=kind or None,
        **more,
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
