"""What the documents say in commands and in Python, run as it stands there.

Of the English pages only: test_korean_docs.py finds the same code in the Korean ones.
"""

import ast
import dataclasses
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.commands import COMMANDS, UMBRELLA
from bert_ko.flags import Flags
from bert_ko.modeling import encoder
from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.compute import Model
from bert_ko.modeling.heads import PretrainingHead, SpanHead, model_specs
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.tasks.batches import INPUTS
from bert_ko.tasks.conversion.export_files import open_export
from bert_ko.tokenization.beside import copy_vocabulary
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.checkpoints import Checkpoint, save_checkpoint
from tests import bilm_reference
from tests.bilm_reference import write_published
from tests.fork_server import run_forked

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path.name
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    if not path.name.endswith(".ko.md")
)
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
_BLOCK = re.compile(r"```(bash|python)\n(.*?)```", re.DOTALL)
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 384,
}  # fmt: skip


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and code of each block."""
    path = ROOT / page if page.startswith("README") else ROOT / "docs" / page
    return _BLOCK.findall(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a tiny model with random weights."""
    folder = tmp_path_factory.mktemp("docs") / "model"
    return save_model(folder, vocab_folder, PretrainingHead())


def save_model(folder: Path, vocab_folder: str, head: Any) -> Path:
    """Writes a tiny model with random weights as a run leaves it."""
    tokenizer = load_tokenizer(vocab_folder)
    config = BertConfig(vocab_size=len(tokenizer.vocab), **SIZES)  # type: ignore[arg-type]
    arrays = initial_parameters(model_specs(config, head), 0.02, 1)
    state = {"format": 1, "step": 5, "tokenizer_fingerprint": tokenizer.fingerprint}
    folder.mkdir()
    save_checkpoint(str(folder), 5, Checkpoint(arrays, {}, state), config, 0)
    copy_vocabulary(tokenizer, str(folder))
    return folder


# One process for all programs of a page, as importing TensorFlow and transformers takes seconds.
_RUN = """
import json, runpy, sys
for first, *rest in json.loads(sys.argv[1]):
    sys.argv = [first, *rest]
    try:
        if first == "-c":
            exec(rest[0], {"__name__": "__main__"})
        else:
            runpy.run_path(first, run_name="__main__")
    except SystemExit as stop:
        if stop.code:
            sys.exit(f"{sys.argv} ended with {stop.code}")
"""


def run_programs(programs: Iterable[Sequence[str]], cwd: Path) -> None:
    """Runs launchers with their flags, and Python after "-c", one after the other, quietly."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(cwd / "modules")}
    run_forked(["-c", _RUN, json.dumps(list(programs))], cwd / "log", environment, cwd)


def link(folder: Path, *names: str) -> None:
    """Links what a page finds in the checkout."""
    for name in names or ("bin", "samples", "bert_ko"):
        (folder / name).symlink_to(ROOT / name)


def programs_of(page: str, *languages: str) -> list[list[str]]:
    """Programs of all blocks, or of those of some languages, in their order."""
    found = []
    for language, code in blocks(f"{page}.md"):
        if languages and language not in languages:
            continue
        if language == "python":
            found.append(["-c", code])
            continue
        for line in code.replace("\\\n", " ").splitlines():
            words = re.findall(r'(?:[^\s"]|"[^"]*")+', line)
            found.append([word.replace('"', "") for word in words])
    return found


def commands_of_table() -> list[list[str]]:
    """What the README's table says to type, in its order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [
        shlex.split(command) for command in re.findall(r"^\|[^|]*\| `(bin/.*?)` \|", text, re.M)
    ]


