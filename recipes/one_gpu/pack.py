#!/usr/bin/env python3
"""Packs what a machine without network needs to run this recipe, below 60 MB.

    python recipes/one_gpu/pack.py --data=DIR --output=FOLDER

FOLDER gets three archives: data.tar.xz, site.tar.xz with packages, and bert_ko.tar.xz with this
checkout. The first two are kept where they are there already: remove one to have it made again.
"""

from __future__ import annotations

import argparse
import lzma
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
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
# A dictionary of the size of the text: what one file says, another needn't say again.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 192 << 20}]


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


def pack_data(data: Path, output: Path) -> None:
    """Packs text and tasks."""
    texts = [path for pattern in DATA for path in sorted(data.glob(pattern)) if path.is_file()]
    write_archive([(path, f"data/{path.relative_to(data)}") for path in texts], output)


def pack_site(packages: list[str], python: str, output: Path) -> None:
    """Packs the files of packages."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        download(packages, python, site)
        found = sorted(site.rglob("*"))
        write_archive([(path, f"site/{path.relative_to(site)}") for path in found], output)


def pack_checkout(output: Path) -> None:
    """Packs what this recipe needs of the checkout, changes that are not committed too."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    listed += ["--exclude-standard", "--", *CHECKOUT]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    write_archive([(ROOT / name, f"bert_ko/{name}") for name in sorted(set(names) - {""})], output)


def write_archive(files: list[tuple[Path, str]], output: Path) -> None:
    """Writes files under their names to a .tar.xz, which exists only once it is complete."""
    partial = output.with_name(output.name + ".partial")
    with (
        lzma.open(partial, "wb", filters=_FILTERS) as stream,
        tarfile.open(fileobj=stream, mode="w") as archive,
    ):
        for path, name in files:
            if path.is_symlink() or path.is_file():
                # A link of a folder of data is as good as the file; in the checkout it stays one.
                source = path if name.startswith("bert_ko/") else path.resolve()
                archive.add(source, name, recursive=False)
    partial.rename(output)


def main() -> None:
    """Packs, and says how large the archives are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="The folder of the data.")
    parser.add_argument("--output", type=Path, required=True, help="Folder of the archives.")
    parser.add_argument("--python", default="3.12", help="Of the machine. Default: 3.12.")
    parser.add_argument("--package", action="append", default=[], help="One more that it lacks.")
    parser.add_argument("--most_megabytes", type=float, default=60.0)
    arguments = parser.parse_args()
    if not list(arguments.data.glob(DATA[0])):
        sys.exit(f"no text in {arguments.data / DATA[0]}; --data is the folder with pretrain/.")
    arguments.output.mkdir(parents=True, exist_ok=True)
    data, site, checkout = (
        arguments.output / f"{name}.tar.xz" for name in ("data", "site", "bert_ko")
    )
    pack_checkout(checkout)
    with ThreadPoolExecutor() as pool:  # compression leaves the interpreter to others
        waiting = []
        if not site.exists():
            packages = [*PACKAGES, *arguments.package]
            waiting.append(pool.submit(pack_site, packages, arguments.python, site))
        if not data.exists():
            waiting.append(pool.submit(pack_data, arguments.data, data))
        for one in waiting:
            one.result()
    sizes = {path: path.stat().st_size / 1e6 for path in (data, site, checkout)}
    for path, size in sizes.items():
        print(f"{path}: {size:.1f} MB")
    total = sum(sizes.values())
    print(f"{total:.1f} MB in all")
    if total > arguments.most_megabytes:
        sys.exit(f"that is more than --most_megabytes={arguments.most_megabytes:g}.")


if __name__ == "__main__":
    main()
