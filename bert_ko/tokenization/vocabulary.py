"""Vocabulary files: vocab.txt, checked when loaded, and SentencePiece models."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
_MAX_BYTES = 64 << 20  # of a file
_WHITE = re.compile(r"\s")
BLANK = "\u2581"  # as SentencePiece writes it


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
        self.pieces = tuple(pieces)
        super().__init__(index_lines(self.pieces, source))
        if missing := [token for token in SPECIAL_TOKENS if token not in self]:
            raise ValueError(
                f"{source}: special tokens are missing: {', '.join(missing)}. Every vocabulary "
                f"needs {' '.join(SPECIAL_TOKENS)}."
            )
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self[token] for token in SPECIAL_TOKENS
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
        return cls(cls.read(path), source=path)

    @staticmethod
    def read(path: str) -> tuple[str, ...]:
        """The lines of ``load``; what is no list of pieces is refused."""
        pieces = read_lines(path)
        if kind := _other_kind(pieces):
            raise ValueError(f"{path}: {kind}.")
        return pieces

    @functools.cached_property
    def ordinary_ids(self) -> list[int]:
        """Ids of the pieces that are text: neither special nor unused."""
        return [
            i
            for i, piece in enumerate(self.pieces)
            if not (piece.startswith("[") and (piece in SPECIAL_TOKENS or self.is_unused(piece)))
        ]

    def is_unused(self, piece: str) -> bool:
        """Whether the piece is a reserved ``[unusedN]`` slot."""
        return re.fullmatch(r"\[unused\d+\]", piece) is not None


def read_lines(path: str) -> tuple[str, ...]:
    r"""The lines of a vocabulary; see ``Vocabulary.load``."""
    content = _content(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: not UTF-8; save the vocabulary as UTF-8.") from None
    if "\n" not in text:
        text = text.replace("\r", "\n")
    lines = text.removesuffix("\n").split("\n") if text else []
    return tuple([line.removesuffix("\r") for line in lines])


def index_lines(pieces: tuple[str, ...], source: str) -> dict[str, int]:
    """The number of each line, from 0.

    Raises:
        ValueError: a line is blank, has white space or is there twice; names it.
    """
    found = dict(zip(pieces, range(len(pieces)), strict=True))
    if len(found) < len(pieces) or "" in found or _WHITE.search("".join(pieces)):
        raise _bad_line(pieces, source)
    return found


def _bad_line(pieces: tuple[str, ...], source: str) -> ValueError:
    """The error of the first line that is blank, has white space or is there twice."""
    lines: dict[str, int] = {}
    for number, piece in enumerate(pieces, start=1):
        place = f"{source}:{number}"
        if not piece:
            return ValueError(f"{place}: blank line; it would shift every id below it. Delete it.")
        if white := _WHITE.search(piece):
            return ValueError(
                f"{place}: white space U+{ord(white[0]):04X} inside the piece {piece[:50]!r}; "
                "one piece a line, ended by \\n alone. Delete the line or the character."
            )
        if piece in lines:
            return ValueError(
                f"{place}: duplicate of line {lines[piece]}: {piece!r}. Delete one; "
                "keep the ids that your checkpoint was trained with."
            )
        lines[piece] = number
    raise AssertionError("every line is right")


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{path} has more than {_MAX_BYTES:,} bytes; it is no vocabulary.")
    return content


def _other_kind(pieces: tuple[str, ...]) -> str | None:
    """What a file is that is no list of WordPieces, and what to do; None if it may be one."""
    if "\0" in "".join(pieces[:10]):
        return "not UTF-8, or binary; save the vocabulary as UTF-8"
    if pieces and re.fullmatch(r'\s*[\[{](\s*".*)?', pieces[0]):
        return "JSON, not a list of pieces; name its folder if it is a tokenizer's"
    if len(pieces) > 1 and all(re.fullmatch(r"\S+\t-?[\d.e-]+", piece) for piece in pieces[-2:]):
        return "pieces with scores, as SentencePiece lists them; name its .model file"
    text = "".join(pieces)
    for mark, kind in ((BLANK, "a SentencePiece model"), ("\u0120", "a byte-level BPE")):
        if mark not in text:
            continue
        continuations = sum(piece.startswith("##") for piece in pieces)
        marked = sum(piece.startswith(mark) and len(piece) > 1 for piece in pieces)
        if marked > continuations:
            advice = "; name its .model file" if mark == BLANK else ", which is not read"
            return f"the pieces of {kind} ({mark} begins a word){advice}"
    return None


class SentencePieceModel:
    """A ``.model`` file; the library is imported when one is opened. Pickles by its bytes.

    Args:
        serialized: the content of the file.
        source: its name for errors.
    """

    def __init__(self, serialized: bytes, source: str = "model"):
        import sentencepiece

        self.serialized = serialized
        try:
            self._processor: Any = sentencepiece.SentencePieceProcessor()
            self._processor.LoadFromSerializedProto(serialized)
        except (RuntimeError, ValueError):
            raise ValueError(f"{source}: not a SentencePiece model.") from None
        size = self._processor.get_piece_size()
        self.pieces = [self._processor.id_to_piece(i) for i in range(size)]

    def __reduce__(self) -> tuple[type[SentencePieceModel], tuple[bytes]]:
        return SentencePieceModel, (self.serialized,)

    def encode_ids(self, lines: list[str]) -> list[list[int]]:
        """Ids of each line."""
        ids: list[list[int]] = self._processor.encode(lines, out_type=int, num_threads=1)
        return ids

    def encode(self, text: str) -> list[Piece]:
        """Pieces of a text with offsets, blanks left out, that ascend and never overlap.

        A character that the model expands (one sign to several letters) belongs whole to the piece
        that holds its first letter.
        """
        found, last = [], 0
        for number, surface, (start, end) in self._aligned(text):
            while start < end and text[start] == " ":
                start += 1
            if last <= start == end < len(text) and surface.strip(BLANK):
                end += 1  # the library gives an expanded character to its last letter
            start, end = max(start, last), max(end, last)
            found.append(Piece(self.pieces[number], number, start, end))
            last = end
        return found

    def _aligned(self, text: str) -> Iterable[tuple[int, str, tuple[int, int]]]:
        """Ids, surfaces and spans in characters."""
        if hasattr(self._processor, "EncodeAsOffsetMapping"):  # sentencepiece 0.2.2 and newer
            found = self._processor.encode(text, out_type="offset_mapping")
            return zip(found["ids"], found["pieces"], found["offsets"], strict=True)
        pieces = self._processor.encode(text, out_type="immutable_proto").pieces
        return [(piece.id, piece.piece, (piece.begin, piece.end)) for piece in pieces]
