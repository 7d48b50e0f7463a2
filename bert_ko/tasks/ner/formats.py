"""The lines of the forms in which tagged sentences are published: see examples.read_dataset."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

KnownFormat = Literal["klue", "naver", "conll"]

_LOOKED_AT = 200  # lines that decide about the format
_DOCUMENT_START = "-DOCSTART-"
_BIO_TAG = re.compile(r"O|[BI]-\w\S*")
_REVERSED_TAG = re.compile(r"(\w\S*?)[-_]([BI])")
_NAVER_TAG = re.compile(rf"-|{_BIO_TAG.pattern}|{_REVERSED_TAG.pattern}")
_BARE_TYPE = re.compile(r"[^\W\d_]\w+")


class Row(NamedTuple):
    """A unit with its tag, and the number of its line."""

    text: str
    tag: str
    line: int


class Block(NamedTuple):
    """A sentence of a file; sentence_id is "" if the file gives none."""

    sentence_id: str
    line: int
    rows: list[Row]


Parser = Callable[[str, list[str]], Iterator[Block]]


def detect(path: str, lines: list[str]) -> KnownFormat:
    """Returns the format of a file by its first lines.

    Raises:
        ValueError: they have none of the formats.
    """
    rows = [line for line in lines if line.strip()][:_LOOKED_AT]
    if rows[0].startswith(("##", _DOCUMENT_START)):
        return "klue" if rows[0].startswith("##") else "conll"
    if _are_numbered(lines) or any(_is_tagged_line(row) for row in rows):
        return "naver"
    # A single word of one syllable is common, a column of nothing else is not.
    if all(row[1:2] == "\t" and "\t" not in row[2:].rstrip() for row in rows if row[:2] != "##"):
        return "klue"
    columns = [_columns(row) for row in rows]
    if len(columns[0]) > 1 and any(_BIO_TAG.fullmatch(row[-1]) for row in columns):
        return "conll"
    raise ValueError(
        f"{path}: can't tell the format from {rows[0][:60]!r}; expected KLUE's (## ID, then lines "
        "of CHARACTER, a tab and TAG), Naver's (SENTENCE, a tab and TAGS) or CoNLL's (lines of "
        "token and tag); say which with --file_format=klue, naver or conll."
    )


def _are_numbered(lines: list[str]) -> bool:
    """Whether the rows of the first sentence with several are numbered, as Naver's are."""
    group = next((group for group in _groups(lines) if len(group) > 1), [])
    rows = [_tab_columns(line) for _, line in group]
    numbers = [str(number) for number in range(1, len(rows) + 1)]
    return bool(rows) and [row[0] for row in rows] == numbers and {len(row) for row in rows} == {3}


def _is_tagged_line(line: str) -> bool:
    """Whether this is a sentence of several words, and a tag for each."""
    columns = [_words(column) for column in _tab_columns(line)]
    if len(columns) != 2 or not 1 < len(columns[0]) == len(columns[1]):
        return False
    return all(map(_NAVER_TAG.fullmatch, columns[1]))


def _parse_klue(path: str, lines: list[str]) -> Iterator[Block]:
    sentence_id, start, rows = "", 0, list[Row]()
    is_head = True  # comments there may have a tab, but are no sentence
    for number, line in enumerate([*lines, ""], start=1):
        name, tab, _ = line[2:].partition("\t") if line.startswith("##") else ("", "", "")
        is_end = not line.strip(" \t") and not line.startswith(" \t")  # a blank without a tag
        if tab or is_end:
            if rows or (start and not is_head):
                yield Block(sentence_id, start, rows)
            sentence_id, start, rows = name.strip(), number if tab else 0, []
        elif not line.startswith("##"):
            is_head = False
            start = start or number
            place, tag = f"{path}:{number}", line[2:].strip()
            if line[1:2] != "\t" or not tag or "\t" in tag:
                raise ValueError(
                    f"{place}: expected CHARACTER, a tab and TAG (KLUE's form), got {line[:60]!r}."
                )
            if not _BIO_TAG.fullmatch(tag):
                raise ValueError(f"{place}: the tag must be O, B-TYPE or I-TYPE, got {tag!r}.")
            rows.append(Row(line[0], tag, number))


