import bz2
import contextlib
import errno
import gzip
import importlib.util
import io
import lzma
import os
import re
import subprocess
import sys
import tracemalloc
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from fsspec.compression import compr

from bert_ko import files, remote
from bert_ko.compression import decompressed

TEXT = "도서관에서 빌린 책을 반납했습니다.\n" * 5000

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}
EXTENSIONS = sorted(COMPRESS)


@pytest.fixture
def memory() -> str:
    return f"memory://{uuid.uuid4().hex}"


def write(path: Path, data: str | bytes = "") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def put(url: str, data: bytes = b"") -> str:
    files.write_atomic(url, data)
    return url


def read(path: str) -> bytes:
    with files.open_binary(path) as stream:
        return stream.read()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_is_remote_depends_on_the_scheme() -> None:
    assert all(map(files.is_remote, ("gs://bucket/a.txt", "memory://a", "file:///a")))
    assert not any(map(files.is_remote, ("a/b.txt", "/a//b", "", "말뭉치://x")))


def test_expand_inputs_file_glob_folder_keep_order_without_repeats(tmp_path: Path) -> None:
    b, a = write(tmp_path / "b.txt"), write(tmp_path / "a[1].txt")
    deep = [write(tmp_path / "folder" / name / "wiki_00") for name in ("AA", "AB")]
    for hidden in (".hidden", ".git/config"):
        write(tmp_path / "folder" / hidden)
    one = write(tmp_path / "a1.txt")
    patterns = [b, a, str(tmp_path / "*.txt"), str(tmp_path / "folder"), f"{tmp_path}/./b.txt"]
    assert files.expand_inputs(patterns) == [b, a, one, *deep]
    assert files.expand_inputs([str(tmp_path / "folder" / "A?")]) == deep


