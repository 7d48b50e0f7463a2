"""Files and folders under temporary names, and those that killed writers left.

`out.json` is written as `.out.json.5f3a09c1.tmp` beside it. Its writer holds a lock on that as long
as it lives; what no one holds was left by a writer that was killed, and the next one removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator

from bert_ko import remote

_MAX_NAME = 240  # bytes
_NAME = re.compile(r"\.(?P<target>.+)\.(?:[0-9a-f]{8}|\d+)\.tmp", re.DOTALL)


@contextlib.contextmanager
def temporary_file(path: str) -> Iterator[str]:
    """Makes an empty file beside `path`, after those of killed writers of `path` are removed.

    Yields:
        Its name, to be renamed; what still has that name at the end is removed.
    """
    folder, name = os.path.split(path)
    with _held(folder, name, lambda new: open(new, "xb").close()) as temporary:
        yield temporary


@contextlib.contextmanager
def temporary_folder(path: str, place: str | None = None) -> Iterator[str]:
    """Makes an empty folder beside `path`, or in the folder `place`; see `temporary_file`."""
    beside, name = os.path.split(path)
    with _held(beside if place is None else place, name, os.mkdir) as temporary:
        yield temporary


def remove_leftovers(folder: str, name: str | None = None) -> None:
    """Removes what killed writers left in a folder; what a living one writes stays.

    Args:
        folder: It may be missing. On an object store there is nothing to remove: an upload that was
            not completed is no file.
        name: Of the file or folder that was to be written; None stands for all.
    """
    wanted = None if name is None else _shortened(name)
    if remote.is_remote(folder):
        remote.remove(
            f"{folder}/{entry}" for entry in _leftovers(remote.temporaries(folder), wanted)
        )
        return
    try:
        found = os.listdir(folder or ".")
    except OSError:  # it can be written, perhaps, but not read
        return
    for entry in _leftovers(found, wanted):
        _remove_unless_held(os.path.join(folder, entry))


def _leftovers(names: Iterable[str], wanted: str | None) -> Iterator[str]:
    for name in names:
        match = _NAME.fullmatch(name)
        if match and wanted in (None, match["target"]):
            yield name


def _shortened(name: str) -> str:
    """Leaves room for more in a name, which may have 255 bytes."""
    return os.fsdecode(os.fsencode(name)[:_MAX_NAME])


@contextlib.contextmanager
def _held(folder: str, name: str, make: Callable[[str], object]) -> Iterator[str]:
    remove_leftovers(folder, name)
    with contextlib.ExitStack() as stack:
        while True:
            unique = f".{_shortened(name)}.{secrets.token_hex(4)}.tmp"
            temporary = os.path.join(folder, unique)
            stack.callback(_remove, temporary)
            try:
                make(temporary)
            except OSError as error:
                error.filename = os.path.join(folder, name)
                raise
            if stack.enter_context(_lock(temporary)) is not False:
                break
        yield temporary


def _remove_unless_held(path: str) -> None:
    with contextlib.suppress(OSError), _lock(path) as is_ours:
        if is_ours:
            _remove(path)


@contextlib.contextmanager
def _lock(path: str) -> Iterator[bool | None]:
    """Yields whether this is now the only holder of a file or folder; None if no one can tell."""
    try:
        import fcntl
    except ImportError:  # Windows, where nothing that is open can be renamed
        yield None
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        yield False if isinstance(error, FileNotFoundError) else None
        return
    try:
        yield _try_lock(fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB, descriptor, path)
    finally:
        os.close(descriptor)


def _try_lock(
    flock: Callable[[int, int], None], how: int, descriptor: int, path: str
) -> bool | None:
    try:
        flock(descriptor, how)
        # Between opening and locking, another process may have removed or renamed it.
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # some network file systems have no locks
        return None


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
