"""Paths and streams: globs, compressed and remote files, atomic writes.

A path is local, or remote with a scheme ("gs://bucket/corpus.txt"). fsspec, for remote files, and
filelock are imported only when they are needed.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from bert_ko import remote
from bert_ko.compression import COMPRESSIONS, decompressed
from bert_ko.remote import is_remote as is_remote
from bert_ko.temporary import temporary_file

_GLOB_CHARACTERS = re.compile(r"[*?\[]")
_MAX_NAMES = 3  # in a message
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_NO_FILES = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class Range(NamedTuple):
    """Bytes of a local or remote file, from `start` up to `end`."""

    path: str
    start: int
    end: int


def expand_inputs(patterns: Sequence[str], suffixes: tuple[str, ...] | None = None) -> list[str]:
    """Returns the files that match the patterns.

    Args:
        patterns: Each a file, a glob ("**" too), a folder, or any of these on a remote file system.
            A folder, also one that matches a glob, means all regular files below it, except those
            whose path below it has a name that begins with a dot.
        suffixes: In folders, only files whose name, without the extension of a compression, ends
            with one of these are found; "" stands for names without an extension.

    Returns:
        The files in the order of the patterns, sorted within one pattern, each file once.

    Raises:
        FileNotFoundError: A pattern matches nothing.
        ValueError: The package for a remote file system is missing.
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        paths = _expand(pattern, suffixes)
        if not paths:
            raise FileNotFoundError(f"no file matches {pattern!r}{_not_wanted(pattern, suffixes)}.")
        for path in paths:
            found.setdefault(path if is_remote(path) else os.path.abspath(path), path)
    return list(found.values())


def _not_wanted(pattern: str, suffixes: tuple[str, ...] | None) -> str:
    """Returns which names were looked for, and which are in a folder instead."""
    if suffixes is None:
        return ""
    wanted = f"looked for names ending in {', '.join(filter(None, suffixes))}"
    if is_remote(pattern) or not os.path.isdir(pattern):
        return f" ({wanted})" if is_remote(pattern) else ""
    others = [os.path.relpath(path, pattern) for path in _files_below(pattern, None)]
    more = ", …" if len(others) > _MAX_NAMES else ""
    return f" ({wanted}; found {', '.join(others[:_MAX_NAMES]) or 'nothing'}{more})"


def size(path: str) -> int:
    """Returns the size of a local or remote file in bytes, as stored (compressed)."""
    if not is_remote(path):
        return os.stat(path).st_size
    return remote.size(path)


