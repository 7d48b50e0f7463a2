"""Plans that lose no text: every piece is seen, lengths and labels are right, no cut tells a label.

Piece i of a bucket is the number i, with the bit of a morpheme's beginning where one begins.
"""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko.data.buckets import Bucket
from bert_ko.data.features import NextSentence
from bert_ko.data.instances import plan_instances
from bert_ko.data.settings import InstanceFlags
from bert_ko.data.walk import Plan
from bert_ko.tokenization.encoder import MORPHEME_START

Span = tuple[int, int]
Pair = tuple[Span, Span, int]  # first segment, second segment, label
# Sentences of each document, each as the pieces of its morphemes.
Corpus = list[list[list[int]]]
SENTENCES = st.lists(st.integers(1, 12), min_size=1, max_size=12)
CORPORA = st.lists(st.lists(SENTENCES, min_size=1, max_size=8), min_size=1, max_size=6)
SEQUENCE = st.integers(8, 48)
SHORT = st.sampled_from([0.0, 0.5, 1.0])
SEED = st.integers(0, 2**32)


def make_bucket(corpus: Corpus) -> Bucket:
    sentences = [sentence for document in corpus for sentence in document]
    offsets = np.cumsum([0, *map(sum, sentences)])
    pieces = np.arange(offsets[-1], dtype=np.uint32)
    starts = np.cumsum([0, *itertools.chain(*sentences)])[:-1]
    pieces[starts] |= np.uint32(MORPHEME_START)
    return Bucket(pieces, offsets, np.cumsum([0, *map(len, corpus)]), 0)


def whole(lengths: list[list[int]]) -> Corpus:
    """Sentences of so many morphemes of one piece."""
    return [[[1] * length for length in document] for document in lengths]


def plan_of(
    corpus: Corpus, kind: NextSentence, max_seq_length: int, short: float = 0.0, copies: int = 1,
    seed: int = 1,
) -> Plan:  # fmt: skip
    flags = InstanceFlags(
        max_seq_length=max_seq_length, short_seq_prob=short, dupe_factor=copies,
        next_sentence=kind, overflow="carry",
    )  # fmt: skip
    return plan_instances(make_bucket(corpus), flags, np.random.default_rng(seed))


def pairs(plan: Plan) -> list[Pair]:
    assert not plan.truncated.any()
    return [
        ((a, a + a_length), (b, b + b_length), label)
        for a, a_length, b, b_length, label, _ in zip(*map(np.ndarray.tolist, plan), strict=True)
    ]


def document_of(corpus: Corpus, span: Span) -> int:
    """The document that holds a span; fails when none holds all of it."""
    end = 0
    for number, document in enumerate(corpus):
        start, end = end, end + sum(map(sum, document))
        if start <= span[0] < span[1] <= end:
            return number
    raise AssertionError(f"{span} is in no document")


def covered(spans: list[Span]) -> Counter[int]:
    return Counter(piece for start, end in spans for piece in range(start, end))


@pytest.mark.slow
@settings(max_examples=40)
@given(CORPORA, SEQUENCE, SHORT, st.integers(1, 3), SEED)
def test_carry_nsp_every_piece_is_seen_once_a_copy(
    corpus: Corpus, max_seq_length: int, short: float, copies: int, seed: int
) -> None:
    plan = plan_of(corpus, "nsp", max_seq_length, short, copies, seed)
    spans = [a for a, _, _ in pairs(plan)] + [b for _, b, label in pairs(plan) if label == 0]
    pieces = sum(map(sum, itertools.chain(*corpus)))
    # Only a piece that is the end of the only document has no partner.
    missing = set(range(pieces)) - set(covered(spans))
    assert missing <= ({pieces - 1} if len(corpus) == 1 else set())
    assert plan.count_seen(random_second=True) == pieces - len(missing)
    assert set(covered(spans).values()) <= set(range(1, copies + 1))
    if len(corpus) > 1:
        assert covered(spans) == dict.fromkeys(range(pieces), copies)


