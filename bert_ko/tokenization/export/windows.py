"""Texts cut to a model's length: windows of one text, or of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bert_ko.tokenization.tokenizer import Encoding
from bert_ko.tokenization.truncation import truncated_lengths


class Window(NamedTuple):
    """Pieces ``start`` to ``end`` of a text."""

    encoding: Encoding
    start: int
    end: int


@dataclass(frozen=True)
class Truncation:
    """How texts are cut.

    Attributes:
        strategy: do_not_truncate, longest_first, only_first or only_second.
        room: pieces that the texts of one window have together at most; None for no limit.
        stride: pieces that a window shares with the one before it.
        side: where pieces are taken away, "right" or "left".
    """

    strategy: str = "do_not_truncate"
    room: int | None = None
    stride: int = 0
    side: str = "right"


def cut(texts: Sequence[Encoding], truncation: Truncation) -> list[tuple[Window, ...]]:
    """Cuts one text or a pair.

    Args:
        texts: one or two.
        truncation: how.

    Returns:
        Windows, each of all texts; the first is what a caller gets who wants only one.

    Raises:
        ValueError: what is not to be cut has no room.

    Source: the truncation of Hugging Face's tokenizers; pairs by longest_first as in Google's BERT.
    """
    room, total = truncation.room, sum(map(len, texts))
    if truncation.strategy == "do_not_truncate" or room is None or total <= room:
        return [tuple([Window(text, 0, len(text)) for text in texts])]
    if truncation.strategy == "longest_first" and len(texts) == 2:
        return [_cut_longest(texts, room, truncation.side)]
    number = 1 if truncation.strategy == "only_second" else 0
    if number >= len(texts):
        raise ValueError("truncation='only_second' needs a pair of texts, got one text.")
    size = room - (total - len(texts[number]))
    if size < 0 or (size == 0 and len(texts) == 2):
        raise ValueError(
            f"The length leaves {room} pieces to the texts, and the text that is not cut by "
            f"truncation={truncation.strategy!r} has {total - len(texts[number])}; raise "
            "max_length."
        )
    spans = _spans(len(texts[number]), size, truncation.stride, truncation.side)
    return [
        tuple(
            Window(text, *(span if i == number else (0, len(text)))) for i, text in enumerate(texts)
        )
        for span in spans
    ]


def _spans(length: int, size: int, stride: int, side: str) -> list[tuple[int, int]]:
    """Spans of a text, the one that is nearest to the side that is kept first."""
    if size == 0:
        return [(0, 0)]
    if stride >= size:
        raise ValueError(f"stride={stride} must be below the {size} pieces of a window.")
    spans = [(0, min(size, length))]
    while spans[-1][1] < length:
        start = spans[-1][0] + size - stride
        spans.append((start, min(start + size, length)))
    return spans if side == "right" else [(length - end, length - start) for start, end in spans]


def _cut_longest(texts: Sequence[Encoding], room: int, side: str) -> tuple[Window, ...]:
    sizes = truncated_lengths(len(texts[0]), len(texts[1]), room)
    return tuple(
        Window(text, 0, size) if side == "right" else Window(text, len(text) - size, len(text))
        for text, size in zip(texts, sizes, strict=True)
    )
