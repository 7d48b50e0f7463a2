"""Inputs of every kind, damaged by a seed: one sentence that names the file, no crash, no hang.

A kind is a function that writes intact files, one that reads them as a command does, and the names
of the files to damage, each in 200 ways. What a checksum protects is `guarded`: if it is read all
the same, it must be what was written. Of the rest, a damaged text is another text: what was read
may differ, but what is refused is refused in one sentence.

To see one again: python -m tests.test_mutations KIND [FILE NUMBER]
"""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bert_ko.modeling.heads import ClassHead, PretrainingHead
from tests.fakes import REPOSITORY
from tests.small_data import (
    CLASSES,
    CONFIG,
    EXAMPLES,
    save_weights,
    write_config,
    write_klue,
    write_questions,
    write_shards,
    write_texts,
)

WAYS_EACH = 200
SECONDS = 10  # that reading a small file may take
_VOCAB = REPOSITORY / "vocab" / "ko-mecab-32k"
_TEXT = (REPOSITORY / "samples" / "corpus.txt").read_bytes()[:6000].decode(errors="ignore")
_LINES = [line for line in _TEXT.split("\n") if line]


class Kind(NamedTuple):
    write: Callable[[Path], object]  # into a folder that is there
    read: Callable[[Path], object]  # from the folder; the result can be pickled
    files: tuple[str, ...]  # to be damaged, one at a time
    guarded: tuple[str, ...] = ()  # of them, those whose damage must not go unnoticed
    in_child: bool = False  # the reader is no memory-safe code, or needs TensorFlow


# Ways to damage bytes


