"""Windows of words for a bidirectional language model, from shards of words.

The records of a window of shards, shuffled by seed, are one long text. It is cut into as many
stretches as a batch has rows, and these into windows of T steps, so that a row goes on where the
batch before has ended. Where the text ends, rows are filled up with padding; the next window of
shards is the next text.

A sentence of n words has n + 1 steps in each direction, which is bilm-tf's: forward, its words
behind the mark of its beginning predict the next word and last the mark of its end; backward, they
are read from that end.

Legend: B batch, T steps, G groups, D distinct words of a group, K places of a word, S negatives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.characters import Characters, Mark
from bert_ko.data.negatives import draw_negatives
from bert_ko.data.records import Position, RecordWindow, RecordWindowReader
from bert_ko.data.share import WHOLE, Share
from bert_ko.data.word_characters import (
    Word,
    WordCharacters,
    padded_count,
)
from bert_ko.data.word_records import (
    WordRecord,
    decode_sentence_lengths,
    decode_word_record,
)
from bert_ko.tokenization.word_vocabulary import SENTENCE_MARKS, UNKNOWN_ID

Arrays = dict[str, npt.NDArray[Any]]
Ints = npt.NDArray[np.int64]
_DIRECTIONS = ("forward", "backward")
_BEGIN_ID, _END_ID, _ = range(len(SENTENCE_MARKS))


@dataclass(frozen=True)
class BiLmReaderConfig:
    """What is read, and in which order."""

    shards: tuple[str, ...]  # at least one
    batch_size: int  # B
    num_steps: int  # T
    vocab_size: int  # ids must be below it
    characters: Characters
    places: int  # K
    num_groups: int = 1  # G, of consecutive rows that have their distinct words together
    num_negatives: int = 0  # S; 0 draws none
    seed: int = 0  # of the order and of the negatives
    shuffle_buffer_size: int = 16384  # records of a window; 0 reads shard after shard in order
    interleave: int = 16  # shards that are open at once
    # Of each batch, what is given; all of it is made, since all groups have as many distinct words.
    share: Share = WHOLE

    def __post_init__(self) -> None:
        assert self.shards and self.batch_size > 0 and self.num_steps > 0
        assert self.batch_size % self.num_groups == 0


class WordBatch(NamedTuple):
    """A batch, and where the next one begins."""

    features: Arrays  # see modeling.heads.BiLmHead
    position: dict[str, Any]  # for BiLmReader, as values for JSON
    shards: tuple[str, ...]  # of the rows' first records
    records: tuple[int, ...]  # these, -1 for a row of padding
    epoch: int  # from 0

    @property
    def num_unknown(self) -> int:
        """Words to be predicted that the vocabulary does not have."""
        return int((self.features["forward_targets"] == UNKNOWN_ID).sum())


class _Steps(NamedTuple):
    """A stretch of text: words to read, and ids to predict, for each direction."""

    words: dict[str, list[Word]]
    targets: dict[str, npt.NDArray[np.int32]]


@dataclass(frozen=True)
class _Text:
    """The records of a window as one text."""

    window: RecordWindow
    offsets: Ints  # [records + 1], the step at which each begins
    length: int  # steps of a row; B of them hold the text

    def record_at(self, step: int) -> int:
        return int(np.searchsorted(self.offsets, step, side="right")) - 1


class BiLmReader:
    """Reads batches, epoch after epoch; each call begins at the same position."""

    def __init__(self, config: BiLmReaderConfig, position: dict[str, Any] | None = None):
        """Opens no file yet.

        Args:
            config: what is read.
            position: of the batch after which to resume; ``used`` counts batches of a window.
        """
        self._config = config
        self._characters = WordCharacters(config.characters, config.places)
        self._begin = Position()
        if position is not None:
            self._begin = Position.from_values(position, len(config.shards))

    def batches(self) -> Iterator[WordBatch]:
        """Batches without end."""
        return self._batches(epochs=None)

    def one_epoch(self) -> Iterator[WordBatch]:
        """The batches of one pass."""
        return self._batches(epochs=1)

    def place(self, batch: WordBatch) -> str:
        """Names the first records of a batch in a sentence for a message."""
        places = zip(batch.shards[:3], batch.records[:3], strict=True)
        named = "; ".join(f"{shard}: record {record}" for shard, record in places)
        return f"Its batch of {len(batch.shards)} rows has words of {named}"

    def _batches(self, epochs: int | None) -> Iterator[WordBatch]:
        steps = self._config.num_steps
        for text, begin in self._texts(epochs):
            rows = [_Row(self, text, row) for row in range(self._config.batch_size)]
            for number in range(begin.used, -(-text.length // steps)):
                position = dataclasses.replace(begin, used=number + 1)
                yield self._batch(text, rows, number, position)

    def _texts(self, epochs: int | None) -> Iterator[tuple[_Text, Position]]:
        config, begin = self._config, self._begin
        with RecordWindowReader(
            config.shards, config.seed, config.shuffle_buffer_size, config.interleave, begin
        ) as windows:
            while epochs is None or begin.epoch < epochs:
                window = windows.read()
                if window.records:
                    yield self._text(window), begin
                begin = windows.position

    def _text(self, window: RecordWindow) -> _Text:
        counts = []
        for index, record in enumerate(window.records):
            lengths = self._checked(window, index, decode_sentence_lengths, record)
            counts.append(int(lengths.sum()) + len(lengths))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return _Text(window, offsets, -(-int(offsets[-1]) // self._config.batch_size))

    def decode(self, window: RecordWindow, index: int) -> _Steps:
        """The steps of a record.

        Raises:
            ValueError: it is damaged, or has an id that the model does not have.
        """
        record = self._checked(window, index, decode_word_record, window.records[index])
        largest = int(record.word_ids.max(initial=0))
        if largest >= self._config.vocab_size:
            raise ValueError(
                f"{self._place(window, index)}: word id {largest}, but vocab_size is "
                f"{self._config.vocab_size} in the model's configuration; use the configuration of "
                "the vocabulary that the shards were made with."
            )
        return _steps(record)

    def _checked(self, window: RecordWindow, index: int, decode: Any, record: bytes) -> Any:
        try:
            return decode(record)
        except ValueError as error:
            raise ValueError(f"{self._place(window, index)}: {error}") from None

    def _place(self, window: RecordWindow, index: int) -> str:
        return f"{self._config.shards[window.shards[index]]}: record {window.numbers[index]}"

    def _batch(
        self, text: _Text, rows: Sequence[_Row], number: int, position: Position
    ) -> WordBatch:
        config = self._config
        start = number * config.num_steps
        stretches = [row.read(start, start + config.num_steps) for row in rows]
        features = self._features(stretches)
        if config.num_negatives:
            key = [config.seed, 3, position.epoch, position.window, number]
            features.update(self._negatives(features, np.random.default_rng(key)))
        window, records = text.window, [row.first_record(start) for row in rows]
        shards = tuple(config.shards[window.shards[record]] for record in records)
        numbers = tuple(int(window.numbers[record]) for record in records)
        values = dataclasses.asdict(position)
        features = config.share.of(features)
        return WordBatch(features, values, shards, numbers, position.epoch)

    def _features(self, stretches: Sequence[_Steps]) -> Arrays:
        config = self._config
        size, steps, per_group = (
            config.batch_size,
            config.num_steps,
            config.batch_size // config.num_groups,
        )
        lengths = np.array([len(one.targets["forward"]) for one in stretches])
        mask = np.arange(steps) < lengths[:, None]
        features: Arrays = {"input_mask": mask.astype(np.int32)}
        for direction in _DIRECTIONS:
            targets = np.zeros((size, steps), np.int32)
            targets[mask] = np.concatenate([one.targets[direction] for one in stretches])
            features[f"{direction}_targets"] = targets
            features[f"{direction}_inputs"] = np.zeros((size, steps), np.int32)
        num_cut = np.zeros((size, 1), np.int32)
        groups = []
        for first in range(0, size, per_group):
            here = slice(first, first + per_group)
            words = [w for d in _DIRECTIONS for one in stretches[here] for w in one.words[d]]
            found = self._characters.distinct(words or [Mark.SENTENCE_BEGIN])
            groups.append(found.characters)
            halves = zip(_DIRECTIONS, np.split(found.places[: len(words)], 2), strict=True)
            for direction, places in halves:
                features[f"{direction}_inputs"][here][mask[here]] = places
            is_cut = np.zeros((per_group, steps), np.bool_)
            is_cut[mask[here]] = found.is_cut[: len(words) // 2]
            num_cut[here, 0] = is_cut.sum(axis=1)
        count = padded_count(max(map(len, groups)))
        characters = np.zeros((config.num_groups, count, config.places), np.int32)
        for group, rows in zip(characters, groups, strict=True):
            group[: len(rows)] = rows
        return {**features, "characters": characters, "num_cut": num_cut}

    def _negatives(self, features: Arrays, rng: np.random.Generator) -> Arrays:
        config = self._config
        drawn = draw_negatives(config.vocab_size, config.num_negatives, rng)
        counts = {
            f"{direction}_target_log_counts": drawn.log_counts(features[f"{direction}_targets"])
            for direction in _DIRECTIONS
        }
        shared = {"negatives": drawn.ids, "negative_log_counts": drawn.log_counts(drawn.ids)}
        repeated = {name: np.repeat(v[None], config.num_groups, 0) for name, v in shared.items()}
        return {**counts, **repeated}


class _Row:
    """A row of batches: a stretch of a text, read a window at a time."""

    def __init__(self, reader: BiLmReader, text: _Text, row: int):
        self._reader, self._text = reader, text
        total = int(text.offsets[-1])
        self._start = min(row * text.length, total)
        self._end = min(self._start + text.length, total)
        self._decoded: tuple[int, _Steps] | None = None

    def first_record(self, start: int) -> int:
        """That which a window begins in; the text's last for a window of padding."""
        step = min(self._start + start, int(self._text.offsets[-1]) - 1)
        return self._text.record_at(step)

    def read(self, start: int, stop: int) -> _Steps:
        """The steps from ``start`` to before ``stop`` of the row, fewer at its end."""
        words: dict[str, list[Word]] = {direction: [] for direction in _DIRECTIONS}
        targets: dict[str, list[npt.NDArray[np.int32]]] = {d: [] for d in _DIRECTIONS}
        step, stop = self._start + start, min(self._start + stop, self._end)
        while step < stop:
            record = self._text.record_at(step)
            begin, end = self._text.offsets[record : record + 2].tolist()
            steps = self._decode(record)
            here = slice(step - begin, min(stop, end) - begin)
            for direction in _DIRECTIONS:
                words[direction] += steps.words[direction][here]
                targets[direction].append(steps.targets[direction][here])
            step = min(stop, end)
        none = np.empty(0, np.int32)
        return _Steps(words, {d: np.concatenate([none, *parts]) for d, parts in targets.items()})

    def _decode(self, record: int) -> _Steps:
        """The steps of a record, which the next window may go on in."""
        if self._decoded is None or self._decoded[0] != record:
            self._decoded = record, self._reader.decode(self._text.window, record)
        return self._decoded[1]


def _steps(record: WordRecord) -> _Steps:
    """What both directions read of a record and are to predict."""
    words: dict[str, list[Word]] = {direction: [] for direction in _DIRECTIONS}
    targets: dict[str, list[Any]] = {direction: [] for direction in _DIRECTIONS}
    begin = 0
    for length in record.sentence_lengths.tolist():
        sentence, ids = (
            record.words[begin : begin + length],
            record.word_ids[begin : begin + length],
        )
        words["forward"] += [Mark.SENTENCE_BEGIN, *sentence]
        words["backward"] += [Mark.SENTENCE_END, *sentence[::-1]]
        targets["forward"] += [ids, [_END_ID]]
        targets["backward"] += [ids[::-1], [_BEGIN_ID]]
        begin += length
    return _Steps(words, {d: np.concatenate(parts).astype("i4") for d, parts in targets.items()})
