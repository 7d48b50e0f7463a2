"""Word vocabularies: their order, their folder, and what is refused."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.word_splitting import WordSplitter
from bert_ko.tokenization.word_vocabulary import (
    Coverage,
    choose_words,
    load_word_vocabulary,
    make_word_vocabulary,
    write_word_vocabulary,
)

COUNTS = Counter({"나": 2, "가": 2, "다": 5, "<S>": 9, "라": 1, "BERT": 2})
MARKS = ("<S>", "</S>", "<UNK>")


def write(folder: Path, splitter: WordSplitter | None = None) -> Path:
    splitter = splitter or WordSplitter("eojeol")
    vocabulary = make_word_vocabulary(COUNTS, splitter, 6, 2)
    write_word_vocabulary(str(folder), vocabulary, vocabulary.measure(COUNTS), 2)
    return folder


@pytest.mark.parametrize(
    ("size", "least", "words"),
    [
        (100, 1, ["다", "BERT", "가", "나", "라"]),
        (100, 2, ["다", "BERT", "가", "나"]),
        (5, 1, ["다", "BERT"]),
        (100, 6, []),
    ],
)
def test_choose_words_are_by_falling_count_then_code_point(
    size: int, least: int, words: list[str]
) -> None:
    assert choose_words(COUNTS, size, least) == (*MARKS, *words)


def test_write_folder_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "v")
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["words.json", "words.txt"]
    text = (tmp_path / "v/words.txt").read_text(encoding="utf-8")
    assert text == "<S>\n</S>\n<UNK>\n다\nBERT\n가\n"
    about = json.loads((tmp_path / "v/words.json").read_text(encoding="utf-8"))
    vocabulary = load_word_vocabulary(str(tmp_path / "v"))
    assert about == {
        "unit": "eojeol", "normalization": "nfc", "mecab_dictionary": None,
        "mecab_user_dictionary": [], "fingerprint": vocabulary.fingerprint, "vocab_size": 6,
        "min_frequency": 2,
        "corpus": {
            "words": 21, "distinct_words": 6, "unknown_words": 12, "unknown_share": 0.571429,
        },
    }  # fmt: skip
    assert vocabulary.ids == {"다": 3, "BERT": 4, "가": 5}
    assert load_word_vocabulary(str(tmp_path / "v/words.txt")) == vocabulary
    assert vocabulary.measure(COUNTS) == Coverage(21, 6, 12)
    assert vocabulary.splitter().split("다 BERT") == ["다", "BERT"]


def test_write_user_dictionary_is_copied_and_used(user_dictionary: str, tmp_path: Path) -> None:
    dictionary = shutil.copy(user_dictionary, tmp_path)
    folder = write(tmp_path / "v", WordSplitter("morpheme", (dictionary,)))
    Path(dictionary).unlink()
    vocabulary = load_word_vocabulary(str(folder))
    assert vocabulary.splitter().split("솔내글방은") == ["솔내글방", "은"]
    assert vocabulary.settings["mecab_user_dictionary"] == ["user.dic"]
    other = load_word_vocabulary(str(write(tmp_path / "w", WordSplitter("morpheme"))))
    assert other.words == vocabulary.words and other.fingerprint != vocabulary.fingerprint


def test_write_two_dictionaries_of_one_name_raises(user_dictionary: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    second = shutil.copy(user_dictionary, tmp_path / "a")
    with pytest.raises(ValueError, match=r"two have the same name: .*; rename one"):
        write(tmp_path / "v", WordSplitter("morpheme", (user_dictionary, second)))


def test_fingerprint_depends_on_words_and_unit(tmp_path: Path) -> None:
    found = {
        make_word_vocabulary(counts, WordSplitter(unit), 9, 1).fingerprint
        for counts in ({"가": 1}, {"나": 1})
        for unit in ("morpheme", "eojeol")
    }
    assert len(found) == 4


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("words.txt", "가\n", "나\n"), "words.txt is not the one that .*words.json describes"),
        (edit("words.txt", "가\n", "다\n"), "words.txt:6: duplicate of line 4"),
        (edit("words.txt", "BERT", ""), "words.txt:5: blank line"),
        (
            edit("words.txt", "<S>\n</S>", "</S>\n<S>"),
            "the first lines must be <S> </S> <UNK>, got",
        ),
        (edit("words.json", '"eojeol"', '"syllable"'), "unit must be one of morpheme, eojeol"),
        (edit("words.json", '"unit"', '"kind"'), "words.json.unit is missing"),
        (edit("words.json", "[]", '["../a.dic"]'), "must name files in the same folder"),
        (edit("words.json", "[]", '["a.dic"]'), "a.dic, which is missing; copy the whole folder"),
        (edit("words.json", '"eojeol"', '"morpheme"'), "mecab_dictionary must be a string, got nu"),
        (lambda folder: (folder / "words.json").unlink(), "no words.json beside"),
    ],
)
def test_load_damaged_folder_is_named(
    change: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    change(write(tmp_path / "v"))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_word_vocabulary(str(tmp_path / "v"))


def test_load_other_mecab_dictionary_raises(tmp_path: Path) -> None:
    folder = write(tmp_path / "v", WordSplitter("morpheme"))
    edit("words.json", "mecab-ko-dic 2.", "mecab-ko-dic 9.")(folder)
    with pytest.raises(ValueError, match="made with mecab-ko-dic 9"):
        load_word_vocabulary(str(folder))


def test_load_vocabulary_of_pieces_raises_and_says_how(vocab_folder: str) -> None:
    for path in (vocab_folder, f"{vocab_folder}/vocab.txt"):
        with pytest.raises(ValueError, match=r"no vocabulary of words.*bin/build_vocab --words"):
            load_word_vocabulary(path)
    with pytest.raises(FileNotFoundError, match="--output_dir: no such file: /none; make it with"):
        load_word_vocabulary("/none", "--output_dir")


def test_load_tokenizer_vocabulary_of_words_raises_and_says_how(
    tmp_path: Path, vocab_folder: str
) -> None:
    folder = write(tmp_path / "v")
    for path in (folder, folder / "words.txt"):
        with pytest.raises(ValueError, match=r"is a vocabulary of words .* --objective=bilm"):
            load_tokenizer(str(path))
    # A folder may have both.
    shutil.copytree(vocab_folder, folder, dirs_exist_ok=True)
    assert len(load_tokenizer(str(folder)).vocab) == 1500
