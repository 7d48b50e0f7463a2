"""Corpus to shards in three stages, each of independent tasks that survive a kill.

tokenize: a chunk of text to a spill file, its documents sorted by bucket
build: a bucket to its shards, or to a part of one where there are more buckets than shards
join: the parts of a shard to the shard
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bert_ko import files
from bert_ko.data import buckets
from bert_ko.data.corpus import Chunk, choose_chunk_bytes, read_chunks
from bert_ko.data.documents import encode_documents
from bert_ko.data.manifest import Shard, manifest_path
from bert_ko.data.settings import PipelineFlags
from bert_ko.data.shards import Built, build_bucket, join_parts
from bert_ko.json_files import read_json, write_json
from bert_ko.progress import Progress
from bert_ko.tokenization.encoder import LineEncoder
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.workers import WorkerPool


@dataclass(frozen=True)
class Recipe:
    """What the tasks of a run need to know; picklable.

    Attributes:
        flags: what decides the instances.
        make_tokenizer: opens the tokenizer in a worker.
        shards: files to write.
        num_buckets: of choose_num_buckets.
        work_dir: local folder of spill files, parts and what is done.
    """

    flags: PipelineFlags
    make_tokenizer: Callable[[], Tokenizer]
    shards: tuple[str, ...]
    num_buckets: int
    work_dir: str

    def path(self, name: str) -> str:
        """A file of the work folder."""
        return os.path.join(self.work_dir, name)

    @property
    def joins(self) -> bool:
        """Whether a shard is joined from the parts of several buckets."""
        return self.num_buckets > len(self.shards)

    def bucket_files(self, bucket: int) -> list[str]:
        """The files that a bucket's instances are written to."""
        if self.joins:
            return [self.path(f"part-{bucket:05d}.tfrecord")]
        return list(self.shards[bucket :: self.num_buckets])


class FinishedRun(NamedTuple):
    """A finished run: its shards in order, everything counted, and places of what was dropped."""

    shards: list[Shard]
    counts: Counter[str]
    examples: dict[str, list[str]]


def run_pipeline(
    recipe: Recipe, inputs: Sequence[str], text_bytes: int, num_workers: int
) -> FinishedRun:
    """Makes all shards, going on where an earlier run of the same recipe was stopped.

    Args:
        recipe: what to do.
        inputs: corpus files in order.
        text_bytes: their size, for the progress line.
        num_workers: processes.

    Raises:
        ValueError: the corpus holds no document, or no instance comes out of it.
    """
    _remove_temporary(recipe)
    with WorkerPool(functools.partial(_Worker, recipe), num_workers) as pool:
        num_chunks = _tokenize_all(pool, recipe, inputs, text_bytes)
        counts, examples = _read_notes(recipe, num_chunks)
        if not counts["documents"]:
            _forget_empty(recipe)
            raise ValueError(f"no text in {len(inputs)} input files: {', '.join(inputs[:5])}.")
        built = _build_all(pool, recipe, num_chunks)
        for one in built:
            counts.update(one.counts)
        if not counts["instances"]:
            _forget_empty(recipe)
            raise ValueError(
                f"no instances: {counts['documents']} documents, "
                "but none with two sentences to pair."
            )
        shards = _join_all(pool, recipe, built)
    return FinishedRun(shards, counts, examples)


