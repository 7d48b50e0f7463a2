"""A recipe from end to end: text, vocabulary, shards, phases, tasks, table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bert_ko.files import lock, write_atomic
from bert_ko.flags import error_message
from bert_ko.messages import warn
from bert_ko.training.metrics import METRICS_NAME, read_metrics
from recipes.common.config import (
    FineTuning,
    Flags,
    Phase,
    Recipe,
    Shards,
    as_flags,
    difference,
    read_config,
    to_json,
)
from recipes.common.plan import PhasePlan, plan_phase
from recipes.common.results import write_results
from recipes.common.steps import Runner, State, Step, Stopped

ROOT = Path(__file__).resolve().parents[2]
RANDOM = "random"  # of names of steps and folders that begin with random weights
_NUM_SHARDS = 32


def expand_texts(data: Path, shards: Shards | None = None) -> list[Path]:
    """The files of text in a folder of data, or those of them that shards are made of.

    Raises:
        FileNotFoundError: there is none.
    """
    folder, patterns = data / "pretrain", shards.files if shards else ("*",)
    found = {path for one in patterns for path in folder.glob(one) if ".txt" in path.suffixes}
    found -= {path for one in (shards.without if shards else ()) for path in folder.glob(one)}
    if not found:
        wanted = ", ".join(patterns)
        raise FileNotFoundError(f"no text to train on in {folder} ({wanted} with .txt).")
    return sorted(found)


def available_tasks(recipe: Recipe, data: Path) -> list[FineTuning]:
    """The tasks whose files are there; says which are left out."""
    found = []
    for task in recipe.tasks:
        missing = [name for name in task.files if not (data / task.name / name).is_file()]
        if missing:
            warn(f"{task.name} is left out: no {missing[0]} in {data / task.name}")
        else:
            found.append(task)
    return found


class Steps:
    """All steps of a recipe, as commands of this project."""

    def __init__(self, recipe: Recipe, data: Path, output: Path, state: State):
        """See ``steps``; state has what was planned by earlier runs, and gets what is planned."""
        self._recipe, self._data, self._output, self._state = recipe, data, output, state
        is_built = not isinstance(recipe.vocabulary, str)
        self._vocabulary = str(output / "vocabulary") if is_built else recipe.vocabulary
        self._before_shards = ("vocabulary",) if is_built else ("text",)

    def steps(self, tasks: Sequence[FineTuning]) -> list[Step]:
        """In the order in which they are begun where they may be."""
        recipe = self._recipe
        first = recipe.phases[0].shards
        shards = sorted(recipe.shards, key=lambda one: one.name not in first)
        found = [self._text(), *self._build_vocabulary(), *map(self._shards, shards)]
        lengths = dict.fromkeys(phase.max_seq_length for phase in recipe.phases)
        found += [self._held_out(length) for length in lengths]
        for index, phase in enumerate(recipe.phases):
            found.append(self._phase(index))
            found.append(self._evaluation(phase, phase.max_seq_length))
        if recipe.evaluation_length != phase.max_seq_length:
            found.append(self._evaluation(phase, recipe.evaluation_length))
        found += [self._task(task, phase.name) for task in tasks]
        if recipe.has_baseline:
            found += [self._task(task, None) for task in tasks]
        if recipe.in_background:
            return found
        return [dataclasses.replace(step, lane="main", is_nice=False) for step in found]

    def _text(self) -> Step:
        script = str(ROOT / "recipes" / "common" / "hold_out.py")
        command = [sys.executable, script, f"--output_dir={self._output / 'text'}"]
        command += [f"--every={self._recipe.hold_out_every}"]
        return Step("text", lambda: [*command, *map(str, expand_texts(self._data))], lane="data")

    def _build_vocabulary(self) -> list[Step]:
        flags = self._recipe.vocabulary
        if isinstance(flags, str):
            return []
        places = [f"--input_file={self._output / 'text' / 'train'}"]
        places += [f"--output_dir={self._vocabulary}"]
        command = _command("build_vocab", [*places, *as_flags(flags)])
        return [Step("vocabulary", lambda: command, ("text",), "data")]

    def _shards(self, shards: Shards) -> Step:
        names = [path.name.partition(".txt")[0] + ".txt" for path in self._texts(shards)]
        texts = [str(self._output / "text" / "train" / name) for name in names]
        is_first = shards.name in self._recipe.phases[0].shards
        return self._data_step(f"shards-{shards.name}", texts, shards, not is_first)

    def _texts(self, shards: Shards) -> list[Path]:
        try:
            return expand_texts(self._data, shards)
        except FileNotFoundError:  # other text than the recipe knows: all of it
            return expand_texts(self._data)

    def _held_out(self, length: int) -> Step:
        text = str(self._output / "text" / "held_out.txt")
        return self._data_step(
            f"held-out-{length}", [text], Shards("", length, {"next_sentence": "none"}), True
        )

    def _data_step(self, name: str, texts: list[str], shards: Shards, is_nice: bool) -> Step:
        flags = {"masking": "dynamic", "do_whole_word_mask": True, **shards.flags}
        number = 1 if name.startswith("held-out") else _NUM_SHARDS
        command = _command("create_pretraining_data", [
            f"--input_file={','.join(texts)}",
            f"--output_file={self._output / name / 'ko.tfrecord'}@{number}",
            f"--vocab_file={self._vocabulary}",
            f"--max_seq_length={shards.max_seq_length}",
            *as_flags(flags),
        ])  # fmt: skip
        return Step(name, lambda: command, self._before_shards, "data", is_nice)

    def _phase(self, index: int) -> Step:
        phases = self._recipe.phases
        phase = phases[index]
        before = phases[index - 1] if index else None
        after = [f"shards-{name}" for name in phase.shards]
        command = [
            "--do_train",
            f"--input_file={','.join(str(self._output / name) for name in after)}",
            f"--vocab_file={self._vocabulary}",
            f"--bert_config_file={self._output / 'bert_config.json'}",
            f"--output_dir={self._output / phase.name}",
            f"--max_seq_length={phase.max_seq_length}",
            f"--train_batch_size={phase.train_batch_size}",
            f"--learning_rate={phase.learning_rate}",
            f"--num_warmup_steps={phase.num_warmup_steps}",
            f"--learning_rate_schedule={phase.learning_rate_schedule}",
            *as_flags({**self._recipe.pretraining_flags, **phase.flags}),
        ]
        if before is not None:
            command.append(f"--init_checkpoint={self._output / before.name}")
            after.append(before.name)

        def planned() -> list[str]:
            plan = self._plan(index)
            hours = f"--max_hours={plan.seconds / 3600:.6f}"
            steps = f"--num_train_steps={plan.num_train_steps}"
            return _command("run_pretraining", [*command, steps, hours])

        return Step(phase.name, planned, tuple(after), "training")

    def _plan(self, index: int) -> PhasePlan:
        phase, state = self._recipe.phases[index], self._state
        if phase.name not in state.planned:
            folder = self._output / self._recipe.phases[index - 1].name if index else self._output
            before = read_metrics(str(folder / METRICS_NAME))
            state.planned[phase.name] = plan_phase(self._recipe, index, state.used, before)
            state.save()
        return PhasePlan(*state.planned[phase.name])

    def _evaluation(self, phase: Phase, length: int) -> Step:
        name = evaluation_name(phase, length)
        command = _command("run_pretraining", [
            "--do_eval",
            f"--input_file={self._output / f'held-out-{length}'}",
            f"--init_checkpoint={self._output / phase.name}",
            f"--output_dir={self._output / name}",
            f"--max_seq_length={length}",
            f"--max_predictions_per_seq={max(20, round(0.15 * length) + 1)}",
            f"--eval_batch_size={self._recipe.evaluation_batch_size}",
            "--max_eval_steps=1000",
        ])  # fmt: skip
        return Step(name, lambda: command, (phase.name, f"held-out-{length}"), "evaluation")

    def _task(self, task: FineTuning, begun: str | None) -> Step:
        """One task from the weights of a phase; from random ones if that is None."""
        name = task_name(task, begun is None)
        flags: Flags = {**self._recipe.fine_tuning_flags, **task.flags}
        command = [
            "--do_train",
            *as_flags(flags, data=str(self._data / task.name)),
            f"--vocab_file={self._vocabulary}",
            f"--bert_config_file={self._output / 'bert_config.json'}",
            f"--output_dir={self._output / name}",
            f"--num_seeds={self._recipe.num_seeds}",
        ]
        if begun is not None:
            command.append(f"--init_checkpoint={self._output / begun}")
        line = _command(task.command, command)
        # Random weights come last, when everything else is done.
        last = self._recipe.phases[-1].name
        return Step(name, lambda: line, (*self._before_shards, last), "tasks")


def evaluation_name(phase: Phase, length: int) -> str:
    """Of a step and its folder."""
    return f"held-out-accuracy-{phase.name}-at-{length}"


def task_name(task: FineTuning, is_random: bool = False) -> str:
    """Of a step and its folder."""
    return f"{task.name}-{RANDOM}" if is_random else task.name


def _command(name: str, flags: list[str]) -> list[str]:
    return [sys.executable, str(ROOT / "bin" / name), *flags]


def _environment(recipe: Recipe, output: Path) -> dict[str, str]:
    found = {"KERAS_BACKEND": recipe.backend}
    if recipe.backend == "jax":
        # What one command has compiled, the same command has when it goes on after a kill.
        found["JAX_COMPILATION_CACHE_DIR"] = str(output / "compilation_cache")
        found["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "1"
        # Several commands share the device.
        found["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    return found


def _open_state(recipe: Recipe, data: Path, output: Path) -> State:
    """Refuses to go on with another configuration; only the time and the baseline may change.

    Raises:
        ValueError: it differs, and where.
    """
    state = State(output)
    may_change = {"minutes": None, "has_baseline": None, "tasks_at_once": None}
    wanted = {**to_json(recipe), **may_change, "data": os.path.realpath(data)}
    found = None if state.config is None else difference(state.config, wanted)
    if found is not None:
        raise ValueError(
            f"{state.path} was begun with another configuration: {found}; choose another --output, "
            "or set it back."
        )
    state.config = wanted
    return state


def run(recipe: Recipe, data: Path, output: Path) -> bool:
    """Runs or resumes a recipe; returns whether all of it is done.

    Raises:
        ValueError: configuration and earlier runs contradict each other.
        FileNotFoundError: no text.
        Stopped: by SIGTERM or Ctrl-C.
    """
    expand_texts(data)
    tasks = available_tasks(recipe, data)
    output.mkdir(parents=True, exist_ok=True)
    with lock(str(output / ".lock")):
        state = _open_state(recipe, data, output)
        state.save()
        write_atomic(str(output / "bert_config.json"), json.dumps(recipe.model, indent=1) + "\n")
        limit = None if recipe.minutes is None else recipe.minutes * 60
        lanes = {"tasks": recipe.tasks_at_once}
        runner = Runner(output, state, lanes, _environment(recipe, output), limit)
        try:
            is_complete = runner.run(Steps(recipe, data, output, state).steps(tasks))
        finally:  # stopped, it has results, too
            print(write_results(recipe, tasks, output, state), flush=True)
    if runner.failed:
        failed = ", ".join(runner.failed)
        print(f"failed: {failed}; mend what is said above, and run the same command again")
    elif not is_complete:
        print("the time is over: the same command with more --minutes goes on")
    return is_complete


def main(folder: Path) -> int:
    """Runs the recipe of a folder; returns the exit status."""
    parser = argparse.ArgumentParser(description=f"The recipe {folder.name}; see its README.md.")
    parser.add_argument("--data", type=Path, required=True, help="Folder with pretrain/*.txt and "
                        "a folder for each task; a task without a folder is left out.")  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="Folder for everything that is "
                        "made; what is found there goes on.")  # fmt: skip
    parser.add_argument("--config", type=Path, default=folder / "config.json")
    parser.add_argument("--minutes", type=float, help="For everything, preparation of data and "
                        "compilation included. Default: as in the configuration.")  # fmt: skip
    parser.add_argument("--no_baseline", action="store_true", help="Do not fine-tune from random "
                        "weights.")  # fmt: skip
    arguments = parser.parse_args()
    try:
        recipe = read_config(arguments.config)
        if arguments.minutes is not None:
            recipe = dataclasses.replace(recipe, minutes=arguments.minutes)
        if arguments.no_baseline:
            recipe = dataclasses.replace(recipe, has_baseline=False)
        return 0 if run(recipe, arguments.data.absolute(), arguments.output.absolute()) else 1
    except Stopped:
        print("stopped; run the same command again to go on", flush=True)
        return 130
    except (ValueError, FileNotFoundError, OSError) as error:
        print(f"{folder.name}: {error_message(error)}", file=sys.stderr)
        return 1
