"""run_ner: named entities, tagged by character or by word, trained and evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bert_ko.flags import run_command, run_module
from bert_ko.tasks.ner.settings import NerFlags
from bert_ko.tasks.ner.task import NerTask
from bert_ko.training.session import run_session


@dataclass(frozen=True)
class RunNerConfig(NerFlags):
    """Fine-tunes a model to tag named entities, and reports entity F1 and KLUE's character F1.

    Tags are those of the characters or words of the files, whatever the pieces are. Killed,
    training resumes from its last checkpoint when the same command is run again.
    """


def run(config: RunNerConfig) -> None:
    """Reads the sentences, trains, evaluates and predicts."""
    run_session(config, NerTask)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(RunNerConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
