"""A run whose --output_dir is remote: it works in a folder of this machine, which is uploaded.

Object stores can't rename a file, append to it or lock it, so a run writes as it always does, into
a temporary folder, and a thread uploads whole files. What it uploads are hard links, made at one
moment, so that nothing is removed or replaced meanwhile. The state of a checkpoint, without which
it is none, comes last and goes first: a checkpoint appears whole or not at all. What can't be
uploaded is tried again, and the training goes on; only the end of a run waits for it.

There are no locks, so a run leaves its name at the remote folder. Of two runs the later one has it,
as the earlier one may have died with its machine; if it lives, it finds the other's name before its
next upload, and stops.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from bert_ko import files, remote
from bert_ko.copies import download, named, standing_for, upload
from bert_ko.json_files import read_json, write_json
from bert_ko.messages import warn
from bert_ko.temporary import temporary_folder
from bert_ko.training.checkpoints import (
    CHECKPOINT_FILES,
    KINDS,
    STATE_NAME,
    split_checkpoint,
    whole_checkpoints,
)
from bert_ko.training.settings import TrainFlags

OWNER_NAME = ".run.json"  # at the remote folder while a run lasts
_LOOK = 1.0  # seconds between two looks for a new checkpoint
_INTERVAL = 30.0  # seconds between two uploads of what else is new
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between attempts; the last one stays
_OF_SERVICES = frozenset(("tensorboard", "wandb"))  # folders that no run reads again

Stamp = tuple[int, int]  # when a file was changed in ns, and its size


class _Replaced(Exception):
    """Another run has begun to write to the folder."""


class Publisher:
    """Uploads the folder of a run, by a thread from ``start`` to ``finish``."""

    def __init__(self, url: str, folder: str, keep: int, trains: bool):
        """Prepares it.

        Args:
            url: of the remote folder.
            folder: the local one.
            keep: --keep_checkpoint_max.
            trains: whether a run is resumed, or only predicted with.
        """
        self._url, self._folder, self._keep, self._trains = url, folder, keep, trains
        self._links = f"{folder}.links"
        self._there: dict[str, Stamp | None] = {}  # None: not here, and to be left there
        self._token, self._shown = secrets.token_hex(8), ""
        self._ending, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._upload_until_end, daemon=True)

    def claim(self) -> None:
        """Leaves the name of this run at the remote folder, which must be writable."""
        owner = self._owner()
        if owner:
            warn(
                f"{self._url}: {_describe(owner)} has not ended well, or still runs; it stops at "
                "its next upload."
            )
        about = {"token": self._token, "host": socket.gethostname(), "process": os.getpid(),
                 "began": time.strftime("%Y-%m-%d %H:%M:%S")}  # fmt: skip
        write_json(files.join(self._url, OWNER_NAME), about)

    def fetch(self) -> None:
        """Downloads what a run resumes from or predicts with: all but older checkpoints."""
        tree = remote.list_tree(self._url)
        for name in tree:
            self._there[name] = None
        for name in _needed(tree, self._trains):
            path = os.path.join(self._folder, name)
            download(files.join(self._url, name), path)
            self._there[name] = _stamp(path)

    def start(self) -> None:
        """Begins to upload."""
        self._thread.start()

    def flush(self) -> None:
        """Uploads now what is new.

        Raises:
            _Replaced: another run has begun to write there.
            Exception: of any kind, as the packages of file systems know many.
        """
        with self._lock:
            self._upload_new()

    def _upload_new(self) -> None:
        stamps = self._link()
        self._require_owner()
        for name in sorted(stamps, key=_order):
            if self._there.get(name) == stamps[name]:
                continue
            state = os.path.join(os.path.dirname(name), STATE_NAME)
            if _is_of_checkpoint(name) and name != state and state in self._there:
                self._remove([state])  # an older one of the same step
            upload(os.path.join(self._links, name), files.join(self._url, name))
            self._there[name] = stamps[name]
        gone = {name for name, stamp in self._there.items() if stamp and name not in stamps}
        gone |= set(self._surplus(stamps))
        self._remove([name for name in gone if os.path.basename(name) == STATE_NAME])
        self._remove(gone)

    def share(self) -> None:
        """Uploads what is new, for other hosts to fetch.

        Raises:
            ValueError: it can't be uploaded.
        """
        try:
            self.flush()
        except Exception as error:
            raise ValueError(f"{self._url}: not uploaded: {_text(error)}") from None

    def finish(self) -> None:
        """Uploads what is left, at several attempts; see ``flush``."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        for pause in (*_PAUSES, None):
            try:
                self.flush()
                files.remove([files.join(self._url, OWNER_NAME)])
                return
            except _Replaced:
                raise
            except Exception as error:
                if pause is None:
                    raise
                self._warn(error)
                time.sleep(pause)

    def _upload_until_end(self) -> None:
        known, due, failures = self._checkpoints(), time.monotonic() + _INTERVAL, 0
        while not self._ending.wait(_LOOK):
            found = self._checkpoints()
            if time.monotonic() < due and (found == known or failures):
                continue
            try:
                self.flush()
                known, failures, self._shown = found, 0, ""
                due = time.monotonic() + _INTERVAL
            except _Replaced:
                if callable(signal.getsignal(signal.SIGTERM)):  # the loop saves, and ends
                    os.kill(os.getpid(), signal.SIGTERM)
                return
            except Exception as error:
                self._warn(error)
                due = time.monotonic() + _PAUSES[min(failures, len(_PAUSES) - 1)]
                failures += 1

    def _warn(self, error: Exception) -> None:
        """Once for each problem."""
        text = _text(error)
        if text != self._shown:
            self._shown = text
            warn(f"{self._url}: not uploaded, to be tried again: {text}")

    def _checkpoints(self) -> set[str]:
        """All that are here now, with when each was written."""
        found = set()
        for depth in ("*", "*/*"):
            for path in glob.glob(f"{glob.escape(self._folder)}/{depth}/{STATE_NAME}"):
                with contextlib.suppress(FileNotFoundError):
                    found.add(f"{path} {os.stat(path).st_mtime_ns}")
        return found

    def _link(self) -> dict[str, Stamp]:
        """Links all files that are complete, and returns their stamps by name."""
        shutil.rmtree(self._links, ignore_errors=True)
        names = [os.path.relpath(os.path.join(root, name), self._folder)
                 for root, _, found in os.walk(self._folder) for name in found]  # fmt: skip
        stamps: dict[str, Stamp] = {}
        # The state last: while it is there, no other file of a checkpoint has been removed.
        for name in sorted(filter(_is_shared, names), key=_order):
            source, target = os.path.join(self._folder, name), os.path.join(self._links, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                _link_or_copy(source, target)
            except FileNotFoundError:  # removed a moment ago
                continue
            stamps[name] = _stamp(target)
        whole = {os.path.dirname(name) for name in stamps if name.endswith(STATE_NAME)}
        return {
            name: stamp
            for name, stamp in stamps.items()
            if not _is_of_checkpoint(name) or os.path.dirname(name) in whole
        }

    def _surplus(self, here: Iterable[str]) -> list[str]:
        """Files of checkpoints that are only there: unfinished ones, and those too many to keep."""
        there = [name for name in self._there if _is_of_checkpoint(name)]
        kept = {os.path.dirname(name) for name in here}
        whole = whole_checkpoints(there)
        for run in {os.path.dirname(folder) for folder in whole}:
            found = [folder for folder in whole if os.path.dirname(folder) == run]
            kept.update(found[-self._keep :] if self._keep else found)
        kept.update(whole_checkpoints(there, "best"))
        return [name for name in there if os.path.dirname(name) not in kept]

    def _remove(self, names: Iterable[str]) -> None:
        names = list(names)
        files.remove(files.join(self._url, name) for name in names)
        for name in names:
            self._there.pop(name, None)

    def _owner(self) -> dict[str, Any]:
        return read_json(files.join(self._url, OWNER_NAME)) or {}

    def _require_owner(self) -> None:
        owner = self._owner()
        if owner and owner.get("token") != self._token:
            raise _Replaced(
                f"{self._url}: {_describe(owner)} writes there now, and this run has stopped"
            )


@contextlib.contextmanager
def published(config: TrainFlags, *, writes: bool) -> Iterator[Publisher | None]:
    """A block in which a folder of this machine stands for a remote --output_dir.

    Args:
        config: flags of the run.
        writes: whether files are uploaded; one of several hosts does.

    Yields:
        What uploads them; None if --output_dir is local.

    Raises:
        ValueError: the folder can't be read or written, or another run writes there now.
        OSError: what was made can't be uploaded; it is kept, and the message says where.
    """
    url = config.output_dir.rstrip("/")
    if not files.is_remote(url):
        yield None
        return
    with temporary_folder(os.path.join(tempfile.gettempdir(), "bert_ko-run")) as place:
        folder = os.path.join(place, os.path.basename(url))
        os.mkdir(folder)
        publisher = Publisher(url, folder, config.keep_checkpoint_max, config.do_train)
        try:
            if writes:
                publisher.claim()
            publisher.fetch()
        except Exception as error:
            raise ValueError(f"--output_dir={url} can't be used: {_text(error)}") from None
        with standing_for(url, folder):
            if writes:
                publisher.start()
            try:
                yield publisher
            except BaseException as error:
                _name(error)
                if writes:
                    _finish(publisher, place, error)
                raise
            if writes:
                _finish(publisher, place, None)


def _name(error: BaseException) -> None:
    """Puts the remote folder, which the user knows, in the place of the local one."""
    error.args = tuple(named(value) if isinstance(value, str) else value for value in error.args)
    if isinstance(error, OSError) and isinstance(error.filename, str):
        error.filename = named(error.filename)


def _finish(publisher: Publisher, place: str, cause: BaseException | None) -> None:
    """Ends the uploads; what can't be uploaded is kept, and after another error only told."""
    try:
        publisher.finish()
    except BaseException as error:
        kept = os.path.join(tempfile.gettempdir(), f"bert_ko-kept-{secrets.token_hex(4)}")
        os.rename(place, kept)
        local = os.path.join(kept, os.path.basename(publisher._folder))
        if isinstance(error, _Replaced):
            raise ValueError(f"{error}; what it made is in {local}.") from None
        text = (
            f"{publisher._url}: not everything could be uploaded ({_text(error)}); the run is in "
            f"{local}. Copy it to {publisher._url} before it is resumed."
        )
        if cause is None and isinstance(error, Exception):
            raise OSError(text) from None
        warn(text)
        if cause is None:
            raise


def _needed(tree: Iterable[str], trains: bool) -> list[str]:
    """Of the names at a remote folder, those that a run resumes from or predicts with."""
    names = list(filter(_is_shared, tree))
    last: set[str] = set()
    for kind in KINDS:
        whole = whole_checkpoints(names, kind)
        last.update({os.path.dirname(folder): folder for folder in whole}.values())
    return [
        name
        for name in names
        if not _OF_SERVICES.intersection(name.split("/"))
        and (not _is_of_checkpoint(name) or os.path.dirname(name) in last)
        and (trains or not name.endswith("optimizer.safetensors"))
    ]


def _is_shared(name: str) -> bool:
    """Whether a file of a run is for other machines, too."""
    parts = name.split("/")
    return not any(part.startswith(".") for part in parts) and not (
        parts[-1].endswith(".lock") or parts[-1].startswith("features-")
    )


def _is_of_checkpoint(name: str) -> bool:
    folder, file = os.path.split(name)
    return file in CHECKPOINT_FILES and split_checkpoint(os.path.basename(folder)) is not None


def _order(name: str) -> tuple[bool, bool, str]:
    """Checkpoints come after what else belongs to them, and the state of each last."""
    is_of_checkpoint = _is_of_checkpoint(name)
    return is_of_checkpoint, is_of_checkpoint and name.endswith(STATE_NAME), name


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def _stamp(path: str) -> Stamp:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


def _describe(owner: dict[str, Any]) -> str:
    return (
        f"a run on {owner.get('host')} (process {owner.get('process')}, begun {owner.get('began')})"
    )


def _text(error: BaseException) -> str:
    """An error of any package, in a line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:299]}…"
