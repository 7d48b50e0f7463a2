"""Batches of instances from shards: shuffled by seed, masked, and resumable at any sequence.

Legend: B batch, L max_seq_length, P max_predictions_per_seq.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.data.decoding import DamagedRecordError, ExampleDecoder
from bert_ko.data.features import FeatureNames, instance_features
from bert_ko.data.masking import MaskingConfig, mask_tokens
from bert_ko.data.records import Position, RecordWindow, RecordWindowReader

Arrays = dict[str, npt.NDArray[Any]]
# Records decoded and masked together. Masks are drawn for a chunk: another number, other masks.
_CHUNK = 1024


class ShardSource(NamedTuple):
    """A shard to train on."""

    path: str
    next_sentence_weight: float = 1.0  # 0 if its next_sentence_labels mean nothing


@dataclass(frozen=True)
class DynamicMasking:
    """How unmasked shards are masked when they are read."""

    unit: Literal["piece", "morpheme", "eojeol"]  # what is masked as a whole
    config: MaskingConfig
    mask_id: int
    # Ids that may replace a masked piece, as (first, last) pairs.
    replacement_ranges: tuple[tuple[int, int], ...]

    def replacements(self) -> npt.NDArray[np.int32]:
        """The replacement ids one by one, int32 [N]."""
        return np.concatenate(
            [np.arange(first, last + 1, dtype=np.int32) for first, last in self.replacement_ranges]
        )


@dataclass(frozen=True)
class ReaderConfig:
    """What is read, and in which order."""

    shards: tuple[ShardSource, ...]  # at least one
    batch_size: int  # B
    max_seq_length: int  # L
    max_predictions_per_seq: int  # P
    vocab_size: int  # ids must be below it
    feature_names: FeatureNames = "v1"
    masking: DynamicMasking | None = None  # None for shards with masked_lm_* features
    seed: int = 0  # of the order and of dynamic masks
    shuffle_buffer_size: int = 16384  # records of a window; 0 reads shard after shard in order
    interleave: int = 16  # shards that are open at once

    def __post_init__(self) -> None:
        assert self.shards and self.batch_size > 0
        assert self.shuffle_buffer_size >= 0 and self.interleave > 0


class RecordBatch(NamedTuple):
    """A batch, and where the next one begins."""

    features: Arrays  # [B, ...] by Google's names, and next_sentence_weights float32 [B]
    position: dict[str, Any]  # for InstanceReader, as values for JSON
    shards: npt.NDArray[np.int32]  # [B], the shard of each sequence; -1 for padding
    records: npt.NDArray[np.int64]  # [B], its record there
    epoch: int  # of the last sequence, from 0


class _Part(NamedTuple):
    """Some sequences of a batch."""

    features: Arrays
    shards: npt.NDArray[np.int32]
    records: npt.NDArray[np.int64]

    def take(self, here: slice) -> _Part:
        features = {name: values[here] for name, values in self.features.items()}
        return _Part(features, self.shards[here], self.records[here])


class InstanceReader:
    """Reads batches, epoch after epoch; each call begins at the same position."""

    def __init__(self, config: ReaderConfig, position: dict[str, Any] | None = None):
        """Args: config; position: of the batch after which to resume."""
        self._config = config
        specs = instance_features(
            config.max_seq_length, config.max_predictions_per_seq, config.masking is not None
        )
        self._decoder = ExampleDecoder(specs, config.feature_names)
        self._replacements = config.masking.replacements() if config.masking else None
        self._begin = Position()
        if position is not None:
            self._begin = Position.from_values(position, len(config.shards))
        self._weights = np.array([s.next_sentence_weight for s in config.shards], np.float32)

    def batches(self) -> Iterator[RecordBatch]:
        """Batches without end; one may hold the end of an epoch and the beginning of the next."""
        return self._batches(epochs=None)

    def one_epoch(self) -> Iterator[RecordBatch]:
        """The batches of one pass; the last is filled up with padding of weight 0."""
        return self._batches(epochs=1)

    def place(self, batch: RecordBatch) -> str:
        """Names the first records of a batch in a sentence for a message."""
        first = zip(batch.shards[:3].tolist(), batch.records[:3].tolist(), strict=True)
        places = "; ".join(self._place(shard, record) for shard, record in first)
        return f"Its batch of {len(batch.shards)} begins with {places}"

    def _batches(self, epochs: int | None) -> Iterator[RecordBatch]:
        parts: list[_Part] = []
        missing = self._config.batch_size
        end = self._begin
        for part, begin in self._parts(epochs):
            taken, count = 0, len(part.shards)
            while taken < count:
                parts.append(part.take(slice(taken, taken + missing)))
                size = len(parts[-1].shards)
                taken += size
                missing -= size
                end = dataclasses.replace(begin, used=begin.used + taken)
                if not missing:
                    yield _join(parts, end)
                    parts, missing = [], self._config.batch_size
        if parts:
            yield _join([*parts, _padding(parts[0].features, missing)], end)

    def _parts(self, epochs: int | None) -> Iterator[tuple[_Part, Position]]:
        """Decoded parts of windows, and where they begin."""
        config, begin = self._config, self._begin
        paths = [shard.path for shard in config.shards]
        with RecordWindowReader(
            paths, config.seed, config.shuffle_buffer_size, config.interleave, begin
        ) as windows:
            while epochs is None or begin.epoch < epochs:
                window = windows.read()
                first = begin.used - begin.used % _CHUNK
                for start in range(first, len(window.records), _CHUNK):
                    part = self._decode(window, start, begin)
                    skip = max(0, begin.used - start)
                    begins = dataclasses.replace(begin, used=start + skip)
                    yield part.take(slice(skip, None)), begins
                begin = windows.position

    def _decode(self, window: RecordWindow, start: int, position: Position) -> _Part:
        """Decodes and masks the chunk that begins at record ``start`` of the window."""
        here = slice(start, start + _CHUNK)
        shards, numbers = window.shards[here], window.numbers[here]
        try:
            features = self._decoder.decode(window.records[here])
        except DamagedRecordError as error:
            raise ValueError(
                f"{self._place(shards[error.index], numbers[error.index])}: {error.reason}"
            ) from None
        for name in ("input_ids", "masked_lm_ids"):
            if name in features:
                self._check_ids(features[name], shards, numbers)
        if self._config.masking is not None:
            key = [self._config.seed, 2, position.epoch, position.window, start]
            features = self._mask(features, np.random.default_rng(key))
        features["next_sentence_weights"] = self._weights[shards]
        return _Part(features, shards, numbers)

    def _check_ids(
        self, ids: npt.NDArray[Any], shards: npt.NDArray[Any], numbers: npt.NDArray[Any]
    ) -> None:
        if int(ids.max(initial=0)) < self._config.vocab_size:
            return
        row = int(np.flatnonzero((ids >= self._config.vocab_size).any(axis=1))[0])
        raise ValueError(
            f"{self._place(shards[row], numbers[row])}: piece id {int(ids[row].max())}, but "
            f"vocab_size is {self._config.vocab_size} in the bert_config; use the config of the "
            "vocabulary that the shards were made with."
        )

    def _place(self, shard: int, number: int) -> str:
        return f"{self._config.shards[shard].path}: record {number}"

    def _mask(self, features: Arrays, rng: np.random.Generator) -> Arrays:
        masking = self._config.masking
        assert masking is not None and self._replacements is not None
        morphemes, eojeols = features.pop("morpheme_ids"), features.pop("eojeol_ids")
        is_piece = morphemes > 0
        starts = is_piece
        if masking.unit != "piece":
            words = morphemes if masking.unit == "morpheme" else eojeols
            starts = is_piece.copy()
            starts[:, 1:] &= words[:, 1:] != words[:, :-1]
        masked = mask_tokens(
            features["input_ids"], is_piece, starts, masking.mask_id, self._replacements,
            masking.config, rng,
        )  # fmt: skip
        return {**features, **masked.features()}


def _join(parts: Sequence[_Part], position: Position) -> RecordBatch:
    features = {
        name: np.concatenate([part.features[name] for part in parts]) for name in parts[0].features
    }
    return RecordBatch(
        features,
        dataclasses.asdict(position),
        np.concatenate([part.shards for part in parts]),
        np.concatenate([part.records for part in parts]),
        position.epoch,
    )


def _padding(like: Arrays, count: int) -> _Part:
    zeros = {name: np.zeros((count, *value.shape[1:]), value.dtype) for name, value in like.items()}
    return _Part(zeros, np.full(count, -1, np.int32), np.full(count, -1, np.int64))
