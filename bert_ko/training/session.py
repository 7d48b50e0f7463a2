"""A training session, whatever the task: the one place that knows the order of things.

Files of the model are opened and compared, the task reads its data, and for each seed a run is
started or resumed, trained, evaluated and reported; the weights of the best evaluation are kept,
and a webhook is notified of the end.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from bert_ko import files
from bert_ko.flags import output_flags
from bert_ko.json_files import write_json
from bert_ko.modeling.heads import Head, HostBatch, Metrics, model_specs
from bert_ko.modeling.parameters import Arrays, Specs, count_parameters
from bert_ko.notification import Ending, notified
from bert_ko.progress import format_table, warn
from bert_ko.training.backend import Backend, Predict, TrainProgram
from bert_ko.training.checkpoints import (
    Checkpoint,
    find_weights,
    remove_unfinished,
    save_checkpoint,
)
from bert_ko.training.devices import load_backend
from bert_ko.training.labels import Labels, write_labels
from bert_ko.training.loop import (
    Batch,
    BatchSource,
    LoopConfig,
    Progression,
    TrainingLoop,
    evaluate,
)
from bert_ko.training.model_files import ModelFiles, open_model_files, remembered_flags
from bert_ko.training.runs import (
    Run,
    check_batch_size,
    last_checkpoint,
    new_parameters,
    refuse_other_run,
    trained_parameters,
    write_results,
    write_run,
)
from bert_ko.training.schedule import OptimizerConfig
from bert_ko.training.settings import TrainFlags
from bert_ko.training.vocabulary_files import copy_vocabulary

SEEDS_NAME = "seeds.json"
REPORT_NAME = "report.html"
_LOCK_NAME = ".lock"

SeedScores = Sequence[tuple[int, Mapping[str, float]]]
Flags = TypeVar("Flags", bound=TrainFlags)
Flags_contra = TypeVar("Flags_contra", bound=TrainFlags, contravariant=True)


class Trained(Protocol):
    """A model on its devices, as a task evaluates it."""

    def predict(self, batch: HostBatch) -> HostBatch:
        """The outputs of the task's head for a batch [B, ...], without dropout."""

    def measure(self, batches: Iterator[Batch], max_steps: int) -> Metrics:
        """The means of the head's loss and metrics over so many batches at most."""


class Results(NamedTuple):
    """What a task has found out about a trained model.

    Attributes:
        values: the numbers of eval_results.txt.
        report: makes the page of report.html, with the scores of all seeds where there are several;
            None for no page.
    """

    values: dict[str, float]
    report: Callable[[SeedScores], str] | None = None


class Task(Protocol):
    """What a model is trained for; holds the data that it has read."""

    @property
    def head(self) -> Head:
        """What stands on the encoder."""

    @property
    def main_metric(self) -> str:
        """Of ``evaluate`` and ``finish``; the larger it is, the better."""

    @property
    def fingerprint(self) -> str | None:
        """Of the tokenizer that the data was made with; None where it is not known."""

    @property
    def tokenized(self) -> str:
        """What the tokenizer was applied to, for messages: "the texts are cut with"."""

    @property
    def labels(self) -> Labels | None:
        """Of the head; None where it has none."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """By flag, what must stay the same for a run to resume, beside the output's flags."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of a pass over the training data; 0 where nothing is trained."""

    @property
    def rate_multiples(self) -> tuple[tuple[str, float], ...]:
        """See ``OptimizerConfig.multiples``."""

    @property
    def batch_sizes(self) -> Sequence[str]:
        """Flags of the batches that it evaluates or predicts."""

    @property
    def is_asked(self) -> bool:
        """Whether ``finish`` has anything to do."""

    def train_batches(self, seed: int, position: dict[str, Any] | None) -> BatchSource[Any]:
        """Batches for training.

        Args:
            seed: of their order.
            position: of the batch to begin with, from the one before it; None for the first.
        """

    def evaluate(self, model: Trained) -> Metrics:
        """Metrics on held-out data, while the model is trained."""

    def finish(self, model: Trained, folder: str, step: int) -> Results | None:
        """Evaluates, predicts, answers: all that is asked of a trained model.

        Args:
            model: the trained one.
            folder: of the run, to write to.
            step: updates that the model has seen.

        Returns:
            None where nothing was scored.
        """


