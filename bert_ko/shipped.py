"""The vocabularies that come with bert_ko, found by their names from any folder."""

from __future__ import annotations

import os
from pathlib import Path

from bert_ko.messages import warn

# In a checkout a link to the folder beside the package; in an installed package its files.
_ROOT = Path(__file__).parent / "vocab"


def shipped_names() -> list[str]:
    """Names of the vocabularies."""
    return sorted(path.name for path in _ROOT.iterdir() if path.is_dir()) if _ROOT.is_dir() else []


def find_shipped(path: str) -> str:
    """The path of a vocabulary or a file of one: NAME or NAME/FILE is one that bert_ko has.

    A file or folder at the path itself is preferred; if bert_ko has one of that name as well, a
    warning says which is used.

    >>> find_shipped("ko-mecab-32k/vocab.txt").endswith("bert_ko/vocab/ko-mecab-32k/vocab.txt")
    True
    """
    shipped = _ROOT / path
    if path.split("/")[0] not in shipped_names() or not shipped.exists():
        return path
    if not os.path.exists(path):
        return str(shipped)
    # Not a bare name, so that whoever opens it later doesn't ask again.
    here = os.path.join(os.curdir, path)
    if not os.path.samefile(here, shipped):
        warn(f"{here} is used, not the {path} that comes with bert_ko")
    return here