@pytest.mark.slow
def test_commands_of_the_readmes_table_run_one_after_the_other(tmp_path: Path) -> None:
    link(tmp_path)
    samples = {
        "corpus/a.txt": "corpus.txt", "train.json": "korquad.json", "dev.json": "korquad.json",
        "reviews/train.tsv": "reviews.tsv", "reviews/dev.tsv": "reviews.tsv",
        "names/train.tsv": "entities.tsv", "names/dev.tsv": "entities.tsv",
        "sentences.txt": "corpus.txt",
    }  # fmt: skip
    for name, sample in samples.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / "samples" / sample)
    short = {
        "bin/build_vocab": ("--vocab_size=1500",),
        "bin/run_pretraining": (
            "--num_train_steps=1",
            "--train_batch_size=2",
            "--bert_config_file=ko-mecab-32k/bert_config_tiny.json",
        ),
        "bin/run_squad": ("--num_train_epochs=0.2", "--max_seq_length=128"),
        "bin/extract_features": ("--layers=-1",),
        "bin/run_classifier": ("--num_train_epochs=0.2", "--max_seq_length=32"),
        "bin/run_ner": ("--num_train_epochs=0.2", "--max_seq_length=32"),
    }
    commands = commands_of_table()
    names = {name.name for name in (ROOT / "bin").iterdir()} - {"bert_ko"}
    assert {command[0].removeprefix("bin/") for command in commands} == names
    # The page of a server is the one thing that does not end; tests/serving has it.
    found = [[*c, *short.get(c[0], ())] for c in commands if c[0] != "bin/serve"]
    run_programs(found, tmp_path)
    for name in ("reader/report.html", "topics/report.html", "entities/report.html", "vectors.npz"):
        assert (tmp_path / name).is_file()
    assert (tmp_path / "my-korean-bert" / "model.safetensors").is_file()


def test_terminal_page_runs_as_it_stands(tmp_path: Path) -> None:
    link(tmp_path, "bin", "samples", "bert_ko", "vocab")
    programs = [words[: words.index("#")] if "#" in words else words
                for words in programs_of("terminal")]  # fmt: skip
    assert ["bin/bert_ko", "devices"] in programs  # see test_umbrella.py
    quick = [words for words in programs if words[-1] != "devices" and "run_squad" not in words[0]]
    assert len(quick) == 4
    run_programs(quick, tmp_path)
    assert not (tmp_path / "my_vocab").exists()


@pytest.mark.slow
def test_google_page_runs_as_it_stands(model: Path, tmp_path: Path) -> None:
    link(tmp_path)
    to = "--to=google/bert_model.ckpt"
    convert = ["bin/convert_checkpoint", "--nocompare", f"--from={model}", to]
    run_programs([convert, *programs_of("google_checkpoint")], tmp_path)
    assert (tmp_path / "back" / "bert_model.ckpt.index").is_file()


@pytest.mark.slow
def test_hugging_face_pages_run_as_they_stand(model: Path, tmp_path: Path) -> None:
    link(tmp_path)
    (tmp_path / "model").symlink_to(model)
    train = [
        "bin/run_squad", "--do_train", "--num_train_epochs=1", "--max_seq_length=256",
        "--output_dir=reader", "--train_file=samples/korquad.json", f"--init_checkpoint={model}",
    ]  # fmt: skip
    publish, use = programs_of("publish_hugging_face"), programs_of("pytorch")
    run_programs([*publish, train, *use], tmp_path)
    assert (tmp_path / "answers" / "report.html").is_file()


