import contextlib
import csv
import gzip
import io
import json
import re
import uuid
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bert_ko import files
from bert_ko.csv_rows import read_rows
from bert_ko.data.corpus import (
    Chunk,
    CorpusFlags,
    Part,
    batches,
    choose_batch_size,
    choose_chunk_bytes,
    estimated_sizes,
    find_files,
    read_chunks,
)

DOCUMENTS = "".join(f"{i}번째 글이다.\n둘째 줄이다.\n\n" for i in range(60))

# Blank lines as they are found in files: with blanks, with carriage returns.
BLANK_LINES = st.sampled_from(["\n", "\n\n", " \n", "\t \n", "\r\n", " \r\n\r\n"])
LINES = st.text("가힣a.😀 ", min_size=1, max_size=12).map(lambda text: f"{text}나")
TEXT_DOCUMENTS = st.lists(
    st.tuples(st.lists(LINES, min_size=1, max_size=4), BLANK_LINES), min_size=1, max_size=12
)


def parts_of(data: bytes, chunk_bytes: int, kind: str = "text") -> list[Part]:
    """The parts of a file that holds the data."""
    url = files_url(data)
    config = CorpusFlags(input_file=(url,), input_format=kind)  # type: ignore[arg-type]
    return [part for chunk in read_chunks([url], config, chunk_bytes) for part in chunk.parts()]


def files_url(data: bytes) -> str:
    url = f"memory://corpus-{uuid.uuid4().hex}"
    files.write_atomic(url, data)
    return url


def text_of(documents: list[tuple[list[str], str]], end: str) -> bytes:
    lines = "".join(end.join(lines) + end + blank for lines, blank in documents)
    return lines.encode()


def documents_in(data: bytes) -> list[list[str]]:
    """The documents of a text, by another way than the code under test."""
    return [
        [line.strip() for line in block.split("\n") if line.strip()]
        for block in re.split(r"\n(?:[ \t\r]*\n)+", data.decode())
        if block.strip()
    ]


@given(st.text("가a😀\r\n \t", max_size=300).map(str.encode), st.integers(1, 60))
@example(b"", 1)
@example(("가" * 100).encode(), 1)
@example(b"\n" * 50, 3)
@example(b"a\n" * 200 + b"\x80" * 2, 1)
@example(b"a\r\r\n\r\r", 1)
def test_read_chunks_any_bytes_any_size_are_complete(data: bytes, chunk_bytes: int) -> None:
    parts = parts_of(data, chunk_bytes)
    # A carriage return alone ends a line.
    assert b"".join(part.data for part in parts) == re.sub(rb"\r(?!\r*\n)", b"\n", data)
    with contextlib.suppress(UnicodeDecodeError):
        data.decode()
        assert all(part.data.decode() for part in parts)  # no character is cut


@given(TEXT_DOCUMENTS, st.sampled_from(["\n", "\r\n"]), st.integers(240, 600), st.booleans())
def test_read_chunks_text_never_cuts_a_document(
    documents: list[tuple[list[str], str]], end: str, chunk_bytes: int, ends_open: bool
) -> None:
    # The longest document has fewer bytes than a chunk; a longer one would be cut.
    data = text_of(documents, end)
    data = data.rstrip() if ends_open else data
    parts = parts_of(data, chunk_bytes)
    assert [d for part in parts for d in documents_in(part.data)] == documents_in(data)


def test_read_chunks_many_documents_chunks_are_about_the_size() -> None:
    chunks = list(read_chunks([url := files_url(DOCUMENTS.encode())], text_flags(url), 400))
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert all(200 <= chunk.size <= 600 for chunk in chunks[:-1])


def text_flags(url: str) -> CorpusFlags:
    return CorpusFlags(input_file=(url,))


def test_read_chunks_long_document_is_cut_at_a_line() -> None:
    data = ("끝이 없는 글의 한 줄이다.\n" * 200).encode()
    parts = parts_of(data, 100)
    assert len(parts) > 5
    assert all(part.data.endswith("이다.\n".encode()) for part in parts)


def test_read_chunks_huge_line_is_cut_between_characters() -> None:
    data = ("가나다😀" * 500).encode()
    parts = parts_of(data, 50)
    assert len(parts) > 5
    assert "".join(part.data.decode() for part in parts) == data.decode()


@given(TEXT_DOCUMENTS, st.integers(1, 300))
def test_read_chunks_first_line_is_the_line_in_the_file(
    documents: list[tuple[list[str], str]], chunk_bytes: int
) -> None:
    line = 1
    for part in parts_of(text_of(documents, "\n"), chunk_bytes):
        assert part.first_line == line
        line += part.data.count(b"\n")


@pytest.mark.slow
@given(
    st.lists(st.dictionaries(st.sampled_from(["text", "b"]), st.text(max_size=30)), max_size=20),
    st.integers(1, 200),
)
def test_read_chunks_jsonl_never_cuts_a_record(
    records: list[dict[str, str]], chunk_bytes: int
) -> None:
    data = "\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode(
        "utf-8", "replace"
    )
    parts = parts_of(data, chunk_bytes, "jsonl")
    assert b"".join(part.data for part in parts) == data
    read = [json.loads(line) for part in parts for line in part.data.split(b"\n") if line]
    assert read == [json.loads(line) for line in data.split(b"\n") if line]


def csv_rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


FIELDS = st.lists(st.sampled_from(["가", "a", '"', ",", "\n", "\r\n", "😀"]), max_size=12).map(
    "".join
)


