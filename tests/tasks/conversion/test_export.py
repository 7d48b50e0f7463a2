"""Exported models: their folders, and the programs in them, where bert_ko is not installed."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bert_ko
from bert_ko.modeling.compute import Model
from bert_ko.modeling.heads import CLASS_BIAS, CLASS_WEIGHTS
from bert_ko.modeling.parameters import Arrays
from bert_ko.tasks.conversion import export_files
from bert_ko.tasks.conversion.comparison import LIMIT, SENTENCES
from bert_ko.tasks.conversion.export_files import example, open_export
from bert_ko.tasks.squad.examples import Dataset
from bert_ko.tasks.squad.features import WindowConfig, build_features
from bert_ko.tasks.squad.question_files import read_dataset
from bert_ko.tokenization.export.model_rows import ModelRows
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.hugging_face import write_hugging_face_tokenizer, write_rows_code
from bert_ko.training.labels import write_labels
from tests import fakes
from tests.fakes import Command, Ended
from tests.small_models import CONFIG, TAGS, arrays_of, save_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SAMPLES = Path(__file__).parents[3] / "samples"
FORMAT = "--to_format=onnx"
QUESTION, CONTEXT = "언덕 위에 있다?", SENTENCES[0]
MASKED = "마을 도서관은 [MASK] 위에 [MASK]."
# Kind of our model, flags of the conversion, and what the program is given.
CASES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "reader": ("spans", (), (QUESTION, CONTEXT)),
    "classifier": ("classes", (), (CONTEXT, SENTENCES[1])),
    "scores": ("scores", (), (CONTEXT,)),
    "tagger": ("tags", (), (SENTENCES[4],)),
    "crf": ("crf", (), (SENTENCES[4],)),
    "masked_lm": ("pretraining", (), (MASKED,)),
    "features": ("masked_lm", ("--layers=-1,-3",), (CONTEXT,)),
    "encoder": ("encoder", (), (CONTEXT,)),
}
# The program of each folder as it is started there, but all in one process.
RUN = """
import contextlib, io, json, runpy, sys
sys.modules["bert_ko"] = None
found = {}
for name, (folder, *rest) in json.load(sys.stdin).items():
    sys.argv, sys.path[0] = [f"{folder}/example.py", *rest], folder
    for module in [module for module in sys.modules if module.split(".")[0] == "tokenizer"]:
        del sys.modules[module]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_path(sys.argv[0], run_name="__main__")
    found[name] = out.getvalue().splitlines()
