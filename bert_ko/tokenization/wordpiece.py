"""Greedy longest-match-first WordPiece."""

from __future__ import annotations

from collections.abc import Mapping

CONTINUATION = "##"
# Google's limit; a longer word is one unknown piece, and the greedy search stays linear.
MAX_CHARS_PER_WORD = 200


class WordPiece:
    """Cuts one word into the longest pieces of a vocabulary, from left to right.

    Source: WordpieceTokenizer of google-research/bert.

    >>> pieces = WordPiece({"도서": 0, "##관": 1, "##에": 2})
    >>> pieces.split("도서관")
    ['도서', '##관']
    >>> pieces.split("에", continues=True)
    ['##에']
    """

    def __init__(self, vocab: Mapping[str, int]):
        """Args: vocab: piece to id; pieces inside a word begin with ``##``."""
        self.ids = dict(vocab)  # a plain one: its look-ups are the inner loop
        self._longest = max((len(piece) for piece in vocab), default=1)

    def split(self, word: str, continues: bool = False) -> list[str] | None:
        """Cuts a word.

        Args:
            word: the surface, without white space.
            continues: whether the first piece carries ``##`` too.

        Returns:
            Pieces as they stand in the vocabulary, or None where the word is unknown.
        """
        ids = self.ids
        whole = CONTINUATION + word if continues else word
        if whole in ids and (continues or not word.startswith(CONTINUATION)):
            return [whole]
        if len(word) > MAX_CHARS_PER_WORD:
            return None
        found = []
        start, length = 0, len(word)
        while start < length:
            prefix = CONTINUATION if continues or start else ""
            end = min(length, start + self._longest)
            if not prefix and word.startswith(CONTINUATION, start):
                end = min(end, start + 2)  # a literal "##" must not meet a continuation piece
            while end > start and prefix + word[start:end] not in ids:
                end -= 1
            if end == start:
                return None
            found.append(prefix + word[start:end])
            start = end
        return found


def piece_length(piece: str) -> int:
    """Number of characters of text that a known piece stands for."""
    return len(piece) - 2 if piece.startswith(CONTINUATION) and len(piece) > 2 else len(piece)
