import gzip
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bert_ko.text_lines import open_lines, read_lines, read_text

Write = Callable[[bytes], str]
NOT_UTF8 = "not UTF-8 text (CP949? `iconv -f cp949 -t utf-8`)."


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
        (b"a\rb\r\r\n", ["a\rb\r"]),
        ("가\u2028나\x85다\n".encode(), ["가\u2028나\x85다"]),
    ],
)
def test_read_lines_only_line_feeds_end_a_line(
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


def test_open_lines_replace_counts_what_is_damaged(write: Write) -> None:
    with open_lines(write(b"a\nb\xb0\r\n" + "눈".encode()), replace=True) as lines:
        assert list(lines) == ["a", "b\ufffd", "눈"]
    assert (lines.num_lines, lines.num_damaged) == (3, 1)


def test_read_lines_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_lines(str(tmp_path / "a"))
