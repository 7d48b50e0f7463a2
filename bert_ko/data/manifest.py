"""manifest.json: what shards are and how they were made; also the names of shards."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from bert_ko import files
from bert_ko.data.settings import InstanceFlags, Objective, Overflow, overflow_unsaid
from bert_ko.display import shown
from bert_ko.json_files import expect, read_json
from bert_ko.tokenization.config import CONFIG_NAME, WordUnit
from bert_ko.tokenization.word_vocabulary import WORDS_CONFIG_NAME

T = TypeVar("T")
Row = TypeVar("Row", "Shard", "InputFile")

MANIFEST_NAME = "manifest.json"
# Of the shards that are written; versions that know no words refuse theirs by it.
FORMATS: Mapping[Objective, int] = {"masked_lm": 2, "bilm": 3}
_KNOWN_FORMATS = (1, *FORMATS.values())
_MAX_BYTES = 1 << 29  # of a manifest, which lists every file of the corpus
# Each alone may be in another program's file of this name.
_DISTINCTIVE = frozenset(("tokenizer_fingerprint", "vocab_size", "num_buckets", "shards", "flags"))
# Flags without which shards can't be read; the others may be missing.
_NEEDED_FLAGS = (
    "max_seq_length", "max_predictions_per_seq", "masking", "next_sentence", "feature_names",
    "masked_lm_prob", "do_whole_word_mask", "whole_word_unit", "max_ngram_size", "replace_unit",
)  # fmt: skip
_MAX_VOCAB_SIZE = 1 << 31
_SHARDED = re.compile(r"(?P<name>.+)@(?P<shards>\d+)")


def shard_paths(output_file: Sequence[str], num_shards: int | None) -> list[str]:
    """Names of the shards, from paths as in Google's list or one ``name@64``.

    ``num_shards`` means the same as ``@``, for a single name.

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
    """The manifest is beside the first shard."""
    folder = shards[0].rpartition("/")[0]
    return f"{folder}/{MANIFEST_NAME}" if folder else MANIFEST_NAME


class Shard(NamedTuple):
    """A complete file of records."""

    path: str  # in a manifest relative to the manifest's folder where it can be
    records: int
    bytes: int
    crc32c: str  # of the file's bytes, in hexadecimal, as object stores show it

    @property
    def is_intact(self) -> bool:
        """Whether the file exists with the size that was written."""
        try:
            return files.size(self.path) == self.bytes
        except FileNotFoundError:
            return False

    def relative_to(self, folder: str) -> Shard:
        """The shard as the manifest of a folder lists it."""
        if files.is_remote(self.path) or files.is_remote(folder):
            return self._replace(path=self.path.removeprefix(folder + "/"))
        return self._replace(path=os.path.relpath(self.path, folder or "."))


class InputFile(NamedTuple):
    """A file of the corpus as it was read; see ``files.fingerprint``."""

    path: str
    size: int
    mtime_ns: int | None


