"""The devices that TensorFlow sees, and its strategy over them."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import tensorflow as tf

from bert_ko.training.backend import DeviceConfig, no_tpu_message
from bert_ko.training.hosts import Hosts, free_port

_TPU_TIMEOUT = 60  # seconds until a TPU answers


def find_devices(config: DeviceConfig, hosts: Hosts) -> tuple[Any, str]:
    """The strategy, None for one device, and "CPU", "GPU" or "TPU".

    Raises:
        ValueError: there are no such devices, or the hosts can't connect.
    """
    if config.use_tpu and hosts.count == 1:
        return _connect_tpu(config), "TPU"
    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # the caller uses it already
            tf.config.experimental.set_memory_growth(gpu, True)
    if hosts.count > 1:
        return _join(config, hosts)
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    kind = "GPU" if gpus else "CPU"
    count = config.num_devices or (len(gpus) if gpus else 1)
    if count > len(devices):
        raise ValueError(f"--num_devices={count}, but TensorFlow sees {len(devices)} {kind}s.")
    if count == 1:
        return None, kind
    return tf.distribute.MirroredStrategy([device.name for device in devices[:count]]), kind


def gpu_name() -> str:
    """What the first GPU calls itself."""
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    return str(details.get("device_name", "GPU"))


def visible_devices() -> list[str]:
    """What each device calls itself: its name if it is a GPU, else its kind."""
    devices = tf.config.list_physical_devices()
    return [gpu_name() if device.device_type == "GPU" else device.device_type for device in devices]


def _join(config: DeviceConfig, hosts: Hosts) -> tuple[Any, str]:
    """The same over the devices of all hosts; who has ended we notice ourselves."""
    gpus = tf.config.list_physical_devices("GPU")
    count = len(gpus) or 1  # the strategy knows one CPU of a host
    if config.use_tpu or config.num_devices not in (None, count):
        raise ValueError(
            "several hosts train under TensorFlow with all their GPUs or one CPU each; leave out "
            "--use_tpu and --num_devices, or set KERAS_BACKEND=jax."
        )
    hosts.require_same({"the number of GPUs": len(gpus), "TensorFlow": tf.__version__})
    addresses = hosts.gather(f"{hosts.address}:{free_port()}")
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": addresses}),
        task_type="worker",
        task_id=hosts.index,
        num_accelerators={"GPU": len(gpus)},
        rpc_layer="grpc",
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except (RuntimeError, tf.errors.OpError) as error:
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"TensorFlow can't connect the hosts {addresses}: {detail}") from None
    return strategy, "GPU" if gpus else "CPU"


def _connect_tpu(config: DeviceConfig) -> Any:
    name = config.master or config.tpu_name
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=name or "", zone=config.tpu_zone, project=config.gcp_project
        )
        _require_answer(resolver.master())
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, OSError, KeyError, tf.errors.OpError) as error:
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(no_tpu_message("tensorflow", detail)) from None


def _require_answer(master: str) -> None:
    """Raises OSError if nothing listens; TensorFlow would wait forever."""
    if master.startswith("grpc://"):
        host, _, port = master.removeprefix("grpc://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=_TPU_TIMEOUT).close()
