"""Google's tokenizer for published vocabularies: basic words, and greedy WordPiece inside them."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Mapping

CONTINUATION = "##"
# Google's limit; a longer word is one unknown piece, and the greedy search stays linear.
MAX_CHARS_PER_WORD = 200
# That of transformers.
MAX_CHARS_PER_PUBLISHED_WORD = 100
# The blocks that Google's tokenizer calls Chinese: each character is a word of its own.
_CJK = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b820-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f"
)
_ASCII_PUNCTUATION = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def basic_parts(text: str, splits_chinese: bool = True) -> list[str]:
    """Splits a text at white space, punctuation and CJK characters; words keep blanks before them.

    Args:
        text: normalised.
        splits_chinese: whether each CJK character is a word of its own.

    Source: BasicTokenizer of google-research/bert.

    >>> basic_parts("값은 3.5%다")
    ['값은', ' 3', '.', '5', '%', '다']
    """
    return _word_pattern(splits_chinese).findall(text)


@functools.cache
def _word_pattern(splits_chinese: bool) -> re.Pattern[str]:
    # Built at first use: a walk through all of Unicode takes a tenth of a second.
    characters = map(chr, range(0x80, sys.maxunicode + 1))
    punctuation = "".join(re.escape(c) for c in characters if unicodedata.category(c)[0] == "P")
    alone = _ASCII_PUNCTUATION + punctuation + _CJK * splits_chinese
    return re.compile(f" *(?:[{alone}]|[^ {alone}]+)")


class WordPiece:
    """Splits one word into the longest pieces of a vocabulary, from left to right.

    Args:
        vocab: pieces in the order of their ids; ``##`` marks those inside a word.
        max_chars: of a word; a longer one is unknown.

    Source: WordpieceTokenizer of google-research/bert.

    >>> pieces = WordPiece({"도서": 0, "##관": 1, "##에": 2})
    >>> pieces.split("도서관"), pieces.split("에", continues=True)
    (['도서', '##관'], ['##에'])
    """

    def __init__(self, vocab: Mapping[str, int], max_chars: int = MAX_CHARS_PER_WORD):
        self._max_chars = max_chars
        self._ids = dict(vocab)  # a plain one: its look-ups are the inner loop
        self._pieces = tuple(vocab)
        self._longest = max((len(piece) for piece in vocab), default=1)

    def split(self, word: str, continues: bool = False) -> list[str] | None:
        """Returns the pieces of a word, or None if it is unknown.

        Args:
            word: without white space.
            continues: whether the first piece carries ``##`` too.
        """
        ids = self.split_ids(word, continues)
        return None if ids is None else [self._pieces[i] for i in ids]

    def split_ids(self, word: str, continues: bool = False) -> list[int] | None:
        """The ids of ``split``."""
        length = len(word)
        if length > self._max_chars:
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


def without_prefix(piece: str) -> str:
    """The text of a piece; ``##`` alone is text.

    >>> without_prefix("##관"), without_prefix("##")
    ('관', '##')
    """
    return piece[2:] if piece.startswith(CONTINUATION) and len(piece) > 2 else piece
