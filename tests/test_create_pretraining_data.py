"""The command from end to end: inputs, outputs, manifests, reruns, kills and bad input."""

import csv
import errno
import functools
import gzip
import itertools
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from bert_ko import create_pretraining_data, files
from bert_ko.create_pretraining_data import CreatePretrainingDataConfig, run
from bert_ko.data import pipeline
from bert_ko.data.features import instance_features
from bert_ko.data.records import read_records
from bert_ko.data.tfrecord import decode_example
from bert_ko.flags import run_command
from bert_ko.page_flags import REPORT_NAME
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.tokenizer import Tokenizer
from tests.corpora import contents, sentences, text_corpus

REPOSITORY = Path(__file__).parents[1]
WORK = ".create_pretraining_data"
BILM = "--objective=bilm"
SMALL = ("--max_seq_length=32", "--max_predictions_per_seq=5", "--dupe_factor=2")
Record = dict[str, np.ndarray]
Captured, Patch = pytest.CaptureFixture[str], pytest.MonkeyPatch


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(text_corpus(), encoding="utf-8")
    return path


@pytest.fixture
def make(vocab_folder: str, word_folder: str) -> Callable[..., int]:
    """Runs the command in this process; returns its exit status."""

    def run_here(input_file: object, output_file: object, *flags: str) -> int:
        is_of_words = BILM in flags
        argv = (
            f"--input_file={input_file}", f"--output_file={output_file}",
            f"--vocab_file={word_folder if is_of_words else vocab_folder}", "--num_workers=1",
            *(() if is_of_words else SMALL), *flags,
        )  # fmt: skip
        return run_command(CreatePretrainingDataConfig, run, argv)

    return run_here


Make = Callable[..., int]


@pytest.fixture
def small_pieces(monkeypatch: Patch) -> None:
    """Chunks and buckets so small that a small corpus has many of both."""
    monkeypatch.setattr(pipeline, "choose_chunk_bytes", lambda text_bytes: 4000)
    monkeypatch.setattr(create_pretraining_data, "_BUCKET_BYTES", 4000)


def records(path: Path | str, dynamic: bool = False, length: int = 32) -> list[Record]:
    specs = instance_features(length, 5, dynamic)
    return [decode_example(record, specs) for record in read_records(str(path))]


def all_records(folder: Path, dynamic: bool = False, length: int = 32) -> list[Record]:
    """The records of the shards that the manifest names."""
    paths = [folder / shard["path"] for shard in manifest(folder)["shards"]]
    return [record for path in paths for record in records(path, dynamic, length)]


