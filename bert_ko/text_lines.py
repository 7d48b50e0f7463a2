r"""Lines of text: files, local or remote, compressed or not, and standard input.

The beginning of a file says which encoding it is in, or that it is no text: see `content`. Lines
end in \n, \r\n or \r and in nothing else; a byte order mark is not part of a line.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from bert_ko import content, files
from bert_ko.compression import COMPRESSIONS, PartsStream
from bert_ko.flags import Flags, flag

STANDARD_INPUT = "-"

# Of two before a line feed, which some programs leave, neither ends a line of its own.
_LONE_RETURN = re.compile(rb"\r(?!\r*\n)")
MAX_RETURNS = 64  # that are looked at before a line feed, across the blocks of a stream
_BLOCK_SIZE = 1 << 16
_REST_SIZE = 1 << 20
_MAX_LINE_BYTES = 1 << 26
# A compressed file that expands to more bytes than this, and to this many times its size, is a
# bomb; text shrinks to a tenth.
_SMALL = 64 << 20
_MAX_RATIO = 200
# What can't be decoded is no UTF-8 in the decoded stream either, so that it is found and counted.
_DAMAGED = b"\xff"


@dataclass(frozen=True)
class EncodingFlags(Flags):
    """The flag of every command that reads text."""

    group = "Encoding"

    input_encoding: str | None = flag(
        None,
        help="Encoding of the text files, such as cp949. Default: UTF-8, UTF-16 and UTF-32 are "
        "recognised, and anything else is refused.",
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: no such encoding."""
        super().__post_init__()
        if self.input_encoding is not None:
            content.codec_name(self.input_encoding)


class TextLines:
    """Iterates over the lines of a stream, without their ends, as they are read.

    Attributes:
        source: The name of the stream, for messages.
        num_lines: Lines read so far; the number of the last one.
        num_damaged: Those of them that can't be decoded; U+FFFD replaces what can't.
    """

    def __init__(
        self, stream: BinaryIO, source: str, replace: bool, encoding: str, is_found: bool
    ) -> None:
        self._stream, self._replace, self._encoding = stream, replace, encoding
        self._is_found = is_found
        self.source = source
        self.num_lines = self.num_damaged = 0

    def __iter__(self) -> Iterator[str]:
        """Raises: ValueError: a line can't be decoded, and is not to be replaced."""
        read_line = functools.partial(self._stream.readline, _MAX_LINE_BYTES)
        for line in iter(read_line, b""):
            if len(line) == _MAX_LINE_BYTES:
                size = _MAX_LINE_BYTES >> 20
                raise ValueError(f"{self.source}:{self.num_lines + 1}: over {size} MiB in a line.")
            if not self.num_lines:
                line = line.removeprefix(codecs.BOM_UTF8)
                if not line:
                    return
            line = line.removesuffix(b"\n").rstrip(b"\r")
            if b"\r" in line:
                for part in line.split(b"\r"):
                    yield self._decoded(part)
            else:
                yield self._decoded(line)

    def _decoded(self, line: bytes) -> str:
        self.num_lines += 1
        try:
            return line.decode()
        except UnicodeDecodeError:
            if not self._replace:
                raise _undecodable(
                    self.source, self.num_lines, line, self._encoding, self._is_found
                ) from None
            self.num_damaged += 1
            return line.decode(errors="replace")


@contextlib.contextmanager
def open_lines(
    path: str, *, replace: bool = False, encoding: str | None = None
) -> Iterator[TextLines]:
    """Opens a text to be read line by line.

    Args:
        path: See `files.open_binary`; "-" is standard input, which stays open.
        replace: Replace bytes that can't be decoded with U+FFFD, and count such lines; otherwise
            they are an error.
        encoding: None recognises UTF-8, UTF-16 and UTF-32.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no text, or in another encoding.
    """
    with _open(path) as stream:
        source = source_name(path)
        if path != STANDARD_INPUT and stream.seekable():
            head, stream = with_head(stream)
        else:  # what comes out of a pipe line by line is answered so
            head = _peek(stream)
        found = content.text_encoding(head, source, encoding)
        if found != "utf-8" or _LONE_RETURN.search(head[:-1]):
            stream = as_utf8(stream, found, close=False)
        yield TextLines(stream, source, replace, found, encoding is None)


def read_lines(path: str, *, encoding: str | None = None) -> list[str]:
    """Returns all lines of a text; see `open_lines`."""
    found: list[str] = []
    size, most = 0, _most_bytes(path)
    with open_lines(path, encoding=encoding) as lines:
        for line in lines:
            size += len(line) + 1
            if most is not None and size > most:
                raise _too_large(lines.source, most)
            found.append(line)
    return found


