from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bert_ko.modeling.parameters import Arrays
from tests.training.backend_worker import BATCH, make_batch, tiny_arrays, tiny_config

Batch = dict[str, npt.NDArray[Any]]

# Importing Keras and its backend takes seconds.
pytestmark = pytest.mark.slow


def compute(batch: Batch, denominators: dict[str, Any]) -> tuple[float, dict[str, float]]:
    from keras import ops

    from bert_ko.modeling.bert import Model
    from bert_ko.training.losses import pretraining_loss

    params = {name: ops.convert_to_tensor(value) for name, value in tiny_arrays().items()}
    features = {k: ops.convert_to_tensor(v) for k, v in {**batch, **denominators}.items()}
    objective, sums = pretraining_loss(Model(params, tiny_config()), features)
    return float(objective), {name: float(value) for name, value in sums.items()}


def logits(batch: Batch) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Of masked pieces [B, P, V] and next sentences [B, 2], in float64."""
    from keras import ops

    from bert_ko.modeling.bert import Model, encode, masked_lm_logits, next_sentence_logits, pool

    arrays: Arrays = tiny_arrays()
    model = Model({name: ops.convert_to_tensor(v) for name, v in arrays.items()}, tiny_config())
    output = encode(model, {name: ops.convert_to_tensor(v) for name, v in batch.items()})
    positions = ops.convert_to_tensor(batch["masked_lm_positions"])
    masked = ops.convert_to_numpy(masked_lm_logits(model, output, positions)).astype(np.float64)
    following = ops.convert_to_numpy(next_sentence_logits(model, pool(model, output)))
    masked = masked.reshape(BATCH, -1, masked.shape[-1]) + arrays["cls/predictions/output_bias"]
    return masked, following.astype(np.float64) + arrays["cls/seq_relationship/output_bias"]


def cross_entropy(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    shares = powers / powers.sum(-1, keepdims=True)
    return -np.log(np.take_along_axis(shares, labels[..., None], -1)[..., 0])


def test_pretraining_loss_sums_equal_numpy() -> None:
    from bert_ko.training.losses import pretraining_denominators

    batch = make_batch(3)
    batch["next_sentence_weights"][-2:] = 0  # padding of the last batch
    batch["masked_lm_weights"][-2:] = 0
    masked, following = logits(batch)
    # Right answers for some of them.
    batch["masked_lm_ids"][::2] = masked.argmax(-1)[::2]
    batch["next_sentence_labels"][:3, 0] = following.argmax(-1)[:3]
    objective, sums = compute(batch, pretraining_denominators(batch))
    weights = batch["masked_lm_weights"]
    labels = batch["next_sentence_labels"][:, 0]
    wanted = {
        "masked_lm_loss": (cross_entropy(masked, batch["masked_lm_ids"]) * weights).sum(),
        "masked_lm_correct": ((masked.argmax(-1) == batch["masked_lm_ids"]) * weights).sum(),
        "masked_lm_weight": weights.sum(),
        "next_sentence_loss": cross_entropy(following, labels)[:-2].sum(),
        "next_sentence_correct": (following.argmax(-1) == labels)[:-2].sum(),
        "next_sentence_weight": 6,
    }
    assert sums == pytest.approx(wanted, rel=1e-5)
    assert 0 < wanted["masked_lm_correct"] < wanted["masked_lm_weight"]
    share = wanted["masked_lm_loss"] / wanted["masked_lm_weight"]
    assert objective == pytest.approx(share + wanted["next_sentence_loss"] / 6, rel=1e-5)


def test_pretraining_loss_parts_add_up_to_the_whole() -> None:
    from bert_ko.training.losses import pretraining_denominators

    batch = make_batch(4)
    denominators = pretraining_denominators(batch)
    whole = compute(batch, denominators)
    parts = [
        compute({name: value[rows] for name, value in batch.items()}, denominators)
        for rows in (slice(0, 3), slice(3, 4), slice(4, None))
    ]
    assert sum(part[0] for part in parts) == pytest.approx(whole[0], abs=1e-5)
    for name, value in whole[1].items():
        assert sum(part[1][name] for part in parts) == pytest.approx(value, abs=1e-4)


def test_pretraining_loss_sequences_of_weight_zero_do_not_count() -> None:
    batch = make_batch(5)
    kept = {name: value[:5] for name, value in batch.items()}
    for name in ("masked_lm_weights", "next_sentence_weights"):
        batch[name][5:] = 0
    batch["input_mask"][5:] = 0  # the reader fills up with zeros
    denominators = {name: np.float32(1) for name in ("masked_lm_denominator",)}
    denominators["next_sentence_denominator"] = np.float32(1)
    found, wanted = compute(batch, denominators), compute(kept, denominators)
    assert found[0] == pytest.approx(wanted[0], rel=1e-6)
    assert found[1] == pytest.approx(wanted[1], rel=1e-6)


def test_pretraining_denominators_are_the_weights_of_the_batch() -> None:
    from bert_ko.training.losses import pretraining_denominators

    weights = np.array([[1, 1, 0], [1, 0, 0]], np.float32)
    found = pretraining_denominators(
        {"masked_lm_weights": weights, "next_sentence_weights": np.ones(2, np.float32)}
    )
    assert found == {
        "masked_lm_denominator": pytest.approx(3, abs=2e-5),
        "next_sentence_denominator": pytest.approx(2, abs=2e-5),
    }
    assert {value.dtype.name for value in found.values()} == {"float32"}


def test_pretraining_denominators_no_weight_at_all_is_no_zero() -> None:
    from bert_ko.training.losses import pretraining_denominators

    zeros = {"masked_lm_weights": np.zeros((2, 3)), "next_sentence_weights": np.zeros(2)}
    assert all(value > 0 for value in pretraining_denominators(zeros).values())


def test_pretraining_metrics_are_means_under_googles_names() -> None:
    from bert_ko.training.losses import PRETRAINING, pretraining_metrics

    sums = {
        "masked_lm_loss": 60.0, "masked_lm_correct": 5.0, "masked_lm_weight": 20.0,
        "next_sentence_loss": 4.0, "next_sentence_correct": 6.0, "next_sentence_weight": 8.0,
        "objective": 99.0, "gradient_norm": 99.0,
    }  # fmt: skip
    metrics = pretraining_metrics(sums)
    assert metrics == pytest.approx(
        {
            "loss": 3.5,
            "masked_lm_loss": 3.0,
            "masked_lm_accuracy": 0.25,
            "next_sentence_loss": 0.5,
            "next_sentence_accuracy": 0.75,
        },
        rel=1e-5,
    )
    assert {name for name, _ in PRETRAINING.headline} <= metrics.keys()