def manifest(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return value


def tfrecords(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name != "manifest.json"}


def error_of(capsys: Captured) -> str:
    """The one line that an error is, without the lines of progress before it."""
    lines = capsys.readouterr().err.strip().splitlines()
    found = [line for line in lines if "error" in line]
    assert found == lines[-1:]
    return found[0].removeprefix("create_pretraining_data: error: ")


# What is written


def test_run_sequences_are_sentences_of_the_corpus(
    tmp_path: Path, make: Make, tokenizer: Tokenizer
) -> None:
    # Every document has a mark of its own; labels and sides must agree with it.
    documents = [[f"{n}호 {line}" for line in sentences(random.Random(n), 4)] for n in range(1, 9)]
    text = "\n\n".join("\n".join(document) for document in documents)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    # Nothing is cut off at this length.
    flags = ("--masking=dynamic", "--max_seq_length=256", "--short_seq_prob=0")
    assert make(tmp_path / "a.txt", tmp_path / "out/a", *flags) == 0
    ids = [[tokenizer.encode(line).ids for line in document] for document in documents]
    assert sorted(contents(tmp_path / "out")) == ["a", "manifest.json"]
    vocab = tokenizer.vocab
    for record in all_records(tmp_path / "out", dynamic=True, length=256):
        used = int(record["input_mask"].sum())
        first_sep = int(np.flatnonzero(record["segment_ids"])[0]) - 1
        pieces, mask, segments = (
            record[name].tolist() for name in ("input_ids", "input_mask", "segment_ids")
        )
        padding = 256 - used
        assert mask == [1] * used + [0] * padding
        assert segments == [0] * (first_sep + 1) + [1] * (used - first_sep - 1) + [0] * padding
        assert (pieces[0], pieces[first_sep], pieces[used - 1]) == (
            vocab.cls_id,
            *[vocab.sep_id] * 2,
        )
        assert pieces[used:] == [vocab.pad_id] * padding
        a, b = pieces[1:first_sep], pieces[first_sep + 1 : used - 1]
        place_a, place_b = find(ids, a), find(ids, b)
        if record["next_sentence_labels"][0]:
            assert place_a[0] != place_b[0]
        else:
            assert (place_a[0], place_a[2]) == place_b[:2]


def find(documents: list[list[list[int]]], pieces: list[int]) -> tuple[int, int, int]:
    """The document and the range of sentences that make up a segment."""
    for number, document in enumerate(documents):
        for start in range(len(document)):
            for end in range(start + 1, len(document) + 1):
                if [*itertools.chain(*document[start:end])] == pieces:
                    return number, start, end
    raise AssertionError("the segment is no run of sentences")


def test_run_list_of_files_goes_round_robin(corpus: Path, tmp_path: Path, make: Make) -> None:
    # Unmasked sequences are the same whatever file they go to.
    dynamic = "--masking=dynamic"
    assert make(corpus, tmp_path / "one/a", dynamic) == 0
    names = [f"{tmp_path}/list/{name}" for name in "abc"]
    assert make(corpus, ",".join(names), dynamic) == 0
    one = list(read_records(f"{tmp_path}/one/a"))
    dealt = [list(read_records(name)) for name in names]
    assert dealt == [one[turn::3] for turn in range(3)]
    assert [shard["records"] for shard in manifest(tmp_path / "list")["shards"]] == list(
        map(len, dealt)
    )


def test_run_list_over_folders_is_complete_afterwards(
    corpus: Path, tmp_path: Path, make: Make, capsys: Captured, monkeypatch: Patch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time the input folder holds the output
        assert make(".", "a/1.tfrecord,b/2.tfrecord") == 0
    captured = capsys.readouterr()
    assert "already complete" in captured.err
    assert "making again" not in captured.err
    about = manifest(tmp_path / "a")
    assert [shard["path"] for shard in about["shards"]] == ["1.tfrecord", "../b/2.tfrecord"]
    assert [file["path"] for file in about["inputs"]] == ["./corpus.txt"]


def test_run_gzip_has_the_same_records_and_the_same_bytes_again(
    corpus: Path, tmp_path: Path, make: Make
) -> None:
    assert make(corpus, f"{tmp_path}/x/a.tfrecord", "--num_shards=2") == 0
    for folder in "yz":
        assert make(corpus, f"{tmp_path}/{folder}/b.tfrecord.gz@2") == 0
    plain, packed = tfrecords(tmp_path / "x"), tfrecords(tmp_path / "y")
    assert list(packed) == ["b.tfrecord-00000-of-00002.gz", "b.tfrecord-00001-of-00002.gz"]
    assert [gzip.decompress(data) for data in packed.values()] == list(plain.values())
    assert packed == tfrecords(tmp_path / "z")
    # The header has neither a time nor a name.
    assert {data[3:8] for data in packed.values()} == {bytes(5)}


@pytest.mark.parametrize(
    ("output", "flags", "message"),
    [
        ("a@3", ["--num_shards=4"], "--num_shards=4 contradicts --output_file="),
        ("a,b", ["--num_shards=2"], "--num_shards=2 contradicts --output_file="),
        ("a@0", [], "--num_shards must be at least 1, got 0"),
        ("a", ["--num_shards=0"], "--num_shards must be at least 1, got 0"),
        ("a,b,a", [], "--output_file names a file twice"),
    ],
)
def test_run_contradicting_shards_is_an_error(
    output: str, flags: list[str], message: str, corpus: Path, tmp_path: Path, make: Make, capsys:
    Captured,
) -> None:  # fmt: skip
    paths = ",".join(f"{tmp_path}/out/{name}" for name in output.split(","))
    assert make(corpus, paths, *flags) == 1
    assert message in error_of(capsys)
    assert not (tmp_path / "out").exists()


SHAPES = {"one": 1, "join": 3, "join_gz": 3, "equal": 13, "more_shards": 200}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("small_pieces")
def test_run_many_buckets_every_piece_is_in_one_sequence(
    shape: str, tmp_path: Path, make: Make, tokenizer: Tokenizer
) -> None:
    text = text_corpus(400)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    name = "a.gz" if shape == "join_gz" else "a"
    flags = ("--masking=dynamic", "--next_sentence=none", f"--num_shards={SHAPES[shape]}")
    assert make(tmp_path / "a.txt", tmp_path / "out" / name, *flags) == 0
    found = Counter[int]()
    for record in all_records(tmp_path / "out", dynamic=True):
        found.update(record["input_ids"][1 : int(record["input_mask"].sum()) - 1].tolist())
    wanted = Counter[int]()
    for line in text.split("\n"):
        wanted.update(tokenizer.encode(line).ids)
    assert found == wanted
    about = manifest(tmp_path / "out")
    assert about["num_buckets"] > 10 and len(about["shards"]) == SHAPES[shape]
    assert sorted(tfrecords(tmp_path / "out")) == [s["path"] for s in about["shards"]]


@pytest.mark.slow
@pytest.mark.parametrize("masking", ["static", "dynamic"])
@pytest.mark.parametrize("shape", ["one", "join", "more_shards"])
@pytest.mark.usefixtures("small_pieces")
def test_run_totals_are_what_the_shards_hold(
    masking: str, shape: str, tmp_path: Path, make: Make, tokenizer: Tokenizer
) -> None:
    text = text_corpus(100)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    flags = (f"--masking={masking}", f"--num_shards={SHAPES[shape]}", "--do_whole_word_mask")
    assert make(tmp_path / "a.txt", tmp_path / "out/a", *flags) == 0
    found = all_records(tmp_path / "out", masking == "dynamic")
    totals = manifest(tmp_path / "out")["totals"]
    lines = [line for line in text.split("\n") if line]
    ids = [tokenizer.encode(line) for line in lines]
    used = sum(int(record["input_mask"].sum()) for record in found)
    assert totals["documents"] == 100
    assert totals["sentences"] == len(lines)
    assert totals["pieces"] == sum(map(len, ids))
    assert totals["morphemes"] == sum(encoding.morpheme_ids[-1] + 1 for encoding in ids)
    assert totals["instances"] == len(found)
    assert totals["instance_pieces"] == used - 3 * len(found)
    assert totals["padding_share"] == pytest.approx(1 - used / (32 * len(found)), abs=1e-6)
    labels = np.mean([record["next_sentence_labels"][0] for record in found])
    assert totals["positive_label_share"] == pytest.approx(labels, abs=1e-6)
    if masking == "static":
        masked = sum(record["masked_lm_weights"].sum() for record in found)
        share = masked / totals["instance_pieces"]
        assert totals["masked_pieces_share"] == pytest.approx(share, abs=1e-6)
    else:
        assert "masked_pieces_share" not in totals


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "overflow"),
    [
        ([], "cut"), (["--overflow=carry"], "carry"),
        (["--masking=dynamic"], "carry"), (["--masking=dynamic", "--overflow=cut"], "cut"),
        (["--next_sentence=sop"], "cut"), (["--next_sentence=sop", "--masking=dynamic"], "carry"),
        (["--next_sentence=none"], "carry"),
    ],
)  # fmt: skip
def test_run_text_that_does_not_fit_is_lost_or_not_and_the_manifest_says_it(
    flags: list[str], overflow: str, tmp_path: Path, make: Make, capsys: Captured
) -> None:  # fmt: skip
    (tmp_path / "a.txt").write_text(text_corpus(20), encoding="utf-8")
    assert make(tmp_path / "a.txt", tmp_path / "out/a", *flags) == 0
    about = manifest(tmp_path / "out")
    assert about["flags"]["overflow"] == overflow
    unseen, pieces = about["totals"]["unseen_pieces"], about["totals"]["pieces"]
    assert about["totals"]["unseen_share"] == pytest.approx(unseen / pieces, abs=1e-6)
    # In sop the last piece of a document may be left without a partner.
    assert unseen < 0.001 * pieces if overflow == "carry" else unseen > 0.1 * pieces
    row = f"pieces never seen +{unseen / pieces:.2%}\n"
    assert re.search(row, capsys.readouterr().out)


