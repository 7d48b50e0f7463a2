"""Text to whole words for models that read words by their characters; every word knows its place.

It has what tasks use of a ``Tokenizer``: words are in the place of pieces, and the two marks of
sentences in those of [CLS] and [SEP]. As such a model knows every word, an id is no number of a
vocabulary: it is that of a word among those that a tokenizer has met.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

from bert_ko.characters import Characters, Mark
from bert_ko.tokenization.normalization import MECAB, normalize
from bert_ko.tokenization.tokenizer import Encoding
from bert_ko.tokenization.word_vocabulary import (
    SENTENCE_END,
    SENTENCE_MARKS,
    SENTENCE_START,
    UNKNOWN,
    UNKNOWN_ID,
    WordVocabulary,
)


class MarkIds(NamedTuple):
    """Ids of what is not of the text."""

    pad_id: int = 0
    cls_id: int = 1
    sep_id: int = 2

    @property
    def special_ids(self) -> tuple[int, int, int]:
        """Of padding, and of the marks before and after a text."""
        return self.pad_id, self.cls_id, self.sep_id


_MARKS = (Mark.PADDING, Mark.SENTENCE_BEGIN, Mark.SENTENCE_END)  # in the order of MarkIds
# The same in words.txt, which has none for padding.
_MARK_IDS = tuple(map(SENTENCE_MARKS.index, (UNKNOWN, SENTENCE_START, SENTENCE_END)))


class WordTokenizer:
    """Splits text as the text was that a model of words was trained on.

    Args:
        vocabulary: of the model.
        unit: what a character is to it.
        places: of a word, K, its two marks included.
    """

    def __init__(self, vocabulary: WordVocabulary, unit: Characters, places: int):
        self.vocabulary, self.unit, self.places = vocabulary, unit, places
        self.vocab = MarkIds()
        self.fingerprint, self.source = vocabulary.fingerprint, vocabulary.source
        self._splitter = vocabulary.splitter()
        self._vocabulary_ids = vocabulary.ids
        self._numbers: dict[str, int] = {}

    def begin(self) -> WordTokenizer:
        """The same tokenizer, which has met no words yet."""
        other = copy.copy(self)
        other._numbers = {}
        return other

    @property
    def words(self) -> list[str | Mark]:
        """What the ids stand for: the marks, and every word of the texts that were encoded."""
        return [*_MARKS, *self._numbers]

    @property
    def vocabulary_ids(self) -> list[int]:
        """Those of the vocabulary for what the ids stand for, in their order."""
        ids = self._vocabulary_ids
        return [*_MARK_IDS, *(ids.get(word, UNKNOWN_ID) for word in self._numbers)]

    def encode(self, text: str) -> Encoding:
        r"""Splits a text of any form, on one line or several, into its words.

        Returns:
            Words as pieces, the same as ``WordSplitter.split`` finds; each is a morpheme of its
            own.
        """
        encoding, begin, eojeol = Encoding(), 0, -1
        for line in text.split("\n"):
            source = normalize(line, MECAB)
            stripped = source.text.strip(" ")
            cursor = 0
            shift = len(source.text) - len(source.text.lstrip(" "))
            for word in self._splitter.printed(stripped).split("\n")[:-1]:
                start = cursor
                while stripped[start] == " ":
                    start += 1
                eojeol += start > cursor or cursor == 0
                cursor = start + len(word)
                assert stripped[start:cursor] == word
                first, end = source.span(start + shift, cursor + shift)
                self._add(encoding, word, eojeol)
                encoding.starts.append(begin + first)
                encoding.ends.append(begin + end)
            begin += len(line) + 1
        return encoding

    def _add(self, encoding: Encoding, word: str, eojeol: int) -> None:
        encoding.pieces.append(word)
        encoding.ids.append(self._numbers.setdefault(word, len(self._numbers) + len(_MARKS)))
        encoding.morpheme_ids.append(len(encoding.morpheme_ids))
        encoding.eojeol_ids.append(eojeol)
