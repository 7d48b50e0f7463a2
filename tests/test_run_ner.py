"""What is particular to named entities: formats, tags and their files, and the CRF."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bert_ko.modeling.heads import (
    TAG_CRF,
    TAG_TRANSITIONS,
    TAG_WEIGHTS,
    TagHead,
    model_specs,
)
from bert_ko.tasks.ner.examples import read_dataset
from bert_ko.tasks.ner.scores import score, score_values
from tests.fakes import (
    Command,
    FakeBackend,
    checkpoints,
    contents,
    last,
    metrics,
    read_json,
    read_records,
    results,
)
from tests.small_data import (
    CONFIG,
    TAGGED,
    TAGS,
    Trainable,
    from_entities,
    parse_tagged,
    save_weights,
    write_config,
    write_klue,
)


def words(line: str) -> tuple[list[str], list[str]]:
    """Words and their tags: an entity's words are all that it lies on."""
    text, found = parse_tagged(line)
    tags = []
    for match in re.finditer(r"\S+", text):
        on = [e for e in found if e.start < match.end() and match.start() < e.end]
        mark = "B" if on and on[0].start >= match.start() else "I"
        tags.append(f"{mark}-{on[0].type}" if on else "O")
    return text.split(), tags


def write_naver(path: Path, lines: Any = TAGGED) -> str:
    rows = [words(line) for line in lines]
    text = "".join(
        f"{' '.join(units)}\t{' '.join('-' if t == 'O' else f'{t[2:]}_{t[0]}' for t in tags)}\n"
        for units, tags in rows
    )
    path.write_text(text, encoding="utf-8")
    return str(path)


def write_conll(path: Path, lines: Any = TAGGED) -> str:
    sentences = [
        "".join(f"{unit} {tag}\n" for unit, tag in zip(*words(line), strict=True)) for line in lines
    ]
    path.write_text("\n".join(sentences), encoding="utf-8")
    return str(path)


WRITERS = {"klue": write_klue, "naver": write_naver, "conll": write_conll}


@pytest.fixture
def finished(finish: Callable[[Trainable], Path], ner: Trainable) -> Path:
    """A run that was trained and asked; not to be changed."""
    return finish(ner)


@pytest.fixture
def command(ner: Trainable, backend: FakeBackend, tmp_path: Path) -> Command:
    return ner.command.having(output_dir=tmp_path / "run")


@pytest.fixture
def trained(backend: FakeBackend, folder: Path) -> Command:
    """Uses the trained model of ``folder``, with no further flags."""
    return Command("run_ner", {"output_dir": folder})


def all_of(path: str) -> dict[str, Any]:
    """Flags: a file is trained on, evaluated and predicted."""
    files = {f"{name}_file": path for name in ("train", "eval", "predict")}
    return {"do_train": True, "do_eval": True, "do_predict": True, **files}


def assert_learnt(path: Path, lines: Any = TAGGED, has_gold: bool = False) -> None:
    """What stands in PATH.jsonl and PATH.txt is what the sentences say."""
    found = read_records(path.with_suffix(".jsonl"))
    assert [record["id"] for record in found] == [f"s-{n + 1}" for n in range(len(lines))]
    for record, line in zip(found, lines, strict=True):
        text, entities = parse_tagged(line)
        assert (record["text"], record["tagged"]) == (text, line)
        assert record["tags"] == list(from_entities(entities, len(text)))
        for one, other in zip(record["entities"], entities, strict=True):
            assert text[one["start"] : one["end"]] == one["text"]
            assert (one["type"], one["start"], one["end"]) == tuple(other)
            assert 0 < one["probability"] <= 1
        keys = {"id", "text", "tagged", "entities", "tags"}
        assert record.keys() == keys | ({"gold"} if has_gold else set())
        if has_gold:
            values = [
                {k: v for k, v in e.items() if k != "probability"} for e in record["entities"]
            ]
            assert record["gold"] == values
    assert path.with_suffix(".txt").read_text("utf-8") == "".join(
        f"s-{number}\t{line}\n" for number, line in enumerate(lines, start=1)
    )


