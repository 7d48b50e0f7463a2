"""A training session, whatever the task: the one place that knows the order of things.

Files of the model are opened and compared, the task reads its data, and for each seed a run is
started or resumed, trained, evaluated and reported; the weights of the best evaluation are kept,
and a webhook is notified of the end.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import statistics
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from bert_ko.copies import local_path, named
from bert_ko.data.position import PositionError
from bert_ko.data.share import Share
from bert_ko.flags import output_flags, values_before
from bert_ko.messages import answers_on_stdout, open_log, say, warn
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.heads import Metrics, carried_shapes, model_specs
from bert_ko.modeling.parameters import Arrays, count_parameters
from bert_ko.notification import Ending, notified
from bert_ko.outlook import show_outlook
from bert_ko.tokenization.beside import copy_vocabulary, copy_word_vocabulary
from bert_ko.training.backend import Backend
from bert_ko.training.best_weights import best_keeper
from bert_ko.training.checkpoints import (
    STATE_NAME,
    Checkpoint,
    damaged,
    last_checkpoint,
    list_checkpoints,
    load_checkpoint,
    remove_unfinished,
    trained_positions,
)
from bert_ko.training.closing import Evaluations, close_session
from bert_ko.training.devices import load_backend
from bert_ko.training.host_group import connected
from bert_ko.training.host_places import find_place
from bert_ko.training.hosts import ALONE, Hosts
from bert_ko.training.labels import write_labels
from bert_ko.training.loop import BatchSource, Progression, TrainingLoop
from bert_ko.training.model_files import ModelFiles, open_model_files
from bert_ko.training.opening import of_host, opened, refuse_no_weights, refuse_other_weights
from bert_ko.training.optimization import OptimizerConfig
from bert_ko.training.outlook import measure_updates, measured_rows, training_rows
from bert_ko.training.publishing import Publisher, published
from bert_ko.training.results import Results, summarize, write_report, write_results
from bert_ko.training.runs import (
    LOG_NAME,
    Beginning,
    Run,
    check_batch_size,
    check_resumable,
    new_parameters,
    refuse_other_run,
    trained_parameters,
    undecided,
    write_run,
)
from bert_ko.training.settings import TrainFlags
from bert_ko.training.task import Task, Trained
from bert_ko.training.tracking.opening import opened_trackers, require_services
from bert_ko.training.tracking.session_runs import SessionRuns
from bert_ko.training.tracking.tracker import Tracker

Flags = TypeVar("Flags", bound=TrainFlags)


def run_session(config: Flags, read_task: Callable[[Flags, ModelFiles], Task]) -> None:
    """Trains and evaluates what a command line asks for.

    Args:
        config: flags.
        read_task: a subclass of Task; called when the model's files are open and the folder locked.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: files and flags contradict each other; training diverged.
    """
    if config.dry_run:
        _rehearse(config, read_task)
        return
    place = find_place(config.coordinator_address, config.num_processes, config.process_id)
    with connected(place) as hosts:

        def run(config: Flags) -> Ending:
            require_services(config.report_to, config.output_dir)
            with published(config, writes=hosts.is_first) as publisher:
                refuse_no_weights(config)
                with opened(config, hosts) as model:
                    trained_config = config.with_dropout(model.config)
                    with _first_before_others(hosts, publisher):
                        task = read_task(config, model)
                    with (
                        answers_on_stdout(config.is_trial),
                        opened_trackers(config.report_to, config.output_dir) as tracker,
                    ):
                        session = _Session(config, model, trained_config, task, tracker, hosts)
                        ending = session.run()
                    session.close()
            return ending

        notified(run)(of_host(config, hosts))


@contextmanager
def _first_before_others(hosts: Hosts, publisher: Publisher | None) -> Iterator[None]:
    """A block in which the others find what the first one has prepared in its folder."""
    with hosts.first_before_others():
        if publisher is not None and not hosts.is_first:
            publisher.fetch()
        yield
        if publisher is not None and hosts.is_first and hosts.count > 1:
            publisher.share()


def _rehearse(config: Flags, read_task: Callable[[Flags, ModelFiles], Task]) -> None:
    """Says what a command would do, and writes nothing."""
    if config.coordinator_address is not None:
        raise ValueError("--dry_run looks at one host; leave out --coordinator_address.")
    require_services(config.report_to, config.output_dir)
    with published(config, writes=False):
        refuse_no_weights(config)
        model = open_model_files(config)
        task = read_task(config, model)
        trained_config = config.with_dropout(model.config)
        _Session(config, model, trained_config, task, Tracker(), ALONE).rehearse()


class _Session:
    """A task's model, trained and asked once for each seed on the same devices."""

    def __init__(
        self,
        config: TrainFlags,
        model: ModelFiles,
        trained_config: ModelConfig,
        task: Task,
        tracker: Tracker,
        hosts: Hosts,
    ):
        """Trained_config is the model's with the run's dropout."""
        self._hosts = hosts
        self._tracker, self._runs = tracker, SessionRuns(tracker, config, trained_config)
        self._config, self._files, self._task = config, model, task
        self._trained_config = trained_config
        self._specs = model_specs(model.config, task.head)
        self._num_train_steps = config.num_updates(task.steps_per_epoch)[0]
        self._optimizer = self._make_optimizer() if config.do_train else None
        self._model: Trained | None = None
        self._decided: Arrays = {}  # see Task.prepare
        # Of the last run.
        self._metrics: Metrics = {}
        self._step = 0
        self._values: Mapping[str, float] = {}
        self._has_page = False  # whether report.html of --output_dir was written
        self._weights_step = 0  # updates that the weights have seen, the best ones if they are kept

    def run(self) -> Ending:
        config, metric = self._config, self._task.main_metric
        found: list[Results] = []
        for seed in config.seeds:
            if len(config.seeds) > 1:
                say(f"\nseed {seed}")
            results = self._run_seed(seed)
            if results is not None:
                found.append(results)
        if len(found) > 1:
            seeds = [(s, one.values) for s, one in zip(config.seeds, found, strict=True)]
            self._values = summarize(config.local_dir, seeds)
            self._has_page = write_report(config.local_dir, found[0], seeds)
            self._runs.summarize(self._values, self._step)
        else:
            self._values = found[0].values if found else self._metrics
        scores = [results.values[metric] for results in found]
        if not scores and metric in self._metrics:
            scores = [self._metrics[metric]]
        means = {metric: statistics.mean(scores)} if scores else {}
        return Ending(means, self._step, self._num_train_steps if config.do_train else 0)

    def close(self) -> None:
        """Says what was done, when all else is said."""
        if self._hosts.is_first:
            close_session(
                self._config, self._task, self._weights_step, self._values, self._has_page
            )

    def rehearse(self) -> None:
        """All that comes before anything is written, and a few updates, which are forgotten."""
        config, task, seed = self._config, self._task, self._config.seeds[0]
        run, total = self._describe_run(seed), self._num_train_steps
        refuse_other_run(run, config.do_train)
        checkpoint = self._find_checkpoint(run)
        step = checkpoint.state["step"] if checkpoint else 0
        beginning = self._weights(run, seed, checkpoint)
        backend, count = self._backend, count_parameters(self._specs)
        rows = [
            ("model", f"{count / 1e6:.1f} million parameters"),
            ("devices", f"{backend.description}, {backend.precision}"),
        ]
        if config.do_train:
            rows += training_rows(config, count, (step, total), task.steps_per_epoch)
        if config.do_train and task.needs_preparation:
            rows.append(("time", "not measured: layers of the biLM are computed and kept first"))
        elif config.do_train and step < total:
            assert self._optimizer is not None
            model = self._place(backend, beginning.arrays, seed, checkpoint)
            source = self._read_from(seed, _progression(checkpoint, None), checkpoint)
            parts = config.gradient_accumulation_steps
            measured = measure_updates(
                model.program, task.head, self._optimizer, parts, source.batches(), step
            )
            left = total - step + total * (len(config.seeds) - 1)
            rows += measured_rows(measured, backend, left)
        show_outlook(rows)

    def _run_seed(self, seed: int) -> Results | None:
        config, task = self._config, self._task
        run, is_first = self._describe_run(seed), self._hosts.is_first
        if is_first:
            os.makedirs(run.folder, exist_ok=True)
            refuse_other_run(run, config.do_train)
            remove_unfinished(run.folder)
        checkpoint = self._find_checkpoint(run)
        step = checkpoint.state["step"] if checkpoint else 0
        if config.do_train and not task.is_asked and step >= self._num_train_steps:
            say(f"all {step:,} steps are done; nothing else is asked for")
            self._step = self._weights_step = step
            self._runs.start(seed, step)
            self._runs.finish(seed, {}, step)
            return None
        # All checks come before anything is written.
        beginning = self._weights(run, seed, checkpoint)
        backend = self._backend
        self._require_same(run, step, beginning)
        if is_first:
            open_log(os.path.join(config.local_dir, LOG_NAME))
        if config.do_train and is_first:
            self._write_beginnings(run)
        if is_first:
            task.begin(run.folder)
        model = self._place(backend, beginning.arrays, seed, checkpoint)
        if config.do_train:
            self._runs.start(seed, step)
            step = self._train(model, run, seed, checkpoint, beginning.trained_positions)
        if not is_first:
            return None
        self._weights_step = step
        results = task.finish(model, run.folder, step) if task.is_asked else None
        if results is not None:
            write_results(run.folder, {"global_step": step, **results.values})
            self._has_page = write_report(run.folder, results)
        self._has_page |= task.show(model, run.folder, step)
        if results is not None and not config.do_train:
            self._runs.start(seed)
        if results is not None or config.do_train:
            self._runs.finish(seed, results.values if results is not None else {}, step)
        return results

    def _describe_run(self, seed: int) -> Run:
        model, task = self._files, self._task
        identity = {
            **output_flags(self._config),
            "bert_config_file": model.config.to_dict(),
            "random_seed": seed,
            **task.identity,
        }
        return Run(
            self._config.folder(seed),
            model.config,
            model.config_file,
            identity,
            task.fingerprint,
            task.tokenized,
            values_before(type(self._config)),
        )

    def _find_checkpoint(self, run: Run) -> Checkpoint | None:
        """The run's own, to train on or to predict with."""
        if self._config.do_train:
            last = _last_path(run.folder) if self._hosts.is_first else None
            path = self._hosts.decide(None if last is None else named(last))
            return load_checkpoint(local_path(path)) if path is not None else None
        refuse_other_weights(run.folder, self._config.init_checkpoint)
        return last_checkpoint(run.folder, "best") or last_checkpoint(run.folder)

    def _weights(self, run: Run, seed: int, checkpoint: Checkpoint | None) -> Beginning:
        """To train on or to predict with."""
        config, model_config = self._config, self._files.config
        if checkpoint is None:
            return new_parameters(run, self._specs, config, seed, self._task.labels)
        positions = trained_positions(checkpoint.path, checkpoint.state, model_config)
        if positions is None:
            positions = model_config.max_position_embeddings
        if config.do_train:
            assert self._optimizer is not None
            carried = carried_shapes(self._task.head, model_config)
            check_resumable(checkpoint, self._specs, self._optimizer, carried)
            return Beginning(checkpoint.parameters, positions)
        return Beginning(trained_parameters(run, self._specs, checkpoint), positions)

    def _require_same(self, run: Run, step: int, beginning: Beginning) -> None:
        """Refuses other data or weights on another host, with which each would go its own way."""
        if self._hosts.count == 1:
            return
        checksum = 0
        for name in sorted(beginning.arrays):
            checksum = zlib.crc32(np.ascontiguousarray(beginning.arrays[name]).data, checksum)
        self._hosts.require_same(
            {
                **{f"what identifies the run by {n}": v for n, v in run.identity.items()},
                "the tokenizer's fingerprint": run.fingerprint,
                "the step": step,
                "the checksum of the weights": checksum,
            }
        )

    @functools.cached_property
    def _backend(self) -> Backend:
        """The devices, for all seeds."""
        config = self._config
        backend = load_backend(config.device_config, self._hosts)
        if config.do_train:
            parts = config.gradient_accumulation_steps
            check_batch_size(
                "train_batch_size", config.train_batch_size, backend.num_devices, parts
            )
        for name in self._task.batch_sizes:
            check_batch_size(name, getattr(config, name), backend.num_local_devices)
        say(
            f"{backend.description}, {backend.precision}; "
            f"{count_parameters(self._specs) / 1e6:.1f} million parameters"
        )
        rate = getattr(self._trained_config, "attention_probs_dropout_prob", 0.0)
        if config.do_train and backend.fused_attention and rate:
            say(
                f"attention dropout {rate} trains without the fused attention kernel; "
                "--attention_probs_dropout_prob=0 trains with it"
            )
        return backend

    def _write_beginnings(self, run: Run) -> None:
        """What belongs to the weights is written before they are."""
        if self._files.found_tokenizer is not None:
            copy_vocabulary(self._files.found_tokenizer, run.folder)
        if self._files.words is not None:
            copy_word_vocabulary(self._files.words, run.folder)
        write_run(run, dataclasses.asdict(self._config))
        if self._task.labels is not None:
            write_labels(run.folder, self._task.labels)

    def _place(
        self, backend: Backend, arrays: Arrays, seed: int, checkpoint: Checkpoint | None
    ) -> Trained:
        """Moves weights onto the devices; what was compiled for the first seed stays."""
        is_first = self._model is None
        if self._model is None:
            head, optimizer = self._task.head, self._optimizer
            program = backend.train_program(self._trained_config, head, optimizer, arrays, seed)
            devices = backend.num_local_devices
            self._model = Trained(program, head, devices, backend.precision)
            if self._config.do_train and not self._config.dry_run:
                self._decided = self._task.prepare(self._model)
        decided = undecided(self._decided, arrays, self._specs)
        if decided or not is_first:
            self._model.program.restart({**arrays, **decided}, seed)
        if checkpoint is not None and checkpoint.slots:
            self._model.program.restore(arrays, checkpoint.slots)
            checkpoint.slots.clear()
        arrays.clear()  # they would take memory as long as the run lasts
        return self._model

    def _make_optimizer(self) -> OptimizerConfig:
        config = self._config.optimizer_config(
            self._task.steps_per_epoch, self._files.config.num_hidden_layers
        )
        return dataclasses.replace(
            config, multiples=self._task.rate_multiples, frozen=self._task.frozen
        )

    def _read_from(
        self, seed: int, progression: Progression, checkpoint: Checkpoint | None
    ) -> BatchSource[Any]:
        """Batches from the position that the checkpoint has."""
        try:
            parts, devices = self._config.gradient_accumulation_steps, self._backend.num_devices
            share = Share(self._hosts.index, self._hosts.count, parts, devices)
            return self._task.train_batches(seed, progression.position, share)
        except PositionError as error:
            assert checkpoint is not None
            place = os.path.join(checkpoint.path, STATE_NAME)
            raise damaged(checkpoint.path, f"{place}: position: {error}.") from None

    def _train(
        self, model: Trained, run: Run, seed: int, checkpoint: Checkpoint | None, positions: int
    ) -> int:
        """Returns the updates that the weights on the devices have seen.

        Positions are those that training had reached before.
        """
        config, program, optimizer = self._config, model.program, self._optimizer
        assert optimizer is not None
        computed_with = f"{self._backend.description}, {self._backend.precision}"
        computed_with += ", remat" if config.remat else ""
        progression = _progression(checkpoint, computed_with)
        progression.trained_positions = positions
        keep = (
            best_keeper(run, self._task.main_metric, program, self._specs)
            if config.keeps_best and self._hosts.is_first
            else None
        )

        evaluations = Evaluations(run.folder, self._task, progression.step)

        def evaluate_and_keep(step: int) -> Metrics:
            self._metrics = self._task.evaluate(model)
            evaluations.add(step, self._metrics)
            self._task.observe(model, run.folder, step)
            if keep is not None:
                keep(step, self._metrics, progression.trained_positions)
            return self._metrics

        loop: TrainingLoop[Any] = TrainingLoop(
            program,
            self._task.head,
            optimizer,
            run,
            config,
            evaluate_and_keep,
            computed_with,
            self._backend.peak_flops,
            self._tracker,
            self._hosts,
        )
        source = self._read_from(seed, progression, checkpoint)
        self._step = loop.run(source, progression).step
        if self._hosts.is_first:
            evaluations.name_best(is_kept=keep is not None)
            evaluations.hint_of_loss()
        best = last_checkpoint(run.folder, "best") if keep is not None else None
        if best is None:
            return self._step
        program.restore(best.parameters, program.slots())
        return int(best.state["step"])


def _last_path(folder: str) -> str | None:
    paths = list_checkpoints(folder)
    return paths[-1] if paths else None


def _progression(checkpoint: Checkpoint | None, computed_with: str | None) -> Progression:
    """What training begins with; None leaves out what is said of devices."""
    if checkpoint is None:
        return Progression()
    names = {field.name for field in dataclasses.fields(Progression)} & checkpoint.state.keys()
    progression = Progression(**{name: checkpoint.state[name] for name in names})
    say(f"resuming from step {progression.step:,}")
    before = checkpoint.state.get("computed_with", computed_with)
    if computed_with is not None and before != computed_with:
        warn(
            f"the run was computed with {before}, now with {computed_with}: it resumes, but not "
            "bit-exactly."
        )
    return progression
