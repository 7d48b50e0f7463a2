"""Lines to pieces, in flat arrays with the place of every piece in its line.

Legend: S sentences, P pieces of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.tokenization.tokenizer import Encoding, Tokenizer

Ints = npt.NDArray[np.int32]
NOWHERE = -1  # character and word of [CLS] and [SEP]
_SEPARATOR = " ||| "
PIECE_COLUMNS = ("input_ids", "segment_ids", "starts", "ends", "eojeol_ids", "morpheme_ids")


@dataclass(frozen=True)
class Sentences:
    """Sentences as the model gets them, one after another.

    Attributes:
        sentence_offsets: int64 [S + 1]; a sentence's pieces are those from one to the next.
        input_ids: with [CLS] and [SEP].
        segment_ids: 1 for the second sentence of a pair.
        starts: first character of a piece in its line; -1 for [CLS] and [SEP].
        ends: the character after its last; -1 for [CLS] and [SEP].
        eojeol_ids: number of the eojeol in the line; -1 for [CLS] and [SEP].
        morpheme_ids: number of the morpheme in the line; -1 for [CLS] and [SEP].
        num_cut: how many did not fit into the model.
    """

    sentence_offsets: npt.NDArray[np.int64]
    input_ids: Ints
    segment_ids: Ints
    starts: Ints
    ends: Ints
    eojeol_ids: Ints
    morpheme_ids: Ints
    num_cut: int = 0

    def __len__(self) -> int:
        return len(self.sentence_offsets) - 1

    @property
    def num_pieces(self) -> int:
        """P."""
        return len(self.input_ids)

    @property
    def lengths(self) -> Ints:
        """Pieces of each sentence."""
        return np.diff(self.sentence_offsets).astype(np.int32)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays [P] by name."""
        return {name: getattr(self, name) for name in PIECE_COLUMNS}


class WindowSize(NamedTuple):
    """When a window is full.

    Attributes:
        sentences: at most.
        pieces: at most, but for a single longer sentence.
    """

    sentences: int
    pieces: int


class _Rows:
    """What a window is collected in."""

    def __init__(self) -> None:
        self.ends = [0]
        self.columns: dict[str, list[int]] = {name: [] for name in PIECE_COLUMNS}
        self.num_cut = 0

    def add(self, columns: dict[str, list[int]], is_cut: bool) -> None:
        for name, values in columns.items():
            self.columns[name] += values
        self.ends.append(len(self.columns["input_ids"]))
        self.num_cut += is_cut

    def has_room(self, pieces: int, size: WindowSize) -> bool:
        count = len(self.ends) - 1
        return not count or (count < size.sentences and self.ends[-1] + pieces <= size.pieces)

    def sentences(self) -> Sentences:
        columns = {name: np.array(values, np.int32) for name, values in self.columns.items()}
        return Sentences(np.array(self.ends, np.int64), **columns, num_cut=self.num_cut)


def encode_windows(
    lines: Iterable[str], tokenizer: Tokenizer, max_seq_length: int, size: WindowSize
) -> Iterator[Sentences]:
    """Tokenizes lines.

    Args:
        lines: a sentence each, or ``a ||| b``, a pair.
        tokenizer: of the model.
        max_seq_length: pieces of a sentence or pair with [CLS] and [SEP]; what is longer is cut.
        size: of a window.

    Yields:
        Windows, none of them empty, in the order of the lines.
    """
    rows = _Rows()
    for line in lines:
        columns, is_cut = _encode_line(line, tokenizer, max_seq_length)
        if not rows.has_room(len(columns["input_ids"]), size):
            yield rows.sentences()
            rows = _Rows()
        rows.add(columns, is_cut)
    if len(rows.ends) > 1:
        yield rows.sentences()


def _encode_line(
    line: str, tokenizer: Tokenizer, max_seq_length: int
) -> tuple[dict[str, list[int]], bool]:
    """The columns of a line, and whether it was cut."""
    segments = []
    eojeols = morphemes = 0
    for start, end in split_pair(line):
        encoding = tokenizer.encode(line[start:end])
        segments.append(_Segment(encoding, start, eojeols, morphemes))
        eojeols += encoding.eojeol_ids[-1] + 1 if len(encoding) else 0
        morphemes += encoding.morpheme_ids[-1] + 1 if len(encoding) else 0
    # A second sentence without a piece is none, as in Google's code.
    segments = [s for number, s in enumerate(segments) if number == 0 or len(s.encoding)]
    counts = [len(segment.encoding) for segment in segments]
    kept = truncate(counts, max_seq_length - 1 - len(segments))
    cls_id, sep_id = tokenizer.vocab.cls_id, tokenizer.vocab.sep_id
    columns: dict[str, list[int]] = {name: [] for name in PIECE_COLUMNS}
    _add(columns, [cls_id], 0, *[[NOWHERE]] * 4)
    for number, (segment, count) in enumerate(zip(segments, kept, strict=True)):
        if number and not count:
            break
        _add(columns, segment.encoding.ids[:count], number, *segment.places(count))
        _add(columns, [sep_id], number, *[[NOWHERE]] * 4)
    return columns, kept != counts


class _Segment(NamedTuple):
    """A sentence of a line, what stands before it, and the words before it."""

    encoding: Encoding
    start: int
    eojeols: int
    morphemes: int

    def places(self, count: int) -> list[list[int]]:
        """Starts, ends, eojeol_ids and morpheme_ids of the first pieces."""
        found = (
            (self.encoding.starts, self.start),
            (self.encoding.ends, self.start),
            (self.encoding.eojeol_ids, self.eojeols),
            (self.encoding.morpheme_ids, self.morphemes),
        )
        return [[value + shift for value in values[:count]] for values, shift in found]


def _add(columns: dict[str, list[int]], ids: list[int], segment: int, *places: list[int]) -> None:
    for name, values in zip(PIECE_COLUMNS, (ids, [segment] * len(ids), *places), strict=True):
        columns[name] += values


def split_pair(line: str) -> list[tuple[int, int]]:
    """Spans of the one or two sentences of a line; the last separator counts.

    >>> split_pair("나무 ||| 숲")
    [(0, 2), (7, 8)]

    Source: read_examples of extract_features.py of google-research/bert.
    """
    text = line.strip()
    start = len(line) - len(line.lstrip())
    at = text.rfind(_SEPARATOR)
    if at < 0:
        return [(0, len(line))]
    return [(start, start + at), (start + at + len(_SEPARATOR), start + len(text))]


def truncate(counts: list[int], limit: int) -> list[int]:
    """How many pieces stay of one sentence or of the two of a pair.

    >>> truncate([9, 3], 8), truncate([9, 9], 7)
    ([5, 3], [4, 3])

    Source: _truncate_seq_pair of google-research/bert: piece by piece from the longer one, the
        second where both are equal.
    """
    if sum(counts) <= limit or len(counts) == 1:
        return [min(count, limit) for count in counts]
    first, second = counts
    second = min(second, max(limit // 2, limit - first))
    return [limit - second, second]


def join(windows: Iterable[Sentences]) -> Sentences:
    """All windows as one."""
    parts = list(windows)
    offsets, end = [np.zeros(1, np.int64)], 0
    for part in parts:
        offsets.append(part.sentence_offsets[1:] + end)
        end += part.num_pieces
    empty = np.zeros(0, np.int32)
    columns = {
        name: np.concatenate([empty, *(part.columns()[name] for part in parts)])
        for name in PIECE_COLUMNS
    }
    return Sentences(np.concatenate(offsets), **columns, num_cut=sum(p.num_cut for p in parts))
