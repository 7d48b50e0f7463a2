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
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bert_ko import files
from bert_ko.flags import run_command
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import (
    SPAN_BIAS,
    Arrays,
    initial_parameters,
    pretraining_specs,
    span_specs,
)
from bert_ko.run_squad import RunSquadConfig, run
from bert_ko.tasks import fine_tuning
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.checkpoints import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from bert_ko.training.metrics import read_metrics
from bert_ko.training.objective import Objective

REPOSITORY = Path(__file__).parents[1]
SAMPLE_QUESTIONS = REPOSITORY / "samples" / "korquad.json"
MODEL = {
    "vocab_size": 1500, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64,
}  # fmt: skip
LIBRARY = (
    "솔마을 도서관은 언덕 위에 있다. 관장 이보람은 1987년에 태어났다. 아이들은 토요일마다 책을 "
    "빌린다."
)
MARKET = "달빛 시장은 강가에 선다. 상인들은 새벽에 생선을 판다. 시장의 종은 구리로 만들었다."
ROADS = " ".join(
    f"{year}년에 마을 사람들이 나무 {year - 1900}그루를 심었다." for year in range(1960, 1968)
)
QUESTIONS = [
    (LIBRARY, "q1", "도서관은 어디에 있는가?", "언덕 위"),
    (LIBRARY, "q2", "관장은 언제 태어났는가?", "1987년"),
    (LIBRARY, "q3", "아이들은 무엇을 빌리는가?", "책"),
    (MARKET, "q4", "상인들은 언제 생선을 파는가?", "새벽"),
    (MARKET, "q5", "종은 무엇으로 만들었는가?", "구리"),
    (ROADS, "q6", "1965년에 심은 나무는 몇 그루인가?", "65그루"),
]
TIMES = ("tokens_per_second", "seconds")
ANSWER_FILES = ["josa_changes.jsonl", "nbest_predictions.json", "predictions.json"]


