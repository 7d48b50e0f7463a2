"""Masked-LM targets: whole words or n-grams of words, for a batch at a time.

Google's script shuffles the words of one sequence and takes them until the budget is spent. Here
all sequences of a batch draw their next word together, as one step of a partial Fisher-Yates
shuffle, which gives the same distribution.

Legend: B batch, L max_seq_length, P max_predictions_per_seq, W words of the batch, S its segments,
T its targets.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.tokenization.vocabulary import Vocabulary

Ints = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MaskingConfig:
    """How targets are drawn."""

    masked_lm_prob: float = 0.15  # share of a sequence's pieces to predict, in (0, 1)
    max_predictions_per_seq: int = 20  # P, the most pieces
    max_ngram_size: int = 1  # longest run of words masked together; n has weight 1/n
    replace_by_word: bool = False  # 80/10/10 is drawn for a whole word instead of for each piece


class MaskedBatch(NamedTuple):
    """Masked sequences and their targets."""

    input_ids: npt.NDArray[np.int32]  # [B, L], masked
    positions: npt.NDArray[np.int32]  # [B, P], ascending, 0 after the last
    ids: npt.NDArray[np.int32]  # [B, P], the original pieces, 0 after the last
    weights: npt.NDArray[np.float32]  # [B, P], 1 at a target, 0 after the last
    targets: Ints  # [T], places in the flat batch [B * L], ascending

    def features(self) -> dict[str, npt.NDArray[Any]]:
        """The features by Google's names."""
        return {
            "input_ids": self.input_ids,
            "masked_lm_positions": self.positions,
            "masked_lm_ids": self.ids,
            "masked_lm_weights": self.weights,
        }


class _Words(NamedTuple):
    """The words of a batch, row after row.

    segment numbers those of the batch: an n-gram stays inside one.
    """

    first_piece: Ints  # [W], index into the flat [B * L] batch
    length: Ints  # [W], pieces
    segment: Ints  # [W]
    row_start: Ints  # [B], the row's first word
    row_count: Ints  # [B], its words


class _Segments(NamedTuple):
    """The runs of pieces of a batch, between which are [CLS], [SEP] and padding."""

    start: Ints  # [S], index into the flat [B * L] batch
    stop: Ints  # [S], index after its last piece

    @classmethod
    def of(cls, is_piece: Flags) -> _Segments:
        rises, falls = is_piece.copy(), is_piece.copy()
        rises[:, 1:] &= ~is_piece[:, :-1]
        falls[:, :-1] &= ~is_piece[:, 1:]
        return cls(np.flatnonzero(rises), np.flatnonzero(falls) + 1)

    def num_tokens(self, rows: int, length: int) -> Ints:
        """Pieces of each row and the special tokens around them, int64 [B]: Google counts both."""
        row = self.start // length
        pieces = np.bincount(row, self.stop - self.start, rows).astype(np.int64)
        return pieces + 1 + np.bincount(row, minlength=rows)


def replacement_ids(
    vocab: Vocabulary, additional_special_tokens: Collection[str] = ()
) -> npt.NDArray[np.int32]:
    """Ids that may randomly replace a masked piece, int32 [N].

    Differs: Google draws from the whole vocabulary; special and unused tokens are left out here.
    """
    special = {vocab[token] for token in additional_special_tokens}
    return np.array([i for i in vocab.ordinary_ids if i not in special], np.int32)


def mask_tokens(
    input_ids: npt.NDArray[np.int32],
    is_piece: Flags,
    word_starts: Flags,
    mask_id: int,
    replacements: npt.NDArray[np.int32],
    config: MaskingConfig,
    rng: np.random.Generator,
) -> MaskedBatch:
    """Draws and applies the masks of a batch.

    Args:
        input_ids: int32 [B, L].
        is_piece: bool [B, L], true at what may be masked.
        word_starts: bool [B, L], first piece of each word; a word ends at the next start or where
            is_piece ends. Pass is_piece itself to mask single pieces.
        mask_id: id of [MASK].
        replacements: int32 [N], from replacement_ids.
        config: how targets are drawn.
        rng: its state alone decides the draws.

    Source: create_masked_lm_predictions of google-research/bert: a word that would exceed the
        budget is skipped; 80 % [MASK], 10 % unchanged, 10 % random.
    """
    segments = _Segments.of(is_piece)
    words = _find_words(segments, word_starts)
    budget = np.clip(
        np.rint(segments.num_tokens(*is_piece.shape) * config.masked_lm_prob).astype(np.int64),
        1, config.max_predictions_per_seq,
    )  # fmt: skip
    chosen = _choose_words(words, budget, config.max_ngram_size, rng)
    flat = _piece_indexes(words, chosen)
    labels = input_ids.ravel()[flat]
    masked_ids = input_ids.copy()
    masked_ids.ravel()[flat] = _replace(labels, flat, words, mask_id, replacements, config, rng)
    padded = _pad_targets(flat, labels, is_piece.shape, config.max_predictions_per_seq)
    return MaskedBatch(masked_ids, *padded, flat)


