#!/usr/bin/env python3
"""Peak memory of create_pretraining_data, all processes: 10 MB, the corpus, the corpus four times.

Memory is the proportional set size: pages that processes share count once.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from common import corpus_files, create_command, machine, run_measured, write_sample


def main() -> None:
    """Prints a line a corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--small_only", action="store_true")
    arguments = parser.parse_args()
    print(f"{machine()}; {arguments.workers} workers, length 128, dupe_factor 1")
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        small = write_sample(Path(folder, "small.txt"), 10)
        # The same files under other names: a corpus that repeats itself.
        copies = [Path(folder, f"copy{n}") for n in range(3)]
        for copy in copies:
            copy.symlink_to(corpus_files()[0].parent)
        corpora = [("10 MB", [small])]
        if not arguments.small_only:
            whole = corpus_files()[0].parent
            corpora += [("corpus", [whole]), ("corpus four times", [whole, *copies])]
        for name, paths in corpora:
            out = Path(folder, "shards")
            command = create_command(
                paths, out, f"--num_workers={arguments.workers}", "--dupe_factor=1"
            )
            seconds, peak = run_measured(command)
            peaks.append(peak)
            print(f"{name}: peak {peak:.0f} MB, {seconds:.0f} s", flush=True)
            shutil.rmtree(out)
    if len(peaks) == 3:
        print(f"four times against once: {peaks[2] / peaks[1]:.3f} (goal 1.10 at most)")


if __name__ == "__main__":
    main()
