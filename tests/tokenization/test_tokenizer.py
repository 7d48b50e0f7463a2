"""From a string to pieces with offsets: worked examples with literal results."""

import multiprocessing
import pickle
import unicodedata

import pytest

from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.morphemes import Morpheme
from bert_ko.tokenization.tokenizer import KEPT_TOKEN_POS, Encoding, Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

PIECES = (
    *SPECIAL_TOKENS, "[unused0]", "[이름]", "도서", "##관", "##에서", "에서", "책", "##을", "을",
    "읽", "##었", "었", "##다", "다", "##.", ".", "은", "##은", "gpu", "2", "##개", "개", "!",
    "##!", "#", "##가", "가", "###", "é", "大韓", "韓", "##民國", "##의", "a", "##a",
)  # fmt: skip
EOJEOL = TokenizerConfig()
MORPHEME = TokenizerConfig(subword_prefix_unit="morpheme")
WORDPIECE = TokenizerConfig(
    tokenizer_type="wordpiece", subword_prefix_unit="morpheme", normalization="google"
)


EVERY_CONFIG = pytest.mark.parametrize(
    "config", [EOJEOL, MORPHEME, WORDPIECE], ids=["eojeol", "morpheme", "wp"]
)


def make(config: TokenizerConfig = EOJEOL) -> Tokenizer:
    return Tokenizer(Vocabulary(PIECES), config)


def rows(encoding: Encoding) -> list[tuple[str, int, int]]:
    return list(zip(encoding.pieces, encoding.starts, encoding.ends, strict=True))


def test_encode_eojeol_unit_marks_every_piece_inside_an_eojeol() -> None:
    encoding = make(EOJEOL).encode("도서관에서 책을 읽었다.")
    assert encoding.pieces == ["도서", "##관", "##에서", "책", "##을", "읽", "##었", "##다", "##."]
    assert encoding.ids == [PIECES.index(piece) for piece in encoding.pieces]
    assert encoding.starts == [0, 2, 3, 6, 7, 9, 10, 11, 12]
    assert encoding.ends == [2, 3, 5, 7, 8, 10, 11, 12, 13]
    assert encoding.morpheme_ids == [0, 0, 1, 2, 3, 4, 5, 6, 7]
    assert encoding.eojeol_ids == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert len(encoding) == 9


def test_encode_morpheme_unit_marks_only_pieces_inside_a_morpheme() -> None:
    encoding = make(MORPHEME).encode("도서관에서 책을 읽었다.")
    assert encoding.pieces == ["도서", "##관", "에서", "책", "을", "읽", "었", "다", "."]
    assert encoding.morpheme_ids == [0, 0, 1, 2, 3, 4, 5, 6, 7]
    assert encoding.eojeol_ids == [0, 0, 0, 1, 1, 2, 2, 2, 2]


def test_encode_wordpiece_type_words_are_google_s() -> None:
    encoding = make(WORDPIECE).encode("책을 읽었다.")
    assert encoding.pieces == ["책", "##을", "읽", "##었", "##다", "."]
    assert encoding.morpheme_ids == [0, 0, 1, 1, 1, 2]
    assert encoding.eojeol_ids == [0, 0, 1, 1, 1, 1]


NFD_BOOK = unicodedata.normalize("NFD", "책을")  # 3 + 3 characters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NFD_BOOK, [("책", 0, 3), ("##을", 3, 6)]),
        ("  책을", [("책", 2, 3), ("##을", 3, 4)]),
        ("책을  책", [("책", 0, 1), ("##을", 1, 2), ("책", 4, 5)]),
        ("\t책\t책\r\n", [("책", 1, 2), ("책", 3, 4)]),
        ("\u00a0책\u3000책", [("책", 1, 2), ("책", 3, 4)]),
        ("\ufeff책\u200b을", [("책", 1, 2), ("##을", 3, 4)]),
        ("책\x00을", [("책", 0, 1), ("##을", 2, 3)]),
        ("\udcff책\ud800을", [("책", 1, 2), ("##을", 3, 4)]),
        ("GPU 2개", [("gpu", 0, 3), ("2", 4, 5), ("##개", 5, 6)]),
        ("大韓民國의", [("大韓", 0, 2), ("##民國", 2, 4), ("##의", 4, 5)]),
        ("\U00020000 책", [("[UNK]", 0, 1), ("책", 2, 3)]),
        ("e\u0301 책", [("é", 0, 2), ("책", 3, 4)]),
        ("뷁 책", [("[UNK]", 0, 1), ("책", 2, 3)]),
        ("１２ 책", [("[UNK]", 0, 2), ("책", 3, 4)]),
        # The joiner is removed inside one unknown word of two signs.
        ("👩\u200d👧 책", [("[UNK]", 0, 3), ("책", 4, 5)]),
        ("\u3164책", [("책", 1, 2)]),
        ("", []),
        (" \t\u3000\u200b\x00\ud800", []),
    ],
)
def test_encode_offsets_lie_in_the_callers_string(
    text: str, expected: list[tuple[str, int, int]]
) -> None:
    assert rows(make().encode(text)) == expected


