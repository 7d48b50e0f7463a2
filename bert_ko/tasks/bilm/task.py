"""A bidirectional language model as a task: windows of words, and perplexity on held-out ones."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from bert_ko import files
from bert_ko.closing import command_line
from bert_ko.data.bilm_reader import BiLmReader, BiLmReaderConfig, WordBatch
from bert_ko.data.prefetch import Prefetcher
from bert_ko.data.share import Share
from bert_ko.messages import say, show_scores, warn
from bert_ko.modeling.elmo import DIRECTIONS, ElmoConfig
from bert_ko.modeling.heads import BiLmHead, Head, HostBatch, Metrics, carried_shapes
from bert_ko.page_writing import write_page
from bert_ko.progress import format_table
from bert_ko.tasks.bilm.shard_checks import WordShards, check_word_shards, compare_words
from bert_ko.tasks.pretraining.report import render_report
from bert_ko.tasks.pretraining.settings import PretrainingFlags
from bert_ko.tasks.pretraining.shard_checks import refuse_overlap
from bert_ko.tasks.pretraining.shard_task import ShardTask
from bert_ko.tokenization.beside import copy_word_vocabulary
from bert_ko.tokenization.word_vocabulary import load_word_vocabulary
from bert_ko.training.model_files import ModelFiles
from bert_ko.training.results import Results
from bert_ko.training.task import Trained

_NUM_STEPS = 20  # of a window, as in bilm-tf
_NUM_NEGATIVES = 8192


class BiLmTask(ShardTask):
    """Words on both sides; --num_train_steps decides how long it trains."""

    main_metric = "perplexity"
    larger_is_better = False  # which keeps no best weights, as pre-training does not
    tokenized = "the shards were made with"

    def __init__(self, config: PretrainingFlags, model: ModelFiles):
        """Reads the manifests of the shards that the run reads.

        Raises:
            FileNotFoundError: no shards.
            ValueError: they contradict each other, the model or flags; says what to change.
        """
        config.refuse_masking("a bidirectional language model")
        assert isinstance(model.config, ElmoConfig)
        self._config, self._model_config = config, model.config
        self._training = self._evaluation = None
        if config.do_train:
            self._training = check_word_shards(config.input_file, model)
        if config.evaluates:
            held_out = config.eval_input_file or config.input_file
            self._evaluation = check_word_shards(held_out, model)
        known = [shards for shards in (self._training, self._evaluation) if shards is not None]
        if self._training is not None and self._evaluation is not None and config.eval_input_file:
            refuse_overlap(self._training.paths, self._evaluation.paths)
        if len({shards.fingerprint for shards in known}) > 1:
            raise ValueError(
                "the shards of --eval_input_file were made with another vocabulary than those of "
                "--input_file; make them again with the same --vocab_file."
            )
        self.fingerprint = known[0].fingerprint
        self._words = None
        if config.vocab_file is not None:
            self._words = load_word_vocabulary(config.vocab_file)
            compare_words(self._words, known[0])
        size, asked = model.config.vocab_size, config.softmax_samples
        wanted = _NUM_NEGATIVES if asked is None else asked
        # Drawing all words takes for ever, and scores no fewer than the full softmax.
        self._num_negatives = wanted if wanted < size else 0
        self.head: Head = BiLmHead(config.train_batch_size, self._num_negatives > 0)
        names = self._training.paths if self._training is not None else ()
        self.identity = {
            "input_file": [[os.path.basename(path), files.size(path)] for path in names],
            "unroll_steps": self._num_steps,
            "softmax_samples": self._num_negatives,
        }
        softmax = f"{self._num_negatives:,} drawn words" if self._num_negatives else "all words"
        say(
            f"{len(known[0].paths):,} shards; windows of {self._num_steps} words; training's "
            f"softmax over {softmax} of {size:,}"
        )
        for warning in dict.fromkeys(w for shards in known for w in shards.warnings):
            warn(warning)

    @property
    def _num_steps(self) -> int:
        return self._config.unroll_steps or _NUM_STEPS

    def begin(self, folder: str) -> None:
        """See Task; the vocabulary belongs to the softmax."""
        if self._config.do_train and self._words is not None:
            copy_word_vocabulary(self._words, folder)

    def train_batches(self, seed: int, position: dict[str, Any] | None, share: Share) -> BiLmReader:
        """See Task."""
        assert self._training is not None
        config = self._reader_config(self._training, self._config.train_batch_size, share.pieces)
        return BiLmReader(dataclasses.replace(config, share=share), position)

    def evaluate(self, model: Trained) -> Metrics:
        """Loss and perplexity of all words, by the full softmax and with carried states."""
        assert self._evaluation is not None
        size = self._config.eval_batch_size
        shards = self._evaluation
        reader = BiLmReader(self._reader_config(shards, size, model.num_devices, is_training=False))
        return measure(
            model, self._model_config, reader.one_epoch(), size, self._config.max_eval_steps
        )

    def next_command(self) -> str:
        """See Task."""
        folder = self._config.output_dir
        where = [f"--init_checkpoint={folder}", "--input_file=-"]
        output = f"--output_file={os.path.join(folder, 'vectors.jsonl')}"
        return f"echo '책을 읽었다.' | {command_line('extract_features', *where, output)}"

    def finish(self, model: Trained, folder: str, step: int) -> Results:
        """See Task; prints a table."""
        found = self.evaluate(model)
        rows = [
            [name.rstrip("_") or "mean", found[f"{name}loss"], found[f"{name}perplexity"]]
            for name in (*(f"{direction}_" for direction in DIRECTIONS), "")
        ]
        show_scores(format_table(rows, ["direction", "loss", "perplexity"]))
        show_scores(
            f"{found['num_words']:,} words, {found['unknown_share']:.2%} of them not in the "
            f"vocabulary of {found['vocab_size']:,} words, {found['cut_share']:.2%} cut at "
            f"{self._model_config.places - 2} characters"
        )
        return Results(found)

    def show(self, model: Trained, folder: str, step: int) -> bool:
        """See Task."""
        shards = self._training.paths if self._training is not None else []
        facts = [("words in the vocabulary", f"{self._model_config.vocab_size:,}")]
        make = partial(render_report, self._config, shards, facts, step)
        return write_page(folder, make) is not None

    def _reader_config(
        self, shards: WordShards, batch_size: int, num_groups: int, *, is_training: bool = True
    ) -> BiLmReaderConfig:
        model = self._model_config
        return BiLmReaderConfig(
            shards=shards.paths,
            batch_size=batch_size,
            num_steps=self._num_steps,
            vocab_size=model.vocab_size,
            characters=model.characters,  # type: ignore[arg-type]
            places=model.places,
            num_groups=num_groups,
            num_negatives=self._num_negatives if is_training else 0,
            seed=self._config.random_seed,
            shuffle_buffer_size=self._config.shuffle_buffer_size if is_training else 0,
        )


def measure(
    model: Trained,
    config: ElmoConfig,
    batches: Iterator[WordBatch],
    batch_size: int,
    max_steps: int,
) -> Metrics:
    """Loss and perplexity over at most max_steps batches, which go on from each other.

    Args:
        model: with a BiLmHead.
        config: of the model.
        batches: of held-out text.
        batch_size: rows of each.
        max_steps: how many batches at most.

    Returns:
        Of both directions and their mean: loss in nats, and perplexity, exp(loss); vocab_size, and
        the shares of words that it lacks and that have too many characters.
    """
    shapes = carried_shapes(BiLmHead(batch_size), config)
    carried: HostBatch = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    sums = dict.fromkeys((*DIRECTIONS, "words", "unknown", "cut"), 0.0)
    with Prefetcher(batches) as ahead:
        for count, batch in enumerate(ahead):
            if count == max_steps:
                break
            found = model.predict({**batch.features, **carried})
            carried = {name: found[name] for name in carried}
            for name in DIRECTIONS:
                sums[name] += float(found[f"{name}_loss"].sum(dtype=np.float64))
            sums["words"] += int(batch.features["input_mask"].sum())
            sums["unknown"] += batch.num_unknown
            sums["cut"] += int(batch.features["num_cut"].sum())
    return _metrics(sums, config.vocab_size)


def _metrics(sums: dict[str, float], vocab_size: int) -> Metrics:
    count = max(sums["words"], 1.0)
    losses = {name: sums[name] / count for name in DIRECTIONS}
    mean = sum(losses.values()) / len(losses)
    found = {"loss": mean, "perplexity": _exponential(mean)}
    for name, loss in losses.items():
        found |= {f"{name}_loss": loss, f"{name}_perplexity": _exponential(loss)}
    return {
        **found,
        "num_words": int(sums["words"]),
        "vocab_size": vocab_size,
        "unknown_share": sums["unknown"] / count,
        "cut_share": sums["cut"] / count,
    }


def _exponential(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # a larger one is not a float64
