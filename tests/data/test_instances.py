"""Plans of instances: invariants, and equality in distribution with a plain implementation.

In every planned bucket here piece i of the corpus is the number i, so that places can be read off.
"""

import random
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_ko.data import instances
from bert_ko.data.buckets import Bucket
from bert_ko.data.features import NextSentence
from bert_ko.data.instances import plan_instances, truncate_pairs
from bert_ko.data.settings import InstanceFlags
from bert_ko.data.walk import Plan
from bert_ko.tokenization.truncation import truncated_lengths

# Lengths of the sentences of each document.
Lengths = list[list[int]]
LENGTHS = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=8), min_size=1, max_size=6)
SEQUENCE = st.integers(8, 48)
SHORT = st.sampled_from([0.0, 0.5, 1.0])
SEED = st.integers(0, 2**32)


def make_bucket(lengths: Lengths) -> Bucket:
    sentences = [0, *(length for document in lengths for length in document)]
    offsets = np.cumsum(sentences)
    documents = np.cumsum([0, *map(len, lengths)])
    return Bucket(np.arange(offsets[-1], dtype=np.uint32), offsets, documents, 0)


def plan_of(
    lengths: Lengths,
    next_sentence: NextSentence = "nsp",
    max_seq_length: int = 32,
    short_seq_prob: float = 0.0,
    copies: int = 1,
    seed: int = 1,
    truncates: bool = True,
) -> Plan:
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        if not truncates:
            patch.setattr(instances, "truncate_pairs", lambda plan, max_tokens, rng: plan)
        flags = InstanceFlags(
            max_seq_length=max_seq_length, short_seq_prob=short_seq_prob, dupe_factor=copies,
            next_sentence=next_sentence,
        )  # fmt: skip
        return plan_instances(make_bucket(lengths), flags, rng)


class Pair(NamedTuple):
    """An instance as spans of pieces."""

    a: tuple[int, int]
    b: tuple[int, int]
    label: int
    truncated: int


def pairs(plan: Plan) -> Iterator[Pair]:
    for a, a_length, b, b_length, label, truncated in zip(
        *(column.tolist() for column in plan), strict=True
    ):
        yield Pair((a, a + a_length), (b, b + b_length), label, truncated)


def document_of(lengths: Lengths, span: tuple[int, int]) -> int:
    """The document that holds a span; fails when none holds all of it."""
    end = 0
    for number, document in enumerate(lengths):
        start, end = end, end + sum(document)
        if start <= span[0] and span[1] <= end:
            return number
    raise AssertionError(f"{span} is in no document")


def covered(spans: list[tuple[int, int]]) -> Counter[int]:
    return Counter(piece for start, end in spans for piece in range(start, end))


@given(LENGTHS, SEQUENCE, SHORT, st.integers(1, 3), SEED)
def test_plan_nsp_pairs_are_sentences_of_one_document_or_of_two_by_the_label(
    lengths: Lengths, max_seq_length: int, short: float, copies: int, seed: int
) -> None:
    plan = plan_of(lengths, "nsp", max_seq_length, short, copies, seed, truncates=False)
    ends = set(make_bucket(lengths).sentence_offsets.tolist())
    for pair in pairs(plan):
        assert pair.a[0] < pair.a[1] and pair.b[0] < pair.b[1]
        assert {*pair.a, *pair.b} <= ends
        a_document, b_document = document_of(lengths, pair.a), document_of(lengths, pair.b)
        if pair.label == 0:
            assert pair.b[0] == pair.a[1] and a_document == b_document
        elif len(lengths) > 1:
            assert a_document != b_document
        else:
            assert pair.b[0] != pair.a[1]
            assert pair.b[1] <= pair.a[0] or pair.a[1] < pair.b[0]


@given(LENGTHS.filter(lambda lengths: len(lengths) > 1), SEQUENCE, SHORT, st.integers(1, 3), SEED)
def test_plan_nsp_unused_sentences_are_put_back(
    lengths: Lengths, max_seq_length: int, short: float, copies: int, seed: int
) -> None:
    # The first segments and the true second ones are each document once, in every copy.
    plan = plan_of(lengths, "nsp", max_seq_length, short, copies, seed, truncates=False)
    spans = [pair.a for pair in pairs(plan)]
    spans += [pair.b for pair in pairs(plan) if pair.label == 0]
    assert covered(spans) == {piece: copies for piece in range(sum(map(sum, lengths)))}


