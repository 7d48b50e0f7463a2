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
        """Args: vocab: pieces in the order of their ids; ``##`` marks those inside a word."""
        self._ids = dict(vocab)  # a plain one: its look-ups are the inner loop
        self._pieces = tuple(vocab)
        self._longest = max((len(piece) for piece in vocab), default=1)

    def split(self, word: str, continues: bool = False) -> list[str] | None:
        """Cuts a word.

        Args:
            word: the surface, without white space.
            continues: whether the first piece carries ``##`` too.

        Returns:
            Pieces as they stand in the vocabulary, or None where the word is unknown.
        """
        ids = self.split_ids(word, continues)
        return None if ids is None else [self._pieces[i] for i in ids]

    def split_ids(self, word: str, continues: bool = False) -> list[int] | None:
        """The ids of ``split``."""
        length = len(word)
        if length > MAX_CHARS_PER_WORD:
            return None
        find, longest = self._ids.get, self._longest
        found = []
        start, prefix = 0, CONTINUATION if continues else ""
        while start < length:
            end = min(length, start + longest)
            if not prefix and word.startswith(CONTINUATION):
                end = min(end, 2)  # a literal "##" must not meet a continuation piece
            while (i := find(prefix + word[start:end])) is None:
                end -= 1
                if end == start:
                    return None
            found.append(i)
            start, prefix = end, CONTINUATION
        return found


def piece_length(piece: str) -> int:
    """Number of characters of text that a known piece stands for."""
    return len(piece) - 2 if piece.startswith(CONTINUATION) and len(piece) > 2 else len(piece)
