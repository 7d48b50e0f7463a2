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
    ManifestShard,
    id_ranges,
    is_manifest,
    manifest_path,
    read_manifests,
    refuse_other_run,
    shard_entry,
    shard_paths,
)
from bert_ko.data.masking import MaskingConfig
from bert_ko.data.reader import DynamicMasking
from bert_ko.data.shards import Shard
from bert_ko.json_files import write_json

IDENTITY: dict[str, Any] = {
    "format": 2,
    "flags": {"max_seq_length": 128, "masking": "static"},
    "tokenizer_fingerprint": "가",
    "inputs": [{"path": "a.txt", "size": 3}],
    "num_buckets": 4,
}


def write_shard(path: Path, size: int = 10) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return str(path)


def write_manifest(folder: Path, paths: list[str], **values: Any) -> dict[str, Any]:
    """As create_pretraining_data writes it."""
    entries = [
        shard_entry(Shard(path, 1, files.size(path), "00000000"), str(folder)) for path in paths
    ]
    manifest = {**IDENTITY, **values, "shards": entries}
    write_json(str(folder / "manifest.json"), manifest)
    return manifest


def test_read_manifests_shards_beside_theirs_are_known(tmp_path: Path) -> None:
    paths = [write_shard(tmp_path / name) for name in ("a-0.tfrecord", "a-1.tfrecord.gz")]
    manifest = write_manifest(tmp_path, paths)
    beside = str(tmp_path / "manifest.json")
    assert read_manifests(paths[::-1]) == [
        ManifestShard(path, beside, manifest) for path in paths[::-1]
    ]


def test_read_manifests_relative_path_without_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_manifest(tmp_path, [write_shard(tmp_path / "a")])
    monkeypatch.chdir(tmp_path)
    assert read_manifests(["a"]) == [ManifestShard("a", "manifest.json", manifest)]
    assert read_manifests(["./a"]) == [ManifestShard("./a", "./manifest.json", manifest)]


def test_read_manifests_several_folders_have_their_own(tmp_path: Path) -> None:
    paths = [write_shard(tmp_path / folder / "a", size) for folder, size in (("x", 1), ("y", 2))]
    manifests = [
        write_manifest(tmp_path / folder, [path], tokenizer_fingerprint=folder)
        for folder, path in zip(("x", "y"), paths, strict=True)
    ]
    assert [shard.manifest for shard in read_manifests(paths)] == manifests
    assert [shard.manifest_path for shard in read_manifests(paths)] == [
        str(tmp_path / folder / "manifest.json") for folder in ("x", "y")
    ]


def test_read_manifests_one_run_in_two_folders_is_known_by_its_first(tmp_path: Path) -> None:
    paths = [write_shard(tmp_path / "x" / "a"), write_shard(tmp_path / "y" / "b")]
    manifest = write_manifest(tmp_path / "x", paths)
    assert manifest["shards"][1]["path"] == "../y/b"
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


def test_read_manifests_without_any_gives_none(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "tf_examples.tfrecord")
    assert read_manifests([path]) == [ManifestShard(path, str(tmp_path / "manifest.json"), None)]


def test_read_manifests_shard_that_is_not_listed_gives_none(tmp_path: Path) -> None:
    path, other = write_shard(tmp_path / "a"), write_shard(tmp_path / "b")
    manifest = write_manifest(tmp_path, [path])
    assert [shard.manifest for shard in read_manifests([path, other])] == [manifest, None]
    # A file of the same name elsewhere is another one.
    elsewhere = write_shard(tmp_path / "deeper" / "a")
    assert [shard.manifest for shard in read_manifests([path, elsewhere])] == [manifest, None]


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
    with pytest.raises(ValueError, match=r"manifest\.json: not a JSON object"):
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
    entry = shard_entry(Shard(path, 1, 3, "00000000"), folder)
    assert entry["path"] == "a.tfrecord.gz"
    write_json(f"{folder}/manifest.json", {**IDENTITY, "shards": [entry]})
    (shard,) = read_manifests([path])
    assert shard.manifest_path == f"{folder}/manifest.json"
    assert shard.manifest is not None and shard.manifest["tokenizer_fingerprint"] == "가"
    files.write_atomic(path, b"12")
    with pytest.raises(ValueError, match=r"a\.tfrecord\.gz has 2 bytes, but .* says 3"):
        read_manifests([path])


def test_read_manifests_file_url_knows_a_local_manifest(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, [write_shard(tmp_path / "a")])
    assert [shard.manifest for shard in read_manifests([f"file://{tmp_path}/a"])] == [manifest]


@settings(deadline=None)
@given(st.sets(st.integers(0, 60)))
def test_id_ranges_any_ids_are_restored(ids: set[int]) -> None:
    ranges = id_ranges(np.array(sorted(ids), np.int32))
    assert json.loads(json.dumps(ranges)) == ranges
    assert [i for first, last in ranges for i in range(first, last + 1)] == sorted(ids)
    # As few as can be: between two ranges something is missing.
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(ranges))
    if ids:
        masking = DynamicMasking("piece", MaskingConfig(), 4, tuple(map(tuple, ranges)))  # type: ignore[arg-type]
        assert masking.replacements().tolist() == sorted(ids)


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


@pytest.mark.parametrize(
    ("output_file", "num_shards", "message"),
    [
        (["a@2"], 3, "contradicts"),
        (["a", "b"], 2, "contradicts"),
        (["a", "b", "a"], None, "names a file twice"),
        (["a@0"], None, "at least 1, got 0"),
    ],
)
def test_shard_paths_contradiction_raises(
    output_file: list[str], num_shards: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        shard_paths(output_file, num_shards)


@pytest.mark.parametrize(
    ("shard", "expected"),
    [("a.tfrecord", "manifest.json"), ("x/y/a", "x/y/manifest.json"), ("gs://b/a", "gs://b/manifest.json")],
)  # fmt: skip
def test_manifest_path_stands_beside_the_first_shard(shard: str, expected: str) -> None:
    assert manifest_path([shard, "elsewhere/b"]) == expected


def test_is_manifest_needs_what_only_ours_has() -> None:
    assert is_manifest({**IDENTITY, "shards": []})
    assert not is_manifest(IDENTITY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flags": {"masking": "static"}}, "--max_seq_length was None, now 128"),
        ({"flags": {"max_seq_length": 64}}, "--max_seq_length was 64, now 128"),
        ({"flags": {"max_seq_length": 128}}, "--masking was None, now static"),
        ({"tokenizer_fingerprint": "나"}, "the vocabulary or its tokenizer_config.json"),
        ({"inputs": []}, "an input file has changed"),
        ({"format": 1}, "it was made by another version"),
        ({"num_buckets": 5}, "it was made by another version"),
    ],
)
def test_refuse_other_run_names_the_difference(change: dict[str, Any], message: str) -> None:
    refuse_other_run("out/manifest.json", IDENTITY, IDENTITY)
    with pytest.raises(ValueError, match=r"^out/manifest\.json is of another run: ") as caught:
        refuse_other_run("out/manifest.json", {**IDENTITY, **change}, IDENTITY)
    assert message in str(caught.value)
