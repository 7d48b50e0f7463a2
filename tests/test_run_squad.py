"""What is particular to KorQuAD: answers and their files, stripped josa, questions that are wrong,
the oracle, and Google's flags.
"""

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.run_squad import RunSquadConfig
from bert_ko.tasks.squad.groups import UNKNOWN_PLACES
from tests.fakes import (
    REPOSITORY,
    Command,
    FakeBackend,
    contents,
    last,
    metrics,
    read_json,
    read_records,
    results,
    row_keys,
    written,
)
from tests.small_data import LIBRARY, MARKET, QUESTIONS, Trainable, write_config, write_questions

SAMPLE_QUESTIONS = REPOSITORY / "samples" / "korquad.json"
GOLDS = {qas_id: answer for _, qas_id, _, answer in QUESTIONS}
JOSA = [(LIBRARY, "q1", "도서관은 어디에 있는가?", "언덕 위에")]
NOWHERE: Any = {"answers": [{"text": "저녁노을", "answer_start": 3}]}
NO_GOLDS: dict[str, Any] = {qas_id: {"answers": []} for qas_id in GOLDS}


@pytest.fixture
def finished(finish: Callable[[Trainable], Path], squad: Trainable) -> Path:
    """A run that was trained and asked; not to be changed."""
    return finish(squad)


@pytest.fixture
def command(squad: Trainable, backend: FakeBackend, tmp_path: Path) -> Command:
    return squad.command.having(output_dir=tmp_path / "run")


def both(path: str) -> dict[str, Any]:
    """Trains and answers."""
    return {"do_train": True, "train_file": path, "do_predict": True, "predict_file": path}


def answers(folder: Path) -> dict[str, str]:
    found: dict[str, str] = read_json(folder / "predictions.json")
    return found


# Answers and their files


def test_run_answers_are_scored_before_and_after_stripping(
    squad: Trainable, command: Command, tmp_path: Path, parse: Any
) -> None:
    command.succeed(strip_josa="auto", **squad.train, **squad.ask)
    folder = tmp_path / "run"
    assert answers(folder) == GOLDS
    assert results(folder) == {
        "exact_match": 100, "exact_match_not_stripped": 100, "f1": 100, "f1_not_stripped": 100,
        "global_step": int(last(folder).name[-8:]), "total": 6,
    }  # fmt: skip
    assert read_json(folder / "josa_endings.json")["file"][0] == "data.json"
    assert read_json(folder / "run.json")["identity"]["train_file"][0] == "data.json"
    page = (folder / "report.html").read_text("utf-8")
    assert "data.json: answers of" in page and "언덕 위" in page
    rows = [[cell.text for cell in row.children] for row in parse(page).all("tr")]
    assert [row for row in rows if row[0] in UNKNOWN_PLACES] == [
        ["in the question", "100.00", "100.00", "2"],
        ["in the context", "100.00", "100.00", "3"],
        ["nowhere", "100.00", "100.00", "2"],
    ]
    assert "Expected calibration error, percent" in page


def test_run_nbest_are_slices_of_the_contexts(finished: Path) -> None:
    nbest = read_json(finished / "nbest_predictions.json")
    assert list(nbest) == list(GOLDS)
    for context, qas_id, _, answer in QUESTIONS:
        first = nbest[qas_id][0]
        assert first["text"] == answer and first["answer_start"] == context.index(answer)
        assert first["start_logit"] >= 9 <= first["end_logit"]
        for entry in nbest[qas_id]:
            assert context[entry["answer_start"] : entry["answer_end"]] == entry["text"]
        assert sum(entry["probability"] for entry in nbest[qas_id]) == pytest.approx(1)
        assert len({entry["text"] for entry in nbest[qas_id]}) == len(nbest[qas_id]) <= 20


def test_run_null_odds_are_of_version_2_alone(command: Command, tmp_path: Path) -> None:
    path = write_questions(
        tmp_path / "two.json", version="v2.0", q2={"answers": [], "is_impossible": True}
    )
    assert command(**both(path)).error == (
        f"{path}: questions without an answer (is_impossible): 1; give --version_2_with_negative."
    )
    command = command.having(version_2_with_negative=True)
    command.succeed(**both(path))
    folder = tmp_path / "run"
    odds = read_json(folder / "null_odds.json")
    assert list(odds) == list(GOLDS) and odds["q2"] > 0 > odds["q1"]
    assert answers(folder)["q2"] == ""
    found = results(folder)
    assert found["exact_match"] == found["no_answer_exact_match"] == 100
    assert (found["has_answer_total"], found["no_answer_total"]) == (5, 1)
    # The best answer must be better by so much.
    command.succeed(do_predict=True, predict_file=path, null_score_diff_threshold=1000)
    assert answers(folder)["q2"] != ""


