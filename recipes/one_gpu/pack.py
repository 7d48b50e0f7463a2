#!/usr/bin/env python3
"""Packs what a machine without network needs to run this recipe: one .tar.xz, below 60 MB.

    python recipes/one_gpu/pack.py --data=DIR --output=bert_ko.tar.xz

The archive has this checkout in bert_ko/, packages in site/ and the data in data/. The machine must
have JAX and the packages that come with most images for machine learning (see README.md).
"""

from __future__ import annotations

import argparse
import lzma
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What images with JAX lack; --package adds others.
PACKAGES = (
    "google-crc32c", "keras", "namex", "optree", "python-mecab-ko", "python-mecab-ko-dic",
)  # fmt: skip
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17")
CHECKOUT = ("bert_ko", "bin", "recipes", "vocab", "LICENSE", "setup.cfg")
DATA = (
    "pretrain/*.txt", "korquad/*.json", "ynat/*", "nsmc/*", "klue-ner/train.tsv",
    "klue-ner/dev.tsv",
)  # fmt: skip
# MeCab needs it to learn costs of new words, not to analyse; it is a third of the dictionary.
LEFT_OUT = "mecab_ko_dic/dictionary/model.bin"
# Hangul has three bytes a syllable, so that no position is like another: pb 0 and lc 4 save 2 %,
# and a dictionary of the size of the text as much again.
_FILTERS = [
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 192 << 20,
     "lc": 4, "lp": 0, "pb": 0},
]  # fmt: skip


def download(packages: list[str], python: str, folder: Path) -> None:
    """Downloads the wheels of packages for Linux on x86-64, and unpacks them into a folder."""
    with tempfile.TemporaryDirectory() as wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
        command += [f"--platform={name}_x86_64" for name in PLATFORMS]
        command += [f"--constraint={ROOT / 'constraints.txt'}", f"--dest={wheels}", *packages]
        if subprocess.run(command).returncode:
            sys.exit("pip could not download the packages; see above.")
        for wheel in sorted(Path(wheels).glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
    (folder / LEFT_OUT).unlink(missing_ok=True)


def members(data: Path, site: Path) -> list[tuple[Path, str]]:
    """The files of the archive and their names in it."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    listed += ["--exclude-standard", "--", *CHECKOUT]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    texts = [path for pattern in DATA for path in sorted(data.glob(pattern)) if path.is_file()]
    if not list(data.glob(DATA[0])):
        sys.exit(f"no text in {data / DATA[0]}; give the folder that has pretrain/ as --data.")
    return [
        *((path, f"data/{path.relative_to(data)}") for path in texts),
        *((ROOT / name, f"bert_ko/{name}") for name in sorted(set(names) - {""})),
        *((path, f"site/{path.relative_to(site)}") for path in sorted(site.rglob("*"))),
    ]


def write_archive(files: list[tuple[Path, str]], output: Path) -> None:
    """Writes files under their names to a .tar.xz."""
    with (
        lzma.open(output, "wb", filters=_FILTERS) as stream,
        tarfile.open(fileobj=stream, mode="w") as archive,
    ):
        for path, name in files:
            if path.is_symlink() or path.is_file():
                archive.add(path, name, recursive=False)


def main() -> None:
    """Packs, and says how large the archive is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="The folder of the data.")
    parser.add_argument("--output", type=Path, required=True, help="The archive: a .tar.xz.")
    parser.add_argument("--python", default="3.12", help="Of the machine. Default: 3.12.")
    parser.add_argument("--package", action="append", default=[], help="One more that it lacks.")
    parser.add_argument("--most_megabytes", type=float, default=60.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        download([*PACKAGES, *arguments.package], arguments.python, site)
        write_archive(members(arguments.data, site), arguments.output)
    size = arguments.output.stat().st_size / 1e6
    print(f"{arguments.output}: {size:.1f} MB")
    if size > arguments.most_megabytes:
        sys.exit(f"that is more than --most_megabytes={arguments.most_megabytes:g}.")


if __name__ == "__main__":
    main()
