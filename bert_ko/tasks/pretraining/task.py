"""Pre-training as a task: shards that fit the model, and batches of their instances."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from bert_ko import files
from bert_ko.closing import command_line
from bert_ko.data.packed_window import row_limits
from bert_ko.data.packing import RowLimits
from bert_ko.data.reader import InstanceReader, ReaderConfig
from bert_ko.data.share import Share
from bert_ko.messages import say, warn
from bert_ko.modeling.encoder import encoder_of, refuse_packing
from bert_ko.modeling.heads import Metrics, PretrainingHead
from bert_ko.page_writing import write_page
from bert_ko.tasks.pretraining.guesses import Guesser
from bert_ko.tasks.pretraining.report import Weights, render_report
from bert_ko.tasks.pretraining.settings import PretrainingFlags
from bert_ko.tasks.pretraining.shard_checks import (
    ShardSet,
    check_shards,
    compare_vocabulary,
    refuse_overlap,
    refuse_unused_masking_flags,
)
from bert_ko.tasks.pretraining.shard_task import ShardTask
from bert_ko.training.model_files import ModelFiles
from bert_ko.training.results import Results
from bert_ko.training.task import Trained


class PretrainingTask(ShardTask):
    """Masked words and next sentences; --num_train_steps decides how long it trains."""

    head = PretrainingHead()
    main_metric = "masked_lm_accuracy"
    tokenized = "the shards were made with"

    def __init__(self, config: PretrainingFlags, model: ModelFiles):
        """Reads the manifests of the shards that the run reads.

        Raises:
            FileNotFoundError: no shards.
            ValueError: they contradict each other or the model; says what to change.
        """
        config.refuse_words(model.config.model_type)
        if config.pack:
            refuse_packing(model.config)
        self._config, self._model = config, model
        self._training = self._evaluation = None
        self._guesser: Guesser | None = None
        if config.do_train:
            self._training = check_shards(config.input_file, config, model)
        if config.evaluates:
            held_out = config.eval_input_file or config.input_file
            self._evaluation = check_shards(held_out, config, model, is_training=False)
        known = [shards for shards in (self._training, self._evaluation) if shards is not None]
        refuse_unused_masking_flags(config, known)
        if self._training is not None and self._evaluation is not None and config.eval_input_file:
            refuse_overlap(self._training.paths, self._evaluation.paths)
        if model.found_tokenizer is not None:
            compare_vocabulary(model.found_tokenizer, known[0])
        fingerprints = {shards.fingerprint for shards in known} - {None}
        if len(fingerprints) > 1:
            raise ValueError(
                "the shards of --eval_input_file were made with another tokenizer than those of "
                "--input_file; make them again with the same --vocab_file."
            )
        self.fingerprint = next(iter(fingerprints), None)
        # Name and size of each shard that is trained on.
        trained = self._training.sources if self._training is not None else ()
        names = [[os.path.basename(shard.path), files.size(shard.path)] for shard in trained]
        self.identity = {"input_file": names}
        say(f"{len(known[0].sources):,} shards")
        for warning in dict.fromkeys(w for shards in known for w in shards.warnings):
            warn(warning)

    def train_batches(
        self, seed: int, position: dict[str, Any] | None, share: Share
    ) -> InstanceReader:
        """See Task."""
        assert self._training is not None
        config = dataclasses.replace(self._reader_config(self._training, True), share=share)
        return InstanceReader(config, position, announce=say)

    def evaluate(self, model: Trained) -> Metrics:
        """See Task."""
        assert self._evaluation is not None
        reader = InstanceReader(self._reader_config(self._evaluation, False))
        return model.measure(reader.one_epoch(), self._config.max_eval_steps)

    @property
    def main_scores(self) -> Sequence[str]:
        """See Task."""
        return [self.main_metric, "next_sentence_accuracy", "loss"]

    def next_command(self) -> str:
        """See Task."""
        text = "마을 도서관에서 [MASK]을 읽었다."
        return command_line("fill_mask", f"--init_checkpoint={self._config.output_dir}", text)

    def finish(self, model: Trained, folder: str, step: int) -> Results:
        """See Task."""
        return Results(self.evaluate(model))

    def observe(self, model: Trained, folder: str, step: int) -> None:
        """See Task: what the model guesses in fixed sentences."""
        if self._guesser is None and self._model.found_tokenizer is not None:
            self._guesser = Guesser(self._model.found_tokenizer, self._config.max_seq_length)
        if self._guesser is not None:
            self._guesser.ask(model, folder, step)

    def show(self, model: Trained, folder: str, step: int) -> bool:
        """See Task."""

        def make() -> str:
            shards = self._training.paths if self._training is not None else []
            size = self._model.config
            known = f"{size.num_hidden_layers} × {size.hidden_size}"
            facts = [("layers × hidden size", known)]
            return render_report(self._config, shards, facts, step, self._weights(model))

        return write_page(folder, make) is not None

    def _weights(self, model: Trained) -> Weights | None:
        """What the page shows of the weights, if their vocabulary is known."""
        if self._model.found_tokenizer is None:
            return None
        arrays, encoder = model.program.parameters(), encoder_of(self._model.config)
        positions = arrays.get(f"{encoder.scope}/embeddings/position_embeddings")
        if positions is None:
            positions = np.zeros((0, 1), np.float32)
        reached = positions[: self._config.max_seq_length]
        return Weights(arrays[encoder.word_embeddings], reached, self._model.found_tokenizer)

    def _row_limits(self, shards: ShardSet) -> RowLimits:
        """Of packed rows; shards that are masked already may have masked more than their share."""
        config = self._config
        masked_at_least = 1 if shards.masking is not None else config.max_predictions_per_seq
        return row_limits(config.max_seq_length, shards.masked_lm_prob, masked_at_least)

    def _reader_config(self, shards: ShardSet, is_training: bool) -> ReaderConfig:
        config, masking = self._config, shards.masking
        most = masking.config.max_predictions_per_seq if masking else config.max_predictions_per_seq
        return ReaderConfig(
            shards=shards.sources,
            batch_size=config.train_batch_size if is_training else config.eval_batch_size,
            max_seq_length=config.max_seq_length,
            max_predictions_per_seq=most,
            vocab_size=self._model.config.vocab_size,
            feature_names=shards.feature_names,
            masking=masking,
            packing=self._row_limits(shards) if config.pack and is_training else None,
            seed=config.random_seed,
            shuffle_buffer_size=config.shuffle_buffer_size if is_training else 0,
        )
