import gzip
import os
import re
import struct
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko import files
from bert_ko.data import records as module
from bert_ko.data.position import PositionError
from bert_ko.data.records import Position, ShardReader, read_records
from bert_ko.data.tfrecord import MAX_RECORD_BYTES, masked_checksum

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, 1, mtime=0),
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}
EXTENSIONS = sorted(COMPRESS)
BLOCK = 1 << 20
FRAME = 16


def frame(body: bytes) -> bytes:
    size = struct.pack("<Q", len(body))
    head = size + struct.pack("<I", masked_checksum(size))
    return head + body + struct.pack("<I", masked_checksum(body))


def write(path: Path, bodies: Sequence[bytes]) -> str:
    """Writes records, compressed by the extension."""
    path.write_bytes(COMPRESS[path.suffix](b"".join(map(frame, bodies))))
    return str(path)


def read_all(reader: ShardReader, count: int) -> list[bytes]:
    found = []
    with reader:
        while part := reader.read(count):
            assert len(part) <= count
            found += part
    return found


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 64)


SMALL = ["가".encode(), b"", "나다".encode() * 9, b"\0" * 200, b"x"]


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_shard_reader_small_records_are_read_in_order(
    extension: str, count: int, tmp_path: Path
) -> None:
    path = write(tmp_path / f"a{extension}", SMALL)
    assert read_all(ShardReader(path), count) == SMALL
    assert list(read_records(path)) == SMALL


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=150), max_size=12),
    st.integers(1, 5),
    st.integers(0, 12),
    st.sampled_from(EXTENSIONS),
    st.integers(1, 100),
)
def test_shard_reader_resumed_anywhere_gives_the_rest(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], count: int, stop: int,
    extension: str, block: int,
) -> None:  # fmt: skip
    path = write(tmp_path_factory.getbasetemp() / f"resumed{extension}", bodies)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        with ShardReader(path) as first:
            begin = first.read(stop)
            again = ShardReader(path, first.offset, first.record)
            assert read_all(again, count) == bodies[stop:]
            # The first reader continues, closed in between or not.
            first.close()
            middle = first.read(1)
            rest = read_all(first, count)
        assert begin + middle + rest == bodies
        assert again.record == first.record == len(bodies)
        assert again.offset == first.offset == sum(len(body) + FRAME for body in bodies)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_shard_reader_records_around_a_block_are_whole(extension: str, tmp_path: Path) -> None:
    noise = os.urandom(3 * BLOCK)
    sizes = [2 * BLOCK + 5, 1, BLOCK - FRAME, BLOCK, BLOCK - 2 * FRAME, 0, 3 * BLOCK, 7]
    bodies = [noise[:size] for size in sizes]
    path = write(tmp_path / f"a{extension}", bodies)
    assert read_all(ShardReader(path), 3) == bodies
    offset = sum(size + FRAME for size in sizes[:3])
    assert read_all(ShardReader(path, offset, 3), 100) == bodies[3:]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_shard_reader_remote_file_is_resumed(extension: str) -> None:
    path = f"memory://{uuid.uuid4().hex}/a{extension}"
    files.write_atomic(path, COMPRESS[extension](b"".join(map(frame, SMALL))))
    with ShardReader(path) as reader:
        reader.read(2)
        place = reader.offset, reader.record
    assert read_all(ShardReader(path, *place), 2) == SMALL[2:]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_shard_reader_shorter_than_the_position_raises(extension: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{extension}", SMALL)
    with ShardReader(path) as reader:
        reader.read(9)
        offset, record = reader.offset, reader.record
    assert read_all(ShardReader(path, offset, record), 1) == []
    before = open_files()
    expected = rf"^{re.escape(path)}: record 5: the file is shorter than when it was read before\. "
    with ShardReader(path, offset + 1, record) as reader, pytest.raises(ValueError, match=expected):
        reader.read(1)
    assert open_files() == before


def test_shard_reader_closes_its_file_at_the_end_and_midway(tmp_path: Path) -> None:
    before = open_files()
    for extension in EXTENSIONS:
        path = write(tmp_path / f"a{extension}", SMALL)
        reader = ShardReader(path)
        assert open_files() == before
        reader.read(1)
        assert open_files() == before + 1
        reader.close()
        reader.close()
        assert open_files() == before
        reader.read(100)
        assert open_files() == before
        some = read_records(path)
        assert next(some) == SMALL[0]
        some.close()
        assert open_files() == before


def test_shard_reader_missing_file_raises_when_read(tmp_path: Path) -> None:
    reader = ShardReader(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="none"):
        reader.read(1)


def damage_message(path: Path, number: str) -> str:
    return rf"^{re.escape(str(path))}: record {number}: .*Make the shard again"


def test_read_records_any_truncation_raises_or_ends_at_a_record(
    tmp_path: Path, small_blocks: None
) -> None:
    path = tmp_path / "a"
    data = Path(write(path, SMALL)).read_bytes()
    ends = [0]
    for body in SMALL:
        ends.append(ends[-1] + FRAME + len(body))
    for size in range(len(data)):
        path.write_bytes(data[:size])
        if size in ends:
            assert list(read_records(str(path))) == SMALL[: ends.index(size)]
            continue
        number = sum(end <= size for end in ends) - 1
        with pytest.raises(ValueError, match=damage_message(path, str(number)) + ".*copy it again"):
            list(read_records(str(path)))


@pytest.mark.slow
def test_read_records_any_flipped_bit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    bodies = [b"12345", b"", b"6789"]
    data = Path(write(path, bodies)).read_bytes()
    numbers = [i for i, body in enumerate(bodies) for _ in range(FRAME + len(body))]
    for place in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=damage_message(path, str(numbers[place]))):
                list(read_records(str(path)))


