"""Pieces of a vocabulary that no text can reach, as far as that can be proved.

A piece is unreachable for one of three reasons; what a corpus only suggests is none:

- its characters: it has one that normalisation removes, turns into a blank, composes, strips of an
  accent or lower-cases, so that no text has it when pieces are looked up;
- tokenizer_type=wordpiece: it joins a punctuation mark or a Chinese character to others, which are
  words of their own, or has one behind ``##`` although every word is looked up without it;
- tokenizer_type=mecab: it joins characters of two classes (a letter and a digit) that no entry of
  the dictionaries joins so. MeCab joins characters on its own within a class alone.

Special tokens and [unusedN] are not text and are left out. Other pieces may still be unreachable:
if a longer one always wins, or if MeCab could give a word, but never does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from bert_ko.tokenization.dictionary_files import DictionaryFile
from bert_ko.tokenization.morphemes import dictionary_folder
from bert_ko.tokenization.normalization import NormalizedText, strip_accents
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.wordpiece import basic_parts, without_prefix

_NAME_BYTES = 32  # of a class in char.bin
_CLASSES = (1 << 18) - 1  # a bit for each class of a character


def unreachable_pieces(tokenizer: Tokenizer) -> list[str]:
    """Pieces that no text can have, in the order of their ids; a SentencePiece model has none."""
    if tokenizer.model is not None:
        return []
    config = tokenizer.config
    mecab = _MecabSplits(tokenizer.user_dictionaries, config.do_lower_case)
    by_morpheme = config.subword_prefix_unit == "morpheme"
    found = []
    for i in tokenizer.vocab.ordinary_ids:
        piece = tokenizer.vocab.pieces[i]
        if piece in config.additional_special_tokens:
            continue
        text = without_prefix(piece)
        continues = text != piece
        if (
            _is_changed(text, tokenizer)
            or (tokenizer.has_morphemes and mecab.is_split(text, continues))
            or (
                not tokenizer.has_morphemes
                and _is_split_by_google(text, continues and by_morpheme, tokenizer)
            )
        ):
            found.append(piece)
    return found


def _is_changed(text: str, tokenizer: Tokenizer) -> bool:
    """Whether normalisation and lower-casing leave no text with these characters."""
    rule, lowers = tokenizer.rule, tokenizer.config.do_lower_case
    if rule.changed.search(text):
        return True
    if rule.composes == "nothing":
        return tokenizer.fold(text) != text
    if lowers and tokenizer.config.tokenizer_type == "wordpiece":
        return strip_accents(NormalizedText(text)).text != text
    if lowers and any(len(low := char.lower()) == 1 and low != char for char in text):
        return True
    # Lower-casing comes after composition and may decompose: only caseless text stays composed.
    is_stable = not lowers or text.upper() == text.lower() == text
    return rule.composes == "all" and is_stable and rule.compose(text) != text


def _is_split_by_google(text: str, is_inside: bool, tokenizer: Tokenizer) -> bool:
    """Whether BasicTokenizer's words keep a text from being found, or from being inside one."""
    split = partial(basic_parts, splits_chinese=tokenizer.config.tokenize_chinese_chars)
    return len(split(text)) > 1 or (is_inside and len(split(f"{text}a")) > 1)


class _MecabSplits:
    """Whether MeCab gives no morpheme that has a piece."""

    def __init__(self, user_dictionaries: Iterable[str], lowers: bool):
        self._lowers = lowers
        self._user_dictionaries = user_dictionaries

    @cached_property
    def _classes(self) -> npt.NDArray[np.uint32]:
        """A bit for each class of each character of the BMP, from MeCab's char.bin."""
        path = os.path.join(dictionary_folder(), "char.bin")
        (number,) = np.fromfile(path, "<u4", 1)
        return np.fromfile(path, "<u4", offset=4 + int(number) * _NAME_BYTES) & np.uint32(_CLASSES)

    @cached_property
    def _dictionaries(self) -> list[_Dictionary]:
        system = os.path.join(dictionary_folder(), "sys.dic")
        return [_Dictionary(path) for path in (system, *self._user_dictionaries)]

    def is_split(self, text: str, continues: bool) -> bool:
        """Args: text: of a piece without ``##``; continues: whether it had one."""
        codes = [ord(char) for char in text]
        if len(codes) < 2 or max(codes) >= len(self._classes):
            return False
        classes = self._classes[codes]
        if (classes[1:] & classes[:-1]).all():
            return False  # it may be an unknown word, or a part of one
        cased = [char for char in text if char.lower() != char.upper()]
        if self._lowers and not "".join(cased).isascii():
            return False  # the dictionary may have it in capitals
        forms = [{char, char.upper()} if self._lowers else {char} for char in text]
        return not any(entries.has(forms, continues) for entries in self._dictionaries)


class _Dictionary:
    """The entries of a compiled dictionary, a double array over their bytes in UTF-8.

    A node has a base; its child by a byte is the unit base + byte + 1, whose check is that base.

    Source: Darts, as MeCab uses it.
    """

    def __init__(self, path: str):
        units = DictionaryFile.open(path).units
        self._base, self._check = units["base"].copy(), units["check"].astype(np.int32)
        self._everywhere: dict[str, npt.NDArray[np.int32]] = {}

    def has(self, forms: Sequence[Iterable[str]], inside: bool) -> bool:
        """Whether an entry begins with a string, or has it inside; forms: of each character."""
        first, *others = forms
        bases = np.concatenate([self._first(char, inside) for char in first])
        for chars in others:
            bases = np.concatenate([self._children(bases, char) for char in chars])
        return bases.size > 0

    def _first(self, char: str, inside: bool) -> npt.NDArray[np.int32]:
        if not inside:
            return self._children(self._base[:1], char)
        if char not in self._everywhere:
            self._everywhere[char] = self._children(self._base[self._base > 0], char)
        return self._everywhere[char]

    def _children(self, bases: npt.NDArray[np.int32], char: str) -> npt.NDArray[np.int32]:
        """int32 [n] bases of nodes to int32 [m] bases of their children by a character."""
        for byte in char.encode():
            units = bases + (byte + 1)
            bases, units = bases[units < len(self._check)], units[units < len(self._check)]
            bases = self._base[units[self._check[units] == bases]]
        return bases
