"""Reading lines that may be damaged."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

from bert_ko import files


class Lines:
    """The lines of a file, without their ends, as they are read.

    Attributes:
        num_lines: read so far.
        num_damaged: those of them that are not UTF-8; U+FFFD stands for what can't be read.
    """

    def __init__(self, stream: BinaryIO):
        """Args: stream: of bytes."""
        self._stream = stream
        self.num_lines = self.num_damaged = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._stream:
            self.num_lines += 1
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            try:
                yield line.decode()
            except UnicodeDecodeError:
                self.num_damaged += 1
                yield line.decode(errors="replace")


@contextlib.contextmanager
def open_lines(path: str) -> Iterator[Lines]:
    """Opens a file of lines.

    Args:
        path: local or remote, maybe compressed; - is standard input.
    """
    if path == "-":
        yield Lines(sys.stdin.buffer)
        return
    with files.open_binary(path) as stream:
        yield Lines(stream)
