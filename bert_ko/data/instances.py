"""Which sentences make an instance: Google's walk, which cuts off what does not fit."""

from __future__ import annotations

import numpy as np

from bert_ko.data.buckets import Bucket
from bert_ko.data.carrying import carry_nsp, carry_sop
from bert_ko.data.settings import InstanceFlags
from bert_ko.data.walk import Plan, Walk, plan_of, random_cut, random_sentence, swap
from bert_ko.tokenization.truncation import truncated_lengths


def plan_instances(bucket: Bucket, flags: InstanceFlags, rng: np.random.Generator) -> Plan:
    """Plans every instance of a bucket.

    Args:
        bucket: its documents.
        flags: pairing (nsp: the second segment follows or comes from another document; sop: two
            consecutive segments in order or swapped; none: one segment), length, share of short
            documents, copies, and what happens to text that does not fit.
        rng: its state alone decides the draws, and the order of the plan, which is random.

    Source: create_instances_from_document of google-research/bert.

    Differs: the random document comes from the same bucket; in a bucket of one document the random
        segment comes from elsewhere in it, and is never what really follows.
    """
    kind, carries = flags.next_sentence, flags.effective_overflow == "carry"
    walk = Walk(bucket, flags.max_seq_length - (2 if kind == "none" else 3), rng)
    if kind == "none":
        walk.split_long_sentences()
        step = _step_none
    elif kind == "nsp":
        step = carry_nsp if carries else _step_nsp
    else:
        step = carry_sop if carries else _step_sop
    walk.start(flags.copies, flags.short_seq_prob)
    found: list[Plan] = []
    while len(walk.cursor):
        found.append(step(walk))
        walk.drop_finished()
    columns = zip(*found, strict=True) if found else [[np.empty(0, np.int64)]] * 6
    plan = Plan(*map(np.concatenate, columns))
    plan = plan.rows(plan.a_length > 0)
    if not carries:
        plan = truncate_pairs(plan, walk.max_tokens, rng)
    return plan.rows(rng.permutation(plan.size))


def _step_nsp(walk: Walk) -> Plan:
    limit, offsets = walk.document_ends(), walk.offsets
    end = walk.reach(walk.cursor, walk.place, walk.target, limit)
    cut = random_cut(walk, end)
    is_random = (end - walk.cursor == 1) | (walk.rng.random(len(end)) < 0.5)
    rest = walk.target - (offsets[cut] - walk.place)
    b_start, b_limit, possible = random_sentence(walk, np.maximum(end, np.minimum(cut + 1, limit)))
    is_random &= possible
    b_end = walk.reach(b_start, offsets[b_start], rest, b_limit)
    b_start, b_end = np.where(is_random, b_start, cut), np.where(is_random, b_end, end)
    # A lone sentence without a partner makes no instance.
    a_end = np.where(b_end > b_start, cut, walk.cursor)
    plan = plan_of((walk.place, offsets[a_end]), (offsets[b_start], offsets[b_end]), is_random)
    walk.go_to_sentence(np.where(is_random, cut, end))
    return plan


def _step_sop(walk: Walk) -> Plan:
    end = walk.reach(walk.cursor, walk.place, walk.target, walk.document_ends())
    # Two segments need two sentences; a last sentence alone makes no instance.
    end = np.minimum(np.maximum(end, walk.cursor + 2), walk.document_ends())
    cut = random_cut(walk, end)
    swapped = walk.rng.random(len(end)) < 0.5
    is_pair = end > cut
    middle, last = (walk.offsets[np.where(is_pair, where, walk.cursor)] for where in (cut, end))
    plan = swap((walk.place, middle), (middle, last), swapped)
    walk.go_to_sentence(end)
    return plan


def _step_none(walk: Walk) -> Plan:
    # Full sentences up to the length: the last one that still fits.
    end = np.searchsorted(walk.offsets, walk.place + walk.target, "right") - 1
    end = np.minimum(np.maximum(end, walk.cursor + 1), walk.document_ends())
    a_end = walk.offsets[end]
    plan = plan_of((walk.place, a_end), (a_end, a_end), np.zeros(len(end), np.int64))
    walk.go_to_sentence(end)
    return plan


def truncate_pairs(plan: Plan, max_tokens: int, rng: np.random.Generator) -> Plan:
    """Cuts pairs to ``max_tokens``: piece by piece from the longer side, front or back at random.

    Source: truncate_seq_pair of google-research/bert.
    """
    a_length, b_length = truncated_lengths(plan.a_length, plan.b_length, max_tokens)
    cut_a, cut_b = plan.a_length - a_length, plan.b_length - b_length
    front_a, front_b = rng.binomial(cut_a, 0.5), rng.binomial(cut_b, 0.5)
    return plan._replace(
        a_start=plan.a_start + front_a,
        a_length=a_length,
        b_start=plan.b_start + front_b,
        b_length=b_length,
        truncated=cut_a + cut_b,
    )
