"""MeCab at full speed gives what python-mecab-ko's public interface gives, and what mecab-ko gives.

python-mecab-ko has no release for Python 3.13 and newer: there nothing is compared.
"""

import itertools
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.morphemes import (
    MAX_RUN_CHARS,
    MAX_UNIT_CHARS,
    MecabSegmenter,
    Morpheme,
    _units,
    dictionary_version,
)
from bert_ko.tokenization.normalization import MECAB
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.user_dictionary import compile_user_dictionary

LINES = [
    "도서관에서 책을 읽었다.",
    "이순신의  칼",
    "누가 그건 GPU 2개라고 했니?",
    "大韓民國의 봄, 《호미와 연필》이었다",
    "ㅋㅋㅋ 좋아요!! 😀 3.5%",
    "１２３ＡＢＣ는 𠀋다",
    "   앞에 빈칸이 셋",
    "뷁궳쀍",
    "옛" + "도서관에서책을읽었다" * 99,  # a run without blanks, just not cut
    "",
    "   ",
]


# The compiler in a process where python-mecab-ko is not to be found.
HIDDEN = """
import runpy, sys
sys.modules["_mecab"] = None
runpy.run_module("bert_ko.tokenization.user_dictionary", run_name="__main__")
"""


@pytest.fixture(scope="module")
def segmenter() -> MecabSegmenter:
    return MecabSegmenter()


def surfaces(segmenter: MecabSegmenter, text: str) -> list[str]:
    return [part.lstrip(" ") for part in segmenter.parts(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("도서관에서 책을", ["도서관", "에서", " 책", "을"]),
        ("이순신의  칼", ["이순신", "의", "  칼"]),
        ("  누가", ["  누가"]),
        ("끝  ", ["끝"]),
        ("   ", []),
        ("", []),
    ],
)
def test_parts_worked_examples_keep_leading_blanks(
    text: str, expected: list[str], segmenter: MecabSegmenter
) -> None:
    assert segmenter.parts(text) == expected
    assert segmenter.printed(text) == "".join(f"{part}\n" for part in expected)


def test_analyze_worked_example_gives_tags_and_offsets(segmenter: MecabSegmenter) -> None:
    assert segmenter.analyze(" 누가  책을") == [
        Morpheme("누가", 1, 3, "NP+JKS"),
        Morpheme("책", 5, 6, "NNG"),
        Morpheme("을", 6, 7, "JKO"),
    ]


@pytest.fixture(scope="module")
def public() -> Any:
    """python-mecab-ko's public interface."""
    return pytest.importorskip("mecab").MeCab()


def check_against_mecab(segmenter: MecabSegmenter, public: Any, line: str) -> None:
    parts = segmenter.parts(line)
    assert "".join(parts) == line.rstrip(" ")
    assert surfaces(segmenter, line) == public.morphs(line)
    offset = len(line) - len(line.lstrip(" "))  # parse shifts spans after leading blanks
    assert segmenter.analyze(line) == [
        (node.surface, offset + node.span.start, offset + node.span.end, node.pos)
        for node in public.parse(line[offset:])
    ]


def test_segmenter_own_lines_equal_public_mecab(segmenter: MecabSegmenter, public: Any) -> None:
    for line in LINES:
        check_against_mecab(segmenter, public, line)


@pytest.mark.slow
@pytest.mark.parametrize("step", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_segmenter_real_lines_equal_public_mecab(
    step: int, segmenter: MecabSegmenter, public: Any, real_lines: list[str]
) -> None:
    cleaned = [MECAB.clean(line).strip(" ") for line in real_lines[::step]]
    lines = [line for line in cleaned if line and len(line) <= 1000]
    assert len(lines) > 9_000 // step
    for line in lines:
        check_against_mecab(segmenter, public, line)


@pytest.fixture
def other(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Sequence[str]], MecabSegmenter]:
    """Makes segmenters of mecab-ko where python-mecab-ko is installed too."""
    pytest.importorskip("_mecab")
    monkeypatch.setitem(sys.modules, "_mecab", None)
    pytest.importorskip("mecab_ko")

    def make(user_dictionaries: Sequence[str] = ()) -> MecabSegmenter:
        made = MecabSegmenter(user_dictionaries)
        made.analyze("")  # the tagger for parts of speech, too
        assert type(made._tagger).__module__ == type(made._pos_tagger).__module__ == "MeCab"
        return made

    return make


