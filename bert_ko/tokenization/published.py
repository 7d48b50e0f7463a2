"""Tokenizers in the form of Hugging Face transformers, as others publish them.

What is read here gives the ids of transformers' AutoTokenizer; anything else is refused by its
name, because a text that is split another way has other ids than the model was trained with.

Differs: special tokens in a text are plain text, unless they are additional ones.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bert_ko.json_files import read_json
from bert_ko.tokenization.added_tokens import SPECIAL_TOKENS_MAP, AddedTokens
from bert_ko.tokenization.config import CONFIG_NAME, TokenizerConfig, is_text
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary
from bert_ko.tokenization.wordpiece import CONTINUATION, MAX_CHARS_PER_PUBLISHED_WORD

TOKENIZER_JSON = "tokenizer.json"
_MODEL_CONFIG = "config.json"
_BERT_CLASS = re.compile("(Bert|DistilBert|Electra)Tokenizer(Fast)?")
_BERT_MODELS = ("bert", "distilbert", "electra")
# Classes that do what tokenizer.json says.
_GENERAL_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
_ROLES = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}


class RefusedTokenizerError(ValueError):
    """A published tokenizer that is not read; --tokenizer_type may override that."""


class Published(NamedTuple):
    """What a folder says."""

    config: TokenizerConfig
    pieces: tuple[str, ...]  # with the added ones; those alone if there is no vocabulary


def read_published(folder: str, vocab_file: str | None) -> Published | None:
    """Reads the tokenizer of a Hugging Face folder.

    Args:
        folder: of the tokenizer.
        vocab_file: path of the list of pieces, if there is one.

    Returns:
        None if the folder says nothing about its tokenizer.

    Raises:
        RefusedTokenizerError: a tokenizer that is not read.
        ValueError: files that are damaged or contradict each other.
    """
    path = os.path.join(folder, CONFIG_NAME)
    values, model_values, named = (
        read_json(os.path.join(folder, name), advice="") or {}
        for name in (CONFIG_NAME, _MODEL_CONFIG, SPECIAL_TOKENS_MAP)
    )
    whole_path = os.path.join(folder, TOKENIZER_JSON)
    whole = read_json(whole_path, advice="")
    kind, place = _class_of(folder, values, model_values, whole is not None)
    if kind is None:
        return None
    is_bert = isinstance(kind, str) and _BERT_CLASS.fullmatch(kind)
    if "AutoTokenizer" in _mapping(values, "auto_map", path):
        kind, is_bert = f"code of its own (auto_map, {kind})", None
    if not (is_bert or (kind in _GENERAL_CLASSES and whole is not None)):
        raise _refused(f"{place} names {kind}, which is not read")
    _refuse_options(values, path)
    _refuse_other_names({**named, **values}, path)
    says = None if whole is None else _WordPieceFile.read(whole, whole_path, not is_bert)
    settings = _settings(values, path, says.settings if says and not is_bert else {})
    pieces = Vocabulary.read(vocab_file) if vocab_file else ()
    if says:
        _refuse_differences(settings, path, says.settings, whole_path)
        if pieces not in ((), says.pieces):
            raise ValueError(
                f"{vocab_file} and {whole_path} have different pieces; remove one of them."
            )
        pieces = says.pieces
    base = TokenizerConfig("wordpiece", "morpheme", normalization="transformers")
    config = dataclasses.replace(base, **settings)
    added = AddedTokens.read(folder, values, whole or {}, not is_bert).resolve(config, pieces)
    return Published(added.config, (*pieces, *added.behind))


def _class_of(
    folder: str, values: Mapping[str, Any], model_values: Mapping[str, Any], has_json: bool
) -> tuple[Any, str]:
    """The tokenizer class as AutoTokenizer finds it, and the file that says so."""
    path, model_path = (os.path.join(folder, name) for name in (CONFIG_NAME, _MODEL_CONFIG))
    if name := values.get("tokenizer_class"):
        return name, path
    if name := model_values.get("tokenizer_class"):
        return name, model_path
    if model_type := model_values.get("model_type"):
        if not values and not has_json:
            raise RefusedTokenizerError(
                f"{folder} does not say how the texts of its model were tokenized; give "
                "--tokenizer_type and --do_lower_case"
            )
        is_bert = model_type in _BERT_MODELS
        name = "BertTokenizer" if is_bert else f"the model_type {model_type}"
        return name, model_path
    if "do_lower_case" in values:  # those of the first years name no class
        return "BertTokenizer", path
    if values and not has_json:
        return "no tokenizer class", path
    return ("PreTrainedTokenizerFast" if has_json else None), path


def _refused(what: str) -> RefusedTokenizerError:
    return RefusedTokenizerError(
        f"{what}: only BertTokenizer and its kind are; give --tokenizer_type to read the "
        "vocabulary in another way"
    )


def _refuse_options(values: Mapping[str, Any], path: str) -> None:
    """Options that only some releases of transformers heed."""
    never_split = values.get("never_split") or []
    expected = {"do_basic_tokenize": True, "wordpieces_prefix": CONTINUATION}
    for name, value in expected.items():
        if values.get(name, value) not in (value, None):
            raise _refused(f"{path} has {name} {values[name]!r}, which is not read")
    if not isinstance(never_split, list) or set(map(str, never_split)) - set(SPECIAL_TOKENS):
        raise _refused(f"{path} has never_split {never_split!r}, which is not read")


def _refuse_other_names(values: Mapping[str, Any], path: str) -> None:
    for role, expected in _ROLES.items():
        found = values.get(role, expected)
        found = found.get("content") if isinstance(found, dict) else found
        if found != expected:
            raise ValueError(
                f"{path}: {role} is {found!r}; only vocabularies with "
                f"{' '.join(SPECIAL_TOKENS)} are read."
            )


def _mapping(values: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
    found = values.get(key) or {}
    if isinstance(found, list):  # of the first releases with such code
        found = {"AutoTokenizer": found}
    if not isinstance(found, dict):
        raise ValueError(f"{path}: {key} must be an object, got {found!r}.")
    return found


def _flag(values: Mapping[str, Any], name: str, default: bool, path: str) -> bool:
    value = values.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ValueError(f"{path}: {name} must be true or false, got {value!r}.")
    return value


def _settings(values: Mapping[str, Any], path: str, defaults: Mapping[str, bool]) -> dict[str, Any]:
    """What a file says, by BertTokenizer's names; its own defaults where none are given."""
    lowers = _flag(values, "do_lower_case", defaults.get("do_lower_case", True), path)
    return {
        "do_lower_case": lowers,
        "strip_accents": _flag(
            values, "strip_accents", defaults.get("strip_accents", lowers), path
        ),
        "tokenize_chinese_chars": _flag(
            values, "tokenize_chinese_chars", defaults.get("tokenize_chinese_chars", True), path
        ),
    }


