"""Programs in processes that have imported TensorFlow, or JAX, already: that takes seconds, and
tests start hundreds of them.

A server imports them once and forks. Run as a program, it is the server: each message of its
standard input, a socket, has a request in JSON, and the files of the process with it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).parents[1]
_PRELOADED = {"tensorflow": ("tensorflow", "keras"), "jax": ("jax", "keras"), "numpy": ()}
_MAX_REQUEST = 1 << 20
_FILES = 4  # standard input, output and error; where the process's end is told


class ForkedProcess:
    """What subprocess.Popen is, of a process that the server has forked."""

    def __init__(self, pid: int, end: int):
        self.pid, self.returncode = pid, None
        self._end = end

    returncode: int | None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            told = os.read(self._end, 100)
            os.close(self._end)
            assert told, "the server of processes has died"
            self.returncode = os.waitstatus_to_exitcode(int(told))
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start_forked(
    arguments: Sequence[str],
    stdin: IO[Any],
    stdout: IO[Any],
    environment: Mapping[str, str],
    folder: Path = REPOSITORY,
) -> ForkedProcess:
    """Begins a program as `python ARGUMENTS` would.

    Args:
        arguments: a path or "-c" and code, then the program's own.
        stdin: a file of the process.
        stdout: the same; of errors, too.
        environment: KERAS_BACKEND says what is imported already; TensorFlow, if it is missing.
        folder: where it runs.
    """
    server = _server(environment.get("KERAS_BACKEND", "tensorflow"))
    told, end = os.pipe()
    what = {"arguments": list(arguments), "environment": dict(environment), "folder": str(folder)}
    request = json.dumps(what).encode()
    assert len(request) < _MAX_REQUEST
    files = [stdin.fileno(), stdout.fileno(), stdout.fileno(), end]
    socket.send_fds(server, [request], files)
    os.close(end)
    pid = int(os.read(told, 20))
    return ForkedProcess(pid, told)


def run_forked(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path = REPOSITORY
) -> None:
    """Runs such a program, which must not fail, to its end; what it prints is in a file."""
    with open(os.devnull) as nothing, log.open("w") as out:
        process = start_forked(arguments, nothing, out, environment, folder)
    assert process.wait() == 0, log.read_text(encoding="utf-8")


@functools.cache
def _server(backend: str) -> socket.socket:
    """It ends when the socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_REQUEST)
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, backend], stdin=theirs, env=environment, cwd=REPOSITORY
        )

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def _serve(backend: str) -> None:
    for name in _PRELOADED[backend]:
        __import__(name)
    gc.freeze()
    requests = socket.socket(fileno=os.dup(0))
    woken, wake = socket.socketpair()
    for one in (woken, wake):
        one.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    ends: dict[int, int] = {}  # where a process's end is told
    while True:
        ready = select.select([requests, woken], [], [])[0]
        if woken in ready:
            woken.recv(1000)
            _tell_ends(ends)
        if requests in ready:
            request, files, _, _ = socket.recv_fds(requests, _MAX_REQUEST, _FILES)
            if not request:
                return
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for one in (requests, woken, wake):
                    one.close()
                for end in ends.values():
                    os.close(end)
                os.close(files.pop())
                _run(json.loads(request), files)
            for file in files[:3]:
                os.close(file)
            os.write(files[3], str(pid).encode())
            ends[pid] = files[3]


def _tell_ends(ends: dict[int, int]) -> None:
    while ends:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(ends[pid], str(status).encode())
        os.close(ends.pop(pid))


def _run(request: dict[str, Any], files: list[int]) -> None:
    """Becomes the program, and never returns."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    status = 1
    try:
        _run_program(request["arguments"])
        status = 0
    except SystemExit as stop:
        status = _status(stop)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _run_program(arguments: list[str]) -> None:
    sys.argv[:] = arguments
    if arguments[0] == "-c":
        sys.path[0] = ""
        del sys.argv[1]
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(arguments[1], main.__dict__)
        return
    sys.path[0] = str(Path(arguments[0]).parent)
    sys.path[1:1] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    runpy.run_path(arguments[0], run_name="__main__")


def _status(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    _serve(sys.argv[1])