@pytest.mark.slow
def test_export_page_runs_as_it_stands(vocab_folder: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    link(tmp_path)
    save_model(tmp_path / "reader", vocab_folder, SpanHead())
    programs = programs_of("export", "bash")
    run_programs([program for program in programs if program[0] != "python"], tmp_path)
    ((_, reader),) = [block for block in blocks("export.md") if block[0] == "python"]
    assert (tmp_path / "reader-onnx" / "example.py").read_text(encoding="utf-8") == reader
    found = []
    for _, *rest in [program for program in programs if program[0] == "python"]:
        # What the program finds of this project is what lies in its folder.
        hidden = f"import runpy, sys; sys.modules['bert_ko'] = None; sys.argv = {rest}\n"
        hidden += (
            f"sys.path[0] = '{Path(rest[0]).parent}'; runpy.run_path(sys.argv[0], {{}}, '__main__')"
        )
        found.append(
            subprocess.check_output([sys.executable, "-c", hidden], cwd=tmp_path, text=True)
        )
    onnx, vectors, int8, saved = found
    assert onnx == saved and onnx.strip() and int8.strip() in "마을 도서관은 언덕 위에 있다."
    assert vectors.startswith("[CLS] ")
    folders = (str(tmp_path / name) for name in ("reader-onnx", "reader-serving"))
    with_onnx, with_tensorflow = map(open_export, folders)
    for shape in ((1, 9), (3, 40)):
        batch = {name: np.ones(shape, np.int32) for name in INPUTS}
        one, other = with_onnx(batch), with_tensorflow(batch)
        for name in ("start_logits", "end_logits"):
            np.testing.assert_allclose(one[name], other[name], atol=1e-4)


@pytest.mark.slow
def test_tracking_page_runs_as_it_stands(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    link(tmp_path)
    (tmp_path / "build" / "quickstart").mkdir(parents=True)
    (tmp_path / "build" / "quickstart" / "model").symlink_to(model)
    run_programs(programs_of("tracking"), tmp_path)
    reviews = tmp_path / "build" / "reviews"
    assert (reviews / "mlflow" / "mlflow.db").is_file() and any((reviews / "tensorboard").iterdir())


@pytest.mark.slow
def test_elmo_page_runs_as_it_stands(tmp_path: Path) -> None:
    link(tmp_path)
    write_published(tmp_path / "published_elmo", bilm_reference.OPTIONS)
    run_programs(programs_of("elmo"), tmp_path)
    assert "perplexity = " in (tmp_path / "elmo" / "eval_results.txt").read_text()
    assert (tmp_path / "elmo_for_allennlp" / "weights.hdf5").is_file()


def run_imports(code: str, defined: Collection[str] = ()) -> None:
    """Imports what code imports from the project, those inside functions too.

    Args:
        code: Python.
        defined: modules that are left out.
    """
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.ImportFrom) or node.module in defined:
            continue
        if str(node.module).partition(".")[0] in ("bert_ko", "common", "recorded_commands"):
            exec(ast.unparse(node), {})


@pytest.mark.parametrize("page", DOCUMENTS)
def test_python_of_pages_imports_what_is_there(page: str) -> None:
    codes = [code for language, code in blocks(page) if language == "python"]
    here = re.findall(r"^# (bert_ko/\S+)\.py$", "\n".join(codes), re.MULTILINE)
    defined = {path.replace("/", ".") for path in here}
    for code in codes:
        run_imports(code, defined)


def known_flags(name: str) -> set[str]:
    """Flags of a command as they are written, without dashes."""
    if name == UMBRELLA:  # its commands have them
        return set().union(*map(known_flags, COMMANDS))
    module = importlib.import_module(f"bert_ko.{name}")
    found = (v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Flags))
    (config,) = (v for v in found if v.__module__ == module.__name__)
    fields = {field.name.rstrip("_") for field in dataclasses.fields(config)}
    others = {field.metadata["other_name"] for field in dataclasses.fields(config)} - {None}
    fields |= others
    of_all = {"config", "flagfile", "help", "helpfull", "quiet"}
    return fields | {f"no{name}" for name in fields} | of_all


@pytest.mark.parametrize("page", DOCUMENTS)
def test_commands_of_pages_have_flags_that_exist(page: str) -> None:
    codes = [code for language, code in blocks(page) if language == "bash"]
    text = "\n".join([*codes, *(shlex.join(c) for c in commands_of_table() if page == "README.md")])
    for line in text.replace("\\\n", " ").splitlines():
        for name, arguments in re.findall(r"(?:^|\s)bin/(\w+)([^|]*)", line):
            if name != "run_topics":  # the one of docs/new_task.md
                given = set(re.findall(r"(?<=\s)--(\w+)", arguments))
                assert given <= known_flags(name), line


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_benchmark_imports_what_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(path.parent))
    run_imports(path.read_text(encoding="utf-8"))


def test_tokenization_page_runs_as_it_stands(tmp_path: Path) -> None:
    link(tmp_path, "bert_ko", "vocab")
    run_programs(programs_of("tokenization", "python"), tmp_path)


@pytest.mark.slow
def test_data_and_features_pages_run_as_they_stand(model: Path, tmp_path: Path) -> None:
    link(tmp_path)
    (tmp_path / "model").symlink_to(model)
    (tmp_path / "lines.txt").symlink_to(ROOT / "samples" / "corpus.txt")
    shards = ("--output_file=shards/ko.tfrecord@64", f"--vocab_file={model}")
    data = ["bin/create_pretraining_data", "--input_file=samples/corpus.txt", *shards]
    words = [
        ["bin/build_vocab", "--words", data[1], "--output_dir=my_words"],
        [
            "bin/create_pretraining_data", "--objective=bilm", data[1], "--vocab_file=my_words",
            "--output_file=word_shards/ko.tfrecord@64",
        ],
    ]  # fmt: skip
    pages = [*programs_of("pretraining_data", "python"), *programs_of("features")]
    run_programs([data, *words, *pages], tmp_path)


