"""The command from end to end: with a model of numpy what it accepts and refuses, and what it
writes; then in processes of their own with TensorFlow and JAX.
"""

import functools
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bert_ko.flags import run_command
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import (
    TAG_BIAS,
    TAG_CRF,
    TAG_TRANSITIONS,
    TAG_WEIGHTS,
    Arrays,
    encoder_specs,
    initial_parameters,
    pretraining_specs,
    tag_specs,
)
from bert_ko.run_ner import RunNerConfig, run
from bert_ko.tasks import fine_tuning
from bert_ko.tasks.fine_tuning import Head
from bert_ko.tasks.ner.bio import Entity, from_entities
from bert_ko.tasks.ner.examples import read_dataset
from bert_ko.tasks.ner.scores import score, score_values
from bert_ko.training.checkpoints import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from bert_ko.training.metrics import read_metrics
from bert_ko.training.objective import Objective

REPOSITORY = Path(__file__).parents[1]
MODEL = {
    "vocab_size": 1500, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64,
}  # fmt: skip
TAGGED = (
    "<이보람:PS> 관장은 <솔내마을:LC>에서 산다.",
    "<달빛 시장:LC>은 <토요일:DT>마다 열린다.",
    "아이들은 어제 책을 <세 권:QT> 빌렸다.",
    "<윤말순:PS> 씨는 <1987년:DT>에 태어났다.",
    "눈이 많이 내려서 길이 막혔다.",
    "<솔내마을:LC> 사람들은 <김장:QT>을 함께 한다.",
    "<한솔 조합:OG>은 <서울:LC>에 사무실을 냈다.",
    "버스는 <아침 일곱 시:TI>에 떠난다.",
    "<박두리:PS>와 <이보람:PS>은 오랜 친구이다.",
    "감자를 <5 kg:QT> 샀다.",
    "<서울:LC>에서 <부산:LC>까지 걸어서 갔다.",
    "<한솔 조합:OG>의 <박두리:PS> 조합장이 말했다.",
    "시장의 종은 구리로 만들었다.",
    "<내일:DT> <오후 두 시:TI>에 만나자.",
    "<윤말순:PS> 할머니는 편지를 <열 통:QT> 썼다.",
    "도서관은 <월요일:DT>에 쉰다.",
    "<달빛 시장:LC>의 상인들은 <새벽:TI>에 온다.",
    "<부산:LC>에는 비가 온다.",
    "<이보람:PS>은 <한솔 조합:OG>에서 일했다.",
    "나무 <65그루:QT>를 심었다.",
)
LABELS = [
    "O", "B-DT", "I-DT", "B-LC", "I-LC", "B-OG", "I-OG", "B-PS", "I-PS", "B-QT", "I-QT", "B-TI",
    "I-TI",
]  # fmt: skip
TIMES = ("tokens_per_second", "seconds")


def parse(line: str) -> tuple[str, list[Entity]]:
    """Text and its entities in characters."""
    text, found = "", []
    for part in re.split(r"(<[^>]+>)", line):
        entity = re.fullmatch(r"<(.+):(.+)>", part)
        if entity:
            found.append(Entity(entity[2], len(text), len(text) + len(entity[1])))
        text += entity[1] if entity else part
    return text, found


def write_klue(path: Path, lines: Any = TAGGED) -> str:
    blocks = []
    for number, line in enumerate(lines, start=1):
        text, found = parse(line)
        tags = from_entities(found, len(text))
        rows = [f"{char}\t{tag}" for char, tag in zip(text, tags, strict=True)]
        blocks.append("\n".join([f"## s-{number}\t{line}", *rows]) + "\n")
    path.write_text("\n".join(blocks), encoding="utf-8")
    return str(path)


def words(line: str) -> tuple[list[str], list[str]]:
    """Words and their tags: an entity's words are all that it lies on."""
    text, found = parse(line)
    tags = []
    for match in re.finditer(r"\S+", text):
        on = [e for e in found if e.start < match.end() and match.start() < e.end]
        mark = "B" if on and on[0].start >= match.start() else "I"
        tags.append(f"{mark}-{on[0].type}" if on else "O")
    return text.split(), tags


def write_naver(path: Path, lines: Any = TAGGED) -> str:
    rows = [words(line) for line in lines]
    text = "".join(
        f"{' '.join(units)}\t{' '.join('-' if t == 'O' else f'{t[2:]}_{t[0]}' for t in tags)}\n"
        for units, tags in rows
    )
    path.write_text(text, encoding="utf-8")
    return str(path)


def write_conll(path: Path, lines: Any = TAGGED) -> str:
    sentences = [
        "".join(f"{unit} {tag}\n" for unit, tag in zip(*words(line), strict=True)) for line in lines
    ]
    path.write_text("\n".join(sentences), encoding="utf-8")
    return str(path)


WRITERS = {"klue": write_klue, "naver": write_naver, "conll": write_conll}


def write_config(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({**MODEL, **changes}))
    return str(path)


class Data:
    """A vocabulary, the sentences above, and the model's config."""

    def __init__(self, folder: Path, vocab: str):
        self.vocab = vocab
        self.sentences = write_klue(folder / "sentences.tsv")
        self.config = write_config(folder / "bert_config.json")

    def arguments(self, output: Path | str, *flags: str) -> list[str]:
        """What every run needs; a flag that is given again has its last value."""
        return [
            f"--bert_config_file={self.config}", f"--vocab_file={self.vocab}",
            f"--output_dir={output}", "--max_seq_length=64", "--train_batch_size=4",
            "--save_checkpoints_steps=3", "--log_every_steps=1", *flags,
        ]  # fmt: skip

    def training(self, *flags: str) -> tuple[str, ...]:
        return ("--do_train", f"--train_file={self.sentences}", *flags)

    def evaluation(self, *flags: str) -> tuple[str, ...]:
        return ("--do_eval", f"--eval_file={self.sentences}", *flags)

    def prediction(self, *flags: str) -> tuple[str, ...]:
        return ("--do_predict", f"--predict_file={self.sentences}", *flags)


