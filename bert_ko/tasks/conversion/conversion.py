"""Models from one form to another: our folder, Google's TF1 checkpoint, a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from bert_ko import files
from bert_ko.folders import folder_writer
from bert_ko.json_files import write_json
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.heads import (
    CLASS_WEIGHTS,
    LABEL_VARIABLES,
    OUTPUT_BIAS,
    TAG_CRF,
    TAG_TRANSITIONS,
    TAG_WEIGHTS,
    ClassHead,
    MaskedLmHead,
    NextSentenceHead,
    SpanHead,
    TagHead,
    model_specs,
    pooler_specs,
)
from bert_ko.modeling.parameters import Arrays, Specs
from bert_ko.tasks.conversion.model_card import model_card
from bert_ko.temporary import remove_leftovers
from bert_ko.tensor_files import load_arrays, save_arrays
from bert_ko.tokenization.beside import copy_vocabulary
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import BLANK
from bert_ko.tokenization.wordpiece import CONTINUATION, WordPiece
from bert_ko.training.checkpoints import (
    CONFIG_NAME,
    MODEL_NAME,
    OPTIMIZER_NAME,
    STATE_NAME,
    Checkpoint,
    Kind,
    list_checkpoints,
    read_model_config,
    save_checkpoint,
)
from bert_ko.training.google import write_tensorflow
from bert_ko.training.hugging_face import (
    architecture,
    hugging_face_form,
    to_hugging_face_arrays,
    to_hugging_face_config,
)
from bert_ko.training.initialization import Source, initialize, refuse_other_encoder
from bert_ko.training.labels import LABELS_NAME, Labels, read_labels, write_labels
from bert_ko.training.model_files import remembered_flags

# bilm is for models of words alone; the last two are written by export_files.
Form = Literal["bert_ko", "tf1", "huggingface", "bilm", "onnx", "savedmodel"]
_FORMAT = 1
_THEIR_CONFIG = "config.json"
# Settings of a tokenizer that a new vocabulary can't change.
_SETTINGS = ("tokenizer_type", "subword_prefix_unit", "do_lower_case")


class NewPiece(NamedTuple):
    """A piece that the model has not been trained on."""

    id: int
    parts: Sequence[int]  # ids of the old pieces that it consists of, if all are known


class Conversion(NamedTuple):
    """A model on its way from one form to another."""

    source: Source
    arrays: Arrays  # by Google's names
    config: ModelConfig
    tokenizer: Tokenizer
    new_pieces: tuple[NewPiece, ...] = ()


def form_of(path: str) -> Form | None:
    """The form of the model in a folder, if there is one."""
    if os.path.isfile(os.path.join(path, _THEIR_CONFIG)):
        return "huggingface"
    is_ours = os.path.isfile(os.path.join(path, STATE_NAME)) or any(
        list_checkpoints(path, kind) for kind in get_args(Kind)
    )
    return "bert_ko" if is_ours else None


def carried(source: Source, config: ModelConfig, config_file: str) -> Arrays:
    """The variables that a conversion carries: the encoder, the pooler, and whole heads.

    Args:
        source: weights.
        config: of their model.
        config_file: where that was read, for messages.

    Raises:
        ValueError: variables are missing, are of a layer too many, have another shape, or mean
            something else than ours.
    """
    for reason in source.left_out.values():
        raise ValueError(f"--from: {source.path}: {reason}; such a head is not converted.")
    specs = model_specs(config)
    refuse_other_encoder(specs, source, config_file)
    specs.update(pooler_specs(config))
    for wanted in _head_specs(source.arrays, config):
        own = [name for name in wanted if name not in specs]
        missing = [name for name in wanted if name not in source.arrays]
        found = [name for name in own if name in source.arrays]
        if found and missing:
            raise ValueError(
                f"--from: {source.path} has {found[0]}, but lacks {missing[0]}; half a head is not "
                "converted."
            )
        specs.update({name: wanted[name] for name in found})
    here = {name: spec for name, spec in specs.items() if name in source.arrays}
    return initialize(here, source.arrays, source, config_file).arrays


def _head_specs(arrays: Arrays, config: ModelConfig) -> Iterator[Specs]:
    """Of every head; those for labels have as many as their variables have rows."""
    pooler = pooler_specs(config)
    yield MaskedLmHead().specs(config)
    yield {**pooler, **NextSentenceHead().specs(config)}
    yield SpanHead().specs(config)
    yield ClassHead(_rows(arrays, CLASS_WEIGHTS)).specs(config)
    tags = tuple(map(str, range(_rows(arrays, TAG_WEIGHTS))))
    yield TagHead(tags, use_crf=TAG_TRANSITIONS in arrays).specs(config)


def _rows(arrays: Arrays, name: str) -> int:
    return arrays[name].shape[0] if name in arrays and arrays[name].ndim else 1


def grow(conversion: Conversion, new: Tokenizer) -> Conversion:
    """Takes another vocabulary: new pieces in place of [unusedN] or behind the last one.

    The row of a new piece is the mean of its old pieces' rows, or, if they are not all known, the
    mean of all old pieces' rows.

    Raises:
        ValueError: an old piece is missing or has another id; or a setting differs.
    """
    _refuse_other_settings(conversion.tokenizer.config, new)
    old_pieces, pieces = conversion.tokenizer.vocab.pieces, new.vocab.pieces
    if len(pieces) < len(old_pieces):
        raise ValueError(
            f"--vocab_file: {new.source} has {len(pieces):,} pieces, the model's vocabulary "
            f"{len(old_pieces):,}; pieces can be added, but not removed."
        )
    for i, (old, piece) in enumerate(zip(old_pieces, pieces, strict=False)):
        if old != piece and not conversion.tokenizer.vocab.is_unused(old):
            raise ValueError(
                f"--vocab_file: {new.source}, line {i + 1}: {piece!r}, but the model has {old!r} "
                "there. Put new pieces in place of [unusedN] or behind the last one."
            )
    changed = [i for i, piece in enumerate(pieces) if old_pieces[i : i + 1] != (piece,)]
    parts = list(_old_parts(conversion.tokenizer, [pieces[i] for i in changed]))
    added = tuple(map(NewPiece, changed, parts))
    grown = _resized(conversion, max(conversion.config.vocab_size, len(pieces)))
    kept = np.setdiff1d(np.arange(len(old_pieces)), changed)
    for name in grown.arrays.keys() & set(_vocabulary_variables(grown.config)):
        rows, mean_of_all = grown.arrays[name], grown.arrays[name][kept].mean(axis=0)
        grown.arrays[name] = new_rows = rows.copy()
        for i, ids in zip(changed, parts, strict=True):
            new_rows[i] = rows[ids].mean(axis=0) if ids else mean_of_all
    return grown._replace(tokenizer=new, new_pieces=(*conversion.new_pieces, *added))


def _refuse_other_settings(old: TokenizerConfig, tokenizer: Tokenizer) -> None:
    """A vocab.txt alone gets the defaults, which may not be those of the model."""
    new = tokenizer.config
    differ = [name for name in _SETTINGS if getattr(old, name) != getattr(new, name)]
    if set(old.additional_special_tokens) - set(new.additional_special_tokens):
        differ.append("additional_special_tokens")
    names = [set(map(os.path.basename, c.mecab_user_dictionary)) for c in (old, new)]
    if names[0] - names[1]:
        differ.append("mecab_user_dictionary")
    for name in differ:
        raise ValueError(
            f"--vocab_file: {tokenizer.source} has {name} {getattr(new, name)}, but the model "
            f"{getattr(old, name)}; put the model's tokenizer_config.json beside it."
        )


def _old_parts(tokenizer: Tokenizer, pieces: list[str]) -> Iterator[list[int]]:
    """The old pieces of each new one; none if they are not all known."""
    wordpiece = WordPiece(tokenizer.vocab)
    for piece in pieces:
        if tokenizer.model is not None:
            (ids,) = tokenizer.model.encode_ids([piece.replace(BLANK, " ")])
            yield [] if tokenizer.vocab.unk_id in ids else ids
        else:
            word = piece.removeprefix(CONTINUATION)
            lowered = word.lower() if tokenizer.config.do_lower_case else word
            yield wordpiece.split_ids(lowered, continues=word != piece) or []


def set_vocab_size(conversion: Conversion, rows: int) -> Conversion:
    """Cuts or pads the embeddings, as for a multiple of 64.

    Raises:
        ValueError: pieces would lose their rows.
    """
    pieces = len(conversion.tokenizer.vocab)
    if rows < pieces:
        raise ValueError(
            f"--vocab_size={rows:,}, but the vocabulary has {pieces:,} pieces, each of which needs "
            "a row."
        )
    return _resized(conversion, rows)


def _resized(conversion: Conversion, rows: int) -> Conversion:
    return conversion._replace(
        arrays=resize(conversion.arrays, conversion.config, rows),
        config=dataclasses.replace(conversion.config, vocab_size=rows),
    )


def _vocabulary_variables(config: ModelConfig) -> tuple[str, str]:
    """The variables that have a row for each piece."""
    return encoder_of(config).word_embeddings, OUTPUT_BIAS


def resize(arrays: Arrays, config: ModelConfig, rows: int) -> Arrays:
    """Cuts embeddings [V, H], the output bias [V] and their slots, or pads them with zeros.

    Args:
        arrays: float32, of any variables and slots, by name.
        config: of the model.
        rows: V afterwards.
    """
    changed = dict(arrays)
    beginnings = tuple(f"{name}/" for name in _vocabulary_variables(config))
    for name, array in arrays.items():
        if f"{name}/".startswith(beginnings):
            missing = max(0, rows - len(array))
            changed[name] = np.pad(array[:rows], [(0, missing)] + [(0, 0)] * (array.ndim - 1))
    return changed


def without_crf(conversion: Conversion) -> Conversion:
    """Leaves out the CRF, which transformers does not have."""
    arrays = {n: array for n, array in conversion.arrays.items() if not n.startswith(TAG_CRF)}
    return conversion._replace(arrays=arrays)


def optimizer_slots(source: Source, config: ModelConfig) -> Arrays:
    """The optimizer's slots in a checkpoint of ours, with the rows of the new configuration.

    Raises:
        ValueError: the source has none.
    """
    path = os.path.join(source.path, OPTIMIZER_NAME)
    if not os.path.isfile(path):
        raise ValueError(f"--with_optimizer: {source.path} has no {OPTIMIZER_NAME}.")
    return resize(load_arrays(path), config, config.vocab_size)


def write(
    conversion: Conversion,
    form: Form,
    path: str,
    slots: Arrays,
    check: Callable[[str], None] | None = None,
) -> None:
    """Writes a model to a folder, or to the prefix of a TF1 checkpoint, which may have slots.

    Its files appear when all of them are written and checked; none does if the conversion is
    interrupted or the check raises.

    Args:
        conversion: the model.
        form: what to write.
        path: the folder, or the prefix.
        slots: of the optimizer, by name; empty but for TF1.
        check: is called with the path of the finished files, which have no name of theirs yet.

    Raises:
        ValueError: files of another model exist there, or the encoder has no such form.
    """
    if form == "huggingface":
        hugging_face_form(conversion.config)
    folder, name = os.path.split(path) if form == "tf1" else (path, "")
    folder = folder or "."
    require_place(folder)
    labels = conversion.source.labels
    if form == "huggingface" or not any(name in conversion.arrays for name in LABEL_VARIABLES):
        labels = None
    _refuse_other_files(conversion.config, labels, folder)
    config_name = _THEIR_CONFIG if form == "huggingface" else CONFIG_NAME
    with folder_writer(folder, f"{name}.index" if form == "tf1" else config_name) as temporary:
        written = os.path.join(temporary, name) if form == "tf1" else temporary
        if form == "huggingface":
            _write_hugging_face(conversion, temporary)
        else:
            copy_vocabulary(conversion.tokenizer, temporary, folder)
            if form == "tf1":
                arrays = {**conversion.arrays, **slots}
                write_tensorflow(written, arrays, conversion.source.step)
            else:
                _write_checkpoint(conversion, temporary)
            if labels is not None:
                write_labels(temporary, labels)
            if not os.path.isfile(os.path.join(folder, CONFIG_NAME)):
                write_json(os.path.join(temporary, CONFIG_NAME), conversion.config.to_dict())
        if check is not None:
            check(written)


def require_place(folder: str) -> None:
    """Raises: ValueError: a folder can't be written, or be made where it is to be."""
    is_there = os.path.lexists(folder)
    files.require_writable_folder(folder if is_there else os.path.dirname(os.path.abspath(folder)))