def _refuse_differences(
    settings: Mapping[str, bool], path: str, others: Mapping[str, bool], other_path: str
) -> None:
    for name, value in settings.items():
        if value != others[name]:
            raise ValueError(
                f"{other_path} has {name} {others[name]}, but {path} {value}; keep the one that "
                "the model was trained with."
            )


class _WordPieceFile(NamedTuple):
    """What a tokenizer.json of the type WordPiece says."""

    settings: dict[str, Any]
    pieces: tuple[str, ...]

    @classmethod
    def read(cls, whole: Mapping[str, Any], path: str, frames: bool) -> _WordPieceFile:
        """Args: frames: whether the file, and no class, says where [CLS] and [SEP] are."""
        model, normalizer, splitter = (
            _component(whole, name, path) for name in ("model", "normalizer", "pre_tokenizer")
        )
        # Files of the first releases have no type.
        kind = model.get("type") or ("WordPiece" if "max_input_chars_per_word" in model else None)
        _expect(path, "model.type", kind, "WordPiece")
        prefix = model.get("continuing_subword_prefix", CONTINUATION)
        _expect(path, "model.continuing_subword_prefix", prefix, CONTINUATION)
        _expect(path, "model.unk_token", model.get("unk_token"), "[UNK]")
        limit = model.get("max_input_chars_per_word", MAX_CHARS_PER_PUBLISHED_WORD)
        _expect(path, "model.max_input_chars_per_word", limit, MAX_CHARS_PER_PUBLISHED_WORD)
        _expect(path, "normalizer.type", normalizer.get("type"), "BertNormalizer")
        _expect(path, "normalizer.clean_text", normalizer.get("clean_text"), True)
        _expect(path, "pre_tokenizer.type", splitter.get("type"), "BertPreTokenizer")
        if frames:
            _expect_frame(_component(whole, "post_processor", path), path)
        renamed = {"do_lower_case": normalizer.get("lowercase")}
        renamed |= {"tokenize_chinese_chars": normalizer.get("handle_chinese_chars")}
        settings = _settings({**normalizer, **renamed}, f"{path}: normalizer", {})
        return cls(settings, _pieces(model.get("vocab"), path))