def before_overflow(path: Path) -> None:
    """Makes a manifest, or a run.json, what a version without the flag wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["flags"]["overflow"]
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.slow
def test_rerun_of_a_run_from_before_the_flag_is_complete(
    corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    out, dynamic = tmp_path / "out/a", "--masking=dynamic"
    assert make(corpus, out, dynamic, "--overflow=cut") == 0
    before_overflow(tmp_path / "out/manifest.json")
    for flags in ([], ["--overflow=cut"]):
        assert make(corpus, out, dynamic, *flags) == 0
        assert "already complete" in capsys.readouterr().err
    assert make(corpus, out, dynamic, "--overflow=carry") == 1
    assert "--overflow was cut, now carry. Write to" in error_of(capsys)
    assert make(corpus, out, "--next_sentence=none") == 1
    assert "--next_sentence was nsp, now none" in error_of(capsys)
    assert make(corpus, out, dynamic, "--overwrite") == 0
    assert manifest(tmp_path / "out")["flags"]["overflow"] == "carry"


@pytest.mark.slow
@pytest.mark.usefixtures("small_pieces")
def test_run_begun_before_the_flag_goes_on_as_it_was_begun(
    tmp_path: Path, make: Make, monkeypatch: Patch, capsys: Captured
) -> None:
    (tmp_path / "a.txt").write_text(text_corpus(100), encoding="utf-8")
    flags = ("--masking=dynamic", "--num_shards=3")
    assert make(tmp_path / "a.txt", tmp_path / "whole/a", *flags, "--overflow=cut") == 0
    build, built = pipeline._build, []

    def stopping(worker: Any, task: Any) -> Any:
        if len(built) == 2:
            raise OSError(errno.EIO, "the plug was pulled")
        built.append(build(worker, task))
        return built[-1]

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_build", stopping)
        assert make(tmp_path / "a.txt", tmp_path / "out/a", *flags, "--overflow=cut") == 1
    work = tmp_path / "out" / WORK
    before_overflow(work / "run.json")
    for path in work.glob("built-*.json"):
        record = json.loads(path.read_text())
        del record["counts"]["seen_pieces"], record["counts"]["unseen_pieces"]
        path.write_text(json.dumps(record))
    capsys.readouterr()
    assert make(tmp_path / "a.txt", tmp_path / "out/a", *flags, "--overflow=carry") == 1
    assert "--overflow was cut, now carry" in error_of(capsys)
    assert make(tmp_path / "a.txt", tmp_path / "out/a", *flags) == 0
    assert tfrecords(tmp_path / "out") == tfrecords(tmp_path / "whole")
    about = manifest(tmp_path / "out")
    assert about["flags"]["overflow"] == "cut"
    # The earlier version did not count them.
    assert "unseen_pieces" not in about["totals"]


@pytest.mark.slow
def test_manifest_says_how_it_was_made(
    corpus: Path, tmp_path: Path, make: Make, vocab_folder: str
) -> None:
    assert make(corpus, f"{tmp_path}/out/a.tfrecord", "--random_seed=7") == 0
    about = manifest(tmp_path / "out")
    tokenizer = load_tokenizer(vocab_folder)
    assert about["tokenizer_fingerprint"] == tokenizer.fingerprint
    assert about["tokenizer"]["tokenizer_type"] == "mecab"
    assert about["vocab_size"] == len(tokenizer.vocab)
    assert about["mask_id"] == tokenizer.vocab["[MASK]"]
    # All but the special and the unused pieces, which are at the beginning.
    ranges = [range(first, last + 1) for first, last in about["replacement_ranges"]]
    assert [i for ids in ranges for i in ids] == list(tokenizer.vocab.ordinary_ids)
    status = corpus.stat()
    assert about["inputs"] == [
        {"path": str(corpus), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    ]
    (shard,) = about["shards"]
    data = (tmp_path / "out/a.tfrecord").read_bytes()
    assert shard == {
        "path": "a.tfrecord", "records": len(records(tmp_path / "out/a.tfrecord")),
        "bytes": len(data), "crc32c": f"{google_crc32c.value(data):08x}",
    }  # fmt: skip
    assert about["flags"]["random_seed"] == 7
    assert about["flags"]["max_seq_length"] == 32
    assert about["flags"]["input_file"] == [str(corpus)]
    assert not {"num_workers", "overwrite", "work_dir", "vocab_file"} & set(about["flags"])


@pytest.mark.slow
def test_run_same_seed_same_bytes_and_another_seed_other_bytes(
    corpus: Path, tmp_path: Path, make: Make
) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert make(corpus, f"{tmp_path}/{folder}/x@2", f"--random_seed={seed}") == 0
    a, b, c = (tfrecords(tmp_path / folder) for folder in "abc")
    assert a == b
    assert all(a[name] != c[name] for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["morpheme", "eojeol"])
def test_run_whole_word_masking_never_splits_a_word(
    unit: str, corpus: Path, tmp_path: Path, make: Make, tokenizer: Tokenizer
) -> None:
    # The unmasked sequences with their word numbers, found again by the restored pieces.
    flags = ("--do_whole_word_mask", f"--whole_word_unit={unit}", "--masked_lm_prob=0.3")
    flags += ("--dupe_factor=1", "--overflow=carry")
    assert make(corpus, f"{tmp_path}/static/a", *flags) == 0
    assert make(corpus, f"{tmp_path}/dynamic/a", "--masking=dynamic") == 0
    numbers = {
        tuple(record["input_ids"].tolist()): record[f"{unit}_ids"]
        for record in all_records(tmp_path / "dynamic", dynamic=True)
    }
    split_words = 0
    for record in all_records(tmp_path / "static"):
        positions = record["masked_lm_positions"][record["masked_lm_weights"] > 0]
        restored = record["input_ids"].copy()
        restored[positions] = record["masked_lm_ids"][: len(positions)]
        words = numbers[tuple(restored.tolist())]
        touched = set(words[positions].tolist())
        split_words += len(np.flatnonzero(np.isin(words, list(touched)))) != len(positions)
    assert split_words == 0


@pytest.mark.slow
def test_run_dynamic_masking_has_words_of_both_units_and_one_copy(
    corpus: Path, tmp_path: Path, make: Make, tokenizer: Tokenizer
) -> None:
    assert make(corpus, f"{tmp_path}/a/x", "--masking=dynamic", "--dupe_factor=5") == 0
    assert make(corpus, f"{tmp_path}/b/x", "--dupe_factor=1", "--overflow=carry") == 0
    found = all_records(tmp_path / "a", dynamic=True)
    assert len(found) == len(all_records(tmp_path / "b"))
    for record in found:
        assert set(record) == {
            "input_ids", "input_mask", "segment_ids", "morpheme_ids", "eojeol_ids",
            "next_sentence_labels",
        }  # fmt: skip
        ids, morphemes, eojeols = (
            record[name] for name in ("input_ids", "morpheme_ids", "eojeol_ids")
        )
        assert tokenizer.vocab.mask_id not in ids
        special = np.isin(ids, [0, tokenizer.vocab.cls_id, tokenizer.vocab.sep_id])
        for words in (morphemes, eojeols):
            assert ((words == 0) == special).all()
            assert set(np.diff(words[words > 0]).tolist()) <= {0, 1}
            assert words[1] == 1
        # A morpheme lies inside one eojeol.
        assert len({*zip(morphemes, eojeols, strict=True)}) == len(set(morphemes.tolist()))


# What is read


def make_forms(folder: Path) -> dict[str, Path]:
    """One corpus in every form."""
    rng = random.Random(3)
    documents = [sentences(rng, 4) for _ in range(20)]
    texts = ["\n".join(document) for document in documents]
    paths = {kind: folder / f"corpus.{kind}" for kind in ("txt", "jsonl", "csv", "tsv")}
    paths["txt"].write_text("\n\n".join(texts), encoding="utf-8")
    with paths["jsonl"].open("w", encoding="utf-8") as file:
        for text in texts:
            print(json.dumps({"n": 1, "text": text}, ensure_ascii=rng.random() < 0.5), file=file)
    with paths["csv"].open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["n", "text"], *([1, text] for text in texts)])
    # A line break cannot stand in TSV: several columns stand for the lines.
    rows = [["a", "b", "c", "d"], *documents]
    paths["tsv"].write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return paths


@pytest.mark.slow
def test_run_any_form_has_the_same_records(tmp_path: Path, make: Make) -> None:
    for kind, path in make_forms(tmp_path).items():
        flags = ["--text_field=a,b,c,d"] if kind == "tsv" else []
        assert make(path, f"{tmp_path}/{kind}/a", *flags) == 0
    found = {kind: (tmp_path / kind / "a").read_bytes() for kind in ("txt", "jsonl", "csv", "tsv")}
    assert len(found["txt"]) > 1000
    assert len(set(found.values())) == 1


@pytest.mark.slow
def test_run_files_globs_folders_and_lists_have_the_same_records(
    tmp_path: Path, make: Make
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(2):
        (folder / f"{i}.txt").write_text(text_corpus(10, i), encoding="utf-8")
    (folder / "2.txt.gz").write_bytes(gzip.compress(text_corpus(10, 2).encode()))
    (folder / "3.txt").write_text("", encoding="utf-8")  # an empty one does no harm
    inputs = [folder, f"{folder}/*", f"{folder}/0.txt,{folder}/[123].*", f"file://{folder}"]
    for number, patterns in enumerate(inputs):
        assert make(patterns, f"{tmp_path}/{number}/a") == 0
    found = [(tmp_path / str(number) / "a").read_bytes() for number in range(len(inputs))]
    assert len(set(found)) == 1
    assert manifest(tmp_path / "0")["totals"]["documents"] == 30


@pytest.mark.slow
@pytest.mark.parametrize("work", ["beside", "remote", "local"])
def test_run_remote_input_and_output_equal_local_and_are_complete_afterwards(
    work: str, corpus: Path, tmp_path: Path, make: Make, capsys: Captured, small_pieces: None
) -> None:
    bucket = f"memory://{uuid.uuid4().hex}"
    files.write_atomic(f"{bucket}/in/a.txt", corpus.read_bytes())
    (tmp_path / "work").mkdir()
    folder = {"beside": "", "remote": f"{bucket}/work", "local": f"{tmp_path}/work"}[work]
    remote = (f"{bucket}/in", f"{bucket}/out/a.tfrecord@2", f"--work_dir={folder}")
    assert make(*remote) == 0
    assert make(corpus, f"{tmp_path}/out/a.tfrecord@2") == 0
    local = tfrecords(tmp_path / "out")
    for name, data in local.items():
        with files.open_binary(f"{bucket}/out/{name}") as stream:
            assert stream.read() == data
    with files.open_binary(f"{bucket}/out/manifest.json") as stream:
        about = json.load(stream)
    assert about["shards"] == manifest(tmp_path / "out")["shards"]
    assert about["num_buckets"] > 2  # parts are joined
    capsys.readouterr()
    assert make(*remote) == 0
    assert "already complete" in capsys.readouterr().err
    for place in (folder or f"{bucket}/out", f"{bucket}/out"):
        assert files.list_folder(files.join(place, WORK)) == {}
    assert list((tmp_path / "work").iterdir()) == []
    # Other shards take their place.
    files.write_atomic(f"{bucket}/out/a.tfrecord-00001-of-00002", b"mine")
    assert make(remote[0], f"{bucket}/out/a.tfrecord@3", remote[2], "--overwrite") == 0
    found = files.list_folder(f"{bucket}/out")
    assert "a.tfrecord-00000-of-00002" not in found
    assert found["a.tfrecord-00001-of-00002"] == 4
    assert "stays: it is not the shard" in capsys.readouterr().err


@pytest.mark.slow
def test_run_spill_of_another_run_without_its_record_is_not_taken(
    corpus: Path, tmp_path: Path, make: Make, small_pieces: None
) -> None:
    assert make(corpus, tmp_path / "good/a") == 0
    work = tmp_path / "out" / WORK
    work.mkdir(parents=True)
    (work / "spill-000001.bin").write_bytes(b"an executor ended late")
    (work / "built-00000.json").write_text("{}")
    (work / "mine.txt").touch()
    assert make(corpus, tmp_path / "out/a") == 0
    assert tfrecords(tmp_path / "out") == {**tfrecords(tmp_path / "good"), f"{WORK}/mine.txt": b""}


def test_run_work_dir_what_the_user_keeps_there_stays(
    corpus: Path, tmp_path: Path, make: Make
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for name in ("run.json", "lock", "part-00000.tfrecord", ".mine.1.tmp"):
        (work / name).write_text("내 것", encoding="utf-8")
    before = contents(work)
    flags = (f"--work_dir={work}", "--overwrite")
    assert make(corpus, tmp_path / "out/a", *flags) == 0
    assert make(corpus, tmp_path / "out/a", *flags) == 0
    assert contents(work) == before


def test_run_invisible_lines_make_no_segments_and_no_boundaries(tmp_path: Path, make: Make) -> None:
    clean = text_corpus(20)
    lines = clean.split("\n")
    dirty = "\n".join(f"{line}\n\u200d" if line else line for line in lines)
    (tmp_path / "clean.txt").write_text(clean, encoding="utf-8")
    (tmp_path / "dirty.txt").write_text(dirty, encoding="utf-8")
    for name in ("clean", "dirty"):
        assert make(tmp_path / f"{name}.txt", tmp_path / name / "a") == 0
    assert (tmp_path / "clean/a").read_bytes() == (tmp_path / "dirty/a").read_bytes()
    dropped = manifest(tmp_path / "dirty")["totals"]["dropped"]["lines_without_text"]
    assert dropped == len([line for line in lines if line])


@pytest.mark.slow
@pytest.mark.parametrize("pieces", ["one_bucket", "many_buckets"])
def test_run_duplicate_documents_are_dropped_and_counted_when_asked(
    pieces: str, tmp_path: Path, make: Make, request: pytest.FixtureRequest
) -> None:
    if pieces == "many_buckets":
        request.getfixturevalue("small_pieces")
    blocks = text_corpus(80).strip().split("\n\n")
    distinct = len(set(blocks))
    copies = [*blocks, *(block.replace("\n", " \r\n") for block in blocks[:50]), *[blocks[0]] * 30]
    random.Random(1).shuffle(copies)
    (tmp_path / "a.txt").write_text("\n\n".join(copies), encoding="utf-8", newline="")
    flags = ("--masking=dynamic", "--next_sentence=none", "--max_seq_length=512")
    assert make(tmp_path / "a.txt", tmp_path / "kept/a", *flags) == 0
    assert make(tmp_path / "a.txt", tmp_path / "x/a", *flags, "--drop_duplicate_documents") == 0
    kept, dropped = (
        [tuple(r["input_ids"].tolist()) for r in all_records(tmp_path / folder, True, 512)]
        for folder in ("kept", "x")
    )
    assert manifest(tmp_path / "kept")["totals"]["dropped"]["duplicate_documents"] == 0
    about = manifest(tmp_path / "x")["totals"]
    assert about["dropped"]["duplicate_documents"] == len(copies) - distinct
    # Short sequences (one in ten) aside, a document is a sequence.
    assert len(kept) >= len(copies)
    whole = Counter(dropped)
    assert distinct <= len(dropped) <= 1.6 * distinct
    assert sum(count > 1 for count in whole.values()) < 0.2 * distinct


@pytest.mark.slow
def test_run_real_petitions_work_as_they_are(data_folder: Path, tmp_path: Path, make: Make) -> None:
    path = data_folder / "raw/petitions_2019-08.jsonl"
    if not path.exists():
        pytest.skip(f"no {path}")
    flags = ("--text_field=title,content", "--sentence_splitter=rule", "--dupe_factor=1")
    assert make(path, tmp_path / "out/a", *flags) == 0
    totals = manifest(tmp_path / "out")["totals"]
    with path.open(encoding="utf-8") as file:
        count = sum(bool(line.strip()) for line in file)
    assert totals["documents"] + totals["dropped"]["empty_records"] == count
    assert totals["sentences"] > 5 * count
    assert totals["instances"] == len(all_records(tmp_path / "out"))


# Runs again


def test_rerun_after_completion_says_so_and_writes_its_page_alone(
    corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    out = tmp_path / "out"
    assert make(corpus, f"{out}/a@2") == 0

    def state() -> dict[str, tuple[int, int]]:
        paths = [path for path in out.rglob("*") if path.name != REPORT_NAME]
        return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}

    before = state()
    (out / REPORT_NAME).unlink()
    capsys.readouterr()
    assert make(corpus, f"{out}/a@2") == 0
    assert capsys.readouterr().err == (
        f"{out}/manifest.json: already complete; --overwrite makes it again.\n"
        f"report: {out}/report.html\n"
    )
    assert (out / REPORT_NAME).is_file()
    assert state() == before


def test_rerun_with_another_flag_is_refused_with_both_values(
    corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    assert make(corpus, tmp_path / "out/a") == 0
    before = contents(tmp_path / "out")
    capsys.readouterr()
    assert make(corpus, tmp_path / "out/a", "--dupe_factor=3", "--random_seed=5") == 1
    message = error_of(capsys)
    assert "--dupe_factor was 2, now 3; --random_seed was 12345, now 5" in message
    assert "--overwrite" in message
    after = {name: d for name, d in contents(tmp_path / "out").items() if WORK not in name}
    assert after == before


@pytest.mark.slow
def test_rerun_with_overwrite_makes_it_anew_and_leaves_no_old_shard(
    corpus: Path, tmp_path: Path, make: Make
) -> None:
    assert make(corpus, tmp_path / "out/a@3") == 0
    assert make(corpus, tmp_path / "out/a@2", "--random_seed=5", "--overwrite") == 0
    assert make(corpus, tmp_path / "new/a@2", "--random_seed=5") == 0
    assert tfrecords(tmp_path / "out") == tfrecords(tmp_path / "new")
    assert manifest(tmp_path / "out")["flags"]["random_seed"] == 5


@pytest.mark.slow
@pytest.mark.parametrize("trap", ["outside", "absolute", "link", "linked folder", "text", "other"])
def test_rerun_with_overwrite_removes_only_shards_of_the_earlier_run(
    trap: str, corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    out, outside = tmp_path / "out", tmp_path / "keep.tfrecord"
    assert make(corpus, out / "a@2") == 0
    shards = [out / shard["path"] for shard in manifest(out)["shards"]]
    data = shards[0].read_bytes() if trap != "text" else "내 논문".encode()
    outside.write_bytes(data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b").write_bytes(data)
    (out / "mine").write_bytes(data[:-1] + b"x" if trap == "other" else data)
    (out / "link").symlink_to(outside)
    (out / "linked").symlink_to(tmp_path / "folder")
    named = {
        "outside": "../keep.tfrecord", "absolute": str(outside), "link": "link",
        "linked folder": "linked/b", "text": "mine", "other": "mine",
    }[trap]  # fmt: skip
    about = manifest(out)
    crc = f"{google_crc32c.value(data):08x}"
    about["shards"].append({"path": named, "records": 1, "bytes": len(data), "crc32c": crc})
    (out / "manifest.json").write_text(json.dumps(about))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert make(corpus, out / "b@1", "--overwrite") == 0
    gone = {path for path in before if not os.path.lexists(path)}
    assert gone == set(shards)
    assert all(path.read_bytes() == before[path] for path in before.keys() - gone - {
        out / "manifest.json", out / REPORT_NAME})  # fmt: skip
    assert f"{out}/{named} stays: it is not the shard" in capsys.readouterr().err or os.path.isabs(
        named
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value"), [("mask_id", -1), ("format", 99), ("shards", 5), ("shards", [])]
)
def test_rerun_over_an_edited_manifest_is_one_line_and_keeps_all(
    key: str, value: object, corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    out = tmp_path / "out"
    assert make(corpus, out / "a@2") == 0
    (out / "manifest.json").write_text(json.dumps({**manifest(out), key: value}))
    before = contents(out)
    capsys.readouterr()
    assert make(corpus, out / "a@2") == 1
    assert error_of(capsys).startswith(f"{out}/manifest.json: {key} must be ")
    after = contents(out)
    assert {name: after[name] for name in before} == before


def test_run_over_a_foreign_manifest_keeps_it_and_its_files(
    corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.bin").write_bytes(b"1")
    foreign = '{"shards": [{"path": "precious.bin"}]}'
    (out / "manifest.json").write_text(foreign)
    for flags in ([], ["--overwrite"]):
        assert make(corpus, out / "a", *flags) == 1
        assert error_of(capsys) == (
            f"{out}/manifest.json is not from this command; write to another folder."
        )
    assert (out / "manifest.json").read_text() == foreign
    assert (out / "precious.bin").exists()


def test_rerun_over_a_manifest_of_an_older_version_needs_overwrite(
    corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    out = tmp_path / "out"
    assert make(corpus, f"{out}/a@2") == 0
    whole = contents(out)
    older = {name: value for name, value in manifest(out).items() if name != "vocab_size"}
    (out / "manifest.json").write_text(json.dumps(older))
    assert make(corpus, f"{out}/a@2") == 1
    assert error_of(capsys) == (
        f"{out}/manifest.json was written by another version and has no vocab_size; make the "
        "shards again with --overwrite."
    )
    assert make(corpus, f"{out}/a@2", "--overwrite") == 0
    assert contents(out) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("format", "it was made by another version"),
        ("input", "an input file has changed"),
        ("vocabulary", "the vocabulary or its tokenizer_config.json has changed"),
    ],
)
def test_rerun_with_a_change_is_refused(
    change: str, message: str, corpus: Path, tmp_path: Path, make: Make, vocab_folder: str,
    monkeypatch: Patch, capsys: Captured,
) -> None:  # fmt: skip
    vocab = tmp_path / "vocab"
    shutil.copytree(vocab_folder, vocab)
    assert make(corpus, tmp_path / "out/a", f"--vocab_file={vocab}") == 0
    if change == "format":
        assert manifest(tmp_path / "out")["format"] == 2
        monkeypatch.setitem(create_pretraining_data.FORMATS, "masked_lm", 1)
    else:
        path = corpus if change == "input" else vocab / "vocab.txt"
        path.write_text(path.read_text(encoding="utf-8") + "새낱말\n", encoding="utf-8")
    assert make(corpus, tmp_path / "out/a", f"--vocab_file={vocab}") == 1
    assert message in error_of(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["deleted", "cut off"])
@pytest.mark.usefixtures("small_pieces")
def test_rerun_makes_a_lost_shard_again(
    harm: str, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    (tmp_path / "a.txt").write_text(text_corpus(100), encoding="utf-8")
    assert make(tmp_path / "a.txt", f"{tmp_path}/out/a@3") == 0
    before = contents(tmp_path / "out")
    lost = tmp_path / "out/a-00001-of-00003"
    if harm == "deleted":
        lost.unlink()
    else:
        os.truncate(lost, 100)
    assert make(tmp_path / "a.txt", f"{tmp_path}/out/a@3") == 0
    assert f"making again: {lost}" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


def test_run_while_another_writes_there_is_refused(
    corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    work = tmp_path / "out" / WORK
    work.mkdir(parents=True)
    with files.lock(str(work / "lock")):
        assert make(corpus, tmp_path / "out/a") == 1
    assert "another run is writing here" in error_of(capsys)
    assert make(corpus, tmp_path / "out/a") == 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["_tokenize", "_build", "_join"])
@pytest.mark.parametrize(
    ("shape", "objective"),
    [
        *((shape, "masked_lm") for shape in ("one", "join", "join_gz", "more_shards")),
        ("join_gz", "bilm"), ("more_shards", "bilm"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("small_pieces")
def test_run_stopped_at_any_task_resumes_to_the_same_bytes(
    shape: str,
    objective: str,
    stage: str,
    tmp_path: Path,
    make: Make,
    monkeypatch: Patch,
    capsys: Captured,
) -> None:
    (tmp_path / "a.txt").write_text(text_corpus(100), encoding="utf-8")
    name = "a.gz" if shape == "join_gz" else "a"
    flags = (f"--num_shards={SHAPES[shape]}", f"--objective={objective}")
    assert make(tmp_path / "a.txt", tmp_path / "whole" / name, *flags) == 0
    done, in_this_run = Counter[Any](), Counter[str]()

    def stopping(name: str, work: Callable[[Any, Any], Any], worker: Any, task: Any) -> Any:
        # Every run does one task of the stage and is stopped in the next.
        if name == stage and in_this_run[name]:
            raise OSError(errno.EIO, "the plug was pulled")
        result = work(worker, task)
        in_this_run[name] += 1
        done[name, result[0] if isinstance(result, tuple) else task.number] += 1
        return result

    for function in ("_tokenize", "_build", "_join"):
        work = getattr(pipeline, function)
        monkeypatch.setattr(pipeline, function, functools.partial(stopping, function, work))
    for attempt in range(60):
        in_this_run.clear()
        status = make(tmp_path / "a.txt", tmp_path / "out" / name, *flags)
        if status == 0:
            break
        assert "the plug was pulled" in (text := capsys.readouterr().err)
        assert ("resuming where an earlier run was stopped" in text) == (attempt > 0)
    assert status == 0
    assert tfrecords(tmp_path / "out") == tfrecords(tmp_path / "whole")
    assert set(done.values()) == {1}  # nothing was done twice
    num_stops = sum(name == stage for name, _ in done) - 1
    assert (attempt, num_stops > 0) == (
        max(0, num_stops),
        shape.startswith("join") or stage != "_join",
    )


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "stage"), [("join", "_join"), ("more_shards", "_build")])
@pytest.mark.usefixtures("small_pieces")
def test_run_stopped_and_a_shard_lost_meanwhile_makes_it_again(
    shape: str, stage: str, tmp_path: Path, make: Make, monkeypatch: Patch
) -> None:
    (tmp_path / "a.txt").write_text(text_corpus(100), encoding="utf-8")
    shards_flag = f"--num_shards={SHAPES[shape]}"
    assert make(tmp_path / "a.txt", tmp_path / "whole/a", shards_flag) == 0
    work = getattr(pipeline, stage)
    made = []

    def stopping(worker: Any, task: Any) -> Any:
        if len(made) == 2:
            raise OSError(errno.EIO, "the plug was pulled")
        made.append(work(worker, task))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, stage, stopping)
        assert make(tmp_path / "a.txt", tmp_path / "out/a", shards_flag) == 1
    lost = tmp_path / f"out/a-00000-of-{SHAPES[shape]:05d}"
    lost.unlink()
    assert make(tmp_path / "a.txt", tmp_path / "out/a", shards_flag) == 0
    assert tfrecords(tmp_path / "out") == tfrecords(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.usefixtures("small_pieces")
def test_run_stopped_then_with_another_flag_is_refused(
    tmp_path: Path, make: Make, monkeypatch: Patch, capsys: Captured
) -> None:
    (tmp_path / "a.txt").write_text(text_corpus(100), encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_build", lambda worker, task: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make(tmp_path / "a.txt", tmp_path / "out/a")
    capsys.readouterr()
    assert make(tmp_path / "a.txt", tmp_path / "out/a", "--max_seq_length=64") == 1
    assert "--max_seq_length was 32, now 64" in error_of(capsys)
    assert make(tmp_path / "a.txt", tmp_path / "out/a", "--max_seq_length=64", "--overwrite") == 0


# What goes wrong


def test_run_after_a_mistyped_flag_needs_no_overwrite(
    tmp_path: Path, make: Make, capsys: Captured
) -> None:
    path = make_forms(tmp_path)["csv"]
    assert make(path, tmp_path / "out/a", "--text_field=body") == 1
    assert error_of(capsys).endswith(
        f"{path}:1: no column 'body'; --text_field must name one of: n, text."
    )
    assert make(path, tmp_path / "out/a", "--text_field=text") == 0


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--max_seq_lenght=64", "unknown flag --max_seq_lenght; did you mean --max_seq_length?"),
        ("--max_seq_length=long", "--max_seq_length must be an integer, got 'long'."),
        ("--max_seq_length=7", "--max_seq_length must be in [8, 1048576], got 7."),
        (
            "--max_predictions_per_seq=0",
            "--max_predictions_per_seq must be in [1, 1048576], got 0.",
        ),
        ("--dupe_factor=0", "--dupe_factor must be in [1, 1048576], got 0."),
        ("--random_seed=-1", "--random_seed must be in [0, 2**63), got -1."),
        (f"--random_seed={2**63}", f"--random_seed must be in [0, 2**63), got {2**63}."),
        ("--max_ngram_size=0", "--max_ngram_size must be in [1, 1048576], got 0."),
        ("--masked_lm_prob=0", "--masked_lm_prob must be in (0, 1), got 0.0."),
        ("--masked_lm_prob=nan", "--masked_lm_prob must be in (0, 1), got nan."),
        ("--short_seq_prob=1.5", "--short_seq_prob must be in [0, 1], got 1.5."),
        ("--next_sentence=maybe", "--next_sentence must be one of nsp, sop, none, got 'maybe'."),
        ("--overflow=lose", "--overflow must be one of carry, cut, got 'lose'."),
        ("--num_workers=0", "--num_workers must be at least 1, got 0."),
        ("--input_file=/nowhere/*.txt", "no file matches '/nowhere/*.txt'"),
        ("--vocab_file=/nowhere", "--vocab_file: no such file: /nowhere."),
        ("--spark_master=local[1]", "--spark_master has no meaning without --engine=spark;"),
        ("--spark_conf=a=b", "--spark_conf has no meaning without --engine=spark; give both."),
    ],
)
def test_run_wrong_flag_is_one_line(
    flag: str, message: str, corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    assert make(corpus, tmp_path / "out/a", flag) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("create_pretraining_data: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_run_bad_input_is_counted_with_its_places_or_strict(
    tmp_path: Path, make: Make, capsys: Captured
) -> None:
    path, records = tmp_path / "a.txt", make_forms(tmp_path)["jsonl"]
    path.write_bytes(text_corpus(60).encode() + b"\n" + "낡은 책이다.\n둘째 줄\n".encode("cp949"))
    with records.open("a", encoding="utf-8") as file:
        file.write('{"text": "끝이 없다\n')
    line = text_corpus(60).count("\n") + 2
    assert make(f"{path},{records}", tmp_path / "out/a") == 0
    totals = manifest(tmp_path / "out")["totals"]
    assert (totals["documents"], totals["dropped"]["bad_records"]) == (81, 1)
    assert totals["mended"]["invalid_utf8_lines"] == 2
    assert totals["examples"]["bad_records"] == [f"{records}:21"]
    assert totals["examples"]["invalid_utf8_lines"] == [f"{path}:{line}", f"{path}:{line + 1}"]
    assert f"{path}:{line}" in capsys.readouterr().out
    assert make(path, tmp_path / "strict/a", "--strict") == 1
    assert error_of(capsys).startswith(f"{path}:{line}: invalid UTF-8")
    assert make(records, tmp_path / "strict/b", "--strict", "--overwrite") == 1
    assert error_of(capsys).startswith(f"{records}:21: not JSON")


@pytest.mark.slow
def test_run_names_that_are_not_utf8_or_have_commas_are_read(tmp_path: Path, make: Make) -> None:
    folder = tmp_path / os.fsdecode(b"\xb8\xbb\xb9\xb6\xc4\xa1")  # as Windows calls it, in CP949
    folder.mkdir()
    (folder / "서울, 부산.txt").write_text(text_corpus(), encoding="utf-8")
    damaged = folder / os.fsdecode(b"\xff.txt")
    damaged.write_bytes((text_corpus(60, 2) + "깨진 줄 \n").encode() + b"\xff\n")
    out = tmp_path / os.fsdecode(b"\xff")
    assert make(folder, f"{out}/a") == 0
    about = manifest(out)
    assert [file["path"] for file in about["inputs"]] == sorted(map(str, folder.glob("*.txt")))
    assert about["totals"]["mended"]["invalid_utf8_lines"] == 1
    assert make(folder, f"{out}/a") == 0  # complete already
    assert make(folder / "서울, 부산.txt", f"{tmp_path}/one/a") == 0


FEW = text_corpus(9).split("\n\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("글.txt", text_corpus(9).encode("utf-16")),
        ("wiki_00", "".join(json.dumps({"text": text}) + "\n" for text in FEW)),
        ("글.json", json.dumps([{"text": text} for text in FEW], indent=1)),
        ("글.txt", text_corpus(9).replace("\n", "\r")),
    ],
)
def test_run_other_encodings_forms_and_line_ends_have_the_same_records(
    name: str, data: str | bytes, tmp_path: Path, make: Make
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    (tmp_path / "utf-8.txt").write_text(text_corpus(9), encoding="utf-8")
    for number, path in enumerate((folder, tmp_path / "utf-8.txt")):
        assert make(path, f"{tmp_path}/{number}/a") == 0
    assert (tmp_path / "0/a").read_bytes() == (tmp_path / "1/a").read_bytes()


def test_run_other_content_is_refused_before_anything_is_written(
    corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    damaged = tmp_path / "z.txt"
    damaged.write_bytes(gzip.compress(text_corpus().encode()))
    assert make(f"{corpus},{damaged}", tmp_path / "out/a") == 1
    assert error_of(capsys).startswith(f"{damaged}: gzip data, not text; decompress it")
    assert not (tmp_path / "out").exists()


def test_run_damage_that_begins_late_is_an_error_for_any_number_of_workers(
    tmp_path: Path, make: Make, capfd: Captured
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text_corpus(300).encode() + text_corpus(20).encode("cp949"))
    for workers in (1, 2):
        assert make(path, tmp_path / f"{workers}/a", f"--num_workers={workers}") == 1
        assert re.match(
            rf"{path}: [\d,]+ of [\d,]+ lines are not UTF-8 text, the first is line [\d,]+; give "
            "--input_encoding=cp949, ", error_of(capfd)
        )  # fmt: skip
        assert not (tmp_path / f"{workers}/a").exists()


def test_run_text_that_the_vocabulary_does_not_know_is_a_warning_at_the_end(
    tmp_path: Path, make: Make, capsys: Captured
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("漢字 文章\n第二 文章\n" * 9, encoding="utf-8")
    assert make(path, tmp_path / "out/a") == 0
    said = capsys.readouterr().err
    warning = r"^create_pretraining_data: warning: \d+% of the pieces of the corpus are .*\n── made"
    assert re.search(warning, said, re.M)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 2])
def test_run_missing_field_is_one_line_with_its_place(
    num_workers: int, tmp_path: Path, make: Make, capfd: Captured
) -> None:
    path = make_forms(tmp_path)["jsonl"]
    with path.open("a", encoding="utf-8") as file:
        file.write('{"body": "글"}\n')
    assert make(path, tmp_path / "out/a", f"--num_workers={num_workers}") == 1
    assert error_of(capfd).startswith(f"{path}:21: no text in field 'text'")
    assert sorted(contents(tmp_path / "out")) in (
        [f"{WORK}/lock", f"{WORK}/run.json"],
        [f"{WORK}/spill-000000.bin", f"{WORK}/lock", f"{WORK}/run.json"],
    )


@pytest.mark.parametrize("text", ["", "\n\n \n", "\u200d\n\u200b\n", "\ufeff"])
def test_run_without_documents_is_an_error_and_leaves_nothing(
    text: str, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_text("", encoding="utf-8")
    assert make(f"{tmp_path}/?.txt", tmp_path / "out/a") == 1
    assert error_of(capsys).startswith(f"no text in 2 input files: {tmp_path}/a.txt")
    assert contents(tmp_path / "out") == {}


def test_run_cut_without_pairs_is_an_error(
    corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    assert make(corpus, tmp_path / "out/a", "--next_sentence=none", "--overflow=cut") == 1
    assert error_of(capsys) == (
        "--overflow=cut has no meaning with --next_sentence=none, which cuts nothing off; leave "
        "it out."
    )


@pytest.mark.parametrize("shards", [1, 2])
def test_run_without_pairs_is_an_error_and_another_flag_helps(
    shards: int, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    (tmp_path / "a.txt").write_text("하나뿐인 문장이다.\n", encoding="utf-8")
    output = f"{tmp_path}/out/a@{shards}"
    assert make(tmp_path / "a.txt", output) == 1
    assert error_of(capsys).startswith("no instances: 1 documents")
    assert contents(tmp_path / "out") == {}
    assert make(tmp_path / "a.txt", output, "--next_sentence=none") == 0
    assert manifest(tmp_path / "out")["totals"]["instances"] == 2


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("{corpus}/a", "{corpus} must be a folder, but it or a part of it is a file."),
        ("/proc/nowhere/a", "the folder /proc/nowhere can't be created"),
        ("{corpus}", "--output_file names an input file, {corpus}, which would be lost"),
        ("{folder}/../{name}/corpus.txt,{folder}/b", "--output_file names an input file"),
    ],
)
def test_run_unusable_output_is_one_line(
    output: str, message: str, corpus: Path, make: Make, capsys: Captured
) -> None:
    places = {"corpus": corpus, "folder": corpus.parent, "name": corpus.parent.name}
    before = corpus.read_bytes()
    assert make(corpus, output.format(**places)) == 1
    assert message.format(**places) in error_of(capsys)
    assert corpus.read_bytes() == before


# Processes: as users start the command


@pytest.fixture(scope="module")
def large_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Over 12 MB in several chunks and buckets, of which little is text, so that it is fast."""
    path = tmp_path_factory.mktemp("large") / "corpus.jsonl"
    rng = random.Random(8)
    with path.open("w", encoding="utf-8") as file:
        for number in range(4000):
            text = "\n".join(sentences(rng, rng.randint(1, 8)))
            record = {"n": number, "text": text, "ignored": "x" * 3000}
            print(json.dumps(record, ensure_ascii=False), file=file)
    return path


