#!/usr/bin/env python3
"""create_pretraining_data on Spark: two executors of one core against two local workers.

A cluster is started on this machine, so that both have the same cores. Starting Spark (the driver's
Java, and executors that answer) is stated apart; starting Python on the executors is not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Literal

from common import ROOT, machine, seconds_to_create
from pyspark import SparkConf, SparkContext
from spark_cluster import Cluster, start_cluster

_SAMPLE = ROOT / "samples" / "corpus.txt"


def write_text(path: Path, source: Path, megabytes: float) -> Path:
    """Writes so many MB of a text, again and again from its beginning where it is shorter."""
    data = source.read_bytes().rstrip(b"\n") + b"\n\n"
    size = int(megabytes * 1e6)
    path.write_bytes((data * (size // len(data) + 1))[:size].rpartition(b"\n\n")[0])
    return path


def seconds(path: Path, folder: Path, engine: Literal["local", "spark"]) -> float:
    """Runs the whole command in this process, and removes what it has made."""
    workers = 2 if engine == "local" else None
    found = seconds_to_create(path, folder, engine=engine, num_workers=workers)
    shutil.rmtree(folder)
    return found


def start_session(cluster: Cluster) -> tuple[SparkContext, float]:
    """A session with both executors, and the seconds until they answer."""
    os.environ.update(cluster.environment)
    settings = {**cluster.settings, "spark.master": cluster.master}
    settings["spark.scheduler.minRegisteredResourcesRatio"] = "1"
    start = time.perf_counter()
    context = SparkContext(conf=SparkConf().setAll(list(settings.items())))
    context.parallelize(range(2), 2).map(str).collect()
    return context, time.perf_counter() - start


def main() -> None:
    """Prints seconds, rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, default=_SAMPLE, help="repeated up to the size")
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_text(folder / "text.txt", arguments.text, arguments.megabytes)
        size = path.stat().st_size / 1e6
        print(f"{machine()}; {size:.1f} MB, length 128, dupe_factor 1", flush=True)
        times: dict[str, list[float]] = {"local": [], "spark": []}
        (folder / "cluster").mkdir()
        with start_cluster(folder / "cluster") as cluster:
            context, starting = start_session(cluster)
            for _ in range(arguments.rounds):
                times["local"].append(seconds(path, folder / "local", "local"))
                times["spark"].append(seconds(path, folder / "spark", "spark"))
            context.stop()
        local, spark = map(statistics.median, times.values())
        print(f"Spark starts in {starting:.1f} s")
        print(f"two local workers: {local:.1f} s, {size / local:.2f} MB/s")
        print(f"two executors: {spark:.1f} s, {size / spark:.2f} MB/s")
        print(f"ratio {local / spark:.2f} (goal 0.75)")


if __name__ == "__main__":
    main()
