"""The command from end to end: with a model of numpy what it accepts and refuses, and what it
writes; then in processes of their own with TensorFlow and JAX, killed and started again.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bert_ko.convert_checkpoint import ConvertCheckpointConfig
from bert_ko.convert_checkpoint import run as convert
from bert_ko.flags import run_command
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import (
    CLASS_BIAS,
    CLASS_WEIGHTS,
    POOLER,
    Arrays,
    class_specs,
    initial_parameters,
    pretraining_specs,
    tag_specs,
)
from bert_ko.run_classifier import RunClassifierConfig, run
from bert_ko.tasks import fine_tuning
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.checkpoints import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from bert_ko.training.labels import write_labels
from bert_ko.training.metrics import read_metrics
from bert_ko.training.objective import Objective

REPOSITORY = Path(__file__).parents[1]
MODEL = {
    "vocab_size": 1500, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64,
}  # fmt: skip
CONFIG = BertConfig(**MODEL)  # type: ignore[arg-type]
TEXTS = {
    "날씨": [
        "오늘은 비가 온다", "내일은 눈이 내린다", "바람이 많이 분다", "하늘이 맑고 해가 난다",
        "구름이 낮게 깔렸다", "밤에는 기온이 내려간다", "아침에 안개가 짙다", "봄에는 따뜻하다",
    ],
    "음식": [
        "밥을 먹고 물을 마신다", "시장에서 생선을 샀다", "어머니가 국을 끓인다", "사과가 달다",
        "점심에 국수를 먹었다", "빵을 굽는 냄새가 난다", "김치는 조금 맵다", "저녁은 쌀밥이다",
    ],
    "책": [
        "도서관에서 책을 빌렸다", "소설을 밤새 읽었다", "시인은 시를 쓴다", "책방은 학교 앞에 있다",
        "글을 읽는 사람이 많다", "이 책은 역사를 말한다", "신문을 날마다 읽는다", "편지를 썼다",
    ],
}  # fmt: skip
LABELS = tuple(TEXTS)
EXAMPLES = [(texts[row], label) for row in range(8) for label, texts in TEXTS.items()]
TIMES = ("tokens_per_second", "seconds")
EVALUATED = ["confusion_matrix.svg", "eval_predictions.jsonl", "eval_results.txt"]
PREDICTED = ["test_predictions.jsonl", "test_results.tsv"]


def write_table(path: Path, rows: Sequence[Sequence[object]], *columns: str) -> str:
    lines = ["\t".join(map(str, row)) for row in (columns, *rows)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def write_texts(path: Path, examples: Any = EXAMPLES) -> str:
    return write_table(path, examples, "text", "label")


def write_config(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({**MODEL, **changes}))
    return str(path)


class Data:
    """A vocabulary, the texts above, and the model's config."""

    def __init__(self, folder: Path, vocab: str):
        self.vocab = vocab
        self.texts = write_texts(folder / "texts.tsv")
        self.config = write_config(folder / "bert_config.json")

    def arguments(self, output: Path | str, *flags: str) -> list[str]:
        """What every run needs; a flag that is given again has its last value."""
        return [
            "--task_name=tsv", f"--bert_config_file={self.config}", f"--vocab_file={self.vocab}",
            f"--output_dir={output}", "--max_seq_length=32", "--train_batch_size=4",
            "--save_checkpoints_steps=4", "--log_every_steps=1", *flags,
        ]  # fmt: skip

    def training(self, *flags: str) -> tuple[str, ...]:
        return ("--do_train", f"--train_file={self.texts}", *flags)

    def evaluation(self, *flags: str) -> tuple[str, ...]:
        return ("--do_eval", f"--eval_file={self.texts}", *flags)

    def prediction(self, *flags: str) -> tuple[str, ...]:
        return ("--do_predict", f"--predict_file={self.texts}", *flags)


@pytest.fixture(scope="session")
def data(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("classifier"), vocab_folder)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows_of(folder: Path) -> list[list[float]]:
    lines = (folder / "test_results.tsv").read_text().splitlines()
    return [[float(cell) for cell in line.split("\t")] for line in lines]


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


# With a model of numpy: everything but the backend


LEARNT: dict[bytes, float] = {}


class NumpyBackend:
    """What load_backend returns; its programs answer from what they were trained on.

    Attributes:
        is_good: (updates, seed) to whether the answers are right; else each is the first label.
        answers: the pieces of a text to its target; those of ``finished`` are known.
    """

    name, description, precision = "numpy", "1 x numpy", "float32"

    def __init__(self) -> None:
        self.answers = dict(LEARNT)
        self.num_devices = 1
        self.is_good: Callable[[int, int], bool] = lambda steps, seed: True
        self.programs: list[NumpyProgram] = []

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
        total = (rows["label_weights"] * rows["example_weights"]).sum()
        assert scalars == {"label_denominator": total}
        for key, target in zip(keys(rows), rows["targets"], strict=True):
            self.backend.answers[key] = float(target)
        ids = (rows["input_ids"].sum(axis=1) * rows["example_weights"]).sum()
        change = np.float32(ids % 1000 * (self.seeds[-1] + 1)) * hyper["learning_rate"]
        for name, array in self.arrays.items():
            array += 1 if name == CLASS_BIAS else change
        return lambda: {"loss_sum": 2.0, "objective": 2.0, "gradient_norm": 1.0}

    def predictor(self, outputs: str) -> Any:
        count = len(self.arrays[CLASS_BIAS])

        def predict(batch: Any) -> Any:
            assert batch.keys() == {"input_ids", "input_mask", "segment_ids"}
            is_good = self.backend.is_good(int(self.arrays[CLASS_BIAS][0]), self.seeds[-1])
            found = [self.backend.answers.get(key, 0) if is_good else 0 for key in keys(batch)]
            if outputs == "scores":
                return {"scores": np.array(found, np.float32)}
            chosen = np.eye(count, dtype=np.float32)[np.array(found, int)]
            return {"probabilities": 0.7 * chosen + np.float32(0.3 / count)}

        return predict

    def parameters(self) -> Arrays:
        return {name: array.copy() for name, array in self.arrays.items()}

    def slots(self) -> Arrays:
        return {f"{name}/adam_m": array for name, array in self.parameters().items()}

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        self.arrays = {name: array.copy() for name, array in parameters.items()}


def keys(batch: Any) -> list[bytes]:
    """The pieces of each text without padding."""
    lengths = batch["input_mask"].sum(axis=1)
    return [ids[:n].tobytes() for ids, n in zip(batch["input_ids"], lengths, strict=True)]


def install(patch: pytest.MonkeyPatch) -> NumpyBackend:
    """Puts numpy in the place of TensorFlow and JAX; nothing imports Keras."""
    head: Any = ModuleType("bert_ko.tasks.classifier.head")
    head.CLASSES = head.SCORES = Objective(
        lambda b: {"label_denominator": (b["label_weights"] * b["example_weights"]).sum()},
        lambda sums: {"loss": sums["loss_sum"]},
        (("loss", "loss"),),
    )
    head.class_loss = head.score_loss = None
    head.class_outputs, head.score_outputs = "probabilities", "scores"
    patch.setitem(sys.modules, "bert_ko.tasks.classifier.head", head)
    patch.setattr(os, "fsync", lambda descriptor: None)
    found = NumpyBackend()
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
    return run_command(RunClassifierConfig, run, data.arguments(output, *flags))


