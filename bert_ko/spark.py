"""Tasks on the executors of Apache Spark; imported, and pyspark with it, with --engine=spark alone.

Spark runs functions on data and hands back results: no more of it is used. Several jobs are in
flight, each of a few tasks, so that results come while others are at work and the driver holds a
bounded number of tasks. Executors need Python with the packages that bert_ko needs; bert_ko itself
and vocabularies are sent to them.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bert_ko.copies import VOCABULARY_FILES, local_vocabulary
from bert_ko.messages import program_name
from bert_ko.workers import results_of

try:
    from py4j.protocol import Py4JError, Py4JJavaError
    from pyspark import SparkConf, SparkContext, SparkFiles
    from pyspark.errors import PySparkRuntimeError
except ImportError:
    message = "--engine=spark needs the package pyspark: pip install bert_ko[spark]"
    raise ValueError(message) from None

Task = TypeVar("Task")
Result = TypeVar("Result")

_JOBS = 8  # in flight; together they have two tasks for each core, or more
_WAVE = 4  # tasks of a job at least: starting one costs the driver as much as a small task
_PATIENCE = 10.0  # seconds for a master to answer
_PACKAGE = Path(__file__).parent
_NO_PACKAGE = (
    "run the same command again when the executors have a Python with the packages of bert_ko, at "
    "the path in PYSPARK_PYTHON (docs/scaling.md)."
)
_prepared: set[str] = set()  # sessions that have bert_ko
_states: dict[str, Any] = {}  # of this process of an executor: that of the pool at work


class SparkEngine:
    """See engines.Engine; each core of an executor is a worker."""

    reads_apart = True

    def __init__(self, context: Any):
        self._context = context

    @contextlib.contextmanager
    def pool(self, make_state: Callable[[], Any]) -> Iterator[SparkPool]:
        """See engines.Engine."""
        state = self._context.broadcast(make_state)
        yield SparkPool(self._context, state)
        with contextlib.suppress(Py4JError):  # the session may have ended
            state.destroy()

    def share(self, paths: Sequence[str]) -> Callable[[], list[str]]:
        """See engines.Engine; of the folder that a path is or is in, files of vocabularies go."""
        contents: dict[str, bytes] = {}
        names = []
        for number, path in enumerate(map(local_vocabulary, paths)):
            folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
            names.append(f"{number}" if path == folder else f"{number}/{os.path.basename(path)}")
            is_alone = path.endswith(".dic")
            for name in [os.path.basename(path)] if is_alone else sorted(os.listdir(folder)):
                source = os.path.join(folder, name)
                if name.endswith(VOCABULARY_FILES) and os.path.isfile(source):
                    contents[f"{number}/{name}"] = Path(source).read_bytes()
        return _Shared(contents, names)


@dataclass(frozen=True)
class _Shared:
    contents: dict[str, bytes]  # by name below a new folder
    names: list[str]

    def __call__(self) -> list[str]:
        """Writes the files on this machine, where Spark removes them in the end."""
        folder = tempfile.mkdtemp(prefix="bert_ko-", dir=SparkFiles.getRootDirectory())
        for name, data in self.contents.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return [os.path.join(folder, name) for name in self.names]


class SparkPool:
    """See workers.Pool."""

    def __init__(self, context: Any, state: Any):
        """Args: context: a SparkContext; state: the broadcast function that makes a state."""
        self._context, self._state = context, state
        self._key = uuid.uuid4().hex

    def run(
        self, function: Callable[[Any, Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """See workers.Pool."""
        group = f"{program_name()}-{uuid.uuid4().hex}"
        work = partial(_run_task, self._key, self._state, function)
        with ThreadPoolExecutor(_JOBS) as threads:

            def submit(wave: list[Task]) -> Future[list[tuple[str | None, Any]]]:
                return threads.submit(self._run_job, group, work, wave)

            try:
                for results in results_of(submit, self._waves(tasks), _JOBS):
                    for error, result in results:
                        if error is not None:
                            raise ValueError(error)
                        yield result
            except BaseException as error:  # Ctrl-C, a task's error, or the end of interest
                with contextlib.suppress(Py4JError):
                    self._context.cancelJobGroup(group)
                if isinstance(error, Py4JError):
                    reason = _reason(error)
                    lacks_package = reason.startswith("ModuleNotFoundError")
                    raise ChildProcessError(
                        f"Spark gave up: {reason}. What is complete was kept: "
                        f"{_NO_PACKAGE if lacks_package else 'run the same command again.'}"
                    ) from None
                raise

    def _waves(self, tasks: Iterable[Task]) -> Iterator[list[Task]]:
        """Yields the tasks of each job; how many follows the cores that the executors have now."""
        upcoming = iter(tasks)
        while True:
            size = max(_WAVE, 2 * self._context.defaultParallelism // _JOBS)
            wave = list(itertools.islice(upcoming, size))
            if not wave:
                return
            yield wave

    def _run_job(
        self, group: str, work: Callable[[Task], tuple[str | None, Any]], wave: list[Task]
    ) -> list[tuple[str | None, Any]]:
        self._context.setJobGroup(group, work.func.__name__, interruptOnCancel=False)  # type: ignore[attr-defined]
        found: list[tuple[str | None, Any]]
        found = self._context.parallelize(wave, len(wave)).map(work).collect()
        return found


def _run_task(
    key: str, state: Any, function: Callable[[Any, Task], Result], task: Task
) -> tuple[str | None, Result | None]:
    """Runs a task on an executor; returns the user's error, which no other try would mend."""
    if key not in _states:
        _states.clear()
        _states[key] = state.value()
    try:
        return None, function(_states[key], task)
    except ValueError as error:
        return str(error), None


