#!/usr/bin/env python3
"""The whole corpus to shards at length 128 and 512 with the shipped vocabulary."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from common import corpus_files, create_command, machine, run_measured

_LENGTHS = ((128, 20), (512, 76))


def main() -> None:
    """Prints a line a length and the totals of its manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dupe_factor", type=int, default=1)
    arguments = parser.parse_args()
    corpus = corpus_files()[0].parent
    size = sum(path.stat().st_size for path in corpus_files()) / 1e6
    print(f"{machine()}; {size:.0f} MB, 2 workers, dupe_factor {arguments.dupe_factor}")
    with tempfile.TemporaryDirectory() as folder:
        for length, predictions in _LENGTHS:
            out = Path(folder, "shards")
            command = create_command(
                [corpus], out, "--num_workers=2", f"--dupe_factor={arguments.dupe_factor}",
                f"--max_seq_length={length}", f"--max_predictions_per_seq={predictions}",
            )  # fmt: skip
            seconds, peak = run_measured(command)
            manifest = json.loads((out / "manifest.json").read_text())
            written = sum(shard["bytes"] for shard in manifest["shards"]) / 1e6
            print(
                f"length {length}: {seconds:.0f} s, {size / seconds:.2f} MB/s, peak {peak:.0f} MB, "
                f"{written:.0f} MB of shards"
            )
            print(json.dumps(manifest["totals"], ensure_ascii=False, indent=2), flush=True)
            shutil.rmtree(out)


if __name__ == "__main__":
    main()
