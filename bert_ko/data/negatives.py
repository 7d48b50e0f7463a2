"""Words that a sampled softmax scores beside the right one.

Ids are in the order of falling counts, so that a log-uniform distribution over them is close to the
frequencies of words: P(k) = log((k + 2) / (k + 1)) / log(V + 1).

Legend: V vocabulary, S negatives.

Source: sampled_softmax_loss and log_uniform_candidate_sampler of TensorFlow, drawn without
repetition.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Negatives(NamedTuple):
    """What was drawn once."""

    ids: npt.NDArray[np.int32]  # [S], each once, in the order in which they were drawn
    num_tries: int  # until the last of them was drawn
    vocab_size: int

    def log_counts(self, ids: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Logarithms of how often words are expected among the negatives; of the shape of ids."""
        shares = np.log1p(1 / (ids.astype(float) + 1)) / math.log(self.vocab_size + 1)
        expected = -np.expm1(self.num_tries * np.log1p(-shares))
        return np.asarray(np.log(expected), np.float32)


def draw_negatives(vocab_size: int, count: int, rng: np.random.Generator) -> Negatives:
    """Draws words until ``count`` different ones, fewer than the vocabulary has, are found."""
    assert 0 < count < vocab_size
    drawn = np.empty(0, np.int64)
    while True:
        uniform = rng.random(max(1024, 2 * count))
        ids = np.exp(uniform * math.log(vocab_size + 1)).astype(np.int64) - 1
        drawn = np.concatenate([drawn, np.minimum(ids, vocab_size - 1)])
        found, first = np.unique(drawn, return_index=True)
        if len(found) >= count:
            order = np.argsort(first)[:count]
            tries = int(first[order[-1]]) + 1
            return Negatives(found[order].astype(np.int32), tries, vocab_size)
