"""Vocabulary files: ids, and errors that name the line."""

import pickle
from pathlib import Path

import pytest

from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

HEAD = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"


def load(tmp_path: Path, content: bytes) -> Vocabulary:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    return Vocabulary.load(str(path))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_load_line_ends_of_every_kind_give_the_same(mark: bytes, tmp_path: Path) -> None:
    lines = HEAD + "가\n##나\n"
    for content in (lines, lines[:-1], lines.replace("\n", "\r\n")):
        vocab = load(tmp_path, mark + content.encode())
        assert vocab.pieces == (*SPECIAL_TOKENS, "가", "##나")
        assert (vocab["[PAD]"], vocab["##나"], len(vocab)) == (0, 6, 7)
        assert (*vocab.special_ids, vocab.unk_id, vocab.mask_id) == (0, 2, 3, 1, 4)
        assert "가" in vocab
        assert "나" not in vocab


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("\n가\n", 6, "blank line"),
        ("가\n\n", 7, "blank line"),
        ("가\n나\n가\n", 8, "duplicate of line 6: '가'"),
        ("가\u2028나\n", 6, "U+2028"),
        ("\u00a0\n", 6, "U+00A0"),
        ("가 \n", 6, "U+0020"),
        ("가\x85\n", 6, "U+0085"),
        ("가".encode("cp949") + b"\n", 6, "not UTF-8"),
    ],
)
def test_load_bad_line_is_named_by_its_number(
    content: str | bytes, line: int, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as error:
        load(
            tmp_path, HEAD.encode() + (content if isinstance(content, bytes) else content.encode())
        )
    assert str(error.value).startswith(f"{tmp_path / 'vocab.txt'}:{line}: ")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\n".join([*SPECIAL_TOKENS, "▁책", "▁을", "다", "."]), r"the pieces of a SentencePiece"),
        ("<s>\t0\n▁책\t-3.25\n을\t-4\n", r"pieces with scores, .* name its \.model file"),
        ("\n".join([*SPECIAL_TOKENS, "Ġthe", "Ġa"]), "the pieces of a byte-level BPE"),
        ('{\n "[PAD]": 0\n}', "JSON, not a list of pieces"),
        ('{"[PAD]": 0}', "JSON, not a list of pieces"),
        ("\n".join([*SPECIAL_TOKENS, "책"]).encode("utf-16"), ":1: not UTF-8"),
        ("\n".join([*SPECIAL_TOKENS, "a"]).encode("utf-16-le"), "not UTF-8, or binary"),
        (b"#" * ((64 << 20) + 1), "it is no vocabulary"),
    ],
)
def test_load_file_that_is_no_list_of_word_pieces_is_named(
    content: str | bytes, words: str, tmp_path: Path
) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(ValueError, match=words) as error:
        load(tmp_path, data)
    assert str(error.value).startswith(str(tmp_path / "vocab.txt"))
    assert "\n" not in str(error.value)


def test_load_carriage_returns_alone_end_lines(tmp_path: Path) -> None:
    vocab = load(tmp_path, (HEAD + "가\n##나\n▁\n").replace("\n", "\r").encode())
    assert vocab.pieces == (*SPECIAL_TOKENS, "가", "##나", "▁")


def test_load_missing_specials_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"special tokens are missing: \[CLS\], \[MASK\]\."):
        load(tmp_path, "[PAD]\n[UNK]\n[SEP]\n가\n".encode())
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(str(tmp_path / "none.txt"))


def test_vocabulary_pickle_keeps_ids() -> None:
    vocab = Vocabulary([*reversed(SPECIAL_TOKENS), "가"])
    copy = pickle.loads(pickle.dumps(vocab))
    assert dict(copy) == dict(vocab)
    assert (copy.pad_id, copy.mask_id) == (4, 0)


def test_is_unused_only_reserved_slots() -> None:
    unused = Vocabulary(SPECIAL_TOKENS).is_unused
    assert unused("[unused0]") and unused("[unused99]")
    assert not unused("[unused]") and not unused("x[unused1]")
