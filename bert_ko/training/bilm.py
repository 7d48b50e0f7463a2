"""bilm-tf's form of a biLM: options.json and weights.hdf5, which hold the encoder without softmax.

Legend: E size of a character, F filters of a width, U filters in all, P units of a direction, C
cells.

Source: the data sets and options that allenai/bilm-tf writes and AllenNLP reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.characters import Characters, num_characters
from bert_ko.json_files import format_json, read_json
from bert_ko.modeling.config import shown
from bert_ko.modeling.elmo import (
    CHARACTERS,
    DIRECTIONS,
    PROJECTION,
    ElmoConfig,
    convolution,
    elmo_specs,
    highway,
    lstm,
)
from bert_ko.modeling.parameters import Arrays
from bert_ko.tensor_files import as_float32

OPTIONS_NAME = "options.json"
WEIGHTS_NAME = "weights.hdf5"
_UNIT: Characters = "byte"
_NUM_BYTES = num_characters(_UNIT)
_NO_WORDS = 3  # of the vocabulary: the marks of sentences and the unknown word


class DataSet(NamedTuple):
    """A data set of weights.hdf5 and the variables that it holds, one below the other."""

    name: str
    variables: tuple[str, ...]


def data_sets(config: ElmoConfig) -> Iterator[DataSet]:
    """All that a model of this configuration has."""
    yield DataSet("char_embed", (CHARACTERS,))
    for index in range(len(config.filters)):
        yield DataSet(f"CNN/W_cnn_{index}", (f"{convolution(index)}/kernel",))
        yield DataSet(f"CNN/b_cnn_{index}", (f"{convolution(index)}/bias",))
    for index in range(config.highway_layers):
        for name in ("carry", "transform"):
            scope = f"{highway(index)}/{name}"
            yield DataSet(f"CNN_high_{index}/W_{name}", (f"{scope}/kernel",))
            yield DataSet(f"CNN_high_{index}/b_{name}", (f"{scope}/bias",))
    yield DataSet("CNN_proj/W_proj", (f"{PROJECTION}/kernel",))
    yield DataSet("CNN_proj/b_proj", (f"{PROJECTION}/bias",))
    for number, direction in enumerate(DIRECTIONS):
        for layer in range(config.num_hidden_layers):
            scope = lstm(layer, direction)
            place = f"RNN_{number}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            gates = (f"{scope}/input/kernel", f"{scope}/recurrent/kernel")
            yield DataSet(f"{place}/W_0", gates)
            yield DataSet(f"{place}/B", (f"{scope}/bias",))
            yield DataSet(f"{place}/W_P_0", (f"{scope}/projection/kernel",))


def to_data_sets(arrays: Arrays, config: ElmoConfig) -> Arrays:
    """Variables by our names to data sets by bilm-tf's."""
    found = {}
    for name, variables in data_sets(config):
        value = np.concatenate([arrays[variable] for variable in variables])
        is_kernel = name.startswith("CNN/W_cnn_")
        found[name] = value[None] if is_kernel else value  # of a picture of one row: [1, w, E, F]
    return found


def from_data_sets(sets: Mapping[str, npt.NDArray[Any]], config: ElmoConfig, path: str) -> Arrays:
    """Data sets by bilm-tf's names to variables by ours.

    Raises:
        ValueError: one is missing or has another shape than the options say; names ``path``.
    """
    specs = elmo_specs(config)
    arrays: Arrays = {}
    for name, variables in data_sets(config):
        if name not in sets:
            raise ValueError(f"{path} lacks the data set {name}, which {OPTIONS_NAME} asks for.")
        value = as_float32(np.asarray(sets[name]), name, path)
        shapes = [specs[variable].shape for variable in variables]
        wanted: tuple[int, ...] = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        wanted = (1, *wanted) if name.startswith("CNN/W_cnn_") else wanted
        if value.shape != wanted:
            raise ValueError(
                f"{path}: {name} has shape {list(value.shape)}, but {list(wanted)} by "
                f"{OPTIONS_NAME}; the two files belong to different models."
            )
        value = value.reshape(wanted[1:]) if len(wanted) == 4 else value
        ends = np.cumsum([shape[0] for shape in shapes])[:-1]
        arrays.update(zip(variables, np.split(value, ends), strict=True))
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def is_bilm(folder: str) -> bool:
    """Whether a folder holds a model in bilm-tf's form."""
    return all(os.path.isfile(os.path.join(folder, n)) for n in (OPTIONS_NAME, WEIGHTS_NAME))


