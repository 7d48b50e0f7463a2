"""Tagged sentences as they are published: KLUE-NER, Naver's challenge, CoNLL; and plain ones.

Offsets are characters of a sentence's text. KLUE's text is the one of the file; in the formats that
give words alone it is the words with one blank between them. Nothing else is normalised.
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
    """A sentence and its units: what carries a tag, a character or a word.

    sentence_id: what the file says, or the number of its line.
    text: the units, with what stands between them.
    starts: first character of each unit in the text.
    ends: the character behind its last.
    tags: of each unit, such as "B-PS", every entity beginning with B; none if they are unknown.
    line: its first one in the file.
    """

    sentence_id: str
    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    tags: tuple[str, ...]
    line: int

    def spans(self, tags: Sequence[str]) -> list[Entity]:
        """Returns the entities of some tags of its units, in characters of the text."""
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


def read_dataset(path: str, file_format: FileFormat = "auto") -> Dataset:
    """Reads tagged sentences; I tags that continue no entity are mended and counted.

    Args:
        path: UTF-8 text, local or remote, compressed or not.
        file_format: klue: for each sentence "## ID TAB TAGGED SENTENCE", then lines of CHARACTER
            TAB TAG, then an empty line. naver: lines of SENTENCE TAB TAGS, with blanks between
            them, or sentences of lines of NUMBER TAB WORD TAB TAG; tags such as PER-B or PER_B, and
            "-" for O. conll: sentences of lines that begin with a token and end with its tag,
            tabs or blanks between the columns; the tags are IOB1, IOB2 or bare types. auto: what
            the first lines look like.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no sentence, or a line is not of this form or not UTF-8; the message
            names the line.

    Source: the files of KLUE-benchmark/KLUE (klue-ner-v1.1), naver/nlp-challenge (missions/ner) and
        the shared tasks of CoNLL 2002 and 2003.
    """
    lines = read_lines(path)
    if not any(line.strip() for line in lines):
        raise ValueError(f"{path} is empty; expected tagged sentences.")
    chosen = detect(path, lines) if file_format == "auto" else file_format
    unit: Unit = "character" if chosen == "klue" else "word"
    return _build(path, unit, PARSERS[chosen](path, lines))


def read_texts(path: str) -> Iterator[Sentence]:
    """Reads sentences without tags, a line each; their units are characters.

    Args:
        path: UTF-8 text, local or remote, compressed or not; "-" is standard input.

    Yields:
        For each line that has more than blanks, as soon as it is read, a sentence: all of the line
        but its end; its id is the line's number.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not UTF-8, with its number.
    """
    with open_lines(path) as lines:
        for text in lines:
            if text.strip():
                yield plain_sentence(text, lines.num_lines)


def plain_sentence(text: str, number: int) -> Sentence:
    """Returns a sentence without tags, whose units are characters.

    Args:
        text: as it is.
        number: of its line.
    """
    starts, ends = range(len(text)), range(1, len(text) + 1)
    return Sentence(str(number), text, tuple(starts), tuple(ends), (), number)


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
        sentences.append(Sentence(name, gap.join(units), starts, stops, tags, block.line))
    if not sentences:
        raise ValueError(f"{path} has no sentence; expected tagged sentences.")
    return Dataset(path, unit, tuple(sentences), problems)
