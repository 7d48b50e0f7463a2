"""Weights to begin with: from a run of ours, a TF1 checkpoint, or a Hugging Face folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, NoReturn

import numpy as np

from bert_ko.copies import named
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.heads import LABEL_VARIABLES, OUTPUT_BIAS
from bert_ko.modeling.parameters import Arrays, ParameterSpec
from bert_ko.tensor_files import load_arrays
from bert_ko.training.bilm import is_bilm, read_bilm
from bert_ko.training.checkpoints import (
    MODEL_NAME,
    STATE_NAME,
    find_weights,
    read_checkpoint_config,
    read_state,
    trained_positions,
)
from bert_ko.training.google import read_tensorflow
from bert_ko.training.hugging_face_folder import find_parts, read_weights
from bert_ko.training.labels import Labels, read_labels
from bert_ko.training.other_formats import refuse_other_format
from bert_ko.training.places import local_weights

HUGGING_FACE = "Hugging Face folder"
BILM = "bilm-tf's form"
_FLAG = "--init_checkpoint"
_ENCODER = re.compile(r"[^/]+/(embeddings|encoder)/")  # of any encoder; see modeling.encoder
_LAYER = re.compile(r"[^/]+/encoder/")
_SHOWN = 8  # names in a message
_TF_FILE = re.compile(r"(.+)\.(index|meta|data-\d+-of-\d+)")


class Source(NamedTuple):
    """Weights found under a path; None for what is unknown."""

    path: str  # what was read
    kind: str  # as it is described to the user
    arrays: Arrays  # by Google's names
    fingerprint: str | None = None  # of the tokenizer
    config: ModelConfig | None = None  # of the model
    folder: str = "."  # where its vocabulary and labels may be
    step: int = 0  # updates that the weights have seen; 0 if unknown
    labels: Labels | None = None  # of a classifier or a tagger
    # The first ones of the position embeddings that were trained; None counts as all of them.
    trained_positions: int | None = None
    # By name, why variables that it has mean something else than ours, and are not among arrays.
    left_out: Mapping[str, str] = MappingProxyType({})


class Initialization(NamedTuple):
    """Initial values and where each came from."""

    arrays: Arrays
    loaded: list[str]
    new: list[str]
    unused: list[str]


def read_source(path: str) -> Source:
    """Reads weights, whose encoder is whole.

    Args:
        path: local or remote: a folder of run_pretraining or one of its checkpoints; the prefix of
            a TF1 checkpoint (bert_model.ckpt); a Hugging Face folder with safetensors; or a folder
            of bilm-tf.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: another format, another model, damaged, or a part is missing.
    """
    try:
        source = _read(local_weights(path))
        refuse_not_finite(source.arrays, source.path)
        if source.config is not None:
            specs = encoder_of(source.config).specs(source.config)
            refuse_other_encoder(specs, source, f"the configuration of {source.path}")
    except (FileNotFoundError, ValueError) as error:
        if str(error).startswith(_FLAG) or not error.args or type(error.args[0]) is not str:
            raise
        raise type(error)(f"{_FLAG}: {error}") from None
    return source


def _read(path: str) -> Source:
    if os.path.isdir(path):
        return _read_folder(path)
    part = _TF_FILE.fullmatch(path)
    for prefix in (path, part[1] if part else path):
        if os.path.isfile(f"{prefix}.index"):
            return _read_tensorflow(prefix)
    folder, name = os.path.split(path)
    if os.path.isfile(path):
        refuse_other_format(path)
    if os.path.isfile(path) and name.endswith(".safetensors"):
        folder = folder or "."
        if name in map(os.path.basename, find_parts(folder)):
            return _read_folder(folder)
        raise ValueError(f"{path}: give its folder, where {MODEL_NAME} holds the weights.")
    if os.path.isfile(path):
        raise ValueError(
            f"{path} holds no weights; give a folder with safetensors, or the prefix of a TF1 "
            "checkpoint."
        )
    raise FileNotFoundError(
        f"nothing at {path}: no folder with safetensors and no TF1 checkpoint ({path}.index)."
    )


def _read_folder(path: str) -> Source:
    weights = find_weights(path)
    folder = weights or path
    whole = os.path.join(folder, MODEL_NAME)
    if os.path.isfile(os.path.join(folder, STATE_NAME)) and os.path.isfile(whole):
        state = read_state(folder)
        owner = path if weights else os.path.dirname(os.path.abspath(folder))
        config = read_checkpoint_config(folder)
        return Source(
            folder,
            f"checkpoint of step {state['step']:,}",
            load_arrays(whole),
            state.get("tokenizer_fingerprint"),
            config,
            owner,
            state["step"],
            read_labels(owner),
            trained_positions(folder, state, config),
        )
    if is_bilm(folder):
        arrays, words_config = read_bilm(folder)
        return Source(folder, BILM, arrays, None, words_config, folder)
    parts = find_parts(folder)
    if parts:
        found = read_weights(folder, parts)
        return Source(
            folder, HUGGING_FACE, found.arrays, None, found.config, folder,
            labels=read_labels(folder), left_out=found.left_out,
        )  # fmt: skip
    _refuse_folder(path)


def _refuse_folder(folder: str) -> NoReturn:
    """Says what a folder without weights holds."""
    names = sorted(os.listdir(folder))
    indexes = [os.path.join(folder, name) for name in names if name.endswith(".index")]
    if indexes:
        raise ValueError(
            f"{folder} holds TF1 checkpoints; name one of them: "
            f"{', '.join(index.removesuffix('.index') for index in indexes)}."
        )
    for name in names:
        refuse_other_format(os.path.join(folder, name))
    found = f"; found: {', '.join(names[:5])}" if names else ": it is empty"
    raise FileNotFoundError(f"no weights in the folder {folder}{found}.")


def _read_tensorflow(prefix: str) -> Source:
    arrays, step = read_tensorflow(prefix)
    folder = os.path.dirname(prefix) or "."
    return Source(
        prefix, "TF1 checkpoint", arrays, None, read_checkpoint_config(folder), folder, step,
        read_labels(folder),
    )  # fmt: skip


def refuse_not_finite(arrays: Arrays, path: str) -> None:
    """Raises: ValueError: an array has NaN or an infinite number."""
    with np.errstate(all="ignore"):
        for name, array in arrays.items():
            # The sum is cheap; its own overflow is no error.
            if not np.isfinite(array.sum()) and not np.isfinite(array).all():
                raise ValueError(f"{path}: {name} has numbers that are not finite; it is damaged.")


def refuse_other_encoder(
    specs: Mapping[str, ParameterSpec], source: Source, config_source: str
) -> None:
    """Refuses weights that are not exactly an encoder's.

    Args:
        specs: of the encoder.
        source: weights.
        config_source: where its configuration was read, for messages.

    Raises:
        ValueError: variables are missing, are of a layer too many, or have another shape.
    """
    refuse_missing(specs, source, config_source)
    refuse_surplus(specs, source, config_source)
    for name, spec in specs.items():
        if source.arrays[name].shape != spec.shape:
            raise _shape_error(name, spec.shape, source, config_source)


def refuse_missing(specs: Mapping[str, ParameterSpec], source: Source, config_source: str) -> None:
    """Raises: ValueError: variables of the encoder are missing."""
    wanted = [name for name in specs if _ENCODER.match(name)]
    missing = [name for name in wanted if name not in source.arrays]
    if missing and len(missing) == len(wanted):
        raise ValueError(
            f"{_FLAG}: {source.path} has no variable of this encoder, such as {missing[0]}; it has "
            f"{', '.join(sorted(source.arrays)[:3])} …"
        )
    if missing:
        raise ValueError(
            f"{_FLAG}: {source.path} lacks {some_of(missing, 2)}, which the encoder has by "
            f"{config_source}. Use the configuration of these weights (num_hidden_layers …), or "
            "whole weights."
        )


def refuse_surplus(specs: Mapping[str, ParameterSpec], source: Source, config_source: str) -> None:
    """Raises: ValueError: there are variables of layers that the encoder doesn't have."""
    surplus = [name for name in source.arrays if _LAYER.match(name) and name not in specs]
    if surplus:
        raise ValueError(
            f"{_FLAG}: {source.path} has {some_of(surplus, 2)}, which the encoder lacks by "
            f"{config_source}. Use the configuration of these weights (num_hidden_layers …)."
        )


