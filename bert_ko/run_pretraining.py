"""run_pretraining: shards of instances to a pre-trained model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bert_ko.flags import run_command, run_module
from bert_ko.modeling.encoder import Objective, encoder_of
from bert_ko.tasks.bilm.task import BiLmTask
from bert_ko.tasks.pretraining.settings import PretrainingFlags
from bert_ko.tasks.pretraining.task import PretrainingTask
from bert_ko.training.model_files import ModelFiles
from bert_ko.training.session import run_session
from bert_ko.training.task import Task

_TASKS: Mapping[Objective, Callable[[PretrainingFlags, ModelFiles], Task]] = {
    "masked_lm": PretrainingTask,
    "bilm": BiLmTask,
}


@dataclass(frozen=True)
class RunPretrainingConfig(PretrainingFlags):
    """Pre-trains a model on shards of create_pretraining_data.

    Masked words and next sentences, or with an ELMo (model_type elmo) the words on both sides.

    Killed, it resumes from its last checkpoint when the same command is run again.
    """


def run(config: RunPretrainingConfig) -> None:
    """Checks that everything fits, then trains and evaluates."""
    run_session(config, read_task)


def read_task(config: PretrainingFlags, model: ModelFiles) -> Task:
    """The task that the model is pre-trained for."""
    return _TASKS[encoder_of(model.config).objective](config, model)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(RunPretrainingConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
