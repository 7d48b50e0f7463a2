"""Rows of text whose cells tabs or commas separate."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice

from bert_ko.csv_rows import read_rows
from bert_ko.text_lines import read_lines, read_text

Rows = list[tuple[int, list[str]]]  # the first line of each, from 1, and its cells

_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars"}
_EXTENSIONS = {"\t": ".tsv", ",": ".csv"}
_HEAD_SIZE = 1 << 16  # characters that have the names of the columns
_JSON = re.compile(r'\s*(?:\{\s*"|\[\s*\{|[\[{]\s*$)')
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
# Which cells a program puts into quotes when it writes tabs: csv and pandas; Excel; all; all text.
_STYLES: tuple[Callable[[str], bool], ...] = (
    lambda cell: not {'"', "\t", "\n"}.isdisjoint(cell),
    lambda cell: not {'"', "\t", "\n", ","}.isdisjoint(cell),
    lambda cell: True,
    lambda cell: not _NUMBER.fullmatch(cell),
)


def read_tabs(path: str, encoding: str | None) -> Rows:
    """Reads cells between tabs.

    Quotes are characters, unless the whole file is what a program writes that puts cells into
    quotes: then a cell can have tabs and line breaks, and a quote in it is doubled.

    Raises:
        ValueError: the file is no text, or something else separates its cells.
    """
    lines = read_lines(path, encoding=encoding)
    _check_separator(path, lines, "\t")
    if any(line.startswith('"') or '\t"' in line for line in lines):
        rows = _quoted_rows("\n".join(lines))
        if rows is not None:
            return rows
    return [(n, line.split("\t") if line else []) for n, line in enumerate(lines, start=1)]


def read_commas(path: str, encoding: str | None) -> Rows:
    """Reads comma-separated values as in RFC 4180.

    Raises:
        ValueError: the file is no text, something else separates its cells, or a quote is stray.
    """
    # Two returns are what programs leave that write CRLF to a file that makes CRLF of LF.
    text = read_text(path, encoding=encoding).replace("\r\r\n", "\r\n")
    head = text[:_HEAD_SIZE]
    _check_separator(path, re.split("\r\n|\r|\n", head), ",")
    header = next(read_rows(head), None)
    found: Rows = []
    for row in read_rows(text, num_columns=len(header.cells) if header else None):
        if row.problem is not None:
            raise ValueError(
                f"{path}:{row.line}: not CSV: {row.problem}. A cell with a comma, a quote or a "
                'line break needs quotes: "...", and a quote in it is doubled: "".'
            )
        found.append((row.line, row.cells))
    return found


def _quoted_rows(text: str) -> Rows | None:
    """Returns the rows if all cells are in quotes, and only those, that a program would quote."""
    rows: Rows = []
    for row in read_rows(text, separator="\t"):
        if row.problem is not None:
            return None
        rows.append((row.line, row.cells))
    wanted = text.rstrip("\n")
    for is_quoted in _STYLES:
        written = "\n".join(
            "\t".join(_in_quotes(cell) if is_quoted(cell) else cell for cell in cells)
            for _, cells in rows
        )
        if written.rstrip("\n") == wanted:
            return rows
    return None


def _in_quotes(cell: str) -> str:
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


def _check_separator(path: str, lines: Sequence[str], expected: str) -> None:
    """Refuses JSON, and a file whose first line has another separator, as the second has."""
    first, second = [*islice((line for line in lines if line.strip()), 2), "", ""][:2]
    if _JSON.match(first):
        raise ValueError(f"{path}: JSON, not a table; name it .jsonl, or .json if it is a list.")
    if expected in first:
        return
    for found, name in _SEPARATORS.items():
        if found in first and (found in second or not second):
            advice = (
                f"name it {_EXTENSIONS[found]}"
                if found in _EXTENSIONS
                else "save it with commas between them (.csv)"
            )
            raise ValueError(
                f"{path}: {name} separate its cells, not {_SEPARATORS[expected]}; {advice}."
            )
