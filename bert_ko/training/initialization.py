"""Weights to begin with: from a run of ours, a TF1 checkpoint, or a Hugging Face folder."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bert_ko import files
from bert_ko.json_files import read_json
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import config_from_hugging_face, encoder_of
from bert_ko.modeling.heads import LABEL_VARIABLES, OUTPUT_BIAS
from bert_ko.modeling.parameters import Arrays, ParameterSpec
from bert_ko.tensor_files import as_float32, load_arrays, load_tensors
from bert_ko.training.checkpoints import (
    CONFIG_NAME,
    MODEL_NAME,
    STATE_NAME,
    find_weights,
    read_model_config,
)
from bert_ko.training.google import read_tensorflow
from bert_ko.training.hugging_face import (
    from_hugging_face,
    has_tags,
    is_transposed,
)
from bert_ko.training.labels import Labels, read_labels

HUGGING_FACE = "Hugging Face folder"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
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


class Initialization(NamedTuple):
    """Initial values and where each came from."""

    arrays: Arrays
    loaded: list[str]
    new: list[str]
    unused: list[str]


def read_source(path: str) -> Source:
    """Reads weights.

    Args:
        path: a folder of run_pretraining or one of its checkpoints; the prefix of a TF1 checkpoint
            (bert_model.ckpt); or a Hugging Face folder with safetensors.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: another format, or damaged.
    """
    if os.path.isdir(path):
        return _read_folder(path)
    part = _TF_FILE.fullmatch(path)
    for prefix in (path, part[1] if part else path):
        if os.path.isfile(f"{prefix}.index"):
            return _read_tensorflow(prefix)
    if files.is_remote(path):
        raise ValueError(f"--init_checkpoint must be local, got {path}; copy it here first.")
    if os.path.isfile(path) and path.endswith(_PICKLES):
        raise _pickle_error(path)
    if os.path.isfile(path) and path.endswith(".safetensors"):
        return _read_folder(os.path.dirname(path) or ".")
    raise FileNotFoundError(
        f"--init_checkpoint: nothing at {path}: no folder with safetensors and no TF1 checkpoint "
        f"({path}.index)."
    )


def _read_folder(path: str) -> Source:
    weights = find_weights(path)
    folder = weights or path
    whole = os.path.join(folder, MODEL_NAME)
    state = read_json(os.path.join(folder, STATE_NAME))
    if state is not None and "step" in state and os.path.isfile(whole):
        owner = path if weights else os.path.dirname(os.path.abspath(folder))
        return Source(
            folder,
            f"checkpoint of step {state['step']:,}",
            load_arrays(whole),
            state.get("tokenizer_fingerprint"),
            _read_config(folder),
            owner,
            state["step"],
            read_labels(owner),
        )
    parts = sorted(glob.glob(os.path.join(glob.escape(folder), "model-*-of-*.safetensors")))
    parts = [whole] if os.path.isfile(whole) else parts
    if parts:
        return _read_hugging_face(folder, parts)
    names = sorted(os.listdir(folder))
    indexes = [os.path.join(path, name) for name in names if name.endswith(".index")]
    if indexes:
        raise ValueError(
            f"--init_checkpoint: {path} holds TF1 checkpoints; name one of them: "
            f"{', '.join(index.removesuffix('.index') for index in indexes)}."
        )
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if pickles:
        raise _pickle_error(os.path.join(path, pickles[0]))
    raise FileNotFoundError(f"--init_checkpoint: no weights in the folder {path}.")


def _read_config(folder: str) -> ModelConfig | None:
    path = os.path.join(folder, CONFIG_NAME)
    return read_model_config(path) if os.path.isfile(path) else None


def _pickle_error(path: str) -> ValueError:
    return ValueError(
        f"--init_checkpoint: {path} is a pickle, which can run any code when it is opened, and is "
        "not read. Convert it where you trust it: load it with transformers and call "
        "save_pretrained(folder, safe_serialization=True)."
    )


def _read_tensorflow(prefix: str) -> Source:
    try:
        arrays, step = read_tensorflow(prefix)
    except ValueError as error:
        raise ValueError(f"--init_checkpoint: {error}") from None
    folder = os.path.dirname(prefix) or "."
    return Source(
        prefix, "TF1 checkpoint", arrays, None, _read_config(folder), folder, step,
        read_labels(folder),
    )  # fmt: skip


def _read_hugging_face(folder: str, parts: list[str]) -> Source:
    path = os.path.join(folder, "config.json")
    values = read_json(path)
    if values is None:
        raise FileNotFoundError(f"--init_checkpoint: {folder} has {parts[0]}, but no config.json.")
    try:
        config = config_from_hugging_face(values, path)
    except ValueError as error:
        raise ValueError(f"--init_checkpoint: {error}") from None
    encoder, is_tagger = encoder_of(config), has_tags(values)
    arrays: Arrays = {}
    for part in parts:
        for theirs, tensor in load_tensors(part).items():
            name = from_hugging_face(theirs, encoder, is_tagger)
            if name is not None:
                value = as_float32(tensor, theirs, part)
                arrays[name] = value.T if is_transposed(name) else value
    return Source(folder, HUGGING_FACE, arrays, None, config, folder, labels=read_labels(folder))


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
        ValueError: shapes differ, or the source has none of the variables.
    """
    for name, spec in specs.items():
        if name in source.arrays and source.arrays[name].shape != spec.shape:
            raise _shape_error(name, spec.shape, source, config_source)
    loaded = [name for name in specs if name in source.arrays]
    if not loaded:
        raise ValueError(
            f"--init_checkpoint: {source.path} has no variable of this model; it has "
            f"{', '.join(sorted(source.arrays)[:3])} …"
        )
    arrays = {
        name: np.ascontiguousarray(source.arrays.get(name, new[name]), np.float32) for name in specs
    }
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
        f"{source.path} ({source.kind}): {len(initialization.loaded)} variables loaded, "
        f"{len(initialization.new)} new, {len(initialization.unused)} not used"
    ]
    lines += [f"  new: {name}" for name in initialization.new]
    lines += [f"  not used: {name}" for name in initialization.unused]
    return "\n".join(lines)
