"""Checkpoints: what is read back, what a kill leaves, and what is removed."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from bert_ko.modeling.bert import BertConfig
from bert_ko.training.checkpoints import (
    Checkpoint,
    identity_differences,
    last_checkpoint,
    list_checkpoints,
    load_checkpoint,
    read_checkpoint_config,
    read_model_config,
    remove_unfinished,
    save_checkpoint,
)

REPOSITORY = Path(__file__).parents[2]
CONFIG = BertConfig(vocab_size=50, hidden_size=8, num_attention_heads=2, intermediate_size=16)


def checkpoint(step: int) -> Checkpoint:
    rng = np.random.default_rng(step)
    parameters = {
        "bert/a/kernel": rng.standard_normal((5, 3), np.float32),
        "bert/a/bias": rng.standard_normal(3, np.float32),
        "한글/scalar": np.full((), step, np.float32),
        "empty": np.zeros((0, 4), np.float32),
    }
    slots = {f"{name}/adam_m": array + 1 for name, array in parameters.items()}
    return Checkpoint(parameters, slots, {"step": step, "sums": {"loss": 0.1 + step / 3}})


def save(folder: Path, step: int, keep: int = 5) -> str:
    return save_checkpoint(str(folder), step, checkpoint(step), CONFIG, keep)


def assert_equal(found: Checkpoint, wanted: Checkpoint) -> None:
    for ours, theirs in ((found.parameters, wanted.parameters), (found.slots, wanted.slots)):
        assert ours.keys() == theirs.keys()
        for name, array in theirs.items():
            assert ours[name].shape == array.shape
            assert ours[name].tobytes() == array.tobytes()
    assert found.state == wanted.state


def steps(folder: Path, kind: Any = "checkpoint") -> list[int]:
    return [int(path[-8:]) for path in list_checkpoints(str(folder), kind)]


def test_save_checkpoint_reads_back_bit_for_bit(tmp_path: Path) -> None:
    path = save(tmp_path, 1000)
    assert path == str(tmp_path / "checkpoint-00001000")
    assert sorted(os.listdir(path)) == [
        "bert_config.json", "model.safetensors", "optimizer.safetensors", "state.json",
    ]  # fmt: skip
    assert_equal(load_checkpoint(path), checkpoint(1000))
    assert read_model_config(f"{path}/bert_config.json") == CONFIG
    assert os.listdir(tmp_path) == ["checkpoint-00001000"]


def test_save_checkpoint_can_be_read_by_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = Path(save(tmp_path, 1))
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o644}


@pytest.mark.parametrize(("keep", "stay"), [(1, [40]), (3, [20, 30, 40]), (0, [10, 20, 30, 40])])
def test_save_checkpoint_keeps_the_newest(keep: int, stay: list[int], tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        save(tmp_path, step, keep)
    assert steps(tmp_path) == stay
    assert len(os.listdir(tmp_path)) == len(stay)


def test_list_checkpoints_is_numerical_and_leaves_out_what_is_none(tmp_path: Path) -> None:
    assert list_checkpoints(str(tmp_path / "nowhere")) == []
    for step in (100_000_000, 99_999_999, 5):
        save(tmp_path, step)
    (tmp_path / "checkpoint-00000006").mkdir()
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-best/state.json").write_text("{}")
    (tmp_path / ".checkpoint-00000007.tmp").mkdir()
    assert [os.path.basename(path) for path in list_checkpoints(str(tmp_path))] == [
        "checkpoint-00000005", "checkpoint-99999999", "checkpoint-100000000",
    ]  # fmt: skip


def test_save_checkpoint_files_of_the_user_stay(tmp_path: Path) -> None:
    notes = Path(save(tmp_path, 1)) / "notes.txt"
    notes.write_text("좋았다")
    (tmp_path / "thesis.txt").write_text("내 논문")
    save(tmp_path, 2, keep=1)
    assert notes.read_text() == "좋았다"
    assert steps(tmp_path) == [2]
    assert_equal(load_checkpoint(save(tmp_path, 1)), checkpoint(1))  # in the same folder again
    assert notes.read_text() == "좋았다"
    assert (tmp_path / "thesis.txt").read_text() == "내 논문"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_remove_unfinished_takes_what_kills_leave_and_nothing_else(tmp_path: Path) -> None:
    for name in (".checkpoint-00000003.tmp", ".best-00000003.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    for name in (".run.json.123.tmp", ".metrics.jsonl.9.tmp", ".user.dic.77.tmp"):
        (tmp_path / name).write_text("half")
    save(tmp_path, 2)
    stay = [
        ".mine.tmp", ".lock", "run.json.1.tmp", ".checkpoint-x.tmp", ".best-x.tmp", ".best.tmp",
        "best-00000003.tmp", ".worst-00000003.tmp",
    ]  # fmt: skip
    for name in stay:
        (tmp_path / name).write_text("x")
    remove_unfinished(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted([*stay, "checkpoint-00000002"])


# The best


def save_best(folder: Path, step: int, keep: int = 1) -> str:
    best = checkpoint(step)._replace(slots={})
    return save_checkpoint(str(folder), step, best, CONFIG, keep, kind="best")


def test_save_checkpoint_best_has_no_slots_and_reads_back(tmp_path: Path) -> None:
    path = save_best(tmp_path, 900)
    assert path == str(tmp_path / "best-00000900")
    assert sorted(os.listdir(path)) == ["bert_config.json", "model.safetensors", "state.json"]
    wanted = checkpoint(900)._replace(slots={})
    assert_equal(load_checkpoint(path, with_slots=False), wanted)
    with pytest.raises(ValueError, match=r"optimizer\.safetensors is damaged or not a safetensors"):
        load_checkpoint(path)


def test_list_checkpoints_kinds_are_apart(tmp_path: Path) -> None:
    for step in (5, 20):
        save(tmp_path, step)
    save_best(tmp_path, 7)
    for name in ("best-00000030", "best-x", "the-best-00000031"):
        (tmp_path / name).mkdir()
    (tmp_path / "best-x/state.json").write_text("{}")
    (tmp_path / "the-best-00000031/state.json").write_text("{}")
    assert list_checkpoints(str(tmp_path), "best") == [str(tmp_path / "best-00000007")]
    assert steps(tmp_path) == [5, 20]
    assert list_checkpoints(str(tmp_path / "nowhere"), "best") == []


def test_save_checkpoint_keeps_each_kind_by_itself(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save(tmp_path, step, keep=2)
        save_best(tmp_path, step + 1)
    assert sorted(os.listdir(tmp_path)) == [
        "best-00000031", "checkpoint-00000020", "checkpoint-00000030",
    ]  # fmt: skip
    save(tmp_path, 40, keep=1)
    assert sorted(os.listdir(tmp_path)) == ["best-00000031", "checkpoint-00000040"]


class Killed(BaseException):
    """After it nothing more is done, as after SIGKILL."""


@contextlib.contextmanager
def killed_at(call: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The process dies at its nth call that changes the file system."""
    done: list[str] = []

    def dying(name: str, function: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if len(done) >= call:
                raise Killed
            done.append(name)
            return function(*args, **kwargs)

        return wrapper

    with monkeypatch.context() as patch:
        for name in ("makedirs", "fsync", "rename", "replace", "unlink", "rmdir"):
            patch.setattr(os, name, dying(name, getattr(os, name)))
        with contextlib.suppress(Killed):
            yield done


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["checkpoint", "best"])
def test_save_checkpoint_killed_at_every_call_leaves_a_good_one(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_kind, keep = (save_best, 1) if kind == "best" else (save, 2)
    found: list[int] = []
    for call in itertools.count():
        folder = tmp_path / str(call)
        folder.mkdir()
        for step in (1, 2):
            save_kind(folder, step)
        with killed_at(call, monkeypatch) as done:
            save_kind(folder, 3, keep=keep)
        is_over = len(done) < call
        remove_unfinished(str(folder))
        for path in list_checkpoints(str(folder), kind):
            wanted = checkpoint(int(path[-8:]))
            wanted = wanted._replace(slots={}) if kind == "best" else wanted
            assert_equal(load_checkpoint(path, kind != "best"), wanted)
        found.append(int(path[-8:]))
        save_kind(folder, 3, keep=keep)
        assert steps(folder, kind) == [2, 3][-keep:]
        if is_over:
            break
    assert call > 10
    assert found == sorted(found) and set(found) == {2, 3}


def test_save_checkpoint_killed_over_the_folder_of_a_user_leaves_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in itertools.count():
        folder = tmp_path / str(call)
        save(folder, 1)
        notes = Path(save(folder, 3)) / "notes.txt"
        notes.write_text("x")
        (notes.parent / "state.json").unlink()
        with killed_at(call, monkeypatch) as done:
            save(folder, 3)
        is_over = len(done) < call
        remove_unfinished(str(folder))
        last = list_checkpoints(str(folder))[-1]
        assert_equal(load_checkpoint(last), checkpoint(int(last[-8:])))
        assert notes.read_text() == "x"
        if is_over:
            break
    assert steps(folder) == [1, 3]


def test_save_checkpoint_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    save(tmp_path, 1)
    code = (
        "import numpy as np, resource\n"
        "from bert_ko.modeling.bert import BertConfig\n"
        "from bert_ko.training.checkpoints import Checkpoint, save_checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))\n"
        "large = Checkpoint({'a': np.zeros(100_000, np.float32)}, {}, {})\n"
        "try:\n"
        f"    save_checkpoint({str(tmp_path)!r}, 2, large, BertConfig(vocab_size=9), 5)\n"
        "except OSError as error:\n"
        "    print(error.filename, error.strerror, sep=': ', end='')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"],
        capture_output=True, text=True, cwd=REPOSITORY, check=True,
    )  # fmt: skip
    assert done.stdout == f"{tmp_path}/.checkpoint-00000002.tmp/model.safetensors: File too large"
    assert os.listdir(tmp_path) == ["checkpoint-00000001"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def overwrite_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 40 + path.read_bytes()[40:])


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", [truncate, overwrite_header, Path.unlink])
def test_load_checkpoint_damaged_file_says_what_to_delete(
    name: str, damage: Any, tmp_path: Path
) -> None:
    first, second = save(tmp_path, 1), save(tmp_path, 2)
    damage(Path(second, name))
    with pytest.raises(ValueError) as error:
        load_checkpoint(second)
    message = str(error.value)
    assert message.startswith(f"{second}/{name} is damaged or not a safetensors file (")
    assert message.endswith(f"). Delete the folder {second} to resume from {first}.")
    shutil.rmtree(first)
    with pytest.raises(ValueError, match="to start again"):
        load_checkpoint(second)


