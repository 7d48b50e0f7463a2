"""The lines of the forms in which tagged sentences are published: see examples.read_dataset.

Tags are given as they are spelt; `schemes` says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Literal, NamedTuple

from bert_ko.tasks.ner.lines import (
    DOCUMENT_START,
    LOOKED_AT,
    Line,
    content_of,
    find_header,
    groups,
    named_columns,
    split_columns,
    split_tabs,
    split_words,
    without_comments,
)
from bert_ko.tasks.ner.schemes import is_tag

KnownFormat = Literal["klue", "naver", "conll", "kmou"]

_HEAD = 20 * LOOKED_AT  # lines that have so many rows, and their comments
_NO_TAG = "-"  # Naver's O
_NO_MORPHEME = "_"


class Row(NamedTuple):
    """A unit with its tag, the number of its line, and the text between it and the one before."""

    text: str
    tag: str
    line: int
    gap: str = ""


class Block(NamedTuple):
    """A sentence of a file; sentence_id is "" if the file gives none."""

    sentence_id: str
    line: int
    rows: list[Row]


def outside_tags(form: KnownFormat) -> frozenset[str]:
    """Returns the tags that mean no entity."""
    return frozenset(("O", _NO_TAG) if form == "naver" else ("O",))


def detect(path: str, lines: Sequence[str]) -> KnownFormat:
    """Returns the format of a file by its first lines.

    Raises:
        ValueError: they have none of the formats.
    """
    starts = [line for line in lines if line.strip()][:LOOKED_AT]
    if any(line.startswith(DOCUMENT_START) for line in starts):
        return "conll"
    if any(line.startswith(_NO_MORPHEME) and _is_gap(line) for line in lines):
        return "kmou"
    numbered = content_of(lines[:_HEAD])
    plain_rows = (line for _, line in numbered if line.strip() and not line.startswith("##"))
    rows = list(islice(plain_rows, LOOKED_AT))
    if starts[0].startswith("##") and 2 * sum(map(_is_character, rows)) >= len(rows):
        return "klue"
    plain = without_comments(numbered)
    rows = list(islice((line for _, line in plain if line.strip()), LOOKED_AT)) or starts
    if _are_numbered(plain) and len(split_tabs(rows[0])) == 3:
        return "naver"
    if any(map(_is_tagged_line, rows)):
        return "naver"
    # A single word of one syllable is common, a column of nothing else is not.
    if all(map(_is_character, rows)):
        return "klue"
    columns = [split_columns(row) for row in rows]
    if len(columns[0]) > 1:
        has_one_width = len(set(map(len, columns))) == 1  # else its last column has the tags
        if any(is_tag(tag) for row in columns for tag in (row if has_one_width else row[-1:])):
            return "conll"
    raise ValueError(
        f"{path}: can't tell the format from {rows[0][:60]!r}; expected KLUE's (## ID, then lines "
        "of CHARACTER, a tab and TAG), Naver's (SENTENCE, a tab and TAGS) or CoNLL's (lines of "
        "token and tag); say which with --file_format=klue, naver or conll."
    )


def parse(path: str, lines: Sequence[str], form: KnownFormat) -> list[Block]:
    """Returns the sentences of a file; its header and its comments are none.

    Raises:
        ValueError: a line does not have the form; the message names it.
    """
    content = content_of(lines)
    if form == "klue":
        return list(_parse_klue(path, content))
    plain = without_comments(content)
    if form == "naver":
        first = next((line for _, line in plain if line.strip()), "")
        read = _parse_naver_rows if len(split_tabs(first)) == 3 else _parse_naver_lines
        return list(read(path, plain))
    return list(_parse_rows(path, plain, find_header(lines)))


def _is_character(line: str) -> bool:
    """Whether this is a character, a tab and a tag, as KLUE has them."""
    return line[1:2] == "\t" and "\t" not in line[2:].rstrip()


def _is_gap(line: str) -> bool:
    """Whether this stands for the blank between two words, as KMOU has it."""
    columns = split_columns(line)
    return len(columns) > 2 and set(columns[:-1]) == {_NO_MORPHEME}


def _are_numbered(lines: Sequence[Line]) -> bool:
    """Whether the rows of most sentences are numbered, as Naver's are."""
    found = []
    for group in islice(groups(lines), LOOKED_AT):
        rows = [split_columns(line) for _, line in group]
        if len(rows) > 1:
            first = rows[0][0]
            start = int(first) if first.isdecimal() else -1
            wanted = [str(start + index) for index in range(len(rows))]
            found.append([row[0] for row in rows] == wanted and min(map(len, rows)) > 2)
    return 2 * sum(found) > len(found)


def _is_tagged_line(line: str) -> bool:
    """Whether this is a sentence of several words, and a tag for each."""
    columns = [split_words(column) for column in split_tabs(line)]
    if len(columns) != 2 or not 1 < len(columns[0]) == len(columns[1]):
        return False
    return all(tag == _NO_TAG or is_tag(tag) for tag in columns[1])