def _component(whole: Mapping[str, Any], name: str, path: str) -> dict[str, Any]:
    found = whole.get(name)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{path}: {name} must be an object, got {type(found).__name__}.")
    return found or {}


def _expect(path: str, name: str, found: Any, expected: Any) -> None:
    if found != expected or type(found) is not type(expected):
        raise _refused(f"{path} has {name} {found!r} (not {expected!r}), which is not read")


def _pieces(vocab: Any, path: str) -> tuple[str, ...]:
    is_usable = isinstance(vocab, dict) and all(type(i) is int for i in vocab.values())
    if not is_usable or not is_text("".join(vocab)):
        raise ValueError(f"{path}: model.vocab must be an object of pieces and ids.")
    pieces = sorted(vocab, key=vocab.__getitem__)
    if [vocab[piece] for piece in pieces] != list(range(len(pieces))):
        raise ValueError(f"{path}: the ids of model.vocab are not 0 to {len(pieces) - 1}.")
    return tuple(pieces)


def _expect_frame(processor: Mapping[str, Any], path: str) -> None:
    """Refuses anything but [CLS] A [SEP] of type 0 and B [SEP] of type 1."""
    kind = processor.get("type")
    if kind == "BertProcessing":
        for name in ("cls", "sep"):
            found = processor.get(name)
            token = found[0] if isinstance(found, list) and found else found
            _expect(path, f"post_processor.{name}", token, f"[{name.upper()}]")
        return
    _expect(path, "post_processor.type", kind, "TemplateProcessing")
    first = [("[CLS]", 0), ("A", 0), ("[SEP]", 0)]
    for name, expected in (("single", first), ("pair", [*first, ("B", 1), ("[SEP]", 1)])):
        try:
            parts = [next(iter(part.values())) for part in processor[name]]
            found = [(part["id"], part["type_id"]) for part in parts]
        except (AttributeError, KeyError, TypeError, StopIteration):
            found = processor.get(name)
        _expect(path, f"post_processor.{name}", found, expected)


def read_pieces(path: str) -> tuple[str, ...]:
    """The pieces of a tokenizer.json of the type WordPiece.

    Raises:
        ValueError: it has others, or is damaged.
    """
    return _WordPieceFile.read(read_json(path, advice="") or {}, path, False).pieces


def refuse_other_case(folder: str, model_file: str) -> None:
    """Refuses a SentencePiece model whose text is to be lower-cased before it sees it."""
    path = os.path.join(folder, CONFIG_NAME)
    if (read_json(path, advice="") or {}).get("do_lower_case") is True:
        raise ValueError(
            f"{path} has do_lower_case True, but a SentencePiece model alone, {model_file}, keeps "
            "the case of a text."
        )
