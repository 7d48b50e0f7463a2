#!/usr/bin/env python3
"""Records what a checkout's commands compute, and compares two recordings bit by bit.

For a refactoring, which must not change any result: record the version before and the version
after, and compare them.

    compare_versions.py record CHECKOUT RECORDING
    compare_versions.py record CHECKOUT RECORDING --resume_from OLD_RECORDING
    compare_versions.py compare OLD_RECORDING NEW_RECORDING

A recording is made with the bin/ commands of CHECKOUT alone, so that any version can be recorded:
a vocabulary, shards, pre-training and every task under TensorFlow and JAX (float32, with dropout),
predictions, scores, features and converted checkpoints. With --resume_from the checkout instead
resumes and reads the runs that the older version made, which are compared with the old recording.

    inputs/        what the commands read, cut from samples/ and from the corpora in --data
    runs/          what they wrote
    interrupted/   runs that SIGTERM stopped half-way
    logs/          what they printed
    facts/         what is compared, a JSON file a command; times and paths are left out
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import DATA
from recorded_commands import (
    Step,
    interrupted_steps,
    reading_steps,
    shard_steps,
    training_steps,
    write_inputs,
)

# The step at which a run is interrupted; it must be well before the last one.
_INTERRUPT_AFTER = 10
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "-1",
    # Half the time to compile; models of this size need no fast code.
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
}
# Different in every run. A resumed run lies in another folder.
_DIFFERING = {"seconds", "tokens_per_second", "mtime", "mtime_ns", "output_dir"}
# Events with times, locks, pages for people, and the code beside a converted tokenizer.
_LEFT_OUT = re.compile(r"(^|/)(tensorboard/|\.|report\.html$|README\.md$)|\.py$")


class Commands:
    """Runs a checkout's commands in the folder of a recording."""

    def __init__(self, checkout: Path, recording: Path, only: str):
        self._bin, self._folder = checkout.resolve() / "bin", recording
        self._only = re.compile(only)
        if not self._bin.is_dir():
            sys.exit(f"{checkout} has no bin/; give a checkout of bert_ko.")

    def record(self, step: Step, output: str | None = None) -> None:
        """Runs a step and writes its facts; does nothing where they stand.

        Args:
            step: to run.
            output: in the place of the step's own.
        """
        facts = self._folder / "facts" / f"{step.name}.json"
        if facts.exists() or not self._only.search(step.name):
            return
        start = time.perf_counter()
        output = output or step.output
        printed = self._finish(step, self._start(step, step.name, output), step.name)
        found = json_lines(printed) if output is None else folder_facts(self._folder / output)
        facts.parent.mkdir(exist_ok=True)
        facts.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
        print(f"{step.name}: {time.perf_counter() - start:.1f} s", flush=True)

    def interrupt(self, step: Step) -> None:
        """Runs a step into interrupted/ and stops it half-way with SIGTERM."""
        folder = self._folder / "interrupted" / step.name
        if folder.exists() or not self._only.search(step.name):
            return
        unfinished = folder.with_name(f"{step.name}.part")
        shutil.rmtree(unfinished, ignore_errors=True)
        log = f"{step.name}.interrupted"
        output = os.path.relpath(unfinished, self._folder)
        process = self._start(step, log, output)
        metrics = unfinished / "metrics.jsonl"
        while process.poll() is None and _count_lines(metrics) < _INTERRUPT_AFTER:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        self._finish(step, process, log, wanted=128 + signal.SIGTERM)
        unfinished.rename(folder)
        print(f"{step.name}: interrupted at {_count_lines(folder / 'metrics.jsonl')} lines")

    def _start(self, step: Step, log: str, output: str | None) -> subprocess.Popen[bytes]:
        command, *flags = step.command.replace("{output}", str(output)).split()
        if output is not None:
            (self._folder / output).parent.mkdir(parents=True, exist_ok=True)
        logs = self._folder / "logs"
        logs.mkdir(exist_ok=True)
        # Relative paths alone: a resumed run compares some of them with those it was begun with.
        with (logs / f"{log}.out").open("wb") as out, (logs / f"{log}.err").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, str(self._bin / command), *flags],
                cwd=self._folder,
                env={**os.environ, **_ENVIRONMENT, "KERAS_BACKEND": step.backend},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def _finish(
        self, step: Step, process: subprocess.Popen[bytes], log: str, wanted: int = 0
    ) -> str:
        status = process.wait()
        printed, errors = (
            (self._folder / "logs" / f"{log}{ending}").read_text("utf-8", "replace")
            for ending in (".out", ".err")
        )
        if status != wanted:
            sys.exit(
                f"{step.name}: exit status {status}, not {wanted}: {' '.join(process.args)}\n"  # type: ignore[arg-type]
                f"{printed[-2000:]}\n{errors[-2000:]}"
            )
        return printed


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def json_lines(text: str) -> list[Any]:
    """Those of the lines that are JSON objects."""
    return [comparable(json.loads(line)) for line in text.splitlines() if line.startswith("{")]


