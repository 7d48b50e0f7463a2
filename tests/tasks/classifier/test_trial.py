"""A classifier tried on texts that stand in no dataset."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.config import BertConfig
from bert_ko.tasks.classifier.preparation import Setting
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.classifier.trial import try_classifier
from bert_ko.tasks.command import Parts
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "가", "나"]
TINY = Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece"))
Captured = pytest.CaptureFixture[str]


def predict(batch: Any) -> Any:
    """The first label where 가 comes first."""
    rows = [[0.6, 0.1, 0.1, 0.2] if ids[1] == 5 else [0.1, 0.5, 0.25, 0.15]
            for ids in batch["input_ids"]]  # fmt: skip
    return {"probabilities": np.array(rows, np.float32)}


def predict_lengths(batch: Any) -> Any:
    return {"scores": batch["input_mask"].sum(axis=1) / np.float32(3)}


def make_setting(**values: Any) -> Setting:
    config = ClassifierFlags(
        vocab_file="v", bert_config_file="c", output_dir="o", task_name="tsv",
        max_seq_length=200, **values,
    )  # fmt: skip
    labels = () if config.is_regression else ("ㄱ", "ㄴ", "ㄷ", "ㄹ")
    return Setting(config, Parts(BertConfig(vocab_size=7), TINY), labels, None, None, None)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Any:
    """What is said of what is typed."""

    def say(text: str, predict: Any = predict, **values: Any) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        try_classifier(make_setting(interactive=True, **values), predict)
        return capsys.readouterr().out.splitlines()

    return say


def test_try_classifier_typed_texts_have_their_three_best_labels(typed: Any) -> None:
    assert typed("가\n나 가") == [
        "type a text; Ctrl-D ends",
        "→ ㄱ 0.600, ㄹ 0.200, ㄴ 0.100",
        "→ ㄴ 0.500, ㄷ 0.250, ㄹ 0.150",
    ]


def test_try_classifier_blank_lines_and_wrong_tabs_ask_again(typed: Any) -> None:
    first, *said = typed("\n \t \n가\t나\n가\r\n\t가\n")
    assert first == "type a text; Ctrl-D ends"
    assert said == ["expected a text", "→ ㄱ 0.600, ㄹ 0.200, ㄴ 0.100", "expected a text"]


def test_try_classifier_typed_pairs_have_a_tab(typed: Any) -> None:
    wanted = "two texts, a tab between them"
    found = typed("가\t나\n나\n\n가\t나\t가\n나\t", text_pair_column="b")
    assert found == [
        f"type {wanted}; Ctrl-D ends",
        "→ ㄱ 0.600, ㄹ 0.200, ㄴ 0.100",
        f"expected {wanted}",
        f"expected {wanted}",
        "→ ㄴ 0.500, ㄷ 0.250, ㄹ 0.150",
    ]


def test_try_classifier_typed_text_has_a_score(typed: Any) -> None:
    said = typed("가 나\n", predict_lengths, task_type="regression")
    assert said[1:] == ["→ 1.333"]


def test_try_classifier_texts_of_any_length_are_taken(typed: Any) -> None:
    shapes = []

    def shape(batch: Any) -> Any:
        shapes.append(batch["input_ids"].shape)
        return predict(batch)

    typed("가\n" + "가 " * 70 + "\n" + "가 " * 500, shape)
    assert shapes == [(8, 64), (8, 128), (8, 200)]


def test_try_classifier_file_is_printed_as_json_before_what_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\ufeff나\n\n가", encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO("가\n"))
    try_classifier(make_setting(input_file=str(path), interactive=True), predict)
    out = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["label"] for line in out[:3]] == ["ㄴ", "ㄴ", "ㄱ"]
    assert json.loads(out[0]) == {
        "id": "1", "text": "나", "label": "ㄴ", "probability": 0.5,
        "probabilities": {"ㄱ": 0.1, "ㄴ": 0.5, "ㄷ": 0.25, "ㄹ": 0.15},
    }  # fmt: skip
    assert "나" in out[0]  # Hangul as it is
    assert out[3:] == ["type a text; Ctrl-D ends", "→ ㄱ 0.600, ㄹ 0.200, ㄴ 0.100"]


@pytest.mark.parametrize(
    ("content", "pair", "message"),
    [
        ("", None, "{} is empty; expected a text a line."),
        ("가\n나\t가\n", None, "{}:2: expected one text with a tab between two, got 2."),
        ("가\t나\n나\n", "b", "{}:2: expected two texts with a tab between two, got 1."),
    ],
)
def test_try_classifier_file_that_is_none_is_an_error(
    content: str, pair: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "texts.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError) as error:
        try_classifier(make_setting(input_file=str(path), text_pair_column=pair), predict)
    assert str(error.value) == message.format(path)
