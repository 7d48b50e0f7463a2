"""run_classifier: classes and scores of texts and of pairs of texts, trained and evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bert_ko.flags import run_command, run_module
from bert_ko.tasks.classifier.settings import ClassifierFlags
from bert_ko.tasks.classifier.task import ClassifierTask
from bert_ko.training.session import run_session


@dataclass(frozen=True)
class RunClassifierConfig(ClassifierFlags):
    """Fine-tunes a model to classify texts or pairs of texts, or to give them a score.

    Killed, training resumes from its last checkpoint when the same command is run again.
    """


def run(config: RunClassifierConfig) -> None:
    """Reads the texts, trains, evaluates and predicts."""
    run_session(config, ClassifierTask)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(RunClassifierConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
