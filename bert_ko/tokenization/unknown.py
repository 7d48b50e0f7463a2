"""A warning where a vocabulary does not know what a text is made of."""

from __future__ import annotations

from bert_ko.progress import warn

_MOST = 0.2  # of Korean, a vocabulary leaves less than a hundredth


def warn_of_unknown(unknown: int, pieces: int, text: str) -> None:
    """Warns if more than a fifth of the pieces of a text are [UNK].

    Args:
        unknown: how many.
        pieces: all of them.
        text: names the text.
    """
    if unknown > _MOST * pieces:
        warn(
            f"{unknown / pieces:.0%} of the pieces of {text} are [UNK], of which a model learns "
            "nothing: the vocabulary is of other text, or the text is not read as what it is."
        )
