"""The training loop with a model of numpy: resuming, records, signals, and how it ends."""

import dataclasses
import functools
import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from bert_ko.data.features import instance_features
from bert_ko.data.reader import InstanceReader, ReaderConfig, ShardSource
from bert_ko.data.tfrecord import ExampleEncoder
from bert_ko.flags import flag
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.flops import update_flops
from bert_ko.training.checkpoints import Checkpoint, list_checkpoints, load_checkpoint
from bert_ko.training.loop import Evaluate, Progression, TrainingLoop, evaluate
from bert_ko.training.metrics import read_metrics
from bert_ko.training.optimization import OptimizerConfig, learning_rate
from bert_ko.training.runs import Run
from bert_ko.training.settings import TrainFlags

L, P, VOCAB = 8, 2, 100
RECORDS = (23, 31)
CONFIG = BertConfig(vocab_size=VOCAB, hidden_size=4, num_attention_heads=2, intermediate_size=8)
OPTIMIZER = OptimizerConfig(learning_rate=0.01, num_train_steps=30, num_warmup_steps=3)
TIMES = ("tokens_per_second", "seconds")
Arrays = dict[str, np.ndarray]


class NumpyHead:
    """As much of a head as the loop asks for."""

    headline = (("loss", "loss"),)

    def denominators(self, batch: Arrays) -> dict[str, np.float32]:
        return {"denominator": np.float32(batch["masked_lm_weights"].sum())}

    def metrics(self, sums: Any) -> dict[str, float]:
        return {"loss": sums["loss"] / sums["weight"]}


HEAD: Any = NumpyHead()


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Killed(BaseException):
    """What a test raises where the process would die."""


