"""The order of a training session, with a model of numpy whose one weight counts the updates."""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

from bert_ko.data.share import Share
from bert_ko.flags import flag
from bert_ko.messages import program_name
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.parameters import ParameterSpec
from bert_ko.notification import Ending
from bert_ko.page_writing import write_page
from bert_ko.tasks.settings import FineTuneFlags
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.folder import load_tokenizer, write_folder
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS
from bert_ko.training import session
from bert_ko.training.checkpoints import list_checkpoints, load_checkpoint
from bert_ko.training.labels import read_labels
from bert_ko.training.metrics import read_metrics
from bert_ko.training.model_files import ModelFiles
from bert_ko.training.optimization import OptimizerConfig
from bert_ko.training.results import Results
from bert_ko.training.session import run_session
from bert_ko.training.task import Task
from bert_ko.training.tracking import opening
from bert_ko.training.tracking.tracker import Tracker

WARNING = f"{program_name()}: warning:"
PIECES = (*SPECIAL_TOKENS, "가", "나")
MODEL = BertConfig(
    vocab_size=7, hidden_size=4, num_hidden_layers=3, num_attention_heads=2, intermediate_size=4,
    max_position_embeddings=20,
)  # fmt: skip
RUN_FILES = ["bert_config.json", "labels.json", "run.json", "tokenizer_config.json", "vocab.txt"]
Arrays = dict[str, np.ndarray]
Captured = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Flags(FineTuneFlags):
    """Of a task whose texts have 20 pieces."""

    max_seq_length: int = flag(20, help="Pieces.")


class FakeHead:
    """One weight, w."""

    headline = (("loss", "loss"),)
    initializer = "zeros"

    def specs(self, config: Any) -> dict[str, ParameterSpec]:
        return {"w": ParameterSpec((1,), self.initializer)}  # type: ignore[arg-type]

    def outputs(self, model: Any, batch: Any) -> Any: ...

    def denominators(self, batch: Any) -> dict[str, Any]:
        return {}

    def metrics(self, sums: Any) -> dict[str, float]:
        return {"loss": sums["loss"]}


class FakeProgram:
    """A weight that counts updates, a slot that counts them twice."""

    dies_at: ClassVar[int | None] = None

    def __init__(self, arrays: Arrays, seed: int, log: list[Any]):
        self.log = log
        self.restart(arrays, seed)

    def restart(self, parameters: Arrays, seed: int) -> None:
        self.log.append(("start", float(parameters["w"][0]), seed))
        self.others = {n: array for n, array in parameters.items() if n != "w"}
        self.w, self.m = parameters["w"].copy(), np.zeros(1, np.float32)

    def train_step(
        self, step: int, batch: Arrays, scalars: Any, hyper: Any
    ) -> Callable[[], dict[str, float]]:
        if step == self.dies_at:
            raise Killed
        self.log.append(("step", step, batch["input_ids"].shape, int(batch["input_ids"].max())))
        self.w, self.m = self.w + np.float32(1), self.m + np.float32(2)
        return lambda: {"objective": 1.0, "gradient_norm": 1.0, "loss": 2.0}

    def eval_step(self, batch: Arrays, scalars: Any) -> dict[str, float]:
        return {"loss": float(self.w[0])}

    def predictor(self, outputs: Any) -> Callable[[Arrays], Arrays]:
        self.log.append(("compile", outputs))
        return lambda batch: {"y": batch["x"] + self.w}

    def parameters(self) -> Arrays:
        return {"w": self.w, **self.others}

    def slots(self) -> Arrays:
        slots = {f"{n}/adam_m": array for n, array in self.others.items()}
        slots |= {f"{n}/adam_v": array for n, array in self.parameters().items()}
        return {"w/adam_m": self.m, **slots}

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        self.log.append(("restore", float(parameters["w"][0]), float(slots["w/adam_m"][0])))
        self.w, self.m = parameters["w"], slots["w/adam_m"]


