import bz2
import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.spark_cluster import Cluster, children, start_cluster
from bert_ko import build_vocab, create_pretraining_data, files
from bert_ko.build_vocab import BuildVocabConfig
from bert_ko.create_pretraining_data import CreatePretrainingDataConfig
from bert_ko.data import pipeline
from bert_ko.flags import run_command
from tests.corpora import contents, text_corpus
from tests.storage import make_bucket

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]
REPOSITORY = Path(__file__).parents[1]
WORK = ".create_pretraining_data"
# Starts sooner: five Javas run at once here, none of them for long.
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SECONDS = 600  # that anything may take, on a busy machine
SMALL = ("--max_seq_length=32", "--max_predictions_per_seq=5", "--dupe_factor=2")
# Chunks and buckets so small that a small corpus has many of both.
START = """
import json, sys
from bert_ko import build_vocab, create_pretraining_data
from bert_ko.data import pipeline

pipeline.choose_chunk_bytes = lambda text_bytes: 2000
pipeline.choose_batch_size = lambda text_bytes: 2
create_pretraining_data._BUCKET_BYTES = 8000
"""
COMMAND = START + "sys.exit(create_pretraining_data.main())\n"
# A session like that of a notebook, in which several commands run.
SESSION = (
    START
    + """
from bert_ko import spark

master, settings, *commands = json.load(sys.stdin)
spark._start(master, settings)
for sys.argv in commands:
    print("status", globals()[sys.argv[0]].main(), flush=True)
"""
)


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, object_store: Mapping[str, str]
) -> Iterator[Cluster]:
    """Two workers, whose executors find the object store."""
    with start_cluster(tmp_path_factory.mktemp("cluster"), java_options=JAVA) as found:
        environment = {**found.environment, **object_store, "PYSPARK_PYTHON": sys.executable}
        settings = {f"spark.executorEnv.{name}": value for name, value in object_store.items()}
        yield found._replace(environment=environment, settings={**found.settings, **settings})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of several forms, some of which can be read only from their beginning."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = [text_corpus(7, seed) for seed in range(4)]
    records = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    for name, data in {
        "a.txt": text_corpus(25, 9).encode(), "b.txt": texts[1].replace("\n", "\r\n").encode(),
        "c.txt": texts[2].encode("utf-16"), "d.txt.gz": gzip.compress(texts[3].encode(), mtime=0),
        "e.jsonl": records.encode(), "f.jsonl.bz2": bz2.compress(records.encode()), "g.txt": b"",
    }.items():  # fmt: skip
        (folder / name).write_bytes(data)
    return folder


def shards(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name != "manifest.json"}


def flags(corpus: object, output: object, vocab: str, *more: str) -> list[str]:
    return [
        f"--input_file={corpus}", f"--output_file={output}", f"--vocab_file={vocab}", *SMALL, *more
    ]  # fmt: skip


@contextlib.contextmanager
def small_pieces() -> Iterator[None]:
    """Does what START does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "choose_chunk_bytes", lambda text_bytes: 2000)
        patch.setattr(pipeline, "choose_batch_size", lambda text_bytes: 2)
        patch.setattr(create_pretraining_data, "_BUCKET_BYTES", 8000)
        yield


def run_here(config: Any, run: Callable[[Any], object], arguments: Sequence[str]) -> None:
    """Runs a command with one local worker."""
    with small_pieces():
        assert run_command(config, run, [*arguments, "--num_workers=1"]) == 0


def create_here(*arguments: str) -> None:
    run_here(CreatePretrainingDataConfig, create_pretraining_data.run, arguments)


@pytest.fixture(scope="module")
def local(
    corpus: Path, vocab_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The shards that this process makes."""
    folder = tmp_path_factory.mktemp("local")
    create_here(*flags(corpus, f"{folder}/a@2", vocab_folder))
    return shards(folder)


class Killed(NamedTuple):
    folder: Path
    spills: Mapping[str, int]  # that are complete, and when each was written
    here: Mapping[str, bytes]  # the shards, of this process


