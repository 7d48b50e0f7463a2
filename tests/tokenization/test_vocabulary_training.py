"""Training vocabularies on small counts."""

from collections import Counter

import pytest

from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, SentencePieceModel, Vocabulary
from bert_ko.tokenization.vocabulary_training import (
    VocabularyFlags,
    Word,
    train_sentencepiece,
    train_wordpiece,
)
from bert_ko.tokenization.wordpiece import WordPiece

COUNTS: dict[Word, int] = {
    ("도서관", False): 20,
    ("도서실", False): 10,
    ("관", True): 8,
    ("에서", True): 30,
    ("책", False): 5,
    ("책장", False): 1,
}


def settings(vocab_size: int, **values: object) -> VocabularyFlags:
    given = {"vocab_size": vocab_size, "num_unused": 0, "character_coverage": 1.0, **values}
    return VocabularyFlags(**given)  # type: ignore[arg-type]


def learnt(pieces: list[str]) -> list[str]:
    return [piece for piece in pieces if len(piece.removeprefix("##")) > 1][len(SPECIAL_TOKENS) :]


def test_train_wordpiece_small_counts_give_literal_pieces() -> None:
    pieces = train_wordpiece(COUNTS, settings(100))
    assert pieces[:5] == list(SPECIAL_TOKENS)
    assert pieces[5:14] == ["##관", "##서", "##실", "##에", "##장", "도", "책", *pieces[12:14]]
    # 에서 saves 30 pieces, 도서관 40 over 도+##서+##관; 책장 stands there once only.
    assert set(pieces[12:]) == {"도서관", "도서실", "##에서"}
    assert pieces[12] == "도서관"
    assert train_wordpiece(dict(reversed(COUNTS.items())), settings(100)) == pieces


def test_train_wordpiece_reserved_pieces_come_first() -> None:
    values = settings(30, num_unused=2, additional_special_tokens=("[이름]",))
    pieces = train_wordpiece(COUNTS, values)
    assert pieces[:8] == [*SPECIAL_TOKENS, "[unused0]", "[unused1]", "[이름]"]
    assert pieces[0] == "[PAD]"


def test_train_wordpiece_size_is_never_exceeded_and_the_most_useful_are_kept() -> None:
    for size in (12, 13, 14, 15):
        pieces = train_wordpiece(COUNTS, settings(size))
        assert len(pieces) == size
        Vocabulary(pieces)
        assert learnt(pieces)[:1] == ["도서관"][: size - 12]


def test_train_wordpiece_min_frequency_leaves_rare_pieces_out() -> None:
    for least, expected in (
        (1, {"도서관", "도서실", "##에서", "책장"}),
        (11, {"도서관", "##에서"}),
    ):
        found = set(learnt(train_wordpiece(COUNTS, settings(100, min_frequency=least))))
        assert found >= expected
        assert ("책장" in found) == ("도서실" in found) == (least == 1)
    assert "##도" not in train_wordpiece(COUNTS, settings(100, min_frequency=1))  # never inside


def test_train_wordpiece_too_small_says_what_is_needed() -> None:
    with pytest.raises(ValueError) as error:
        train_wordpiece(COUNTS, settings(11))
    assert str(error.value).startswith("--vocab_size=11 is too small: 5 reserved pieces and 7 ")
    assert "--character_coverage" in str(error.value)


def test_train_wordpiece_coverage_drops_the_rarest_characters() -> None:
    all_of_them = train_wordpiece(COUNTS, settings(100))
    most = train_wordpiece(COUNTS, settings(100, character_coverage=0.99))
    assert set(all_of_them) - set(most) == {"##장"}
    fewest = train_wordpiece(COUNTS, settings(100, character_coverage=1e-9))
    assert fewest == [*SPECIAL_TOKENS, "##서"]


def test_train_wordpiece_start_and_inside_of_a_character_are_two_pieces() -> None:
    pieces = train_wordpiece({("관", True): 3}, settings(100))
    assert "##관" in pieces
    assert "관" not in pieces


def test_train_wordpiece_forced_alphabet_has_both_forms() -> None:
    values = settings(100, forced_alphabet="뷁책", additional_special_tokens=("책",))
    pieces = train_wordpiece(COUNTS, values)
    assert {"뷁", "##뷁", "책", "##책"} <= set(pieces)
    assert len(pieces) == len(set(pieces))
    assert pieces[5] == "책"


