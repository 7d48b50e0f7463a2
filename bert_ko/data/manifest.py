"""What a run is and what it has made: names of shards, the manifest, and comparing runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.json_files import read_json

if TYPE_CHECKING:
    from bert_ko.data.shards import Shard

MANIFEST_NAME = "manifest.json"
_SHARDED = re.compile(r"(?P<name>.+)@(?P<shards>\d+)")


def shard_paths(output_file: Sequence[str], num_shards: int | None) -> list[str]:
    """Names of the shards.

    Args:
        output_file: paths as Google's list, or one ``name@64``.
        num_shards: the same as ``@``, for a single name.

    Raises:
        ValueError: the two contradict each other, or a name repeats.

    >>> shard_paths(["ko.tfrecord.gz@2"], None)
    ['ko.tfrecord-00000-of-00002.gz', 'ko.tfrecord-00001-of-00002.gz']
    """
    single = _SHARDED.fullmatch(output_file[0]) if len(output_file) == 1 else None
    count = int(single["shards"]) if single else num_shards
    if num_shards is not None and (count != num_shards or (len(output_file) > 1)):
        raise ValueError(
            f"--num_shards={num_shards} contradicts --output_file={','.join(output_file)}; "
            "give one of the two."
        )
    if count is None:
        if len(set(output_file)) < len(output_file):
            raise ValueError(f"--output_file names a file twice: {','.join(output_file)}.")
        return list(output_file)
    if count < 1:
        raise ValueError(f"--num_shards must be at least 1, got {count}.")
    name = single["name"] if single else output_file[0]
    stem, gz = (name[:-3], ".gz") if name.endswith(".gz") else (name, "")
    return [f"{stem}-{i:05d}-of-{count:05d}{gz}" for i in range(count)]


def manifest_path(shards: Sequence[str]) -> str:
    """The manifest stands beside the first shard."""
    folder = shards[0].rpartition("/")[0]
    return f"{folder}/{MANIFEST_NAME}" if folder else MANIFEST_NAME


def refuse_other_run(path: str, stands: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compares what made a folder with what is wanted now.

    Raises:
        ValueError: they differ; names what and how.
    """
    differences = []
    flags, old_flags = wanted["flags"], stands.get("flags", {})
    for name in sorted({*flags, *old_flags}):
        if flags.get(name) != old_flags.get(name):
            differences.append(f"--{name} was {old_flags.get(name)}, now {flags.get(name)}")
    if not differences:
        if stands.get("tokenizer_fingerprint") != wanted["tokenizer_fingerprint"]:
            differences.append("the vocabulary or its tokenizer_config.json has changed")
        if stands.get("inputs") != wanted["inputs"]:
            differences.append("an input file has changed")
        if any(stands.get(name) != wanted[name] for name in ("format", "num_buckets")):
            differences.append("it was made by another version")
    if differences:
        raise ValueError(
            f"{path} is of another run: {'; '.join(differences)}. "
            "Write to another folder, or pass --overwrite to replace it."
        )


def is_manifest(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a manifest of this command, and not a file that is called so too."""
    return {"format", "tokenizer_fingerprint", "shards"} <= value.keys()


def id_ranges(ids: npt.NDArray[np.int32]) -> list[list[int]]:
    """Ascending ids as pairs of the first and the last of each run.

    >>> id_ranges(np.array([5, 6, 7, 9], np.int32))
    [[5, 7], [9, 9]]
    """
    runs = np.split(ids, np.flatnonzero(np.diff(ids) != 1) + 1)
    return [[int(run[0]), int(run[-1])] for run in runs if len(run)]


class ManifestShard(NamedTuple):
    """A shard to read, and what is known of it.

    Attributes:
        path: the file.
        manifest_path: where its manifest would stand.
        manifest: None where there is none, as with shards of Google's script.
    """

    path: str
    manifest_path: str
    manifest: dict[str, Any] | None


def read_manifests(paths: Sequence[str]) -> list[ManifestShard]:
    """Finds what the manifests beside the shards say of them.

    A manifest stands beside the first shard of its run and may list files of other folders: these
    are known where a shard of its own folder is read, too.

    Raises:
        ValueError: a shard has not the size that its manifest says.
    """
    manifests: dict[str, dict[str, Any]] = {}
    sizes: dict[tuple[str, str], int] = {}  # bytes by manifest and file
    for beside in dict.fromkeys(manifest_path([path]) for path in paths):
        manifest = read_json(beside)
        if manifest is None or not is_manifest(manifest):
            continue
        manifests[beside] = manifest
        for entry in manifest["shards"]:
            sizes[beside, _location(entry["path"], beside.rpartition("/")[0])] = entry["bytes"]
    shards = []
    for path in paths:
        beside, location = manifest_path([path]), _location(path, "")
        where = next((m for m in (beside, *manifests) if (m, location) in sizes), None)
        if where is None:
            shards.append(ManifestShard(path, beside, None))
            continue
        _check_size(path, sizes[where, location], where)
        shards.append(ManifestShard(path, where, manifests[where]))
    return shards


def _check_size(path: str, wanted: int, where: str) -> None:
    size = files.size(path)
    if size != wanted:
        raise ValueError(
            f"{path} has {size:,} bytes, but {where} says {wanted:,}: it is cut off or of another "
            "run. Copy it again, or make the shards again."
        )


def _location(path: str, folder: str) -> str:
    """Tells whether two names, perhaps relative to a folder, mean the same file."""
    if not files.is_remote(path) and folder:
        path = f"{folder}/{path}"
    return path if files.is_remote(path) else os.path.abspath(path)


def shard_entry(shard: Shard, folder: str) -> dict[str, Any]:
    """A shard as the manifest lists it; the file relative to the manifest where it can be."""
    if files.is_remote(shard.path) or files.is_remote(folder):
        path = shard.path.removeprefix(folder + "/")
    else:
        path = os.path.relpath(shard.path, folder or ".")
    return {**shard._asdict(), "path": path}
