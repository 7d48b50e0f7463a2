"""tokenizer_type=wordpiece equals Hugging Face's tokenizers library."""

import unicodedata

import pytest
from tokenizers import BertWordPieceTokenizer

from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.normalization import GOOGLE
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

# Their library treats a word of more than 100 characters as unknown, Google's of more than 200.
MAX_REFERENCE_CHARS = 100
LINES = [
    "도서관에서 책을 빌렸습니다.",
    "값은 1,000원(3.5%)이다!! “정말?” 『글』·《책》…",
    "GPU 2개와 iPhone-15를 샀다",
    "大韓民國은 민주共和國이다 \U00020000",
    "😀😀👩‍👩‍👧 가족❤️ 🇰🇷",
    "\ufeff\t탭과\u00a0빈칸\u3000들\u200b끝\x00\x07\ufffd",
    "a_b`c~$^ <tag> #해시 ##두개 [SEP] [UNK] x",
    "Café naïve Ångström ﬁ Straße ÀÉÎ",
    "ㅋㅋㅋ ㅠㅠ ①②③ ㈜솔내 ½ ℃",
    "ひらがな カタカナ ﾊﾝｶｸ ｆｕｌｌ",
    "  앞뒤  ",
    "",
    "   ",
]


def vocabulary(lines: list[str]) -> list[str]:
    """Characters at the start and inside, and the first two of many words."""
    cleaned = [GOOGLE.clean(line) for line in lines]
    variants = [v for line in cleaned for v in (line, line.lower(), stripped(line))]
    characters = sorted({char for line in variants for char in line if char != " "})
    words = sorted({word for line in variants for word in line.split(" ")})
    pairs = sorted({word[i : i + 2] for word in words[::2] for i in range(len(word) - 1)})
    known = [char for number, char in enumerate(characters) if number % 50]  # some are [UNK]
    pieces = [*known, *pairs[::2], *(f"##{piece}" for piece in (*known, *pairs[::3]))]
    return list(dict.fromkeys([*SPECIAL_TOKENS, *pieces]))


def stripped(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(char for char in decomposed if unicodedata.category(char) != "Mn")


def make(pieces: list[str], lower: bool) -> tuple[Tokenizer, BertWordPieceTokenizer]:
    config = TokenizerConfig("wordpiece", "morpheme", lower, "google")
    reference = BertWordPieceTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=lower,
        lowercase=lower,
    )
    # Special tokens in a text are text with us; there they would be taken for themselves.
    reference._tokenizer.encode_special_tokens = True
    return Tokenizer(Vocabulary(pieces), config), reference


def compare(lines: list[str], lower: bool) -> int:
    pieces = vocabulary(lines)
    tokenizer, reference = make(pieces, lower)
    number = 0
    for line in lines:
        ours = tokenizer.encode(line)
        theirs = reference.encode(line, add_special_tokens=False)
        assert ours.pieces == theirs.tokens
        assert ours.ids == theirs.ids
        if unicodedata.is_normalized("NFC", line):
            offsets = list(zip(ours.starts, ours.ends, strict=True))
            assert offsets == [tuple(span) for span in theirs.offsets]
        number += len(ours)
    return number


def test_wordpiece_cased_own_lines_equal_reference() -> None:
    assert compare(LINES, lower=False) > 150


def test_wordpiece_uncased_lines_without_hangul_equal_reference() -> None:
    lines = [
        "".join(char for char in line if not unicodedata.name(char, "").startswith("HANGUL"))
        for line in LINES
    ]
    assert compare(lines, lower=True) > 100


@pytest.mark.slow
@pytest.mark.parametrize("lower", [False, True])
def test_wordpiece_real_lines_equal_reference(lower: bool, real_lines: list[str]) -> None:
    lines = [
        line
        for line in real_lines[::4]
        if max(map(len, GOOGLE.clean(line).split(" "))) <= MAX_REFERENCE_CHARS
    ]
    if lower:  # theirs shatters Hangul
        lines = ["".join(c for c in line if not "가" <= c <= "힣") for line in lines]
    assert len(lines) > 2_000
    assert compare(lines, lower) > 5 * len(lines)


def test_wordpiece_uncased_hangul_stays_composed_where_reference_shatters_it() -> None:
    tokenizer, reference = make([*SPECIAL_TOKENS, "책", "##을", "ca", "##fe"], lower=True)
    assert tokenizer.tokenize("책을 CAFÉ") == ["책", "##을", "ca", "##fe"]
    shattered = reference.encode("책을 CAFÉ", add_special_tokens=False)
    assert shattered.tokens == ["[UNK]", "ca", "##fe"]
    assert tokenizer.tokenize(unicodedata.normalize("NFD", "책을")) == ["책", "##을"]
