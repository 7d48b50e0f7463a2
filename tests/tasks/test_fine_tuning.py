"""Fine-tuning flags, and the tuner with a backend of numpy whose weights count the updates."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from bert_ko.flags import output_flags, parse
from bert_ko.modeling.config import BertConfig
from bert_ko.modeling.parameters import ParameterSpec
from bert_ko.tasks import fine_tuning
from bert_ko.tasks.fine_tuning import FineTuner, FineTuningFlags, Head, Task
from bert_ko.training.checkpoints import list_checkpoints, load_checkpoint
from bert_ko.training.metrics import read_metrics
from bert_ko.training.objective import Objective
from bert_ko.training.runs import Run
from bert_ko.training.schedule import OptimizerConfig

REQUIRED: dict[str, Any] = {"vocab_file": "v", "bert_config_file": "c", "output_dir": "o"}
MODEL = BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=3, num_attention_heads=2)
Arrays = dict[str, np.ndarray]


def refusal(**flags: Any) -> str:
    with pytest.raises(ValueError) as error:
        FineTuningFlags(**{**REQUIRED, **flags})
    return str(error.value)


# Flags


def test_fine_tuning_flags_defaults_are_googles() -> None:
    flags = parse(FineTuningFlags, [f"--{name}={value}" for name, value in REQUIRED.items()])
    assert (flags.train_batch_size, flags.num_train_epochs) == (32, 3.0)
    assert (flags.warmup_proportion, flags.learning_rate) == (0.1, 5e-5)
    assert (flags.layer_decay, flags.gradient_accumulation_steps) == (1.0, 1)
    assert (flags.do_train, flags.eval_every_steps, flags.init_checkpoint) == (False, None, None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"train_batch_size": 0}, "--train_batch_size must be at least 1, got 0."),
        (
            {"gradient_accumulation_steps": 0},
            "--gradient_accumulation_steps must be at least 1, got 0.",
        ),
        ({"num_seeds": -1}, "--num_seeds must be at least 1, got -1."),
        ({"num_train_epochs": 0.0}, "--num_train_epochs must be in (0, 1e6), got 0.0."),
        ({"num_train_epochs": float("nan")}, "--num_train_epochs must be in (0, 1e6), got nan."),
        ({"warmup_proportion": 1.01}, "--warmup_proportion must be in [0, 1], got 1.01."),
        ({"warmup_proportion": -0.1}, "--warmup_proportion must be in [0, 1], got -0.1."),
        ({"warmup_proportion": float("nan")}, "--warmup_proportion must be in [0, 1], got nan."),
        ({"layer_decay": 0.0}, "--layer_decay must be in (0, 1], got 0.0."),
        ({"layer_decay": 1.1}, "--layer_decay must be in (0, 1], got 1.1."),
        (
            {"train_batch_size": 32, "gradient_accumulation_steps": 3},
            "--train_batch_size=32 must be a multiple of --gradient_accumulation_steps=3.",
        ),
        ({"eval_every_steps": 0}, "--eval_every_steps must be above 0, got 0."),
        (
            {"random_seed": (1 << 31) - 2, "num_seeds": 3},
            "--random_seed and --num_seeds: the last seed must be below 2**31.",
        ),
        (
            {"output_dir": "gs://bucket/reader"},
            "--output_dir must be a local folder, got gs://bucket/reader; copy it afterwards.",
        ),
        # Of the parts:
        ({"random_seed": -1}, "--random_seed must be in [0, 2**31), got -1."),
        ({"log_every_steps": 0}, "--log_every_steps must be at least 1, got 0."),
        ({"learning_rate": -1.0}, "--learning_rate must be in [0, 3.4e38], got -1.0."),
    ],
)
def test_fine_tuning_flags_out_of_range_name_the_flag(flags: dict[str, Any], message: str) -> None:
    assert refusal(**flags) == message


@pytest.mark.parametrize(
    "flags",
    [
        {"warmup_proportion": 0.0},
        {"warmup_proportion": 1.0},
        {"layer_decay": 1.0},
        {"num_train_epochs": 0.01},
        {"train_batch_size": 32, "gradient_accumulation_steps": 32},
        {"eval_every_steps": 1},
        {"random_seed": (1 << 31) - 3, "num_seeds": 3},
    ],
)
def test_fine_tuning_flags_at_the_border_are_accepted(flags: dict[str, Any]) -> None:
    made = FineTuningFlags(**REQUIRED, **flags)
    assert {name: getattr(made, name) for name in flags} == flags


def test_fine_tuning_flags_seeds_have_folders() -> None:
    one = FineTuningFlags(**REQUIRED, random_seed=7)
    assert (list(one.seeds), one.folder(7)) == ([7], "o")
    three = FineTuningFlags(**REQUIRED, random_seed=7, num_seeds=3)
    assert list(three.seeds) == [7, 8, 9]
    assert [three.folder(seed) for seed in three.seeds] == ["o/seed-7", "o/seed-8", "o/seed-9"]


def test_fine_tuning_flags_identity_is_what_decides_the_weights() -> None:
    names = set(output_flags(FineTuningFlags(**REQUIRED)))
    assert {
        "init_checkpoint", "train_batch_size", "num_train_epochs", "warmup_proportion",
        "layer_decay", "gradient_accumulation_steps", "length_buckets", "eval_every_steps",
        "learning_rate", "random_seed",
    } <= names  # fmt: skip
    assert not names & {"output_dir", "bert_config_file", "do_train", "num_seeds", "vocab_file"}


# The tuner


class FakeProgram:
    """A weight that counts updates, a slot that counts them twice."""

    def __init__(self, arrays: Arrays, seed: int, log: list[Any]):
        self.log = log
        self.restart(arrays, seed)

    def restart(self, parameters: Arrays, seed: int) -> None:
        self.log.append(("begin", float(parameters["w"]), seed))
        self.w, self.m = parameters["w"].copy(), np.zeros((), np.float32)

    def train_step(
        self, step: int, batch: Arrays, scalars: Arrays, hyper: Arrays
    ) -> Callable[[], dict[str, float]]:
        self.log.append(("step", step, batch["input_ids"].shape, int(batch["input_ids"].max())))
        self.w, self.m = self.w + np.float32(1), self.m + np.float32(2)
        return lambda: {"objective": 1.0, "gradient_norm": 1.0, "loss": 2.0}

    def parameters(self) -> Arrays:
        return {"w": self.w}

    def slots(self) -> Arrays:
        return {"w/adam_m": self.m}

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        self.log.append(("restore", float(parameters["w"]), float(slots["w/adam_m"])))
        self.w, self.m = parameters["w"], slots["w/adam_m"]

    def predictor(self, outputs: Any) -> Callable[[Arrays], Arrays]:
        self.log.append(("compile", outputs))
        return lambda batch: {"y": batch["x"] + self.w}


class FakeBackend:
    name = "jax"
    description = "2 fakes"
    precision = "float32"

    def __init__(self, num_devices: int = 2):
        self.num_devices = num_devices
        self.log: list[Any] = []
        self.optimizers: list[OptimizerConfig | None] = []

    def train_program(
        self, config: BertConfig, loss: Any, optimizer: OptimizerConfig | None, arrays: Arrays,
        seed: int,
    ) -> FakeProgram:  # fmt: skip
        assert (config, loss) == (MODEL, "loss")
        self.optimizers.append(optimizer)
        return FakeProgram(arrays, seed, self.log)

    def steps(self) -> list[int]:
        return [entry[1] for entry in self.log if entry[0] == "step"]


class Batch(NamedTuple):
    features: Arrays
    position: dict[str, Any]
    epoch: int


class Source:
    """Batches whose ids are their number."""

    def __init__(self, seed: int, position: dict[str, Any] | None):
        self.first = position["batch"] if position else 0

    def batches(self) -> Iterator[Batch]:
        for number in range(self.first, 10**6):
            yield Batch({"input_ids": np.full((4, 3), number)}, {"batch": number + 1}, number // 5)

    def place(self, batch: Batch) -> str:
        return f"batch {batch.position['batch'] - 1}"


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """The one that is loaded; nothing here cuts the power."""
    fake = FakeBackend()
    monkeypatch.setattr(fine_tuning, "load_backend", lambda config: fake)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return fake


def flags(folder: Path, **values: Any) -> FineTuningFlags:
    """By default two epochs of 5 batches, a checkpoint after every 4."""
    known = {
        **REQUIRED, "output_dir": str(folder), "do_train": True, "train_batch_size": 4,
        "num_train_epochs": 2.0, "save_checkpoints_steps": 4, "log_every_steps": 5,
    }  # fmt: skip
    return FineTuningFlags(**{**known, **values})


def make_task(scores: dict[int, float] | None = None, steps_per_epoch: int = 5) -> Task:
    """Its score is read off a table by the number of updates that the weights have seen."""

    def evaluate(predict: Callable[[Arrays], Arrays]) -> dict[str, float]:
        assert scores is not None
        seen = round(float(predict({"x": np.zeros(2)})["y"][0]))
        return {"f1": scores.get(seen, 0.0), "other": float(seen)}

    objective = Objective(
        lambda batch: {}, lambda sums: {"loss": sums["loss"]}, (("loss", "loss"),)
    )
    return Task(
        {"w": ParameterSpec((), "zeros")},
        lambda: Head("loss", "outputs", objective),  # type: ignore[arg-type]
        Source,
        steps_per_epoch,
        evaluate if scores is not None else None,
        "f1",
    )


def make_run(config: FineTuningFlags, seed: int = 12345) -> Run:
    folder = config.folder(seed)
    os.makedirs(folder, exist_ok=True)
    identity = {**output_flags(config), "bert_config_file": MODEL.to_dict(), "random_seed": seed}
    return Run(folder, MODEL, "c", identity, "0123", "the questions are cut with")


def tune(config: FineTuningFlags, task: Task | None = None) -> tuple[int, float]:
    """Updates that were returned, and the weight that predicts."""
    tuner = FineTuner(config, task or make_task(), {})
    step = tuner.run(make_run(config), config.random_seed)
    return step, float(tuner.predict({"x": np.zeros(1)})["y"][0])


def names(folder: Path) -> list[str]:
    found = [*list_checkpoints(str(folder)), *list_checkpoints(str(folder), "best")]
    return [os.path.basename(path) for path in found]


def test_fine_tuner_says_devices_and_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make_task()._replace(specs={"w": ParameterSpec((500, 4200), "normal")})
    FineTuner(flags(tmp_path), task, {})
    assert capsys.readouterr().out == "2 fakes, float32; 2.1 million parameters\n"


@pytest.mark.parametrize(
    ("values", "batch_sizes", "message"),
    [
        (
            {"train_batch_size": 5}, {},
            "--train_batch_size=5 must be a multiple of the 2 devices.",
        ),
        (
            {"train_batch_size": 6, "gradient_accumulation_steps": 3}, {"predict_batch_size": 7},
            "--predict_batch_size=7 must be a multiple of the 2 devices.",
        ),
        (
            {"train_batch_size": 6, "gradient_accumulation_steps": 6}, {"eval_batch_size": 8},
            "--train_batch_size=6 must be a multiple of 12: 6 parts on 2 devices.",
        ),
    ],
)  # fmt: skip
def test_fine_tuner_batch_that_devices_cannot_share_is_refused(
    values: dict[str, Any], batch_sizes: dict[str, int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as error:
        FineTuner(flags(tmp_path, **values), make_task(), batch_sizes)
    assert str(error.value) == message
    if "train" in message:  # which is not looked at where nothing is trained
        FineTuner(flags(tmp_path, do_train=False, **values), make_task(), batch_sizes)


@pytest.mark.parametrize(
    ("steps_per_epoch", "epochs", "steps"), [(5, 2.0, 10), (5, 0.5, 2), (7, 0.01, 1), (0, 3.0, 1)]
)
def test_fine_tuner_steps_are_whole_and_at_least_1(
    steps_per_epoch: int, epochs: float, steps: int, tmp_path: Path
) -> None:
    config = flags(tmp_path, num_train_epochs=epochs)
    assert FineTuner(config, make_task({}, steps_per_epoch), {}).num_train_steps == steps


def test_fine_tuner_trains_all_steps_and_saves(tmp_path: Path, backend: FakeBackend) -> None:
    config = flags(tmp_path, warmup_proportion=0.35, layer_decay=0.9, learning_rate=0.5)
    assert tune(config) == (10, 10.0)
    assert backend.log[:2] == [("begin", 0.0, 12345), ("compile", "outputs")]
    assert backend.log[2:] == [("step", number, (1, 4, 3), number) for number in range(10)]
    assert names(tmp_path) == [f"checkpoint-{step:08d}" for step in (4, 8, 10)]
    state = load_checkpoint(list_checkpoints(str(tmp_path))[-1]).state
    assert (state["step"], state["position"]) == (10, {"batch": 10})
    assert (state["computed_with"], state["tokenizer_fingerprint"]) == ("2 fakes, float32", "0123")
    assert backend.optimizers == [
        OptimizerConfig(
            learning_rate=0.5, num_train_steps=10, num_warmup_steps=3, layer_decay=0.9,
            num_hidden_layers=3,
        )
    ]  # fmt: skip
    records = read_metrics(str(tmp_path / "metrics.jsonl"))
    assert [(r["step"], r["epoch"], r["loss"]) for r in records] == [(5, 0, 10.0), (10, 1, 10.0)]


def test_fine_tuner_parts_of_a_batch_are_steps_of_their_own(
    tmp_path: Path, backend: FakeBackend
) -> None:
    tune(flags(tmp_path, train_batch_size=4, gradient_accumulation_steps=2))
    assert backend.log[2] == ("step", 0, (2, 2, 3), 0)


class Killed(BaseException):
    """What a test raises where the process would die."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    plain = FakeProgram.train_step

    def dying(self: FakeProgram, now: int, *arguments: Any) -> Any:
        if now == step:
            raise Killed
        return plain(self, now, *arguments)

    monkeypatch.setattr(FakeProgram, "train_step", dying)
    return lambda: monkeypatch.setattr(FakeProgram, "train_step", plain)


