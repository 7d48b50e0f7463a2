"""Runs whose --output_dir is on an object store; numpy is in the place of TensorFlow and JAX."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import bert_ko
from bert_ko import copies, files, remote
from bert_ko.flags.errors import error_message
from bert_ko.training import publishing
from bert_ko.training.checkpoints import whole_checkpoints
from bert_ko.training.hosts import free_port
from bert_ko.training.initialization import read_source
from tests.fakes import FakeBackend, FakeProgram, checkpoints, contents, last, metrics, read_json
from tests.hosts import started
from tests.small_data import Trainable

pytestmark = pytest.mark.slow  # the server takes some seconds to start


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs work; nothing of them may stay."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def download(url: str, folder: Path) -> Path:
    """All that is there."""
    for name in remote.list_tree(url):
        copies.download(f"{url}/{name}", str(folder / name))
    return folder


def all_but_times(folder: Path) -> dict[str, Any]:
    """What runs have left, save what the clock decides and how the folder is called."""
    found: dict[str, Any] = {}
    for name, data in contents(folder, without=(".lock",)).items():
        if "tfevents" in name:
            found[os.path.dirname(name)] = None
        elif name == "log.txt":
            found[name] = None
        elif name.endswith("metrics.jsonl"):
            found[name] = metrics(folder / Path(name).parent)
        elif name.endswith(("run.json", "state.json")):
            record = json.loads(data)
            flags = {**record.get("flags", {}), "output_dir": None, "keep_checkpoint_max": None}
            found[name] = {**record, "flags": flags, "crc32c": None, "seconds": None}
        else:
            found[name] = data
    return found


def seeds(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {name: flags[name] for name in ("num_seeds",) if name in flags}


@pytest.mark.parametrize("name", ["pretraining", "squad", "classifier", "ner"])
def test_run_on_an_object_store_leaves_what_it_leaves_on_a_disk(
    name: str,
    bucket: str,
    backend: FakeBackend,
    tmp_path: Path,
    place: Path,
    request: pytest.FixtureRequest,
) -> None:
    trainable: Trainable = request.getfixturevalue(name)
    url, flags = f"{bucket}/runs/{name}", {**trainable.train, **trainable.ask}
    flags |= {"keep_checkpoint_max": 2, **trainable.watch}
    flags |= {"num_seeds": 2} if name == "classifier" else {}
    local = tmp_path / name
    for output in (local, url):
        backend.known.maps[0].clear()  # what a model of another run has learnt
        trainable.command.succeed(output_dir=output, **flags)
    found = download(url, tmp_path / "found" / name)
    assert all_but_times(found) == all_but_times(local)
    assert len(list(found.rglob("checkpoint-*"))) == 2 * flags.get("num_seeds", 1)
    assert os.listdir(place) == []
    # Asked again, it is the same model, which has come from there.
    trainable.command.succeed(output_dir=url, **trainable.ask, **seeds(flags))
    again = download(url, tmp_path / "again" / name)
    assert all_but_times(again) == all_but_times(local)
    assert not copies.named(str(place)).startswith("s3:")


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], object]) -> None:
    """Has something done, once, before an update is made."""
    train_step = FakeProgram.train_step
    done: list[int] = []

    def train(self: FakeProgram, number: int, *arguments: Any) -> Any:
        if number == step and not done:
            done.append(number)
            action()
        return train_step(self, number, *arguments)

    monkeypatch.setattr(FakeProgram, "train_step", train)


def wait_until(is_reached: Callable[[], bool]) -> None:
    for _ in range(6000):
        if is_reached():
            return
        time.sleep(0.01)
    pytest.fail("it is waited for in vain")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Uploads begin at once."""
    monkeypatch.setattr(publishing, "_LOOK", 0.01)
    monkeypatch.setattr(publishing, "_PAUSES", (0.01, 0.02))
    return monkeypatch


class Killed(BaseException):
    """Ends a run in the middle."""


