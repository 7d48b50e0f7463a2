#!/usr/bin/env python3
"""Kills every command at random moments; each rerun must end as if nothing had happened.

A command is started, and after a random time the parent, one worker or the whole group gets
SIGKILL, SIGTERM or SIGINT. The same command is run again: what it writes must have the bytes of a
run that was not disturbed (its losses, too: metrics.jsonl without times), and no temporary file may
be left.
The exit status is 1 after any difference.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from common import ROOT, machine, process_table

SAMPLES = ROOT / "samples"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
VICTIMS = ("parent", "worker", "group")
# What says when or where a run was, and not what it computed; a state's checksum is over its times.
TIMES = re.compile(r'"(tokens_per_second|seconds|crc32c)": [0-9.e+-]+')
TRACES = (".lock", "tensorboard")
MODEL = {
    "vocab_size": 1500, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 64,
}  # fmt: skip
_END = 30.0  # seconds that all processes have to end after a kill
_HANG = 600.0  # seconds after which a run hangs

Contents = dict[str, str]


class Command(NamedTuple):
    """A command line whose outputs are all in one folder."""

    name: str  # the launcher, and after a blank what it makes
    arguments: Sequence[str]

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Starts it in a process group of its own."""
        with log.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "bin" / self.name.split()[0]), *self.arguments],
                stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True, cwd=log.parent,
            )  # fmt: skip


class Kill(NamedTuple):
    """One kill and what came of it."""

    command: str
    how: str  # "SIGKILL to the group"
    moment: float  # seconds after the start
    was_running: bool
    faults: list[str]


def make_commands(folder: Path) -> Iterator[Command]:
    """Yields every command that writes, each with inputs that the ones before have made."""
    out, text = folder / "out", folder / "corpus.txt"
    text.write_text((SAMPLES / "corpus.txt").read_text(encoding="utf-8") * 40, encoding="utf-8")
    config, vocab, shards = folder / "config.json", folder / "vocab", folder / "shards"
    config.write_text(json.dumps(MODEL))
    words = folder / "words"
    made = {"build_vocab": vocab, "create_pretraining_data": shards, "build_vocab words": words}
    model = [f"--bert_config_file={config}", f"--vocab_file={vocab}"]
    often = ["--save_checkpoints_steps=4", "--log_every_steps=1", "--keep_checkpoint_max=1"]
    tuned = [*model, *often, "--max_seq_length=64", "--train_batch_size=4", f"--output_dir={out}"]
    tables = {name: SAMPLES / f"{name}.tsv" for name in ("reviews", "entities")}
    questions, asked = SAMPLES / "korquad.json", ["--do_train", "--do_predict"]
    lines: dict[str, list[str]] = {
        "build_vocab": [
            f"--input_file={text}", f"--output_dir={out}", "--vocab_size=1500", "--num_workers=2",
        ],
        "create_pretraining_data": [
            f"--input_file={text}", f"--output_file={out}/a.tfrecord@2", f"--vocab_file={vocab}",
            "--num_workers=2", "--max_seq_length=64", "--max_predictions_per_seq=10",
            "--masking=dynamic",
        ],
        "build_vocab words": [
            f"--input_file={text}", f"--output_dir={out}", "--words", "--num_workers=2",
        ],
        "create_pretraining_data words": [
            f"--input_file={text}", f"--output_file={out}/a.tfrecord@2", f"--vocab_file={words}",
            "--num_workers=2", "--objective=bilm",
        ],
        "run_pretraining": [
            *tuned, "--do_train", "--do_eval", f"--input_file={shards}/a*0-of*",
            f"--eval_input_file={shards}/a*1-of*", "--num_train_steps=12", "--max_eval_steps=5",
            "--max_predictions_per_seq=10",
        ],
        "run_squad": [
            *tuned, *asked, f"--train_file={questions}", f"--predict_file={questions}",
            "--num_train_epochs=1", "--doc_stride=24", "--max_query_length=20",
        ],
        "run_classifier": [
            *tuned, *asked, "--do_eval", "--task_name=tsv", "--num_train_epochs=2",
            *(f"--{name}_file={tables['reviews']}" for name in ("train", "eval", "predict")),
        ],
        "run_ner": [
            *tuned, *asked, "--do_eval", "--num_train_epochs=2",
            *(f"--{name}_file={tables['entities']}" for name in ("train", "eval", "predict")),
        ],
        "extract_features": [
            f"--init_checkpoint={folder / 'model'}", f"--input_file={SAMPLES / 'corpus.txt'}",
            f"--output_file={out}/features.jsonl", "--layers=-1", "--max_seq_length=64",
        ],
        "convert_checkpoint": [
            f"--from={folder / 'model'}", f"--to={out}/new", "--to_format=huggingface",
        ],
        "evaluate_korquad": [
            str(questions), str(folder / "answers.json"), f"--output_file={out}/details.jsonl",
        ],
    }  # fmt: skip
    for name, arguments in lines.items():
        yield Command(name, arguments)
        if name in made:
            shutil.copytree(out, made[name])
        elif name == "run_pretraining":
            shutil.copytree(out, folder / "model")
        elif name == "run_squad":
            shutil.copy(out / "predictions.json", folder / "answers.json")


