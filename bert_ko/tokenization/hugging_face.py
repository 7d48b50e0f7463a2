"""A tokenizer in the form of a Hugging Face folder, which opens without bert_ko installed.

The folder gets our own modules: the adapter ``tokenization_bert_ko.py`` and the modules that it
imports, as ``bert_ko_<module>.py``, with imports that are relative. transformers copies them to its
cache and imports them from there, so there is no second tokenizer to keep equal.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

from bert_ko import files
from bert_ko.tokenization.config import CONFIG_NAME, HUGGING_FACE_KEY, TokenizerConfig
from bert_ko.tokenization.folder import MODEL_NAME, VOCAB_NAME
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import CLS, MASK, PAD, SEP, UNK

ADAPTER = "tokenization_bert_ko"
_CLASS = "BertKoTokenizer"
_PACKAGE = "bert_ko.tokenization"
_SPECIAL_TOKENS = {
    "unk_token": UNK,
    "sep_token": SEP,
    "pad_token": PAD,
    "cls_token": CLS,
    "mask_token": MASK,
}
_IMPORT = re.compile(rf"^from {re.escape(_PACKAGE)}\.(?:\w+\.)*(\w+) import", re.MULTILINE)
_MODULE_IMPORT = re.compile(rf"^from {re.escape(_PACKAGE)} import (\w+)$", re.MULTILINE)
_MECAB_IMPORT = re.compile(r"^import mecab$", re.MULTILINE)
_HEADER = "# From bert_ko, under the Apache License 2.0; unchanged but for its imports.\n"
# A folder with a SentencePiece model opens without MeCab.
_OPTIONAL_MECAB = """\
try:
    import mecab
except ImportError:
    mecab = None"""


def write_hugging_face_tokenizer(
    folder: str, tokenizer: Tokenizer, max_length: int = 512
) -> list[str]:
    """Writes a tokenizer that ``AutoTokenizer.from_pretrained`` opens.

    With MeCab and SentencePiece it needs ``trust_remote_code=True``; a tokenizer of the type
    wordpiece is transformers' own BertTokenizer.

    Args:
        folder: made when missing.
        tokenizer: opened.
        max_length: pieces that the model takes.

    Returns:
        Names of the files.

    Raises:
        FileNotFoundError: a user dictionary is missing.

    Differs: transformers' BertTokenizer leaves accents on lower-cased Latin letters, which
        tokenizer_type=wordpiece removes: it can only do so by taking Hangul apart too.
    """
    contents = {VOCAB_NAME: "".join(f"{p}\n" for p in tokenizer.vocab.pieces).encode()}
    if tokenizer.model is not None:
        contents[MODEL_NAME] = tokenizer.model.serialized
    for path in tokenizer.user_dictionaries:
        with open(path, "rb") as file:
            contents[os.path.basename(path)] = file.read()
    if tokenizer.config.tokenizer_type != "wordpiece":
        contents |= {name: text.encode() for name, text in code_files().items()}
    contents[CONFIG_NAME] = _json(_tokenizer_config(tokenizer.config, max_length))
    contents["special_tokens_map.json"] = _json(_SPECIAL_TOKENS)
    files.require_writable_folder(folder)
    for name, content in contents.items():
        files.write_atomic(os.path.join(folder, name), content)
    return list(contents)


def code_files() -> dict[str, str]:
    """File names and texts of the modules that a folder gets.

    >>> sorted(code_files())[-1]
    'tokenization_bert_ko.py'
    """
    root = Path(__file__).parent
    found: dict[str, str] = {}
    waiting = [root / "export" / f"{ADAPTER}.py"]
    while waiting:
        path = waiting.pop()
        if path.stem in found:
            continue
        text = found[path.stem] = path.read_text(encoding="utf-8")
        for name in [*_IMPORT.findall(text), *_MODULE_IMPORT.findall(text)]:
            beside = root / "export" / f"{name}.py"
            waiting.append(beside if beside.is_file() else root / f"{name}.py")
    modules = sorted(set(found) - {ADAPTER})
    return {
        f"{ADAPTER if name == ADAPTER else f'bert_ko_{name}'}.py": _relative(
            text, modules if name == ADAPTER else []
        )
        for name, text in sorted(found.items())
    }


def _relative(text: str, modules: list[str]) -> str:
    """The text of a module with relative imports.

    Args:
        text: ours.
        modules: to be named in comments; transformers looks for what to copy with a regular
            expression, and the older ones in the first module alone.
    """
    named = set(_IMPORT.findall(text))
    text = _IMPORT.sub(r"from .bert_ko_\1 import", text)
    text = _MODULE_IMPORT.sub(r"from . import bert_ko_\1 as \1", text)
    text = _HEADER + _MECAB_IMPORT.sub(_OPTIONAL_MECAB, text)
    rest = [f"    from .bert_ko_{name} import __doc__\n" for name in modules if name not in named]
    if not rest:
        return text
    return (
        text
        + "\n\nif False:  # for transformers, which copies what it finds named here\n"
        + ("".join(rest))
    )


def _tokenizer_config(config: TokenizerConfig, max_length: int) -> dict[str, Any]:
    names = tuple(map(os.path.basename, config.mecab_user_dictionary))
    values: dict[str, Any] = {
        **_SPECIAL_TOKENS,
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        HUGGING_FACE_KEY: dataclasses.asdict(
            dataclasses.replace(config, mecab_user_dictionary=names)
        ),
    }
    if config.additional_special_tokens:
        values["additional_special_tokens"] = list(config.additional_special_tokens)
    if config.tokenizer_type != "wordpiece":
        # The second name is that of a class over the tokenizers library, of which there is none.
        auto_map = {"AutoTokenizer": [f"{ADAPTER}.{_CLASS}", None]}
        return {**values, "tokenizer_class": _CLASS, "auto_map": auto_map}
    return {
        **values,
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": config.do_lower_case,
        "strip_accents": False,
        "tokenize_chinese_chars": True,
    }


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
