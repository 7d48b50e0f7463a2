"""Properties over any text: offsets, ids, and that nothing raises."""

import unicodedata

import pytest
from hypothesis import example, find, given, settings
from hypothesis import strategies as st

from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.normalization import (
    RULES,
    NormalizedText,
    lower_keeping_length,
    normalize,
    strip_accents,
)
from bert_ko.tokenization.tokenizer import Encoding, Tokenizer
from bert_ko.tokenization.vocabulary import BLANK, SPECIAL_TOKENS, Vocabulary
from tests.tokenization.test_encoder import check_lines

HANGUL = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), max_size=4)
FRAGMENTS = st.one_of(
    HANGUL,
    st.sampled_from(["도서관에서", "책을", "읽었다.", "마을", "누가", "이순신의"]),
    st.sampled_from(["GPU", "İ", "Straße", "ΑΣ", "é", "Ǆ", "大韓", "\U00020000", "\u2581"]),
    st.sampled_from(["ｆｕｌｌ", "㈜", "½", "ﷺ", "ﬁ", "ㅋㅋ", "①", "．"]),
    st.sampled_from(["👩\u200d👩\u200d👧", "❤\ufe0f", "🇰🇷", "👍🏽", "\ufdd0", "\ue000"]),
    st.sampled_from([*" \t\n\r\x0b\x1c\x85\u00a0\u2003\u2028\u3000\u3164", "  ", "   "]),
    st.sampled_from(list("\x00\x07\x7f\u00ad\u200b\u200d\ufeff\ufffd\ud800\udfff\udc80")),
    st.sampled_from(["#", "##", "###", "##가", *SPECIAL_TOKENS, "[unused0]", "[이름]", "[", "]"]),
    # Conjoining jamo, and what composes, reorders or decomposes into several characters.
    st.text("\u1100\u1112\u1161\u1175\u11a8\u11c2\ua960\ud7b0", max_size=4),
    st.text("e\u0301\u0323\u0307a\u0308q\u0344\u0345", max_size=4),
    st.text(
        "\u0915\u093c\u0958\u09c7\u09be\u0f40\u0f73\u0f74\u0f71\U00011131\U00011127", max_size=4
    ),
    st.characters(),  # surrogates included
)
TEXTS = st.lists(FRAGMENTS, max_size=12).map("".join)
DECOMPOSED = TEXTS.map(lambda text: unicodedata.normalize("NFD", text))
ANY_TEXT = st.one_of(TEXTS, DECOMPOSED, st.text(st.characters(), max_size=20))


def small_tokenizer(config: TokenizerConfig) -> Tokenizer:
    """Knows characters of many kinds, some of them only at the start or only inside a word."""
    letters = (
        "도서관에책을읽었다가나이름마누순신의EeaqGPUgpuiIstrzé#[]ㅋ大👩\u0301\u0323\u093c\u0915"
    )
    pairs = ("도서", "서관", "##", "##가", "가나", "읽었")
    pieces = [*SPECIAL_TOKENS, "[unused0]", "[이름]", *letters, *pairs]
    pieces += [f"##{char}" for char in letters if char not in "책大"] + ["##서관", "##었다"]
    return Tokenizer(Vocabulary(dict.fromkeys(pieces)), config)


SMALL = {
    "eojeol": TokenizerConfig(),
    "morpheme_cased": TokenizerConfig(subword_prefix_unit="morpheme", do_lower_case=False),
    "kept": TokenizerConfig(additional_special_tokens=("[이름]", "[unused0]", "##")),
    "wordpiece": TokenizerConfig("wordpiece", "morpheme", True, "google"),
    "wordpiece_cased": TokenizerConfig("wordpiece", "morpheme", False, "google", ("[이름]",)),
}
TRAINED = ("vocab", "wordpiece", "sentencepiece", "cased_sentencepiece")


@pytest.fixture(scope="session", params=[*SMALL, *TRAINED])
def any_tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param in SMALL:
        return small_tokenizer(SMALL[request.param])
    return load_tokenizer(request.getfixturevalue(f"{request.param}_folder"))


@pytest.fixture(scope="session", params=SMALL)
def word_tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return small_tokenizer(SMALL[request.param])


@pytest.fixture(scope="session")
def cased_sentencepiece(cased_sentencepiece_folder: str) -> Tokenizer:
    return load_tokenizer(cased_sentencepiece_folder)