@given(LENGTHS, SEQUENCE, SEED)
def test_plan_nsp_chunk_ends_with_the_sentence_that_reaches_the_length(
    lengths: Lengths, max_seq_length: int, seed: int
) -> None:
    plan = plan_of(lengths, "nsp", max_seq_length, seed=seed, truncates=False)
    offsets = make_bucket(lengths).sentence_offsets.tolist()
    document_ends = set(np.cumsum(list(map(sum, lengths))).tolist())
    for pair in pairs(plan):
        last_sentence = pair.b[1] - offsets[offsets.index(pair.b[1]) - 1]
        total = pair.a[1] - pair.a[0] + pair.b[1] - pair.b[0]
        is_lone = pair.b[1] - pair.b[0] == last_sentence
        assert total - last_sentence < max_seq_length - 3 or (pair.label == 1 and is_lone)
        if len(lengths) > 1 and total < max_seq_length - 3:
            assert pair.b[1] in document_ends


@given(LENGTHS, SEQUENCE, SHORT, st.sampled_from(["nsp", "sop", "none"]), SEED)
def test_plan_any_kind_fits_the_length(
    lengths: Lengths, max_seq_length: int, short: float, kind: NextSentence, seed: int
) -> None:
    plan = plan_of(lengths, kind, max_seq_length, short, 2, seed)
    for pair in pairs(plan):
        document_of(lengths, pair.a)
        assert pair.a[0] < pair.a[1]
        if kind == "none":
            assert pair.b[0] == pair.b[1]
            assert pair.a[1] - pair.a[0] <= max_seq_length - 2
            assert pair.label == pair.truncated == 0
        else:
            document_of(lengths, pair.b)
            assert pair.b[0] < pair.b[1]
            total = pair.a[1] - pair.a[0] + pair.b[1] - pair.b[0]
            assert total <= max_seq_length - 3
            assert not pair.truncated or total == max_seq_length - 3


@given(LENGTHS, SEQUENCE, SHORT, SEED)
def test_plan_sop_label_says_whether_two_neighbours_are_swapped(
    lengths: Lengths, max_seq_length: int, short: float, seed: int
) -> None:
    plan = plan_of(lengths, "sop", max_seq_length, short, 2, seed, truncates=False)
    for pair in pairs(plan):
        first, second = (pair.b, pair.a) if pair.label else (pair.a, pair.b)
        assert first[1] == second[0]
        document_of(lengths, (first[0], second[1]))
    # Only a last sentence, left alone in its document, may be missing.
    seen = covered([span for pair in pairs(plan) for span in (pair.a, pair.b)])
    assert set(seen.values()) <= {1, 2}
    end = 0
    for document in lengths:
        start, end = end, end + sum(document)
        whole = range(start, end - document[-1])
        assert len(document) == 1 or all(seen[piece] == 2 for piece in whole)


@given(LENGTHS, SEQUENCE, SHORT, SEED)
def test_plan_none_every_piece_is_in_one_sequence(
    lengths: Lengths, max_seq_length: int, short: float, seed: int
) -> None:
    # Sentences longer than the sequence too: they are cut into several, not off.
    plan = plan_of(lengths, "none", max_seq_length, short, 1, seed)
    seen = covered([pair.a for pair in pairs(plan)])
    assert seen == {piece: 1 for piece in range(sum(map(sum, lengths)))}


def test_plan_none_sequences_are_full_sentences_up_to_the_length() -> None:
    # 10 pieces at most: 4 + 5 fit, 4 + 5 + 3 do not; the sentence of 23 is cut into 10, 10, 3;
    # 6 + 4 fit exactly.
    plan = plan_of([[4, 5, 3, 23, 2], [6, 4, 1]], "none", max_seq_length=12)
    spans = sorted(pair.a for pair in pairs(plan))
    assert spans == [(0, 9), (9, 12), (12, 22), (22, 32), (32, 37), (37, 47), (47, 48)]


def test_plan_one_sentence_documents_are_always_random() -> None:
    plan = plan_of([[5], [7], [3]], "nsp", copies=4)
    assert plan.size == 12
    assert set(plan.label.tolist()) == {1}


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_plan_one_document_of_one_sentence_has_no_pair(kind: NextSentence) -> None:
    assert plan_of([[5]], kind, copies=10).size == 0


