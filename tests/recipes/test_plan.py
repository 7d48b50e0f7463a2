import dataclasses
from pathlib import Path

import pytest

from recipes.common.config import Phase, Recipe, difference, read_config, to_json
from recipes.common.plan import compile_seconds, phase_seconds, plan_phase, updates_per_second

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "recipes").glob("*/*.json"))


@pytest.fixture
def recipe() -> Recipe:
    """Of 10 minutes: 4 for the tasks, and half a minute that each of two phases takes beside."""
    config = read_config(ROOT / "recipes" / "one_gpu" / "config.json")
    first = Phase("a", ("64",), 128, 64, 1.0, 1e-3, 10)
    second = Phase(
        "b", ("64",), 256, 16, 3.0, 1e-3, 10,
        learning_rate_schedule="linear", relative_speed=0.5,
    )  # fmt: skip
    times = {"minutes": 10, "fine_tuning_minutes": 4, "overhead_minutes": 0.5}
    return dataclasses.replace(config, phases=(first, second), **times)


def records(speed: float, compiling: float, count: int = 10) -> list[dict[str, float]]:
    return [
        {"step": 10 * i, "seconds": compiling + 10 * i / speed, "tokens_per_second": 1.0}
        for i in range(1, count + 1)
    ]


def test_phase_seconds_no_limit_are_its_own(recipe):
    free = dataclasses.replace(recipe, minutes=None)
    assert phase_seconds(free, 1, used=1e6) == 180


def test_phase_seconds_limit_is_shared_by_what_is_left(recipe):
    # 600 s - 240 - 2 * 30 = 300, of which 20 are used: a quarter of 280, then the rest.
    assert phase_seconds(recipe, 0, used=20) == pytest.approx(70)
    assert phase_seconds(recipe, 1, used=20 + 30 + 70) == pytest.approx(210)


def test_phase_seconds_nothing_left_raises(recipe):
    with pytest.raises(ValueError, match="no time is left for phase b"):
        phase_seconds(recipe, 1, used=400)


def test_updates_per_second_ignores_compilation_and_pauses():
    lines = records(speed=20, compiling=30)
    for line in lines[5:]:
        line["seconds"] += 15  # a checkpoint
    assert updates_per_second(lines) == pytest.approx(20)
    assert compile_seconds(lines) == pytest.approx(30)
    assert updates_per_second(lines[:1]) is None
    assert compile_seconds([]) == 0


def test_plan_phase_decay_takes_its_steps_from_the_measured_speed(recipe):
    # 20 updates of 64 * 128 a second make 20 of 16 * 256 at half the speed.
    plan = plan_phase(recipe, 1, 120, records(speed=20, compiling=30))
    assert plan.seconds == pytest.approx(210)
    assert plan.num_train_steps == round(20 * (0.95 * 210 - 30))


def test_plan_phase_constant_ends_by_time(recipe):
    assert plan_phase(recipe, 0, 20, []).num_train_steps > 1_000_000


def test_plan_phase_decay_without_a_speed_raises(recipe):
    with pytest.raises(ValueError, match="too few updates"):
        plan_phase(recipe, 1, 120, [])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_read_config_shipped_configurations_are_read(path):
    assert read_config(path).num_seeds


def test_read_config_unknown_key_is_named(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"phases": [{"nmae": "a"}]}')
    with pytest.raises(ValueError, match=r"config\.json: phases: unknown key nmae; known are name"):
        read_config(path)


def test_difference_names_the_first_place(recipe):
    saved, wanted = to_json(recipe), to_json(recipe)
    assert difference(saved, wanted) is None
    wanted["phases"][1]["learning_rate"] = 0.5
    assert difference(saved, wanted) == "phases.1.learning_rate was 0.001, now 0.5"
