"""From the flags to sentences and tags; what is scored, written and said of a trained model."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bert_ko.messages import program_name
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.heads import TagHead
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.tasks.ner.task import NerTask
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary
from bert_ko.training.model_files import ModelFiles

WARNING = f"{program_name()}: warning:"

PIECES = [*SPECIAL_TOKENS, "민수", "##는", "서울", "##에"]
PERSON = "민\tB-PS\n수\tI-PS\n는\tO\n"
PLACE = "서\tB-LC\n울\tI-LC\n에\tO\n"
NOTHING = "는\tO\n서\tO\n"
Captured = pytest.CaptureFixture[str]


MODEL = ModelFiles(
    BertConfig(vocab_size=9),
    "bert_config.json",
    Tokenizer(Vocabulary(PIECES), TokenizerConfig(tokenizer_type="wordpiece")),
)


def write(path: Path, *sentences: str) -> str:
    path.write_text("\n".join(sentences), encoding="utf-8")
    return str(path)


def make_task(folder: Path, **flags: Any) -> NerTask:
    required = {"vocab_file": "v", "bert_config_file": "c", "output_dir": str(folder / "run")}
    return NerTask(NerFlags(**{**required, **flags}), MODEL)


def tag_ids(task: NerTask) -> list[int]:
    """What is trained on."""
    assert task.training is not None
    examples: Any = task.training.examples
    found: list[int] = examples.tag_ids.tolist()
    return found


# What is read


@pytest.mark.parametrize(
    ("flags", "splits"),
    [
        ({"do_train": True}, ["train"]),
        ({"do_train": True, "do_eval": True, "do_predict": True}, ["train", "dev", "test"]),
        ({"do_train": True, "eval_every_steps": 5}, ["train", "dev"]),
    ],
)
def test_ner_task_reads_what_is_needed_and_nothing_else(
    flags: dict[str, Any], splits: list[str], tmp_path: Path, capsys: Captured
) -> None:
    for split, sentences in (("train", (PERSON, PLACE)), ("dev", (PLACE,)), ("test", (PERSON,))):
        write(tmp_path / f"{split}.tsv", *sentences)
    task = make_task(tmp_path, data_dir=str(tmp_path), **flags)
    assert task.labels == ("O", "B-LC", "I-LC", "B-PS", "I-PS")
    assert task.head == TagHead(task.labels, use_crf=False)
    assert tag_ids(task) == [0, 3, 0, 0, 0, 1, 0, 0]
    read = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert read == [f"{tmp_path}/{split}.tsv" for split in splits]


def test_ner_task_a_file_comes_before_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.tsv", PLACE)
    path = write(tmp_path / "own.tsv", PERSON)
    found = make_task(tmp_path, do_train=True, train_file=path, data_dir=str(tmp_path / "data"))
    assert found.training is not None and found.training.path == path


def test_ner_task_names_in_a_folder_have_an_order(tmp_path: Path) -> None:
    for name in ("klue-ner-v1_train.tsv", "klue-ner-v1.1_train.tsv", "train.txt", "train.tsv"):
        write(tmp_path / name, PERSON)
        found = make_task(tmp_path, do_train=True, data_dir=str(tmp_path))
        assert found.training is not None and found.training.path == str(tmp_path / name)


def test_ner_task_format_of_the_files_may_be_said(tmp_path: Path, capsys: Captured) -> None:
    path = write(tmp_path / "a.txt", "민수는\tB-PS\n")  # a sentence of one word, or a token
    for form in ("naver", "conll"):
        make_task(tmp_path, do_train=True, train_file=path, file_format=form)
        assert capsys.readouterr().err == f"{path}: 1 sentences, 1 entities, a tag a word\n"
    with pytest.raises(ValueError) as error:
        make_task(tmp_path, do_train=True, train_file=path, file_format="klue")
    assert str(error.value) == (
        f"{path}:1: expected CHARACTER, a tab and TAG (KLUE's form), got '민수는\\tB-PS'."
    )


@pytest.mark.parametrize("labels", [["B-"], ["I"], ["o"], ["0", "1"], ["PS-B"], ["B PS"], ["LC"]])
def test_ner_task_labels_of_no_tagger_are_refused(labels: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    text = json.dumps({"labels": ["O", "B-PS", *labels]})
    (tmp_path / "run" / "labels.json").write_text(text)
    with pytest.raises(ValueError) as error:
        make_task(tmp_path, interactive=True)
    assert str(error.value) == (
        f"the labels of {tmp_path}/run must be O, B-TYPE or I-TYPE, got {', '.join(labels)}; give "
        "weights that were trained for tags."
    )


def test_ner_task_drawn_sentences_decide_the_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", PERSON, PLACE)
    found = make_task(tmp_path, do_train=True, train_file=path, max_train_examples=1, random_seed=3)
    assert len(found.labels) == 3 and tag_ids(found) == [0, 1, 0, 0]


# What a trained model does


def predict(batch: Any) -> Any:
    """민수 is a person, whatever else there is."""
    ids = batch["input_ids"][:, 1:-1]
    chances = np.full(ids.shape, 0.5, np.float32)
    return {"tag_ids": np.where(ids == 5, 1, 0).astype(np.int32), "probabilities": chances}


TRAINED: Any = SimpleNamespace(predict=predict)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose model knows persons."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "labels.json").write_text('{"labels": ["O", "B-PS", "I-PS"]}')
    return tmp_path


def test_finish_page_compares_probabilities_and_sentences_with_unknown_pieces(
    folder: Path, parse: Any
) -> None:
    """The model finds all of 민수, two of them in a sentence with [UNK], one without a gold tag."""
    unknown = PERSON + " \tO\n숲\tO\n \tO\n민\tO\n수\tO\n"
    path = write(folder / "dev.tsv", PERSON, PLACE, unknown)
    results = make_task(folder, do_eval=True, eval_file=path).finish(TRAINED, str(folder), 0)
    assert results is not None and results.report is not None
    rows = [[cell.text for cell in row.children] for row in parse(results.report([])).all("tr")]
    assert ["with [UNK]", "50.00", "100.00", "66.67", "1", "2", "1"] in rows
    assert ["without", "100.00", "50.00", "66.67", "2", "1", "1"] in rows
    assert ["0.5–0.6", "50.00", "66.67", "3"] in rows


def test_finish_long_line_is_tagged_to_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(("민수는 " * 300 + "민수에").encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    make_task(folder, input_file="-", max_seq_length=32).finish(TRAINED, str(folder), 0)
    found = json.loads(capsys.readouterr().out)
    assert found["tagged"] == "<민수:PS>는 " * 300 + "<민수:PS>에"
