#!/usr/bin/env python3
"""Kills create_pretraining_data at random moments; after each rerun all shards must be the same."""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from common import create_command, machine, write_sample


def checksums(folder: Path) -> dict[str, str]:
    """Of every shard."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.tfrecord-*"))
    }


def main() -> None:
    """Prints a line a kill and the number of runs that differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        path = write_sample(Path(folder, "sample.txt"), arguments.megabytes)
        out = Path(folder, "shards")
        command = create_command([path], out, "--num_workers=2", "--dupe_factor=5", shards=2)
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        wanted = checksums(out)
        print(f"{machine()}; undisturbed {seconds:.1f} s, {len(wanted)} shards", flush=True)
        kills = 0
        while kills < arguments.kills:
            shutil.rmtree(out)
            moment = rng.uniform(0.05, 0.95 * seconds)
            killed = kill_after(command, moment)
            left = len(list(out.glob("*.tfrecord-*"))) if out.exists() else 0
            subprocess.run(command, check=True, capture_output=True)
            same = checksums(out) == wanted
            differing += not same
            kills += killed
            print(
                f"{'killed' if killed else 'ended before'} at {moment:.2f} s with {left} shards "
                f"done; after the rerun {'the same' if same else 'DIFFERENT'}",
                flush=True,
            )
    print(f"{kills} kills, {differing} differ (goal 0)")


def kill_after(command: list[str], seconds: float) -> bool:
    """Starts a command and kills it; its workers must end by themselves."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    return not ended


if __name__ == "__main__":
    main()
