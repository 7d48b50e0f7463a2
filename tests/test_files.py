import bz2
import contextlib
import errno
import gzip
import io
import lzma
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from fsspec.compression import compr

from bert_ko import files
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


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("gs://bucket/a.txt", True),
        ("memory://a", True),
        ("file:///a", True),
        ("a/b.txt", False),
        ("/a//b", False),
        ("", False),
        ("말뭉치://x", False),
    ],
)
def test_is_remote_path_is_told_by_scheme(path: str, expected: bool) -> None:
    assert files.is_remote(path) is expected


def test_expand_inputs_file_glob_folder_keep_order_without_repeats(tmp_path: Path) -> None:
    b, a = write(tmp_path / "b.txt"), write(tmp_path / "a.txt")
    deep = write(tmp_path / "folder" / "AA" / "wiki_00")
    write(tmp_path / "folder" / ".hidden")
    write(tmp_path / "folder" / ".git" / "config")
    patterns = [b, str(tmp_path / "*.txt"), str(tmp_path / "folder"), f"{tmp_path}/./a.txt"]
    assert files.expand_inputs(patterns) == [b, a, deep]


def test_expand_inputs_glob_of_folders_gives_their_files(tmp_path: Path) -> None:
    paths = [write(tmp_path / folder / "wiki_00") for folder in ("AA", "AB")]
    assert files.expand_inputs([str(tmp_path / "A?")]) == paths