@pytest.mark.slow
@settings(max_examples=40)
@given(CORPORA, SEQUENCE, SHORT, SEED)
def test_carry_nsp_segments_fit_and_agree_with_the_label(
    corpus: Corpus, max_seq_length: int, short: float, seed: int
) -> None:
    for a, b, label in pairs(plan_of(corpus, "nsp", max_seq_length, short, 2, seed)):
        assert a[1] - a[0] + b[1] - b[0] <= max_seq_length - 3
        a_document, b_document = document_of(corpus, a), document_of(corpus, b)
        if label == 0:
            assert b[0] == a[1] and a_document == b_document
        elif len(corpus) > 1:
            assert a_document != b_document
        else:
            assert b[0] != a[1] and (b[1] <= a[0] or a[1] <= b[0])


@pytest.mark.slow
@settings(max_examples=40)
@given(CORPORA, SEQUENCE, SHORT, st.integers(1, 3), SEED)
def test_carry_sop_neighbours_hold_every_piece_once_a_copy(
    corpus: Corpus, max_seq_length: int, short: float, copies: int, seed: int
) -> None:
    plan = plan_of(corpus, "sop", max_seq_length, short, copies, seed)
    for a, b, label in pairs(plan):
        first, second = (b, a) if label else (a, b)
        assert first[1] == second[0]
        document_of(corpus, (first[0], second[1]))
        assert first[0] < first[1] and second[0] < second[1] <= first[0] + max_seq_length - 3
    seen = covered([span for a, b, _ in pairs(plan) for span in (a, b)])
    ends = np.cumsum([sum(map(sum, document)) for document in corpus])
    # Only the last piece of a document can be alone.
    missing = set(range(ends[-1])) - set(seen)
    assert missing <= set((ends - 1).tolist())
    assert set(seen.values()) <= set(range(1, copies + 1))
    assert plan.count_seen(random_second=False) == len(seen)


@settings(max_examples=40)
@given(CORPORA, SEQUENCE, SEED)
def test_carry_sop_sentences_that_fit_are_whole(
    corpus: Corpus, max_seq_length: int, seed: int
) -> None:
    lengths = [[min(sum(sentence), 5) for sentence in document] for document in corpus]
    lengths = [document * 2 for document in lengths]
    plan = plan_of(whole(lengths), "sop", max(18, max_seq_length), 0.5, 1, seed)
    ends = set(make_bucket(whole(lengths)).sentence_offsets.tolist())
    assert all({*a, *b} <= ends for a, b, _ in pairs(plan))


def test_carry_nsp_what_does_not_fit_begins_the_next() -> None:
    # Ten pieces at most. The pair of 6 and 8 is cut after 10: the other four begin the next
    # instance, with the first sentence of another document after them, or with none of their own.
    corpus = [[[1] * 6, [1] * 8], [[1] * 9]]
    found = {
        tuple(
            sorted(pair for pair in pairs(plan_of(corpus, "nsp", 13, seed=seed)) if pair[0][0] < 14)
        )
        for seed in range(40)
    }
    follows = (((0, 6), (6, 10), 0), ((10, 14), (14, 20), 1))
    random_one = (((0, 6), (14, 18), 1), ((6, 14), (14, 16), 1))
    assert found == {follows, random_one}


def test_carry_nsp_cut_is_where_a_morpheme_begins() -> None:
    # The second segment has room for seven pieces, within its morpheme of five: it ends before.
    corpus = [[[3], [4, 5, 2]], [[1]]]
    plans = (plan_of(corpus, "nsp", 13, seed=seed) for seed in range(40))
    found = {pair for plan in plans for pair in pairs(plan) if pair[0] == (0, 3)}
    assert found == {((0, 3), (3, 7), 0), ((0, 3), (14, 15), 1)}


def test_carry_nsp_long_sentence_is_cut_in_two_that_follow_or_not() -> None:
    corpus = whole([[100], [100]])
    plan = plan_of(corpus, "nsp", 19, copies=500)
    assert 0.4 < plan.label.mean() < 0.6  # a last part alone is random, if it is short
    for a, b, label in pairs(plan):
        # The second segment has an eighth of the room at least.
        assert 1 <= a[1] - a[0] <= 14
        assert b[0] not in (0, 100) or (label == 1 and a[1] in (100, 200))