def test_expand_inputs_suffixes_look_through_compression(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt.gz", "c.json", "d.json.zst", "e", "f.gz"):
        write(tmp_path / name)

    def found(suffixes: tuple[str, ...], path: Path = tmp_path) -> list[str]:
        return [Path(path).name for path in files.expand_inputs([str(path)], suffixes)]

    assert found((".txt",)) == ["a.txt", "b.txt.gz"]
    assert found((".json", "")) == ["c.json", "d.json.zst", "e", "f.gz"]
    assert found((".txt",), tmp_path / "e") == ["e"]  # it is no folder
    with pytest.raises(
        FileNotFoundError, match=r"\(looked for names ending in \.xml; found a\.txt\)\.$"
    ):
        found((".xml", ""), Path(write(tmp_path / "g" / "a.txt")).parent)


@pytest.mark.parametrize("pattern", ["nothing.txt", "*.none", "", "memory://nothing/*.txt"])
def test_expand_inputs_no_match_names_pattern(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        files.expand_inputs([pattern])
    assert repr(pattern) in str(caught.value)


def test_expand_inputs_remote_file_glob_folder(memory: str) -> None:
    for name in ("b.txt", "a.txt.gz", "deep/c.txt", ".x/d.txt", ".e.txt"):
        put(f"{memory}/{name}")
    full = memory.replace("memory://", "memory:///")
    found = files.expand_inputs([f"{memory}/b.txt", f"{memory}/*.txt"])
    assert found == [f"{full}/b.txt", f"{full}/.e.txt"]
    found = files.expand_inputs([memory], suffixes=(".txt",))
    assert found == [f"{full}/{name}" for name in ("a.txt.gz", "b.txt", "deep/c.txt")]


def test_expand_inputs_file_url_glob_can_be_read(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "가")
    (found,) = files.expand_inputs([f"file://{tmp_path}/*.txt"])
    assert found == f"file://{tmp_path}/a.txt"
    assert read(found) == "가".encode()


@pytest.mark.parametrize("extension", ["", *EXTENSIONS])
@pytest.mark.parametrize("place", ["local", "file://", "memory://"])
def test_open_binary_any_compression_gives_text(
    extension: str, place: str, tmp_path: Path, memory: str
) -> None:
    data = COMPRESS.get(extension, bytes)(TEXT.encode())
    if place == "memory://":
        path = put(f"{memory}/a.txt{extension}", data)
    else:
        path = place.replace("local", "") + write(tmp_path / f"a.txt{extension}", data)
    with files.open_binary(path) as stream:
        assert stream.readline().decode() == "도서관에서 빌린 책을 반납했습니다.\n"
        assert sum(1 for _ in stream) == 4999


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_open_binary_several_members_are_joined(extension: str, tmp_path: Path) -> None:
    compress = COMPRESS[extension]
    data = compress(b"one\n") + compress(b"") + compress(TEXT.encode())
    assert read(write(tmp_path / f"a{extension}", data)) == b"one\n" + TEXT.encode()


def test_open_binary_zstd_skippable_frame_is_skipped(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"abcd"
    data = skippable + COMPRESS[".zst"](b"hi") + skippable
    assert read(write(tmp_path / "a.zst", data)) == b"hi"


DAMAGE: dict[str, Callable[[bytes, bytes], bytes]] = {
    "cut off": lambda data, one: data[:-20],
    "cut off in second member": lambda data, one: one + data[:1000],
    "garbage": lambda data, one: bytes(range(256)) * 100,
    # Within the headers, as zstandard writes no checksums of the contents by default.
    "overwritten": lambda data, one: data[:6] + b"\xff" * 50 + data[56:],
}


@pytest.mark.slow
@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_open_binary_damaged_file_raises_with_name(
    extension: str, damage: str, tmp_path: Path
) -> None:
    compress = COMPRESS[extension]
    data = DAMAGE[damage](compress(os.urandom(300_000)), compress(b"one"))
    path = write(tmp_path / f"damaged{extension}", data)
    with pytest.raises(ValueError, match=f"damaged{extension} is damaged or cut off: ."):
        read(path)


class Broken(io.BytesIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def read(self, size: int | None = -1, /) -> bytes:
        raise self.error


@pytest.mark.parametrize("extension", ["", *EXTENSIONS])
@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_decompressed_error_of_the_network_is_no_damage(
    kind: type[Exception], extension: str
) -> None:
    broken = Broken(kind("the line is cut"))
    with decompressed(f"a{extension}", broken) as stream, pytest.raises(kind, match=r"^the line"):
        stream.read()


def test_decompressed_error_of_any_decompressor_names_file(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another package than the standard library's, with its own errors.
    monkeypatch.setitem(compr, "gzip", lambda source, mode: Broken(RuntimeError("bad block")))
    with decompressed("a.gz", io.BytesIO()) as stream:
        with pytest.raises(ValueError) as caught:
            stream.read()
        assert str(caught.value) == "a.gz is damaged or cut off: bad block"


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"decompressed as it was loaded down\n", "text"),
        (b"PK\x03\x04" + bytes(40), "a zip archive"),
    ],
)
def test_open_binary_other_data_than_the_name_says_is_named(
    data: bytes, found: str, extension: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"a{extension}", data)
    message = rf"a{extension} is not \w+ data, as its name says, but {found}; rename it\.$"
    with pytest.raises(ValueError, match=message), files.open_binary(path) as stream:
        stream.read()


@pytest.mark.slow
def test_open_binary_small_file_of_gigabytes_takes_little_memory(tmp_path: Path) -> None:
    frame = COMPRESS[".zst"](b"\n" * (200 << 20))
    path = write(tmp_path / "a.txt.zst", frame)
    tracemalloc.start()
    with files.open_binary(path) as stream:
        size = sum(map(len, iter(lambda: stream.read(1 << 20), b"")))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (size, len(frame) < 20_000) == (200 << 20, True) and most < 100 << 20


def test_open_binary_missing_file_raises(tmp_path: Path, memory: str) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        files.open_binary(str(tmp_path / "none.gz"))
    with pytest.raises(FileNotFoundError, match=f"{memory}/none does not exist"):
        files.open_binary(f"{memory}/none")


def test_open_binary_missing_package_says_pip_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ValueError, match=r"pip install zstandard$"):
        files.open_binary(write(tmp_path / "a.zst"))
    with pytest.raises(ValueError, match=r"pip install fsspec$"):
        files.open_binary("gs://bucket/a.txt")


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_open_binary_missing_remote_package_says_pip_command() -> None:
    with pytest.raises(ValueError, match=r"gs://bucket/a\.txt .*pip install gcsfs$"):
        files.open_binary("gs://bucket/a.txt")


def test_size_and_fingerprint_tell_a_changed_file(tmp_path: Path, memory: str) -> None:
    path = write(tmp_path / "a", "12345")
    before = files.fingerprint(path)
    assert before == {"path": path, "size": 5, "mtime_ns": os.stat(path).st_mtime_ns}
    os.utime(path, ns=(0, 1))
    assert files.fingerprint(path) != before
    url = put(f"{memory}/a", b"1234")
    assert files.size(url) == 4
    assert files.fingerprint(url) == {"path": url, "size": 4, "mtime_ns": None}


def test_write_atomic_text_and_bytes_leave_no_other_file_and_respect_umask(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    old = os.umask(0o022)
    try:
        files.write_atomic(str(path), "가나다")
    finally:
        os.umask(old)
    assert path.read_text(encoding="utf-8") == "가나다"
    assert path.stat().st_mode & 0o777 == 0o644
    files.write_atomic(f"file://{path}", b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]
    files.write_atomic(os.devnull, b"x")
    assert not os.path.isfile(os.devnull)


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_atomic_writer_error_keeps_old_file(kind: type[BaseException], tmp_path: Path) -> None:
    path = write(tmp_path / "a", "old")
    with pytest.raises(kind), files.atomic_writer(path) as stream:
        stream.write(b"half")
        assert [name[:3] for name in names(tmp_path)] == [".a.", "a"]
        raise kind
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_atomic_writer_remote_files_appear_when_they_are_complete(memory: str) -> None:
    with files.atomic_writer(f"{memory}/a") as a:
        a.write(b"a1")
        with files.atomic_writer(f"{memory}/b") as b:
            b.write(b"b")
        assert read(f"{memory}/b") == b"b"
        with pytest.raises(FileNotFoundError):
            files.open_binary(f"{memory}/a")
        a.write(b"a2")
    assert read(f"{memory}/a") == b"a1a2"
    with pytest.raises(RuntimeError), files.atomic_writer(f"{memory}/c") as stream:
        stream.write(b"half")
        raise RuntimeError
    with pytest.raises(FileNotFoundError):
        files.open_binary(f"{memory}/c")


def test_atomic_writer_where_files_are_renamed_they_have_another_name_before(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_RENAMING", frozenset(["memory"]))  # as HDFS does
    put(f"{memory}/a", b"old")
    for error in (None, RuntimeError("full")):
        with contextlib.suppress(RuntimeError), files.atomic_writer(f"{memory}/a") as stream:
            stream.write(b"new")
            hidden, seen = files.list_folder(memory)
            assert re.fullmatch(r"\.a\.[0-9a-f]{8}\.tmp", hidden) and seen == "a"
            if error:
                raise error
        assert read(f"{memory}/a") == b"new"
        assert list(files.list_folder(memory)) == ["a"]


def test_files_of_a_folder_are_listed_asked_for_and_removed(tmp_path: Path, memory: str) -> None:
    for folder in (str(tmp_path / "new"), memory, f"file://{tmp_path}/other"):
        assert files.list_folder(folder) == {}
        files.require_writable_folder(folder)
        paths = [files.join(folder, name) for name in ("b", "가", "a.json")]
        for number, path in enumerate(paths):
            files.write_atomic(path, b"x" * number)
        files.require_writable_folder(files.join(folder, "deep"))
        files.write_atomic(files.join(folder, "deep/c"), b"")
        assert files.list_folder(folder) == {"a.json": 2, "b": 0, "가": 1}
        assert files.sizes(paths) == [0, 1, 2]
        assert list(map(files.exists, [folder, *paths])) == [True] * 4
        files.remove([*paths[:2], files.join(folder, "missing")])
        files.remove([])
        assert list(files.list_folder(folder)) == ["a.json"]
        assert not files.exists(paths[0])
        with pytest.raises(FileNotFoundError):
            files.sizes(paths)


def test_read_ranges_are_those_bytes_and_fewer_at_the_end(tmp_path: Path, memory: str) -> None:
    for paths in (
        [write(tmp_path / "a", "0123456789"), write(tmp_path / "b", "abc")],
        [put(f"{memory}/a", b"0123456789"), put(f"{memory}/b", b"abc")],
    ):
        a, b = paths
        ranges = [files.Range(a, 2, 5), files.Range(b, 1, 1), files.Range(b, 1, 9)]
        assert files.read_ranges(ranges) == [b"234", b"", b"bc"]
        assert files.read_ranges(ranges[1:2]) == [b""]
    assert files.read_ranges([]) == []


def test_atomic_writer_missing_folder_or_folder_is_named(tmp_path: Path) -> None:
    for path, kind in ((tmp_path / "none" / "a", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(kind) as caught, files.atomic_writer(str(path)):
            pass
        assert caught.value.filename == str(path)


@pytest.mark.parametrize("writer", [files.atomic_writer, files.durable_writer])
def test_writers_full_disk_names_file_but_other_errors_do_not(writer: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    with writer(path) as stream:
        stream.write(b"x")
    assert Path(path).read_bytes() == b"x"
    for error, filename in (
        (OSError(errno.ENOSPC, "No space left on device"), path),
        (BrokenPipeError(errno.EPIPE, "of another file"), None),
    ):
        with pytest.raises(OSError) as caught, writer(path):
            raise error
        assert caught.value.filename == filename
    assert names(tmp_path) == ["a"]


def test_read_limited_small_file_is_read_and_a_large_one_refused(
    tmp_path: Path, memory: str
) -> None:
    path = write(tmp_path / "a.json", "{}")
    assert files.read_limited(path, 2) == b"{}"
    assert files.read_limited(put(f"{memory}/a", b"{}"), 2) == b"{}"
    packed = write(tmp_path / "b.json.gz", gzip.compress(b" " * 100))
    for large, limit in ((path, 1), (packed, 99)):
        with pytest.raises(ValueError, match=rf"^{large} has more than {limit} bytes"):
            files.read_limited(large, limit)
    with pytest.raises(FileNotFoundError, match="none"):
        files.read_limited(str(tmp_path / "none"))


def test_read_limited_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, kind in (
        (str(tmp_path / "fifo"), "a pipe"),
        (str(tmp_path), "a folder"),
        (os.devnull, "a device"),
        ("/dev/zero", "a device"),
    ):
        with pytest.raises(ValueError) as caught:
            files.read_limited(path)
        assert str(caught.value) == f"{path} is {kind}, not a file to read."


def test_require_writable_folder_creates_it_unless_it_is_a_file(
    tmp_path: Path, memory: str
) -> None:
    files.require_writable_folder(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    files.require_writable_folder(str(tmp_path / "a" / "b"))
    files.require_writable_folder(f"{memory}/a")
    path = write(tmp_path / "c")
    for folder in (path, f"{path}/b"):
        with pytest.raises(ValueError, match="must be a folder"):
            files.require_writable_folder(folder)


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="the superuser may write anywhere")
def test_require_writable_folder_read_only_raises(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="can't be written"):
        files.require_writable_folder(str(tmp_path))
    with pytest.raises(ValueError, match="can't be created"):
        files.require_writable_folder(str(tmp_path / "a"))


def test_lock_second_holder_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    message = f"another run is writing here ({tmp_path}); wait for it or stop it."
    with files.lock(path):
        with pytest.raises(ValueError) as caught, files.lock(path):
            pytest.fail("held twice")
        assert str(caught.value) == message
        with files.lock(str(tmp_path / "other")):
            pass
    assert names(tmp_path) == ["lock", "other"]
    with files.lock(path):
        pass


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_lock_of_another_kind_is_an_error_with_its_name(kind: str, tmp_path: Path) -> None:
    kept, path = write(tmp_path / "kept", "내 논문"), tmp_path / "lock"
    if kind == "link":
        path.symlink_to(kept)
    else:
        path.mkdir()
    with pytest.raises(OSError) as caught, files.lock(str(path)):
        pytest.fail("held")
    assert caught.value.filename == str(path)
    assert read(kept) == "내 논문".encode()


@pytest.mark.parametrize("kind", [RuntimeError, OSError, KeyboardInterrupt])
def test_lock_error_inside_passes_and_releases_it(
    kind: type[BaseException], tmp_path: Path
) -> None:
    path = str(tmp_path / "lock")
    with pytest.raises(kind, match="mine"), files.lock(path):
        raise kind("mine")
    with files.lock(path):
        pass


def test_lock_goes_with_a_process_that_is_killed(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    script = (
        "import sys, time; from bert_ko import files\n"
        "with files.lock(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match="another run"), files.lock(path):
            pytest.fail("held twice")
        process.kill()
        process.wait()
    with files.lock(path):
        pass


def test_files_without_posix_modules_can_be_imported() -> None:
    script = """
import sys
sys.modules.update(fcntl=None, pwd=None, grp=None, resource=None)
from bert_ko import files, remote
assert "filelock" not in sys.modules  # imported by those who lock
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.parametrize("meanwhile", ["removed", "made anew"])
def test_lock_file_that_its_owner_has_removed_is_no_lock(
    meanwhile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other run ends between our opening of the file and our locking it.
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "lock"
    flock = fcntl.flock

    def late(file: int, how: int) -> None:
        path.unlink()
        if meanwhile == "made anew":
            path.write_bytes(b"")
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ValueError, match="another run is writing here"), files.lock(str(path)):
        pytest.fail("held a file that no one else would open")