def test_run_klue_mrc_with_decomposed_contexts_is_trained_on_and_scored(
    command: Command, tmp_path: Path
) -> None:
    questions = [
        (unicodedata.normalize("NFD", context), f"{245000 + number}", question, answer)
        for number, (context, _, question, answer) in enumerate(QUESTIONS)
    ]
    changes: dict[str, Any] = {
        qas_id: {
            "id": None, "guid": int(qas_id), "question_type": 1,
            "answers": [{"text": answer, "answer_start": composed.index(answer)}],
        }
        for (_, qas_id, _, answer), (composed, *_) in zip(questions, QUESTIONS, strict=True)
    }  # fmt: skip
    plausible = changes["245002"].pop("answers")
    changes["245002"] |= {
        "question_type": 3, "is_impossible": True, "answers": [], "plausible_answers": plausible,
    }  # fmt: skip
    path = write_questions(tmp_path / "klue.json", questions, "klue-mrc-v1.1", **changes)
    printed = command.succeed(version_2_with_negative=True, **both(path))
    assert not any("not trained on" in warning for warning in printed.warnings)
    assert re.search(r"type 3 +100\.00 +100\.00 +1\n", printed.out)
    found = answers(tmp_path / "run")
    assert found == {
        qas_id: "" if qas_id == "245002" else unicodedata.normalize("NFD", answer)
        for _, qas_id, _, answer in questions
    }
    scores = results(tmp_path / "run")
    assert (scores["exact_match"], scores["klue_rouge_w"]) == (100, 100)
    assert (scores["klue_total_type_1"], scores["klue_total_type_3"]) == (5, 1)


@pytest.mark.slow
def test_run_answers_are_stripped_as_the_flag_says(command: Command, tmp_path: Path) -> None:
    path = write_questions(tmp_path / "one.json", JOSA)
    for value, answer in {"auto": "언덕 위에", "never": "언덕 위에", "always": "언덕 위"}.items():
        folder = tmp_path / value
        printed = command.succeed(output_dir=folder, strip_josa=value, **both(path)).out
        assert answers(folder) == {"q1": answer}
        assert ("what --strip_josa=always would do:" in printed) == (value == "never")
        assert len(read_records(folder / "josa_changes.jsonl")) == (value != "auto")
        assert results(folder)["exact_match_not_stripped"] == 100
        assert results(folder)["exact_match"] == (0 if value == "always" else 100)


