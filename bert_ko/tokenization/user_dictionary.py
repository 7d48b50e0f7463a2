"""MeCab user dictionaries: words that the system dictionary lacks, compiled to a .dic file.

As a program it compiles a list of entries: python -m bert_ko.tokenization.user_dictionary CSV DIC
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bert_ko.tokenization.morphemes import dictionary_folder


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
        # MeCab's compiler prints, and ends the process when it fails.
        command = [sys.executable, "-m", __name__, str(source), path]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
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


def _compile(source: str, path: str) -> int:
    """Runs MeCab's compiler in this process; returns its status."""
    folder = dictionary_folder()
    model = str(folder / "model.bin")
    options = ["--dicdir", str(folder), "--model", model, "--userdic", path, source]
    try:
        import _mecab
    except ImportError:
        import mecab_ko

        # Nothing in its Python interface compiles, but the library that it brings does.
        library = ctypes.CDLL(mecab_ko._MeCab.__file__)
        arguments = [os.fsencode(option) for option in ("dict-index", *options)]
        array = (ctypes.c_char_p * len(arguments))(*arguments)
        return int(library.mecab_dict_index(len(arguments), array))
    return int(_mecab.cli.dict_index(options))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip().rpartition("\n")[2])
    sys.exit(_compile(*sys.argv[1:]))
