"""MLflow: a server, or a store in OUTPUT_DIR/mlflow."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_ko.training.tracking.redaction import redacted
from bert_ko.training.tracking.sent import Sent
from bert_ko.training.tracking.service import Service
from bert_ko.training.tracking.tracker import Record, Status, TrackedRun

STORE_FOLDER = "mlflow"
LOCAL_EXPERIMENT = "bert_ko"
_DEFAULT_EXPERIMENT = "Default"  # of every server
_LOCAL_PLACE = "here"  # the store moves with its folder
_KEY = "bert_ko.key"  # a tag, see Sent.key
_DEFAULTS = {
    # The package would try a dead server for minutes; we try again ourselves.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # Nothing is told to others unless it is wished.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# MLflow's limits.
_MAX_PARAMETERS, _MAX_METRICS = 100, 1000  # of a request
_MAX_NAME, _MAX_VALUE = 250, 6000  # characters
_NO_NAME = re.compile(r"[^\w./\- ]")


@dataclass
class _Run:
    """A run that the server knows."""

    run_id: str
    sent: Sent
    # By metric, the last step that the server has, and its value.
    has: dict[str, tuple[int, float]] = field(default_factory=dict)

    def is_new(self, name: str, step: int) -> bool:
        return step > self.has.get(name, (-1, 0.0))[0]


def make(output_dir: str) -> Service:
    """The service for a command's runs."""
    return MlflowService(output_dir)


