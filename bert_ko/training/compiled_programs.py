"""Where programs that XLA has compiled are kept: what resumes, or a next seed, compiles none again.

TensorFlow has no setting but an environment variable, which it reads when it first computes, and it
fails where its folder has a damaged file or can't be written: the folder is looked at beforehand.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bert_ko.workers import num_processors

_OPTION = "--tf_xla_persistent_cache_directory"
_DECIDING = ("XLA_FLAGS", "TF_XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS")
_MOST_BYTES = 2 << 30  # that TensorFlow's programs may have, of all processors
_LEAST_ROOM = 1 << 30  # on the disk
_YOUNG = 24 * 3600  # seconds in which another process may be at a file


def programs_folder(name: str) -> str:
    """The folder of that name among the user's caches."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "bert_ko", name)


def programs_of_processor(name: str) -> str:
    """The same for programs of a CPU: what was compiled on another may not run on this one."""
    deciding = [*_processor(), str(num_processors())]
    deciding += [os.environ.get(variable, "") for variable in _DECIDING]
    key = hashlib.sha256("\n".join(deciding).encode()).hexdigest()[:16]
    return programs_folder(f"{name}-{key}")


def keep_programs_of_tensorflow(version: str) -> None:
    """Before TensorFlow computes anything, on a CPU: says where its programs are kept.

    A folder that TF_XLA_FLAGS names is the user's, and an empty name keeps none.

    Args:
        version: of TensorFlow.
    """
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if _OPTION in flags:
        return
    folder = Path(programs_of_processor(f"tensorflow-{version}"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _tidy(folder)
        has_room = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= _LEAST_ROOM
    except OSError:
        return
    if has_room:
        os.environ["TF_XLA_FLAGS"] = f"{flags} {_OPTION}={folder}".strip()


def _processor() -> list[str]:
    """What it can do, and how code is chosen for it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            # Of the first processor: the others follow after an empty line.
            lines = iter(file.readline, "\n")
            found = [line for line in lines if line.startswith(("flags", "model", "Features"))]
    except OSError:
        found = []
    return [platform.machine(), platform.processor(), *found]


def _tidy(folder: Path) -> None:
    """Removes files that are not whole, and of those beside them the oldest if there are many."""
    for path in folder.glob("*.pb"):
        if not _is_whole(path):
            path.unlink(missing_ok=True)
    ended = time.time() - _YOUNG
    files = sorted((stat.st_mtime, stat.st_size, path) for path, stat in _files(folder.parent))
    total = sum(size for _, size, _ in files)
    for written, size, path in files:
        if written < ended and (path.suffix == ".tmp" or total > _MOST_BYTES):
            path.unlink(missing_ok=True)
            total -= size


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.glob("tensorflow-*/*"):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.stat()


def _is_whole(path: Path) -> bool:
    """Whether a file has all of its fields: a length stands before each of them."""
    try:
        with open(path, "rb") as file:
            size, at = os.fstat(file.fileno()).st_size, 0
            while at < size:
                if _number(file) & 7 != 2:  # the kind of field that has a length
                    return False
                length = _number(file)
                at = file.seek(length, os.SEEK_CUR)
            return 0 < size == at
    except (OSError, ValueError):
        return False


def _number(file: BinaryIO) -> int:
    """Of seven bits a byte, the lowest first; the highest bit says that more follow."""
    found, shift, byte = 0, 0, 0x80
    while byte & 0x80:
        if shift > 63 or not (read := file.read(1)):
            raise ValueError("no number")
        byte = read[0]
        found |= (byte & 0x7F) << shift
        shift += 7
    return found