def test_killed_run_resumes_elsewhere_from_its_last_whole_checkpoint(
    pretraining: Trainable,
    bucket: str,
    backend: FakeBackend,
    quick: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    url, command = f"{bucket}/run", pretraining.command.having(**pretraining.train)
    command.succeed(output_dir=tmp_path / "whole", keep_checkpoint_max=2)

    def kill() -> None:
        wait_until(lambda: f"checkpoint-{9:08d}/state.json" in remote.list_tree(url))
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 11, kill)
        patch.setattr(publishing.Publisher, "finish", lambda self: self._ending.set())
        with pytest.raises(Killed):
            command(output_dir=url, keep_checkpoint_max=0)
    there = remote.list_tree(url)
    assert publishing.OWNER_NAME in there
    assert len(whole_checkpoints(there)) >= 1
    # What an upload that was cut off may leave: files without the state.
    for name in ("model.safetensors", "optimizer.safetensors"):
        files.write_atomic(f"{url}/checkpoint-00000010/{name}", b"half")
    ended = command.succeed(output_dir=url, keep_checkpoint_max=2)
    assert "resuming from step 9" in ended.out + ended.err
    assert [w for w in ended.warnings if "has not ended well, or still runs" in w]
    found = download(url, tmp_path / "found")
    assert all_but_times(found) == all_but_times(tmp_path / "whole")
    steps = [record["step"] for record in metrics(found)]
    assert steps == list(range(1, 13))