def test_encode_literal_hashes_never_meet_a_continuation_piece() -> None:
    encoding = make(MORPHEME).encode("##가")
    assert encoding.ends[-1] == 3
    assert [piece for piece, _, end in rows(encoding) if end == 3] == ["가"]
    assert "##가" not in encoding.pieces


KEPT = ("[이름]", "[unused0]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[이름]은 책", [("[이름]", 0, 4), ("##은", 4, 5), ("책", 6, 7)]),
        ("책 [unused0]", [("책", 0, 1), ("[unused0]", 2, 11)]),
        ("책[이름]을", [("책", 0, 1), ("[이름]", 1, 5), ("##을", 5, 6)]),
        ("  [이름]  책", [("[이름]", 2, 6), ("책", 8, 9)]),
        ("[이름][이름]", [("[이름]", 0, 4), ("[이름]", 4, 8)]),
        (unicodedata.normalize("NFD", "[이름]은"), [("[이름]", 0, 7), ("##은", 7, 10)]),
    ],
)
def test_encode_additional_special_tokens_are_kept_whole(
    text: str, expected: list[tuple[str, int, int]]
) -> None:
    config = TokenizerConfig(additional_special_tokens=KEPT)
    encoding = make(config).encode(text, with_morphemes=True)
    assert rows(encoding) == expected
    kept = [m for m in encoding.morphemes if m.pos == KEPT_TOKEN_POS]
    assert [m[:3] for m in kept] == [row for row in expected if row[0] in KEPT]
    assert len(encoding.morphemes) == encoding.morpheme_ids[-1] + 1
    assert encoding.eojeol_ids[-1] == len(text.split()) - 1


def test_encode_uncased_wordpiece_keeps_special_tokens_in_any_case() -> None:
    vocab = Vocabulary([*SPECIAL_TOKENS, "[NAMÉ]", "은"])
    config = TokenizerConfig("wordpiece", "morpheme", True, "google", ("[NAMÉ]",))
    found = rows(Tokenizer(vocab, config).encode("[NAMÉ]은 [name]"))
    assert found == [("[NAMÉ]", 0, 6), ("은", 6, 7), ("[NAMÉ]", 8, 14)]


def test_encode_longer_special_token_wins_over_its_prefix() -> None:
    vocab = Vocabulary([*SPECIAL_TOKENS, "<수", "<수>"])
    tokenizer = Tokenizer(vocab, TokenizerConfig(additional_special_tokens=("<수", "<수>")))
    assert tokenizer.tokenize("<수><수") == ["<수>", "<수"]


@pytest.mark.parametrize(
    ("token", "words"), [("[수]", r"\[수\] not in the vocabulary"), ("\u200b", "nothing is left")]
)
def test_tokenizer_bad_special_token_raises(token: str, words: str) -> None:
    vocab = Vocabulary([*SPECIAL_TOKENS, "\u200b"])
    with pytest.raises(ValueError, match=words):
        Tokenizer(vocab, TokenizerConfig(additional_special_tokens=(token,)))


