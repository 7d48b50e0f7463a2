import copy
import dataclasses
import functools
import itertools
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko import files
from bert_ko.data.manifest import (
    InputFile,
    Manifest,
    ManifestShard,
    Shard,
    compare_runs,
    id_ranges,
    is_manifest,
    manifest_path,
    read_manifests,
    shard_paths,
)
from bert_ko.data.masking import MaskingConfig
from bert_ko.data.reader import DynamicMasking
from bert_ko.json_files import write_json

# As create_pretraining_data writes it; its work folder has a file without totals and shards.
COMPLETE: dict[str, Any] = {
    "format": 2,
    "flags": {
        "max_seq_length": 128, "max_predictions_per_seq": 20, "masked_lm_prob": 0.15,
        "short_seq_prob": 0.1, "dupe_factor": 10, "random_seed": 12345,
        "do_whole_word_mask": True, "whole_word_unit": "eojeol", "max_ngram_size": 3,
        "replace_unit": "word", "masking": "static", "next_sentence": "sop",
        "feature_names": "v2", "input_file": ["a.txt"], "input_format": "auto", "text_field": [],
        "sentence_splitter": "newline", "strict": False, "output_file": ["a.tfrecord"],
        "num_shards": None, "drop_duplicate_documents": False,
    },
    "tokenizer_fingerprint": "가",
    "tokenizer": {"tokenizer_type": "mecab", "mecab_user_dictionary": []},
    "vocab_size": 100,
    "mask_id": 4,
    "replacement_ranges": [[5, 50], [60, 99]],
    "inputs": [
        {"path": "a.txt", "size": 3, "mtime_ns": 1795717961081781769},
        {"path": "gs://b/a.txt", "size": 5, "mtime_ns": None},
    ],
    "num_buckets": 4,
    "totals": {"instances": 7, "dropped": {"bad_records": 0}},
    "shards": [{"path": "a.tfrecord", "records": 7, "bytes": 900, "crc32c": "37d9eae4"}],
}  # fmt: skip
IDENTITY = {name: value for name, value in COMPLETE.items() if name not in ("totals", "shards")}


def write_shard(path: Path, size: int = 10) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return str(path)


def write_manifest(folder: Path, paths: list[str], **values: Any) -> Manifest:
    """As create_pretraining_data writes it."""
    path = str(folder / "manifest.json")
    shards = [
        Shard(shard, 1, files.size(shard), "00000000").relative_to(str(folder)) for shard in paths
    ]
    manifest = dataclasses.replace(
        Manifest.from_json({**COMPLETE, **values}, path), shards=tuple(shards)
    )
    write_json(path, manifest.to_dict())
    return manifest


def changed(values: dict[str, Any], *place: str | int, to: Any = ...) -> dict[str, Any]:
    """The values with another one at the end of the keys, or without that one."""
    values = copy.deepcopy(values)
    inner: Any = functools.reduce(lambda value, key: value[key], place[:-1], values)
    if to is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = to
    return values


OF_WORDS: dict[str, Any] = {
    **{name: COMPLETE[name] for name in COMPLETE if name not in ("mask_id", "replacement_ranges")},
    "format": 3,
    "flags": {"random_seed": 12345, "objective": "bilm", "bilm_unit": "eojeol"},
    "tokenizer": {"unit": "eojeol"},
}
FORMAT_1 = {**changed(changed(COMPLETE, "mask_id"), "replacement_ranges"), "format": 1}


@pytest.mark.parametrize("values", [COMPLETE, IDENTITY, FORMAT_1, OF_WORDS])
def test_manifest_is_written_as_it_was_read(values: dict[str, Any]) -> None:
    written = Manifest.from_json(values, "manifest.json").to_dict()
    assert json.dumps(written) == json.dumps(values)  # the order too


def test_manifest_has_typed_values() -> None:
    manifest = Manifest.from_json(COMPLETE, "manifest.json")
    assert manifest.replacement_ranges == ((5, 50), (60, 99))
    assert manifest.inputs[0] == InputFile("a.txt", 3, 1795717961081781769)
    assert manifest.inputs[1].mtime_ns is None
    assert manifest.shards == (Shard("a.tfrecord", 7, 900, "37d9eae4"),)
    instances = manifest.instances
    assert (instances.max_seq_length, instances.max_predictions_per_seq) == (128, 20)
    assert (instances.next_sentence, instances.feature_names) == ("sop", "v2")
    assert instances.masking_config == MaskingConfig(0.15, 20, 3, True)


