"""Text to morphemes and eojeols as whole words."""

import pickle
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.tokenization.config import WordUnit
from bert_ko.tokenization.word_splitting import WordSplitter

UNITS = get_args(WordUnit)
LINES = ["ELMo는 낱말을 읽는다.", "", "끝."]


def test_split_units_give_morphemes_and_eojeols_with_their_case() -> None:
    text = "학생은  ELMo를\t읽었다."
    assert WordSplitter("eojeol").split(text) == ["학생은", "ELMo를", "읽었다."]
    assert WordSplitter("morpheme").split(text) == [
        "학생", "은", "ELMo", "를", "읽", "었", "다", ".",
    ]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
@given(text=st.text(st.sampled_from("가나다a.B1 \t\u3000\u200b\r\n<>/\U0001f600\u1100\u1161")))
def test_split_any_text_keeps_every_visible_character(unit: WordUnit, text: str) -> None:
    splitter = splitters[unit]
    words = splitter.split(text)
    assert "".join(words) == "".join("".join(splitter.clean_lines(text)).split())
    assert all(word and word == "".join(word.split()) for word in words)


splitters = {unit: WordSplitter(unit) for unit in UNITS}


@pytest.mark.parametrize("unit", UNITS)
def test_encode_lines_are_their_words_and_lengths(unit: WordUnit) -> None:
    splitter = splitters[unit]
    encoded = splitter.encode(LINES)
    texts = [f"{word}\n".encode() for line in LINES for word in splitter.split(line)]
    assert encoded.pieces.tobytes() == b"".join(texts)
    assert encoded.lengths.tolist() == [
        len("".join(f"{word}\n" for word in splitter.split(line)).encode()) for line in LINES
    ]
    assert encoded.lengths[1] == 0


def test_encode_no_lines_is_empty() -> None:
    encoded = splitters["eojeol"].encode([])
    assert len(encoded.pieces) == len(encoded.lengths) == 0


def test_splitter_of_user_dictionary_pickles_with_it(user_dictionary: str) -> None:
    splitter = pickle.loads(pickle.dumps(WordSplitter("morpheme", (user_dictionary,))))
    assert splitter.split("솔내글방은") == ["솔내글방", "은"]
    assert splitters["morpheme"].split("솔내글방은") != ["솔내글방", "은"]


def test_split_many_blanks_are_one_boundary() -> None:
    for unit in UNITS:
        assert splitters[unit].split("봄   꽃 " + " " * 50 + "강") == ["봄", "꽃", "강"]