@given(
    st.lists(st.lists(FIELDS, min_size=2, max_size=2), max_size=15),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 120),
)
def test_read_chunks_csv_never_cuts_a_quoted_field(
    rows: list[list[str]], end: str, chunk_bytes: int
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerows(rows)
    body = out.getvalue().encode()
    parts = parts_of(b"text,b" + end.encode() + body, chunk_bytes, "csv")
    assert b"".join(part.data for part in parts) == body
    assert [row for part in parts for row in csv_rows(part.data)] == rows
    assert all(part.columns == ("text", "b") for part in parts)


@given(st.text('가a",\n', max_size=80), st.integers(1, 20))
@example('화면 5",좋다\n"두\n줄",나\n"세\n줄",다\n"네\n줄",라\n', 10)
@example('가,"안 닫힌 따옴표\n나,다\n라,마\n', 4)
def test_read_chunks_csv_stray_quotes_any_size_gives_the_same_rows(
    body: str, chunk_bytes: int
) -> None:
    parts = parts_of(b"text,b\n" + body.encode(), chunk_bytes, "csv")
    rows = [row for part in parts for row in read_rows(part.data.decode(), part.first_line, 2)]
    assert rows == list(read_rows(body, 2, 2))


def test_read_chunks_csv_stray_quote_is_not_held_to_the_end() -> None:
    rows = b'5" \xed\x99\x94\xeb\xa9\xb4,1\n' + b"a,1\n" * 1000
    parts = parts_of(b"text,b\n" + rows, 100, "csv")
    assert max(len(part.data) for part in parts) < 300


def test_read_chunks_csv_first_line_counts_the_header() -> None:
    parts = parts_of("\ufefftext,b\n".encode() + b"a,1\n" * 100, 100, "csv")
    assert parts[0].columns == ("text", "b")  # without the byte order mark
    assert [part.first_line for part in parts][:2] == [2, 2 + parts[0].data.count(b"\n")]


@pytest.mark.parametrize(("kind", "comma"), [("csv", ","), ("tsv", "\t")])
def test_read_chunks_table_without_the_column_raises(kind: str, comma: str) -> None:
    url = files_url(f"제목{comma}본문\n가{comma}나\n".encode())
    config = CorpusFlags(input_file=(url,), input_format=kind, text_field=("내용",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r":1: no column '내용'.*one of: 제목, 본문"):
        list(read_chunks([url], config))


def test_read_chunks_small_files_share_a_chunk(tmp_path: Path) -> None:
    paths = []
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text(f"{i}번 글이다.\n", encoding="utf-8")
        paths.append(str(tmp_path / f"{i}.txt"))
    (chunk,) = read_chunks(paths, text_flags(str(tmp_path)))
    assert [part.path for part in chunk.parts()] == paths
    assert chunk == Chunk(0, chunk.sources)


def test_find_files_kinds_of_patterns_find_all(tmp_path: Path) -> None:
    for name in ("a.txt", "b/c.ndjson", "b/d.csv.gz", "b/.hidden.txt", "b/e.png", "f_00"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        text = b"\n" if name.endswith(".gz") else b"{}"
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    patterns = (f"{tmp_path}/a.*", f"{tmp_path}/b", f"{tmp_path}/f_00")
    found = find_files(CorpusFlags(input_file=patterns))
    assert [Path(path).name for path in found] == ["a.txt", "c.ndjson", "d.csv.gz", "f_00"]


def test_find_files_folder_with_a_typed_format_takes_any_name(tmp_path: Path) -> None:
    (tmp_path / "wiki_00").write_text("가", encoding="utf-8")
    config = CorpusFlags(input_file=(str(tmp_path),), input_format="text")
    assert [Path(path).name for path in find_files(config)] == ["wiki_00"]


def test_read_chunks_remote_folder_is_read() -> None:
    folder = f"memory://corpus-{uuid.uuid4().hex}"
    files.write_atomic(f"{folder}/a.txt", "첫 글이다.\n")
    files.write_atomic(f"{folder}/b.txt.gz", gzip.compress("둘째 글이다.\n".encode()))
    config = CorpusFlags(input_file=(folder,))
    paths = find_files(config)
    (chunk,) = read_chunks(paths, config)
    assert [part.data.decode() for part in chunk.parts()] == ["첫 글이다.\n", "둘째 글이다.\n"]


def test_estimated_sizes_compressed_counts_fourfold(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"0123456789")
    (tmp_path / "b.txt.xz").write_bytes(b"0123456789")
    paths = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt.xz")]
    assert estimated_sizes(paths) == [10, 40]


def test_choose_batch_size_few_batches_of_a_very_large_corpus_and_else_one_chunk_each() -> None:
    for text_bytes in (0, 1, 10**9, 10**11, 8192 * 16 << 20):
        assert choose_batch_size(text_bytes) == 1
    for text_bytes in (2 * 10**11, 5 * 10**11, 10**13):
        chunks = -(-text_bytes // choose_chunk_bytes(text_bytes))
        assert 4096 <= -(-chunks // choose_batch_size(text_bytes)) <= 8193


def test_batches_are_consecutive_chunks() -> None:
    chunks = [Chunk(number, ()) for number in range(5)]
    found = list(batches(chunks, 2))
    assert [batch.number for batch in found] == [0, 1, 2]
    assert [chunk for batch in found for chunk in batch.chunks] == chunks
    assert list(batches([], 2)) == []