def same_as(segmenter: MecabSegmenter, other: MecabSegmenter, lines: list[str]) -> bool:
    return all(segmenter.printed(line) == other.printed(line) for line in lines) and all(
        segmenter.analyze(line) == other.analyze(line) for line in lines
    )


def test_segmenter_of_mecab_ko_equals_python_mecab_ko(
    segmenter: MecabSegmenter, other: Callable[..., MecabSegmenter], sample_lines: list[str]
) -> None:
    spaced = [line.replace(" ", "  ") for line in sample_lines]
    joined = [line.replace(" ", "") for line in sample_lines]
    assert same_as(segmenter, other(), [*LINES, *sample_lines, *spaced, *joined])


@pytest.mark.slow
def test_segmenter_of_mecab_ko_equals_python_mecab_ko_on_real_lines(
    segmenter: MecabSegmenter, other: Callable[..., MecabSegmenter], real_lines: list[str]
) -> None:
    assert len(real_lines) == 10_000
    assert same_as(segmenter, other(), [MECAB.clean(line) for line in real_lines])


def test_segmenter_of_mecab_ko_reads_user_dictionaries_and_compiles_the_same(
    other: Callable[..., MecabSegmenter],
    user_dictionary: str,
    tmp_path: Path,
) -> None:
    segmenter = other([user_dictionary])
    assert segmenter.parts("솔내글방은 작다") == ["솔내글방", "은", " 작", "다"]
    assert segmenter.analyze("솔내글방은")[0] == ("솔내글방", 0, 4, "NNP")
    source, path = tmp_path / "words.csv", tmp_path / "other.dic"
    source.write_text("솔내글방,,,-5000,NNP,*,T,솔내글방,*,*,*,*\n", encoding="utf-8")
    command = [sys.executable, "-c", HIDDEN, str(source), str(path)]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    assert path.read_bytes() == Path(user_dictionary).read_bytes()


def test_fingerprint_is_the_same_with_mecab_ko(
    tokenizer: Tokenizer, vocab_folder: str, other: Callable[..., MecabSegmenter]
) -> None:
    other()
    assert load_tokenizer(vocab_folder).fingerprint == tokenizer.fingerprint


def test_segmenter_without_an_analyser_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_mecab", "mecab_ko"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"^This tokenizer needs MeCab: pip install .*mecab-ko"):
        MecabSegmenter()


def test_segmenter_every_assigned_white_space_or_symbol_joins_back(
    segmenter: MecabSegmenter,
) -> None:
    """MeCab's character table has a SPACE class; nothing but the blank may be in it."""
    for char in map(chr, itertools.chain(range(0x21, 0x3400), range(0xE000, 0x10000))):
        if MECAB.changed.match(char):
            continue
        text = f"가{char} {char}나{char}"
        assert "".join(segmenter.parts(text)) == text


