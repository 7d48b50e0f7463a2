"""Claims about backends, over what backend_worker.py measures in a process for each."""

import math
from typing import Any

import numpy as np
import pytest

from bert_ko.training.backend import cpu_has_bfloat16, no_tpu_message
from bert_ko.training.devices import choose_backend
from tests.training.backend_worker import (
    BATCH,
    DRAW_ROWS,
    DRAW_UNITS,
    LONG,
    MANY_DEVICES,
    PREDICTIONS,
    SHORT,
    Losses,
    load_results,
    make_batch,
    tiny_config,
)

Results = dict[str, Any]

BACKENDS = ("tensorflow", "jax")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    base = tmp_path_factory.getbasetemp()
    return {name: load_results(name, base) for name in BACKENDS}


@pytest.fixture(params=BACKENDS)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return load_results(request.param, tmp_path_factory.getbasetemp())


def largest_difference(a: Losses, b: Losses, key: str) -> float:
    assert len(a) == len(b)
    return max(abs(first[key] - second[key]) for first, second in zip(a, b, strict=True))


def assert_equal_losses(found: Losses, wanted: Losses, tolerance: float) -> None:
    """Means are compared; counts are equal."""
    for key in ("objective", "gradient_norm"):
        assert largest_difference(found, wanted, key) < tolerance, key
    for name in ("masked_lm", "next_sentence"):
        assert largest_difference(found, wanted, f"{name}_weight") == 0
        assert largest_difference(found, wanted, f"{name}_correct") == 0
        sums = [
            [{"mean": step[f"{name}_loss"] / step[f"{name}_weight"]} for step in losses]
            for losses in (found, wanted)
        ]
        assert largest_difference(*sums, "mean") < tolerance, name


@pytest.mark.slow
@pytest.mark.parametrize("key", ["2_parts", "many", "many_2_parts"])
def test_train_step_parts_and_devices_equal_one(results: Results, key: str) -> None:
    assert_equal_losses(results[f"losses_{key}"], results["losses"][:SHORT], 1e-5)


@pytest.mark.slow
def test_train_step_own_gradients_equal_derived_ones(results: Results) -> None:
    assert_equal_losses(results["losses_own"], results["losses_derived"], 1e-5)
    assert_equal_losses(results["losses_own_attention"], results["losses"][:SHORT], 1e-5)


@pytest.mark.slow
def test_train_step_fused_attention_equals_plain(results: Results) -> None:
    assert_equal_losses(results["losses_fused"], results["losses"][:SHORT], 1e-5)


@pytest.mark.slow
def test_train_step_many_devices_are_used(both: dict[str, Results]) -> None:
    for name, results in both.items():
        assert results["description"].lower().startswith(f"{MANY_DEVICES[name]} x cpu, {name}")


@pytest.mark.slow
def test_train_step_both_backends_give_the_same_losses(both: dict[str, Results]) -> None:
    tensorflow, jax = both["tensorflow"]["losses"], both["jax"]["losses"]
    assert len(tensorflow) == LONG
    assert tensorflow[-1]["objective"] < 0.5 * tensorflow[0]["objective"]  # it did learn
    assert_equal_losses(tensorflow, jax, 1e-4)


@pytest.mark.slow
def test_eval_step_equals_the_loss_of_training_without_dropout(results: Results) -> None:
    wanted = {k: v for k, v in results["losses"][0].items() if k.endswith("t")}
    assert {"masked_lm_correct", "next_sentence_weight"} <= wanted.keys()
    for key in ("evaluation", "evaluation_many"):
        assert results[key].keys() == results["losses"][0].keys() - {"objective", "gradient_norm"}
        for name, value in results[key].items():
            assert value == pytest.approx(results["losses"][0][name], abs=1e-4), name


@pytest.mark.slow
def test_train_step_one_batch_is_learnt_by_heart(results: Results) -> None:
    losses = results["overfit"]
    assert losses[0] > 3.5  # the logarithm of 53 pieces is 3.97
    assert max(losses[-10:]) < 0.05


