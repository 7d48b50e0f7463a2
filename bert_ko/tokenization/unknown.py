"""A warning where a vocabulary does not know what a text is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.messages import hint, warn
from bert_ko.tokenization.tokenizer import Tokenizer

_SOME = 0.05  # of Korean, a vocabulary leaves less than a hundredth
_MOST = 0.2


def have_unknown(
    ids: npt.NDArray[np.int32],
    unk_id: int,
    starts: npt.NDArray[np.integer[Any]],
    ends: npt.NDArray[np.integer[Any]],
) -> npt.NDArray[np.bool_]:
    """Which parts of a row of pieces have [UNK].

    Args:
        ids: of the pieces, int32 [P].
        unk_id: that of [UNK].
        starts: first piece of each part, [N].
        ends: the piece after its last, [N].
    """
    before = np.concatenate([[0], np.cumsum(ids == unk_id)])
    found: npt.NDArray[np.bool_] = before[ends] > before[starts]
    return found


def warn_of_unknown_ids(ids: npt.NDArray[np.int32], tokenizer: Tokenizer, text: str) -> None:
    """Warns as `warn_of_unknown` does, of the ids of a text's pieces, int32 [P]."""
    warn_of_unknown(int(np.count_nonzero(ids == tokenizer.vocab.unk_id)), len(ids), text)


def warn_of_unknown(unknown: int, pieces: int, text: str) -> None:
    """Warns if more than a fifth of the pieces of a text are [UNK]; a twentieth earns a hint.

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
    elif unknown > _SOME * pieces:
        hint(
            f"{unknown / pieces:.1%} of the pieces of {text} are [UNK], of which a model learns "
            "nothing: look at what they are with bin/tokenize, and take a vocabulary of such text."
        )


def warn_of_unknown_words(unknown: int, words: int, text: str) -> None:
    """Warns as `warn_of_unknown` does, of whole words."""
    if unknown > _MOST * words:
        warn(
            f"{unknown / words:.0%} of the words of {text} are <UNK>, which a language model is "
            "then taught to predict: make the vocabulary with a larger --vocab_size, of morphemes, "
            "or of this kind of text."
        )
