"""Masks: invariants on random sequences, and equality in distribution with a shuffle."""

import random
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.data.masking import MaskedBatch, MaskingConfig, mask_tokens, replacement_ids
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary

CLS, SEP, MASK = 2, 3, 4
FIRST_ID = 10
REPLACEMENTS = np.arange(FIRST_ID, 2000, dtype=np.int32)

# Lengths of the words of the segments of each sequence.
Segments = list[list[int]]
WORDS = st.lists(st.integers(1, 5), max_size=12)
ROWS = st.lists(st.lists(WORDS, min_size=1, max_size=2), min_size=1, max_size=14)
CONFIGS = st.builds(
    MaskingConfig, st.floats(0.01, 0.9), st.integers(1, 30), st.integers(1, 4), st.booleans()
)


class Rows(NamedTuple):
    """A batch; ``words`` are the spans of the words of each row."""

    input_ids: np.ndarray
    is_piece: np.ndarray
    word_starts: np.ndarray
    words: list[list[tuple[int, int]]]


def make_rows(rows: list[Segments], seed: int = 0) -> Rows:
    length = 3 + max(sum(map(sum, segments)) for segments in rows)
    shape = (len(rows), length)
    ids, is_piece, starts = np.zeros(shape, np.int32), np.zeros(shape, bool), np.zeros(shape, bool)
    words: list[list[tuple[int, int]]] = []
    for row, segments in enumerate(rows):
        place, spans = 1, []
        ids[row, 0] = CLS
        for segment in segments:
            for size in segment:
                spans.append((place, place + size))
                starts[row, place] = True
                is_piece[row, place : place + size] = True
                place += size
            ids[row, place] = SEP
            place += 1
        words.append(spans)
    random_ids = np.random.default_rng(seed).integers(FIRST_ID, 2000, shape)
    return Rows(np.where(is_piece, random_ids, ids).astype(np.int32), is_piece, starts, words)


def mask(rows: Rows, config: MaskingConfig, seed: int = 1) -> MaskedBatch:
    rng = np.random.default_rng(seed)
    return mask_tokens(
        rows.input_ids, rows.is_piece, rows.word_starts, MASK, REPLACEMENTS, config, rng
    )


def is_masked(batch: MaskedBatch) -> np.ndarray:
    """Bool [B, L], the targets."""
    found = np.zeros(batch.input_ids.shape, bool)
    found.ravel()[batch.targets] = True
    return found


def budget_of(segments: Segments, config: MaskingConfig) -> int:
    """Google's: [CLS] and the [SEP] of each segment that has pieces are counted, too."""
    tokens = 1 + sum(sum(segment) + 1 for segment in segments if segment)
    return min(config.max_predictions_per_seq, max(1, round(tokens * config.masked_lm_prob)))


@given(ROWS, CONFIGS, st.integers(0, 2**32))
def test_mask_tokens_whole_words_are_never_split(
    segments: list[Segments], config: MaskingConfig, seed: int
) -> None:
    rows = make_rows(segments)
    masked = is_masked(mask(rows, config, seed))
    assert not (masked & ~rows.is_piece).any()
    for row, spans in enumerate(rows.words):
        for start, end in spans:
            assert len(set(masked[row, start:end].tolist())) == 1


@given(ROWS, CONFIGS, st.integers(0, 2**32))
def test_mask_tokens_budget_is_kept_and_used_up(
    segments: list[Segments], config: MaskingConfig, seed: int
) -> None:
    # A word that exceeds what is left is skipped, shorter ones after it are still taken: in the
    # end no word is left that would fit.
    rows = make_rows(segments)
    masked = is_masked(mask(rows, config, seed))
    for row, spans in enumerate(rows.words):
        left = budget_of(segments[row], config) - int(masked[row].sum())
        assert left >= 0
        assert not [1 for start, end in spans if not masked[row, start] and end - start <= left]


@given(ROWS, CONFIGS, st.integers(0, 2**32))
def test_mask_tokens_targets_ascend_and_restore_the_original(
    segments: list[Segments], config: MaskingConfig, seed: int
) -> None:
    rows = make_rows(segments)
    batch = mask(rows, config, seed)
    assert batch.positions.shape == (len(segments), config.max_predictions_per_seq)
    restored = batch.input_ids.copy()
    for row in range(len(segments)):
        count = int(batch.weights[row].sum())
        positions = batch.positions[row, :count].tolist()
        assert positions == sorted(set(positions)) == np.flatnonzero(is_masked(batch)[row]).tolist()
        for padded in (batch.positions, batch.ids, batch.weights):
            assert not padded[row, count:].any()
        assert (batch.weights[row, :count] == 1).all()
        restored[row, positions] = batch.ids[row, :count]
    assert (restored == rows.input_ids).all()
    assert (batch.input_ids == rows.input_ids)[~is_masked(batch)].all()


