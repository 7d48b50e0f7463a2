"""Words as pieces: the same words as the biLM's own, each with its place in the text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.characters import Mark
from bert_ko.tokenization.config import WordUnit
from bert_ko.tokenization.morphemes import dictionary_version
from bert_ko.tokenization.normalization import MECAB
from bert_ko.tokenization.word_tokenizer import WordTokenizer
from bert_ko.tokenization.word_vocabulary import SENTENCE_MARKS, WordVocabulary

TEXTS = st.text(
    st.sampled_from("가나다을은는AB1,. \t\n\u200b\u3000ㅋ") | st.characters(), max_size=30
)


def tokenizer_of(unit: WordUnit) -> WordTokenizer:
    dictionary = dictionary_version() if unit == "morpheme" else None
    return WordTokenizer(WordVocabulary(SENTENCE_MARKS, unit, dictionary), "syllable", 16)


EOJEOLS, MORPHEMES = tokenizer_of("eojeol"), tokenizer_of("morpheme")


def test_encode_words_have_their_places_eojeols_and_ids() -> None:
    tokenizer = EOJEOLS.begin()
    found = tokenizer.encode("  배가 고프다.\n배가\u3000불러")
    assert found.pieces == ["배가", "고프다.", "배가", "불러"]
    assert found.ids == [3, 4, 3, 5]
    assert list(zip(found.starts, found.ends, strict=True)) == [(2, 4), (5, 9), (10, 12), (13, 15)]
    assert found.eojeol_ids == found.morpheme_ids == [0, 1, 2, 3]
    assert tokenizer.words == [
        Mark.PADDING, Mark.SENTENCE_BEGIN, Mark.SENTENCE_END, "배가", "고프다.", "불러",
    ]  # fmt: skip
    assert tokenizer.begin().words == tokenizer.words[:3]


def test_encode_morphemes_of_an_eojeol_have_its_number() -> None:
    found = MORPHEMES.encode("이순신의 칼")
    assert found.pieces == ["이순신", "의", "칼"] and found.eojeol_ids == [0, 0, 1]
    assert found.morpheme_ids == [0, 1, 2]


def test_encode_decomposed_text_covers_its_own_characters() -> None:
    text = unicodedata.normalize("NFD", "각 눈")
    found = EOJEOLS.encode(text)
    assert found.pieces == ["각", "눈"]
    assert [text[a:b] for a, b in zip(found.starts, found.ends, strict=True)] == text.split(" ")


@pytest.mark.parametrize("tokenizer", [EOJEOLS, MORPHEMES], ids=["eojeol", "morpheme"])
@given(text=TEXTS)
def test_encode_any_text_gives_the_words_of_the_splitter_in_order(
    tokenizer: WordTokenizer, text: str
) -> None:
    found = tokenizer.begin().encode(text)
    assert found.pieces == tokenizer.vocabulary.splitter().split(text)
    end = 0
    for word, first, last in zip(found.pieces, found.starts, found.ends, strict=True):
        assert end <= first <= last <= len(text)
        assert word in MECAB.clean(text[first:last]) or first == last
        end = last