def initialize(
    specs: Mapping[str, ParameterSpec], new: Arrays, source: Source, config_source: str
) -> Initialization:
    """Puts the weights of a source in the place of new values.

    Args:
        specs: the model's variables.
        new: values for those that the source lacks.
        source: weights.
        config_source: name of the model's bert_config, for messages.

    Raises:
        ValueError: shapes differ, the encoder is not whole, or a variable means something else.
    """
    refuse_missing(specs, source, config_source)
    for name, spec in specs.items():
        if name in source.left_out:
            raise ValueError(f"{_FLAG}: {source.path}: {source.left_out[name]}.")
        if name in source.arrays and source.arrays[name].shape != spec.shape:
            raise _shape_error(name, spec.shape, source, config_source)
    loaded = [name for name in specs if name in source.arrays]
    found = {name: source.arrays if name in source.arrays else new for name in specs}
    arrays = {name: np.ascontiguousarray(found[name][name], np.float32) for name in specs}
    unused = sorted(source.arrays.keys() - specs.keys())
    return Initialization(arrays, loaded, [n for n in specs if n not in source.arrays], unused)


def _shape_error(
    name: str, wanted: tuple[int, ...], source: Source, config_source: str
) -> ValueError:
    got = source.arrays[name].shape
    cause = "hidden_size or another size differs"
    if name == OUTPUT_BIAS or name.endswith("/word_embeddings"):
        cause = f"vocab_size: the checkpoint has {got[0]:,} pieces, the config {wanted[0]:,}"
    elif name.endswith("position_embeddings"):
        cause = f"max_position_embeddings: the checkpoint has {got[0]}, the config {wanted[0]}"
    elif name in LABEL_VARIABLES and got[1:] == wanted[1:]:
        return ValueError(
            f"--init_checkpoint: {source.path} is for {got[0]} labels, but the task has "
            f"{wanted[0]}; it was trained for another one. Give --do_train to begin with a new "
            "head."
        )
    return ValueError(
        f"--init_checkpoint: {name} has shape {list(got)} in {source.path}, but {list(wanted)} by "
        f"{config_source}; likely {cause}. Use the bert_config.json of the checkpoint, or another "
        "checkpoint."
    )


