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
from typing import Any, NamedTuple, TypeVar

from bert_ko import files
from bert_ko.data import buckets
from bert_ko.data.corpus import Chunk, choose_chunk_bytes, read_chunks
from bert_ko.data.makers import ShardMaker
from bert_ko.data.manifest import Shard, listed_shards, manifest_path
from bert_ko.data.settings import PipelineFlags
from bert_ko.data.shards import Built, join_parts
from bert_ko.json_files import member, read_json, write_json
from bert_ko.progress import Progress
from bert_ko.temporary import remove_leftovers
from bert_ko.workers import WorkerPool

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """What the tasks of a run need to know; picklable."""

    flags: PipelineFlags
    make_maker: Callable[[], ShardMaker]  # in a worker, which opens the vocabulary
    shards: tuple[str, ...]  # files to write
    num_buckets: int  # of choose_num_buckets
    work_dir: str  # local folder of spill files, parts and records of what is done

    def path(self, name: str) -> str:
        """A file of the work folder."""
        return os.path.join(self.work_dir, name)

    @property
    def joins(self) -> bool:
        """Whether a shard is joined from the parts of several buckets."""
        return self.num_buckets > len(self.shards)

    def spills(self, num_chunks: int) -> list[str]:
        """The spill files of the chunks."""
        return [buckets.spill_path(self.work_dir, chunk) for chunk in range(num_chunks)]


class FinishedRun(NamedTuple):
    """A finished run: its shards in order, everything counted, and places of what was dropped."""

    shards: list[Shard]
    counts: Counter[str]
    examples: dict[str, list[str]]


