"""Runs in Weights & Biases: in its folder, which `wandb sync` sends, and without its server."""

import json
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bert_ko.training.metrics import read_metrics
from bert_ko.training.tracking.tracker import Record
from tests.fakes import SECRET, Command, FakeBackend, results
from tests.small_data import Trainable
from tests.training.tracking.services import (
    finish,
    free_port,
    kill_when_sent,
    shorten_patience,
    silent_server,
    start,
)

pytestmark = pytest.mark.slow  # the package takes seconds to import

REPORT = {"report_to": "wandb"}
KEY = "0123456789abcdef" * 5
_BLOCK, _HEADER = 32768, 7  # bytes, of the log


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture
def train(classifier: Trainable, backend: FakeBackend) -> Command:
    """Trains and evaluates, with a model of numpy."""
    return classifier.command.having(
        **{**classifier.train, **classifier.ask, **classifier.watch, **REPORT}
    )


def messages(path: Path) -> Iterator[Any]:
    """What W&B's package keeps of a run: records of a log in blocks, as LevelDB's.

    A record is whole (1), or its first (2), middle (3) and last (4) parts are.
    """
    from wandb.proto.wandb_internal_pb2 import Record as Message

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, parts = _HEADER, b""
    while place + _HEADER <= len(data):
        if _BLOCK - place % _BLOCK < _HEADER:
            place += _BLOCK - place % _BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + _HEADER : place + _HEADER + size]
        place += _HEADER + size
        if kind in (1, 4):
            message = Message()
            message.ParseFromString(parts)
            yield message
            parts = b""


def logs(output: Path) -> list[Path]:
    """Of each process, the oldest first."""
    return sorted(output.glob("wandb/*run-*/run-*.wandb"))


def points(paths: list[Path]) -> list[tuple[str, int, float]]:
    """Name, step and value of all that was logged."""
    found = []
    for message in (message for path in paths for message in messages(path)):
        items = {item.key or "/".join(item.nested_key): item for item in message.history.item}
        if items:
            step = json.loads(items["_step"].value_json)
            found += [
                (name, step, json.loads(item.value_json))
                for name, item in items.items()
                if not name.startswith("_")
            ]
    return sorted(found)


def wanted_points(folder: Path) -> list[tuple[str, int, float]]:
    records = map(Record.from_line, read_metrics(str(folder / "metrics.jsonl")))
    return sorted(
        (f"{record.prefix}/{name}", record.step, value)
        for record in records
        for name, value in record.values.items()
    )


def summary(path: Path) -> dict[str, Any]:
    items = [item for message in messages(path) for item in message.summary.update]
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def config(path: Path) -> dict[str, Any]:
    runs = [message.run for message in messages(path) if message.HasField("run")]
    return {item.key: json.loads(item.value_json) for item in runs[0].config.update}


def assert_no_secret(folder: Path, *secrets: str) -> None:
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path


def test_wandb_offline_run_has_all_that_is_known_of_it(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    output = tmp_path / "topics"
    ended = train.succeed(output_dir=output, num_seeds=2, notify_url=f"http://127.0.0.1:1/{SECRET}")
    paths = logs(output)
    names = [path.stem.removeprefix("run-") for path in paths]
    sync = " ".join(f"{output}/wandb/*run-*-{name}" for name in names)
    assert f"curves: wandb sync {sync}" in ended.err.splitlines()
    assert len(set(names)) == 2
    for path, seed in zip(paths, (12345, 12346), strict=True):
        folder = output / f"seed-{seed}"
        assert points([path]) == wanted_points(folder)
        (run,) = (message.run for message in messages(path) if message.HasField("run"))
        assert (run.display_name, run.run_group) == (f"topics/seed-{seed}", "topics")
        found = config(path)
        assert (found["random_seed"], found["model.hidden_size"]) == (seed, 16)
        assert "notify_url" not in found
        assert summary(path)["macro_f1"] == results(folder)["macro_f1"]
        saved = {item.path for m in messages(path) for item in m.files.files}
        assert {"report.html", "run.json", "bert_config.json", "eval_results.txt"} <= saved
    assert_no_secret(output, SECRET, KEY)


def test_wandb_run_that_was_killed_is_one_without_a_step_twice(
    classifier: Trainable, tmp_path: Path
) -> None:
    output, offline = tmp_path / "run", {"WANDB_MODE": "offline"}
    command = classifier.command.having(
        **{**classifier.train, **classifier.ask, **classifier.watch, **REPORT},
        num_train_epochs=8, save_checkpoints_steps=20,
    )  # fmt: skip
    process = start(command, offline, held_at=38, output_dir=output)
    kill_when_sent(process, output, "wandb", {"train": 38, "eval": 35})
    printed = finish(start(command, offline, output_dir=output, keep_checkpoint_max=2), output)
    assert "resuming from step 20\n" in printed and "warning" not in printed
    paths = logs(output)
    assert len(paths) == 2 and len({path.name for path in paths}) == 1  # parts of one run
    steps = [(name, step) for name, step, _ in points(paths)]
    assert steps == [(name, step) for name, step, _ in wanted_points(output)]
    assert len(steps) == len(set(steps)) and ("train/loss", 48) in steps


def test_wandb_dead_server_leaves_the_run_to_be_sent_later(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    output = tmp_path / "run"
    begin = time.monotonic()
    ended = train.succeed(output_dir=output)
    assert time.monotonic() - begin < 20  # its patience, and the training
    (warning,) = ended.warnings
    assert warning.startswith("--report_to=wandb: ")
    (path,) = output.glob("wandb/offline-run-*/run-*.wandb")
    assert points([path]) == wanted_points(output)
    sync = f"wandb sync {output}/wandb/*run-*-{path.stem.removeprefix('run-')}"
    assert sync in warning and f"curves: {sync}" in ended.err.splitlines()
    assert_no_secret(output, KEY)


def test_wandb_slow_server_costs_no_more_than_its_patience(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_patience(monkeypatch)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with silent_server() as uri:
        monkeypatch.setenv("WANDB_BASE_URL", uri)
        begin = time.monotonic()
        ended = train.succeed(output_dir=tmp_path / "run")
        assert time.monotonic() - begin < 10
    (warning,) = ended.warnings
    assert warning.startswith("--report_to=wandb: it did not answer in time. ")
    assert results(tmp_path / "run")


def test_wandb_without_a_key_asks_nothing_and_keeps_the_run(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = train.succeed(output_dir=tmp_path / "run")
    (warning,) = ended.warnings
    assert "kept in" in warning and "wandb sync" in warning and "run again" not in warning
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/run-*.wandb")
    assert points([path]) == wanted_points(tmp_path / "run")