def test_mask_tokens_same_seed_is_the_same_and_another_differs() -> None:
    rows = make_rows([[[1, 2, 3] * 5, [2, 2]]] * 20)
    batches = [mask(rows, MaskingConfig(), seed) for seed in (1, 1, 2)]
    assert all((a == b).all() for a, b in zip(batches[0], batches[1], strict=True))
    assert (is_masked(batches[0]) != is_masked(batches[2])).any()


def kinds(rows: Rows, batch: MaskedBatch) -> np.ndarray:
    """0 [MASK], 1 unchanged, 2 random, for every target."""
    found = batch.input_ids[is_masked(batch)]
    original = rows.input_ids[is_masked(batch)]
    return np.where(found == MASK, 0, np.where(found == original, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("by_word", [False, True])
def test_mask_tokens_80_10_10_within_one_percent(by_word: bool) -> None:
    rows = make_rows([[[1, 2, 1, 3, 2] * 10, [1, 1, 2] * 10]] * 4000)
    config = MaskingConfig(0.15, 30, replace_by_word=by_word)
    batch = mask(rows, config)
    found = kinds(rows, batch)
    if by_word:
        # One draw a word: counting words, whose first pieces are the starts.
        found = found[rows.word_starts[is_masked(batch)]]
    assert len(found) > 40_000  # a standard deviation of 0.2 %
    shares = np.bincount(found, minlength=3) / len(found)
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.01)


def test_mask_tokens_replacing_by_piece_is_independent_inside_a_word() -> None:
    rows = make_rows([[[2] * 30]] * 4000)
    found = kinds(rows, mask(rows, MaskingConfig(0.2, 20))).reshape(-1, 2)
    both = np.mean((found == 0).all(axis=1))
    assert both == pytest.approx(0.8 * 0.8, abs=0.02)


def test_mask_tokens_replacing_by_word_treats_its_pieces_alike() -> None:
    rows = make_rows([[[3] * 20]] * 1000)
    found = kinds(rows, mask(rows, MaskingConfig(0.2, 20, replace_by_word=True))).reshape(-1, 3)
    # A random piece equals the original once in 2,000 times.
    assert np.mean((found == found[:, :1]).all(axis=1)) > 0.995


def test_mask_tokens_random_pieces_are_uniform_over_the_replacements() -> None:
    rows = make_rows([[[1] * 60]] * 3000)
    allowed = np.array([11, 13, 17, 1999], np.int32)
    batch = mask_tokens(
        rows.input_ids, rows.is_piece, rows.word_starts, MASK, allowed, MaskingConfig(0.3, 20),
        np.random.default_rng(1),
    )  # fmt: skip
    drawn = Counter(batch.input_ids[is_masked(batch)][kinds(rows, batch) == 2].tolist())
    assert set(drawn) == set(allowed.tolist())
    # About 1,400 each: a standard deviation of 3 %.
    assert max(drawn.values()) / min(drawn.values()) < 1.15


def test_replacement_ids_special_and_unused_are_left_out() -> None:
    pieces = [*SPECIAL_TOKENS, "[unused0]", "[unused12]", "가", "##나", "[NAME]", "unused"]
    assert replacement_ids(Vocabulary(pieces)).tolist() == [7, 8, 9, 10]
    assert replacement_ids(Vocabulary(pieces), ("[NAME]",)).tolist() == [7, 8, 10]


def shuffle_reference(words: list[int], budget: int, runs: int) -> np.ndarray:
    """How often each word is masked when words are shuffled and taken until the budget is spent."""
    rng = random.Random(9)
    taken = np.zeros(len(words))
    for _ in range(runs):
        left = budget
        for word in rng.sample(range(len(words)), len(words)):
            if words[word] <= left:
                taken[word] += 1
                left -= words[word]
    return taken / runs


@pytest.mark.slow
@pytest.mark.parametrize("batch_rows", [4, 200, 5000])
@pytest.mark.parametrize("words", [[1] * 20, [1, 2, 1, 3, 1, 1, 5, 2, 1, 4, 1, 1, 2, 6, 1, 3]])
def test_mask_tokens_words_equal_a_shuffle_in_distribution(
    words: list[int], batch_rows: int
) -> None:
    # Small batches are finished row by row, large ones step by step.
    runs = 20_000
    half = len(words) // 2
    rows = make_rows([[words[:half], words[half:]]] * batch_rows)
    config = MaskingConfig(0.25, 20)
    taken = np.zeros(len(words))
    for seed in range(runs // batch_rows):
        masked = is_masked(mask(rows, config, seed))
        taken += masked[:, [start for start, _ in rows.words[0]]].sum(axis=0)
    budget = budget_of([words[:half], words[half:]], config)
    expected = shuffle_reference(words, budget, runs)
    # Binomial(20,000, p): a standard deviation of 0.0035 at most, twice that of a difference.
    assert taken / runs == pytest.approx(expected, abs=0.02)


def test_mask_tokens_single_pieces_ignore_words() -> None:
    rows = make_rows([[[8] * 5]] * 300)
    rows = rows._replace(word_starts=rows.is_piece)
    masked = is_masked(mask(rows, MaskingConfig(0.15, 20)))
    assert set(masked.sum(axis=1).tolist()) == {6}
    # Whole words of eight could not have been masked at all.


def runs_of(masked: np.ndarray) -> list[int]:
    """Lengths of the runs of neighbouring targets."""
    padded = np.pad(masked, ((0, 0), (1, 1))).astype(np.int8)
    edges = np.diff(padded, axis=1)
    return (np.argwhere(edges == -1)[:, 1] - np.argwhere(edges == 1)[:, 1]).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("batch_rows", [4, 400])
def test_mask_tokens_ngrams_have_weight_one_over_n(batch_rows: int) -> None:
    # 40 of 4,000 words: runs seldom meet.
    rows = make_rows([[[1] * 3998]] * batch_rows)
    config = MaskingConfig(0.01, 100, max_ngram_size=3)
    found: Counter[int] = Counter()
    for seed in range(400 // batch_rows):
        found.update(runs_of(is_masked(mask(rows, config, seed))))
    shares = [found[n] / sum(found.values()) for n in (1, 2, 3)]
    # About 9,000 runs; the last of each row is cut by the budget.
    assert shares == pytest.approx([6 / 11, 3 / 11, 2 / 11], abs=0.03)


@pytest.mark.slow
def test_mask_tokens_ngram_stays_inside_a_segment() -> None:
    rows = make_rows([[[1] * 20, [1] * 20]] * 20_000)
    masked = is_masked(mask(rows, MaskingConfig(0.05, 20, max_ngram_size=2)))
    inside = np.mean(masked[:, 10] & masked[:, 11])
    across = np.mean(masked[:, 20] & masked[:, 22])
    # A run of two starts at one of 40 words, one time in three; two single words meet in
    # neighbouring places one time in about 1,100.
    assert inside == pytest.approx(1 / 3 / 40, rel=0.3)
    assert across < 0.002


@pytest.mark.slow
def test_mask_tokens_ngrams_of_a_small_batch_equal_those_of_a_large_one() -> None:
    # Small batches are finished row by row: the same runs, none of them over a segment's end.
    config = MaskingConfig(0.6, 30, max_ngram_size=4)
    together = []
    for batch_rows in (4, 16_000):
        rows = make_rows([[[1] * 20, [1] * 20]] * batch_rows)
        batches = [is_masked(mask(rows, config, seed)) for seed in range(16_000 // batch_rows)]
        masked = np.concatenate(batches)
        places = np.array([*range(1, 21), *range(22, 42)])
        pairs = masked[:, places[1:]] & masked[:, places[:-1]]
        together.append(pairs.mean(axis=0))
    # Binomial(16,000, 0.4): a standard deviation of 0.004, of a difference 0.0055.
    assert together[0] == pytest.approx(together[1], abs=0.022)


def test_mask_tokens_ngram_stays_inside_a_row() -> None:
    # The last word of a row and the first of the next lie side by side in the flat batch.
    rows = make_rows([[[1, 1, 1]]] * 3000)
    batch = mask(rows, MaskingConfig(0.01, 1, max_ngram_size=4))
    assert set(is_masked(batch).sum(axis=1).tolist()) == {1}