def fingerprint(path: str) -> dict[str, Any]:
    """Returns what changes with a file: its "path", "size" in bytes and "mtime_ns".

    "mtime_ns" is the time of the last change in nanoseconds since the epoch, None for remote files.
    """
    if is_remote(path):
        return {"path": path, "size": size(path), "mtime_ns": None}
    status = os.stat(path)
    return {"path": path, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def sizes(paths: Sequence[str]) -> list[int]:
    """Returns the sizes of files in bytes; those of many remote ones are asked for together."""
    found = remote.sizes([path for path in paths if is_remote(path)])
    return [found[path] if is_remote(path) else size(path) for path in paths]


def exists(path: str) -> bool:
    """Returns whether there is a file or folder at a local or remote path."""
    return remote.exists(path) if is_remote(path) else os.path.exists(path)


def join(folder: str, name: str) -> str:
    """Returns the path of a file in a local or remote folder."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


def list_folder(folder: str) -> dict[str, int]:
    """Returns the names of the files in a local or remote folder, sorted, and their sizes in bytes.

    Folders in it are left out. A folder that does not exist has no files.
    """
    if is_remote(folder):
        return remote.list_folder(folder)
    try:
        with os.scandir(folder or ".") as entries:
            found = [(entry.name, entry.stat().st_size) for entry in entries if entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return dict(sorted(found))


def remove(paths: Iterable[str]) -> None:
    """Removes local or remote files; one that is missing is no error."""
    found = list(paths)
    for path in found:
        if not is_remote(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    remote.remove([path for path in found if is_remote(path)])


def read_ranges(ranges: Sequence[Range]) -> list[bytes]:
    """Reads parts of files, of remote ones many at a time.

    Args:
        ranges: Within files that exist; all local or all on one remote file system.

    Returns:
        The bytes of each, fewer where the file ends before.
    """
    if ranges and is_remote(ranges[0].path):
        return remote.read_ranges(ranges)
    return [_read_range(*one) for one in ranges]


def _read_range(path: str, start: int, end: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        data = file.read(end - start)
        # The system may give less than there is; at most 2 GiB at once.
        while data and len(data) < end - start and (more := file.read(end - start - len(data))):
            data += more
    return data


def require_writable_folder(path: str) -> None:
    """Creates the folder if it is missing and checks that files can be written there.

    A remote one is made where there are folders, and not checked: object stores have none.

    Raises:
        ValueError: The path is a file, or the folder can't be created or written.
    """
    if is_remote(path):
        remote.make_folder(path)
        return
    try:
        os.makedirs(path, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"{path} must be a folder, but it or a part of it is a file.") from None
    except OSError as error:
        raise ValueError(f"the folder {path} can't be created: {error.strerror}.") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"the folder {path} can't be written; check its permissions.")


def _expand(pattern: str, suffixes: tuple[str, ...] | None) -> list[str]:
    if is_remote(pattern):
        return remote.expand(pattern, lambda name: _is_wanted(name, suffixes))
    if os.path.exists(pattern):  # a pipe of the shell, "<(...)", too
        return _files_below(pattern, suffixes) if os.path.isdir(pattern) else [pattern]
    paths: list[str] = []
    for match in sorted(glob.glob(pattern, recursive=True)):
        if os.path.isdir(match):
            paths += _files_below(match, suffixes)
        elif os.path.isfile(match):  # a pipe that a glob meets would be waited for
            paths.append(match)
    return paths


def _files_below(folder: str, suffixes: tuple[str, ...] | None) -> list[str]:
    paths = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [os.path.join(root, name) for name in names if _is_wanted(name, suffixes)]
    return sorted(filter(os.path.isfile, paths))


def _is_wanted(name: str, suffixes: tuple[str, ...] | None) -> bool:
    if name.startswith("."):
        return False
    if suffixes is None:
        return True
    stem, extension = os.path.splitext(name)
    stem = stem if extension in COMPRESSIONS else name
    return any(stem.endswith(suffix) if suffix else "." not in stem for suffix in suffixes)


def open_binary(path: str) -> BinaryIO:
    """Opens a local or remote file for reading.

    Args:
        path: .gz, .bz2, .xz and .zst are decompressed, with all their members or frames.

    Returns:
        A buffered stream; it can seek only in a local file that is not compressed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A package is missing; also from the stream's reads: the compressed data are
            damaged.
    """
    raw = open_stored(path)
    if is_remote(path):
        # Buffered even if it is not compressed: fsspec's own readline is slow.
        return decompressed(path, raw)
    return decompressed(path, raw) if os.path.splitext(path)[1] in COMPRESSIONS else raw


def open_stored(path: str) -> BinaryIO:
    """Opens a local or remote file as it is stored, to be read at any place.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A package is missing.
    """
    if not is_remote(path):
        return open(path, "rb")
    return remote.open_stored(path)


def read_limited(path: str, limit: int = 64 << 20) -> bytes:
    """Reads a small file: a configuration, a manifest, a state.

    Args:
        path: See `open_binary`; a pipe or a device, which may never end, is refused.
        limit: The most bytes that it may have, decompressed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no file, or it is larger.
    """
    refuse_no_file(path)
    with open_binary(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} has more than {limit:,} bytes; it is not such a file.")
    return content


def refuse_no_file(path: str, or_open_pipe: bool = False) -> None:
    """Refuses a folder, pipe or device.

    Args:
        path: Local or remote, which is not checked.
        or_open_pipe: Accept a pipe that is open already, as the shell's `<(...)` is.

    Raises:
        FileNotFoundError: There is nothing at this local path.
        ValueError: It is something else than a file; the message says what.
    """
    if is_remote(path):
        return
    kind = stat.S_IFMT(os.stat(path).st_mode)
    is_open = path == "/dev/stdin" or os.path.dirname(path) == "/dev/fd"
    if kind == stat.S_IFIFO and is_open and or_open_pipe:
        return
    if kind != stat.S_IFREG:
        raise ValueError(f"{path} is {_NO_FILES.get(kind, 'a device')}, not a file to read.")


def write_atomic(path: str, data: bytes | str) -> None:
    """Writes a whole file: it has all of `data` afterwards, or is unchanged after an error.

    Args:
        path: Local or remote; its folder must exist.
        data: Text is written as UTF-8; lone surrogates, as in names of files that are not UTF-8,
            are escaped.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "backslashreplace")
    with atomic_writer(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def durable_writer(path: str) -> Iterator[BinaryIO]:
    """Opens a local file that is synced to the disk when the block ends; write errors name it."""
    try:
        with open(path, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # Only these come from writing, whatever else the block does.
        if error.filename is None and error.errno in _WRITE_ERRORS:
            error.filename = path
        raise


@contextlib.contextmanager
def atomic_writer(path: str) -> Iterator[BinaryIO]:
    """Opens a file that appears under its name only when the block ends without an error.

    A local file is written under a hidden name in the same folder, synced to the disk and renamed;
    after an error nothing is left behind, and what a killed writer of it left is removed. A remote
    file is published when the block ends; see `remote.writer`. A device or pipe, such as
    /dev/stdout, is written directly.

    Args:
        path: Local or remote; a local folder must exist.

    Yields:
        The stream to write to.

    Raises:
        FileNotFoundError: The folder does not exist.
        OSError: With the file's name: no permission, disk full.
    """
    local = remote.local_path(path) if is_remote(path) else path
    with remote.writer(path) if local is None else _local_writer(local) as stream:
        yield stream


@contextlib.contextmanager
def _local_writer(path: str) -> Iterator[BinaryIO]:
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file to write", path)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as stream:
            yield stream
        return
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", path)
    with temporary_file(os.path.join(folder, name)) as temporary:
        try:
            with durable_writer(temporary) as stream:
                yield stream
            os.replace(temporary, path)
        except OSError as error:
            if error.filename == temporary:
                error.filename = path
            raise
    with contextlib.suppress(OSError):  # some network file systems can't sync a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # so that the rename survives a power cut
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def lock(path: str) -> Iterator[None]:
    """Locks a file, so that no second run writes to its folder.

    The lock is released when the process ends, however it does; the file stays. Remote files have
    no locks: there, nothing is done.

    Raises:
        ValueError: Another process holds the lock, or has just removed the file.
    """
    if is_remote(path):
        yield
        return
    from filelock import FileLock, Timeout

    try:
        held = FileLock(path).acquire(blocking=False)
    except Timeout:
        folder = os.path.dirname(path)
        message = f"another run is writing here ({folder}); wait for it or stop it."
        raise ValueError(message) from None
    with held:
        yield
