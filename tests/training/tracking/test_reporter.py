"""What the reporter sends, and again after a failure."""

import queue
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bert_ko.training.tracking import reporter
from bert_ko.training.tracking.reporter import Message, Reporter
from bert_ko.training.tracking.service import Service
from bert_ko.training.tracking.tracker import Record, Status, TrackedRun

RUN = TrackedRun("/run", "run", {"a": 1})


class FakeService(Service):
    """Keeps what it is sent; fails at calls that are named."""

    name = "fake"

    def __init__(self, *fails: str) -> None:
        self.fails = list(fails)
        self.calls: list[Any] = []
        self.steps: list[tuple[int, str]] = []

    def _do(self, name: str, *values: Any) -> None:
        if self.fails and self.fails[0] == name:
            self.fails.pop(0)
            raise ConnectionError(f"no {name}")
        self.calls.append((name, *values))

    def open(self, run: TrackedRun) -> str:
        self._do("open", run.folder)
        return run.folder

    def log(self, run: str, records: Sequence[Record]) -> None:
        self._do("log", run, [record.step for record in records])
        self.steps += [(record.step, record.prefix) for record in records]

    def score(self, run: str, scores: Mapping[str, float], step: int) -> None:
        self._do("score", run, dict(scores), step)

    def upload(self, run: str, path: str) -> None:
        self._do("upload", run, path)

    def end(self, run: str, status: Status) -> None:
        self._do("end", run, status)

    def abandon(self) -> None:
        self._do("abandon")

    def shows(self) -> list[str]:
        return ["fake ui"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "_INTERVAL", 0.001)
    monkeypatch.setattr(reporter, "_LONGEST_PAUSE", 0.002)


def report(service: Service, *messages: Message | None) -> list[dict[str, Any]]:
    """Returns what the command is told."""
    told: list[dict[str, Any]] = []
    waiting: queue.Queue[Message | None] = queue.Queue()
    for message in messages:
        waiting.put(message)
    Reporter(service, waiting, lambda **answer: told.append(answer)).run()
    return told


def start(run: TrackedRun = RUN, *records: Record) -> Message:
    return {"start": run._asdict(), "records": records}


def record(step: int, prefix: Any = "train") -> Message:
    return {"folder": "/run", "record": Record(step, prefix, {"loss": 1.0})}


END: Message = {"folder": "/run", "scores": {"f1": 50.0}, "step": 3}


def test_reporter_sends_records_scores_files_and_the_end(tmp_path: Path) -> None:
    service = FakeService()
    kept = [Record(1, "train", {}), Record(1, "eval", {})]
    path = tmp_path / "report.html"
    path.touch()
    files = {"folder": "/run", "files": ["/run/gone", str(path)]}
    told = report(service, start(RUN, *kept), record(2), record(3), files, END, {"close": "KILLED"})
    assert service.calls == [
        ("open", "/run"), ("log", "/run", [1, 1, 2, 3]), ("score", "/run", {"f1": 50.0}, 3),
        ("upload", "/run", str(path)), ("end", "/run", "FINISHED"),
    ]  # fmt: skip
    assert told == [{"left": 0, "shows": ["fake ui"]}]


def test_reporter_run_that_has_not_ended_gets_the_sessions_end() -> None:
    service = FakeService()
    other = TrackedRun("/run/seed-2", "run", {}, parent="/run")
    report(service, start(), END, start(other), {"close": "FAILED"})
    ends = [call[1:] for call in service.calls if call[0] == "end"]
    assert ends == [("/run", "FINISHED"), ("/run/seed-2", "FAILED")]


def test_reporter_run_spoken_of_again_is_the_same() -> None:
    service = FakeService()
    report(service, start(), record(1), start(), record(2), {"close": "FAILED"})
    assert [call for call in service.calls if call[0] == "open"] == [("open", "/run")]
    assert service.steps == [(1, "train"), (2, "train")]


@pytest.mark.parametrize("fails", [["open"], ["open", "open", "log"], ["log", "score", "end"]])
def test_reporter_tries_again_and_loses_nothing(fails: list[str]) -> None:
    service = FakeService(*fails)
    told: list[dict[str, Any]] = []
    messages: queue.Queue[Message | None] = queue.Queue()
    for message in (start(), record(1), record(2), END):
        messages.put(message)

    def tell(**answer: Any) -> None:
        told.append(answer)

    found = Reporter(service, messages, tell)
    send = found._send

    def send_and_close() -> None:
        send()
        if not service.fails:
            messages.put({"close": "FAILED"})

    found._send = send_and_close  # type: ignore[method-assign]
    found.run()
    problems = [answer["problem"] for answer in told if "problem" in answer]
    assert problems == [f"ConnectionError: no {name}" for name in fails]
    assert told[-1] == {"left": 0, "shows": ["fake ui"]}
    assert service.steps == [(1, "train"), (2, "train")]
    assert service.calls[-1] == ("end", "/run", "FINISHED")


def test_reporter_says_what_a_dead_service_has_not_got() -> None:
    service = FakeService(*["open"] * 99)
    told = report(service, start(), record(1), record(2), {"close": "FINISHED"})
    assert told == [{"problem": "ConnectionError: no open"}, {"left": 3, "shows": ["fake ui"]}]


def test_reporter_ends_with_its_command_and_sends_nothing_more() -> None:
    service = FakeService()
    assert report(service, start(), record(1), None) == []
    assert service.calls == [("abandon",)]


def test_reporter_sends_many_records_in_parts() -> None:
    service = FakeService("log")
    kept = [Record(step, "train", {}) for step in range(120)]
    told = report(service, start(RUN, *kept), {"close": "FINISHED"})
    assert told[0] == {"problem": "ConnectionError: no log"} and told[1]["left"] == 121
    service = FakeService()
    report(service, start(RUN, *kept), {"close": "FINISHED"})
    parts = [call[2] for call in service.calls if call[0] == "log"]
    assert [len(part) for part in parts] == [50, 50, 20]
    assert [step for part in parts for step in part] == list(range(120))