print(json.dumps(found))
"""


def run_examples(calls: Mapping[str, tuple[str, ...]], cwd: Path) -> dict[str, list[str]]:
    """What the programs of folders print: name to the folder and its arguments."""
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(calls), cwd=cwd, capture_output=True,
        text=True, check=False, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def uncompiled(outputs: Any, arrays: Arrays, batch: Any) -> dict[str, Any]:
    """What the backend computes, one operation after the other."""
    found = outputs(Model(arrays, CONFIG), batch)
    return {name: np.asarray(value) for name, value in found.items()}


@pytest.fixture(scope="module", autouse=True)
def without_compiler() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        places = ("conversion.export_files", "features.extraction", "loading")
        backend = fakes.install_backend(patch, *(f"bert_ko.tasks.{place}" for place in places))
        backend.compute = uncompiled
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    classes = arrays_of("classes")
    one = {**classes, **{name: classes[name][:1] for name in (CLASS_WEIGHTS, CLASS_BIAS)}}
    kinds = {ours: None if ours != "scores" else one for ours, *_ in CASES.values()}
    found = {kind: save_model(folder / kind, kind, arrays) for kind, arrays in kinds.items()}
    for kind in ("tags", "crf"):
        write_labels(found[kind], TAGS)
    return found


@pytest.fixture(scope="module")
def exports(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    for name, (ours, flags, _) in CASES.items():
        ended = convert(models[ours], folder / name, *flags)
        assert float(ended.err.split("largest difference: ")[1].split()[1].strip(",")) <= LIMIT
    return {name: folder / name for name in CASES}


@pytest.fixture(scope="module")
def printed(exports: dict[str, Path]) -> dict[str, list[str]]:
    calls = {name: (str(exports[name]), *CASES[name][2]) for name in CASES}
    return run_examples(calls, exports["reader"].parent)


def convert(model: str, to: Path, *flags: str) -> Ended:
    return Command("convert_checkpoint").succeed(FORMAT, *flags, from_=model, to=to)


def settings_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "export.json").read_text(encoding="utf-8")))


# The programs say what bert_ko says


def test_reader_program_gives_our_answer(models: Any, printed: Any) -> None:
    answer = bert_ko.load(models["spans"], "reader", max_query_length=16).answer(QUESTION, CONTEXT)
    assert printed["reader"] == [answer.text] and answer.text


def test_classifier_program_gives_our_probabilities(models: Any, printed: Any) -> None:
    ours = bert_ko.load(models["classes"], "classifier").classify([CASES["classifier"][2]])
    lines = [f"{label}\t{value:.4f}" for label, value in ours[0].probabilities.items()]
    assert printed["classifier"] == lines and len(lines) == 3
    score = bert_ko.load(models["scores"], "classifier").classify(CONTEXT).score
    assert printed["scores"] == [f"score\t{score:.4f}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tags", "crf"])
def test_tagger_program_finds_our_entities(kind: str, models: Any, printed: Any) -> None:
    found = bert_ko.load(models[kind], "tagger").tag(SENTENCES[4])
    lines = [f"{one.label}\t{one.start}\t{one.end}\t{one.text}" for one in found]
    assert printed["crf" if kind == "crf" else "tagger"] == lines and len(lines) > 1


def test_masked_lm_program_gives_our_candidates(models: Any, printed: Any) -> None:
    masks = bert_ko.load(models["pretraining"], "masked_lm").fill_mask(MASKED)
    wanted = [
        ", ".join(f"{found.piece} {found.probability:.3f}" for found in mask.candidates)
        for mask in masks
    ]
    assert printed["masked_lm"] == wanted and len(wanted) == 2


@pytest.mark.parametrize(("name", "layers"), [("features", [-1, -3]), ("encoder", None)])
def test_features_program_gives_our_vectors(
    name: str, layers: Any, models: Any, printed: Any, exports: Any
) -> None:
    ours = bert_ko.load(models[CASES[name][0]], "features", layers=layers).features(CONTEXT)
    lines = [line.split() for line in printed[name]]
    assert tuple(line[0] for line in lines) == ours.pieces
    numbers = np.array([line[1:6] for line in lines], np.float32)
    np.testing.assert_allclose(numbers, ours.vectors[:, 0, :5], atol=1e-3)
    assert settings_of(exports[name])["layers"] == (layers or [-1])


# The folder


def test_export_folder_says_what_its_model_needs(exports: dict[str, Path]) -> None:
    assert {path.name for path in exports["reader"].iterdir()} == {
        "example.py", "export.json", "model.onnx", "tokenizer",
    }  # fmt: skip
    settings = settings_of(exports["masked_lm"])
    masks = ["batch", "masks"]
    assert settings["inputs"]["masked_lm_positions"] == masks
    assert settings["outputs"] == {"probabilities": [*masks, CONFIG.vocab_size]}
    assert settings["kept_tokens"] == ["[MASK]"] and not settings["quantized"]
    assert settings_of(exports["classifier"])["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert settings_of(exports["tagger"])["crf"] is None
    crf = settings_of(exports["crf"])["crf"]
    assert np.array(crf["transitions"])[0, 2] < -1e29  # no I after O


@pytest.mark.slow
def test_export_quantized_is_small_and_close(
    models: dict[str, str], exports: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("reader", "masked_lm"):
        ended = convert(models[CASES[name][0]], tmp_path / name, "--quantize")
        assert "largest difference of int8: " in ended.err
        sizes = [os.path.getsize(folder / name / "model.onnx") for folder in (
            tmp_path, exports["reader"].parent
        )]  # fmt: skip
        assert sizes[0] < sizes[1] and settings_of(tmp_path / name)["quantized"]
        assert {path.name for path in (tmp_path / name).glob("model*")} == {"model.onnx"}
    (printed,) = run_examples({"reader": (str(tmp_path / "reader"), QUESTION, CONTEXT)}, tmp_path)[
        "reader"
    ]
    assert printed in CONTEXT


def test_export_of_large_model_has_its_weights_beside_it(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_files, "_MOST_BYTES", 1000)
    ended = convert(models["encoder"], tmp_path / "large")
    data = tmp_path / "large" / "model.onnx.data"
    assert data.stat().st_size > 10_000
    total = data.stat().st_size + (tmp_path / "large" / "model.onnx").stat().st_size
    assert f"features, {total / 1e6:.1f} MB: see {tmp_path}/large/example.py" in ended.err


def test_export_that_computes_something_else_is_not_written(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halved(folder: str) -> Callable[..., Any]:
        predict = open_export(folder)
        return lambda batch: {name: value / 2 for name, value in predict(batch).items()}

    monkeypatch.setattr(export_files, "open_export", halved)
    command = Command("convert_checkpoint")
    ended = command(FORMAT, from_=models["spans"], to=tmp_path / "new")
    assert "_logits, more than 1e-04; nothing was written" in ended.error
    assert not list(tmp_path.iterdir())
    command.succeed(FORMAT, from_=models["spans"], to=tmp_path / "new", compare=False)


# Refusals


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--to_format=savedmodel", "--quantize"), "--quantize needs --to_format=onnx."),
        (("--to_format=bert_ko", "--layers=-1"), "--layers needs --to_format=onnx or savedmodel."),
        ((FORMAT, "--layers=7"), "--layers: there is no layer 7"),
        ((FORMAT, "--layers=x"), "--layers must be different integers"),
        ((FORMAT, "--with_optimizer"), "--with_optimizer needs --to_format=tf1."),
    ],
)
def test_export_flags_that_do_not_fit_are_refused(
    flags: tuple[str, ...], message: str, models: dict[str, str], tmp_path: Path
) -> None:
    ended = Command("convert_checkpoint")(*flags, from_=models["encoder"], to=tmp_path / "new")
    assert message in ended.error and not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_export_without_a_package_says_what_to_install(
    package: str, models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else found(name)
    )
    ended = Command("convert_checkpoint")(FORMAT, from_=models["spans"], to=tmp_path / "new")
    assert ended.error == (
        f"--to_format=onnx needs the package {package}: pip install 'bert_ko[onnx]'"
    )


def test_export_of_saved_model_under_jax_is_refused(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    command = Command("convert_checkpoint")
    ended = command("--to_format=savedmodel", from_=models["spans"], to=tmp_path / "new")
    assert ended.error.startswith("--to_format=savedmodel needs TensorFlow: pip install tensorflow")


def test_export_of_tagger_without_labels_is_refused(models: Any, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "tags", "tags")
    ended = Command("convert_checkpoint")(FORMAT, from_=folder, to=tmp_path / "new")
    assert "labels.json is missing" in ended.error and not (tmp_path / "new").exists()


def test_export_is_not_read_back(exports: dict[str, Path], tmp_path: Path) -> None:
    command = Command("convert_checkpoint")
    ended = command("--to_format=bert_ko", from_=exports["reader"], to=tmp_path / "new")
    assert "model.onnx is an exported model, whose weights are not read" in ended.error


# The tokenizer


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vocab_folder", "wordpiece_folder", "sentencepiece_folder"])
def test_rows_of_model_are_our_windows(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(request.getfixturevalue(kind))
    write_hugging_face_tokenizer(str(tmp_path), tokenizer)
    write_rows_code(str(tmp_path))
    rows, config = ModelRows(tmp_path), WindowConfig(64, 24, 12)
    dataset = read_dataset(str(SAMPLES / "korquad.json"))
    short = Dataset("", dataset.paragraphs[:3], ())
    features = build_features(short, tokenizer, config)
    found = [
        row
        for paragraph, question in short.questions()
        for row in rows.cut(
            question.question, paragraph.context, max_length=64, max_first=12, step=24
        )
    ]
    order = np.arange(len(found))
    batch = features.gather(order, 64, tokenizer.vocab.special_ids)
    assert len(found) == len(features.window_counts) > len(list(short.questions()))
    for row, ids, segments in zip(found, batch["input_ids"], batch["segment_ids"], strict=True):
        assert row.ids == ids[: len(row)].tolist() and row.type_ids == segments[: len(row)].tolist()


def test_examples_are_about_thirty_lines_and_complete() -> None:
    for kind in ("reader", "classifier", "tagger", "masked_lm", "features"):
        for form in ("onnx", "savedmodel"):
            program = example(kind, form)  # type: ignore[arg-type]
            compile(program, kind, "exec")
            lines = [line for line in program.splitlines() if line.strip()]
            assert "bert_ko." not in program and len(lines) < 50
