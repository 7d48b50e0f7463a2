"""Ctrl-C in processes of their own, as a terminal sends it: to the whole group."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bert_ko.interrupts import interruptible

REPOSITORY = Path(__file__).parents[1]
HEAD = """
import os, signal, sys, time
from dataclasses import dataclass
from bert_ko import interrupts
from bert_ko.flags import run_command
interrupts._GRACE = 0.2
signal.signal(signal.SIGINT, signal.SIG_DFL)  # as bin/ does

@dataclass(frozen=True)
class Config:
    pass

def interrupt(times, pause=0.02):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(pause)

def main(run):
    run_command(Config, run, [])
    print("not reached", flush=True)
"""


def run(body: str) -> "subprocess.CompletedProcess[str]":
    script = HEAD + textwrap.dedent(body) + "\nsys.exit(main(run))"
    return subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize("times", [1, 2, 5])
def test_interruptible_later_ones_do_not_disturb_the_clean_up(times: int) -> None:
    done = run(
        f"""
        def run(config):
            try:
                interrupt(1)
            finally:
                interrupt({times} - 1)
                print("clean", flush=True)
        """
    )
    assert (done.returncode, done.stdout) == (130, "clean\n")
    assert done.stderr == "-c: interrupted\n"


def test_interruptible_second_one_ends_what_hangs() -> None:
    done = run(
        """
        def run(config):
            try:
                interrupt(1)
            finally:
                interrupt(1)
                time.sleep(20)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_interruptible_second_one_ends_a_library_that_swallows_exceptions() -> None:
    done = run(
        """
        def run(config):
            for _ in range(100):
                try:
                    interrupt(2)
                except BaseException:
                    pass
                time.sleep(0.2)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_interruptible_without_signal_restores_the_handler() -> None:
    before = signal.getsignal(signal.SIGINT)
    for _ in range(2):
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is not before
        assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_interruptible_ignored_interrupts_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


POOL = """
import time
from bert_ko.interrupts import interruptible
from bert_ko.workers import WorkerPool
from tests.test_workers import State, square

def slow(state, task):
    time.sleep(60)

if __name__ == "__main__":
    try:
        with interruptible(), WorkerPool(State, 2) as pool:
            print(*{pid for _, pid, _ in pool.run(square, range(40))}, flush=True)
            list(pool.run(slow, [b"x" * 1_000_000] * 8))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 3])
def test_worker_pool_interrupted_group_ends_at_once(times: int, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(POOL, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(script)], cwd=REPOSITORY, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        pids = list(map(int, parent.stdout.readline().split()))
        for _ in range(times):
            os.killpg(parent.pid, signal.SIGINT)
            time.sleep(0.1)
        out, errors = parent.communicate(timeout=10)
    assert (out, errors) == ("interrupted\n", "")
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