def test_load_checkpoint_damaged_state_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    truncate(Path(path, "state.json"))
    with pytest.raises(ValueError, match=r"state\.json:7: not JSON: [^.]*\. Delete the"):
        load_checkpoint(path)
    Path(path, "state.json").unlink()
    with pytest.raises(ValueError, match=r"has no state\.json"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("step", None, "step must be a number of updates, got None."),
        ("step", -3, "step must be a number of updates, got -3."),
        ("step", True, "step must be a number of updates, got True."),
        ("step", 1.0, "step must be a number of updates, got 1.0."),
        ("step", 2, "step is 2, but the folder is of 00000001."),
        ("identity", [], "identity must be an object or null, got []."),
        ("tokenizer_fingerprint", 5, "tokenizer_fingerprint must be a string or null, got 5."),
        ("position", [1], "position must be an object or null, got [1]."),
        ("seconds", "x", "seconds must be a number of at least 0, got 'x'."),
        ("seconds", -1, "seconds must be a number of at least 0, got -1."),
        ("seconds", float("nan"), "seconds must be a number of at least 0, got nan."),
        ("sums", [], "sums must be an object of numbers, got []."),
        ("sums", {"loss": "1"}, "sums must be an object of numbers, got {'loss': '1'}."),
        ("steps_in_sums", 0.5, "steps_in_sums must be a number of updates, got 0.5."),
        ("metrics", {"f1": None}, "metrics must be an object of numbers, got {'f1': None}."),
        ("trained_with", "x", "trained_with must be an object, got 'x'."),
    ],
)
def test_load_checkpoint_edited_state_is_named(
    name: str, value: Any, part: str, tmp_path: Path
) -> None:
    path = save(tmp_path, 1)
    state = {**checkpoint(1).state, name: value}
    Path(path, "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError) as error:
        load_checkpoint(path)
    assert str(error.value) == (
        f"{path}/state.json: {part} Delete the folder {path} to start again."
    )


def test_load_checkpoint_state_with_another_checksum_was_edited(tmp_path: Path) -> None:
    first, path = save(tmp_path, 1), save(tmp_path, 2)
    state = Path(path, "state.json")
    state.write_text(state.read_text().replace('"loss": 0.', '"loss": 1.'))
    with pytest.raises(ValueError) as error:
        load_checkpoint(path)
    assert str(error.value) == (
        f"{path}/state.json is not what was written (its checksum). Delete the folder {path} to "
        f"resume from {first}."
    )


@pytest.mark.parametrize("name", ["crc32c", "bert_config_crc32c"])
def test_load_checkpoint_state_without_one_of_its_checksums_was_edited(
    name: str, tmp_path: Path
) -> None:
    path = save(tmp_path, 1)
    state = json.loads(Path(path, "state.json").read_text())
    del state[name]
    Path(path, "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"state\.json is not what was written \(its checksum\)"):
        load_checkpoint(path)


def test_read_checkpoint_config_that_was_edited_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    assert read_checkpoint_config(path) == CONFIG
    config = Path(path, "bert_config.json")
    config.write_text(json.dumps({**CONFIG.to_dict(), "num_attention_heads": 4}))
    with pytest.raises(ValueError) as error:
        read_checkpoint_config(path)
    assert str(error.value) == (
        f"{config} is not what was written (its checksum). Delete the folder {path} to start again."
    )
    Path(path, "state.json").write_text('{"step": 1}')  # of an older version
    found = read_checkpoint_config(path)
    assert found is not None and found.to_dict()["num_attention_heads"] == 4
    assert read_checkpoint_config(str(tmp_path)) is None


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_load_checkpoint_flipped_bit_is_noticed_with_its_array(name: str, tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    content = bytearray(Path(path, name).read_bytes())
    content[-2] ^= 4
    Path(path, name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        load_checkpoint(path)
    array = "한글/scalar" + ("/adam_m" if name[0] == "o" else "")
    assert str(error.value) == (
        f"{path}/{name} is damaged: {array} is not what was written (its checksum). Delete the "
        f"folder {path} to start again."
    )


@pytest.mark.parametrize("dtype", ["float16", "int32"])
def test_load_checkpoint_arrays_of_another_type_are_named(dtype: str, tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    arrays = {name: array.astype(dtype) for name, array in checkpoint(1).parameters.items()}
    save_file(arrays, Path(path, "model.safetensors"))
    with pytest.raises(ValueError) as error:
        load_checkpoint(path)
    assert f"{path}/model.safetensors: bert/a/" in str(error.value)
    assert f" is {dtype}; weights must be float32. Delete the folder {path} to" in str(error.value)


def test_load_checkpoint_of_older_versions_has_no_checksums(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    wanted = checkpoint(1)
    save_file(wanted.parameters, Path(path, "model.safetensors"))
    slots = {name: np.asarray(array) for name, array in wanted.slots.items()}
    save_file(slots, Path(path, "optimizer.safetensors"))
    Path(path, "state.json").write_text(json.dumps(wanted.state))
    assert_equal(load_checkpoint(path), wanted)


def test_load_checkpoint_without_slots_reads_no_slots(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    Path(path, "optimizer.safetensors").unlink()
    assert_equal(load_checkpoint(path, with_slots=False), checkpoint(1)._replace(slots={}))


def test_load_checkpoint_last_of_its_kind(tmp_path: Path) -> None:
    assert last_checkpoint(str(tmp_path)) is last_checkpoint(str(tmp_path), "best") is None
    for step in (8, 12, 4):
        save(tmp_path, step)
    save_best(tmp_path, 16)
    found = last_checkpoint(str(tmp_path), with_slots=True)
    assert found is not None
    assert_equal(found, checkpoint(12))
    found = last_checkpoint(str(tmp_path), "best")
    assert found is not None and found.state["step"] == 16


def test_read_model_config_reads_and_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(CONFIG.to_dict()))
    assert read_model_config(str(path)) == CONFIG
    path.write_text('{"vocab_size": 0}')
    with pytest.raises(ValueError) as error:
        read_model_config(str(path))
    assert str(error.value) == f"{path}: vocab_size must be a positive integer, got 0."
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_model_config(str(tmp_path / "none.json"))


def test_identity_differences_say_what_was_and_what_is() -> None:
    saved = {
        "seed": 1, "name": None, "same": [1], "shards": [["a", 1], ["b", 2]], "more": ["x"],
        "config": {"hidden_size": 8, "vocab_size": 9},
    }  # fmt: skip
    wanted = {
        "seed": 2, "name": "x", "same": [1], "shards": [["a", 1], ["c", 2]], "more": [],
        "config": {"hidden_size": 16, "vocab_size": 9}, "new": True,
    }  # fmt: skip
    assert identity_differences(saved, wanted) == [
        "--config: hidden_size was 8, now 16",
        "--more had 1 items, now 0",
        "--name was None, now 'x'",
        "--new was None, now True",
        "--seed was 1, now 2",
        "--shards had ['b', 2], now ['c', 2]",
    ]
    assert identity_differences(saved, saved) == []
