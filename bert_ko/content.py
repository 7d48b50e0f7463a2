"""What the first bytes of a file say that it is: text, in which encoding, or something else."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

HEAD_SIZE = 1 << 16  # bytes that are looked at; fewer will do
CP949_ADVICE = "give --input_encoding=cp949, or convert it: `iconv -f cp949 -t utf-8`"
ENCODING_ADVICE = "give its --input_encoding, or convert it to UTF-8"

_UNPACK = "unpack it, and name the files inside"
_DECOMPRESS = "decompress it, or give it the ending of its compression (.gz, .bz2, .xz, .zst)"
_EXPORT = "save it as text in UTF-8, and name that file"
_EXTRACT = "extract its text first"
_NO_ADVICE = "name a text file"


class Kind(NamedTuple):
    """What a file is that is no text, and what to do with it."""

    name: str
    advice: str


PARQUET = "a Parquet file"
# By what files begin with, and where: most of them never begin a text.
_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"PK\x05\x06", Kind("an empty zip archive", _UNPACK)),
    (0, b"\x1f\x8b\x08", Kind("gzip data", _DECOMPRESS)),
    (0, b"BZh91AY&SY", Kind("bzip2 data", _DECOMPRESS)),
    (0, b"\xfd7zXZ\x00", Kind("xz data", _DECOMPRESS)),
    (0, b"\x28\xb5\x2f\xfd", Kind("zstd data", _DECOMPRESS)),
    (0, b"\x04\x22\x4d\x18", Kind("lz4 data", "decompress it")),
    (0, b"\x1f\x9d", Kind("data of `compress` (.Z)", "decompress it")),
    (257, b"ustar", Kind("a tar archive", _UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", _UNPACK)),
    (0, b"Rar!\x1a\x07", Kind("a rar archive", _UNPACK)),
    (0, b"ALZ\x01", Kind("an ALZ archive", _UNPACK)),
    (0, b"EGGA", Kind("an EGG archive", _UNPACK)),
    (0, b"MSCF\x00\x00\x00\x00", Kind("a CAB archive", _UNPACK)),
    (2, b"-lh5-", Kind("an LHA archive", _UNPACK)),
    (0, b"HWP Document File", Kind("an HWP document", _EXPORT)),
    (0, b"%PDF-", Kind("a PDF document", _EXTRACT)),
    (0, b"%!PS", Kind("a PostScript document", _EXTRACT)),
    (0, b"{\\rtf", Kind("an RTF document", _EXPORT)),
    (0, b"PAR1\x15", Kind(PARQUET, "only a corpus can be one, with .parquet as its ending")),
    (0, b"ARROW1\x00\x00", Kind("an Arrow file", "save it as Parquet or JSON lines")),
    (0, b"Obj\x01", Kind("an Avro file", "save it as Parquet or JSON lines")),
    (0, b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file", _NO_ADVICE)),
    (0, b"SQLite format 3\x00", Kind("an SQLite database", _EXTRACT)),
    (0, b"\x93NUMPY", Kind("a NumPy array", _NO_ADVICE)),
    *((0, b"\x80" + mark, Kind("a Python pickle", _NO_ADVICE))
      for mark in (b"\x02}q", b"\x02]q", b"\x03}q", b"\x03]q", b"\x04\x95", b"\x05\x95")),
    (0, b"\x89PNG\r\n\x1a\n", Kind("an image (PNG)", _NO_ADVICE)),
    (0, b"\xff\xd8\xff", Kind("an image (JPEG)", _NO_ADVICE)),
    (0, b"GIF87a", Kind("an image (GIF)", _NO_ADVICE)),
    (0, b"GIF89a", Kind("an image (GIF)", _NO_ADVICE)),
    (0, b"II*\x00", Kind("an image (TIFF)", _NO_ADVICE)),
    (0, b"MM\x00*", Kind("an image (TIFF)", _NO_ADVICE)),
    (8, b"WEBPVP8", Kind("an image (WebP)", _NO_ADVICE)),
    (8, b"WAVEfmt ", Kind("a sound file (WAV)", _NO_ADVICE)),
    (0, b"ID3\x03", Kind("a sound file (MP3)", _NO_ADVICE)),
    (0, b"ID3\x04", Kind("a sound file (MP3)", _NO_ADVICE)),
    (0, b"OggS\x00", Kind("a sound file (Ogg)", _NO_ADVICE)),
    (4, b"ftyp", Kind("a video file (MP4)", _NO_ADVICE)),
    (0, b"\x7fELF", Kind("a program (ELF)", _NO_ADVICE)),
    (0, b"version https://git-lfs.github.com/", Kind(
        "a Git LFS pointer, not the file itself", "get the file with `git lfs pull`")),
)  # fmt: skip
# What zip archives hold tells which kind of document they are; the first that is found counts.
_IN_ZIP = (
    (b"application/hwp+zip", "an HWPX document", _EXPORT),
    (b"application/epub+zip", "an EPUB book", _EXTRACT),
    (b"application/vnd.oasis.opendocument", "an OpenDocument file", _EXPORT),
    (b"word/", "a Word document (docx)", _EXPORT),
    (b"xl/", "an Excel workbook (xlsx)", _EXPORT),
    (b"ppt/", "a PowerPoint presentation (pptx)", _EXTRACT),
    (b"data.pkl", "a PyTorch file", _NO_ADVICE),
)
_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_IN_OLE2 = (
    (b"HWP Document File", "an HWP document", _EXPORT),
    ("HwpSummaryInformation".encode("utf-16-le"), "an HWP document", _EXPORT),
    ("Workbook".encode("utf-16-le"), "an Excel workbook (xls)", _EXPORT),
    ("WordDocument".encode("utf-16-le"), "a Word document (doc)", _EXPORT),
)
_MARKUP = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*"
    rb"(?:(?P<html><!doctype html|<html)|(?P<wiki><mediawiki)|(?P<xml><\?xml|<!doctype ))",
    re.IGNORECASE,
)
_CONTROL = bytes([*range(9), *range(14, 27), *range(28, 32), 127])
_MAX_CONTROL_SHARE = 0.02
_MAX_ZERO_SHARE = 0.3
_MIN_ZEROS = 256  # bytes of a head whose zeros are counted

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, which begins alike
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WIDE = (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2))
# Blanks, ASCII, Hangul and the punctuation beside it: other characters are rare in Korean.
_USUAL = re.compile(
    "[\t\n\r -~\u2010-\u2027\u1100-\u11ff\u3000-\u303f\u3130-\u318f가-힣\uff00-\uffef]"
)
_USUAL_SHARE = 0.8
_FEW_LINES = 3  # of which one damaged line says nothing about the others
_ISO_2022_KR = b"\x1b$)C"  # its bytes are ASCII
_HANGUL = re.compile("[가-힣]")
# Of the characters that are not ASCII; Chinese in GBK read as CP949 is Hangul to six tenths.
_HANGUL_SHARE = 0.7


def describe(head: bytes) -> str | None:
    """Returns what a file is that is no text, from its beginning: "a zip archive"; None for text.

    Text in UTF-16 is text too; see `encoding_of`.
    """
    kind = kind_of(head)
    return None if kind is None else kind.name


def kind_of(head: bytes) -> Kind | None:
    """As `describe`, with what to do."""
    if head.startswith(b"PK\x03\x04"):
        return _kind_inside(head, _IN_ZIP, Kind("a zip archive", _UNPACK))
    if head.startswith(_OLE2):
        return _kind_inside(head, _IN_OLE2, Kind("an Office or HWP document", _EXPORT))
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    if markup := _MARKUP.match(head[:1024]):
        is_wiki = markup["wiki"] or (markup["xml"] and b"<mediawiki" in head)
        name = "an HTML page" if markup["html"] else "an XML document"
        return Kind("a MediaWiki dump (XML)" if is_wiki else name, _EXTRACT)
    return Kind("binary data", _NO_ADVICE) if _is_binary(head) else None


def encoding_of(head: bytes) -> str | None:
    """Returns the encoding of a text, from its beginning.

    Returns:
        "utf-8", also if a smaller part of its lines is damaged; "utf-16" or "utf-32" with a byte
        order mark, or "utf-16-le" and so on without one; "cp949"; None if it is none of these.
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    if b"\0" in head and (wide := _wide_encoding(head)) is not None:
        return wide
    if is_utf8(_without_cut(head)):
        return None if _ISO_2022_KR in head else "utf-8"
    lines = re.split(rb"[\r\n]+", head)
    lines[-1] = _without_cut(lines[-1])  # the head may end inside a character
    foreign = [line for line in lines if not line.isascii()]
    damaged = [line for line in foreign if not is_utf8(line)]
    if 100 * len(damaged) <= len(lines) or 2 * len(damaged) <= len(foreign):
        return "utf-8"
    if is_cp949(b"\n".join(damaged)):
        return "cp949"
    return "utf-8" if len(damaged) == 1 and len(lines) > _FEW_LINES else None


