"""A SentencePiece model, with offsets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bert_ko.tokenization.vocabulary import Piece

BLANK = "\u2581"


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
