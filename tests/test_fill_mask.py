"""fill_mask from end to end: with a model of numpy, then against transformers."""

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.fill_mask import FillMaskConfig, run
from bert_ko.flags import run_command
from bert_ko.tasks.fill_mask.masked_lm import MASK
from bert_ko.tensor_files import save_arrays
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.hugging_face import to_hugging_face_arrays, to_hugging_face_config
from tests.fakes import FakeBackend
from tests.small_models import CONFIG, PIECES, arrays_of, install_backend, save_model

REPOSITORY = Path(__file__).parents[1]
Captured = pytest.CaptureFixture[str]
HILL = PIECES.index("언")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("fill_mask") / "run")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    return install_backend(monkeypatch, "bert_ko.tasks.loading")


def command(model: str, *arguments: str) -> int:
    return run_command(FillMaskConfig, run, [f"--init_checkpoint={model}", *arguments])


def answers(captured: Captured) -> list[Any]:
    return [json.loads(line) for line in captured.readouterr().out.splitlines()]


def error_of(captured: Captured, status: int) -> str:
    assert status == 1
    out, line = captured.readouterr()
    assert out == "" and line.count("\n") == 1
    return line.removeprefix("fill_mask: error: ").rstrip("\n")


def type_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.usefixtures("backend")
def test_fill_mask_json_is_one_object_a_text(model: str, capsys: Captured) -> None:
    texts = ["언[MASK] 위에", "[MASK]은 위[MASK]"]
    assert command(model, "--output_format=json", "--top_k=2", *texts) == 0
    first, second = answers(capsys)
    best, next_best = PIECES[HILL + 1], PIECES[HILL]
    assert first == {
        "text": "언[MASK] 위에",
        "masks": [
            {
                "start": 1,
                "candidates": [
                    {"piece": best, "id": HILL + 1, "probability": pytest.approx(1 / 3, abs=1e-6),
                     "text": f"언{best} 위에"},
                    {"piece": next_best, "id": HILL, "probability": pytest.approx(1 / 6, abs=1e-6),
                     "text": f"언{next_best} 위에"},
                ],
            }
        ],
    }  # fmt: skip
    assert second["text"] == texts[1]
    assert [mask["start"] for mask in second["masks"]] == [0, 9]
    assert [len(mask["candidates"]) for mask in second["masks"]] == [2, 2]


@pytest.mark.usefixtures("backend")
def test_fill_mask_table_has_a_row_for_each_piece(model: str, capsys: Captured) -> None:
    assert command(model, "--top_k=2", "언[MASK] 위에", "[MASK] 위에") == 0
    blocks = [block.splitlines() for block in capsys.readouterr().out.split("\n\n")]
    assert [block[0] for block in blocks[:2]] == ["언[MASK] 위에", "[MASK] 위에"]
    assert blocks[0][1].split() == ["piece", "probability", "text"]
    assert blocks[0][3].split() == [PIECES[HILL + 1], "0.3333", f"언{PIECES[HILL + 1]}", "위에"]
    assert len(blocks[0]) == 5


