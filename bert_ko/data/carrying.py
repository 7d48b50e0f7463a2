"""Steps of the walk that lose no text: what does not fit begins the next instance.

Chunks and pairs are those of Google's walk. Where a pair is too long, the end of its second segment
is cut. A random one is walked elsewhere; the rest of one that follows begins the next instance.

No cut may tell the label. A first segment is the same whether the second follows or not, and both
kinds of second segment have the same room. A sentence too long for one instance is cut in two, the
second of which may follow; a random segment in its place begins within a sentence, too. In sop the
segments are whole sentences; only two neighbours too long for one instance tell their order.
"""

from __future__ import annotations

import numpy as np

from bert_ko.data.walk import (
    Offsets,
    Plan,
    Walk,
    plan_of,
    random_cut,
    random_sentence,
    swap,
)


def carry_nsp(walk: Walk) -> Plan:
    """One instance of every document: the second segment follows, or is random."""
    limit, offsets, place = walk.document_ends(), walk.offsets, walk.place
    rest_of_sentence = offsets[walk.cursor + 1] - place
    splits = rest_of_sentence > _longest_first(walk)
    target = np.where(splits, walk.max_tokens, walk.target)
    end = walk.reach(walk.cursor, place, target, limit)
    is_lone = end - walk.cursor == 1
    partner, partner_limit, has_partner = random_sentence(
        walk, np.maximum(end, np.minimum(walk.cursor + 2, limit))
    )
    splits |= is_lone & ~has_partner & (rest_of_sentence > 1)
    cut = np.minimum(random_cut(walk, end), walk.last_fit(_longest_first(walk)))
    a_end = np.where(is_lone, offsets[walk.cursor + 1], offsets[cut])
    b_random = offsets[partner]
    rows = np.flatnonzero(splits)
    if len(rows):
        window = np.minimum(offsets[end[rows]] - place[rows], walk.max_tokens)
        a_end[rows] = _within(walk, place[rows], window, np.maximum(1, window // 8))
        length = offsets[partner[rows] + 1] - b_random[rows]
        b_random[rows] = _within(walk, b_random[rows], length, np.ones(len(rows), np.int64))
    is_random = has_partner & ((is_lone & ~splits) | (walk.rng.random(len(end)) < 0.5))
    room = walk.max_tokens - (a_end - place)
    random_end = offsets[walk.reach(partner, b_random, target - (a_end - place), partner_limit)]
    b_start = np.where(is_random, b_random, a_end)
    b_end = np.where(is_random, random_end, offsets[end])
    b_end = np.where(b_end - b_start > room, walk.snap(b_start + room, b_start), b_end)
    # A lone piece without a partner makes no instance.
    plan = plan_of((place, np.where(b_end > b_start, a_end, place)), (b_start, b_end), is_random)
    walk.go_to_piece(np.where(is_random, a_end, b_end))
    return plan


def carry_sop(walk: Walk) -> Plan:
    """One instance of every document: two segments of whole sentences, in order or swapped."""
    limit, offsets, place = walk.document_ends(), walk.offsets, walk.place
    fits = np.minimum(walk.last_fit(walk.max_tokens), limit)
    end = walk.reach(walk.cursor, place, walk.target, limit)
    end = np.minimum(np.maximum(end, walk.cursor + 2), fits)
    # A last sentence joins this chunk if it fits, or else takes a neighbour from it.
    leaves_one = limit - end == 1
    takes_one = leaves_one & (fits < limit) & (end - walk.cursor > 2)
    end = np.where(leaves_one & (fits == limit), limit, end - takes_one)
    is_pair = end - walk.cursor > 1
    b_end = np.where(is_pair, offsets[end], np.minimum(place + walk.max_tokens, offsets[limit]))
    middle = offsets[random_cut(walk, end)]
    # Of two sentences that do not fit, the second is cut; a sentence alone, or too long, within it.
    is_whole = (walk.cursor + 1 < limit) & (middle - place <= _longest_first(walk))
    rows = np.flatnonzero(~is_pair & ~is_whole)
    window = b_end[rows] - place[rows]
    middle[rows] = _within(walk, place[rows], window, np.maximum(1, window // 8))
    b_end = np.where(is_pair | (b_end == offsets[limit]), b_end, walk.snap(b_end, middle))
    swapped = walk.rng.random(len(end)) < 0.5
    # A piece alone makes no instance.
    last = np.where(middle > place, b_end, place)
    plan = swap((place, middle), (middle, last), swapped)
    walk.go_to_piece(b_end)
    return plan


def _longest_first(walk: Walk) -> int:
    """Most pieces of a first segment that is not cut: an eighth is left for the second."""
    return walk.max_tokens - max(1, walk.max_tokens // 8)


def _within(walk: Walk, start: Offsets, length: Offsets, margin: Offsets) -> Offsets:
    """A random piece of each range, at least ``margin`` pieces from its ends.

    It goes back to where a morpheme begins if that is near; a range of one piece has no other.
    """
    choices = np.maximum(1, length - 2 * margin + 1)
    drawn = start + margin + (walk.rng.random(len(start)) * choices).astype(np.int64)
    return walk.snap(np.minimum(drawn, start + length - 1), start)