@pytest.mark.slow
def test_train_step_bfloat16_is_near_float32(results: Results) -> None:
    assert results["precisions"] == ["float32", "bfloat16"]
    pairs = zip(results["losses"], results["losses_bfloat16"], strict=True)
    shares = [abs(b["objective"] / a["objective"] - 1) for a, b in pairs]
    # A product of bfloat16 numbers is off by 2**-8 at most, and a sum of many by less. Over the
    # updates the weights drift apart, how far depends on the processor; 1 percent was measured
    # after 50.
    assert 0 < shares[0] < 2**-8
    assert max(shares) < 0.1


@pytest.mark.slow
def test_train_step_dropout_depends_on_the_step_alone(results: Results) -> None:
    first, again, other = (results[f"dropout_{key}"][0] for key in ("first", "again", "other_step"))
    assert first == again
    assert first["objective"] != other["objective"]
    assert first["objective"] != results["losses"][0]["objective"]  # without dropout


@pytest.mark.slow
def test_train_step_with_dropout_gives_the_same_losses_under_both_backends(
    both: dict[str, Results],
) -> None:
    found, wanted = (both[name]["losses_derived"] for name in ("tensorflow", "jax"))
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_train_step_remat_gives_the_same_losses_and_gradients(results: Results) -> None:
    assert len(results["remat_kept"]) == SHORT
    for kept, again in zip(results["remat_kept"], results["remat_again"], strict=True):
        assert again == pytest.approx(kept, rel=1e-6, abs=1e-6)  # dropout too
    assert results["remat_slots"] < 1e-6  # running means of the gradients


@pytest.mark.slow
def test_train_step_remat_keeps_less(both: dict[str, Results]) -> None:
    kept, again = both["jax"]["remat_numbers"]
    assert again < 0.6 * kept


def draws(results: Results, key: str, parts: int, step: int) -> dict[str, float]:
    found: dict[str, float] = results[f"draws_{key}_{parts}_parts_step_{step}"]
    return found


@pytest.mark.slow
def test_random_words_are_uniform(results: Results) -> None:
    # Means of n = 20,000 numbers; 5 deviations. The uniform distribution over 65,536 values has
    # the deviation 65,536 / sqrt(12); a share p has sqrt(p (1 - p)).
    for key in ("one", "many"):
        sums = draws(results, key, 1, 0)
        for use in ("first", "second"):
            for row in range(DRAW_ROWS):
                mean, low = sums[f"{use}_mean_{row}"], sums[f"{use}_low_{row}"]
                assert abs(mean - 32767.5) < 5 * 65536 / math.sqrt(12 * DRAW_UNITS)
                assert abs(low - 0.1) < 5 * math.sqrt(0.1 * 0.9 / DRAW_UNITS)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("key", ["one", "many"])
def test_random_words_differ_by_row_use_part_device_and_step(
    results: Results, key: str, parts: int
) -> None:
    first, second = (draws(results, key, parts, step) for step in (0, 1))
    means = [v for sums in (first, second) for name, v in sums.items() if "_mean_" in name]
    assert len(means) == 4 * DRAW_ROWS == len(set(means))


@pytest.mark.slow
def test_random_words_are_a_function_of_seed_and_step(results: Results) -> None:
    for step in (0, 1):
        first = draws(results, "one", 1, step)
        assert first == draws(results, "one_again", 1, step)
        other = draws(results, "one_other_seed", 1, step)
        assert all(first[name] != other[name] for name in first if "_mean_" in name)


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("parts", [1, 2])
def test_random_words_depend_on_neither_devices_nor_backend(
    both: dict[str, Results], parts: int, step: int
) -> None:
    def means(name: str, key: str) -> dict[str, float]:
        return {k: v for k, v in draws(both[name], key, parts, step).items() if "_mean_" in k}

    wanted = means("jax", "one")
    assert len(wanted) == 2 * DRAW_ROWS
    for name in both:
        for key in ("one", "many"):
            # Sums of the same numbers, in another order.
            assert means(name, key) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_restore_continues_to_the_last_bit(results: Results) -> None:
    assert results["restore_again"] == results["restore_straight"]
    assert results["restore_differing"] == []


def named(results: Results, key: str) -> dict[str, Any]:
    prefix = f"{key}/"
    found = {k.removeprefix(prefix): v for k, v in results.items() if k.startswith(prefix)}
    assert found.keys() == {"masked_lm", "next_sentence"}
    return found


