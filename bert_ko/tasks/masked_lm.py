"""Filling [MASK]: what a pre-trained model expects at a place of a text.

Legend: B batch, L length of the batch, P masks of a text at most, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.tokenization.tokenizer import Tokenizer

MASK = "[MASK]"
_STEP = 32  # between the lengths of batches: each is compiled once
Batch = dict[str, npt.NDArray[Any]]


class Candidate(NamedTuple):
    """A piece for a mask: its probability, and the text with it in the mask's place."""

    piece: str
    id: int
    probability: float
    text: str


class Mask(NamedTuple):
    """A mask of a text, and the pieces that fit it best, the best first."""

    start: int
    candidates: list[Candidate]


class MaskedText(NamedTuple):
    """A text as the model gets it.

    Attributes:
        text: as given.
        ids: with [CLS] and [SEP].
        positions: of the masks in ids.
        starts: of the masks in the text.
    """

    text: str
    ids: list[int]
    positions: list[int]
    starts: list[int]


def prepare(text: str, tokenizer: Tokenizer, max_seq_length: int, place: str) -> MaskedText:
    """Tokenizes a text with masks.

    Args:
        text: with [MASK] at least once.
        tokenizer: which keeps [MASK].
        max_seq_length: of the model.
        place: where the text is from, for messages.

    Raises:
        ValueError: no mask in it, or too long.
    """
    encoding = tokenizer.encode(text)
    mask_id = tokenizer.vocab.mask_id
    places = [i for i, piece in enumerate(encoding.ids) if piece == mask_id]
    if not places:
        raise ValueError(f"{place}: no {MASK} in {text!r}.")
    if len(encoding.ids) + 2 > max_seq_length:
        raise ValueError(
            f"{place}: {len(encoding.ids)} pieces, but the model takes {max_seq_length - 2}; "
            "shorten the text."
        )
    vocab = tokenizer.vocab
    return MaskedText(
        text,
        [vocab.cls_id, *encoding.ids, vocab.sep_id],
        [i + 1 for i in places],
        [encoding.starts[i] for i in places],
    )


def fill(
    texts: Sequence[MaskedText],
    compute: Callable[[Batch], Batch],
    tokenizer: Tokenizer,
    top_k: int,
    batch_size: int,
    max_seq_length: int,
) -> Iterator[list[Mask]]:
    """Finds the best pieces for each mask of each text; every mask by itself.

    Args:
        texts: prepared.
        compute: input_ids, input_mask, segment_ids int32 [B, L] and masked_lm_positions int32 [B,
            P] to probabilities [B, P, V].
        tokenizer: of the model.
        top_k: pieces for a mask.
        batch_size: B.
        max_seq_length: of the model.

    Yields:
        The masks of each text, in the order of the texts.
    """
    for start in range(0, len(texts), batch_size):
        here = texts[start : start + batch_size]
        longest = max(len(text.ids) for text in here)
        shape = batch_size, min(-(-longest // _STEP) * _STEP, max_seq_length)
        found = compute(_batch(here, shape, tokenizer.vocab.pad_id))["probabilities"]
        for text, probabilities in zip(here, found, strict=False):  # the rest is filling
            yield [
                Mask(at, _candidates(text.text, at, values, tokenizer, top_k))
                for at, values in zip(text.starts, probabilities, strict=False)
            ]


def _batch(texts: Sequence[MaskedText], shape: tuple[int, int], pad_id: int) -> Batch:
    masks = max(len(text.positions) for text in texts)
    ids = np.full(shape, pad_id, np.int32)
    mask = np.zeros(shape, np.int32)
    positions = np.zeros((shape[0], masks), np.int32)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = text.ids
        mask[row, : len(text.ids)] = 1
        positions[row, : len(text.positions)] = text.positions
    return {
        "input_ids": ids,
        "input_mask": mask,
        "segment_ids": np.zeros_like(ids),
        "masked_lm_positions": positions,
    }


def _candidates(
    text: str, start: int, probabilities: npt.NDArray[np.float32], tokenizer: Tokenizer, top_k: int
) -> list[Candidate]:
    """Among equals the piece of the smaller id comes first."""
    best = np.argsort(-probabilities[: len(tokenizer.vocab)], kind="stable")[:top_k]
    return [
        Candidate(
            piece := tokenizer.vocab.pieces[i],
            int(i),
            float(probabilities[i]),
            text[:start] + piece.removeprefix("##") + text[start + len(MASK) :],
        )
        for i in best
    ]
