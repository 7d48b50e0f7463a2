import gzip
import io
import json
import os
import pickle
import random
import tarfile
import zipfile

import pytest

from bert_ko.content import describe, encoding_of, text_encoding

TEXT = "이른 아침에 시장에 갔다.\n사과와 배를 골랐다.\n\n강가에는 안개가 꼈다.\n"
OLE2 = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("글.txt"), io.BytesIO())
    return stream.getvalue()


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (zipped("글.txt"), "a zip archive"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook (xlsx)"),
        (zipped("[Content_Types].xml", "word/document.xml"), "a Word document (docx)"),
        (zipped()[:22], "an empty zip archive"),
        (OLE2 + "Workbook".encode("utf-16-le"), "an Excel workbook (xls)"),
        (OLE2 + b"HWP Document File", "an HWP document"),
        (OLE2, "an Office or HWP document"),
        (b"HWP Document File V3.00 \x1a", "an HWP document"),
        (tarred(), "a tar archive"),
        (gzip.compress(TEXT.encode()), "gzip data"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive"),
        (b"Rar!\x1a\x07\x01\0", "a rar archive"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        (b"PAR1\x15\x04\x15", "a Parquet file"),
        (b"\x89PNG\r\n\x1a\n\0\0", "an image (PNG)"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image (JPEG)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer, not the "
         "file itself"),
        (b"\n<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"\xef\xbb\xbf<html lang=ko>", "an HTML page"),
        (pickle.dumps([TEXT]), "a Python pickle"),
        (pickle.dumps({"text": TEXT}, 2), "a Python pickle"),
        (b'<?xml version="1.0"?>\n<mediawiki xml:lang="ko">', "a MediaWiki dump (XML)"),
        (random.Random(1).randbytes(4096), "binary data"),
        (bytes(4096), "binary data"),
        (b"", None),
        (TEXT.encode(), None),
        (TEXT.encode()[:-2], None),
        (TEXT.encode("utf-16"), None),
        (TEXT.encode("utf-16-be"), None),
        (TEXT.encode("cp949"), None),
        (b"a\0b\x1b[1m\x07" + TEXT.encode(), None),
        (json.dumps({"text": TEXT}).encode(), None),
        (b"PK is a brand of the BZh family; ls -lh\n", None),
    ],
)  # fmt: skip
def test_describe_names_what_is_no_text(head: bytes, name: str | None) -> None:
    assert describe(head) == name


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b"", "utf-8"),
        (b"ascii\n", "utf-8"),
        (TEXT.encode("utf-8-sig"), "utf-8"),
        *[(TEXT.encode()[:end], "utf-8") for end in range(40, 48)],
        (TEXT.encode("utf-16"), "utf-16"),
        (TEXT.encode("utf-32"), "utf-32"),
        (TEXT.encode("utf-16-le")[:-1], "utf-16-le"),
        (TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("utf-32-be"), "utf-32-be"),
        (b"i\0d\0,\0a\0\n\0", "utf-16-le"),
        (TEXT.encode("cp949"), "cp949"),
        (TEXT.replace("\n", "\r").encode("cp949")[:-3], "cp949"),
        ("똠방각하가 펲시를 샀다 漢字".encode("cp949"), "cp949"),
        (TEXT.encode() + "한 줄만 다르다.\n".encode("cp949"), "utf-8"),
        (b"plain\n" * 200 + b"caf\xe9\n", "utf-8"),
        (b"caf\xe9 cr\xe8me\n", None),
        ("今天天气很好，我们去公园散步。\n".encode("gbk") * 3, None),
        ("今日は天気がいいです。\n".encode("shift-jis") * 3, None),
    ],
)
def test_encoding_of_is_told_by_the_beginning(head: bytes, encoding: str | None) -> None:
    assert encoding_of(head) == encoding


def test_encoding_of_korean_in_utf8_is_never_another(sample_lines: list[str]) -> None:
    text = "\n".join(sample_lines)
    for start in range(0, len(text) - 60, 97):
        part = text[start : start + 60]
        assert encoding_of(part.encode()) == "utf-8", part
        if not part.isascii():
            assert encoding_of(part.encode("cp949", "ignore")) == "cp949", part


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (zipped("글.txt"), "a.txt: a zip archive, not text; unpack it, and name the files inside."),
        (TEXT.encode("cp949"), "a.txt: not UTF-8 text but CP949; give --input_encoding=cp949, or "
         "convert it: `iconv -f cp949 -t utf-8`."),
        (b"a\ncaf\xe9 \n", "a.txt:2: not UTF-8 text; give its --input_encoding, or convert it to "
         "UTF-8."),
    ],
)  # fmt: skip
def test_text_encoding_other_content_is_one_line(head: bytes, message: str) -> None:
    with pytest.raises(ValueError) as error:
        text_encoding(head, "a.txt")
    assert str(error.value) == message


def test_text_encoding_that_is_given_counts_for_text_alone() -> None:
    assert text_encoding(TEXT.encode("cp949"), "a.txt", "euc-kr") == "cp949"
    with pytest.raises(ValueError, match="an image"):
        text_encoding(b"GIF89a" + os.urandom(9), "a.txt", "cp949")
