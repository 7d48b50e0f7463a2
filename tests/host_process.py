"""A command on some virtual CPUs: DEVICES, the command's name and its flags.

In a process of its own, as devices must be asked for before the first use.
"""

import importlib
import os
import sys


def make_cpus(count: int) -> None:
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
    devices, command, *arguments = sys.argv[1:]
    make_cpus(int(devices))
    sys.argv[:] = [command, *arguments, f"--num_devices={devices}"]
    sys.exit(importlib.import_module(f"bert_ko.{command}").main())