def _parse_klue(path: str, lines: Iterable[Line]) -> Iterator[Block]:
    sentence_id, start, rows = "", 0, list[Row]()
    is_head = True  # comments there may have a tab, but are no sentence
    for number, line in chain(lines, [(0, "")]):
        if line[1:2] == "\t" and (tag := line[2:].strip()) and "\t" not in tag:
            is_head, start = False, start or number
            rows.append(Row(line[0], tag, number))
            continue
        name, tab, _ = line[2:].partition("\t") if line.startswith("##") else ("", "", "")
        is_end = not line.strip(" \t") and not line.startswith(" \t")  # a blank without a tag
        if tab or is_end:
            if rows or (start and not is_head):
                yield Block(sentence_id, start, rows)
            sentence_id, start, rows = name.strip(), number if tab else 0, []
        elif not line.startswith("#") or line[1:2] == "\t":
            raise ValueError(
                f"{path}:{number}: expected CHARACTER, a tab and TAG (KLUE's form), got "
                f"{line[:60]!r}."
            )


def _parse_naver_lines(path: str, lines: Iterable[Line]) -> Iterator[Block]:
    for number, line in lines:
        if not line.strip():
            continue
        place = f"{path}:{number}"
        columns = split_tabs(line)
        if len(columns) != 2:
            raise ValueError(
                f"{place}: expected SENTENCE, a tab and TAGS (Naver's form), got {line[:60]!r}."
            )
        words, tags = split_words(columns[0]), split_words(columns[1])
        if len(words) != len(tags):
            raise ValueError(
                f"{place}: expected a tag for each word (Naver's form), got {len(words)} words and "
                f"{len(tags)} tags."
            )
        yield Block("", number, _words(words, tags, [number] * len(words)))


def _parse_naver_rows(path: str, lines: Sequence[Line]) -> Iterator[Block]:
    for group in groups(lines):
        rows = [split_tabs(line) for _, line in group]
        for (number, line), columns in zip(group, rows, strict=True):
            if len(columns) != 3 or not columns[0].isdecimal() or not columns[1]:
                raise ValueError(
                    f"{path}:{number}: expected NUMBER, WORD and TAG with tabs (Naver's form), "
                    f"got {line[:60]!r}."
                )
        _, words, tags = zip(*rows, strict=True)
        yield Block("", group[0][0], _words(words, tags, [number for number, _ in group]))


def _parse_rows(path: str, lines: Sequence[Line], header: Sequence[str]) -> Iterator[Block]:
    """Yields CoNLL's sentences, and KMOU's, whose morphemes have rows for the blanks between."""
    has_gaps = any(_is_gap(line) for _, line in lines)
    width, (token, tag, sentence) = len(header), named_columns(header)
    for group in groups(lines, sentence):
        if not width:
            width = len(split_columns(group[0][1]))
            token, tag = int(_are_numbered(lines)), width - 1
            _check_columns(path, lines, token)
        rows: list[Row] = []
        gap = " "
        for number, line in group:
            columns = split_columns(line)
            if len(columns) < 2 or len(columns) != width or not columns[token]:
                wanted = f"{width} columns, as above" if width > 1 else "two or more columns"
                raise ValueError(
                    f"{path}:{number}: expected {wanted}, from token to tag (CoNLL's form), got "
                    f"{line[:60]!r}."
                )
            if has_gaps and _is_gap(line):
                gap = " "
                continue
            rows.append(Row(columns[token], columns[tag], number, gap if rows else ""))
            gap = "" if has_gaps else " "
        yield Block("", group[0][0], rows)


def _check_columns(path: str, lines: Sequence[Line], token: int) -> None:
    """Refuses numbers as tokens, and tags that stand in another column than the last."""
    rows = [split_columns(line) for _, line in lines if line.strip()][:LOOKED_AT]
    width = min(map(len, rows))
    has_sentences = any(len(group) > 1 for group in islice(groups(lines), LOOKED_AT))
    if width > 2 and has_sentences and all(row[token].isdecimal() for row in rows):
        raise ValueError(
            f"{path}: the first column has numbers only, such as {rows[0][token]!r}; a first line "
            "must name the columns then: sentence, word, tag."
        )
    *others, last = ([row[index] for row in rows] for index in range(width))
    if all(map(is_tag, last)):
        return
    for number, column in enumerate(others, start=1):
        if all(map(is_tag, column)) and set(column) != {"O"}:
            raise ValueError(
                f"{path}: the tags stand in column {number} of {width}; the last one must have "
                f"them, but has {last[0]!r}."
            )


def _words(words: Sequence[str], tags: Sequence[str], lines: Sequence[int]) -> list[Row]:
    gaps = ["", *[" "] * (len(words) - 1)]
    return list(map(Row, words, tags, lines, gaps))