def run_pipeline(
    recipe: Recipe, inputs: Sequence[str], text_bytes: int, num_workers: int
) -> FinishedRun:
    """Makes all shards, resuming where an earlier run of the same recipe was stopped.

    Args:
        recipe: what to do.
        inputs: corpus files in order.
        text_bytes: their size, for the progress line.
        num_workers: processes.

    Raises:
        ValueError: the corpus has no documents, or they make no instances.
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
        if any("seen_pieces" not in one.counts for one in built):
            # A run begun by a version that did not count them.
            del counts["seen_pieces"], counts["unseen_pieces"]
        if not any(shard.records for one in built for shard in one.shards):
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
        self.recipe, self.maker = recipe, recipe.make_maker()


def _tokenize_all(pool: WorkerPool, recipe: Recipe, inputs: Sequence[str], text_bytes: int) -> int:
    """Returns the number of chunks; chunks.json has it once all are tokenized."""
    done_path = recipe.path("chunks.json")
    done = read_json(done_path)
    if done is not None:
        return member(done, "num_chunks", int, done_path)
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
    documents = worker.maker.encode(chunk)
    path = buckets.spill_path(recipe.work_dir, chunk.number)
    owners = buckets.assign_buckets(
        documents, chunk.number, recipe.num_buckets, flags.random_seed,
        flags.drop_duplicate_documents,
    )  # fmt: skip
    buckets.write_spill(path, documents, owners, recipe.num_buckets)
    return chunk.size


def _read_notes(recipe: Recipe, num_chunks: int) -> tuple[Counter[str], dict[str, list[str]]]:
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for path in recipe.spills(num_chunks):
        notes = buckets.read_spill_notes(path)
        counts.update(notes["counts"])
        for what, places in notes["examples"].items():
            examples[what] = (examples.get(what, []) + places)[:5]
    return counts, examples


def _run_missing(
    pool: WorkerPool,
    stage: tuple[str, str],
    work: Callable[[_Worker, Any], tuple[int, T]],
    results: list[T | None],
    make_task: Callable[[int], Any],
) -> list[T]:
    """Runs the tasks of a stage (its name and unit) that have no result; returns all in order."""
    missing = [number for number, result in enumerate(results) if result is None]
    name, unit = stage
    done = len(results) - len(missing)
    with Progress(name, len(results), unit, initial=done) as progress:
        for number, result in pool.run(work, map(make_task, missing)):
            results[number] = result
            progress.update()
    return [result for result in results if result is not None]


def _build_all(pool: WorkerPool, recipe: Recipe, num_chunks: int) -> list[Built]:
    """Returns what was built of each bucket, in order."""
    built = [_done_build(recipe, bucket) for bucket in range(recipe.num_buckets)]
    return _run_missing(
        pool, ("building", "buckets"), _build, built, lambda bucket: (bucket, num_chunks)
    )


def _build(worker: _Worker, task: tuple[int, int]) -> tuple[int, Built]:
    """Builds one bucket of the documents of all chunks: the task is (bucket, number of chunks)."""
    (number, num_chunks), recipe, flags = task, worker.recipe, worker.recipe.flags
    bucket = buckets.read_bucket(
        recipe.spills(num_chunks), number, recipe.num_buckets, flags.drop_duplicate_documents,
        worker.maker.piece_dtype,
    )  # fmt: skip
    paths = recipe.shards[number :: recipe.num_buckets]
    if recipe.joins:
        paths = (recipe.path(f"part-{number:05d}.tfrecord"),)
    built = worker.maker.build(bucket, number, paths)
    record = {"shards": [shard._asdict() for shard in built.shards], "counts": built.counts}
    write_json(recipe.path(f"built-{number:05d}.json"), record)
    return number, built


def _done_build(recipe: Recipe, bucket: int) -> Built | None:
    """What an earlier run built of a bucket, if its files are still there."""
    path = recipe.path(f"built-{bucket:05d}.json")
    record = read_json(path)
    if record is None:
        return None
    built = Built(listed_shards(record, path), member(record, "counts", dict, path))
    if recipe.joins and _done_join(recipe, bucket % len(recipe.shards)) is not None:
        return built
    return built if all(shard.is_intact for shard in built.shards) else None


def _join_all(pool: WorkerPool, recipe: Recipe, built: Sequence[Built]) -> list[Shard]:
    """Returns the shards in order."""
    if not recipe.joins:
        by_path = {shard.path: shard for one in built for shard in one.shards}
        return [by_path[path] for path in recipe.shards]
    count = len(recipe.shards)
    joined = [_done_join(recipe, shard) for shard in range(count)]
    return _run_missing(
        pool, ("joining", "shards"), _join, joined,
        lambda shard: (shard, [one.shards[0] for one in built[shard::count]]),
    )  # fmt: skip


def _join(worker: _Worker, task: tuple[int, list[Shard]]) -> tuple[int, Shard]:
    """Joins one shard: the task is its number and its parts."""
    (number, parts), recipe = task, worker.recipe
    shard = join_parts(parts, recipe.shards[number])
    write_json(recipe.path(f"joined-{number:05d}.json"), shard._asdict())
    for part in parts:
        os.unlink(part.path)
    return number, shard


def _done_join(recipe: Recipe, number: int) -> Shard | None:
    path = recipe.path(f"joined-{number:05d}.json")
    record = read_json(path)
    if record is None:
        return None
    (shard,) = listed_shards({"shards": [record]}, path)
    return shard if shard.is_intact else None


def _remove_temporary(recipe: Recipe) -> None:
    """Removes what a killed run was writing under temporary names."""
    finals = (*recipe.shards, manifest_path(recipe.shards))
    local = [path for path in finals if not files.is_remote(path)]
    remove_leftovers(recipe.work_dir)
    for folder, name in map(os.path.split, local):
        remove_leftovers(folder, name)


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
    """Removes the files that runs leave in the work folder, and the folder if it is then empty."""
    names = ("chunk-*.spill", "part-*.tfrecord", "built-*.json", "joined-*.json", "chunks.json",
             "run.json", "lock", ".*.tmp")  # fmt: skip
    for name in names:
        for path in glob.glob(os.path.join(glob.escape(work_dir), name)):
            os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(work_dir)
