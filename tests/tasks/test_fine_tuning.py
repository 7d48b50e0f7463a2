"""What tasks on labelled examples share."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.encoder import BERT
from bert_ko.tasks.fine_tuning import (
    FineTuneTask,
    TrainingData,
    file_identities,
    file_identity,
    reporter,
)
from bert_ko.tasks.settings import LabelFlags
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary
from bert_ko.training.model_files import ModelFiles

TOKENIZER = Tokenizer(Vocabulary((*SPECIAL_TOKENS, "가")), TokenizerConfig(), source="vocab")
MODEL = BertConfig(vocab_size=7, hidden_size=4, num_hidden_layers=3, num_attention_heads=2)


class Examples:
    """As much of them as is counted."""

    lengths = np.full(9, 3)


class SharedTask(FineTuneTask):
    """What all tasks share, and no more."""

    def evaluate(self, model: Any) -> dict[str, float]:
        return {}

    def finish(self, model: Any, folder: str, step: int) -> None: ...


def make(**flags: Any) -> FineTuneTask:
    config = LabelFlags(output_dir="o", data_dir="d", **flags)
    return SharedTask(config, ModelFiles(MODEL, "model.json", TOKENIZER))


def trained_on(path: str, **flags: Any) -> FineTuneTask:
    task = make(do_train=True, **flags)
    examples: Any = Examples()
    task.training = TrainingData(path, examples, lambda rows: "")
    return task


def test_task_epoch_has_all_examples() -> None:
    assert trained_on("a.tsv", train_batch_size=4).steps_per_epoch == 3
    assert make(do_eval=True).steps_per_epoch == 0


def test_task_packs_with_encoders_that_keep_sequences_apart_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(do_train=True, pack=True)
    encoder = dataclasses.replace(BERT, packs=False)
    monkeypatch.setattr("bert_ko.modeling.encoder._ENCODERS", {"bert": encoder})
    make(do_train=True)
    make(do_eval=True, pack=True)  # a trained model's flags may have it
    message = "--pack: the encoder bert does not keep the sequences of a row apart; leave the flag"
    with pytest.raises(ValueError, match=message):
        make(do_train=True, pack=True)


@pytest.mark.parametrize(
    ("flags", "sizes"),
    [
        ({"do_train": True}, []),
        ({"do_predict": True}, ["predict_batch_size"]),
        ({"input_file": "-"}, ["predict_batch_size"]),
        ({"interactive": True}, ["predict_batch_size"]),
    ],
)
def test_task_asks_for_what_it_predicts(flags: dict[str, Any], sizes: list[str]) -> None:
    task = make(**flags)
    assert (task.batch_sizes, task.is_asked) == (sizes, bool(sizes))


def test_task_run_facts_say_where_the_weights_are_from() -> None:
    assert dict(trained_on("a.tsv").run_facts(1234, 5.678)) == {
        "trained on": "a.tsv",
        "begun from": "random weights",
        "updates": "1,234",
        "model": "3 layers, hidden size 4",
        "vocabulary": "6 pieces, vocab",
        "predicted in": "5.7 s",
    }
    assert dict(trained_on("a.tsv", init_checkpoint="m").run_facts(1, 1))["begun from"] == "m"
    found = dict(make(do_eval=True).run_facts(1, 1))
    assert found["trained on"] == "not in this run"
    assert found["begun from"] == "see run.json of the run"
    assert dict(make(do_eval=True, init_checkpoint="m").run_facts(1, 1))["begun from"] == "m"


@dataclass(frozen=True)
class Page:
    facts: Any
    seeds: Any


def test_reporter_says_whose_answers_are_listed_where_there_are_several_seeds() -> None:
    report = reporter(Page([("a", "b")], None), str, "answers")
    assert report(()) == str(Page([("a", "b")], ()))
    seeds = [(5, {"f1": 1.0})]
    facts = [("a", "b"), ("answers below", "of the first seed")]
    assert report(seeds) == str(Page(facts, seeds))


def test_file_identity_is_name_and_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "train.tsv", tmp_path / "a" / "train.tsv"):
        path.write_bytes(b"text\n")
        digest = hashlib.sha256(b"text\n").hexdigest()[:16]
        assert file_identity(str(path)) == ["train.tsv", digest]
    path.write_bytes(b"text\r\n")
    assert file_identity(str(path)) != ["train.tsv", digest]
    found = file_identities({"train_file": str(path), "eval_file": None})
    assert found == {"train_file": file_identity(str(path))}
    with pytest.raises(FileNotFoundError):
        file_identity(str(tmp_path / "nowhere"))
