"""The process that reports a command's runs to one service, and may wait for it.

It reads messages, JSON lines, from the command, and answers with lines:

    {"problem": TEXT}  something was not sent; it is tried again
    {"notice": TEXT}  something was worked around
    {"left": N, "shows": [TEXT, ...]}  the last one: what was not sent, and where the curves are

A service's package may hang, print, ask questions, take minutes to end: none of it is the
command's, which ends this process when its patience is over. When the command is killed, this
process ends, too: what was not sent is sent when the run is resumed.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from bert_ko.training.tracking.redaction import describe
from bert_ko.training.tracking.service import RunLog, Service
from bert_ko.training.tracking.tracker import Record, TrackedRun

_INTERVAL = 1.0  # seconds between two requests with what has come in between
_LONGEST_PAUSE = 60.0  # seconds between two attempts

Message = dict[str, Any]
Tell = Callable[..., None]


class Reporter:
    """Keeps what is to be sent until it is."""

    def __init__(self, service: Service, messages: queue.Queue[Message | None], tell: Tell):
        """Args: messages: None when the command has gone."""
        self._service, self._messages, self._tell = service, messages, tell
        self._logs: dict[str, RunLog] = {}  # by folder, parents before their children
        self._is_closing = self._is_alone = False
        self._pause = 0.0  # seconds until the next attempt; 0 if the last one was good

    def run(self) -> None:
        """Reports until all is sent after the command has closed, or has gone."""
        while True:
            self._receive(max(_INTERVAL, self._pause))
            if self._is_alone:
                self._service.abandon()
                return
            is_last = self._is_closing
            self._send()
            if is_last:
                left = sum(len(log.records) + (not log.is_sent) for log in self._logs.values())
                self._tell(left=left, shows=self._service.shows())
                return

    def _receive(self, seconds: float) -> None:
        """Takes what comes in some seconds, or until the command closes or has gone."""
        end = time.monotonic() + seconds
        while not self._is_closing and not self._is_alone:
            try:
                message = self._messages.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return
            if message is None:
                self._is_alone = True
            else:
                self._take(message)

    def _take(self, message: Message) -> None:
        match message:
            case {"close": status}:
                for log in self._logs.values():
                    if not log.is_ended:
                        log.end(status)
                self._is_closing = True
            case {"start": values, "records": records}:
                run = TrackedRun(**values)
                log = self._logs.setdefault(run.folder, RunLog(run))
                log.records.extend(Record(*record) for record in records)
            case {"folder": folder, **news}:
                self._add(self._logs[folder], news)

    def _add(self, log: RunLog, news: Message) -> None:
        if "record" in news:
            log.records.append(Record(*news["record"]))
        log.files.extend(news.get("files", ()))
        if "scores" in news:
            log.scores, log.step = news["scores"], news["step"]
            log.end("FINISHED")

    def _send(self) -> None:
        try:
            for log in self._logs.values():
                if not log.is_sent:
                    log.send(self._service)
            self._pause = 0.0
        except Exception as error:  # of any kind: packages know many
            self._tell(problem=describe(error))
            self._pause = min(max(2 * self._pause, 2 * _INTERVAL), _LONGEST_PAUSE)
        if notice := self._service.notice():
            self._tell(notice=notice)


def make_service(name: str, output_dir: str) -> Service:
    """Imports the module of a service, and with it its package."""
    module = importlib.import_module(f"bert_ko.training.tracking.{name}_service")
    service: Service = module.make(output_dir)
    return service


def _read(stream: TextIO, messages: queue.Queue[Message | None]) -> None:
    for line in stream:
        messages.put(json.loads(line))
    messages.put(None)


def main(name: str, output_dir: str) -> None:
    """Runs the process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the command's, which then closes
        signal.signal(number, signal.SIG_IGN)
    # Packages print; only answers go to the command.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)

    def tell(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    messages: queue.Queue[Message | None] = queue.Queue()
    threading.Thread(target=_read, args=[sys.stdin, messages], daemon=True).start()
    try:
        service = make_service(name, output_dir)
    except Exception as error:  # an installation that is broken
        tell(problem=describe(error))
        os._exit(1)
    Reporter(service, messages, tell).run()
    answers.flush()
    os._exit(0)  # whatever the package would still wait for
