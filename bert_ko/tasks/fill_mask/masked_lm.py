"""Filling [MASK]: the pieces that a pre-trained model expects in a text.

Legend: B batch, L length of the batch, P most masks of a text, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from bert_ko.modeling.heads import OUTPUT_BIAS, HostBatch, MaskedLmHead
from bert_ko.tasks.batches import rows_of_batch
from bert_ko.tasks.loading import BATCH_SIZE, Loadable, place
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.training.backend import Predict
from bert_ko.training.model_files import TrainedModel

MASK = "[MASK]"
_STEP = 32  # between the lengths of batches: each is compiled once


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
    """A text as the model gets it."""

    text: str
    ids: list[int]  # with [CLS] and [SEP]
    positions: list[int]  # of the masks in ids
    starts: list[int]  # of the masks in the text


class MaskedLm(Loadable):
    """Fills the masks of texts, each on its own."""

    kind = "masked_lm"
    variable = OUTPUT_BIAS

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_seq_length: int,
        predict: Predict,
        batch_size: int = BATCH_SIZE,
        lone_size: int = 0,
    ):
        """``bert_ko.load`` makes one.

        Args:
            tokenizer: of the model; one that can't keep [MASK] is a ValueError.
            max_seq_length: of the model.
            predict: input_ids, input_mask, segment_ids int32 [B, L] and masked_lm_positions int32
                [B, P] to probabilities float32 [B, P, V].
            batch_size: B.
            lone_size: B of a batch of no more texts than that, see ``BatchPlan``.
        """
        self._tokenizer, self.max_seq_length = tokenizer.keeping(MASK), max_seq_length
        self._predict, self._batch_size, self._lone_size = predict, batch_size, lone_size

    @classmethod
    def from_model(cls, model: TrainedModel, *, batch_size: int = BATCH_SIZE) -> MaskedLm:
        """Places an open model on devices; batch_size texts are computed together.

        Raises:
            ValueError: the model was not trained on masks, or its tokenizer can't keep [MASK].
        """
        length = model.config.max_position_embeddings
        predict, plan = place(model.reaching(length), MaskedLmHead(), length, batch_size)
        return cls(model.tokenizer, length, predict, batch_size, plan.lone_size)

    def lengths(self, longest: int) -> tuple[int, ...]:
        """All L of texts of up to so many pieces, or as many as the model takes."""
        steps = range(_STEP, longest + _STEP, _STEP)
        return tuple(sorted({min(length, self.max_seq_length) for length in steps}))

    @overload
    def fill_mask(self, texts: str, top_k: int = 5) -> list[Mask]: ...
    @overload
    def fill_mask(self, texts: list[str] | tuple[str, ...], top_k: int = 5) -> list[list[Mask]]: ...

    def fill_mask(self, texts: str | Sequence[str], top_k: int = 5) -> Any:
        """Finds the top_k best pieces for each mask of a text, or of each of a list of texts.

        Returns:
            The masks in the order of the text; for a list, a list of them for each text.

        Raises:
            ValueError: a text has no mask, or is too long.
        """
        if isinstance(texts, str):
            return self.fill_mask([texts], top_k)[0]
        prepared = [self.prepare(text, f"text {i}") for i, text in enumerate(texts, start=1)]
        order = sorted(range(len(prepared)), key=lambda i: -len(prepared[i].ids))
        filled = self.fill([prepared[i] for i in order], top_k)
        found = dict(zip(order, filled, strict=True))
        return [found[i] for i in range(len(prepared))]

    def prepare(self, text: str, place: str) -> MaskedText:
        """Tokenizes a text with at least one mask; ``place`` is its origin, for messages.

        Raises:
            ValueError: no mask in it, or too long.
        """
        vocab, encoding = self._tokenizer.vocab, self._tokenizer.encode(text)
        places = [i for i, piece in enumerate(encoding.ids) if piece == vocab.mask_id]
        if not places:
            raise ValueError(f"{place}: no {MASK} in {text!r}.")
        if len(encoding.ids) + 2 > self.max_seq_length:
            raise ValueError(
                f"{place}: {len(encoding.ids)} pieces, but the model takes "
                f"{self.max_seq_length - 2}; shorten the text."
            )
        return MaskedText(
            text,
            [vocab.cls_id, *encoding.ids, vocab.sep_id],
            [i + 1 for i in places],
            [encoding.starts[i] for i in places],
        )

    def fill(self, texts: Sequence[MaskedText], top_k: int) -> Iterator[list[Mask]]:
        """Finds the top_k best pieces for each mask; yields the masks of each text in order."""
        size, pad_id = self._batch_size, self._tokenizer.vocab.pad_id
        for start in range(0, len(texts), size):
            here = texts[start : start + size]
            longest = max(len(text.ids) for text in here)
            rows = rows_of_batch(len(here), size, self._lone_size)
            shape = rows, min(-(-longest // _STEP) * _STEP, self.max_seq_length)
            found = self._predict(_batch(here, shape, pad_id))["probabilities"]
            for text, probabilities in zip(here, found, strict=False):  # the rest is filling
                yield [
                    Mask(at, _candidates(text.text, at, values, self._tokenizer, top_k))
                    for at, values in zip(text.starts, probabilities, strict=False)
                ]


def _batch(texts: Sequence[MaskedText], shape: tuple[int, int], pad_id: int) -> HostBatch:
    # Powers of two, since each number is compiled once.
    masks = 1 << (max(len(text.positions) for text in texts) - 1).bit_length()
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
    """Of equal pieces the one with the smaller id comes first."""
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
