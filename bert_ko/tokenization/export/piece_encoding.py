"""One row of a batch as Hugging Face's BatchEncoding asks for it: the interface of its Encoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

from bert_ko.tokenization.export.windows import Window

T = TypeVar("T")


class SpecialPiece(NamedTuple):
    """A special token."""

    piece: str
    id: int


class Frame(NamedTuple):
    """What stands around texts: ``cls`` A ``sep`` B ``sep``, and ``pad`` to a length."""

    cls: SpecialPiece
    sep: SpecialPiece
    pad: SpecialPiece
    pad_type_id: int = 0


class PieceEncoding:
    """Pieces of one or two texts with special tokens and padding.

    Attributes:
        windows: the texts.
        overflowing: further windows of the same texts.

    Source: the class Encoding of Hugging Face's tokenizers, whose names these are. The word of a
        piece is its morpheme, or the caller's word where a text was given in words.
    """

    def __init__(self, windows: Sequence[Window], frame: Frame, is_framed: bool):
        """Joins texts.

        Args:
            windows: one or two.
            frame: the special tokens.
            is_framed: whether [CLS] and [SEP] stand around the texts.
        """
        self.windows = tuple(windows)
        self.overflowing: list[PieceEncoding] = []
        self._frame, self._is_framed = frame, is_framed
        self._left = self._right = 0
        self._length = sum([window.end - window.start for window in self.windows])
        if is_framed:
            self._length += 1 + len(self.windows)

    def pad_to(self, length: int, side: str) -> None:
        """Adds [PAD] on one side; nothing where the row is long enough."""
        missing = length - len(self)
        if missing <= 0:
            return
        self._length = length
        self._left += missing if side == "left" else 0
        self._right += missing if side == "right" else 0
        self.__dict__ = {  # without the values that were made for the old length
            name: value for name, value in self.__dict__.items() if name not in _CACHED
        }

    def __len__(self) -> int:
        return self._length

    def _row(self, values: Callable[[int, Window], list[T]], cls: T, sep: T, pad: T) -> list[T]:
        row = [pad] * self._left
        if self._is_framed:
            row.append(cls)
        for number, window in enumerate(self.windows):
            row += values(number, window)
            if self._is_framed:
                row.append(sep)
        return row + [pad] * self._right

    @cached_property
    def ids(self) -> list[int]:
        """Of all pieces."""
        cls, sep, pad, _ = self._frame
        return self._row(lambda _, w: w.encoding.ids[w.start : w.end], cls.id, sep.id, pad.id)

    @cached_property
    def tokens(self) -> list[str]:
        """All pieces."""
        cls, sep, pad, _ = self._frame
        return self._row(
            lambda _, w: w.encoding.pieces[w.start : w.end], cls.piece, sep.piece, pad.piece
        )

    @cached_property
    def type_ids(self) -> list[int]:
        """0 for the first text, 1 for the second; a [SEP] has that of the text before it."""
        row = [self._frame.pad_type_id] * self._left + [0] * self._is_framed
        for number, window in enumerate(self.windows):
            row += [number] * (window.end - window.start + self._is_framed)
        return row + [self._frame.pad_type_id] * self._right

    @cached_property
    def attention_mask(self) -> list[int]:
        """0 for [PAD]."""
        middle = len(self) - self._left - self._right
        return [0] * self._left + [1] * middle + [0] * self._right

    @cached_property
    def special_tokens_mask(self) -> list[int]:
        """1 for what does not stand in the texts."""
        return [int(number is None) for number in self.sequence_ids]

    @cached_property
    def offsets(self) -> list[tuple[int, int]]:
        """Characters of each piece in its text; (0, 0) for what does not stand in the texts."""
        return self._row(_spans, (0, 0), (0, 0), (0, 0))

    @cached_property
    def sequence_ids(self) -> list[int | None]:
        """Number of the text of each piece."""
        return self._row(lambda number, w: [number] * (w.end - w.start), None, None, None)

    @cached_property
    def word_ids(self) -> list[int | None]:
        """Number of the word of each piece in its text."""
        return self._row(
            lambda _, w: list(w.encoding.morpheme_ids[w.start : w.end]), None, None, None
        )

    @property
    def words(self) -> list[int | None]:
        """An older name of ``word_ids``."""
        return self.word_ids

    @property
    def n_sequences(self) -> int:
        """1, or 2 for a pair."""
        return len(self.windows)

    def token_to_sequence(self, token_index: int) -> int | None:
        """Number of a piece's text."""
        return self.sequence_ids[token_index]

    def token_to_word(self, token_index: int) -> int | None:
        """Number of a piece's word in its text."""
        return self.word_ids[token_index]

    def token_to_chars(self, token_index: int) -> tuple[int, int] | None:
        """Characters of a piece in its text."""
        if self.sequence_ids[token_index] is None:
            return None
        return self.offsets[token_index]

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
        places = [
            i
            for i, word in enumerate(self.word_ids)
            if word == word_index and self.sequence_ids[i] == sequence_index
        ]
        return (places[0], places[-1] + 1) if places else None

    def word_to_chars(self, word_index: int, sequence_index: int = 0) -> tuple[int, int] | None:
        """Characters of a word in its text."""
        tokens = self.word_to_tokens(word_index, sequence_index)
        return tokens and (self.offsets[tokens[0]][0], self.offsets[tokens[1] - 1][1])


def _spans(_: int, window: Window) -> list[tuple[int, int]]:
    encoding, start, end = window
    return list(zip(encoding.starts[start:end], encoding.ends[start:end], strict=True))


_CACHED = frozenset(
    name for name, value in vars(PieceEncoding).items() if isinstance(value, cached_property)
)
