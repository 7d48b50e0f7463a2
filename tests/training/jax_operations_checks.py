"""Attention under JAX, whether cuDNN is trusted with it, and what gradients keep.

They need a process whose backend is JAX, which tests/test_under_jax.py gives them.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module as if a GPU were there."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    import jax

    from bert_ko.training import jax_operations

    device = SimpleNamespace(platform="gpu")
    monkeypatch.setattr(jax, "devices", lambda: [device])
    jax_operations._uses_cudnn.cache_clear()
    yield jax_operations
    jax_operations._uses_cudnn.cache_clear()


def attend(operations: Any, dtype: str = "bfloat16", is_packed: bool = False) -> Any:
    """Attention in a traced function, as training has it."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(3)
    tensors = [jnp.asarray(rng.standard_normal((3, 6, 2, 8)), dtype) for _ in range(3)]
    bias = jnp.zeros((3, 1, 6 if is_packed else 1, 6))
    return jax.jit(lambda *x: operations.attention(*x, bias, 0.35))(*tensors)


def fake_cudnn(operations: Any, change: Callable[[Any], Any], calls: list[str]) -> Any:
    def compute(query: Any, key: Any, value: Any, bias: Any, scale: float) -> Any:
        calls.append("packed" if bias.shape[2] != 1 else "lengths")
        return change(operations._own_attention(query, key, value, bias, scale))

    return compute


@pytest.mark.parametrize("is_packed", [False, True])
def test_attention_right_kernel_is_used(
    operations: Any, monkeypatch: pytest.MonkeyPatch, is_packed: bool
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(operations, "_cudnn_attention", fake_cudnn(operations, lambda x: x, calls))
    attend(operations, is_packed=is_packed)
    tried = len(calls)
    assert set(calls) == {"packed" if is_packed else "lengths"} and tried >= 2
    attend(operations, is_packed=is_packed)
    assert len(calls) == tried + 1  # it is not tried again


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x: x * 1.1, "differ by 0.1"),
        (lambda x: x * float("nan"), "differ by inf"),
        (lambda x: x[:, :1], "shape"),
    ],
    ids=["wrong", "nan", "fails"],
)
def test_attention_wrong_kernel_is_left_out_and_said(
    operations: Any, monkeypatch: pytest.MonkeyPatch, change: Any, reason: str
) -> None:
    wanted = attend(operations, "float32")  # cuDNN has no float32
    calls: list[str] = []
    monkeypatch.setattr(operations, "_cudnn_attention", fake_cudnn(operations, change, calls))
    with pytest.warns(UserWarning, match=f"without cuDNN's kernel.*{reason}"):
        found = attend(operations)
    assert calls
    np.testing.assert_allclose(
        np.asarray(found, np.float32), np.asarray(wanted), rtol=0.05, atol=0.05
    )


def test_attention_without_a_gpu_is_our_own(
    operations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jax

    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(platform="tpu")])
    monkeypatch.setattr(operations, "_cudnn_attention", None)
    assert attend(operations).shape == (3, 6, 2, 8)


@pytest.mark.parametrize("is_cpu", [False, True])
@pytest.mark.parametrize("own", [None, "/of/the/user"])
def test_compiled_programs_are_kept_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, own: str | None, is_cpu: bool
) -> None:
    import jax

    from bert_ko.training.compiled_programs import programs_of_processor
    from bert_ko.training.jax_backend import _keep_compiled

    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    try:
        jax.config.update("jax_compilation_cache_dir", own)
        _keep_compiled(is_cpu)
        default = programs_of_processor("jax") if is_cpu else "/cache/bert_ko/jax"
        assert jax.config.jax_compilation_cache_dir == (own or default)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize("flags", [(), ("--dropout=0.1",), ("--packed", "--length=512")], ids=str)
def test_layer_keeps_at_most_24_kilobytes_a_token(flags: tuple[str, ...]) -> None:
    command = [sys.executable, str(BENCHMARKS / "saved_residuals.py"), *flags]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    size, unit = found.splitlines()[-1].split()
    # Layer input, query, key, value, context and two products are 15 kB already.
    assert unit == "kB" and 15 < float(size) <= 24, found
