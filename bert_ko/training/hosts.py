"""Processes that train one model together, as the session, the loop and the backends know them."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


class HostError(ConnectionError):
    """Another host has ended, or can't be reached; the message is one line that says which."""


@dataclass(frozen=True)
class Place:
    """Where a host stands among all."""

    address: str  # HOST:PORT, where the first listens
    index: int  # from 0
    count: int


class Hosts:
    """All hosts of a run: this one alone."""

    index, count = 0, 1
    address = ""  # of this host, as the others reach it

    @property
    def is_first(self) -> bool:
        """Whether this host decides, and writes."""
        return self.index == 0

    def decide(self, value: Any = None) -> Any:
        """What the first host decides, a JSON value; the others wait for it."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """The JSON values of all hosts, in their order."""
        return [value]

    def require_same(self, values: Mapping[str, Any]) -> None:
        """Raises: ValueError: a value by name differs from the first host's."""
        first, *others = self.gather(json.loads(json.dumps(values)))
        for index, other in enumerate(others, 1):
            for name in sorted({*first, *other}):
                ours, theirs = first.get(name), other.get(name)
                if ours != theirs:
                    raise ValueError(
                        f"{name} is {_shown(theirs)} on host {index} of {self.count}, and "
                        f"{_shown(ours)} on the first; give all hosts the same command, files and "
                        "versions."
                    )

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[None]:
        """A block that the others begin when the first has ended it."""
        if not self.is_first:
            self.decide()
        yield
        if self.is_first:
            self.decide()

    def ask_to_stop(self, number: int) -> None:
        """Tells the first host of a signal; see ``asked_to_stop``."""

    @property
    def asked_to_stop(self) -> int:
        """The signal that another host has got, for the first to decide on; 0 for none."""
        return 0

    def at_end(self, action: Callable[[], object]) -> None:
        """Has something done when all have ended well, before any of them leaves."""


ALONE = Hosts()


def free_port() -> int:
    """A port at which nothing listens now."""
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