def read_bilm(folder: str) -> tuple[Arrays, ElmoConfig]:
    """The encoder in a folder of bilm-tf's form.

    Its configuration has the vocabulary's size if the options name it (n_tokens_vocab); else that
    of the sentence marks and the unknown word alone, since there is no softmax.

    Raises:
        ValueError: a file is damaged, or describes a model that ours can't compute.
    """
    path = os.path.join(folder, OPTIONS_NAME)
    options = read_json(path)
    assert options is not None, folder
    config = config_from_options(options, path)
    weights = os.path.join(folder, WEIGHTS_NAME)
    return from_data_sets(_read_sets(weights), config, weights), config


def _read_sets(path: str) -> dict[str, npt.NDArray[Any]]:
    import h5py

    found: dict[str, npt.NDArray[Any]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} can't be read; it is damaged or cut off: {error}") from None
    return found


def write_bilm(folder: str, arrays: Arrays, config: ElmoConfig) -> None:
    """Writes both files into a new folder, which nothing reads yet.

    Raises:
        ValueError: characters are not bytes, which bilm-tf's form can't say.
    """
    import h5py

    options = config_to_options(config)
    with h5py.File(os.path.join(folder, WEIGHTS_NAME), "w") as file:
        for name, value in to_data_sets(arrays, config).items():
            file.create_dataset(name, data=value)
    content = (format_json(options, indent=2) + "\n").encode()
    files.write_atomic(os.path.join(folder, OPTIONS_NAME), content)


def config_from_options(options: Mapping[str, Any], path: str) -> ElmoConfig:
    """The configuration of bilm-tf's options, which were read from ``path``.

    Raises:
        ValueError: an option is missing, or ours can't compute such a model.
    """
    cells, characters = _object(options, "lstm", path), _object(options, "char_cnn", path)
    count = _get(characters, "n_characters", path)
    # 261 in training; 262 with the padding of sentences, in options for using the model.
    if count not in (_NUM_BYTES, _NUM_BYTES + 1):
        raise ValueError(
            f"{path}: n_characters must be {_NUM_BYTES} or {_NUM_BYTES + 1}, got {shown(count)}."
        )
    if options.get("bidirectional", True) is not True:
        raise ValueError(f"{path}: bidirectional must be true; one direction is not computed.")
    words = options.get("n_tokens_vocab", _NO_WORDS)
    try:
        return ElmoConfig(
            vocab_size=words,
            characters=_UNIT,
            hidden_size=2 * _integer(cells, "projection_dim", path),
            num_hidden_layers=_integer(cells, "n_layers", path),
            hidden_act=_get(characters, "activation", path),
            hidden_dropout_prob=options.get("dropout", 0.1),
            max_characters_per_word=_integer(characters, "max_characters_per_token", path),
            character_embedding_size=_integer(_object(characters, "embedding", path), "dim", path),
            filters=_get(characters, "filters", path),
            highway_layers=_integer(characters, "n_highway", path),
            cell_size=_integer(cells, "dim", path),
            cell_clip=cells.get("cell_clip"),
            projection_clip=cells.get("proj_clip"),
            residual=cells.get("use_skip_connections", False),
        )
    except ValueError as error:
        message = str(error)
        raise ValueError(message if message.startswith(path) else f"{path}: {message}") from None


def config_to_options(config: ElmoConfig) -> dict[str, Any]:
    """The options of bilm-tf for using a model.

    Raises:
        ValueError: characters are not bytes.
    """
    if config.characters != _UNIT:
        raise ValueError(
            f"bilm-tf's form has bytes for characters, and this model has {config.characters}s: "
            "it can't be written in it."
        )
    return {
        "bidirectional": True,
        "char_cnn": {
            "activation": config.hidden_act,
            "embedding": {"dim": config.character_embedding_size},
            "filters": [list(pair) for pair in config.filters],
            "max_characters_per_token": config.places,
            "n_characters": _NUM_BYTES + 1,
            "n_highway": config.highway_layers,
        },
        "dropout": config.hidden_dropout_prob,
        "lstm": {
            "cell_clip": config.cell_clip,
            "dim": config.cell_size,
            "n_layers": config.num_hidden_layers,
            "proj_clip": config.projection_clip,
            "projection_dim": config.units,
            "use_skip_connections": config.residual,
        },
        "n_tokens_vocab": config.vocab_size,
    }


def _get(values: Mapping[str, Any], key: str, path: str) -> Any:
    if key not in values:
        raise ValueError(f"{path}: {key} is missing.")
    return values[key]


def _object(values: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
    value = _get(values, key, path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {key} must be an object, got {shown(value)}.")
    return value


def _integer(values: Mapping[str, Any], key: str, path: str) -> int:
    value = _get(values, key, path)
    if type(value) is not int:
        raise ValueError(f"{path}: {key} must be an integer, got {shown(value)}.")
    return value
