"""Tables of the mean scores of groups of examples: by length, by what they have in them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from bert_ko.report.blocks import Row, Table, number, numbers, text
from bert_ko.report.languages import Texts


def length_names(bounds: Sequence[int]) -> tuple[str, ...]:
    """Returns the names of ranges that end at bounds, and of one without an end.

    >>> length_names([20, 40])
    ('1–20', '21–40', '41+')
    """
    lows = [1, *(bound + 1 for bound in bounds)]
    ended = (f"{low}–{high}" for low, high in zip(lows, bounds, strict=False))
    return (*ended, f"{lows[-1]}+")


def length_name(length: int, bounds: Sequence[int]) -> str:
    """Returns the name of the range that a length is in; 0 is in the first."""
    return length_names(bounds)[sum(length > bound for bound in bounds)]


def group_tables(
    t: Texts,
    titles: tuple[str, str, str],
    groups: Sequence[Collection[str]],
    scores: Mapping[str, Sequence[float]],
    order: Sequence[str],
) -> list[Table]:
    """Returns a table of the mean scores of each group; none without examples.

    Args:
        t: the page's language; all other arguments are in English.
        titles: the caption, and the headers of the groups and of their numbers of examples.
        groups: of each example, the names of those that it is in.
        scores: of each example, by the header of their column.
        order: names, of which those without examples are left out.
    """
    caption, header, noun = titles
    members: defaultdict[str, list[int]] = defaultdict(list)
    for place, names in enumerate(groups):
        for name in names:
            members[name].append(place)
    rows: list[Row] = []
    for name in order:
        if places := members.get(name):
            means = (statistics.fmean(values[i] for i in places) for values in scores.values())
            rows.append((text(t(name)), *numbers(means), number(len(places), ",d")))
    headers = [t(header), *map(t, scores), t(noun)]
    return [Table(t(caption), headers, rows)] if rows else []
