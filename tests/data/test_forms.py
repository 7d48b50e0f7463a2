"""Files of every form that people bring, to documents or to one line that says what they are."""

import csv
import gzip
import io
import json
import os
import re
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from bert_ko import files
from bert_ko.data import parts
from bert_ko.data.corpus import CorpusFlags, find_files, read_chunks
from bert_ko.data.documents import Notes, read_documents
from bert_ko.data.parts import Part
from bert_ko.tokenization.tokenizer import Tokenizer

DOCUMENTS = [
    ["느티나무 아래에 할머니가 앉아 있다.", "바람이 불자 잎이 흔들렸다."],
    ["우체부는 편지 3통을 들고 왔다.", "그중 하나는 BERT 설명서였다."],
    ["시장 골목에 붕어빵 냄새가 퍼졌다.", "아이들이 줄을 섰다.", "해가 졌다."],
]
TEXT = "\n\n".join("\n".join(document) for document in DOCUMENTS) + "\n"
RECORDS = [{"id": i, "text": "\n".join(document)} for i, document in enumerate(DOCUMENTS)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)
LIST = json.dumps(RECORDS, ensure_ascii=False)
PRETTY = json.dumps(RECORDS, ensure_ascii=False, indent=2)
TAGGED = "".join(
    f'<doc id="{i}" url="https://a.kr/?b={i}" title="가 > 나">\n{first}\n\n'
    + "".join(f"{line}\n" for line in others) + "\n</doc>\n"
    for i, (first, *others) in enumerate(DOCUMENTS)
)  # fmt: skip
NESTED = json.dumps({"id": "A", "document": [{"paragraph": [{"form": "가"}]}]}, indent=1)

Read = Callable[..., tuple[list[list[str]], Notes]]


def table(separator: str, end: str) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "text"], *(record.values() for record in RECORDS)])
    return out.getvalue()


@pytest.fixture
def read(tmp_path: Path, tokenizer: Tokenizer) -> Read:
    """Reads a file as the commands do: its documents, and what was noted."""

    def read(name: str, data: bytes, **flags: Any) -> tuple[list[list[str]], Notes]:
        (tmp_path / name).write_bytes(data)
        return read_path(str(tmp_path / name), tokenizer, **flags)

    return read


def read_path(path: str, tokenizer: Tokenizer, **flags: Any) -> tuple[list[list[str]], Notes]:
    config, notes = CorpusFlags(input_file=(path,), **flags), Notes()
    chunks = list(read_chunks(find_files(config), config))
    return [d for chunk in chunks for d in read_documents(chunk, config, tokenizer, notes)], notes


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *[(f"{name}.txt", TEXT.encode(name)) for name in ("utf-8-sig", "utf-16", "utf-32")],
        *[(f"{name}.txt", TEXT.encode(name)) for name in ("utf-16-le", "utf-16-be")],
        ("cr.txt", TEXT.replace("\n", "\r").encode()),
        ("crlf.txt", TEXT.replace("\n", "\r\n").encode()),
        ("cr-utf-16.txt", TEXT.replace("\n", "\r").encode("utf-16")),
        ("wiki_00", LINES.encode()),
        ("lines.txt", LINES.encode()),
        ("lines.jsonl", LINES.replace("\n", "\r\n").encode("utf-16")),
        ("lines.json", LINES.encode("utf-8-sig")),
        ("list.json", LIST.encode()),
        ("list.jsonl", LIST.encode("utf-8-sig")),
        ("list", PRETTY.encode()),
        ("list.txt.gz", gzip.compress(PRETTY.encode("utf-16"))),
        ("objects.json", "\n".join(json.dumps(r, indent=2) for r in RECORDS).encode()),
        ("tags", TAGGED.encode()),
        ("tags.txt", TAGGED.replace("\n", "\r\n").encode("utf-8-sig")),
        *[(f"{i}.csv", table(",", end).encode()) for i, end in enumerate(["\n", "\r\n", "\r"])],
        ("utf-16.csv", table(",", "\r\n").encode("utf-16")),
    ],
)
def test_read_documents_any_form_has_the_same_documents(name: str, data: bytes, read: Read) -> None:
    assert read(name, data)[0] == DOCUMENTS


