"""Corpus to shards in three stages, each of independent tasks that survive a kill.

tokenize: a batch of chunks of text to a spill file, its documents sorted by bucket
build: a bucket to its shards, or to a part of one where there are more buckets than shards
join: the parts of a shard to the shard

A task may be run twice, even at the same time: it writes the same bytes to the same names, each
file whole, and a record of what is done after the data. Where tasks read the corpus themselves, a
stage before the first one plans it.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bert_ko import files
from bert_ko.data import buckets
from bert_ko.data.corpus import (
    ChunkBatch,
    batches,
    choose_batch_size,
    choose_chunk_bytes,
    pack,
    read_chunks,
)
from bert_ko.data.documents import join_documents
from bert_ko.data.makers import ShardMaker
from bert_ko.data.manifest import Shard, listed_shards, manifest_path
from bert_ko.data.plans import Group, group_files, read_plans, write_plans
from bert_ko.data.settings import PipelineFlags
from bert_ko.data.shards import Built, join_parts
from bert_ko.engines import Engine
from bert_ko.json_files import member, read_json, write_json
from bert_ko.progress import Progress
from bert_ko.temporary import remove_leftovers
from bert_ko.workers import Pool

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """What the tasks of a run need to know; picklable."""

    flags: PipelineFlags
    make_maker: Callable[[], ShardMaker]  # in a worker, which opens the vocabulary
    shards: tuple[str, ...]  # files to write
    num_buckets: int  # of choose_num_buckets
    work_dir: str  # folder of spill files, parts and records of what is done, local or remote

    def path(self, name: str) -> str:
        """A file of the work folder."""
        return files.join(self.work_dir, name)

    @property
    def joins(self) -> bool:
        """Whether a shard is joined from the parts of several buckets."""
        return self.num_buckets > len(self.shards)

    def spills(self, num_batches: int) -> list[str]:
        """The spill files of the batches."""
        return [buckets.spill_path(self.work_dir, batch) for batch in range(num_batches)]


class FinishedRun(NamedTuple):
    """A finished run: its shards in order, everything counted, and places of what was dropped."""

    shards: list[Shard]
    counts: Counter[str]
    examples: dict[str, list[str]]


def run_pipeline(
    recipe: Recipe, inputs: Sequence[str], sizes: Sequence[int], engine: Engine
) -> FinishedRun:
    """Makes all shards, resuming where an earlier run of the same recipe was stopped.

    Args:
        recipe: what to do.
        inputs: corpus files in order.
        sizes: bytes of text in each; see ``estimated_sizes``.
        engine: where the tasks run.

    Raises:
        ValueError: the corpus has no documents, or they make no instances.
    """
    _remove_temporary(recipe)
    with engine.pool(functools.partial(_Worker, recipe)) as pool:
        num_batches = _tokenize_all(pool, recipe, inputs, sizes, engine.reads_apart)
        counts, examples = _read_notes(recipe, num_batches)
        if not counts["documents"]:
            _forget_empty(recipe)
            raise ValueError(f"no text in {len(inputs)} input files: {', '.join(inputs[:5])}.")
        built = _build_all(pool, recipe, num_batches)
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


def _tokenize_all(
    pool: Pool, recipe: Recipe, inputs: Sequence[str], sizes: Sequence[int], reads_apart: bool
) -> int:
    """Returns the number of batches; tokenized.json has it once all are tokenized."""
    done_path = recipe.path("tokenized.json")
    done = read_json(done_path)
    if done is not None:
        return member(done, "num_batches", int, done_path)
    text_bytes, num_batches = sum(sizes), 0
    chunk_bytes = choose_chunk_bytes(text_bytes)
    if reads_apart:
        _plan_all(pool, recipe, inputs, sizes)
        plans = (_plan_path(recipe, group) for group in group_files(inputs, sizes))
        chunks = pack((place for path in plans for place in read_plans(path)), chunk_bytes)
    else:
        chunks = read_chunks(inputs, recipe.flags, chunk_bytes)
    finished = files.list_folder(recipe.work_dir)
    with Progress("tokenizing", text_bytes, "B") as progress:

        def missing() -> Iterator[ChunkBatch]:
            nonlocal num_batches
            for batch in batches(chunks, choose_batch_size(text_bytes)):
                num_batches += 1
                if os.path.basename(buckets.spill_path("", batch.number)) in finished:
                    progress.skip(batch.size)
                else:
                    yield batch

        for size in pool.run(_tokenize, missing()):
            progress.update(size)
    write_json(done_path, {"num_batches": num_batches})
    _remove_work_files(recipe.work_dir, _PLANS)
    return num_batches


def _plan_all(pool: Pool, recipe: Recipe, inputs: Sequence[str], sizes: Sequence[int]) -> None:
    """Lets tasks see where the parts of the corpus stand, and write it down."""
    text_bytes = sum(sizes)
    finished = files.list_folder(recipe.work_dir)
    with Progress("planning", text_bytes, "B") as progress:

        def missing() -> Iterator[tuple[Group, int]]:
            for group in group_files(inputs, sizes):
                if os.path.basename(_plan_path(recipe, group)) in finished:
                    progress.skip(group.size)
                else:
                    yield group, choose_chunk_bytes(text_bytes)

        for size in pool.run(_plan, missing()):
            progress.update(size)


def _plan_path(recipe: Recipe, group: Group) -> str:
    return recipe.path(f"plan-{group.number:06d}.json")


def _plan(worker: _Worker, task: tuple[Group, int]) -> int:
    (group, chunk_bytes), recipe = task, worker.recipe
    copy = recipe.path(f"text-{group.number:06d}.bin")
    write_plans(group, recipe.flags.reading, chunk_bytes, _plan_path(recipe, group), copy)
    return group.size


def _tokenize(worker: _Worker, batch: ChunkBatch) -> int:
    recipe, flags = worker.recipe, worker.recipe.flags
    encoded, owners = [], []
    for chunk in batch.chunks:
        documents = worker.maker.encode(chunk)
        encoded.append(documents)
        owners.append(
            buckets.assign_buckets(
                documents, chunk.number, recipe.num_buckets, flags.random_seed,
                flags.drop_duplicate_documents,
            )
        )  # fmt: skip
    path = buckets.spill_path(recipe.work_dir, batch.number)
    documents = join_documents(encoded)
    buckets.write_spill(path, documents, np.concatenate(owners), recipe.num_buckets)
    return batch.size


def _read_notes(recipe: Recipe, num_batches: int) -> tuple[Counter[str], dict[str, list[str]]]:
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    for notes in buckets.read_spill_notes(recipe.spills(num_batches)):
        counts.update(notes["counts"])
        for what, places in notes["examples"].items():
            examples[what] = (examples.get(what, []) + places)[:5]
    return counts, examples


def _run_missing(
    pool: Pool,
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


def _build_all(pool: Pool, recipe: Recipe, num_batches: int) -> list[Built]:
    """Returns what was built of each bucket, in order."""
    finished = files.list_folder(recipe.work_dir)
    built = [
        _done_build(recipe, bucket) if _built_name(bucket) in finished else None
        for bucket in range(recipe.num_buckets)
    ]
    return _run_missing(
        pool, ("building", "buckets"), _build, built, lambda bucket: (bucket, num_batches)
    )


def _build(worker: _Worker, task: tuple[int, int]) -> tuple[int, Built]:
    """Builds one bucket of the documents of all chunks: the task is (bucket, number of batches)."""
    (number, num_batches), recipe, flags = task, worker.recipe, worker.recipe.flags
    bucket = buckets.read_bucket(
        recipe.spills(num_batches), number, recipe.num_buckets, flags.drop_duplicate_documents,
        worker.maker.piece_dtype,
    )  # fmt: skip
    paths = recipe.shards[number :: recipe.num_buckets]
    if recipe.joins:
        paths = (recipe.path(f"part-{number:05d}.tfrecord"),)
    built = worker.maker.build(bucket, number, paths)
    record = {"shards": [shard._asdict() for shard in built.shards], "counts": built.counts}
    write_json(recipe.path(_built_name(number)), record)
    return number, built


def _built_name(bucket: int) -> str:
    return f"built-{bucket:05d}.json"


def _done_build(recipe: Recipe, bucket: int) -> Built | None:
    """What an earlier run built of a bucket, if its files are still there."""
    path = recipe.path(_built_name(bucket))
    record = read_json(path)
    if record is None:
        return None
    built = Built(listed_shards(record, path), member(record, "counts", dict, path))
    if recipe.joins and _done_join(recipe, bucket % len(recipe.shards)) is not None:
        return built
    return built if all(shard.is_intact for shard in built.shards) else None


def _join_all(pool: Pool, recipe: Recipe, built: Sequence[Built]) -> list[Shard]:
    """Returns the shards in order."""
    if not recipe.joins:
        by_path = {shard.path: shard for one in built for shard in one.shards}
        return [by_path[path] for path in recipe.shards]
    count = len(recipe.shards)
    finished = files.list_folder(recipe.work_dir)
    joined = [
        _done_join(recipe, shard) if _joined_name(shard) in finished else None
        for shard in range(count)
    ]
    return _run_missing(
        pool, ("joining", "shards"), _join, joined,
        lambda shard: (shard, [one.shards[0] for one in built[shard::count]]),
    )  # fmt: skip


def _join(worker: _Worker, task: tuple[int, list[Shard]]) -> tuple[int, Shard]:
    """Joins one shard: the task is its number and its parts."""
    (number, parts), recipe = task, worker.recipe
    shard = _done_join(recipe, number)  # where the task's first run ended, but was not heard of
    if shard is None:
        shard = join_parts(parts, recipe.shards[number])
        write_json(recipe.path(_joined_name(number)), shard._asdict())
    files.remove(part.path for part in parts)
    return number, shard


def _joined_name(shard: int) -> str:
    return f"joined-{shard:05d}.json"


def _done_join(recipe: Recipe, number: int) -> Shard | None:
    path = recipe.path(_joined_name(number))
    record = read_json(path)
    if record is None:
        return None
    (shard,) = listed_shards({"shards": [record]}, path)
    return shard if shard.is_intact else None


def _remove_temporary(recipe: Recipe) -> None:
    """Removes what a killed run was writing under temporary names."""
    finals = (*recipe.shards, manifest_path(recipe.shards))
    remove_leftovers(recipe.work_dir)
    for folder, name in map(os.path.split, finals):
        remove_leftovers(folder, name)


def _forget_empty(recipe: Recipe) -> None:
    """Leaves no trace of a run that made nothing, so that the next may have other flags."""
    for folder in dict.fromkeys(map(os.path.dirname, recipe.shards)):
        sizes = files.list_folder(folder)
        found = {files.join(folder, name) for name, size in sizes.items() if not size}
        files.remove(found.intersection(recipe.shards))
    remove_work_files(recipe.work_dir)


_PLANS = ("plan-*.json", "text-*.bin")
_WORK_FILES = (
    *_PLANS, "spill-*.bin", "part-*.tfrecord", "built-*.json", "joined-*.json", "tokenized.json",
    "run.json", "lock", ".*.tmp", "chunk-*.spill", "chunks.json",  # the last two of older versions
)  # fmt: skip


def has_work_files(work_dir: str) -> bool:
    """Whether an earlier run has finished anything."""
    found = files.list_folder(work_dir)
    return any(fnmatchcase(name, done) for name in found for done in ("plan-*.json", "spill-*.bin"))


def clear_work_folder(work_dir: str) -> None:
    """Removes what an executor has left that was late to end, so that no other run takes it."""
    _remove_work_files(work_dir, [name for name in _WORK_FILES if name != "lock"])


def remove_work_files(work_dir: str) -> None:
    """Removes the files that runs leave in the work folder, and the folder if it is then empty."""
    _remove_work_files(work_dir, _WORK_FILES)
    if not files.is_remote(work_dir):
        with contextlib.suppress(OSError):
            os.rmdir(work_dir)


def _remove_work_files(work_dir: str, patterns: Sequence[str]) -> None:
    found = files.list_folder(work_dir)
    files.remove(
        files.join(work_dir, name)
        for name in found
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    )
