"""What a session needs to know of a task: one class, which holds what it has read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bert_ko.data.share import Share
from bert_ko.modeling.heads import Head, HostBatch, Metrics
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.backend import TrainProgram
from bert_ko.training.labels import Labels
from bert_ko.training.loop import Batch, BatchSource, evaluate
from bert_ko.training.results import Results


class Trained:
    """A model on its devices, as a task evaluates it."""

    def __init__(
        self, program: TrainProgram, head: Head, num_devices: int = 1, precision: str = "float32"
    ):
        """Precision is that of products, float32 or bfloat16."""
        self.program, self._head, self.num_devices = program, head, num_devices
        self.precision = precision
        # The outputs of the head for a batch [B, ...], without dropout.
        self.predict: Callable[[HostBatch], HostBatch] = program.predictor(head.outputs)

    def measure(self, batches: Iterator[Batch], max_steps: int) -> Metrics:
        """The means of the head's loss and metrics over at most max_steps batches."""
        return evaluate(self.program, self._head, batches, max_steps)


class Task(ABC):
    """What a model is trained for; reads its data in its constructor."""

    head: Head
    main_metric: str  # of ``evaluate`` and ``finish``
    larger_is_better: bool = True  # the main metric
    fingerprint: str | None  # of the tokenizer that made the data; None if unknown
    tokenized: str  # what the tokenizer was applied to, for messages: "the texts are cut with"
    labels: Labels | None = None  # of the head
    identity: Mapping[str, Any]  # by flag, what a run needs unchanged to resume, with output_flags
    rate_multiples: tuple[tuple[str, float], ...] = ()  # see OptimizerConfig.multiples
    frozen: tuple[str, ...] = ()  # see OptimizerConfig.frozen

    @property
    def steps_per_epoch(self) -> int:
        """Batches of a pass over the training data; 0 if it doesn't decide how long to train."""
        return 0

    @property
    def main_scores(self) -> Sequence[str]:
        """What is shown of ``evaluate`` and ``finish``, the main metric first."""
        return [self.main_metric]

    def next_command(self) -> str | None:
        """What can be done with the model, as it is typed."""
        return None

    @property
    @abstractmethod
    def batch_sizes(self) -> Sequence[str]:
        """Flags of the batches that are evaluated or predicted."""

    @property
    @abstractmethod
    def is_asked(self) -> bool:
        """Whether ``finish`` has anything to do."""

    def begin(self, folder: str) -> None:  # noqa: B027 (most tasks have nothing to write)
        """Writes what was learnt from the data to a run's folder, once all checks are passed."""

    @property
    def needs_preparation(self) -> bool:
        """Whether no update can be done before ``prepare``, which writes."""
        return False

    def prepare(self, model: Trained) -> Arrays:
        """Computes what no update changes, once the model is on its devices to be trained.

        Returns:
            Variables that the data decide, by name, for weights in which they are as they began.
        """
        return {}

    @abstractmethod
    def train_batches(
        self, seed: int, position: dict[str, Any] | None, share: Share
    ) -> BatchSource[Any]:
        """Batches for training, in an order drawn from the seed.

        Args:
            seed: of the order.
            position: of the first batch, as the batch before it gives it; None to begin.
            share: the rows of each batch that this host makes; a batch's must be a multiple of
                its pieces.
        """

    def observe(self, model: Trained, folder: str, step: int) -> None:  # noqa: B027 (most do not)
        """Notes something of a model after an evaluation in training, on the first host alone."""

    def show(self, model: Trained, folder: str, step: int) -> bool:
        """Writes a page of the run at its end, whatever was asked for, on the first host alone.

        Returns:
            Whether it was written; most tasks have a page of scores instead, see ``Results``.
        """
        return False

    @abstractmethod
    def evaluate(self, model: Trained) -> Metrics:
        """Metrics on held-out data, while the model is trained; on the first host alone."""

    @abstractmethod
    def finish(self, model: Trained, folder: str, step: int) -> Results | None:
        """Evaluates, predicts, answers: all that is asked of a model, on the first host alone.

        Args:
            model: the trained one.
            folder: of the run, to write to.
            step: updates that the model has seen.

        Returns:
            None if nothing was scored.
        """