@pytest.fixture
def command(backend: NumpyBackend, data: Data) -> Run:
    return functools.partial(run_here, data)


@pytest.fixture(scope="module")
def finished(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has trained, evaluated and predicted; to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        backend = install(patch)
        flags = data.training(*data.evaluation(), *data.prediction())
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
    assert line.startswith("run_classifier: error: ")
    return line.removeprefix("run_classifier: error: ")


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


def warnings_of(error: str) -> list[str]:
    """Without the lines of progress."""
    start = "run_classifier: warning: "
    return [x.removeprefix(start) for x in error.splitlines() if x.startswith(start)]


def save_weights(
    folder: Path, arrays: Arrays, labels: Sequence[str] | None = None, tokenizer: str | None = None
) -> str:
    """A folder with one checkpoint."""
    folder.mkdir()
    state = {"step": 7, "tokenizer_fingerprint": tokenizer}
    save_checkpoint(str(folder), 7, Checkpoint(arrays, {}, state), CONFIG, 0)
    if labels is not None:
        write_labels(str(folder), labels)
    return str(folder)


# What a run leaves


def test_run_writes_what_later_commands_need(finished: Path, data: Data) -> None:
    steps = [f"checkpoint-{step:08d}" for step in (4, 8, 12, 16, 18)]
    assert sorted(os.listdir(finished)) == sorted([
        ".lock", "bert_config.json", *steps, *EVALUATED, *PREDICTED, "labels.json",
        "metrics.jsonl", "report.html", "run.json", "tensorboard", "tokenizer_config.json",
        "vocab.txt",
    ])  # fmt: skip
    assert read_json(finished / "labels.json") == {"labels": ["날씨", "음식", "책"]}
    # Each is sure by 0.8: 0.7 and a third of 0.3.
    assert results(finished) == pytest.approx({
        "accuracy": 100, "global_step": 18, "loss": -np.log(0.8), "macro_f1": 100, "mcc": 100,
        "micro_f1": 100, "total": 24, "weighted_f1": 100,
    })  # fmt: skip
    about = read_json(finished / "run.json")
    assert about["flags"]["task_name"] == "tsv" and about["flags"]["max_seq_length"] == 32
    assert about["identity"]["train_file"][0] == "texts.tsv"
    assert about["identity"]["class_weights"] == "none"
    assert "eval_file" not in about["identity"]
    assert load_tokenizer(str(finished)).fingerprint == load_tokenizer(data.vocab).fingerprint
    model = BertConfig.from_json((finished / "bert_config.json").read_text(), "x")
    assert model == CONFIG
    assert load_checkpoint(str(last(finished))).parameters.keys() == class_specs(CONFIG, 3).keys()


def test_run_test_results_are_probabilities_in_the_order_of_the_labels(finished: Path) -> None:
    rows = rows_of(finished)
    assert len(rows) == 24 and {len(row) for row in rows} == {3}
    assert [sum(row) for row in rows] == pytest.approx([1.0] * 24)
    assert [LABELS[int(np.argmax(row))] for row in rows] == [label for _, label in EXAMPLES]


def test_run_predictions_say_nothing_of_the_labels_of_the_file(finished: Path) -> None:
    found = records(finished / "test_predictions.jsonl")
    assert found[1] == {
        "id": "3",
        "text": "밥을 먹고 물을 마신다",
        "label": "음식",
        "probability": 0.8,
        "probabilities": {"날씨": 0.1, "음식": 0.8, "책": 0.1},
    }
    evaluated = records(finished / "eval_predictions.jsonl")
    assert [(r["id"], r["text"], r.pop("gold")) for r in evaluated] == [
        (str(line), text, label) for line, (text, label) in enumerate(EXAMPLES, start=2)
    ]
    assert evaluated == found


def test_run_prints_what_is_written(
    command: Run, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    flags = data.training(*data.evaluation(), *data.prediction())
    assert command(tmp_path / "run", *flags) == 0
    out, error = capsys.readouterr()
    assert warnings_of(error) == []
    assert out.startswith(f"{data.texts}: 24 examples\n" * 3 + "1 x numpy, float32; 0.0 million")
    assert (tmp_path / "run" / "eval_results.txt").read_text() in out
    assert f"24 texts predicted: {tmp_path}/run/test_results.tsv\n" in out
    assert re.search(r"label +precision +recall +F1 +support +predicted\n", out)


def test_run_evaluation_counts_what_is_wrong(
    command: Run, backend: NumpyBackend, data: Data, folder: Path
) -> None:
    backend.is_good = lambda steps, seed: False  # all are 날씨
    assert command(folder, *data.evaluation()) == 0
    found = results(folder)
    assert found["accuracy"] == pytest.approx(100 / 3) and found["macro_f1"] == pytest.approx(
        50 / 3
    )
    assert found["loss"] == pytest.approx(-(np.log(0.8) + 2 * np.log(0.1)) / 3)


@pytest.mark.parametrize("size", [1, 5, 64])
def test_run_batch_size_changes_no_prediction(
    size: int, command: Run, data: Data, folder: Path
) -> None:
    before = contents(folder)
    sizes = (f"--predict_batch_size={size}", f"--eval_batch_size={size}", "--nolength_buckets")
    assert command(folder, *data.prediction(*data.evaluation(*sizes))) == 0
    assert contents(folder) == before


def test_run_prediction_alone_of_a_finished_run(
    command: Run, backend: NumpyBackend, data: Data, folder: Path
) -> None:
    (last(folder) / "optimizer.safetensors").unlink()
    before = contents(folder)
    for name in PREDICTED:
        (folder / name).unlink()
    flags = ("--learning_rate=1", "--train_batch_size=64", f"--train_file={folder}/gone")
    assert command(folder, *data.prediction(*flags)) == 0
    assert contents(folder) == before
    (program,) = backend.programs
    assert program.optimizer is None and program.arrays[CLASS_BIAS][0] == 18


def test_run_texts_without_labels_are_predicted(command: Run, folder: Path, tmp_path: Path) -> None:
    path = write_table(tmp_path / "test.csv", [["밥을 먹고 물을 마신다"]], "text")
    before = rows_of(folder)
    assert command(folder, "--do_predict", f"--predict_file={path}") == 0
    assert rows_of(folder) == [before[1]]


# Forms of tasks


def test_run_nsmc_files_are_found_in_the_folder(
    command: Run, tmp_path: Path, capsys: Captured
) -> None:
    rows = [(n, text, int(n % 2)) for n, (text, _) in enumerate(EXAMPLES)]
    write_table(tmp_path / "ratings_train.txt", rows, "id", "document", "label")
    write_table(tmp_path / "ratings_test.txt", rows[:6], "id", "document", "label")
    flags = ("--task_name=nsmc", f"--data_dir={tmp_path}", "--do_train", "--do_eval")
    assert command(tmp_path / "run", *flags, "--do_predict") == 0
    assert capsys.readouterr().out.startswith(
        f"{tmp_path}/ratings_train.txt: 24 examples\n"
        f"{tmp_path}/ratings_test.txt: 6 examples\n{tmp_path}/ratings_test.txt: 6 examples\n"
    )
    assert read_json(tmp_path / "run" / "labels.json") == {"labels": ["0", "1"]}
    assert [row[1] > 0.5 for row in rows_of(tmp_path / "run")] == [False, True] * 3
    assert [r["id"] for r in records(tmp_path / "run" / "test_predictions.jsonl")] == list("012345")
    # --eval_file comes before --data_dir.
    other = write_table(tmp_path / "dev.txt", rows[:2], "id", "document", "label")
    again = ("--task_name=nsmc", f"--data_dir={tmp_path}", "--do_eval", f"--eval_file={other}")
    assert command(tmp_path / "run", *again) == 0
    assert results(tmp_path / "run")["total"] == 2


PAIRS = [(a, b, int(a[0] == b[0])) for a, b in zip(TEXTS["날씨"], TEXTS["책"], strict=True)]
PAIRS += [(text, text, 1) for text in TEXTS["음식"]]


def test_run_pairs_have_two_segments(command: Run, backend: NumpyBackend, tmp_path: Path) -> None:
    rows = [(*pair, f"x{n}") for n, pair in enumerate(PAIRS)]
    path = write_table(tmp_path / "pairs.tsv", rows, "a", "b", "same", "name")
    flags = (
        "--text_column=a", "--text_pair_column=b", "--label_column=same", "--id_column=name",
        "--do_train", f"--train_file={path}", "--do_predict", f"--predict_file={path}",
    )  # fmt: skip
    assert command(tmp_path / "run", *flags) == 0
    batch = backend.programs[0].batches[0]
    assert batch["segment_ids"].max(axis=1).tolist() == [1] * 4
    first = records(tmp_path / "run" / "test_predictions.jsonl")[0]
    assert (first["id"], first["text"], first["text_pair"]) == ("x0", PAIRS[0][0], PAIRS[0][1])
    assert [row[1] > 0.5 for row in rows_of(tmp_path / "run")] == [pair[2] == 1 for pair in PAIRS]


def test_run_paws_leaves_out_what_is_not_translated(
    command: Run, tmp_path: Path, capsys: Captured
) -> None:
    rows = [(n, *pair) for n, pair in enumerate([*PAIRS, ("NS", "NS", 1)])]
    for name in ("translated_train.tsv", "dev_2k.tsv"):
        write_table(tmp_path / name, rows, "id", "sentence1", "sentence2", "label")
    flags = ("--task_name=paws", f"--data_dir={tmp_path}", "--do_train", "--do_eval")
    assert command(tmp_path / "run", *flags) == 0
    assert results(tmp_path / "run")["accuracy"] == 100 and results(tmp_path / "run")["total"] == 16
    assert warnings_of(capsys.readouterr().err) == [
        f"untranslated: 1 ({tmp_path}/{name}:18: 'NS' for a text; left out)"
        for name in ("translated_train.tsv", "dev_2k.tsv")
    ]


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """A folder of KorSTS."""
    columns = ("genre", "filename", "year", "id", "score", "sentence1", "sentence2")
    rows = [("g", "f", 2012, 1, n / 4, a, b) for n, (a, b, _) in enumerate(PAIRS)]
    for split in ("train", "dev", "test"):
        write_table(tmp_path / f"sts-{split}.tsv", rows, *columns)
    return tmp_path


def test_run_regression_has_one_number(
    command: Run, backend: NumpyBackend, scored: Path, capsys: Captured
) -> None:
    folder = scored / "run"
    flags = ("--task_name=korsts", f"--data_dir={scored}")
    assert command(folder, *flags, "--do_train", "--do_eval", "--do_predict") == 0
    assert results(folder) == pytest.approx({
        "global_step": 12, "mae": 0, "mse": 0, "pearson": 100, "spearman": 100, "total": 16,
    })  # fmt: skip
    assert (folder / "test_results.tsv").read_text() == "".join(f"{n / 4}\n" for n in range(16))
    assert records(folder / "eval_predictions.jsonl")[3] == {
        "id": "5", "text": PAIRS[3][0], "text_pair": PAIRS[3][1], "gold": 0.75, "score": 0.75,
    }  # fmt: skip
    assert read_json(folder / "labels.json") == {"labels": []}
    assert not (folder / "confusion_matrix.svg").exists()
    assert backend.programs[0].arrays[CLASS_WEIGHTS].shape == (1, 16)
    path = scored / "one.txt"
    path.write_text(f"{PAIRS[3][0]}\t{PAIRS[3][1]}\n", encoding="utf-8")
    capsys.readouterr()
    assert command(folder, *flags, f"--input_file={path}") == 0
    assert printed_records(capsys.readouterr().out) == [
        {"id": "1", "text": PAIRS[3][0], "text_pair": PAIRS[3][1], "score": 0.75}
    ]


def test_run_regression_of_any_table(command: Run, tmp_path: Path) -> None:
    rows = [(text, n) for n, (text, _) in enumerate(EXAMPLES)]
    path = write_table(tmp_path / "numbers.tsv", rows, "text", "stars")
    flags = ("--task_type=regression", "--label_column=stars", "--do_train", "--do_eval")
    files = (f"--train_file={path}", f"--eval_file={path}")
    assert command(tmp_path / "run", *flags, *files) == 0
    assert results(tmp_path / "run")["pearson"] == pytest.approx(100)


# What is trained on


def test_run_class_weights_reach_the_batches(
    command: Run, backend: NumpyBackend, tmp_path: Path, capsys: Captured
) -> None:
    # 4, 2 and 2 of 8: balanced is 8 / (3 * count).
    chosen = [*EXAMPLES[:6], EXAMPLES[6], EXAMPLES[9]]
    path = write_texts(tmp_path / "few.tsv", chosen)
    for value, shown, wanted in (
        ("none", None, [1, 1, 1]),
        ("balanced", "날씨 0.667, 음식 1.33, 책 1.33", [2 / 3, 4 / 3, 4 / 3]),
        ("음식=2.5, 책=0.5", "날씨 1, 음식 2.5, 책 0.5", [1, 2.5, 0.5]),
    ):
        flags = ("--do_train", f"--train_file={path}", f"--class_weights={value}")
        assert command(tmp_path / value, *flags) == 0
        line = f"class weights: {shown}\n"
        out = capsys.readouterr().out
        assert line in out if shown else "class weights" not in out
        for batch in backend.programs[-1].batches:
            found = np.array(wanted)[batch["targets"]]
            np.testing.assert_allclose(batch["label_weights"], found, rtol=1e-6)


def test_run_max_train_examples_are_the_same_for_every_seed(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    seen = []
    for name, seed in (("a", 1), ("b", 2)):
        flags = data.training("--max_train_examples=8", f"--random_seed={seed}")
        assert command(tmp_path / name, *flags) == 0
        assert "trained on 8 of them (--max_train_examples)\n" in capsys.readouterr().out
        program = backend.programs[-1]
        seen.append({key for batch in program.batches for key in keys(batch)})
        assert len(seen[-1]) == 8 and len(program.batches) == 6
    assert seen[0] == seen[1]
    assert read_json(tmp_path / "a" / "labels.json") == {"labels": list(LABELS)}
    flags = data.training("--max_train_examples=99")
    assert command(tmp_path / "all", *flags) == 0
    assert "of them" not in capsys.readouterr().out and len(backend.programs[-1].batches) == 18


def test_run_empty_texts_are_not_trained_on_but_evaluated(
    command: Run, backend: NumpyBackend, tmp_path: Path, capsys: Captured
) -> None:
    path = write_texts(tmp_path / "some.tsv", [*EXAMPLES[:7], ("", "책"), (" ", "음식")])
    files = ("--do_train", f"--train_file={path}", "--do_eval", f"--eval_file={path}")
    assert command(tmp_path / "run", *files) == 0
    empty = f"empty_text: 2 ({path}:9: a text is empty, {path}:10: a text is empty)"
    assert warnings_of(capsys.readouterr().err) == [
        empty, empty, f"{path}: 2 examples without a text are not trained on",
    ]  # fmt: skip
    assert len({key for batch in backend.programs[0].batches for key in keys(batch)}) == 7
    assert results(tmp_path / "run")["total"] == 9


def test_run_long_texts_and_texts_without_a_piece_are_taken(
    command: Run, backend: NumpyBackend, tmp_path: Path, capsys: Captured
) -> None:
    long = (" ".join(text for text, _ in EXAMPLES), "책")
    path = write_texts(tmp_path / "some.tsv", [*EXAMPLES[:6], long, ("\ufffd", "음식")])
    files = ("--do_train", f"--train_file={path}", "--do_predict", f"--predict_file={path}")
    assert command(tmp_path / "run", *files) == 0
    line = f"{path}: 1 examples are longer than --max_seq_length=32 pieces, and are cut"
    assert warnings_of(capsys.readouterr().err) == [line] * 2
    lengths = [n for b in backend.programs[0].batches for n in b["input_mask"].sum(axis=1)]
    assert (min(lengths), max(lengths)) == (2, 32)
    said = [row.index(max(row)) for row in rows_of(tmp_path / "run")]
    assert said == [0, 1, 2, 0, 1, 2, 2, 1]


def test_run_settings_reach_the_optimizer(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path
) -> None:
    flags = ("--layer_decay=0.9", "--optimizer=lamb", "--learning_rate=0.5", "--num_train_epochs=5")
    assert command(tmp_path, *data.training(*flags)) == 0
    optimizer = backend.programs[0].optimizer
    assert (optimizer.name, optimizer.layer_decay, optimizer.multiples) == ("lamb", 0.9, ())
    assert (optimizer.num_train_steps, optimizer.num_warmup_steps) == (30, 3)


# Evaluating while training


def eval_flags(data: Data, *flags: str) -> tuple[str, ...]:
    return data.training(f"--eval_file={data.texts}", "--eval_every_steps=5", *flags)


def test_run_evaluation_keeps_the_best_and_uses_it(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path
) -> None:
    backend.is_good = lambda steps, seed: steps == 10
    folder = tmp_path / "run"
    assert command(folder, *eval_flags(data, "--do_eval", *data.prediction())) == 0
    evaluated = {r["step"]: r["eval_macro_f1"] for r in metrics(folder) if "eval_macro_f1" in r}
    bad = pytest.approx(50 / 3)
    assert evaluated == {5: bad, 10: 100.0, 15: bad, 18: bad}
    assert [os.path.basename(p) for p in list_checkpoints(str(folder), "best")] == ["best-00000010"]
    assert results(folder)["accuracy"] == 100 and results(folder)["global_step"] == 10
    assert read_json(folder / "run.json")["identity"]["eval_file"][0] == "texts.tsv"
    # Whoever asks the run later gets the same.
    before = contents(folder)
    assert command(folder, *data.prediction(*data.evaluation())) == 0
    assert contents(folder) == before
    # And training went on from its own weights, not from the best.
    assert command(tmp_path / "plain", *data.training()) == 0
    assert weights(folder) == weights(tmp_path / "plain")


def test_run_evaluation_with_other_texts_is_another_run(
    command: Run, refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    assert command(tmp_path / "run", *eval_flags(data)) == 0
    path = write_texts(tmp_path / "other.tsv", EXAMPLES[:5])
    assert refusal(tmp_path / "run", *eval_flags(data, f"--eval_file={path}")) == (
        f"{tmp_path}/run/checkpoint-00000018 is of another run: --eval_file had 'texts.tsv', now "
        "'other.tsv'. Give the same flags to go on, or choose another --output_dir, with this one "
        "as --init_checkpoint to begin from its weights."
    )


# Several seeds


def test_run_seeds_are_runs_of_their_own(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    backend.is_good = lambda steps, seed: seed != 6
    flags = data.training(*data.evaluation(*data.prediction("--random_seed=5", "--num_seeds=2")))
    assert command(tmp_path / "run", *flags) == 0
    (program,) = backend.programs  # compiled once
    assert program.seeds == [5, 6]
    out = capsys.readouterr().out
    assert "\nseed 5\n" in out and "\nseed 6\n" in out and "2 seeds" in out
    found = read_json(tmp_path / "run" / "seeds.json")
    assert found["seeds"] == [5, 6]
    assert [r["accuracy"] for r in found["results"]] == pytest.approx([100, 100 / 3])
    summary = results(tmp_path / "run")
    assert summary["num_seeds"] == 2
    assert summary["accuracy_mean"] == pytest.approx(200 / 3)
    assert summary["accuracy_stdev"] == pytest.approx(np.std([100, 100 / 3], ddof=1))
    assert not {"total_mean", "global_step"} & summary.keys()
    assert sorted(os.listdir(tmp_path / "run")) == [
        ".lock", "eval_results.txt", "report.html", "seed-5", "seed-6", "seeds.json",
    ]  # fmt: skip
    for seed in (5, 6):
        folder = tmp_path / "run" / f"seed-{seed}"
        assert read_json(folder / "labels.json") == {"labels": list(LABELS)}
        assert {*EVALUATED, *PREDICTED, "report.html"} <= set(os.listdir(folder))
        # Each is what a run with this seed alone is.
        assert command(tmp_path / "alone", *data.training(f"--random_seed={seed}")) == 0
        assert weights(tmp_path / "alone") == weights(folder)
        shutil.rmtree(tmp_path / "alone")
    # They predict by themselves, too.
    before = contents(tmp_path / "run")
    alone = data.prediction(*data.evaluation("--random_seed=5", "--num_seeds=2"))
    assert command(tmp_path / "run", *alone) == 0
    assert contents(tmp_path / "run") == before


# Going on


def test_run_goes_on_from_the_last_checkpoint(
    command: Run, data: Data, folder: Path, finished: Path, capsys: Captured
) -> None:
    for path in list_checkpoints(str(folder))[1:]:
        shutil.rmtree(path)
    for name in (*EVALUATED, *PREDICTED, "labels.json"):
        (folder / name).unlink()
    flags = data.training(*data.evaluation(), *data.prediction())
    assert command(folder, *flags) == 0
    assert "going on from step 4" in capsys.readouterr().out
    assert metrics(folder) == metrics(finished) and weights(folder) == weights(finished)
    for name in (*EVALUATED, *PREDICTED, "labels.json"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.parametrize(
    ("flag", "before", "now"),
    [
        ("--class_weights=balanced", "none", "balanced"),
        ("--max_train_examples=20", "None", "20"),
        ("--max_seq_length=30", "32", "30"),
        ("--task_type=regression", "classification", "regression"),
        ("--label_column=text", "label", "text"),
        ("--text_pair_column=label", "None", "label"),
    ],
)  # fmt: skip
def test_run_changed_flag_is_an_error_that_names_it(
    flag: str, before: str, now: str, refusal: Refusal, data: Data, folder: Path, tmp_path: Path
) -> None:
    name = flag.partition("=")[0]
    path = write_texts(tmp_path / "texts.tsv", [(n, n) for n in range(24)])
    message = refusal(folder, *data.training(f"--train_file={path}", flag))
    assert message.startswith(f"{last(folder)} is of another run: ")
    assert f"{name} was {before}, now {now}" in message.replace("'", "")


def test_run_refused_command_leaves_the_run_as_it_was(
    refusal: Refusal, data: Data, folder: Path, tmp_path: Path
) -> None:
    path = write_texts(tmp_path / "other.tsv", [(t, label[0]) for t, label in EXAMPLES])
    before = contents(folder)
    assert refusal(folder, "--do_train", f"--train_file={path}").startswith(
        f"{last(folder)} is of another run: --train_file had 'texts.tsv', now 'other.tsv'."
    )
    assert contents(folder) == before  # labels.json too


def test_run_what_changes_no_weight_may_change(
    command: Run, data: Data, folder: Path, tmp_path: Path
) -> None:
    whole = weights(folder)
    shutil.rmtree(last(folder))
    (tmp_path / "moved").mkdir()
    moved = shutil.copy(data.texts, tmp_path / "moved")
    flags = (
        "--do_train", f"--train_file={moved}", "--do_eval", f"--eval_file={moved}",
        "--eval_batch_size=3", "--predict_batch_size=3", "--id_column=text",
        "--save_checkpoints_steps=1", "--log_every_steps=2",
    )  # fmt: skip
    assert command(folder, *flags) == 0
    assert weights(folder) == whole


# A classifier that is trained already


@pytest.mark.parametrize(
    "place", ["", "checkpoint-00000018", "checkpoint-00000018/model.safetensors"]
)
def test_run_prediction_alone_of_an_init_checkpoint(
    place: str, command: Run, data: Data, folder: Path, tmp_path: Path
) -> None:
    flags = data.prediction(*data.evaluation(f"--init_checkpoint={folder / place}"))
    assert command(tmp_path / "new", *flags) == 0
    for name in (*PREDICTED, "eval_predictions.jsonl", "confusion_matrix.svg"):
        assert (tmp_path / "new" / name).read_bytes() == (folder / name).read_bytes()
    assert list_checkpoints(str(tmp_path / "new")) == []
    assert not (tmp_path / "new" / "labels.json").exists()  # there are no weights


def test_run_training_with_the_same_labels_goes_on_with_the_head(
    command: Run, backend: NumpyBackend, data: Data, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    flags = data.training(f"--init_checkpoint={folder}")
    assert command(tmp_path / "new", *flags) == 0
    trained = load_checkpoint(str(last(folder))).parameters
    given = backend.programs[0].given[0]
    assert all(np.array_equal(given[name], array) for name, array in trained.items())
    assert "variables loaded, 0 new, 0 not used" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [("ㄱ", "ㄴ", "ㄷ"), ("날씨", "책"), ("책", "음식", "날씨", "집")]
)
def test_run_training_with_other_labels_begins_the_head_anew(
    names: tuple[str, ...], command: Run, backend: NumpyBackend, folder: Path, tmp_path: Path,
    capsys: Captured,
) -> None:  # fmt: skip
    rows = [(text, names[n % len(names)]) for n, (text, _) in enumerate(EXAMPLES)]
    path = write_texts(tmp_path / "other.tsv", rows)
    flags = ("--do_train", f"--train_file={path}", f"--init_checkpoint={folder}")
    assert command(tmp_path / "new", *flags) == 0
    out = capsys.readouterr().out
    assert "  new: output_weights\n  new: output_bias\n" in out
    trained = load_checkpoint(str(last(folder))).parameters
    given = backend.programs[0].given[0]
    new = initial_parameters(class_specs(CONFIG, len(names)), 0.02, 12345)
    for name, array in given.items():
        wanted = new if name in (CLASS_WEIGHTS, CLASS_BIAS) else trained
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)
    assert read_json(tmp_path / "new" / "labels.json") == {"labels": sorted(names)}


def test_run_labels_of_a_run_without_a_checkpoint_belong_to_no_weights(
    command: Run, data: Data, folder: Path, tmp_path: Path
) -> None:
    # As if it had been killed before its first checkpoint.
    (tmp_path / "begun").mkdir()
    write_labels(str(tmp_path / "begun"), ["ㄱ", "ㄴ", "ㄷ"])
    flags = data.prediction(f"--init_checkpoint={folder}")
    assert command(tmp_path / "begun", *flags) == 0
    first = records(tmp_path / "begun" / "test_predictions.jsonl")[0]
    assert list(first["probabilities"]) == list(LABELS)


def test_run_labels_that_are_lost_are_those_of_the_training_file(
    command: Run, refusal: Refusal, data: Data, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    (folder / "labels.json").unlink()
    assert refusal(folder, *data.prediction()) == (
        f"no labels.json beside {folder}; give the --train_file that the model was trained on, for "
        "its labels."
    )
    path = write_texts(tmp_path / "texts.tsv", [*EXAMPLES, ("", "책")])
    assert command(folder, *data.prediction(f"--train_file={path}")) == 0
    assert records(folder / "test_predictions.jsonl")[0]["label"] == "날씨"
    assert warnings_of(capsys.readouterr().err) == [f"empty_text: 1 ({path}:26: a text is empty)"]
    fewer = write_texts(tmp_path / "fewer.tsv", EXAMPLES[:2])
    assert refusal(folder, *data.prediction(f"--train_file={fewer}")) == (
        f"{folder} was trained for another task: output_weights must have shape [2, 16], and there "
        "is shape [3, 16]."
    )


@pytest.mark.parametrize("content", ["[]", "{}", '{"labels": [1, 2]}', '{"labels": "ab"}'])
def test_run_labels_that_are_none_are_refused(
    content: str, refusal: Refusal, data: Data, folder: Path
) -> None:
    (folder / "labels.json").write_text(content)
    assert refusal(folder, *data.prediction()) == (
        f"{folder}/labels.json has no list of labels." if content != "[]" else
        f"{folder}/labels.json: not a JSON object; delete it, or write to another folder."
    )  # fmt: skip


def test_run_converted_to_hugging_face_has_the_labels_and_back(
    command: Run, data: Data, folder: Path, tmp_path: Path
) -> None:
    theirs, back = tmp_path / "theirs", tmp_path / "back"
    for source, to, form in ((folder, theirs, "huggingface"), (theirs, back, "bert_ko")):
        flags = [f"--from={source}", f"--to={to}", f"--to_format={form}", "--nocompare"]
        assert run_command(ConvertCheckpointConfig, convert, flags) == 0
    values = read_json(theirs / "config.json")
    assert values["id2label"] == {"0": "날씨", "1": "음식", "2": "책"}
    assert values["label2id"] == {"날씨": 0, "음식": 1, "책": 2}
    assert values["architectures"] == ["BertForSequenceClassification"]
    assert (back / "labels.json").read_bytes() == (folder / "labels.json").read_bytes()
    for source in (theirs, back):
        flags = list(data.prediction(f"--init_checkpoint={source}"))
        assert command(tmp_path / "new", *flags) == 0
        assert rows_of(tmp_path / "new") == rows_of(folder)
        assert records(tmp_path / "new" / PREDICTED[0]) == records(folder / PREDICTED[0])


# Without a dataset


def printed_records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("is_stdin", [False, True])
def test_run_input_file_prints_json_lines(
    is_stdin: bool, command: Run, folder: Path, tmp_path: Path, capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    text = f"{EXAMPLES[1][0]}\r\n\n{EXAMPLES[0][0]}".encode()
    path = tmp_path / "texts.txt"
    path.write_bytes(text)
    if is_stdin:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    before = contents(folder)
    assert command(folder, f"--input_file={'-' if is_stdin else path}") == 0
    found = printed_records(capsys.readouterr().out)
    said = [(r["id"], r["text"], r["label"], r["probability"]) for r in found]
    assert said == [
        ("1", EXAMPLES[1][0], "음식", 0.8), ("2", "", "날씨", 0.8),
        ("3", EXAMPLES[0][0], "날씨", 0.8),
    ]  # fmt: skip
    assert "gold" not in found[0]
    assert contents(folder) == before


def test_run_input_file_goes_with_prediction(
    command: Run, data: Data, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "texts.txt"
    path.write_text(EXAMPLES[1][0])
    assert command(folder, *data.prediction(f"--input_file={path}")) == 0
    (found,) = printed_records(capsys.readouterr().out)
    assert {"id": "1", **found} == {**records(folder / PREDICTED[0])[1], "id": "1"}


def test_run_interactive_answers_what_is_typed(
    command: Run, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = f"{EXAMPLES[1][0]}\n \n둘\t셋\n{EXAMPLES[0][0]}"
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert command(folder, "--interactive") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "type a text; Ctrl-D ends",
        "→ 음식 0.800, 날씨 0.100, 책 0.100",
        "expected a text",
        "→ 날씨 0.800, 음식 0.100, 책 0.100",
    ]


# What is refused


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give --do_train, --do_eval, --do_predict, --input_file or --interactive."),
        (("--do_train",), "--do_train needs --train_file, or --data_dir."),
        (("--do_eval",), "--do_eval needs --eval_file, or --data_dir."),
        (("--do_predict",), "--do_predict needs --predict_file, or --data_dir."),
        (("--interactive", "--num_seeds=2"),
         "--interactive and --input_file try one model; give its seed-N folder as --output_dir, "
         "and no --num_seeds."),
        (("--interactive", "--task_name=nsmc", "--text_column=x"),
         "--text_column is for --task_name=tsv; the columns of nsmc are known."),
        (("--interactive", "--task_name=korsts", "--class_weights=balanced"),
         "--class_weights: a regression has no classes."),
        (("--interactive", "--max_seq_length=2"), "--max_seq_length must be at least 3, got 2."),
        (("--interactive", "--output_dir=gs://bucket/x"),
         "--output_dir must be a local folder, got gs://bucket/x; copy it afterwards."),
        (("--interactive", "--task_name=sst"),
         "--task_name must be one of nsmc, ynat, korsts, paws, tsv, got 'sst'."),
    ],
)  # fmt: skip
def test_run_flags_that_make_no_sense_are_refused(
    flags: tuple[str, ...], message: str, early_refusal: Refusal, tmp_path: Path
) -> None:
    assert early_refusal(tmp_path / "run", *flags) == message
    assert os.listdir(tmp_path) == []


def test_run_texts_longer_than_the_model_are_refused(
    early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    message = early_refusal(tmp_path / "run", *data.training("--max_seq_length=65"))
    assert message == (
        "--max_seq_length=65, but the model has 64 positions (max_position_embeddings in "
        f"{data.config}); lower the flag."
    )
    assert not (tmp_path / "run").exists()


def test_run_without_weights_is_refused(early_refusal: Refusal, data: Data, tmp_path: Path) -> None:
    for flags in (data.prediction(), data.evaluation(), ("--interactive",), ("--input_file=-",)):
        assert early_refusal(tmp_path / "run", *flags) == (
            f"no checkpoint in {tmp_path}/run; give --do_train, or --init_checkpoint with a "
            "classifier."
        )


@pytest.mark.parametrize(
    ("flag", "split", "names"),
    [
        ("--do_train", "train", "ratings_train.txt"),
        ("--do_eval", "dev", "ratings_dev.txt, ratings_test.txt"),
        ("--do_predict", "test", "ratings_test.txt, ratings_dev.txt"),
    ],
)
def test_run_folder_without_the_files_is_refused(
    flag: str, split: str, names: str, early_refusal: Refusal, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    flags = (flag, f"--data_dir={tmp_path}/data", "--task_name=nsmc")
    assert early_refusal(folder, *flags) == (
        f"--data_dir={tmp_path}/data has no file for {split}; looked for {names}, each also with "
        ".gz, .bz2, .xz, .zst."
    )


@pytest.mark.parametrize("name", ["bert_config_file", "vocab_file", "train_file", "eval_file"])
def test_run_missing_file_is_named(
    name: str, early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    flags = data.training(*data.evaluation(f"--{name}={tmp_path}/nowhere.tsv"))
    assert f"{tmp_path}/nowhere.tsv" in early_refusal(tmp_path / "run", *flags)


def test_run_one_label_alone_is_refused(early_refusal: Refusal, tmp_path: Path) -> None:
    path = write_texts(tmp_path / "one.tsv", [("비가 온다", "날씨"), ("눈이 온다", "날씨")])
    assert early_refusal(tmp_path / "run", "--do_train", f"--train_file={path}") == (
        f"{path}: a classifier needs two labels or more, there is only 날씨."
    )


def test_run_labels_that_the_model_does_not_know_are_refused(
    early_refusal: Refusal, data: Data, folder: Path, tmp_path: Path
) -> None:
    path = write_texts(tmp_path / "dev.tsv", [("비가 온다", "날씨"), ("공을 찬다", "운동")])
    for flags in (("--do_eval",), (*data.training("--eval_every_steps=5"),)):
        assert early_refusal(folder, *flags, f"--eval_file={path}") == (
            f"{path}: the model does not know the labels 운동; it knows 날씨, 음식, 책."
        )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("balancd",
         "--class_weights must be balanced or weights as in 'label=2.0,other=0.5', got 'balancd'."),
        ("운동=2", "--class_weights names the label '운동'; the labels are 날씨, 음식, 책."),
        ("책=0", "--class_weights: the weight of '책' must be a positive number, got '0'."),
    ],
)  # fmt: skip
def test_run_class_weights_that_are_none_are_refused(
    value: str, message: str, early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    flags = data.training(f"--class_weights={value}")
    assert early_refusal(tmp_path / "run", *flags) == message


def test_run_nothing_to_train_on_is_an_error(early_refusal: Refusal, tmp_path: Path) -> None:
    path = write_texts(tmp_path / "none.tsv", [("", "날씨"), (" ", "책")])
    assert early_refusal(tmp_path / "run", "--do_train", f"--train_file={path}") == (
        f"{path} has no example to train on."
    )


def test_run_bytes_that_are_no_utf_8_are_refused(early_refusal: Refusal, tmp_path: Path) -> None:
    path = tmp_path / "texts.tsv"
    path.write_bytes("text\tlabel\n비가 온다\t날씨\n".encode("cp949"))
    assert early_refusal(tmp_path / "run", "--do_train", f"--train_file={path}") == (
        f"{path}:2: not UTF-8 text (CP949? `iconv -f cp949 -t utf-8`)."
    )


def test_run_weights_of_pretraining_are_no_classifier(
    refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    source = save_weights(
        tmp_path / "source", initial_parameters(pretraining_specs(CONFIG), 0.02, 1)
    )
    flags = data.prediction(f"--init_checkpoint={source}")
    assert refusal(tmp_path / "run", *flags) == (
        f"no labels.json beside {source}; give the --train_file that the model was trained on, for "
        "its labels."
    )
    assert refusal(tmp_path / "run", *flags, f"--train_file={data.texts}") == (
        f"--init_checkpoint: {source}/checkpoint-00000007 lacks output_weights, output_bias; it "
        "was not trained for this task. Give --do_train."
    )


def test_run_weights_for_other_labels_are_no_classifier_of_these(
    refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    arrays = initial_parameters(class_specs(CONFIG, 5), 0.02, 1)
    source = save_weights(tmp_path / "source", arrays)
    flags = data.prediction(f"--init_checkpoint={source}", f"--train_file={data.texts}")
    assert refusal(tmp_path / "run", *flags) == (
        f"--init_checkpoint: {source}/checkpoint-00000007 is for 5 labels, but the task has 3; it "
        "was trained for another one. Give --do_train to begin with a new head."
    )


def test_run_tagger_is_no_classifier(refusal: Refusal, data: Data, folder: Path) -> None:
    """Its labels.json looks the same."""
    arrays = initial_parameters(tag_specs(CONFIG, 3), 0.02, 1)
    path = last(folder)
    state = load_checkpoint(str(path)).state
    shutil.rmtree(path)
    save_checkpoint(str(folder), 18, Checkpoint(arrays, {}, state), CONFIG, 0)
    assert refusal(folder, *data.prediction()) == (
        f"{folder} was trained for another task: {POOLER}/kernel must have shape [16, 16], and "
        "there is no such variable."
    )


def test_run_classes_are_no_scores_and_the_other_way_round(
    command: Run, early_refusal: Refusal, data: Data, folder: Path, scored: Path, tmp_path: Path
) -> None:
    regression = ("--task_name=korsts", f"--data_dir={scored}")
    place = (f"--init_checkpoint={folder}", f"--output_dir={tmp_path}/new")
    for flags in ((), place):
        assert early_refusal(folder, *regression, "--do_predict", *flags) == (
            f"the model of {folder} is for 3 labels, not for a score; give its --task_name or "
            "--task_type."
        )
    assert command(tmp_path / "scores", *regression, "--do_train") == 0
    assert early_refusal(tmp_path / "scores", *data.prediction()) == (
        f"the model of {tmp_path}/scores is for a score, not for labels; give its --task_name or "
        "--task_type."
    )
    # Trained, its encoder serves for both.
    assert command(tmp_path / "third", *data.training(f"--init_checkpoint={tmp_path}/scores")) == 0


def test_run_input_file_that_is_none_names_the_line(
    refusal: Refusal, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("하나\n둘\t셋\n", encoding="utf-8")
    assert refusal(folder, f"--input_file={path}") == (
        f"{path}:2: expected one text with a tab between two, got 2."
    )


def test_run_batches_that_devices_can_not_split_are_refused(
    refusal: Refusal, backend: NumpyBackend, data: Data, folder: Path
) -> None:
    backend.num_devices = 3
    assert refusal(folder, *data.evaluation("--predict_batch_size=9")) == (
        "--eval_batch_size=8 must be a multiple of the 3 devices."
    )
    assert refusal(folder, "--interactive") == (
        "--predict_batch_size=8 must be a multiple of the 3 devices."
    )


# The launcher


def test_command_help_answers_without_a_framework() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(REPOSITORY / "bin" / "run_classifier"), "--help"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    for flag in ("task_name", "class_weights", "train_file", "input_file", "num_seeds"):
        assert f"\n  --{flag} (" in done.stdout
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not modules & {"tensorflow", "keras", "jax", "torch", "transformers"}


# With TensorFlow and JAX, in processes of their own


class Command:
    """Runs the command with a backend; JAX keeps what it has compiled for the next run."""

    def __init__(self, backend: str, vocab: str, folder: Path):
        self.data = Data(folder, vocab)
        # Larger than the model of numpy: it has to learn something.
        self.data.config = write_config(
            folder / "model.json", hidden_size=32, intermediate_size=64, initializer_range=0.1,
        )  # fmt: skip
        self.environment = {
            **os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }  # fmt: skip

    def start(
        self, output: Path, *flags: str, code: str = "", standard_input: str = os.devnull
    ) -> "subprocess.Popen[str]":
        """Begins a run; what it prints is appended to OUTPUT.log."""
        program = ["-c", code] if code else [str(REPOSITORY / "bin/run_classifier")]
        arguments = self.data.arguments(output, "--precision=float32", *flags)
        with open(f"{output}.log", "a") as log, open(standard_input) as source:
            return subprocess.Popen(
                [sys.executable, *program, *arguments], stdin=source,
                stdout=log, stderr=log, text=True, env=self.environment, cwd=REPOSITORY,
            )  # fmt: skip

    def run(self, output: Path, *flags: str, **more: str) -> str:
        """Runs to the end; returns all that the runs have printed."""
        process = self.start(output, *flags, **more)
        assert process.wait(600) == 0, printed(output)
        return printed(output)


def printed(output: Path) -> str:
    return Path(f"{output}.log").read_text(encoding="utf-8")


def stop_when(process: "subprocess.Popen[str]", path: Path, count: int, number: int) -> int:
    """Sends a signal when the file has so many lines; returns the exit status."""
    deadline = time.monotonic() + 600
    while not (path.exists() and path.read_bytes().count(b"\n") >= count):
        assert process.poll() is None, "the run has ended before"
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.0005)
    process.send_signal(number)
    return process.wait(60)


@pytest.fixture(scope="module")
def tensorflow(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command("tensorflow", vocab_folder, tmp_path_factory.mktemp("tensorflow"))


@pytest.fixture(scope="module")
def jax(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command("jax", vocab_folder, tmp_path_factory.mktemp("jax"))


# With dropout; the loss of the evaluation is below 0.01 with the seeds 1, 2 and 3.
LEARNING = (
    "--do_train", "--train_batch_size=8", "--num_train_epochs=80", "--learning_rate=4e-3",
    "--optimizer=adamw", "--save_checkpoints_steps=7", "--keep_checkpoint_max=2",
)  # fmt: skip
# With JAX nothing imports TensorFlow, and torch has no place in either.
JAX_ALONE = """
import sys
from bert_ko.run_classifier import main
code = main()
assert "jax" in sys.modules
assert not {"tensorflow", "torch"} & set(sys.modules)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def learnt(tensorflow: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows the texts by heart."""
    folder = tmp_path_factory.mktemp("learnt") / "run"
    data = tensorflow.data
    files = (f"--train_file={data.texts}", *data.evaluation(*data.prediction()))
    tensorflow.run(folder, *LEARNING, *files)
    return folder


@pytest.mark.slow
def test_command_small_model_learns_by_heart(learnt: Path) -> None:
    found = results(learnt)
    assert found["accuracy"] == found["macro_f1"] == found["mcc"] == 100
    assert found["loss"] < 0.1 and found["global_step"] == 240
    trained = [record for record in metrics(learnt) if "loss" in record]
    assert trained[0]["loss"] == pytest.approx(np.log(3), abs=0.4)
    assert np.mean([record["loss"] for record in trained[-20:]]) < 0.3
    rows = rows_of(learnt)
    assert len(rows) == 24 and {len(row) for row in rows} == {3}
    assert [sum(row) for row in rows] == pytest.approx([1] * 24, abs=1e-5)
    assert [LABELS[int(np.argmax(row))] for row in rows] == [label for _, label in EXAMPLES]


@pytest.mark.slow
def test_command_prediction_alone_says_the_same_and_so_does_jax(
    tensorflow: Command, jax: Command, learnt: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(learnt, tmp_path / "run"))
    before = (run / "test_results.tsv").read_bytes()
    (run / "test_results.tsv").unlink()
    typed = tmp_path / "typed.txt"
    typed.write_text("".join(f"{text}\n" for text, _ in EXAMPLES), encoding="utf-8")
    flags = tensorflow.data.prediction("--input_file=-")
    out = tensorflow.run(run, *flags, standard_input=str(typed))
    assert (run / "test_results.tsv").read_bytes() == before
    said = [record["label"] for record in printed_records(out)]
    assert said == [label for _, label in EXAMPLES]
    other = tmp_path / "other"
    flags = jax.data.prediction(*jax.data.evaluation(f"--init_checkpoint={learnt}"))
    jax.run(other, *flags, code=JAX_ALONE)
    np.testing.assert_allclose(rows_of(other), rows_of(learnt), rtol=0, atol=1e-4)
    assert results(other)["accuracy"] == 100


@pytest.mark.slow
def test_command_killed_and_stopped_goes_on_to_the_same_bits(
    tensorflow: Command, learnt: Path, tmp_path: Path
) -> None:
    output, data = tmp_path / "run", tensorflow.data
    files = (f"--train_file={data.texts}", *data.evaluation(*data.prediction()))
    for count, number, status in ((9, signal.SIGKILL, -9), (25, signal.SIGTERM, 143)):
        process = tensorflow.start(output, *LEARNING, *files)
        assert stop_when(process, output / "metrics.jsonl", count, number) == status
        assert not (output / "test_results.tsv").exists()
    out = tensorflow.run(output, *LEARNING, *files)
    starts = list(map(int, re.findall(r"going on from step (\d+)", out)))
    assert len(starts) == 2 and 7 <= starts[0] < starts[1] < 240
    assert metrics(output) == metrics(learnt)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (last(output) / name).read_bytes() == (last(learnt) / name).read_bytes()
    for name in (*EVALUATED, *PREDICTED, "labels.json"):
        assert (output / name).read_bytes() == (learnt / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("backend_name", ["tensorflow", "jax"])
def test_command_regression_of_pairs_learns_by_heart(
    backend_name: str, request: pytest.FixtureRequest, scored: Path
) -> None:
    command: Command = request.getfixturevalue(backend_name)
    flags = (
        "--task_name=korsts", f"--data_dir={scored}", "--do_eval", "--do_predict", *LEARNING,
        "--num_train_epochs=120", "--num_seeds=2",
    )  # fmt: skip
    command.run(scored / "run", *flags)
    seeds = read_json(scored / "run" / "seeds.json")
    assert [r["pearson"] > 99 and r["mse"] < 0.1 for r in seeds["results"]] == [True, True]
    assert results(scored / "run")["pearson_mean"] > 99
    for seed in seeds["seeds"]:
        rows = rows_of(scored / "run" / f"seed-{seed}")
        np.testing.assert_allclose([row[0] for row in rows], np.arange(16) / 4, rtol=0, atol=1)


@pytest.mark.slow
def test_command_learnt_in_transformers_says_the_same(learnt: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    theirs = tmp_path / "theirs"
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "bin/convert_checkpoint"), f"--from={learnt}",
         f"--to={theirs}", "--to_format=huggingface"],
        capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, texts = sys.argv[1], json.load(sys.stdin)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
print(json.dumps([model.config.id2label, torch.softmax(logits, -1).tolist()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(theirs)], capture_output=True, text=True,
        input=json.dumps([text for text, _ in EXAMPLES]), env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    id2label, rows = json.loads(done.stdout.splitlines()[-1])
    assert id2label == {"0": "날씨", "1": "음식", "2": "책"}
    np.testing.assert_allclose(rows, rows_of(learnt), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_command_real_topics_are_evaluated(
    tensorflow: Command, data_folder: Path, tmp_path: Path
) -> None:
    folder = data_folder / "ynat"
    if not (folder / "dev.csv").is_file():
        pytest.skip(f"no real data: no dev.csv in {folder}")
    few = ("--max_train_examples=64", "--num_train_epochs=1", "--eval_batch_size=128")
    flags = ("--task_name=ynat", f"--data_dir={folder}", "--do_train", "--do_eval", *few)
    out = tensorflow.run(tmp_path / "run", *flags)
    total = results(tmp_path / "run")["total"]
    assert f"{folder}/dev.csv: {int(total):,} examples\n" in out and total >= 1000
    evaluated = records(tmp_path / "run" / "eval_predictions.jsonl")
    labels = read_json(tmp_path / "run" / "labels.json")["labels"]
    assert len(evaluated) == total and len(labels) == 7
    assert {r["gold"] for r in evaluated} == set(labels)
    right = sum(r["gold"] == r["label"] for r in evaluated)
    assert results(tmp_path / "run")["accuracy"] == pytest.approx(100 * right / total)
    assert results(tmp_path / "run")["loss"] == pytest.approx(np.log(7), abs=0.5)