def folder_facts(path: Path) -> dict[str, Any]:
    """What is compared of a file, or of the files of a folder.

    Of a run the last checkpoint and the best one alone, whatever their steps are: a resumed run
    has others besides.
    """
    if path.is_file():
        return {path.name: file_facts(path)}
    names = {
        file.relative_to(path).as_posix(): file
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    folders = sorted({name.partition("/")[0] for name in names})
    newest = {
        name.partition("-")[0]: name for name in folders if re.match("(checkpoint|best)-", name)
    }
    facts: dict[str, Any] = {}
    for name, file in names.items():
        folder, _, inside = name.partition("/")
        kind = folder.partition("-")[0]
        if kind in newest and inside:
            if folder != newest[kind]:
                continue
            name = f"last {kind}/{inside}"
        if not _LEFT_OUT.search(name):
            facts[name] = file_facts(file)
    return facts


def file_facts(path: Path) -> Any:
    """JSON as values, tables as lines, safetensors as a checksum an array, else a checksum."""
    if path.suffix == ".safetensors":
        return safetensors_facts(path)
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path) as arrays:
            return {n: [str(a.dtype), a.shape, _digest(a.tobytes())] for n, a in arrays.items()}
    if path.suffix == ".jsonl":
        return json_lines(path.read_text("utf-8"))
    if path.suffix == ".json" and path.stat().st_size < 1e6:
        text = path.read_text("utf-8")
        try:
            return comparable(json.loads(text))
        except ValueError:  # a line an object, as of extract_features
            return json_lines(text)
    if path.suffix in (".tsv", ".txt") and path.name != "vocab.txt":
        return path.read_text("utf-8").splitlines()
    return _digest(path.read_bytes())