def test_train_wordpiece_words_past_the_limit_are_left_out() -> None:
    pieces = train_wordpiece({("긴" * 201, False): 9, ("책", False): 9}, settings(100))
    assert pieces == [*SPECIAL_TOKENS, "책"]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, []),
        ({("책", False): 1}, ["책"]),
        ({("\u2581", False): 5}, ["\u2581"]),
        ({("a\u2581b", False): 5}, ["##b", "##\u2581", "a"]),
        ({("\u2585", False): 5}, ["\u2585"]),
    ],
)
def test_train_wordpiece_words_without_merges_give_characters(
    counts: dict[Word, int], expected: list[str]
) -> None:
    assert train_wordpiece(counts, settings(100)) == [*SPECIAL_TOKENS, *expected]


def test_train_wordpiece_literal_hashes_split_back_to_their_words() -> None:
    counts: dict[Word, int] = {("##a", False): 50, ("a", True): 50, ("###", False): 50}
    pieces = train_wordpiece(counts, settings(100))
    Vocabulary(pieces)
    wordpiece = WordPiece({piece: i for i, piece in enumerate(pieces)})
    assert wordpiece.split("##a") is not None
    assert wordpiece.split("a", continues=True) == ["##a"]


def test_train_wordpiece_piece_that_merges_give_twice_stands_once() -> None:
    # A literal "##ab" at the start of a word and "ab" inside one are the same string.
    counts: dict[Word, int] = {("##ab", False): 90, ("ab", True): 90, ("xab", False): 50}
    pieces = train_wordpiece(counts, settings(100))
    assert pieces.count("##ab") == 1
    Vocabulary(pieces)


def test_train_wordpiece_every_piece_is_used_by_the_greedy_search(sample_lines: list[str]) -> None:
    counts: Counter[Word] = Counter(
        (word, False) for line in sample_lines for word in line.split(" ")
    )
    pieces = train_wordpiece(counts, settings(1200))
    wordpiece = WordPiece({piece: i for i, piece in enumerate(pieces)})
    used: Counter[str] = Counter()
    for (word, continues), n in counts.items():
        split = wordpiece.split(word, continues)
        assert split is not None
        for piece in split:
            used[piece] += n
    # The last round of pruning can free some uses for longer pieces: a handful at most.
    rare = [piece for piece in learnt(pieces) if used[piece] < 2]
    assert len(rare) <= 0.02 * len(pieces)


def trained(lines: list[str], **values: object) -> SentencePieceModel:
    given = VocabularyFlags(num_unused=3, max_sentences=1000, **values)  # type: ignore[arg-type]
    return SentencePieceModel(train_sentencepiece(lines, given, do_lower_case=True))


def test_train_sentencepiece_has_special_tokens_in_their_places(sample_lines: list[str]) -> None:
    tokens = ("[이름]",)
    model = trained(
        sample_lines,
        vocab_size=1200,
        additional_special_tokens=tokens,
        character_coverage=0.99,
        forced_alphabet="뷁",
    )
    assert len(model.pieces) == 1200
    unused = ["[unused0]", "[unused1]", "[unused2]"]
    assert model.pieces[:9] == [*SPECIAL_TOKENS, *unused, *tokens]
    assert "뷁" in model.pieces
    Vocabulary(model.pieces)


@pytest.mark.parametrize(("size", "words"), [(100_000, "too high"), (50, "smaller than required")])
def test_train_sentencepiece_size_that_does_not_fit_raises(
    size: int, words: str, sample_lines: list[str]
) -> None:
    with pytest.raises(ValueError, match=f"--vocab_size={size}: .*{words}"):
        trained(sample_lines, vocab_size=size)


@pytest.mark.slow
def test_train_sentencepiece_very_long_line_is_used(sample_lines: list[str]) -> None:
    line = " ".join(sample_lines * 8)
    assert len(line.encode()) > 1 << 17
    model = trained([line], vocab_size=900, character_coverage=0.98)
    assert "▁도서관" in model.pieces or "▁마을" in model.pieces
