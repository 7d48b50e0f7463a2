"""report.html of run_pretraining: curves with resumes, guesses, neighbours and positions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.page_flags import Language
from bert_ko.tasks.pretraining.guesses import GUESSES_NAME, SENTENCES, Guesser
from bert_ko.tasks.pretraining.report import Weights, neighbours, read_resumes, render_report
from bert_ko.tasks.pretraining.settings import PretrainingFlags
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import SPECIAL_TOKENS, Vocabulary
from tests.pages import check_page

Parse = Callable[[str], Any]
PIECES = (*SPECIAL_TOKENS, "책", "책방", "물", "<b>", "##의", "비", "밤")
TOKENIZER = Tokenizer(Vocabulary(PIECES), TokenizerConfig(), source="v")
LANGUAGES: tuple[Language, ...] = ("en", "ko")


def make_weights() -> Weights:
    words = np.eye(len(PIECES), 16, dtype=np.float32)
    words[PIECES.index("책방")] = words[PIECES.index("책")] + 0.1
    angles = np.linspace(0, np.pi, 100)
    positions = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    return Weights(words, positions, TOKENIZER)


def make_run(folder: Path, language: Language = "en", **flags: Any) -> PretrainingFlags:
    folder.mkdir(exist_ok=True)
    records = [
        {"step": 1, "loss": 9.0, "masked_lm_accuracy": 0.01, "learning_rate": 1e-5},
        {"step": 2, "loss": 8.0, "masked_lm_accuracy": 0.02, "learning_rate": 2e-5},
        {"step": 2, "eval_loss": 8.5, "eval_masked_lm_accuracy": 0.015},
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "metrics.jsonl").write_text(lines)
    guesses = {SENTENCES[0]: [["<b>", 0.5], ["책", 0.25]]}
    (folder / GUESSES_NAME).write_text(json.dumps({"step": 2, "guesses": guesses}) + "\n")
    (folder / "log.txt").write_text("x\nresuming from step 1\nnot resuming from step 2\n")
    return PretrainingFlags(
        output_dir=str(folder),
        input_file=("s/*",),
        do_train=True,
        report_language=language,
        **flags,
    )


def test_neighbours_are_the_closest_other_pieces() -> None:
    found = neighbours(make_weights())
    assert list(found) == ["책", "물", "##의"]
    assert found["책"][0] == "책방" and "책" not in found["책"] and "[MASK]" not in found["책"]


def test_resumes_are_those_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("resuming from step 1,000\na\nresuming from step 7\n")
    assert read_resumes(str(tmp_path / "log.txt")) == [1000, 7]
    assert read_resumes(str(tmp_path / "none")) == []


def test_page_has_curves_resumes_guesses_neighbours_and_positions(
    tmp_path: Path, parse: Parse
) -> None:
    config = make_run(tmp_path / "<run>", learning_rate=0.5)
    root = parse(
        render_report(config, ["a", "b"], [("layers × hidden size", "2 × 4")], 2, make_weights())
    )
    assert root.all("h1")[0].text == "<run>: pre-training"
    assert [dd.text for dd in root.all("dd", "figure")] == ["8", "8.5", "2.00%", "1.50%"]
    captions = [caption.text for caption in root.by_id("curves").all("figcaption")]
    assert captions == ["Loss", "Masked-LM accuracy, percent", "Learning rate"]
    assert [item.text for item in root.by_id("curves").all("li")].count(" resumed here") == 3
    (table,) = root.by_id("guesses").all("table")
    assert table.all("caption")[0].text == SENTENCES[0]
    assert [cell.text for cell in table.all("td")] == ["<b> 50 %", "책 25 %"]
    (drawing,) = root.by_id("positions").all("svg")
    assert drawing.attributes["viewbox"] == "0 0 48 48"
    assert "--learning_rate" in root.by_id("run").text


@pytest.mark.slow
def test_page_is_readable_everywhere_and_korean_has_no_english(
    tmp_path: Path, browser: Any
) -> None:
    page, korean = (
        render_report(make_run(tmp_path / "run", language), [], [], 2, make_weights())
        for language in LANGUAGES
    )
    check_page(browser, page, korean, ["MASK", "run"])


@pytest.mark.slow
def test_page_of_a_bilm_is_readable_everywhere_and_korean_has_no_english(
    tmp_path: Path, browser: Any
) -> None:
    facts = [("words in the vocabulary", "1,200")]
    pages = []
    for language in LANGUAGES:
        config = make_run(tmp_path / "run", language)
        records = [
            {"step": step, "loss": 7.0 - step, "learning_rate": 1e-3, "eval_loss": 6.5 - step,
             "eval_perplexity": 600.0 / step}
            for step in (1, 2)
        ]  # fmt: skip
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / "run" / "metrics.jsonl").write_text(lines)
        (tmp_path / "run" / GUESSES_NAME).unlink()
        pages.append(render_report(config, ["a"], facts, 2))
    assert "600" in pages[0] and "1,200" in pages[0]
    check_page(browser, *pages, ["run"])


def test_page_without_anything_is_a_page(tmp_path: Path, parse: Parse) -> None:
    config = PretrainingFlags(output_dir=str(tmp_path), input_file=("s",), do_eval=True)
    root = parse(render_report(config, [], [], 0))
    assert [heading.text for heading in root.all("h2")] == ["Scores", "Run"]


class Model:
    """A model of the task's, whose probabilities are ever the same."""

    num_devices = 1

    def __init__(self) -> None:
        self.program, self.compiled = self, 0

    def predictor(self, outputs: Any) -> Any:
        self.compiled += 1
        chances = np.linspace(0, 0.5, len(PIECES), dtype=np.float32)
        return lambda batch: {
            "probabilities": np.tile(chances, (*batch["masked_lm_positions"].shape, 1))
        }


def test_guesser_keeps_a_line_for_each_evaluation_of_the_run(tmp_path: Path) -> None:
    model: Any = Model()
    guesser = Guesser(TOKENIZER, 64)
    for step in (2, 4, 6, 4):  # resumed from 3
        guesser.ask(model, str(tmp_path), step)
    lines = (tmp_path / GUESSES_NAME).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == [2, 4]
    assert list(records[0]["guesses"]) == list(SENTENCES)
    assert records[0]["guesses"][SENTENCES[0]][0] == ["밤", 0.5]
    assert model.compiled == 1
    short = Guesser(TOKENIZER, 4)  # no sentence fits
    short.ask(model, str(tmp_path), 8)
    assert '{"step": 8, "guesses": {}}' in (tmp_path / GUESSES_NAME).read_text(encoding="utf-8")


def test_guesser_that_fails_warns_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guesser = Guesser(TOKENIZER, 64)
    model: Any = None
    for step in (1, 2):
        guesser.ask(model, str(tmp_path), step)
    assert capsys.readouterr().err.count("warning: no more guesses for report.html (") == 1
    assert not (tmp_path / GUESSES_NAME).exists()