@pytest.mark.parametrize("extension", [".gz", ".zst"])
def test_read_records_compressed_any_truncation_is_named(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{extension}"
    data = Path(write(path, SMALL)).read_bytes()
    for size in range(1, len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=damage_message(path, "[0-4]")) as caught:
            list(read_records(str(path)))
        assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("extension", [".gz", ".zst"])
def test_read_records_compressed_any_flipped_bit_is_named_or_harmless(
    extension: str, tmp_path: Path
) -> None:
    # A time or a comment in the header of a compressed file does not matter.
    path = tmp_path / f"a{extension}"
    data = Path(write(path, SMALL)).read_bytes()
    harmless = 0
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            assert list(read_records(str(path))) == SMALL
        except ValueError as error:
            assert re.search(damage_message(path, "[0-5]"), str(error))
        else:
            harmless += 1
    assert harmless <= 12


def test_read_records_no_tfrecord_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("그냥 글일 뿐이다.\n" * 3, encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.txt: record 0: .* this is not a TFRecord file"):
        list(read_records(str(path)))


def test_read_records_enormous_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    head = struct.pack("<Q", MAX_RECORD_BYTES + 1)
    head += struct.pack("<I", masked_checksum(head))
    path.write_bytes(frame(b"1") + head)
    with pytest.raises(
        ValueError, match="record 1: 1,073,741,825 bytes are too many for an instance"
    ):
        list(read_records(str(path)))


PLACE = {"epoch": 1, "window": 0, "next_shard": 2, "open_shards": [[1, 0, 0]], "used": 3}


def test_position_from_values_is_the_stored_one() -> None:
    assert Position.from_values(PLACE, 2) == Position(1, 0, 2, [[1, 0, 0]], 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zz": 1}, "'zz' is unknown"),
        ({"used": -1}, "used must be an integer of at least 0, got -1"),
        ({"epoch": "1"}, "epoch must be an integer of at least 0, got '1'"),
        ({"open_shards": [[2, 0, 0]]}, "open_shards and next_shard are not of 2 shards"),
        ({"open_shards": [[0, 0]]}, "open_shards and next_shard are not of 2 shards"),
        ({"open_shards": None}, "open_shards and next_shard are not of 2 shards"),
        ({"next_shard": 3}, "open_shards and next_shard are not of 2 shards"),
    ],
)
def test_position_from_values_of_something_else_is_an_error(changes: Any, message: str) -> None:
    with pytest.raises(PositionError) as error:
        Position.from_values({**PLACE, **changes}, 2)
    assert str(error.value) == message
    with pytest.raises(PositionError, match="'window' is missing"):
        Position.from_values({k: v for k, v in PLACE.items() if k != "window"}, 2)