@pytest.mark.parametrize("encoding", ["cp949", "euc-kr", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "text"), [("a.txt", TEXT), ("a.json", PRETTY), ("a.csv", table(",", "\r"))]
)
def test_read_documents_encoding_that_is_given_is_used(
    name: str, text: str, encoding: str, read: Read
) -> None:
    assert read(name, text.encode(encoding), input_encoding=encoding)[0] == DOCUMENTS


def zipped(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, TEXT)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", TEXT.encode("cp949"), ": not UTF-8 text but CP949; give --input_encoding=cp949"),
        ("a.csv", table(",", "\n").encode("cp949"), ": not UTF-8 text but CP949"),
        ("a.jsonl", LIST.encode("cp949"), ": not UTF-8 text but CP949"),
        ("a.txt", zipped("글.txt"), ": a zip archive, not text; unpack it"),
        ("a.csv", zipped("xl/workbook.xml"), ": an Excel workbook (xlsx), not text; save it as"),
        ("a.json", zipped("word/document.xml"), ": a Word document (docx), not text"),
        ("a.txt.gz", gzip.compress(zipped("글.txt")), ": a zip archive, not text"),
        ("a", gzip.compress(TEXT.encode()), ": gzip data, not text; decompress it, or give it"),
        ("a.txt.gz", TEXT.encode(), " is not gzip data, as its name says, but text; rename it."),
        ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(99), ": an image (PNG), not text"),
        ("a.txt", b"<!DOCTYPE html>\n<html>\n", ": an HTML page, not text"),
        ("a.txt", os.urandom(3000), ": binary data, not text"),
        ("a.tsv", bytes(3000), ": binary data, not text"),
        (
            "a.jsonl",
            TEXT.encode(),
            ": neither JSON objects, one a line, nor a list of them; it "
            "begins with '느티나무 아래에",
        ),
        ("a.json", b'[\n "a",\n "b"\n]', ": neither JSON objects, one a line, nor a list of them"),
        (
            "a.parquet",
            b"version https://git-lfs.github.com/spec/v1\n",
            ": a Git LFS pointer, not the file itself, not a Parquet file.",
        ),
        ("a.parquet", TEXT.encode(), ": text, not a Parquet file."),
        ("a.parquet", b"", ": empty, not a Parquet file."),
        ("a.txt", TEXT.encode("iso2022_kr"), ":1: not UTF-8 text; give its --input_encoding"),
    ],
)
def test_find_files_other_content_is_refused_before_anything_is_read(
    name: str, data: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "0.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / name).write_bytes(data)
    for pattern in (str(tmp_path), f"{tmp_path}/*", f"{tmp_path}/{name}"):
        with pytest.raises(ValueError) as error:
            find_files(CorpusFlags(input_file=(pattern,)))
        assert str(error.value).startswith(f"{tmp_path}/{name}{message}")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", NESTED, r":1: one JSON object over \d+ lines, without text in field 'text'; .* "
         r"The record has: id, document\. This is the nested form of the National Institute"),
        ("a.jsonl", json.dumps(json.loads(NESTED)) + "\n", r":1: no text in field 'text'; .* "
         r"has: id, document\. This is the nested form of the National Institute"),
        ("a.json", PRETTY.replace('"id": 1,', '"id": 1'), r":6: not JSON: '\{"),
        ("a.json", PRETTY + "뒤", r":14: not JSON: '뒤'"),
        ("a.json", PRETTY.replace("},", "}, nix,", 1), r":5: not JSON: 'nix'"),
        ("a.json", '[{"text": "가"},\n{"글": "나"}]', r":2: no text in field 'text'"),
        ("a.json", '[{"text": "가"},\n["나"]]', r":2: no text .* The record is a list\."),
    ],
)  # fmt: skip
def test_read_documents_other_json_is_named_with_its_line(
    name: str, text: str, message: str, read: Read
) -> None:
    with pytest.raises(ValueError, match=re.escape(name) + message):
        read(name, text.encode())


