"""Commands on some virtual CPUs, one after the other: DEVICES and a JSON list of command lines.

KERAS_BACKEND is jax, tensorflow, or numpy for the backend of the tests.

In a process of its own, as devices must be asked for before the first use.
"""

import importlib
import json
import os
import sys
import time
from typing import Any


def make_cpus(count: int) -> None:
    if os.environ["KERAS_BACKEND"] == "numpy":
        import pytest

        from tests.fakes import FakeProgram, install_backend

        os.environ["KERAS_BACKEND"] = "jax"  # which is not imported
        install_backend(pytest.MonkeyPatch())
        train_step = FakeProgram.train_step

        def take_time(*args: Any) -> Any:
            time.sleep(0.01)  # a signal finds an update under way
            return train_step(*args)

        FakeProgram.train_step = take_time  # type: ignore[method-assign]
        return
    if os.environ["KERAS_BACKEND"] == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", count)
        return
    if count > 1:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        made = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, made)


if __name__ == "__main__":
    make_cpus(int(sys.argv[1]))
    for line in json.loads(sys.argv[2]):
        sys.argv[:] = line
        status = importlib.import_module(f"bert_ko.{line[0]}").main()
        if status:
            sys.exit(status)
