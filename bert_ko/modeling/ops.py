"""keras.ops, imported when the first operation is called.

Keras binds itself to one backend when it is imported, which only a command that computes does,
after it has chosen one. Variables, shapes and names of a model are known before that.

Sizes that a graph for other programs leaves open are known from ``ops.shape(x)`` alone: where
``x.shape`` says nothing, it gives tensors.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
from collections.abc import Iterator
from typing import Any

_in_place_of_keras: contextvars.ContextVar[Any] = contextvars.ContextVar("in_place_of_keras")


class _LazyOps:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # no operation: pytest asks what kind of object this is
            raise AttributeError(name)
        other = _in_place_of_keras.get(None)
        return getattr(importlib.import_module("keras.ops") if other is None else other, name)


@contextlib.contextmanager
def in_place_of_keras(operations: Any) -> Iterator[None]:
    """Models written with ``ops`` compute with other functions of the same names.

    Args:
        operations: has those functions as attributes.
    """
    token = _in_place_of_keras.set(operations)
    try:
        yield
    finally:
        _in_place_of_keras.reset(token)


ops: Any = _LazyOps()
