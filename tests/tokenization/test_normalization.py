"""Characters: what is removed, what becomes a blank, what composes, and where it all stood."""

import sys
import unicodedata

import pytest

from bert_ko.tokenization.normalization import (
    _COMPOSING_STARTERS,
    GOOGLE,
    MECAB,
    RULES,
    CharacterRule,
    NormalizedText,
    lower_keeping_length,
    normalize,
    strip_accents,
)

EVERY_CHARACTER = [chr(code) for code in range(sys.maxunicode + 1)]


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def spans(source: NormalizedText) -> list[tuple[int, int]]:
    return [source.span(i, i + 1) for i in range(len(source.text))]


def test_rules_every_format_character_is_removed() -> None:
    formats = [char for char in EVERY_CHARACTER if unicodedata.category(char) == "Cf"]
    assert len(formats) > 150
    for rule in RULES.values():
        assert [char for char in formats if rule.clean(f"가{char}나") != "가나"] == []


def test_rules_every_control_and_surrogate_leaves_a_blank_or_nothing() -> None:
    unwanted = [char for char in EVERY_CHARACTER if unicodedata.category(char) in ("Cc", "Cs")]
    assert len(unwanted) == 65 + 2048
    for rule in RULES.values():
        assert {rule.clean(f"가{char}나") for char in unwanted} == {"가나", "가 나"}


def test_rules_every_white_space_is_a_blank() -> None:
    white = [char for char in EVERY_CHARACTER if char.isspace()]
    assert len(white) == 29
    assert [char for char in white if MECAB.clean(f"가{char}나") != "가 나"] == []
    # Google's tokenizer takes these for control characters.
    removed = [char for char in white if GOOGLE.clean(f"가{char}나") == "가나"]
    assert removed == list("\x0b\x0c\x1c\x1d\x1e\x1f\x85")


def test_rules_unassigned_letters_and_marks_stay() -> None:
    kept = [
        char
        for char in EVERY_CHARACTER
        if unicodedata.category(char)[0] in "LMNPS" and unicodedata.is_normalized("NFC", char)
    ]
    changed = {char for char in kept if MECAB.clean(char) != char}
    assert changed == {"\u3164", "\uffa0", "\ufffd"}  # Hangul fillers and the replacement character
    assert {char for char in kept if GOOGLE.clean(char) != char} == {"\ufffd"}


def test_composing_starters_hold_what_unicode_composes() -> None:
    """Derived: a starter that, or whose decomposition's first character, is a second element."""
    second = set("".join(map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)))))
    for char in EVERY_CHARACTER:
        parts = unicodedata.decomposition(char).split(" ")
        if len(parts) == 2 and not parts[0].startswith("<"):
            pair = "".join(chr(int(part, 16)) for part in parts)
            if unicodedata.normalize("NFC", pair) == char:
                second.add(pair[1])
    expected = {
        char
        for char in EVERY_CHARACTER
        if not unicodedata.combining(char)
        and (char in second or (first := nfd(char)[0]) in second or unicodedata.combining(first))
    }
    assert len(expected) > 70
    assert expected <= _COMPOSING_STARTERS
    # Only characters newer than this Python's Unicode may be more.
    more = _COMPOSING_STARTERS - expected
    known = {char for char in more if unicodedata.category(char) != "Cn"}
    assert known == set()


@pytest.mark.parametrize(
    ("text", "expected", "expected_spans"),
    [
        ("가나", "가나", [(0, 1), (1, 2)]),
        (nfd("각나"), "각나", [(0, 3), (3, 5)]),
        ("가\x00나", "가나", [(0, 1), (2, 3)]),
        ("가\ud800나", "가나", [(0, 1), (2, 3)]),
        ("\ufeff가", "가", [(1, 2)]),
        ("가\u3000\t나", "가  나", [(0, 1), (1, 2), (2, 3), (3, 4)]),
        ("e\u0301가", "é가", [(0, 2), (2, 3)]),
        ("\u1100\u200b\u1161", "가", [(0, 3)]),
        # Composition excluded: one character becomes two, and the first holds the cluster.
        ("\u0958가", "\u0915\u093c가", [(0, 1), (1, 1), (1, 2)]),
        # Marks are put in order; the cluster is one.
        ("q\u0307\u0323", "q\u0323\u0307", [(0, 3), (3, 3), (3, 3)]),
        ("\u0f40\u0f74\u0f73", "\u0f40\u0f71\u0f72\u0f74", [(0, 3)] + [(3, 3)] * 3),
        ("한\uff21", "한\uff21", [(0, 1), (1, 2)]),
        ("", "", []),
    ],
)
def test_normalize_worked_examples_give_text_and_spans(
    text: str, expected: str, expected_spans: list[tuple[int, int]]
) -> None:
    source = normalize(text, MECAB)
    assert source.text == expected
    assert spans(source) == expected_spans


def test_normalize_google_composes_jamo_alone() -> None:
    source = normalize(nfd("각é"), GOOGLE)
    assert source.text == "각e\u0301"
    assert spans(source) == [(0, 3), (3, 4), (4, 5)]


def test_normalize_text_that_needs_nothing_carries_no_lists() -> None:
    assert normalize("도서관 Book", MECAB) == NormalizedText("도서관 Book", None, None)


@pytest.mark.parametrize("rule", [MECAB, GOOGLE], ids=lambda rule: rule.name)
def test_clean_lines_splits_at_line_feeds_alone_and_trims(rule: CharacterRule) -> None:
    text = f" 가\u2028나\u3000\n\n\u200b\n{nfd('책')}\r\n끝\x00"
    assert rule.clean_lines(text) == ["가 나", "", "", "책", "끝"]
    assert rule.clean_lines("가 \n 나") == ["가", "나"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ABC가", "abc가"), ("İI", "İi"), ("ΑΣ", "ας"), ("ẞ", "ß"), ("", "")],
)
def test_lower_keeping_length_never_changes_it(text: str, expected: str) -> None:
    assert lower_keeping_length(text) == expected


def test_lower_keeping_length_every_character_stays_one() -> None:
    assert all(len(lower_keeping_length(char)) == 1 for char in EVERY_CHARACTER)


@pytest.mark.parametrize(
    ("text", "expected", "expected_spans"),
    [
        ("Café", "cafe", [(0, 1), (1, 2), (2, 3), (3, 4)]),
        ("CAFE\u0301", "cafe", [(0, 1), (1, 2), (2, 3), (3, 4)]),
        ("İz", "iz", [(0, 1), (1, 2)]),
        ("각é", "각e", [(0, 1), (1, 2)]),
        ("\u0301", "", []),
        ("ABC", "abc", [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_strip_accents_worked_examples_give_text_and_spans(
    text: str, expected: str, expected_spans: list[tuple[int, int]]
) -> None:
    source = strip_accents(normalize(text, GOOGLE))
    assert source.text == expected
    assert spans(source) == expected_spans


def test_strip_accents_every_hangul_syllable_stays_composed() -> None:
    syllables = "".join(map(chr, range(0xAC00, 0xD7A4)))
    assert strip_accents(NormalizedText(syllables)).text == syllables