@pytest.mark.usefixtures("backend")
def test_fill_mask_file_and_standard_input_give_the_same(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    data = "언[MASK]\r\n\n  \n[MASK]은 위에".encode() + b"\xff\n"
    path = tmp_path / "texts.txt"
    path.write_bytes(data)
    assert command(model, "--output_format=json", f"--input_file={path}") == 0
    found = answers(capsys)
    assert [value["text"] for value in found] == ["언[MASK]", "[MASK]은 위에\ufffd"]
    for arguments in (["--input_file=-"], []):
        type_in(monkeypatch, data)
        assert command(model, "--output_format=json", *arguments) == 0
        assert answers(capsys) == found


def test_fill_mask_nothing_to_read_loads_no_backend(
    model: str, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    type_in(monkeypatch, b"\n \n")
    assert command(model) == 0
    assert capsys.readouterr().out == "" and backend.configs == []


def test_fill_mask_terminal_is_answered_line_by_line(
    model: str, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    lines = ["언[MASK]", "위[MASK]", "[MASK]은"]
    answered: list[int] = []

    class Terminal(io.BytesIO):
        def __next__(self) -> bytes:
            answered.append(len(backend.shapes))
            return super().__next__()

    stream = io.TextIOWrapper(Terminal("\n".join(lines).encode()))
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", stream)
    assert command(model, "--output_format=json") == 0
    assert [value["text"] for value in answers(capsys)] == lines
    assert answered == [0, 1, 2, 3]


def test_fill_mask_batches_have_the_size_of_the_flag(
    model: str, backend: FakeBackend, capsys: Captured
) -> None:
    flags = ("--batch_size=2", "--top_k=100000", "--output_format=json")
    assert command(model, *flags, *["언[MASK]"] * 5) == 0
    found = answers(capsys)
    assert len(found) == 5 and all(value == found[0] for value in found)
    assert backend.shapes == [(2, 32)] * 3
    candidates = found[0]["masks"][0]["candidates"]
    assert sorted(c["id"] for c in candidates) == list(range(len(PIECES)))
    shares = [c["probability"] for c in candidates]
    assert shares == sorted(shares, reverse=True)


def test_fill_mask_devices_are_those_of_the_flags(
    model: str, backend: FakeBackend, capsys: Captured
) -> None:
    backend.num_devices = 3
    flags = ("--num_devices=3", "--precision=bfloat16", "--attention=plain")
    message = "--batch_size=8 must be a multiple of the 3 devices."
    assert error_of(capsys, command(model, *flags, "언[MASK]")) == message
    assert command(model, *flags, "--batch_size=6", "언[MASK]") == 0
    wanted = DeviceConfig(num_devices=3, precision="bfloat16", attention="plain")
    assert backend.configs == [wanted, wanted]
    assert backend.shapes == [(6, 32)]
    assert command(model, "--batch_size=6", "언[MASK]") == 0
    assert backend.configs[-1].precision == "float32"


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["언덕"], "argument 1: no [MASK] in '언덕'."),
        (["언[MASK]", "언[mask]"], "argument 2: no [MASK] in '언[mask]'."),
        (["언" * 40 + "[MASK]"],
         "argument 1: 41 pieces, but the model takes 38; shorten the text."),
        (["--top_k=0", "언[MASK]"], "--top_k must be at least 1, got 0."),
        (["--batch_size=0", "언[MASK]"], "--batch_size must be at least 1, got 0."),
        (["--input_file=x", "언[MASK]"], "give texts as arguments or --input_file, not both."),
        (["--input_file=/none/x.txt"], "/none/x.txt: No such file or directory"),
    ],
)  # fmt: skip
def test_fill_mask_wrong_text_or_flag_is_one_line(
    arguments: list[str], message: str, model: str, capsys: Captured
) -> None:
    assert error_of(capsys, command(model, *arguments)) == message


