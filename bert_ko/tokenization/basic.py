"""Words as Google's BasicTokenizer cuts them, for published vocabularies."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

# The blocks that Google's tokenizer calls Chinese: each character is a word of its own.
_CJK = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b820-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f"
)
_ASCII_PUNCTUATION = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class BasicSegmenter:
    """White space, punctuation and CJK characters separate words.

    Source: BasicTokenizer of google-research/bert.
    """

    def parts(self, text: str) -> list[str]:
        """Cuts a text into words that keep the blanks before them.

        >>> BasicSegmenter().parts("값은 3.5%다")
        ['값은', ' 3', '.', '5', '%', '다']
        """
        return _word_pattern().findall(text)

    def printed(self, text: str) -> str:
        r"""The same, each part ended by ``\n``."""
        return "".join([f"{part}\n" for part in self.parts(text)])


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    # Built at first use: a walk through all of Unicode takes a tenth of a second.
    punctuation = "".join(
        re.escape(char)
        for char in map(chr, range(0x80, sys.maxunicode + 1))
        if unicodedata.category(char)[0] == "P"
    )
    alone = _ASCII_PUNCTUATION + punctuation + _CJK
    return re.compile(f" *(?:[{alone}]|[^ {alone}]+)")
