"""Runs in MLflow: on a server of its package, without one, on a dead and on a slow one."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bert_ko.training.metrics import read_metrics
from bert_ko.training.tracking.mlflow_service import local_store
from bert_ko.training.tracking.tracker import Record
from tests.fakes import SECRET, TIMES, Command, FakeBackend, read_json, results
from tests.small_data import Trainable
from tests.training.tracking.services import (
    finish,
    forwarding,
    free_port,
    kill_when_sent,
    mlflow_server,
    shorten_patience,
    silent_server,
    start,
)

pytestmark = pytest.mark.slow  # the package takes seconds to import

REPORT = {"report_to": "mlflow"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as found:
        yield found


@pytest.fixture
def train(classifier: Trainable, backend: FakeBackend) -> Command:
    """Trains and evaluates, with a model of numpy."""
    return classifier.command.having(
        **{**classifier.train, **classifier.ask, **classifier.watch, **REPORT}
    )


def client(uri: str) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package and of those that it imports
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri)


def runs(uri: str, experiment: str) -> list[Any]:
    """The oldest first."""
    found = client(uri).get_experiment_by_name(experiment)
    return list(client(uri).search_runs([found.experiment_id], order_by=["attributes.start_time"]))


def history(uri: str, run: Any, name: str) -> list[tuple[int, float]]:
    points = client(uri).get_metric_history(run.info.run_id, name)
    return [(point.step, point.value) for point in points]


def assert_has_the_metrics(uri: str, run: Any, folder: Path, same: str = "") -> None:
    """All that metrics.jsonl has, each step once; the values of names that begin so are equal."""
    wanted: dict[str, list[tuple[int, float]]] = {}
    for line in read_metrics(str(folder / "metrics.jsonl")):
        record = Record.from_line(line)
        for name, value in record.values.items():
            wanted.setdefault(f"{record.prefix}/{name}", []).append((record.step, value))
    assert {"train/loss", "train/learning_rate", "eval/macro_f1"} <= wanted.keys()
    named = {name for name in run.data.metrics if "/" in name}
    assert named == wanted.keys()
    for name, points in wanted.items():
        found = history(uri, run, name)
        assert [step for step, _ in found] == [step for step, _ in points], name
        # What the clock decides was sent before the kill, and is measured again after it.
        if name.startswith(same) and name.rpartition("/")[2] not in TIMES:
            assert [value for _, value in found] == [value for _, value in points], name


def artifacts(uri: str, run: Any) -> set[str]:
    return {file.path for file in client(uri).list_artifacts(run.info.run_id)}


def test_mlflow_without_a_server_has_a_store_below_the_output(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "내 모델"
    ended = train.succeed(output_dir="내 모델", notify_url=f"http://127.0.0.1:1/{SECRET}")
    uri = local_store(str(output))
    assert f"curves: mlflow ui --backend-store-uri='{uri}'" in ended.err.splitlines()
    assert [path.name for path in tmp_path.iterdir()] == ["내 모델"]
    (run,) = runs(uri, "bert_ko")
    assert (run.info.run_name, run.info.status) == ("내 모델", "FINISHED")
    assert_has_the_metrics(uri, run, output)
    found = run.data.params
    assert (found["task_name"], found["report_to"]) == ("tsv", '["mlflow"]')
    assert (found["model.hidden_size"], found["random_seed"]) == ("16", "12345")
    scores = results(output)
    assert run.data.metrics["macro_f1"] == pytest.approx(scores["macro_f1"])
    assert artifacts(uri, run) == {
        "bert_config.json", "eval_results.txt", "labels.json", "report.html", "run.json",
        "tokenizer_config.json",
    }  # fmt: skip
    assert "notify_url" not in found
    for path in (path for path in output.rglob("*") if path.is_file()):
        assert SECRET.encode() not in path.read_bytes(), path


def test_mlflow_server_has_a_run_for_each_seed_below_one_of_all(
    train: Command, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "seeds")
    ended = train.succeed(output_dir=tmp_path / "topics", num_seeds=2)
    parent, *children = runs(uri, "seeds")
    page = f"curves: {uri}/#/experiments/{parent.info.experiment_id}"
    assert page in ended.err.splitlines() and ended.warnings == []
    assert [run.info.run_name for run in children] == ["topics/seed-12345", "topics/seed-12346"]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    for run, seed in zip(children, (12345, 12346), strict=True):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params["random_seed"] == str(seed)
        assert_has_the_metrics(uri, run, tmp_path / "topics" / f"seed-{seed}")
        assert {"report.html", "run.json", "bert_config.json"} <= artifacts(uri, run)
    means = results(tmp_path / "topics")
    assert parent.data.metrics["macro_f1_mean"] == pytest.approx(means["macro_f1_mean"])
    assert artifacts(uri, parent) == {"eval_results.txt", "report.html", "seeds.json"}
    # Evaluated again, the runs are the same, and have nothing twice.
    train.succeed(output_dir=tmp_path / "topics", num_seeds=2)
    assert [run.info.run_id for run in runs(uri, "seeds")] == [
        run.info.run_id for run in (parent, *children)
    ]
    for run, seed in zip(children, (12345, 12346), strict=True):
        assert_has_the_metrics(uri, run, tmp_path / "topics" / f"seed-{seed}")
        assert len(history(uri, run, "macro_f1")) == 1


def test_mlflow_run_that_was_killed_is_one_without_a_step_twice(
    classifier: Trainable, port: int, tmp_path: Path
) -> None:
    uri, output = f"http://127.0.0.1:{port}", tmp_path / "run"
    names = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "killed"}
    command = classifier.command.having(
        **{**classifier.train, **classifier.ask, **classifier.watch, **REPORT},
        num_train_epochs=8, save_checkpoints_steps=20,
    )  # fmt: skip
    process = start(command, names, held_at=38, output_dir=output)
    kill_when_sent(process, output, "mlflow", {"train": 38, "eval": 35})
    (killed,) = runs(uri, "killed")
    assert killed.info.status == "RUNNING"
    # Other flags may change what may change; a parameter stays what it was.
    resumed = start(command, names, output_dir=output, keep_checkpoint_max=2)
    printed = finish(resumed, output)
    assert "resuming from step 20\n" in printed and "warning" not in printed
    (run,) = runs(uri, "killed")
    assert (run.info.run_id, run.info.status) == (killed.info.run_id, "FINISHED")
    assert run.data.params["keep_checkpoint_max"] == "5"
    # The model of numpy forgets what it has learnt, which decides its scores alone.
    assert_has_the_metrics(uri, run, output, same="train/")
    assert len(history(uri, run, "train/loss")) == 48


def test_mlflow_dead_server_costs_a_warning_and_gets_all_later(
    train: Command, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, output = free_port(), tmp_path / "run"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:pa55w0rd@127.0.0.1:{dead}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "dead")
    begin = time.monotonic()
    ended = train.succeed(output_dir=output)
    assert time.monotonic() - begin < 15
    (warning,) = ended.warnings
    assert warning.startswith("--report_to=mlflow: ConnectionRefusedError: [Errno ")
    assert warning.endswith("or when the same command is run again.")
    lines = len((output / "metrics.jsonl").read_text().splitlines())
    told = ended.err.splitlines()
    place = told.index(f"curves: http://…@127.0.0.1:{dead}")
    assert told[place : place + 2] == [
        f"curves: http://…@127.0.0.1:{dead}",
        f"mlflow: {lines + 1} items not sent; run the same command again to send them",
    ]
    with forwarding(dead, port):
        again = train.succeed(output_dir=output, do_eval=False, do_predict=False)
    assert "all 18 steps are done; nothing else is asked for" in again.err
    assert again.warnings == [] and "not sent" not in again.err
    uri = f"http://127.0.0.1:{port}"
    (run,) = runs(uri, "dead")
    assert_has_the_metrics(uri, run, output)
    assert {"report.html", "run.json"} <= artifacts(uri, run)
    for path in (path for path in output.rglob("*") if path.is_file()):
        assert b"pa55w0rd" not in path.read_bytes(), path
    assert "pa55w0rd" not in ended.out + ended.err + again.out + again.err


def test_mlflow_slow_server_costs_no_more_than_its_patience(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_patience(monkeypatch)
    with silent_server() as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        begin = time.monotonic()
        ended = train.succeed(output_dir=tmp_path / "run")
        assert time.monotonic() - begin < 10
    (warning,) = ended.warnings
    assert warning.startswith("--report_to=mlflow: it did not answer in time. ")
    assert results(tmp_path / "run") and "curves: " not in ended.err


def test_mlflow_deleted_run_is_named_with_what_to_do(
    train: Command, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, output = f"http://127.0.0.1:{port}", tmp_path / "run"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "deleted")
    train.succeed(output_dir=output)
    (run,) = runs(uri, "deleted")
    client(uri).delete_run(run.info.run_id)
    (warning,) = train.succeed(output_dir=output).warnings
    path = output / "tracking" / "mlflow.json"
    assert f"{run.info.run_id} was deleted; restore it, or delete {path} for a new one" in warning
    path.unlink()
    assert train.succeed(output_dir=output).warnings == []
    (new,) = runs(uri, "deleted")
    assert new.info.run_id != run.info.run_id
    assert_has_the_metrics(uri, new, output)
    assert read_json(path)["runs"].keys() == {uri}
