"""Models from one form to another: our folder, Google's TF1 checkpoint, a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

from bert_ko import files
from bert_ko.json_files import write_json
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.growth import NewPiece, add_pieces, resize
from bert_ko.modeling.heads import (
    LABEL_VARIABLES,
    TAG_CRF,
    PretrainingHead,
    SpanHead,
    model_specs,
)
from bert_ko.modeling.parameters import Arrays
from bert_ko.tasks.conversion.model_card import model_card
from bert_ko.tensor_files import load_arrays, save_arrays
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
from bert_ko.training.initialization import Source, initialize
from bert_ko.training.labels import LABELS_NAME, read_labels, write_labels
from bert_ko.training.model_files import copy_vocabulary, remembered_flags

Form = Literal["bert_ko", "tf1", "huggingface"]
_FORMAT = 1
# Settings of a tokenizer that a new vocabulary can't change.
_SETTINGS = ("tokenizer_type", "subword_prefix_unit", "do_lower_case")


class Conversion(NamedTuple):
    """What is to be written.

    Attributes:
        source: where it is from.
        arrays: by Google's names.
        config: of the model.
        tokenizer: of the model.
        new_pieces: that the model has not been trained on.
    """

    source: Source
    arrays: Arrays
    config: ModelConfig
    tokenizer: Tokenizer
    new_pieces: tuple[NewPiece, ...] = ()


def known_form(path: str) -> Form | None:
    """The form that a path to write to says by itself.

    >>> known_form("out/bert_model.ckpt"), known_form("out")
    ('tf1', None)
    """
    return "tf1" if path.endswith(".ckpt") else None


def form_of(path: str) -> Form | None:
    """The form of a model in a folder; None where the path is no folder of a model."""
    if os.path.isfile(os.path.join(path, "config.json")):
        return "huggingface"
    is_ours = os.path.isfile(os.path.join(path, STATE_NAME)) or any(
        list_checkpoints(path, kind) for kind in get_args(Kind)
    )
    return "bert_ko" if is_ours else None


def check_shapes(source: Source, config: ModelConfig, config_file: str) -> None:
    """Refuses weights that are of another model than the configuration.

    Args:
        source: the weights.
        config: of the model.
        config_file: where that was found, for messages.

    Raises:
        ValueError: variables are missing, are of a layer too many, or have another shape.
    """
    specs = {**model_specs(config, PretrainingHead()), **model_specs(config, SpanHead())}
    words = encoder_of(config).word_embeddings
    if words not in source.arrays:
        raise ValueError(f"--from: {source.path} has no {words}; it is not such a model.")
    missing = [name for name in model_specs(config) if name not in source.arrays]
    layers = f"{encoder_of(config).scope}/encoder/"
    surplus = [n for n in source.arrays if n.startswith(layers) and n not in specs]
    if missing or surplus:
        raise ValueError(
            f"--from: {source.path} {'lacks' if missing else 'has'} {[*missing, *surplus][0]}, but "
            f"num_hidden_layers is {config.num_hidden_layers} by {config_file}. Use the "
            "bert_config.json of the checkpoint."
        )
    here = {name: spec for name, spec in specs.items() if name in source.arrays}
    initialize(here, source.arrays, source, config_file)


def grow(conversion: Conversion, new: Tokenizer) -> Conversion:
    """Takes another vocabulary: pieces in the place of [unusedN], and behind the last one.

    Args:
        conversion: with the old vocabulary.
        new: the new one.

    Raises:
        ValueError: a piece stands at another place, or is missing; or a setting differs.
    """
    _refuse_other_settings(conversion.tokenizer.config, new)
    old_pieces, pieces = conversion.tokenizer.vocab.pieces, new.vocab.pieces
    if len(pieces) < len(old_pieces):
        raise ValueError(
            f"--vocab_file: {new.source} has {len(pieces):,} pieces, the model's vocabulary "
            f"{len(old_pieces):,}; pieces can be added, but not taken away."
        )
    for i, (old, piece) in enumerate(zip(old_pieces, pieces, strict=False)):
        if old != piece and not conversion.tokenizer.vocab.is_unused(old):
            raise ValueError(
                f"--vocab_file: {new.source}, line {i + 1}: {piece!r}, but the model has {old!r} "
                "there. Put new pieces in the place of [unusedN] or behind the last one."
            )
    changed = [i for i, piece in enumerate(pieces) if old_pieces[i : i + 1] != (piece,)]
    parts = _old_parts(conversion.tokenizer, [pieces[i] for i in changed])
    added = tuple(map(NewPiece, changed, parts))
    rows = max(conversion.config.vocab_size, len(pieces))
    arrays = add_pieces(
        resize(conversion.arrays, conversion.config, rows),
        conversion.config,
        added,
        len(old_pieces),
    )
    config = dataclasses.replace(conversion.config, vocab_size=rows)
    new_pieces = (*conversion.new_pieces, *added)
    return Conversion(conversion.source, arrays, config, new, new_pieces)


def _refuse_other_settings(old: TokenizerConfig, tokenizer: Tokenizer) -> None:
    """A vocab.txt alone takes the defaults, which may not be what the model was trained with."""
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
    """The old pieces of each new one; none where they are not all known."""
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
            f"--vocab_size={rows:,}, but the vocabulary has {pieces:,} pieces, which all need a "
            "row."
        )
    config = dataclasses.replace(conversion.config, vocab_size=rows)
    return conversion._replace(
        arrays=resize(conversion.arrays, conversion.config, rows), config=config
    )


def without_crf(conversion: Conversion) -> Conversion:
    """For transformers, which has no CRF."""
    arrays = {n: array for n, array in conversion.arrays.items() if not n.startswith(TAG_CRF)}
    return conversion._replace(arrays=arrays)


def optimizer_slots(source: Source, config: ModelConfig) -> Arrays:
    """Of a checkpoint of ours.

    Args:
        source: the checkpoint.
        config: of what is written.

    Raises:
        ValueError: the source has none.
    """
    path = os.path.join(source.path, OPTIMIZER_NAME)
    if not os.path.isfile(path):
        raise ValueError(f"--with_optimizer: {source.path} has no {OPTIMIZER_NAME}.")
    return resize(load_arrays(path), config, config.vocab_size)


def write(conversion: Conversion, form: Form, path: str, slots: Arrays) -> None:
    """Writes a model.

    Args:
        conversion: what.
        form: how.
        path: a folder, or the prefix of a TF1 checkpoint; nothing there is written over.
        slots: of the optimizer, for a TF1 checkpoint.

    Raises:
        ValueError: there is something already, or the encoder has no such form.
    """
    if form == "huggingface":
        hugging_face_form(conversion.config)
    folder = os.path.dirname(path) or "." if form == "tf1" else path
    files.require_writable_folder(folder)
    config_path = os.path.join(folder, CONFIG_NAME)
    has_config = os.path.isfile(config_path)
    if has_config and read_model_config(config_path) != conversion.config:
        raise ValueError(
            f"--to: {config_path} is of another model and would be written over; choose another "
            "folder."
        )
    if form == "huggingface":
        _write_hugging_face(conversion, folder)
        return
    has_labels = any(name in conversion.arrays for name in LABEL_VARIABLES)
    labels = conversion.source.labels if has_labels else None
    if labels is not None and read_labels(folder) not in (None, labels):
        raise ValueError(
            f"--to: {os.path.join(folder, LABELS_NAME)} is of another model and would be written "
            "over; choose another folder."
        )
    step = conversion.source.step
    copy_vocabulary(conversion.tokenizer, folder)
    if form == "tf1":
        write_tensorflow(path, {**conversion.arrays, **slots}, step)
    else:
        state = {
            "format": _FORMAT,
            "step": step,
            "tokenizer_fingerprint": conversion.tokenizer.fingerprint,
            "converted_from": conversion.source.kind,
            "trained_with": _settings_of(conversion.source),
        }
        checkpoint = Checkpoint(conversion.arrays, {}, state)
        save_checkpoint(folder, step, checkpoint, conversion.config, keep=0)
    if labels is not None:
        write_labels(folder, labels)
    if not has_config:
        write_json(config_path, conversion.config.to_dict())


def _settings_of(source: Source) -> dict[str, Any]:
    """The flags that its task was trained with: lengths, the CRF and the like."""
    known = remembered_flags(source.path).items()
    return {name: value for name, value in known if not isinstance(value, (dict, list))}


def _write_hugging_face(conversion: Conversion, folder: str) -> None:
    from bert_ko.tokenization.hugging_face import write_hugging_face_tokenizer

    values = to_hugging_face_config(conversion.config, conversion.arrays, conversion.source.labels)
    values["pad_token_id"] = conversion.tokenizer.vocab.pad_id
    arrays = to_hugging_face_arrays(conversion.config, conversion.arrays)
    save_arrays(os.path.join(folder, MODEL_NAME), arrays, {"format": "pt"})
    length = conversion.config.max_position_embeddings
    write_hugging_face_tokenizer(folder, conversion.tokenizer, length)
    card = model_card(
        architecture(conversion.config, conversion.arrays),
        conversion.config,
        conversion.tokenizer.config,
        len(conversion.tokenizer.vocab),
        conversion.source.folder,
    )
    files.write_atomic(os.path.join(folder, "README.md"), card)
    write_json(os.path.join(folder, "config.json"), values)


def refuse_existing(form: Form, path: str) -> None:
    """Nothing of the user's is written over.

    Raises:
        ValueError: there is something already.
    """
    if form == "tf1":
        found = os.path.isfile(f"{path}.index")
    else:
        found = os.path.isdir(path) and bool(os.listdir(path))
    if found:
        raise ValueError(f"--to: {path} exists; choose another place, or remove it.")