@pytest.mark.usefixtures("backend")
def test_fill_mask_line_without_mask_is_named_by_its_number(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    data = "언[MASK]\n\n위에\n".encode()
    path = tmp_path / "texts.txt"
    path.write_bytes(data)
    status = command(model, f"--input_file={path}")
    assert error_of(capsys, status) == f"{path}:3: no [MASK] in '위에'."
    type_in(monkeypatch, data)
    assert error_of(capsys, command(model)) == "standard input:3: no [MASK] in '위에'."


@pytest.mark.usefixtures("backend")
def test_fill_mask_model_for_answers_is_refused(tmp_path: Path, capsys: Captured) -> None:
    folder = save_model(tmp_path / "reader", "spans")
    assert error_of(capsys, command(folder, "언[MASK]")) == (
        f"--init_checkpoint: {folder}/checkpoint-00000300 lacks cls/predictions/transform/dense/"
        "kernel, cls/predictions/transform/dense/bias, cls/predictions/transform/LayerNorm/gamma; "
        "it was not trained for this."
    )


@pytest.mark.usefixtures("backend")
def test_fill_mask_sentencepiece_is_refused(
    tmp_path: Path, sentencepiece_folder: str, capsys: Captured
) -> None:
    tokenizer = load_tokenizer(sentencepiece_folder)
    config = dataclasses.replace(CONFIG, vocab_size=len(tokenizer.vocab))
    folder = tmp_path / "theirs"
    folder.mkdir()
    arrays = to_hugging_face_arrays(config, arrays_of("masked_lm", config))
    save_arrays(str(folder / "model.safetensors"), arrays)
    (folder / "config.json").write_text(json.dumps(to_hugging_face_config(config, {})))
    status = command(str(folder), f"--vocab_file={sentencepiece_folder}", "언[MASK]")
    message = "[MASK] in a text is not known to a SentencePiece model."
    assert error_of(capsys, status) == message


def test_fill_mask_help_answers_without_a_framework() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(REPOSITORY / "bin" / "fill_mask"), "--help"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("usage: fill_mask [flags] TEXT...")
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not modules & {"tensorflow", "keras", "jax", "torch", "transformers"}


# With TensorFlow, against transformers


TEXTS = [
    "마을 도서관은 언덕 [MASK]에 있다.",
    "비가 그치자 [MASK]들이 운동장으로 뛰어[MASK]습니다.",
    "[MASK]",
    "다리[MASK] [MASK] 다시 고쳤다",
    # Longer than 32 pieces, in a model of 40.
    "언" * 35 + " [MASK]",
]


@pytest.mark.slow
@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_erf"])
def test_fill_mask_says_what_transformers_says(
    hidden_act: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probabilities of all pieces at all masks, within 1e-5."""
    import torch
    import transformers

    config = dataclasses.replace(CONFIG, hidden_act=hidden_act)
    model = save_model(tmp_path / "run", config=config)
    flags = ("--output_format=json", "--top_k=100000", "--batch_size=2")
    assert command(model, *flags, *TEXTS) == 0
    found = answers(capsys)

    theirs = tmp_path / "theirs"
    theirs.mkdir()
    masked_lm = arrays_of("masked_lm", config)
    save_arrays(
        str(theirs / "model.safetensors"),
        to_hugging_face_arrays(config, masked_lm),
        {"format": "pt"},
    )
    (theirs / "config.json").write_text(json.dumps(to_hugging_face_config(config, masked_lm)))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    bert = transformers.BertForMaskedLM.from_pretrained(str(theirs)).eval()
    tokenizer = load_tokenizer(model).keeping(MASK)
    vocab = tokenizer.vocab
    for text, answer in zip(TEXTS, found, strict=True):
        ids = [vocab.cls_id, *tokenizer.encode(text).ids, vocab.sep_id]
        with torch.no_grad():
            logits = bert(torch.tensor([ids])).logits[0].double()
        wanted = torch.softmax(logits, dim=-1).numpy()[np.array(ids) == vocab.mask_id]
        assert len(answer["masks"]) == len(wanted) == text.count(MASK)
        for mask, probabilities in zip(answer["masks"], wanted, strict=True):
            candidates = mask["candidates"]
            assert [PIECES[c["id"]] for c in candidates] == [c["piece"] for c in candidates]
            shares = np.zeros(len(PIECES))
            shares[[c["id"] for c in candidates]] = [c["probability"] for c in candidates]
            np.testing.assert_allclose(shares, probabilities, rtol=0, atol=1e-5)
            assert candidates[0]["id"] == probabilities.argmax()
            assert probabilities.max() > 2 / len(PIECES)  # far from uniform


@pytest.mark.slow
def test_fill_mask_launcher_reads_standard_input(model: str) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "bin" / "fill_mask"), f"--init_checkpoint={model}"],
        input="언[MASK]\n".encode(), capture_output=True, check=True,
    )  # fmt: skip
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "언[MASK]" and len(lines) == 9
    assert done.stderr == b""
