"""run_pretraining: shards of instances to a pre-trained model."""

from __future__ import annotations

from dataclasses import dataclass

from bert_ko.flags import run_command
from bert_ko.tasks.pretraining.settings import PretrainingFlags
from bert_ko.tasks.pretraining.task import PretrainingTask
from bert_ko.training.session import run_session


@dataclass(frozen=True)
class RunPretrainingConfig(PretrainingFlags):
    """Pre-trains a model on shards of create_pretraining_data: masked words and next sentences.

    Killed, it resumes from its last checkpoint when the same command is run again.
    """


def run(config: RunPretrainingConfig) -> None:
    """Checks that everything fits, then trains and evaluates."""
    run_session(config, PretrainingTask)


def main() -> int:
    """Runs the command."""
    return run_command(RunPretrainingConfig, run)