def read_text(path: str, *, encoding: str | None = None) -> str:
    """Returns a text with its line ends as they are; see `open_lines`."""
    most = _most_bytes(path)
    with _open(path) as stream:
        if most is None:
            return decode(stream.read(), source_name(path), encoding)
        data = bytearray()
        while block := stream.read(_REST_SIZE):
            data += block
            if len(data) > most:
                raise _too_large(source_name(path), most)
    return decode(data, source_name(path), encoding)


def decode(data: bytes | bytearray, source: str, encoding: str | None = None) -> str:
    """Decodes a whole text, without its byte order mark.

    Raises:
        ValueError: It is no text, or in another encoding.
    """
    found = content.text_encoding(bytes(data[: content.HEAD_SIZE]), source, encoding)
    try:
        return data.decode(found).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        line = data[data.rfind(b"\n", 0, error.start) + 1 :].partition(b"\n")[0]
        raise _undecodable(source, number, bytes(line), found, encoding is None) from None


def as_utf8(
    stream: BinaryIO, encoding: str, *, ends_lines: bool = True, close: bool = True
) -> BinaryIO:
    r"""Returns a text as a stream of UTF-8; what can't be decoded is no UTF-8 there either.

    Args:
        stream: Is closed together with the new one if `close`.
        encoding: Of the stream.
        ends_lines: Whether each \r that is not before \n becomes \n.
        close: Whether closing the new stream closes `stream`.
    """
    blocks: Iterator[bytes] = iter(functools.partial(_read_some, stream), b"")
    if encoding != "utf-8":
        blocks = _recoded(blocks, encoding)
    if ends_lines:
        blocks = with_line_feeds(blocks)
    closing: Callable[[], None] = stream.close if close else _nothing
    return cast(BinaryIO, io.BufferedReader(PartsStream(blocks, closing), _BLOCK_SIZE))


def with_line_feeds(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Replaces each \r that is not before \n by \n; blocks keep their sizes."""
    held: list[bytes] = []  # those whose last byte may be before \n
    for block in blocks:
        if held and not block.strip(b"\r") and sum(map(len, held[1:])) < MAX_RETURNS:
            held.append(block)
            continue
        for number, one in enumerate(held, 1):
            yield end_lines(one, b"".join([*held[number:], block])[:MAX_RETURNS])
        held = [block] if block.endswith(b"\r") else []
        if not held:
            yield end_lines(block, b"")
    for number, one in enumerate(held, 1):
        yield end_lines(one, b"".join(held[number:]))


def end_lines(block: bytes, following: bytes) -> bytes:
    r"""Replaces each \r that is not before \n by \n; `following` has the bytes after the block."""
    if b"\r" not in block:
        return block
    return _LONE_RETURN.sub(b"\n", block + following)[: len(block)]


def with_head(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    """Returns the beginning of a stream, and a stream that has it all."""
    head = stream.read(content.HEAD_SIZE)
    if stream.seekable():
        stream.seek(0)
        return head, stream
    rest = iter(functools.partial(stream.read, _REST_SIZE), b"")
    parts = PartsStream(itertools.chain([head], rest), _nothing)
    return head, cast(BinaryIO, io.BufferedReader(parts, _REST_SIZE))


def _most_bytes(path: str) -> int | None:
    """Returns the size to which a file may expand that is read into memory."""
    if files.is_remote(path) or not path.endswith(COMPRESSIONS):
        return None
    return max(_SMALL, _MAX_RATIO * files.size(path))


def _too_large(source: str, most: int) -> ValueError:
    return ValueError(f"{source} expands to more than {most >> 20} MiB, and is no text of use.")


def source_name(path: str) -> str:
    """Returns the name of a file for a message."""
    return "standard input" if path == STANDARD_INPUT else path


def _open(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == STANDARD_INPUT:
        return contextlib.nullcontext(sys.stdin.buffer)
    return files.open_binary(path)


def _peek(stream: Any) -> bytes:
    """Returns the beginning of a stream, which is read again."""
    if hasattr(stream, "peek"):
        head: bytes = stream.peek(content.HEAD_SIZE)
        return head[: content.HEAD_SIZE]
    start = stream.tell()  # standard input that was replaced
    head = stream.read(content.HEAD_SIZE)
    stream.seek(start)
    return head


def _read_some(stream: Any) -> bytes:
    """Reads what is there, so that a line on a terminal is answered before the next is typed."""
    data: bytes = stream.read1(_BLOCK_SIZE)
    return data


def _recoded(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for block in blocks:
        yield decoder.decode(block).encode().replace("\ufffd".encode(), _DAMAGED)
    yield decoder.decode(b"", True).encode().replace("\ufffd".encode(), _DAMAGED)


def _nothing() -> None:
    pass


def _undecodable(
    source: str, number: int, line: bytes, encoding: str, is_found: bool
) -> ValueError:
    # A model would learn and predict replacement characters as if the user had written them.
    advice = f"; {content.advice(line)}" if encoding == "utf-8" and is_found else ""
    return ValueError(f"{source}:{number}: not {encoding.upper()} text{advice}.")
