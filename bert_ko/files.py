"""Paths and streams: globs, compressed and remote files, atomic writes.

A path is local, or remote with a scheme ("gs://bucket/corpus.txt"); fsspec, which reads and writes
remote ones, and filelock are imported only when they are needed.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from bert_ko.compression import COMPRESSIONS, decompressed

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GLOB_CHARACTERS = re.compile(r"[*?\[]")
# The errors that the one who writes a file causes, whatever else a with block does.
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_PACKAGES = {
    "abfs": "adlfs",
    "az": "adlfs",
    "gcs": "gcsfs",
    "gs": "gcsfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
}


class _RemotePath(NamedTuple):
    file_system: Any  # fsspec.AbstractFileSystem, which has no types
    path: str  # without the scheme


def is_remote(path: str) -> bool:
    """Returns whether the path has a scheme, as in "gs://bucket/file"."""
    return _SCHEME.match(path) is not None


def expand_inputs(patterns: Sequence[str], suffixes: tuple[str, ...] | None = None) -> list[str]:
    """Returns the files that the patterns mean.

    Args:
        patterns: Each a file, a glob ("**" too), a folder, or any of these on a remote file system.
            A folder, also one that a glob finds, means all regular files below it; names that
            begin with a dot are left out.
        suffixes: For the files of folders: only those whose name, without the suffix of a
            compression, ends with one of these; "" stands for a name without any.

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
            wanted = (
                f" (looked for names ending in {', '.join(filter(None, suffixes))})"
                if suffixes
                else ""
            )
            raise FileNotFoundError(f"no file matches {pattern!r}{wanted}.")
        for path in paths:
            found.setdefault(path if is_remote(path) else os.path.abspath(path), path)
    return list(found.values())


def size(path: str) -> int:
    """Returns the size of a local or remote file in bytes, as stored (compressed)."""
    if not is_remote(path):
        return os.stat(path).st_size
    remote = _remote(path)
    remote_size = remote.file_system.size(remote.path)
    if remote_size is None:
        raise ValueError(f"{path}: the server does not tell the size of this file.")
    return int(remote_size)


def fingerprint(path: str) -> dict[str, Any]:
    """Returns what tells a file from a changed one.

    Returns:
        "path"; "size" in bytes; "mtime_ns", the time of its last change in nanoseconds since the
        epoch, None for a remote file.
    """
    if is_remote(path):
        return {"path": path, "size": size(path), "mtime_ns": None}
    status = os.stat(path)
    return {"path": path, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def require_writable_folder(path: str) -> None:
    """Creates the folder if it is missing and checks that files can be written there.

    Object stores have no folders, so nothing is done for a remote path.

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
    if os.path.isdir(pattern):
        return _files_below(pattern, suffixes)
    if os.path.exists(pattern):  # a pipe of the shell, "<(...)", too
        return [pattern]
    paths: list[str] = []
    for match in sorted(glob.glob(pattern, recursive=True)):
        paths += _files_below(match, suffixes) if os.path.isdir(match) else [match]
    return paths


def _files_below(folder: str, suffixes: tuple[str, ...] | None) -> list[str]:
    paths = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [os.path.join(root, name) for name in names if _is_wanted(name, suffixes)]
    return sorted(path for path in paths if os.path.isfile(path))


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
    # A file is asked for first: "?" is no glob in a web address, and a page of links no folder.
    if file_system.isfile(path):
        paths = [path]
    elif file_system.isdir(path):
        paths = _remote_files_below(file_system, path, suffixes)
    elif _GLOB_CHARACTERS.search(path):
        paths = []
        for match in sorted(file_system.glob(path)):
            is_folder = file_system.isdir(match)
            paths += _remote_files_below(file_system, match, suffixes) if is_folder else [match]
    else:
        paths = []
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


def _remote(path: str, **options: Any) -> _RemotePath:
    """Returns fsspec's file system for a path, and the path on it.

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
        package = _PACKAGES.get(scheme)
        advice = f"pip install {package}" if package else str(error)
        raise ValueError(f"{path} needs a package for {scheme}://: {advice}") from None
    return _RemotePath(file_system, str(bare_path))


def open_binary(path: str) -> BinaryIO:
    """Opens a local or remote file for reading, decompressed by its extension.

    Args:
        path: .gz, .bz2, .xz and .zst are decompressed, with all their members or frames.

    Returns:
        A buffered stream; only one of a plain local file can seek.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A package is missing; also from the stream's reads: the compressed data are
            damaged.
    """
    if is_remote(path):
        remote = _remote(path)
        try:
            # Buffered also when it is plain: fsspec's own readline is slow.
            return decompressed(path, remote.file_system.open(remote.path, "rb"))
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} does not exist.") from None
    raw = open(path, "rb")  # noqa: SIM115 - the caller closes it
    return decompressed(path, raw) if os.path.splitext(path)[1] in COMPRESSIONS else raw


def write_atomic(path: str, data: bytes | str) -> None:
    """Writes a whole file: afterwards it has all of `data`, or stands as it stood before.

    Args:
        path: Local or remote; its folder must exist.
        data: Text is written as UTF-8.
    """
    with atomic_writer(path) as stream:
        stream.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def durable_writer(path: str) -> Iterator[BinaryIO]:
    """Opens a local file that is on the disk when the block ends; its errors have its name."""
    try:
        with open(path, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = error.filename or path
        raise


@contextlib.contextmanager
def atomic_writer(path: str) -> Iterator[BinaryIO]:
    """Opens a file that appears under its name only when the block ends without an error.

    A local file is written under a hidden name in the same folder, synced to the disk and renamed;
    after an error nothing stays. A remote file is published when the block ends. A device or pipe,
    such as /dev/stdout, is written directly.

    Args:
        path: Local or remote; a local folder must exist.

    Yields:
        The stream to write to.

    Raises:
        FileNotFoundError: The folder does not exist.
        OSError: With the file's name: no permission, disk full.
    """
    if is_remote(path):
        remote = _remote(path, skip_instance_cache=True)
        if "file" not in remote.file_system.protocol:
            with _remote_writer(remote) as stream:
                yield stream
            return
        path = remote.path
    with _local_writer(path) as stream:
        yield stream


@contextlib.contextmanager
def lock(path: str) -> Iterator[None]:
    """Holds a file of this name, so that no second run writes beside it.

    The lock goes with the process, however it ends; the file stays.

    Raises:
        ValueError: another process holds it, or has just removed it.
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


@contextlib.contextmanager
def _remote_writer(remote: _RemotePath) -> Iterator[BinaryIO]:
    # The file system is a fresh instance: a transaction holds for all files of one instance.
    with remote.file_system.transaction, remote.file_system.open(remote.path, "wb") as stream:
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
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and _is_about(error, temporary):
            error.filename = path
        raise
    _sync_folder(folder)


def _is_about(error: OSError, temporary: str) -> bool:
    if error.filename is None:
        return error.errno in _WRITE_ERRORS
    return bool(error.filename == temporary)


def _sync_folder(folder: str) -> None:
    """Makes a rename in the folder last through a power cut."""
    with contextlib.suppress(OSError):  # some network file systems can't sync a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