def write_questions(
    path: Path, questions: Any = QUESTIONS, version: str = "KorQuAD_v1.0_dev", **changes: Any
) -> str:
    """Args: questions: (context, id, question, answer); changes: by id, members to be put in."""
    data = []
    for context in dict.fromkeys(context for context, *_ in questions):
        qas = [
            {
                "id": qas_id,
                "question": question,
                "answers": [{"text": answer, "answer_start": context.find(answer)}],
                **changes.get(qas_id, {}),
            }
            for text, qas_id, question, answer in questions
            if text == context
        ]
        data.append({"title": "마을", "paragraphs": [{"context": context, "qas": qas}]})
    text = json.dumps({"version": version, "data": data}, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return str(path)


def write_config(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({**MODEL, **changes}))
    return str(path)


class Data:
    """A vocabulary, the questions above, and the model's config."""

    def __init__(self, folder: Path, vocab: str):
        self.vocab = vocab
        self.questions = write_questions(folder / "questions.json")
        self.config = write_config(folder / "bert_config.json")

    def arguments(self, output: Path | str, *flags: str) -> list[str]:
        """What every run needs; a flag that is given again has its last value."""
        return [
            f"--bert_config_file={self.config}", f"--vocab_file={self.vocab}",
            f"--output_dir={output}", "--max_seq_length=64", "--doc_stride=16",
            "--max_query_length=20", "--train_batch_size=4", "--save_checkpoints_steps=3",
            "--log_every_steps=1", "--strip_josa=never", *flags,
        ]  # fmt: skip

    def training(self, *flags: str) -> tuple[str, ...]:
        return ("--do_train", f"--train_file={self.questions}", *flags)

    def prediction(self, *flags: str) -> tuple[str, ...]:
        return ("--do_predict", f"--predict_file={self.questions}", *flags)


@pytest.fixture(scope="session")
def data(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("squad"), vocab_folder)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def answers(folder: Path) -> dict[str, str]:
    found: dict[str, str] = read_json(folder / "predictions.json")
    return found


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
    """Without the cache and the pages for people."""
    names = os.listdir(folder)
    return sorted(n for n in names if not n.startswith("features-") and not n.endswith(".html"))


# With a model of numpy: everything but the backend


LEARNT: dict[bytes, tuple[int, int]] = {}


class NumpyBackend:
    """What load_backend returns; its programs answer from what they were trained on.

    Attributes:
        is_good: (updates, seed) to whether the answers are right; else each is what the context
            begins with.
        answers: the pieces of a window to its targets; those of ``finished`` are known.
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
        self.restored: list[set[str]] = []
        self.restart(arrays, seed)

    def restart(self, arrays: Arrays, seed: int) -> None:
        self.given.append(dict(arrays))
        self.seeds.append(seed)
        self.arrays = {name: array.copy() for name, array in arrays.items()}

    def train_step(self, step: int, batch: Any, scalars: Any, hyper: Any) -> Any:
        assert self.optimizer is not None
        rows = {name: value.reshape(-1, *value.shape[2:]) for name, value in batch.items()}
        self.batches.append(rows)
        assert scalars == {"span_denominator": rows["example_weights"].sum()}
        for key, start, end in zip(
            keys(rows), rows["start_positions"], rows["end_positions"], strict=True
        ):
            self.backend.answers[key] = (int(start), int(end))
        ids = (rows["input_ids"].sum(axis=1) * rows["example_weights"]).sum()
        change = np.float32(ids % 1000 * (self.seeds[-1] + 1)) * hyper["learning_rate"]
        for name, array in self.arrays.items():
            array += 1 if name == SPAN_BIAS else change
        count = float(rows["example_weights"].sum())
        sums = {"span_loss": 2 * count, "span_correct": 0.0, "span_weight": count}
        return lambda: {**sums, "objective": 2.0, "gradient_norm": 1.0}

    def predictor(self, outputs: Any) -> Any:
        def predict(batch: Any) -> Any:
            assert batch.keys() == {"input_ids", "input_mask", "segment_ids"}
            is_good = self.backend.is_good(int(self.arrays[SPAN_BIAS][0]), self.seeds[-1])
            found = {}
            for number, name in enumerate(("start_logits", "end_logits")):
                logits = np.zeros(batch["input_ids"].shape, np.float32)
                for row, key in enumerate(keys(batch)):
                    right = self.backend.answers.get(key)
                    first = int(batch["segment_ids"][row].argmax())
                    logits[row, right[number] if is_good and right else first] = 9 + row / 100
                found[name] = logits
            return found

        return predict

    def parameters(self) -> Arrays:
        return {name: array.copy() for name, array in self.arrays.items()}

    def slots(self) -> Arrays:
        return {f"{name}/adam_m": array for name, array in self.parameters().items()}

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        self.arrays = {name: array.copy() for name, array in parameters.items()}
        self.restored.append(set(slots))


def keys(batch: Any) -> list[bytes]:
    """The pieces of each window without padding."""
    lengths = batch["input_mask"].sum(axis=1)
    return [ids[:n].tobytes() for ids, n in zip(batch["input_ids"], lengths, strict=True)]


def install(patch: pytest.MonkeyPatch) -> NumpyBackend:
    """Puts numpy in the place of TensorFlow and JAX; nothing imports Keras."""
    head: Any = ModuleType("bert_ko.tasks.squad.head")
    head.SPANS = Objective(
        lambda batch: {"span_denominator": np.float32(batch["example_weights"].sum())},
        lambda sums: {"loss": sums["span_loss"] / sums["span_weight"]},
        (("loss", "loss"),),
    )
    head.span_loss = head.span_outputs = None
    patch.setitem(sys.modules, "bert_ko.tasks.squad.head", head)
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
    return run_command(RunSquadConfig, run, data.arguments(output, *flags))


@pytest.fixture
def command(backend: NumpyBackend, data: Data) -> Run:
    return functools.partial(run_here, data)


@pytest.fixture
def train(command: Run, data: Data) -> Run:
    return lambda output, *flags: command(output, *data.training(*flags))


@pytest.fixture(scope="module")
def finished(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has trained and answered; to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        backend = install(patch)
        assert run_here(data, folder, *data.training(*data.prediction())) == 0
    LEARNT.update(backend.answers)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of ``finished``."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def error_of(captured: Captured, status: int) -> str:
    assert status == 1
    (line,) = [x for x in captured.readouterr().err.splitlines() if "error" in x]
    assert line.startswith("run_squad: error: ")
    return line.removeprefix("run_squad: error: ")


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


def test_run_writes_what_later_commands_need(
    command: Run, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    flags = data.training(*data.prediction("--strip_josa=auto"))
    assert command(tmp_path, *flags) == 0
    steps = int(last(tmp_path).name[-8:])
    kept = [f"checkpoint-{step:08d}" for step in sorted({*range(3, steps, 3), steps})]
    assert written(tmp_path) == sorted([
        ".lock", "bert_config.json", *kept, "eval_results.txt", *ANSWER_FILES,
        "josa_endings.json", "metrics.jsonl", "run.json", "tensorboard", "tokenizer_config.json",
        "vocab.txt",
    ])  # fmt: skip
    assert answers(tmp_path) == {qas_id: answer for _, qas_id, _, answer in QUESTIONS}
    text = (tmp_path / "eval_results.txt").read_text()
    assert text in capsys.readouterr().out
    assert results(tmp_path) == {
        "exact_match": 100, "exact_match_not_stripped": 100, "f1": 100, "f1_not_stripped": 100,
        "global_step": steps, "total": 6,
    }  # fmt: skip
    about = read_json(tmp_path / "run.json")
    assert about["flags"]["learning_rate"] == 5e-5 and about["flags"]["doc_stride"] == 16
    assert about["identity"]["train_file"][0] == "questions.json"
    assert load_tokenizer(str(tmp_path)).fingerprint == load_tokenizer(data.vocab).fingerprint
    model = BertConfig.from_json((tmp_path / "bert_config.json").read_text(), "x")
    assert model == BertConfig(**MODEL)  # type: ignore[arg-type]
    trained = [r for r in metrics(tmp_path) if "loss" in r]
    assert [r["step"] for r in trained] == list(range(1, steps + 1))
    assert trained[0]["loss"] == 2
    assert read_json(tmp_path / "josa_endings.json")["file"][0] == "questions.json"


def test_run_nbest_are_slices_of_the_contexts(finished: Path) -> None:
    nbest = read_json(finished / "nbest_predictions.json")
    assert list(nbest) == [qas_id for _, qas_id, *_ in QUESTIONS]
    for context, qas_id, _, answer in QUESTIONS:
        first = nbest[qas_id][0]
        assert first["text"] == answer and first["answer_start"] == context.index(answer)
        assert first["start_logit"] >= 9 <= first["end_logit"]
        for entry in nbest[qas_id]:
            assert context[entry["answer_start"] : entry["answer_end"]] == entry["text"]
        assert sum(entry["probability"] for entry in nbest[qas_id]) == pytest.approx(1)
        assert len({entry["text"] for entry in nbest[qas_id]}) == len(nbest[qas_id]) <= 20


def test_run_null_odds_are_of_version_2_alone(command: Run, data: Data, tmp_path: Path) -> None:
    changes = {"q2": {"answers": [], "is_impossible": True}}
    path = write_questions(tmp_path / "two.json", version="v2.0", **changes)
    flags = (
        "--do_train", f"--train_file={path}", "--do_predict", f"--predict_file={path}",
        "--version_2_with_negative",
    )  # fmt: skip
    assert command(tmp_path / "run", *flags) == 0
    odds = read_json(tmp_path / "run" / "null_odds.json")
    assert list(odds) == [qas_id for _, qas_id, *_ in QUESTIONS]
    assert odds["q2"] > 0 > odds["q1"]
    assert answers(tmp_path / "run")["q2"] == ""
    found = results(tmp_path / "run")
    assert found["exact_match"] == found["no_answer_exact_match"] == 100
    assert (found["has_answer_total"], found["no_answer_total"]) == (5, 1)
    assert "null_odds.json" not in written(tmp_path)
    # The best answer must be better by so much.
    again = [f for f in flags if not f.startswith("--do_train")]
    assert command(tmp_path / "run", *again, "--null_score_diff_threshold=1000") == 0
    assert answers(tmp_path / "run")["q2"] != ""


def test_run_answers_are_stripped_as_the_flag_says(
    command: Run, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    questions = [(LIBRARY, "q1", "도서관은 어디에 있는가?", "언덕 위에")]
    path = write_questions(tmp_path / "one.json", questions)
    flags = ("--do_train", f"--train_file={path}", "--do_predict", f"--predict_file={path}")
    wanted = {"auto": "언덕 위에", "never": "언덕 위에", "always": "언덕 위"}
    for value, answer in wanted.items():
        assert command(tmp_path / value, *flags, f"--strip_josa={value}") == 0
        assert answers(tmp_path / value) == {"q1": answer}
        assert ("what --strip_josa=always would do:" in capsys.readouterr().out) == (
            value == "never"
        )
        lines = (tmp_path / value / "josa_changes.jsonl").read_text().splitlines()
        assert len(lines) == (value != "auto")
        found = results(tmp_path / value)
        assert found["exact_match_not_stripped"] == 100
        assert found["exact_match"] == (0 if value == "always" else 100)


def test_run_endings_are_learnt_once_and_used_later(
    command: Run, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    # Pieces that are whole eojeol: the answers are right without their josa alone.
    stripping = "--strip_josa=auto"
    assert command(tmp_path / "run", *data.training(stripping, *data.prediction())) == 0
    path = tmp_path / "run" / "josa_endings.json"
    values = read_json(path)
    path.write_text(json.dumps({**values, "endings": ["josa 에"]}))
    questions = [(LIBRARY, "q1", "도서관은 어디에 있는가?", "언덕 위에")]
    other = write_questions(tmp_path / "one.json", questions)
    assert command(tmp_path / "trained", "--do_train", f"--train_file={other}") == 0
    assert command(tmp_path / "run", "--do_predict", f"--predict_file={other}", stripping) == 0
    assert answers(tmp_path / "run") == {"q1": "언덕 위"}
    path.unlink()
    capsys.readouterr()
    assert command(tmp_path / "run", "--do_predict", f"--predict_file={other}", stripping) == 0
    assert f"{path} does not exist" in capsys.readouterr().err
    assert answers(tmp_path / "run") == {"q1": "언덕 위에"}


def test_run_without_golds_answers_and_scores_nothing(
    command: Run, data: Data, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    changes = {qas_id: {"answers": []} for _, qas_id, *_ in QUESTIONS}
    path = write_questions(tmp_path / "test.json", **changes)
    (folder / "eval_results.txt").unlink()
    assert command(folder, "--do_predict", f"--predict_file={path}") == 0
    assert f"{path} has no gold answers: nothing is scored" in capsys.readouterr().out
    assert answers(folder) == {qas_id: answer for _, qas_id, _, answer in QUESTIONS}
    assert not (folder / "eval_results.txt").exists()


# What the model is trained on


def test_run_begins_with_new_weights_by_the_seed(
    train: Run, backend: NumpyBackend, tmp_path: Path
) -> None:
    for output, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train(tmp_path / output, f"--random_seed={seed}") == 0
    first, second, third = (program.given[0] for program in backend.programs)
    wanted = initial_parameters(span_specs(BertConfig(**MODEL)), 0.02, 1)  # type: ignore[arg-type]
    assert first.keys() == wanted.keys()
    assert all(np.array_equal(first[name], array) for name, array in wanted.items())
    assert all(np.array_equal(second[name], array) for name, array in wanted.items())
    assert not np.array_equal(first["cls/squad/output_weights"], third["cls/squad/output_weights"])
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_run_settings_reach_the_optimizer(
    train: Run, backend: NumpyBackend, tmp_path: Path
) -> None:
    flags = ("--layer_decay=0.9", "--optimizer=lamb", "--learning_rate=0.5", "--num_train_epochs=5")
    assert train(tmp_path, *flags, "--warmup_proportion=0.25") == 0
    optimizer = backend.programs[0].optimizer
    steps = int(last(tmp_path).name[-8:])
    assert (optimizer.name, optimizer.layer_decay) == ("lamb", 0.9)
    assert optimizer.num_hidden_layers == 1
    assert (optimizer.num_train_steps, optimizer.num_warmup_steps) == (steps, int(steps * 0.25))
    rates = [record["learning_rate"] for record in metrics(tmp_path)]
    assert rates[0] == 0 and max(rates) <= 0.5 and rates[-1] == pytest.approx(0.5 / steps)


def test_run_gold_answer_outside_the_context_is_counted_and_not_trained_on(
    command: Run, backend: NumpyBackend, tmp_path: Path, capsys: Captured
) -> None:
    changes = {"q4": {"answers": [{"text": "저녁노을", "answer_start": 3}]}}
    path = write_questions(tmp_path / "bad.json", **changes)
    flags = ("--do_train", f"--train_file={path}", "--do_predict", f"--predict_file={path}")
    assert command(tmp_path / "run", *flags) == 0
    errors = capsys.readouterr().err
    assert f"warning: {path}: answer_not_found: 1 (q4)" in errors
    assert f"warning: {path}: 1 questions are not trained on" in errors
    (line,) = (tmp_path / "run" / "dataset_problems.jsonl").read_text("utf-8").splitlines()
    problem = json.loads(line)
    assert problem["file"] == path
    assert (problem["kind"], problem["id"]) == ("answer_not_found", "q4")
    assert "저녁노을" in problem["detail"]
    # The question is asked and scored all the same.
    found = results(tmp_path / "run")
    assert found["total"] == 6 and found["exact_match"] == pytest.approx(100 * 5 / 6)
    seen = {key for batch in backend.programs[0].batches for key in keys(batch)}
    everything = write_questions(tmp_path / "good.json")
    assert command(tmp_path / "all", "--do_train", f"--train_file={everything}") == 0
    more = {key for batch in backend.programs[1].batches for key in keys(batch)}
    assert seen < more


def test_run_nothing_to_train_on_is_an_error(refusal: Refusal, tmp_path: Path) -> None:
    nowhere = {"answers": [{"text": "저녁노을", "answer_start": 3}]}
    path = write_questions(tmp_path / "bad.json", QUESTIONS[:1], q1=nowhere)
    assert refusal(tmp_path / "run", "--do_train", f"--train_file={path}") == (
        f"{path} has no question to train on."
    )


def test_run_repeated_ids_count_once(command: Run, tmp_path: Path, capsys: Captured) -> None:
    twice = [*QUESTIONS, (MARKET, "q1", "시장은 어디에 서는가?", "강가")]
    path = write_questions(tmp_path / "twice.json", twice)
    flags = ("--do_train", f"--train_file={path}", "--do_predict", f"--predict_file={path}")
    assert command(tmp_path / "run", *flags, "--verbose_logging") == 0
    captured = capsys.readouterr()
    assert f"{path}: 6 questions on 3 contexts" in captured.out
    assert f"warning: {path}: repeated_id: 1 (q1)" in captured.err
    assert "only the first question counts" in captured.err
    assert results(tmp_path / "run")["total"] == 6
    assert answers(tmp_path / "run")["q1"] == "언덕 위"


def test_run_problems_of_an_earlier_file_do_not_stay(
    command: Run, data: Data, tmp_path: Path
) -> None:
    changes = {"q4": {"answers": [{"text": "저녁노을", "answer_start": 3}]}}
    path = write_questions(tmp_path / "bad.json", **changes)
    flags = ("--do_train", f"--train_file={path}")
    assert command(tmp_path / "run", *flags) == 0
    assert command(tmp_path / "run", *data.prediction()) == 0
    assert (tmp_path / "run" / "dataset_problems.jsonl").read_text() == ""


# Evaluating while training


def eval_flags(data: Data, *flags: str) -> tuple[str, ...]:
    return data.training(*data.prediction("--eval_every_steps=5", *flags))


def test_run_evaluation_keeps_the_best_and_uses_it(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path
) -> None:
    backend.is_good = lambda steps, seed: steps == 5
    assert command(tmp_path / "run", *eval_flags(data)) == 0
    folder = tmp_path / "run"
    steps = int(last(folder).name[-8:])
    evaluated = {r["step"]: r["eval_exact_match"] for r in metrics(folder) if "eval_f1" in r}
    assert evaluated == {step: 100.0 if step == 5 else 0.0 for step in (*range(5, steps, 5), steps)}
    assert [os.path.basename(p) for p in list_checkpoints(str(folder), "best")] == ["best-00000005"]
    assert sorted(os.listdir(folder / "best-00000005")) == [
        "bert_config.json", "model.safetensors", "state.json"
    ]  # fmt: skip
    best = load_checkpoint(str(folder / "best-00000005"), with_slots=False)
    assert best.state["step"] == 5 and best.state["metrics"]["exact_match"] == 100
    assert best.parameters[SPAN_BIAS].tolist() == [5, 5]
    assert results(folder)["exact_match"] == 100 and results(folder)["global_step"] == 5
    # Whoever asks the run later gets the same.
    before = contents(folder)
    assert command(folder, *data.prediction()) == 0
    assert contents(folder) == before
    # And training went on from its own weights, not from the best.
    assert command(tmp_path / "plain", *data.training()) == 0
    assert weights(folder) == weights(tmp_path / "plain")


def test_run_evaluation_without_golds_is_refused(
    early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    changes = {qas_id: {"answers": []} for _, qas_id, *_ in QUESTIONS}
    path = write_questions(tmp_path / "test.json", **changes)
    flags = eval_flags(data, f"--predict_file={path}")
    assert "gold" in early_refusal(tmp_path / "run", *flags)


def test_run_evaluation_of_equals_keeps_the_first(command: Run, data: Data, tmp_path: Path) -> None:
    assert command(tmp_path, *eval_flags(data)) == 0
    assert results(tmp_path)["global_step"] == 5


def test_run_evaluation_goes_on_after_a_kill_with_the_best_so_far(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path
) -> None:
    backend.is_good = lambda steps, seed: steps == 5
    assert command(tmp_path / "whole", *eval_flags(data)) == 0
    for kept in (3, 6):  # before the best, and after it
        folder = Path(shutil.copytree(tmp_path / "whole", tmp_path / f"run-{kept}"))
        for path in list_checkpoints(str(folder)):
            if int(path[-8:]) > kept:
                shutil.rmtree(path)
        assert command(folder, *eval_flags(data)) == 0
        assert metrics(folder) == metrics(tmp_path / "whole")
        assert weights(folder) == weights(tmp_path / "whole")
        for name in ("predictions.json", "eval_results.txt"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_run_best_of_another_run_is_refused(
    command: Run, refusal: Refusal, backend: NumpyBackend, data: Data, tmp_path: Path
) -> None:
    backend.is_good = lambda steps, seed: steps == 5
    assert command(tmp_path, *eval_flags(data)) == 0
    # As if it had been killed before its first checkpoint.
    for path in list_checkpoints(str(tmp_path)):
        shutil.rmtree(path)
    assert refusal(tmp_path, *eval_flags(data, "--learning_rate=1e-3")) == (
        f"{tmp_path}/best-00000005 is of another run: --learning_rate was 5e-05, now 0.001. Give "
        "the same flags to go on, or choose another --output_dir, with this one as "
        "--init_checkpoint to begin from its weights."
    )
    assert command(tmp_path, *eval_flags(data)) == 0
    assert results(tmp_path)["global_step"] == 5


# Several seeds


def test_run_seeds_are_runs_of_their_own(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    backend.is_good = lambda steps, seed: seed != 6
    flags = data.training(*data.prediction("--random_seed=5", "--num_seeds=3"))
    assert command(tmp_path / "run", *flags) == 0
    (program,) = backend.programs  # compiled once
    assert program.seeds == [5, 6, 7]
    values = [results(tmp_path / "run" / f"seed-{seed}") for seed in (5, 6, 7)]
    assert [v["exact_match"] for v in values] == [100, 0, 100]
    found = read_json(tmp_path / "run" / "seeds.json")
    assert found["seeds"] == [5, 6, 7]
    assert [r["exact_match"] for r in found["results"]] == [100, 0, 100]
    summary = results(tmp_path / "run")
    assert summary["num_seeds"] == 3
    assert summary["exact_match_mean"] == pytest.approx(200 / 3)
    assert summary["exact_match_stdev"] == pytest.approx(np.std([100, 0, 100], ddof=1))
    assert "total_mean" not in summary
    assert "3 seeds" in capsys.readouterr().out
    # Each is what a run with this seed alone is.
    for seed in (5, 6, 7):
        assert command(tmp_path / "alone", *data.training(f"--random_seed={seed}")) == 0
        assert weights(tmp_path / "alone") == weights(tmp_path / "run" / f"seed-{seed}")
        shutil.rmtree(tmp_path / "alone")
    for name in ("predictions.json", "nbest_predictions.json", "run.json", "vocab.txt"):
        assert (tmp_path / "run" / "seed-6" / name).exists()
        assert not (tmp_path / "run" / name).exists()


def test_run_seeds_go_on_and_more_are_added(
    command: Run, backend: NumpyBackend, data: Data, tmp_path: Path
) -> None:
    flags = data.training(*data.prediction("--random_seed=5"))
    assert command(tmp_path, *flags, "--num_seeds=2") == 0
    assert command(tmp_path, *flags, "--num_seeds=3") == 0
    second = backend.programs[1]
    assert len(second.restored) == 2  # two were finished
    steps = int(last(tmp_path / "seed-5").name[-8:])
    assert len(second.batches) == steps
    assert read_json(tmp_path / "seeds.json")["seeds"] == [5, 6, 7]


def test_run_seed_folder_is_a_reader_that_strips(
    command: Run, data: Data, tmp_path: Path, capsys: Captured
) -> None:
    flags = data.training("--random_seed=5", "--num_seeds=2", *data.prediction("--strip_josa=auto"))
    assert command(tmp_path, *flags) == 0
    capsys.readouterr()
    assert command(tmp_path / "seed-5", *data.prediction("--strip_josa=auto")) == 0
    assert "strips nothing" not in capsys.readouterr().err


# Going on


def test_run_goes_on_from_the_last_checkpoint(
    train: Run, backend: NumpyBackend, tmp_path: Path, capsys: Captured
) -> None:
    assert train(tmp_path / "whole") == 0
    folder = Path(shutil.copytree(tmp_path / "whole", tmp_path / "run"))
    for path in list_checkpoints(str(folder)):
        if not path.endswith("3"):
            shutil.rmtree(path)
    assert train(folder) == 0
    assert "going on from step 3" in capsys.readouterr().out
    assert len(backend.programs[-1].restored[0]) == len(span_specs(BertConfig(**MODEL)))  # type: ignore[arg-type]
    assert metrics(folder) == metrics(tmp_path / "whole")
    assert weights(folder) == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    "flag",
    [
        "--learning_rate=1e-3", "--train_batch_size=8", "--num_train_epochs=4",
        "--warmup_proportion=0.2", "--gradient_accumulation_steps=2", "--random_seed=1",
        "--doc_stride=8", "--max_query_length=10", "--max_seq_length=48", "--nolength_buckets",
        "--layer_decay=0.9", "--weight_decay=0", "--optimizer=lamb", "--precision=float32",
        "--version_2_with_negative", "--init_checkpoint=/nowhere",
    ],
)  # fmt: skip
def test_run_changed_flag_is_an_error_that_names_it(
    flag: str, refusal: Refusal, data: Data, folder: Path
) -> None:
    name = flag.partition("=")[0].replace("--no", "--")
    before = weights(folder)
    assert re.fullmatch(
        rf"{last(folder)} is of another run: {name} was \S+, now \S+\. Give the same flags to go "
        r"on, or choose another --output_dir, with this one as --init_checkpoint to begin from "
        r"its weights\.",
        refusal(folder, *data.training(flag)),
    )
    assert weights(folder) == before


def test_run_changed_questions_are_an_error_that_names_them(
    refusal: Refusal, folder: Path, tmp_path: Path
) -> None:
    path = write_questions(tmp_path / "fewer.json", QUESTIONS[:5])
    message = refusal(folder, "--do_train", f"--train_file={path}")
    assert "is of another run: --train_file had 'questions.json', now 'fewer.json'." in message


def test_run_changed_model_is_an_error_that_names_the_key(
    refusal: Refusal, data: Data, folder: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "other.json", hidden_size=32)
    message = refusal(folder, *data.training(f"--bert_config_file={config}"))
    assert "is of another run: --bert_config_file: hidden_size was 16, now 32. Give" in message


def test_run_refused_command_leaves_the_run_as_it_was(
    refusal: Refusal, data: Data, folder: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "other.json", hidden_size=32)
    before = contents(folder)
    refusal(folder, *data.training("--learning_rate=1"))
    refusal(folder, *data.training(f"--bert_config_file={config}"))
    after = contents(folder)
    changed = [name for name in after if after[name] != before.get(name)]
    assert changed == []


def test_run_what_changes_no_weight_may_change(
    train: Run, data: Data, folder: Path, tmp_path: Path
) -> None:
    whole = weights(folder)
    shutil.rmtree(last(folder))
    (tmp_path / "moved").mkdir()
    moved = shutil.copy(data.questions, tmp_path / "moved")
    flags = (
        f"--train_file={moved}", *data.prediction(f"--predict_file={moved}"),
        "--save_checkpoints_steps=1", "--keep_checkpoint_max=2", "--log_every_steps=2",
        "--predict_batch_size=3", "--n_best_size=5", "--max_answer_length=9",
        "--strip_josa=always", "--verbose_logging", "--num_devices=1", "--max_hours=100",
    )  # fmt: skip
    assert train(folder, *flags) == 0
    assert weights(folder) == whole


def test_run_another_tokenizer_is_refused(
    refusal: Refusal, data: Data, folder: Path, wordpiece_folder: str
) -> None:
    vocab = f"--vocab_file={wordpiece_folder}"
    for flags in (data.training(vocab), data.prediction(vocab)):
        message = refusal(folder, *flags)
        assert message.startswith(
            f"{last(folder)} is of another run: the questions are cut with another tokenizer."
        )


def test_run_second_run_meanwhile_is_refused(
    train: Run, refusal: Refusal, data: Data, folder: Path
) -> None:
    with files.lock(str(folder / ".lock")):
        message = refusal(folder, *data.training())
    assert message == f"another run is writing here ({folder}); wait for it or stop it."
    assert train(folder) == 0


# A reader that is trained already


def test_run_prediction_alone_of_a_finished_run(
    command: Run, backend: NumpyBackend, data: Data, folder: Path
) -> None:
    (last(folder) / "optimizer.safetensors").unlink()
    before = contents(folder)
    for name in (*ANSWER_FILES, "eval_results.txt"):
        (folder / name).unlink()
    flags = ("--learning_rate=1", "--train_batch_size=64", f"--train_file={folder}/gone")
    assert command(folder, *data.prediction(*flags)) == 0
    assert contents(folder) == before
    (program,) = backend.programs
    assert program.optimizer is None
    assert results(folder)["global_step"] == program.arrays[SPAN_BIAS][0] > 0


@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_run_prediction_batch_size_changes_no_answer(
    size: int, command: Run, data: Data, folder: Path
) -> None:
    before = answers(folder)
    assert command(folder, *data.prediction(f"--predict_batch_size={size}")) == 0
    assert answers(folder) == before
    assert command(folder, *data.prediction("--nolength_buckets")) == 0
    assert answers(folder) == before


def test_run_prediction_alone_of_an_init_checkpoint(
    command: Run, backend: NumpyBackend, data: Data, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    flags = data.prediction(f"--init_checkpoint={folder}")
    assert command(tmp_path / "new", *flags) == 0
    count = len(span_specs(BertConfig(**MODEL)))  # type: ignore[arg-type]
    assert f"{count} variables loaded, 0 new, 0 not used" in capsys.readouterr().out
    for name in ANSWER_FILES:
        assert (tmp_path / "new" / name).read_bytes() == (folder / name).read_bytes()
    assert results(tmp_path / "new")["exact_match"] == 100
    assert list_checkpoints(str(tmp_path / "new")) == []
    given = backend.programs[0].given[0]
    trained = load_checkpoint(str(last(folder))).parameters
    assert all(np.array_equal(given[name], array) for name, array in trained.items())


def test_run_training_begins_with_an_init_checkpoint(
    train: Run, backend: NumpyBackend, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert train(tmp_path / "second", f"--init_checkpoint={folder}") == 0
    trained = load_checkpoint(str(last(folder))).parameters
    given = backend.programs[0].given[0]
    assert all(np.array_equal(given[name], array) for name, array in trained.items())
    assert metrics(tmp_path / "second")[0]["step"] == 1
    # It is not read again.
    shutil.rmtree(last(tmp_path / "second"))
    shutil.move(folder, tmp_path / "gone")
    capsys.readouterr()
    assert train(tmp_path / "second", f"--init_checkpoint={folder}") == 0
    assert "variables loaded" not in capsys.readouterr().out


def test_run_init_checkpoint_of_another_tokenizer_is_refused(
    refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    config = BertConfig(**MODEL)  # type: ignore[arg-type]
    arrays = initial_parameters(span_specs(config), 0.02, 1)
    state = {"step": 7, "tokenizer_fingerprint": "0123456789abcdef"}
    (tmp_path / "other").mkdir()
    save_checkpoint(str(tmp_path / "other"), 7, Checkpoint(arrays, {}, state), config, 0)
    message = refusal(tmp_path / "run", *data.training(f"--init_checkpoint={tmp_path}/other"))
    assert message.startswith(
        f"--init_checkpoint: {tmp_path}/other/checkpoint-00000007 was trained with another "
        "tokenizer than "
    )


def test_run_prediction_alone_of_weights_without_a_head_is_refused(
    refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    config = BertConfig(**MODEL)  # type: ignore[arg-type]
    arrays = initial_parameters(pretraining_specs(config), 0.02, 1)
    state = {"step": 7, "tokenizer_fingerprint": None}
    (tmp_path / "other").mkdir()
    save_checkpoint(str(tmp_path / "other"), 7, Checkpoint(arrays, {}, state), config, 0)
    flags = data.prediction(f"--init_checkpoint={tmp_path}/other")
    assert refusal(tmp_path / "run", *flags) == (
        f"--init_checkpoint: {tmp_path}/other/checkpoint-00000007 lacks cls/squad/output_weights, "
        "cls/squad/output_bias; it was not trained for this task. Give --do_train."
    )


# Without a dataset


def test_run_oracle_needs_no_model(
    early_refusal: Refusal, command: Run, data: Data, tmp_path: Path, capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(fine_tuning, "load_backend", None)
    # The last answer is a part of a syllable block's morpheme: no sequence of pieces.
    questions = [*QUESTIONS[:5], (LIBRARY, "q9", "누가 관장인가?", "보람은 1")]
    path = write_questions(tmp_path / "some.json", questions)
    assert command(tmp_path / "run", "--oracle", f"--predict_file={path}") == 0
    printed = capsys.readouterr().out
    assert re.search(r"questions +6\n", printed)
    lines = (tmp_path / "run" / "unreachable.jsonl").read_text("utf-8").splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    assert ids == ["q9"] and json.loads(lines[0])["golds"] == ["보람은 1"]
    assert re.search(r"exact_match +83\.33", printed) and "보람은 1" in printed
    assert "predictions.json" not in written(tmp_path / "run")
    # --train_file is taken where there is no other.
    assert command(tmp_path / "run", "--oracle", f"--train_file={data.questions}") == 0
    assert re.search(r"exact_match +100\.00", capsys.readouterr().out)
    assert (tmp_path / "run" / "unreachable.jsonl").read_text() == ""


def printed_records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("form", ["columns", "json"])
def test_run_input_file_prints_answers_as_json(
    form: str, command: Run, folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "pairs.txt"
    pairs = [(question, context) for context, _, question, _ in QUESTIONS[:3]]
    if form == "columns":
        text = "".join(f"{question}\t{context}\n" for question, context in pairs)
    else:
        records = [{"id": f"q{i}", "question": q, "context": c} for i, (q, c) in enumerate(pairs)]
        text = "".join(json.dumps(record) + "\n\n" for record in records)
    path.write_text(text, encoding="utf-8")
    before = contents(folder)
    assert command(folder, f"--input_file={path}") == 0
    found = printed_records(capsys.readouterr().out)
    wanted = ["1", "2", "3"] if form == "columns" else ["q0", "q1", "q2"]
    assert [record["id"] for record in found] == wanted
    for record, (context, _, question, answer) in zip(found, QUESTIONS, strict=False):
        assert (record["question"], record["answer"]) == (question, answer)
        assert context[record["answer_start"] : record["answer_end"]] == answer
        assert 0.5 < record["probability"] <= 1 and len(record["others"]) == 3
    assert contents(folder) == before


def test_run_input_file_that_is_none_names_the_line(
    refusal: Refusal, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(f"누구인가?\t{LIBRARY}\n탭이 없다\n", encoding="utf-8")
    assert refusal(folder, f"--input_file={path}") == (
        f"{path}:2: expected QUESTION, a tab and CONTEXT, or a JSON object."
    )


def test_run_interactive_answers_what_is_typed(
    command: Run, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [LIBRARY, QUESTIONS[0][2], QUESTIONS[1][2], "", MARKET, QUESTIONS[4][2]]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in typed)))
    assert command(folder, "--interactive") == 0
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("→")]
    for line, number in zip(lines, (0, 1, 4), strict=True):
        context, _, _, answer = QUESTIONS[number]
        start = context.index(answer)
        found = re.fullmatch(r"→ (.+)  \((\d\.\d\d), characters (\d+):(\d+); else .+\)", line)
        assert found is not None, line
        assert (found[1], int(found[3]), int(found[4])) == (answer, start, start + len(answer))


# What is refused


def test_run_vocabulary_larger_than_the_model_is_refused(
    early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "c.json", vocab_size=1499)
    message = early_refusal(tmp_path / "run", *data.training(f"--bert_config_file={config}"))
    assert message == (
        f"vocab_size is 1,499 in {config}, but 1,500 in the vocabulary ({data.vocab}); set "
        "vocab_size in the config to that."
    )
    assert not (tmp_path / "run").exists()


def test_run_windows_longer_than_the_model_are_refused(
    early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    message = early_refusal(tmp_path / "run", *data.training("--max_seq_length=65"))
    assert message == (
        "--max_seq_length=65, but the model has 64 positions (max_position_embeddings in "
        f"{data.config}); lower the flag."
    )
    assert not (tmp_path / "run").exists()


def test_run_without_weights_is_refused(early_refusal: Refusal, data: Data, tmp_path: Path) -> None:
    for flags in (data.prediction(), ("--interactive",)):
        assert early_refusal(tmp_path / "run", *flags) == (
            f"no checkpoint in {tmp_path}/run; give --do_train, or --init_checkpoint with a reader."
        )
    assert early_refusal(tmp_path / "run", *data.prediction("--num_seeds=2")) == (
        f"no checkpoint in {tmp_path}/run/seed-12345; give --do_train, or --init_checkpoint with "
        "a reader."
    )


def test_run_impossible_questions_need_version_2(early_refusal: Refusal, tmp_path: Path) -> None:
    path = write_questions(tmp_path / "two.json", q2={"answers": [], "is_impossible": True})
    assert early_refusal(tmp_path / "run", "--do_train", f"--train_file={path}") == (
        f"{path}: questions without an answer (is_impossible): 1; give --version_2_with_negative."
    )


def test_run_empty_dataset_is_refused(early_refusal: Refusal, tmp_path: Path) -> None:
    path = write_questions(tmp_path / "none.json", [])
    assert early_refusal(tmp_path / "run", "--do_train", f"--train_file={path}") == (
        f"{path} has no question."
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--do_train",), "--do_train needs --train_file."),
        (("--do_predict",), "--do_predict needs --predict_file."),
        ((), "give --do_train, --do_predict, --interactive, --input_file or --oracle."),
        (("--oracle",), "--oracle needs --predict_file or --train_file."),
        (("--do_train", "--train_file=x", "--eval_every_steps=5"),
         "--eval_every_steps needs --predict_file."),
        (("--interactive", "--num_seeds=2"),
         "--interactive and --input_file try one reader; give its seed-N folder as --output_dir, "
         "and no --num_seeds."),
        (("--interactive", "--predict_batch_size=0"),
         "--predict_batch_size must be at least 1, got 0."),
        (("--interactive", "--n_best_size=0"), "--n_best_size must be at least 1, got 0."),
        (("--interactive", "--max_answer_length=0"),
         "--max_answer_length must be at least 1, got 0."),
        (("--interactive", "--doc_stride=0"), "--doc_stride must be at least 1, got 0."),
        (("--interactive", "--max_query_length=61"),
         "--max_seq_length=64 leaves no room for a context beside a question of "
         "--max_query_length=61 and 3 special tokens."),
        (("--interactive", "--layer_decay=0"), "--layer_decay must be in (0, 1], got 0.0."),
        (("--interactive", "--warmup_proportion=1.1"),
         "--warmup_proportion must be in [0, 1], got 1.1."),
        (("--interactive", "--num_train_epochs=0"),
         "--num_train_epochs must be in (0, 1e6), got 0.0."),
        (("--interactive", "--train_batch_size=0"),
         "--train_batch_size must be at least 1, got 0."),
        (("--interactive", "--gradient_accumulation_steps=3"),
         "--train_batch_size=4 must be a multiple of --gradient_accumulation_steps=3."),
        (("--interactive", "--output_dir=gs://bucket/x"),
         "--output_dir must be a local folder, got gs://bucket/x; copy it afterwards."),
        (("--interactive", "--random_seed=2147483647", "--num_seeds=2"),
         "--random_seed and --num_seeds: the last seed must be below 2**31."),
        (("--interactive", "--learning_rate=-1"),
         "--learning_rate must be in [0, 3.4e38], got -1.0."),
    ],
)  # fmt: skip
def test_run_flags_that_make_no_sense_are_refused(
    flags: tuple[str, ...], message: str, early_refusal: Refusal, tmp_path: Path
) -> None:
    assert early_refusal(tmp_path / "run", *flags) == message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["bert_config_file", "vocab_file", "train_file", "predict_file"])
def test_run_missing_file_is_named(
    name: str, early_refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    flags = data.training(*data.prediction(f"--{name}={tmp_path}/nowhere.x"))
    assert f"{tmp_path}/nowhere.x" in early_refusal(tmp_path / "run", *flags)


def test_run_missing_input_file_is_named(refusal: Refusal, folder: Path) -> None:
    assert "/nowhere.tsv" in refusal(folder, "--input_file=/nowhere.tsv")


def test_run_init_checkpoint_without_weights_is_refused(
    refusal: Refusal, data: Data, tmp_path: Path
) -> None:
    flags = data.prediction(f"--init_checkpoint={tmp_path}/nowhere")
    assert f"nothing at {tmp_path}/nowhere" in refusal(tmp_path / "run", *flags)


def test_run_batches_that_devices_can_not_split_are_refused(
    refusal: Refusal, backend: NumpyBackend, data: Data, folder: Path, tmp_path: Path
) -> None:
    backend.num_devices = 3
    assert refusal(tmp_path / "new", *data.training()) == (
        "--train_batch_size=4 must be a multiple of the 3 devices."
    )
    assert refusal(folder, *data.prediction()) == (
        "--predict_batch_size=8 must be a multiple of the 3 devices."
    )


# Google's flags


GOOGLES_FLAGS: dict[str, Any] = {
    "train_file": None, "predict_file": None, "init_checkpoint": None, "max_seq_length": 384,
    "doc_stride": 128, "max_query_length": 64, "do_train": False, "do_predict": False,
    "train_batch_size": 32, "predict_batch_size": 8, "learning_rate": 5e-5,
    "num_train_epochs": 3.0, "warmup_proportion": 0.1, "save_checkpoints_steps": 1000,
    "iterations_per_loop": 1000, "n_best_size": 20, "max_answer_length": 30, "use_tpu": False,
    "tpu_name": None, "tpu_zone": None, "gcp_project": None, "master": None, "num_tpu_cores": 8,
    "verbose_logging": False, "version_2_with_negative": False, "null_score_diff_threshold": 0.0,
}  # fmt: skip


def test_config_has_googles_flags_and_defaults() -> None:
    config = RunSquadConfig(bert_config_file="a", vocab_file="b", output_dir="c", input_file="d")
    found = {name: getattr(config, name) for name in GOOGLES_FLAGS}
    assert found == GOOGLES_FLAGS
    assert {n: type(v) for n, v in found.items()} == {n: type(v) for n, v in GOOGLES_FLAGS.items()}
    # Google's is true; here the vocabulary says it, and true is its default.
    assert config.do_lower_case is None


@pytest.mark.parametrize("name", ["bert_config_file", "vocab_file", "output_dir"])
def test_config_required_flags_are_required(name: str, data: Data, capsys: Captured) -> None:
    argv = [a for a in data.arguments("x", "--interactive") if not a.startswith(f"--{name}=")]
    assert run_command(RunSquadConfig, run, argv) == 1
    assert f"--{name}" in capsys.readouterr().err


def test_run_googles_command_line_is_understood(command: Run, data: Data, tmp_path: Path) -> None:
    flags = (
        *data.training(*data.prediction()), "--do_lower_case=True", "--learning_rate=3e-5",
        "--num_train_epochs=2.0", "--doc_stride=16", "--use_tpu=False", "--nouse_tpu",
        "--num_tpu_cores=8", "--version_2_with_negative=False", "--n_best_size", "20",
    )  # fmt: skip
    assert command(tmp_path, *flags) == 0


# The launcher


def modules_after(code: str) -> set[str]:
    """What a new process has loaded after it has run the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"],
        capture_output=True, text=True, cwd=REPOSITORY, check=True,
    )  # fmt: skip
    return set(done.stdout.splitlines())


