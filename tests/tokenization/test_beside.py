"""Vocabularies are copied whole, and never over another one."""

import json
import re
import shutil
from pathlib import Path

import pytest

from bert_ko.tokenization.beside import copy_vocabulary, copy_word_vocabulary
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.word_splitting import WordSplitter
from bert_ko.tokenization.word_vocabulary import (
    Coverage,
    load_word_vocabulary,
    make_word_vocabulary,
    write_word_vocabulary,
)


def contents(folder: Path | str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize("kind", ["vocab_folder", "wordpiece_folder", "sentencepiece_folder"])
def test_copy_vocabulary_is_the_same_vocabulary(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    tokenizer = load_tokenizer(folder)
    for _ in range(2):  # the second time, everything is there
        copy_vocabulary(tokenizer, str(tmp_path))
        copy = load_tokenizer(str(tmp_path))
        assert copy.fingerprint == tokenizer.fingerprint
        assert (
            copy.encode("마을 도서관에서 책을").ids == tokenizer.encode("마을 도서관에서 책을").ids
        )
    assert contents(tmp_path) == {
        name: data for name, data in contents(folder).items() if name in contents(tmp_path)
    }
    names = {"vocab.txt", "tokenizer_config.json"}
    assert set(contents(tmp_path)) == names | ({"spm.model"} if kind[0] == "s" else set())


def test_copy_vocabulary_without_config_gets_one(vocab_folder: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    shutil.copy(f"{vocab_folder}/vocab.txt", tmp_path / "words.txt")
    tokenizer = load_tokenizer(str(tmp_path / "words.txt"))
    copy_vocabulary(tokenizer, str(tmp_path / "out"))
    assert load_tokenizer(str(tmp_path / "out")).fingerprint == tokenizer.fingerprint


def test_copy_vocabulary_takes_user_dictionaries_along(
    vocab_folder: str, user_dictionary: str, tmp_path: Path
) -> None:
    folder, out = Path(shutil.copytree(vocab_folder, tmp_path / "vocab")), tmp_path / "out"
    out.mkdir()
    shutil.copy(user_dictionary, folder / "names.dic")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["mecab_user_dictionary"] = ["names.dic"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(str(folder))
    copy_vocabulary(tokenizer, str(out))
    assert (out / "names.dic").read_bytes() == Path(user_dictionary).read_bytes()
    assert load_tokenizer(str(out)).fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer_config.json"])
def test_copy_vocabulary_other_file_of_the_user_stays(
    name: str, vocab_folder: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/{name} differs; delete that")):
        copy_vocabulary(load_tokenizer(vocab_folder), str(tmp_path))
    assert contents(tmp_path) == {name: b"mine"}


def test_copy_word_vocabulary_is_whole_and_spares_another(
    user_dictionary: str, tmp_path: Path
) -> None:
    splitter = WordSplitter("morpheme", (user_dictionary,))
    made = make_word_vocabulary({"솔내글방": 2, "은": 1}, splitter, 9, 1)
    write_word_vocabulary(str(tmp_path / "words"), made, Coverage(), 1)
    words, out = load_word_vocabulary(str(tmp_path / "words")), tmp_path / "out"
    out.mkdir()
    for _ in range(2):  # the second time, everything is there
        copy_word_vocabulary(words, str(out))
        assert contents(out) == contents(tmp_path / "words")
    (out / "words.txt").write_text("mine")
    with pytest.raises(ValueError, match=re.escape(f"{out}/words.txt differs; delete that")):
        copy_word_vocabulary(words, str(out))
    assert (out / "words.txt").read_text() == "mine"
