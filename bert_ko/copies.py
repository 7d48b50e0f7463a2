"""Copies on this machine of folders on remote file systems, for all that needs a local path.

A path below a remote folder that was copied stands for one below its copy, and the other way round:

    s3://bucket/run/vocab.txt    /tmp/.bert_ko-copy.1a2b3c4d.tmp/run/vocab.txt
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator

from bert_ko import files
from bert_ko.temporary import temporary_folder

VOCABULARY_FILES = (".dic", ".json", ".model", ".txt")  # how the names of all of one end
_PART = 16 << 20  # bytes that are copied at once
_copies: dict[str, str] = {}  # remote folder to its copy
_places = contextlib.ExitStack()
atexit.register(_places.close)


def local_path(path: str) -> str:
    """Where a path is on this machine; unchanged if it is local, or if there is no copy of it."""
    found = [folder for folder in _copies if _is_below(path, folder)]
    if not found:
        return path
    folder = max(found, key=len)
    return _copies[folder] + path[len(folder) :].rstrip("/")


def named(text: str) -> str:
    """Puts remote folders in the place of their copies, in a path or a message."""
    for folder, copy in sorted(_copies.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(copy, folder)
    return text


@contextlib.contextmanager
def standing_for(folder: str, copy: str) -> Iterator[None]:
    """A block in which a local folder stands for a remote one."""
    folder = folder.rstrip("/")
    before = _copies.get(folder)
    _copies[folder] = copy
    try:
        yield
    finally:
        if before is None:
            del _copies[folder]
        else:
            _copies[folder] = before


def fetch(folder: str, names: Iterable[str]) -> str:
    """Copies files of a remote folder that are not here yet.

    Args:
        folder: with its scheme.
        names: below it, each with its folders: "checkpoint-00000100/state.json".

    Returns:
        The copy, which is removed when this process ends.
    """
    folder = folder.rstrip("/")
    if folder not in _copies:
        # What a killed process has left is removed with it.
        place = _places.enter_context(
            temporary_folder(os.path.join(tempfile.gettempdir(), "bert_ko-copy"))
        )
        # Names of runs and of vocabularies are those of their folders.
        _copies[folder] = os.path.join(place, os.path.basename(folder) or "folder")
    copy = _copies[folder]
    os.makedirs(copy, exist_ok=True)
    for name in names:
        if not os.path.exists(os.path.join(copy, name)):
            download(files.join(folder, name), os.path.join(copy, name))
    return copy


def fetch_beside(path: str, is_wanted: Callable[[str], bool]) -> str:
    """Copies a remote folder, or a file with those beside it; a local path stays as it is.

    Args:
        path: of the folder or the file.
        is_wanted: says it of a name; names in folders below are not asked for.

    Returns:
        The path of the copy, of which there may be nothing.
    """
    if not files.is_remote(path):
        return path
    path = path.rstrip("/")
    if not files.is_remote(here := local_path(path)) and os.path.exists(here):
        return here
    parent, _, name = path.rpartition("/")
    names = files.list_folder(parent)
    if name not in names:
        return fetch(path, filter(is_wanted, files.list_folder(path)))
    return os.path.join(fetch(parent, filter(is_wanted, names)), name)


def local_vocabulary(path: str) -> str:
    """The path of a vocabulary on this machine: of a remote one, of its copy."""
    return fetch_beside(path, lambda name: name.endswith(VOCABULARY_FILES))


def forget(folder: str) -> None:
    """Files of a remote folder have changed, and are to be copied again when they are read."""
    _copies.pop(folder.rstrip("/"), None)


def download(source: str, target: str) -> None:
    """Copies a remote file; the folders of the local one are made."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with files.open_stored(source) as stream, files.atomic_writer(target) as file:
        shutil.copyfileobj(stream, file, _PART)


def upload(source: str, target: str) -> None:
    """Copies a local file to a remote path, where it appears whole."""
    with open(source, "rb") as file, files.atomic_writer(target) as stream:
        shutil.copyfileobj(file, stream, _PART)


def _is_below(path: str, folder: str) -> bool:
    return path.rstrip("/") == folder or path.startswith(f"{folder}/")
