"""Training on several hosts, which are processes of this machine."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bert_ko.training.checkpoints import load_checkpoint
from tests.fakes import FakeBackend, checkpoints, last, metrics, written
from tests.hosts import DEVICES, line, on_two_hosts, started
from tests.small_data import Trainable

ENDED = "has ended without a word; run the same command again"
EXACT = 20  # updates whose losses are compared


def losses(folder: Path) -> list[float]:
    """By update."""
    found = {record["step"]: record["loss"] for record in metrics(folder) if "loss" in record}
    assert list(found) == list(range(1, len(found) + 1))
    return list(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_two_hosts_train_as_one_and_end_together(
    backend: str, pretraining: Trainable, squad: Trainable, tmp_path: Path
) -> None:
    common = {"precision": "float32", "learning_rate": 1e-3, "save_checkpoints_steps": 3}
    reader = squad.command.having(
        **squad.train, **squad.more_training, **common, length_buckets=False
    )
    watched = reader.having(**squad.watch)
    model = pretraining.command.having(
        **pretraining.train, **pretraining.more_training, **common,
        gradient_accumulation_steps=2,
    )  # fmt: skip
    two = tmp_path / "two"
    with on_two_hosts(model, two, backend, "killed") as group:
        victim = 1 if backend == "jax" else 0
        ended = group.kill(victim, signal.SIGKILL, two, 2 * EXACT)
        assert ended[victim] == -signal.SIGKILL and ended[1 - victim] == 1, group.printed()
        (found,) = group.errors()[1 - victim]
        assert found.endswith(ENDED), found

    # On one host: the same, and the rest of what was killed.
    few, many = DEVICES[backend]
    counts = sorted({1, many})
    lines = [line(model, tmp_path / f"one-{n}", num_devices=n) for n in counts]
    lines.append(line(reader, tmp_path / "reader-1", num_devices=1))
    lines.append(line(model, two, num_devices=many))
    with started(backend, many, lines, log=tmp_path / "alone") as group:
        assert group.wait() == [0], group.printed()
    with on_two_hosts(watched, tmp_path / "reader", backend, "reader-two", **squad.ask) as group:
        assert group.wait() == [0, 0], group.printed()
        first, other = group.printed()
    assert "all 48 steps are done" in first and f"{2 * few} x" in first
    assert not [x for x in other.splitlines() if "Gloo" not in x and "connected to" not in x]

    pairs = [(two, tmp_path / f"one-{n}") for n in counts]
    for whole, alone in [*pairs, (tmp_path / "reader", tmp_path / "reader-1")]:
        wanted, found_losses = losses(alone), losses(whole)
        assert len(found_losses) == len(wanted) and wanted[0] - wanted[-1] > 0.1
        assert found_losses[:EXACT] == pytest.approx(wanted[:EXACT], abs=1e-5)
        assert found_losses == pytest.approx(wanted, abs=1e-3)
        states = [load_checkpoint(str(last(folder))).state for folder in (whole, alone)]
        for key in ("step", "position", "trained_positions"):
            assert states[0][key] == states[1][key]
    assert checkpoints(two) == checkpoints(tmp_path / "one-1")
    assert "predictions.json" in written(tmp_path / "reader")


@pytest.mark.slow
def test_two_hosts_stop_together_and_train_several_seeds(
    classifier: Trainable, backend: FakeBackend, tmp_path: Path
) -> None:
    command = classifier.command.having(
        **classifier.train, **classifier.ask, num_seeds=2, num_train_epochs=50,
        save_checkpoints_steps=50,
    )  # fmt: skip
    folder = tmp_path / "two"
    with on_two_hosts(command, folder, "numpy", "stopped") as group:
        ended = group.kill(1, signal.SIGTERM, folder / "seed-12346", 1)
        assert ended == [143, 143], group.printed()
        assert "stopped at step" in group.printed()[0]
    assert len(metrics(folder / "seed-12346")) < 300
    with on_two_hosts(command, folder, "numpy", "resumed") as group:
        assert group.wait() == [0, 0], group.printed()
        first, other = group.printed()
    assert "resuming from step" in first and other == ""
    command.succeed(output_dir=tmp_path / "one")
    assert written(folder) == written(tmp_path / "one")
    for seed in ("seed-12345", "seed-12346"):
        assert written(folder / seed) == written(tmp_path / "one" / seed)
        assert [r["step"] for r in metrics(folder / seed)] == list(range(1, 301))
