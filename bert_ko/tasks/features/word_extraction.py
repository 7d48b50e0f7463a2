"""The layers of a model of words for sentences, in their order, in batches sorted by length.

A sentence begins with no state, so that its values depend on no other sentence.

Legend: S sentences, W words of all of them, D distinct words of a batch, N chosen layers, H
hidden_size, B batch, T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bert_ko.data.word_characters import sentence_features
from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.heads import HostBatch
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import count_parameters
from bert_ko.tasks.batches import Ints, lengths_worth_compiling
from bert_ko.tasks.features.extraction import (
    FeatureSettings,
    Values,
    block_size,
    pieces_per_compilation,
    sentence_slice,
)
from bert_ko.tasks.features.words import WordEncoder, WordSentences
from bert_ko.tokenization.word_splitting import WordSplitter
from bert_ko.training.backend import Backend, DeviceConfig, OutputFunction, Predict
from bert_ko.training.devices import load_backend
from bert_ko.training.model_files import TrainedModel

_NUM_MARKS = 2  # of a sentence
_COMPILING = 8  # times as long as a model of pieces takes: steps are written out one by one
_BLOCKS = 32  # of sentences that a file is thought to have if the first block is not all of it
_MOST_STEPS = 1 << 13  # of all sentences of a batch, which bounds its memory


@dataclass(frozen=True)
class WordPlan:
    """How sentences are put into batches.

    Attributes:
        batch_size: sentences at most; fewer where they are long.
        lengths: ascending; words with marks that a batch is padded to. Longer ones are rounded up.
    """

    batch_size: int
    lengths: tuple[int, ...] = ()

    def shape(self, longest: int) -> tuple[int, int]:
        """B and T of a batch whose longest sentence has this many words with its marks."""
        steps = next((n for n in self.lengths if n >= longest), rounded_length(longest))
        return max(1, min(self.batch_size, _MOST_STEPS // steps)), steps


def rounded_length(length: int) -> int:
    """One of few lengths, each of which is compiled once.

    >>> [rounded_length(n) for n in (2, 9, 33, 50, 1000)]
    [8, 16, 48, 64, 1024]
    """
    step = max(8, 1 << max(0, (length - 1).bit_length() - 2))
    return -(-length // step) * step


class WordExtractor:
    """A model of words on its device, with settings."""

    def __init__(
        self, predict: Predict, config: ElmoConfig, settings: FeatureSettings, *, is_cpu: bool
    ):
        """Args: predict: see ``word_outputs``."""
        self._predict, self._config, self._is_cpu = predict, config, is_cpu
        self.settings = settings
        self._distinct: dict[tuple[int, int], set[int]] = {}  # D that were compiled, by B and T
        self.num_not_finite = 0  # sentences

    def choose_plan(self, first: WordSentences) -> WordPlan:
        """Chooses the lengths of all batches by the first block of the sentences."""
        lengths, size = first.lengths + _NUM_MARKS, block_size(self.settings, self._config)
        longest = int(lengths.max())
        is_all = len(first) < size.sentences and first.num_pieces + longest <= size.pieces
        specs = encoder_of(self._config).specs(self._config)
        count = count_parameters({k: v for k, v in specs.items() if k.endswith("/kernel")})
        words = _COMPILING * pieces_per_compilation(count, is_cpu=self._is_cpu)
        if not is_all:
            words /= _BLOCKS
        chosen = lengths_worth_compiling(lengths, rounded_length(longest), words)
        return WordPlan(min(self.settings.batch_size, len(first)), chosen)

    def compute(
        self,
        sentences: WordSentences,
        plan: WordPlan | None = None,
        update: Callable[[int], None] = lambda count: None,
    ) -> Values:
        """The values [W, N, H] of sentences, with pooling [S, N, H], in their order.

        Args:
            sentences: all of them are in memory with their values.
            plan: of the batches; None for sentences whose lengths were not known before.
            update: called with numbers of finished sentences.
        """
        settings, plan = self.settings, plan or WordPlan(self.settings.batch_size)
        count = len(sentences) if settings.is_pooled else sentences.num_pieces
        shape = (count, len(settings.layers), self._config.hidden_size)
        values = np.empty(shape, settings.dtype)
        for rows, batch in self._batches(sentences, plan):
            found = self._predict(batch)["values"]
            for row, vectors in zip(rows, found, strict=False):  # others fill the batch up
                own = vectors[1 : sentences.lengths[row] + 1]
                target = values[sentence_slice(settings, sentences, row)]
                with np.errstate(over="ignore"):  # counted below
                    if settings.is_pooled:
                        own = own.sum(axis=0, dtype=np.float32) / np.float32(max(1, len(own)))
                    target[:] = own
                self.num_not_finite += not np.isfinite(target).all()
            update(len(rows))
        return values

    def compute_blocks(
        self, blocks: Iterable[WordSentences], update: Callable[[int], None] = lambda count: None
    ) -> Iterator[tuple[WordSentences, Values]]:
        """The values of blocks of sentences; see ``compute``."""
        plan = None
        for block in blocks:
            plan = plan or self.choose_plan(block)
            yield block, self.compute(block, plan, update)

    def _batches(
        self, sentences: WordSentences, plan: WordPlan
    ) -> Iterator[tuple[Ints, HostBatch]]:
        """Numbers of sentences, the longest first, and their features."""
        lengths, offsets = sentences.lengths + _NUM_MARKS, sentences.sentence_offsets
        order = np.argsort(-lengths, kind="stable").astype(np.int32)
        start = 0
        while start < len(order):
            batch, steps = plan.shape(int(lengths[order[start]]))
            rows = order[start : start + batch]
            words = [sentences.words[offsets[row] : offsets[row + 1]] for row in rows]
            yield rows, self._features(words, batch, steps)
            start += batch

    def _features(self, words: Sequence[Sequence[str]], batch: int, steps: int) -> HostBatch:
        """The features of sentences, [B, T]; rows that fill the batch up have no step."""
        config = self._config
        found = sentence_features(words, config.characters, config.places)  # type: ignore[arg-type]
        needed = len(found["characters"])
        known = self._distinct.setdefault((batch, steps), set())
        distinct = min((size for size in known if size >= needed), default=0)
        if not distinct:  # more words cost less than another program
            distinct = 1 << (needed - 1).bit_length()
            known.add(distinct)
        sizes = {"characters": (distinct, config.places)}
        return {
            name: _padded(array, sizes.get(name, (batch, steps))) for name, array in found.items()
        }


def _padded(array: Values, shape: tuple[int, int]) -> Values:
    """With zeros behind its rows and columns."""
    padding = [(0, size - own) for size, own in zip(shape, array.shape, strict=True)]
    return np.pad(array, padding)


def word_outputs(positions: Sequence[int]) -> OutputFunction:
    """A function of a model and a batch to the chosen layers, for a predictor.

    Args:
        positions: of the layers; 0 is the words' own vectors.

    Returns:
        The features of ``sentence_features`` to values float32 [B, T, N, H], marks included.
    """

    def outputs(model: Model, batch: Features) -> dict[str, Tensor]:
        layers = encoder_of(model.config).layers(model, batch)
        found = [ops.cast(layers[position], "float32") for position in positions]
        return {"values": ops.stack(found, axis=-2)}

    return outputs


def load_word_extractor(
    model: TrainedModel, settings: FeatureSettings, devices: DeviceConfig
) -> tuple[WordExtractor, Backend]:
    """Moves a model of words onto a device.

    Raises:
        ValueError: the model lacks a layer, or a setting has no meaning with it.
    """
    config = model.config
    assert isinstance(config, ElmoConfig)
    _refuse_settings(settings, devices, config.model_type)
    positions = settings.positions(config)
    # Layers above the last chosen one are not computed.
    config = replace(config, num_hidden_layers=max(1, *positions))
    arrays = model.arrays(encoder_of(config).specs(config))
    backend = load_backend(replace(devices, num_devices=1))
    predict = backend.predictor(config, arrays, word_outputs(positions))
    return WordExtractor(predict, config, settings, is_cpu=backend.is_cpu), backend


def _refuse_settings(settings: FeatureSettings, devices: DeviceConfig, model_type: str) -> None:
    """Refuses, by a ValueError, what only models of pieces have."""
    for name, value, default in (
        ("max_seq_length", settings.max_seq_length, FeatureSettings.max_seq_length),
        ("untrained_positions", settings.untrained_positions, FeatureSettings.untrained_positions),
        ("attention", devices.attention, DeviceConfig.attention),
    ):
        if value != default:
            raise ValueError(
                f"--{name} has no effect with a model of model_type {model_type}; leave it out."
            )
    if settings.pooling == "cls":
        raise ValueError(
            f"--pooling=cls: a model of model_type {model_type} has no [CLS]; give mean or none."
        )
    if devices.num_devices not in (None, 1):
        raise ValueError(
            f"--num_devices={devices.num_devices}: features of a model of model_type {model_type} "
            "are computed on one device; leave the flag out."
        )


def refuse_split(model: TrainedModel, *, is_split: bool) -> None:
    """Refuses, by a ValueError, texts that are split already for a model of pieces."""
    if is_split:
        raise ValueError(
            "--is_split_into_words has no effect with a model of model_type "
            f"{model.config.model_type}; leave it out."
        )


def word_encoder(model: TrainedModel, *, is_split: bool) -> WordEncoder:
    """What splits texts into the words of a model.

    Args:
        model: of words.
        is_split: whether the texts are words with blanks between them.

    Raises:
        ValueError: the model has no vocabulary that says how, and the texts are not split.
    """
    config, words = model.config, model.files.words
    assert isinstance(config, ElmoConfig)
    if is_split:
        splitter = WordSplitter("eojeol")
    elif words is not None:
        splitter = words.splitter()
    else:
        raise ValueError(
            f"--vocab_file: no vocabulary of words in {model.source.folder}, which says how text "
            "becomes words; name it, or give --is_split_into_words and texts whose words have "
            "blanks between them."
        )
    return WordEncoder(splitter, config.characters, config.places)  # type: ignore[arg-type]
