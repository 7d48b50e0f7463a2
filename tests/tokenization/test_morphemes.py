"""MeCab at full speed says what python-mecab-ko's public interface says."""

import itertools
import pickle
import random
import subprocess
import sys
from pathlib import Path

import mecab
import pytest

from bert_ko.tokenization import morphemes
from bert_ko.tokenization.morphemes import (
    MAX_RUN_CHARS,
    MAX_UNIT_CHARS,
    MecabSegmenter,
    Morpheme,
    _PublicTagger,
    _units,
    dictionary_version,
)
from bert_ko.tokenization.normalization import MECAB

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


@pytest.fixture(scope="module")
def segmenter() -> MecabSegmenter:
    return MecabSegmenter()


@pytest.fixture(scope="module")
def clean_real_lines(real_lines: list[str]) -> list[str]:
    cleaned = [MECAB.clean(line).strip(" ") for line in real_lines]
    return [line for line in cleaned if line and len(line) <= 1000]


@pytest.fixture(scope="module")
def user_dictionary(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("dictionary")
    source, target = folder / "user.csv", folder / "user.dic"
    source.write_text("솔내글방,1786,3543,-5000,NNP,*,T,솔내글방,*,*,*,*\n", encoding="utf-8")
    command = [sys.executable, "-m", "mecab", "dict-index", "-u", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return str(target)


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


def check_against_mecab(segmenter: MecabSegmenter, public: mecab.MeCab, line: str) -> None:
    parts = segmenter.parts(line)
    assert "".join(parts) == line.rstrip(" ")
    assert segmenter.morphs(line) == public.morphs(line)
    offset = len(line) - len(line.lstrip(" "))  # parse shifts spans after leading blanks
    assert segmenter.analyze(line) == [
        (node.surface, offset + node.span.start, offset + node.span.end, node.pos)
        for node in public.parse(line[offset:])
    ]


@pytest.mark.parametrize("line", LINES)
def test_segmenter_own_lines_equal_public_mecab(line: str, segmenter: MecabSegmenter) -> None:
    check_against_mecab(segmenter, mecab.MeCab(), line)


@pytest.mark.slow
def test_segmenter_ten_thousand_real_lines_equal_public_mecab(
    segmenter: MecabSegmenter, clean_real_lines: list[str]
) -> None:
    assert len(clean_real_lines) > 9_000
    public = mecab.MeCab()
    for line in clean_real_lines:
        check_against_mecab(segmenter, public, line)


def test_segmenter_thousand_real_lines_equal_public_mecab(
    segmenter: MecabSegmenter, clean_real_lines: list[str]
) -> None:
    public = mecab.MeCab()
    for line in clean_real_lines[::10]:
        check_against_mecab(segmenter, public, line)


def test_segmenter_every_assigned_white_space_or_symbol_joins_back(
    segmenter: MecabSegmenter,
) -> None:
    """MeCab's character table has a SPACE class; nothing but the blank may be in it."""
    for char in map(chr, itertools.chain(range(0x21, 0x3400), range(0xE000, 0x10000))):
        if MECAB.changed.match(char):
            continue
        text = f"가{char} {char}나{char}"
        assert "".join(segmenter.parts(text)) == text


@pytest.mark.parametrize("with_pos", [False, True])
def test_public_tagger_gives_what_the_fast_tagger_gives(
    with_pos: bool, sample_lines: list[str]
) -> None:
    fast = morphemes._make_tagger((), with_pos)
    assert not isinstance(fast, _PublicTagger)  # else nothing is compared
    public = _PublicTagger((), with_pos)
    for line in LINES + sample_lines:
        assert public.parse(line) == (fast.parse(line) or "")


def test_segmenter_without_private_module_takes_the_public_one(
    monkeypatch: pytest.MonkeyPatch, segmenter: MecabSegmenter
) -> None:
    monkeypatch.setitem(sys.modules, "_mecab", None)
    slow = MecabSegmenter()
    assert isinstance(slow._tagger, _PublicTagger)
    for line in LINES:
        assert slow.parts(line) == segmenter.parts(line)
        assert slow.analyze(line) == segmenter.analyze(line)


def words_without_line_end(count: int) -> str:
    rng = random.Random(1)
    return " ".join(rng.choices([line for line in LINES if 0 < len(line.strip()) < 100], k=count))


@pytest.mark.parametrize(
    "text",
    [
        words_without_line_end(2500),
        words_without_line_end(2500).replace(" ", ""),
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
    assert [morpheme.surface for morpheme in analysed] == segmenter.morphs(text)
    assert all(text[m.start : m.end] == m.surface for m in analysed)


def test_segmenter_long_line_of_short_sentences_is_cut_before_blanks(
    segmenter: MecabSegmenter,
) -> None:
    text = " ".join(["도서관에서 책을 읽었다."] * 1000)
    units = list(_units(text))
    assert all(unit.startswith(" ") for unit in units[1:])
    assert min(map(len, units[:-1])) > MAX_UNIT_CHARS - 100
    assert segmenter.morphs(text) == segmenter.morphs("도서관에서 책을 읽었다.") * 1000


def test_segmenter_user_dictionary_adds_words_also_after_pickling(user_dictionary: str) -> None:
    text = "솔내글방은 작다"
    expected = ["솔내글방", "은", " 작", "다"]
    segmenter = MecabSegmenter([user_dictionary])
    assert segmenter.parts(text) == expected
    assert segmenter.analyze(text)[0] == ("솔내글방", 0, 4, "NNP")
    assert pickle.loads(pickle.dumps(segmenter)).parts(text) == expected
    assert MecabSegmenter().parts(text)[0] != "솔내글방"
    assert _PublicTagger([user_dictionary], with_pos=False).parse(text) == "솔내글방\n은\n 작\n다\n"


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("none.dic", None, FileNotFoundError, "cannot read"),
        ("user.csv", b"\xea\xb0\x80,1786,3543,0,NNP\n", ValueError, "python -m mecab dict-index"),
        (
            "user.dic",
            b"\xea\xb0\x80,1786,3543,0,NNP\n" * 9,
            ValueError,
            "not a compiled dictionary",
        ),
        ("empty.dic", b"", ValueError, "not a compiled dictionary"),
        ("a,b.dic", b"", ValueError, "comma"),
    ],
)
def test_segmenter_bad_user_dictionary_raises(
    name: str, content: bytes | None, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(kind, match=words) as error:
        MecabSegmenter([str(path)])
    assert "--mecab_user_dictionary" in str(error.value)
    assert str(path) in str(error.value)


def test_segmenter_damaged_user_dictionary_raises(user_dictionary: str, tmp_path: Path) -> None:
    path = tmp_path / "cut.dic"
    path.write_bytes(Path(user_dictionary).read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a compiled dictionary"):
        MecabSegmenter([str(path)])


def test_dictionary_version_names_dictionary_and_version() -> None:
    name, _, version = dictionary_version().partition(" ")
    assert name == "mecab-ko-dic"
    assert version.startswith("2.1.1")
