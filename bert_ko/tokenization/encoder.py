"""Lines to arrays of ids: the tokenizer without offsets, for corpora.

A piece is one uint32: the id, and two bits that say whether a morpheme or an eojeol begins there.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import BLANK

MORPHEME_START = 1 << 30
EOJEOL_START = 1 << 31
ID_MASK = MORPHEME_START - 1
# The table starts again before it grows with the corpus: 200,000 words are about 50 MB.
_MAX_TABLE_WORDS = 200_000
# Lines are looked up in blocks, so that the strings of a block are dropped early.
_BLOCK_LINES = 2000


class EncodedLines(NamedTuple):
    """The pieces of many lines."""

    pieces: npt.NDArray[np.uint32]  # [n], ids with start bits, line after line
    lengths: npt.NDArray[np.int32]  # [lines], pieces of each line


class _WordTable(dict[str, int]):
    """Words of ``Tokenizer.parts`` to rows of one flat table of pieces."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__()
        self._tokenizer = tokenizer
        self.pieces = array("I")
        self.offsets = array("q", [0])

    def __missing__(self, part: str) -> int:
        word = part.lstrip(" ")
        starts_eojeol = len(word) < len(part)
        ids = self._tokenizer.cut_ids(word, starts_eojeol)
        ids[0] |= MORPHEME_START | (EOJEOL_START if starts_eojeol else 0)
        self.pieces.extend(ids)
        self.offsets.append(len(self.pieces))
        row = self[part] = len(self.offsets) - 2
        return row


class LineEncoder:
    """Encodes lines of a corpus at MeCab's speed: each distinct word is split once."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._words = _WordTable(tokenizer)

    def encode(self, lines: Sequence[str]) -> EncodedLines:
        """Encodes lines of ``Tokenizer.clean_lines``; ids equal ``Tokenizer.encode(line).ids``."""
        encode = self._encode_words if self._tokenizer.model is None else self._encode_model
        starts = range(0, max(1, len(lines)), _BLOCK_LINES)
        blocks = [encode(lines[start : start + _BLOCK_LINES]) for start in starts]
        return EncodedLines(*map(np.concatenate, zip(*blocks, strict=True)))

    def _encode_words(self, lines: Sequence[str]) -> EncodedLines:
        if len(self._words) > _MAX_TABLE_WORDS:
            self._words = _WordTable(self._tokenizer)
        # A blank before the first word of a line: it starts an eojeol.
        printed = [" " + text if text else "" for text in self._tokenizer.printed_lines(lines)]
        ends = np.cumsum(np.fromiter((text.count("\n") for text in printed), np.int64, len(lines)))
        words = "".join(printed).split("\n")
        words.pop()
        rows = np.fromiter(map(self._words.__getitem__, words), np.int32, len(words))
        offsets = np.frombuffer(self._words.offsets, np.int64)
        table = np.frombuffer(self._words.pieces, np.uint32)
        counts = offsets[rows + 1] - offsets[rows]
        piece_ends = np.append(0, np.cumsum(counts))
        shift = np.repeat(offsets[rows] - piece_ends[:-1], counts)
        pieces = table[shift + np.arange(piece_ends[-1])]
        return EncodedLines(pieces, np.diff(piece_ends[ends], prepend=0).astype(np.int32))

    def _encode_model(self, lines: Sequence[str]) -> EncodedLines:
        assert self._tokenizer.model is not None
        encoded = self._tokenizer.model.encode_ids(list(lines))
        lengths = np.fromiter(map(len, encoded), np.int32, len(encoded))
        pieces = np.fromiter((i for ids in encoded for i in ids), np.uint32, int(lengths.sum()))
        is_start = [piece.startswith(BLANK) for piece in self._tokenizer.vocab]
        starts = np.array(is_start, np.bool_)[pieces]
        ends = np.cumsum(lengths)
        starts[(ends - lengths)[lengths > 0]] = True
        pieces[starts] |= np.uint32(MORPHEME_START | EOJEOL_START)
        return EncodedLines(pieces, lengths)
