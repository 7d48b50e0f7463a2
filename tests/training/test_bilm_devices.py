"""A biLM's updates are the same on two devices, with parts, dropout, drawn words and states."""

import os
from pathlib import Path

import pytest

from tests.fakes import REPOSITORY, read_json
from tests.fork_server import run_forked
from tests.training import bilm_devices


def found(folder: Path, backend: str) -> dict[str, object]:
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(REPOSITORY),
        "CUDA_VISIBLE_DEVICES": "-1",
    }  # fmt: skip
    run_forked([bilm_devices.__file__, str(folder)], folder / "log", environment)
    values: dict[str, object] = read_json(folder / "found.json")
    return values


@pytest.mark.slow
def test_two_devices_and_both_backends_equal_one(tmp_path: Path) -> None:
    objectives = []
    for backend in ("tensorflow", "jax"):
        (tmp_path / backend).mkdir()
        values = found(tmp_path / backend, backend)
        assert values["difference"] < 1e-4  # type: ignore[operator]
        objectives.append(values["objectives"])
    assert objectives[0] == pytest.approx(objectives[1], abs=1e-4)