def _parse_naver(path: str, lines: list[str]) -> Iterator[Block]:
    first = next(line for line in lines if line.strip())
    has_rows = len(_tab_columns(first)) == 3
    return (_parse_naver_rows if has_rows else _parse_naver_lines)(path, lines)


def _parse_naver_lines(path: str, lines: list[str]) -> Iterator[Block]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        columns = _tab_columns(line)
        if len(columns) != 2:
            raise ValueError(
                f"{place}: expected SENTENCE, a tab and TAGS (Naver's form), got {line[:60]!r}."
            )
        words, tags = _words(columns[0]), _words(columns[1])
        if len(words) != len(tags):
            raise ValueError(
                f"{place}: expected a tag for each word (Naver's form), got {len(words)} words and "
                f"{len(tags)} tags."
            )
        rows = [
            Row(word, _naver_tag(tag, place), number) for word, tag in zip(words, tags, strict=True)
        ]
        yield Block("", number, rows)


def _parse_naver_rows(path: str, lines: list[str]) -> Iterator[Block]:
    for numbered in _groups(lines):
        rows: list[Row] = []
        for number, line in numbered:
            columns = _tab_columns(line)
            if len(columns) != 3 or not columns[0].isdecimal() or not columns[1]:
                raise ValueError(
                    f"{path}:{number}: expected NUMBER, WORD and TAG with tabs (Naver's form), "
                    f"got {line[:60]!r}."
                )
            rows.append(Row(columns[1], _naver_tag(columns[2], f"{path}:{number}"), number))
        yield Block("", rows[0].line, rows)


def _parse_conll(path: str, lines: list[str]) -> Iterator[Block]:
    width = 0
    for numbered in _groups(lines):
        rows: list[Row] = []
        last = ""
        for number, line in numbered:
            columns = _columns(line)
            width = width or len(columns)
            if len(columns) < 2 or len(columns) != width or not columns[0]:
                wanted = f"{width} columns, as above" if width > 1 else "two or more columns"
                raise ValueError(
                    f"{path}:{number}: expected {wanted}, from token to tag (CoNLL's form), got "
                    f"{line[:60]!r}."
                )
            tag = _conll_tag(columns[-1], last, f"{path}:{number}")
            rows.append(Row(columns[0], tag, number))
            last = columns[-1]
        yield Block("", rows[0].line, rows)


def _groups(lines: Iterable[str]) -> Iterator[list[tuple[int, str]]]:
    """Yields the lines between empty ones, with their numbers."""
    group: list[tuple[int, str]] = []
    for number, line in enumerate([*lines, ""], start=1):
        is_end = not line.strip() or line.startswith(_DOCUMENT_START)
        if not is_end:
            group.append((number, line))
        elif group:
            yield group
            group = []


def _columns(line: str) -> list[str]:
    return _tab_columns(line) if "\t" in line else _words(line)


def _tab_columns(line: str) -> list[str]:
    return [column.strip(" ") for column in line.rstrip(" \t").split("\t")]


def _words(text: str) -> list[str]:
    return [word for word in text.split(" ") if word]  # not split(): a word may have U+00A0


def _naver_tag(tag: str, place: str) -> str:
    if tag == "-":
        return "O"
    if match := _REVERSED_TAG.fullmatch(tag):
        return f"{match[2]}-{match[1]}"
    if not _BIO_TAG.fullmatch(tag):  # the usual order is accepted
        raise ValueError(f"{place}: the tag must be O, -, TYPE-B or TYPE-I, got {tag!r}.")
    return tag


def _conll_tag(tag: str, last: str, place: str) -> str:
    """Args: last: the tag in the line before, "" at the start of a sentence."""
    if _BIO_TAG.fullmatch(tag):
        return tag
    if _REVERSED_TAG.fullmatch(tag) or not _BARE_TYPE.fullmatch(tag):
        raise ValueError(f"{place}: the tag must be O, B-TYPE, I-TYPE or TYPE, got {tag!r}.")
    return f"I-{tag}" if tag == last else f"B-{tag}"


PARSERS: dict[KnownFormat, Parser] = {
    "klue": _parse_klue,
    "naver": _parse_naver,
    "conll": _parse_conll,
}