def is_utf8(data: bytes) -> bool:
    """Returns whether bytes are whole UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_cp949(data: bytes) -> bool:
    """Returns whether bytes, none of them UTF-8, are Korean in CP949."""
    text = data.decode("cp949", "replace")
    foreign = len(text) - sum(map(str.isascii, text))
    # Common syllables alone, of two bytes in EUC-KR; Japanese in Shift JIS would be others.
    hangul = sum(len(char.encode("euc_kr", "ignore")) == 2 for char in _HANGUL.findall(text))
    return text.count("\ufffd") <= 1 + 0.01 * len(text) and hangul > _HANGUL_SHARE * foreign


def text_encoding(head: bytes, source: str, encoding: str | None = None) -> str:
    """Returns the encoding to decode a file with.

    Args:
        head: its first bytes.
        source: its name, for messages.
        encoding: as the user gives it; None looks at the head.

    Raises:
        ValueError: it is no text, or in none of the encodings that are recognised.
    """
    if kind := kind_of(head):
        raise ValueError(f"{source}: {kind.name}, not text; {kind.advice}.")
    found = codec_name(encoding) if encoding is not None else encoding_of(head)
    if found == "cp949" and encoding is None:
        raise ValueError(f"{source}: not UTF-8 text but CP949; {CP949_ADVICE}.")
    if found is None:
        line = _valid_part(head).count(b"\n") + 1
        raise ValueError(f"{source}:{line}: not UTF-8 text; {ENCODING_ADVICE}.")
    return found


def advice(damaged: bytes) -> str:
    """Returns what to do about bytes that are not UTF-8."""
    return CP949_ADVICE if is_cp949(damaged) else ENCODING_ADVICE


def codec_name(encoding: str) -> str:
    """Returns Python's name of an encoding; EUC-KR is read as CP949, which contains it.

    Raises:
        ValueError: there is no such encoding.
    """
    try:
        "a".encode(encoding)  # some codecs are for bytes alone
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise ValueError(
            f"--input_encoding must be an encoding such as cp949 or utf-16, got {encoding!r}."
        ) from None
    return "cp949" if name == "euc_kr" else name


def _kind_inside(head: bytes, inside: tuple[tuple[bytes, str, str], ...], other: Kind) -> Kind:
    for mark, name, what_to_do in inside:
        if mark in head:
            return Kind(name, what_to_do)
    return other


def _begins_with_bom(head: bytes) -> bool:
    return any(head.startswith(mark) for mark, _ in _BOMS)


def _is_binary(head: bytes) -> bool:
    if _begins_with_bom(head) or (b"\0" in head and _wide_encoding(head) is not None):
        return False
    if head.count(b"\0") > _MAX_ZERO_SHARE * len(head):
        return len(head) >= _MIN_ZEROS
    control = len(head) - len(head.translate(None, _CONTROL))
    # Characters that nobody types are no reason to refuse a text that is UTF-8.
    return control > _MAX_CONTROL_SHARE * len(head) and not is_utf8(_without_cut(head))


def _wide_encoding(head: bytes) -> str | None:
    """Tells UTF-16 and UTF-32 without a byte order mark; their blanks and line ends have zeros."""
    for name, size in _WIDE:
        text = head[: len(head) // size * size].decode(name, "replace")
        if text and len(_USUAL.findall(text)) >= _USUAL_SHARE * len(text):
            return name
    return None


def _valid_part(head: bytes) -> bytes:
    """Returns what is before the first byte that is not UTF-8."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return head[: error.start]
    return head.partition(_ISO_2022_KR)[0]


def _without_cut(line: bytes) -> bytes:
    """Removes a last character of UTF-8 that is cut off."""
    if is_utf8(line):
        return line
    for size in range(1, min(4, len(line) + 1)):
        if line[-size] >= 0xC0:
            return line[:-size]
        if line[-size] < 0x80:
            break
    return line