def test_upload_that_fails_is_tried_again_with_a_warning(
    pretraining: Trainable,
    bucket: str,
    backend: FakeBackend,
    quick: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    upload, left = copies.upload, [4]

    def fail(source: str, target: str) -> None:
        if target.endswith("optimizer.safetensors") and left[0]:
            left[0] -= 1
            raise PermissionError(f"no entry ({left[0] > 1})")
        upload(source, target)

    quick.setattr(publishing, "upload", fail)
    at_step(quick, 5, lambda: wait_until(lambda: left[0] < 3))
    url = f"{bucket}/run"
    ended = pretraining.command.succeed(output_dir=url, **pretraining.train)
    message = f"{url}: not uploaded, to be tried again: no entry"
    assert ended.warnings == [f"{message} (True)", f"{message} (False)"]  # each once
    found = download(url, tmp_path / "found")
    assert [r["step"] for r in metrics(found)] == list(range(1, 13))


@pytest.mark.parametrize("is_stopped", [False, True])
def test_last_upload_that_fails_keeps_the_run_and_says_where(
    is_stopped: bool,
    pretraining: Trainable,
    bucket: str,
    backend: FakeBackend,
    quick: pytest.MonkeyPatch,
    place: Path,
) -> None:
    def fail(source: str, target: str) -> None:
        raise OSError("no such bucket any more")

    quick.setattr(publishing, "upload", fail)
    if is_stopped:
        at_step(quick, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    url = f"{bucket}/run"
    ended = pretraining.command(output_dir=url, **pretraining.train)
    assert ended.status == (143 if is_stopped else 1)
    message = ended.warnings[-1] if is_stopped else ended.error
    (kept,) = place.iterdir()
    assert message == (
        f"{url}: not everything could be uploaded (no such bucket any more); the run is in "
        f"{kept}/run. Copy it to {url} before it is resumed."
    )
    last = 6 if is_stopped else 12
    assert checkpoints(kept / "run")[-1] == f"checkpoint-{last:08d}"
    assert len(metrics(kept / "run")) == last


def test_run_stops_when_a_later_one_has_begun(
    pretraining: Trainable, bucket: str, backend: FakeBackend, quick: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/run"
    owner = {"token": "other", "host": "gpu2", "process": 7, "began": "today"}

    def begin() -> None:
        wait_until(lambda: f"checkpoint-{3:08d}/state.json" in remote.list_tree(url))
        files.write_atomic(f"{url}/{publishing.OWNER_NAME}", json.dumps(owner))

    at_step(quick, 5, begin)
    # Without this the run could end before it looks.
    train_step = FakeProgram.train_step

    def slowly(self: FakeProgram, *arguments: Any) -> Any:
        time.sleep(0.05)
        return train_step(self, *arguments)

    quick.setattr(FakeProgram, "train_step", slowly)
    before: dict[str, int] = {}
    at_step(quick, 6, lambda: before.update(remote.list_tree(url)))
    ended = pretraining.command(output_dir=url, **pretraining.train, num_train_steps=60)
    assert ended.error.startswith(
        f"{url}: a run on gpu2 (process 7, begun today) writes there now, and this run has "
        "stopped; what it made is in "
    )
    assert "stopped at step" in ended.out + ended.err
    assert remote.list_tree(url) == before


def test_folder_that_can_not_be_written_is_refused_at_once(
    pretraining: Trainable, bucket: str, backend: FakeBackend, tmp_path: Path
) -> None:
    url = "s3://no-such-bucket-here/run"
    ended = pretraining.command(output_dir=url, **pretraining.train)
    assert ended.error.startswith(f"--output_dir={url} can't be used: ")
    assert backend.programs == []
    ended = pretraining.command(output_dir=f"{bucket}/none", **pretraining.ask)
    assert ended.error == (
        f"no checkpoint in {bucket}/none; give --do_train, or --init_checkpoint with a trained "
        "model."
    )
    assert remote.list_tree(f"{bucket}/none") == {}


def test_weights_vocabulary_and_configuration_are_read_from_an_object_store(
    pretraining: Trainable,
    squad: Trainable,
    bucket: str,
    backend: FakeBackend,
    tmp_path: Path,
) -> None:
    model = f"{bucket}/model"
    pretraining.command.succeed(output_dir=model, **pretraining.train)
    flags = {"bert_config_file": None, "vocab_file": None, **squad.train}
    ended = squad.command.succeed(output_dir=tmp_path / "a", init_checkpoint=model, **flags)
    assert f"{model}/checkpoint-00000012 (checkpoint of step 12): " in ended.out + ended.err
    state = read_json(last(tmp_path / "a") / "state.json")
    assert state["identity"]["init_checkpoint"] == model
    source = read_source(f"{model}/checkpoint-00000009")
    assert (source.step, os.path.basename(source.folder)) == (9, "model")
    for path in (f"{model}/nothing", f"{bucket}/nothing/at/all", "s3://no-such-bucket-here/model"):
        with pytest.raises(FileNotFoundError) as caught:
            read_source(path)
        assert error_message(caught.value).startswith(f"--init_checkpoint: nothing at {path}: ")
        with pytest.raises(FileNotFoundError, match=f"^nothing at {path}: "):
            bert_ko.load(path)
    assert bert_ko.load(model, kind="tokenizer").fingerprint == source.fingerprint
    config_file = f"{model}/bert_config.json"
    for vocab_file in (model, f"{model}/vocab.txt"):
        output = tmp_path / os.path.basename(vocab_file)
        more = {**squad.train, "vocab_file": vocab_file, "bert_config_file": config_file}
        squad.command.succeed(output_dir=output, **more)
        for name in ("vocab.txt", "tokenizer_config.json", "bert_config.json"):
            assert (output / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_two_hosts_train_into_an_object_store(
    squad: Trainable, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", tempfile.gettempdir())
    url = f"{bucket}/reader"
    # Endings that the first host learns, the other needs.
    command = squad.command.having(**squad.train, **squad.ask, strip_josa="auto")
    address = f"127.0.0.1:{free_port()}"
    for seconds in ({"num_train_epochs": 2, "max_hours": 1e-5}, {"num_train_epochs": 2}):
        hosts = [
            [[command.name, *command.arguments(
                output_dir=url, coordinator_address=address, num_processes=2, process_id=index,
                **seconds,
            )]]
            for index in range(2)
        ]  # fmt: skip
        with started("numpy", 1, *hosts, log=tmp_path / "hosts") as group:
            assert group.wait() == [0, 0], group.printed()
    assert "resuming from step" in group.printed()[0]
    found = download(url, tmp_path / "reader")
    steps = [record["step"] for record in metrics(found)]
    assert steps == list(range(1, len(steps) + 1))
    assert "predictions.json" in os.listdir(found)