def _refuse_other_files(config: ModelConfig, labels: Labels | None, folder: str) -> None:
    """Raises: ValueError: files of another model would be written over."""
    config_path = os.path.join(folder, CONFIG_NAME)
    other = ""
    if os.path.isfile(config_path) and read_model_config(config_path) != config:
        other = config_path
    elif labels is not None and read_labels(folder) not in (None, labels):
        other = os.path.join(folder, LABELS_NAME)
    if other:
        raise ValueError(
            f"--to: {other} is of another model and would be overwritten; choose another folder."
        )


def _write_checkpoint(conversion: Conversion, folder: str) -> None:
    step = conversion.source.step
    state = {
        "format": _FORMAT,
        "step": step,
        "tokenizer_fingerprint": conversion.tokenizer.fingerprint,
        "converted_from": conversion.source.kind,
        # The flags of its task: lengths, the CRF and the like.
        "trained_with": {
            name: value
            for name, value in remembered_flags(conversion.source.path).items()
            if not isinstance(value, (dict, list))
        },
    }
    if conversion.source.trained_positions is not None:
        state["trained_positions"] = conversion.source.trained_positions
    checkpoint = Checkpoint(conversion.arrays, {}, state)
    save_checkpoint(folder, step, checkpoint, conversion.config, keep=0)