def test_plan_one_document_of_two_sentences_has_true_pairs_alone() -> None:
    plan = plan_of([[5, 6]], "nsp", copies=50)
    assert {(pair.a, pair.b, pair.label) for pair in pairs(plan)} == {((0, 5), (5, 11), 0)}


def test_plan_one_document_keeps_about_half_random() -> None:
    plan = plan_of([[5] * 400], "nsp", copies=40)
    # About 7,000 draws: a standard deviation of 0.006.
    assert plan.label.mean() == pytest.approx(0.5, abs=0.03)


def test_plan_empty_bucket_has_no_instance() -> None:
    for kind in ("nsp", "sop", "none"):
        assert plan_of([], kind).size == 0  # type: ignore[arg-type]


def test_plan_same_seed_is_the_same_and_another_differs() -> None:
    lengths = [[5, 9, 3, 7], [8, 2, 4], [6, 6, 6]]
    plans = [plan_of(lengths, copies=5, seed=seed) for seed in (1, 1, 2)]
    columns = [[column.tolist() for column in plan] for plan in plans]
    assert columns[0] == columns[1] != columns[2]


def test_plan_copies_have_other_pairs() -> None:
    plan = plan_of([[5, 9, 3, 7, 4, 8], [8, 2, 4]], copies=20)
    assert len({(pair.a, pair.b) for pair in pairs(plan)}) > 20


def test_plan_is_in_random_order() -> None:
    starts = plan_of([[5] * 300, [5] * 300], "none").a_start
    correlation = np.corrcoef(starts, np.arange(len(starts)))[0, 1]
    assert abs(correlation) < 0.35  # 100 instances: a standard deviation of 0.1


def test_plan_random_sentence_is_uniform_over_documents_and_sentences() -> None:
    lengths = [[5], [5] * 4, [5] * 4, [5] * 4]
    plan = plan_of(lengths, copies=3000, max_seq_length=8, truncates=False)
    starts = Counter(pair.b[0] for pair in pairs(plan) if pair.a == (0, 5))
    assert sum(starts.values()) == 3000
    # 12 sentences with 250 draws each: a standard deviation of 15.
    assert set(starts) == set(range(5, 65, 5))
    assert all(190 < count < 310 for count in starts.values())


def test_plan_short_targets_are_uniform_and_one_a_document() -> None:
    # Sentences of one piece reach any target exactly; true pairs show it.
    lengths = [[1] * 400, [1] * 400]
    plan = plan_of(lengths, max_seq_length=43, short_seq_prob=1.0, copies=400)
    totals = np.array([pair.b[1] - pair.a[0] for pair in pairs(plan) if pair.label == 0])
    by_target = Counter(totals.tolist())
    assert min(by_target) == 2 and max(by_target) == 40
    # A document of target t makes about 400 / (0.75 t) chunks, half of them true pairs.
    documents = {t: count * 0.75 * t / 200 for t, count in by_target.items() if t > 3}
    assert np.mean(list(documents.values())) == pytest.approx(800 / 39, rel=0.1)
    early, late = (np.mean([documents[t] for t in half]) for half in (range(5, 20), range(25, 40)))
    assert early == pytest.approx(late, rel=0.25)


def test_plan_short_share_is_the_flag() -> None:
    lengths = [[1] * 39 for _ in range(4000)]
    plan = plan_of(lengths, "none", max_seq_length=42, short_seq_prob=0.1)
    whole = sum(pair.a[1] - pair.a[0] == 39 for pair in pairs(plan))
    # A short target is 2 to 40, of which 39 and 40 cut nothing. Standard deviation: 0.005.
    assert 1 - whole / 4000 == pytest.approx(0.1 * 37 / 39, abs=0.02)


@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(0, 90)), min_size=1, max_size=20),
    st.integers(5, 100),
    SEED,
)
def test_truncate_pairs_keeps_ranges_inside_their_segments(
    sides: list[tuple[int, int]], max_tokens: int, seed: int
) -> None:
    a, b = (np.array(side) for side in zip(*sides, strict=True))
    zero = np.zeros(len(a), np.int64)
    before = Plan(zero, a, zero + 1000, b, zero, zero)
    after = truncate_pairs(before, max_tokens, np.random.default_rng(seed))
    assert (after.a_length + after.b_length == np.minimum(a + b, max_tokens)).all()
    assert (after.truncated == a + b - after.a_length - after.b_length).all()
    assert ((after.a_start >= 0) & (after.a_start + after.a_length <= a)).all()
    assert ((after.b_start >= 1000) & (after.b_start + after.b_length <= 1000 + b)).all()