def test_read_documents_null_is_an_empty_record_or_strict(read: Read) -> None:
    data = LINES.encode() + b'{"text": null}\n'
    found, notes = read("a.jsonl", data)
    assert (found, notes.counts["empty_records"]) == (DOCUMENTS, 1)
    with pytest.raises(ValueError, match=r"a\.jsonl:4: 'text' is null\. Leave --strict out"):
        read("a.jsonl", data, strict=True)


def test_read_documents_null_beside_text_is_nothing(read: Read) -> None:
    data = b'{"title": null, "text": "\xeb\xb4\x84"}\n'
    assert read("a.jsonl", data, text_field=("title", "text"))[0] == [["봄"]]


def test_read_documents_tag_that_is_cut_off_is_no_text(read: Read) -> None:
    assert read("wiki_00", TAGGED.encode() + b'<doc id="9" url="ht')[0] == DOCUMENTS


def test_read_documents_tag_lines_inside_a_text_are_counted(read: Read) -> None:
    found, notes = read("a.txt", f"봄이다.\n{TAGGED}".encode())
    assert not any("<" in line for document in found for line in document)
    assert notes.counts["tag_lines"] == 2 * len(DOCUMENTS)
    lines = [line for document in DOCUMENTS for line in document]
    assert [line for document in found for line in document][1:] == lines


@pytest.mark.parametrize("form", ["text", "jsonl", "csv", "tsv"])
def test_read_documents_form_that_is_given_is_not_guessed(form: str, read: Read) -> None:
    data = {"text": LINES, "jsonl": LINES, "csv": table(",", "\n"), "tsv": "id\ttext\n1\t봄\n"}
    found = read("wiki_00", data[form].encode(), input_format=form)[0]
    assert (found[0][0][0] == "{") == (form == "text")


def test_read_documents_stray_quote_costs_its_row(read: Read) -> None:
    rows = [f"{i},{i}번째 글이다." for i in range(50)]
    rows[1] = rows[1].replace(",", ',"')
    found, notes = read("a.csv", "\n".join(["id,text", *rows]).encode())
    assert [document[0] for document in found] == [f"{i}번째 글이다." for i in range(50) if i != 1]
    assert notes.counts["bad_records"] == 1 and notes.examples["bad_records"][0].endswith(":3")
    with pytest.raises(ValueError, match=r"a\.csv:3: a quote opens a cell and is not closed"):
        read("a.csv", "\n".join(["id,text", *rows]).encode(), strict=True)


@pytest.mark.parametrize("form", ["text", "csv"])
def test_read_chunks_many_damaged_lines_are_an_error(form: str, read: Read) -> None:
    good, bad = ["1,봄이 왔다."] * 4000, ["1,여름이다.".encode("cp949")] * 41
    data = b"id,text\n" + "\n".join([*good, ""]).encode() + b"\n".join(bad)
    with pytest.raises(ValueError) as error:
        read("a.file", data, input_format=form)
    assert str(error.value).endswith(
        "a.file: 41 of 4,042 lines are not UTF-8 text, the first is line 4,002; give "
        "--input_encoding=cp949, or convert it: `iconv -f cp949 -t utf-8`."
    )
    notes = read("a.file", data.rsplit(b"\n", 2)[0], input_format=form)[1]
    assert notes.counts["invalid_utf8_lines"] == 39