@pytest.mark.parametrize(
    ("flags", "overflow"),
    [
        ({}, "cut"), ({"masking": "dynamic"}, "cut"), ({"next_sentence": "none"}, "carry"),
        ({"overflow": "carry"}, "carry"), ({"overflow": "cut", "masking": "dynamic"}, "cut"),
    ],
)  # fmt: skip
def test_manifest_overflow_is_what_is_recorded_or_what_was_before_the_flag(
    flags: dict[str, str], overflow: str
) -> None:
    values = {**COMPLETE, "flags": {**COMPLETE["flags"], **flags}}
    assert Manifest.from_json(values, "manifest.json").overflow == overflow


def test_manifest_of_words_has_its_objective_and_unit() -> None:
    manifest = Manifest.from_json(OF_WORDS, "manifest.json")
    assert (manifest.objective, manifest.bilm_unit) == ("bilm", "eojeol")
    assert (manifest.mask_id, manifest.replacement_ranges, manifest.overflow) == (None, (), None)
    assert Manifest.from_json(COMPLETE, "manifest.json").objective == "masked_lm"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"objective": "elmo"}, "--objective must be one of masked_lm, bilm, got 'elmo'"),
        ({"objective": 1}, "--objective must be a string, got an integer"),
        ({"bilm_unit": "word"}, "--bilm_unit must be one of morpheme, eojeol, got 'word'"),
        ({"bilm_unit": None}, "--bilm_unit must be a string, got null"),
    ],
)
def test_manifest_of_words_wrong_flag_is_named(flags: dict[str, Any], message: str) -> None:
    values = {**OF_WORDS, "flags": {**OF_WORDS["flags"], **flags}}
    with pytest.raises(ValueError) as error:
        Manifest.from_json(values, "out/manifest.json")
    assert str(error.value) == f"out/manifest.json: {message}."


def test_compare_runs_of_two_objectives_names_that_alone() -> None:
    words, instances = (Manifest.from_json(values, "a") for values in (OF_WORDS, COMPLETE))
    before = {"objective": "masked_lm", "max_seq_length": 128}
    with pytest.raises(ValueError, match=r"run: --objective was masked_lm, now bilm\. Write"):
        compare_runs("a", instances, words, before)
    with pytest.raises(ValueError, match=r"run: --objective was bilm, now masked_lm\. Write"):
        wanted = dataclasses.replace(instances, flags={**before, **instances.flags})
        compare_runs("a", words, wanted, before)
    compare_runs("a", words, words, before)
    later = dataclasses.replace(words, tokenizer_fingerprint="나")
    with pytest.raises(ValueError, match=r"the vocabulary or its words\.json has changed"):
        compare_runs("a", words, later, before)


def test_manifest_of_another_version_what_is_not_known_is_ignored() -> None:
    values = changed(COMPLETE, "flags", "new_flag", to=1)
    values["shards"][0]["new"] = values["new"] = 1
    manifest = Manifest.from_json(values, "manifest.json")
    assert manifest.flags["new_flag"] == 1
    known = Manifest.from_json(COMPLETE, "manifest.json")
    assert dataclasses.replace(manifest, flags=known.flags) == known
    # What readers do not need has its default.
    older = Manifest.from_json(changed(COMPLETE, "flags", "dupe_factor"), "manifest.json")
    assert older.instances == known.instances and "dupe_factor" not in older.flags


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (("flags",), "flags"),
        (("vocab_size",), "vocab_size"),
        (("inputs",), "inputs"),
        (("inputs", 1, "size"), "inputs[1].size"),
        (("shards", 0, "crc32c"), "shards[0].crc32c"),
        (("flags", "next_sentence"), "--next_sentence"),
        (("flags", "replace_unit"), "--replace_unit"),
    ],
)
def test_manifest_missing_key_is_named(place: tuple[str | int, ...], name: str) -> None:
    with pytest.raises(ValueError) as error:
        Manifest.from_json(changed(COMPLETE, *place), "out/manifest.json")
    assert str(error.value) == (
        f"out/manifest.json was written by another version and has no {name}; make the shards "
        "again with --overwrite."
    )