def arguments(input_file: object, output_file: object, vocab: str, *flags: str) -> list[str]:
    return [
        sys.executable, str(REPOSITORY / "bin/create_pretraining_data"),
        f"--input_file={input_file}", f"--output_file={output_file}", f"--vocab_file={vocab}",
        "--max_seq_length=64", "--max_predictions_per_seq=10", *flags,
    ]  # fmt: skip


def execute(*args: Any, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        arguments(*args), capture_output=True, text=True, timeout=120, check=False, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("num_shards", [2, 40])
def test_command_any_number_of_workers_makes_the_same_bytes(
    num_shards: int, large_corpus: Path, tmp_path: Path, vocab_folder: str
) -> None:
    # More buckets than shards (joined), and more shards than buckets.
    found = []
    for workers in (1, 2, 3):
        done = execute(
            f"file://{large_corpus}", f"{tmp_path}/{workers}/a@{num_shards}", vocab_folder,
            f"--num_workers={workers}", "--dupe_factor=2", "--drop_duplicate_documents",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(tfrecords(tmp_path / str(workers)))
    about = manifest(tmp_path / "1")
    assert 1 < about["num_buckets"] != num_shards
    assert about["totals"]["documents"] == 4000
    assert len(found[0]) == num_shards
    assert found[0] == found[1] == found[2]


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def workers_of(pid: int) -> list[int]:
    """The worker processes of a run; the helper of multiprocessing is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def start(*args: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        arguments(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(process: "subprocess.Popen[str]", is_reached: Callable[[], object]) -> None:
    """Waits for a state of the work folder; fails when the run has ended before."""
    for _ in range(60_000):
        if is_reached():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    pytest.fail("the run hangs")


def wait_for_end(pids: list[int]) -> None:
    for _ in range(1000):
        if not any(map(is_running, pids)):
            return
        time.sleep(0.01)
    pytest.fail("workers outlive their parent")


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def undisturbed(
    large_corpus: Path, tmp_path_factory: pytest.TempPathFactory, vocab_folder: str
) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = execute(large_corpus, f"{folder}/a.gz@2", vocab_folder, "--num_workers=2")
    assert done.returncode == 0, done.stderr
    return tfrecords(folder)


def stages(work: Path) -> Iterator[Callable[[], object]]:
    """States of the work folder, in the order in which a run comes to them."""
    yield lambda: (work / "run.json").exists()
    for pattern, count in (
        ("spill-*.bin", 2), ("spill-*.bin", 7), ("tokenized.json", 1), ("part-*.tfrecord", 1),
        ("built-*.json", 1), ("built-*.json", 3), ("../.a-*.tmp", 1),
    ):  # fmt: skip
        yield functools.partial(has_files, work, pattern, count)


def has_files(work: Path, pattern: str, count: int) -> bool:
    return len(list(work.glob(pattern))) >= count


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["parent", "everyone"])
def test_command_killed_at_every_stage_resumes_to_the_same_bytes(
    victim: str, large_corpus: Path, tmp_path: Path, vocab_folder: str, undisturbed: dict[str,
    bytes],
) -> None:  # fmt: skip
    args = (large_corpus, f"{tmp_path}/a.gz@2", vocab_folder, "--num_workers=2")
    for is_reached in stages(tmp_path / WORK):
        with start(*args) as process:
            wait_until(process, is_reached)
            workers = workers_of(process.pid)
            for pid in [*workers, process.pid] if victim == "everyone" else [process.pid]:
                os.kill(pid, signal.SIGKILL)
            process.communicate()
        wait_for_end(workers)
        for name, data in tfrecords(tmp_path).items():
            if not name.startswith("."):
                assert data == undisturbed[name]
        assert not (tmp_path / "manifest.json").exists()
    done = execute(*args)
    assert done.returncode == 0, done.stderr
    assert "resuming where an earlier run was stopped" in done.stderr
    assert tfrecords(tmp_path) == undisturbed  # and no other file, hidden or not


@needs_proc
@pytest.mark.slow
def test_command_worker_that_dies_is_one_line_and_nothing_is_lost(
    large_corpus: Path, tmp_path: Path, vocab_folder: str, undisturbed: dict[str, bytes]
) -> None:
    args = (large_corpus, f"{tmp_path}/a.gz@2", vocab_folder, "--num_workers=2")
    with start(*args) as process:
        wait_until(process, functools.partial(has_files, tmp_path / WORK, "spill-*.bin", 3))
        workers = workers_of(process.pid)
        os.kill(workers[0], signal.SIGKILL)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith(
        "create_pretraining_data: error: a worker process died"
    )
    wait_for_end(workers)
    spills = sorted((tmp_path / WORK).glob("spill-*.bin"))
    before = {path: path.stat().st_mtime_ns for path in spills}
    assert len(before) >= 3
    with start(*args) as process:
        wait_until(process, functools.partial(has_files, tmp_path / WORK, "tokenized.json", 1))
        assert {path: path.stat().st_mtime_ns for path in before} == before
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert tfrecords(tmp_path) == undisturbed


@needs_proc
@pytest.mark.slow
def test_command_interrupted_ends_its_workers(
    large_corpus: Path, tmp_path: Path, vocab_folder: str
) -> None:
    args = (large_corpus, f"{tmp_path}/a@2", vocab_folder, "--num_workers=2")
    with start(*args) as process:
        wait_until(process, functools.partial(has_files, tmp_path / WORK, "spill-*.bin", 1))
        workers = workers_of(process.pid)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "create_pretraining_data: interrupted"
    assert "Traceback" not in stderr
    wait_for_end(workers)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.tfrecord", "a.tfrecord.gz"])
def test_command_file_too_large_for_the_disk_is_one_line_and_can_be_resumed(
    name: str, corpus: Path, tmp_path: Path, vocab_folder: str
) -> None:
    # A limit of the process on the size of its files stands for a disk that is full.
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (90_000, 90_000))
    args = (corpus, f"{tmp_path}/out/{name}", vocab_folder, "--num_workers=1")
    done = execute(*args, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"create_pretraining_data: error: {tmp_path}/out/{name}: File too large"
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / name).exists()
    assert execute(*args).returncode == 0
    assert len(tfrecords(tmp_path / "out")[name]) > 90_000


def test_run_dry_run_says_sizes_and_compares_and_writes_nothing(
    corpus: Path, tmp_path: Path, make: Make, capsys: Captured
) -> None:
    out = tmp_path / "out"
    assert make(corpus, out / "a@2", "--dry_run") == 0
    assert not out.exists()
    printed = capsys.readouterr().out
    assert re.search(r"^pieces +about [\d,]+$", printed, re.M)
    assert re.search(r"^output +new$", printed, re.M)
    about = re.search(r"^instances +about ([\d,]+), [\d.]+ [kM]B$", printed, re.M)
    assert about is not None
    assert make(corpus, out / "a@2") == 0
    lines = capsys.readouterr().err.splitlines()
    box = lines[-6:]
    assert box[0].startswith("── made 2 shards ─") and box[1].startswith(f"made    {out}/, ")
    assert (
        [line for line in lines if "report" in line] == [box[2]] == [f"report  {out}/report.html"]
    )
    assert box[4].startswith("  bert_ko run_pretraining --do_train --input_file=")
    made, before = manifest(out)["totals"]["instances"], contents(out)
    assert made / 2 < int(about[1].replace(",", "")) < made * 2
    assert make(corpus, out / "a@2", "--dry_run") == 0
    assert "complete already: nothing would be done" in capsys.readouterr().out
    assert make(corpus, out / "a@2", "--dry_run", "--dupe_factor=7") == 1
    assert "dupe_factor" in capsys.readouterr().err
    assert contents(out) == before


def test_command_help_answers_without_tensorflow() -> None:
    command = (
        "import sys; sys.argv = ['x', '--helpfull']; "
        "from bert_ko.create_pretraining_data import main; code = main(); "
        "assert not {'tensorflow', 'keras'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.returncode == 0, done.stderr
    for flag in ("--input_file", "--dupe_factor", "--whole_word_unit", "--masking", "--num_shards"):
        assert re.search(rf"^  {flag} ", done.stdout, re.M)
