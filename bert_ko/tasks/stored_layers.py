"""Layers of a biLM in a task's texts: what is known of all of them before the first update.

Means and deviations of their features; and of a biLM that stays as it is the layers themselves,
computed once, and kept on disk while the run lasts.

Legend: P words of all sentences, B batch, L length of the batch, M layers, H their size.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.messages import warn
from bert_ko.modeling.heads.words import DEVIATIONS, MEANS
from bert_ko.modeling.parameters import Arrays
from bert_ko.tasks.batches import BatchPlan, predictions
from bert_ko.tasks.sentences import NOWHERE, Sentences
from bert_ko.training.backend import Predict

_SAMPLE = 2_000  # texts, which have tens of thousands of words
_LEAST_DEVIATION = 0.1  # of a feature, as a share of the layer's mean deviation


def layer_statistics(sentences: Sentences, predict: Predict, plan: BatchPlan) -> Arrays:
    """Means and deviations of each feature of the layers [M, H], by the names of their variables.

    Args:
        sentences: of words; at most 2,000 of them are looked at, the same ones every time.
        predict: see ``LayerStore``.
        plan: how they are put into batches.

    Returns:
        Of words alone, without the marks of sentences. A feature that hardly changes is not
        stretched; nothing if there are no words.
    """
    sample = np.random.default_rng(0).permutation(len(sentences))[:_SAMPLE].astype(np.int32)
    count, total, squares = 0, np.float64(0), np.float64(0)
    for rows, found in predictions(sentences, predict, plan, wanted=sample):
        (layers,) = found.values()
        places, mask = sentences.places(rows, layers.shape[1])
        words = layers[mask & (sentences.starts[places] != NOWHERE)].astype(np.float64)
        count += len(words)
        total, squares = total + words.sum(axis=0), squares + np.square(words).sum(axis=0)
    if not count:
        return {}
    means = total / count
    deviations = np.sqrt(np.maximum(squares / count - np.square(means), 0))
    least = _LEAST_DEVIATION * deviations.mean(axis=-1, keepdims=True)
    deviations = np.maximum(deviations, np.where(least > 0, least, 1))
    return {MEANS: means.astype(np.float32), DEVIATIONS: deviations.astype(np.float32)}


@dataclass(frozen=True)
class LayerStore:
    """Computes the layers of sentences and keeps them in a file without a name.

    Attributes:
        predict: characters int32 [B, L, K] and input_mask int32 [B, L] to layers [B, L, M, H].
        folder: local, for the file, which is gone when the process is.
        dtype: float16 where products round to bfloat16, which is coarser; else float32.
    """

    predict: Predict
    folder: str
    dtype: type[np.float16] | type[np.float32]

    def keep(self, sentences: Sentences, plan: BatchPlan, noun: str) -> Sentences:
        """Sentences with their layers; without, after a warning, where the disk has no room.

        Args:
            sentences: of words.
            plan: how they are put into batches.
            noun: what they are called, for the progress line.
        """
        store: npt.NDArray[Any] | None = None
        for rows, found in predictions(sentences, self.predict, plan, "biLM", noun):
            (layers,) = found.values()
            if store is None:
                store = self._allocate((sentences.num_pieces, *layers.shape[2:]))
            if store is None:
                return sentences
            places, mask = sentences.places(rows, layers.shape[1])
            store[places[mask]] = layers[mask]
        return sentences if store is None else replace(sentences, layers=store)

    def _allocate(self, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
        size = int(np.prod(shape)) * np.dtype(self.dtype).itemsize
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:  # the array keeps it open
                if hasattr(os, "posix_fallocate"):  # else a full disk is known when it is written
                    os.posix_fallocate(file.fileno(), 0, size)
                return np.memmap(file, self.dtype, "w+", shape=shape)
        except OSError as error:
            warn(
                f"{self.folder}: no room for {size / 1e9:.1f} GB ({error.strerror}), which the "
                "layers of the biLM need: they are computed anew in every pass"
            )
            return None