def contents(out: Path) -> Contents:
    """Digests of all files by name, without times; of a page, that it is whole."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_file() and not name.split("/")[0].endswith(TRACES):
            data = path.read_bytes()
            if path.suffix == ".html":
                data = data[-8:]
            if path.suffix in (".json", ".jsonl"):
                data = TIMES.sub("", data.decode()).encode()
            found[name] = hashlib.sha256(data).hexdigest()
    return found


def renewed(out: Path) -> None:
    """Empties the folder."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()


def run(command: Command, log: Path) -> float:
    """Runs a command to its end; returns its seconds."""
    start = time.perf_counter()
    status = command.start(log).wait(_HANG)
    if status:
        sys.exit(f"{command.name}: exit status {status}: {log.read_text()[-2000:]}")
    return time.perf_counter() - start


def undisturbed(command: Command, folder: Path) -> tuple[float, Contents]:
    """Runs a command twice; returns its seconds, and the files that are the same both times."""
    found, times = [], []
    for _ in range(2):
        renewed(folder / "out")
        times.append(run(command, folder / "log"))
        found.append(contents(folder / "out"))
    first, second = found
    differ = sorted(
        name for name in first.keys() | second.keys() if first.get(name) != second.get(name)
    )
    if differ:
        print(f"{command.name}: not compared, as two runs differ: {', '.join(differ)}", flush=True)
    return min(times), {name: digest for name, digest in first.items() if name not in differ}


def processes_of(group: int) -> list[int]:
    """The processes of a group that are alive, the leader first."""
    found = [
        process
        for process, fields in process_table().items()
        if int(fields[2]) == group and fields[0] != "Z"
    ]
    return sorted(found, key=lambda process: (process != group, process))


