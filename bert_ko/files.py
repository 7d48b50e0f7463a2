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
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from bert_ko.compression import COMPRESSIONS, decompressed
from bert_ko.temporary import temporary_file

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GLOB_CHARACTERS = re.compile(r"[*?\[]")
_MAX_NAMES = 3  # in a message
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_NO_FILES = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
# By scheme: the package that fsspec needs for it.
_PACKAGES = {
    **dict.fromkeys(("abfs", "az"), "adlfs"),
    **dict.fromkeys(("gcs", "gs"), "gcsfs"),
    "hf": "huggingface_hub",
    **dict.fromkeys(("http", "https"), "aiohttp"),
    "s3": "s3fs",
}


def is_remote(path: str) -> bool:
    """Returns whether the path has a scheme, as in "gs://bucket/file"."""
    return _SCHEME.match(path) is not None


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
        expand = _expand_remote if is_remote(pattern) else _expand_local
        paths = expand(pattern, suffixes)
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
    file_system, bare_path = _remote(path)
    remote_size = file_system.size(bare_path)
    if remote_size is None:
        raise ValueError(f"{path}: the server does not report the size of this file.")
    return int(remote_size)


def fingerprint(path: str) -> dict[str, Any]:
    """Returns what changes with a file: its "path", "size" in bytes and "mtime_ns".

    "mtime_ns" is the time of the last change in nanoseconds since the epoch, None for remote files.
    """
    if is_remote(path):
        return {"path": path, "size": size(path), "mtime_ns": None}
    status = os.stat(path)
    return {"path": path, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def require_writable_folder(path: str) -> None:
    """Creates the folder if it is missing and checks that files can be written there.

    Remote paths are not checked, as object stores have no folders.

    Raises:
        ValueError: The path is a file, or the folder can't be created or written.
    """
    if is_remote(path):
        return
    try:
        os.makedirs(path, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"{path} must be a folder, but it or a part of it is a file.") from None
    except OSError as error:
        raise ValueError(f"the folder {path} can't be created: {error.strerror}.") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"the folder {path} can't be written; check its permissions.")


def _expand_local(pattern: str, suffixes: tuple[str, ...] | None) -> list[str]:
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


def _expand_remote(pattern: str, suffixes: tuple[str, ...] | None) -> list[str]:
    file_system, path = _remote(pattern)
    is_file = file_system.isfile(path)  # first: "?" is no glob in a URL, a page of links no folder
    if is_file or file_system.isdir(path):
        matches = [path]
    else:
        matches = sorted(file_system.glob(path)) if _GLOB_CHARACTERS.search(path) else []
    paths: list[str] = []
    for match in matches:
        is_folder = not is_file and file_system.isdir(match)
        paths += _remote_files_below(file_system, match, suffixes) if is_folder else [match]
    return [str(file_system.unstrip_protocol(path)) for path in paths]


def _remote_files_below(
    file_system: Any, folder: str, suffixes: tuple[str, ...] | None
) -> list[str]:
    paths = []
    for path in sorted(file_system.find(folder)):
        *folders, name = path[len(folder) :].strip("/").split("/")
        is_hidden = any(part.startswith(".") for part in folders)
        if not is_hidden and _is_wanted(name, suffixes):
            paths.append(path)
    return paths


def _remote(path: str, **options: Any) -> tuple[Any, str]:
    """Returns fsspec's file system, which has no types, for a path, and the path without scheme.

    Raises:
        ValueError: fsspec, or the package for this scheme, is not installed.
    """
    scheme = path.split("://", 1)[0]
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise ValueError(f"{path} needs the package fsspec: pip install fsspec") from None
    try:
        file_system, bare_path = url_to_fs(path, **options)
    except ImportError as error:
        advice = f"pip install {_PACKAGES[scheme]}" if scheme in _PACKAGES else str(error)
        raise ValueError(f"{path} needs a package for {scheme}://: {advice}") from None
    return file_system, str(bare_path)


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
    file_system, bare_path = _remote(path)
    try:
        stream: BinaryIO = file_system.open(bare_path, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist.") from None
    return stream


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
    file is published when the block ends. A device or pipe, such as /dev/stdout, is written
    directly.

    Args:
        path: Local or remote; a local folder must exist.

    Yields:
        The stream to write to.

    Raises:
        FileNotFoundError: The folder does not exist.
        OSError: With the file's name: no permission, disk full.
    """
    if is_remote(path):
        # A fresh instance, because a transaction holds for all files of one.
        file_system, bare_path = _remote(path, skip_instance_cache=True)
        if "file" not in file_system.protocol:
            with file_system.transaction, file_system.open(bare_path, "wb") as stream:
                yield stream
            return
        path = bare_path
    with _local_writer(path) as stream:
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

    The lock is released when the process ends, however it does; the file stays.

    Raises:
        ValueError: Another process holds the lock, or has just removed the file.
    """
    from filelock import FileLock, Timeout

    try:
        held = FileLock(path).acquire(blocking=False)
    except Timeout:
        folder = os.path.dirname(path)
        message = f"another run is writing here ({folder}); wait for it or stop it."
        raise ValueError(message) from None
    with held:
        yield