@dataclass(frozen=True)
class Manifest:
    """What decides the bytes of shards and, once they are complete, what they hold.

    The work folder of an unfinished run has one too, without totals and shards.
    """

    format: int  # version of the shards
    flags: Mapping[str, Any]  # all that affect the output; ``instances`` has those readers need
    tokenizer_fingerprint: str  # of the vocabulary of words, with the objective bilm
    tokenizer: Mapping[str, Any]  # its settings, which are not read again
    vocab_size: int
    mask_id: int | None  # id of [MASK]; None in static shards of format 1, and in those of words
    replacement_ranges: tuple[tuple[int, int], ...]  # see reader.DynamicMasking
    inputs: tuple[InputFile, ...]
    num_buckets: int
    totals: Mapping[str, Any] = field(default_factory=dict)  # see pipeline.totals
    shards: tuple[Shard, ...] = ()

    @property
    def objective(self) -> Objective:
        """What is trained on the shards."""
        return _objective(self.flags)

    @property
    def bilm_unit(self) -> WordUnit:
        """What a word is in shards of words."""
        assert self.objective == "bilm"
        unit: WordUnit = self.flags["bilm_unit"]
        return unit

    @cached_property
    def instances(self) -> InstanceFlags:
        """How the instances were made; a flag that an older version lacked is at its default."""
        assert self.objective == "masked_lm"
        names = get_type_hints(InstanceFlags)
        return InstanceFlags(**{name: self.flags[name] for name in names if name in self.flags})

    @property
    def overflow(self) -> Overflow | None:
        """What happened to text that does not fit; runs from before --overflow do not say it."""
        if self.objective == "bilm":
            return None
        return self.flags.get("overflow") or overflow_unsaid(self.flags["next_sentence"])

    @classmethod
    def from_json(cls, values: Mapping[str, Any], path: str) -> Manifest:
        """Reads the content of manifest.json, or of a work folder's run.json; ignores other keys.

        Raises:
            ValueError: a key is missing or has an unusable value; names ``path``.
        """
        format = _get(values, "format", int, path)
        if format not in _KNOWN_FORMATS:
            raise ValueError(
                f"{path}: format must be one of {', '.join(map(str, _KNOWN_FORMATS))}, got "
                f"{format}; use the version of bert_ko that wrote it."
            )
        flags = _get(values, "flags", dict, path)
        _check_flags(flags, path)
        vocab_size = _integer(values, "vocab_size", path, 1, _MAX_VOCAB_SIZE)
        # Format 1 had no ids for masking.
        has_ids = "mask_id" in values or flags.get("masking") == "dynamic"
        is_complete = "shards" in values
        manifest = cls(
            format=format,
            flags=flags,
            tokenizer_fingerprint=_get(values, "tokenizer_fingerprint", str, path),
            tokenizer=_get(values, "tokenizer", dict, path),
            vocab_size=vocab_size,
            mask_id=_integer(values, "mask_id", path, 0, vocab_size - 1) if has_ids else None,
            replacement_ranges=_ranges(values, vocab_size, path) if has_ids else (),
            inputs=_rows(InputFile, values, "inputs", path),
            num_buckets=_integer(values, "num_buckets", path, 1),
            totals=_get(values, "totals", dict, path) if is_complete else {},
            shards=listed_shards(values, path) if is_complete else (),
        )
        try:
            assert manifest.objective == "bilm" or manifest.instances
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return manifest

    def to_dict(self) -> dict[str, Any]:
        """The content of the file."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values["replacement_ranges"] = [list(pair) for pair in self.replacement_ranges]
        values["inputs"] = [file._asdict() for file in self.inputs]
        values["shards"] = [shard._asdict() for shard in self.shards]
        unknown = {"mask_id", "replacement_ranges"} if self.mask_id is None else set()
        unknown |= set() if self.shards else {"totals", "shards"}
        return {name: value for name, value in values.items() if name not in unknown}


def read_manifest(path: str) -> dict[str, Any] | None:
    """The content of a manifest.json or run.json; None if there is no file.

    Raises:
        ValueError: it is no JSON object.
    """
    return read_json(path, _MAX_BYTES)


def is_manifest(values: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a manifest of this command, and not another file of that name."""
    return len(_DISTINCTIVE & values.keys()) > 1


def listed_shards(values: Mapping[str, Any], path: str) -> tuple[Shard, ...]:
    """The shards of a manifest of any version; see ``Manifest.from_json``."""
    return _rows(Shard, values, "shards", path)


def _rows(row: type[Row], values: Mapping[str, Any], key: str, path: str) -> tuple[Row, ...]:
    """The objects of a list; only a value whose type allows None may be null or missing."""
    rows = []
    for index, entry in enumerate(_get(values, key, list, path)):
        expect(entry, dict, f"{path}: {key}[{index}]")
        fields: dict[str, Any] = {}
        for name, hint in get_type_hints(row).items():
            kind, *optional = get_args(hint) or [hint]
            place = f"{key}[{index}]."
            if optional and entry.get(name) is None:
                fields[name] = None
            elif kind is int:
                fields[name] = _integer(entry, name, path, 0, prefix=place)
            else:
                fields[name] = _get(entry, name, kind, path, place)
        rows.append(row(**fields))
    return tuple(rows)


def _ranges(values: Mapping[str, Any], vocab_size: int, path: str) -> tuple[tuple[int, int], ...]:
    """Ascending ranges of ids that leave out that of [MASK]."""
    ranges = _get(values, "replacement_ranges", list, path)
    end = -1
    for pair in ranges:
        if not (isinstance(pair, list) and [*map(type, pair)] == [int, int]):
            raise ValueError(
                f"{path}: replacement_ranges must be pairs of integers, got {shown(repr(pair))}."
            )
        first, last = pair
        if not end < first <= last < vocab_size:
            raise ValueError(
                f"{path}: replacement_ranges must ascend from 0 to vocab_size - 1 "
                f"({vocab_size - 1}), got {pair}."
            )
        if first <= values["mask_id"] <= last:
            raise ValueError(
                f"{path}: mask_id {values['mask_id']} is in {pair} of replacement_ranges, which "
                "must leave it out."
            )
        end = last
    return tuple((first, last) for first, last in ranges)


def _integer(
    values: Mapping[str, Any],
    key: str,
    path: str,
    least: int,
    most: int | None = None,
    prefix: str = "",
) -> int:
    """An integer of at least `least` and at most `most`."""
    value = _get(values, key, int, path, prefix)
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"{path}: {prefix}{key} must be {bounds}, got {value}.")
    return value


def _objective(flags: Mapping[str, Any]) -> Objective:
    """That of a run's flags; there was one alone before there was a flag for it."""
    objective: Objective = flags.get("objective", "masked_lm")
    return objective


def _check_flags(flags: Mapping[str, Any], path: str) -> None:
    if _objective(flags) == "masked_lm":
        _check_values(flags, get_type_hints(InstanceFlags), _NEEDED_FLAGS, path)
    else:
        hints = {"objective": Objective, "bilm_unit": WordUnit}
        _check_values(flags, hints, tuple(hints), path)


