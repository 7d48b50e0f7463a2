import itertools

import pytest

from bert_ko.training.optimization import OptimizerConfig, hyperparameters, learning_rate


def config(**changes: object) -> OptimizerConfig:
    values = {"learning_rate": 1e-3, "num_train_steps": 100, "num_warmup_steps": 10, **changes}
    return OptimizerConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0), (1, 1e-4), (5, 5e-4), (9, 9e-4),
        (10, 9e-4),  # from the start of training: 1 - 10 / 100, not the peak
        (11, 8.9e-4), (50, 5e-4), (99, 1e-5), (100, 0.0), (150, 0.0),
    ],
)  # fmt: skip
def test_learning_rate_linear_is_googles(step: int, rate: float) -> None:
    assert learning_rate(config(), step) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.0), (5, 5e-4), (10, 1e-3), (99, 1e-3), (999, 1e-3)]
)
def test_learning_rate_constant_stays_at_the_peak(step: int, rate: float) -> None:
    assert learning_rate(config(schedule="constant"), step) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (5, 5e-4), (10, 1e-3), (55, 5e-4),
        (40, 7.5e-4),  # a third of the way: (1 + cos 60 degrees) / 2
        (100, 0.0), (150, 0.0),
    ],
)  # fmt: skip
def test_learning_rate_cosine_begins_at_the_peak(step: int, rate: float) -> None:
    assert learning_rate(config(schedule="cosine"), step) == pytest.approx(rate, abs=1e-12)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (5, 5e-4), (10, 1e-3), (79, 1e-3), (80, 1e-3),
        (85, 5e-4),  # a quarter of the decay: 1 - sqrt(1 / 4)
        (100, 0.0), (150, 0.0),
    ],
)  # fmt: skip
def test_learning_rate_wsd_falls_in_the_last_fifth(step: int, rate: float) -> None:
    assert learning_rate(config(schedule="wsd"), step) == pytest.approx(rate, abs=1e-12)


def test_learning_rate_wsd_before_the_decay_does_not_depend_on_the_steps() -> None:
    shorter, longer = (config(schedule="wsd", num_train_steps=n) for n in (100, 1000))
    first = shorter.first_decay_step
    for step in range(first + 1):
        assert learning_rate(shorter, step) == learning_rate(longer, step)
    assert learning_rate(shorter, first + 1) < learning_rate(longer, first + 1)


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_learning_rate_wsd_decay_is_as_long_as_asked_for(share: float) -> None:
    found = config(schedule="wsd", decay_proportion=share, num_warmup_steps=0)
    rates = [learning_rate(found, step) for step in range(101)]
    falling = sum(a > b for a, b in itertools.pairwise(rates))
    assert (falling, rates[100]) == (round(100 * share), 0.0)


def test_optimizer_config_wsd_decay_before_the_end_of_warmup_is_refused() -> None:
    config(schedule="wsd", num_warmup_steps=80)
    with pytest.raises(ValueError) as error:
        config(schedule="wsd", num_warmup_steps=81)
    assert str(error.value) == (
        "--learning_rate_schedule=wsd: of 100 updates 81 are warm-up and 20 decay; shorten the "
        "warm-up, or lower --decay_proportion."
    )
    config(num_warmup_steps=81)


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_learning_rate_all_of_it_warm_up_divides_by_nothing(schedule: str) -> None:
    found = config(schedule=schedule, num_warmup_steps=100, decay_proportion=1e-9)
    assert 0 <= learning_rate(found, 100) <= 1e-3


def test_learning_rate_without_warmup_begins_at_the_peak() -> None:
    assert learning_rate(config(num_warmup_steps=0), 0) == 1e-3


def test_learning_rate_warmup_longer_than_training_only_rises() -> None:
    rates = [learning_rate(config(num_warmup_steps=200), step) for step in (0, 50, 99)]
    assert rates == pytest.approx([0.0, 2.5e-4, 4.95e-4])


def test_hyperparameters_googles_adam_has_no_correction() -> None:
    values = hyperparameters(config(), 4)
    assert (values["correction_1"], values["correction_2"]) == (1, 1)
    assert values["learning_rate"] == pytest.approx(4e-4)


@pytest.mark.parametrize("name", ["adamw", "lamb"])
@pytest.mark.parametrize(
    ("step", "first", "second"), [(0, 0.1, 0.001), (1, 0.19, 0.001999), (999, 1.0, 0.632305)]
)
def test_hyperparameters_correction_counts_the_update_itself(
    name: str, step: int, first: float, second: float
) -> None:
    values = hyperparameters(config(name=name), step)
    assert values["correction_1"] == pytest.approx(first, rel=1e-6)
    assert values["correction_2"] == pytest.approx(second, rel=1e-6)


def test_hyperparameters_are_float32() -> None:
    assert {value.dtype.name for value in hyperparameters(config(), 3).values()} == {"float32"}
