#!/usr/bin/env python3
"""Splits text files into those to train on and one with every n-th document, to evaluate on.

Documents are held out before any shard is made, so that no phase has seen them at another length.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bert_ko import files
from bert_ko.compression import COMPRESSIONS

_BLANK_LINES = re.compile(rb"\n(?:[ \t\r]*\n)+")


def hold_out(paths: list[Path], output: Path, every: int) -> tuple[int, int]:
    """Writes output/train/NAME for each file, and output/held_out.txt.

    Args:
        paths: Text with blank lines between documents; compressed or not.
        output: Folder, which exists only once it is complete.
        every: One document of so many of each file is held out.

    Returns:
        Documents to train on, and documents held out.
    """
    partial = output.with_name(output.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    (partial / "train").mkdir(parents=True)
    held, counts = list[bytes](), [0, 0]
    for path in paths:
        with files.open_binary(str(path)) as stream:
            documents = _BLANK_LINES.split(stream.read().strip())
        kept = [document for i, document in enumerate(documents) if i % every != every - 1]
        held += documents[every - 1 :: every]
        counts[0] += len(kept)
        name = path.stem if path.suffix in COMPRESSIONS else path.name
        (partial / "train" / name).write_bytes(b"\n\n".join(kept) + b"\n")
    if not held:
        raise ValueError(
            f"no file of {paths[0].parent} has {every} documents, so that none is held out; lower "
            "hold_out_every."
        )
    counts[1] = len(held)
    (partial / "held_out.txt").write_bytes(b"\n\n".join(held) + b"\n")
    partial.rename(output)
    return counts[0], counts[1]


def main() -> None:
    """Runs the command, unless its output is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--every", type=int, required=True)
    parser.add_argument("files", type=Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.output_dir.exists():
        print(f"{arguments.output_dir} is complete")
        return
    try:
        found = hold_out(arguments.files, arguments.output_dir, arguments.every)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print("{:,} documents to train on, {:,} held out".format(*found))


if __name__ == "__main__":
    main()
