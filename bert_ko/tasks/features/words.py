"""Texts to the words that a model of words reads, with the place of every word in its text.

Legend: S sentences, W words of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.characters import Characters, letters
from bert_ko.tasks.sentences import BlockSize, Ints
from bert_ko.tokenization.normalization import MECAB, normalize
from bert_ko.tokenization.word_splitting import WordSplitter

WORD_COLUMNS = ("starts", "ends", "eojeol_ids")
_MOST_LETTERS = 4  # of a character: bytes of its UTF-8


@dataclass(frozen=True)
class WordSentences:
    """Sentences of words, one after another, without the marks around them.

    Attributes:
        sentence_offsets: int64 [S + 1]; a sentence's words are those from one to the next.
        words: of all sentences, W.
        starts: int32 [W], first character of a word in its text.
        ends: int32 [W], the character after its last.
        eojeol_ids: int32 [W], number of the eojeol in the text.
        num_cut: words of more characters than the model reads.
    """

    sentence_offsets: npt.NDArray[np.int64]
    words: tuple[str, ...]
    starts: Ints
    ends: Ints
    eojeol_ids: Ints
    num_cut: int = 0

    def __len__(self) -> int:
        return len(self.sentence_offsets) - 1

    @property
    def num_pieces(self) -> int:
        """W."""
        return len(self.words)

    @property
    def lengths(self) -> Ints:
        """Words of each sentence, int32 [S]."""
        return np.diff(self.sentence_offsets).astype(np.int32)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays [W] by name."""
        return {name: getattr(self, name) for name in WORD_COLUMNS}


class _Rows:
    """A block while it is collected."""

    def __init__(self) -> None:
        self.ends, self.words, self.num_cut = [0], list[str](), 0
        self.places: list[tuple[int, int, int]] = []

    def add(self, words: list[str], places: list[tuple[int, int, int]], num_cut: int) -> None:
        self.words += words
        self.places += places
        self.ends.append(len(self.words))
        self.num_cut += num_cut

    def has_room(self, words: int, size: BlockSize) -> bool:
        count = len(self.ends) - 1
        return not count or (count < size.sentences and self.ends[-1] + words <= size.pieces)

    def sentences(self) -> WordSentences:
        columns = np.array(self.places, np.int32).reshape(-1, len(WORD_COLUMNS)).T
        offsets = np.array(self.ends, np.int64)
        named = dict(zip(WORD_COLUMNS, columns, strict=True))
        return WordSentences(offsets, tuple(self.words), **named, num_cut=self.num_cut)


class WordEncoder:
    """Splits texts into words."""

    def __init__(self, splitter: WordSplitter, unit: Characters, places: int):
        """Args: splitter: of the model; unit: of its characters; places: of a word with marks."""
        self._splitter, self._unit, self._room = splitter, unit, places - 2

    def encode(self, texts: Iterable[str]) -> WordSentences:
        """The words of texts, a sentence for each."""
        rows = _Rows()
        for text in texts:
            rows.add(*self._encode(text))
        return rows.sentences()

    def encode_blocks(self, lines: Iterable[str], size: BlockSize) -> Iterator[WordSentences]:
        """The words of lines, in blocks that are not empty, in the order of the lines."""
        rows = _Rows()
        for line in lines:
            words, places, num_cut = self._encode(line)
            if not rows.has_room(len(words), size):
                yield rows.sentences()
                rows = _Rows()
            rows.add(words, places, num_cut)
        if len(rows.ends) > 1:
            yield rows.sentences()

    def _encode(self, text: str) -> tuple[list[str], list[tuple[int, int, int]], int]:
        """Words, their places as in WORD_COLUMNS, and how many words are cut."""
        normalized = normalize(text, MECAB)
        line = normalized.text
        words = self._splitter.printed(line.strip(" ")).split("\n")[:-1]
        places: list[tuple[int, int, int]] = []
        end, eojeol = 0, -1
        for word in words:
            start = line.find(word, end)
            assert start >= 0, (word, line)
            eojeol += not places or " " in line[end:start]
            end = start + len(word)
            places.append((*normalized.span(start, end), eojeol))
        return words, places, sum(map(self._is_cut, words))

    def _is_cut(self, word: str) -> bool:
        if len(word) * _MOST_LETTERS <= self._room:
            return False
        return len(letters(word, self._unit)) > self._room


def join_words(blocks: Iterable[WordSentences]) -> WordSentences:
    """All blocks as one."""
    parts = list(blocks)
    ends = np.cumsum([0, *(part.num_pieces for part in parts)])
    offsets = [part.sentence_offsets[1:] + end for part, end in zip(parts, ends, strict=False)]
    columns = {
        name: np.concatenate([np.zeros(0, np.int32), *(part.columns()[name] for part in parts)])
        for name in WORD_COLUMNS
    }
    return WordSentences(
        np.concatenate([np.zeros(1, np.int64), *offsets]),
        tuple(word for part in parts for word in part.words),
        **columns,
        num_cut=sum(part.num_cut for part in parts),
    )