def folded(tokenizer: Tokenizer, text: str) -> str:
    """A text as the vocabulary sees it."""
    text = tokenizer.rule.clean(text)
    if tokenizer.config.tokenizer_type == "wordpiece" and tokenizer.config.do_lower_case:
        text = strip_accents(NormalizedText(text)).text
    elif tokenizer.config.do_lower_case:
        text = lower_keeping_length(text)
    # A sigma's form depends on its word.
    return text.replace("ς", "σ") if tokenizer.config.do_lower_case else text


def expected_surfaces(tokenizer: Tokenizer, text: str, encoding: Encoding) -> list[str]:
    """What each piece stands for: its own text, the whole word for [UNK]."""
    source = tokenizer.rule.clean(text)
    if tokenizer.config.tokenizer_type == "wordpiece" and tokenizer.config.do_lower_case:
        source = strip_accents(NormalizedText(source)).text
    words = [part.lstrip(" ") for part in tokenizer.parts(source)]
    assert encoding.morpheme_ids == sorted(encoding.morpheme_ids)
    assert set(encoding.morpheme_ids) == set(range(len(words)))
    surfaces = []
    for piece, word_id in zip(encoding.pieces, encoding.morpheme_ids, strict=True):
        word = words[word_id]
        if piece == "[UNK]" or tokenizer.keeps(word):
            surfaces.append(folded(tokenizer, word))
        else:
            is_first = word_id != (encoding.morpheme_ids[len(surfaces) - 1] if surfaces else -1)
            has_prefix = piece.startswith("##") and not (is_first and piece == "##")
            surfaces.append(piece[2:] if has_prefix else piece)
    return surfaces


def has_clusters_of_several(tokenizer: Tokenizer, text: str) -> bool:
    """Whether a cluster changes into more than one character, so that pieces may share it."""
    source = normalize(text, tokenizer.rule)
    return any(a == b for a, b in (source.span(i, i + 1) for i in range(len(source.text))))


@pytest.mark.slow
@settings(max_examples=150)
@example(text="\u0958\u0958")
@example(text="\u0f40\u0f74\u0f73")
@example(text="\u1100\u200b\u1161\u11a8  ##가[이름]은 \ud800")
@given(text=ANY_TEXT)
def test_encode_any_text_surfaces_are_what_pieces_stand_for(
    word_tokenizer: Tokenizer, text: str
) -> None:
    encoding = word_tokenizer.encode(text)
    slices = [
        folded(word_tokenizer, text[start:end])
        for start, end in zip(encoding.starts, encoding.ends, strict=True)
    ]
    expected = expected_surfaces(word_tokenizer, text, encoding)
    if not has_clusters_of_several(word_tokenizer, text):
        assert slices == expected
    # A cluster of several belongs whole to the piece that holds its first character: slices may
    # run ahead of the pieces, never behind, and meet again at the end.
    for end in range(len(slices) + 1):
        assert "".join(slices[:end]).startswith("".join(expected[:end]))
    assert "".join(slices) == "".join(expected)
    eojeols = [eojeol for eojeol in folded(word_tokenizer, text).split(" ") if eojeol]
    assert "".join(slices).replace(" ", "") == "".join(eojeols)
    assert len(set(encoding.eojeol_ids)) == len(eojeols)


@pytest.mark.slow
@settings(max_examples=150)
@given(text=ANY_TEXT)
def test_encode_any_text_offsets_ascend_and_words_are_numbered(
    any_tokenizer: Tokenizer, text: str
) -> None:
    encoding = any_tokenizer.encode(text)
    last = 0
    for start, end in zip(encoding.starts, encoding.ends, strict=True):
        assert last <= start <= end <= len(text)
        last = end
    vocab = any_tokenizer.vocab
    assert encoding.ids == [vocab[piece] for piece in encoding.pieces]
    kept = set(any_tokenizer.config.additional_special_tokens)
    plain = {piece for piece in encoding.pieces if piece not in kept}
    assert not plain & ({*SPECIAL_TOKENS, "[unused0]", "[이름]"} - {"[UNK]"})
    for numbers in (encoding.morpheme_ids, encoding.eojeol_ids):
        steps = [b - a for a, b in zip([-1, *numbers], numbers, strict=False)]
        assert all(step in (0, 1) for step in steps)
        assert steps[:1] in ([], [1])
    pairs = list(zip(encoding.morpheme_ids, encoding.eojeol_ids, strict=True))
    assert len(set(pairs)) == len(set(encoding.morpheme_ids))  # no morpheme is in two eojeols


