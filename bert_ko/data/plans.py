"""Where the parts of corpus files stand, so that tasks read them themselves.

Where a file may be cut follows from all that stands before. So each file is read once to see it,
without splitting or tokenizing anything, and then its parts by any number of tasks. A file that
can't be read from its middle (compressed, Parquet, or in another encoding than UTF-8) is copied as
text while it is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from bert_ko import files
from bert_ko.compression import COMPRESSIONS
from bert_ko.data.corpus import (
    CHUNK_BYTES,
    Chunk,
    CorpusFlags,
    estimated_sizes,
    pack,
    read_chunks,
)
from bert_ko.data.parts import Part, Reading, look, read_parts
from bert_ko.engines import Engine
from bert_ko.json_files import member, read_json, write_json
from bert_ko.text_lines import MAX_RETURNS, end_lines
from bert_ko.workers import Pool

# Small files are seen together, so that no task takes less than its start.
_MIN_GROUP_BYTES = 64 << 20
_MAX_GROUPS = 8192  # about
_COUNT_BYTES = 16 << 20  # of a task that counts
_MAX_PLAN_BYTES = 1 << 29


class Place(NamedTuple):
    """A part that is not read yet."""

    path: str
    format: str
    first_line: int
    columns: tuple[str, ...]
    stored: str  # the file that has its bytes from `offset` on
    offset: int
    size: int

    def load(self) -> Iterator[Part]:
        """Reads it."""
        # What ends a line depends on the bytes after it.
        end = self.offset + self.size
        ahead = 0 if self.format == "csv" else MAX_RETURNS
        (found,) = files.read_ranges([files.Range(self.stored, self.offset, end + ahead)])
        data = found[: self.size]
        if len(data) < self.size:
            raise ValueError(f"{self.path} has become shorter; run the command again.")
        if self.format != "csv":
            data = end_lines(data, found[self.size :])
        yield Part(self.path, self.format, self.first_line, self.columns, data)


class WholeFile(NamedTuple):
    """All parts of a file that can't be read from its middle."""

    path: str
    reading: Reading
    size: int  # bytes of text, estimated

    def load(self) -> Iterator[Part]:
        """Reads the file from its beginning."""
        return read_parts(self.path, self.reading, CHUNK_BYTES)


class Plan(NamedTuple):
    """The parts of a file.

    Attributes:
        path: of the file.
        stored: the file that has the text, this one or a copy.
        format: of the parts; see forms.Form.
        columns: of a table.
        rows: first line, offset in `stored` and size of each part.
    """

    path: str
    stored: str
    format: str
    columns: tuple[str, ...]
    rows: list[tuple[int, int, int]]

    def places(self) -> Iterator[Place]:
        """The parts in order."""
        for line, offset, size in self.rows:
            yield Place(self.path, self.format, line, self.columns, self.stored, offset, size)


class Group(NamedTuple):
    """Consecutive files of a corpus that one task looks through."""

    number: int
    paths: tuple[str, ...]
    size: int  # bytes of text, estimated


def group_files(paths: Sequence[str], sizes: Sequence[int]) -> Iterator[Group]:
    """Yields the files in groups, given the estimated bytes of text of each."""
    enough = max(_MIN_GROUP_BYTES, sum(sizes) // _MAX_GROUPS)
    held: list[str] = []
    number = size = 0
    for path, more in zip(paths, sizes, strict=True):
        held.append(path)
        size += more
        if size >= enough:
            yield Group(number, tuple(held), size)
            held, number, size = [], number + 1, 0
    if held:
        yield Group(number, tuple(held), size)


def write_plans(
    group: Group, reading: Reading, chunk_bytes: int, plan_path: str, copy_path: str
) -> None:
    """Looks through files and writes where their parts stand.

    Args:
        group: the files.
        reading: how they are read.
        chunk_bytes: size of a part; see `read_parts`.
        plan_path: the file to write, for `read_plans`.
        copy_path: where the text goes of files that can't be read from their middle.

    Raises:
        ValueError: see `read_parts`.
    """
    with contextlib.ExitStack() as stack:
        copy = _Copy(copy_path, stack)
        plans = [_see(path, reading, chunk_bytes, copy) for path in group.paths]
    write_json(plan_path, {"plans": [plan._asdict() for plan in plans]})


def read_plans(path: str) -> Iterator[Place]:
    """Yields the places that `write_plans` wrote."""
    values = read_json(path, _MAX_PLAN_BYTES)
    if values is None:
        raise ValueError(f"{path} is missing; run the command again.")
    for plan in member(values, "plans", list, path):
        yield from Plan(**{**plan, "columns": tuple(plan["columns"])}).places()


class _Copy:
    """A file of texts, which is made when the first one comes."""

    def __init__(self, path: str, stack: contextlib.ExitStack):
        self.path, self._stack = path, stack
        self._file: BinaryIO | None = None
        self._size = 0

    def add(self, data: bytes) -> int:
        """Adds a text; returns where it begins."""
        if self._file is None:
            self._file = self._stack.enter_context(files.atomic_writer(self.path))
        self._file.write(data)
        self._size += len(data)
        return self._size - len(data)


def _see(path: str, reading: Reading, chunk_bytes: int, copy: _Copy) -> Plan:
    is_copied = not _reads_anywhere(path, reading)
    first: Part | None = None
    rows: list[tuple[int, int, int]] = []
    seen = 0
    for part in read_parts(path, reading, chunk_bytes):
        first = first or part
        offset = copy.add(part.data) if is_copied else seen
        rows.append((part.first_line, offset, part.size))
        seen += part.size
    if first is None:
        return Plan(path, path, "text", (), [])
    if is_copied:
        return Plan(path, copy.path, first.format, first.columns, rows)
    # What is in no part is the header of a table, or the bracket of a list, and comes first.
    header = files.size(path) - seen
    rows = [(line, header + offset, size) for line, offset, size in rows]
    return Plan(path, path, first.format, first.columns, rows)


def _reads_anywhere(path: str, reading: Reading) -> bool:
    """Whether a file has its text as it is read, at the same places."""
    if path.endswith(COMPRESSIONS):
        return False
    form = look(path, reading)
    return form.name != "parquet" and form.encoding == "utf-8"


def corpus_chunks(
    paths: Sequence[str], config: CorpusFlags, engine: Engine, pool: Pool
) -> Iterator[Chunk]:
    """Yields the chunks of a corpus for tasks that count: their order means nothing.

    Args:
        paths: the files of find_files.
        config: their format.
        engine: where tasks run. If they read the corpus themselves, chunks hold places.
        pool: of the engine.
    """
    if not engine.reads_apart:
        return read_chunks(paths, config)
    groups = ((group, config.reading) for group in group_files(paths, estimated_sizes(paths)))
    found = pool.run(_see_group, groups)
    return pack((source for sources in found for source in sources), _COUNT_BYTES)


def _see_group(worker: object, task: tuple[Group, Reading]) -> list[Place | WholeFile]:
    """Finds the parts of files; one that can't be read from its middle stays whole."""
    group, reading = task
    sources: list[Place | WholeFile] = []
    for path, size in zip(group.paths, estimated_sizes(group.paths), strict=True):
        if _reads_anywhere(path, reading):
            with contextlib.ExitStack() as stack:
                sources += _see(path, reading, CHUNK_BYTES, _Copy("", stack)).places()
        else:
            sources.append(WholeFile(path, reading, size))
    return sources