class NumpyProgram:
    """Weights with one slot, dropout from seed and step, and a loss that depends on all of it."""

    def __init__(self, before_step: Callable[[int], None] = lambda step: None):
        self.weights = np.linspace(0.1, 1, 5, dtype=np.float32)
        self.momentum = np.zeros(5, np.float32)
        self.before_step = before_step
        self.steps: list[int] = []
        self.shapes: set[tuple[int, ...]] = set()
        self.denominators: list[float] = []
        self.spoiled: dict[int, dict[str, float]] = {}
        self.waiting = 0
        self.most_waiting = 0

    def train_step(
        self, step: int, batch: Arrays, scalars: Arrays, hyper: Arrays
    ) -> Callable[[], dict[str, float]]:
        self.before_step(step)
        self.steps.append(step)
        self.shapes.add(batch["input_ids"].shape)
        self.denominators.append(float(scalars["denominator"]))
        kept = np.random.default_rng([7, step]).random(5) < 0.9
        ids = batch["input_ids"].astype(np.float32).reshape(-1, L)
        inputs = np.resize(ids.mean(axis=0) / VOCAB, 5) * kept
        gradient = np.float32(np.tanh(self.weights @ inputs)) * inputs
        sums = self.sums(batch)
        sums["objective"] = sums["loss"] / float(scalars["denominator"])
        sums["gradient_norm"] = float(np.linalg.norm(gradient))
        self.momentum = np.float32(0.9) * self.momentum + gradient
        self.weights = self.weights - hyper["learning_rate"] * self.momentum
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)

        def result() -> dict[str, float]:
            self.waiting -= 1
            return {**sums, **self.spoiled.get(step, {})}

        return result

    def eval_step(self, batch: Arrays, scalars: Arrays) -> dict[str, float]:
        assert scalars["denominator"] == 1
        return self.sums(batch)

    def sums(self, batch: Arrays) -> dict[str, float]:
        ids, weights = batch["masked_lm_ids"], batch["masked_lm_weights"]
        losses = np.tanh(ids * self.weights.sum() / VOCAB)
        return {"loss": float((losses * weights).sum()), "weight": float(weights.sum())}

    def parameters(self) -> Arrays:
        return {"weights": self.weights}

    def slots(self) -> Arrays:
        return {"weights/adam_m": self.momentum}

    def restore(self, parameters: Arrays, slots: Arrays) -> None:
        self.weights, self.momentum = parameters["weights"], slots["weights/adam_m"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[ShardSource, ...]:
    """Two small shards of random numbers."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(1)
    specs = instance_features(L, P, False)
    sources = []
    for name, count in zip("ab", RECORDS, strict=True):
        batch: dict[str, Any] = {
            spec.name: rng.integers(0, 2, (count, spec.length)) for spec in specs
        }
        batch["input_ids"] = rng.integers(1, VOCAB, (count, L))
        batch["masked_lm_ids"] = rng.integers(1, VOCAB, (count, P))
        batch["masked_lm_weights"] = np.ones((count, P), np.float32)
        path = folder / name
        path.write_bytes(ExampleEncoder(specs).encode(batch).data.tobytes())
        sources.append(ShardSource(str(path)))
    return tuple(sources)


@pytest.fixture
def reader(shards: tuple[ShardSource, ...]) -> ReaderConfig:
    return ReaderConfig(shards, 6, L, P, VOCAB, seed=3, shuffle_buffer_size=10)


@dataclass(frozen=True)
class Flags(TrainFlags):
    """Of a command that saves and logs often."""

    warmup_flag = "--warmup_proportion"
    save_checkpoints_steps: int = flag(4, help="")
    log_every_steps: int = flag(1, help="")
    train_batch_size: int = flag(6, help="")
    eval_every_steps: int | None = flag(None, help="")
    keeps_best: bool = flag(False, help="")

    def num_updates(self, steps_per_epoch: int) -> tuple[int, int]:
        raise NotImplementedError


def resume(
    folder: Path, program: NumpyProgram, open_source: Callable[[Any], Any], evaluate: Evaluate,
    num_train_steps: int = 30, peak_flops: float | None = None, **flags: Any,
) -> Progression:  # fmt: skip
    """From the last checkpoint, as the command does."""
    folder.mkdir(exist_ok=True)
    progression = Progression()
    paths = list_checkpoints(str(folder))
    if paths:
        checkpoint = load_checkpoint(paths[-1])
        program.restore(checkpoint.parameters, checkpoint.slots)
        state = checkpoint.state
        progression = Progression(**{name: state[name] for name in vars(progression)})
    run = Run(str(folder), CONFIG, "", {}, None, "")
    config = Flags(output_dir=str(folder), **flags)
    optimizer = dataclasses.replace(OPTIMIZER, num_train_steps=num_train_steps)
    loop: TrainingLoop[Any] = TrainingLoop(
        program, HEAD, optimizer, run, config, evaluate, peak_flops=peak_flops
    )
    return loop.run(open_source(progression.position), progression)


def train(
    folder: Path, reader: ReaderConfig, program: NumpyProgram | None = None, **flags: Any
) -> Progression:
    program = program or NumpyProgram()

    def held_out(step: int) -> dict[str, float]:
        return evaluate(program, HEAD, InstanceReader(reader).one_epoch(), 100)

    return resume(folder, program, functools.partial(InstanceReader, reader), held_out, **flags)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The records without what the clock decides."""
    found = read_metrics(str(folder / "metrics.jsonl"))
    return [{k: v for k, v in record.items() if k not in TIMES} for record in found]


def last(folder: Path) -> Checkpoint:
    return load_checkpoint(list_checkpoints(str(folder))[-1])


def assert_same_run(folder: Path, other: Path) -> None:
    assert metrics(folder) == metrics(other)
    ours, theirs = last(folder), last(other)
    assert ours.parameters["weights"].tobytes() == theirs.parameters["weights"].tobytes()
    assert ours.slots["weights/adam_m"].tobytes() == theirs.slots["weights/adam_m"].tobytes()
    assert {**ours.state, "seconds": 0} == {**theirs.state, "seconds": 0}


def dies_at(step: int) -> Callable[[int], None]:
    def before_step(now: int) -> None:
        if now >= step:
            raise Killed

    return before_step


# Records


def test_run_writes_a_record_for_every_interval(tmp_path: Path, reader: ReaderConfig) -> None:
    program = NumpyProgram()
    progression = train(tmp_path / "one", reader, program)
    assert progression.step == 30 and program.steps == list(range(30))
    one = metrics(tmp_path / "one")
    assert [record["step"] for record in one] == list(range(1, 31))
    rates = [np.float32(learning_rate(OPTIMIZER, step)) for step in range(30)]
    assert [record["learning_rate"] for record in one] == rates
    assert one[0].keys() == {"step", "loss", "gradient_norm", "learning_rate", "epoch"}
    # 54 sequences in batches of 6: nine of each epoch.
    assert [record["epoch"] for record in one] == [n // 9 for n in range(30)]
    train(tmp_path / "seven", reader, log_every_steps=7)
    seven = metrics(tmp_path / "seven")
    assert [record["step"] for record in seven] == [7, 14, 21, 28, 30]
    for record, first in zip(seven, (0, 7, 14, 21, 28), strict=True):
        part = one[first : record["step"]]
        assert record["loss"] == pytest.approx(np.mean([r["loss"] for r in part]), rel=1e-12)
        norms = [r["gradient_norm"] for r in part]
        assert record["gradient_norm"] == pytest.approx(np.mean(norms), rel=1e-12)
    assert last(tmp_path / "seven").parameters["weights"].tolist() == (
        last(tmp_path / "one").parameters["weights"].tolist()
    )


def test_run_saves_every_few_steps_and_at_the_end(tmp_path: Path, reader: ReaderConfig) -> None:
    train(tmp_path, reader, save_checkpoints_steps=8, keep_checkpoint_max=3)
    assert [path[-2:] for path in list_checkpoints(str(tmp_path))] == ["16", "24", "30"]


def test_run_parts_of_a_batch_have_the_denominator_of_the_whole(
    tmp_path: Path, reader: ReaderConfig
) -> None:
    program = NumpyProgram()
    train(tmp_path, reader, program, gradient_accumulation_steps=3)
    assert program.shapes == {(3, 2, L)}
    assert program.denominators == [6 * P] * 30


def test_run_evaluates_after_every_few_steps(tmp_path: Path, reader: ReaderConfig) -> None:
    train(tmp_path, reader, eval_every_steps=12, log_every_steps=6)
    found = [(record["step"], "eval_loss" in record) for record in metrics(tmp_path)]
    assert found == [
        (6, False), (12, False), (12, True), (18, False), (24, False), (24, True), (30, False),
    ]  # fmt: skip
    train(tmp_path / "without", reader, log_every_steps=6)
    assert [r for r in metrics(tmp_path) if "loss" in r] == metrics(tmp_path / "without")


@pytest.mark.parametrize(
    ("eval_every_steps", "evaluated"),
    [(12, [12, 24, 30]), (10, [10, 20, 30]), (99, [30]), (None, [])],
)
def test_run_evaluates_at_the_end_too_and_once(
    eval_every_steps: int | None, evaluated: list[int], tmp_path: Path, reader: ReaderConfig
) -> None:
    settings = {"eval_every_steps": eval_every_steps, "keeps_best": True}
    train(tmp_path, reader, log_every_steps=30, **settings)
    assert [r["step"] for r in metrics(tmp_path) if "eval_loss" in r] == evaluated
    train(tmp_path, reader, log_every_steps=30, **settings)  # all is done
    assert [r["step"] for r in metrics(tmp_path) if "eval_loss" in r] == evaluated


def test_run_stopped_before_the_end_does_not_evaluate(tmp_path: Path, reader: ReaderConfig) -> None:
    slow = NumpyProgram(lambda step: time.sleep(0.02))
    flags = {"max_hours": 0.05 / 3600, "eval_every_steps": 99, "keeps_best": True}
    stopped = train(tmp_path, reader, slow, **flags)
    assert 0 < stopped.step < 30
    assert not any("eval_loss" in record for record in metrics(tmp_path))


def test_run_waits_for_no_more_steps_than_allowed(tmp_path: Path, reader: ReaderConfig) -> None:
    for allowed, most in ((3, 3), (1000, 10)):
        program = NumpyProgram()
        flags = {"log_every_steps": 10, "save_checkpoints_steps": 1000}
        train(tmp_path / str(allowed), reader, program, **flags, iterations_per_loop=allowed)
        assert program.most_waiting == most
    assert_same_run(tmp_path / "3", tmp_path / "1000")


# Batches of another kind


class PlainBatch(NamedTuple):
    """As little as a batch may be."""

    features: Arrays
    position: dict[str, Any]
    epoch: int


class PlainSource:
    """Batches without end whose lengths alternate, from no shard; epochs have four."""

    def __init__(self, position: dict[str, Any] | None):
        self.first = position["number"] if position else 0

    def batches(self) -> Iterator[PlainBatch]:
        for number in itertools.count(self.first):
            shape = (6, 3 * L if number % 2 else L)
            ids = np.random.default_rng(number).integers(1, VOCAB, (2, *shape))
            features = {
                "input_ids": ids[0],
                # The last piece of each sequence is padding: no token of the rate.
                "input_mask": np.tile(
                    (np.arange(shape[1]) < shape[1] - 1).astype(np.int32), (6, 1)
                ),
                "masked_lm_ids": ids[1],
                "masked_lm_weights": np.ones(shape, np.float32),
            }
            yield PlainBatch(features, {"number": number + 1}, number // 4)

    def place(self, batch: PlainBatch) -> str:
        return f"It is batch {batch.position['number'] - 1} of a hat"


def train_plainly(
    folder: Path, program: NumpyProgram, evaluate: Any = None, **flags: Any
) -> Progression:
    flags = {"num_train_steps": 10, "log_every_steps": 2, **flags}
    return resume(folder, program, PlainSource, evaluate, **flags)


def test_run_other_source_is_trained_on_and_resumed(tmp_path: Path) -> None:
    program = NumpyProgram()
    assert train_plainly(tmp_path / "whole", program).position == {"number": 10}
    assert program.shapes == {(1, 6, L), (1, 6, 3 * L)}
    assert [record["epoch"] for record in metrics(tmp_path / "whole")] == [0, 0, 1, 1, 2]
    with pytest.raises(Killed):
        train_plainly(tmp_path / "killed", NumpyProgram(dies_at(7)))
    assert last(tmp_path / "killed").state["position"] == {"number": 4}
    train_plainly(tmp_path / "killed", NumpyProgram())
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_run_other_source_and_warmup_flag_are_in_the_message(tmp_path: Path) -> None:
    program = NumpyProgram()
    program.spoiled = {0: {"objective": np.nan, "gradient_norm": 1.5}}
    with pytest.raises(ValueError) as error:
        train_plainly(tmp_path, program)
    assert str(error.value) == (
        "step 1: the loss is nan and the norm of the gradients 1.5. It is batch 0 of a hat. "
        "Nothing of this step was saved; there is no checkpoint before. Lower --learning_rate, "
        "lengthen --warmup_proportion, or use --precision=float32."
    )
    assert list_checkpoints(str(tmp_path)) == []


def test_run_tokens_per_second_are_the_pieces_of_each_batch_without_padding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def takes_half_a_second(step: int) -> None:
        now[0] += 0.5

    def takes_long(step: int) -> dict[str, float]:
        now[0] += 1000
        return {"loss": 1.0}

    # Neither what is saved nor what is evaluated is training.
    train_plainly(
        tmp_path,
        NumpyProgram(takes_half_a_second),
        takes_long,
        log_every_steps=1,
        eval_every_steps=3,
    )
    found = read_metrics(str(tmp_path / "metrics.jsonl"))
    rates = [r["tokens_per_second"] for r in found if "tokens_per_second" in r]
    short, long = 6 * (L - 1), 6 * (3 * L - 1)
    assert rates == [2 * short, 2 * long] * 5
    monkeypatch.setattr(NumpyProgram, "parameters", slow_parameters(now))
    train_plainly(tmp_path / "pairs", NumpyProgram(takes_half_a_second), save_checkpoints_steps=2)
    found = read_metrics(str(tmp_path / "pairs" / "metrics.jsonl"))
    # The first step is the compiler's: its time is in no rate.
    assert [r["tokens_per_second"] for r in found] == [2 * long] + [short + long] * 4


def test_run_utilisation_is_the_share_of_the_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def takes_two_seconds(step: int) -> None:
        now[0] += 2

    batches = PlainSource(None).batches()
    short, long = (update_flops(CONFIG, next(batches).features) for _ in range(2))
    assert short is not None and long is not None and long > 3 * short
    program = NumpyProgram(takes_two_seconds)
    train_plainly(tmp_path, program, peak_flops=long, log_every_steps=1)
    found = read_metrics(str(tmp_path / "metrics.jsonl"))
    wanted = [short / long / 2, 0.5] * 5
    assert [r["model_flops_utilisation"] for r in found] == [round(x, 4) for x in wanted]
    assert "MFU 50%" in capsys.readouterr().err
    train_plainly(tmp_path / "unknown", NumpyProgram())
    found = read_metrics(str(tmp_path / "unknown" / "metrics.jsonl"))
    assert not any("model_flops_utilisation" in record for record in found)


def slow_parameters(now: list[float]) -> Callable[[NumpyProgram], Arrays]:
    plain = NumpyProgram.parameters

    def parameters(self: NumpyProgram) -> Arrays:
        now[0] += 1000
        return plain(self)

    return parameters


# Resuming


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, shards: tuple[ShardSource, ...]
) -> Callable[[int], Path]:
    """The folder of a run to the end, by its log_steps."""
    folders: dict[int, Path] = {}

    def folder(log_steps: int) -> Path:
        if log_steps not in folders:
            folders[log_steps] = tmp_path_factory.mktemp("undisturbed")
            config = ReaderConfig(shards, 6, L, P, VOCAB, seed=3, shuffle_buffer_size=10)
            train(folders[log_steps], config, log_every_steps=log_steps, eval_every_steps=5)
        return folders[log_steps]

    return folder


@pytest.mark.slow
@pytest.mark.parametrize("log_steps", [1, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_run_killed_at_random_steps_resumes_to_the_same_run(
    seed: int, log_steps: int, tmp_path: Path, reader: ReaderConfig,
    undisturbed: Callable[[int], Path],
) -> None:  # fmt: skip
    rng = random.Random(seed)
    settings = {"log_every_steps": log_steps, "eval_every_steps": 5}
    for step in sorted(rng.randrange(31) for _ in range(4)):
        program = NumpyProgram(dies_at(step))
        try:
            train(tmp_path, reader, program, **settings)
        except Killed:
            assert not program.steps or program.steps[0] % 4 == 0
    train(tmp_path, reader, **settings)
    assert_same_run(tmp_path, undisturbed(log_steps))


@pytest.mark.slow
def test_run_killed_between_its_files_resumes_to_the_same_run(
    tmp_path: Path, reader: ReaderConfig, undisturbed: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # Dies at each write of a record or checkpoint in turn; every run gets one further.
    left = [0]

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*args, **kwargs)

        return wrapper

    import bert_ko.training.loop as module

    monkeypatch.setattr(module, "save_checkpoint", dying(module.save_checkpoint))
    monkeypatch.setattr(module.MetricsWriter, "write", dying(module.MetricsWriter.write))
    for writes in (0, 1, 2, 5, 6, 7, 8, 9, 10, 30):
        left[0] = writes
        try:
            train(tmp_path, reader, log_every_steps=3, eval_every_steps=5)
        except Killed:
            continue
    assert_same_run(tmp_path, undisturbed(3))


def test_run_other_intervals_after_resuming_are_accepted(
    tmp_path: Path, reader: ReaderConfig, undisturbed: Callable[[int], Path]
) -> None:
    with pytest.raises(Killed):
        train(tmp_path, reader, NumpyProgram(dies_at(11)), log_every_steps=3)
    train(tmp_path, reader, save_checkpoints_steps=7, keep_checkpoint_max=1, log_every_steps=1)
    found = metrics(tmp_path)
    assert [record["step"] for record in found] == [3, 6, *range(9, 31)]
    reference = [r for r in metrics(undisturbed(1)) if "loss" in r]
    assert found[3:] == reference[9:]
    # The record of step 9 has the sums of steps 7 and 8 from the checkpoint of step 8.
    wanted = np.mean([r["loss"] for r in reference[6:9]])
    assert found[2]["loss"] == pytest.approx(wanted, rel=1e-12)


# How it ends


def test_run_again_when_all_is_done_touches_nothing(
    tmp_path: Path, reader: ReaderConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, reader)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    capsys.readouterr()
    program = NumpyProgram()
    assert train(tmp_path, reader, program).step == 30 and program.steps == []
    assert capsys.readouterr().err == "all 30 steps are done\n"
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_run_time_over_saves_and_resumes_with_more(
    tmp_path: Path, reader: ReaderConfig, undisturbed: Callable[[int], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    flags = {"log_every_steps": 3, "eval_every_steps": 5}
    slow = NumpyProgram(lambda step: time.sleep(0.02))
    stopped = train(tmp_path, reader, slow, max_hours=0.1 / 3600, **flags)
    assert 0 < stopped.step < 15
    assert last(tmp_path).state["step"] == stopped.step
    assert f"--max_hours reached at step {stopped.step}; raise it" in capsys.readouterr().err
    # The time of earlier runs counts.
    program = NumpyProgram()
    again = train(tmp_path, reader, program, max_hours=0.1 / 3600, **flags)
    assert again.step == stopped.step and program.steps == []
    train(tmp_path, reader, max_hours=1e6 / 3600, **flags)
    assert_same_run(tmp_path, undisturbed(3))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_signal_saves_and_exits_and_the_next_run_resumes(
    number: int, tmp_path: Path, reader: ReaderConfig, undisturbed: Callable[[int], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]

    def interrupt(step: int) -> None:
        if step == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as stopped:
        train(tmp_path, reader, NumpyProgram(interrupt), log_every_steps=7, eval_every_steps=5)
    assert stopped.value.code == 128 + number
    assert last(tmp_path).state["step"] == 6
    assert "stopped at step 6; run the same command to resume" in capsys.readouterr().err
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    train(tmp_path, reader, log_every_steps=7, eval_every_steps=5)
    assert_same_run(tmp_path, undisturbed(7))


def test_run_second_interrupt_is_not_held_back(tmp_path: Path, reader: ReaderConfig) -> None:
    def interrupt(step: int) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, reader, NumpyProgram(interrupt))
    assert last(tmp_path).state["step"] == 4


def test_run_outside_the_main_thread_trains(tmp_path: Path, reader: ReaderConfig) -> None:
    thread = threading.Thread(target=train, args=(tmp_path, reader))
    thread.start()
    thread.join()
    assert last(tmp_path).state["step"] == 30


def batch_places(reader: ReaderConfig, number: int) -> list[str]:
    """Shard and record of the first three sequences of a batch."""
    batches: Iterator[Any] = InstanceReader(reader).batches()
    batch = [next(batches) for _ in range(number)][-1]
    return [
        f"{reader.shards[shard].path}: record {record}"
        for shard, record in zip(batch.shards[:3], batch.records[:3], strict=True)
    ]


@pytest.mark.parametrize("spoiled", [{"objective": np.nan}, {"gradient_norm": np.inf}])
@pytest.mark.parametrize("log_steps", [1, 1000])
def test_run_loss_not_finite_names_step_and_records(
    spoiled: dict[str, float], log_steps: int, tmp_path: Path, reader: ReaderConfig
) -> None:
    program = NumpyProgram()
    program.spoiled = {10: spoiled}
    with pytest.raises(ValueError) as error:
        train(tmp_path, reader, program, log_every_steps=log_steps)
    message = str(error.value)
    assert message.startswith("step 11: the loss is ")
    assert "Its batch of 6 begins with " + "; ".join(batch_places(reader, 11)) in message
    assert f"{tmp_path}/checkpoint-00000008 is kept" in message
    assert [path[-2:] for path in list_checkpoints(str(tmp_path))] == ["04", "08"]
    assert all(r["step"] <= 10 for r in metrics(tmp_path))
    assert json.dumps(metrics(tmp_path), allow_nan=False)


def test_run_weights_not_finite_are_not_saved(tmp_path: Path, reader: ReaderConfig) -> None:
    # The loss of the step, from the weights before it, tells nothing.
    program = NumpyProgram()

    def before_step(step: int) -> None:
        if step == 11:
            program.momentum[2] = np.inf

    program.before_step = before_step
    with pytest.raises(ValueError) as error:
        train(tmp_path, reader, program)
    assert str(error.value).startswith("step 12: weights is not finite after it. Its batch of 6 ")
    assert f"{tmp_path}/checkpoint-00000008 is kept" in str(error.value)
    assert [path[-2:] for path in list_checkpoints(str(tmp_path))] == ["04", "08"]


def test_run_damaged_shard_names_the_record_and_keeps_the_checkpoint(
    tmp_path: Path, reader: ReaderConfig, shards: tuple[ShardSource, ...]
) -> None:
    data = bytearray(Path(shards[1].path).read_bytes())
    size = len(data) // RECORDS[1]
    data[size * 20 + size // 2] ^= 1
    path = tmp_path / "damaged"
    path.write_bytes(data)
    broken = ReaderConfig(
        (shards[0], ShardSource(str(path))), 6, L, P, VOCAB, seed=3, shuffle_buffer_size=0
    )
    with pytest.raises(ValueError, match=rf"^{path}: record 20: its checksum is wrong"):
        train(tmp_path / "run", broken, save_checkpoints_steps=1)


# Evaluation


@pytest.mark.parametrize("shuffle_buffer_size", [0, 10])
def test_evaluate_batch_size_changes_nothing(shuffle_buffer_size: int, shards: Any) -> None:
    program = NumpyProgram()
    found = []
    for batch_size in (1, 6, 7, 54, 100):
        config = ReaderConfig(
            shards, batch_size, L, P, VOCAB, shuffle_buffer_size=shuffle_buffer_size
        )
        batches = InstanceReader(config).one_epoch()
        found.append(evaluate(program, HEAD, batches, 1000)["loss"])
    assert found == pytest.approx([found[0]] * 5, rel=1e-12)


def test_evaluate_stops_after_max_steps(shards: Any) -> None:
    config = ReaderConfig(shards, 10, L, P, VOCAB, shuffle_buffer_size=0)
    program, seen = NumpyProgram(), []
    program.sums = lambda batch: seen.append(batch) or {"loss": 1, "weight": 1}  # type: ignore
    evaluate(program, HEAD, InstanceReader(config).one_epoch(), 2)
    batches = InstanceReader(config).one_epoch()
    assert [batch["input_ids"].tolist() for batch in seen] == [
        next(batches).features["input_ids"].tolist() for _ in range(2)
    ]
