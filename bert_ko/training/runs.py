"""A run and its folder: what identifies it, and the weights that it begins or predicts with.

run.json             flags and what identifies the run
bert_config.json     of the model
vocab.txt …          of the tokenizer
checkpoint-00001000  see checkpoints
metrics.jsonl        see metrics
log.txt              what was said, at every start; in --output_dir alone
eval_results.txt     of the last evaluation
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from bert_ko.flags import secret_flags
from bert_ko.json_files import read_json, write_json
from bert_ko.messages import say, warn
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.heads import LABEL_VARIABLES, TAG_CRF
from bert_ko.modeling.parameters import Arrays, ParameterSpec, Specs, initial_parameters
from bert_ko.training.checkpoints import (
    CONFIG_NAME,
    KINDS,
    MODEL_NAME,
    OPTIMIZER_NAME,
    Checkpoint,
    damaged,
    identity_differences,
    list_checkpoints,
    read_model_config,
    read_state,
    require_state,
)
from bert_ko.training.initialization import (
    describe,
    initialize,
    read_source,
    refuse_surplus,
    without_other_labels,
)
from bert_ko.training.labels import Labels
from bert_ko.training.optimization import OptimizerConfig
from bert_ko.training.positions import fit_positions
from bert_ko.training.settings import LoopFlags, TrainFlags

RUN_NAME = "run.json"
LOG_NAME = "log.txt"
FORMAT = 1
# Keys of bert_config that decide nothing when a trained model is used.
_FOR_TRAINING = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")


class Run(NamedTuple):
    """A run."""

    folder: str  # --output_dir, or one below it
    model_config: ModelConfig
    config_file: str  # where model_config was read
    # By flag, what must stay the same for the run to resume; bert_config_file holds the model's.
    identity: dict[str, Any]
    fingerprint: str | None  # of the tokenizer; None if unknown
    tokenized: str  # what the tokenizer was applied to: "the shards were made with"
    # By flag, what a run did whose identity lacks it; see flags.values_before.
    before: Mapping[str, Any] = MappingProxyType({})

    @property
    def state(self) -> dict[str, Any]:
        """What every checkpoint records of its run."""
        return {
            "format": FORMAT,
            "identity": self.identity,
            "tokenizer_fingerprint": self.fingerprint,
        }


def refuse_other_run(run: Run, is_training: bool) -> None:
    """Compares the checkpoints in a run's folder with the run, before anything is written there.

    Args:
        run: the one asked for.
        is_training: all of the identity must match; else only the model and the tokenizer.

    Raises:
        ValueError: they belong to a different run, and what differs; or the folder holds another
            model's configuration, and no run.
    """
    for kind in KINDS:
        for path in list_checkpoints(run.folder, kind)[-1:]:
            _compare_state(run, path, is_training)
    is_run = os.path.exists(os.path.join(run.folder, RUN_NAME))
    if is_training and not is_run and _stored_config(run) not in (None, run.model_config):
        raise ValueError(
            f"{os.path.join(run.folder, CONFIG_NAME)} belongs to a different model and would be "
            "overwritten; choose another --output_dir."
        )


def _compare_state(run: Run, path: str, is_training: bool) -> None:
    state = read_state(path)
    if state.get("format") != FORMAT:
        raise ValueError(f"{path} was written by another version; choose another --output_dir.")
    require_state(path, state, ("tokenizer_fingerprint",))
    identity = state.get("identity")  # none if convert_checkpoint wrote it
    if not is_training:
        trained = (identity or {}).get("bert_config_file")
        trained = trained or read_json(os.path.join(path, CONFIG_NAME))
        refuse_other_model(path, trained, run.model_config, run.config_file)
        _refuse_other_tokenizer(path, state["tokenizer_fingerprint"], run)
        return
    differences = ["it was not trained here"]
    if identity is not None:
        differences = identity_differences({**run.before, **identity}, run.identity)
    if not differences and _is_other(state["tokenizer_fingerprint"], run.fingerprint):
        differences = [f"{run.tokenized} another tokenizer"]
    if differences:
        raise ValueError(
            f"{path} belongs to a different run: {'; '.join(differences)}. Give the same flags to "
            "resume, or choose another --output_dir, with this one as --init_checkpoint to start "
            "from its weights."
        )


def refuse_other_model(
    path: str, trained: Mapping[str, Any] | None, config: ModelConfig, config_file: str
) -> None:
    """Compares the configuration that weights were trained with and the one to use them with.

    Args:
        path: of the weights.
        trained: the configuration of their training; None if unknown.
        config: the one to use.
        config_file: where that was read.

    Raises:
        ValueError: they differ in what the weights mean.
    """
    differences = _model_differences(trained, config)
    if differences:
        raise ValueError(
            f"--bert_config_file: {config_file} is not the configuration that {path} was trained "
            f"with ({differences}); leave the flag out."
        )


def _model_differences(trained: Mapping[str, Any] | None, config: ModelConfig) -> str:
    """In what predictions depend on: "hidden_size was 8, now 16"."""
    if trained is None:
        return ""
    theirs, ours = (
        {key: value for key, value in values.items() if key not in _FOR_TRAINING}
        for values in (trained, config.to_dict())
    )
    return "".join(identity_differences({"": theirs}, {"": ours})).removeprefix("--: ")


def _refuse_other_tokenizer(path: str, fingerprint: str | None, run: Run) -> None:
    if _is_other(fingerprint, run.fingerprint):
        raise ValueError(
            f"{path} was trained with another tokenizer than {run.tokenized}; its pieces would "
            "mean other words. Prepare the data with its vocabulary."
        )


def _is_other(fingerprint: str | None, other: str | None) -> bool:
    return None not in (fingerprint, other) and fingerprint != other


def check_resumable(
    checkpoint: Checkpoint,
    specs: Specs,
    optimizer: OptimizerConfig,
    carried: Mapping[str, tuple[int, ...]],
) -> None:
    """Refuses a checkpoint to resume from that lacks something, before anything is written.

    Args:
        checkpoint: to resume from.
        specs: the model's variables.
        optimizer: that updates them, whose slots each has that is updated.
        carried: shapes of what the head carries from batch to batch, by name.

    Raises:
        ValueError: a variable or one of its slots is missing or has another shape; or a part of the
            state is missing.
    """
    require_state(
        checkpoint.path, checkpoint.state, ("position", "seconds", "sums", "steps_in_sums")
    )
    check_parameters(checkpoint, specs)
    for name, spec in specs.items():
        for slot in optimizer.slots if optimizer.trains(name) else ():
            _check_array(checkpoint, OPTIMIZER_NAME, f"{name}/{slot}", checkpoint.slots, spec)
    for name, shape in carried.items():
        spec = ParameterSpec(shape, "zeros")
        _check_array(checkpoint, OPTIMIZER_NAME, name, checkpoint.slots, spec)


def check_parameters(checkpoint: Checkpoint, specs: Specs) -> None:
    """Raises: ValueError: a variable is missing or has another shape."""
    for name, spec in specs.items():
        _check_array(checkpoint, MODEL_NAME, name, checkpoint.parameters, spec)


def _check_array(
    checkpoint: Checkpoint, file: str, name: str, arrays: Arrays, spec: ParameterSpec
) -> None:
    found = "is missing"
    if name in arrays:
        if arrays[name].shape == spec.shape:
            return
        found = f"has shape {list(arrays[name].shape)}, and must have {list(spec.shape)}"
    place = os.path.join(checkpoint.path, file)
    raise damaged(checkpoint.path, f"{place} was edited or damaged: {name} {found}.")


def trained_parameters(run: Run, specs: Specs, checkpoint: Checkpoint) -> Arrays:
    """The weights in a run's folder that a task predicts with.

    Raises:
        ValueError: a variable is missing or has another shape.
    """
    encoder = encoder_of(run.model_config).specs(run.model_config)
    check_parameters(checkpoint, {name: specs[name] for name in specs if name in encoder})
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
    """Without a part of its head, such as the CRF, a model would silently predict differently."""
    unused = [name for name in LABEL_VARIABLES if name in arrays and name not in specs]
    if unused:
        flag = "give --use_crf" if unused[0].startswith(TAG_CRF) else "it is for another task"
        raise ValueError(f"{path} was trained with {unused[0]}, which would not be used; {flag}.")


class Beginning(NamedTuple):
    """What a run begins with."""

    arrays: Arrays
    trained_positions: int  # the first ones, that the training of the weights has reached


def new_parameters(
    run: Run, specs: Specs, config: TrainFlags, seed: int, labels: Labels | None = None
) -> Beginning:
    """Weights to begin with: those of a checkpoint, and random ones for the rest.

    Args:
        run: that begins.
        specs: the model's variables.
        config: init_checkpoint (see ``read_source``), which must have all weights without do_train;
            max_seq_length and untrained_positions.
        seed: of random weights.
        labels: of the model; a checkpoint's head for others is reinitialised.

    Raises:
        ValueError: the checkpoint has another model or another tokenizer, or lacks weights.
    """
    new = initial_parameters(specs, run.model_config.initializer_range, seed)
    if config.init_checkpoint is None:
        return Beginning(new, 0)
    source, is_training, line = read_source(config.init_checkpoint), config.do_train, ""
    trained = source.config.to_dict() if source.config is not None else None
    if is_training:
        kept = without_other_labels(source, specs, labels)
        if len(kept.arrays) < len(source.arrays):
            say(f"{source.path} was trained for other labels: the head is reinitialised")
        source, line = fit_positions(
            kept, run.model_config, new, config.max_seq_length, config.untrained_positions
        )
    found = initialize(specs, new, source, run.config_file)
    if found.new and not is_training:
        raise ValueError(
            f"--init_checkpoint: {source.path} lacks {', '.join(found.new[:3])}; it was not "
            "trained for this task. Give --do_train."
        )
    say("\n".join(filter(None, (describe(found, source), line))))
    _refuse_other_tokenizer(f"--init_checkpoint: {source.path}", source.fingerprint, run)
    if not is_training:
        _refuse_unused_head(source.path, source.arrays, specs)
        refuse_other_model(source.path, trained, run.model_config, run.config_file)
        encoder = encoder_of(run.model_config).specs(run.model_config)
        refuse_surplus(encoder, source, run.config_file)
        return Beginning(found.arrays, 0)
    size = run.model_config.max_position_embeddings
    if trained is not None and line:  # which says it
        trained = {**trained, "max_position_embeddings": size}
    if differences := _model_differences(trained, run.model_config):
        warn(
            f"{source.path} was trained with another configuration than {run.config_file}: "
            f"{differences}"
        )
    known = source.trained_positions
    return Beginning(found.arrays, size if known is None else known)


def undecided(decided: Arrays, arrays: Arrays, specs: Specs) -> Arrays:
    """Of what the data decide (see ``Task.prepare``), that which weights still have as it began."""
    began = initial_parameters({name: specs[name] for name in decided}, 0.0, 0)
    return {n: value for n, value in decided.items() if np.array_equal(arrays[n], began[n])}


def write_run(run: Run, flags: dict[str, Any]) -> None:
    """Writes the run's settings, flags by name without those that are secret, and the model's."""
    path = os.path.join(run.folder, RUN_NAME)
    if (read_json(path) or {}).get("identity") != run.identity:
        secrets = secret_flags(LoopFlags)
        shown = {name: value for name, value in flags.items() if name not in secrets}
        write_json(path, {"format": FORMAT, "flags": shown, "identity": run.identity})
    if _stored_config(run) != run.model_config:
        write_json(os.path.join(run.folder, CONFIG_NAME), run.model_config.to_dict())


def _stored_config(run: Run) -> ModelConfig | None:
    path = os.path.join(run.folder, CONFIG_NAME)
    return read_model_config(path) if os.path.exists(path) else None


def check_batch_size(flag: str, size: int, devices: int, parts: int = 1) -> None:
    """Refuses a batch that can't be split over --gradient_accumulation_steps and devices.

    Args:
        flag: its name.
        size: sequences of a batch.
        devices: how many compute it.
        parts: --gradient_accumulation_steps.

    Raises:
        ValueError: with the numbers.
    """
    if size % (parts * devices):
        split = f"{parts * devices}: {parts} parts on {devices}" if parts > 1 else f"the {devices}"
        raise ValueError(f"--{flag}={size} must be a multiple of {split} devices.")
