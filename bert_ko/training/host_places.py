"""Where a process stands among the hosts of a run: by flags, TF_CONFIG, Slurm or a TPU pod."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from bert_ko.training.devices import choose_backend
from bert_ko.training.hosts import Place

AUTO = "auto"
_FIRST_PORT, _PORTS = 61_440, 1 << 12  # of those that are nobody's; jobs of a cluster differ
_METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/attributes/"
_SILENCE = 5.0  # seconds that the metadata server may be silent
_ADDRESS = re.compile(r"(?P<host>[^:\s]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_NODES = re.compile(r"(?P<prefix>[^,\[]+)(?:\[(?P<first>[^,\-\]]+))?")  # n[01-03,7],m2


def find_place(
    address: str | None, num_processes: int | None, process_id: int | None
) -> Place | None:
    """The place of this process; None where it is the only one.

    Args:
        address: --coordinator_address: HOST:PORT, "auto", or None to look at TF_CONFIG alone.
        num_processes: of all hosts together.
        process_id: of this one, from 0.

    Raises:
        ValueError: flags or variables contradict each other; says what to change.
    """
    if address == AUTO:
        _refuse_with_auto(num_processes, process_id)
        return _only_several(_slurm(os.environ) or _tpu_pod(os.environ))
    if address is not None:
        return _only_several(_from_flags(address, num_processes, process_id))
    if (num_processes, process_id) != (None, None):
        raise ValueError(
            "--num_processes and --process_id need --coordinator_address, the first host's "
            "HOST:PORT."
        )
    text = os.environ.get("TF_CONFIG", "").strip()
    if text and choose_backend() == "tensorflow":
        return _only_several(_from_tf_config(text))
    return None


def _only_several(place: Place) -> Place | None:
    return place if place.count > 1 else None


def _refuse_with_auto(num_processes: int | None, process_id: int | None) -> None:
    if (num_processes, process_id) != (None, None):
        raise ValueError(
            "--coordinator_address=auto finds the number of hosts too; leave out --num_processes "
            "and --process_id, or give HOST:PORT."
        )


def _from_flags(address: str, num_processes: int | None, process_id: int | None) -> Place:
    if num_processes is None or process_id is None:
        raise ValueError(
            "--coordinator_address needs --num_processes, the number of hosts, and --process_id, "
            "that of this one from 0."
        )
    if process_id >= num_processes:
        raise ValueError(
            f"--process_id={process_id} must be below --num_processes={num_processes}; the first "
            "is 0."
        )
    return Place(_checked(address, "--coordinator_address"), process_id, num_processes)


def _checked(address: str, name: str) -> str:
    match = _ADDRESS.fullmatch(address)
    if not match or not 0 < int(match["port"]) < 1 << 16:
        raise ValueError(f"{name} must be HOST:PORT, got {address!r}.")
    return address


def _from_tf_config(text: str) -> Place:
    """The hosts are "chief", if there is one, and the workers."""
    advice = 'it must be {"cluster": {"worker": [HOST:PORT, …]}, "task": {"type": …, "index": …}}'
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        kind, index = str(task["type"]), int(task["index"])
        hosts = {name: [str(a) for a in cluster.get(name, [])] for name in ("chief", "worker")}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"TF_CONFIG is {text[:80]!r}; {advice}.") from None
    if kind not in hosts:
        raise ValueError(f"TF_CONFIG: a task of type {kind} can't train; {advice}.")
    if not 0 <= index < len(hosts[kind]):
        raise ValueError(f"TF_CONFIG: the cluster has no {kind} {index}; {advice}.")
    addresses = [*hosts["chief"], *hosts["worker"]]
    shift = len(hosts["chief"]) if kind == "worker" else 0
    return Place(_checked(addresses[0], "TF_CONFIG: an address"), index + shift, len(addresses))


def _slurm(environment: Mapping[str, str]) -> Place | None:
    """By what srun sets for each task of a step."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID")
    if any(not environment.get(name) for name in names):
        return None
    job, nodes, count, index = (environment[name] for name in names)
    match = _NODES.match(nodes)
    assert match is not None
    port = _FIRST_PORT + int(job) % _PORTS
    return Place(f"{match['prefix']}{match['first'] or ''}:{port}", int(index), int(count))


def _tpu_pod(environment: Mapping[str, str]) -> Place:
    """By the variables of a TPU VM, or else its metadata.

    Raises:
        ValueError: this is none.
    """
    names = environment.get("TPU_WORKER_HOSTNAMES") or environment.get("TPU_PROCESS_ADDRESSES")
    index = environment.get("TPU_WORKER_ID")
    if not names or not index:
        names, index = _metadata("worker-network-endpoints"), _metadata("agent-worker-number")
    if not names or not index:
        raise ValueError(
            "--coordinator_address=auto finds neither a step of Slurm (start it by srun) nor a TPU "
            "pod; give HOST:PORT of the first host, --num_processes and --process_id."
        )
    # Older machines have name:id:address, newer ones the address, with a port or without.
    parts = [name.strip().split(":") for name in names.split(",")]
    first = parts[0][2] if len(parts[0]) == 3 else parts[0][0]
    return Place(f"{first}:{_FIRST_PORT}", int(index), len(parts))


def _metadata(name: str) -> str | None:
    from urllib.request import ProxyHandler, Request, build_opener

    request: Any = Request(_METADATA + name, headers={"Metadata-Flavor": "Google"})
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_SILENCE) as answer:
            return str(answer.read().decode())
    except (OSError, ValueError):
        return None