def test_carry_nsp_one_document_of_one_sentence_is_cut_in_two() -> None:
    plan = plan_of(whole([[5]]), "nsp", 32, copies=50)
    assert {(a[0], b[1], label) for a, b, label in pairs(plan)} == {(0, 5, 0)}
    assert {a[1] for a, _, _ in pairs(plan)} == {1, 2, 3, 4}
    assert plan_of(whole([[1]]), "nsp", 32).size == 0


def test_carry_sop_last_sentence_alone_joins_or_takes_its_neighbour() -> None:
    # Of at most ten pieces: three sentences of three fit together; of four the last two do.
    assert {
        (min(a[0], b[0]), max(a[1], b[1]))
        for a, b, _ in pairs(plan_of(whole([[3, 3, 3]]), "sop", 13))
    } == {(0, 9)}
    plan = plan_of(whole([[3, 3, 3, 3]]), "sop", 13, copies=20)
    assert {(min(a[0], b[0]), max(a[1], b[1])) for a, b, _ in pairs(plan)} == {(0, 6), (6, 12)}


def test_carry_sop_one_sentence_is_cut_in_two() -> None:
    plan = plan_of([[[2, 2, 1]]], "sop", 32, copies=50)
    assert {tuple(sorted((a, b))) for a, b, _ in pairs(plan)} == {
        ((0, 2), (2, 5)), ((0, 4), (4, 5)), ((0, 1), (1, 5)),
    }  # fmt: skip


@pytest.mark.parametrize("max_seq_length", [32, 128])
def test_carry_nsp_cuts_do_not_tell_the_label(max_seq_length: int) -> None:
    rng = np.random.default_rng(3)
    lengths = [
        np.minimum(200, rng.lognormal(3, 0.8, rng.integers(2, 60)).astype(int) + 1).tolist()
        for _ in range(300)
    ]
    corpus = whole(lengths)
    ends = make_bucket(corpus).sentence_offsets
    cut, carry = (
        plan_instances(
            make_bucket(corpus),
            InstanceFlags(max_seq_length=max_seq_length, overflow=overflow, dupe_factor=8),
            np.random.default_rng(1),
        )
        for overflow in ("cut", "carry")
    )
    # A sentence too long is always followed by a random one in Google's way.
    assert 0.48 < carry.label.mean() < cut.label.mean() + 0.01
    edges = {
        "a_end": carry.a_start + carry.a_length,
        "b_start": carry.b_start,
        "b_end": carry.b_start + carry.b_length,
    }
    # Among all but documents' ends, which are short: a lone last sentence is always random.
    is_full = carry.a_length + carry.b_length > max_seq_length - 12
    for name, places in edges.items():
        within = ~np.isin(places[is_full], ends)
        shares = [within[carry.label[is_full] == label].mean() for label in (0, 1)]
        assert shares[0] == pytest.approx(shares[1], abs=0.05), name
    # No second segment is shorter than an eighth because the first took its room.
    assert (carry.a_length <= (max_seq_length - 3) * 7 / 8 + 1).all()


def test_carry_same_seed_is_the_same_and_another_differs() -> None:
    corpus = whole([[5, 39, 3, 7], [8, 2, 44], [6, 6, 6]])
    plans = [plan_of(corpus, "nsp", 16, copies=5, seed=seed) for seed in (1, 1, 2)]
    assert pairs(plans[0]) == pairs(plans[1]) != pairs(plans[2])


def test_count_seen_counts_what_overlaps_once() -> None:
    columns = [[0, 2, 9], [3, 3, 1], [20, 5, 30], [4, 2, 5], [0, 0, 1], [0, 0, 0]]
    plan = Plan(*map(np.array, columns))
    # Pieces 0 to 4, 5 and 6, 9, and 20 to 23; the third second segment is random, or swapped.
    assert plan.count_seen(random_second=True) == 12
    assert plan.count_seen(random_second=False) == 17
    assert plan.rows(slice(0, 0)).count_seen(random_second=True) == 0
