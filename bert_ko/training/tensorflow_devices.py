"""Finding the devices that TensorFlow sees, and connecting a TPU."""

from __future__ import annotations

import socket
from typing import Any

import tensorflow as tf

from bert_ko.training.backend import DeviceConfig, no_tpu_message

_TPU_TIMEOUT = 60  # seconds until a TPU answers


def find_devices(config: DeviceConfig) -> tuple[Any, str]:
    """The strategy, None for one device, and "CPU", "GPU" or "TPU"."""
    if config.use_tpu:
        return _connect_tpu(config), "TPU"
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    kind = "GPU" if gpus else "CPU"
    count = config.num_devices or (len(gpus) if gpus else 1)
    if count > len(devices):
        raise ValueError(f"--num_devices={count}, but TensorFlow sees {len(devices)} {kind}s.")
    if count == 1:
        return None, kind
    return tf.distribute.MirroredStrategy([device.name for device in devices[:count]]), kind


def _connect_tpu(config: DeviceConfig) -> Any:
    name = config.master or config.tpu_name
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=name or "", zone=config.tpu_zone, project=config.gcp_project
        )
        _require_answer(resolver.master())
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        strategy = tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, OSError, KeyError, tf.errors.OpError) as error:
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(no_tpu_message("tensorflow", detail)) from None
    return strategy


def _require_answer(master: str) -> None:
    """Raises OSError where nobody listens; TensorFlow would wait for it without end."""
    if master.startswith("grpc://"):
        host, _, port = master.removeprefix("grpc://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=_TPU_TIMEOUT).close()
