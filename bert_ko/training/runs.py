"""A run and its folder: what identifies it, where it stands, and what it begins with.

run.json             flags and what identifies the run
bert_config.json     of the model
vocab.txt …          of the tokenizer
checkpoint-00001000  see checkpoints
metrics.jsonl        see metrics
eval_results.txt     of the last evaluation
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from bert_ko import files
from bert_ko.flags import secret_flags
from bert_ko.json_files import read_json, write_json
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import config_from_json
from bert_ko.modeling.parameters import Arrays, Specs, initial_parameters
from bert_ko.progress import warn
from bert_ko.training.backend import Backend
from bert_ko.training.checkpoints import (
    CONFIG_NAME,
    STATE_NAME,
    Checkpoint,
    Kind,
    identity_differences,
    list_checkpoints,
    load_checkpoint,
)
from bert_ko.training.initialization import (
    Source,
    describe,
    initialize,
    read_source,
    without_other_labels,
)
from bert_ko.training.labels import Labels
from bert_ko.training.settings import LoopFlags

RUN_NAME = "run.json"
RESULTS_NAME = "eval_results.txt"
FORMAT = 1
# Keys of bert_config that decide nothing when a trained model is used.
_FOR_TRAINING = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")


class Run(NamedTuple):
    """A run.

    Attributes:
        folder: --output_dir, or one below it.
        model_config: of the model.
        config_file: where that was read.
        identity: by flag, what must stay the same for the run to go on; bert_config_file holds the
            model's.
        fingerprint: of the tokenizer; None where it is not known.
        tokenized: what the tokenizer was applied to, for messages: "the shards were made with".
    """

    folder: str
    model_config: ModelConfig
    config_file: str
    identity: dict[str, Any]
    fingerprint: str | None
    tokenized: str

    @property
    def state(self) -> dict[str, Any]:
        """What every checkpoint says of its run."""
        return {
            "format": FORMAT,
            "identity": self.identity,
            "tokenizer_fingerprint": self.fingerprint,
        }


def read_model_config(path: str) -> ModelConfig:
    """Reads bert_config.json.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no configuration.
    """
    with files.open_binary(path) as stream:
        return config_from_json(stream.read(), path)


def refuse_other_run(run: Run, is_training: bool, kind: Kind = "checkpoint") -> None:
    """Compares the last checkpoint in the folder with a run, before anything is written there.

    Args:
        run: whose it must be.
        is_training: all of the identity must agree; else only the model.
        kind: the first part of its name.

    Raises:
        ValueError: it is of another run; says what differs.
    """
    paths = list_checkpoints(run.folder, kind)
    state = read_json(os.path.join(paths[-1], STATE_NAME)) if paths else None
    if state is not None:
        _compare_state(run, paths[-1], state, is_training)


def find_checkpoint(run: Run, is_training: bool, kind: Kind = "checkpoint") -> Checkpoint | None:
    """The last one in the folder; see ``refuse_other_run``.

    Returns:
        With slots, if it is to be trained on.
    """
    paths = list_checkpoints(run.folder, kind)
    if not paths:
        return None
    with_slots = is_training and kind == "checkpoint"
    checkpoint = load_checkpoint(paths[-1], with_slots)
    _compare_state(run, paths[-1], checkpoint.state, is_training)
    return checkpoint


def _compare_state(run: Run, path: str, state: dict[str, Any], is_training: bool) -> None:
    if state.get("format") != FORMAT:
        raise ValueError(f"{path} was written by another version; choose another --output_dir.")
    stands, wanted = state.get("identity"), run.identity
    if stands is None:  # of convert_checkpoint
        differences = ["it was not trained here"] if is_training else []
    elif is_training:
        differences = identity_differences(stands, wanted)
    else:
        differences = identity_differences(_model_identity(stands), _model_identity(wanted))
    if not differences and _is_other(state["tokenizer_fingerprint"], run.fingerprint):
        differences = [f"{run.tokenized} another tokenizer"]
    if differences:
        raise ValueError(
            f"{path} is of another run: {'; '.join(differences)}. Give the same flags to go on, or "
            "choose another --output_dir, with this one as --init_checkpoint to begin from its "
            "weights."
        )


def _model_identity(identity: dict[str, Any]) -> dict[str, Any]:
    """What evaluation depends on."""
    values = identity["bert_config_file"].items()
    return {"bert_config_file": {k: v for k, v in values if k not in _FOR_TRAINING}}


def _is_other(fingerprint: str | None, other: str | None) -> bool:
    return None not in (fingerprint, other) and fingerprint != other


def new_parameters(
    run: Run,
    specs: Specs,
    init_checkpoint: str | None,
    seed: int,
    is_training: bool = True,
    labels: Labels | None = None,
) -> Arrays:
    """Weights to begin with: random ones, and those of a checkpoint in their place.

    Args:
        run: whose.
        specs: the model's variables.
        init_checkpoint: see ``read_source``.
        seed: of random weights.
        is_training: else the checkpoint must have all weights.
        labels: of the model; a head of the checkpoint for others is not taken.

    Raises:
        ValueError: the checkpoint is of another model or another tokenizer, or lacks weights.
    """
    new = initial_parameters(specs, run.model_config.initializer_range, seed)
    if init_checkpoint is None:
        return new
    source = read_source(init_checkpoint)
    if is_training:
        kept = without_other_labels(source, specs, labels)
        if len(kept.arrays) < len(source.arrays):
            print(f"{source.path} is for other labels: its head is not taken", flush=True)
        source = kept
    found = initialize(specs, new, source, run.config_file)
    if found.new and not is_training:
        raise ValueError(
            f"--init_checkpoint: {source.path} lacks {', '.join(found.new[:3])}; it was not "
            "trained for this task. Give --do_train."
        )
    print(describe(found, source), flush=True)
    _compare(run, source)
    return found.arrays


def refuse_other_task(run: Run, specs: Specs, checkpoint: Checkpoint) -> None:
    """Compares trained weights with the variables of the task that is to predict with them.

    Raises:
        ValueError: a variable is missing or has another shape.
    """
    for name, spec in specs.items():
        array = checkpoint.parameters.get(name)
        if array is None or array.shape != spec.shape:
            found = "no such variable" if array is None else f"shape {list(array.shape)}"
            raise ValueError(
                f"{run.folder} was trained for another task: {name} must have shape "
                f"{list(spec.shape)}, and there is {found}."
            )


def _compare(run: Run, source: Source) -> None:
    if _is_other(source.fingerprint, run.fingerprint):
        raise ValueError(
            f"--init_checkpoint: {source.path} was trained with another tokenizer than "
            f"{run.tokenized}; its pieces would mean other words. Prepare the data with its "
            "vocabulary."
        )
    act = source.config.hidden_act if source.config is not None else None
    if act not in (None, run.model_config.hidden_act):
        warn(
            f"{source.path} was trained with hidden_act {act}, {run.config_file} says "
            f"{run.model_config.hidden_act}.",
        )


def write_run(run: Run, flags: dict[str, Any]) -> None:
    """Writes down the run's settings, for people and for later commands.

    Args:
        run: whose.
        flags: all of them, by name; those that are secret are left out.

    Raises:
        ValueError: the folder holds another model's configuration, and no run.
    """
    run_path, config_path = (os.path.join(run.folder, name) for name in (RUN_NAME, CONFIG_NAME))
    stands = read_json(run_path)
    config_stands = read_model_config(config_path) if os.path.exists(config_path) else None
    if stands is None and config_stands not in (None, run.model_config):
        raise ValueError(
            f"{config_path} is of another model and would be written over; choose another "
            "--output_dir."
        )
    if stands is None or stands.get("identity") != run.identity:
        secrets = secret_flags(LoopFlags)
        shown = {name: value for name, value in flags.items() if name not in secrets}
        write_json(run_path, {"format": FORMAT, "flags": shown, "identity": run.identity})
    if config_stands != run.model_config:
        write_json(config_path, run.model_config.to_dict())


def check_batch_size(flag: str, size: int, backend: Backend, parts: int = 1) -> None:
    """Refuses a batch that cannot be split.

    Args:
        flag: its name.
        size: sequences of a batch.
        backend: with devices.
        parts: --gradient_accumulation_steps.

    Raises:
        ValueError: with the numbers.
    """
    if size % (parts * backend.num_devices) == 0:
        return
    if parts == 1:
        raise ValueError(
            f"--{flag}={size} must be a multiple of the {backend.num_devices} devices."
        )
    raise ValueError(
        f"--{flag}={size} must be a multiple of {parts * backend.num_devices}: {parts} parts on "
        f"{backend.num_devices} devices."
    )


def format_results(results: dict[str, Any]) -> str:
    """Lines of eval_results.txt, sorted, as Google's."""
    return "".join(f"{name} = {results[name]}\n" for name in sorted(results))


def write_results(folder: str, results: dict[str, Any]) -> None:
    """Writes and prints eval_results.txt."""
    text = format_results(results)
    files.write_atomic(os.path.join(folder, RESULTS_NAME), text)
    print(text, end="")