def test_run_endings_are_learnt_once_and_used_later(
    squad: Trainable, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    command.succeed(strip_josa="auto", **squad.train, **squad.ask)
    path = folder / "josa_endings.json"
    path.write_text(json.dumps({**read_json(path), "endings": ["josa 에"]}))
    other = write_questions(tmp_path / "one.json", JOSA)
    command.succeed(output_dir=tmp_path / "trained", do_train=True, train_file=other)
    ask = command.having(do_predict=True, predict_file=other, strip_josa="auto")
    ask.succeed()
    assert answers(folder) == {"q1": "언덕 위"}
    path.unlink()
    assert any(f"{path} does not exist" in warning for warning in ask.succeed().warnings)
    assert answers(folder) == {"q1": "언덕 위에"}


def test_run_that_is_refused_leaves_the_endings_of_the_other(
    squad: Trainable, command: Command, tmp_path: Path
) -> None:
    command = command.having(strip_josa="auto")
    command.succeed(**squad.train)
    before = contents(tmp_path / "run")
    other = write_questions(tmp_path / "one.json", JOSA)
    message = command(do_train=True, train_file=other).error
    assert (tmp_path / "run" / "josa_endings.json").exists()
    assert "different run" in message and "train_file" in message
    assert contents(tmp_path / "run") == before


def test_run_seed_folder_is_a_reader_that_strips(
    squad: Trainable, command: Command, tmp_path: Path
) -> None:
    command = command.having(strip_josa="auto", **squad.ask)
    command.succeed(random_seed=5, num_seeds=2, **squad.train)
    assert command.succeed(output_dir=tmp_path / "run" / "seed-5").warnings == []


def test_run_without_golds_answers_and_scores_nothing(
    squad: Trainable, command: Command, folder: Path, tmp_path: Path
) -> None:
    path = write_questions(tmp_path / "test.json", **NO_GOLDS)
    (folder / "eval_results.txt").unlink()
    printed = command.succeed(do_predict=True, predict_file=path).err
    assert f"{path} has no gold answers: nothing is scored" in printed
    assert answers(folder) == GOLDS
    assert not (folder / "eval_results.txt").exists()
    assert command(**squad.train, predict_file=path, eval_every_steps=5).error == (
        f"--eval_every_steps: {path} has no gold answers to score with."
    )


@pytest.mark.parametrize("flags", [{"predict_batch_size": 1}, {"predict_batch_size": 64},
                                   {"length_buckets": False}])  # fmt: skip
def test_run_batches_change_no_answer(
    flags: dict[str, Any], squad: Trainable, command: Command, folder: Path
) -> None:
    command.succeed(**squad.ask, **flags)
    assert answers(folder) == GOLDS


# What the model is trained on


def test_run_settings_reach_the_optimizer(
    squad: Trainable, command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    command.succeed(
        layer_decay=0.9, optimizer="lamb", learning_rate=0.5, num_train_epochs=5,
        warmup_proportion=0.25, **squad.train,
    )  # fmt: skip
    optimizer = backend.programs[0].optimizer
    steps = int(last(tmp_path / "run").name[-8:])
    assert (optimizer.name, optimizer.layer_decay, optimizer.multiples) == ("lamb", 0.9, ())
    assert (optimizer.num_hidden_layers, optimizer.num_train_steps) == (1, steps)
    assert optimizer.num_warmup_steps == int(steps * 0.25)
    rates = [record["learning_rate"] for record in metrics(tmp_path / "run")]
    assert rates[0] == 0 and max(rates) <= 0.5 and rates[-1] == pytest.approx(0.5 / steps)


def test_run_gold_answer_outside_the_context_is_counted_and_not_trained_on(
    squad: Trainable, command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    path = write_questions(tmp_path / "bad.json", q4=NOWHERE)
    assert {*command.succeed(**both(path)).warnings} == {
        f"{path}: answer_not_found: 1 (q4): not in the context, not trained on",
        f"{path}: 1 questions are not trained on",
    }
    problems = tmp_path / "run" / "dataset_problems.jsonl"
    (problem,) = read_records(problems)
    assert (problem["file"], problem["kind"], problem["id"]) == (path, "answer_not_found", "q4")
    assert "저녁노을" in problem["detail"]
    # The question is asked and scored all the same.
    assert results(tmp_path / "run")["exact_match"] == pytest.approx(100 * 5 / 6)
    # A later file has its own problems.
    command.succeed(**squad.ask)
    assert problems.read_text() == ""
    command.succeed(output_dir=tmp_path / "all", **squad.train)
    few, all_of_them = (
        {key for batch in backend.programs[number].batches for key in row_keys(batch)}
        for number in (0, 2)
    )
    assert few < all_of_them


# Without a dataset


def test_run_oracle_needs_no_model(
    squad: Trainable, command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    # The last answer is a part of a syllable block's morpheme: no sequence of pieces.
    questions = [*QUESTIONS[:5], (LIBRARY, "q9", "누가 관장인가?", "보람은 1")]
    path = write_questions(tmp_path / "some.json", questions)
    printed = command.succeed(oracle=True, predict_file=path).out
    assert re.search(r"questions +6\n", printed) and "보람은 1" in printed
    assert re.search(r"exact_match +83\.33", printed)
    unreachable = tmp_path / "run" / "unreachable.jsonl"
    assert [(r["id"], r["golds"]) for r in read_records(unreachable)] == [("q9", ["보람은 1"])]
    assert "predictions.json" not in written(tmp_path / "run")
    # Without --predict_file, --train_file is used.
    printed = command.succeed(oracle=True, train_file=squad.train["train_file"]).out
    assert re.search(r"exact_match +100\.00", printed)
    assert unreachable.read_text() == "" and backend.configs == []


def test_run_input_file_prints_answers_as_json(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.txt"
    lines = [f"{question}\t{context}\n" for context, _, question, _ in QUESTIONS[:3]]
    path.write_text("".join(lines), encoding="utf-8")
    before = contents(folder)
    # Nothing else is needed.
    found = Command("run_squad").succeed(output_dir=folder, input_file=path)
    assert [record["id"] for record in found.records] == ["1", "2", "3"]
    for record, (context, _, question, answer) in zip(found.records, QUESTIONS, strict=False):
        assert (record["question"], record["answer"]) == (question, answer)
        assert context[record["answer_start"] : record["answer_end"]] == answer
        assert 0.5 < record["probability"] <= 1 and len(record["others"]) == 3
    assert contents(folder) == before
    assert "/nowhere.tsv" in command(input_file="/nowhere.tsv").error


def test_run_interactive_answers_what_is_typed(command: Command, folder: Path) -> None:
    typed = [LIBRARY, QUESTIONS[0][2], QUESTIONS[1][2], "", MARKET, QUESTIONS[4][2]]
    printed = command.succeed(interactive=True, stdin="\n".join(typed)).out
    lines = [line for line in printed.splitlines() if line.startswith("→")]
    for line, number in zip(lines, (0, 1, 4), strict=True):
        context, _, _, answer = QUESTIONS[number]
        start = context.index(answer)
        found = re.fullmatch(r"→ (.+)  \((\d\.\d\d), characters (\d+):(\d+); else .+\)", line)
        assert found is not None, line
        assert (found[1], int(found[3]), int(found[4])) == (answer, start, start + len(answer))


# What is refused


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "give --do_train, --do_predict, --interactive, --input_file or --oracle."),
        ({"interactive": True, "max_query_length": 61},
         "--max_seq_length=64 leaves no room for a context beside a question of "
         "--max_query_length=61 and 3 special tokens."),
        ({"do_predict": True, "predict_file": "x", "num_seeds": 2},
         "no checkpoint in {run}/seed-12345; give --do_train, or --init_checkpoint with a trained "
         "model."),
    ],
)  # fmt: skip
def test_run_flags_that_make_no_sense_are_refused(
    flags: dict[str, Any], message: str, command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    assert command(**flags).error == message.format(run=tmp_path / "run")
    assert backend.configs == [] and list(tmp_path.iterdir()) == []


# Google's flags


GOOGLES_FLAGS: dict[str, Any] = {
    "train_file": None, "predict_file": None, "init_checkpoint": None, "max_seq_length": 384,
    "doc_stride": 128, "max_query_length": 64, "do_train": False, "do_predict": False,
    "train_batch_size": 32, "predict_batch_size": 8, "learning_rate": 5e-5,
    "num_train_epochs": 3.0, "warmup_proportion": 0.1, "save_checkpoints_steps": 1000,
    "iterations_per_loop": 1000, "n_best_size": 20, "max_answer_length": 30, "use_tpu": False,
    "tpu_name": None, "tpu_zone": None, "gcp_project": None, "master": None, "num_tpu_cores": 8,
    "verbose_logging": False, "version_2_with_negative": False, "null_score_diff_threshold": 0.0,
}  # fmt: skip


def test_config_has_googles_flags_and_defaults() -> None:
    config = RunSquadConfig(bert_config_file="a", vocab_file="b", output_dir="c", input_file="d")
    found = {name: getattr(config, name) for name in GOOGLES_FLAGS}
    assert found == GOOGLES_FLAGS
    assert {n: type(v) for n, v in found.items()} == {n: type(v) for n, v in GOOGLES_FLAGS.items()}
    # Google's is true; here the vocabulary says it, and true is its default.
    assert config.do_lower_case is None


def test_run_googles_command_line_is_understood(squad: Trainable, command: Command) -> None:
    command.succeed(
        "--do_lower_case=True", "--learning_rate=3e-5", "--num_train_epochs=2.0",
        "--use_tpu=False", "--nouse_tpu", "--num_tpu_cores=8", "--version_2_with_negative=False",
        "--n_best_size", "20", **squad.train, **squad.ask,
    )  # fmt: skip


# With TensorFlow and JAX


@pytest.mark.slow
def test_command_small_model_learns_the_sample_by_heart_and_jax_reads_it(
    squad: Trainable, tmp_path: Path
) -> None:
    # Two of the windows differ in the words of the question alone, so that a model has to attend to
    # them; from weights of 0.02 it did not in 300 updates.
    config = write_config(
        tmp_path / "c.json", hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=128, max_position_embeddings=256, initializer_range=0.1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    command = Command("run_squad", {
        "bert_config_file": config, "vocab_file": squad.command.flags["vocab_file"],
        "max_seq_length": 256, "precision": "float32", "do_predict": True,
        "predict_file": SAMPLE_QUESTIONS, "train_file": SAMPLE_QUESTIONS, "log_every_steps": 1,
        "length_buckets": False,  # one program to compile
    })  # fmt: skip
    output, other = tmp_path / "run", tmp_path / "other"
    command.finish(
        output_dir=output, do_train=True, train_batch_size=10, num_train_epochs=30,
        learning_rate=2e-3, optimizer="adamw", random_seed=1,
    )  # fmt: skip
    golds = {
        qa["id"]: qa["answers"][0]["text"]
        for article in read_json(SAMPLE_QUESTIONS)["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    }
    assert answers(output) == golds and len(golds) == 50
    assert results(output)["exact_match"] == results(output)["f1"] == 100
    trained = [record for record in metrics(output) if "loss" in record]
    assert trained[0]["loss"] == pytest.approx(np.log(256), abs=1)
    assert trained[-1]["span_accuracy"] == 1 and trained[-1]["loss"] < 0.01
    command.finish(output_dir=other, init_checkpoint=output, backend="jax")
    assert answers(other) == golds
    ours, theirs = (read_json(folder / "nbest_predictions.json") for folder in (output, other))
    for qas_id in golds:
        pair = ours[qas_id][0], theirs[qas_id][0]
        logits = [[entry["start_logit"], entry["end_logit"]] for entry in pair]
        assert logits[0] == pytest.approx(logits[1], abs=1e-3)
