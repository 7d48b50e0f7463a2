#!/usr/bin/env python3
"""Two workers of create_pretraining_data against one, whole commands on 100 MB."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from common import create_command, machine, run_measured, write_sample


def main() -> None:
    """Prints seconds, memory and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_sample(Path(folder, "sample.txt"), arguments.megabytes)
        print(f"{machine()}; {path.stat().st_size / 1e6:.1f} MB, length 128, dupe_factor 1")
        seconds = {}
        for workers in (1, 2):
            out = Path(folder, "shards")
            command = create_command([path], out, f"--num_workers={workers}", "--dupe_factor=1")
            seconds[workers], peak = run_measured(command)
            print(f"{workers} workers: {seconds[workers]:.1f} s, peak {peak:.0f} MB", flush=True)
            shutil.rmtree(out)
        print(f"ratio {seconds[1] / seconds[2]:.2f} (goal 1.9)")


if __name__ == "__main__":
    main()
