"""Files on remote file systems, through fsspec, which is imported when the first one is used.

A path has a scheme: "s3://bucket/corpus.txt". What others write there is seen at once: listings
are never taken from fsspec's cache.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GLOB_CHARACTERS = re.compile(r"[*?\[]")
# By scheme: the package that fsspec needs for it.
_PACKAGES = {
    **dict.fromkeys(("abfs", "az"), "adlfs"),
    **dict.fromkeys(("gcs", "gs"), "gcsfs"),
    **dict.fromkeys(("arrow_hdfs", "hdfs"), "pyarrow"),
    "hf": "huggingface_hub",
    **dict.fromkeys(("http", "https"), "aiohttp"),
    "s3": "s3fs",
}
# They rename, and show a file while it is written; object stores do neither.
_RENAMING = frozenset(("arrow_hdfs", "hdfs"))
# Instances that no writer uses now, by process and server; see `_writing_instance`.
_idle: defaultdict[tuple[int, str], list[Any]] = defaultdict(list)


def is_remote(path: str) -> bool:
    """Returns whether the path has a scheme, as in "gs://bucket/file"."""
    return _SCHEME.match(path) is not None


def local_path(path: str) -> str | None:
    """Returns the path on this machine that "file:///folder/name" means; None for other schemes."""
    file_system, bare_path = _find(path)
    return bare_path if "file" in file_system.protocol else None


def size(path: str) -> int:
    """Returns the size of a file in bytes.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The server does not say.
    """
    return sizes([path])[path]


def sizes(paths: Sequence[str]) -> dict[str, int]:
    """Returns the sizes of files in bytes, asking for many at a time; see `size`."""
    by_server: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_server[_server(path)].append(path)
    found: dict[str, int] = {}
    for same in by_server.values():
        file_system, _ = _find_fresh(same[0])
        for path, known in zip(same, file_system.sizes([_find(p)[1] for p in same]), strict=True):
            if known is None:
                raise ValueError(f"{path}: the server does not report the size of this file.")
            found[path] = int(known)
    return found


def exists(path: str) -> bool:
    """Returns whether there is a file or folder."""
    file_system, bare_path = _find_fresh(path)
    return bool(file_system.exists(bare_path))


def make_folder(path: str) -> None:
    """Makes a folder where the file system has folders, and does nothing on an object store."""
    file_system, bare_path = _find(path)
    if local_path(path) is not None or _renames(path):
        file_system.makedirs(bare_path, exist_ok=True)


def list_folder(folder: str) -> dict[str, int]:
    """Returns the names of the files in a folder, sorted, and their sizes in bytes."""
    file_system, bare_path = _find_fresh(folder)
    try:
        entries = file_system.ls(bare_path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    prefix = f"{bare_path.rstrip('/')}/"
    files = [entry for entry in entries if entry["type"] == "file"]
    # A file of the folder's own name is listed as itself; an object store has "folder/" for it.
    found = [(entry["name"].rpartition("/")[2], int(entry["size"] or 0)) for entry in files
             if entry["name"].startswith(prefix) and entry["name"] != prefix]  # fmt: skip
    return dict(sorted(found))


def list_tree(folder: str) -> dict[str, int]:
    """Returns the files at any depth below a folder, as paths from it, and their sizes in bytes."""
    file_system, bare_path = _find_fresh(folder)
    prefix = f"{bare_path.rstrip('/')}/"
    try:
        found = file_system.find(bare_path, detail=True)
    except FileNotFoundError:  # no bucket of the name
        return {}
    return {
        path.removeprefix(prefix): int(entry["size"] or 0)
        for path, entry in sorted(found.items())
        if path.startswith(prefix)
    }


def temporaries(folder: str) -> list[str]:
    """Returns the names in a folder among which those of `writer` may be; none on object stores."""
    return list(list_folder(folder)) if _renames(folder) else []


def remove(paths: Iterable[str]) -> None:
    """Removes files, many at a time; one that is missing is no error."""
    by_server: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_server[_server(path)].append(path)
    for same in by_server.values():
        file_system, _ = _find(same[0])
        bare_paths = [_find(path)[1] for path in same]
        try:
            file_system.rm(bare_paths)
        except FileNotFoundError:
            for path in bare_paths:
                with contextlib.suppress(FileNotFoundError):
                    file_system.rm_file(path)


def open_stored(path: str) -> BinaryIO:
    """Opens a file as it is stored, to be read at any place.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A package is missing.
    """
    file_system, bare_path = _find_fresh(path)
    try:
        stream: BinaryIO = file_system.open(bare_path, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist.") from None
    return stream


def read_ranges(ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Reads parts (path, start, end) of files of one server, many at a time."""
    file_system, _ = _find(ranges[0][0])
    wanted = [index for index, (_, start, end) in enumerate(ranges) if start < end]
    paths = [_find(ranges[index][0])[1] for index in wanted]
    starts, ends = ([ranges[index][place] for index in wanted] for place in (1, 2))
    found = file_system.cat_ranges(paths, starts, ends, on_error="raise") if wanted else []
    data = [b""] * len(ranges)
    for index, one in zip(wanted, found, strict=True):
        data[index] = bytes(one)
    return data


