"""devices: what each backend sees, what the commands would compute on, and how to get a GPU."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from bert_ko.flags import Flags, flag, run_command, run_module
from bert_ko.messages import show
from bert_ko.training.backend import BackendName
from bert_ko.training.devices import choose_backend, describe_devices

_BACKENDS: dict[BackendName, str] = {"tensorflow": "TensorFlow", "jax": "JAX"}
_NVIDIA = "/dev/nvidiactl"  # which the driver makes


@dataclass(frozen=True)
class DevicesConfig(Flags):
    """Says which devices TensorFlow and JAX see, and which the commands would compute on."""

    backend: BackendName | None = flag(None, help="Only this one. Default: both.")


def run(config: DevicesConfig) -> None:
    """Asks each backend in a process of its own, since none is unloaded again."""
    has_gpu = False
    for name in [config.backend] if config.backend else _BACKENDS:
        title = _BACKENDS[name]
        if importlib.util.find_spec(name) is None:
            package = "bert_ko[jax]" if name == "jax" else "tensorflow"
            show(f"{title}: not installed; pip install '{package}'")
            continue
        try:
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                seen, used = process.submit(describe_devices, name).result()
        except ValueError as error:
            show(f"{title}: {error}")
            continue
        has_gpu = has_gpu or any("CPU" not in device.upper() for device in seen)
        show(f"{title}: sees {', '.join(seen)}; the commands use {used}")
    show(_choice())
    if not has_gpu:
        show(_advice(os.path.exists(_NVIDIA)))


def _choice() -> str:
    name = choose_backend()
    other: BackendName = "jax" if name == "tensorflow" else "tensorflow"
    if importlib.util.find_spec(other) is None:
        return f"The commands run on {_BACKENDS[name]}."
    return (
        f"The commands run on {_BACKENDS[name]}; KERAS_BACKEND={other} chooses {_BACKENDS[other]}."
    )


def _advice(has_driver: bool) -> str:
    found = "has an NVIDIA GPU that is not seen" if has_driver else "shows no NVIDIA GPU"
    where = "" if has_driver else " on one that has it"
    return (
        f"This machine {found}. To use one{where}: pip install 'bert_ko[jax-cuda]', and "
        "KERAS_BACKEND=jax; or pip install 'bert_ko[tensorflow-cuda]'."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(DevicesConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