@pytest.fixture(scope="session")
def data(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("ner"), vocab_folder)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def results(folder: Path) -> dict[str, float]:
    lines = (folder / "eval_results.txt").read_text().splitlines()
    return {name: float(value) for name, value in (line.split(" = ") for line in lines)}


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Its records without what the clock decides."""
    return [
        {name: value for name, value in record.items() if name not in TIMES}
        for record in read_metrics(str(folder / "metrics.jsonl"))
    ]


def last(folder: Path) -> Path:
    return Path(list_checkpoints(str(folder))[-1])


def weights(folder: Path) -> bytes:
    return (last(folder) / "model.safetensors").read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    """Without pages for people, which say how long something took."""
    paths = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".html"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def written(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# With a model of numpy: everything but the backend


LEARNT: dict[bytes, list[int]] = {}


class NumpyBackend:
    """What load_backend returns; its programs say what they were trained on.

    Attributes:
        is_good: (updates, seed) to whether they do; else everything is O.
        answers: the pieces of a stretch to its tags; those of ``finished`` are known.
        heads: (labels, use_crf) that were asked for.
    """

    name, description, precision = "numpy", "1 x numpy", "float32"

    def __init__(self) -> None:
        self.answers = dict(LEARNT)
        self.num_devices = 1
        self.is_good: Callable[[int, int], bool] = lambda steps, seed: True
        self.programs: list[NumpyProgram] = []
        self.heads: list[tuple[list[str], bool]] = []

    def load_head(self, labels: Any, use_crf: bool) -> Head:
        self.heads.append((list(labels), use_crf))
        objective = Objective(
            lambda batch: {"tag_denominator": np.float32(batch["example_weights"].sum())},
            lambda sums: {"loss": sums["tag_loss"] / sums["tag_weight"]},
            (("loss", "loss"),),
        )
        return Head(None, None, objective)  # type: ignore[arg-type]

    def train_program(
        self, config: BertConfig, loss: Any, optimizer: Any, arrays: Arrays, seed: int
    ) -> "NumpyProgram":
        self.programs.append(NumpyProgram(self, optimizer, arrays, seed))
        return self.programs[-1]


class NumpyProgram:
    """Moves every weight a little with each batch; the head's bias counts the updates."""

    def __init__(self, backend: NumpyBackend, optimizer: Any, arrays: Arrays, seed: int):
        self.backend, self.optimizer = backend, optimizer
        self.given: list[Arrays] = []
        self.seeds: list[int] = []
        self.batches: list[Any] = []
        self.restart(arrays, seed)

    def restart(self, arrays: Arrays, seed: int) -> None:
        self.given.append(dict(arrays))
        self.seeds.append(seed)
        self.arrays = {name: array.copy() for name, array in arrays.items()}

    def train_step(self, step: int, batch: Any, scalars: Any, hyper: Any) -> Any:
        assert self.optimizer is not None
        rows = {name: value.reshape(-1, *value.shape[2:]) for name, value in batch.items()}
        self.batches.append(rows)
        for key, tags in zip(keys(rows), rows["tag_ids"], strict=True):
            self.backend.answers[key] = tags.tolist()
        ids = (rows["input_ids"].sum(axis=1) * rows["example_weights"]).sum()
        change = np.float32(ids % 1000 * (self.seeds[-1] + 1)) * hyper["learning_rate"]
        for name, array in self.arrays.items():
            array += 1 if name == TAG_BIAS else change
        count = float(rows["example_weights"].sum())
        sums = {"tag_loss": 2 * count, "tags_right": 0.0, "tag_weight": count}
        return lambda: {**sums, "objective": 2.0, "gradient_norm": 1.0}

    def predictor(self, outputs: Any) -> Any:
        def predict(batch: Any) -> Any:
            assert batch.keys() == {"input_ids", "input_mask", "segment_ids"}
            size, length = batch["input_ids"].shape
            is_good = self.backend.is_good(int(self.arrays[TAG_BIAS][0]), self.seeds[-1])
            # Padding is said to be an entity, and must not be listened to.
            tag_ids = np.full((size, length - 2), 1, np.int32)
            for row, key in enumerate(keys(batch)):
                count = len(key) // 4 - 2
                known = self.backend.answers.get(key) if is_good else None
                tag_ids[row, :count] = known[1 : count + 1] if known else 0
            return {
                "tag_ids": tag_ids,
                "probabilities": np.full((size, length - 2), 0.75, np.float32),
            }

        return predict

    def parameters(self) -> Arrays:
        return {name: array.copy() for name, array in self.arrays.items()}

    def slots(self) -> Arrays:
        return {f"{name}/adam_m": array for name, array in self.parameters().items()}

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        self.arrays = {name: array.copy() for name, array in parameters.items()}


def keys(batch: Any) -> list[bytes]:
    """The pieces of each stretch without padding."""
    lengths = batch["input_mask"].sum(axis=1)
    return [ids[:n].tobytes() for ids, n in zip(batch["input_ids"], lengths, strict=True)]


def install(patch: pytest.MonkeyPatch) -> NumpyBackend:
    """Puts numpy in the place of TensorFlow and JAX; nothing imports Keras."""
    found = NumpyBackend()
    head: Any = ModuleType("bert_ko.tasks.ner.head")
    head.load_head = found.load_head
    patch.setitem(sys.modules, "bert_ko.tasks.ner.head", head)
    patch.setattr(os, "fsync", lambda descriptor: None)
    patch.setattr(fine_tuning, "load_backend", lambda config: found)
    return found


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> NumpyBackend:
    return install(monkeypatch)


