"""What is particular to classification: forms of tasks, labels, scores and predictions."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.heads import (
    CLASS_BIAS,
    CLASS_WEIGHTS,
    ClassHead,
    PretrainingHead,
    TagHead,
    model_specs,
)
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from bert_ko.training.labels import write_labels
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
)
from tests.small_data import (
    CLASSES,
    CONFIG,
    EXAMPLES,
    TEXTS,
    Trainable,
    save_weights,
    write_config,
    write_table,
    write_texts,
)

PAIRS = [(a, b, int(a[0] == b[0])) for a, b in zip(TEXTS["날씨"], TEXTS["책"], strict=True)]
PAIRS += [(text, text, 1) for text in TEXTS["음식"]]


@pytest.fixture
def finished(finish: Callable[[Trainable], Path], classifier: Trainable) -> Path:
    """A run that was trained and asked; not to be changed."""
    return finish(classifier)


@pytest.fixture
def command(classifier: Trainable, backend: FakeBackend, tmp_path: Path) -> Command:
    return classifier.command.having(output_dir=tmp_path / "run")


@pytest.fixture
def trained(command: Command, folder: Path) -> Command:
    """Uses the trained model of ``folder``, with no further flags."""
    return Command("run_classifier", {"output_dir": folder})


def rows_of(folder: Path) -> list[list[float]]:
    lines = (folder / "test_results.tsv").read_text().splitlines()
    return [[float(cell) for cell in line.split("\t")] for line in lines]


def trains_and(path: str, *actions: str) -> dict[str, Any]:
    """Flags: it is trained on a file, and more is done with it."""
    flags: dict[str, Any] = {"do_train": True, "train_file": path}
    for action in actions:
        flags |= {f"do_{action}": True, f"{action}_file": path}
    return flags


# What a run leaves


def test_run_results_are_scores_and_probabilities_in_the_order_of_the_labels(
    finished: Path,
) -> None:
    assert read_json(finished / "labels.json") == {"labels": ["날씨", "음식", "책"]}
    # Each is sure by 0.8: 0.7 and a third of 0.3.
    assert results(finished) == pytest.approx({
        "accuracy": 100, "global_step": 18, "loss": -np.log(0.8), "macro_f1": 100, "mcc": 100,
        "micro_f1": 100, "total": 24, "weighted_f1": 100,
    })  # fmt: skip
    rows = rows_of(finished)
    assert len(rows) == 24 and {len(row) for row in rows} == {3}
    assert [sum(row) for row in rows] == pytest.approx([1.0] * 24)
    assert [CLASSES[int(np.argmax(row))] for row in rows] == [label for _, label in EXAMPLES]


def test_run_predictions_say_nothing_of_the_labels_of_the_file(finished: Path) -> None:
    found = read_records(finished / "test_predictions.jsonl")
    assert found[1] == {
        "id": "3",
        "text": "밥을 먹고 물을 마신다",
        "label": "음식",
        "probability": 0.8,
        "probabilities": {"날씨": 0.1, "음식": 0.8, "책": 0.1},
    }
    evaluated = read_records(finished / "eval_predictions.jsonl")
    assert [(r["id"], r["text"], r.pop("gold")) for r in evaluated] == [
        (str(line), text, label) for line, (text, label) in enumerate(EXAMPLES, start=2)
    ]
    assert evaluated == found


def test_run_prints_what_is_written(
    classifier: Trainable, command: Command, tmp_path: Path
) -> None:
    ended = command.succeed(**classifier.train, **classifier.ask)
    path = classifier.train["train_file"]
    assert ended.warnings == []
    assert ended.err.startswith(f"{path}: 24 examples\n" * 3 + "1 x numpy, float32; 0.0 million")
    assert f"24 texts predicted: {tmp_path}/run/test_results.tsv\n" in ended.err
    assert re.search(r"label +precision +recall +F1 +support +predicted\n", ended.out)
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "data.tsv: labels of" in page and "시인은 시를 쓴다" in page


def test_run_evaluation_counts_what_is_wrong(
    classifier: Trainable, trained: Command, backend: FakeBackend, folder: Path
) -> None:
    backend.is_good = lambda steps, seed: False  # all are 날씨
    trained.succeed(**classifier.ask)
    found = results(folder)
    wanted = {"accuracy": 100 / 3, "macro_f1": 50 / 3}
    wanted["loss"] = -(np.log(0.8) + 2 * np.log(0.1)) / 3
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)


@pytest.mark.parametrize("size", [1, 5, 64])
def test_run_batch_size_changes_no_prediction(
    size: int, classifier: Trainable, trained: Command, folder: Path
) -> None:
    before = contents(folder)
    sizes = {"predict_batch_size": size, "eval_batch_size": size, "length_buckets": False}
    trained.succeed(**classifier.ask, **sizes)
    assert contents(folder) == before


def test_run_texts_without_labels_are_predicted(
    trained: Command, folder: Path, tmp_path: Path
) -> None:
    path = write_table(tmp_path / "test.csv", [["밥을 먹고 물을 마신다"]], "text")
    before = rows_of(folder)
    trained.succeed(do_predict=True, predict_file=path)
    assert rows_of(folder) == [before[1]]


# Forms of tasks


def test_run_nsmc_files_are_found_in_the_folder(command: Command, tmp_path: Path) -> None:
    rows = [(n, text, int(n % 2)) for n, (text, _) in enumerate(EXAMPLES)]
    write_table(tmp_path / "ratings_train.txt", rows, "id", "document", "label")
    write_table(tmp_path / "ratings_test.txt", rows[:6], "id", "document", "label")
    nsmc = command.having(task_name="nsmc", data_dir=tmp_path)
    printed = nsmc.succeed(do_train=True, do_eval=True, do_predict=True).err
    assert printed.startswith(
        f"{tmp_path}/ratings_train.txt: 24 examples\n"
        f"{tmp_path}/ratings_test.txt: 6 examples\n{tmp_path}/ratings_test.txt: 6 examples\n"
    )
    run = tmp_path / "run"
    assert read_json(run / "labels.json") == {"labels": ["0", "1"]}
    assert [row[1] > 0.5 for row in rows_of(run)] == [False, True] * 3
    assert [r["id"] for r in read_records(run / "test_predictions.jsonl")] == list("012345")
    # --eval_file comes before --data_dir.
    other = write_table(tmp_path / "dev.txt", rows[:2], "id", "document", "label")
    nsmc.succeed(do_eval=True, eval_file=other)
    assert results(run)["total"] == 2


def test_run_pairs_have_two_segments(
    command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    rows = [(*pair, f"x{n}") for n, pair in enumerate(PAIRS)]
    path = write_table(tmp_path / "pairs.tsv", rows, "a", "b", "same", "name")
    columns = {"text_column": "a", "text_pair_column": "b", "label_column": "same"}
    command.succeed(**columns, id_column="name", **trains_and(path, "predict"))
    batch = backend.programs[0].batches[0]
    assert batch["segment_ids"].max(axis=1).tolist() == [1] * 4
    first = read_records(tmp_path / "run" / "test_predictions.jsonl")[0]
    assert (first["id"], first["text"], first["text_pair"]) == ("x0", PAIRS[0][0], PAIRS[0][1])
    assert [row[1] > 0.5 for row in rows_of(tmp_path / "run")] == [pair[2] == 1 for pair in PAIRS]


def test_run_paws_leaves_out_what_is_not_translated(command: Command, tmp_path: Path) -> None:
    rows = [(n, *pair) for n, pair in enumerate([*PAIRS, ("NS", "NS", 1)])]
    names = ("translated_train.tsv", "dev_2k.tsv")
    for name in names:
        write_table(tmp_path / name, rows, "id", "sentence1", "sentence2", "label")
    ended = command.succeed(task_name="paws", data_dir=tmp_path, do_train=True, do_eval=True)
    assert results(tmp_path / "run")["accuracy"] == 100 and results(tmp_path / "run")["total"] == 16
    assert ended.warnings == [
        f"untranslated: 1 ({tmp_path}/{name}:18: 'NS' for a text; left out)" for name in names
    ]


@pytest.fixture
def korsts(tmp_path: Path) -> dict[str, Any]:
    """Flags of a small KorSTS."""
    columns = ("genre", "filename", "year", "id", "score", "sentence1", "sentence2")
    rows = [("g", "f", 2012, 1, n / 4, a, b) for n, (a, b, _) in enumerate(PAIRS)]
    for split in ("train", "dev", "test"):
        write_table(tmp_path / f"sts-{split}.tsv", rows, *columns)
    return {"task_name": "korsts", "data_dir": tmp_path}


def test_run_regression_has_one_number(
    command: Command, backend: FakeBackend, korsts: dict[str, Any], tmp_path: Path
) -> None:
    command.succeed(**korsts, do_train=True, do_eval=True, do_predict=True)
    run = tmp_path / "run"
    assert results(run) == pytest.approx({
        "binary_f1": 100, "global_step": 12, "mae": 0, "mse": 0, "pearson": 100, "spearman": 100,
        "total": 16,
    })  # fmt: skip
    assert (run / "test_results.tsv").read_text() == "".join(f"{n / 4}\n" for n in range(16))
    assert read_records(run / "eval_predictions.jsonl")[3] == {
        "id": "5", "text": PAIRS[3][0], "text_pair": PAIRS[3][1], "gold": 0.75, "score": 0.75,
    }  # fmt: skip
    assert read_json(run / "labels.json") == {"labels": []}
    assert not (run / "confusion_matrix.svg").exists()
    assert backend.programs[0].arrays[CLASS_WEIGHTS].shape == (1, 16)
    texts = f"{PAIRS[3][0]}\t{PAIRS[3][1]}\n"
    found = Command("run_classifier").succeed(output_dir=run, input_file="-", stdin=texts)
    assert found.records == [
        {"id": "1", "text": PAIRS[3][0], "text_pair": PAIRS[3][1], "score": 0.75}
    ]


def test_run_regression_of_any_table(command: Command, tmp_path: Path) -> None:
    rows = [(text, n) for n, (text, _) in enumerate(EXAMPLES)]
    path = write_table(tmp_path / "numbers.tsv", rows, "text", "stars")
    flags = {"task_type": "regression", "label_column": "stars"}
    command.succeed(**flags, **trains_and(path, "eval"))
    assert results(tmp_path / "run")["pearson"] == pytest.approx(100)


# What is trained on


def test_run_class_weights_reach_the_batches(
    command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    # 4, 2 and 2 of 8: balanced is 8 / (3 * count).
    path = write_texts(tmp_path / "few.tsv", [*EXAMPLES[:6], EXAMPLES[6], EXAMPLES[9]])
    for value, shown, wanted in (
        ("none", None, [1, 1, 1]),
        ("balanced", "날씨 0.667, 음식 1.33, 책 1.33", [2 / 3, 4 / 3, 4 / 3]),
        ("음식=2.5, 책=0.5", "날씨 1, 음식 2.5, 책 0.5", [1, 2.5, 0.5]),
    ):
        flags = {"output_dir": tmp_path / value, "class_weights": value}
        printed = command.succeed(**trains_and(path), **flags).err
        line = f"class weights: {shown}\n"
        assert line in printed if shown else "class weights" not in printed
        for batch in backend.programs[-1].batches:
            found = np.array(wanted)[batch["targets"]]
            np.testing.assert_allclose(batch["label_weights"], found, rtol=1e-6)


@pytest.mark.slow
def test_run_max_train_examples_are_the_same_for_every_seed(
    classifier: Trainable, command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    train = command.having(**classifier.train)
    seen = []
    for name, seed in (("a", 1), ("b", 2)):
        ended = train.succeed(output_dir=tmp_path / name, max_train_examples=8, random_seed=seed)
        assert "trained on 8 of them (--max_train_examples)\n" in ended.err
        program = backend.programs[-1]
        seen.append({key for batch in program.batches for key in row_keys(batch)})
        assert len(seen[-1]) == 8 and len(program.batches) == 6
    assert seen[0] == seen[1]
    assert read_json(tmp_path / "a" / "labels.json") == {"labels": list(CLASSES)}
    assert "of them" not in train.succeed(max_train_examples=99).err


def test_run_empty_texts_are_not_trained_on_but_evaluated(
    command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    path = write_texts(tmp_path / "some.tsv", [*EXAMPLES[:7], ("", "책"), (" ", "음식")])
    ended = command.succeed(**trains_and(path, "eval"))
    empty = f"empty_text: 2 ({path}:9: a text is empty, {path}:10: a text is empty)"
    assert ended.warnings == [empty, empty, f"{path}: 2 examples without a text are not trained on"]
    assert len({key for batch in backend.programs[0].batches for key in row_keys(batch)}) == 7
    assert results(tmp_path / "run")["total"] == 9


def test_run_long_texts_and_texts_without_a_piece_are_taken(
    command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    long = (" ".join(text for text, _ in EXAMPLES), "책")
    path = write_texts(tmp_path / "some.tsv", [*EXAMPLES[:6], long, ("\ufffd", "음식")])
    ended = command.succeed(**trains_and(path, "predict"))
    line = f"{path}: 1 examples are longer than --max_seq_length=32 pieces, and are cut"
    assert ended.warnings == [line] * 2
    lengths = [n for b in backend.programs[0].batches for n in b["input_mask"].sum(axis=1)]
    assert (min(lengths), max(lengths)) == (2, 32)
    said = [row.index(max(row)) for row in rows_of(tmp_path / "run")]
    assert said == [0, 1, 2, 0, 1, 2, 2, 1]


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [
        ("task_type", "classification", "regression"),
        ("label_column", "label", "text"),
        ("text_pair_column", "None", "label"),
    ],
)
def test_run_of_other_columns_is_another_run(
    name: str, before: str, now: str, command: Command, folder: Path, tmp_path: Path
) -> None:
    path = write_texts(tmp_path / "data.tsv", [(n, n) for n in range(24)])
    unchanged = contents(folder)
    message = command(**trains_and(path), **{name: now}).error.replace("'", "")
    assert message.startswith(f"{last(folder)} belongs to a different run: ")
    assert f"{name} was {before}, now {now}" in message
    assert contents(folder) == unchanged  # labels.json too


# Labels


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [("ㄱ", "ㄴ", "ㄷ"), ("날씨", "책"), ("책", "음식", "날씨", "집")]
)
def test_run_training_with_other_labels_begins_the_head_anew(
    names: tuple[str, ...], command: Command, backend: FakeBackend, folder: Path, tmp_path: Path
) -> None:
    rows = [(text, names[n % len(names)]) for n, (text, _) in enumerate(EXAMPLES)]
    path = write_texts(tmp_path / "other.tsv", rows)
    new = tmp_path / "new"
    # The texts are shorter than --max_seq_length; the rest of the positions would be repeated ones.
    flags = {**trains_and(path), "untrained_positions": "keep"}
    printed = command.succeed(output_dir=new, init_checkpoint=folder, **flags).err
    assert "  new: output_weights, output_bias\n" in printed
    trained = load_checkpoint(str(last(folder))).parameters
    anew = initial_parameters(model_specs(CONFIG, ClassHead(len(names))), 0.02, 12345)
    for name, array in backend.programs[0].given[0].items():
        wanted = anew if name in (CLASS_WEIGHTS, CLASS_BIAS) else trained
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)
    assert read_json(new / "labels.json") == {"labels": sorted(names)}


def test_run_labels_of_a_run_without_a_checkpoint_belong_to_no_weights(
    classifier: Trainable, command: Command, folder: Path, tmp_path: Path
) -> None:
    # As if it had been killed before its first checkpoint.
    begun = tmp_path / "begun"
    begun.mkdir()
    write_labels(str(begun), ["ㄱ", "ㄴ", "ㄷ"])
    command.succeed(output_dir=begun, init_checkpoint=folder, **classifier.ask)
    first = read_records(begun / "test_predictions.jsonl")[0]
    assert list(first["probabilities"]) == list(CLASSES)


def test_run_labels_that_are_lost_are_those_of_the_training_file(
    trained: Command, folder: Path, tmp_path: Path
) -> None:
    (folder / "labels.json").unlink()
    path = write_texts(tmp_path / "texts.tsv", [*EXAMPLES, ("", "책")])
    predict = trained.having(do_predict=True, predict_file=write_texts(tmp_path / "all.tsv"))
    assert predict().error == (
        f"no labels.json beside {folder}; give the --train_file that the model was trained on, for "
        "its labels."
    )
    assert predict.succeed(train_file=path).warnings == [
        f"empty_text: 1 ({path}:26: a text is empty)"
    ]
    assert read_records(folder / "test_predictions.jsonl")[0]["label"] == "날씨"
    assert predict(train_file=write_texts(tmp_path / "fewer.tsv", EXAMPLES[:2])).error == (
        f"{folder} was trained for another task: output_weights must have shape [2, 16], and there "
        "is shape [3, 16]."
    )


def test_run_converted_to_hugging_face_has_the_labels_and_back(
    classifier: Trainable, command: Command, folder: Path, tmp_path: Path
) -> None:
    theirs, back = tmp_path / "theirs", tmp_path / "back"
    convert = Command("convert_checkpoint", {"compare": False})
    convert.succeed(from_=folder, to=theirs, to_format="huggingface")
    convert.succeed(from_=theirs, to=back, to_format="bert_ko")
    values = read_json(theirs / "config.json")
    assert values["id2label"] == {"0": "날씨", "1": "음식", "2": "책"}
    assert values["label2id"] == {"날씨": 0, "음식": 1, "책": 2}
    assert values["architectures"] == ["BertForSequenceClassification"]
    assert (back / "labels.json").read_bytes() == (folder / "labels.json").read_bytes()
    for source in (theirs, back):
        new = tmp_path / "new"
        command.succeed(output_dir=new, init_checkpoint=source, **classifier.ask)
        assert rows_of(new) == rows_of(folder)


# Without a dataset


@pytest.mark.parametrize("is_stdin", [False, True])
def test_run_input_file_prints_json_lines(
    is_stdin: bool, trained: Command, folder: Path, tmp_path: Path
) -> None:
    typed = f"{EXAMPLES[1][0]}\r\n\n{EXAMPLES[0][0]}".encode()
    path = tmp_path / "texts.txt"
    path.write_bytes(typed)
    before = contents(folder)
    found = trained.succeed(input_file="-" if is_stdin else path, stdin=typed).records
    said = [(r["id"], r["text"], r["label"], r["probability"]) for r in found]
    assert said == [
        ("1", EXAMPLES[1][0], "음식", 0.8), ("2", "", "날씨", 0.8),
        ("3", EXAMPLES[0][0], "날씨", 0.8),
    ]  # fmt: skip
    assert "gold" not in found[0]
    assert contents(folder) == before


def test_run_input_file_goes_with_prediction(
    classifier: Trainable, trained: Command, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "texts.txt"
    path.write_text(EXAMPLES[1][0])
    (found,) = trained.succeed(**classifier.ask, input_file=path).records
    assert found == {**read_records(folder / "test_predictions.jsonl")[1], "id": "1"}
    path.write_text("하나\n둘\t셋\n", encoding="utf-8")
    assert trained(input_file=path).error == (
        f"{path}:2: expected one text with a tab between two, got 2."
    )


def test_run_interactive_answers_what_is_typed(trained: Command) -> None:
    typed = f"{EXAMPLES[1][0]}\n \n둘\t셋\n{EXAMPLES[0][0]}"
    assert trained.succeed(interactive=True, stdin=typed).out.splitlines() == [
        "→ 음식 0.800, 날씨 0.100, 책 0.100",
        "expected a text",
        "→ 날씨 0.800, 음식 0.100, 책 0.100",
    ]


# What is refused


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "give --do_train, --do_eval, --do_predict, --input_file or --interactive."),
        ({"do_train": True}, "--do_train needs --train_file, or --data_dir."),
        ({"do_eval": True}, "--do_eval needs --eval_file, or --data_dir."),
        ({"do_predict": True}, "--do_predict needs --predict_file, or --data_dir."),
        ({"do_train": True, "train_file": "x", "eval_every_steps": 5},
         "--eval_every_steps needs --eval_file, or --data_dir."),
        ({"interactive": True, "task_name": "nsmc", "text_column": "x"},
         "--text_column is for --task_name=tsv; the columns of nsmc are known."),
    ],
)  # fmt: skip
def test_run_flags_that_make_no_sense_are_refused(
    flags: dict[str, Any], message: str, command: Command, tmp_path: Path
) -> None:
    assert command(**flags).error == message
    assert os.listdir(tmp_path) == []


def test_run_folder_without_the_files_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert command(do_train=True, data_dir=tmp_path / "data", task_name="nsmc").error == (
        f"--data_dir={tmp_path}/data has no file for train; looked for ratings_train.txt, each "
        "also with .gz, .bz2, .xz, .zst; it has nothing."
    )


@pytest.mark.parametrize(
    ("rows", "flags", "message"),
    [
        ([("", "날씨"), (" ", "책")], {}, "{path} has no example to train on."),
        ([("비가 온다", "날씨"), ("눈이 온다", "날씨")], {},
         "{path}: a classifier needs at least two labels, found only 날씨."),
        (EXAMPLES, {"class_weights": "운동=2"},
         "--class_weights names the label '운동'; the labels are 날씨, 음식, 책."),
    ],
)  # fmt: skip
def test_run_texts_and_weights_that_do_not_do_are_refused(
    rows: Any, flags: dict[str, Any], message: str, command: Command, backend: FakeBackend,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = write_texts(tmp_path / "texts.tsv", rows)
    assert command(**trains_and(path), **flags).error == message.format(path=path)
    assert backend.configs == []


def test_run_labels_that_the_model_does_not_know_are_refused(
    classifier: Trainable, command: Command, folder: Path, tmp_path: Path
) -> None:
    path = write_texts(tmp_path / "dev.tsv", [("비가 온다", "날씨"), ("공을 찬다", "운동")])
    watch = {**classifier.train, "eval_every_steps": 5}
    for flags in ({"do_eval": True}, watch):
        assert command(**flags, eval_file=path).error == (
            f"{path}:3: the model does not know the label '운동'; it knows 날씨, 음식, 책."
        )


def test_run_weights_of_other_heads_are_no_classifier(
    classifier: Trainable, command: Command, folder: Path, tmp_path: Path
) -> None:
    path = classifier.train["train_file"]
    predict = command.having(output_dir=tmp_path / "new", do_predict=True, predict_file=path)
    source = tmp_path / "pretrained"
    save_weights(source, PretrainingHead())
    assert predict(init_checkpoint=source).error == (
        f"no labels.json beside {source}; give the --train_file that the model was trained on, for "
        "its labels."
    )
    source = tmp_path / "five"
    save_weights(source, ClassHead(5))
    assert predict(init_checkpoint=source, train_file=path).error == (
        f"--init_checkpoint: {source}/checkpoint-00000007 is for 5 labels, but the task has 3; it "
        "was trained for another one. Give --do_train to begin with a new head."
    )
    # A tagger's labels.json looks the same.
    arrays = initial_parameters(model_specs(CONFIG, TagHead(CLASSES)), 0.02, 1)
    state = load_checkpoint(str(last(folder))).state
    shutil.rmtree(last(folder))
    save_checkpoint(str(folder), 18, Checkpoint(arrays, {}, state), CONFIG, 0)
    assert predict(output_dir=folder).error == (
        f"{folder} was trained for another task: bert/pooler/dense/kernel must have shape [16, "
        "16], and there is no such variable."
    )


def test_run_classes_are_no_scores_and_the_other_way_round(
    classifier: Trainable, command: Command, folder: Path, korsts: dict[str, Any], tmp_path: Path
) -> None:
    for flags in ({}, {"init_checkpoint": folder, "output_dir": tmp_path / "new"}):
        assert command(**{**korsts, **flags}, do_predict=True).error == (
            f"the model of {folder} is for 3 labels, not for a score; give its --task_name or "
            "--task_type."
        )
    scores = tmp_path / "scores"
    command.succeed(output_dir=scores, do_train=True, **korsts)
    assert command(output_dir=scores, **classifier.ask).error == (
        f"the model of {scores} is for a score, not for labels; give its --task_name or "
        "--task_type."
    )
    # Trained, its encoder serves for both.
    command.succeed(output_dir=tmp_path / "third", init_checkpoint=scores, **classifier.train)


# With TensorFlow and JAX


@pytest.fixture(scope="module")
def process(classifier: Trainable, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Learns in processes of its own, with a model that is large enough."""
    config = write_config(
        tmp_path_factory.mktemp("model") / "c.json", hidden_size=32, intermediate_size=64,
        initializer_range=0.1,
    )  # fmt: skip
    # With dropout; the loss of the evaluation is below 0.01 with the seeds 1, 2 and 3.
    return classifier.command.having(
        bert_config_file=config, precision="float32", train_batch_size=8, num_train_epochs=80,
        learning_rate=4e-3, optimizer="adamw", save_checkpoints_steps=1000,
    )  # fmt: skip