@pytest.fixture(scope="module")
def killed(
    cluster: Cluster, corpus: Path, vocab_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> Killed:
    """A run on one executor, by spark-submit, whose driver was killed.

    It was finished here, and put back to where it was then.
    """
    top = tmp_path_factory.mktemp("killed")
    folder, program = top / "run", top / "create.py"
    program.write_text(COMMAND)
    submit = [f"{cluster.environment['SPARK_HOME']}/bin/spark-submit", "--master", cluster.master]
    for name, value in {**cluster.settings, "spark.cores.max": "1"}.items():
        submit += ["--conf", f"{name}={value}"]
    arguments = [*flags(corpus, folder / "a@2", vocab_folder), "--engine=spark"]
    command = [*submit, str(program), *arguments]
    with subprocess.Popen(command, env=cluster.environment, stdin=subprocess.DEVNULL) as process:
        wait_for(process, lambda: len(spills(folder)) >= 3)
        kill_all(process.pid)
    assert not {"tokenized.json", "manifest.json"} & {path.name for path in folder.rglob("*")}
    complete = spills(folder)
    shutil.copytree(folder, top / "begun")
    create_here(*flags(corpus, folder / "a@2", vocab_folder))
    here = shards(folder)
    shutil.rmtree(folder)
    (top / "begun").rename(folder)
    return Killed(folder, complete, here)


def spills(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / WORK).glob("spill-*.bin")}


def kill_all(pid: int) -> None:
    """Kills a process with all that it has started."""
    for child in children(pid):
        kill_all(child)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for(process: "subprocess.Popen[Any]", is_reached: Callable[[], bool]) -> None:
    for _ in range(SECONDS * 200):
        if is_reached():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    pytest.fail("the run hangs")


class Finished(NamedTuple):
    folder: Path
    bucket: str
    output: str


@pytest.fixture(scope="module")
def session(
    cluster: Cluster,
    corpus: Path,
    killed: Killed,
    vocab_folder: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    """Several commands in one session of two executors, which copy each task that takes long.

    During the last one an executor goes with its worker.
    """
    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setenv(name, value)
        bucket = make_bucket()
        for path in corpus.iterdir():
            files.write_atomic(f"{bucket}/in/{path.name}", path.read_bytes())
    begin_here(folder / "begun", corpus, vocab_folder)
    settings = {
        **cluster.settings, "spark.speculation": "true",
        "spark.speculation.task.duration.threshold": "100ms", "spark.speculation.interval": "20ms",
    }  # fmt: skip
    spark = "--engine=spark"
    word_flags = ("--words", "--vocab_size=300")
    commands = [
        ["create_pretraining_data", *flags(corpus, folder / "disk/a@2", vocab_folder, spark)],
        ["create_pretraining_data",
         *flags(f"{bucket}/in", f"{bucket}/out/a@2", f"{vocab_folder}/vocab.txt", spark)],
        *(["build_vocab", f"--input_file={corpus}", f"--output_dir={folder}/{name}", spark, *more]
          for name, more in {"pieces": ("--vocab_size=1000",), "words": word_flags}.items()),
        ["create_pretraining_data", *flags(corpus, folder / "begun/a@2", vocab_folder, spark)],
        ["create_pretraining_data",
         *flags(corpus, folder / "none/a@2", vocab_folder, spark, "--text_field=글")],
        ["build_vocab", f"--input_file={corpus}", f"--output_dir={folder}/x", spark,
         "--spark_master=local[1]"],
        ["create_pretraining_data", *flags(corpus, killed.folder / "a@2", vocab_folder, spark)],
    ]  # fmt: skip
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(
            [sys.executable, "-c", SESSION], stdin=subprocess.PIPE, text=True, stdout=log,
            stderr=log, env=cluster.environment, cwd=folder,
        ) as process,
    ):  # fmt: skip
        assert process.stdin is not None
        with process.stdin as stream:
            json.dump([cluster.master, settings, *commands], stream)
        wait_for(process, (killed.folder / WORK / "tokenized.json").exists)
        assert killed.spills.items() <= spills(killed.folder).items()  # none is written again
        kill_all(next(worker.pid for worker in cluster.workers if children(worker.pid)))
        status = process.wait(SECONDS)
        log.seek(0)
        output = log.read()
    assert status == 0, output
    return Finished(folder, bucket, output)