def test_command_help_answers_without_a_framework() -> None:
    code = "sys.argv = ['x', '--help']\nfrom bert_ko.run_squad import main\nmain()"
    before = os.times()
    found = modules_after(code)
    after = os.times()
    assert not found & {"tensorflow", "keras", "jax", "torch", "transformers"}
    for flag in ("train_file", "doc_stride", "layer_decay", "input_file", "num_seeds"):
        assert any(line.startswith(f"  --{flag} (") for line in found)
    # Of the processor's time, which other programs do not change; TensorFlow alone takes 3 s.
    used = after.children_user - before.children_user + after.children_system
    assert used - before.children_system < 1.5


# With TensorFlow and JAX, in processes of their own


def sample_arguments(vocab: str, config: str, output: Path, *flags: str) -> list[str]:
    """The questions of samples/ in windows of two or three lengths, with dropout."""
    return [
        f"--train_file={SAMPLE_QUESTIONS}", f"--predict_file={SAMPLE_QUESTIONS}",
        f"--vocab_file={vocab}", f"--bert_config_file={config}", f"--output_dir={output}",
        "--precision=float32", "--log_every_steps=1", *flags,
    ]  # fmt: skip


class Command:
    """Runs the command with a backend; JAX keeps what it has compiled for the next run."""

    def __init__(self, backend: str, vocab: str, folder: Path):
        self.vocab = vocab
        self.config = write_config(folder / "bert_config.json", max_position_embeddings=160)
        self.environment = {
            **os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }  # fmt: skip

    def start(self, output: Path, *flags: str, code: str = "") -> "subprocess.Popen[str]":
        """Begins a run; what it prints is appended to OUTPUT.log."""
        program = ["-c", code] if code else [str(REPOSITORY / "bin/run_squad")]
        arguments = sample_arguments(self.vocab, self.config, output, *flags)
        with open(f"{output}.log", "a") as log:
            return subprocess.Popen(
                [sys.executable, *program, *arguments],
                stdout=log, stderr=log, text=True, env=self.environment, cwd=REPOSITORY,
            )  # fmt: skip

    def run(self, output: Path, *flags: str, code: str = "") -> str:
        """Runs to the end; returns all that the runs have printed."""
        process = self.start(output, *flags, code=code)
        assert process.wait(300) == 0, printed(output)
        return printed(output)