def assert_same_outputs(found: dict[str, Any], wanted: dict[str, Any], tolerance: float) -> None:
    for name, value in wanted.items():
        assert found[name].shape == value.shape and found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance, err_msg=name)


def cross_entropy(logits: Any, labels: Any, weights: Any) -> float:
    """A sum over [...], of logits [..., C]."""
    exact = logits.astype(np.float64)
    chosen = np.take_along_axis(exact, labels[..., None], axis=-1)[..., 0]
    return float(((np.log(np.exp(exact).sum(axis=-1)) - chosen) * weights).sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "evaluation"),
    [
        ("predicted_one", "evaluation"),
        ("predicted_many", "evaluation_many"),
        ("predicted_one_trained", "evaluation_one_trained"),
        ("predicted_many_trained", "evaluation_many_trained"),
        ("untrained_one", "untrained_one_evaluation"),
        ("untrained_many", "untrained_many_evaluation"),
    ],
)
def test_predictor_outputs_have_the_loss_of_eval_step(
    results: Results, key: str, evaluation: str
) -> None:
    found, batch, sums = named(results, key), make_batch(0), results[evaluation]
    assert found["masked_lm"].shape == (BATCH, PREDICTIONS, tiny_config().vocab_size)
    labels, weights = batch["masked_lm_ids"], batch["masked_lm_weights"]
    masked_lm = cross_entropy(found["masked_lm"], labels, weights)
    assert masked_lm == pytest.approx(sums["masked_lm_loss"], abs=1e-4)
    labels, weights = batch["next_sentence_labels"][:, 0], batch["next_sentence_weights"]
    next_sentence = cross_entropy(found["next_sentence"], labels, weights)
    assert next_sentence == pytest.approx(sums["next_sentence_loss"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["one", "many"])
def test_predictor_sees_the_variables_as_they_are_when_called(results: Results, key: str) -> None:
    first, trained, further, restored, restarted = (
        named(results, f"predicted_{key}{when}")
        for when in ("", "_trained", "_further", "_restored", "_restarted")
    )
    for name in first:
        assert np.abs(trained[name] - first[name]).max() > 1e-3
        assert np.abs(further[name] - trained[name]).max() > 1e-3
    assert_same_outputs(restored, trained, 0)
    assert_same_outputs(restarted, first, 0)
    before, after = results[f"predictor_{key}_traces"]
    assert before == after > 0


@pytest.mark.slow
@pytest.mark.parametrize("when", ["", "_trained", "_restored"])
def test_predictor_many_devices_give_the_rows_of_one_in_order(results: Results, when: str) -> None:
    one, many = (named(results, f"predicted_{key}{when}") for key in ("one", "many"))
    assert_same_outputs(many, one, 1e-5)
    rows = one["masked_lm"].reshape(BATCH, -1)
    gaps = np.abs(rows[:, None] - rows[None]).max(axis=-1) + np.eye(BATCH)
    assert gaps.min() > 0.01  # else another order would not show


@pytest.mark.slow
def test_predictor_both_backends_say_the_same(both: dict[str, Results]) -> None:
    for key in ("predicted_one", "predicted_many_trained"):
        first, second = (named(results, key) for results in both.values())
        assert_same_outputs(first, second, 1e-4)


@pytest.mark.slow
def test_restart_trains_as_a_new_program_of_that_seed_to_the_last_bit(results: Results) -> None:
    assert results["restart_slots"] == 0
    assert results["restart_again"] == results["restart_fresh"]
    assert results["restart_differing"] == []
    assert results["restart_other_seed"][-1] != results["restart_fresh"][-1]
    assert results["restart_next_seed"][0] != results["restart_fresh"][0]  # dropout alone
    assert results["restart_given_changed"] == []


@pytest.mark.slow
def test_restart_compiles_nothing_again(results: Results) -> None:
    before, after = results["restart_traces"]
    assert before == after > 0


@pytest.mark.slow
def test_restart_many_devices_train_as_at_first(results: Results) -> None:
    assert results["restart_many"] == results["losses_many"]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["one", "many"])