class ReadTask(Protocol[Flags_contra]):
    """Reads what a command line names into a task."""

    def __call__(self, config: Flags_contra, model: ModelFiles, /) -> Task: ...  # noqa: D102


def run_session(config: Flags, read_task: ReadTask[Flags]) -> None:
    """Trains and evaluates what a command line asks for.

    Args:
        config: flags.
        read_task: called when the model's files are known and the folder is locked.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: files and flags do not fit together; training diverged.
    """

    def run(config: Flags) -> Ending:
        _refuse_no_weights(config)
        with opened(config) as model:
            return _Session(config, model, read_task(config, model)).run()

    notified(run)(config)


@contextmanager
def opened(config: TrainFlags) -> Iterator[ModelFiles]:
    """The files of a command's model, while --output_dir is locked."""
    model = open_model_files(config)
    folder, is_new = config.output_dir, not os.path.exists(config.output_dir)
    files.require_writable_folder(folder)
    try:
        with files.lock(os.path.join(folder, _LOCK_NAME)):
            yield model
    finally:
        if is_new and os.listdir(folder) == [_LOCK_NAME]:  # a mistake leaves no folder behind
            os.remove(os.path.join(folder, _LOCK_NAME))
            os.rmdir(folder)


def _refuse_no_weights(config: TrainFlags) -> None:
    """Before anything is read or written for nothing."""
    if config.do_train or config.init_checkpoint:
        return
    for folder in map(config.folder, config.seeds):
        if find_weights(folder) is None:
            raise ValueError(
                f"no checkpoint in {folder}; give --do_train, or --init_checkpoint with a trained "
                "model."
            )


def _refuse_other_weights(run: Run, init_checkpoint: str | None) -> None:
    """The run's own weights are used where there are some, and never those that a flag names."""
    own = find_weights(run.folder)
    if own is None or init_checkpoint is None:
        return
    begun = remembered_flags(own).get("init_checkpoint")
    same = {os.path.realpath(path) for path in (run.folder, own, begun) if path}
    if os.path.realpath(init_checkpoint) not in same:
        raise ValueError(
            f"--init_checkpoint={init_checkpoint}, but {run.folder} has weights of its own ({own}) "
            "to predict with; leave the flag out, or choose another --output_dir."
        )


