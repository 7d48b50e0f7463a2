"""What the benchmarks share: the corpus, timing, and the memory of a tree of processes."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DATA = Path(os.environ.get("BERT_KO_DATA", ROOT.parent / "shared" / "data"))
VOCAB = ROOT / "vocab" / "ko-mecab-32k"
_SAMPLE_SECONDS = 0.05


def corpus_files() -> list[Path]:
    """The real corpus; a benchmark without one measures nothing."""
    files = sorted((DATA / "pretrain").glob("*.txt"))
    if not files:
        sys.exit(f"no corpus in {DATA / 'pretrain'}; set BERT_KO_DATA to a folder that has one.")
    return files


def write_sample(path: Path, megabytes: float) -> Path:
    """Writes about so many MB of the corpus: the same share of every file, whole documents."""
    files = corpus_files()
    share = megabytes * 1e6 / sum(file.stat().st_size for file in files)
    with path.open("wb") as sample:
        for file in files:
            data = file.read_bytes()
            cut = data.find(b"\n\n", int(len(data) * min(1.0, share)))
            sample.write(data[: cut if cut > 0 else len(data)].rstrip(b"\n") + b"\n\n")
    return path


def seconds_to_create(path: Path, folder: Path, **flags: Any) -> float:
    """Runs create_pretraining_data in this process, which prints nothing.

    Args:
        path: the text.
        folder: for 16 shards.
        flags: further ones.
    """
    from bert_ko.create_pretraining_data import CreatePretrainingDataConfig, run

    config = CreatePretrainingDataConfig(
        input_file=(str(path),),
        output_file=(str(folder / "ko.tfrecord@16"),),
        vocab_file=str(VOCAB),
        do_whole_word_mask=True,
        dupe_factor=1,
        **flags,
    )
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run(config)
    return time.perf_counter() - start


def median_seconds(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Times functions in turn, A B A B …, so that a drifting machine drifts for all."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for found, function in zip(times, functions, strict=True):
            start = time.perf_counter()
            function()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def machine() -> str:
    """One line about where the figures come from."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {_processor()}, Python {platform.python_version()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def run_measured(command: Sequence[str]) -> tuple[float, float]:
    """Runs a command; returns its seconds, and the peak MB of it and all its children together.

    Memory is the proportional set size: pages that processes share count once.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0.0
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(_SAMPLE_SECONDS):
            peak = max(peak, sum(map(_memory, _tree(process.pid))))

    sampler = threading.Thread(target=sample)
    sampler.start()
    status = process.wait()
    done.set()
    sampler.join()
    if status:
        sys.exit(f"{' '.join(command)}: exit status {status}")
    return time.perf_counter() - start, peak


def process_table() -> dict[int, list[str]]:
    """The processes of the machine: id to the fields of /proc/ID/stat from the state on."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                found[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    return found


def _tree(root: int) -> list[int]:
    parents = {process: int(fields[1]) for process, fields in process_table().items()}
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def _memory(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3


def create_command(paths: Sequence[Path], out: Path, *flags: str, shards: int = 16) -> list[str]:
    """The command line of create_pretraining_data with whole-word masking."""
    return [
        sys.executable,
        str(ROOT / "bin" / "create_pretraining_data"),
        f"--input_file={','.join(map(str, paths))}",
        f"--output_file={out / 'ko.tfrecord'}@{shards}",
        f"--vocab_file={VOCAB}",
        "--do_whole_word_mask",
        *flags,
    ]