@pytest.mark.parametrize("name", ["mask_id", "replacement_ranges"])
def test_manifest_of_dynamic_shards_needs_the_ids(name: str) -> None:
    values = {**FORMAT_1, "mask_id": 4, "replacement_ranges": []}
    values["flags"] = {**COMPLETE["flags"], "masking": "dynamic"}
    with pytest.raises(ValueError, match=f"another version and has no {name}; make the shards"):
        Manifest.from_json(changed(values, name), "manifest.json")


@pytest.mark.parametrize(
    ("value", "place", "message"),
    [
        ([], ("flags",), "flags must be an object, got a list"),
        (99, ("format",), "format must be one of 1, 2, 3, got 99; use the version of bert_ko that "
         "wrote it"),
        (-1, ("mask_id",), "mask_id must be in [0, 99], got -1"),
        (100, ("mask_id",), "mask_id must be in [0, 99], got 100"),
        (7, ("mask_id",), "mask_id 7 is in [5, 50] of replacement_ranges, which must leave it out"),
        (0, ("vocab_size",), "vocab_size must be in [1, 2147483648], got 0"),
        ([[-5, -1]], ("replacement_ranges",), "replacement_ranges must ascend from 0 to "
         "vocab_size - 1 (99), got [-5, -1]"),
        ([[5, 10**12]], ("replacement_ranges",), "replacement_ranges must ascend from 0 to "
         "vocab_size - 1 (99), got [5, 1000000000000]"),
        ([[50, 5]], ("replacement_ranges",), "replacement_ranges must ascend from 0 to "
         "vocab_size - 1 (99), got [50, 5]"),
        ([[5, 9], [9, 12]], ("replacement_ranges",), "replacement_ranges must ascend from 0 to "
         "vocab_size - 1 (99), got [9, 12]"),
        ([["a", "b"]], ("replacement_ranges",), "replacement_ranges must be pairs of integers, got "
         "['a', 'b']"),
        (0, ("num_buckets",), "num_buckets must be at least 1, got 0"),
        (-1, ("shards", 0, "bytes"), "shards[0].bytes must be at least 0, got -1"),
        ("v9", ("flags", "feature_names"), "--feature_names must be one of v1, v2, got 'v9'"),
        ("zz", ("flags", "whole_word_unit"), "--whole_word_unit must be one of morpheme, eojeol, "
         "got 'zz'"),
        ("x", ("flags", "masked_lm_prob"), "--masked_lm_prob must be a number, got a string"),
        ("100", ("vocab_size",), "vocab_size must be an integer, got a string"),
        (True, ("mask_id",), "mask_id must be an integer, got true or false"),
        ([[5]], ("replacement_ranges",), "replacement_ranges must be pairs of integers, got [5]"),
        (3, ("inputs",), "inputs must be a list, got an integer"),
        (3, ("inputs", 1), "inputs[1] must be an object, got an integer"),
        (0.5, ("inputs", 0, "mtime_ns"), "inputs[0].mtime_ns must be an integer, got a number"),
        (None, ("shards", 0, "path"), "shards[0].path must be a string, got null"),
        (None, ("flags", "max_seq_length"), "--max_seq_length must be an integer, got null"),
        (4, ("flags", "max_seq_length"), "--max_seq_length must be in [8, 1048576], got 4"),
        (10**30, ("flags", "max_ngram_size"), "--max_ngram_size must be in [1, 1048576], got "
         f"{10**30}"),
        (1, ("flags", "masked_lm_prob"), "--masked_lm_prob must be in (0, 1), got 1"),
        ("x", ("flags", "overflow"), "--overflow must be one of carry, cut, got 'x'"),
        ("x", ("flags", "masking"), "--masking must be one of static, dynamic, got 'x'"),
    ],
)  # fmt: skip
def test_manifest_wrong_value_is_named(
    value: Any, place: tuple[str | int, ...], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        Manifest.from_json(changed(COMPLETE, *place, to=value), "out/manifest.json")
    assert str(error.value) == f"out/manifest.json: {message}."


def test_read_manifests_shards_beside_theirs_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_shard(tmp_path / name) for name in ("a-0.tfrecord", "a-1.tfrecord.gz")]
    manifest = write_manifest(tmp_path, paths)
    beside = str(tmp_path / "manifest.json")
    assert read_manifests(paths[::-1]) == [
        ManifestShard(path, beside, manifest) for path in paths[::-1]
    ]
    monkeypatch.chdir(tmp_path)
    name = "a-0.tfrecord"
    for path, where in (
        (name, ""),
        (f"./{name}", "./"),
        (f"file://{paths[0]}", f"file://{tmp_path}/"),
    ):
        found = ManifestShard(path, f"{where}manifest.json", manifest)
        assert read_manifests([path]) == [found]


