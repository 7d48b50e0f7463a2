"""A SentencePiece model, with offsets."""

from __future__ import annotations

from typing import Any, NamedTuple

BLANK = "\u2581"


class SurfacePiece(NamedTuple):
    """One piece; start and end are characters of the encoded text, blanks left out."""

    piece: str
    id: int
    start: int
    end: int


class SentencePieceModel:
    """A ``.model`` file; the library is imported when one is opened. Pickles by its bytes."""

    def __init__(self, serialized: bytes, source: str = "model"):
        """Args: serialized: the content of a .model file; source: its name for errors."""
        import sentencepiece

        self.serialized = serialized
        try:
            self._processor: Any = sentencepiece.SentencePieceProcessor(model_proto=serialized)
        except RuntimeError:
            raise ValueError(f"{source}: not a SentencePiece model.") from None

    def __reduce__(self) -> tuple[type[SentencePieceModel], tuple[bytes]]:
        return SentencePieceModel, (self.serialized,)

    @property
    def pieces(self) -> list[str]:
        """All pieces in the order of their ids."""
        return [self._processor.id_to_piece(i) for i in range(self._processor.get_piece_size())]

    def encode_ids(self, lines: list[str]) -> list[list[int]]:
        """Ids of each line."""
        ids: list[list[int]] = self._processor.encode(lines, out_type=int, num_threads=1)
        return ids

    def encode(self, text: str) -> list[SurfacePiece]:
        """Pieces of one text with offsets that ascend and never overlap."""
        found, last = [], 0
        for piece in self._processor.encode(text, out_type="immutable_proto").pieces:
            start, end = max(piece.begin, last), max(piece.end, last)
            while start < end and text[start] == " ":
                start += 1
            found.append(SurfacePiece(piece.piece, piece.id, start, end))
            last = end
        return found
