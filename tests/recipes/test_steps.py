import os
import signal
import threading
from pathlib import Path

import pytest

from recipes.common.steps import Runner, State, Step, Stopped


@pytest.fixture
def run(tmp_path: Path):
    """Runs steps into the same folder; returns whether all are done, and the runner."""

    def run(steps: list[Step], seconds: float | None = None, **lanes: int):
        runner = Runner(tmp_path, State(tmp_path), lanes, {"COLOUR": "blue"}, seconds)
        return runner.run(steps), runner

    return run


def step(name: str, script: str, *after: str, lane: str = "main") -> Step:
    return Step(name, lambda: ["sh", "-c", script], after, lane)


def test_run_steps_done_is_not_run_again(run, tmp_path):
    steps = [
        step("b", f"cat {tmp_path}/made >> {tmp_path}/read", "a"),
        step("a", f"echo $COLOUR >> {tmp_path}/made"),
    ]
    assert run(steps)[0]
    assert run(steps)[0]
    assert (tmp_path / "read").read_text() == "blue\n"
    assert (tmp_path / "logs" / "a.log").read_text().startswith("$ COLOUR=blue sh -c")
    assert State(tmp_path).done.keys() == {"a", "b"}


@pytest.mark.slow
def test_run_failed_step_holds_up_only_what_needs_it(run, tmp_path, capsys):
    steps = [
        step("bad", "echo no such corpus; exit 3"),
        step("after", f"touch {tmp_path}/after", "bad"),
        step("other", f"touch {tmp_path}/other"),
    ]
    is_complete, runner = run(steps)
    assert not is_complete
    assert runner.failed == ["bad"]
    assert (tmp_path / "other").exists()
    assert not (tmp_path / "after").exists()
    assert "bad: failed with status 3" in capsys.readouterr().out
    is_complete, _ = run([step("bad", "true"), *steps[1:]])
    assert is_complete


def test_run_command_that_cannot_be_planned_is_a_failed_step(run, capsys):
    def refuse() -> list[str]:
        raise ValueError("no time is left")

    assert not run([Step("phase", refuse), step("other", "true")])[0]
    assert "phase: no time is left" in capsys.readouterr().out


def test_run_time_is_over_stops_and_more_time_goes_on(run, tmp_path):
    steps = [step("long", f"test -e {tmp_path}/go || exec sleep 60")]
    is_complete, runner = run(steps, seconds=0.2)
    assert not is_complete
    assert runner.failed == []
    (tmp_path / "go").touch()
    assert not run(steps, seconds=0.2)[0]  # the time of both runs counts
    assert run(steps, seconds=60)[0]


def test_run_lanes_limit_what_runs_at_once(run, tmp_path):
    # Each of two waits for the other: they are done only if they run at once.
    meet = f"touch {tmp_path}/$0; until test -e {tmp_path}/$1; do sleep 0.01; done"
    steps = [
        Step("x", lambda: ["sh", "-c", meet, "x", "y"], (), "tasks"),
        Step("y", lambda: ["sh", "-c", meet, "y", "x"], (), "tasks"),
    ]
    assert run(steps, seconds=30, tasks=2)[0]


def test_run_sigterm_ends_the_commands_first(run, tmp_path):
    script = f"trap 'touch {tmp_path}/saved; exit 1' TERM; touch {tmp_path}/begun; sleep 60 & wait"

    def stop() -> None:
        while not (tmp_path / "begun").exists():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    with pytest.raises(Stopped):
        run([step("long", script)])
    assert (tmp_path / "saved").exists()
    assert State(tmp_path).done == {}