def without_other_labels(
    source: Source, specs: Mapping[str, ParameterSpec], labels: Labels | None
) -> Source:
    """The source without its head, if that is for other labels than the model's."""
    is_other = source.labels is not None and source.labels != labels
    kept = {
        name: array
        for name, array in source.arrays.items()
        if not (name in LABEL_VARIABLES and name in specs)
        or not (is_other or array.shape != specs[name].shape)
    }
    return source._replace(arrays=kept)


def describe(initialization: Initialization, source: Source) -> str:
    """What was loaded and what was not, as it is printed."""
    lines = [
        f"{named(source.path)} ({source.kind}): {len(initialization.loaded)} variables loaded, "
        f"{len(initialization.new)} new, {len(initialization.unused)} not used"
    ]
    if initialization.new:
        lines.append(f"  new: {some_of(initialization.new)}")
    reasons: dict[str, list[str]] = {}
    for name in initialization.unused:
        reasons.setdefault(_reason(name), []).append(name)
    for name, reason in source.left_out.items():
        reasons.setdefault(reason, []).append(name)
    lines += [f"  not used ({reason}): {some_of(names)}" for reason, names in reasons.items()]
    return "\n".join(lines)


def _reason(name: str) -> str:
    """Why a variable of a checkpoint is not used."""
    if _LAYER.match(name):
        return "of other layers"
    is_head = name.startswith("cls/") or name in LABEL_VARIABLES or "/pooler/" in name
    return "of other heads" if is_head else "unknown"


def some_of(names: Sequence[str], count: int = _SHOWN) -> str:
    """The first of some names, and how many more there are."""
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more:,} more" if more > 0 else "")