def flip_bits(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def overwrite(data: bytearray, rng: random.Random) -> bytes:
    start, end = _block(data, rng)
    data[start:end] = rng.choice([bytes(end - start), rng.randbytes(end - start)])
    return bytes(data)


def cut_off(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data[: rng.choice([0, 1, rng.randrange(len(data)), len(data) - 1])])


def cut_out(data: bytearray, rng: random.Random) -> bytes:
    start, end = _block(data, rng)
    return bytes(data[:start] + data[end:])


def duplicate(data: bytearray, rng: random.Random) -> bytes:
    start, end = _block(data, rng)
    return bytes(data[:end] + data[start:])


def insert(data: bytearray, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    added = rng.choice([b"\0", b"\n", b'"', b"{", b"[" * 3000, b"\xff\xfe", rng.randbytes(9)])
    return bytes(data[:place] + added + data[place:])


def exchange(data: bytearray, rng: random.Random) -> bytes:
    """Blocks change places."""
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return bytes(data[:a] + data[b:c] + data[a:b] + data[c:])


def shuffle_lines(data: bytearray, rng: random.Random) -> bytes:
    lines = bytes(data).split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


def change_value(data: bytearray, rng: random.Random) -> bytes:
    """A number, or a word in quotes, becomes what nobody expects there."""
    found = list(re.finditer(rb'-?\d+(?:\.\d+)?|"[^"\n]{0,40}"|true|false|null', data))
    if not found:
        return flip_bits(data, rng)
    start, end = rng.choice(found).span()
    return bytes(data[:start] + rng.choice(_VALUES) + data[end:])


_VALUES = (
    *(b"-1", b"0", b"1", b"2", b"99999999999", b"1" * 400, b"1e400", b"-0.5", b"NaN", b"null"),
    *(b"true", b'"x"', b'""', b"[]", b"{}", b"[[1]]", b'"../../etc/hostname"', b'"\\ud800"'),
)
_WAYS = (
    *(flip_bits, overwrite, cut_off, cut_out, duplicate, insert, exchange, shuffle_lines),
    change_value,
)


def _block(data: bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice([1, 4, 16, 64, len(data)]))


def damaged(content: bytes, name: str, number: int) -> bytes:
    rng = random.Random(f"{name} {number}")
    while (found := rng.choice(_WAYS)(bytearray(content), rng)) == content:
        pass
    return found


# Reading what is damaged


class Hang(BaseException):
    """No reader catches it."""


@contextmanager
def time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fault_of(kind: Kind, folder: Path, name: str, intact: object) -> str:
    """What is wrong with how a damaged file was read; empty if nothing is."""
    try:
        with time_limit():
            found = kind.read(folder)
    except (ValueError, OSError) as error:
        if "\n" in str(error):
            return f"many lines: {error!r}"
        if not any(part in str(error) for part in (name, str(folder))):
            return f"names no file: {error!r}"
        return ""
    except Hang:
        return f"hangs for {SECONDS} seconds"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{error!r} at {place.filename}:{place.lineno}"
    if name in kind.guarded and pickle.dumps(found) != pickle.dumps(intact):
        return "read as something else"
    return ""


def faults(kind_name: str, folder: Path, name: str, numbers: range) -> Iterator[tuple[int, str]]:
    """Damages a file in turn; yields each number and what was wrong."""
    kind, path = KINDS[kind_name], folder / name
    content = path.read_bytes()
    intact = kind.read(folder)
    for number in numbers:
        path.write_bytes(damaged(content, name, number))
        yield number, fault_of(kind, folder, name, intact)
    path.write_bytes(content)


def main(kind_name: str, *chosen: str) -> None:
    """Prints a line for each mutation, so that the one that ends the process is known."""
    numbers = range(int(chosen[1]), int(chosen[1]) + 1) if chosen else range(WAYS_EACH)
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(sys.stderr):
            KINDS[kind_name].write(Path(folder))
        for name in chosen[:1] or KINDS[kind_name].files:
            for number, what in faults(kind_name, Path(folder), name, numbers):
                print(name, number, what, sep="\t", flush=True)


@functools.cache
def in_child(kind_name: str) -> dict[str, dict[int, str]]:
    """All faults by file and number; the last is the exit status if it isn't 0."""
    command = [sys.executable, "-m", "tests.test_mutations", kind_name]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    found: dict[str, dict[int, str]] = {name: {} for name in KINDS[kind_name].files}
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    for name, number, what in rows:
        found[name][int(number)] = what
    if done.returncode:
        name = next(name for name, rows in found.items() if len(rows) < WAYS_EACH)
        found[name][len(found[name])] = f"exit status {done.returncode}: {done.stderr[-300:]}"
    return found


# The kinds


@functools.cache
def tokenizer() -> Any:
    from bert_ko.tokenization.folder import load_tokenizer

    return load_tokenizer(str(_VOCAB))


def corpus(name: str, make: Callable[[], bytes]) -> tuple[Any, Any, tuple[str, ...]]:
    def read(folder: Path) -> object:
        from bert_ko.data.corpus import CorpusFlags, find_files, read_chunks
        from bert_ko.data.documents import Notes, read_documents

        config = CorpusFlags(input_file=(str(folder / name),))
        chunks = read_chunks(find_files(config), config)
        notes = Notes()
        return [list(read_documents(chunk, config, tokenizer(), notes)) for chunk in chunks]

    return lambda folder: (folder / name).write_bytes(make()), read, (name,)


def packed(suffix: str, compress: Callable[[bytes], bytes]) -> Kind:
    name = f"corpus.txt{suffix}"
    return Kind(*corpus(name, lambda: compress(_TEXT.encode())), guarded=(name,))


def zstd(content: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def parquet(lines: list[str]) -> bytes:
    import pyarrow
    from pyarrow.parquet import write_table

    stream = pyarrow.BufferOutputStream()
    write_table(pyarrow.table({"text": lines}), stream)
    return bytes(stream.getvalue())


def vocabulary(folder: Path) -> None:
    shutil.copy(_VOCAB / "tokenizer_config.json", folder)
    pieces = (_VOCAB / "vocab.txt").read_text(encoding="utf-8").split("\n")[:800]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")


def read_vocabulary(folder: Path) -> object:
    from bert_ko.tokenization.folder import load_tokenizer

    found = load_tokenizer(str(folder))
    return found.vocab.pieces, found.config, found.encode(_LINES[0]).ids


def published_tokenizer(folder: Path) -> None:
    from tokenizers import BertWordPieceTokenizer

    from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS

    pieces = [
        *SPECIAL_TOKENS,
        *dict.fromkeys(char for line in _LINES for char in line if char > " "),
    ]
    model = BertWordPieceTokenizer({piece: i for i, piece in enumerate(pieces)}, lowercase=False)
    model.save(str(folder / "tokenizer.json"))
    config = (
        '{"tokenizer_class": "BertTokenizerFast", "do_lower_case": false, "strip_accents": null}'
    )
    (folder / "tokenizer_config.json").write_text(config, encoding="utf-8")


def user_dictionary(folder: Path) -> None:
    from bert_ko.tokenization.user_dictionary import compile_user_dictionary

    compile_user_dictionary({"솔내글방": -5000, "코로나19": -5000}, str(folder / "user.dic"))


def read_user_dictionary(folder: Path) -> object:
    from bert_ko.tokenization.morphemes import MecabSegmenter

    segmenter = MecabSegmenter([str(folder / "user.dic")])
    return [segmenter.analyze(line) for line in ("솔내글방은 코로나19를", *_LINES[:3])]


def sentencepiece(folder: Path) -> None:
    from bert_ko.build_vocab import BuildVocabConfig, run

    (folder / "text.txt").write_text(_TEXT, encoding="utf-8")
    run(
        BuildVocabConfig(
            input_file=(str(folder / "text.txt"),), output_dir=str(folder), num_workers=1,
            vocab_size=600, tokenizer_type="sentencepiece",
        )
    )  # fmt: skip


def shards(folder: Path) -> None:
    write_shards(folder / "a.tfrecord", _VOCAB, max_predictions_per_seq=5)
    write_config(folder / "bert_config.json", vocab_size=32000)


def read_shards(folder: Path) -> object:
    from bert_ko.data.reader import InstanceReader, ReaderConfig
    from bert_ko.run_pretraining import RunPretrainingConfig
    from bert_ko.tasks.pretraining.shard_checks import check_shards
    from bert_ko.training.checkpoints import read_model_config
    from bert_ko.training.model_files import ModelFiles

    config_file = str(folder / "bert_config.json")
    model = ModelFiles(read_model_config(config_file), config_file, None)
    flags = RunPretrainingConfig(
        input_file=(str(folder / "a.tfrecord"),), bert_config_file=config_file,
        output_dir=str(folder), do_train=True, max_seq_length=32, max_predictions_per_seq=5,
    )  # fmt: skip
    found = check_shards(flags.input_file, flags, model)
    reader = InstanceReader(
        ReaderConfig(
            found.sources, 8, 32, 5, 32000, found.feature_names, found.masking,
            shuffle_buffer_size=0,
        )
    )  # fmt: skip
    return [
        {name: array.tobytes() for name, array in batch.features.items()}
        for batch in reader.one_epoch()
    ]


def checkpoint(folder: Path) -> None:
    from bert_ko.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint

    save_weights(folder / "run", PretrainingHead(), fingerprint="0" * 16)
    path = str(folder / "run" / "checkpoint-00000007")
    found = load_checkpoint(path, with_slots=False)
    slots = {f"{name}/{slot}": a for name, a in found.parameters.items() for slot in ("adam_m",)}
    from bert_ko.training.checkpoints import read_model_config

    config = read_model_config(os.path.join(path, "bert_config.json"))
    full = Checkpoint(found.parameters, slots, {**found.state, "trained_positions": 5})
    save_checkpoint(str(folder / "run"), 7, full, config, 0)


def read_checkpoint(folder: Path) -> object:
    from bert_ko.training.checkpoints import load_checkpoint, read_checkpoint_config

    path = folder / "run" / "checkpoint-00000007"
    found = load_checkpoint(str(path))
    config = read_checkpoint_config(str(path))
    assert config is not None
    arrays = {**found.parameters, **found.slots}
    # Another name of the checksum is a key more, which nothing asks for.
    names = ("step", "tokenizer_fingerprint", "trained_positions")
    state = {name: found.state.get(name) for name in names}
    return {name: array.tobytes() for name, array in arrays.items()}, state, config.to_dict()


def tensorflow_checkpoint(folder: Path) -> None:
    import numpy as np

    from bert_ko.training.google import write_tensorflow

    arrays = {f"bert/layer_{i}/kernel": np.full((8, 8), i, np.float32) for i in range(4)}
    write_tensorflow(str(folder / "bert_model.ckpt"), arrays, 7)


def read_tensorflow_checkpoint(folder: Path) -> object:
    from bert_ko.training.google import read_tensorflow

    arrays, step = read_tensorflow(str(folder / "bert_model.ckpt"))
    return {name: array.tobytes() for name, array in arrays.items()}, step


def hugging_face(folder: Path) -> None:
    from bert_ko.json_files import write_json
    from bert_ko.modeling.heads import model_specs
    from bert_ko.modeling.parameters import initial_parameters
    from bert_ko.tensor_files import save_arrays
    from bert_ko.training.hugging_face import to_hugging_face_arrays, to_hugging_face_config

    arrays = initial_parameters(model_specs(CONFIG, ClassHead(3)), 0.02, 1)
    save_arrays(str(folder / "model.safetensors"), to_hugging_face_arrays(CONFIG, arrays))
    config = to_hugging_face_config(CONFIG, arrays, CLASSES)
    write_json(str(folder / "config.json"), config)


def hugging_face_parts(folder: Path) -> None:
    import json

    from bert_ko.tensor_files import load_tensors, save_arrays

    hugging_face(folder)
    arrays = load_tensors(str(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    parts = [dict(list(arrays.items())[number::2]) for number in (0, 1)]
    for name, part in zip(names, parts, strict=True):
        save_arrays(str(folder / name), part)
    places = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    text = json.dumps({"metadata": {"total_size": 1}, "weight_map": places}, indent=1)
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def read_hugging_face(folder: Path) -> object:
    from bert_ko.training.initialization import read_source

    found = read_source(str(folder))
    arrays = {name: array.tobytes() for name, array in found.arrays.items()}
    return arrays, found.labels, found.config


def metrics(folder: Path) -> None:
    rows = "".join(f'{{"step": {step}, "loss": {9 / step}}}\n' for step in range(1, 40))
    (folder / "metrics.jsonl").write_text(rows, encoding="utf-8")


def read_metrics(folder: Path) -> object:
    from bert_ko.training import metrics as training_metrics

    return training_metrics.read_metrics(str(folder / "metrics.jsonl"))


def questions(folder: Path) -> None:
    from bert_ko.json_files import write_json

    write_questions(folder / "data.json")
    write_json(str(folder / "predictions.json"), {"q1": "언덕 위", "q2": {"text": "1987년"}})


def read_questions(folder: Path) -> object:
    from bert_ko.tasks.squad.prediction_files import read_predictions
    from bert_ko.tasks.squad.question_files import read_dataset
    from bert_ko.tasks.squad.scores import score_predictions

    dataset = read_dataset(str(folder / "data.json"))
    predictions = read_predictions(str(folder / "predictions.json"))
    return score_predictions(dataset.golds(), predictions.texts).means


def tables(folder: Path) -> None:
    import csv
    import json

    write_texts(folder / "data.tsv")
    with open(folder / "data.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *EXAMPLES])
    rows = [{"text": text, "label": label} for text, label in EXAMPLES]
    text = json.dumps(rows, ensure_ascii=False, indent=1)
    (folder / "data.json").write_text(text, encoding="utf-8")
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "data.jsonl").write_text("\n".join(lines), encoding="utf-8")


def table(name: str) -> Kind:
    def read(folder: Path) -> object:
        from bert_ko.tasks.classifier.examples import read_dataset
        from bert_ko.tasks.classifier.settings import TaskForm

        form = TaskForm("classification", ("text",), ("label",))
        return read_dataset(str(folder / name), form, needs_labels=True).examples

    return Kind(tables, read, (name,))


def labels(folder: Path) -> None:
    save_weights(folder / "run", ClassHead(3), CLASSES)


def read_labels(folder: Path) -> object:
    from bert_ko.training.initialization import read_source

    return read_source(str(folder / "run")).labels


def read_tags(folder: Path) -> object:
    from bert_ko.tasks.ner.examples import read_dataset

    return read_dataset(str(folder / "data.tsv")).sentences


def sentences(folder: Path) -> None:
    text = "\n".join([*_LINES, f"{_LINES[0]} ||| {_LINES[1]}"])
    (folder / "sentences.txt").write_text(text, encoding="utf-8")


def read_sentences(folder: Path) -> object:
    from bert_ko.tasks.sentences import BlockSize, encode_blocks
    from bert_ko.text_lines import open_lines

    with open_lines(str(folder / "sentences.txt")) as lines:
        blocks = encode_blocks(lines, tokenizer(), 64, BlockSize(100, 10000))
        return [block.input_ids.tobytes() for block in blocks]


_JSON_LINES = "\n".join(f'{{"text": "{line}", "n": {i}}}' for i, line in enumerate(_LINES))
_ROWS = "\n".join(["id,text", *(f'{i},"{line}, ""끝"""' for i, line in enumerate(_LINES))])
_RUN = "run/checkpoint-00000007"
KINDS = {
    "text": Kind(*corpus("corpus.txt", _TEXT.encode)),
    "text_utf16": Kind(*corpus("corpus.txt", lambda: _TEXT.encode("utf-16"))),
    "json_lines": Kind(*corpus("corpus.jsonl", _JSON_LINES.encode)),
    "csv": Kind(*corpus("corpus.csv", _ROWS.encode)),
    "gz": packed(".gz", gzip.compress),
    "bz2": packed(".bz2", bz2.compress),
    "xz": packed(".xz", lzma.compress),
    "zst": packed(".zst", zstd),
    "parquet": Kind(*corpus("corpus.parquet", lambda: parquet(_LINES)), in_child=True),
    "vocabulary": Kind(vocabulary, read_vocabulary, ("vocab.txt", "tokenizer_config.json")),
    "sentencepiece": Kind(sentencepiece, read_vocabulary, ("spm.model",), in_child=True),
    "published_tokenizer": Kind(
        published_tokenizer, read_vocabulary, ("tokenizer.json", "tokenizer_config.json")
    ),
    "user_dictionary": Kind(user_dictionary, read_user_dictionary, ("user.dic",), in_child=True),
    "shards": Kind(
        shards, read_shards, ("a.tfrecord", "manifest.json", "bert_config.json"), ("a.tfrecord",)
    ),
    "checkpoint": Kind(
        checkpoint,
        read_checkpoint,
        tuple(f"{_RUN}/{name}" for name in ("model.safetensors", "optimizer.safetensors",
                                            "state.json", "bert_config.json")),
        tuple(f"{_RUN}/{name}" for name in ("model.safetensors", "optimizer.safetensors",
                                            "state.json", "bert_config.json")),
    ),
    "hugging_face": Kind(hugging_face, read_hugging_face, ("config.json", "model.safetensors")),
    "hugging_face_parts": Kind(
        hugging_face_parts, read_hugging_face, ("model.safetensors.index.json",)
    ),
    "metrics": Kind(metrics, read_metrics, ("metrics.jsonl",)),
    "tf1": Kind(
        tensorflow_checkpoint,
        read_tensorflow_checkpoint,
        ("bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"),
        ("bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"),
        in_child=True,
    ),
    "korquad": Kind(questions, read_questions, ("data.json", "predictions.json")),
    "table_tsv": table("data.tsv"),
    "table_csv": table("data.csv"),
    "table_json": table("data.json"),
    "table_jsonl": table("data.jsonl"),
    "labels": Kind(labels, read_labels, ("run/labels.json",)),
    "ner": Kind(lambda folder: write_klue(folder / "data.tsv"), read_tags, ("data.tsv",)),
    "sentences": Kind(sentences, read_sentences, ("sentences.txt",)),
}  # fmt: skip
_CASES = [(kind, name) for kind, found in KINDS.items() for name in found.files]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), _CASES, ids=[f"{k}-{n}" for k, n in _CASES])
def test_damaged_file_is_one_sentence_or_what_it_was(kind: str, name: str, tmp_path: Path) -> None:
    if KINDS[kind].in_child:
        found = in_child(kind)[name]
    else:
        KINDS[kind].write(tmp_path)
        found = dict(faults(kind, tmp_path, name, range(WAYS_EACH)))
    assert len(found) == WAYS_EACH
    bad = [f"{number}: {what}" for number, what in found.items() if what]
    assert not bad, f"{len(bad)} of {WAYS_EACH}\n" + "\n".join(bad[:12])


if __name__ == "__main__":
    main(*sys.argv[1:])
