r"""Rows of comma-separated values as in RFC 4180, for every command: a stray quote costs its row.

A quote opens a cell only at the cell's beginning; there it must be closed, and a comma or the end
of the row must follow. Elsewhere it is a character. A row whose quote is not closed so ends with
its line, and the next line is a row again. Lines end in \n, \r\n or \r, in a quoted cell too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_NOT_CLOSED = "a quote opens a cell and is not closed"
_NUMBER = re.compile(r"\s*[-+]?\d[\d.:/-]*\s*")
_MANY_LINES = 8

_OPENED = rb'(?:\A|(?<=[,\r\n]))"(?:[^"]++|"")*+'
_LINE_END = rb"(\n|\r(?=[^\n]))"
# A cell that is open at the end may be closed by what follows, unless nothing follows.
_CELL_OR_LINE_END = re.compile(_OPENED + rb'(?:"(?=[,\r\n])|"?\Z)|' + _LINE_END)
_LAST_CELL_OR_LINE_END = re.compile(_OPENED + rb'"(?=[,\r\n]|\Z)|' + _LINE_END)


class Row(NamedTuple):
    """A row of a table."""

    line: int  # its first one
    cells: list[str]  # none of an empty line
    problem: str | None = None  # why the line is no row; it then has no cells


def read_rows(
    text: str, first_line: int = 1, num_columns: int | None = None, separator: str = ","
) -> Iterator[Row]:
    """Yields the rows of a text, also the empty lines and those that are no rows.

    Args:
        text: whole rows.
        first_line: number of its first line.
        num_columns: of the table, if known: a row that has swallowed lines, each with so many
            columns, between a stray quote and another one is then found.
        separator: stands between two cells.
    """
    csv.field_size_limit(1 << 30)  # one for all readers
    lines = list(io.StringIO(text, newline=""))
    start = 0
    while start < len(lines):
        reader = csv.reader(_from(lines, start), strict=True, delimiter=separator)
        begun = at = start
        try:
            for cells in reader:
                at, end = begun + reader.line_num, at
                if at > end + 1 and _has_swallowed(lines[end:at], num_columns):
                    at = end
                    raise csv.Error
                yield Row(first_line + end, cells)
        except csv.Error:
            yield Row(first_line + at, [], _NOT_CLOSED)
            at += 1
        start = at


def last_row_end(data: bytes, is_all: bool) -> int:
    """Returns where the last whole row ends; 0 without one.

    Args:
        data: whole rows, and the beginning of one.
        is_all: whether a quote that is not closed here is never closed.
    """
    pattern = _LAST_CELL_OR_LINE_END if is_all else _CELL_OR_LINE_END
    return max(0, max((match.end(1) for match in pattern.finditer(data)), default=0))


def count_line_ends(data: bytes) -> int:
    r"""Returns the number of \n, \r\n and \r."""
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


def _from(lines: Sequence[str], start: int) -> Iterator[str]:
    # No slice: of a table with many stray quotes each would copy the rest.
    return iter(lines) if start == 0 else (lines[i] for i in range(start, len(lines)))


def _has_swallowed(lines: Sequence[str], num_columns: int | None) -> bool:
    """Tells whether a row of several lines is several rows between two stray quotes.

    At least half of the lines after the first must have as many cells as the table has columns, and
    a number where the first line has one. Where that has none, all lines of many must have them, as
    a text of a few lines may look so too.
    """
    if num_columns is None or num_columns < 2:
        return False
    first, *others = (line.rstrip("\r\n").split(",") for line in lines)
    known = [cell.strip('"') for cell in first[:num_columns]]
    numbers = [i for i, cell in enumerate(known) if _NUMBER.fullmatch(cell)]
    alike = sum(
        len(cells) == num_columns and all(_NUMBER.fullmatch(cells[i]) for i in numbers)
        for cells in others
    )
    return 2 * alike >= len(others) if numbers else alike == len(others) >= _MANY_LINES
