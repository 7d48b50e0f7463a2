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