class _Session(Generic[Flags]):
    """A task's model, trained and asked once for each seed on the same devices."""

    def __init__(self, config: Flags, model: ModelFiles, task: Task):
        self._config, self._files, self._task = config, model, task
        self._specs: Specs = model_specs(model.config, task.head)
        self._backend: Backend | None = None
        self._program: TrainProgram | None = None
        self._predict: Predict | None = None
        self._last_metrics: Metrics = {}
        self._step = 0  # updates of the last run

    def run(self) -> Ending:
        config, metric = self._config, self._task.main_metric
        found: list[Results] = []
        for seed in config.seeds:
            if len(config.seeds) > 1:
                print(f"\nseed {seed}", flush=True)
            results = self._run_seed(seed)
            if results is not None:
                found.append(results)
        if len(found) > 1:
            _summarize(config.output_dir, config.seeds, found)
        scores = [results.values[metric] for results in found]
        if not scores and metric in self._last_metrics:
            scores = [self._last_metrics[metric]]
        return Ending(
            {metric: statistics.mean(scores)} if scores else {},
            self._step if config.do_train else 0,
            self._num_train_steps if config.do_train else 0,
        )

    # What the task gets: see Trained

    def predict(self, batch: HostBatch) -> HostBatch:
        assert self._predict is not None
        return self._predict(batch)

    def measure(self, batches: Iterator[Batch], max_steps: int) -> Metrics:
        assert self._program is not None
        return evaluate(self._program, self._task.head, batches, max_steps)

    @property
    def _num_train_steps(self) -> int:
        return self._config.num_updates(self._task.steps_per_epoch)[0]

    def _run_seed(self, seed: int) -> Results | None:
        config, task = self._config, self._task
        run = self._describe_run(seed)
        os.makedirs(run.folder, exist_ok=True)
        refuse_other_run(run, config.do_train)
        remove_unfinished(run.folder)
        checkpoint = self._find_checkpoint(run)
        step = checkpoint.state["step"] if checkpoint else 0
        if config.do_train and not task.is_asked and step >= self._num_train_steps:
            print(f"all {step:,} steps are done; nothing else is asked for", flush=True)
            self._step = step
            return None
        # What does not fit is refused before anything is written.
        arrays = self._weights(run, seed, checkpoint)
        self._open_devices()
        if config.do_train:
            self._write_beginnings(run)
        self._place(arrays, seed, checkpoint)
        if config.do_train:
            step = self._train(run, seed, checkpoint)
        results = task.finish(self, run.folder, step) if task.is_asked else None
        if results is not None:
            write_results(run.folder, {"global_step": step, **results.values})
            _write_report(run.folder, results, ())
        return results

    def _describe_run(self, seed: int) -> Run:
        config = self._config
        identity = {
            **output_flags(config),
            "bert_config_file": self._files.config.to_dict(),
            "random_seed": seed,
            **self._task.identity,
        }
        return Run(
            config.folder(seed),
            self._files.config,
            self._files.config_file,
            identity,
            self._task.fingerprint,
            self._task.tokenized,
        )

    def _find_checkpoint(self, run: Run) -> Checkpoint | None:
        """Of the run itself, to train on or to predict with."""
        if self._config.do_train:
            return last_checkpoint(run, with_slots=True)
        _refuse_other_weights(run, self._config.init_checkpoint)
        return last_checkpoint(run, "best") or last_checkpoint(run)

    def _weights(self, run: Run, seed: int, checkpoint: Checkpoint | None) -> Arrays:
        """To train on or to predict with."""
        config = self._config
        if checkpoint is None:
            return new_parameters(
                run, self._specs, config.init_checkpoint, seed, config.do_train, self._task.labels
            )
        if config.do_train:
            return checkpoint.parameters
        return trained_parameters(run, self._specs, checkpoint)

    def _write_beginnings(self, run: Run) -> None:
        """What belongs to the weights is written before they are."""
        if self._files.found_tokenizer is not None:
            copy_vocabulary(self._files.found_tokenizer, run.folder)
        write_run(run, dataclasses.asdict(self._config))
        if self._task.labels is not None:
            write_labels(run.folder, self._task.labels)

    def _open_devices(self) -> None:
        """Finds the devices, once for all seeds."""
        if self._backend is not None:
            return
        config = self._config
        backend = load_backend(config.device_config)
        if config.do_train:
            parts = config.gradient_accumulation_steps
            check_batch_size("train_batch_size", config.train_batch_size, backend, parts)
        for name in self._task.batch_sizes:
            check_batch_size(name, getattr(config, name), backend)
        print(
            f"{backend.description}, {backend.precision}; "
            f"{count_parameters(self._specs) / 1e6:.1f} million parameters",
            flush=True,
        )
        self._backend = backend

    def _place(self, arrays: Arrays, seed: int, checkpoint: Checkpoint | None) -> None:
        """Moves weights onto the devices; what was compiled for the first seed stays."""
        if self._program is None:
            assert self._backend is not None
            optimizer = self._optimizer() if self._config.do_train else None
            self._program = self._backend.train_program(
                self._files.config, self._task.head, optimizer, arrays, seed
            )
            self._predict = self._program.predictor(self._task.head.outputs)
        else:
            self._program.restart(arrays, seed)
        if checkpoint is not None and checkpoint.slots:
            self._program.restore(arrays, checkpoint.slots)
            checkpoint.slots.clear()
        arrays.clear()  # they would take memory as long as the run lasts

    def _optimizer(self) -> OptimizerConfig:
        config = self._config.optimizer_config(
            self._task.steps_per_epoch, self._files.config.num_hidden_layers
        )
        return dataclasses.replace(config, multiples=self._task.rate_multiples)

    def _train(self, run: Run, seed: int, checkpoint: Checkpoint | None) -> int:
        """Returns the updates that the weights on the devices have seen."""
        assert self._program is not None and self._backend is not None
        config = self._config
        computed_with = f"{self._backend.description}, {self._backend.precision}"
        progression = _progression(checkpoint, computed_with)
        evaluates = config.eval_every_steps is not None
        keeper = (
            _BestKeeper(run, self._task.main_metric, self._program) if config.keeps_best else None
        )

        def evaluate_and_keep(step: int) -> Metrics:
            self._last_metrics = self._task.evaluate(self)
            if keeper is not None:
                keeper.keep(step, self._last_metrics)
            return self._last_metrics

        loop: TrainingLoop[Any] = TrainingLoop(
            self._program,
            self._task.head,
            self._optimizer(),
            run.model_config,
            self._loop_config(run, computed_with),
            evaluate_and_keep if evaluates else None,
        )
        source = self._task.train_batches(seed, progression.position)
        self._step = loop.run(source, progression).step
        best = last_checkpoint(run, "best") if keeper is not None else None
        if best is None:
            return self._step
        self._program.restore(best.parameters, self._program.slots())
        return int(best.state["step"])

    def _loop_config(self, run: Run, computed_with: str) -> LoopConfig:
        config = self._config
        return LoopConfig(
            folder=run.folder,
            num_train_steps=self._num_train_steps,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            save_steps=config.save_checkpoints_steps,
            keep=config.keep_checkpoint_max,
            log_steps=config.log_every_steps,
            steps_under_way=config.iterations_per_loop,
            eval_steps=config.eval_every_steps,
            eval_at_end=config.keeps_best,
            max_seconds=config.max_hours * 3600 if config.max_hours is not None else None,
            warmup_flag=config.warmup_flag,
            state={**run.state, "computed_with": computed_with},
        )


