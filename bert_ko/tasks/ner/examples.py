"""Tagged sentences as they are published: KLUE-NER, Naver's challenge, CoNLL; and plain ones.

Offsets are characters of a sentence's text. Of formats with words, the text is the words with one
blank between them. Nothing else is normalised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from bert_ko.tasks.ner.bio import OUTSIDE, Entity, entities, label_list, repair_bio
from bert_ko.tasks.ner.formats import PARSERS, Block, detect
from bert_ko.text_lines import open_lines, read_lines

FileFormat = Literal["auto", "klue", "naver", "conll"]
Unit = Literal["character", "word"]


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
    """A file of tagged sentences; what was odd in it by kind, each with its place."""

    path: str
    unit: Unit
    sentences: tuple[Sentence, ...]
    problems: Mapping[str, Sequence[str]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The tag set: O, then B and I of every type that occurs, the types sorted."""
        tags = {tag for sentence in self.sentences for tag in sentence.tags}
        return label_list(tag[2:] for tag in tags if tag != OUTSIDE)


def read_dataset(
    path: str, file_format: FileFormat = "auto", encoding: str | None = None
) -> Dataset:
    """Reads tagged sentences; I tags that continue no entity are repaired and counted.

    Args:
        path: text, local or remote, compressed or not.
        file_format: klue: for each sentence "## ID TAB TAGGED SENTENCE", then lines of CHARACTER
            TAB TAG, then an empty line. naver: lines of SENTENCE TAB TAGS, with blanks between
            them, or sentences of lines of NUMBER TAB WORD TAB TAG; tags such as PER-B or PER_B, and
            "-" for O. conll: sentences of lines that begin with a token and end with its tag,
            tabs or blanks between the columns; the tags are IOB1, IOB2 or bare types. auto: found
            by the first lines.
        encoding: see ``open_lines``.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file has no sentence, or a line does not have this form or is not UTF-8;
            the message names the line.

    Source: the files of KLUE-benchmark/KLUE (klue-ner-v1.1), naver/nlp-challenge (missions/ner) and
        the shared tasks of CoNLL 2002 and 2003.
    """
    lines = read_lines(path, encoding=encoding)
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path} is empty; expected tagged sentences.")
    chosen = detect(path, lines) if file_format == "auto" else file_format
    unit: Unit = "character" if chosen == "klue" else "word"
    return _build(path, unit, PARSERS[chosen](path, lines))


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


def _build(path: str, unit: Unit, blocks: Iterable[Block]) -> Dataset:
    sentences: list[Sentence] = []
    problems: dict[str, list[str]] = {}
    seen: set[str] = set()

    def report(kind: str, line: int, what: str) -> None:
        problems.setdefault(kind, []).append(f"{path}:{line}: {what}")

    for block in blocks:
        name = block.sentence_id or str(block.line)
        if name in seen:
            report("repeated_id", block.line, f"the id {name} is repeated")
        seen.add(name)
        if not block.rows:
            report("empty_sentence", block.line, "no characters follow")
            continue
        tags = repair_bio([row.tag for row in block.rows])
        for row, tag in zip(block.rows, tags, strict=True):
            if row.tag != tag:
                what = f"{row.tag} of {row.text!r} continues no entity; read as {tag}"
                report("ill_formed_tag", row.line, what)
        gap = " " if unit == "word" else ""
        units = [row.text for row in block.rows]
        ends = list(accumulate(len(unit) + len(gap) for unit in units))
        starts, stops = (0, *ends[:-1]), tuple(end - len(gap) for end in ends)
        sentences.append(Sentence(name, gap.join(units), starts, stops, tags))
    if not sentences:
        raise ValueError(f"{path} has no sentence; expected tagged sentences.")
    return Dataset(path, unit, tuple(sentences), problems)
