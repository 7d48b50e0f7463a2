"""What is missing before a session of Spark can begin; no Java is started."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JError

import bert_ko
from bert_ko import spark
from tests.fakes import REPOSITORY, Command

MASTER = "spark://127.0.0.1:1"  # where nothing listens


@pytest.fixture
def build(tmp_path: Path) -> Command:
    return Command(
        "build_vocab",
        {
            "engine": "spark", "input_file": REPOSITORY / "samples" / "corpus.txt",
            "output_dir": tmp_path / "vocab", "spark_master": MASTER,
        },
    )  # fmt: skip


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that is found, and must not be started."""
    path = tmp_path / "java" / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(path.parents[1]))
    return path


def test_spark_without_pyspark_says_what_to_install(
    build: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.delitem(sys.modules, "bert_ko.spark", raising=False)
    monkeypatch.delattr(bert_ko, "spark", raising=False)
    assert build().error == "--engine=spark needs the package pyspark: pip install bert_ko[spark]"


@pytest.mark.parametrize("home", ["/nowhere", None])
def test_spark_without_java_says_where_it_looked(
    home: str | None, build: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    if home is None:
        monkeypatch.delenv("JAVA_HOME", raising=False)
    else:
        monkeypatch.setenv("JAVA_HOME", home)
    found = "no java in PATH" if home is None else "no bin/java in JAVA_HOME=/nowhere"
    error = build().error
    assert error.startswith(f"--engine=spark needs Java 17 or 21, and there is {found}; ")
    assert error.endswith("set JAVA_HOME to its folder.")


@pytest.mark.parametrize(
    ("master", "problem"),
    [
        (MASTER, "127.0.0.1:1: Connection refused"),
        ("spark://127.0.0.1:1,127.0.0.1:2", "127.0.0.1:1: Connection refused; 127.0.0.1:2: Conn"),
        ("spark://127.0.0.1", "127.0.0.1: invalid literal"),
        ("spark://127.0.0.1:99999", "127.0.0.1:99999: "),
    ],
)
@pytest.mark.usefixtures("java")
def test_spark_without_a_master_says_where_none_answers(
    master: str, problem: str, build: Command
) -> None:
    error = build(spark_master=master).error
    assert error.startswith(f"no master of Spark answers at {master} ({problem}")
    assert error.endswith("or correct --spark_master=spark://HOST:PORT.")


def test_require_master_one_of_two_is_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        spark._require_master(f"{MASTER},127.0.0.1:{server.getsockname()[1]}")


class FailingContext:
    """Whose jobs all fail as they do where Python on an executor has raised an error."""

    defaultParallelism = 2

    def __init__(self, error: str):
        self.text = (
            "Job aborted due to stage failure: org.apache.spark.api.python.PythonException: "
            f'Traceback (most recent call last):\n  File "worker.py", line 1\n{error}\n\n'
            "  SQLSTATE: 38000\n\tat org.apache.spark.Task.run\nDriver stacktrace:\n"
        )

    def setJobGroup(self, *arguments: Any, **keywords: Any) -> None:
        raise Py4JError(self.text)

    def cancelJobGroup(self, group: str) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "run the same command again."),
        (
            "ModuleNotFoundError: No module named 'mecab'",
            "run the same command again when the executors have a Python with the packages of "
            "bert_ko, at the path in PYSPARK_PYTHON (docs/scaling.md).",
        ),
    ],
)
def test_pool_names_the_error_of_python_and_what_to_do(error: str, advice: str) -> None:
    pool = spark.SparkPool(FailingContext(error), None)
    with pytest.raises(ChildProcessError) as caught:
        list(pool.run(lambda state, task: task, [1]))
    assert str(caught.value) == f"Spark gave up: {error}. What is complete was kept: {advice}"