def test_train_program_without_optimizer_has_no_slots_and_predicts(
    results: Results, key: str
) -> None:
    assert results[f"untrained_{key}_slots"] == []
    found = named(results, f"untrained_{key}")
    assert_same_outputs(found, named(results, "predicted_one"), 1e-5)
    assert_same_outputs(named(results, f"predictor_{key}"), found, 0)
    moved = named(results, f"untrained_{key}_moved")
    assert all(np.abs(moved[name] - found[name]).max() > 1e-3 for name in found)
    assert_same_outputs(named(results, f"untrained_{key}_restarted"), found, 0)


@pytest.mark.slow
def test_program_arrays_of_the_caller_stay_as_they_are(results: Results) -> None:
    assert results["given_changed"] == []
    for key in ("one", "many"):
        assert results[f"copies_changed_{key}"] == []
        assert len(results[f"trained_{key}"]) == 30  # while the variables did move


@pytest.mark.slow
def test_load_backend_jax_imports_no_tensorflow(both: dict[str, Results]) -> None:
    assert both["jax"]["modules"] == ["jax"]
    assert "torch" not in both["tensorflow"]["modules"]


@pytest.mark.slow
def test_load_backend_without_tpu_says_what_to_do(both: dict[str, Results]) -> None:
    todo = {"tensorflow": "give --tpu_name", "jax": "run on a TPU VM with jax[tpu] installed"}
    for name, results in both.items():
        for key in ("no_tpu", "no_named_tpu"):
            message = results[key]
            assert message.startswith("--use_tpu: no TPU was found (") and "\n" not in message
            assert todo[name] in message and message.endswith(", or leave --use_tpu out.")


@pytest.mark.slow
def test_load_backend_precision_auto_is_what_the_processor_multiplies_fast(
    both: dict[str, Results],
) -> None:
    fast = "bfloat16" if cpu_has_bfloat16() else "float32"
    assert both["tensorflow"]["auto_precision"] == fast
    assert both["jax"]["auto_precision"] == "float32"  # XLA's products gain nothing on a CPU


@pytest.mark.slow
def test_load_backend_more_devices_than_there_are_raises(both: dict[str, Results]) -> None:
    messages = [both[name]["too_many_devices"] for name in BACKENDS]
    assert messages == [
        "--num_devices=99, but TensorFlow sees 2 CPUs.",
        "--num_devices=99, but JAX sees 4 devices.",
    ]


def test_no_tpu_message_names_the_reason_where_there_is_one() -> None:
    assert no_tpu_message("jax", "no libtpu") == (
        "--use_tpu: no TPU was found (no libtpu); run on a TPU VM with jax[tpu] installed, or "
        "leave --use_tpu out."
    )
    assert no_tpu_message("jax").startswith("--use_tpu: no TPU was found; run on")


def chosen(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, installed: tuple[str, ...]
) -> str:
    """By the value of KERAS_BACKEND and the packages that there are."""
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: object() if name in installed else None
    )
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if variable is not None:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    return choose_backend()


@pytest.mark.parametrize(
    ("variable", "installed", "wanted"),
    [
        (None, ("tensorflow", "jax"), "tensorflow"),
        (None, ("tensorflow",), "tensorflow"),
        (None, ("jax",), "jax"),
        ("", ("tensorflow", "jax"), "tensorflow"),
        ("jax", ("tensorflow", "jax"), "jax"),
        (" tensorflow ", ("tensorflow", "jax"), "tensorflow"),
    ],
)
def test_choose_backend(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, installed: tuple[str, ...], wanted: str
) -> None:
    assert chosen(monkeypatch, variable, installed) == wanted


@pytest.mark.parametrize(
    ("variable", "installed", "message"),
    [
        ("torch", ("tensorflow",), "KERAS_BACKEND must be tensorflow or jax, got torch."),
        ("jax", ("tensorflow",), r"KERAS_BACKEND=jax, .* pip install bert_ko\[jax\]$"),
        ("tensorflow", ("jax",), "KERAS_BACKEND=tensorflow, .* pip install tensorflow$"),
        (None, (), "pip install tensorflow$"),
    ],
)
def test_choose_backend_that_is_missing_or_unknown_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, installed: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        chosen(monkeypatch, variable, installed)


def test_cpu_has_bfloat16_without_proc_is_false(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **kwargs: Any) -> Any:
        raise FileNotFoundError

    assert isinstance(cpu_has_bfloat16(), bool)
    monkeypatch.setattr("builtins.open", missing)
    assert cpu_has_bfloat16() is False
