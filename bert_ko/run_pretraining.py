"""run_pretraining: shards of instances to a pre-trained BERT."""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from bert_ko import files
from bert_ko.data.manifest import read_json, write_json
from bert_ko.data.reader import ReaderConfig
from bert_ko.flags import flag, run_command, to_json
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import (
    Arrays,
    count_parameters,
    initial_parameters,
    pretraining_specs,
)
from bert_ko.training.backend import Backend, TrainProgram
from bert_ko.training.checkpoints import (
    CONFIG_NAME,
    Checkpoint,
    identity_differences,
    list_checkpoints,
    load_checkpoint,
    remove_unfinished,
)
from bert_ko.training.devices import load_backend
from bert_ko.training.handshake import (
    Agreement,
    MaskingFlags,
    agree,
    agree_tokenizer,
    copy_vocabulary,
    refuse_idle_flags,
    refuse_overlap,
)
from bert_ko.training.initialization import describe, initialize, read_source
from bert_ko.training.settings import DeviceFlags, LoopFlags, OptimizerFlags

if TYPE_CHECKING:
    from bert_ko.tokenization.tokenizer import Tokenizer

_RUN_NAME = "run.json"
_RESULTS_NAME = "eval_results.txt"
_FORMAT = 1
# Keys of bert_config that decide nothing when a trained model is evaluated.
_FOR_TRAINING = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")


