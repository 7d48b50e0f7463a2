"""Texts to pieces, in flat arrays with the place of every piece in its text.

Legend: S sentences, P pieces of all of them, B batch, L length of the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.word_characters import WordCharacters
from bert_ko.tokenization.tokenizer import Encoding, Tokenizer
from bert_ko.tokenization.truncation import truncated_lengths
from bert_ko.tokenization.vocabulary import Vocabulary
from bert_ko.tokenization.word_tokenizer import MarkIds, WordTokenizer

Ints = npt.NDArray[np.int32]
NOWHERE = -1  # character and word of [CLS] and [SEP]
_SEPARATOR = " ||| "
AnyTokenizer = Tokenizer | WordTokenizer
TextOrPair = str | tuple[str, str]
PIECE_COLUMNS = ("input_ids", "segment_ids", "starts", "ends", "eojeol_ids", "morpheme_ids")


@dataclass(frozen=True)
class Sentences:
    """Sentences as the model gets them, one after another.

    The columns are int32 [P]; places and words of [CLS] and [SEP] are -1.

    Attributes:
        sentence_offsets: int64 [S + 1]; a sentence's pieces are those from one to the next.
        input_ids: with [CLS] and [SEP].
        segment_ids: 1 for the second sentence of a pair.
        starts: first character of a piece in its line.
        ends: the character after its last.
        eojeol_ids: number of the eojeol in the line.
        morpheme_ids: number of the morpheme in the line.
        num_cut: sentences that did not fit into the model.
        characters: int32 [W, K], those of each word that an id stands for, of a model of words.
        vocabulary_ids: int32 [W], of the same in the model's vocabulary of words.
        layers: float [P, M, H], what a biLM that stays as it is says of each word; M layers.
    """

    sentence_offsets: npt.NDArray[np.int64]
    input_ids: Ints
    segment_ids: Ints
    starts: Ints
    ends: Ints
    eojeol_ids: Ints
    morpheme_ids: Ints
    num_cut: int = 0
    characters: Ints | None = None
    vocabulary_ids: Ints | None = None
    layers: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.sentence_offsets) - 1

    @property
    def num_pieces(self) -> int:
        """P."""
        return len(self.input_ids)

    @property
    def lengths(self) -> Ints:
        """Pieces of each sentence, int32 [S]."""
        return np.diff(self.sentence_offsets).astype(np.int32)

    def gather(
        self, rows: Ints, length: int, special_ids: tuple[int, int, int]
    ) -> dict[str, npt.NDArray[Any]]:
        """The arrays of a batch.

        Args:
            rows: numbers of sentences, int32 [B].
            length: L, at least the pieces of the longest of them.
            special_ids: of [PAD], [CLS] and [SEP].

        Returns:
            input_ids, input_mask and segment_ids, int32 [B, L]; of words also word_ids, int32
            [B, L], and their layers [B, L, M, H], any values where nothing is, or else their
            characters, int32 [B, L, K].
        """
        places, mask = self.places(rows, length)
        input_ids = np.where(mask, self.input_ids[places], np.int32(special_ids[0]))
        words: dict[str, npt.NDArray[Any]] = {}
        if self.vocabulary_ids is not None:
            words["word_ids"] = self.vocabulary_ids[input_ids]
        if self.layers is not None:
            words["layers"] = self.layers[places]
        elif self.characters is not None:
            words["characters"] = self.characters[input_ids]
        return {
            "input_ids": input_ids,
            "input_mask": mask.astype(np.int32),
            "segment_ids": np.where(mask, self.segment_ids[places], np.int32(0)),
            **words,
        }

    def places(
        self, rows: Ints, length: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Places [B, L] in the columns of a batch's pieces, and which of them are no padding."""
        column = np.arange(length)
        mask = column < self.lengths[rows][:, None]  # [B, L]
        return np.where(mask, self.sentence_offsets[rows][:, None] + column, 0), mask

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays [P] by name."""
        return {name: getattr(self, name) for name in PIECE_COLUMNS}


class BlockSize(NamedTuple):
    """The most sentences and pieces of a block; a single sentence may have more pieces."""

    sentences: int
    pieces: int


class _Rows:
    """A block while it is collected."""

    def __init__(self) -> None:
        self.ends = [0]
        self.columns: dict[str, list[int]] = {name: [] for name in PIECE_COLUMNS}
        self.num_cut = 0

    def add(self, columns: dict[str, list[int]], is_cut: bool) -> None:
        for name, values in columns.items():
            self.columns[name] += values
        self.ends.append(len(self.columns["input_ids"]))
        self.num_cut += is_cut

    def has_room(self, pieces: int, size: BlockSize) -> bool:
        count = len(self.ends) - 1
        return not count or (count < size.sentences and self.ends[-1] + pieces <= size.pieces)

    def sentences(self) -> Sentences:
        columns = {name: np.array(values, np.int32) for name, values in self.columns.items()}
        return Sentences(np.array(self.ends, np.int64), **columns, num_cut=self.num_cut)


def encode_blocks(
    lines: Iterable[str], tokenizer: Tokenizer, max_seq_length: int, size: BlockSize
) -> Iterator[Sentences]:
    """Tokenizes lines.

    Args:
        lines: a sentence each, or ``a ||| b``, a pair.
        tokenizer: of the model.
        max_seq_length: pieces of a sentence or pair with [CLS] and [SEP]; what is longer is cut.
        size: of a block.

    Yields:
        Blocks that are not empty, in the order of the lines.
    """
    rows = _Rows()
    for line in lines:
        segments = [(line[start:end], start) for start, end in split_pair(line)]
        columns, is_cut = _encode(segments, tokenizer, max_seq_length)
        if not rows.has_room(len(columns["input_ids"]), size):
            yield rows.sentences()
            rows = _Rows()
        rows.add(columns, is_cut)
    if len(rows.ends) > 1:
        yield rows.sentences()


def encode_texts(
    texts: Iterable[str | tuple[str, str | None]], tokenizer: AnyTokenizer, max_seq_length: int
) -> Sentences:
    """Tokenizes texts.

    Args:
        texts: each alone, or with the second text of its pair, which may be None.
        tokenizer: of the model.
        max_seq_length: pieces of a text or pair with [CLS] and [SEP]; what is longer is cut.

    Returns:
        A sentence for each text or pair; places of pieces are those in their own text.
    """
    tokenizer, rows = begun(tokenizer), _Rows()
    for text in texts:
        first, second = (text, None) if isinstance(text, str) else text
        segments = [(first, 0)] if second is None else [(first, 0), (second, 0)]
        rows.add(*_encode(segments, tokenizer, max_seq_length))
    return with_characters(rows.sentences(), tokenizer)


def begun(tokenizer: AnyTokenizer) -> AnyTokenizer:
    """The tokenizer for new texts; one of words numbers them from the beginning."""
    return tokenizer.begin() if isinstance(tokenizer, WordTokenizer) else tokenizer


def with_characters(sentences: Sentences, tokenizer: AnyTokenizer) -> Sentences:
    """Sentences that a tokenizer was begun for; of words, with their characters and ids."""
    if not isinstance(tokenizer, WordTokenizer):
        return sentences
    found = WordCharacters(tokenizer.unit, tokenizer.places).distinct(tokenizer.words)
    ids = np.array(tokenizer.vocabulary_ids, np.int32)
    return replace(sentences, characters=found.characters, vocabulary_ids=ids)


def encode_stretches(
    encodings: Iterable[Encoding], vocab: Vocabulary | MarkIds, max_seq_length: int
) -> tuple[Sentences, Ints]:
    """Cuts texts of any length into stretches, so that no piece is left out.

    A stretch that does not end its text ends before an eojeol, if it holds more than one.

    Args:
        encodings: of the texts, each with all its pieces.
        vocab: of the special tokens.
        max_seq_length: pieces of a stretch with [CLS] and [SEP].

    Returns:
        A sentence for each stretch, none for a text without pieces; and the number of the text of
        each, int32 [S].
    """
    rows, owners = _Rows(), list[int]()
    for number, encoding in enumerate(encodings):
        for start, end in _stretches(encoding.eojeol_ids, max_seq_length - 2):
            columns = _new_columns(vocab.cls_id)
            places = (values[start:end] for values in _places(encoding))
            _add(columns, encoding.ids[start:end], 0, *places)
            _add(columns, [vocab.sep_id], 0)
            rows.add(columns, is_cut=False)
            owners.append(number)
    return rows.sentences(), np.array(owners, np.int32)


def _stretches(eojeol_ids: list[int], limit: int) -> Iterator[tuple[int, int]]:
    """The first piece of each stretch, and the one after its last.

    >>> list(_stretches([0, 0, 1, 1, 1, 2], 4)), list(_stretches([0, 0, 0], 2))
    ([(0, 2), (2, 6)], [(0, 2), (2, 3)])
    """
    start = 0
    while len(eojeol_ids) - start > limit:
        end = start + limit
        while end > start and eojeol_ids[end - 1] == eojeol_ids[end]:
            end -= 1
        end = end if end > start else start + limit
        yield start, end
        start = end
    if start < len(eojeol_ids):
        yield start, len(eojeol_ids)


def _encode(
    texts: list[tuple[str, int]], tokenizer: AnyTokenizer, max_seq_length: int
) -> tuple[dict[str, list[int]], bool]:
    """The columns of one or two texts with their first characters, and whether they were cut."""
    segments: list[tuple[Encoding, tuple[int, int, int, int]]] = []
    eojeols = morphemes = 0
    for number, (text, start) in enumerate(texts):
        encoding = tokenizer.encode(text)
        if number == 0 or len(encoding):  # a second text without pieces is ignored, as in Google's
            segments.append((encoding, (start, start, eojeols, morphemes)))
        eojeols += encoding.eojeol_ids[-1] + 1 if len(encoding) else 0
        morphemes += encoding.morpheme_ids[-1] + 1 if len(encoding) else 0
    counts = [len(encoding) for encoding, _ in segments]
    limit = max_seq_length - 1 - len(segments)
    kept = truncated_lengths(counts[0], counts[1] if len(counts) > 1 else 0, limit)
    columns = _new_columns(tokenizer.vocab.cls_id)
    for number, ((encoding, shifts), count) in enumerate(zip(segments, kept, strict=False)):
        if number and not count:
            break
        places = [
            [value + shift for value in values[:count]]
            for values, shift in zip(_places(encoding), shifts, strict=True)
        ]
        _add(columns, encoding.ids[:count], number, *places)
        _add(columns, [tokenizer.vocab.sep_id], number)
    return columns, sum(kept) < sum(counts)


def _places(encoding: Encoding) -> tuple[list[int], ...]:
    return encoding.starts, encoding.ends, encoding.eojeol_ids, encoding.morpheme_ids


def _new_columns(cls_id: int) -> dict[str, list[int]]:
    columns: dict[str, list[int]] = {name: [] for name in PIECE_COLUMNS}
    _add(columns, [cls_id], 0)
    return columns


def _add(columns: dict[str, list[int]], ids: list[int], segment: int, *places: list[int]) -> None:
    """Adds pieces; those of a special token have no places."""
    found = places or [[NOWHERE]] * 4
    for name, values in zip(PIECE_COLUMNS, (ids, [segment] * len(ids), *found), strict=True):
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


def join(blocks: Iterable[Sentences]) -> Sentences:
    """All blocks as one."""
    parts = list(blocks)
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
