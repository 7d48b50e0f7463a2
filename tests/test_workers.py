import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_ko.workers import WorkerPool, num_processors

REPOSITORY = Path(__file__).parents[1]


class State:
    """A worker's state: the process that made it, and the number of its tasks."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.tasks = 0


def square(state: State, task: int) -> tuple[int, int, int]:
    assert state.pid == os.getpid()
    state.tasks += 1
    return task * task, state.pid, state.tasks


def fail_at_three(state: State, task: int) -> int:
    if task == 3:
        raise ValueError("작업 3이 잘못되었다")
    return task


def die_at_three(state: State, task: int) -> int:
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_num_processors_is_what_the_process_may_use() -> None:
    assert 1 <= num_processors() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_run_all_tasks_are_done_once_with_one_state_a_worker(num_workers: int) -> None:
    with WorkerPool(State, num_workers) as pool:
        assert list(pool.run(square, [])) == []
        found = list(pool.run(square, range(20))) + list(pool.run(square, range(20, 30)))
    assert sorted(value for value, _, _ in found) == [i * i for i in range(30)]
    pids = {pid for _, pid, _ in found}
    assert (pids == {os.getpid()}) if num_workers == 1 else (os.getpid() not in pids)
    # Each worker has counted its own tasks, through both calls, without a gap.
    for pid in pids:
        counts = sorted(count for _, owner, count in found if owner == pid)
        assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_run_tasks_are_read_as_workers_become_free(num_workers: int) -> None:
    read = 0

    def tasks() -> Iterator[int]:
        nonlocal read
        for i in range(100):
            read += 1
            yield i

    with WorkerPool(State, num_workers) as pool:
        for done, _ in enumerate(pool.run(square, tasks())):
            assert read <= done + 1 + 2 * num_workers


@pytest.mark.parametrize("num_workers", [1, 2])
def test_run_task_that_raises_raises_the_same(num_workers: int) -> None:
    with (
        pytest.raises(ValueError, match=r"^작업 3이 잘못되었다$"),
        WorkerPool(State, num_workers) as pool,
    ):
        list(pool.run(fail_at_three, range(10)))


def test_run_worker_that_dies_raises_what_to_do() -> None:
    with (
        pytest.raises(ChildProcessError, match=r"a worker process died .* run the same command"),
        WorkerPool(State, 2) as pool,
    ):
        list(pool.run(die_at_three, range(10)))


def test_exit_ends_the_workers() -> None:
    with WorkerPool(State, 2) as pool:
        pids = {pid for _, pid, _ in pool.run(square, range(20))}
    assert not [pid for pid in pids if is_running(pid)]


def is_running(pid: int) -> bool:
    """Whether a process is alive; a zombie is not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


PARENT = """
import time
from bert_ko.workers import WorkerPool
from tests.test_workers import State, square

def slow(state, task):
    time.sleep(60)

if __name__ == "__main__":
    with WorkerPool(State, 2) as pool:
        print(*{pid for _, pid, _ in pool.run(square, range(40))}, flush=True)
        list(pool.run(slow, range(4)))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent_however_it_ends(
    tmp_path: Path, sent: signal.Signals
) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(script)], cwd=REPOSITORY, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        pids = list(map(int, parent.stdout.readline().split()))
        assert pids and all(map(is_running, pids))
        parent.send_signal(sent)
        assert parent.wait() == -sent
    for _ in range(500):
        if not any(map(is_running, pids)):
            return
        time.sleep(0.01)
    pytest.fail(f"still running: {[pid for pid in pids if is_running(pid)]}")
