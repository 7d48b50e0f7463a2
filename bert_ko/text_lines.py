r"""Lines of UTF-8 text: files, local or remote, compressed or not, and standard input.

Lines end in \n or \r\n and in nothing else; a byte order mark is not part of a line.
"""

from __future__ import annotations

import codecs
import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from bert_ko import files

STANDARD_INPUT = "-"


class TextLines:
    """Iterates over the lines of a stream, without their ends, as they are read.

    Attributes:
        source: The name of the stream, for messages.
        num_lines: Lines read so far; the number of the last one.
        num_damaged: Those of them that are not UTF-8; U+FFFD replaces what can't be decoded.
    """

    def __init__(self, stream: Iterable[bytes], source: str, replace: bool) -> None:
        self._stream, self._replace = stream, replace
        self.source = source
        self.num_lines = self.num_damaged = 0

    def __iter__(self) -> Iterator[str]:
        """Raises: ValueError: a line is not UTF-8, and is not to be replaced."""
        for line in self._stream:
            if not self.num_lines:
                line = line.removeprefix(codecs.BOM_UTF8)
                if not line:
                    return
            self.num_lines += 1
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            try:
                text = line.decode()
            except UnicodeDecodeError:
                if not self._replace:
                    raise _not_utf8(self.source, self.num_lines) from None
                self.num_damaged += 1
                text = line.decode(errors="replace")
            yield text


@contextlib.contextmanager
def open_lines(path: str, *, replace: bool = False) -> Iterator[TextLines]:
    """Opens a text to be read line by line.

    Args:
        path: See `files.open_binary`; "-" is standard input, which stays open.
        replace: Replace bytes that are not UTF-8 with U+FFFD, and count such lines; otherwise they
            are an error.

    Raises:
        FileNotFoundError: There is no such file.
    """
    with _open(path) as stream:
        yield TextLines(stream, source_name(path), replace)


def read_lines(path: str) -> list[str]:
    """Returns all lines of a text; see `open_lines`."""
    with open_lines(path) as lines:
        return list(lines)


def read_text(path: str) -> str:
    """Returns a text with its line ends as they are; see `open_lines`."""
    with _open(path) as stream:
        data = stream.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(source_name(path), data.count(b"\n", 0, error.start) + 1) from None


def source_name(path: str) -> str:
    """Returns the name of a file for a message."""
    return "standard input" if path == STANDARD_INPUT else path


def _open(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == STANDARD_INPUT:
        return contextlib.nullcontext(sys.stdin.buffer)
    return files.open_binary(path)


def _not_utf8(source: str, line: int) -> ValueError:
    # A model would learn and predict replacement characters as if the user had written them.
    return ValueError(f"{source}:{line}: not UTF-8 text (CP949? `iconv -f cp949 -t utf-8`).")
