"""User dictionaries: compiled words, used by MeCab."""

from pathlib import Path

import pytest

from bert_ko.tokenization.morphemes import MecabSegmenter
from bert_ko.tokenization.user_dictionary import compile_user_dictionary


@pytest.mark.parametrize("cost", [None, -5000])
def test_compile_user_dictionary_words_are_one_morpheme(cost: int | None, tmp_path: Path) -> None:
    path = str(tmp_path / "new.dic")
    compile_user_dictionary({"솔내글방": cost, "코로나19": cost}, path)
    segmenter = MecabSegmenter([path])
    assert segmenter.parts("솔내글방은 코로나19를") == ["솔내글방", "은", " 코로나19", "를"]
    assert [m.pos for m in segmenter.analyze("솔내글방은")] == ["NNP", "JX"]


def test_compile_user_dictionary_same_words_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        compile_user_dictionary({"솔내글방": 0}, str(tmp_path / name))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_compile_user_dictionary_that_fails_is_one_sentence(tmp_path: Path) -> None:
    path = f"{tmp_path}/none/new.dic"
    with pytest.raises(ValueError, match=f"^MeCab could not compile {path}: .+[.]$"):
        compile_user_dictionary({"솔내글방": 0}, path)
