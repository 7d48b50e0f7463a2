"""MeCab user dictionaries: words that the system dictionary lacks, compiled to a .dic file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

# A line of mecab-ko-dic's own user dictionaries. MeCab finds the two context ids by the features;
# an empty cost is estimated with the system dictionary's model.
_LINE = "{word},,,{cost},NNP,*,{final},{word},*,*,*,*\n"


def compile_user_dictionary(words: Mapping[str, int | None], path: str) -> None:
    """Writes a dictionary of proper nouns; the same words give the same bytes.

    Args:
        words: as they stand in a text, without commas, quotes and white space, and the cost of
            each: the lower, the likelier MeCab takes it as one morpheme; None lets MeCab estimate.
        path: of the .dic file.

    Raises:
        ValueError: MeCab's compiler failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "words.csv")
        with open(source, "w", encoding="utf-8") as file:
            for word, cost in words.items():
                shown = "" if cost is None else cost
                final = "T" if has_final_consonant(word) else "F"
                file.write(_LINE.format(word=word, cost=shown, final=final))
        command = [sys.executable, "-m", "mecab", "dict-index", "-u", path, source]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not os.path.isfile(path):
        reason = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise ValueError(f"MeCab could not compile {path}: {reason or 'no reason given'}.")


def has_final_consonant(word: str) -> bool | None:
    """Whether a word ends in one, which decides about 은 and 는; None where it is no Hangul.

    >>> [has_final_consonant(word) for word in ("당뇨병", "코로나", "코로나19")]
    [True, False, None]
    """
    last = ord(word[-1])
    return (last - 0xAC00) % 28 > 0 if 0xAC00 <= last <= 0xD7A3 else None