Run = Callable[..., int]
Refusal = Callable[..., str]
Captured = pytest.CaptureFixture[str]


def run_here(data: Data, output: Path | str, *flags: str) -> int:
    """Runs the command in this process; returns its exit status."""
    return run_command(RunNerConfig, run, data.arguments(output, *flags))


@pytest.fixture
def command(backend: NumpyBackend, data: Data) -> Run:
    return functools.partial(run_here, data)


@pytest.fixture(scope="module")
def finished(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has trained, evaluated and predicted; to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        backend = install(patch)
        flags = data.training(*data.evaluation(*data.prediction()))
        assert run_here(data, folder, *flags) == 0
    LEARNT.update(backend.answers)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of ``finished``."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def error_of(captured: Captured, status: int) -> str:
    assert status == 1
    (line,) = [x for x in captured.readouterr().err.splitlines() if "error" in x]
    assert line.startswith("run_ner: error: ")
    return line.removeprefix("run_ner: error: ")


@pytest.fixture
def refusal(command: Run, capsys: Captured) -> Refusal:
    """The error of a command."""

    def refuse(*args: Any) -> str:
        capsys.readouterr()
        return error_of(capsys, command(*args))

    return refuse


@pytest.fixture
def early_refusal(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """The same of an error that must come before TensorFlow is loaded."""

    def load_backend(config: object) -> None:
        raise AssertionError("the backend is loaded before the error")

    def refuse(*args: Any) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(fine_tuning, "load_backend", load_backend)
            return refusal(*args)

    return refuse


def assert_learnt(path: Path, lines: Any = TAGGED, has_gold: bool = False) -> None:
    """What stands in PATH.jsonl and PATH.txt is what the sentences say."""
    found = records(path.with_suffix(".jsonl"))
    assert [record["id"] for record in found] == [f"s-{n + 1}" for n in range(len(lines))]
    for record, line in zip(found, lines, strict=True):
        text, entities = parse(line)
        assert (record["text"], record["tagged"]) == (text, line)
        assert record["tags"] == list(from_entities(entities, len(text)))
        for one, other in zip(record["entities"], entities, strict=True):
            assert text[one["start"] : one["end"]] == one["text"]
            assert (one["type"], one["start"], one["end"]) == tuple(other)
            assert 0 < one["probability"] <= 1
        keys = {"id", "text", "tagged", "entities", "tags"}
        assert record.keys() == keys | ({"gold"} if has_gold else set())
        if has_gold:
            values = [
                {k: v for k, v in e.items() if k != "probability"} for e in record["entities"]
            ]
            assert record["gold"] == values
    assert path.with_suffix(".txt").read_text("utf-8") == "".join(
        f"s-{number}\t{line}\n" for number, line in enumerate(lines, start=1)
    )


# What a run writes


def test_run_writes_what_later_commands_need(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    assert command(tmp_path, *data.training(*data.evaluation(*data.prediction()))) == 0
    # 20 sentences in batches of 4, 3 epochs.
    kept = [f"checkpoint-{step:08d}" for step in (3, 6, 9, 12, 15)]
    assert written(tmp_path) == sorted([
        ".lock", "bert_config.json", *kept, "eval_predictions.jsonl", "eval_predictions.txt",
        "eval_results.txt", "labels.json", "metrics.jsonl", "report.html", "run.json",
        "tensorboard", "test_predictions.jsonl", "test_predictions.txt", "tokenizer_config.json",
        "vocab.txt",
    ])  # fmt: skip
    assert_learnt(tmp_path / "test_predictions")
    assert_learnt(tmp_path / "eval_predictions", has_gold=True)
    printed = capsys.readouterr().out
    assert f"{data.sentences}: 20 sentences, 30 entities, a tag a character\n" in printed
    assert (tmp_path / "eval_results.txt").read_text() in printed
    assert re.search(r"\nPS +100\.00 +100\.00 +100\.00 +7 +7\n", printed)
    assert f"20 sentences predicted: {tmp_path}/test_predictions.jsonl, " in printed
    assert results(tmp_path) == {
        "accuracy": 100, "f1": 100, "global_step": 15, "klue_char_macro_f1": 100,
        "klue_entity_macro_f1": 100, "macro_f1": 100, "precision": 100, "recall": 100,
        "total": 20, "weighted_f1": 100,
    }  # fmt: skip
    assert read_json(tmp_path / "labels.json") == {"labels": LABELS}
    assert backend.heads == [(LABELS, False)]
    about = read_json(tmp_path / "run.json")
    assert about["identity"]["train_file"][0] == "sentences.tsv"
    assert about["identity"]["extra_train_file"] == []
    assert "eval_file" not in about["identity"]
    assert [r["step"] for r in metrics(tmp_path) if "loss" in r] == list(range(1, 16))
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "sentences.tsv: entities of" in page and "솔내마을" in page


@pytest.mark.parametrize("form", ["naver", "conll"])
def test_run_words_are_tagged_as_words(
    form: str, command: Run, tmp_path: Path, capsys: Captured
) -> None:
    path = WRITERS[form](tmp_path / "words.txt")
    flags = ("--do_train", f"--train_file={path}", "--do_eval", f"--eval_file={path}")
    assert command(tmp_path / "run", *flags, "--do_predict", f"--predict_file={path}") == 0
    assert f"{path}: 20 sentences, 30 entities, a tag a word\n" in capsys.readouterr().out
    found = records(tmp_path / "run" / "test_predictions.jsonl")
    assert [record["tags"] for record in found] == [words(line)[1] for line in TAGGED]
    assert found[0]["tagged"] == "<이보람:PS> 관장은 <솔내마을에서:LC> 산다."
    assert found[7]["entities"] == [
        {"type": "TI", "text": "아침 일곱 시에", "start": 4, "end": 12, "probability": 0.75}
    ]
    assert results(tmp_path / "run")["f1"] == 100


def test_run_scores_are_those_of_the_written_predictions(
    command: Run, backend: NumpyBackend, data: Data, folder: Path, tmp_path: Path
) -> None:
    known = list(backend.answers)
    for key in known[::3]:
        backend.answers[key] = [3] * 64  # LC everywhere, each piece an entity
    assert command(folder, *data.evaluation()) == 0
    found = records(folder / "eval_predictions.jsonl")
    golds = [sentence.tags for sentence in read_dataset(data.sentences).sentences]
    wanted = score_values(score(golds, [record["tags"] for record in found], LABELS))
    assert 0 < wanted["f1"] < 100
    values = results(folder)
    assert {name: values[name] for name in wanted} == pytest.approx(wanted)
    for record, line in zip(found, TAGGED, strict=True):
        assert [(e["type"], e["start"], e["end"]) for e in record["gold"]] == parse(line)[1]


def test_run_prediction_looks_at_no_tags(
    command: Run, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = write_klue(tmp_path / "test.tsv", [parse(line)[0] for line in TAGGED])
    assert command(folder, "--do_predict", f"--predict_file={path}") == 0
    assert_learnt(folder / "test_predictions")


@pytest.mark.parametrize("length", [12, 16, 40])
def test_run_long_sentences_are_cut_and_joined(
    length: int, command: Run, data: Data, tmp_path: Path
) -> None:
    path = write_klue(tmp_path / "long.tsv", [" ".join(TAGGED)])
    flags = ("--do_train", f"--train_file={path}", "--do_eval", f"--eval_file={path}")
    assert command(tmp_path / "run", *flags, f"--max_seq_length={length}") == 0
    assert results(tmp_path / "run")["f1"] == 100
    assert_learnt(tmp_path / "run" / "eval_predictions", [" ".join(TAGGED)], has_gold=True)


def test_run_batch_size_changes_no_tag(command: Run, data: Data, folder: Path) -> None:
    for flag in ("--predict_batch_size=1", "--predict_batch_size=7", "--nolength_buckets"):
        assert command(folder, *data.prediction(flag)) == 0
        assert_learnt(folder / "test_predictions")


def test_run_ill_formed_tags_are_mended_and_counted(
    command: Run, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # only the beginning of a long path would be shown
    others = Path(write_naver(tmp_path / "x")).read_text("utf-8")
    Path("n.txt").write_text(f"보람은 산다 .\tPS_I O O\n{others}", encoding="utf-8")
    flags = ("--do_train", "--train_file=n.txt", "--do_predict", "--predict_file=n.txt")
    assert command(tmp_path / "run", *flags) == 0
    warning = (
        "run_ner: warning: ill_formed_tag: 1 (n.txt:1: I-PS of '보람은' continues no entity; read "
        "as B-PS)\n"
    )
    assert capsys.readouterr().err.count(warning) == 2  # of both files
    found = records(tmp_path / "run" / "test_predictions.jsonl")
    assert found[0]["tags"] == ["B-PS", "O", "O"]


def test_run_tags_that_the_model_does_not_know_are_named_and_counted(
    command: Run, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = write_klue(tmp_path / "other.tsv", [*TAGGED, "<해오름:BK>을 읽었다."])
    assert command(folder, "--do_eval", f"--eval_file={path}") == 0
    assert (
        f"run_ner: warning: {path}: the model does not know the tags B-BK, I-BK; it never predicts "
        "them\n"
    ) in capsys.readouterr().err
    found = results(folder)
    assert found["recall"] == pytest.approx(100 * 30 / 31) and found["precision"] == 100
    # Both labels of it have a share in the mean over labels.
    assert found["klue_char_macro_f1"] < 100 * 14 / 15


# What it is trained on


def test_run_extra_sentences_are_trained_on(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    extra = [
        write_klue(tmp_path / "one.tsv", TAGGED[:2]),
        write_klue(tmp_path / "two.tsv", ["<해오름:BK>을 읽었다."]),
    ]
    flags = data.training(f"--extra_train_file={','.join(extra)}")
    assert command(tmp_path / "run", *flags) == 0
    captured = capsys.readouterr()
    assert (
        f"run_ner: warning: {extra[0]} has no entity of type OG, QT, TI: what {data.sentences} "
        "calls so is O there, or another type\n"
    ) in captured.err
    assert f"{extra[1]}: 1 sentences, 1 entities, a tag a character\n" in captured.out
    assert sum(b["example_weights"].sum() for b in backend.programs[0].batches) == 3 * 23
    assert read_json(tmp_path / "run" / "labels.json")["labels"] == [
        "O",
        "B-BK",
        "I-BK",
        *LABELS[1:],
    ]
    assert read_json(tmp_path / "run" / "run.json")["identity"]["extra_train_file"][1][0] == (
        "two.tsv"
    )


def test_run_extra_sentences_of_another_unit_are_refused(
    early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    path = write_naver(tmp_path / "words.txt")
    assert early_refusal(tmp_path / "run", *data.training(f"--extra_train_file={path}")) == (
        f"--extra_train_file: {path} has a tag a word, but {data.sentences} a tag a character."
    )


def test_run_some_examples_are_drawn_the_same_for_every_seed(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    drawn = []
    for output, seed in (("a", 1), ("b", 2)):
        flags = data.training("--max_train_examples=8", f"--random_seed={seed}")
        assert command(tmp_path / output, *flags) == 0
        assert "trained on 8 of 20 (--max_train_examples)" in capsys.readouterr().out
        batches = backend.programs[-1].batches
        assert len(batches) == 6
        drawn.append({key for batch in batches for key in keys(batch)})
    assert len(drawn[0]) == 8 and drawn[0] == drawn[1]


def test_run_rate_of_the_crf_reaches_the_optimizer(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path
) -> None:
    assert command(tmp_path, *data.training("--use_crf", "--crf_learning_rate_multiple=7")) == 0
    assert backend.programs[0].optimizer.multiples == ((TAG_CRF, 7.0),)
    assert backend.heads == [(LABELS, True)]
    assert backend.programs[0].given[0][TAG_TRANSITIONS].shape == (13, 13)


# Evaluating while training, several seeds, going on


def eval_flags(data: Data, *flags: str) -> tuple[str, ...]:
    return data.training(*data.evaluation("--eval_every_steps=5", *flags))


def test_run_evaluation_keeps_the_best_and_uses_it(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path
) -> None:
    backend.is_good = lambda steps, seed: steps == 5
    assert command(tmp_path, *eval_flags(data)) == 0
    evaluated = {r["step"]: r["eval_f1"] for r in metrics(tmp_path) if "eval_f1" in r}
    assert evaluated == {5: 100, 10: 0, 15: 0}
    assert [os.path.basename(p) for p in list_checkpoints(str(tmp_path), "best")] == [
        "best-00000005"
    ]
    assert (results(tmp_path)["f1"], results(tmp_path)["global_step"]) == (100, 5)
    assert read_json(tmp_path / "run.json")["identity"]["eval_file"][0] == "sentences.tsv"
    before = contents(tmp_path)
    assert command(tmp_path, *data.evaluation()) == 0
    assert contents(tmp_path) == before


def test_run_seeds_are_runs_of_their_own(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    backend.is_good = lambda steps, seed: seed != 6
    flags = data.training(*data.evaluation("--random_seed=5", "--num_seeds=2"))
    assert command(tmp_path, *flags) == 0
    (program,) = backend.programs  # compiled once
    assert program.seeds == [5, 6]
    assert [results(tmp_path / f"seed-{seed}")["f1"] for seed in (5, 6)] == [100, 0]
    summary = results(tmp_path)
    assert (summary["num_seeds"], summary["f1_mean"]) == (2, 50)
    assert summary["f1_stdev"] == pytest.approx(np.std([100, 0], ddof=1))
    assert read_json(tmp_path / "seeds.json")["seeds"] == [5, 6]
    assert "2 seeds" in capsys.readouterr().out
    assert "of the first seed" in (tmp_path / "report.html").read_text("utf-8")
    for name in ("eval_predictions.jsonl", "labels.json", "run.json", "report.html"):
        assert (tmp_path / "seed-6" / name).exists()
    # Each is a tagger by itself.
    assert command(tmp_path / "seed-5", *data.prediction()) == 0
    assert_learnt(tmp_path / "seed-5" / "test_predictions")
    assert command(tmp_path, *data.evaluation("--random_seed=5", "--num_seeds=2")) == 0
    assert results(tmp_path)["f1_mean"] == 50


def test_run_goes_on_from_the_last_checkpoint(
    command: Run, backend: NumpyBackend, data: Data, folder: Path, finished: Path, capsys: Captured
) -> None:
    for path in list_checkpoints(str(folder))[1:]:
        shutil.rmtree(path)
    assert command(folder, *data.training(*data.evaluation(*data.prediction()))) == 0
    assert "going on from step 3" in capsys.readouterr().out
    assert len(backend.programs[0].batches) == 12
    assert metrics(folder) == metrics(finished)
    assert weights(folder) == weights(finished)
    assert_learnt(folder / "test_predictions")


@pytest.mark.parametrize(
    "flag",
    ["--use_crf", "--crf_learning_rate_multiple=1", "--max_train_examples=9", "--random_seed=1"],
)
def test_run_changed_flag_is_an_error_that_names_it(
    flag: str, refusal: Refusal, data: Data, folder: Path
) -> None:
    name = flag.partition("=")[0]
    assert re.fullmatch(
        rf"{last(folder)} is of another run: {name} was \S+, now \S+\. Give the same flags to go "
        r"on, or choose another --output_dir, with this one as --init_checkpoint to begin from "
        r"its weights\.",
        refusal(folder, *data.training(flag)),
    )


def test_run_changed_sentences_are_an_error_that_names_them(
    refusal: Refusal, data: Data, folder: Path, tmp_path: Path
) -> None:
    path = write_klue(tmp_path / "fewer.tsv", TAGGED[1:])
    message = refusal(folder, "--do_train", f"--train_file={path}")
    assert "is of another run: --train_file had 'sentences.tsv', now 'fewer.tsv'." in message
    message = refusal(folder, *data.training(f"--extra_train_file={path}"))
    assert "is of another run: --extra_train_file had 0 items, now 1. Give" in message


# A tagger that is trained already


def test_run_prediction_alone_needs_no_file_to_train_on(
    command: Run, backend: NumpyBackend, data: Data, folder: Path
) -> None:
    (last(folder) / "optimizer.safetensors").unlink()
    before = contents(folder)
    (folder / "test_predictions.jsonl").unlink()
    assert command(folder, *data.prediction("--learning_rate=1", "--train_file=/gone")) == 0
    assert contents(folder) == before
    assert backend.heads == [(LABELS, False)]
    assert backend.programs[0].optimizer is None


def test_run_prediction_alone_of_an_init_checkpoint(
    command: Run, data: Data, folder: Path, tmp_path: Path
) -> None:
    flags = data.prediction(f"--init_checkpoint={folder}")
    assert command(tmp_path / "new", *flags) == 0
    assert_learnt(tmp_path / "new" / "test_predictions")
    assert list_checkpoints(str(tmp_path / "new")) == []


def test_run_without_labels_those_of_the_sentences_are_taken(
    command: Run, refusal: Refusal, backend: NumpyBackend, data: Data, folder: Path
) -> None:
    (folder / "labels.json").unlink()
    assert refusal(folder, *data.prediction()) == (
        f"no labels.json beside {folder}; give the --train_file that the model was trained on, for "
        "its labels."
    )
    assert command(folder, *data.prediction(f"--train_file={data.sentences}")) == 0
    assert backend.heads[-1] == (LABELS, False)
    assert_learnt(folder / "test_predictions")


def test_run_labels_that_are_no_tags_are_refused(
    early_refusal: Refusal, data: Data, folder: Path
) -> None:
    (folder / "labels.json").write_text('{"labels": ["O", "PS-B", "PS-I", "정치", "B-"]}')
    assert early_refusal(folder, *data.prediction()) == (
        f"the labels of {folder} must be O, B-TYPE or I-TYPE, got PS-B, PS-I, 정치 and 1 more; "
        "give weights that were trained for tags."
    )


def test_run_training_begins_with_weights_of_other_tags(
    command: Run, backend: NumpyBackend, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = write_klue(tmp_path / "other.tsv", ["<해오름:BK>을 읽었다."] * 4)
    flags = ("--do_train", f"--train_file={path}", f"--init_checkpoint={folder}")
    assert command(tmp_path / "second", *flags) == 0
    count = len(encoder_specs(BertConfig(**MODEL), has_pooler=False))  # type: ignore[arg-type]
    assert f"{count} variables loaded, 2 new, 0 not used" in capsys.readouterr().out
    assert backend.programs[0].given[0][TAG_WEIGHTS].shape == (3, 16)


@pytest.mark.parametrize("use_crf", [False, True])
def test_run_crf_that_the_weights_were_not_trained_with_is_refused(
    use_crf: bool, command: Run, early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    trained, other = ("--use_crf", "--nouse_crf") if use_crf else ("--nouse_crf", "--use_crf")
    folder = tmp_path / "run"
    assert command(folder, *data.training(trained)) == 0
    how, what = ("with", "give") if use_crf else ("without", "leave out")
    message = f"{folder} was trained {how} --use_crf; {what} the flag."
    assert early_refusal(folder, *data.prediction(other)) == message
    checkpoint = f"--init_checkpoint={folder}"
    assert early_refusal(tmp_path / "new", *data.prediction(other, checkpoint)) == message
    assert command(folder, *data.prediction(trained)) == 0
    assert command(tmp_path / "new", *data.prediction(trained, checkpoint)) == 0
    # Trained on, it has what it needs.
    assert command(tmp_path / "other", *data.training(other, checkpoint)) == 0


def test_run_crf_of_the_best_weights_alone_is_known(
    command: Run, early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    assert command(tmp_path, *eval_flags(data, "--use_crf")) == 0
    for path in list_checkpoints(str(tmp_path)):
        shutil.rmtree(path)
    message = f"{tmp_path} was trained with --use_crf; give the flag."
    assert early_refusal(tmp_path, *data.prediction()) == message


def test_run_crf_of_foreign_weights_without_one_is_refused(
    refusal: Refusal, data: Data, folder: Path, tmp_path: Path
) -> None:
    for path in list_checkpoints(str(folder)):
        state = read_json(Path(path) / "state.json")
        del state["identity"]  # as convert_checkpoint leaves it
        (Path(path) / "state.json").write_text(json.dumps(state))
    assert refusal(folder, *data.prediction("--use_crf")) == (
        f"{folder} was trained for another task: cls/tags/crf/transitions must have shape "
        "[13, 13], and there is no such variable."
    )
    flags = data.prediction("--use_crf", f"--init_checkpoint={folder}")
    assert refusal(tmp_path / "new", *flags) == (
        f"--init_checkpoint: {last(folder)} lacks cls/tags/crf/transitions, cls/tags/crf/start, "
        "cls/tags/crf/end; it was not trained for this task. Give --do_train."
    )


def test_run_weights_without_a_head_are_refused(
    refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    config = BertConfig(**MODEL)  # type: ignore[arg-type]
    arrays = initial_parameters(pretraining_specs(config), 0.02, 1)
    (tmp_path / "other").mkdir()
    state = {"step": 7, "tokenizer_fingerprint": None}
    save_checkpoint(str(tmp_path / "other"), 7, Checkpoint(arrays, {}, state), config, 0)
    flags = data.prediction(f"--init_checkpoint={tmp_path}/other")
    assert refusal(tmp_path / "run", *flags) == (
        f"no labels.json beside {tmp_path}/other; give the --train_file that the model was trained "
        "on, for its labels."
    )
    assert refusal(tmp_path / "run", *flags, f"--train_file={data.sentences}") == (
        f"--init_checkpoint: {tmp_path}/other/checkpoint-00000007 lacks cls/tags/output_weights, "
        "cls/tags/output_bias; it was not trained for this task. Give --do_train."
    )


# Without a dataset


def printed_records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


TRIAL = "".join(f"{parse(line)[0]}\n" for line in TAGGED[:2]) + "\n \n처음 보는 말.\r\n\u200b\n"


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_run_input_file_prints_tags_as_json(
    source: str, command: Run, folder: Path, tmp_path: Path, capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "texts.txt"
    path.write_bytes(TRIAL.encode())
    if source != "file":
        stdin = SimpleNamespace(buffer=io.BytesIO(TRIAL.encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
    before = contents(folder)
    assert command(folder, f"--input_file={path if source == 'file' else '-'}") == 0
    found = printed_records(capsys.readouterr().out)
    assert [(r["id"], r["tagged"]) for r in found] == [
        ("1", TAGGED[0]), ("2", TAGGED[1]), ("5", "처음 보는 말."), ("6", "\u200b"),
    ]  # fmt: skip
    assert found[0]["entities"] == [
        {"type": "PS", "text": "이보람", "start": 0, "end": 3, "probability": 0.75},
        {"type": "LC", "text": "솔내마을", "start": 8, "end": 12, "probability": 0.75},
    ]
    assert found[3] == {
        "id": "6",
        "text": "\u200b",
        "tagged": "\u200b",
        "entities": [],
        "tags": ["O"],
    }
    assert contents(folder) == before


def test_run_input_file_without_text_prints_nothing(
    command: Run, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n \n")
    assert command(folder, f"--input_file={path}") == 0
    assert printed_records(capsys.readouterr().out) == []


def test_run_input_file_in_cp949_names_the_line(
    refusal: Refusal, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("하나\n".encode() + "둘\n".encode("cp949"))
    assert refusal(folder, f"--input_file={path}") == (
        f"{path}:2: not UTF-8 text (CP949? `iconv -f cp949 -t utf-8`)."
    )


def test_run_interactive_tags_what_is_typed(
    command: Run, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(TRIAL))
    assert command(folder, "--interactive") == 0
    printed = capsys.readouterr().out.split("type a sentence; Ctrl-D ends\n")[1]
    assert printed == f"→ {TAGGED[0]}\n→ {TAGGED[1]}\n→ 처음 보는 말.\n→ \u200b\n"


# What is refused


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give --do_train, --do_eval, --do_predict, --input_file or --interactive."),
        (("--do_train",), "--do_train needs --train_file, or --data_dir."),
        (("--do_eval",), "--do_eval needs --eval_file, or --data_dir."),
        (("--do_predict",), "--do_predict needs --predict_file, or --data_dir."),
        (("--do_train", "--train_file=x", "--eval_every_steps=5"),
         "--eval_every_steps needs --eval_file, or --data_dir."),
        (("--interactive", "--num_seeds=2"),
         "--interactive and --input_file try one model; give its seed-N folder as --output_dir, "
         "and no --num_seeds."),
        (("--interactive", "--max_seq_length=2"), "--max_seq_length must be at least 3, got 2."),
        (("--interactive", "--max_seq_length=65"),
         "--max_seq_length=65, but the model has 64 positions (max_position_embeddings in "
         "{config}); lower the flag."),
        (("--interactive", "--crf_learning_rate_multiple=-1"),
         "--crf_learning_rate_multiple must be in [0, 1e6), got -1.0."),
        (("--interactive", "--file_format=xml"),
         "--file_format must be one of auto, klue, naver, conll, got 'xml'."),
        (("--interactive",),
         "no checkpoint in {folder}; give --do_train, or --init_checkpoint with a tagger."),
        (("--do_eval", "--eval_file=x", "--num_seeds=2"),
         "no checkpoint in {folder}/seed-12345; give --do_train, or --init_checkpoint with a "
         "tagger."),
        (("--do_train", "--train_file=/nowhere.tsv"), "/nowhere.tsv: No such file or directory"),
    ],
)  # fmt: skip
def test_run_flags_that_make_no_sense_are_refused(
    flags: tuple[str, ...], message: str, early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    wanted = message.format(config=data.config, folder=tmp_path / "run")
    assert early_refusal(tmp_path / "run", *flags) == wanted


@pytest.mark.parametrize("name", ["extra_train_file", "eval_file", "predict_file"])
def test_run_missing_file_is_named(
    name: str, early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    flags = data.training(*data.evaluation(*data.prediction(f"--{name}=/nowhere.tsv")))
    assert early_refusal(tmp_path / "run", *flags) == "/nowhere.tsv: No such file or directory"


def test_run_empty_files_are_refused(early_refusal: Refusal, data: Data, tmp_path: Path) -> None:
    path = tmp_path / "empty.tsv"
    path.write_text(" \n\n")
    wanted = f"{path} is empty; expected tagged sentences."
    assert early_refusal(tmp_path / "run", "--do_train", f"--train_file={path}") == wanted
    flags = data.training(*data.evaluation(f"--eval_file={path}"))
    assert early_refusal(tmp_path / "run", *flags) == wanted


def test_run_nothing_to_learn_is_refused(early_refusal: Refusal, tmp_path: Path) -> None:
    path = write_klue(tmp_path / "none.tsv", ["눈이 온다.", "비가 온다."])
    assert early_refusal(tmp_path / "run", "--do_train", f"--train_file={path}") == (
        f"{path} has no entity; there is nothing to learn from it."
    )
    path = write_klue(tmp_path / "invisible.tsv", ["<\u200b:PS>"])
    assert early_refusal(tmp_path / "run", "--do_train", f"--train_file={path}") == (
        f"{path} has no sentence with pieces to train on."
    )


def test_run_evaluates_what_has_no_pieces(command: Run, folder: Path, tmp_path: Path) -> None:
    path = write_klue(tmp_path / "invisible.tsv", ["<\u200b:PS>"])
    assert command(folder, "--do_eval", f"--eval_file={path}") == 0
    assert results(folder)["recall"] == 0
    assert records(folder / "eval_predictions.jsonl")[0]["tags"] == ["O"]


def test_run_data_dir_without_files_is_refused(early_refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert early_refusal(tmp_path / "run", "--do_train", f"--data_dir={tmp_path}/data") == (
        f"--data_dir={tmp_path}/data has no file for train; looked for train.tsv, train.txt, "
        "train.conll, klue-ner-v1.1_train.tsv, klue-ner-v1_train.tsv."
    )


@pytest.mark.parametrize("name", ["{}.txt", "{}.conll", "klue-ner-v1.1_{}.tsv"])
def test_run_data_dir_has_the_files_of_all_splits(name: str, command: Run, tmp_path: Path) -> None:
    for split, lines in (("train", TAGGED), ("dev", TAGGED[:9]), ("test", TAGGED[:3])):
        write_klue(tmp_path / name.format(split), lines)
    flags = (f"--data_dir={tmp_path}", "--do_train", "--do_eval", "--do_predict")
    assert command(tmp_path / "run", *flags) == 0
    assert results(tmp_path / "run")["total"] == 9
    assert_learnt(tmp_path / "run" / "test_predictions", TAGGED[:3])


# The launcher


def test_command_help_answers_without_a_framework() -> None:
    code = (
        "import sys; sys.argv = ['x', '--help']\nfrom bert_ko.run_ner import main\nmain()\n"
        "print(*sys.modules, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    found = set(done.stdout.splitlines())
    assert not found & {"tensorflow", "keras", "jax", "torch", "transformers"}
    assert "bert_ko.run_ner" in found
    for flag in ("train_file", "[no]use_crf", "extra_train_file", "file_format", "num_seeds"):
        assert any(line.startswith(f"  --{flag} (") for line in found)


# With TensorFlow and JAX, in processes of their own


class Command:
    """Runs the command with a backend; JAX keeps what it has compiled for the next run."""

    def __init__(self, vocab: str, folder: Path):
        self.vocab, self.folder = vocab, folder
        self.config = write_config(
            folder / "bert_config.json", hidden_size=32, num_hidden_layers=2, hidden_dropout_prob=0,
            attention_probs_dropout_prob=0, intermediate_size=64, initializer_range=0.1,
        )  # fmt: skip

    def start(self, output: Path, *flags: str, backend: str = "tensorflow") -> Any:
        """Begins a run; what it prints is appended to OUTPUT.log."""
        arguments = [
            f"--vocab_file={self.vocab}", f"--bert_config_file={self.config}",
            f"--output_dir={output}", "--max_seq_length=32", "--precision=float32",
            "--log_every_steps=1", *flags,
        ]  # fmt: skip
        environment = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"}
        with open(f"{output}.log", "a") as log:
            return subprocess.Popen(
                [sys.executable, str(REPOSITORY / "bin/run_ner"), *arguments],
                stdout=log, stderr=log, text=True, env=environment, cwd=REPOSITORY,
            )  # fmt: skip

    def run(self, output: Path, *flags: str, backend: str = "tensorflow") -> str:
        """Runs to the end; returns all that the runs have printed."""
        process = self.start(output, *flags, backend=backend)
        status = process.wait(600)
        text = Path(f"{output}.log").read_text("utf-8")
        assert status == 0, text
        return text


@pytest.fixture(scope="module")
def process(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(vocab_folder, tmp_path_factory.mktemp("process"))


def by_heart(path: str) -> tuple[str, ...]:
    return (
        "--do_train", f"--train_file={path}", "--do_eval", f"--eval_file={path}",
        # Of 40 epochs one of three seeds left a tag wrong.
        "--train_batch_size=10", "--num_train_epochs=80", "--learning_rate=5e-3",
        "--optimizer=adamw", "--random_seed=1", "--save_checkpoints_steps=1000",
        "--crf_learning_rate_multiple=5",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("use_crf", [False, True], ids=["plain", "crf"])
@pytest.mark.parametrize("form", ["klue", "naver", "conll"])
def test_command_small_model_learns_sentences_by_heart(
    form: str, use_crf: bool, process: Command, tmp_path: Path
) -> None:
    path = WRITERS[form](tmp_path / "sentences.txt")
    flag = "--use_crf" if use_crf else "--nouse_crf"
    output = tmp_path / "run"
    printed = process.run(output, *by_heart(path), flag)
    assert "Traceback" not in printed
    assert (results(output)["f1"], results(output)["total"]) == (100, 20)
    assert metrics(output)[-1]["accuracy"] > 0.95
    found = records(output / "eval_predictions.jsonl")
    if form == "klue":
        assert_learnt(output / "eval_predictions", has_gold=True)
        # The other backend reads the same from it.
        other = tmp_path / "other"
        flags = ("--do_predict", f"--predict_file={path}", f"--init_checkpoint={output}", flag)
        process.run(other, *flags, backend="jax")
        for one, two in zip(found, records(other / "test_predictions.jsonl"), strict=True):
            assert one["tags"] == two["tags"]
            chances = [[e["probability"] for e in r["entities"]] for r in (one, two)]
            assert chances[0] == pytest.approx(chances[1], abs=1e-3)
    else:
        assert [record["tags"] for record in found] == [words(line)[1] for line in TAGGED]


@pytest.mark.slow
def test_command_killed_goes_on_to_the_same_bits(process: Command, tmp_path: Path) -> None:
    path = write_klue(tmp_path / "sentences.tsv")
    flags = (
        *by_heart(path), "--use_crf", "--num_train_epochs=8", "--save_checkpoints_steps=5",
        "--gradient_accumulation_steps=2",
    )  # fmt: skip
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "run"
    process.run(undisturbed, *flags)
    running = process.start(output, *flags)
    log, deadline = output / "metrics.jsonl", time.monotonic() + 600
    while not (log.exists() and log.read_bytes().count(b"\n") >= 7):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.0005)
    running.send_signal(signal.SIGKILL)
    assert running.wait(60) == -signal.SIGKILL
    assert re.search(r"going on from step (5|10)\n", process.run(output, *flags))
    assert metrics(output) == metrics(undisturbed)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (last(output) / name).read_bytes() == (last(undisturbed) / name).read_bytes()
    for name in ("eval_predictions.jsonl", "eval_results.txt"):
        assert (output / name).read_bytes() == (undisturbed / name).read_bytes()
    best = load_checkpoint(str(last(output)), with_slots=False).parameters
    specs = tag_specs(BertConfig.from_json(Path(process.config).read_text(), "x"), 13, use_crf=True)
    assert {name: array.shape for name, array in best.items()} == {
        name: spec.shape for name, spec in specs.items()
    }
