"""Tagged sentences as they are published: KLUE-NER, Naver's challenge, CoNLL; and plain ones.

Offsets are characters of a sentence's text. Of formats with words, the text is the words with one
blank between them. Nothing else is normalised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from bert_ko.tasks.ner.bio import OUTSIDE, Entity, entities, label_list
from bert_ko.tasks.ner.formats import Block, KnownFormat, detect, outside_tags, parse
from bert_ko.tasks.ner.schemes import Tag, find_spelling, is_iob1, to_bio
from bert_ko.text_lines import open_lines, read_lines

FileFormat = Literal["auto", "klue", "naver", "conll", "kmou"]
Unit = Literal["character", "word", "morpheme"]
_UNITS: dict[KnownFormat, Unit] = {"klue": "character", "kmou": "morpheme"}
_MANY_ENTITIES = 50  # of which a type of one entity may be mistyped


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and its units: what has a tag, a character or a word."""

    sentence_id: str  # or the number of its line
    text: str
    starts: tuple[int, ...]  # of each unit in the text
    ends: tuple[int, ...]
    tags: tuple[str, ...]  # of each unit, every entity beginning with B; none if unknown

    def spans(self, tags: Sequence[str]) -> list[Entity]:
        """Returns the entities of tags of its units, in characters of the text."""
        return [
            Entity(kind, self.starts[start], self.ends[end - 1])
            for kind, start, end in entities(tags)
        ]