class _Worker:
    """What a worker process holds."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.tokenizer = recipe.make_tokenizer()
        self.encoder = LineEncoder(self.tokenizer)


def _tokenize_all(pool: WorkerPool, recipe: Recipe, inputs: Sequence[str], text_bytes: int) -> int:
    """Returns the number of chunks; a file says so when all are tokenized."""
    done_path = recipe.path("chunks.json")
    done = read_json(done_path)
    if done is not None:
        return int(done["num_chunks"])
    num_chunks = 0
    with Progress("tokenizing", text_bytes, "B") as progress:

        def missing() -> Iterator[Chunk]:
            nonlocal num_chunks
            for chunk in read_chunks(inputs, recipe.flags, choose_chunk_bytes(text_bytes)):
                num_chunks += 1
                if os.path.exists(buckets.spill_path(recipe.work_dir, chunk.number)):
                    progress.skip(chunk.size)
                else:
                    yield chunk

        for size in pool.run(_tokenize, missing()):
            progress.update(size)
    write_json(done_path, {"num_chunks": num_chunks})
    return num_chunks


def _tokenize(worker: _Worker, chunk: Chunk) -> int:
    recipe, flags = worker.recipe, worker.recipe.flags
    documents = encode_documents(chunk, flags, worker.tokenizer, worker.encoder)
    owners = buckets.assign_buckets(
        documents,
        chunk.number,
        recipe.num_buckets,
        flags.random_seed,
        flags.drop_duplicate_documents,
    )
    path = buckets.spill_path(recipe.work_dir, chunk.number)
    buckets.write_spill(path, documents, owners, recipe.num_buckets)
    return chunk.size


def _read_notes(recipe: Recipe, num_chunks: int) -> tuple[Counter[str], dict[str, list[str]]]:
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for chunk in range(num_chunks):
        notes = buckets.read_spill_notes(buckets.spill_path(recipe.work_dir, chunk))
        counts.update(notes["counts"])
        for what, places in notes["examples"].items():
            examples[what] = (examples.get(what, []) + places)[:5]
    return counts, examples


class _BuildTask(NamedTuple):
    bucket: int
    num_chunks: int


def _build_all(pool: WorkerPool, recipe: Recipe, num_chunks: int) -> list[Built]:
    """Returns what was built of each bucket, in order."""
    built = {bucket: _done_build(recipe, bucket) for bucket in range(recipe.num_buckets)}
    missing = [_BuildTask(bucket, num_chunks) for bucket, one in built.items() if one is None]
    done = recipe.num_buckets - len(missing)
    with Progress("building", recipe.num_buckets, "buckets", initial=done) as progress:
        for bucket, one in pool.run(_build, missing):
            built[bucket] = one
            progress.update()
    return [one for _, one in sorted(built.items()) if one is not None]


def _build(worker: _Worker, task: _BuildTask) -> tuple[int, Built]:
    recipe, flags = worker.recipe, worker.recipe.flags
    spills = [buckets.spill_path(recipe.work_dir, chunk) for chunk in range(task.num_chunks)]
    bucket = buckets.read_bucket(
        spills, task.bucket, recipe.num_buckets, flags.drop_duplicate_documents
    )
    paths = recipe.bucket_files(task.bucket)
    built = build_bucket(bucket, task.bucket, paths, flags, worker.tokenizer)
    record = {"shards": [shard._asdict() for shard in built.shards], "counts": built.counts}
    write_json(recipe.path(f"built-{task.bucket:05d}.json"), record)
    return task.bucket, built


def _done_build(recipe: Recipe, bucket: int) -> Built | None:
    """What an earlier run built of a bucket, if its files still stand."""
    record = read_json(recipe.path(f"built-{bucket:05d}.json"))
    if record is None:
        return None
    built = Built(tuple(Shard(**shard) for shard in record["shards"]), record["counts"])
    if recipe.joins and _done_join(recipe, bucket % len(recipe.shards)) is not None:
        return built
    return built if all(map(is_intact, built.shards)) else None


def is_intact(shard: Shard) -> bool:
    """Whether a shard's file is there with the size that was written."""
    try:
        return files.size(shard.path) == shard.bytes
    except FileNotFoundError:
        return False


class _JoinTask(NamedTuple):
    shard: int
    parts: tuple[Shard, ...]


def _join_all(pool: WorkerPool, recipe: Recipe, built: Sequence[Built]) -> list[Shard]:
    """Returns the shards in order."""
    if not recipe.joins:
        by_path = {shard.path: shard for one in built for shard in one.shards}
        return [by_path[path] for path in recipe.shards]
    count = len(recipe.shards)
    joined = {shard: _done_join(recipe, shard) for shard in range(count)}
    missing = [
        _JoinTask(shard, tuple(one.shards[0] for one in built[shard::count]))
        for shard, one in joined.items()
        if one is None
    ]
    with Progress("joining", count, "shards", initial=count - len(missing)) as progress:
        for shard, one in pool.run(_join, missing):
            joined[shard] = one
            progress.update()
    return [one for _, one in sorted(joined.items()) if one is not None]


def _join(worker: _Worker, task: _JoinTask) -> tuple[int, Shard]:
    recipe = worker.recipe
    shard = join_parts(task.parts, recipe.shards[task.shard])
    write_json(recipe.path(f"joined-{task.shard:05d}.json"), shard._asdict())
    for part in task.parts:
        os.unlink(part.path)
    return task.shard, shard


def _done_join(recipe: Recipe, number: int) -> Shard | None:
    record = read_json(recipe.path(f"joined-{number:05d}.json"))
    shard = None if record is None else Shard(**record)
    return shard if shard is not None and is_intact(shard) else None


def _remove_temporary(recipe: Recipe) -> None:
    """Removes what a killed run was writing under temporary names."""
    finals = (*recipe.shards, manifest_path(recipe.shards))
    local = [path for path in finals if not files.is_remote(path)]
    for path in [*local, recipe.path("*")]:
        folder, name = os.path.split(path)
        name = name if path not in local else glob.escape(name)
        for temporary in glob.glob(os.path.join(glob.escape(folder), f".{name}.*.tmp")):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _forget_empty(recipe: Recipe) -> None:
    """Leaves no trace of a run that made nothing, so that the next may have other flags."""
    for path in recipe.shards:
        if not files.is_remote(path) and os.path.isfile(path) and not os.path.getsize(path):
            os.unlink(path)
    remove_work_files(recipe.work_dir)


def has_work_files(work_dir: str) -> bool:
    """Whether an earlier run has finished anything."""
    return bool(glob.glob(os.path.join(glob.escape(work_dir), "chunk-*.spill")))


def remove_work_files(work_dir: str) -> None:
    """Removes the files that runs leave in the work folder, and the folder if it is empty then."""
    names = ("chunk-*.spill", "part-*.tfrecord", "built-*.json", "joined-*.json", "chunks.json",
             "run.json", "lock", ".*.tmp")  # fmt: skip
    for name in names:
        for path in glob.glob(os.path.join(glob.escape(work_dir), name)):
            os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(work_dir)