@settings(max_examples=100)
@given(text=ANY_TEXT)
def test_encode_sentencepiece_surfaces_are_what_pieces_stand_for(
    cased_sentencepiece: Tokenizer, text: str
) -> None:
    tokenizer = cased_sentencepiece
    if has_clusters_of_several(tokenizer, text):
        return
    encoding = tokenizer.encode(text)
    for piece, start, end in zip(encoding.pieces, encoding.starts, encoding.ends, strict=True):
        surface = tokenizer.rule.clean(text[start:end]).replace(BLANK, "").replace(" ", "")
        if piece != "[UNK]":
            assert surface == piece.replace(BLANK, "")
        else:
            assert surface or BLANK in text


def check_composition(tokenizer: Tokenizer, text: str) -> None:
    composed = tokenizer.encode(unicodedata.normalize("NFC", text)).ids
    assert tokenizer.encode(unicodedata.normalize("NFD", text)).ids == composed


@settings(max_examples=100)
@given(text=ANY_TEXT)
def test_encode_composed_and_decomposed_text_give_the_same_ids(
    tokenizer: Tokenizer, text: str
) -> None:
    check_composition(tokenizer, text)


@pytest.mark.slow
@settings(max_examples=100)
@given(text=st.lists(HANGUL | st.sampled_from([" ", "abc", "3"]), max_size=8).map("".join))
def test_encode_composed_and_decomposed_hangul_give_the_same_ids_for_every_type(
    any_tokenizer: Tokenizer, text: str
) -> None:
    check_composition(any_tokenizer, text)


@settings(max_examples=100)
@given(text=ANY_TEXT)
def test_encode_with_morphemes_any_text_analysis_matches_pieces(
    tokenizer: Tokenizer, text: str
) -> None:
    encoding = tokenizer.encode(text, with_morphemes=True)
    assert len(encoding.morphemes) == len(set(encoding.morpheme_ids))
    for number, morpheme in enumerate(encoding.morphemes):
        places = [i for i, m in enumerate(encoding.morpheme_ids) if m == number]
        assert encoding.starts[places[0]] == morpheme.start
        assert encoding.ends[places[-1]] == morpheme.end
        assert morpheme.pos


@pytest.mark.slow
@settings(max_examples=100)
@given(texts=st.lists(ANY_TEXT, max_size=6))
def test_line_encoder_clean_lines_equal_the_tokenizer(
    any_tokenizer: Tokenizer, texts: list[str]
) -> None:
    lines = any_tokenizer.clean_lines("\n".join(texts))
    check_lines(any_tokenizer, lines)
    for text, line in zip("\n".join(texts).split("\n"), lines, strict=True):
        assert any_tokenizer.encode(line).ids == any_tokenizer.encode(text).ids


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
@settings(max_examples=300)
@example(text="\u0f40\u0f74\u0f73")
@example(text="\U00011131\U00011127")
@example(text="\u1100\u200b\u1161")
@given(text=ANY_TEXT)
def test_normalize_any_text_equals_clean_and_spans_cover(name: str, text: str) -> None:
    rule = RULES[name]
    source = normalize(text, rule)
    assert source.text == rule.clean(text)
    assert rule.clean(source.text) == source.text
    last = 0
    for i in range(len(source.text)):
        start, end = source.span(i, i + 1)
        assert last <= start <= end <= len(text)
        last = end


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
@settings(max_examples=100)
@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=5))
def test_clean_lines_any_lines_equal_clean(name: str, texts: list[str]) -> None:
    rule = RULES[name]
    lines = "\n".join(texts).split("\n")
    assert rule.clean_lines("\n".join(texts)) == [rule.clean(line).strip(" ") for line in lines]


@pytest.mark.slow
def test_fragments_reach_every_branch() -> None:
    """The strategy really makes texts of the kinds that the properties are about."""
    for holds in (
        lambda text: any("\ud800" <= char <= "\udfff" for char in text),
        lambda text: not unicodedata.is_normalized("NFC", text),
        lambda text: any(char > "\uffff" for char in text),
        lambda text: "##" in text,
    ):
        assert holds(find(ANY_TEXT, holds))
