"""Ctrl-C, any number of times: the first one ends a command tidily, the second one for certain."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT  # exit status
_GRACE = 3.0  # seconds that a command has to end by itself after the second Ctrl-C


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raises KeyboardInterrupt for the first Ctrl-C alone, so that no other disturbs the clean-up.

    After the second one, the process ends within seconds whatever it does. A handler that is not
    Python's own stays, and ignored signals are ignored.

    Where Ctrl-C would have ended the process, as our launchers set it, the process ends after
    Ctrl-C with the block: Python would wait for threads of libraries first, and JAX crashes then.
    """
    default = (signal.SIG_DFL, signal.default_int_handler)
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before not in default:
        yield
        return
    is_raised = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal is_raised
        if not is_raised:
            is_raised = True
            raise KeyboardInterrupt

    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.signal(signal.SIGINT, interrupt)
    # Handlers wait for the main thread, which may be inside a library for minutes; the number of a
    # signal is written at once.
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        threading.Thread(target=_watch, args=[reader], daemon=True).start()
    except RuntimeError:  # the machine has no thread left; a second Ctrl-C waits for its turn
        reader.close()
    try:
        yield
    finally:
        if is_raised and before is signal.SIG_DFL:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            _end()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, before)
        writer.close()


def _watch(reader: socket.socket) -> None:
    count = 0
    with reader:
        while received := reader.recv(1):
            count += received[0] == signal.SIGINT
            if count == 2:
                time.sleep(_GRACE)
                _end()


def _end() -> None:
    import multiprocessing  # which takes long, and is there already where there are processes

    try:
        for process in multiprocessing.active_children():
            process.kill()
    finally:
        os._exit(INTERRUPTED)
