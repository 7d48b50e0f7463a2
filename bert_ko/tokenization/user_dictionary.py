"""MeCab user dictionaries: words that the system dictionary lacks, compiled to a .dic file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path


def compile_user_dictionary(words: Mapping[str, int | None], path: str) -> None:
    """Writes a dictionary of proper nouns; the same words give the same bytes.

    Args:
        words: as in a text, without commas, quotes and white space, and the cost of each: the
            lower, the likelier MeCab makes it one morpheme; None lets MeCab estimate.
        path: of the .dic file.

    Raises:
        ValueError: MeCab's compiler failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "words.csv")
        lines = [_line(word, "" if cost is None else str(cost)) for word, cost in words.items()]
        source.write_text("".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "mecab", "dict-index", "-u", path, str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not os.path.isfile(path):
        reason = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise ValueError(f"MeCab could not compile {path}: {reason or 'no reason given'}.")


def _line(word: str, cost: str) -> str:
    # As in mecab-ko-dic's own user dictionaries. MeCab finds the two context ids by the features;
    # an empty cost is estimated with the system dictionary's model.
    return f"{word},,,{cost},NNP,*,{'T' if has_final_consonant(word) else 'F'},{word},*,*,*,*\n"


def has_final_consonant(word: str) -> bool | None:
    """Whether a word ends in one, which decides between 은 and 는; None if not in Hangul.

    >>> [has_final_consonant(word) for word in ("당뇨병", "코로나", "코로나19")]
    [True, False, None]
    """
    last = ord(word[-1])
    return (last - 0xAC00) % 28 > 0 if 0xAC00 <= last <= 0xD7A3 else None