def _write_hugging_face(conversion: Conversion, folder: str) -> None:
    from bert_ko.tokenization.hugging_face import write_hugging_face_tokenizer

    values = to_hugging_face_config(conversion.config, conversion.arrays, conversion.source.labels)
    values["pad_token_id"] = conversion.tokenizer.vocab.pad_id
    arrays = to_hugging_face_arrays(conversion.config, conversion.arrays)
    save_arrays(os.path.join(folder, MODEL_NAME), arrays, {"format": "pt"})
    length = conversion.config.max_position_embeddings
    write_hugging_face_tokenizer(folder, conversion.tokenizer, length)
    kind = architecture(conversion.config, conversion.arrays)
    card = model_card(kind, conversion.config, conversion.tokenizer, conversion.source.folder)
    files.write_atomic(os.path.join(folder, "README.md"), card)
    write_json(os.path.join(folder, _THEIR_CONFIG), values)


def refuse_existing(form: Form, path: str) -> None:
    """Raises: ValueError: a model is there already, or the folder is not empty."""
    if form == "tf1":
        exists = os.path.isfile(f"{path}.index")
    else:
        remove_leftovers(path, os.path.basename(os.path.abspath(path)))
        exists = os.path.isdir(path) and bool(os.listdir(path))
    if exists:
        raise ValueError(f"--to: {path} exists; choose another place, or remove it.")