def test_read_chunks_one_damaged_line_among_few_is_replaced(read: Read) -> None:
    found, notes = read("a.txt", TEXT.encode() + b"\xb0\n")
    assert (found, notes.counts["invalid_utf8_lines"]) == (DOCUMENTS, 1)


def test_read_chunks_damaged_utf16_is_counted(read: Read) -> None:
    data = TEXT.encode("utf-16") + b"\x00\xd8\x0a\x00"
    assert read("a.txt", data)[1].counts["invalid_utf8_lines"] == 1
    with pytest.raises(ValueError, match=r"20 of 29 lines are not UTF-16 text, the first is"):
        read("a.txt", data + b"\x00\xd8\x0a\x00" * 19)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", b'{"text": "' + b"a" * 3000),
        ("a.json", b'[{"text": "' + b"a" * 3000),
        ("a.tsv", b"id\ttext\n1\t" + b"a" * 3000),
        ("a.jsonl", b" " * 3000),
    ],
)
def test_read_chunks_record_without_end_is_an_error(
    name: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_MAX_RECORD_BYTES", 2000)
    (tmp_path / name).write_bytes(data)
    config = CorpusFlags(input_file=(str(tmp_path / name),))
    with pytest.raises(ValueError, match=rf"{name}:[12]: no record ends within "):
        list(read_chunks(find_files(config), config, 100))


def test_read_chunks_open_quote_does_not_hold_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_MAX_RECORD_BYTES", 2000)
    (tmp_path / "a.csv").write_text('id,text\n1,"' + "a\n2,b\n" * 5000, encoding="utf-8")
    config = CorpusFlags(input_file=(str(tmp_path),))
    chunks = list(read_chunks(find_files(config), config, 100))
    assert max(chunk.size for chunk in chunks) <= 2000


def lists_of(form: str, records: list[dict[str, str]]) -> bytes:
    if form == "list":
        return json.dumps(records, ensure_ascii=False, indent=1).encode()
    return "\n".join(json.dumps(record, indent=1) for record in records).encode()


@pytest.mark.parametrize("form", ["list", "objects"])
@pytest.mark.parametrize("chunk_bytes", [1, 7, 50, 1000])
def test_read_chunks_json_values_are_never_cut(
    form: str, chunk_bytes: int, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    texts = [f'{i}번 "글" [{{,}}]\\ 😀' for i in range(30)]
    (tmp_path / "a.json").write_bytes(lists_of(form, [{"text": text} for text in texts]))
    config, notes = CorpusFlags(input_file=(str(tmp_path),)), Notes()
    chunks = list(read_chunks(find_files(config), config, chunk_bytes))
    assert len(chunks) > 2 or chunk_bytes == 1000
    found = [d for chunk in chunks for d in read_documents(chunk, config, tokenizer, notes)]
    assert [document[0] for document in found] == texts


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("chunk_bytes", [1, 100, 300])
def test_read_chunks_tagged_documents_are_never_cut(
    end: str, chunk_bytes: int, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    (tmp_path / "wiki_00").write_bytes(TAGGED.replace("\n", end).encode() * 3)
    config = CorpusFlags(input_file=(str(tmp_path),))
    chunks = list(read_chunks(find_files(config), config, chunk_bytes))
    assert len(chunks) > 2
    found = [d for chunk in chunks for d in read_documents(chunk, config, tokenizer, Notes())]
    assert found == DOCUMENTS * 3


def test_read_chunks_pipe_is_read(tokenizer: Tokenizer) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as stream:
            for i in range(0, len(LINES), 20):  # in small pieces, as programs write
                stream.write(LINES[i : i + 20].encode())
                stream.flush()

    thread = threading.Thread(target=write)
    thread.start()
    assert read_path(f"/dev/fd/{reading}", tokenizer)[0] == DOCUMENTS
    thread.join()
    os.close(reading)


# Parquet


def write_parquet(path: str, columns: dict[str, Any], **options: Any) -> None:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink, **options)
    files.write_atomic(path, sink.getvalue())


@pytest.mark.parametrize("place", ["{}/a.parquet", "{}/a.bin", "file://{}/a.parquet", "memory"])
def test_read_documents_parquet_is_read(place: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = f"memory://{tmp_path.name}/a.parquet" if place == "memory" else place.format(tmp_path)
    texts = [record["text"] for record in RECORDS]
    columns = {"id": [0, 1, 2, 3, 4], "text": [*texts, None, ""]}
    write_parquet(path, columns, row_group_size=2)
    found, notes = read_path(path, tokenizer)
    assert (found, notes.counts["empty_records"]) == (DOCUMENTS, 2)
    with pytest.raises(ValueError, match=r"a\.\w+:4: 'text' is null"):
        read_path(path, tokenizer, strict=True)


def test_read_documents_parquet_columns_are_joined(tmp_path: Path, tokenizer: Tokenizer) -> None:
    titles = pyarrow.array(["봄", "봄", "눈"]).dictionary_encode()
    texts = pyarrow.array(["가", "나", "다"], pyarrow.large_string())
    write_parquet(str(tmp_path / "a.parquet"), {"title": titles, "n": [1, 2, 3], "body": texts})
    found = read_path(str(tmp_path), tokenizer, text_field=("title", "body"))[0]
    assert found == [["봄", "가"], ["봄", "나"], ["눈", "다"]]


def test_read_chunks_parquet_is_cut_alike_whatever_its_row_groups(tmp_path: Path) -> None:
    columns = {"text": [f"{i}번째 글이다. " * 9 for i in range(1000)]}
    read: list[list[Part]] = []
    for size in (7, 1000):
        write_parquet(str(tmp_path / "a.parquet"), columns, row_group_size=size)
        config = CorpusFlags(input_file=(str(tmp_path / "a.parquet"),))
        chunks = read_chunks(find_files(config), config, 10_000)
        read.append([part for chunk in chunks for part in chunk.parts()])
    assert read[0] == read[1] and len(read[0]) > 10
    assert [part.first_line for part in read[0]][:2] == [1, 1 + read[0][0].data.count(b"\n")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"글": ["가"], "n": [1]}, r": no column 'text'; --text_field must name one of: 글, n\."),
        ({"text": [1]}, r": the column 'text' holds no text but int64; --text_field must"),
        ({"text": [["가"]]}, r": the column 'text' holds no text but list"),
    ],
)
def test_read_documents_parquet_without_text_is_named(
    columns: dict[str, Any], message: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    write_parquet(str(tmp_path / "a.parquet"), columns)
    with pytest.raises(ValueError, match=r"a\.parquet" + message):
        read_path(str(tmp_path / "a.parquet"), tokenizer)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9],
        lambda data: data[:9],
        lambda data: data.replace("가나다".encode(), b"\xff" * 9),  # the length stays
        lambda data: data[:-30] + b"\xff" * 20 + data[-10:],  # of the footer
    ],
)
def test_read_documents_damaged_parquet_is_one_line(
    damage: Callable[[bytes], bytes], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(str(path), {"text": ["가나다"] * 99})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"a\.parquet is no Parquet file, or is damaged: .*\Z"):
        read_path(str(path), tokenizer)


def test_read_documents_compressed_parquet_is_refused(read: Read, tmp_path: Path) -> None:
    write_parquet(str(tmp_path / "a.parquet"), {"text": ["가"]})
    data = gzip.compress((tmp_path / "a.parquet").read_bytes())
    with pytest.raises(ValueError, match=r"a\.parquet\.gz: a compressed Parquet file; decompress"):
        read("a.parquet.gz", data)


def test_read_documents_parquet_without_pyarrow_says_pip_command(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(str(tmp_path / "a.parquet"), {"text": ["가"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"needs the package pyarrow: pip install "):
        read_path(str(tmp_path), tokenizer)
