"""Standard streams as a shell or a console gives them, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
SCRIPT = r"""
import os, sys
from dataclasses import dataclass
from bert_ko import files
from bert_ko.flags import flag, run_command
from bert_ko.messages import warn
from bert_ko.progress import Progress, format_table
from bert_ko.text_lines import read_lines
from bert_ko.workers import WorkerPool

@dataclass(frozen=True)
class Config:
    do: str = flag(help="What to do.")
    to: str = flag("", help="Output.")

def run(config):
    if config.do == "read":
        return read_lines("-")
    if config.do == "ask":
        return list(sys.stdin)
    if config.do == "write":
        return files.write_atomic(config.to, "text")
    if config.do == "work":
        with WorkerPool(list, 2) as pool:
            return files.write_atomic(config.to, repr([*pool.run(max, [[1, 2]])]))
    if config.do == "fail":
        raise ValueError("not so: 가\udcff")
    if config.do == "memory":
        raise MemoryError
    warn("careful: 가\udcff")
    with Progress("working", 1, "lines") as progress:
        progress.update()
    if config.do == "print":
        print("가 é \udcff")
        print(format_table([["가", 1]], ["글", "n"]))

if __name__ == "__main__":
    sys.exit(run_command(Config, run))
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("streams") / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return str(path)


def run(script: str, arguments: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        ["bash", "-c", f'"$0" "$1" {arguments}', sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True, check=False, timeout=30,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("--do=read <&-", "standard input: it is closed, but needed"),
        ("--do=ask <&-", "standard input: it is closed, but needed"),
        ("--do=print >&-", "standard output: it is closed, but needed"),
        ("--do=write --to=/dev/stdout >&-", "/dev/stdout: No such device or address"),
        ("--do=memory", "memory ran out."),
    ],
)
def test_closed_stream_that_is_needed_is_one_line(script: str, arguments: str, error: str) -> None:
    done = run(script, arguments)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == f"script: error: {error}"
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-", ">&- 2>&-", "2>/dev/full"])
def test_closed_stream_that_is_not_needed_changes_nothing(
    script: str, closed: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run(script, f"--do=write --to={out} {closed}")
    assert (done.returncode, out.read_text(), done.stderr) == (0, "text", b"")
    done = run(script, f"--do=print {closed}".replace(">&- 2", "2"))
    assert done.returncode == 0 and "가" in done.stdout.decode()


@pytest.mark.slow
def test_workers_start_though_all_streams_are_closed(script: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(script, f"--do=work --to={out} <&- >&- 2>&-")
    assert (done.returncode, out.read_text()) == (0, "[[1, 2]]")


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_error_without_standard_error_is_an_exit_status(script: str, closed: str) -> None:
    done = run(script, f"--do=fail {closed}")
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({"PYTHONIOENCODING": "ascii"}, rb"\uac00 \xe9 \udcff"),
        ({"PYTHONIOENCODING": "cp949"}, "가 ".encode("cp949") + rb"\xe9 \udcff"),
        ({"PYTHONUTF8": "1"}, "가 é ".encode() + rb"\udcff"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, rb"\uac00 \xe9 \udcff"),
    ],
    ids=["ascii", "cp949", "utf-8", "C"],
)
def test_characters_that_the_console_lacks_are_escaped(
    script: str, environment: dict[str, str], first: bytes
) -> None:
    done = run(script, "--do=print", **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == first
    done = run(script, "--do=fail", **environment)
    assert done.returncode == 1
    assert done.stderr.startswith(b"script: error: not so: ") and b"Traceback" not in done.stderr