def _check_values(
    flags: Mapping[str, Any], hints: Mapping[str, Any], needed: Sequence[str], path: str
) -> None:
    """Checks the flags of these types; those that are not needed may be missing."""
    for name, hint in hints.items():
        if name not in (*needed, *flags):
            continue
        if type(None) in get_args(hint):
            hint = get_args(hint)[0]
        choices = get_args(hint)
        kind = str if choices else hint
        if hint is float and type(flags.get(name)) is int:
            kind = int
        value = _get(flags, name, kind, path, "--")
        if choices and value not in choices:
            raise ValueError(
                f"{path}: --{name} must be one of {', '.join(choices)}, got {value!r}."
            )


def _get(values: Mapping[str, Any], key: str, kind: type[T], path: str, prefix: str = "") -> T:
    if key not in values:
        raise ValueError(
            f"{path} was written by another version and has no {prefix}{key}; make the shards "
            "again with --overwrite."
        )
    return expect(values[key], kind, f"{path}: {prefix}{key}")


def compare_runs(path: str, earlier: Manifest, wanted: Manifest, before: Mapping[str, Any]) -> None:
    """Compares the run that a file describes with the one that is wanted now.

    Args:
        path: of the file.
        earlier: what it says.
        wanted: the run of now.
        before: by flag, what a run did whose record lacks it; see ``flags.values_before``.

    Raises:
        ValueError: they differ; names what and how.
    """
    flags = {**before, "overflow": earlier.overflow, **earlier.flags}
    names = sorted({*wanted.flags, *earlier.flags})
    if earlier.objective != wanted.objective:  # each has flags that the other lacks
        names = ["objective"]
    changes = [(name, flags.get(name), wanted.flags.get(name)) for name in names]
    differences = [f"--{name} was {old}, now {new}" for name, old, new in changes if old != new]
    if not differences:
        if earlier.tokenizer_fingerprint != wanted.tokenizer_fingerprint:
            config = WORDS_CONFIG_NAME if wanted.objective == "bilm" else CONFIG_NAME
            differences.append(f"the vocabulary or its {config} has changed")
        if earlier.inputs != wanted.inputs:
            differences.append("an input file has changed")
        if (earlier.format, earlier.num_buckets) != (wanted.format, wanted.num_buckets):
            differences.append("it was made by another version")
    if differences:
        raise ValueError(
            f"{path} belongs to a different run: {'; '.join(differences)}. "
            "Write to another folder, or pass --overwrite to replace it."
        )


def id_ranges(ids: npt.NDArray[np.int32]) -> tuple[tuple[int, int], ...]:
    """Ascending ids [N] as the first and the last of each run of consecutive ones.

    >>> id_ranges(np.array([5, 6, 7, 9], np.int32))
    ((5, 7), (9, 9))
    """
    runs = np.split(ids, np.flatnonzero(np.diff(ids) != 1) + 1)
    return tuple((int(run[0]), int(run[-1])) for run in runs if len(run))


class ManifestShard(NamedTuple):
    """A shard to read, and what is known of it."""

    path: str
    manifest_path: str  # where its manifest is or would be
    manifest: Manifest | None  # None for shards of Google's script


def read_manifests(paths: Sequence[str]) -> list[ManifestShard]:
    """Finds what the manifests beside the shards say about them.

    A manifest is beside the first shard of its run and may list files of other folders: these are
    known if a shard of its own folder is read, too.

    Raises:
        ValueError: a manifest is unusable, or a shard's size differs from what it says.
    """
    manifests: dict[str, Manifest] = {}
    sizes: dict[tuple[str, str], int] = {}  # bytes by manifest and file
    for beside in dict.fromkeys(manifest_path([path]) for path in paths):
        values = read_manifest(beside)
        if values is None or not is_manifest(values):
            continue
        if not _get(values, "shards", list, beside):
            raise ValueError(f"{beside}: shards must be a list of at least one, got an empty one.")
        manifests[beside] = Manifest.from_json(values, beside)
        for shard in manifests[beside].shards:
            sizes[beside, _location(shard.path, beside.rpartition("/")[0])] = shard.bytes
    shards = []
    for path in paths:
        beside, location = manifest_path([path]), _location(path, "")
        where = next((m for m in (beside, *manifests) if (m, location) in sizes), None)
        if where is None:
            shards.append(ManifestShard(path, beside, None))
            continue
        size, wanted = files.size(path), sizes[where, location]
        if size != wanted:
            raise ValueError(
                f"{path} has {size:,} bytes, but {where} says {wanted:,}: it is cut off or from a "
                "different run. Copy it again, or make the shards again."
            )
        shards.append(ManifestShard(path, where, manifests[where]))
    return shards


def _location(path: str, folder: str) -> str:
    """A name, perhaps relative to a folder, as that by which the same file is always found."""
    if not files.is_remote(path) and folder:
        path = f"{folder}/{path}"
    return path if files.is_remote(path) else os.path.abspath(path)