def new_task(page: str) -> dict[str, str]:
    """The modules of a page: path to code."""
    codes = [code for language, code in blocks(page) if language == "python"]
    return {code.split("\n", 1)[0].removeprefix("# "): code for code in codes}


def test_new_task_is_shorter_than_90_lines() -> None:
    *modules, neighbours = new_task("new_task.md").values()
    assert len(modules) == 3 and sum(code.count("\n") for code in modules) < 90
    assert neighbours.count("\n") < 50


def test_encoder_of_new_task_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_ENCODERS", dict(encoder._ENCODERS))
    module: dict[str, Any] = {"__name__": "neighbours"}
    exec(new_task("new_task.md")["bert_ko/modeling/neighbours.py"], module)
    config = module["NeighbourConfig"](vocab_size=20, hidden_size=8, num_hidden_layers=2)
    arrays = initial_parameters(model_specs(config), 0.5, 1)
    inputs = {name: np.ones((1, 6), np.int32) for name in INPUTS}
    inputs["input_mask"][0, 4:] = 0
    output = np.asarray(encoder.encode(Model(arrays, config), inputs))
    assert output.shape == (1, 6, 8)
    assert not output[0, 4:].any() and np.abs(output[0, 1] - output[0, 0]).max() > 0.01


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    """A copy of the project with the modules of docs/new_task.md, and data for its task."""
    shutil.copytree(ROOT / "bert_ko", tmp_path / "bert_ko", ignore=shutil.ignore_patterns("__py*"))
    for path, code in new_task("new_task.md").items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(code, encoding="utf-8")
    (tmp_path / "bin").mkdir()
    launcher = (ROOT / "bin" / "run_squad").read_text(encoding="utf-8")
    (tmp_path / "bin" / "run_topics").write_text(launcher.replace("run_squad", "run_topics"))
    lines = [
        "사과가 달다\t과일",
        "버스로 학교에 간다\t교통,학교",
        "기차에서 귤을 먹었다\t과일,교통",
    ]
    (tmp_path / "topics.tsv").write_text("\n".join(lines * 8) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_new_task_learns_its_topics_and_is_evaluated_again(model: Path, topics: Path) -> None:
    flags = (
        "--do_train", "--do_eval", "--train_file=topics.tsv", "--eval_file=topics.tsv",
        f"--init_checkpoint={model}", "--output_dir=out", "--max_seq_length=32",
        "--train_batch_size=8", "--num_train_epochs=100", "--learning_rate=5e-3",
        "--optimizer=adamw", "--precision=float32", "--num_seeds=3", "--random_seed=1",
    )  # fmt: skip
    folder = topics / "out" / "seed-1"
    forget = ["-c", f"import os\nos.remove('{folder}/eval_results.txt')"]
    again = ["bin/run_topics", "--do_eval", "--eval_file=topics.tsv", f"--output_dir={folder}"]
    run_programs([["bin/run_topics", *flags], forget, again], topics)
    seeds = json.loads((topics / "out" / "seeds.json").read_text())
    assert [result["f1"] for result in seeds["results"]] == [100.0] * 3
    assert "f1 = 100.0\n" in (folder / "eval_results.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        ("classification", '"label": "긍정"'),
        ("ner", '"tagged": "<김서연:PS> 씨는 <부산:LC>으로 떠났다."'),
    ],
)
def test_label_pages_learn_the_samples_and_answer(
    page: str, wanted: str, model: Path, vocab_folder: str, tmp_path: Path
) -> None:
    link(tmp_path)
    _, script = blocks(f"{page}.md")[0]
    weights = f"--bert_config_file=samples/bert_config.json --vocab_file={vocab_folder}"
    script = script.replace("--init_checkpoint=build/quickstart/model", weights)
    # In float32, as the processor must not decide. Without the weights of the quickstart one of
    # three seeds stays where it began; adamw's first updates are larger.
    flags = "--precision=float32 --optimizer=adamw"
    script, commands = re.subn(r"bin/run_\w+", rf"\g<0> {flags}", script)
    assert commands == 2
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert wanted in done.stdout.splitlines()[-1]