@contextlib.contextmanager
def writer(path: str) -> Iterator[BinaryIO]:
    """Opens a file that appears, whole, when the block ends without an error.

    On an object store nothing is renamed: the upload is completed at the end, or aborted. Of
    several writers of one file the last one wins. HDFS shows files while they are written: there,
    the file gets its name at the end.
    """
    if _renames(path):
        with _renaming_writer(path) as stream:
            yield stream
        return
    with (
        _writing_instance(path) as (file_system, bare_path),
        file_system.transaction,
        file_system.open(bare_path, "wb") as stream,
    ):
        yield stream


@contextlib.contextmanager
def _writing_instance(path: str) -> Iterator[tuple[Any, str]]:
    """Yields a file system that no other writer uses: a transaction holds for all files of one.

    Making one takes an object store's client a tenth of a second, so they are used again.
    """
    idle = _idle[os.getpid(), _server(path)]
    _, bare_path = _find(path)
    file_system = idle.pop() if idle else _find(path, skip_instance_cache=True)[0]
    yield file_system, bare_path
    idle.append(file_system)  # one that has met an error is not used again


@contextlib.contextmanager
def _renaming_writer(path: str) -> Iterator[BinaryIO]:
    file_system, bare_path = _find(path)
    folder, _, name = bare_path.rpartition("/")
    temporary = f"{folder}/.{name}.{secrets.token_hex(4)}.tmp"
    try:
        with file_system.open(temporary, "wb") as stream:
            yield stream
        file_system.mv(temporary, bare_path)
    except BaseException:
        with contextlib.suppress(Exception):
            file_system.rm_file(temporary)
        raise


def expand(pattern: str, is_wanted: Callable[[str], bool]) -> list[str]:
    """Returns the files that a path, a glob or a folder stands for, sorted.

    Args:
        pattern: With its scheme.
        is_wanted: Says of the name of a file in a folder whether it is meant.
    """
    file_system, path = _find_fresh(pattern)
    is_file = file_system.isfile(path)  # first: "?" is no glob in a URL, a page of links no folder
    if is_file or file_system.isdir(path):
        matches = [path]
    else:
        matches = sorted(file_system.glob(path)) if _GLOB_CHARACTERS.search(path) else []
    paths: list[str] = []
    for match in matches:
        is_folder = not is_file and file_system.isdir(match)
        paths += _files_below(file_system, match, is_wanted) if is_folder else [match]
    return [str(file_system.unstrip_protocol(path)) for path in paths]


def _files_below(file_system: Any, folder: str, is_wanted: Callable[[str], bool]) -> list[str]:
    paths = []
    for path in sorted(file_system.find(folder)):
        *folders, name = path[len(folder) :].strip("/").split("/")
        is_hidden = any(part.startswith(".") for part in folders)
        if not is_hidden and is_wanted(name):
            paths.append(path)
    return paths


def _renames(path: str) -> bool:
    return path.partition("://")[0] in _RENAMING


def _server(path: str) -> str:
    """Returns the scheme and what follows up to the first slash: files there are read together."""
    scheme, _, rest = path.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _find_fresh(path: str) -> tuple[Any, str]:
    """See `_find`; what fsspec remembers of listings is forgotten."""
    file_system, bare_path = _find(path)
    file_system.invalidate_cache()
    return file_system, bare_path


def _find(path: str, **options: Any) -> tuple[Any, str]:
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