@dataclass(frozen=True)
class RunPretrainingConfig(MaskingFlags, OptimizerFlags, DeviceFlags, LoopFlags):
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
    max_seq_length: int = flag(128, help="Pieces of a sequence, as in the shards.")
    max_predictions_per_seq: int = flag(20, help="Masked pieces of a sequence at most.")
    do_train: bool = flag(False, help="Train.", affects_output=False)
    do_eval: bool = flag(
        False,
        help="Evaluate the last checkpoint, on --eval_input_file or else on --input_file.",
        affects_output=False,
    )
    train_batch_size: int = flag(32, help="Sequences of an update, over all devices.")
    eval_batch_size: int = flag(8, help="Sequences of a batch of evaluation.", affects_output=False)
    num_train_steps: int = flag(100_000, help="Updates.")
    num_warmup_steps: int = flag(10_000, help="Updates with a rising learning rate.")
    gradient_accumulation_steps: int = flag(
        1,
        help="Compute a batch in so many parts, to save memory; the update is that of the whole.",
    )
    eval_input_file: tuple[str, ...] = flag(
        (), help="Held-out shards for evaluation.", affects_output=False
    )
    eval_every_steps: int | None = flag(
        None,
        help="Evaluate on --eval_input_file after every so many updates.",
        affects_output=False,
    )
    max_eval_steps: int = flag(100, help="Batches of an evaluation at most.", affects_output=False)
    shuffle_buffer_size: int = flag(
        16384, help="Sequences that are shuffled together; 0 keeps the order of the shards."
    )
    vocab_file: str | None = flag(
        None,
        help="The vocabulary, to be checked against the shards and copied to --output_dir.",
        affects_output=False,
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        for name, least in (
            ("max_seq_length", 1), ("max_predictions_per_seq", 1), ("train_batch_size", 1),
            ("eval_batch_size", 1), ("num_train_steps", 1), ("gradient_accumulation_steps", 1),
            ("max_eval_steps", 1), ("shuffle_buffer_size", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be at least {least}, got {getattr(self, name)}.")
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
        if self.eval_every_steps is not None and self.eval_every_steps < 1:
            raise ValueError(f"--eval_every_steps must be above 0, got {self.eval_every_steps}.")
        if self.eval_every_steps is not None and not self.eval_input_file:
            raise ValueError("--eval_every_steps needs --eval_input_file.")
        self.optimizer_config(self.num_train_steps, self.num_warmup_steps)


class _Data(NamedTuple):
    """What is known of the shards; None for those that are not needed."""

    train: Agreement | None
    evaluation: Agreement | None

    @property
    def known(self) -> list[Agreement]:
        return [agreement for agreement in self if agreement is not None]

    @property
    def fingerprint(self) -> str | None:
        """Of the tokenizer."""
        return next((a.fingerprint for a in self.known if a.fingerprint is not None), None)


def run(config: RunPretrainingConfig) -> None:
    """Checks that everything fits, then trains and evaluates."""
    model_config = _read_model_config(config.bert_config_file)
    data = _agree_on_data(config, model_config)
    _refuse_no_weights(config)
    tokenizer = _tokenizer(config, model_config, data)
    files.require_writable_folder(config.output_dir)
    with files.lock(os.path.join(config.output_dir, ".lock")):
        remove_unfinished(config.output_dir)
        checkpoint = _find_checkpoint(config, model_config, data)
        step = checkpoint.state["step"] if checkpoint is not None else 0
        if step >= config.num_train_steps and not config.do_eval:
            print(f"all {step:,} steps are done; --do_eval evaluates them")
            return
        arrays = checkpoint.parameters if checkpoint else _initial(config, model_config, data)
        if config.do_train:
            _write_run(config, model_config, data.train, tokenizer)
        backend = load_backend(config.device_config)
        _check_batch_sizes(config, backend)
        _describe(backend, model_config, data)
        slots = checkpoint.slots if checkpoint else {}
        program = _program(backend, config, model_config, arrays, slots)
        evaluate = partial(_evaluate, program, config, model_config, data.evaluation)
        if config.do_train:
            computed_with = f"{backend.description}, {backend.precision}"
            step = _train(
                program, config, model_config, data.train, checkpoint, computed_with, evaluate
            )
        if config.do_eval:
            _write_results(config.output_dir, evaluate(), step)


def _read_model_config(path: str) -> BertConfig:
    with files.open_binary(path) as stream:
        return BertConfig.from_json(stream.read(), path)


def _agree_on_data(config: RunPretrainingConfig, model_config: BertConfig) -> _Data:
    """Reads what the manifests say; nothing of shards that this run does not read."""
    evaluates = config.do_eval or config.eval_every_steps is not None
    data = _Data(
        _agree(config, config.input_file, model_config) if config.do_train else None,
        _agree(config, config.eval_input_file or config.input_file, model_config)
        if evaluates
        else None,
    )
    refuse_idle_flags(config, data.known)
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
) -> Agreement:
    return agree(
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
    return agree_tokenizer(config.vocab_file, data.known[0], model_config, config.bert_config_file)


def _find_checkpoint(
    config: RunPretrainingConfig, model_config: BertConfig, data: _Data
) -> Checkpoint | None:
    """The last one in the folder, which must be of this run."""
    paths = list_checkpoints(config.output_dir)
    if not paths:
        return None
    path = paths[-1]
    checkpoint = load_checkpoint(path, with_slots=config.do_train)
    state = checkpoint.state
    if state.get("format") != _FORMAT:
        raise ValueError(f"{path} was written by another version; choose another --output_dir.")
    stands, wanted = state["identity"], _identity(config, model_config, data.train)
    if not config.do_train:
        stands, wanted = _model_identity(stands), _model_identity(wanted)
    differences = identity_differences(stands, wanted)
    if not differences and _is_other(state["tokenizer_fingerprint"], data.fingerprint):
        differences = ["the shards were made with another tokenizer"]
    if differences:
        raise ValueError(
            f"{path} is of another run: {'; '.join(differences)}. Give the same flags to go on, or "
            "choose another --output_dir, with this one as --init_checkpoint to begin from its "
            "weights."
        )
    return checkpoint


def _model_identity(identity: dict[str, Any]) -> dict[str, Any]:
    """What evaluation depends on."""
    values = identity["bert_config_file"].items()
    return {"bert_config_file": {k: v for k, v in values if k not in _FOR_TRAINING}}


def _is_other(fingerprint: str | None, other: str | None) -> bool:
    return None not in (fingerprint, other) and fingerprint != other


def _identity(
    config: RunPretrainingConfig, model_config: BertConfig, data: Agreement | None
) -> dict[str, Any]:
    """What must stay the same for a run to go on."""
    shards = [] if data is None else data.shards
    return {
        **to_json(config),
        "bert_config_file": model_config.to_dict(),
        "input_file": [[os.path.basename(s.path), files.size(s.path)] for s in shards],
    }


def _initial(config: RunPretrainingConfig, model_config: BertConfig, data: _Data) -> Arrays:
    specs = pretraining_specs(model_config)
    new = initial_parameters(specs, model_config.initializer_range, config.random_seed)
    if config.init_checkpoint is None:
        return new
    source = read_source(config.init_checkpoint)
    found = initialize(specs, new, source, config.bert_config_file)
    print(describe(found, source), flush=True)
    if _is_other(source.fingerprint, data.fingerprint):
        raise ValueError(
            f"--init_checkpoint: {source.path} was trained with another tokenizer than the shards "
            "were made with; its pieces would mean other words. Make the shards with its "
            "vocabulary."
        )
    if source.hidden_act not in (None, model_config.hidden_act):
        _warn(
            f"{source.path} was trained with hidden_act {source.hidden_act}, "
            f"{config.bert_config_file} says {model_config.hidden_act}."
        )
    return found.arrays


def _check_batch_sizes(config: RunPretrainingConfig, backend: Backend) -> None:
    parts = config.gradient_accumulation_steps * backend.num_devices
    if config.train_batch_size % parts:
        raise ValueError(
            f"--train_batch_size={config.train_batch_size} must be a multiple of {parts}: "
            f"{config.gradient_accumulation_steps} parts on {backend.num_devices} devices."
        )
    evaluates = config.do_eval or config.eval_every_steps is not None
    if evaluates and config.eval_batch_size % backend.num_devices:
        raise ValueError(
            f"--eval_batch_size={config.eval_batch_size} must be a multiple of the "
            f"{backend.num_devices} devices."
        )


def _describe(backend: Backend, model_config: BertConfig, data: _Data) -> None:
    millions = count_parameters(pretraining_specs(model_config)) / 1e6
    print(
        f"{backend.description}, {backend.precision}; {millions:.1f} million parameters; "
        f"{len(data.known[0].shards)} shards",
        flush=True,
    )
    for warning in dict.fromkeys(w for agreement in data.known for w in agreement.warnings):
        _warn(warning)


def _warn(message: str) -> None:
    print(f"run_pretraining: warning: {message}", file=sys.stderr)


def _program(
    backend: Backend,
    config: RunPretrainingConfig,
    model_config: BertConfig,
    arrays: Arrays,
    slots: Arrays,
) -> TrainProgram:
    """Moves the arrays onto the devices."""
    from bert_ko.training.losses import pretraining_loss

    optimizer = config.optimizer_config(config.num_train_steps, config.num_warmup_steps)
    program = backend.train_program(
        model_config, pretraining_loss, optimizer, arrays, config.random_seed
    )
    if slots:
        program.restore(arrays, slots)
    arrays.clear()  # else they would take memory as long as the run lasts
    slots.clear()
    return program


def _reader_config(
    config: RunPretrainingConfig, model_config: BertConfig, data: Agreement, is_training: bool
) -> ReaderConfig:
    return ReaderConfig(
        shards=data.shards,
        batch_size=config.train_batch_size if is_training else config.eval_batch_size,
        max_seq_length=config.max_seq_length,
        max_predictions_per_seq=config.max_predictions_per_seq,
        vocab_size=model_config.vocab_size,
        feature_names=data.feature_names,
        masking=data.masking,
        seed=config.random_seed,
        shuffle_buffer_size=config.shuffle_buffer_size if is_training else 0,
    )


def _write_run(
    config: RunPretrainingConfig,
    model_config: BertConfig,
    data: Agreement | None,
    tokenizer: Tokenizer | None,
) -> None:
    """The run's settings and vocabulary, for people and for later commands."""
    folder = config.output_dir
    run_path, config_path = (os.path.join(folder, name) for name in (_RUN_NAME, CONFIG_NAME))
    identity = _identity(config, model_config, data)
    stands = read_json(run_path)
    config_stands = _read_model_config(config_path) if os.path.exists(config_path) else None
    if stands is None and config_stands not in (None, model_config):
        raise ValueError(
            f"{config_path} is of another model and would be written over; choose another "
            "--output_dir."
        )
    if tokenizer is not None and config.vocab_file is not None:
        copy_vocabulary(tokenizer, config.vocab_file, folder)
    if stands is None or stands.get("identity") != identity:
        flags = dataclasses.asdict(config)
        write_json(run_path, {"format": _FORMAT, "flags": flags, "identity": identity})
    if config_stands != model_config:
        write_json(config_path, model_config.to_dict())


def _train(
    program: TrainProgram,
    config: RunPretrainingConfig,
    model_config: BertConfig,
    data: Agreement | None,
    checkpoint: Checkpoint | None,
    computed_with: str,
    evaluate: Any,
) -> int:
    """Returns the steps done."""
    from bert_ko.training.loop import LoopConfig, Progression, TrainingLoop
    from bert_ko.training.losses import PRETRAINING

    assert data is not None
    progression = Progression()
    if checkpoint is not None:
        names = [field.name for field in dataclasses.fields(Progression)]
        progression = Progression(**{name: checkpoint.state[name] for name in names})
        print(f"going on from step {progression.step:,}", flush=True)
        before = checkpoint.state.get("computed_with", computed_with)
        if before != computed_with:
            _warn(
                f"the run was computed with {before}, now with {computed_with}: it goes on, but "
                "not to the last bit."
            )
    state = {
        "format": _FORMAT,
        "computed_with": computed_with,
        "identity": _identity(config, model_config, data),
        "tokenizer_fingerprint": data.fingerprint,
    }
    loop = TrainingLoop(
        program,
        PRETRAINING,
        config.optimizer_config(config.num_train_steps, config.num_warmup_steps),
        model_config,
        LoopConfig(
            folder=config.output_dir,
            num_train_steps=config.num_train_steps,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            save_steps=config.save_checkpoints_steps,
            keep=config.keep_checkpoint_max,
            log_steps=config.log_every_steps,
            steps_under_way=config.iterations_per_loop,
            eval_steps=config.eval_every_steps,
            max_seconds=config.max_hours * 3600 if config.max_hours is not None else None,
            state=state,
        ),
        evaluate,
    )
    return loop.run(_reader_config(config, model_config, data, True), progression).step


def _evaluate(
    program: TrainProgram,
    config: RunPretrainingConfig,
    model_config: BertConfig,
    data: Agreement | None,
) -> dict[str, float]:
    from bert_ko.training.loop import evaluate
    from bert_ko.training.losses import PRETRAINING

    assert data is not None
    reader_config = _reader_config(config, model_config, data, False)
    return evaluate(program, PRETRAINING, reader_config, config.max_eval_steps)


def _write_results(folder: str, metrics: dict[str, float], step: int) -> None:
    """Google's keys, sorted, one a line."""
    results = {"global_step": step, **metrics}
    text = "".join(f"{name} = {results[name]}\n" for name in sorted(results))
    files.write_atomic(os.path.join(folder, _RESULTS_NAME), text)
    print(text, end="")


def main() -> int:
    """Runs the command."""
    return run_command(RunPretrainingConfig, run)
