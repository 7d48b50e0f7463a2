"""Choosing a backend, and importing it alone."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator

from bert_ko.training.backend import Backend, BackendName, DeviceConfig, has_gpu
from bert_ko.training.hosts import ALONE, Hosts

# What TensorFlow's C++ code logs at every start, whatever the log level.
_NOISE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog|"
    r"[IWE]\d{4} .*(port\.cc|cudart_stub\.cc|cuda_platform\.cc|cpu_feature_guard\.cc)"
)


def choose_backend() -> BackendName:
    """KERAS_BACKEND if it is set; else TensorFlow, or JAX if TensorFlow is not installed.

    Raises:
        ValueError: KERAS_BACKEND names neither, or the package is missing.
    """
    name = os.environ.get("KERAS_BACKEND", "").strip()
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    if not name:
        has_jax = importlib.util.find_spec("jax") is not None
        name = "jax" if has_jax and not has_tensorflow else "tensorflow"
    if name not in ("tensorflow", "jax"):
        raise ValueError(f"KERAS_BACKEND must be tensorflow or jax, got {name}.")
    if importlib.util.find_spec(name) is None:
        package = "tensorflow" if name == "tensorflow" else "bert_ko[jax]"
        raise ValueError(f"KERAS_BACKEND={name}, but it is not installed: pip install {package}")
    return "jax" if name == "jax" else "tensorflow"


def load_backend(config: DeviceConfig, hosts: Hosts = ALONE) -> Backend:
    """Imports the chosen backend alone, and finds its devices.

    Args:
        config: which devices of this host compute, and how.
        hosts: that train together.
    """
    name = choose_backend()
    os.environ["KERAS_BACKEND"] = name
    quieten()
    if name == "jax":
        from bert_ko.training.jax_backend import JaxBackend

        return JaxBackend(config, hosts)
    with without_noise():
        from bert_ko.training.tensorflow_backend import TensorFlowBackend

        return TensorFlowBackend(config, hosts)


def describe_devices(name: BackendName) -> tuple[list[str], str]:
    """Returns what a backend sees, "2 x NVIDIA H100", and what a command would use without flags.

    To be called in a process of its own: only one backend can be loaded.
    """
    os.environ["KERAS_BACKEND"] = name
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # another may be computing
    backend = load_backend(DeviceConfig())
    counts = Counter(backend.visible_devices())
    seen = [f"{count} x {kind}" for kind, count in counts.items()]
    return seen, f"{backend.description}, {backend.precision}"


def quieten() -> None:
    """Before TensorFlow or JAX is imported: their C++ code logs errors alone.

    On a CPU not even those: of every program that was kept they say that this is another machine
    than it was compiled for, one with the features prefer-no-gather and prefer-no-scatter.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_gpu() else "3")


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Drops the lines of _NOISE from standard error, those of C++ code too."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines(keepends=True):
                if not _NOISE.match(line):
                    sys.stderr.write(line)