def test_read_manifests_several_folders_have_their_own(tmp_path: Path) -> None:
    folders = (tmp_path / "x", tmp_path / "y")
    paths = [write_shard(folder / "a", size) for size, folder in enumerate(folders)]
    expected = []
    for folder, path in zip(folders, paths, strict=True):
        manifest = write_manifest(folder, [path], tokenizer_fingerprint=folder.name)
        expected.append(ManifestShard(path, str(folder / "manifest.json"), manifest))
    assert read_manifests(paths) == expected


def test_read_manifests_one_run_in_two_folders_is_known_by_its_first(tmp_path: Path) -> None:
    paths = [write_shard(tmp_path / "x" / "a"), write_shard(tmp_path / "y" / "b")]
    manifest = write_manifest(tmp_path / "x", paths)
    assert manifest.shards[1].path == "../y/b"
    assert [shard.manifest for shard in read_manifests(paths)] == [manifest, manifest]
    # Without a shard of the first folder nobody knows where to look.
    assert read_manifests(paths[1:]) == [
        ManifestShard(paths[1], str(tmp_path / "y" / "manifest.json"), None)
    ]
    # A later run of the second folder replaces what the first one says of it.
    write_shard(tmp_path / "y" / "b", 20)
    with pytest.raises(ValueError, match=r"y/b has 20 bytes, but .*x/manifest\.json says 10"):
        read_manifests(paths)
    later = write_manifest(tmp_path / "y", paths[1:], num_buckets=5)
    assert [shard.manifest for shard in read_manifests(paths)] == [manifest, later]


def test_read_manifests_shard_that_is_not_listed_gives_none(tmp_path: Path) -> None:
    path, other = write_shard(tmp_path / "a"), write_shard(tmp_path / "b")
    # A file of the same name elsewhere is a different one.
    elsewhere = write_shard(tmp_path / "deeper" / "a")
    assert read_manifests([path]) == [ManifestShard(path, str(tmp_path / "manifest.json"), None)]
    manifest = write_manifest(tmp_path, [path])
    found = read_manifests([path, other, elsewhere])
    assert [shard.manifest for shard in found] == [manifest, None, None]


