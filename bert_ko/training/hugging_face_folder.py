"""Weights in a folder of transformers: its files, and what their names mean to us."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bert_ko import files
from bert_ko.json_files import read_json
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import Encoder, config_from_hugging_face, encoder_of
from bert_ko.modeling.heads import CLASS_BIAS, CLASS_WEIGHTS, OUTPUT_BIAS
from bert_ko.modeling.parameters import Arrays
from bert_ko.tensor_files import Array, as_float32, load_tensors
from bert_ko.training.hugging_face import from_hugging_face, has_tags, is_transposed

CONFIG_NAME = "config.json"
WHOLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
_PART = re.compile(r"model-(\d+)-of-(\d+)\.safetensors")
_WORDS = "embeddings.word_embeddings.weight"
# What saving a model inside another one puts before its names.
_WRAPPERS = r"(?:(?:module|model|_orig_mod|auto_model|0)\.)*"
_DECODER, _BIAS = "cls.predictions.decoder.weight", "cls.predictions.bias"
_DECODER_BIAS = "cls.predictions.decoder.bias"
_MASKED_LM = "cls/predictions/"
_BUFFERS = ("position_ids", "token_type_ids")  # constants, which are no weights


class Weights(NamedTuple):
    """What a folder holds."""

    config: ModelConfig
    arrays: Arrays  # by Google's names
    left_out: dict[str, str]  # variables that can't be used as they are meant, and why


def find_parts(folder: str) -> list[str]:
    """The safetensors files of a folder that hold its weights; empty if there are none.

    Raises:
        ValueError: some of them are missing.
    """
    whole = os.path.join(folder, WHOLE_NAME)
    if os.path.exists(whole):
        files.refuse_no_file(whole)
        return [whole]
    if os.path.islink(whole):
        raise ValueError(f"{whole} links to a file that is missing; download it again.")
    index = os.path.join(folder, INDEX_NAME)
    names = sorted({*_weight_map(index).values()})
    if not names:
        found = [match for name in os.listdir(folder) if (match := _PART.fullmatch(name))]
        names, index = _all_parts(found, folder), "its parts"
    missing = [name for name in names if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        raise ValueError(
            f"{os.path.join(folder, missing[0])} is missing, one of {len(names)} files with the "
            f"weights ({len(missing)} missing) by {index}; download it again."
        )
    return [os.path.join(folder, name) for name in names]


def _weight_map(index: str) -> dict[str, str]:
    """By name of a tensor, its file; empty without an index."""
    values = read_json(index, advice=" Download it again.")
    if values is None:
        return {}
    found = values.get("weight_map")
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{index}: weight_map must be an object of names and files.")
    for name in found.values():
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\\0]+\.safetensors", name):
            raise ValueError(f"{index} names {name!r}; only safetensors files beside it are read.")
    return found


def _all_parts(found: list[re.Match[str]], folder: str) -> list[str]:
    """The names of all parts, of which some were found."""
    totals = sorted({match[2] for match in found})
    if len(totals) > 1:
        raise ValueError(
            f"{folder} has parts of several models: of {' and of '.join(totals)}; delete one's."
        )
    if not found:
        return []
    width = len(found[0][1])
    return [
        f"model-{number:0{width}d}-of-{totals[0]}.safetensors"
        for number in range(1, min(int(totals[0]), 100_000) + 1)
    ]


def read_weights(folder: str, parts: list[str]) -> Weights:
    """Reads the files that ``find_parts`` found.

    Raises:
        FileNotFoundError: there is no config.json.
        ValueError: it is another model, or the files do not belong together.
    """
    path = os.path.join(folder, CONFIG_NAME)
    values = read_json(path, advice=" Download it again.")
    if values is None:
        raise FileNotFoundError(f"{folder} has {parts[0]}, but no {CONFIG_NAME}.")
    config = config_from_hugging_face(values, path)
    tensors, places = _load(folder, parts)
    encoder, is_tagger = encoder_of(config), has_tags(values)
    wrapper = _find_wrapper(tensors, encoder, folder)
    theirs = {name.removeprefix(wrapper): name for name in tensors}
    if len(theirs) != len(tensors):
        raise ValueError(f"{folder}: some names are there twice, with {wrapper} and without.")
    if _BIAS not in theirs and _DECODER_BIAS in theirs:  # one variable of two names
        theirs[_BIAS] = theirs[_DECODER_BIAS]
    arrays: Arrays = {}
    for short, name in theirs.items():
        if short.endswith(_BUFFERS):
            _refuse_other_positions(short, tensors[name], places[name])
            continue
        ours = from_hugging_face(short, encoder, is_tagger)
        if ours is None:
            continue
        if ours in arrays:
            raise ValueError(f"{places[name]}: {name} is there twice, under another name too.")
        value = as_float32(tensors[name], name, places[name])
        arrays[ours] = value.T if is_transposed(ours) else value
    kept = {short: tensors[name] for short, name in theirs.items() if short in _TIED}
    left_out = {**_untied(arrays, kept, encoder, values), **_other_classes(arrays, values)}
    arrays = {name: array for name, array in arrays.items() if name not in left_out}
    return Weights(config, arrays, left_out)


_TIED = (_DECODER, _DECODER_BIAS, _BIAS)


def _load(folder: str, parts: list[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """All tensors by their names, and the file of each."""
    mapped = _weight_map(os.path.join(folder, INDEX_NAME)) if len(parts) > 1 else {}
    tensors: dict[str, Array] = {}
    places: dict[str, str] = {}
    for part in parts:
        found = load_tensors(part)
        wanted = {name for name, file in mapped.items() if file == os.path.basename(part)}
        if mapped and found.keys() != wanted:
            name = min(found.keys() ^ wanted)
            raise ValueError(
                f"{part} {'has' if name in found else 'lacks'} {name}, other than {INDEX_NAME} "
                "says; it is of another model. Download all of them again."
            )
        twice = sorted(found.keys() & tensors.keys())
        if twice:
            raise ValueError(f"{twice[0]} is in {places[twice[0]]} and in {part}.")
        tensors.update(found)
        places.update(dict.fromkeys(found, part))
    return tensors, places


def _find_wrapper(names: Iterable[str], encoder: Encoder, folder: str) -> str:
    """What stands before all names of the model."""
    found = sorted(name for name in names if f".{name}".endswith(f".{_WORDS}"))
    if len(found) != 1:
        several = f"{len(found)} encoders: {', '.join(found)}"
        none = f"no {_WORDS}, but {', '.join(sorted(names)[:3])} …"
        raise ValueError(
            f"{folder} is no such model: its weights have {several if found else none}."
        )
    prefix = found[0].removesuffix(_WORDS)
    match = re.fullmatch(rf"({_WRAPPERS})({re.escape(encoder.scope)}\.)?", prefix)
    if match is None:
        raise ValueError(
            f"{folder} is of another model than {encoder.model_type}, which {CONFIG_NAME} says: "
            f"its weights are named {found[0]}."
        )
    return match[1]


def _refuse_other_positions(name: str, array: Array, path: str) -> None:
    """The position of the nth piece is n."""
    is_usual = name.endswith("position_ids") and np.array_equal(
        array.reshape(-1), np.arange(array.size)
    )
    if not is_usual and array.any():
        raise ValueError(f"{path}: {name} is not what BERT has; such a model is not computed.")


def _untied(
    arrays: Arrays, tied: Mapping[str, Array], encoder: Encoder, values: Mapping[str, Any]
) -> dict[str, str]:
    """The masked-LM head, if its output weights are not the word embeddings, as ours are."""
    reason = ""
    words = arrays[encoder.word_embeddings]
    decoder = tied.get(_DECODER)
    if decoder is not None and not np.array_equal(decoder.astype(np.float32), words):
        reason = f"{_DECODER} is not the word embeddings (tie_word_embeddings in {CONFIG_NAME})"
    elif decoder is None and values.get("tie_word_embeddings") is False and OUTPUT_BIAS in arrays:
        reason = f"tie_word_embeddings is false in {CONFIG_NAME}, but {_DECODER} is missing"
    elif _DECODER_BIAS in tied and not np.array_equal(tied[_DECODER_BIAS], tied[_BIAS]):
        reason = f"{_DECODER_BIAS} and {_BIAS} are one variable, but differ"
    heads = [name for name in arrays if name.startswith(_MASKED_LM)]
    return dict.fromkeys(heads, reason) if reason else {}


def _other_classes(arrays: Arrays, values: Mapping[str, Any]) -> dict[str, str]:
    """The classifier, if it means something else than ours."""
    reason = ""
    if any(name.endswith("ForMultipleChoice") for name in values.get("architectures") or ()):
        reason = f"the classifier is one of ForMultipleChoice by {CONFIG_NAME}"
    elif values.get("problem_type") == "multi_label_classification":
        reason = f"problem_type is multi_label_classification in {CONFIG_NAME}"
    heads = [name for name in (CLASS_WEIGHTS, CLASS_BIAS) if name in arrays]
    return dict.fromkeys(heads, reason) if reason else {}