def test_truncate_pairs_each_piece_goes_from_front_or_back_at_random() -> None:
    rows = 20_000
    full = [np.full(rows, value) for value in (0, 60, 100, 30, 0, 0)]
    after = truncate_pairs(Plan(*full), 40, np.random.default_rng(3))
    assert set(after.a_length.tolist()) == set(after.b_length.tolist()) == {20}
    for front, cut in ((after.a_start, 40), (after.b_start - 100, 10)):
        # Binomial(cut, 1/2): mean cut / 2, variance cut / 4.
        assert front.mean() == pytest.approx(cut / 2, abs=0.1)
        assert front.var() == pytest.approx(cut / 4, rel=0.05)


class Reference:
    """Google's create_instances_from_document, written anew and walking piece by piece."""

    def __init__(self, lengths: Lengths, max_seq_length: int, short: float, seed: int):
        self.lengths, self.max_tokens, self.short = lengths, max_seq_length - 3, short
        self.rng = random.Random(seed)

    def instances(self, copies: int) -> list[tuple[int, int, int]]:
        """(pieces of A, pieces of B, label) of all instances."""
        return [
            pair
            for _ in range(copies)
            for number in range(len(self.lengths))
            for pair in self.of_document(number)
        ]

    def of_document(self, number: int) -> Iterator[tuple[int, int, int]]:
        rng, document, target = self.rng, self.lengths[number], self.max_tokens
        if rng.random() < self.short:
            target = rng.randint(2, self.max_tokens)
        chunk: list[int] = []
        i = 0
        while i < len(document):
            chunk.append(document[i])
            if i == len(document) - 1 or sum(chunk) >= target:
                a_end = rng.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
                a = sum(chunk[:a_end])
                is_random = len(chunk) == 1 or rng.random() < 0.5
                if is_random:
                    b = self.random_segment(number, target - a)
                    i -= len(chunk) - a_end
                else:
                    b = sum(chunk[a_end:])
                yield *truncated_lengths(a, b, self.max_tokens), int(is_random)
                chunk = []
            i += 1

    def random_segment(self, number: int, wanted: int) -> int:
        other = number
        while other == number:
            other = self.rng.randint(0, len(self.lengths) - 1)
        document = self.lengths[other]
        pieces = 0
        for length in document[self.rng.randint(0, len(document) - 1) :]:
            pieces += length
            if pieces >= wanted:
                break
        return pieces


@pytest.mark.slow
@pytest.mark.parametrize("short", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("max_seq_length", [32, 128])
def test_plan_nsp_equals_the_reference_in_distribution(short: float, max_seq_length: int) -> None:
    rng = random.Random(5)
    lengths = [
        [rng.randint(2, 40) for _ in range(rng.choice([1, 2, 5, 12, 30]))] for _ in range(120)
    ]
    plan = plan_of(lengths, "nsp", max_seq_length, short, copies=40, seed=7)
    expected = np.array(Reference(lengths, max_seq_length, short, 11).instances(40))
    found = np.stack([plan.a_length, plan.b_length, plan.label], axis=1)
    assert len(found) == pytest.approx(len(expected), rel=0.02)
    assert found[:, 2].mean() == pytest.approx(expected[:, 2].mean(), abs=0.02)
    for label in (0, 1):
        mine, theirs = found[found[:, 2] == label], expected[expected[:, 2] == label]
        for side in (0, 1):
            assert mine[:, side].mean() == pytest.approx(theirs[:, side].mean(), rel=0.03)
            assert largest_gap(mine[:, side], theirs[:, side]) < 0.03
        assert largest_gap(mine[:, :2].sum(axis=1), theirs[:, :2].sum(axis=1)) < 0.03


def largest_gap(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference of the two cumulated distributions (Kolmogorov-Smirnov)."""
    at = np.arange(max(mine.max(), theirs.max()) + 1)
    gaps = [
        np.searchsorted(np.sort(values), at, "right") / len(values) for values in (mine, theirs)
    ]
    return float(np.abs(gaps[0] - gaps[1]).max())
