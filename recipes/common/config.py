"""A recipe's configuration: config.json to frozen dataclasses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Flags of a command by name: true is --name, false --noname.
Flags = Mapping[str, Any]


@dataclass(frozen=True)
class Shards:
    """One run of create_pretraining_data."""

    name: str
    max_seq_length: int
    flags: Flags = dataclasses.field(default_factory=dict)  # beside input, output and vocabulary
    files: tuple[str, ...] = ("*",)  # of pretrain/, as globs
    without: tuple[str, ...] = ()  # globs of files to leave out


@dataclass(frozen=True)
class Phase:
    """One run of run_pretraining, which begins with the weights of the phase before."""

    name: str
    shards: tuple[str, ...]  # names
    max_seq_length: int
    train_batch_size: int  # rows
    minutes: float  # compilation included; if the recipe's time is limited, its share
    learning_rate: float
    num_warmup_steps: int
    learning_rate_schedule: str = "constant"  # else its number of updates is chosen
    # Pieces a second as a multiple of those of the phase before, to choose the number of updates.
    relative_speed: float = 1.0
    flags: Flags = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class FineTuning:
    """One task, trained with several seeds by one command."""

    name: str  # and its folder in the data
    command: str  # in bin/
    files: tuple[str, ...]  # that the folder must have
    scores: tuple[str, ...]  # of eval_results.txt, for the table
    flags: Flags = dataclasses.field(default_factory=dict)  # {data} is the task's folder


@dataclass(frozen=True)
class Recipe:
    """All of config.json."""

    backend: str  # tensorflow or jax
    model: Mapping[str, Any]  # bert_config.json
    vocabulary: str | Flags  # one that exists, or flags of build_vocab
    hold_out_every: int  # of so many documents one is held out
    shards: tuple[Shards, ...]
    phases: tuple[Phase, ...]
    pretraining_flags: Flags  # of every phase
    evaluation_batch_size: int
    evaluation_length: int  # at which the last phase is evaluated, too
    tasks: tuple[FineTuning, ...]
    fine_tuning_flags: Flags  # of every task
    num_seeds: int
    has_baseline: bool  # fine-tune from random weights, too
    tasks_at_once: int
    in_background: bool  # prepare data and evaluate beside training
    minutes: float | None = None  # for everything; None: as long as the phases and tasks take
    # With a limit: what phases leave to the tasks, and what a phase takes beside its own minutes.
    fine_tuning_minutes: float = 0.0
    overhead_minutes: float = 0.0

    def __post_init__(self) -> None:
        """Raises: ValueError: parts that do not fit together."""
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes must be above 0, got {self.minutes}.")
        known = {shards.name for shards in self.shards}
        for phase in self.phases:
            for name in phase.shards:
                if name not in known:
                    raise ValueError(f"phase {phase.name}: no shards are called {name}.")
        if not self.phases or self.phases[0].learning_rate_schedule != "constant":
            raise ValueError(
                "the first phase must have the schedule constant: how many updates a later one "
                "makes is chosen from its speed."
            )
        if self.evaluation_length not in {phase.max_seq_length for phase in self.phases}:
            raise ValueError(f"no phase has evaluation_length {self.evaluation_length}.")


def read_config(path: Path) -> Recipe:
    """Reads config.json.

    Raises:
        ValueError: it is no configuration; the message names the file and the key.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        parts = {"shards": Shards, "phases": Phase, "tasks": FineTuning}
        for name, kind in parts.items():
            values[name] = tuple(_read(kind, one, f"{name}: ") for one in values.get(name, ()))
        recipe: Recipe = _read(Recipe, values, "")
        return recipe
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _read(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            raise ValueError(f"{where}unknown key {name}; known are {', '.join(fields)}.")
    for name, field in fields.items():
        no_default = field.default is field.default_factory is dataclasses.MISSING
        if no_default and name not in values:
            raise ValueError(f"{where}the key {name} is missing.")
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return kind(**{**values, **lists})


def to_json(recipe: Recipe) -> Any:
    """The configuration as JSON values, to compare it with that of an earlier run."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def difference(saved: Any, wanted: Any, where: str = "") -> str | None:
    """The first difference of two JSON values in words; None if there is none."""
    if isinstance(saved, list) and isinstance(wanted, list) and len(saved) == len(wanted):
        saved, wanted = dict(enumerate(saved)), dict(enumerate(wanted))
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for name in {**saved, **wanted}:
            place = f"{where}.{name}" if where else str(name)
            found = difference(saved.get(name), wanted.get(name), place)
            if found is not None:
                return found
        return None
    return None if saved == wanted else f"{where} was {saved}, now {wanted}"


def as_flags(flags: Flags, **places: str) -> list[str]:
    """Flags as a command line has them.

    >>> as_flags({"pack": True, "length_buckets": False, "data_dir": "{data}"}, data="d")
    ['--pack', '--nolength_buckets', '--data_dir=d']
    """
    found = []
    for name, value in flags.items():
        if isinstance(value, bool):
            found.append(f"--{name}" if value else f"--no{name}")
        else:
            text = value.format(**places) if isinstance(value, str) else value
            found.append(f"--{name}={text}")
    return found
