import dataclasses
import importlib
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bert_ko.flags import Flags, parse
from recipes.common.config import Recipe, read_config
from recipes.common.hold_out import hold_out
from recipes.common.recipe import Steps, available_tasks, main, run
from recipes.common.results import task_table, write_results
from recipes.common.steps import Runner, State, Stopped

ROOT = Path(__file__).parents[2]
NAMES = ("one_gpu", "two_cores")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with some text and the files of one task."""
    folder = tmp_path / "data"
    for name in ("pretrain/kowiki-01.txt", "pretrain/reviews-1.txt", "ynat/train.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("나무\n")
    (folder / "ynat" / "dev.csv").touch()
    return folder


def read(name: str) -> Recipe:
    return read_config(ROOT / "recipes" / name / "config.json")


def write_metrics(folder: Path, steps: int, accuracy: float) -> None:
    folder.mkdir(parents=True)
    lines = [
        {"step": i, "masked_lm_accuracy": accuracy, "seconds": 3.0 * i, "tokens_per_second": 5000.0}
        for i in range(10, steps + 1, 10)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


def write_scores(folder: Path, **scores: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{name} = {value}\n" for name, value in scores.items())
    (folder / "eval_results.txt").write_text(text)


def test_available_tasks_missing_folder_is_left_out_and_named(data, capsys):
    found = available_tasks(read("one_gpu"), data)
    assert [task.name for task in found] == ["ynat"]
    assert "korquad is left out: no train.json in" in capsys.readouterr().err


def test_main_no_text_is_one_line(tmp_path, capsys, monkeypatch):
    arguments = ["run", f"--data={tmp_path}", f"--output={tmp_path / 'out'}"]
    monkeypatch.setattr("sys.argv", arguments)
    assert main(ROOT / "recipes" / "one_gpu") == 1
    error = capsys.readouterr().err
    assert error.startswith("one_gpu: no text to train on in")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_run_changed_configuration_is_named(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, "run", lambda self, steps: True)
    recipe, output = read("two_cores"), tmp_path / "out"
    assert run(recipe, data, output)
    assert run(dataclasses.replace(recipe, minutes=5, has_baseline=False), data, output)
    with pytest.raises(ValueError, match=r"another configuration: num_seeds was 3, now 2;"):
        run(dataclasses.replace(recipe, num_seeds=2), data, output)


def test_run_stopped_recipe_has_a_table_of_what_is_known(data, tmp_path, monkeypatch, capsys):
    def stopped(self: Runner, steps: object) -> bool:
        write_metrics(tmp_path / "out" / "length-32", 30, 0.25)
        raise Stopped

    monkeypatch.setattr(Runner, "run", stopped)
    with pytest.raises(Stopped):
        run(read("two_cores"), data, tmp_path / "out")
    line = "| length-32 (not finished) | 32 × 128 | 30 |"
    assert line in capsys.readouterr().out
    assert line in (tmp_path / "out" / "results.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_steps_need_only_steps_that_are_there(name, data, tmp_path):
    recipe = read(name)
    steps = Steps(recipe, data, tmp_path, State(tmp_path)).steps(recipe.tasks)
    names = [step.name for step in steps]
    assert len(set(names)) == len(names)
    for step in steps:
        assert set(step.after) < set(names)
    assert ("ynat-random" in names) == recipe.has_baseline


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_command_lines_that_their_commands_accept(name, data, tmp_path):
    recipe, state = read(name), State(tmp_path)
    state.planned = {phase.name: [60.0, 100] for phase in recipe.phases}
    for step in Steps(recipe, data, tmp_path, state).steps(recipe.tasks)[1:]:
        program, *flags = step.command()[1:]
        module = importlib.import_module(f"bert_ko.{Path(program).name}")
        (config,) = (one for one in vars(module).values() if is_config(one, module.__name__))
        parse(config, flags)


def is_config(value: object, module: str) -> bool:
    return isinstance(value, type) and issubclass(value, Flags) and value.__module__ == module


def test_phase_of_a_resumed_recipe_keeps_its_plan(data, tmp_path):
    recipe, output = read("one_gpu"), tmp_path / "out"
    write_metrics(output / "length-128", 100, 0.3)

    def commands(used: float) -> list[str]:
        state = State(output)
        state.used = used
        steps = Steps(recipe, data, output, state).steps(())
        return list(next(step for step in steps if step.name == "length-384").command())

    first = commands(used=200)
    assert commands(used=400) == first
    assert f"--init_checkpoint={output / 'length-128'}" in first


def test_hold_out_every_third_document(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("가\n\n나\n나\n \n다\n\n\n라\n")
    assert hold_out([path], tmp_path / "out", 3) == (3, 1)
    assert (tmp_path / "out" / "held_out.txt").read_text() == "다\n"
    assert (tmp_path / "out" / "train" / "text.txt").read_text() == "가\n\n나\n나\n\n라\n"
    with pytest.raises(ValueError, match="5 documents"):
        hold_out([path], tmp_path / "other", 5)


def test_task_table_baseline_and_unfinished_seeds():
    tasks = [task for task in read("two_cores").tasks if task.name in ("ynat", "nsmc")]
    records = [
        {"task": "ynat", "weights": "pre-trained", "minutes": 3.0,
         "scores": {"accuracy": [86.0, 87.0], "macro_f1": [85.0, 85.0]}},
        {"task": "ynat", "weights": "random", "minutes": 3.0,
         "scores": {"accuracy": [84.0], "macro_f1": [84.0]}},
    ]  # fmt: skip
    assert task_table(tasks, records, 3) == [
        "| task | score | pre-trained | random weights | gain | seeds | minutes |",
        "|---|---|---|---|---|---|---|",
        "| ynat | accuracy | 86.50 ± 0.71 | 84.00 | +2.50 | 2 of 3 | 3.0 |",
        "| ynat | macro_f1 | 85.00 ± 0.00 | 84.00 | +1.00 | 2 of 3 | 3.0 |",
        "| nsmc | accuracy | – | – | – | 0 of 3 | – |",
        "| nsmc | macro_f1 | – | – | – | 0 of 3 | – |",
    ]


def test_write_results_partial_run_has_what_is_known(tmp_path):
    recipe, state = read("one_gpu"), State(tmp_path)
    write_metrics(tmp_path / "length-64", 100, 0.3)
    write_metrics(tmp_path / "length-128", 50, 0.4)
    write_scores(tmp_path / "held-out-accuracy-length-64-at-64", masked_lm_accuracy=0.31)
    write_scores(tmp_path / "ynat" / "seed-12345", accuracy=88.0, macro_f1=87.5)
    text = write_results(recipe, recipe.tasks, tmp_path, state)
    assert "| 64 × 512 | 100 | 5.0 | 5,000 | 0.3100 at length 64 |" in text
    assert "| ynat | accuracy | 88.00 | 1 of 3 |" in text
    picture = ElementTree.parse(tmp_path / "curves.svg").getroot()
    assert len(picture.findall("{*}polyline")) == 2
    values = json.loads((tmp_path / "results.json").read_text())
    assert [one["phase"] for one in values["phases"]] == ["length-64", "length-128"]
