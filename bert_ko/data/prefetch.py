"""Items made ahead, in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
_END = object()


class Prefetcher(Generic[Item]):
    """Runs an iterator in a thread, a few items ahead; use as a context manager.

    The thread ends, and a generator is closed, when the items or the block end.
    """

    def __init__(self, items: Iterator[Item], ahead: int = 8):
        """Args: items; ahead: how many may wait."""
        self._items = items
        self._queue: queue.Queue[Any] = queue.Queue(ahead)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> Prefetcher[Item]:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_closed.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        assert self._thread.ident is not None, "a Prefetcher is a context manager"
        while not self._is_closed.is_set():
            item = self._queue.get()
            if item is _END or isinstance(item, BaseException):
                self._is_closed.set()  # nothing more will come
            if isinstance(item, BaseException):
                raise item
            if item is not _END:
                yield item

    def _fill(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    break
            if isinstance(self._items, Generator):
                self._items.close()  # its files are closed now, not when it is collected
            self._put(_END)
        except BaseException as error:  # raised again in the thread that reads the items
            self._put(error)

    def _put(self, item: Any) -> bool:
        while not self._is_closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                pass
        return False