def _progression(checkpoint: Checkpoint | None, computed_with: str) -> Progression:
    """Where training begins."""
    if checkpoint is None:
        return Progression()
    names = [field.name for field in dataclasses.fields(Progression)]
    progression = Progression(**{name: checkpoint.state[name] for name in names})
    print(f"resuming from step {progression.step:,}", flush=True)
    before = checkpoint.state.get("computed_with", computed_with)
    if before != computed_with:
        warn(
            f"the run was computed with {before}, now with {computed_with}: it resumes, but not "
            "bit-exactly."
        )
    return progression


class _BestKeeper:
    """Writes the weights down where they are the best so far."""

    def __init__(self, run: Run, metric: str, program: TrainProgram):
        self._run, self._metric, self._program = run, metric, program
        best = last_checkpoint(run, "best")
        self._best = best.state["metrics"][metric] if best else None

    def keep(self, step: int, metrics: Metrics) -> None:
        score = metrics[self._metric]
        if self._best is not None and score <= self._best:
            return
        self._best = score
        state = {**self._run.state, "step": step, "metrics": metrics}
        checkpoint = Checkpoint(self._program.parameters(), {}, state)
        save_checkpoint(
            self._run.folder, step, checkpoint, self._run.model_config, keep=1, kind="best"
        )


def _write_report(folder: str, results: Results, seeds: SeedScores) -> None:
    if results.report is not None:
        files.write_atomic(os.path.join(folder, REPORT_NAME), results.report(seeds))


def _summarize(folder: str, seeds: Sequence[int], found: Sequence[Results]) -> None:
    """Writes mean and deviation over seeds, and a report of the first with the scores of all."""
    results = [one.values for one in found]
    rows: list[list[object]] = []
    values: dict[str, Any] = {"num_seeds": len(results)}
    for name in (name for name in results[0] if not name.endswith("total")):
        numbers = [result[name] for result in results]
        mean, deviation = statistics.mean(numbers), statistics.stdev(numbers)
        values[f"{name}_mean"], values[f"{name}_stdev"] = mean, deviation
        rows.append([name, mean, deviation, min(numbers), max(numbers)])
    write_json(os.path.join(folder, SEEDS_NAME), {"seeds": list(seeds), "results": results})
    _write_report(folder, found[0], list(zip(seeds, results, strict=True)))
    print(f"\n{format_table(rows, [f'{len(results)} seeds', 'mean', 'stdev', 'min', 'max'])}\n")
    write_results(folder, values)