def test_expand_inputs_suffixes_look_through_compression(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt.gz", "c.json", "d.json.zst", "e"):
        write(tmp_path / name)
    found = files.expand_inputs([str(tmp_path)], suffixes=(".txt",))
    assert found == [str(tmp_path / "a.txt"), str(tmp_path / "b.txt.gz")]
    assert files.expand_inputs([str(tmp_path / "e")], suffixes=(".txt",)) == [str(tmp_path / "e")]


def test_expand_inputs_name_with_brackets_is_a_file_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a[1].txt")
    write(tmp_path / "a1.txt")
    assert files.expand_inputs([path]) == [path]


@pytest.mark.parametrize("pattern", ["nothing.txt", "*.none", "", "memory://nothing/*.txt"])
def test_expand_inputs_no_match_names_pattern(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        files.expand_inputs([pattern])
    assert repr(pattern) in str(caught.value)


def test_expand_inputs_empty_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"\.txt"):
        files.expand_inputs([str(tmp_path)], suffixes=(".txt",))


def test_expand_inputs_remote_file_glob_folder(memory: str) -> None:
    for name in ("b.txt", "a.txt.gz", "deep/c.txt", ".x/d.txt", ".e.txt"):
        put(f"{memory}/{name}")
    full = memory.replace("memory://", "memory:///")
    assert files.expand_inputs([f"{memory}/b.txt", f"{memory}/*.txt"]) == [
        f"{full}/b.txt",
        f"{full}/.e.txt",
    ]
    assert files.expand_inputs([memory], suffixes=(".txt",)) == [
        f"{full}/a.txt.gz",
        f"{full}/b.txt",
        f"{full}/deep/c.txt",
    ]


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


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(
    "damage", ["cut off", "cut off in second member", "garbage", "overwritten"]
)
def test_open_binary_damaged_file_raises_with_name(
    extension: str, damage: str, tmp_path: Path
) -> None:
    data = COMPRESS[extension](os.urandom(300_000))
    if damage == "cut off":
        data = data[:-20]
    elif damage == "cut off in second member":
        data = COMPRESS[extension](b"one") + data[:1000]
    elif damage == "garbage":
        data = b"this is no compressed file at all, it is text" * 100
    else:
        # Within the headers, as zstandard writes no checksums of the contents by default.
        data = data[:6] + b"\xff" * 50 + data[56:]
    path = write(tmp_path / f"damaged{extension}", data)
    with pytest.raises(ValueError, match=f"damaged{extension} is damaged or cut off: ."):
        read(path)


@pytest.mark.parametrize("extension", ["", *EXTENSIONS])
@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_decompressed_error_of_the_network_is_no_damage(
    kind: type[Exception], extension: str
) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise kind("the line is cut")

    with decompressed(f"a{extension}", Broken()) as stream, pytest.raises(kind, match=r"^the line"):
        stream.read()


def test_decompressed_error_of_any_decompressor_names_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fast(io.BytesIO):  # another package than the standard library's, with errors of its own
        def read(self, size: int | None = -1, /) -> bytes:
            raise RuntimeError("bad block")

    monkeypatch.setitem(compr, "gzip", lambda source, mode: Fast())
    with decompressed("a.gz", io.BytesIO()) as stream:
        with pytest.raises(ValueError) as caught:
            stream.read()
        assert str(caught.value) == "a.gz is damaged or cut off: bad block"


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


def test_open_binary_missing_remote_package_says_pip_command() -> None:
    if importable("gcsfs"):
        pytest.skip("gcsfs is installed")
    with pytest.raises(ValueError, match=r"gs://bucket/a\.txt .*pip install gcsfs$"):
        files.open_binary("gs://bucket/a.txt")


def importable(name: str) -> bool:
    with contextlib.suppress(ImportError):
        __import__(name)
        return True
    return False


def test_size_and_fingerprint_tell_a_changed_file(tmp_path: Path, memory: str) -> None:
    path = write(tmp_path / "a", "12345")
    before = files.fingerprint(path)
    assert before == {"path": path, "size": 5, "mtime_ns": os.stat(path).st_mtime_ns}
    os.utime(path, ns=(0, 1))
    assert files.fingerprint(path) != before
    url = put(f"{memory}/a", b"1234")
    assert files.size(url) == 4
    assert files.fingerprint(url) == {"path": url, "size": 4, "mtime_ns": None}


def test_write_atomic_text_and_bytes_leave_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_atomic(str(path), "가나다")
    assert path.read_text(encoding="utf-8") == "가나다"
    files.write_atomic(f"file://{path}", b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


def test_write_atomic_respects_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        files.write_atomic(str(tmp_path / "a"), b"")
    finally:
        os.umask(old)
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o644


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_atomic_writer_error_keeps_old_file(kind: type[BaseException], tmp_path: Path) -> None:
    path = write(tmp_path / "a", "old")
    with pytest.raises(kind), files.atomic_writer(path) as stream:
        stream.write(b"half")
        raise kind
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_atomic_writer_error_publishes_no_remote_file(memory: str) -> None:
    with pytest.raises(RuntimeError), files.atomic_writer(f"{memory}/a") as stream:
        stream.write(b"half")
        raise RuntimeError
    with pytest.raises(FileNotFoundError):
        files.open_binary(f"{memory}/a")


def test_atomic_writer_two_remote_files_at_once(memory: str) -> None:
    with files.atomic_writer(f"{memory}/a") as a:
        a.write(b"a1")
        with files.atomic_writer(f"{memory}/b") as b:
            b.write(b"b")
        assert read(f"{memory}/b") == b"b"
        with pytest.raises(FileNotFoundError):
            files.open_binary(f"{memory}/a")
        a.write(b"a2")
    assert read(f"{memory}/a") == b"a1a2"


def test_atomic_writer_temporary_name_is_hidden_with_pid(tmp_path: Path) -> None:
    with files.atomic_writer(str(tmp_path / "a")):
        assert names(tmp_path) == [f".a.{os.getpid()}.tmp"]


def test_atomic_writer_missing_folder_names_file(tmp_path: Path) -> None:
    path = str(tmp_path / "none" / "a")
    with pytest.raises(FileNotFoundError) as caught, files.atomic_writer(path):
        pass
    assert caught.value.filename == path


def test_atomic_writer_on_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), files.atomic_writer(str(tmp_path)):
        pass


def test_atomic_writer_full_disk_names_file(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    with pytest.raises(OSError) as caught, files.atomic_writer(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == path
    assert names(tmp_path) == []


def test_atomic_writer_device_is_written_directly() -> None:
    files.write_atomic(os.devnull, b"x")
    assert not os.path.isfile(os.devnull)


def test_require_writable_folder_creates_it(tmp_path: Path, memory: str) -> None:
    files.require_writable_folder(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    files.require_writable_folder(str(tmp_path / "a" / "b"))
    files.require_writable_folder(f"{memory}/a")


def test_require_writable_folder_file_raises(tmp_path: Path) -> None:
    path = write(tmp_path / "a")
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


@pytest.mark.parametrize("kind", [RuntimeError, OSError, KeyboardInterrupt])
def test_lock_error_inside_goes_through_and_frees_it(
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
from bert_ko import files
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


def test_expand_inputs_folder_empty_suffix_takes_names_without_extension(tmp_path: Path) -> None:
    for name in ("wiki_00", "wiki_01.gz", "notes.md", "a.txt"):
        (tmp_path / name).write_bytes(b"")
    found = files.expand_inputs([str(tmp_path)], (".txt", ""))
    assert [Path(path).name for path in found] == ["a.txt", "wiki_00", "wiki_01.gz"]


def test_durable_writer_names_the_file_of_its_errors(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    with files.durable_writer(path) as stream:
        stream.write(b"x")
    assert Path(path).read_bytes() == b"x"
    with pytest.raises(OSError) as error, files.durable_writer(path):
        raise OSError(28, "No space left on device")
    assert error.value.filename == path