@pytest.mark.parametrize(
    "foreign", ['{"name": "한국어 앱"}', "{}", '{"shards": [{"path": "a"}]}', '{"format": 2}']
)
def test_read_manifests_foreign_manifest_gives_none(foreign: str, tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a")
    (tmp_path / "manifest.json").write_text(foreign, encoding="utf-8")
    assert [shard.manifest for shard in read_manifests([path])] == [None]


@pytest.mark.parametrize("damaged", ["", "[1, 2]", '{"format": 2,', "\x00"])
def test_read_manifests_damaged_manifest_raises(damaged: str, tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a")
    (tmp_path / "manifest.json").write_text(damaged)
    with pytest.raises(ValueError, match=r"manifest\.json.*(not JSON: |empty|must be an object)"):
        read_manifests([path])


@pytest.mark.parametrize("shards", [..., []])
def test_read_manifests_without_shards_raises(shards: Any, tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a")
    write_json(str(tmp_path / "manifest.json"), changed(COMPLETE, "shards", to=shards))
    with pytest.raises(ValueError, match=rf"^{tmp_path}/manifest\.json.* shards"):
        read_manifests([path])


@pytest.mark.parametrize("size", [0, 9, 11])
def test_read_manifests_other_size_names_the_shard(size: int, tmp_path: Path) -> None:
    paths = [write_shard(tmp_path / name) for name in ("a", "b", "c")]
    write_manifest(tmp_path, paths)
    write_shard(tmp_path / "b", size)
    message = rf"^{paths[1]} has {size} bytes, but {tmp_path}/manifest\.json says 10: .*again\.$"
    with pytest.raises(ValueError, match=message):
        read_manifests(paths)
    assert [shard.path for shard in read_manifests([paths[0], paths[2]])] == [paths[0], paths[2]]


def test_read_manifests_remote_folder(tmp_path: Path) -> None:
    folder = f"memory:///{uuid.uuid4().hex}"
    path = f"{folder}/a.tfrecord.gz"
    files.write_atomic(path, b"123")
    listed = Shard(path, 1, 3, "00000000").relative_to(folder)
    assert listed.path == "a.tfrecord.gz"
    write_json(f"{folder}/manifest.json", {**COMPLETE, "shards": [listed._asdict()]})
    (shard,) = read_manifests([path])
    assert shard.manifest_path == f"{folder}/manifest.json"
    assert shard.manifest is not None and shard.manifest.tokenizer_fingerprint == "가"
    files.write_atomic(path, b"12")
    with pytest.raises(ValueError, match=r"a\.tfrecord\.gz has 2 bytes, but .* says 3"):
        read_manifests([path])


@settings(deadline=None)
@given(st.sets(st.integers(0, 60)))
def test_id_ranges_any_ids_are_restored(ids: set[int]) -> None:
    ranges = id_ranges(np.array(sorted(ids), np.int32))
    assert [i for first, last in ranges for i in range(first, last + 1)] == sorted(ids)
    # As few as can be: between two ranges something is missing.
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(ranges))
    if ids:
        found = DynamicMasking("piece", MaskingConfig(), 4, ranges).replacements()
        assert found.tolist() == sorted(ids) and found.dtype == np.int32


@pytest.mark.parametrize(
    ("output_file", "num_shards", "expected"),
    [
        (["a.tfrecord"], None, ["a.tfrecord"]),
        (["a", "b/c.gz"], None, ["a", "b/c.gz"]),
        (["a@2"], None, ["a-00000-of-00002", "a-00001-of-00002"]),
        (["a@2"], 2, ["a-00000-of-00002", "a-00001-of-00002"]),
        (["x/a.gz"], 1, ["x/a-00000-of-00001.gz"]),
    ],
)
def test_shard_paths_names_are_literal(
    output_file: list[str], num_shards: int | None, expected: list[str]
) -> None:
    assert shard_paths(output_file, num_shards) == expected


def test_manifest_path_is_beside_the_first_shard() -> None:
    for folder in ("", "x/y/", "gs://b/"):
        assert manifest_path([f"{folder}a", "elsewhere/b"]) == f"{folder}manifest.json"


def test_is_manifest_needs_what_only_ours_has() -> None:
    for values in (COMPLETE, FORMAT_1, IDENTITY, changed(COMPLETE, "format")):
        assert is_manifest(values)
    for foreign in ({}, {"shards": []}, {"name": "app", "format": 2, "flags": {}}):
        assert not is_manifest(foreign)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flags": changed(IDENTITY["flags"], "strict")}, "--strict was None, now False"),
        ({"flags": {**IDENTITY["flags"], "dupe_factor": 2, "random_seed": 5}},
         "--dupe_factor was 2, now 10; --random_seed was 5, now 12345"),
        ({"flags": {**IDENTITY["flags"], "later": 1}}, "--later was 1, now None"),
        ({"tokenizer_fingerprint": "나"},
         "the vocabulary or its tokenizer_config.json has changed"),
        ({"inputs": []}, "an input file has changed"),
        ({"format": 1}, "it was made by another version"),
        ({"num_buckets": 5}, "it was made by another version"),
    ],
)  # fmt: skip
def test_compare_runs_names_the_difference(change: dict[str, Any], message: str) -> None:
    wanted = Manifest.from_json(IDENTITY, "run.json")
    compare_runs("out/manifest.json", Manifest.from_json(COMPLETE, "manifest.json"), wanted, {})
    earlier = Manifest.from_json({**IDENTITY, **change}, "run.json")
    with pytest.raises(ValueError) as error:
        compare_runs("out/manifest.json", earlier, wanted, {})
    assert str(error.value) == (
        f"out/manifest.json belongs to a different run: {message}. Write to another folder, or "
        "pass --overwrite to replace it."
    )


def test_compare_runs_of_before_a_flag_asks_for_what_it_did() -> None:
    earlier = Manifest.from_json(IDENTITY, "run.json")
    flags = {**IDENTITY["flags"], "overflow": "cut"}
    before = {"overflow": "cut", "dupe_factor": 2}  # what is recorded counts
    compare_runs("run.json", earlier, dataclasses.replace(earlier, flags=flags), before)
    flags["overflow"] = "carry"
    with pytest.raises(ValueError, match=r"different run: --overflow was cut, now carry\. "):
        compare_runs("run.json", earlier, dataclasses.replace(earlier, flags=flags), before)
