"""Trying a tagger: --input_file as JSON lines, then what is typed."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bert_ko.tasks.command import Parts
from bert_ko.tasks.ner.preparation import Setting
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.tasks.ner.trial import try_tagger
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary


def predict(batch: Any) -> Any:
    """민수 is a person, whatever else there is."""
    ids = batch["input_ids"][:, 1:-1]
    chances = np.full(ids.shape, 0.5, np.float32)
    return {"tag_ids": np.where(ids == 5, 1, 0).astype(np.int32), "probabilities": chances}


def try_it(**flags: Any) -> None:
    required = {"vocab_file": "v", "bert_config_file": "c", "output_dir": "o"}
    config = NerFlags(**required, **flags)  # type: ignore[arg-type]
    pieces = [*SPECIAL_TOKENS, "민수", "##는", "##가"]
    tokenizer = Tokenizer(Vocabulary(pieces), TokenizerConfig(tokenizer_type="wordpiece"))
    model: Any = None
    labels = ("O", "B-PS", "I-PS")
    try_tagger(Setting(config, Parts(model, tokenizer), labels, None, None, None), predict)


def type_in(patch: pytest.MonkeyPatch, text: str) -> None:
    patch.setattr(sys, "stdin", io.StringIO(text))


Captured = pytest.CaptureFixture[str]


def test_try_tagger_prints_a_record_for_each_line(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeff민수는\r\n\n 민수가\n".encode())
    try_it(input_file=str(path))
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "id": "1",
            "text": "민수는",
            "tagged": "<민수:PS>는",
            "entities": [{"type": "PS", "text": "민수", "start": 0, "end": 2, "probability": 0.5}],
            "tags": ["B-PS", "I-PS", "O"],
        },
        {
            "id": "3",
            "text": " 민수가",
            "tagged": " <민수:PS>가",
            "entities": [{"type": "PS", "text": "민수", "start": 1, "end": 3, "probability": 0.5}],
            "tags": ["O", "B-PS", "I-PS", "O"],
        },
    ]


def test_try_tagger_shows_what_is_typed(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    type_in(monkeypatch, " 민수가 <b> \n\n \r\n\u200b\r\n민수는")
    try_it(interactive=True)
    assert capsys.readouterr().out == (
        "type a sentence; Ctrl-D ends\n→  <민수:PS>가 <b> \n→ \u200b\n→ <민수:PS>는\n"
    )


def test_try_tagger_reads_the_file_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (tmp_path / "t").write_text("민수는\n", encoding="utf-8")
    type_in(monkeypatch, "민수가\n")
    try_it(input_file=str(tmp_path / "t"), interactive=True)
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[0])["text"] == "민수는" and lines[2:] == ["→ <민수:PS>가"]


def test_try_tagger_long_line_is_tagged_to_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(("민수는 " * 300 + "민수가").encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    try_it(input_file="-", max_seq_length=32)
    found = json.loads(capsys.readouterr().out)
    assert found["tagged"] == "<민수:PS>는 " * 300 + "<민수:PS>가"


@pytest.mark.parametrize("text", ["", "\n", " \n\n"])
def test_try_tagger_without_text_prints_nothing(
    text: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "t").write_text(text)
    try_it(input_file=str(tmp_path / "t"))
    assert capsys.readouterr().out == ""
