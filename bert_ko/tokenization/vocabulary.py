"""A vocabulary file: one piece a line, checked when loaded."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
_UNUSED = re.compile(r"\[unused\d+\]")
_WHITE_SPACE = re.compile(r"\s")


class Vocabulary(Mapping[str, int]):
    """Piece to id and back; ids are line numbers from 0."""

    def __init__(self, pieces: Iterable[str], source: str = "vocabulary"):
        """Checks and numbers the pieces.

        Args:
            pieces: all pieces in the order of their ids.
            source: file name for error messages.

        Raises:
            ValueError: a blank, duplicate or white-space piece (with its line), or a special
                token is missing.
        """
        self.pieces = tuple(pieces)
        self._ids = {piece: i for i, piece in enumerate(self.pieces)}
        for problem in _problems(self.pieces, self._ids):
            raise ValueError(f"{source}{problem}")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self._ids[token] for token in SPECIAL_TOKENS
        )

    @property
    def special_ids(self) -> tuple[int, int, int]:
        """Ids of [PAD], [CLS] and [SEP]."""
        return self.pad_id, self.cls_id, self.sep_id

    def __getitem__(self, piece: str) -> int:
        return self._ids[piece]

    def __iter__(self) -> Iterator[str]:
        return iter(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    def __contains__(self, piece: object) -> bool:
        return piece in self._ids

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[tuple[str, ...]]]:
        return Vocabulary, (self.pieces,)

    @classmethod
    def load(cls, path: str) -> Vocabulary:
        r"""Reads a vocabulary; lines end at ``\n`` alone, a carriage return before it is dropped.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not UTF-8, or a bad line, named by its number.
        """
        with open(path, "rb") as file:
            content = file.read()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise ValueError(f"{path}:{line}: not UTF-8; save the vocabulary as UTF-8.") from None
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
        return cls((line.removesuffix("\r") for line in lines), source=path)

    @functools.cached_property
    def ordinary_ids(self) -> list[int]:
        """Ids of the pieces that stand for text: neither special nor unused."""
        return [
            i
            for i, piece in enumerate(self.pieces)
            if piece not in SPECIAL_TOKENS and not self.is_unused(piece)
        ]

    def is_unused(self, piece: str) -> bool:
        """Whether the piece is a reserved ``[unusedN]`` slot."""
        return _UNUSED.fullmatch(piece) is not None


def _problems(pieces: tuple[str, ...], ids: Mapping[str, int]) -> Iterator[str]:
    first_line: dict[str, int] = {}
    for line, piece in enumerate(pieces, start=1):
        if not piece:
            yield f":{line}: blank line; it would shift every id below it. Delete it."
        white = _WHITE_SPACE.search(piece)
        if white:
            yield (
                f":{line}: white space U+{ord(white[0]):04X} inside the piece {piece!r}; "
                "one piece a line, ended by \\n alone. Delete the line or the character."
            )
        if piece in first_line:
            yield (
                f":{line}: duplicate of line {first_line[piece]}: {piece!r}. Delete one; "
                "keep the ids that your checkpoint was trained with."
            )
        first_line[piece] = line
    missing = [token for token in SPECIAL_TOKENS if token not in ids]
    if missing:
        yield (
            f": special tokens are missing: {', '.join(missing)}. Every vocabulary needs "
            f"{' '.join(SPECIAL_TOKENS)}."
        )