@dataclass(frozen=True)
class Dataset:
    """A file of tagged sentences.

    Attributes:
        path: the file.
        unit: what has a tag.
        sentences: in their order.
        problems: what was odd by kind, each with its place.
        scheme: that of its tags: "BIO", "IOB1", "IOE", "BIOES", "BILOU", "BMES", "BMEW" or
            "bare types".
        conversions: how many tags were spelt otherwise, by their spelling and what they are in BIO.
    """

    path: str
    unit: Unit
    sentences: tuple[Sentence, ...]
    problems: Mapping[str, Sequence[str]]
    scheme: str = "BIO"
    conversions: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The tag set: O, then B and I of every type that occurs, the types sorted."""
        tags = {tag for sentence in self.sentences for tag in sentence.tags}
        return label_list(tag[2:] for tag in tags if tag != OUTSIDE)


def read_dataset(
    path: str, file_format: FileFormat = "auto", encoding: str | None = None
) -> Dataset:
    """Reads tagged sentences, whose tags become BIO; I tags that continue no entity are counted.

    Args:
        path: text, local or remote, compressed or not. A first line that names the columns and
            comments, which begin with "#", are no tokens.
        file_format: klue: for each sentence "## ID TAB TAGGED SENTENCE", then lines of CHARACTER
            TAB TAG, then an empty line. naver: lines of SENTENCE TAB TAGS, with blanks between
            them, or sentences of lines of NUMBER TAB WORD TAB TAG; "-" is O. conll: sentences of
            lines that begin with a token and end with its tag, tabs or blanks between the columns.
            kmou: the same with morphemes, and "_" in all columns but the last for a blank. auto:
            found by the first lines.
        encoding: see ``open_lines``.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file has no sentence, a line does not have this form or is no text, a tag
            fits no scheme, or the tags are of two; the message names the line.

    Source: the files of KLUE-benchmark/KLUE (klue-ner-v1.1), naver/nlp-challenge (missions/ner),
        kmounlp/NER and the shared tasks of CoNLL 2002 and 2003.
    """
    lines = read_lines(path, encoding=encoding)
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path} is empty; expected tagged sentences.")
    form = detect(path, lines) if file_format == "auto" else file_format
    return _build(path, form, parse(path, lines, form))


def read_texts(path: str, encoding: str | None = None) -> Iterator[Sentence]:
    """Yields a sentence without tags for each line that is not blank, as soon as it is read.

    Args:
        path: text, local or remote, compressed or not; "-" is standard input.
        encoding: see ``open_lines``.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a line is not UTF-8.
    """
    with open_lines(path, encoding=encoding) as lines:
        for text in lines:
            if text.strip():
                yield plain_sentence(text, lines.num_lines)


def plain_sentence(text: str, number: int) -> Sentence:
    """Returns the text of a line as a sentence without tags, whose units are characters."""
    starts, ends = range(len(text)), range(1, len(text) + 1)
    return Sentence(str(number), text, tuple(starts), tuple(ends), ())


def _build(path: str, form: KnownFormat, blocks: Sequence[Block]) -> Dataset:
    problems: dict[str, list[str]] = {}

    def report(kind: str, line: int, what: str) -> None:
        problems.setdefault(kind, []).append(f"{path}:{line}: {what}")

    scheme, tags = _read_tags(path, form, blocks)
    sentences: list[Sentence] = []
    seen: set[str] = set()
    conversions = Counter[tuple[str, str]]()
    for block, found in zip(blocks, tags, strict=True):
        name = block.sentence_id or str(block.line)
        if name in seen:
            report("repeated_id", block.line, f"the id {name} is repeated")
        seen.add(name)
        if not block.rows:
            report("empty_sentence", block.line, "no characters follow")
            continue
        converted, odd = to_bio(found)
        for index in () if scheme in ("IOB1", "IOE") else odd:
            row, tag = block.rows[index], converted[index]
            what = f"{row.tag} of {row.text!r} continues no entity; read as {tag}"
            report("ill_formed_tag", row.line, what)
        sentences.append(_sentence(name, block, converted))
        conversions.update(zip([row.tag for row in block.rows], converted, strict=True))
    if not sentences:
        raise ValueError(f"{path} has no sentence; expected tagged sentences.")
    for kind, tag, what in _odd_types(conversions):
        line = next(row.line for block in blocks for row in block.rows if row.tag == tag)
        report(kind, line, what)
    changed = {pair: n for pair, n in conversions.items() if pair[1] not in (OUTSIDE, pair[0])}
    unit = _UNITS.get(form, "word")
    return Dataset(path, unit, tuple(sentences), problems, scheme, changed)


def _read_tags(
    path: str, form: KnownFormat, blocks: Sequence[Block]
) -> tuple[str, list[list[Tag]]]:
    """The scheme of a file's tags, and what those of each sentence say."""
    last_first = (row for block in reversed(blocks) for row in reversed(block.rows))
    lines = {row.tag: row.line for row in last_first}  # the first of each
    lines = dict(sorted(lines.items(), key=lambda item: item[1]))
    spelling = find_spelling(path, lines, outside_tags(form))
    tags = [[spelling.tags[row.tag] for row in block.rows] for block in blocks]
    return "IOB1" if spelling.scheme == "BIO" and is_iob1(tags) else spelling.scheme, tags


def _odd_types(conversions: Mapping[tuple[str, str], int]) -> Iterator[tuple[str, str, str]]:
    """Yields what may be mistyped: kind of the problem, a tag as it is spelt, and what is odd."""
    counts, spelt = Counter[str](), dict[str, str]()
    for (tag, bio), number in conversions.items():
        if bio.startswith("B-"):
            counts[bio[2:]] += number
            spelt.setdefault(bio[2:], tag)
    first_of: dict[str, str] = {}
    for kind, tag in spelt.items():
        if (other := first_of.setdefault(kind.casefold(), kind)) != kind:
            yield "similar_types", tag, f"the type {kind!r}, but {other!r} before; they are two"
        elif counts[kind] == 1 and counts.total() >= _MANY_ENTITIES:
            yield "rare_type", tag, f"the only entity of the type {kind!r}"


def _sentence(name: str, block: Block, tags: tuple[str, ...]) -> Sentence:
    rows = block.rows
    ends = tuple(accumulate(len(row.gap) + len(row.text) for row in rows))
    starts = tuple(end - len(row.text) for end, row in zip(ends, rows, strict=True))
    return Sentence(name, "".join([row.gap + row.text for row in rows]), starts, ends, tags)