def test_fine_tuner_killed_goes_on_with_weights_slots_and_data(
    tmp_path: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    revive = kill_at(7, monkeypatch)
    with pytest.raises(Killed):
        tune(flags(tmp_path))
    (tmp_path / ".best-00000007.tmp").mkdir()
    revive()
    backend.log.clear()
    assert tune(flags(tmp_path)) == (10, 10.0)
    assert backend.log[:3] == [("begin", 4.0, 12345), ("compile", "outputs"), ("restore", 4.0, 8.0)]
    assert backend.log[3:] == [("step", number, (1, 4, 3), number) for number in range(4, 10)]
    assert "going on from step 4\n" in capsys.readouterr().out
    assert not (tmp_path / ".best-00000007.tmp").exists()


def test_fine_tuner_all_done_trains_nothing_more(tmp_path: Path, backend: FakeBackend) -> None:
    tune(flags(tmp_path))
    backend.log.clear()
    assert tune(flags(tmp_path)) == (10, 10.0)
    assert backend.steps() == []


def test_fine_tuner_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    tune(flags(tmp_path))
    with pytest.raises(ValueError) as error:
        tune(flags(tmp_path, learning_rate=0.25))
    assert str(error.value) == (
        f"{tmp_path}/checkpoint-00000010 is of another run: --learning_rate was 5e-05, now 0.25. "
        "Give the same flags to go on, or choose another --output_dir, with this one as "
        "--init_checkpoint to begin from its weights."
    )


# The best weights


def test_fine_tuner_best_weights_are_kept_and_used(tmp_path: Path, backend: FakeBackend) -> None:
    config = flags(tmp_path, eval_every_steps=3)
    scores = {3: 50.0, 6: 70.0, 9: 70.0, 10: 60.0}
    assert tune(config, make_task(scores)) == (6, 6.0)  # among equals the first
    assert names(tmp_path) == [
        *(f"checkpoint-{step:08d}" for step in (4, 8, 10)),
        "best-00000006",
    ]
    best = load_checkpoint(str(tmp_path / "best-00000006"), with_slots=False)
    assert best.parameters["w"] == 6
    assert best.state["metrics"] == {"f1": 70.0, "other": 6.0}
    assert (best.state["step"], best.state["tokenizer_fingerprint"]) == (6, "0123")
    assert not (tmp_path / "best-00000006" / "optimizer.safetensors").exists()
    evaluated = [r for r in read_metrics(str(tmp_path / "metrics.jsonl")) if "eval_f1" in r]
    assert [(r["step"], r["eval_f1"]) for r in evaluated] == [
        (3, 50.0), (6, 70.0), (9, 70.0), (10, 60.0),
    ]  # fmt: skip
    assert backend.log[-1] == ("restore", 6.0, 20.0)


def test_fine_tuner_best_may_be_the_last(tmp_path: Path) -> None:
    config = flags(tmp_path, eval_every_steps=4)
    assert tune(config, make_task({4: 1.0, 8: 2.0, 10: 3.0})) == (10, 10.0)
    assert names(tmp_path)[-1] == "best-00000010"


def test_fine_tuner_killed_keeps_the_best_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, task = flags(tmp_path, eval_every_steps=3), make_task({3: 70.0, 6: 50.0, 10: 60.0})
    revive = kill_at(9, monkeypatch)
    with pytest.raises(Killed):
        tune(config, task)
    revive()
    assert tune(config, task) == (3, 3.0)
    assert tune(config, task) == (3, 3.0)  # nor is it lost where all is done


def test_fine_tuner_best_of_another_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Killed before its first checkpoint, so that the folder has nothing else of it.
    task = make_task({3: 70.0})
    revive = kill_at(3, monkeypatch)
    with pytest.raises(Killed):
        tune(flags(tmp_path, eval_every_steps=3), task)
    revive()
    assert names(tmp_path) == ["best-00000003"]
    with pytest.raises(ValueError) as error:
        tune(flags(tmp_path, eval_every_steps=3, learning_rate=0.25), task)
    assert str(error.value) == (
        f"{tmp_path}/best-00000003 is of another run: --learning_rate was 5e-05, now 0.25. Give "
        "the same flags to go on, or choose another --output_dir, with this one as "
        "--init_checkpoint to begin from its weights."
    )
    assert tune(flags(tmp_path, eval_every_steps=3), task) == (3, 3.0)


def test_fine_tuner_prediction_takes_best_then_last_then_new_weights(
    tmp_path: Path, backend: FakeBackend
) -> None:
    tune(flags(tmp_path / "best", eval_every_steps=3), make_task({3: 1.0}))
    tune(flags(tmp_path / "last"))
    backend.log.clear()
    backend.optimizers.clear()
    for name, found in (("best", (3, 3.0)), ("last", (10, 10.0)), ("new", (0, 0.0))):
        config = flags(tmp_path / name, do_train=False, learning_rate=0.25, train_batch_size=999)
        assert tune(config) == found
    assert backend.steps() == []
    assert backend.optimizers == [None] * 3


def test_fine_tuner_prediction_needs_the_same_model(tmp_path: Path) -> None:
    tune(flags(tmp_path))
    config = flags(tmp_path, do_train=False)
    other = dataclasses.replace(MODEL, num_hidden_layers=4, hidden_dropout_prob=0.5)
    identity = {"bert_config_file": other.to_dict()}
    run = make_run(config)._replace(model_config=other, identity=identity)
    with pytest.raises(ValueError) as error:
        FineTuner(config, make_task(), {}).run(run, 1)
    assert str(error.value).startswith(
        f"{tmp_path}/checkpoint-00000010 is of another run: --bert_config_file: num_hidden_layers "
        "was 3, now 4. Give"
    )


# Seeds


def test_fine_tuner_second_seed_begins_anew_without_compiling(
    tmp_path: Path, backend: FakeBackend
) -> None:
    config = flags(tmp_path, num_seeds=2, random_seed=7, num_train_epochs=0.4)
    tuner = FineTuner(config, make_task(), {})
    assert [tuner.run(make_run(config, seed), seed) for seed in config.seeds] == [2, 2]
    steps = [("step", number, (1, 4, 3), number) for number in range(2)]
    assert backend.log == [
        ("begin", 0.0, 7), ("compile", "outputs"), *steps, ("begin", 0.0, 8), *steps,
    ]  # fmt: skip
    for seed in (7, 8):
        checkpoint = load_checkpoint(str(tmp_path / f"seed-{seed}" / "checkpoint-00000002"))
        assert checkpoint.slots["w/adam_m"] == 4
    # The second one predicts.
    assert tuner.predict({"x": np.zeros(1)})["y"] == [2.0]


def test_fine_tuner_random_weights_are_the_seeds(tmp_path: Path, backend: FakeBackend) -> None:
    task = make_task()._replace(specs={"w": ParameterSpec((), "normal")})
    config = flags(tmp_path, num_seeds=2, random_seed=7, num_train_epochs=0.2)
    for _ in range(2):
        tuner = FineTuner(config, task, {})
        for seed in config.seeds:
            for path in list_checkpoints(config.folder(seed)):
                os.unlink(os.path.join(path, "state.json"))
            tuner.run(make_run(config, seed), seed)
    begun = [entry[1:] for entry in backend.log if entry[0] == "begin"]
    assert begun[:2] == begun[2:]
    assert begun[0][0] != begun[1][0]
    assert all(0 < abs(value) <= 2 * 0.02 for value, _ in begun)
