"""What tasks on labelled examples share."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.encoder import BERT
from bert_ko.report.languages import Texts
from bert_ko.tasks.fine_tuning import (
    FineTuneTask,
    ReportData,
    TrainingData,
    file_identities,
    file_identity,
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


def shared(task: FineTuneTask, folder: str = "/home/me/o", step: int = 1) -> dict[str, Any]:
    return task.shared_report("texts", "/home/me/d.tsv", "labels", folder, step, 5.678)


def test_task_facts_say_where_the_weights_are_from_without_folders() -> None:
    made = shared(trained_on("/home/me/a.tsv", learning_rate=1e-3), step=1234)
    assert made["title"] == "d.tsv: labels of o"
    facts = dict(made["facts"])
    assert facts.pop("date")[:2] == "20" and facts.pop("version").startswith("bert_ko ")
    assert facts == {
        "texts": "d.tsv",
        "trained on": "a.tsv",
        "begun from": "random weights",
        "updates": "1,234",
        "seed": "12345",
        "model": "3 layers, hidden size 4",
        "vocabulary": "6 pieces, vocab",
        "predicted in": "5.7 s",
    }
    assert ("--learning_rate", "0.001") in made["flags"]
    begun = [
        dict(shared(task)["facts"])["begun from"]
        for task in (
            trained_on("a.tsv", init_checkpoint="m/"), make(do_eval=True),
            make(do_eval=True, init_checkpoint="/home/me/m"),
        )
    ]  # fmt: skip
    assert begun == ["m", "see run.json of the run", "m"]
    assert dict(shared(make(do_eval=True))["facts"])["trained on"] == "not in this run"


def test_task_facts_of_several_seeds_name_that_of_the_folder_in_korean() -> None:
    task = make(do_eval=True, num_seeds=3, report_language="ko")
    made = shared(task, "o/seed-12346")
    assert made["title"] == "d.tsv: seed-12346의 레이블"
    assert dict(made["facts"])["시드"] == "12346"


def test_reporter_of_several_seeds_has_the_curves_of_all(tmp_path: Path) -> None:
    for seed, loss in ((5, 1.0), (6, 2.0)):
        (tmp_path / f"seed-{seed}").mkdir()
        record = json.dumps({"step": 1, "loss": loss})
        (tmp_path / f"seed-{seed}" / "metrics.jsonl").write_text(f"{record}\n")
    task = make(do_train=True, num_seeds=2, random_seed=5)
    task.config = dataclasses.replace(task.config, output_dir=str(tmp_path))
    data = ReportData("t", [("a", "b")], [], [[]], (), Texts("en"))
    report = task.reporter(data, repr, "answers")
    assert report(()) == repr(data)
    seeds = [(5, {"f1": 1.0}), (6, {"f1": 2.0})]
    facts = [("a", "b"), ("answers below", "of the first seed")]
    runs = [[{"step": 1, "loss": 1.0}], [{"step": 1, "loss": 2.0}]]
    assert report(seeds) == repr(dataclasses.replace(data, facts=facts, runs=runs, seeds=seeds))


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