class MlflowService(Service):
    """Runs of an experiment, those of several seeds below one of all."""

    name = "mlflow"

    def __init__(self, output_dir: str):
        """Args: output_dir: of the command, an absolute path."""
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._output_dir = output_dir
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or local_store(output_dir)
        self._is_local = not os.environ.get("MLFLOW_TRACKING_URI")
        self._found_client: Any = None
        self._runs: dict[str, _Run] = {}  # by folder
        self._experiment = ""
        from mlflow.entities import Metric, Param

        self._make_metric, self._make_parameter = Metric, Param

    @property
    def _client(self) -> Any:
        """Made when it is first asked, as it may create a store."""
        if self._found_client is None:
            from mlflow import MlflowClient

            if self._is_local:
                os.makedirs(os.path.join(self._output_dir, STORE_FOLDER), exist_ok=True)
            self._found_client = MlflowClient(tracking_uri=self._uri)
        return self._found_client

    def open(self, run: TrackedRun) -> _Run:
        """Creates it, or asks what the server has of it."""
        if known := self._runs.get(run.folder):
            sent = known.sent
        else:
            place = _LOCAL_PLACE if self._is_local else redacted(self._uri)
            sent = Sent(run.folder, self.name, place)
            self._runs[run.folder] = known = _Run("", sent)
        run_id = sent.run_id or self._find_or_create(run, sent)
        found = self._get(run_id, sent)
        known.run_id, self._experiment = run_id, found.info.experiment_id
        # The values alone are in found.data.metrics.
        known.has = {m.key: (m.step, m.value) for m in found.data.to_proto().metrics}
        if found.info.status != "RUNNING":
            self._client.update_run(run_id, status="RUNNING")
        self._add_parameters(run_id, run.parameters, found.data.params)
        return known

    def _get(self, run_id: str, sent: Sent) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_run(run_id)
            is_gone = found.info.lifecycle_stage == "deleted"
        except MlflowException as error:
            is_gone = error.error_code == "RESOURCE_DOES_NOT_EXIST"
            if not is_gone:
                raise
        if is_gone:
            raise ValueError(
                f"the run {run_id} was deleted; restore it, or delete {sent.path} for a new one"
            )
        return found

    def _find_or_create(self, run: TrackedRun, sent: Sent) -> str:
        """A run that was created although the answer was lost is found by its key."""
        experiment = self._experiment_id()
        found = self._client.search_runs(
            [experiment], f"tags.`{_KEY}` = '{sent.key}'", max_results=1
        )
        given = os.environ.get("MLFLOW_RUN_ID") if run.parent is None else None
        if not found and not given:
            tags = {_KEY: sent.key, "mlflow.source.name": "bert_ko"}
            if run.parent is not None:
                tags["mlflow.parentRunId"] = self._runs[run.parent].run_id
            found = [self._client.create_run(experiment, tags=tags, run_name=run.name)]
        run_id = str(found[0].info.run_id if found else given)
        sent.run_id = run_id
        return run_id

    def _experiment_id(self) -> str:
        if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return number
        default = LOCAL_EXPERIMENT if self._is_local else _DEFAULT_EXPERIMENT
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or default
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        artifacts = None
        if self._is_local:  # else they would be in the working directory
            artifacts = Path(self._output_dir, STORE_FOLDER, "artifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=artifacts))

    def _add_parameters(
        self, run_id: str, parameters: Mapping[str, Any], known: Mapping[str, str]
    ) -> None:
        """Sends those that are new: a parameter can't be changed, and some flags may."""
        named = ((_name(name), value) for name, value in parameters.items())
        new = [
            self._make_parameter(name, str(value)[:_MAX_VALUE])
            for name, value in named
            if name not in known
        ]
        for first in range(0, len(new), _MAX_PARAMETERS):
            self._client.log_batch(run_id, params=new[first : first + _MAX_PARAMETERS])

    def log(self, run: _Run, records: Sequence[Record]) -> None:
        """Sends what neither the server has nor was sent."""
        new = [record for record in records if run.sent.is_new(record)]
        metrics = [
            (name, float(value), record.step)
            for record in new
            for name, value in _metrics(record)
            if run.is_new(name, record.step)
        ]
        self._log(run, metrics)
        run.sent.note(new)

    def _log(self, run: _Run, metrics: Sequence[tuple[str, float, int]]) -> None:
        now = int(time.time() * 1000)
        for first in range(0, len(metrics), _MAX_METRICS):
            part = metrics[first : first + _MAX_METRICS]
            made = [self._make_metric(name, value, now, step) for name, value, step in part]
            self._client.log_batch(run.run_id, metrics=made)
            run.has |= {name: (step, value) for name, value, step in part}

    def score(self, run: _Run, scores: Mapping[str, float], step: int) -> None:
        """As metrics, unless the server has the same from an evaluation before."""
        named = {_name(name): float(value) for name, value in scores.items()}
        new = [(n, v, step) for n, v in named.items() if run.has.get(n) != (step, v)]
        self._log(run, new)

    def upload(self, run: _Run, path: str) -> None:
        """As an artifact."""
        self._client.log_artifact(run.run_id, path)

    def end(self, run: _Run, status: Status) -> None:
        """Sets the status."""
        self._client.set_terminated(run.run_id, status)

    def shows(self) -> list[str]:
        """The page of the experiment, or the command that serves it."""
        if self._uri.startswith(("http://", "https://")):
            page = f"/#/experiments/{self._experiment}" if self._experiment else ""
            return [redacted(self._uri).rstrip("/") + page]
        command = f"mlflow ui --backend-store-uri={shlex.quote(redacted(self._uri))}"
        is_there = importlib.util.find_spec("flask") is not None
        return [command if is_there else f"{command} (needs pip install mlflow)"]


def local_store(output_dir: str) -> str:
    """The address of the store below a folder."""
    return f"sqlite:///{os.path.join(output_dir, STORE_FOLDER, 'mlflow.db')}"


def _metrics(record: Record) -> Iterator[tuple[str, Any]]:
    """Names as TensorBoard's: train/loss, eval/f1."""
    for name, value in record.values.items():
        yield _name(f"{record.prefix}/{name}"), value


def _name(name: str) -> str:
    """With the characters that MLflow allows."""
    return _NO_NAME.sub("_", name)[:_MAX_NAME]