def _reason(error: Exception) -> str:
    """The last line of the Python error that ended a job, or the first of Java's."""
    java = getattr(error, "java_exception", None)
    lines = str(error if java is None else java.toString()).splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    starts += [
        n for n, line in enumerate(lines) if line.endswith("Traceback (most recent call last):")
    ]
    if starts:
        python = itertools.takewhile(
            lambda line: not line.startswith("\tat "), lines[max(starts) :]
        )
        texts = map(str.strip, python)  # below the error, Spark 4 writes its own code of it
        lines = [text for text in texts if text and not text.startswith("SQLSTATE: ")][-1:]
    return " ".join(lines[0].split()).rstrip(".") if lines else type(error).__name__


@contextlib.contextmanager
def open_session(master: str | None, settings: Sequence[str]) -> Iterator[SparkEngine]:
    """Yields an engine: of the active session as it is, or of a new one that ends with the block.

    Args:
        master: the cluster; None leaves it to spark-submit.
        settings: of the new session, each "key=value".

    Raises:
        ValueError: there is no such cluster, no Java, or the flags fit no active session.
    """
    active = SparkContext._active_spark_context
    if active is not None and (master or settings):
        raise ValueError(
            "--spark_master and --spark_conf are for a session that this command starts, but one "
            "is active in this process; leave them out."
        )
    with contextlib.ExitStack() as stack:
        if active is None:
            active = _start(master, dict(setting.split("=", 1) for setting in settings))
            stack.callback(active.stop)
        if active.applicationId not in _prepared:  # a session takes a file once
            # Its folder on this machine, which Spark removes in the end.
            active.addPyFile(_pack(tempfile.mkdtemp(dir=SparkFiles.getRootDirectory())))
            _prepared.add(active.applicationId)
        yield SparkEngine(active)


def _start(master: str | None, settings: dict[str, str]) -> Any:
    """Starts a session."""
    is_submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if not (master or is_submitted or "spark.master" in settings):
        raise ValueError(
            "--engine=spark needs a cluster: give --spark_master, or start the command with "
            "spark-submit."
        )
    if not is_submitted:  # else Java runs already, and knows its cluster
        _require_java()
        _require_master(master or settings["spark.master"])
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # of executors
    conf = SparkConf()
    conf.setIfMissing("spark.ui.showConsoleProgress", "false")  # the command shows its own
    for key, value in settings.items():
        conf.set(key, value)
    if master:
        conf.setMaster(master)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of pandas, which is not used here
            return SparkContext(conf=conf.setAppName(program_name()))
    except PySparkRuntimeError as error:
        raise ValueError(
            f"Spark can't start Java: {_reason(error)}. It needs Java 17 or 21; set JAVA_HOME."
        ) from None
    except Py4JJavaError as error:
        raise ValueError(
            f"Spark can't start with {master or 'these settings'}: {_reason(error)}."
        ) from None
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before)  # the command ends in its own way


def _require_java() -> None:
    """Looks where Spark's scripts do; they say it on several lines, of which none says what to do.

    Raises:
        ValueError: there is no Java.
    """
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java" if not home else os.path.join(home, "bin", "java")) is None:
        found = "no java in PATH" if not home else f"no bin/java in JAVA_HOME={home}"
        raise ValueError(
            f"--engine=spark needs Java 17 or 21, and there is {found}; install it, and set "
            "JAVA_HOME to its folder."
        )


def _require_master(master: str) -> None:
    """Connects to a standalone master; Spark would try for a minute, with a page of Java each time.

    Raises:
        ValueError: none of the addresses answers.
    """
    addresses = re.fullmatch(r"spark://(.+)", master)
    problems = []
    for address in addresses[1].split(",") if addresses else ():
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
            return
        except (OSError, ValueError, OverflowError) as error:  # the last two: no port
            problems.append(f"{address}: {getattr(error, 'strerror', None) or error}")
    if problems:
        raise ValueError(
            f"no master of Spark answers at {master} ({'; '.join(problems)}); start it "
            "(docs/scaling.md), or correct --spark_master=spark://HOST:PORT."
        )


def _pack(folder: str) -> str:
    """Packs the modules of bert_ko, so that executors run what this process does."""
    sources = {
        str(path.relative_to(_PACKAGE.parent)): path.read_bytes()
        for path in sorted(_PACKAGE.rglob("*.py"))
    }
    digest = hashlib.sha256(repr(sources).encode()).hexdigest()[:16]
    path = os.path.join(folder, f"bert_ko-{digest}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in sources.items():
            packed.writestr(name, data)
    return path
