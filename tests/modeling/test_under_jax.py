"""The tests beside this one once more, with JAX as the backend."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") == "jax", reason="all tests run under JAX already"
)
def test_operations_and_model_under_jax_pass_the_same_tests() -> None:
    files = [str(FOLDER / name) for name in ("test_fused.py", "test_bert.py")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=FOLDER.parents[1],
        env={**environment, "KERAS_BACKEND": "jax"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    assert "52 passed" in done.stdout
