"""keras.ops, imported when the first operation is called.

Keras binds itself to one backend when it is imported, which only a command that computes does,
after it has chosen one. Variables, shapes and names of a model are known before that.
"""

from __future__ import annotations

import importlib
from typing import Any


class _LazyOps:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # no operation: pytest asks what kind of object this is
            raise AttributeError(name)
        value = getattr(importlib.import_module("keras.ops"), name)
        setattr(self, name, value)
        return value


ops: Any = _LazyOps()
