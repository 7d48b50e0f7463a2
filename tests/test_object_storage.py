import gzip
import json
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from bert_ko import build_vocab, create_pretraining_data, files
from bert_ko.build_vocab import BuildVocabConfig
from bert_ko.create_pretraining_data import CreatePretrainingDataConfig, run
from bert_ko.data import pipeline
from bert_ko.flags import run_command
from tests.corpora import contents, text_corpus
from tests.small_data import SAMPLE_CORPUS

pytestmark = pytest.mark.slow  # the server takes some seconds to start
MEBIBYTE = bytes(1 << 20)


@pytest.mark.parametrize(
    ("size", "error"),
    # One request, and an upload of several parts.
    [(1, KeyboardInterrupt), (1, RuntimeError), (55, RuntimeError)],
)
def test_atomic_writer_object_is_whole_or_not_there(
    size: int, error: type[BaseException], bucket: str
) -> None:
    path = f"{bucket}/folder/a"
    with pytest.raises(error), files.atomic_writer(path) as stream:
        for _ in range(size):
            stream.write(MEBIBYTE)
        raise error
    assert files.list_folder(f"{bucket}/folder") == {}
    assert not files.exists(path)
    assert S3FileSystem().list_multipart_uploads(bucket.removeprefix("s3://")) == []
    with files.atomic_writer(path) as stream:
        for _ in range(size):
            stream.write(MEBIBYTE)
        assert not files.exists(path)
    assert files.list_folder(f"{bucket}/folder") == {"a": size << 20}
    files.write_atomic(path, b"new")
    assert files.read_limited(path) == b"new"


def test_files_on_an_object_store_are_as_others_left_them(bucket: str) -> None:
    paths = [f"{bucket}/folder/{name}" for name in ("가", "b", "c")]
    assert files.list_folder(f"{bucket}/folder") == {}
    for number, path in enumerate(paths):
        files.write_atomic(path, b"0123456789"[: 5 * number])
        # Another program's client writes, and ours must see it.
        S3FileSystem(skip_instance_cache=True).pipe_file(f"{bucket}/folder/deep/{number}", b"x")
        assert len(files.list_folder(f"{bucket}/folder")) == number + 1
    assert files.sizes(paths) == [0, 5, 10]
    ranges = [files.Range(paths[2], 3, 6), files.Range(paths[1], 2, 2), files.Range(paths[1], 4, 9)]
    assert files.read_ranges(ranges) == [b"345", b"", b"4"]
    S3FileSystem(skip_instance_cache=True).rm_file(paths[0])
    assert not files.exists(paths[0])
    files.remove([*paths[:2], f"{bucket}/none"])
    assert files.list_folder(f"{bucket}/folder") == {"c": 10}
    with pytest.raises(FileNotFoundError):
        files.size(paths[1])
    found = files.expand_inputs([bucket])
    assert found == [paths[2], *(f"{bucket}/folder/deep/{number}" for number in range(3))]


@pytest.mark.parametrize("more", [[], ["--words"]])
def test_build_vocab_on_an_object_store_has_the_files_of_a_disk(
    more: list[str], bucket: str, tmp_path: Path
) -> None:
    flags = [f"--input_file={SAMPLE_CORPUS}", "--vocab_size=1500", "--num_workers=1", *more]
    url = f"{bucket}/made/vocab"
    files.write_atomic(f"{url}/vocab.txt", "old")
    files.write_atomic(f"{url}/notes.md", "kept")
    for folder in (str(tmp_path / "vocab"), url):
        argv = [f"--output_dir={folder}", *flags]
        assert run_command(BuildVocabConfig, build_vocab.run, argv) == 0
    found = {name: files.read_limited(f"{url}/{name}") for name in files.list_folder(url)}
    assert found.pop("notes.md") == b"kept"
    if more:
        assert found.pop("vocab.txt") == b"old"
    assert found.pop("report.html").startswith(b"<!doctype html>")
    assert found == contents(tmp_path / "vocab")
    assert run_command(BuildVocabConfig, build_vocab.run, [*argv, "--check_only"]) == 0


def test_create_pretraining_data_on_an_object_store_has_the_bytes_of_a_disk(
    bucket: str, tmp_path: Path, vocab_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "choose_chunk_bytes", lambda text_bytes: 4000)
    monkeypatch.setattr(create_pretraining_data, "_BUCKET_BYTES", 4000)
    text = text_corpus(30).encode()
    for folder in (str(tmp_path / "in"), f"{bucket}/in"):
        files.require_writable_folder(folder)
        files.write_atomic(f"{folder}/a.txt", text)
        files.write_atomic(f"{folder}/b.txt.gz", gzip.compress(text, mtime=0))
    for path in Path(vocab_folder).iterdir():
        files.write_atomic(f"{bucket}/vocab/{path.name}", path.read_bytes())
    flags = ("--num_workers=1", "--max_seq_length=32")
    for place, vocab in ((str(tmp_path), vocab_folder), (bucket, f"{bucket}/vocab")):
        argv = (f"--input_file={place}/in", f"--output_file={place}/out/a.gz@2", *flags,
                f"--vocab_file={vocab}")  # fmt: skip
        assert run_command(CreatePretrainingDataConfig, run, argv) == 0
    local = contents(tmp_path / "out")
    assert sorted(files.list_folder(f"{bucket}/out")) == sorted([*local, "report.html"])
    assert files.list_folder(f"{bucket}/out/.create_pretraining_data") == {}
    for name, data in local.items():
        found = files.open_stored(f"{bucket}/out/{name}").read()
        if name != "manifest.json":
            assert found == data
            continue
        assert json.loads(found)["shards"] == json.loads(data)["shards"]
        assert json.loads(found)["num_buckets"] > 2
