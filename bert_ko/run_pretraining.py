"""run_pretraining: shards of instances to a pre-trained BERT."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bert_ko import files
from bert_ko.data.reader import Batch, InstanceReader, ReaderConfig
from bert_ko.flags import flag, output_flags, run_command
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import Arrays, count_parameters, pretraining_specs
from bert_ko.notification import Ending, notified
from bert_ko.progress import warn
from bert_ko.tasks.pretraining.settings import MaskingFlags
from bert_ko.tasks.pretraining.shard_checks import (
    ShardSet,
    check_shards,
    check_vocabulary,
    refuse_overlap,
    refuse_unused_masking_flags,
)
from bert_ko.tokenization.settings import TokenizerSettings
from bert_ko.training.backend import Backend, TrainProgram
from bert_ko.training.checkpoints import Checkpoint, list_checkpoints, remove_unfinished
from bert_ko.training.devices import load_backend
from bert_ko.training.runs import (
    Run,
    begin,
    check_batch_size,
    find_checkpoint,
    new_parameters,
    read_model_config,
    write_results,
    write_run,
)
from bert_ko.training.settings import DeviceFlags, LoopFlags, OptimizerFlags
from bert_ko.training.vocabulary_files import copy_vocabulary

if TYPE_CHECKING:
    from bert_ko.tokenization.tokenizer import Tokenizer
    from bert_ko.training.objective import Metrics


@dataclass(frozen=True)
class RunPretrainingConfig(MaskingFlags, TokenizerSettings, OptimizerFlags, DeviceFlags, LoopFlags):
    """Pre-trains BERT on shards of create_pretraining_data: masked words and next sentences.

    Killed, it goes on where its last checkpoint stands when the same command is run again.
    """

    bert_config_file: str = flag(help="bert_config.json of the model.", affects_output=False)
    input_file: tuple[str, ...] = flag(help="Shards: files, globs, folders.", affects_output=False)
    output_dir: str = flag(
        help="Local folder for checkpoints, metrics.jsonl, TensorBoard events and "
        "eval_results.txt; a run that is found there goes on.",
        affects_output=False,
    )
    init_checkpoint: str | None = flag(
        None,
        help="Weights to begin with: a folder of this command, the prefix of a TF1 checkpoint "
        "(bert_model.ckpt), or a Hugging Face folder with safetensors.",
    )
    max_seq_length: int = flag(128, help="Pieces of a sequence, as in the shards.", at_least=1)
    max_predictions_per_seq: int = flag(20, help="Masked pieces of a sequence at most.", at_least=1)
    do_train: bool = flag(False, help="Train.", affects_output=False)
    do_eval: bool = flag(
        False,
        help="Evaluate the last checkpoint, on --eval_input_file or else on --input_file.",
        affects_output=False,
    )
    train_batch_size: int = flag(32, help="Sequences of an update, over all devices.", at_least=1)
    eval_batch_size: int = flag(
        8, help="Sequences of a batch of evaluation.", affects_output=False, at_least=1
    )
    num_train_steps: int = flag(100_000, help="Updates.", at_least=1)
    num_warmup_steps: int = flag(10_000, help="Updates with a rising learning rate.", at_least=0)
    gradient_accumulation_steps: int = flag(
        1,
        help="Compute a batch in so many parts, to save memory; the update is that of the whole.",
        at_least=1,
    )
    eval_input_file: tuple[str, ...] = flag(
        (), help="Held-out shards for evaluation.", affects_output=False
    )
    eval_every_steps: int | None = flag(
        None,
        help="Evaluate on --eval_input_file after every so many updates.",
        affects_output=False,
        above=0,
    )
    max_eval_steps: int = flag(
        100, help="Batches of an evaluation at most.", affects_output=False, at_least=1
    )
    shuffle_buffer_size: int = flag(
        16384,
        help="Sequences that are shuffled together; 0 keeps the order of the shards.",
        at_least=0,
    )
    vocab_file: str | None = flag(
        None,
        help="The vocabulary, to be checked against the shards and copied to --output_dir.",
        affects_output=False,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        if self.train_batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"--train_batch_size={self.train_batch_size} must be a multiple of "
                f"--gradient_accumulation_steps={self.gradient_accumulation_steps}."
            )
        if not (self.do_train or self.do_eval):
            raise ValueError("give --do_train, --do_eval or both.")
        if files.is_remote(self.output_dir):
            raise ValueError(
                f"--output_dir must be a local folder, got {self.output_dir}; copy it afterwards."
            )
        if self.eval_every_steps is not None and not self.eval_input_file:
            raise ValueError("--eval_every_steps needs --eval_input_file.")
        if self.vocab_file is None and self.given_settings:
            raise ValueError(f"--{next(iter(self.given_settings))} needs --vocab_file.")


class _Data(NamedTuple):
    """What is known of the shards; None for those that are not needed."""

    train: ShardSet | None
    evaluation: ShardSet | None

    @property
    def known(self) -> list[ShardSet]:
        return [shards for shards in self if shards is not None]

    @property
    def fingerprint(self) -> str | None:
        """Of the tokenizer."""
        return next((a.fingerprint for a in self.known if a.fingerprint is not None), None)


def run(config: RunPretrainingConfig) -> Ending:
    """Checks that everything fits, then trains and evaluates."""
    model_config = read_model_config(config.bert_config_file)
    data = _agree_on_data(config, model_config)
    _refuse_no_weights(config)
    tokenizer = _tokenizer(config, model_config, data)
    run = _run_of(config, model_config, data)
    files.require_writable_folder(config.output_dir)
    with files.lock(os.path.join(config.output_dir, ".lock")):
        remove_unfinished(config.output_dir)
        checkpoint = find_checkpoint(run, config.do_train)
        step = checkpoint.state["step"] if checkpoint is not None else 0
        if step >= config.num_train_steps and not config.do_eval:
            print(f"all {step:,} steps are done; --do_eval evaluates them")
            return Ending()
        arrays = checkpoint.parameters if checkpoint else _initial(config, run)
        if config.do_train:
            if tokenizer is not None and config.vocab_file is not None:
                copy_vocabulary(tokenizer, config.vocab_file, config.output_dir)
            write_run(run, dataclasses.asdict(config))
        backend = load_backend(config.device_config)
        _check_batch_sizes(config, backend)
        _describe(backend, model_config, data)
        program = _program(backend, config, model_config, arrays, checkpoint)
        evaluate = _Evaluation(program, config, model_config, data.evaluation)
        if config.do_train:
            computed_with = f"{backend.description}, {backend.precision}"
            step = _train(program, config, run, data.train, checkpoint, computed_with, evaluate)
        if config.do_eval:
            write_results(config.output_dir, {"global_step": step, **evaluate(step)})
    return _ending(config, step, evaluate.last)


def _agree_on_data(config: RunPretrainingConfig, model_config: BertConfig) -> _Data:
    """Reads what the manifests say; nothing of shards that this run does not read."""
    evaluates = config.do_eval or config.eval_every_steps is not None
    data = _Data(
        _agree(config, config.input_file, model_config) if config.do_train else None,
        _agree(config, config.eval_input_file or config.input_file, model_config)
        if evaluates
        else None,
    )
    refuse_unused_masking_flags(config, data.known)
    if data.train is not None and data.evaluation is not None:
        if config.eval_input_file:
            refuse_overlap(data.train, data.evaluation)
        fingerprints = {a.fingerprint for a in data.known if a.fingerprint is not None}
        if len(fingerprints) > 1:
            raise ValueError(
                "the shards of --eval_input_file were made with another tokenizer than those of "
                "--input_file; make them again with the same --vocab_file."
            )
    return data


def _agree(
    config: RunPretrainingConfig, patterns: tuple[str, ...], model_config: BertConfig
) -> ShardSet:
    return check_shards(
        patterns,
        model_config,
        config.bert_config_file,
        config.max_seq_length,
        config.max_predictions_per_seq,
        config,
    )


def _refuse_no_weights(config: RunPretrainingConfig) -> None:
    """Before a folder is made for nothing."""
    if config.do_train or config.init_checkpoint or list_checkpoints(config.output_dir):
        return
    raise ValueError(
        f"--do_eval: no checkpoint in {config.output_dir}; give --do_train or --init_checkpoint."
    )


def _tokenizer(
    config: RunPretrainingConfig, model_config: BertConfig, data: _Data
) -> Tokenizer | None:
    if config.vocab_file is None:
        return None
    return check_vocabulary(
        config.vocab_file, config, data.known[0], model_config, config.bert_config_file
    )


def _run_of(config: RunPretrainingConfig, model_config: BertConfig, data: _Data) -> Run:
    shards = [] if data.train is None else data.train.sources
    identity = {
        **output_flags(config),
        "bert_config_file": model_config.to_dict(),
        "input_file": [[os.path.basename(s.path), files.size(s.path)] for s in shards],
    }
    return Run(
        folder=config.output_dir,
        model_config=model_config,
        config_file=config.bert_config_file,
        identity=identity,
        fingerprint=data.fingerprint,
        tokenized="the shards were made with",
    )


def _initial(config: RunPretrainingConfig, run: Run) -> Arrays:
    specs = pretraining_specs(run.model_config)
    return new_parameters(run, specs, config.init_checkpoint, config.random_seed)


def _check_batch_sizes(config: RunPretrainingConfig, backend: Backend) -> None:
    parts = config.gradient_accumulation_steps
    check_batch_size("train_batch_size", config.train_batch_size, backend, parts)
    if config.do_eval or config.eval_every_steps is not None:
        check_batch_size("eval_batch_size", config.eval_batch_size, backend)


def _describe(backend: Backend, model_config: BertConfig, data: _Data) -> None:
    millions = count_parameters(pretraining_specs(model_config)) / 1e6
    print(
        f"{backend.description}, {backend.precision}; {millions:.1f} million parameters; "
        f"{len(data.known[0].sources)} shards",
        flush=True,
    )
    for warning in dict.fromkeys(w for shards in data.known for w in shards.warnings):
        warn(warning)


def _program(
    backend: Backend,
    config: RunPretrainingConfig,
    model_config: BertConfig,
    arrays: Arrays,
    checkpoint: Checkpoint | None,
) -> TrainProgram:
    """Moves the arrays onto the devices."""
    from bert_ko.training.losses import pretraining_loss

    optimizer = config.optimizer_config(config.num_train_steps, config.num_warmup_steps)
    program = backend.train_program(
        model_config,
        pretraining_loss,
        optimizer if config.do_train else None,
        arrays,
        config.random_seed,
    )
    if checkpoint is not None and checkpoint.slots:
        program.restore(arrays, checkpoint.slots)
        checkpoint.slots.clear()
    arrays.clear()  # else they would take memory as long as the run lasts
    return program


def _reader_config(
    config: RunPretrainingConfig, model_config: BertConfig, data: ShardSet, is_training: bool
) -> ReaderConfig:
    return ReaderConfig(
        shards=data.sources,
        batch_size=config.train_batch_size if is_training else config.eval_batch_size,
        max_seq_length=config.max_seq_length,
        max_predictions_per_seq=config.max_predictions_per_seq,
        vocab_size=model_config.vocab_size,
        feature_names=data.feature_names,
        masking=data.masking,
        seed=config.random_seed,
        shuffle_buffer_size=config.shuffle_buffer_size if is_training else 0,
    )


def _train(
    program: TrainProgram,
    config: RunPretrainingConfig,
    run: Run,
    data: ShardSet | None,
    checkpoint: Checkpoint | None,
    computed_with: str,
    evaluate: _Evaluation,
) -> int:
    """Returns the steps done."""
    from bert_ko.training.loop import TrainingLoop
    from bert_ko.training.losses import PRETRAINING

    assert data is not None
    progression = begin(run, checkpoint, computed_with)
    reader_config = _reader_config(config, run.model_config, data, True)
    loop: TrainingLoop[Batch] = TrainingLoop(
        program,
        PRETRAINING,
        config.optimizer_config(config.num_train_steps, config.num_warmup_steps),
        run.model_config,
        config.loop_config(
            config.output_dir,
            config.num_train_steps,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            eval_steps=config.eval_every_steps,
            state={**run.state, "computed_with": computed_with},
        ),
        evaluate,
    )
    return loop.run(InstanceReader(reader_config, progression.position), progression).step


class _Evaluation:
    """Computes metrics on held-out data, and keeps the last ones."""

    def __init__(
        self,
        program: TrainProgram,
        config: RunPretrainingConfig,
        model_config: BertConfig,
        data: ShardSet | None,
    ):
        self._program, self._config = program, config
        self._model_config, self._data = model_config, data
        self.last: Metrics = {}

    def __call__(self, step: int) -> Metrics:
        from bert_ko.training.loop import evaluate
        from bert_ko.training.losses import PRETRAINING

        assert self._data is not None
        config = self._config
        reader = InstanceReader(_reader_config(config, self._model_config, self._data, False))
        self.last = evaluate(self._program, PRETRAINING, reader.one_epoch(), config.max_eval_steps)
        return self.last


def _ending(config: RunPretrainingConfig, step: int, metrics: Metrics) -> Ending:
    name = "masked_lm_accuracy"
    scores = {name: metrics[name]} if name in metrics else {}
    return Ending(scores, step, config.num_train_steps) if config.do_train else Ending(scores)


def main() -> int:
    """Runs the command."""
    return run_command(RunPretrainingConfig, notified(run))
