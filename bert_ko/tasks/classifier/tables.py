"""Tables of text in files: columns separated by tabs or commas, or objects of JSON."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bert_ko import content, files
from bert_ko.compression import COMPRESSIONS
from bert_ko.json_files import expect, load_json
from bert_ko.tasks.classifier.separated import Rows, read_commas, read_tabs
from bert_ko.text_lines import read_lines

_MAX_SHOWN = 8  # names of columns in a message
_MAX_NAME_LENGTH = 30
_AROUND_NAMES = " \t\r\n\f\v\u00a0\u3000\ufeff"  # not of a name


class Table(NamedTuple):
    """A file's rows.

    Attributes:
        path: the file.
        columns: names of the columns; of JSON, all keys in the order of the file.
        rows: a cell for each column: text, or a value of JSON; None for a missing key.
        lines: the line of each row, from 1, or its index in a list of JSON, from 0.
        blank_lines: empty lines, which are no rows.
        list_name: of a list of JSON: "data" or ""; None for other files.
        repeated_headers: lines that name the columns again, which are no rows.
        is_json: whether the rows were objects.
    """

    path: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    lines: Sequence[int]
    blank_lines: tuple[int, ...] = ()
    list_name: str | None = None
    repeated_headers: tuple[int, ...] = ()
    is_json: bool = False

    def where(self, index: int) -> str:
        """Returns the place of a row for a message: "train.tsv:7" or "train.json: data[5]"."""
        return _place(self.path, self.lines[index], self.list_name)

    def names(self) -> list[str]:
        """Returns the columns; instead of one of objects, the paths of its members."""
        found: list[str] = []
        for index, column in enumerate(self.columns):
            values = (row[index] for row in self.rows if type(row[index]) is dict)
            found += [f"{column}.{key}" for key in next(values, {})] or [column]
        return found

    def has(self, column: str) -> bool:
        """Returns whether there is such a column, or such a member of its objects."""
        if column in self.columns:
            return True
        head, keys = self._path(column)
        return any(_follow(row[head], keys) is not None for row in self.rows) if keys else False

    def cells(self, column: str) -> list[Any]:
        """Returns a column of the table.

        Args:
            column: its name, or the path of a member of its objects: "labels.label".

        Raises:
            ValueError: two columns have this name.
        """
        if self.columns.count(column) > 1:
            raise ValueError(f"{self.path}: two columns have the name {column!r}.")
        if column in self.columns:
            index = self.columns.index(column)
            return [row[index] for row in self.rows]
        head, keys = self._path(column)
        return [_follow(row[head], keys) for row in self.rows]

    def _path(self, column: str) -> tuple[int, list[str]]:
        """The column that a path begins with, and the keys of its members; none without one."""
        keys = column.split(".")
        for length in range(len(keys) - 1, 0, -1):
            if (name := ".".join(keys[:length])) in self.columns:
                return self.columns.index(name), keys[length:]
        return 0, []


def _follow(value: Any, keys: Sequence[str]) -> Any:
    """Returns a member of a member of an object; None if it is missing."""
    for key in keys:
        value = value.get(key) if type(value) is dict else None
    return value


def read_table(path: str, encoding: str | None = None) -> Table:
    """Reads a table whose columns have names.

    Args:
        path: local or remote, compressed or not; its extension tells the form. .tsv, .tab and
            .txt: tabs between the cells, quotes are plain characters unless all cells that need
            them have them. .csv: RFC 4180, with commas and line breaks inside quotes. .jsonl and
            .ndjson: an object a line. .json: a list of objects, an object with such a list as
            "data", or an object a line. The first line of .tsv, .txt and .csv has the names of the
            columns; a row that repeats them is none.
        encoding: see `text_lines.open_lines`.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file has none of these forms, is no text, has no row, something else
            separates its cells, or a row has more or fewer of them than there are columns; the
            message names the line.
    """
    stem, extension = os.path.splitext(path)
    if extension in COMPRESSIONS:
        extension = os.path.splitext(stem)[1]
    reader = _READERS.get(extension.lower())
    if reader is None:
        with files.open_binary(path) as stream:
            content.text_encoding(stream.read(content.HEAD_SIZE), path, encoding)
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
    return _from_rows(path, read_tabs(path, encoding), "tab")


def _read_commas(path: str, encoding: str | None) -> Table:
    return _from_rows(path, read_commas(path, encoding), "comma")


def _from_rows(path: str, found: Rows, separator: str) -> Table:
    """Makes a table of numbered lines, whose rows must have a cell for each column."""
    if not found:
        raise ValueError(f"{path} is empty; expected a line with the names of the columns.")
    header = found[0][1]
    columns = _names(header)
    if not any(columns):
        raise ValueError(f"{path}:1: expected the names of the columns, got an empty line.")
    rows, lines, blank, headers = list[list[str]](), list[int](), list[int](), list[int]()
    for number, cells in found[1:]:
        # In a table of one column, a blank line is an empty text.
        if not cells and len(columns) > 1:
            blank.append(number)
        elif len(cells or [""]) != len(columns):
            raise ValueError(
                f"{path}:{number}: expected {len(columns)} cells with {separator}s between them "
                f"({listed(columns)}), got {len(cells)}."
            )
        elif len(columns) > 1 and columns[-1] in cells[-1] and _names(cells) == columns:
            headers.append(number)
        else:
            rows.append(cells or [""])
            lines.append(number)
    return Table(path, columns, rows, lines, tuple(blank), None, tuple(headers))


def _names(cells: Sequence[str]) -> tuple[str, ...]:
    # A Mac may decompose Hangul, which looks the same.
    return tuple(unicodedata.normalize("NFC", cell.strip(_AROUND_NAMES)) for cell in cells)


def _read_json(path: str, encoding: str | None) -> Table:
    value, key = load_json(path, encoding=encoding, allows_lines=True), ""
    if type(value) is dict:
        key = "data"
        if key not in value:
            found = listed(list(value)) or "nothing"
            raise ValueError(
                f'{path}: expected a list, or an object with one as "data"; found an object with '
                f"{found}."
            )
        value = value[key]
    items = expect(value, list, f"{path}: {key or 'top level'}")
    return _from_objects(path, items, range(len(items)), (), key)


def _read_json_lines(path: str, encoding: str | None) -> Table:
    lines = read_lines(path, encoding=encoding)
    first = next((line.lstrip() for line in lines if line.strip()), "")
    if first.startswith("["):
        return _read_json(path, encoding)  # a list, whatever its name
    values, numbers, blank = [], [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            blank.append(number)
            continue
        try:
            values.append(json.loads(line))
        except RecursionError:
            raise ValueError(f"{path}:{number}: its JSON is nested too deeply.") from None
        except ValueError as error:
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
    return Table(path, columns, rows, lines, blank, list_name, is_json=True)


def _place(path: str, line: int, list_name: str | None) -> str:
    return f"{path}:{line}" if list_name is None else f"{path}: {list_name}[{line}]"


_READERS: dict[str, Callable[[str, str | None], Table]] = {
    ".tsv": _read_tabs,
    ".tab": _read_tabs,
    ".txt": _read_tabs,
    ".csv": _read_commas,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
}
