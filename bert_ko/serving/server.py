"""Serving models until a signal ends it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bert_ko.messages import program_name, warn
from bert_ko.serving.app import make_app
from bert_ko.serving.limits import Limits
from bert_ko.serving.protocol import make_server
from bert_ko.serving.served import name_models, open_served
from bert_ko.serving.worker import Worker
from bert_ko.streams import print_error

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def serve(
    paths: Sequence[str], host: str, port: int, limits: Limits, settings: Mapping[str, Any]
) -> None:
    """Serves models under the names of their folders, until Ctrl-C or SIGTERM.

    Args:
        paths: of the models, see ``bert_ko.load``.
        host: name or address to listen on.
        port: 0 for any that is free.
        limits: of all requests.
        settings: of ``bert_ko.load``.

    Raises:
        FileNotFoundError: a model is missing.
        ValueError: it can't be served, or the address is not to be had.
    """
    named = name_models(paths)
    with contextlib.closing(bind(host, port)) as listener:
        workers = {
            name: Worker(open_served(name, path, settings), limits) for name, path in named.items()
        }
        is_local = is_loopback(listener)
        if not is_local:
            warn(f"--host={host}: whoever reaches this machine can use the server.")
        app = make_app(workers, limits, {*_LOOPBACK, host.lower()} if is_local else None)
        server = make_server(app, limits, len(workers), lambda: _error(workers) is not None)
        _show(workers, address_of(host, listener))
        with running(workers.values()):
            server.run([listener])
    if (error := _error(workers)) is not None:
        raise error
    print_error(f"{program_name()}: ended")


def _error(workers: Mapping[str, Worker]) -> Exception | None:
    """Why a model could not be compiled."""
    return next((one.error for one in workers.values() if one.error is not None), None)


def _show(workers: Mapping[str, Worker], address: str) -> None:
    for name, worker in workers.items():
        place = f"{address}{worker.served.path}"
        print_error(f"{program_name()}: {name} ({worker.served.kind}): POST {place}")
    print(address, flush=True)


@contextlib.contextmanager
def running(workers: Iterable[Worker]) -> Iterator[None]:
    """Lets models compile, then compute, in their threads."""
    started = list[Worker]()
    try:
        for worker in workers:
            worker.start()
            started.append(worker)
        yield
    finally:
        for worker in started:
            worker.stop()


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound, and doesn't listen yet.

    Raises:
        ValueError: the address is unknown or taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"--host={host}: {error}; give a name or address of this machine."
        ) from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ValueError(
            f"--host={host} --port={port}: {error.strerror}; give another port, or 0 for a free "
            "one, or an address of this machine."
        ) from None
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def address_of(host: str, listener: socket.socket) -> str:
    """The URL of a bound socket."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"
