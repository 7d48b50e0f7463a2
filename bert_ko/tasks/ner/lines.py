"""Lines of tagged sentences: their columns, and those that are headers or comments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from bert_ko.tasks.ner.schemes import is_tag

Line = tuple[int, str]  # its number in the file, from 1

DOCUMENT_START = "-DOCSTART-"
LOOKED_AT = 200  # lines that decide about the form of a file
# Names of columns in lower case, letters and digits alone, without a plural's s; the likelier
# first.
_TOKEN_NAMES = (
    "word", "token", "form", "surface", "morpheme", "morph", "eojeol", "char", "character", "text",
    "sentence", "단어", "토큰", "형태소", "어절", "글자", "음절", "문자", "텍스트", "문장",
)  # fmt: skip
_SENTENCE_NAMES = ("sentenceid", "sentid", "sentenceno", "sentno", "sentence", "문장번호", "문장")
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


def groups(lines: Sequence[Line], sentence: int | None = None) -> Iterator[list[Line]]:
    """Yields the lines between empty ones.

    Args:
        lines: all of them.
        sentence: the column that numbers the sentences, which it separates if no line is empty; an
            empty number is the one above.
    """
    if sentence is not None and all(line.strip() for _, line in lines):
        lines = list(_separated(lines, sentence))
    group: list[Line] = []
    for number, line in chain(lines, [(0, "")]):
        is_end = not line.strip() or line.startswith(DOCUMENT_START)
        if not is_end:
            group.append((number, line))
        elif group:
            yield group
            group = []


def _separated(lines: Iterable[Line], sentence: int) -> Iterator[Line]:
    last = ""
    for number, line in lines:
        name = "".join(split_columns(line)[sentence : sentence + 1])
        if name and last not in ("", name):
            yield 0, ""
        last = name or last
        yield number, line


def find_header(lines: Sequence[str]) -> list[str]:
    """Returns the names of the columns; none if the first line does not name them."""
    plain = filter(_is_plain, lines)
    names, second = split_columns(next(plain, "")), next(plain, None)
    if len(names) < 2 or (second is not None and len(split_columns(second)) != len(names)):
        return []
    token, tag = _place(names, _TOKEN_NAMES), _place(names, _TAG_NAMES)
    if tag is not None and (tag > 0 or token is not None):
        return names
    if token is None or token == len(names) - 1 or is_tag(names[-1]):
        return []
    others = (
        columns for line in (second or "", *plain) if (columns := split_columns(line)) != names
    )
    return [] if any(columns[-1:] == names[-1:] for columns in others) else names


def content_of(lines: Sequence[str]) -> list[Line]:
    """Returns the lines with their numbers, without those that name the columns."""
    header = find_header(lines)
    numbered = enumerate(lines, start=1)
    if not header:
        return list(numbered)
    return [(number, line) for number, line in numbered if split_columns(line) != header]


def named_columns(header: Sequence[str]) -> tuple[int, int, int | None]:
    """Returns the places of the token, of its tag and of what numbers the sentences.

    Without such names, the first is the token and the last the tag; nothing numbers sentences.

    >>> named_columns(["sentence", "word", "pos", "tag"])
    (1, 3, 0)
    """
    token, tag = _place(header, _TOKEN_NAMES), _place(header, _TAG_NAMES)
    token, tag = token or 0, len(header) - 1 if tag is None else tag
    sentence = _place(header, _SENTENCE_NAMES)
    return token, tag, None if sentence in (token, tag) else sentence


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


def _place(header: Sequence[str], names: Sequence[str]) -> int | None:
    """The column that has the first of some names."""
    letters = [re.sub(r"[\W_]", "", name).casefold().removesuffix("s") for name in header]
    return next((letters.index(name) for name in names if name in letters), None)
