"""Whether a vocabulary fits a model, and its files beside the weights."""

import json
import re
import shutil
from pathlib import Path

import pytest

from bert_ko.build_vocab import BuildVocabConfig, run
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.vocabulary_files import compare_vocab_size, copy_vocabulary


def test_compare_vocab_size_only_a_larger_one_is_refused() -> None:
    compare_vocab_size(1500, "the vocabulary", "vocab", 1500, "model.json")
    with pytest.raises(ValueError) as error:
        compare_vocab_size(1501, "the vocabulary", "vocab", 1500, "model.json")
    assert str(error.value) == (
        "vocab_size is 1,500 in model.json, but 1,501 in the vocabulary (vocab); set vocab_size "
        "in the config to that."
    )


def contents(folder: Path | str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize("kind", ["vocab_folder", "wordpiece_folder", "sentencepiece_folder"])
def test_copy_vocabulary_is_the_same_vocabulary(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    tokenizer = load_tokenizer(folder)
    for _ in range(2):  # the second time, everything stands there
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


def test_copy_vocabulary_takes_user_dictionaries_along(tmp_path: Path) -> None:
    # An empty dictionary is enough for copying; MeCab is asked to open none.
    folder, out = tmp_path / "vocab", tmp_path / "out"
    out.mkdir()
    source = tmp_path / "corpus.txt"
    source.write_text("가나다 라마바 " * 100, encoding="utf-8")
    run(
        BuildVocabConfig(
            input_file=(str(source),), output_dir=str(folder), vocab_size=120, num_workers=1,
            tokenizer_type="wordpiece",
        )
    )  # fmt: skip
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["mecab_user_dictionary"] = ["names.dic"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "names.dic").write_bytes(b"\0dictionary")
    tokenizer = load_tokenizer(str(folder))
    copy_vocabulary(tokenizer, str(out))
    assert (out / "names.dic").read_bytes() == b"\0dictionary"
    assert load_tokenizer(str(out)).fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer_config.json"])
def test_copy_vocabulary_other_file_of_the_user_stays(
    name: str, vocab_folder: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/{name} differs; delete that")):
        copy_vocabulary(load_tokenizer(vocab_folder), str(tmp_path))
    assert contents(tmp_path) == {name: b"mine"}