def begin_here(folder: Path, corpus: Path, vocab: str) -> None:
    """Leaves a run of this process that has built some buckets, and has lost some batches."""
    build = pipeline._build

    def stop(worker: Any, task: tuple[int, int]) -> Any:
        if task[0] == 3:
            raise ValueError("stopped here")
        return build(worker, task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_build", stop)
        arguments = [*flags(corpus, folder / "a@2", vocab), "--num_workers=1"]
        with small_pieces():
            assert run_command(CreatePretrainingDataConfig, create_pretraining_data.run, arguments)
    work = folder / WORK
    for path in (work / "tokenized.json", *sorted(work.glob("spill-*.bin"))[::3]):
        path.unlink()
    assert len(list(work.glob("built-*.json"))) == 3


def test_session_commands_end_as_they_should(session: Finished) -> None:
    statuses = re.findall(r"^status (\d+)$", session.output, re.M)
    assert statuses == ["0", "0", "0", "0", "0", "1", "1", "0"], session.output
    for stage in ("planning", "tokenizing", "counting"):
        # Compressed files are counted four times before they are read.
        assert re.search(rf"^{stage}: .* B \(\d+ %\), .* B/s, .* elapsed$", session.output, re.M)


def test_shards_of_two_executors_are_those_of_this_process(
    session: Finished, local: Mapping[str, bytes]
) -> None:
    assert shards(session.folder / "disk") == local  # and nothing else is left
    about = json.loads((session.folder / "disk/manifest.json").read_text(encoding="utf-8"))
    assert about["num_buckets"] > 2 and about["totals"]["documents"] > 50


def test_run_that_was_begun_here_is_finished_by_executors(
    session: Finished, local: Mapping[str, bytes]
) -> None:
    assert "resuming where an earlier run was stopped" in session.output
    assert shards(session.folder / "begun") == local


def test_shards_on_an_object_store_are_those_of_a_disk(
    session: Finished, local: Mapping[str, bytes], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    out = f"{session.bucket}/out"
    assert sorted(files.list_folder(out)) == sorted([*local, "manifest.json", "report.html"])
    assert {name: files.open_stored(f"{out}/{name}").read() for name in local} == local
    assert files.list_folder(f"{out}/{WORK}") == {}


def test_vocabularies_of_executors_are_those_of_this_process(
    session: Finished, corpus: Path, tmp_path: Path
) -> None:
    for name, more in {
        "pieces": ["--vocab_size=1000"],
        "words": ["--words", "--vocab_size=300"],
    }.items():
        arguments = [f"--input_file={corpus}", f"--output_dir={tmp_path}/{name}", *more]
        run_here(BuildVocabConfig, build_vocab.run, arguments)
        assert contents(session.folder / name) == contents(tmp_path / name)


def test_error_of_a_task_is_the_line_that_it_is_locally(session: Finished, corpus: Path) -> None:
    # Of the first task that meets one.
    line = rf"error: {corpus}/[ef]\.jsonl\S*:\d+: no text in field '글'; --text_field must name"
    assert re.search(line, session.output)
    assert (
        "--spark_master and --spark_conf are for a session that this command starts"
        in session.output
    )


def test_driver_that_was_killed_is_followed_here_or_there_without_a_worker(
    killed: Killed, session: Finished, local: Mapping[str, bytes]
) -> None:
    last = session.output.rpartition("status 1")[2]
    assert "resuming where an earlier run was stopped" in last
    assert killed.here == local
    assert shards(killed.folder) == local
