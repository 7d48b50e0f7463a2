"""run_squad: a KorQuAD reader, trained, asked and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bert_ko.flags import run_command, run_module
from bert_ko.tasks.squad.reading import report_oracle
from bert_ko.tasks.squad.settings import SquadFlags
from bert_ko.tasks.squad.task import SquadTask
from bert_ko.training.opening import opened
from bert_ko.training.session import run_session


@dataclass(frozen=True)
class RunSquadConfig(SquadFlags):
    """Fine-tunes a model on KorQuAD or SQuAD, answers questions, and scores the answers.

    Answers are slices of the contexts, character for character. Killed, training resumes from its
    last checkpoint when the same command is run again.
    """


def run(config: RunSquadConfig) -> None:
    """Reads the questions, trains, answers and scores."""
    if config.oracle:
        with opened(config) as model:
            report_oracle(config, model.tokenizer)
    else:
        run_session(config, SquadTask)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(RunSquadConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