def safetensors_facts(path: Path) -> dict[str, Any]:
    """Type, shape and checksum of every array.

    Source: the format of safetensors: 8 bytes with the length of the header, the header as JSON,
        the data.
    """
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    return {
        name: [entry["dtype"], entry["shape"], _digest(data[slice(*entry["data_offsets"])])]
        for name, entry in sorted(header.items())
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def comparable(value: Any) -> Any:
    """A JSON value without what differs between two runs of the same version."""
    if isinstance(value, dict):
        return {name: comparable(v) for name, v in value.items() if name not in _DIFFERING}
    return [comparable(v) for v in value] if isinstance(value, list) else value


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Every place where two JSON values differ; numbers must be equal to the last bit.

    >>> list(differences({"a": [1, 2]}, {"a": [1, 3], "b": 0}))
    ['/a/1: 2 -> 3', '/b: only in the new one']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({*old, *new}):
            if name not in new or name not in old:
                yield f"{where}/{name}: only in the {'old' if name in old else 'new'} one"
            else:
                yield from differences(old[name], new[name], f"{where}/{name}")
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{where}: {len(old)} items -> {len(new)}"
        for index, pair in enumerate(zip(old, new, strict=False)):
            yield from differences(*pair, f"{where}/{index}")
    elif old != new or type(old) is not type(new):
        yield f"{where}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def compare(old: Path, new: Path, *, resumed: bool, ignore: str | None, most: int) -> int:
    """Prints what differs between two recordings.

    Args:
        old: a recording.
        new: another one.
        resumed: the new one has only the facts of what was resumed and read.
        ignore: pattern of places that may differ.
        most: lines to print for a step.

    Returns:
        How many places differ.
    """
    facts = [_load_facts(folder / "facts") for folder in (old, new)]
    names = sorted(facts[1] if resumed else {*facts[0], *facts[1]})
    total = 0
    for name in names:
        if not all(name in recorded for recorded in facts):
            found = [f": only in {old if name in facts[0] else new}"]
        else:
            found = list(differences(facts[0][name], facts[1][name]))
        found = [line for line in found if not (ignore and re.search(ignore, f"{name}{line}"))]
        total += len(found)
        for line in found[:most]:
            print(f"{name}{line}")
        if len(found) > most:
            print(f"{name}: {len(found) - most} more")
    print(f"{len(names)} steps compared, {total} differences")
    return total


def _load_facts(folder: Path) -> dict[str, Any]:
    """By step; what an older version of this script recorded is cut to what is compared now."""
    facts = {}
    for path in folder.glob("*.json"):
        value = comparable(json.loads(path.read_text("utf-8")))
        if isinstance(value, dict):
            value = {name: fact for name, fact in value.items() if not _LEFT_OUT.search(name)}
        facts[path.stem] = value
    if not facts:
        sys.exit(f"no facts in {folder}; make them with the action record.")
    return facts


def record(arguments: argparse.Namespace) -> None:
    """Makes a recording; what stands in it already is not made again."""
    recording = arguments.recording.resolve()
    commands = Commands(arguments.checkout, recording, arguments.only)
    if not (recording / "inputs").exists():
        write_inputs(recording / "inputs", arguments.data, arguments.megabytes)
    for step in [*shard_steps(), *training_steps()]:
        commands.record(step)
    for step in interrupted_steps():
        commands.interrupt(step)
    for step in reading_steps():
        commands.record(step)


def resume(arguments: argparse.Namespace) -> None:
    """Lets a checkout resume and read the runs of an older recording."""
    recording, old = arguments.recording.resolve(), arguments.resume_from.resolve()
    commands = Commands(arguments.checkout, recording, arguments.only)
    for name in ("inputs", "runs", "interrupted"):
        if not (recording / name).exists():
            shutil.copytree(old / name, recording / name)
    for step in interrupted_steps():
        commands.record(step, f"interrupted/{step.name}")
    for step in reading_steps():
        commands.record(step)


def main() -> None:
    """Records or compares; exit status 1 where something differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parsers = parser.add_subparsers(dest="action", required=True)
    recorder = parsers.add_parser("record", help="run a checkout's commands")
    recorder.add_argument("checkout", type=Path, help="folder with bin/")
    recorder.add_argument("recording", type=Path, help="folder to write; it is continued")
    recorder.add_argument("--resume_from", type=Path, help="recording of the older version")
    recorder.add_argument(
        "--data", type=Path, default=DATA, help="corpora; default BERT_KO_DATA (%(default)s)"
    )
    recorder.add_argument("--megabytes", type=float, default=2, help="of petitions (%(default)s)")
    recorder.add_argument("--only", default="", help="pattern of the steps to run; default all")
    comparer = parsers.add_parser("compare", help="compare two recordings")
    comparer.add_argument("old", type=Path)
    comparer.add_argument("new", type=Path)
    for either in (recorder, comparer):
        either.add_argument("--ignore", help="pattern of differences that may be")
        either.add_argument("--most", type=int, default=10, help="lines a step (%(default)s)")
    arguments = parser.parse_args()
    shown = {"ignore": arguments.ignore, "most": arguments.most}
    if arguments.action == "compare":
        sys.exit(compare(arguments.old, arguments.new, resumed=False, **shown) > 0)
    if arguments.resume_from is None:
        record(arguments)
        return
    resume(arguments)
    sys.exit(compare(arguments.resume_from, arguments.recording, resumed=True, **shown) > 0)


if __name__ == "__main__":
    main()
