"""What modeling computes with JAX as the backend, and what JAX alone has, in its own process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
TESTS = (
    "training/jax_operations_checks.py",
    "modeling/test_bert.py::test_layers_in_shares_are_those_of_the_whole[2-True-True]",
    "modeling/test_fused.py::test_forward_with_dropout_equals_numpy",
    "modeling/test_fused.py::test_cross_entropy_literal_values",
    "modeling/test_fused.py::test_attention_equals_numpy",
    "modeling/test_fused.py::test_bias_activation_literal_values",
    "modeling/test_crf.py::test_gradients_equal_differences[log_likelihood-xla]",
    "modeling/test_crf.py::test_viterbi_equals_brute_force[True-xla]",
    "modeling/test_heads.py::test_loss_sums_equal_numpy",
    "modeling/test_heads.py::test_loss_gradients_reach_every_variable",
    "modeling/test_heads.py::test_outputs_are_made_of_the_logits",
    "modeling/test_packing.py",
)


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") == "jax", reason="all tests run under JAX already"
)
def test_modeling_under_jax_passes_the_same_tests() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(f"{FOLDER}/{test}" for test in TESTS),
        ],
        cwd=FOLDER.parent,
        env={**environment, "KERAS_BACKEND": "jax"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    assert "deselected" not in done.stdout and "skipped" not in done.stdout