def test_run_text_that_the_vocabulary_does_not_know_is_a_warning(
    command: Command, tmp_path: Path
) -> None:
    path = write_klue(tmp_path / "data.tsv", ["<漢字:PS> 文章 漢字 文章"] * 4)
    (line,) = command.succeed(do_train=True, train_file=path).warnings
    assert re.match(rf"\d+% of the pieces of {path} are \[UNK\]", line)


# What a run writes


def test_run_writes_tagged_sentences_and_scores(
    ner: Trainable, command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    ended = command.succeed(**ner.train, **ner.ask)
    run = tmp_path / "run"
    assert_learnt(run / "test_predictions")
    assert_learnt(run / "eval_predictions", has_gold=True)
    path = ner.train["train_file"]
    assert f"{path}: 20 sentences, 30 entities, a tag a character\n" in ended.err
    assert re.search(r"\nPS +100\.00 +100\.00 +100\.00 +7 +7\n", ended.out)
    assert f"20 sentences predicted: {run}/test_predictions.jsonl, " in ended.err
    assert results(run) == {
        "accuracy": 100, "f1": 100, "global_step": 15, "klue_char_macro_f1": 100,
        "klue_entity_macro_f1": 100, "macro_f1": 100, "precision": 100, "recall": 100,
        "total": 20, "weighted_f1": 100,
    }  # fmt: skip
    assert read_json(run / "labels.json") == {"labels": list(TAGS)}
    assert backend.programs[0].head == TagHead(TAGS, use_crf=False)
    page = (run / "report.html").read_text("utf-8")
    assert "data.tsv: entities of" in page and "솔내마을" in page


@pytest.mark.parametrize("form", ["naver", "conll"])
def test_run_words_are_tagged_as_words(form: str, command: Command, tmp_path: Path) -> None:
    path = WRITERS[form](tmp_path / "words.txt")
    printed = command.succeed(**all_of(path)).err
    assert f"{path}: 20 sentences, 30 entities, a tag a word" in printed
    assert ("; tags are BIO: 42 rewritten, such as PS_B as B-PS\n" in printed) == (form == "naver")
    found = read_records(tmp_path / "run" / "test_predictions.jsonl")
    assert [record["tags"] for record in found] == [words(line)[1] for line in TAGGED]
    assert found[0]["tagged"] == "<이보람:PS> 관장은 <솔내마을에서:LC> 산다."
    assert found[7]["entities"] == [
        {"type": "TI", "text": "아침 일곱 시에", "start": 4, "end": 12, "probability": 0.75}
    ]
    assert results(tmp_path / "run")["f1"] == 100


def test_run_scores_are_those_of_the_written_predictions(
    ner: Trainable, trained: Command, backend: FakeBackend, folder: Path
) -> None:
    for key in [key for key in backend.known if key[0] == ner.head][::3]:
        backend.known[key] = [3] * 64  # LC everywhere, each piece an entity
    trained.succeed(**ner.ask)
    found = read_records(folder / "eval_predictions.jsonl")
    golds = [sentence.tags for sentence in read_dataset(ner.train["train_file"]).sentences]
    wanted = score_values(score(golds, [record["tags"] for record in found], TAGS))
    assert 0 < wanted["f1"] < 100
    values = results(folder)
    assert {name: values[name] for name in wanted} == pytest.approx(wanted)
    for record, line in zip(found, TAGGED, strict=True):
        assert [(e["type"], e["start"], e["end"]) for e in record["gold"]] == parse_tagged(line)[1]


def test_run_prediction_looks_at_no_tags(trained: Command, folder: Path, tmp_path: Path) -> None:
    path = write_klue(tmp_path / "test.tsv", [parse_tagged(line)[0] for line in TAGGED])
    for flags in ({}, {"predict_batch_size": 1}, {"predict_batch_size": 7}):
        trained.succeed(do_predict=True, predict_file=path, **flags)
        assert_learnt(folder / "test_predictions")


@pytest.mark.slow
@pytest.mark.parametrize("length", [12, 16, 40])
def test_run_long_sentences_are_cut_and_joined(
    length: int, command: Command, tmp_path: Path
) -> None:
    path = write_klue(tmp_path / "long.tsv", [" ".join(TAGGED)])
    command.succeed(max_seq_length=length, **all_of(path))
    assert results(tmp_path / "run")["f1"] == 100
    assert_learnt(tmp_path / "run" / "eval_predictions", [" ".join(TAGGED)], has_gold=True)


def test_run_ill_formed_tags_are_mended_and_counted(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # only the beginning of a long path would be shown
    others = Path(write_naver(tmp_path / "x")).read_text("utf-8")
    Path("n.txt").write_text(f"보람은 산다 .\tPS_I O O\n{others}", encoding="utf-8")
    flags = {"do_train": True, "train_file": "n.txt", "do_predict": True, "predict_file": "n.txt"}
    warning = "ill_formed_tag: 1 (n.txt:1: PS_I of '보람은' continues no entity; read as B-PS)"
    assert command.succeed(**flags).warnings == [warning] * 2  # of both files
    found = read_records(tmp_path / "run" / "test_predictions.jsonl")
    assert found[0]["tags"] == ["B-PS", "O", "O"]


def test_run_tags_that_the_model_does_not_know_are_named_and_counted(
    trained: Command, folder: Path, tmp_path: Path
) -> None:
    path = write_klue(tmp_path / "other.tsv", [*TAGGED, "<해오름:BK>을 읽었다."])
    assert trained.succeed(do_eval=True, eval_file=path).warnings == [
        f"{path}: the model does not know the tags B-BK, I-BK; it never predicts them"
    ]
    found = results(folder)
    assert found["recall"] == pytest.approx(100 * 30 / 31) and found["precision"] == 100
    # Both labels of it have a share in the mean over labels.
    assert found["klue_char_macro_f1"] < 100 * 14 / 15


def test_run_evaluates_what_has_no_pieces(trained: Command, folder: Path, tmp_path: Path) -> None:
    path = write_klue(tmp_path / "invisible.tsv", ["<\u200b:PS>"])
    trained.succeed(do_eval=True, eval_file=path)
    assert results(folder)["recall"] == 0
    assert read_records(folder / "eval_predictions.jsonl")[0]["tags"] == ["O"]


# What it is trained on


def test_run_extra_sentences_are_trained_on(
    ner: Trainable, command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    extra = (
        write_klue(tmp_path / "one.tsv", TAGGED[:2]),
        write_klue(tmp_path / "two.tsv", ["<해오름:BK>을 읽었다."]),
    )
    ended = command.succeed(extra_train_file=extra, **ner.train)
    assert ended.warnings[0] == (
        f"{extra[0]} has no entity of type OG, QT, TI: what {ner.train['train_file']} calls so is "
        "O there, or another type"
    )
    assert f"{extra[1]}: 1 sentences, 1 entities, a tag a character\n" in ended.err
    assert sum(b["example_weights"].sum() for b in backend.programs[0].batches) == 3 * 23
    run = tmp_path / "run"
    assert read_json(run / "labels.json")["labels"] == ["O", "B-BK", "I-BK", *TAGS[1:]]
    assert read_json(run / "run.json")["identity"]["extra_train_file"][1][0] == "two.tsv"
    other = write_naver(tmp_path / "words.txt")
    assert command(extra_train_file=other, **ner.train).error == (
        f"--extra_train_file: {other} has a tag a word, but {ner.train['train_file']} a tag a "
        "character."
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["{}.txt", "{}.conll", "klue-ner-v1.1_{}.tsv"])
def test_run_data_dir_has_the_files_of_all_splits(
    name: str, command: Command, tmp_path: Path
) -> None:
    for split, lines in (("train", TAGGED), ("dev", TAGGED[:9]), ("test", TAGGED[:3])):
        write_klue(tmp_path / name.format(split), lines)
    command.succeed(data_dir=tmp_path, do_train=True, do_eval=True, do_predict=True)
    assert results(tmp_path / "run")["total"] == 9
    assert_learnt(tmp_path / "run" / "test_predictions", TAGGED[:3])


# The CRF


def test_run_rate_of_the_crf_reaches_the_optimizer(
    ner: Trainable, command: Command, backend: FakeBackend
) -> None:
    command.succeed(use_crf=True, crf_learning_rate_multiple=7, **ner.train)
    (program,) = backend.programs
    assert program.optimizer.multiples == ((TAG_CRF, 7.0),)
    assert program.head == TagHead(TAGS, use_crf=True)
    assert program.given[0][TAG_TRANSITIONS].shape == (13, 13)


@pytest.mark.slow
@pytest.mark.parametrize("use_crf", [False, True])
def test_run_crf_is_known_and_another_is_refused(
    use_crf: bool, ner: Trainable, command: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    command.succeed(use_crf=use_crf, **ner.watch, **ner.train)
    if use_crf:  # of the best weights alone, too
        for name in checkpoints(folder):
            shutil.rmtree(folder / name)
    how, what = ("with", "give") if use_crf else ("without", "leave out")
    for flags in ({}, {"init_checkpoint": folder, "output_dir": tmp_path / "new"}):
        ask = command.having(**ner.ask, **flags)
        assert ask(use_crf=not use_crf).error == (
            f"{folder} was trained {how} --use_crf; {what} the flag."
        )
        ask.succeed()
        assert backend.programs[-1].head == TagHead(TAGS, use_crf)
    # Trained on, it has what it needs.
    other = {"init_checkpoint": folder, "output_dir": tmp_path / "other"}
    command.succeed(use_crf=not use_crf, **ner.train, **other)


def test_run_crf_of_foreign_weights_without_one_is_refused(
    ner: Trainable, command: Command, tmp_path: Path
) -> None:
    source = tmp_path / "source"  # as convert_checkpoint leaves it
    save_weights(source, ner.head, TAGS)
    ask = command.having(use_crf=True, **ner.ask)
    assert ask(output_dir=tmp_path / "new", init_checkpoint=source).error == (
        f"--init_checkpoint: {last(source)} lacks cls/tags/crf/transitions, cls/tags/crf/start, "
        "cls/tags/crf/end; it was not trained for this task. Give --do_train."
    )
    assert ask(output_dir=source).error == (
        f"{source} was trained for another task: cls/tags/crf/transitions must have shape "
        "[13, 13], and there is no such variable."
    )


# Labels


def test_run_without_labels_those_of_the_sentences_are_taken(
    ner: Trainable, trained: Command, backend: FakeBackend, folder: Path
) -> None:
    (folder / "labels.json").unlink()
    ask = trained.having(**ner.ask)
    assert ask().error == (
        f"no labels.json beside {folder}; give the --train_file that the model was trained on, for "
        "its labels."
    )
    ask.succeed(train_file=ner.train["train_file"])
    assert backend.programs[-1].head == TagHead(TAGS)
    assert_learnt(folder / "test_predictions")
    (folder / "labels.json").write_text('{"labels": ["O", "PS-B", "PS-I", "정치", "B-"]}')
    assert ask().error == (
        f"the labels of {folder} must be O, B-TYPE or I-TYPE, got PS-B, PS-I, 정치 and 1 more; "
        "give weights that were trained for tags."
    )


def test_run_training_begins_with_weights_of_other_tags(
    command: Command, backend: FakeBackend, folder: Path, tmp_path: Path
) -> None:
    path = write_klue(tmp_path / "other.tsv", ["<해오름:BK>을 읽었다."] * 4)
    flags = {"output_dir": tmp_path / "second", "init_checkpoint": folder}
    printed = command.succeed(do_train=True, train_file=path, **flags).err
    assert f"{len(model_specs(CONFIG))} variables loaded, 2 new, 0 not used" in printed
    assert backend.programs[0].given[0][TAG_WEIGHTS].shape == (3, 16)


# Without a dataset

TYPED = "".join(f"{parse_tagged(line)[0]}\n" for line in TAGGED[:2])
TYPED += "\n \n처음 보는 말.\r\n\u200b\n"


@pytest.mark.parametrize("is_stdin", [False, True])
def test_run_input_file_prints_tags_as_json(
    is_stdin: bool, trained: Command, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes(TYPED.encode())
    before = contents(folder)
    found = trained.succeed(input_file="-" if is_stdin else path, stdin=TYPED).records
    assert [(r["id"], r["tagged"]) for r in found] == [
        ("1", TAGGED[0]), ("2", TAGGED[1]), ("5", "처음 보는 말."), ("6", "\u200b"),
    ]  # fmt: skip
    assert found[0]["entities"] == [
        {"type": "PS", "text": "이보람", "start": 0, "end": 3, "probability": 0.75},
        {"type": "LC", "text": "솔내마을", "start": 8, "end": 12, "probability": 0.75},
    ]
    assert (found[3]["text"], found[3]["entities"], found[3]["tags"]) == ("\u200b", [], ["O"])
    assert contents(folder) == before
    path.write_text("\n \n")
    assert trained.succeed(input_file=path).records == []


def test_run_interactive_tags_what_is_typed(trained: Command) -> None:
    printed = trained.succeed(interactive=True, stdin=TYPED).out
    assert printed == (f"→ {TAGGED[0]}\n→ {TAGGED[1]}\n→ 처음 보는 말.\n→ \u200b\n")


# What is refused


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"interactive": True, "crf_learning_rate_multiple": -1},
         "--crf_learning_rate_multiple must be in [0, 1e6), got -1.0."),
        ({"do_train": True, "train_file": "{none}"},
         "{none} has no entity to learn from."),
        ({"do_train": True, "train_file": "{invisible}"},
         "{invisible} has no sentence with pieces to train on."),
        ({"do_train": True, "data_dir": "{empty}"},
         "--data_dir={empty} has no file for train; looked for train.tsv, train.txt, train.conll, "
         "klue-ner-v1.1_train.tsv, klue-ner-v1_train.tsv, each also with .gz, .bz2, .xz, .zst; it "
         "has nothing."),
    ],
)  # fmt: skip
def test_run_flags_or_sentences_that_do_not_do_are_refused(
    flags: dict[str, Any], message: str, command: Command, backend: FakeBackend, tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    places = {
        "none": write_klue(tmp_path / "none.tsv", ["눈이 온다.", "비가 온다."]),
        "invisible": write_klue(tmp_path / "invisible.tsv", ["<\u200b:PS>"]),
        "empty": str(tmp_path / "empty"),
    }
    given = {k: v.format(**places) if isinstance(v, str) else v for k, v in flags.items()}
    assert command(**given).error == message.format(**places)
    assert backend.configs == [] and not (tmp_path / "run").exists()


# With TensorFlow and JAX


@pytest.mark.slow
@pytest.mark.parametrize(("form", "use_crf"), [("klue", False), ("naver", True)])
def test_command_small_model_learns_sentences_by_heart(
    form: str, use_crf: bool, ner: Trainable, tmp_path: Path
) -> None:
    path = WRITERS[form](tmp_path / "sentences.txt")
    config = write_config(
        tmp_path / "c.json", hidden_size=32, num_hidden_layers=2, hidden_dropout_prob=0,
        attention_probs_dropout_prob=0, intermediate_size=64, initializer_range=0.1,
    )  # fmt: skip
    command = ner.command.having(
        bert_config_file=config, max_seq_length=32, precision="float32", use_crf=use_crf,
    )  # fmt: skip
    output, other = tmp_path / "run", tmp_path / "other"
    # Of 40 epochs one of three seeds left a tag wrong.
    printed = command.finish(
        output_dir=output, do_train=True, train_file=path, do_eval=True, eval_file=path,
        train_batch_size=10, num_train_epochs=80, learning_rate=5e-3, optimizer="adamw",
        random_seed=1, save_checkpoints_steps=1000, crf_learning_rate_multiple=5,
    )  # fmt: skip
    assert "Traceback" not in printed
    assert (results(output)["f1"], results(output)["total"]) == (100, 20)
    assert metrics(output)[-1]["accuracy"] > 0.95
    found = read_records(output / "eval_predictions.jsonl")
    if form != "klue":
        assert [record["tags"] for record in found] == [words(line)[1] for line in TAGGED]
        return
    assert_learnt(output / "eval_predictions", has_gold=True)
    # The other backend reads the same from it.
    flags = {"do_predict": True, "predict_file": path, "init_checkpoint": output}
    command.finish(output_dir=other, backend="jax", **flags)
    for one, two in zip(found, read_records(other / "test_predictions.jsonl"), strict=True):
        assert one["tags"] == two["tags"]
        chances = [[e["probability"] for e in r["entities"]] for r in (one, two)]
        assert chances[0] == pytest.approx(chances[1], abs=1e-3)
