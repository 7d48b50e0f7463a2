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
from collections.abc import Mapping
from typing import Any, NamedTuple

from bert_ko import files
from bert_ko.flags import secret_flags
from bert_ko.json_files import read_json, write_json
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import config_from_json
from bert_ko.modeling.heads import LABEL_VARIABLES, TAG_CRF
from bert_ko.modeling.parameters import Arrays, Specs, initial_parameters
from bert_ko.progress import warn
from bert_ko.training.backend import Backend
from bert_ko.training.checkpoints import (
    CONFIG_NAME,
    KINDS,
    STATE_NAME,
    Checkpoint,
    Kind,
    identity_differences,
    list_checkpoints,
    load_checkpoint,
)
from bert_ko.training.initialization import (
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
        identity: by flag, what must stay the same for the run to resume; bert_config_file holds the
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
        ValueError: it is not a configuration.
    """
    with files.open_binary(path) as stream:
        return config_from_json(stream.read(), path)


def refuse_other_run(run: Run, is_training: bool) -> None:
    """Compares the checkpoints in the folder with a run, before anything is written there.

    Args:
        run: whose they must be.
        is_training: all of the identity must agree; else only the model and the tokenizer.

    Raises:
        ValueError: they belong to a different run, and what differs; or the folder holds another
            model's configuration, and no run.
    """
    for kind in KINDS:
        for path in list_checkpoints(run.folder, kind)[-1:]:
            _compare_state(run, path, is_training)
    if is_training:
        _refuse_config_of_the_user(run)


def _compare_state(run: Run, path: str, is_training: bool) -> None:
    state = read_json(os.path.join(path, STATE_NAME)) or {}
    if state.get("format") != FORMAT:
        raise ValueError(f"{path} was written by another version; choose another --output_dir.")
    identity = state.get("identity")  # none where convert_checkpoint wrote it
    if not is_training:
        stands = (identity or {}).get("bert_config_file")
        stands = stands or read_json(os.path.join(path, CONFIG_NAME))
        refuse_other_model(path, stands, run.model_config, run.config_file)
        _refuse_other_tokenizer(path, state["tokenizer_fingerprint"], run)
        return
    differences = ["it was not trained here"]
    if identity is not None:
        differences = identity_differences(identity, run.identity)
    if not differences and _is_other(state["tokenizer_fingerprint"], run.fingerprint):
        differences = [f"{run.tokenized} another tokenizer"]
    if differences:
        raise ValueError(
            f"{path} belongs to a different run: {'; '.join(differences)}. Give the same flags to "
            "resume, or choose another --output_dir, with this one as --init_checkpoint to start "
            "from its weights."
        )


def refuse_other_model(
    path: str, stands: Mapping[str, Any] | None, config: ModelConfig, config_file: str
) -> None:
    """Compares the configuration that weights are to be used with and that of their training.

    Args:
        path: of the weights.
        stands: the configuration of their training; None where it is not known.
        config: to be used.
        config_file: where that was read.

    Raises:
        ValueError: they differ in what the weights mean.
    """
    differences = _model_differences(stands, config)
    if differences:
        raise ValueError(
            f"--bert_config_file: {config_file} is not the configuration that {path} was trained "
            f"with ({differences}); leave the flag out."
        )


def _model_differences(stands: Mapping[str, Any] | None, config: ModelConfig) -> str:
    """In what evaluation depends on: "hidden_size was 8, now 16"."""
    if stands is None:
        return ""
    ours, theirs = (
        {key: value for key, value in values.items() if key not in _FOR_TRAINING}
        for values in (stands, config.to_dict())
    )
    (found,) = identity_differences({"": ours}, {"": theirs}) or [""]
    return found.removeprefix("--: ")


def _refuse_other_tokenizer(path: str, fingerprint: str | None, run: Run) -> None:
    if _is_other(fingerprint, run.fingerprint):
        raise ValueError(
            f"{path} was trained with another tokenizer than {run.tokenized}; its pieces would "
            "mean other words. Prepare the data with its vocabulary."
        )


def _is_other(fingerprint: str | None, other: str | None) -> bool:
    return None not in (fingerprint, other) and fingerprint != other


def last_checkpoint(
    run: Run, kind: Kind = "checkpoint", with_slots: bool = False
) -> Checkpoint | None:
    """The last one in the folder, which ``refuse_other_run`` has compared; None for none."""
    paths = list_checkpoints(run.folder, kind)
    return load_checkpoint(paths[-1], with_slots) if paths else None


def trained_parameters(run: Run, specs: Specs, checkpoint: Checkpoint) -> Arrays:
    """The weights of a run's folder that a task predicts with.

    Returns:
        The variables of the task.

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
    _refuse_unused_head(run.folder, checkpoint.parameters, specs)
    return {name: checkpoint.parameters[name] for name in specs}


def _refuse_unused_head(path: str, arrays: Arrays, specs: Specs) -> None:
    """Without a part of its head, such as the CRF, a model would silently predict otherwise."""
    unused = [name for name in LABEL_VARIABLES if name in arrays and name not in specs]
    if unused:
        flag = "give --use_crf" if unused[0].startswith(TAG_CRF) else "it is for another task"
        raise ValueError(f"{path} was trained with {unused[0]}, which would not be used; {flag}.")


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
        labels: of the model; a head of the checkpoint for others is reinitialised.

    Raises:
        ValueError: the checkpoint has another model or another tokenizer, or lacks weights.
    """
    new = initial_parameters(specs, run.model_config.initializer_range, seed)
    if init_checkpoint is None:
        return new
    source = read_source(init_checkpoint)
    if is_training:
        kept = without_other_labels(source, specs, labels)
        if len(kept.arrays) < len(source.arrays):
            print(f"{source.path} was trained for other labels: the head is reinitialised")
        source = kept
    found = initialize(specs, new, source, run.config_file)
    if found.new and not is_training:
        raise ValueError(
            f"--init_checkpoint: {source.path} lacks {', '.join(found.new[:3])}; it was not "
            "trained for this task. Give --do_train."
        )
    print(describe(found, source), flush=True)
    _refuse_other_tokenizer(f"--init_checkpoint: {source.path}", source.fingerprint, run)
    stands = source.config.to_dict() if source.config is not None else None
    if not is_training:
        _refuse_unused_head(source.path, source.arrays, specs)
        refuse_other_model(source.path, stands, run.model_config, run.config_file)
    elif differences := _model_differences(stands, run.model_config):
        warn(
            f"{source.path} was trained with another configuration than {run.config_file}: "
            f"{differences}"
        )
    return found.arrays


def write_run(run: Run, flags: dict[str, Any]) -> None:
    """Writes down the run's settings, for people and for later commands.

    Args:
        run: whose.
        flags: all of them, by name; those that are secret are left out.
    """
    stands = read_json(os.path.join(run.folder, RUN_NAME))
    if stands is None or stands.get("identity") != run.identity:
        secrets = secret_flags(LoopFlags)
        shown = {name: value for name, value in flags.items() if name not in secrets}
        path = os.path.join(run.folder, RUN_NAME)
        write_json(path, {"format": FORMAT, "flags": shown, "identity": run.identity})
    if _stored_config(run) != run.model_config:
        write_json(os.path.join(run.folder, CONFIG_NAME), run.model_config.to_dict())


def _stored_config(run: Run) -> ModelConfig | None:
    path = os.path.join(run.folder, CONFIG_NAME)
    return read_model_config(path) if os.path.exists(path) else None


def _refuse_config_of_the_user(run: Run) -> None:
    """What no run has written is not written over."""
    is_run = os.path.exists(os.path.join(run.folder, RUN_NAME))
    if not is_run and _stored_config(run) not in (None, run.model_config):
        raise ValueError(
            f"{os.path.join(run.folder, CONFIG_NAME)} belongs to a different model and would be "
            "written over; choose another --output_dir."
        )


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