def _piece_indexes(words: _Words, chosen: Ints) -> Ints:
    """Places of the pieces of the chosen words, which ascend, in the flat batch."""
    length = words.length[chosen]
    ends = np.cumsum(length)
    first = np.repeat(words.first_piece[chosen] - (ends - length), length)
    return first + np.arange(len(first))


def _find_words(segments: _Segments, word_starts: Flags) -> _Words:
    rows, length = word_starts.shape
    first = np.flatnonzero(word_starts)
    in_segment = np.diff(np.searchsorted(first, segments.start), append=len(first))
    stop = np.repeat(segments.stop, in_segment)
    stop[:-1] = np.minimum(stop[:-1], first[1:])
    row_start = np.searchsorted(first, np.arange(rows + 1) * length)
    segment = np.repeat(np.arange(len(in_segment)), in_segment)
    return _Words(first, stop - first, segment, row_start[:-1], np.diff(row_start))


def _choose_words(
    words: _Words, budget: Ints, max_ngram_size: int, rng: np.random.Generator
) -> Ints:
    """Numbers of the chosen words, ascending; ``budget`` int64 [B] are pieces to mask in a row."""
    order = np.arange(len(words.length))
    used = np.zeros(len(order), np.bool_)
    weights = np.cumsum(1.0 / np.arange(1, max_ngram_size + 1))
    rows = np.flatnonzero(words.row_count > 0)
    start, count, left = words.row_start[rows], words.row_count[rows], budget[rows]
    step = 0
    while len(start):
        if len(start) <= max(8, len(budget) // 256) and step > 8:
            for row in range(len(start)):
                remaining = rng.permutation(order[start[row] + step : start[row] + count[row]])
                size = _run_sizes(len(remaining), weights, rng)
                _finish_row(remaining, size, int(left[row]), words, used)
            break
        here = start + step
        other = here + (rng.random(len(here)) * (count - step)).astype(np.int64)
        drawn = order[other]
        order[other] = order[here]
        order[here] = drawn
        size = _run_sizes(len(here), weights, rng)
        left = left - _take_run(drawn, size, left, words, used, max_ngram_size)
        step += 1
        going = (left > 0) & (step < count)
        if not going.all():
            start, count, left = start[going], count[going], left[going]
    return np.flatnonzero(used)


def _run_sizes(count: int, weights: npt.NDArray[np.float64], rng: np.random.Generator) -> Ints:
    """Draws sizes from 1; ``weights`` are cumulated."""
    if len(weights) == 1:
        return np.ones(count, np.int64)
    return np.asarray(np.searchsorted(weights, rng.random(count) * weights[-1], "right") + 1)


def _take_run(
    drawn: Ints, size: Ints, left: Ints, words: _Words, used: Flags, max_ngram_size: int
) -> Ints:
    """Marks runs of up to ``size`` words that begin at ``drawn``; returns the pieces they took."""
    if max_ngram_size == 1:  # no word is drawn twice
        length = words.length[drawn]
        fits = length <= left
        used[drawn[fits]] = True
        return np.asarray(length * fits)
    taken = np.zeros(len(drawn), np.int64)
    going = np.ones(len(drawn), np.bool_)
    for k in range(max_ngram_size):
        word = np.minimum(drawn + k, len(used) - 1)
        length = words.length[word]
        going = going & (k < size) & ~used[word] & (taken + length <= left)
        if k:
            going &= (drawn + k < len(used)) & (words.segment[word] == words.segment[drawn])
        used[word[going]] = True
        taken += np.where(going, length, 0)
    return taken


def _finish_row(remaining: Ints, size: Ints, left: int, words: _Words, used: Flags) -> None:
    """``_take_run`` for the last few rows, most of whose words are longer than what is left."""
    for first, count in zip(remaining.tolist(), size.tolist(), strict=True):
        for word in range(first, min(first + count, len(used))):
            length = int(words.length[word])
            if used[word] or length > left or words.segment[word] != words.segment[first]:
                break
            used[word] = True
            left -= length
        if not left:
            return


def _replace(
    labels: npt.NDArray[np.int32],
    flat: Ints,
    words: _Words,
    mask_id: int,
    replacements: npt.NDArray[np.int32],
    config: MaskingConfig,
    rng: np.random.Generator,
) -> npt.NDArray[np.int32]:
    """What the input has in place of each target."""
    if config.replace_by_word:
        word = np.searchsorted(words.first_piece, flat, "right") - 1
        draw = rng.random(len(words.length))[word]
    else:
        draw = rng.random(len(flat))
    random = replacements[rng.integers(0, len(replacements), len(flat))]
    return np.where(draw < 0.8, np.int32(mask_id), np.where(draw < 0.9, labels, random))


def _pad_targets(
    flat: Ints, labels: npt.NDArray[np.int32], shape: tuple[int, ...], max_predictions: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    rows, length = shape
    row = flat // length
    start = np.searchsorted(flat, np.arange(rows) * length)
    rank = np.arange(len(flat)) - start[row]
    positions = np.zeros((rows, max_predictions), np.int32)
    ids = np.zeros((rows, max_predictions), np.int32)
    weights = np.zeros((rows, max_predictions), np.float32)
    positions[row, rank] = flat - row * length
    ids[row, rank] = labels
    weights[row, rank] = 1
    return positions, ids, weights
