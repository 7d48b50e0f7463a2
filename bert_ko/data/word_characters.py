"""Words to rows of character numbers: what a character model reads.

Legend: K places of a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.characters import Characters, Mark, letters, num_letters

_REMEMBERED = 1 << 18  # words

# A word, or a mark of sentences, which no word can be taken for.
Word = str | Mark


class DistinctWords(NamedTuple):
    """The words of a batch, each once."""

    characters: npt.NDArray[np.int32]  # [D, K]
    places: npt.NDArray[np.int32]  # [n], the row of each word
    is_cut: npt.NDArray[np.bool_]  # [n], words of more characters than there are places


class WordCharacters:
    """Makes rows of characters, and remembers those of frequent words."""

    def __init__(self, unit: Characters, places: int):
        """Args: unit: of characters; places: K of a word, with its two marks."""
        self._unit, self._places, self._first_mark = unit, places, num_letters(unit)
        self._rows: dict[Word, tuple[npt.NDArray[np.int32], bool]] = {}

    def distinct(self, words: Sequence[Word]) -> DistinctWords:
        """The distinct words of a sequence, in the order of their first use."""
        numbers: dict[Word, int] = {}
        places = [numbers.setdefault(word, len(numbers)) for word in words]
        rows = [self._row(word) for word in numbers]
        characters = np.stack([row for row, _ in rows])
        is_cut = np.array([cut for _, cut in rows])
        indexes = np.array(places, np.int32)
        return DistinctWords(characters, indexes, is_cut[indexes])

    def _row(self, word: Word) -> tuple[npt.NDArray[np.int32], bool]:
        found = self._rows.get(word)
        if found is None:
            if len(self._rows) >= _REMEMBERED:
                self._rows.clear()
            found = self._rows[word] = self._encode(word)
        return found

    def _encode(self, word: Word) -> tuple[npt.NDArray[np.int32], bool]:
        room, first = self._places - 2, self._first_mark
        if isinstance(word, Mark):
            inside, is_cut = [first + word], False
        else:
            found = letters(word, self._unit)
            inside, is_cut = found[:room], len(found) > room
        row = np.full(self._places, first + Mark.PADDING, np.int32)
        marked = [first + Mark.WORD_BEGIN, *inside, first + Mark.WORD_END]
        row[: len(marked)] = marked
        return row, is_cut


def padded_count(count: int) -> int:
    """Rows for that many distinct words: few different numbers, each of which is compiled once.

    >>> [padded_count(n) for n in (1, 64, 65, 1000, 1025)]
    [64, 64, 80, 1024, 1280]
    """
    step = max(16, 1 << max(0, (count - 1).bit_length() - 3))
    return max(64, -(-count // step) * step)


def sentence_features(
    sentences: Iterable[Sequence[str]], unit: Characters, places: int
) -> dict[str, npt.NDArray[Any]]:
    """Features of whole sentences for the layers of a character model, with their marks.

    Args:
        sentences: words of each.
        unit: of characters.
        places: K.

    Returns:
        characters int32 [D, K]; word_places and input_mask int32 [B, T], where the words of a
        sentence begin at 1, behind the mark of its beginning.
    """
    marked: list[list[Word]] = [
        [Mark.SENTENCE_BEGIN, *words, Mark.SENTENCE_END] for words in sentences
    ]
    words = WordCharacters(unit, places).distinct([word for row in marked for word in row])
    lengths = np.array([len(row) for row in marked])
    mask = np.arange(lengths.max()) < lengths[:, None]
    word_places = np.zeros(mask.shape, np.int32)
    word_places[mask] = words.places
    size = padded_count(len(words.characters))
    characters = np.zeros((size, places), np.int32)
    characters[: len(words.characters)] = words.characters
    return {
        "characters": characters,
        "word_places": word_places,
        "input_mask": mask.astype(np.int32),
    }
