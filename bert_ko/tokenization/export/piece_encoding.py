"""Rows of a batch: texts cut to a model's length, with special tokens and padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from bert_ko.tokenization.tokenizer import Encoding
from bert_ko.tokenization.truncation import truncated_lengths

T = TypeVar("T")


class Truncation(NamedTuple):
    """How texts are cut."""

    strategy: str = "do_not_truncate"  # or longest_first, only_first, only_second
    room: int | None = None  # pieces that the texts of a window have together at most
    stride: int = 0  # pieces that a window shares with the one before it
    side: str = "right"  # where pieces are taken away, or "left"


def cut(texts: Sequence[Encoding], truncation: Truncation) -> list[tuple[Encoding, ...]]:
    """Cuts one text or a pair into windows, each with a part of all texts.

    Raises:
        ValueError: no room is left beside the text that must not be cut.

    Source: the truncation of Hugging Face's tokenizers; pairs by longest_first as in Google's BERT.
    """
    strategy, room, stride, side = truncation
    total = sum(map(len, texts))
    if strategy == "do_not_truncate" or room is None or total <= room:
        return [tuple(texts)]
    if strategy == "longest_first" and len(texts) == 2:
        sizes = truncated_lengths(len(texts[0]), len(texts[1]), room)
        return [tuple(_windows(t, size, 0, side)[0] for t, size in zip(texts, sizes, strict=True))]
    number = 1 if strategy == "only_second" else 0
    if number >= len(texts):
        raise ValueError("truncation='only_second' needs a pair of texts, got one text.")
    size = room - (total - len(texts[number]))
    if size < 0 or (size == 0 and len(texts) == 2):
        raise ValueError(
            f"The length leaves {room} pieces to the texts, and the text that is not cut by "
            f"truncation={strategy!r} has {room - size}; raise max_length."
        )
    windows = _windows(texts[number], size, stride, side)
    return [(*texts[:number], window, *texts[number + 1 :]) for window in windows]


def _windows(text: Encoding, size: int, stride: int, side: str) -> list[Encoding]:
    """Parts of a text, first the one at the side that is kept."""
    length = len(text)
    if size == 0:
        return [Encoding()]
    if stride >= size:
        raise ValueError(f"stride={stride} must be below the {size} pieces of a window.")
    starts = range(0, max(1, length - stride), size - stride)
    spans = [(start, min(start + size, length)) for start in starts]
    if side == "left":
        spans = [(length - end, length - start) for start, end in spans]
    lists: list[list[Any]] = list(vars(text).values())[:-1]  # all but the morphemes
    return [Encoding(*[values[start:end] for values in lists]) for start, end in spans]


class Frame(NamedTuple):
    """Special tokens and their ids: ``cls`` A ``sep`` B ``sep``, and ``pad`` up to a length."""

    cls: tuple[str, int]
    sep: tuple[str, int]
    pad: tuple[str, int]
    pad_type_id: int = 0


class PieceEncoding:
    """Pieces of one or two texts with special tokens and padding.

    Args:
        texts: one or two.
        frame: the special tokens.
        is_framed: whether [CLS] and [SEP] are added to the texts.

    Source: the class Encoding of Hugging Face's tokenizers, whose names these are. The word of a
        piece is its morpheme, or the caller's word if a text was given in words.
    """

    def __init__(self, texts: Sequence[Encoding], frame: Frame, is_framed: bool):
        self.texts = tuple(texts)
        self.overflowing: list[PieceEncoding] = []  # further windows of the same texts
        self._frame, self._is_framed = frame, is_framed
        self._left = self._right = 0
        self._length = sum(map(len, texts)) + (1 + len(texts)) * is_framed

    def pad_to(self, length: int, side: str) -> None:
        """Adds [PAD] on one side; does nothing if the row is long enough."""
        missing = length - len(self)
        if missing <= 0:
            return
        self._length = length
        self._left += missing if side == "left" else 0
        self._right += missing if side == "right" else 0
        for name in vars(self).keys() & vars(PieceEncoding).keys():
            delattr(self, name)  # a cached row of the old length

    def __len__(self) -> int:
        return self._length

    def _row(self, values: Callable[[int, Encoding], list[T]], cls: T, sep: T, pad: T) -> list[T]:
        row = [pad] * self._left
        if self._is_framed:
            row.append(cls)
        for number, text in enumerate(self.texts):
            row += values(number, text)
            if self._is_framed:
                row.append(sep)
        return row + [pad] * self._right

    @cached_property
    def ids(self) -> list[int]:
        """Of all pieces."""
        return self._row(lambda _, text: text.ids, *[i for _, i in self._frame[:3]])

    @cached_property
    def tokens(self) -> list[str]:
        """All pieces."""
        return self._row(lambda _, text: text.pieces, *[token for token, _ in self._frame[:3]])

    @cached_property
    def type_ids(self) -> list[int]:
        """0 for the first text, 1 for the second; a [SEP] has that of the text before it."""
        row = [self._frame.pad_type_id] * self._left + [0] * self._is_framed
        for number, text in enumerate(self.texts):
            row += [number] * (len(text) + self._is_framed)
        return row + [self._frame.pad_type_id] * self._right

    @cached_property
    def attention_mask(self) -> list[int]:
        """0 for [PAD]."""
        middle = len(self) - self._left - self._right
        return [0] * self._left + [1] * middle + [0] * self._right

    @cached_property
    def special_tokens_mask(self) -> list[int]:
        """1 for what is not in the texts."""
        return [int(number is None) for number in self.sequence_ids]

    @cached_property
    def offsets(self) -> list[tuple[int, int]]:
        """Characters of each piece in its text; (0, 0) for what is not in the texts."""
        none = (0, 0)
        return self._row(lambda _, t: list(zip(t.starts, t.ends, strict=True)), none, none, none)

    @cached_property
    def sequence_ids(self) -> list[int | None]:
        """Number of the text of each piece."""
        return self._row(lambda number, text: [number] * len(text), None, None, None)

    @cached_property
    def word_ids(self) -> list[int | None]:
        """Number of the word of each piece in its text."""
        return self._row(lambda _, text: list(text.morpheme_ids), None, None, None)

    @property
    def words(self) -> list[int | None]:
        """An older name of ``word_ids``."""
        return self.word_ids

    @property
    def n_sequences(self) -> int:
        """1, or 2 for a pair."""
        return len(self.texts)

    def token_to_sequence(self, token_index: int) -> int | None:
        """Number of a piece's text."""
        return self.sequence_ids[token_index]

    def token_to_word(self, token_index: int) -> int | None:
        """Number of a piece's word in its text."""
        return self.word_ids[token_index]

    def token_to_chars(self, token_index: int) -> tuple[int, int] | None:
        """Characters of a piece in its text."""
        return None if self.sequence_ids[token_index] is None else self.offsets[token_index]

    def char_to_token(self, char_pos: int, sequence_index: int = 0) -> int | None:
        """The piece that a character of a text belongs to."""
        for i, (start, end) in enumerate(self.offsets):
            if start <= char_pos < end and self.sequence_ids[i] == sequence_index:
                return i
        return None

    def char_to_word(self, char_pos: int, sequence_index: int = 0) -> int | None:
        """The word that a character of a text belongs to."""
        token = self.char_to_token(char_pos, sequence_index)
        return None if token is None else self.word_ids[token]

    def word_to_tokens(self, word_index: int, sequence_index: int = 0) -> tuple[int, int] | None:
        """First piece of a word, and the one after its last."""
        pairs = enumerate(zip(self.word_ids, self.sequence_ids, strict=True))
        places = [i for i, pair in pairs if pair == (word_index, sequence_index)]
        return (places[0], places[-1] + 1) if places else None

    def word_to_chars(self, word_index: int, sequence_index: int = 0) -> tuple[int, int] | None:
        """Characters of a word in its text."""
        tokens = self.word_to_tokens(word_index, sequence_index)
        return tokens and (self.offsets[tokens[0]][0], self.offsets[tokens[1] - 1][1])
