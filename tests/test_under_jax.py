"""What computes with keras.ops, once more with JAX as the backend, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "modeling"
FILES = ("test_fused.py", "test_bert.py", "test_crf.py", "test_heads.py")


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") == "jax", reason="all tests run under JAX already"
)
def test_modeling_under_jax_passes_the_same_tests() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    # Half the time to compile; tensors of this size need no fast code.
    flags = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(str(FOLDER / name) for name in FILES),
        ],
        cwd=FOLDER.parents[1],
        env={**environment, **flags},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    assert "deselected" not in done.stdout and "skipped" not in done.stdout
