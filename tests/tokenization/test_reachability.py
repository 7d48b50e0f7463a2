"""Pieces that no text can reach: what is proved, and that nothing in use is named."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.morphemes import MecabSegmenter, dictionary_folder
from bert_ko.tokenization.normalization import NormalizedText, lower_keeping_length, strip_accents
from bert_ko.tokenization.reachability import _is_changed, _MecabSplits, unreachable_pieces
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.user_dictionary import compile_user_dictionary
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

VOCABULARY = str(Path(__file__).parents[2] / "vocab" / "ko-mecab-32k")
WORDPIECE = {
    "tokenizer_type": "wordpiece", "subword_prefix_unit": "morpheme", "normalization": "google",
}  # fmt: skip
CASED = {"do_lower_case": False}


def unreachable(*pieces: str, dictionaries: tuple[str, ...] = (), **settings: Any) -> list[str]:
    config = TokenizerConfig(**settings)
    vocab = Vocabulary((*SPECIAL_TOKENS, "[unused0]", *config.additional_special_tokens, *pieces))
    tokenizer = Tokenizer(vocab, config, user_dictionaries=dictionaries)
    return unreachable_pieces(tokenizer)


@pytest.mark.parametrize(
    ("settings", "lost", "found"),
    [
        ({}, ["GPU", "##Gpu", "가\u200b", "\u1100\u1161", "##\u3164", "\u2126"],
         ["gpu", "##gpu", "é", "İ", "ㅋㅋ", "##", "뷁뷁", "##에서"]),
        (CASED, ["e\u0301", "\u212b"], ["GPU", "gpu", "é", "İ"]),
        (WORDPIECE, ["GPU", "é", "##é", "a.b", "##3.5", "##.", "##中", "中国", "가\ufeff", "##"],
         ["gpu", ".", "中", "##e", "도서관에서"]),
        ({**WORDPIECE, **CASED}, ["a.b"], ["GPU", "é", "e\u0301"]),
        ({**WORDPIECE, "subword_prefix_unit": "eojeol"}, ["##3.5"], ["##.", "##中"]),
    ],
)  # fmt: skip
def test_unreachable_pieces_characters_that_no_text_has(
    settings: dict[str, Any], lost: list[str], found: list[str]
) -> None:
    assert unreachable(*lost, *found, **settings) == lost


def test_is_changed_composition_is_no_proof_where_lower_casing_comes_after_it() -> None:
    """Of J and a caron nothing is composed; of j and a caron it would be."""
    tokenizer = Tokenizer(Vocabulary(SPECIAL_TOKENS), TokenizerConfig())
    assert tokenizer.rule.clean("J\u030c") == "J\u030c"
    assert not _is_changed("j\u030c", tokenizer)


@pytest.mark.slow
def test_unreachable_pieces_mecab_joins_no_two_classes_but_by_a_dictionary(tmp_path: Path) -> None:
    words = ["코로나19", "##코로나19", "##나1", "챗gpt", "##챗g", "a1"]
    assert unreachable(*words) == words
    path = str(tmp_path / "new.dic")
    compile_user_dictionary({"코로나19": None, "챗GPT": None}, path)
    assert unreachable(*words, "나1", dictionaries=(path,)) == ["a1", "나1"]


def test_unreachable_pieces_tokens_that_are_kept_are_not_text() -> None:
    assert unreachable("[B]", additional_special_tokens=("[A]", "##A")) == ["[B]"]


def test_unreachable_pieces_sentencepiece_and_the_project_s_vocabulary_have_none(
    sentencepiece_folder: str,
) -> None:
    for folder in (sentencepiece_folder, VOCABULARY):
        assert unreachable_pieces(load_tokenizer(folder)) == []


def test_mecab_splits_no_morpheme_that_mecab_gives(real_lines: list[str]) -> None:
    """Whole, every beginning and every part of it."""
    segmenter, is_split = MecabSegmenter(), _MecabSplits((), lowers=False).is_split
    lines = [*real_lines[:300], "C++와 3D를 SK하이닉스가 U-20 4·19 T/F 1,000원 6·25전쟁"]
    words = {word.lstrip() for line in lines for word in segmenter.parts(line.strip())}
    for word in words:
        assert not is_split(word, False), word
        assert not is_split(word, True), word
        assert not is_split(word[1:], True), word


def test_mecab_classes_make_unknown_words_of_neighbours_alone() -> None:
    """An unknown word of up to `length` characters compares them with its first: two are safe."""
    path = dictionary_folder() / "char.bin"
    number = int(np.fromfile(path, "<u4", 1)[0])
    lengths = (np.fromfile(path, "<u4", offset=4 + 32 * number) >> 26) & 15
    assert lengths.max() <= 2


@pytest.mark.slow
def test_normalized_characters_are_left_as_they_are() -> None:
    """What a piece is compared with: each character that comes out changes no more."""
    everything = list(map(chr, range(sys.maxunicode + 1)))
    text = "".join(everything)
    for change in (lambda text: strip_accents(NormalizedText(text)).text, lower_keeping_length):
        characters = "".join(sorted(set(change(text))))
        assert change(characters) == characters
    lowered = {char.lower() for char in everything if char.lower() != char}
    assert [char for char in lowered if len(char) == 1 and char.upper() == char] == []


def test_published_vocabulary_pieces_that_occur_are_reachable() -> None:
    pieces = [
        "각",
        "\u1100",
        "##\u1161",
        "##\u11a8",
        "金",
        "##金",
        "cafe",
        "café",
        "Cafe",
        "도서관",
    ]
    config = TokenizerConfig("wordpiece", "morpheme", True, "transformers", strip_accents=True)
    tokenizer = Tokenizer(Vocabulary([*SPECIAL_TOKENS, *pieces]), config)
    assert tokenizer.tokenize("각金 CAFÉ") == ["\u1100", "##\u1161", "##\u11a8", "金", "cafe"]
    assert unreachable_pieces(tokenizer) == ["각", "##金", "café", "Cafe", "도서관"]
    whole = dataclasses.replace(config, strip_accents=False, tokenize_chinese_chars=False)
    tokenizer = Tokenizer(Vocabulary([*SPECIAL_TOKENS, *pieces]), whole)
    assert tokenizer.tokenize("각金 CAFÉ") == ["각", "##金", "café"]
    assert unreachable_pieces(tokenizer) == ["Cafe"]
