"""fill_mask from end to end: with a model of numpy, then against transformers."""

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bert_ko.fill_mask import FillMaskConfig, run
from bert_ko.flags import run_command
from bert_ko.modeling.bert import BertConfig
from bert_ko.tasks.fill_mask.masked_lm import MASK
from bert_ko.tensor_files import save_arrays
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.hugging_face import to_hugging_face_arrays, to_hugging_face_config
from tests.fakes import Command, FakeBackend
from tests.small_models import CONFIG, PIECES, arrays_of, install_backend, save_model

REPOSITORY = Path(__file__).parents[1]
HILL = PIECES.index("언")
fill_mask = Command("fill_mask", {"output_format": "json"})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("fill_mask") / "run")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    return install_backend(monkeypatch, "bert_ko.tasks.loading")


@pytest.fixture
def fill(model: str, backend: FakeBackend) -> Command:
    return fill_mask.having(init_checkpoint=model)


def test_fill_mask_untrained_positions_are_the_trained_ones_repeated(
    fill: Command, tmp_path: Path
) -> None:
    """Texts that are no longer than those of the training are filled as ever."""
    path = Path(save_model(tmp_path / "run"))
    (state,) = path.glob("*/state.json")
    kept = {k: v for k, v in json.loads(state.read_text()).items() if not k.endswith("crc32c")}
    state.write_text(json.dumps({**kept, "trained_positions": 7}))
    ended = fill.succeed("언[MASK] 위에", init_checkpoint=path)
    count = CONFIG.max_position_embeddings - 1
    assert f"positions 7 to {count} were never trained: " in ended.err
    assert ended.out == fill.succeed("언[MASK] 위에").out


def test_fill_mask_json_is_one_object_per_text(fill: Command) -> None:
    texts = ["언[MASK] 위에", "[MASK]은 위[MASK]"]
    first, second = fill.succeed(*texts, top_k=2).records
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


def test_fill_mask_table_has_a_row_for_each_piece(fill: Command) -> None:
    texts = ["언[MASK] 위에", "[MASK] 위에"]
    out = fill.succeed(*texts, top_k=2, output_format=None).out
    blocks = [block.splitlines() for block in out.split("\n\n")]
    assert [block[0] for block in blocks[:2]] == texts
    assert blocks[0][1].split() == ["piece", "probability", "text"]
    assert blocks[0][3].split() == [PIECES[HILL + 1], "0.3333", f"언{PIECES[HILL + 1]}", "위에"]
    assert len(blocks[0]) == 5


def test_fill_mask_file_and_standard_input_give_the_same(fill: Command, tmp_path: Path) -> None:
    data = "언[MASK]\r\n\n  \n[MASK]은 위에".encode() + b"\xff\n"
    path = tmp_path / "texts.txt"
    path.write_bytes(data)
    found = fill.succeed(input_file=path).records
    assert [value["text"] for value in found] == ["언[MASK]", "[MASK]은 위에\ufffd"]
    for input_file in ("-", None):
        assert fill.succeed(input_file=input_file, stdin=data).records == found


def test_fill_mask_nothing_to_read_loads_no_backend(fill: Command, backend: FakeBackend) -> None:
    assert fill.succeed(stdin="\n \n").out == "" and backend.configs == []


def test_fill_mask_terminal_is_answered_line_by_line(
    fill: Command, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["언[MASK]", "위[MASK]", "[MASK]은"]
    answered: list[int] = []

    class Terminal(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            answered.append(len(backend.shapes))
            return super().readline(size)

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Terminal("\n".join(lines).encode())))
    run_command(FillMaskConfig, run, fill.arguments())
    assert answered == [0, 1, 2, 3]


def test_fill_mask_batches_have_the_size_of_the_flag(fill: Command, backend: FakeBackend) -> None:
    found = fill.succeed(*["언[MASK]"] * 5, batch_size=2, top_k=100000).records
    assert len(found) == 5 and all(value == found[0] for value in found)
    assert backend.shapes == [(2, 32), (2, 32), (1, 32)]
    candidates = found[0]["masks"][0]["candidates"]
    assert sorted(c["id"] for c in candidates) == list(range(len(PIECES)))
    shares = [c["probability"] for c in candidates]
    assert shares == sorted(shares, reverse=True)


def test_fill_mask_devices_are_those_of_the_flags(fill: Command, backend: FakeBackend) -> None:
    backend.num_devices = 3
    on_three = fill.having(num_devices=3, precision="bfloat16", attention="plain")
    assert on_three("언[MASK]").error == "--batch_size=8 must be a multiple of the 3 devices."
    on_three.succeed("언[MASK]", batch_size=6)
    wanted = DeviceConfig(num_devices=3, precision="bfloat16", attention="plain")
    assert backend.configs == [wanted, wanted]
    assert backend.shapes == [(3, 32)]
    fill.succeed("언[MASK]", batch_size=6)
    assert backend.configs[-1].precision == "float32"


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
    arguments: list[str], message: str, fill: Command
) -> None:
    ended = fill(*arguments)
    assert (ended.out, ended.error) == ("", message)


def test_fill_mask_line_without_mask_is_named_by_its_number(fill: Command, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("언[MASK]\n\n위에\n", encoding="utf-8")
    assert fill(input_file=path).error == f"{path}:3: no [MASK] in '위에'."
    ended = fill(stdin=path.read_bytes())
    assert ended.error == "standard input:3: no [MASK] in '위에'."


def test_fill_mask_other_models_are_refused(
    fill: Command, tmp_path: Path, sentencepiece_folder: str
) -> None:
    folder = save_model(tmp_path / "reader", "spans")
    assert fill("언[MASK]", init_checkpoint=folder).error == (
        f"--init_checkpoint: {folder}/checkpoint-00000300 lacks cls/predictions/transform/dense/"
        "kernel, cls/predictions/transform/dense/bias, cls/predictions/transform/LayerNorm/gamma; "
        "it was not trained for this."
    )
    tokenizer = load_tokenizer(sentencepiece_folder)
    config = dataclasses.replace(CONFIG, vocab_size=len(tokenizer.vocab))
    theirs = write_theirs(tmp_path / "theirs", config)
    ended = fill("언[MASK]", init_checkpoint=theirs, vocab_file=sentencepiece_folder)
    assert ended.error == "[MASK] in a text is not known to a SentencePiece model."


def write_theirs(folder: Path, config: BertConfig) -> str:
    """A Hugging Face folder without a vocabulary."""
    folder.mkdir()
    arrays = arrays_of("masked_lm", config)
    theirs = to_hugging_face_arrays(config, arrays)
    save_arrays(str(folder / "model.safetensors"), theirs, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(to_hugging_face_config(config, arrays)))
    return str(folder)


@pytest.mark.slow
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
def test_fill_mask_probabilities_are_those_of_transformers(
    hidden_act: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all pieces at all masks, within 1e-5."""
    import torch
    import transformers

    config = dataclasses.replace(CONFIG, hidden_act=hidden_act)
    model = save_model(tmp_path / "run", config=config)
    found = fill_mask.succeed(*TEXTS, init_checkpoint=model, top_k=100000, batch_size=2).records
    theirs = write_theirs(tmp_path / "theirs", config)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    bert = transformers.BertForMaskedLM.from_pretrained(theirs).eval()
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
