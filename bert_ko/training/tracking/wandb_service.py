"""Weights & Biases: its server, or a folder that `wandb sync` sends later."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bert_ko.training.tracking.redaction import describe, redacted
from bert_ko.training.tracking.sent import Sent
from bert_ko.training.tracking.service import Service
from bert_ko.training.tracking.tracker import Record, Status, TrackedRun

_PATIENCE = 10.0  # seconds, at the beginning and at the end of a run
_PLACE = ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT")
_DEFAULTS = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
_EXIT_CODES: dict[Status, int] = {"FINISHED": 0, "FAILED": 1, "KILLED": 143}


@dataclass
class _Run:
    """A run of this process; W&B makes one folder of it, and joins those of one id."""

    sent: Sent
    run: Any  # wandb.Run; None of a parent


def make(output_dir: str) -> Service:
    """The service for a command's runs."""
    return WandbService(output_dir)


class WandbService(Service):
    """Runs of a project, those of several seeds in one group, which W&B sums up itself.

    A step is remembered before it is handed over: should this process be killed before W&B's has
    written it, it is missing, and never there twice. What is written is W&B's to deliver.
    """

    name = "wandb"

    def __init__(self, output_dir: str):
        """Args: output_dir: of the command, an absolute path."""
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        import wandb

        self._wandb = wandb
        self._folder = os.environ.get("WANDB_DIR") or output_dir
        given = [os.environ[name] for name in _PLACE if os.environ.get(name)]
        self._place = redacted(" ".join(given) or "default")
        self._names: dict[str, str] = {}  # of parents, by folder
        self._sent: dict[str, Sent] = {}  # by folder
        self._opened: list[Any] = []  # wandb.Run, of runs that have not ended
        self._ids: list[str] = []  # of runs that are on the disk alone
        self._urls: list[str] = []
        self._notice = ""

    def open(self, run: TrackedRun) -> _Run:
        """Begins the part of the run that this process reports."""
        if run.is_parent:
            self._names[run.folder] = run.name
        if run.folder not in self._sent:
            self._sent[run.folder] = Sent(run.folder, self.name, self._place)
        sent = self._sent[run.folder]
        if run.is_parent:
            return _Run(sent, None)
        given = os.environ.get("WANDB_RUN_ID") if run.parent is None else None
        run_id = sent.run_id or given or sent.key[:16]
        sent.run_id = run_id
        opened = self._init(run, run_id)
        self._opened.append(opened)
        if opened.offline:
            self._ids.append(run_id)
        elif opened.url:  # else W&B is disabled
            self._urls.append(opened.url)
        return _Run(sent, opened)

    def _init(self, run: TrackedRun, run_id: str) -> Any:
        """On the server, or else on the disk."""
        os.makedirs(self._folder, exist_ok=True)
        if os.environ.get("WANDB_MODE", "online") == "online":
            try:
                return self._start(run, run_id)
            except Exception as error:  # no server, no account, no key
                self._wandb.teardown()
                self._notice = (
                    f"{describe(error)}; the run is kept in {self._folder}/wandb, to be sent with "
                    f"{self._sync(run_id)}"
                )
                os.environ["WANDB_MODE"] = "offline"  # for the seeds that follow, too
        return self._start(run, run_id)

    def _start(self, run: TrackedRun, run_id: str) -> Any:
        settings = self._wandb.Settings(
            init_timeout=_PATIENCE,
            finish_timeout=_PATIENCE,
            console="off",
            x_disable_meta=True,  # it has the command line, with its secrets
        )
        group = None if run.parent is None else self._names[run.parent]
        return self._wandb.init(
            id=run_id,
            resume="allow",
            dir=self._folder,
            name=os.environ.get("WANDB_NAME") or run.name,
            group=os.environ.get("WANDB_RUN_GROUP") or group,
            config=run.parameters,
            allow_val_change=True,  # flags that may change do
            settings=settings,
        )

    def log(self, run: _Run, records: Sequence[Record]) -> None:
        """Hands over those that were not before."""
        new = [record for record in records if run.sent.is_new(record)]
        run.sent.note(new)
        for record in new:
            values = {f"{record.prefix}/{name}": value for name, value in record.values.items()}
            run.run.log(values, step=record.step)

    def score(self, run: _Run, scores: Mapping[str, float], step: int) -> None:
        """Into the summary."""
        if run.run is not None:
            run.run.summary.update({**scores, "global_step": step} if scores else {})

    def upload(self, run: _Run, path: str) -> None:
        """Into the run's files."""
        if run.run is not None:
            run.run.save(path, base_path=os.path.dirname(path), policy="now")

    def end(self, run: _Run, status: Status) -> None:
        """Waits for W&B to deliver, within limits."""
        if run.run is not None:
            run.run.finish(exit_code=_EXIT_CODES[status])
            self._opened.remove(run.run)

    def abandon(self) -> None:
        """W&B's package hands over in a thread of its own, which would end with the process."""
        for run in self._opened:
            run.finish(exit_code=_EXIT_CODES["KILLED"])

    def shows(self) -> list[str]:
        """The runs' pages; for those on the disk, the command that sends them."""
        pages = [redacted(url) for url in self._urls]
        return [*pages, *([self._sync(*self._ids)] if self._ids else [])]

    def _sync(self, *ids: str) -> str:
        folder = shlex.quote(os.path.join(self._folder, "wandb"))
        return "wandb sync " + " ".join(f"{folder}/*run-*-{run_id}" for run_id in ids)

    def notice(self) -> str:
        """See Service."""
        found, self._notice = self._notice, ""
        return found
