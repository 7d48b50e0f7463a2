"""MeCab at full speed: text to morphemes with their leading blanks, parts of speech on request.

``python-mecab-ko``'s public ``MeCab.parse`` builds Python objects for every node and runs at 40 %
of MeCab's own speed. Its tagger can print instead: the node format ``%M`` is the surface with the
blanks before it, so one ``str.split`` gives surfaces, eojeol boundaries and offsets at once.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import mecab

from bert_ko.tokenization.dictionary_files import check_user_dictionary

# MeCab's time grows with the square of the line, and of a run without blanks of one script.
MAX_UNIT_CHARS = 4096
MAX_RUN_CHARS = 1024
_RUN = re.compile(f" *[^ ]{{1,{MAX_RUN_CHARS}}}")


class Morpheme(NamedTuple):
    """One node of MeCab's best path; start and end are characters of the analysed text."""

    surface: str
    start: int
    end: int
    pos: str  # a tag of mecab-ko-dic, joined by + if a node is fused: NP+JKS


class _PublicTagger:
    """The same output from the public interface, for builds without the private module."""

    def __init__(self, dictionaries: Sequence[str], with_pos: bool):
        self._mecab = mecab.MeCab(user_dictionary_path=list(dictionaries) or None)
        self._with_pos = with_pos

    def parse(self, text: str) -> str:
        # MeCab().parse shifts spans when the text begins with white space.
        offset = len(text) - len(text.lstrip(" "))
        cursor, lines = 0, []
        for node in self._mecab.parse(text[offset:]):
            end = offset + node.span.end
            lines.append(text[cursor:end] + (f"\t{node.pos}\n" if self._with_pos else "\n"))
            cursor = end
        return "".join(lines)


def _make_tagger(dictionaries: Sequence[str], with_pos: bool) -> Any:
    try:
        import _mecab
        import mecab_ko_dic
    except ImportError:
        return _PublicTagger(dictionaries, with_pos)
    node = "%M\\t%f[0]\\n" if with_pos else "%M\\n"
    options = ["--rcfile", str(mecab.mecabrc_path), "--dicdir", str(mecab_ko_dic.dictionary_path)]
    if dictionaries:
        options += ["--userdic", ",".join(dictionaries)]
    return _mecab.Tagger([*options, f"-F{node}", f"-U{node}", "-E", ""])


def dictionary_version() -> str:
    """Name and version of the installed system dictionary."""
    return f"mecab-ko-dic {importlib.metadata.version('python-mecab-ko-dic')}"


def check_dictionary_version(wanted: str | None, source: str) -> None:
    """Raises: ImportError: MeCab is missing; ValueError: its dictionary is not the wanted one."""
    try:
        installed = dictionary_version()
    except ImportError:
        raise ImportError(
            "This tokenizer needs MeCab: pip install 'python-mecab-ko>=1.3.7,<1.4'"
        ) from None
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
        if self._user_dictionaries:
            import mecab_ko_dic

            for path in self._user_dictionaries:
                check_user_dictionary(path, os.path.join(mecab_ko_dic.dictionary_path, "sys.dic"))
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
