"""Text to whole words: MeCab's morphemes, or eojeols. Case and spelling stay as they are."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.tokenization.config import WordUnit
from bert_ko.tokenization.morphemes import MecabSegmenter
from bert_ko.tokenization.normalization import MECAB

WORD_END = ord("\n")
_BLANKS = re.compile("[\n ]+")


class EncodedWords(NamedTuple):
    r"""The words of many lines as one text."""

    pieces: npt.NDArray[np.uint8]  # [n], the words' UTF-8, each ended by ``\n``
    lengths: npt.NDArray[np.int32]  # [lines], bytes of each line


class WordSplitter:
    """Splits text into words; pickles by its arguments.

    Args:
        unit: morpheme: what MeCab finds; eojeol: what stands between white space.
        user_dictionaries: paths of compiled MeCab dictionaries; for morphemes alone.

    Raises:
        ImportError: MeCab is needed and not installed.
        FileNotFoundError, ValueError: of a user dictionary; see MecabSegmenter.
    """

    def __init__(self, unit: WordUnit, user_dictionaries: Sequence[str] = ()):
        assert unit == "morpheme" or not user_dictionaries
        self.unit = unit
        self.user_dictionaries = tuple(map(os.path.abspath, user_dictionaries))
        self._mecab = MecabSegmenter(self.user_dictionaries) if unit == "morpheme" else None

    def __reduce__(self) -> tuple[type[WordSplitter], tuple[WordUnit, tuple[str, ...]]]:
        return WordSplitter, (self.unit, self.user_dictionaries)

    def clean_lines(self, text: str) -> list[str]:
        r"""Normalises many lines joined by ``\n``, as every tokenizer of ours with MeCab does."""
        return MECAB.clean_lines(text)

    def split(self, text: str) -> list[str]:
        r"""Splits a text of any form, on one line or several, into its words.

        >>> WordSplitter("eojeol").split(" 배가\t고프다. ")
        ['배가', '고프다.']
        """
        return "".join(map(self.printed, self.clean_lines(text))).split("\n")[:-1]

    def printed(self, line: str) -> str:
        r"""The words of a normalised line in one string, each ended by ``\n``."""
        if self._mecab is None:
            return "".join([f"{word}\n" for word in line.split()])
        text = self._mecab.printed(line).lstrip(" ").replace("\n ", "\n")
        # More blanks than one, or a user dictionary's entry with a blank, which is two words.
        return _BLANKS.sub("\n", text) if " " in text else text

    def encode(self, lines: Sequence[str]) -> EncodedWords:
        """The words of normalised lines, for corpora."""
        found = [self.printed(line).encode() for line in lines]
        lengths = np.fromiter(map(len, found), np.int32, len(found))
        return EncodedWords(np.frombuffer(b"".join(found), np.uint8), lengths)
