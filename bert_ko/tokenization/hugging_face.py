"""A tokenizer in the form of a Hugging Face folder, which opens without bert_ko installed.

The folder gets our own modules: the adapter ``tokenization_bert_ko.py`` and the modules that it
imports, as ``bert_ko_<module>.py`` with relative imports. transformers copies them to its cache and
imports them from there, so there is no second tokenizer to keep equal.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from bert_ko import files
from bert_ko.tokenization.config import CONFIG_NAME, HUGGING_FACE_KEY, TokenizerConfig, to_json
from bert_ko.tokenization.folder import MODEL_NAME, VOCAB_NAME
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS

ADAPTER = "tokenization_bert_ko"
_CLASS = "BertKoTokenizer"
_ROWS = "model_rows"
_PACKAGE = "bert_ko.tokenization"
_SPECIAL_TOKENS = {f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS}
_IMPORT = re.compile(rf"^from {re.escape(_PACKAGE)}\.(?:\w+\.)*(\w+) import", re.MULTILINE)
_HEADER = "# From bert_ko, under the Apache License 2.0; unchanged but for its imports.\n"


def write_hugging_face_tokenizer(
    folder: str, tokenizer: Tokenizer, max_length: int = 512
) -> list[str]:
    """Writes a tokenizer that ``AutoTokenizer.from_pretrained`` opens.

    With MeCab and SentencePiece it needs ``trust_remote_code=True``; a tokenizer of the type
    wordpiece is transformers' own BertTokenizer.

    Args:
        folder: made when missing.
        tokenizer: of any type.
        max_length: largest number of pieces of the model.

    Returns:
        Names of the files.

    Differs: for vocabularies of our own, transformers' BertTokenizer leaves accents on lower-cased
        Latin letters, which tokenizer_type=wordpiece removes: it can only do so by taking Hangul
        apart too.
    """
    contents = {VOCAB_NAME: "".join(f"{p}\n" for p in tokenizer.vocab.pieces).encode()}
    if tokenizer.model is not None:
        contents[MODEL_NAME] = tokenizer.model.serialized
    for path in tokenizer.user_dictionaries:
        contents[os.path.basename(path)] = Path(path).read_bytes()
    texts = {} if tokenizer.config.tokenizer_type == "wordpiece" else code_files()
    texts[CONFIG_NAME] = to_json(_tokenizer_config(tokenizer.config, max_length))
    texts["special_tokens_map.json"] = to_json(_SPECIAL_TOKENS)
    contents |= {name: text.encode() for name, text in texts.items()}
    files.require_writable_folder(folder)
    for name, content in contents.items():
        files.write_atomic(os.path.join(folder, name), content)
    return list(contents)


def code_files() -> dict[str, str]:
    """File names and texts of the modules that a folder gets.

    >>> sorted(code_files())[-1]
    'tokenization_bert_ko.py'
    """
    found = _module_and_imports(ADAPTER)
    adapter = found.pop(ADAPTER)
    # transformers finds what to copy with a regular expression, older ones in the first module
    # alone; so that module names them all.
    rest = sorted(set(found) - set(_IMPORT.findall(adapter)))
    named = "".join(f"    from .bert_ko_{name} import __doc__\n" for name in rest)
    adapter += f"\n\nif False:  # for transformers, which copies what it finds named here\n{named}"
    return {**_standalone_files(found), f"{ADAPTER}.py": _standalone(adapter)}


def write_rows_code(folder: str) -> None:
    """Writes what opens a Hugging Face folder without transformers, and without bert_ko.

    It gets the module ``bert_ko_model_rows.py`` and those that it imports.
    """
    for name, text in _standalone_files(_module_and_imports(_ROWS)).items():
        files.write_atomic(os.path.join(folder, name), text)


def _module_and_imports(name: str) -> dict[str, str]:
    """The texts of a module and of those that it imports from the tokenizer, by name."""
    root = Path(__file__).parent
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name not in found:
            beside = root / "export" / f"{name}.py"
            path = beside if beside.is_file() else root / f"{name}.py"
            found[name] = path.read_text(encoding="utf-8")
            waiting += _IMPORT.findall(found[name])
    return found


def _standalone_files(modules: dict[str, str]) -> dict[str, str]:
    return {f"bert_ko_{name}.py": _standalone(text) for name, text in sorted(modules.items())}


def _standalone(text: str) -> str:
    return _HEADER + _IMPORT.sub(r"from .bert_ko_\1 import", text)


def _tokenizer_config(config: TokenizerConfig, max_length: int) -> dict[str, Any]:
    values: dict[str, Any] = {**_SPECIAL_TOKENS, HUGGING_FACE_KEY: config.to_dict()}
    values |= {"model_max_length": max_length, "clean_up_tokenization_spaces": False}
    if config.additional_special_tokens:
        values["additional_special_tokens"] = list(config.additional_special_tokens)
    if config.tokenizer_type != "wordpiece":
        # The second name would be a class over the tokenizers library; there is none.
        auto_map = {"AutoTokenizer": [f"{ADAPTER}.{_CLASS}", None]}
        return {**values, "tokenizer_class": _CLASS, "auto_map": auto_map}
    names = ("strip_accents", "tokenize_chinese_chars")  # False and True but for published ones
    splitting = {name: getattr(config, name) for name in names}
    own = {"tokenizer_class": "BertTokenizer", "do_lower_case": config.do_lower_case}
    return {**values, **own, **splitting}