@EVERY_CONFIG
def test_keeping_keeps_one_token_more_and_leaves_the_tokenizer_alone(
    config: TokenizerConfig,
) -> None:
    tokenizer = make(config)
    text = "책 [MASK]을 책[MASK]"
    before = tokenizer.encode(text)
    other = tokenizer.keeping("[MASK]")
    assert (other.vocab, other.config) == (tokenizer.vocab, tokenizer.config)
    found = rows(other.encode(text))
    josa = "을" if config in (MORPHEME, WORDPIECE) else "##을"
    assert found == [
        ("책", 0, 1), ("[MASK]", 2, 8), (josa, 8, 9), ("책", 10, 11), ("[MASK]", 11, 17),
    ]  # fmt: skip
    assert tokenizer.encode(text) == before
    assert "[MASK]" not in before.pieces


def test_keeping_keeps_the_tokens_of_the_vocabulary_too_also_after_pickling() -> None:
    tokenizer = make(TokenizerConfig(additional_special_tokens=KEPT))
    other = tokenizer.keeping("[MASK]").keeping("[MASK]")
    for found in (other, pickle.loads(pickle.dumps(other))):
        pieces = ["[이름]", "##은", "[MASK]", "[unused0]"]
        assert found.tokenize("[이름]은 [MASK] [unused0]") == pieces
    assert make().keeping("[MASK]").tokenize("[이름]") != ["[이름]"]


def test_keeping_words_that_were_split_before_are_split_anew() -> None:
    tokenizer = make()
    word = "##가"  # split as a word, then kept
    assert tokenizer.tokenize(word) != [word]
    assert tokenizer.keeping(word).tokenize(word) == [word]
    assert tokenizer.tokenize(word) != [word]


def test_keeping_sentencepiece_is_refused(sentencepiece_folder: str) -> None:
    with pytest.raises(ValueError) as error:
        load_tokenizer(sentencepiece_folder).keeping("[MASK]")
    assert str(error.value) == "[MASK] in a text is not known to a SentencePiece model."


def test_encode_lower_case_off_looks_up_as_written() -> None:
    assert make(TokenizerConfig(do_lower_case=False)).tokenize("GPU gpu") == ["[UNK]", "gpu"]
    assert make().tokenize("GPU gpu") == ["gpu", "gpu"]


def test_encode_long_word_is_one_unknown_piece_over_all_of_it() -> None:
    encoding = make(WORDPIECE).encode("책 " + "a" * 201 + " " + "a" * 200)
    assert encoding.pieces == ["책", "[UNK]", "a"] + ["##a"] * 199
    assert (encoding.starts[1], encoding.ends[1]) == (2, 203)


def test_encode_with_morphemes_gives_original_offsets() -> None:
    encoding = make().encode(f"  {NFD_BOOK}\u3000읽었다", with_morphemes=True)
    assert encoding.morphemes == [
        Morpheme("책", 2, 5, "NNG"),
        Morpheme("을", 5, 8, "JKO"),
        Morpheme("읽", 9, 10, "VV"),
        Morpheme("었", 10, 11, "EP"),
        Morpheme("다", 11, 12, "EC"),
    ]


def test_encode_with_morphemes_without_mecab_raises() -> None:
    tokenizer = make(WORDPIECE)
    assert not tokenizer.has_morphemes
    with pytest.raises(ValueError, match="need --tokenizer_type=mecab, this vocabulary is of type"):
        tokenizer.encode("책", with_morphemes=True)


def test_encode_full_cache_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bert_ko.tokenization.tokenizer._MAX_CACHED_WORDS", 2)
    tokenizer = make()
    for _ in range(3):
        assert tokenizer.tokenize("도서관에서 책을") == ["도서", "##관", "##에서", "책", "##을"]


def test_clean_lines_uncased_wordpiece_has_no_accents_and_no_blanks_at_the_ends() -> None:
    assert make(WORDPIECE).clean_lines("Café 각\na \u0301\n\u0301") == ["cafe 각", "a", ""]


def ids_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode(texts)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vocab", "wordpiece", "sentencepiece"])
def test_tokenizer_pickle_gives_the_same_ids_also_in_a_spawned_process(
    kind: str, request: pytest.FixtureRequest, sample_lines: list[str]
) -> None:
    tokenizer = load_tokenizer(request.getfixturevalue(f"{kind}_folder"))
    expected = ids_of(tokenizer, sample_lines)
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert ids_of(copy, sample_lines) == expected
    assert copy.fingerprint == tokenizer.fingerprint
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(ids_of, (tokenizer, sample_lines)) == expected
        pool.close()
        pool.join()
