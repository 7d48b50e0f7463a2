"""Characters of words as numbers: which there are, for each unit that a character model can have.

An inventory is fixed: it follows from the unit alone, so that no file can be lost and every text
can be read. All that is not a letter of it (Chinese characters, emoji, accents) shares OTHERS
numbers.

    syllable  11,172 Hangul syllables, compatibility jamo (ㅋ, ㅠ), ASCII, and the others
    jamo      the initial, medial and final letters of syllables, each with numbers of its own, and
              the rest as above
    byte      bytes of UTF-8, as in bilm-tf

Behind the letters come five marks in the order of Mark; for bytes their numbers are bilm-tf's.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Literal, get_args

Characters = Literal["syllable", "jamo", "byte"]
UNITS: tuple[Characters, ...] = get_args(Characters)
OTHERS = 1024  # numbers for all other characters, by their code point modulo this

_SYLLABLES = range(0xAC00, 0xD7A4)
_COMPATIBILITY_JAMO = range(0x3131, 0x318F)
_ASCII = range(0x21, 0x7F)
_MEDIALS, _FINALS = 21, 28  # of the 28 finals the first is none
_JAMO = 19 + _MEDIALS + _FINALS - 1
_NUM_BYTES = 256


class Mark(enum.IntEnum):
    """Characters that no text has, counted from the end of the letters."""

    SENTENCE_BEGIN = 0
    SENTENCE_END = 1
    WORD_BEGIN = 2
    WORD_END = 3
    PADDING = 4


def num_letters(unit: Characters) -> int:
    """Numbers of an inventory without its marks; the number of a mark is this plus the mark."""
    if unit == "byte":
        return _NUM_BYTES
    own = len(_SYLLABLES) if unit == "syllable" else _JAMO
    return own + len(_COMPATIBILITY_JAMO) + len(_ASCII) + OTHERS


def num_characters(unit: Characters) -> int:
    """Numbers of an inventory.

    >>> num_characters("byte"), num_characters("jamo"), num_characters("syllable")
    (261, 1284, 12389)
    """
    return num_letters(unit) + len(Mark)


def letters(word: str, unit: Characters) -> list[int]:
    """The numbers of a word's characters.

    >>> letters("가", "syllable"), letters("각", "jamo"), letters("é", "byte")
    ([0], [0, 19, 40], [195, 169])
    """
    if unit == "byte":
        return list(word.encode())
    if unit == "syllable":
        return [_syllable(ord(character)) for character in word]
    return [number for character in word for number in _jamo(ord(character))]


def _syllable(code: int) -> int:
    if code in _SYLLABLES:
        return code - _SYLLABLES.start
    return len(_SYLLABLES) + _other(code)


def _jamo(code: int) -> Iterator[int]:
    if code not in _SYLLABLES:
        yield _JAMO + _other(code)
        return
    rest, final = divmod(code - _SYLLABLES.start, _FINALS)
    initial, medial = divmod(rest, _MEDIALS)
    yield initial
    yield 19 + medial
    if final:
        yield 19 + _MEDIALS + final - 1


def _other(code: int) -> int:
    if code in _COMPATIBILITY_JAMO:
        return code - _COMPATIBILITY_JAMO.start
    if code in _ASCII:
        return len(_COMPATIBILITY_JAMO) + code - _ASCII.start
    return len(_COMPATIBILITY_JAMO) + len(_ASCII) + code % OTHERS
