"""MeCab's compiled dictionaries (.dic): their layout, and whether MeCab can read one.

MeCab maps a dictionary into memory and follows the numbers in it wherever they lead, so that a
damaged file can end the process. Here all of them are checked first.

A file is a header, a double array over the bytes of the entries, the tokens that its leaves name,
and the tokens' features, strings that end in NUL.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_MAGIC = 0xEF718F77  # xor the size of the file
HEADER = np.dtype(
    [
        *((name, "<u4") for name in ("magic", "version", "type", "entries", "left", "right")),
        *((name, "<u4") for name in ("array_bytes", "token_bytes", "feature_bytes", "unused")),
        ("charset", "S32"),
    ]
)
UNIT = np.dtype([("base", "<i4"), ("check", "<u4")])
TOKEN = np.dtype(
    [
        *((name, "<u2") for name in ("left", "right", "pos")),
        ("cost", "<i2"),
        ("feature", "<u4"),
        ("compound", "<u4"),
    ]
)
_USER_TYPE = 1
# First bytes of characters of one to four bytes.
_FIRST_BYTES = ((0, 0x80), (0xC2, 0xE0), (0xE0, 0xF0), (0xF0, 0xF5))
_BYTES = 256  # a node's children are the units base + 1 to base + 256
_MAX_POS = 255  # of mecab-ko-dic: 230
# MeCab keeps room for so many entries that begin at one place, and for features of 8 KB.
_MAX_ENTRY_BYTES, _MAX_FEATURE_BYTES = 500, 4000


class DictionaryFile(NamedTuple):
    """The parts of a compiled dictionary, mapped from the file."""

    header: npt.NDArray[np.void]  # []
    units: npt.NDArray[np.void]  # [units], of the double array
    tokens: npt.NDArray[np.void]  # [tokens]
    features: npt.NDArray[np.uint8]  # [bytes]

    @classmethod
    def open(cls, path: str) -> DictionaryFile:
        """Maps a file.

        Raises:
            OSError: it can't be read.
            ValueError: the parts do not make up the file.
        """
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is not a regular file")
        if os.path.getsize(path) <= HEADER.itemsize:
            raise ValueError("it is too short")
        content = np.memmap(path, np.uint8, "r")
        header = content[: HEADER.itemsize].view(HEADER)[0]
        if int(header["magic"]) ^ _MAGIC != len(content):
            raise ValueError("its first bytes do not say so, or it has been cut off")
        sizes = [int(header[f"{part}_bytes"]) for part in ("array", "token", "feature")]
        if HEADER.itemsize + sum(sizes) != len(content) or sizes[0] % 8 or sizes[1] % 16:
            raise ValueError("its parts do not add up")
        starts = np.cumsum([HEADER.itemsize, *sizes])
        units, tokens, features = (
            content[start : start + size] for start, size in zip(starts, sizes, strict=False)
        )
        return cls(header, units.view(UNIT), tokens.view(TOKEN), features)


def check_user_dictionary(path: str, system_path: str) -> None:
    """Refuses a user dictionary that MeCab can't read.

    Args:
        path: of the compiled dictionary.
        system_path: of the system dictionary that it is used with.

    Raises:
        FileNotFoundError: it can't be read.
        ValueError: it is not compiled, is damaged, or was compiled for another system dictionary.
    """
    if "," in path:
        raise ValueError(
            f"--mecab_user_dictionary: MeCab takes no path with a comma, got {path}; rename it."
        )
    advice = "make it with `python -m bert_ko.tokenization.user_dictionary user.csv user.dic`."
    try:
        found = DictionaryFile.open(path)
    except OSError as error:
        raise FileNotFoundError(
            f"--mecab_user_dictionary: cannot read {path}: {error.strerror}."
        ) from None
    except ValueError as error:
        raise ValueError(
            f"--mecab_user_dictionary: {path} is not a compiled dictionary: {error}; {advice}"
        ) from None
    if not _is_compatible(found.header, _header_of(system_path)):
        raise ValueError(
            f"--mecab_user_dictionary: {path} was compiled for another system dictionary than the "
            f"installed one; {advice}"
        )
    if (damage := _damage(found)) is not None:
        raise ValueError(f"--mecab_user_dictionary: {path} is damaged: {damage}; {advice}")


@cache
def _header_of(path: str) -> npt.NDArray[np.void]:
    return DictionaryFile.open(path).header.copy()


def _is_compatible(header: npt.NDArray[np.void], system: npt.NDArray[np.void]) -> bool:
    charset = bytes(header["charset"]).lower().replace(b"-", b"")
    same = all(header[name] == system[name] for name in ("version", "left", "right"))
    return same and header["type"] == _USER_TYPE and charset == b"utf8"


def _damage(found: DictionaryFile) -> str | None:
    """What is wrong with a dictionary whose parts have the right sizes; None if nothing is."""
    header, tokens, features = found.header, found.tokens, found.features
    ends = np.flatnonzero(features == 0)
    if not len(ends) or ends[-1] != len(features) - 1:
        return "its features do not end"
    if np.diff(ends, prepend=-1).max() > _MAX_FEATURE_BYTES:
        return "a feature is too long"
    try:
        features.tobytes().decode()
    except UnicodeDecodeError:
        return "its features are not UTF-8"
    # MeCab names the sizes of its matrix by the other side of a connection.
    if (
        (tokens["left"] >= header["right"]).any()
        or (tokens["right"] >= header["left"]).any()
        or (tokens["pos"] > _MAX_POS).any()
        or not np.isin(tokens["feature"], np.append(0, ends[:-1] + 1)).all()
    ):
        return "a token leads outside"
    return _array_damage(found.units["base"], found.units["check"].astype(np.int64), len(tokens))


def _array_damage(
    bases: npt.NDArray[np.int32], checks: npt.NDArray[np.int64], num_tokens: int
) -> str | None:
    """Walks through a double array level by level, a byte of the entries each.

    Args:
        bases: int32 [units]; of a leaf, -1 - (256 * its first token + the number of its tokens).
        checks: int64 [units]; the base of the node whose child or leaf a unit is.
        num_tokens: that leaves may name.
    """
    if len(bases) <= _BYTES:
        return "it has no entries"
    order = np.argsort(checks, kind="stable")
    sorted_checks = checks[order]
    # Nodes: 4 * base + the bytes that the character there still lacks.
    level = bases[:1].astype(np.int64) * 4
    for _ in range(_MAX_ENTRY_BYTES):
        if not len(level):
            return None
        nodes, lacking = level >> 2, level & 3
        if nodes.min() < 0 or nodes.max() + _BYTES >= len(bases):
            return "an entry leads outside"
        values = -1 - bases[nodes].astype(np.int64)
        is_leaf = (checks[nodes] == nodes) & (values >= 0)
        if (lacking[is_leaf] > 0).any():
            return "an entry ends inside a character"
        if ((values >> 8) + (values & 255) > num_tokens)[is_leaf].any():
            return "an entry has no token"
        firsts, ends = (np.searchsorted(sorted_checks, nodes, side) for side in ("left", "right"))
        units = order[_ranges(firsts, ends)]
        bytes_ = units - checks[units] - 1
        lacking = _lacking_after(np.repeat(lacking, ends - firsts), bytes_)
        # Others are in no text.
        level = np.unique((bases[units].astype(np.int64) * 4 + lacking)[lacking >= 0])
    return "an entry is too long"


def _lacking_after(
    lacking: npt.NDArray[np.int64], bytes_: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """How many bytes of UTF-8 a character lacks after one more; -1 if it can't be there."""
    found: npt.NDArray[np.int64] = np.where(
        (bytes_ >= 0x80) & (bytes_ < 0xC0) & (lacking > 0), lacking - 1, -1
    )
    for number, (low, high) in enumerate(_FIRST_BYTES):
        found[(lacking == 0) & (bytes_ >= low) & (bytes_ < high)] = number
    return found


def _ranges(firsts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """All numbers of many ranges, one after another."""
    lengths = ends - firsts
    shifts = np.repeat(firsts - np.cumsum(lengths) + lengths, lengths)
    found: npt.NDArray[np.int64] = np.arange(len(shifts)) + shifts
    return found


def dictionaries_in(folder: str, names: Iterable[str]) -> list[str]:
    """The paths of the user dictionaries that a folder names; they may not lie outside it.

    Raises:
        ValueError: one is a link to a file elsewhere.
    """
    paths = [os.path.join(folder, name) for name in names]
    for path in paths:
        if os.path.islink(path) and not _is_inside(os.path.realpath(path), folder):
            raise ValueError(
                f"{path} is a link to a file outside its folder, which is not read; copy the "
                "dictionary into the folder."
            )
    return paths


def _is_inside(path: str, folder: str) -> bool:
    root = os.path.realpath(folder)
    # The cache of the Hugging Face Hub: snapshots/REVISION has links into blobs.
    parent, name = os.path.split(os.path.dirname(root))
    roots = [root, os.path.join(parent, "blobs")] if name == "snapshots" else [root]
    return any(path.startswith(os.path.join(each, "")) for each in roots)