def send(
    process: subprocess.Popen[bytes], victim: str, sent: signal.Signals, rng: random.Random
) -> str:
    """Sends the signal; returns who got it: without workers, the parent."""
    alive = processes_of(process.pid)
    workers = [pid for pid in alive if pid != process.pid and b"spawn_main" in _command_line(pid)]
    try:
        if victim == "group":
            os.killpg(process.pid, sent)
        elif victim == "worker" and workers:
            os.kill(rng.choice(workers), sent)
        else:
            victim = "parent"
            os.kill(process.pid, sent)
    except ProcessLookupError:
        pass
    return victim


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_for_group(process: subprocess.Popen[bytes], seconds: float) -> list[int]:
    """Waits for all processes of the group; returns those that have not ended, and ends them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not processes_of(process.pid):
            process.wait()
            return []
        time.sleep(0.02)
    left = processes_of(process.pid)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    return left


def kill_once(
    command: Command, seconds: float, wanted: Contents, folder: Path, rng: random.Random
) -> Kill:
    """Kills a command once, runs it again and compares."""
    out, log = folder / "out", folder / "log"
    renewed(out)
    moment, sent = rng.uniform(0.02, seconds), rng.choice(SIGNALS)
    process = command.start(log)
    time.sleep(moment)
    was_running = process.poll() is None
    victim = send(process, rng.choice(VICTIMS), sent, rng) if was_running else "nobody"
    faults = []
    # A worker ignores Ctrl-C, which its parent handles, and the run goes on. Training ends after a
    # step, which may compile, and a checkpoint.
    goes_on = victim == "worker" and sent == signal.SIGINT
    if left := wait_for_group(process, _HANG if goes_on else _END + seconds):
        faults.append(f"{len(left)} processes still run")
    if b"Traceback" in (printed := log.read_bytes()):
        faults.append(f"traceback: {printed[-300:].decode(errors='replace')!r}")
    if process.returncode:
        again = command.start(log)
        if wait_for_group(again, _HANG):
            faults.append("the rerun hangs")
        # A conversion refuses a folder that is there, as it is when it is complete.
        if again.returncode and not _is_complete(out, wanted):
            faults.append(f"the rerun ends with {again.returncode}: {log.read_text()[-300:]!r}")
    faults += differences(out, wanted)
    return Kill(command.name, f"{sent.name} to the {victim}", moment, was_running, faults)


def _is_complete(out: Path, wanted: Contents) -> bool:
    found = contents(out)
    return all(found.get(name) == digest for name, digest in wanted.items())


def differences(out: Path, wanted: Contents) -> list[str]:
    """What differs from the run that was not disturbed."""
    found = contents(out)
    faults = [f"{name} is left" for name in found if re.search(r"\.tmp(/|$)", name)]
    faults += [f"{name} is missing" for name in wanted.keys() - found.keys()]
    return faults + [f"{n} differs" for n in wanted.keys() & found.keys() if wanted[n] != found[n]]


def show(kills: Sequence[Kill]) -> None:
    """Prints a table: a row for each command."""
    by_command = defaultdict(list)
    for kill in kills:
        by_command[kill.command].append(kill)
    print(f"\n{'command':26}{'kills':>7}{'while running':>15}{'faults':>8}")
    for name, rows in (*by_command.items(), ("all", list(kills))):
        running, bad = sum(k.was_running for k in rows), sum(bool(k.faults) for k in rows)
        print(f"{name:26}{len(rows):>7}{running:>15}{bad:>8}")


def kill_all(
    num_kills: int, seed: int, names: Sequence[str], say: Callable[[str], None]
) -> list[Kill]:
    """Kills commands in turn; returns all kills."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        known = []
        for command in make_commands(folder):
            seconds, wanted = undisturbed(command, folder)
            say(f"{command.name}: {seconds:.1f} s undisturbed, {len(wanted)} files compared")
            if not names or command.name in names:
                known.append((command, seconds, wanted))
            if len(known) == len(names):
                break  # what comes after is not needed, unless there are no names
        kills = []
        for number in range(num_kills):
            kill = kill_once(*known[number % len(known)], folder, rng)
            kills.append(kill)
            state = "" if kill.was_running else " (had ended)"
            result = "; ".join(kill.faults) or "the same"
            say(f"{number + 1}: {kill.command}, {kill.how} at {kill.moment:.2f} s{state}: {result}")
    return kills


def main() -> int:
    """Prints a line for each kill, and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", default="", help="names, separated by commas; default: all")
    arguments = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "jax")  # it starts sooner
    print(f"{machine()}; {os.environ['KERAS_BACKEND']}", flush=True)
    names = list(filter(None, arguments.commands.split(",")))
    kills = kill_all(arguments.kills, arguments.seed, names, lambda line: print(line, flush=True))
    show(kills)
    return int(any(kill.faults for kill in kills))


if __name__ == "__main__":
    sys.exit(main())
