"""Where the tasks of a command run: in processes of this machine, or on the executors of Spark."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from bert_ko.copies import local_vocabulary
from bert_ko.flags import Flags, flag
from bert_ko.workers import Pool, WorkerPool, num_processors


@dataclass(frozen=True)
class EngineFlags(Flags):
    """Flags of every command whose tasks may run elsewhere; none changes a byte of the output."""

    group = "Where the work is done"

    engine: Literal["local", "spark"] = flag(
        "local", affects_output=False,
        help="Where the work is done. local: in processes of this machine; spark: on a cluster of "
        "Apache Spark, whose executors must reach all paths (pip install bert_ko[spark]).",
    )  # fmt: skip
    spark_master: str | None = flag(
        None, affects_output=False,
        help="With --engine=spark, the cluster: spark://HOST:PORT, yarn, k8s://https://HOST:PORT "
        "or local[N]. Default: that of spark-submit, or of the session that is active.",
    )  # fmt: skip
    spark_conf: tuple[str, ...] = flag(
        (), affects_output=False, repeatable=True,
        help="With --engine=spark, a setting of Spark: key=value, once for each.",
    )  # fmt: skip
    num_workers: int | None = flag(
        None, affects_output=False, at_least=1,
        help="Worker processes with --engine=local; the output never depends on it. Default: all "
        "processors.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Raises: ValueError: as `Flags`, or a flag is of the other engine."""
        super().__post_init__()
        given = {"spark_master": self.spark_master, "spark_conf": self.spark_conf}
        for name, value in given.items():
            if value and self.engine == "local":
                raise ValueError(f"--{name} has no meaning without --engine=spark; give both.")
        if self.num_workers is not None and self.engine == "spark":
            raise ValueError(
                "--num_workers has no meaning with --engine=spark, where each core of an executor "
                "is a worker; leave it out, or set spark.executor.cores with --spark_conf."
            )
        for setting in self.spark_conf:
            if not setting.partition("=")[0] or "=" not in setting:
                raise ValueError(f"--spark_conf must be key=value, got {setting!r}.")


class Engine(Protocol):
    """Runs tasks.

    Attributes:
        reads_apart: Tasks read the corpus themselves, as this process would be in the way of them.
    """

    reads_apart: bool

    def pool(self, make_state: Callable[[], Any]) -> contextlib.AbstractContextManager[Pool]:
        """Opens workers; each calls `make_state`, which is picklable, once."""
        ...

    def share(self, paths: Sequence[str]) -> Callable[[], list[str]]:
        """Lets workers read small files, and folders of vocabularies, local or remote.

        Returns:
            A picklable function that gives the paths to use, in a worker.
        """
        ...


class LocalEngine:
    """Worker processes on this machine; a single worker is this process."""

    reads_apart = False

    def __init__(self, num_workers: int):
        self._num_workers = num_workers

    def pool(self, make_state: Callable[[], Any]) -> WorkerPool:
        """See Engine."""
        return WorkerPool(make_state, self._num_workers)

    def share(self, paths: Sequence[str]) -> Callable[[], list[str]]:
        """See Engine."""
        return partial(list, tuple(map(local_vocabulary, paths)))


@contextlib.contextmanager
def open_engine(flags: EngineFlags, most_workers: int | None = None) -> Iterator[Engine]:
    """Yields the engine that the flags name.

    Args:
        flags: of the command.
        most_workers: That there is work for; fewer processes than processors are started then.

    Raises:
        ValueError: There is no pyspark, no Java or no such cluster.
    """
    if flags.engine == "spark":
        from bert_ko import spark

        with spark.open_session(flags.spark_master, flags.spark_conf) as engine:
            yield engine
        return
    processors = num_processors()
    yield LocalEngine(flags.num_workers or min(processors, most_workers or processors))
