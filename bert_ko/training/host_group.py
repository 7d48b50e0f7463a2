"""Processes that train one model together: what the first of them decides, and how all end.

The others connect to the first, and stay connected as long as they run. What could differ between
them (which checkpoint is resumed, whether it is time to stop) the first decides and the others
wait for; what must be equal is compared. Whatever ends one of them ends all, with a line that says
which: a process that is killed closes its connection, and one whose machine has vanished stops
answering.

Arrays go over the collectives of the backend, not here.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bert_ko.flags import error_message
from bert_ko.interrupts import INTERRUPTED
from bert_ko.messages import program_name
from bert_ko.streams import print_error
from bert_ko.training.host_peer import MAX_LINE, Peer, read_line
from bert_ko.training.hosts import ALONE, HostError, Hosts, Place

_PATIENCE = 300.0  # seconds until all hosts must have come
_GRACE = 10.0  # seconds for a host to end tidily after another has ended
_FAREWELL = 2.0  # seconds in which the others learn why the first has ended
_CONFIRMATION = 10.0  # seconds in which a failed collective is explained by a lost host
_WORDLESS = "has ended without a word; run the same command again"


@contextlib.contextmanager
def connected(place: Place | None) -> Iterator[Hosts]:
    """Connects this process with the others; only the first prints anything in the block.

    An error ends all of them. With several hosts it ends this process here, with its line, since
    the libraries of a backend would wait for hosts that have gone.

    Args:
        place: of this process; None for one host.

    Raises:
        ValueError: the hosts can't connect.
    """
    if place is None:
        yield ALONE
        return
    hosts = _Several(place)
    try:
        with contextlib.nullcontext() if hosts.is_first else hosts.silent():
            hosts.connect()
            yield hosts
    except BaseException as error:
        if not isinstance(error, SystemExit):
            hosts.fail(error)
        hosts.leave()  # all stop, as the first has decided
        raise
    hosts.leave()


class _Several(Hosts):
    """This host among others."""

    def __init__(self, place: Place):
        self.index, self.count = place.index, place.count
        self._place = place
        self._peers: list[Peer] = []  # all others at the first host, the first at the others
        self._asked = 0
        self._lost: str | None = None  # what has ended another host
        self._is_lost = threading.Event()
        self._is_ending = threading.Event()
        self._arrived: queue.SimpleQueue[Peer] = queue.SimpleQueue()
        self._actions: list[Callable[[], object]] = []
        self._errors = sys.stderr  # where this host says what has ended it

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """A block in which nothing is printed, not by libraries either, but what ends this host."""
        sys.stderr.flush()
        kept = os.dup(2)
        with (
            open(kept, "w", encoding="utf-8", errors="backslashreplace") as self._errors,
            open(os.devnull, "w", encoding="utf-8") as null,
            contextlib.redirect_stdout(null),
            contextlib.redirect_stderr(null),
        ):
            os.dup2(null.fileno(), 2)
            self._expect_abort()
            try:
                yield
            finally:
                os.dup2(kept, 2)
                self._errors = sys.__stderr__ or null

    def _expect_abort(self) -> None:
        """The backends abort the process when the first host, with their service, has gone."""
        import ctypes

        def end(number: int) -> None:
            # Called by the thread that aborts, as any function; the connection may say more.
            self._is_lost.wait(1)
            self._is_ending.set()
            self._exit(self._lost or f"{self._peers[0].name} {_WORDLESS}", 1)

        self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)  # kept as long as this object
        ctypes.CDLL(None).signal(signal.SIGABRT, self._handler)

    # Meeting

    def connect(self) -> None:
        """Waits until all have come.

        Raises:
            ValueError: they don't, or are not what this host expects.
        """
        deadline = time.monotonic() + _PATIENCE
        if self.is_first:
            self._accept(deadline)
        else:
            self._reach(deadline)
        for peer in self._peers:
            peer.listen()
        threading.Thread(target=self._watch, daemon=True).start()

    def _accept(self, deadline: float) -> None:
        host, port = _split(self._place.address)
        self.address = host
        found: dict[int, Peer] = {}
        try:
            server = socket.create_server(("", port), reuse_port=False, backlog=self.count)
        except OSError as error:
            raise ValueError(
                f"--coordinator_address={self._place.address}: the first host can't listen at the "
                f"port: {error.strerror}."
            ) from None
        with server:
            while len(found) < self.count - 1:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    missing = sorted(set(range(1, self.count)) - set(found))
                    raise ValueError(
                        f"of {self.count} hosts {_list(missing)} did not come to "
                        f"{self._place.address} within {_PATIENCE:.0f} s; see what they print."
                    ) from None
                peer = self._greeted(connection, found)
                if peer is not None:
                    found[peer.index] = peer
        self._peers = [found[index] for index in sorted(found)]
        for peer in self._peers:
            peer.send(welcome=self.count)

    def _greeted(self, connection: socket.socket, found: Mapping[int, Peer]) -> Peer | None:
        """A host that has come; None for anything else that connects."""
        connection.settimeout(5)
        try:
            with connection.makefile("rb") as stream:
                hello = json.loads(stream.readline(MAX_LINE))
            index, count, name = int(hello["host"]), int(hello["count"]), str(hello["name"])
        except (OSError, ValueError, TypeError, KeyError):
            connection.close()
            return None
        connection.settimeout(None)
        peer = Peer(connection, self._receive)
        peer.index, peer.name = index, f"host {index} of {self.count} ({name})"
        fault = ""
        if count != self.count:
            fault = f"--num_processes is {count} on {name}, and {self.count} on the first host."
        elif not 0 < index < self.count:
            fault = f"--process_id={index} on {name} must be from 1 to {self.count - 1}."
        elif index in found:
            fault = f"--process_id={index} was given to two hosts, {name} and {found[index].name}."
        if fault:
            with contextlib.suppress(HostError):
                peer.send(failed=fault)
            raise ValueError(fault)
        return peer

    def _reach(self, deadline: float) -> None:
        host, port = _split(self._place.address)
        while True:
            left = deadline - time.monotonic()
            try:
                connection = socket.create_connection((host, port), timeout=max(0.01, left))
                break
            except OSError as error:
                if left <= 0:
                    raise ValueError(
                        f"the first host does not answer at {self._place.address} "
                        f"({error.strerror or error}); is it running, and the address right?"
                    ) from None
                time.sleep(0.1)
        peer = Peer(connection, self._receive)
        peer.index, peer.name = 0, f"the first host ({host})"
        self._peers = [peer]
        self.address = connection.getsockname()[0]
        peer.send(host=self.index, count=self.count, name=socket.gethostname())
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        answer = read_line(connection)
        connection.settimeout(None)
        if answer is None or "welcome" not in answer:
            text = (answer or {}).get("failed", f"{peer.name} has ended; see what it prints")
            raise HostError(text)

    # Working together

    def decide(self, value: Any = None) -> Any:
        """See Hosts."""
        if not self.is_first:
            return self._next(self._peers[0])
        for peer in self._peers:
            peer.send(value=value)
        return value

    def gather(self, value: Any) -> list[Any]:
        """See Hosts."""
        found = None
        if self.is_first:
            found = [value, *map(self._next, self._peers)]
        else:
            self._peers[0].send(value=value)
        return list(self.decide(found))

    def _next(self, peer: Peer) -> Any:
        message = peer.values.get()
        if message is None:
            raise HostError(self._lost)
        return message["value"]

    def ask_to_stop(self, number: int) -> None:
        """See Hosts."""
        if not self.is_first:
            self._peers[0].send(stop=number)

    @property
    def asked_to_stop(self) -> int:
        """See Hosts."""
        return self._asked

    def at_end(self, action: Callable[[], object]) -> None:
        """See Hosts."""
        self._actions.append(action)

    def _receive(self, peer: Peer, message: Any) -> None:
        """In the thread of the peer."""
        if isinstance(message, dict) and "value" in message:
            peer.values.put(message)
        elif isinstance(message, dict) and "stop" in message:
            self._asked = int(message["stop"])
        elif isinstance(message, dict) and "left" in message:
            peer.has_left = True
            peer.values.put({"value": None})
        elif isinstance(message, dict) and "failed" in message:
            self._lose(str(message["failed"]))
        elif not (peer.has_left or self._is_ending.is_set()):
            self._lose(f"{peer.name} {_WORDLESS}")

    # Ending

    def _lose(self, text: str) -> None:
        if self._lost is not None:
            return
        self._lost = text
        if self.is_first:  # the others are connected with this host alone
            self._tell_all(text)
        self._is_lost.set()
        for peer in self._peers:
            peer.values.put(None)

    def _tell_all(self, text: str) -> None:
        for peer in self._peers:
            with contextlib.suppress(HostError):
                peer.send(failed=text)

    def _watch(self) -> None:
        """Ends this process if it can't end itself: it may wait in a collective for ever."""
        self._is_lost.wait()
        if not self._is_ending.wait(_GRACE):
            self._exit(str(self._lost), 1)

    def fail(self, error: BaseException) -> None:
        """Ends this process after an error, and with it the others."""
        is_known = isinstance(error, ValueError | OSError | MemoryError | KeyboardInterrupt)
        if not is_known:  # what a backend says of a host that has gone comes before we know it
            self._is_lost.wait(_CONFIRMATION)
        self._is_ending.set()
        if isinstance(error, KeyboardInterrupt):
            message, status = "interrupted", INTERRUPTED
        else:
            message = error_message(error) if isinstance(error, Exception) else str(error)
            status = 1
        is_own = is_known and not isinstance(error, HostError)  # all may find the same fault
        if self._lost is not None and not is_own:
            self._exit(self._lost, status)
        name = f"host {self.index} of {self.count} ({socket.gethostname()})"
        self._tell_all(f"{name} has ended: {message}")
        if not is_known:
            traceback.print_exception(error, file=self._errors)
        self._exit(message, status)

    def _exit(self, message: str, status: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        lead = "" if status == INTERRUPTED else "error: "
        print_error(f"{program_name()}: {lead}{message}", self._errors)
        if self.is_first:  # the others learn it before the service of the backend ends
            deadline = time.monotonic() + _FAREWELL
            for peer in self._peers:
                peer.is_closed.wait(max(0.0, deadline - time.monotonic()))
        os._exit(status)

    def leave(self) -> None:
        """Ends the connections when all are ready to."""
        try:
            self.gather(None)
            self._is_ending.set()
            if not self.is_first:  # whose services the others use
                self._run_actions()
                self._peers[0].send(left=True)
                return
            for peer in self._peers:
                self._next(peer)
            self._run_actions()
        except HostError as error:
            self.fail(error)

    def _run_actions(self) -> None:
        for action in self._actions:
            action()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
