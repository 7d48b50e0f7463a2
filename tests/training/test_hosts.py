import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bert_ko.training import host_places
from bert_ko.training.host_places import find_place
from bert_ko.training.hosts import ALONE, HostError, Place, free_port

ROOT = Path(__file__).parents[2]
# ADDRESS INDEX COUNT and what is done there, in lines of Python that know ``hosts``.
SCRIPT = """
import os, signal, sys, time
from bert_ko.messages import running_as
from bert_ko.training.host_group import connected
from bert_ko.training.hosts import Place
address, index, count, code = sys.argv[1:]
with running_as("train"), connected(Place(address, int(index), int(count))) as hosts:
    print("begun")
    exec(code)
print("left")
"""


def on_hosts(*codes: str, counts: tuple[int, ...] = (), ids: tuple[int, ...] = ()) -> list[Any]:
    """Runs code on each host; returns exit status, standard output and errors of each."""
    address, size = f"127.0.0.1:{free_port()}", len(codes)
    counts, ids = counts or (size,) * size, ids or tuple(range(size))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, address, str(ids[i]), str(counts[i]), code],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for i, code in enumerate(codes)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *out) for p, out in zip(processes, outputs, strict=True)]


TOGETHER = """
assert hosts.decide(["first", hosts.index]) == ["first", 0]
assert hosts.gather(hosts.index * 10) == [0, 10, 20]
with hosts.first_before_others():
    pass
hosts.require_same({"a": [1], "b": None})
if hosts.index == 2:
    hosts.ask_to_stop(15)
hosts.gather(None)
if hosts.is_first:
    assert hosts.asked_to_stop == 15
hosts.at_end(lambda: sys.__stderr__.write(f"end {hosts.index}\\n"))
"""


def test_hosts_decide_gather_and_leave_together() -> None:
    found = on_hosts(TOGETHER, TOGETHER, TOGETHER)
    assert [status for status, *_ in found] == [0, 0, 0], found
    assert [out for _, out, _ in found] == ["begun\nleft\n", "left\n", "left\n"]
    assert found[0][2] == "end 0\n"


WAIT = "hosts.gather(None)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codes", "message"),
    [
        # Of a user, of the machine, of another host's waiting in a library, and of a kill.
        (("raise ValueError('no shards')", WAIT, WAIT), "host 0 of 3 (NAME) has ended: no shards"),
        ((WAIT, "raise OSError(28, 'full', 'x')", WAIT), "host 1 of 3 (NAME) has ended: x: full"),
        (
            ("time.sleep(30)", "raise ValueError('a')", "time.sleep(30)"),
            "host 1 of 3 (NAME) has ended: a",
        ),
        (
            (WAIT, WAIT, "os.kill(os.getpid(), 9)"),
            "host 2 of 3 (NAME) has ended without a word; run the same command again",
        ),
        (
            ("os.kill(os.getpid(), 9)", WAIT, WAIT),
            "the first host (127.0.0.1) has ended without a word; run the same command again",
        ),
        (
            ("os.kill(os.getpid(), 9)", "os.abort()", WAIT),
            "the first host (127.0.0.1) has ended without a word; run the same command again",
        ),
    ],
)
def test_error_of_a_host_ends_all_with_a_line_each(codes: tuple[str, ...], message: str) -> None:
    import socket

    message = message.replace("NAME", socket.gethostname())
    own = message.partition("has ended: ")[2]
    for code, (status, _, errors) in zip(codes, on_hosts(*codes), strict=True):
        if "kill" in code:
            assert (status, errors) == (-9, "")
        else:
            wanted = own if "raise" in code else message
            assert (status, errors) == (1, f"train: error: {wanted}\n")


def test_require_same_names_host_and_values() -> None:
    code = "hosts.require_same({'--batch': 8 + hosts.index})"
    for status, _, errors in on_hosts(code, code):
        assert status == 1
        assert errors.startswith("train: error: --batch is 9 on host 1 of 2, and 8 on the first;")


@pytest.mark.parametrize(
    ("counts", "ids", "message"),
    [
        ((2, 3), (), "--num_processes is 3 on "),
        ((), (0, 2), "--process_id=2 on "),
    ],
)
def test_connect_of_hosts_that_do_not_belong_together_is_refused(
    counts: tuple[int, ...], ids: tuple[int, ...], message: str
) -> None:
    found = on_hosts(WAIT, WAIT, counts=counts, ids=ids)
    assert all(s == 1 and e.startswith(f"train: error: {message}") for s, _, e in found), found


