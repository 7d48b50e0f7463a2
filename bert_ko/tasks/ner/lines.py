"""Lines of tagged sentences: their columns, and those that are headers or comments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bert_ko.tasks.ner.schemes import is_tag

Line = tuple[int, str]  # its number in the file, from 1

DOCUMENT_START = "-DOCSTART-"
LOOKED_AT = 200  # lines that decide about the form of a file
# Names of columns, in lower case, letters alone, without a plural's s; the likelier token first.
_TOKEN_NAMES = (
    "word", "token", "form", "surface", "morpheme", "morph", "eojeol", "char", "character", "text",
    "sentence", "단어", "토큰", "형태소", "어절", "글자", "음절", "문자", "텍스트", "문장",
)  # fmt: skip
_TAG_NAMES = (
    "ner", "ne", "nertag", "netag", "nerlabel", "nelabel", "entity", "entitytag", "namedentity",
    "개체명", "개체명태그", "개체", "tag", "label", "bio", "biotag", "iob", "iobtag", "target",
    "태그", "레이블", "라벨", "정답",
)  # fmt: skip


def split_columns(line: str) -> list[str]:
    """Returns columns that tabs separate or, where there is none, blanks."""
    return split_tabs(line) if "\t" in line else split_words(line)


def split_tabs(line: str) -> list[str]:
    """Returns columns that tabs separate, without blanks around them."""
    return [column.strip(" ") for column in line.rstrip(" \t").split("\t")]


def split_words(text: str) -> list[str]:
    """Returns words that blanks separate."""
    return [word for word in text.split(" ") if word]  # not split(): a word may have U+00A0


def groups(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Yields the lines between empty ones."""
    group: list[Line] = []
    for number, line in (*lines, (0, "")):
        is_end = not line.strip() or line.startswith(DOCUMENT_START)
        if not is_end:
            group.append((number, line))
        elif group:
            yield group
            group = []


def find_header(lines: Sequence[str]) -> list[str]:
    """Returns the names of the columns; none if the first line does not name them."""
    plain = [line for line in lines if _is_plain(line)]
    names = split_columns(plain[0]) if plain else []
    if len(names) < 2:
        return []
    last = names[-1]
    if any(_letters(name) in _TAG_NAMES for name in names[1:]):
        return names
    if not any(_letters(name) in _TOKEN_NAMES for name in names) or is_tag(last):
        return []
    others = (columns for line in plain[1:] if (columns := split_columns(line)) != names)
    return [] if any(columns[-1] == last for columns in others) else names


def content_of(lines: Sequence[str]) -> list[Line]:
    """Returns the lines with their numbers, without those that name the columns."""
    header = find_header(lines)
    numbered = enumerate(lines, start=1)
    if not header:
        return list(numbered)
    return [(number, line) for number, line in numbered if split_columns(line) != header]


def named_columns(header: Sequence[str]) -> tuple[int, int]:
    """Returns the places of the token and of its tag: by their names, else the first and the last.

    >>> named_columns(["id", "word", "pos", "tag"])
    (1, 3)
    """
    names = list(map(_letters, header))
    token = next((names.index(name) for name in _TOKEN_NAMES if name in names), 0)
    tag = next((names.index(name) for name in _TAG_NAMES if name in names), len(names) - 1)
    return token, tag


def without_comments(lines: Sequence[Line]) -> list[Line]:
    """Returns the lines without comments; where no line is empty, comments separate sentences.

    A comment begins with "#" and is no row: it has other columns than the rest, or a last one that
    is no tag.
    """
    if not any(line.startswith("#") for _, line in lines):
        return list(lines)
    plain = [line for _, line in lines if _is_plain(line)]
    last_columns = {split_columns(line)[-1] for line in plain}
    shapes = Counter(map(_shape, plain[:LOOKED_AT]))
    shape = shapes.most_common(1)[0][0] if shapes else None

    def is_comment(line: str) -> bool:
        if not line.startswith("#"):
            return False
        last = split_columns(line)[-1]
        is_row = last in last_columns or all(tag == "-" or is_tag(tag) for tag in split_words(last))
        return not is_row or (shape is not None and _shape(line) != shape)

    has_ends = any(not line.strip() for _, line in lines)
    kept = []
    for number, line in lines:
        if not is_comment(line):
            kept.append((number, line))
        elif not has_ends:
            kept.append((number, ""))
    return kept


def _shape(line: str) -> tuple[bool, int]:
    """Whether tabs separate the columns, and their number."""
    return "\t" in line, len(split_columns(line))


def _is_plain(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("#", DOCUMENT_START))


def _letters(name: str) -> str:
    return re.sub(r"[\W_\d]", "", name).casefold().removesuffix("s")
