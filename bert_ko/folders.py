"""Whole folders that appear at once: a killed writer leaves no half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from bert_ko import copies, files
from bert_ko.temporary import temporary_folder


@contextlib.contextmanager
def folder_writer(path: str, last: str) -> Iterator[str]:
    """Gives a folder all its new files when the block ends without an error, and none before.

    A local folder that is missing or empty appears by a rename. In one that holds files, and on
    remote file systems, those of the same names are replaced and all others stay; as that takes
    several steps, the file `last` is removed first and comes last.

    Args:
        path: Local or remote; the folders above it are made.
        last: The file without which nothing reads the folder ("config.json").

    Yields:
        A temporary folder to write into, files and folders; what is there is synced to the disk.

    Raises:
        ValueError: The path is a file.
    """
    if files.is_remote(path):
        with tempfile.TemporaryDirectory() as temporary:
            yield temporary
            _upload(temporary, path, last)
        return
    path = os.path.abspath(path)
    if os.path.lexists(path) and not os.path.isdir(path):
        raise ValueError(f"{path} must be a folder, but it is a file.")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with _temporary(path) as temporary:
        yield temporary
        _sync(temporary)
        if not _rename(temporary, path):
            _merge(temporary, path, last)
    _sync_entry(os.path.dirname(path))


def _upload(source: str, target: str, last: str) -> None:
    names = [
        os.path.relpath(os.path.join(root, name), source)
        for root, _, found in os.walk(source)
        for name in found
    ]
    files.remove([files.join(target, last)])
    for name in sorted(names, key=lambda name: (name == last, name)):
        copies.upload(os.path.join(source, name), files.join(target, name))
    copies.forget(target)


def _temporary(path: str) -> contextlib.AbstractContextManager[str]:
    # A folder that is mounted, or below one that can't be written, has no place beside it.
    parent = os.path.dirname(path)
    is_empty = not os.path.isdir(path) or not os.listdir(path)
    has_place = os.access(parent, os.W_OK | os.X_OK) and not os.path.ismount(path)
    return temporary_folder(path, None if is_empty and has_place else path)


def _rename(temporary: str, path: str) -> bool:
    """Renames the folder if nothing is in the way."""
    if os.path.dirname(temporary) == path:
        return False
    if os.path.isdir(path):  # the user's, with its permissions
        os.chmod(temporary, os.stat(path).st_mode & 0o7777)
    try:
        os.rename(temporary, path)
    except OSError:  # not empty any more
        return False
    return True


def _merge(source: str, target: str, last: str) -> None:
    os.makedirs(target, exist_ok=True)
    names = sorted(os.listdir(source), key=lambda name: (name == last, name))
    if last in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(target, last))
        _sync_entry(target)
    for name in names:
        new, old = os.path.join(source, name), os.path.join(target, name)
        if os.path.isdir(new) and os.path.isdir(old):
            _merge(new, old, last)
        else:
            os.replace(new, old)
    _sync_entry(target)


def _sync(folder: str) -> None:
    """Syncs all files and folders below a folder to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            _sync_entry(os.path.join(root, name))
        _sync_entry(root)


def _sync_entry(path: str) -> None:
    with contextlib.suppress(OSError):  # some network file systems can't sync a folder
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