def test_one_host_decides_for_itself() -> None:
    assert (ALONE.decide(3), ALONE.gather(4), ALONE.asked_to_stop) == (3, [4], 0)
    assert issubclass(HostError, OSError)  # which commands print as a line


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("TF_CONFIG", "TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(host_places, "choose_backend", lambda: "tensorflow")
    return monkeypatch


def test_find_place_by_flags(no_variables: Any) -> None:
    assert find_place(None, None, None) is None
    assert find_place("a:1", 1, 0) is None
    assert find_place("a.b-c:1234", 4, 3) == Place("a.b-c:1234", 3, 4)
    assert find_place("[::1]:1", 2, 0) == Place("[::1]:1", 0, 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((None, 2, 0), "need --coordinator_address"),
        (("a:1", None, 0), "needs --num_processes"),
        (("a:1", 2, None), "needs --num_processes"),
        (("a:1", 2, 2), "--process_id=2 must be below --num_processes=2"),
        (("a", 2, 0), "--coordinator_address must be HOST:PORT, got 'a'"),
        (("a:99999", 2, 0), "--coordinator_address must be HOST:PORT"),
        (("auto", 2, None), "finds the number of hosts too"),
        (("auto", None, None), "neither a step of Slurm"),
    ],
)
def test_find_place_flags_that_contradict_are_refused(
    flags: Any, message: str, no_variables: pytest.MonkeyPatch
) -> None:
    no_variables.setattr(host_places, "_metadata", lambda name: None)
    with pytest.raises(ValueError, match=message):
        find_place(*flags)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"), ("gpu7,gpu9", "gpu7"), ("gpu[07-12],cpu3", "gpu07"),
        ("gpu[3,7-9]", "gpu3"), ("a-b[12]", "a-b12"),
    ],
)  # fmt: skip
def test_find_place_in_a_step_of_slurm(
    nodes: str, first: str, no_variables: pytest.MonkeyPatch
) -> None:
    values = {"JOB_ID": "4097", "STEP_NODELIST": nodes, "STEP_NUM_TASKS": "8", "PROCID": "5"}
    for name, value in values.items():
        no_variables.setenv(f"SLURM_{name}", value)
    assert find_place("auto", None, None) == Place(f"{first}:61441", 5, 8)


def test_find_place_on_a_tpu_pod(no_variables: pytest.MonkeyPatch) -> None:
    no_variables.setenv("TPU_WORKER_HOSTNAMES", "t-0,t-1,t-2,t-3")
    no_variables.setenv("TPU_WORKER_ID", "2")
    assert find_place("auto", None, None) == Place("t-0:61440", 2, 4)
    no_variables.delenv("TPU_WORKER_HOSTNAMES")
    values = {
        "worker-network-endpoints": "unknown:unknown:10.0.0.5,unknown:unknown:10.0.0.6",
        "agent-worker-number": "1",
    }
    no_variables.setattr(host_places, "_metadata", values.__getitem__)
    assert find_place("auto", None, None) == Place("10.0.0.5:61440", 1, 2)


def test_find_place_by_tf_config(no_variables: pytest.MonkeyPatch) -> None:
    def place(text: str) -> Place | None:
        no_variables.setenv("TF_CONFIG", text)
        return find_place(None, None, None)

    workers = '"worker": ["a:1", "b:2"]'
    task = '"task": {"type": "worker", "index": 1}'
    assert place(f'{{"cluster": {{{workers}}}, {task}}}') == Place("a:1", 1, 2)
    assert place(f'{{"cluster": {{"chief": ["c:3"], {workers}}}, {task}}}') == Place("c:3", 2, 3)
    for text in ("{", "{}", f'{{"cluster": {{{workers}}}, "task": {{"type": "ps", "index": 0}}}}'):
        with pytest.raises(ValueError, match=r"TF_CONFIG.*it must be"):
            place(text)
    no_variables.setattr(host_places, "choose_backend", lambda: "jax")
    assert find_place(None, None, None) is None