def printed(output: Path) -> str:
    return Path(f"{output}.log").read_text(encoding="utf-8")


def stop_when(process: "subprocess.Popen[str]", is_reached: Callable[[], bool], number: int) -> int:
    """Sends a signal in a state of the folder; returns the exit status."""
    deadline = time.monotonic() + 300
    while not is_reached():
        assert process.poll() is None, "the run has ended before"
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.0005)
    process.send_signal(number)
    return process.wait(60)


def has_records(output: Path, count: int) -> Callable[[], bool]:
    """Whether the run has come so far."""
    path = output / "metrics.jsonl"
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= count


def assert_same_run(output: Path, undisturbed: Path) -> None:
    """Every record, weight, slot and answer of the two, to the last bit."""
    assert metrics(output) == metrics(undisturbed)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (last(output) / name).read_bytes() == (last(undisturbed) / name).read_bytes()
    for name in ("predictions.json", "nbest_predictions.json", "eval_results.txt"):
        assert (output / name).read_bytes() == (undisturbed / name).read_bytes()
    assert written(output) == written(undisturbed)


@pytest.fixture(scope="module")
def tensorflow(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command("tensorflow", vocab_folder, tmp_path_factory.mktemp("tensorflow"))


@pytest.fixture(scope="module")
def jax(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command("jax", vocab_folder, tmp_path_factory.mktemp("jax"))


# Windows of 64, 128 and 160 pieces; 7 does not divide the 48 updates.
SHORT_RUN = (
    "--do_train", "--do_predict", "--max_seq_length=160", "--doc_stride=40",
    "--max_query_length=32", "--train_batch_size=8", "--num_train_epochs=3",
    "--save_checkpoints_steps=7", "--keep_checkpoint_max=2", "--learning_rate=1e-3",
)  # fmt: skip
# With JAX nothing imports TensorFlow, and torch has no place in either.
JAX_ALONE = """
import sys
from bert_ko.run_squad import main
code = main()
assert "jax" in sys.modules
assert not {"tensorflow", "torch"} & set(sys.modules)
sys.exit(code)
"""


def assert_complete(output: Path) -> None:
    """What a run over the sample leaves, and that it has learnt something."""
    trained = [record for record in metrics(output) if "loss" in record]
    steps = int(last(output).name[-8:])
    assert [record["step"] for record in trained] == list(range(1, steps + 1))
    losses = [record["loss"] for record in trained]
    # The logarithm of 160 places is 5.08.
    assert losses[0] == pytest.approx(4.9, abs=0.4)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    questions = read_json(SAMPLE_QUESTIONS)["data"]
    contexts = {
        qa["id"]: paragraph["context"]
        for article in questions for paragraph in article["paragraphs"] for qa in paragraph["qas"]
    }  # fmt: skip
    found = answers(output)
    assert found.keys() == contexts.keys() and len(found) == 50
    assert all(answer and answer in contexts[qas_id] for qas_id, answer in found.items())
    assert results(output)["total"] == 50 and results(output)["global_step"] == steps
    assert (output / "eval_results.txt").read_text() in printed(output)


@pytest.mark.slow
def test_command_tensorflow_killed_and_stopped_goes_on_to_the_same_bits(
    tensorflow: Command, tmp_path: Path
) -> None:
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "run"
    tensorflow.run(undisturbed, *SHORT_RUN)
    assert_complete(undisturbed)
    for count, number, status in ((9, signal.SIGKILL, -9), (25, signal.SIGTERM, 143)):
        process = tensorflow.start(output, *SHORT_RUN)
        assert stop_when(process, has_records(output, count), number) == status
        assert not (output / "predictions.json").exists()
    (stop,) = re.findall(r"stopped at step (\d+); run the same command to go on", printed(output))
    assert int(last(output).name[-8:]) == int(stop)
    tensorflow.run(output, *SHORT_RUN)
    assert "Traceback" not in printed(output)
    starts = re.findall(r"going on from step (\d+)", printed(output))
    assert starts[0] in ("7", "14", "21") and starts[1] == stop
    assert_same_run(output, undisturbed)


@pytest.mark.slow
def test_command_jax_killed_goes_on_to_the_same_bits(jax: Command, tmp_path: Path) -> None:
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "run"
    jax.run(undisturbed, *SHORT_RUN, code=JAX_ALONE)
    assert_complete(undisturbed)
    process = jax.start(output, *SHORT_RUN)
    assert stop_when(process, has_records(output, 17), signal.SIGKILL) == -signal.SIGKILL
    jax.run(output, *SHORT_RUN)
    assert re.search(r"going on from step (14|21|28|35)", printed(output))
    assert_same_run(output, undisturbed)


@pytest.mark.slow
def test_command_small_model_learns_the_sample_by_heart_and_jax_reads_it(
    tensorflow: Command, jax: Command, tmp_path: Path
) -> None:
    # Two of the windows differ in the words of the question alone, so that a model has to attend to
    # them; from weights of 0.02 it did not in 300 updates.
    model = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = write_config(
        tmp_path / "c.json", **model, **rates, intermediate_size=128, max_position_embeddings=256,
        initializer_range=0.1,
    )  # fmt: skip
    flags = ("--max_seq_length=256", f"--bert_config_file={config}", "--do_predict")
    training = (
        "--do_train", "--train_batch_size=10", "--num_train_epochs=30", "--learning_rate=2e-3",
        "--optimizer=adamw", "--random_seed=1",
    )  # fmt: skip
    output, other = tmp_path / "run", tmp_path / "other"
    tensorflow.run(output, *flags, *training)
    golds = {
        qa["id"]: qa["answers"][0]["text"]
        for article in read_json(SAMPLE_QUESTIONS)["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    }
    assert answers(output) == golds and len(golds) == 50
    assert results(output)["exact_match"] == results(output)["f1"] == 100
    trained = metrics(output)[-1]
    assert trained["span_accuracy"] == 1 and trained["loss"] < 0.01
    jax.run(other, *flags, f"--init_checkpoint={output}", code=JAX_ALONE)
    assert answers(other) == golds
    assert results(other)["exact_match"] == 100
    ours, theirs = (read_json(folder / "nbest_predictions.json") for folder in (output, other))
    for qas_id in golds:
        pair = ours[qas_id][0], theirs[qas_id][0]
        logits = [[entry["start_logit"], entry["end_logit"]] for entry in pair]
        assert logits[0] == pytest.approx(logits[1], abs=1e-3)