@pytest.fixture(scope="module")
def learnt(
    classifier: Trainable, process: Command, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run that knows the texts by heart."""
    folder = tmp_path_factory.mktemp("learnt") / "run"
    process.finish(output_dir=folder, **classifier.train, **classifier.ask)
    return folder


@pytest.mark.slow
def test_command_small_model_learns_by_heart(learnt: Path) -> None:
    found = results(learnt)
    assert found["accuracy"] == found["macro_f1"] == found["mcc"] == 100
    assert found["loss"] < 0.1 and found["global_step"] == 240
    trained = [record for record in metrics(learnt) if "loss" in record]
    assert trained[0]["loss"] == pytest.approx(np.log(3), abs=0.4)
    assert np.mean([record["loss"] for record in trained[-20:]]) < 0.3
    rows = rows_of(learnt)
    assert [sum(row) for row in rows] == pytest.approx([1] * 24, abs=1e-5)
    assert [CLASSES[int(np.argmax(row))] for row in rows] == [label for _, label in EXAMPLES]


@pytest.mark.slow
def test_command_prediction_alone_says_the_same_and_so_does_jax(
    classifier: Trainable, process: Command, learnt: Path, tmp_path: Path
) -> None:
    typed = tmp_path / "typed.txt"
    typed.write_text("".join(f"{text}\n" for text, _ in EXAMPLES), encoding="utf-8")
    run = Path(shutil.copytree(learnt, tmp_path / "run"))
    printed = process.finish(output_dir=run, input_file="-", stdin=str(typed), **classifier.ask)
    assert (run / "test_results.tsv").read_bytes() == (learnt / "test_results.tsv").read_bytes()
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert [record["label"] for record in lines] == [label for _, label in EXAMPLES]
    other = tmp_path / "other"
    process.finish(output_dir=other, init_checkpoint=learnt, backend="jax", **classifier.ask)
    np.testing.assert_allclose(rows_of(other), rows_of(learnt), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_command_regression_of_pairs_learns_by_heart(
    process: Command, korsts: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process.finish(
        output_dir=run, backend="jax", do_train=True, do_eval=True, do_predict=True,
        num_seeds=2, **{**korsts, "num_train_epochs": 120},
    )  # fmt: skip
    seeds = read_json(run / "seeds.json")
    assert [r["pearson"] > 99 and r["mse"] < 0.1 for r in seeds["results"]] == [True, True]
    for seed in seeds["seeds"]:
        rows = rows_of(run / f"seed-{seed}")
        np.testing.assert_allclose([row[0] for row in rows], np.arange(16) / 4, rtol=0, atol=1)


@pytest.mark.slow
def test_command_learnt_in_transformers_says_the_same(learnt: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    theirs = tmp_path / "theirs"
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "bin/convert_checkpoint"), f"--from={learnt}",
         f"--to={theirs}", "--to_format=huggingface"],
        capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, texts = sys.argv[1], json.load(sys.stdin)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
print(json.dumps([model.config.id2label, torch.softmax(logits, -1).tolist()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(theirs)], capture_output=True, text=True,
        input=json.dumps([text for text, _ in EXAMPLES]), env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    id2label, rows = json.loads(done.stdout.splitlines()[-1])
    assert id2label == {"0": "날씨", "1": "음식", "2": "책"}
    np.testing.assert_allclose(rows, rows_of(learnt), rtol=0, atol=1e-4)
