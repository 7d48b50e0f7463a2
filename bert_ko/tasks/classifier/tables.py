"""Tables of text in files: columns separated by tabs or commas, or objects of JSON."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from bert_ko.compression import COMPRESSIONS
from bert_ko.json_files import expect, load_json
from bert_ko.text_lines import read_lines, read_text

_MAX_SHOWN = 8  # names of columns in a message
_MAX_NAME_LENGTH = 30


class Table(NamedTuple):
    """A file's rows.

    Attributes:
        path: the file.
        columns: names of the columns; of JSON, all keys in the order of the file.
        rows: a cell for each column: text, or a value of JSON; None for a missing key.
        lines: the line of each row, from 1, or its index in a list of JSON, from 0.
        blank_lines: empty lines, which are no rows.
        list_name: of a list of JSON: "data" or ""; None for other files.
    """

    path: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    lines: Sequence[int]
    blank_lines: tuple[int, ...] = ()
    list_name: str | None = None

    def where(self, index: int) -> str:
        """Returns the place of a row for a message: "train.tsv:7" or "train.json: data[5]"."""
        return _place(self.path, self.lines[index], self.list_name)

    def cells(self, column: str) -> list[Any]:
        """Returns a column of the table.

        Raises:
            ValueError: two columns have this name.
        """
        if self.columns.count(column) > 1:
            raise ValueError(f"{self.path}: two columns have the name {column!r}.")
        index = self.columns.index(column)
        return [row[index] for row in self.rows]


def read_table(path: str, encoding: str | None = None) -> Table:
    """Reads a table whose columns have names.

    Args:
        path: local or remote, compressed or not; its extension tells the form. .tsv and .txt: a
            row a line, tabs between the cells, quotes are plain characters. .csv: RFC 4180, with
            commas and line breaks inside quotes. .jsonl: an object a line. .json: a list of
            objects, or an object with such a list as "data". The first line of .tsv, .txt and .csv
            has the names of the columns.
        encoding: see `text_lines.open_lines`.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file has none of these forms, is not UTF-8, has no row, or a row has more
            or fewer cells than there are columns; the message names the line.
    """
    stem, extension = os.path.splitext(path)
    if extension in COMPRESSIONS:
        extension = os.path.splitext(stem)[1]
    reader = _READERS.get(extension.lower())
    if reader is None:
        allowed = ", ".join(_READERS)
        raise ValueError(f"{path}: the name of a table must end in {allowed}, got {extension!r}.")
    table = reader(path, encoding)
    if not table.rows:
        raise ValueError(f"{path} has no example{', only a header' if table.columns else ''}.")
    return table


def listed(names: Sequence[str]) -> str:
    """Returns the first of some names for a message."""
    shown = [repr(name[:_MAX_NAME_LENGTH]) for name in names[:_MAX_SHOWN]]
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(shown) + more


def _read_tabs(path: str, encoding: str | None) -> Table:
    rows = [line.split("\t") if line else [] for line in read_lines(path, encoding=encoding)]
    return _from_rows(path, list(enumerate(rows, start=1)), "tab")


def _read_commas(path: str, encoding: str | None) -> Table:
    rows = _csv_rows(path, read_text(path, encoding=encoding))
    return _from_rows(path, list(rows), "comma")


def _from_rows(path: str, found: list[tuple[int, list[str]]], separator: str) -> Table:
    """Makes a table of numbered lines, whose rows must have a cell for each column."""
    if not found:
        raise ValueError(f"{path} is empty; expected a line with the names of the columns.")
    columns = tuple(map(str.strip, found[0][1]))
    if not any(columns):
        raise ValueError(f"{path}:1: expected the names of the columns, got an empty line.")
    # In a table of one column, a blank line is an empty text.
    rows = [(number, cells or [""]) for number, cells in found[1:] if cells or len(columns) == 1]
    for number, cells in rows:
        if len(cells) != len(columns):
            raise ValueError(
                f"{path}:{number}: expected {len(columns)} cells with {separator}s between them "
                f"({listed(columns)}), got {len(cells)}."
            )
    lines = [number for number, _ in rows]
    blank = tuple(number for number, cells in found[1:] if not cells and len(columns) > 1)
    return Table(path, columns, [cells for _, cells in rows], lines, blank)


def _csv_rows(path: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields each row with its first line."""
    lines = text.split("\n")
    ends = [line + "\n" for line in lines[:-1]]
    # Strict: an unclosed quote would make one cell of the rest of the file.
    reader = csv.reader([*ends, lines[-1]] if lines[-1] else ends, strict=True)
    first = 1
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))  # one for all readers
    try:
        for cells in reader:
            yield first, cells
            first = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}:{first}: not CSV: {error} (the row ends in line {reader.line_num}). A cell "
            'with a comma, a quote or a line break needs quotes: "...", and a quote in it is '
            'doubled: "".'
        ) from None
    finally:
        csv.field_size_limit(limit)


def _read_json(path: str, encoding: str | None) -> Table:
    value, key = load_json(path, encoding=encoding), ""
    if type(value) is dict:
        key = "data"
        if key not in value:
            found = listed(list(value)) or "nothing"
            raise ValueError(
                f'{path}: expected a list, or an object with one as "data"; found {found}.'
            )
        value = value[key]
    items = expect(value, list, f"{path}: {key or 'top level'}")
    return _from_objects(path, items, range(len(items)), (), key)


def _read_json_lines(path: str, encoding: str | None) -> Table:
    values, numbers, blank = [], [], []
    for number, line in enumerate(read_lines(path, encoding=encoding), start=1):
        if not line.strip():
            blank.append(number)
            continue
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: not JSON: {error}.") from None
        numbers.append(number)
    return _from_objects(path, values, numbers, tuple(blank), None)


def _from_objects(
    path: str,
    values: Sequence[Any],
    lines: Sequence[int],
    blank: tuple[int, ...],
    list_name: str | None,
) -> Table:
    for line, value in zip(lines, values, strict=True):
        expect(value, dict, _place(path, line, list_name))
    columns = tuple(dict.fromkeys(key for value in values for key in value))
    rows = [[value.get(column) for column in columns] for value in values]
    return Table(path, columns, rows, lines, blank, list_name)


def _place(path: str, line: int, list_name: str | None) -> str:
    return f"{path}:{line}" if list_name is None else f"{path}: {list_name}[{line}]"


_READERS: dict[str, Callable[[str, str | None], Table]] = {
    ".tsv": _read_tabs,
    ".txt": _read_tabs,
    ".csv": _read_commas,
    ".jsonl": _read_json_lines,
    ".json": _read_json,
}
