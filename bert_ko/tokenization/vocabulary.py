"""A vocabulary file: one piece a line, checked when loaded."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)


class Piece(NamedTuple):
    """A piece of a text, and its characters there: text[start:end]."""

    piece: str
    id: int
    start: int
    end: int


class Vocabulary(dict[str, int]):
    """Piece to id, and back by ``pieces``; ids are line numbers from 0.

    Args:
        pieces: all pieces in the order of their ids.
        source: file name for error messages.

    Raises:
        ValueError: a blank, duplicate or white-space piece (with its line), or a special token is
            missing.
    """

    def __init__(self, pieces: Iterable[str], source: str = "vocabulary"):
        super().__init__()
        self.pieces = tuple(pieces)
        for i, piece in enumerate(self.pieces):
            self._check(piece, f"{source}:{i + 1}")
            self[piece] = i
        if missing := [token for token in SPECIAL_TOKENS if token not in self]:
            raise ValueError(
                f"{source}: special tokens are missing: {', '.join(missing)}. Every vocabulary "
                f"needs {' '.join(SPECIAL_TOKENS)}."
            )
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self[token] for token in SPECIAL_TOKENS
        )

    def _check(self, piece: str, line: str) -> None:
        if not piece:
            raise ValueError(f"{line}: blank line; it would shift every id below it. Delete it.")
        if white := re.search(r"\s", piece):
            raise ValueError(
                f"{line}: white space U+{ord(white[0]):04X} inside the piece {piece!r}; "
                "one piece a line, ended by \\n alone. Delete the line or the character."
            )
        if piece in self:
            raise ValueError(
                f"{line}: duplicate of line {self[piece] + 1}: {piece!r}. Delete one; "
                "keep the ids that your checkpoint was trained with."
            )

    @property
    def special_ids(self) -> tuple[int, int, int]:
        """Ids of [PAD], [CLS] and [SEP]."""
        return self.pad_id, self.cls_id, self.sep_id

    @classmethod
    def load(cls, path: str) -> Vocabulary:
        r"""Reads a vocabulary; lines end at ``\n`` alone, a carriage return before it is dropped.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not UTF-8, or a bad line, named by its number.
        """
        content = Path(path).read_bytes()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise ValueError(f"{path}:{line}: not UTF-8; save the vocabulary as UTF-8.") from None
        lines = text.removesuffix("\n").split("\n") if text else []
        return cls((line.removesuffix("\r") for line in lines), source=path)

    @functools.cached_property
    def ordinary_ids(self) -> list[int]:
        """Ids of the pieces that are text: neither special nor unused."""
        return [
            i
            for i, piece in enumerate(self.pieces)
            if piece not in SPECIAL_TOKENS and not self.is_unused(piece)
        ]

    def is_unused(self, piece: str) -> bool:
        """Whether the piece is a reserved ``[unusedN]`` slot."""
        return re.fullmatch(r"\[unused\d+\]", piece) is not None
