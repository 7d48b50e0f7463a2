"""What run_classifier and run_ner have in common, once their files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bert_ko.modeling.parameters import Specs
from bert_ko.tasks.batches import BatchPlan, Examples, Ints, batch_source, steps_per_epoch
from bert_ko.tasks.command import Job, Outcome
from bert_ko.tasks.fine_tuning import Head, Predict, Task
from bert_ko.tasks.label_flags import LabelFlags
from bert_ko.training.labels import Labels, write_labels
from bert_ko.training.objective import Metrics


class Training(NamedTuple):
    """What is trained on.

    Attributes:
        examples: all of them.
        plan: how they are put into batches.
        describe: names examples by their numbers, for messages.
    """

    examples: Examples
    plan: BatchPlan
    describe: Callable[[Ints], str]


class LabelModel(NamedTuple):
    """What is trained.

    Attributes:
        specs: the variables.
        load_head: imports the head.
        labels: of the head.
        main_metric: the larger it is, the better.
        rate_multiples: see ``OptimizerConfig.multiples``.
    """

    specs: Specs
    load_head: Callable[[], Head]
    labels: Labels
    main_metric: str
    rate_multiples: tuple[tuple[str, float], ...] = ()


class Actions(NamedTuple):
    """What is done with a model; None for what there are no examples for.

    Attributes:
        evaluate: while it is trained.
        report: evaluates and writes scores and a report: (predict, folder, updates).
        write: predicts and writes that down: (predict, folder).
        attempt: tries the model on texts that stand in no dataset.
    """

    evaluate: Callable[[Predict], Metrics] | None
    report: Callable[[Predict, str, int], Outcome] | None
    write: Callable[[Predict, str], None] | None
    attempt: Callable[[Predict], None]


def label_job(
    config: LabelFlags,
    model: LabelModel,
    training: Training | None,
    actions: Actions,
    files: Mapping[str, Any],
) -> Job:
    """Puts together what a command line asks for.

    Args:
        config: flags.
        model: to be trained.
        training: None where nothing is trained.
        actions: what is done with the model.
        files: what must stay the same for a run to go on, by flag: train_file, and eval_file,
            which counts only where it decides which weights are the best.
    """
    source, steps = None, 0
    if training is not None:
        source = batch_source(training.examples, training.plan, training.describe)
        steps = steps_per_epoch(len(training.examples.lengths), training.plan.batch_size)
    decides = config.eval_every_steps is not None

    def finish(predict: Predict, folder: str, step: int) -> Outcome | None:
        if config.do_predict and actions.write is not None:
            actions.write(predict, folder)
        if config.do_eval and actions.report is not None:
            return actions.report(predict, folder, step)
        return None

    return Job(
        task=Task(
            specs=model.specs,
            load_head=model.load_head,
            source=source,
            steps_per_epoch=steps,
            evaluate=actions.evaluate,
            main_metric=model.main_metric,
            labels=model.labels,
            rate_multiples=model.rate_multiples,
        ),
        identity={name: value for name, value in files.items() if name != "eval_file" or decides},
        batch_sizes=config.batch_sizes,
        finish=finish,
        begin=lambda folder: write_labels(folder, model.labels),
        attempt=actions.attempt if config.is_trial else None,
    )