class FakeBackend:
    """What load_backend returns."""

    description, precision = "2 fakes", "float32"
    num_devices, fused_attention, peak_flops = 2, False, None

    @property
    def num_local_devices(self) -> int:
        return self.num_devices

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.optimizers: list[OptimizerConfig | None] = []
        self.model_configs: list[Any] = []

    def peak_memory(self) -> int | None:
        return 3_000_000

    def train_program(
        self, config: Any, head: Any, optimizer: Any, arrays: Arrays, seed: int
    ) -> FakeProgram:
        self.model_configs.append(config)
        self.optimizers.append(optimizer)
        return FakeProgram(arrays, seed, self.log)

    @property
    def steps(self) -> list[int]:
        return [entry[1] for entry in self.log if entry[0] == "step"]


class Killed(BaseException):
    """What is raised where the process would die."""


class Batch(NamedTuple):
    features: Arrays
    position: dict[str, Any]
    epoch: int


class Source:
    """Batches whose ids are their number, five in an epoch."""

    def __init__(self, position: dict[str, Any] | None):
        self.first = position["batch"] if position else 0

    def batches(self) -> Iterator[Batch]:
        for number in range(self.first, 10**6):
            ids = np.full((4, 3), number)
            features = {"input_ids": ids, "input_mask": np.tile(np.int32([1, 1, 0]), (4, 1))}
            yield Batch(features, {"batch": number + 1}, number // 5)

    def place(self, batch: Batch) -> str:
        return ""


class FakeTask(Task):
    """Its score is looked up by the number of updates that the weights have seen.

    Attributes:
        found: what was in the run's folder when training began.
        asked: weight, folder and step of each ``finish``.
    """

    main_metric = "f1"
    tokenized = "the questions are cut with"
    labels = ("가", "나")
    rate_multiples = (("w", 2.0),)
    batch_sizes = ("predict_batch_size",)
    steps_per_epoch, is_asked = 0, False
    scores: ClassVar[dict[int, float]] = {}
    found: ClassVar[list[str]] = []
    asked: ClassVar[list[tuple[float, str, int]]] = []

    def __init__(self, config: Flags, model: ModelFiles):
        self.head: Any = HEAD
        self.config = config
        self.fingerprint = model.tokenizer.fingerprint
        self.identity = {"train_file": ["a.tsv", "00"]}
        self.steps_per_epoch, self.is_asked = 5 * config.do_train, config.do_predict

    def train_batches(self, seed: int, position: dict[str, Any] | None, share: Share) -> Source:
        if not self.config.dry_run:
            self.found[:] = sorted(os.listdir(self.config.folder(seed)))
        return Source(position)

    def evaluate(self, model: Any) -> dict[str, float]:
        seen = float(model.predict({"x": np.zeros(1)})["y"][0])
        measured = model.measure(iter([Batch({}, {}, 0)]), 1)
        return {"f1": self.scores.get(round(seen), 0.0), "other": seen, **measured}

    def finish(self, model: Any, folder: str, step: int) -> Results:
        seen = float(model.predict({"x": np.zeros(1)})["y"][0])
        self.asked.append((seen, os.path.basename(folder), step))
        values = {"f1": 10.0 * len(self.asked), "loss": seen, "total": 3.0}
        return Results(values, lambda seeds: f"report of {list(seeds)}")


class Told(Tracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def start(self, run: Any, lines: Any = ()) -> None:
        assert run.parameters.keys() > {"learning_rate", "model.hidden_size"}
        assert "notify_url" not in run.parameters
        self.calls.append(("start", run.name, [line["step"] for line in lines]))

    def begin(self, first_step: int) -> None:
        self.calls.append(("begin", first_step))

    def write(self, line: Any) -> None:
        self.calls.append(("line", line["step"]))

    def finish(self, scores: Any, step: int) -> None:
        self.calls.append(("finish", dict(scores), step))

    def close(self, status: Any, deadline: float) -> list[str]:
        self.calls.append(("close", status))
        return []


HEAD = FakeHead()
NO_HIDDEN = {"hidden_dropout_prob": None}


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """The one that is loaded; nothing here cuts the power."""
    fake = FakeBackend()
    monkeypatch.setattr(session, "load_backend", lambda config, hosts: fake)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(FakeTask, "scores", {})
    FakeTask.asked.clear()
    return fake


@pytest.fixture(autouse=True)
def endings(monkeypatch: pytest.MonkeyPatch) -> list[Ending]:
    """What a webhook would be told."""
    found: list[Ending] = []
    monkeypatch.setattr(session, "notified", lambda run: lambda config: found.append(run(config)))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Has a configuration and a vocabulary; runs are in run/."""
    write_folder(str(tmp_path / "vocab"), list(PIECES), TokenizerConfig())
    (tmp_path / "model.json").write_text(json.dumps(MODEL.to_dict()))
    return tmp_path


def run(folder: Path, **flags: Any) -> Path:
    """By default two epochs of 5 updates, and a checkpoint every 4; returns the run's folder."""
    known = {
        "vocab_file": f"{folder}/vocab", "bert_config_file": f"{folder}/model.json",
        "output_dir": f"{folder}/run", "do_train": True, "train_batch_size": 4,
        "num_train_epochs": 2.0, "save_checkpoints_steps": 4, "log_every_steps": 5,
    }  # fmt: skip
    config = Flags(**{**known, **flags})
    run_session(config, FakeTask)
    return Path(config.output_dir)


def refusal(folder: Path, **flags: Any) -> str:
    with pytest.raises(ValueError) as error:
        run(folder, **flags)
    return str(error.value)


def kill_at(step: int, folder: Path, monkeypatch: pytest.MonkeyPatch, **flags: Any) -> Path:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(FakeProgram, "dies_at", step)
        run(folder, **flags)
    return folder / "run"


def names(run: Path) -> list[str]:
    found = [*list_checkpoints(str(run)), *list_checkpoints(str(run), "best")]
    return [os.path.basename(path) for path in found]


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


# A run


def test_run_session_trains_all_steps_and_saves(
    folder: Path, backend: FakeBackend, endings: list[Ending], capsys: Captured
) -> None:
    found = run(folder, warmup_proportion=0.35, layer_decay=0.9, learning_rate=0.5)
    assert backend.log == [
        ("start", 0.0, 12345), ("compile", HEAD.outputs),
        *(("step", number, (1, 4, 3), number) for number in range(10)),
    ]  # fmt: skip
    assert backend.optimizers == [
        OptimizerConfig(
            learning_rate=0.5, num_train_steps=10, num_warmup_steps=3, layer_decay=0.9,
            num_hidden_layers=3, multiples=(("w", 2.0),),
        )
    ]  # fmt: skip
    assert names(found) == [f"checkpoint-{step:08d}" for step in (4, 8, 10)]
    state = load_checkpoint(list_checkpoints(str(found))[-1]).state
    assert (state["step"], state["position"]) == (10, {"batch": 10})
    assert state["computed_with"] == "2 fakes, float32"
    fingerprint = load_tokenizer(f"{folder}/vocab").fingerprint
    assert state["tokenizer_fingerprint"] == fingerprint
    records = read_metrics(str(found / "metrics.jsonl"))
    assert [(r["step"], r["epoch"], r["loss"]) for r in records] == [(5, 0, 10.0), (10, 1, 10.0)]
    assert endings == [Ending({}, 10, 10)]
    assert "2 fakes, float32; 0.0 million parameters\n" in capsys.readouterr().err


def test_run_session_says_how_to_see_the_curves_or_writes_none(
    folder: Path, capsys: Captured
) -> None:
    found = run(folder)
    said = capsys.readouterr().err
    assert f"\ncurves: tensorboard --logdir={found}" in said
    assert said.index("\ncurves: ") < said.index("\n── trained 10 steps ─")  # which is the end
    (events,) = (found / "tensorboard").iterdir()
    kept = events.read_bytes()
    run(folder, num_train_epochs=2.0)  # nothing is left to do
    assert list((found / "tensorboard").iterdir()) == [events] and events.read_bytes() == kept
    other = run(folder, output_dir=f"{folder}/other", report_to=())
    assert "curves: " not in capsys.readouterr().err
    assert not (other / "tensorboard").exists() and read_metrics(str(other / "metrics.jsonl"))


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_run_session_missing_package_is_refused_before_anything_is_written(
    package: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_is_installed", lambda name: False)
    message = refusal(folder, report_to=("tensorboard", package), vocab_file="/nowhere")
    assert message == (
        f"--report_to={package} needs the package {package}: pip install 'bert_ko[{package}]'"
    )
    assert not (folder / "run").exists()


def test_run_session_tells_trackers_what_it_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    monkeypatch.setattr(opening, "Remote", lambda name, output_dir: told)
    monkeypatch.setattr(opening, "_is_installed", lambda name: True)
    found = kill_at(7, folder, monkeypatch, report_to=("wandb",), log_every_steps=1)
    lines = [("line", step) for step in range(1, 8)]
    assert told.calls == [("start", "run", []), ("begin", 0), *lines, ("close", "FAILED")]
    told.calls.clear()
    run(folder, report_to=("wandb",), log_every_steps=1)
    lines = [("line", step) for step in range(5, 11)]
    resumed = [("start", "run", [1, 2, 3, 4]), ("begin", 4), *lines, ("finish", {}, 10)]
    assert told.calls == [*resumed, ("close", "FINISHED")]
    told.calls.clear()
    asked = {"do_train": False, "do_predict": True, "predict_file": "p.tsv"}
    run(folder, report_to=("wandb",), **asked)
    steps = list(range(1, 11))
    assert told.calls[0] == ("start", "run", steps) and told.calls[1][0] == "finish"
    told.calls.clear()
    run(folder, output_dir=f"{found}-2", report_to=("wandb",), num_seeds=2, log_every_steps=10)
    names = [call[1] for call in told.calls if call[0] == "start"]
    assert names == ["run-2", "run-2/seed-12345", "run-2", "run-2/seed-12346"]


def test_run_session_what_belongs_to_the_weights_is_written_before_they_are(folder: Path) -> None:
    found = run(folder)
    assert FakeTask.found == [".lock", *RUN_FILES]
    assert read_labels(str(found)) == ("가", "나")
    assert load_tokenizer(str(found)).vocab.pieces == PIECES
    identity = json.loads((found / "run.json").read_text())["identity"]
    assert identity["train_file"] == ["a.tsv", "00"] and identity["random_seed"] == 12345
    assert identity["bert_config_file"] == MODEL.to_dict()


def test_run_session_without_weights_for_one_seed_is_refused(folder: Path) -> None:
    run(folder, num_seeds=2)
    message = refusal(folder, num_seeds=3, do_train=False)
    assert message.startswith(f"no checkpoint in {folder}/run/seed-12347; give")


def test_run_session_dropout_is_the_runs_and_not_the_models(
    folder: Path,
    backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend.fused_attention = True
    flags = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.25}
    found = kill_at(7, folder, monkeypatch, **flags)
    assert backend.model_configs == [dataclasses.replace(MODEL, **flags)]
    assert json.loads((found / "bert_config.json").read_text()) == MODEL.to_dict()
    about = json.loads((found / "run.json").read_text())
    for values in (about["flags"], about["identity"]):
        assert {name: values[name] for name in flags} == flags
    assert (
        "attention dropout 0.25 trains without the fused attention kernel; "
        "--attention_probs_dropout_prob=0 trains with it\n"
    ) in capsys.readouterr().err
    assert "--hidden_dropout_prob was 0.0, now None" in refusal(folder, **{**flags, **NO_HIDDEN})
    run(folder, **flags)
    assert backend.steps[-1] == 9


@pytest.mark.parametrize(("is_fused", "rate"), [(False, 0.1), (True, 0.0)], ids=["plain", "fused"])
def test_run_session_attention_that_is_as_wished_is_not_spoken_of(
    is_fused: bool,
    rate: float,
    folder: Path,
    backend: FakeBackend,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend.fused_attention = is_fused
    run(folder, attention_probs_dropout_prob=rate)
    assert "fused" not in capsys.readouterr().err


def test_run_session_wsd_without_room_is_refused_before_anything_is_written(folder: Path) -> None:
    flags = {"learning_rate_schedule": "wsd", "decay_proportion": 0.7, "warmup_proportion": 0.4}
    assert refusal(folder, **flags) == (
        "--learning_rate_schedule=wsd: of 10 updates 4 are warm-up and 7 decay; shorten the "
        "warm-up, or lower --decay_proportion."
    )
    assert not (folder / "run").exists()


# Resuming


def test_run_session_killed_resumes_with_weights_slots_and_data(
    folder: Path,
    backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = kill_at(7, folder, monkeypatch)
    (found / ".best-00000007.tmp").mkdir()
    backend.log.clear()
    run(folder)
    assert backend.log == [
        ("start", 4.0, 12345), ("compile", HEAD.outputs), ("restore", 4.0, 8.0),
        *(("step", number, (1, 4, 3), number) for number in range(4, 10)),
    ]  # fmt: skip
    printed = capsys.readouterr()
    assert "resuming from step 4\n" in printed.err and "warning" not in printed.err
    assert not (found / ".best-00000007.tmp").exists()


def test_run_session_other_devices_warn(
    folder: Path,
    backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kill_at(7, folder, monkeypatch)
    backend.description, backend.num_devices = "4 others", 4
    run(folder, predict_batch_size=4)
    assert (
        f"{WARNING} the run was computed with 2 fakes, float32, now with 4 others, float32: it "
        "resumes, but not bit-exactly."
    ) in capsys.readouterr().err.splitlines()


def test_run_session_all_done_and_nothing_asked_ends_at_once(
    folder: Path, backend: FakeBackend, endings: list[Ending], capsys: Captured
) -> None:
    before = contents(run(folder))
    backend.log.clear()
    capsys.readouterr()
    assert contents(run(folder)) == before
    first, *box = capsys.readouterr().err.splitlines()
    assert first == "all 10 steps are done; nothing else is asked for"
    assert box[0].startswith("── trained 10 steps ") and box[1].startswith("made ")
    assert backend.log == [] and endings[-1] == Ending({}, 10, 10)


# Rehearsals


def test_run_session_dry_run_says_what_is_to_be_expected_and_writes_nothing(
    folder: Path, backend: FakeBackend, capsys: Captured
) -> None:
    before = contents(folder)
    assert not run(folder, dry_run=True, num_seeds=2).exists()
    assert contents(folder) == before
    captured = capsys.readouterr()
    assert captured.out.startswith("dry run: nothing is written")
    for line in (
        r"devices +2 fakes, float32",
        r"steps +10 of 4 examples, 5 a pass over the data, for each of 2 seeds",
        r"checkpoints +\S+ \w+ each, 3 kept: \S+ \w+",
        r"memory +3 MB of a device at its peak",
        r"time +about 0:00 \(5 updates of \S+ s here, without evaluations\)",
    ):
        assert re.search(f"^{line}$", captured.out, re.M), captured.out
    assert "resuming" not in captured.err and "────" not in captured.err


def test_run_session_dry_run_of_a_begun_run_leaves_it_as_it_is(
    folder: Path,
    backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = kill_at(7, folder, monkeypatch)
    before = contents(found)
    run(folder, dry_run=True)
    assert contents(found) == before
    assert "a pass over the data; 4 of them are done" in capsys.readouterr().out
    assert "belongs to a different run" in refusal(folder, dry_run=True, learning_rate=0.25)
    assert contents(found) == before
    # What was tried is forgotten.
    run(folder)
    assert load_checkpoint(list_checkpoints(str(found))[-1]).state["step"] == 10


def test_run_session_dry_run_is_of_one_host(folder: Path, backend: FakeBackend) -> None:
    message = refusal(folder, dry_run=True, coordinator_address="127.0.0.1:1")
    assert message.startswith("--dry_run looks at one host; leave out --coordinator_address")


# Positions


def edit(path: Path, **changes: Any) -> None:
    """Changes a state as a hand would, whose values older versions kept without checksums."""
    state = {**json.loads((path / "state.json").read_text()), **changes}
    kept = {n: v for n, v in state.items() if v is not None and not n.endswith("crc32c")}
    (path / "state.json").write_text(json.dumps(kept))


def positions(run: Path) -> dict[str, int]:
    """Trained ones, as every checkpoint of a run records them."""
    found = {name: load_checkpoint(f"{run}/{name}", False) for name in names(run)}
    return {name: checkpoint.state["trained_positions"] for name, checkpoint in found.items()}


def rows(path: Path) -> np.ndarray:
    return load_checkpoint(str(path), False).parameters["bert/embeddings/position_embeddings"]


def test_run_session_records_the_longest_sequence_that_it_trained_on(folder: Path) -> None:
    FakeTask.scores[6] = 1.0
    found = run(folder, eval_every_steps=3)  # of 20 positions, two have pieces
    assert positions(found) == dict.fromkeys(names(found), 2) and "best-00000006" in names(found)
    seeds = run(folder, output_dir=f"{folder}/seeds", init_checkpoint=str(found), num_seeds=2)
    for seed in (seeds / "seed-12345", seeds / "seed-12346"):
        assert set(positions(seed).values()) == {2}
        assert (
            rows(seed / "checkpoint-00000010").tobytes()
            == rows(found / names(found)[-1])[np.arange(20) % 2].tobytes()
        )


def test_run_session_reached_positions_are_of_all_phases_and_survive_a_kill(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    first = run(folder, output_dir=f"{folder}/first")
    edit(first / "checkpoint-00000010", trained_positions=5)
    flags = {"init_checkpoint": str(first)}
    found = kill_at(7, folder, monkeypatch, **flags)
    assert positions(found) == {"checkpoint-00000004": 5}
    said = "positions 5 to 19 were never trained: their embeddings begin as those of the first 5 "
    assert said in capsys.readouterr().err
    run(folder, **flags)
    assert set(positions(found).values()) == {5} and said not in capsys.readouterr().err
    repeated = rows(first / "checkpoint-00000010")[np.arange(20) % 5]
    assert rows(found / "checkpoint-00000010").tobytes() == repeated.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("flags", [{"untrained_positions": "keep"}, {"max_seq_length": 2}])
def test_run_session_positions_stay_as_they_are(flags: Any, folder: Path, capsys: Captured) -> None:
    first = run(folder, output_dir=f"{folder}/first")
    found = run(folder, init_checkpoint=str(first), **flags)
    assert rows(found / "checkpoint-00000010").tobytes() == (
        rows(first / "checkpoint-00000010").tobytes()
    )
    is_said = (
        "positions 2 to 19 were never trained: their embeddings stay" in capsys.readouterr().err
    )
    assert is_said == ("untrained_positions" in flags)


def test_run_session_from_before_the_record_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = kill_at(7, folder, monkeypatch, max_seq_length=9) / "checkpoint-00000004"
    edit(old, trained_positions=None)
    begun = run(folder, init_checkpoint=str(old), output_dir=f"{folder}/begun")
    table = rows(begun / "checkpoint-00000010")
    # It began at random, so that no position from its max_seq_length on was trained.
    assert table.tobytes() == rows(old)[np.arange(20) % 9].tobytes()
    found = run(folder, max_seq_length=9)
    assert load_checkpoint(f"{found}/checkpoint-00000010").state["trained_positions"] == 9
    # Whether the weights that another began with had more is not known.
    edit(begun / "checkpoint-00000010", trained_positions=None)
    third = run(folder, init_checkpoint=str(begun), output_dir=f"{folder}/third")
    assert positions(third)["checkpoint-00000010"] == 20


def test_run_session_impossible_record_is_named_and_nothing_is_written(folder: Path) -> None:
    found = run(folder, num_train_epochs=1.0)
    for value, message in (
        (21, "trained_positions is 21, but the model has 20 positions"),
        (-1, "trained_positions must be a number of positions, got -1"),
        ("2", "trained_positions must be a number of positions, got '2'"),
    ):
        path = found / names(found)[-1]
        edit(path, trained_positions=value)
        before = contents(folder)
        for flags in (
            {"num_train_epochs": 1.0},
            {"output_dir": f"{folder}/x", "init_checkpoint": str(found)},
        ):
            error = refusal(folder, do_predict=True, **flags)
            assert error.removeprefix("--init_checkpoint: ").startswith(
                f"{path}/state.json: {message}"
            )
            assert "\n" not in error
        assert contents(folder) == before


# The best weights


def test_run_session_best_weights_are_kept_and_used(
    folder: Path, backend: FakeBackend, endings: list[Ending]
) -> None:
    FakeTask.scores.update({3: 50.0, 6: 70.0, 9: 70.0, 10: 60.0})
    found = run(folder, eval_every_steps=3)  # among equals the first
    assert names(found)[-1] == "best-00000006"
    best = load_checkpoint(str(found / "best-00000006"), with_slots=False)
    assert best.parameters["w"] == 6
    assert best.state["metrics"] == {"f1": 70.0, "other": 6.0, "loss": 6.0}
    assert not (found / "best-00000006" / "optimizer.safetensors").exists()
    evaluated = [r for r in read_metrics(str(found / "metrics.jsonl")) if "eval_f1" in r]
    assert [(r["step"], r["eval_f1"]) for r in evaluated] == [
        (3, 50.0), (6, 70.0), (9, 70.0), (10, 60.0),
    ]  # fmt: skip
    assert backend.log[-1] == ("restore", 6.0, 20.0)
    assert endings == [Ending({"f1": 60.0}, 10, 10)]  # nothing is asked: the last evaluation
    run(folder, eval_every_steps=3, do_predict=True)
    assert FakeTask.asked == [(6.0, "run", 6)]


# Without training


def test_run_session_best_without_its_score_is_refused(folder: Path) -> None:
    flags = {"output_dir": f"{folder}/best", "eval_every_steps": 3, "num_train_epochs": 1.0}
    best = next(run(folder, **flags).glob("best-*"))
    state = json.loads((best / "state.json").read_text())
    shutil.rmtree(best.parent / "checkpoint-00000005")
    for metrics, message in ((None, "metrics is missing"), ({}, "f1 is missing in metrics")):
        left_out = ("crc32c", "bert_config_crc32c", "metrics")
        changed = {k: v for k, v in state.items() if k not in left_out}
        changed |= {} if metrics is None else {"metrics": metrics}
        (best / "state.json").write_text(json.dumps(changed))
        assert refusal(folder, **flags).startswith(f"{best}/state.json: {message}. Delete")
    save_file({"w": np.zeros((1,), np.float32)}, best / "model.safetensors")
    assert "model.safetensors was edited or damaged: bert/embeddings" in refusal(folder, **flags)


def test_run_session_predicts_with_best_then_last_then_named_weights(
    folder: Path, backend: FakeBackend, endings: list[Ending]
) -> None:
    FakeTask.scores[3] = 1.0
    best = run(folder, output_dir=f"{folder}/best", eval_every_steps=3)
    last = run(folder, output_dir=f"{folder}/last")
    backend.log.clear()
    backend.optimizers.clear()
    before = contents(folder)
    flags = {"do_train": False, "do_predict": True, "learning_rate": 0.25, "train_batch_size": 999}
    run(folder, output_dir=str(best), **flags)
    run(folder, output_dir=str(last), **flags)
    run(folder, init_checkpoint=f"{last}/checkpoint-00000008", **flags)
    assert FakeTask.asked == [(3.0, "best", 3), (10.0, "last", 10), (8.0, "run", 0)]
    assert backend.steps == [] and backend.optimizers == [None] * 3
    assert endings[-3:] == [Ending({"f1": score}, 0, 0) for score in (10.0, 20.0, 30.0)]
    written = contents(folder)
    assert {written.pop(f"{n}/eval_results.txt") for n in ("best", "last", "run")}
    assert {written.pop(f"{n}/report.html") for n in ("best", "last", "run")} == {b"report of []"}
    assert written == before


@pytest.mark.slow
def test_run_session_named_weights_beside_those_of_the_run_are_refused(folder: Path) -> None:
    other, first = run(folder, output_dir=f"{folder}/other"), f"{folder}/first"
    run(folder, output_dir=first)
    own = run(folder, init_checkpoint=first)
    asked = {"do_train": False, "do_predict": True}
    weights = own / "checkpoint-00000010"
    for same in (first, f"{first}/", str(own), str(weights)):
        run(folder, init_checkpoint=same, **asked)
    for contradiction in (other, own / "checkpoint-00000008"):
        assert refusal(folder, init_checkpoint=str(contradiction), **asked) == (
            f"--init_checkpoint={contradiction}, but {own} has weights of its own ({weights}) to "
            "predict with; leave the flag out, or choose another --output_dir."
        )


def test_run_session_page_that_cannot_be_made_is_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    made = FakeTask.finish
    monkeypatch.setattr(
        FakeTask, "finish", lambda *args: made(*args)._replace(report=lambda seeds: str(1 / 0))
    )
    found = run(folder, num_train_epochs=0.4, do_predict=True)
    err = capsys.readouterr().err
    assert f"warning: {found}/report.html was not written (ZeroDivisionError: " in err
    assert "\nreport " not in err
    assert "f1 = 10.0" in (found / "eval_results.txt").read_text()


def test_run_session_page_of_a_run_that_scores_nothing_is_named_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def show(task: Any, model: Any, folder: str, step: int) -> bool:
        return write_page(folder, lambda: f"step {step}") is not None

    monkeypatch.setattr(FakeTask, "show", show)
    found = run(folder, num_train_epochs=0.4)
    assert (found / "report.html").read_text() == "step 2"
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "report" in line] == [f"report  {found}/report.html"]


# Seeds


def test_run_session_seeds_are_trained_alike_and_summarized(
    folder: Path, backend: FakeBackend, endings: list[Ending], capsys: Captured
) -> None:
    found = run(folder, num_seeds=2, random_seed=5, num_train_epochs=0.4, do_predict=True)
    steps = [("step", number, (1, 4, 3), number) for number in range(2)]
    assert backend.log == [
        ("start", 0.0, 5), ("compile", HEAD.outputs), *steps, ("start", 0.0, 6), *steps,
    ]  # fmt: skip
    assert FakeTask.asked == [(2.0, "seed-5", 2), (2.0, "seed-6", 2)]
    for seed in (5, 6):
        assert load_checkpoint(str(found / f"seed-{seed}" / "checkpoint-00000002")).slots
        assert (found / f"seed-{seed}" / "report.html").read_text() == "report of []"
        identity = json.loads((found / f"seed-{seed}" / "run.json").read_text())["identity"]
        assert identity["random_seed"] == seed
    results = [{"f1": 10.0, "loss": 2.0, "total": 3.0}, {"f1": 20.0, "loss": 2.0, "total": 3.0}]
    assert json.loads((found / "seeds.json").read_text()) == {"seeds": [5, 6], "results": results}
    assert (found / "report.html").read_text() == (
        f"report of {[(5, results[0]), (6, results[1])]}"
    )
    assert (found / "eval_results.txt").read_text() == (
        "f1_mean = 15.0\nf1_stdev = 7.0710678118654755\nloss_mean = 2.0\nloss_stdev = 0.0\n"
        "num_seeds = 2\n"
    )
    assert endings == [Ending({"f1": 15.0}, 2, 2)]
    out, err = capsys.readouterr()
    assert "\nseed 5\n" in err and "\nseed 6\n" in err
    table = [line.split() for line in out[out.index("2 seeds") :].splitlines()]
    assert table[0] == ["2", "seeds", "mean", "stdev", "min", "max"]
    assert ["f1", "15.00", "7.07", "10.00", "20.00"] in table
