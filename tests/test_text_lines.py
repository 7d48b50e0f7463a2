import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bert_ko import text_lines
from bert_ko.text_lines import EncodingFlags, open_lines, read_lines, read_text, with_line_feeds

Write = Callable[[bytes], str]
CP949 = "give --input_encoding=cp949, or convert it: `iconv -f cp949 -t utf-8`."
NOT_UTF8 = f"not UTF-8 text; {CP949}"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: bytes) -> str:
        path = tmp_path / "a.txt"
        path.write_bytes(content)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\xef\xbb\xbf", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\r", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\n", ["a", ""]),
        (b"\xef\xbb\xbfa\r\nb\r\n", ["a", "b"]),
        (b"\xef\xbb\xbf\n", [""]),
        ("\ufeff가\n\ufeff나\ufeff".encode(), ["가", "\ufeff나\ufeff"]),
        (b"a\rb\r\r\n", ["a", "b"]),
        (b"a\r\rb\r", ["a", "", "b"]),
        (b"a\rb", ["a", "b"]),
        ("가\u2028나\x85다\n".encode(), ["가\u2028나\x85다"]),
    ],
)
def test_read_lines_only_line_feeds_and_carriage_returns_end_a_line(
    content: bytes, lines: list[str], write: Write
) -> None:
    assert read_lines(write(content)) == lines


def test_read_compressed_text_keeps_line_ends_if_wanted(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("\ufeff봄\r\n\n눈".encode()))
    assert read_lines(str(path)) == ["봄", "", "눈"]
    assert read_text(str(path)) == "봄\r\n\n눈"


@pytest.mark.parametrize("read", [read_lines, read_text])
def test_read_other_encoding_names_the_line(read: Callable[[str], object], write: Write) -> None:
    path = write("a\n봄\n".encode() + "눈\n".encode("cp949"))
    with pytest.raises(ValueError) as error:
        read(path)
    assert str(error.value) == f"{path}:3: {NOT_UTF8}"


def test_open_lines_standard_input_is_read_line_by_line_and_stays_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.BytesIO("봄\n눈\n".encode() + b"\xb0\xa1\n")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stream))
    with open_lines("-") as lines:
        texts = iter(lines)
        assert [next(texts), next(texts)] == ["봄", "눈"]
        assert (lines.source, lines.num_lines) == ("standard input", 2)
        with pytest.raises(ValueError) as error:
            next(texts)
    assert str(error.value) == f"standard input:3: {NOT_UTF8}"
    assert not stream.closed


def test_open_lines_pipe_is_read_line_by_line() -> None:
    reading, writing = os.pipe()
    os.write(writing, "봄\n".encode())
    with open_lines(f"/dev/fd/{reading}") as lines:
        texts = iter(lines)
        assert next(texts) == "봄"  # nothing else is there yet
        os.write(writing, "눈\n".encode())
        os.close(writing)
        assert list(texts) == ["눈"]
    os.close(reading)


def test_open_lines_replace_counts_what_is_damaged(write: Write) -> None:
    with open_lines(write(b"a\nb\xb0\r\n" + "눈".encode()), replace=True) as lines:
        assert list(lines) == ["a", "b\ufffd", "눈"]
    assert (lines.num_lines, lines.num_damaged) == (3, 1)


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("read", [read_lines, lambda path: read_text(path).splitlines()])
def test_read_wide_encoding_is_recognised(
    read: Callable[[str], list[str]], encoding: str, write: Write
) -> None:
    lines = ["봄이 왔다.", "", "나비 3마리가 난다."]
    assert read(write("\r\n".join(lines).encode(encoding))) == lines
    assert read(write("\r".join([*lines, ""]).encode(encoding))) == lines


def test_read_lines_wide_encoding_damaged_line_is_named_or_counted(write: Write) -> None:
    path = write("봄이 왔다.\n".encode("utf-16") + b"\x00\xd8\n\x00" + "눈\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"a\.txt:2: not UTF-16 text\.$"):
        read_lines(path)
    with open_lines(path, replace=True) as lines:
        assert list(lines) == ["봄이 왔다.", "\ufffd", "눈"]
    assert lines.num_damaged == 1


@pytest.mark.parametrize("encoding", ["cp949", "euc-kr", "johab"])
@pytest.mark.parametrize("read", [read_lines, lambda path, **flag: [read_text(path, **flag)]])
def test_read_encoding_that_is_given_is_used(
    read: Callable[..., list[str]], encoding: str, write: Write
) -> None:
    path = write("봄날이 왔다.".encode(encoding))
    assert read(path, encoding=encoding) == ["봄날이 왔다."]
    with pytest.raises(ValueError, match=r"not UTF-8 text"):
        read(path)


def test_read_lines_euc_kr_has_the_syllables_of_cp949(write: Write) -> None:
    assert read_lines(write("똠방각하".encode("cp949")), encoding="euc-kr") == ["똠방각하"]


def test_open_lines_late_carriage_returns_end_lines(write: Write) -> None:
    content = b"a\n" * 100_000 + b"b\rc\r\n\nd"
    assert read_lines(write(content))[100_000:] == ["b", "c", "", "d"]


def test_with_line_feeds_any_cut_gives_the_same() -> None:
    text = b"a\rb\r\nc\r\r\n\rd\r"
    for cut in range(len(text)):
        assert b"".join(with_line_feeds([text[:cut], text[cut:]])) == b"a\nb\r\nc\r\r\n\nd\n"


def test_open_lines_line_of_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"a\n") + 65 * gzip.compress(b" " * (1 << 20)))
    with pytest.raises(ValueError, match=r"a\.txt\.gz:2: over 64 MiB in a line\.$"):
        read_lines(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("read", [read_lines, read_text])
def test_read_small_file_of_gigabytes_is_refused(
    read: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_lines, "_SMALL", 1 << 20)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"\n" * (1 << 20)))
    read(str(path))
    path.write_bytes(gzip.compress(b"\n" * ((1 << 20) + 1)))
    with pytest.raises(ValueError, match=r"a\.txt\.gz expands to more than 1 MiB, and is no text"):
        read(str(path))


@pytest.mark.parametrize("name", ["cp-949", "hex", "", "a\0"])
def test_encoding_flags_unknown_encoding_raises(name: str) -> None:
    with pytest.raises(ValueError, match=r"^--input_encoding must be an encoding such as cp949"):
        EncodingFlags(input_encoding=name)


def test_read_lines_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_lines(str(tmp_path / "a"))