def many_sentences() -> str:
    lines = [line for line in LINES if 0 < len(line.strip()) < 100]
    return " ".join(random.Random(1).choices(lines, k=2500))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        many_sentences(),
        many_sentences().replace(" ", ""),
        "가" * 34_000,
        "a" * 100_000,
        "7" * 100_000,
        "!" * 100_000,
        "ㅋ" * 34_000,
        " " * 5_000 + "가" + " " * 5_000 + "나" + " " * 5_000,
        "가" * (MAX_RUN_CHARS + 1),
    ],
    ids=["no_line_end", "no_blank", "syllable", "letter", "digit", "mark", "jamo", "blanks", "one"],
)
def test_segmenter_long_line_is_cut_into_bounded_units(
    text: str, segmenter: MecabSegmenter
) -> None:
    units = list(_units(text))
    assert "".join(units) == text.rstrip(" ")
    assert len(units) > 1
    assert max(len(unit.lstrip(" ")) for unit in units) <= MAX_UNIT_CHARS
    assert "".join(segmenter.parts(text)) == text.rstrip(" ")
    analysed = segmenter.analyze(text)
    assert [morpheme.surface for morpheme in analysed] == surfaces(segmenter, text)
    assert all(text[m.start : m.end] == m.surface for m in analysed)


def test_segmenter_long_line_of_short_sentences_is_cut_before_blanks(
    segmenter: MecabSegmenter,
) -> None:
    text = " ".join(["도서관에서 책을 읽었다."] * 1000)
    units = list(_units(text))
    assert all(unit.startswith(" ") for unit in units[1:])
    assert min(map(len, units[:-1])) > MAX_UNIT_CHARS - 100
    assert surfaces(segmenter, text) == surfaces(segmenter, "도서관에서 책을 읽었다.") * 1000


def test_segmenter_user_dictionary_adds_words_also_after_pickling(user_dictionary: str) -> None:
    text = "솔내글방은 작다"
    expected = ["솔내글방", "은", " 작", "다"]
    segmenter = MecabSegmenter([user_dictionary])
    assert segmenter.parts(text) == expected
    assert segmenter.analyze(text)[0] == ("솔내글방", 0, 4, "NNP")
    assert pickle.loads(pickle.dumps(segmenter)).parts(text) == expected
    assert MecabSegmenter().parts(text)[0] != "솔내글방"


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("none.dic", None, FileNotFoundError, "cannot read"),
        ("user.csv", b"\xea\xb0\x80,1786,3543,0,NNP\n", ValueError, "python -m bert_ko"),
        ("user.dic", b"\xea\xb0\x80,1786,3543,0,NNP\n" * 9, ValueError, "not a compiled"),
        ("empty.dic", b"", ValueError, "not a compiled dictionary"),
        ("short.dic", "short", ValueError, "not a compiled dictionary"),
        ("a,b.dic", b"", ValueError, "comma"),
    ],
)
def test_segmenter_bad_user_dictionary_raises(
    name: str,
    content: bytes | str | None,
    kind: type[Exception],
    words: str,
    user_dictionary: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    if content == "short":
        content = Path(user_dictionary).read_bytes()[:-100]
    if isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(kind, match=words) as error:
        MecabSegmenter([str(path)])
    assert "--mecab_user_dictionary" in str(error.value)
    assert str(path) in str(error.value)


def test_dictionary_version_names_dictionary_and_version() -> None:
    assert dictionary_version().startswith("mecab-ko-dic 2.1.1")


@pytest.mark.slow
@pytest.mark.parametrize("cost", [None, -5000])
def test_compile_user_dictionary_words_are_one_morpheme(cost: int | None, tmp_path: Path) -> None:
    path, again = str(tmp_path / "new.dic"), str(tmp_path / "again")
    for target in (path, again):
        compile_user_dictionary({"솔내글방": cost, "코로나19": cost}, target)
    assert Path(path).read_bytes() == Path(again).read_bytes()
    segmenter = MecabSegmenter([path])
    assert segmenter.parts("솔내글방은 코로나19를") == ["솔내글방", "은", " 코로나19", "를"]
    assert [m.pos for m in segmenter.analyze("솔내글방은")] == ["NNP", "JX"]


def test_compile_user_dictionary_that_fails_is_one_sentence(tmp_path: Path) -> None:
    path = f"{tmp_path}/none/new.dic"
    with pytest.raises(ValueError, match=f"^MeCab could not compile {path}: .+[.]$"):
        compile_user_dictionary({"솔내글방": 0}, path)
