"""Texts with special tokens: [MASK] is a mask, not six characters."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bert_ko.tokenization.tokenizer import Encoding, Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary


class SpecialTokenizer:
    """Encodes texts with special tokens, those of the vocabulary and those added behind it.

    Args:
        tokenizer: it takes special tokens for text.
        special: special tokens and their ids; new ids follow the last one of the vocabulary.

    Raises:
        ValueError: ids with a gap, or a token with white space.
    """

    def __init__(self, tokenizer: Tokenizer, special: Mapping[str, int]):
        self._plain, self._special = tokenizer, dict(special)
        pieces = list(tokenizer.vocab.pieces)
        for token, i in sorted(self._special.items(), key=lambda item: item[1]):
            if i == len(pieces):
                pieces.append(token)
            elif i > len(pieces) or pieces[i] != token:
                raise ValueError(f"{token!r} has the id {i}, its place is {len(pieces)}.")
        by_length = sorted(self._special, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, by_length)))
        if tokenizer.model is None:
            self._keeping = tokenizer.keeping(*self._special, vocab=Vocabulary(pieces))

    def encode(self, text: str) -> Encoding:
        """Encodes one text."""
        if not self._pattern.search(text):
            return self._plain.encode(text)
        return self._keeping.encode(text) if self._plain.model is None else self._joined(text)

    def _joined(self, text: str) -> Encoding:
        """A SentencePiece model sees what is between special tokens."""
        joined, cursor = Encoding(), 0
        for match in self._pattern.finditer(text):
            _append(joined, self._plain.encode(text[cursor : match.start()]), cursor)
            token = match[0]
            single = Encoding([token], [self._special[token]], [0], [len(token)], [0], [0])
            _append(joined, single, match.start())
            cursor = match.end()
        _append(joined, self._plain.encode(text[cursor:]), cursor)
        return joined


def _append(target: Encoding, source: Encoding, shift: int) -> None:
    word = target.morpheme_ids[-1] + 1 if target.morpheme_ids else 0
    eojeol = target.eojeol_ids[-1] + 1 if target.eojeol_ids else 0
    target.pieces.extend(source.pieces)
    target.ids.extend(source.ids)
    target.starts.extend([start + shift for start in source.starts])
    target.ends.extend([end + shift for end in source.ends])
    target.morpheme_ids.extend([i + word for i in source.morpheme_ids])
    target.eojeol_ids.extend([i + eojeol for i in source.eojeol_ids])


def in_words(encoding: Encoding, words: Sequence[str]) -> Encoding:
    """An encoding of ``" ".join(words)``, with offsets into each word and its number.

    >>> in_words(Encoding([], [], [3, 4], [4, 5], [1, 2], [1, 1]), ["책을", "산다"]).starts
    [0, 1]
    """
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    numbers = [max(0, bisect_right(starts, start) - 1) for start in encoding.starts]
    return replace(
        encoding,
        starts=[start - starts[i] for start, i in zip(encoding.starts, numbers, strict=True)],
        ends=[end - starts[i] for end, i in zip(encoding.ends, numbers, strict=True)],
        morpheme_ids=numbers,
    )
