"""What --dry_run says of the commands that read a corpus, by its first chunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bert_ko.data.corpus import Chunk, CorpusFlags, estimated_sizes, read_chunks
from bert_ko.engines import EngineFlags
from bert_ko.outlook import format_about, peak_memory
from bert_ko.progress import format_bytes
from bert_ko.workers import num_processors


class Sample(NamedTuple):
    """The first chunk of a corpus, and what was made of it."""

    found: Any
    bytes: int
    seconds: float
    total_bytes: int  # of the corpus
    num_files: int

    @property
    def share(self) -> float:
        """Of the corpus."""
        return self.bytes / max(self.bytes, self.total_bytes)

    def rows(self, flags: EngineFlags, factor: float = 1.0) -> list[tuple[str, str]]:
        """Says the text, and the workers with their time and memory.

        Args:
            flags: of the workers.
            factor: of the time that was measured: what else there is to do with the text.
        """
        size = format_bytes(self.total_bytes)
        rows = [("text", f"{size} in {self.num_files:,} file{'s' * (self.num_files > 1)}"),
                ("looked at", format_bytes(self.bytes))]  # fmt: skip
        if flags.engine == "spark":
            return [*rows, ("time", "not measured: it is that of the cluster")]
        workers = flags.num_workers or num_processors()
        rate = self.bytes / self.seconds if self.seconds else 0.0
        seconds = factor * self.total_bytes / max(1.0, rate) / workers
        rows.append(("workers", f"{workers}, {format_bytes(rate)}/s of text each, measured here"))
        if (peak := peak_memory()) is not None:
            rows.append(("memory", f"about {format_bytes(peak * (workers + (workers > 1)))}"))
        return [*rows, ("time", format_about(seconds))]


def sample(paths: Sequence[str], config: CorpusFlags, compute: Callable[[Chunk], Any]) -> Sample:
    """Computes the first chunk of a corpus.

    Raises:
        ValueError: there is no text.
    """
    chunk = next(read_chunks(paths, config), None)
    if chunk is None:
        raise ValueError(f"no text in {len(paths)} input files: {', '.join(paths[:5])}.")
    start = time.perf_counter()
    found = compute(chunk)
    seconds = time.perf_counter() - start
    return Sample(found, chunk.size, seconds, sum(estimated_sizes(paths)), len(paths))
