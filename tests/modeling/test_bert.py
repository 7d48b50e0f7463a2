"""BERT's encoder in shares of a batch, under the backend of KERAS_BACKEND."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bert_ko.modeling.bert import BertConfig, bert_layers, bert_specs
from bert_ko.modeling.compute import Compute, Model
from bert_ko.modeling.dropout import Dropout, step_seed
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import initial_parameters

Array = npt.NDArray[Any]

# Importing Keras and its backend takes seconds.
pytestmark = pytest.mark.slow

BATCH, LENGTH = 6, 10
CONFIG = BertConfig(
    vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=LENGTH,
)  # fmt: skip


def features(is_packed: bool) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    columns = np.arange(LENGTH)
    ends = rng.integers(3, LENGTH, (BATCH, 1))
    found = {
        "input_ids": rng.integers(1, 40, (BATCH, LENGTH)),
        "input_mask": columns < ends,
        "segment_ids": columns > ends // 2,
    }
    if is_packed:
        found |= {"sequence_ids": 1 + (columns >= ends), "position_ids": columns % ends}
    return {name: array.astype(np.int32) for name, array in found.items()}


def layers(shares: int, batch: dict[str, Array], dropout: Dropout) -> list[Array]:
    params = initial_parameters(bert_specs(CONFIG), 0.3, seed=2)
    model = Model(params, CONFIG, Compute(shares=shares), dropout)
    return [np.array(ops.convert_to_numpy(x)) for x in bert_layers(model, batch)]


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("shares", [2, 3])
def test_layers_in_shares_are_those_of_the_whole(shares: int, is_packed: bool, drops: bool) -> None:
    seed = step_seed(3, 4) if drops else None
    batch, whole, parts = features(is_packed), Dropout(seed), Dropout(seed)
    wanted, found = layers(1, batch, whole), layers(shares, batch, parts)
    assert len(wanted) == len(found) == 3
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == (BATCH, LENGTH, 16)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    if drops:  # what a head drops comes after
        after, wanted_after = (d.seeds(0.1, (2, 3))[0] for d in (parts, whole))
        assert (ops.convert_to_numpy(after) == ops.convert_to_numpy(wanted_after)).all()
        kept = layers(1, batch, Dropout())
        assert np.abs(kept[-1] - wanted[-1]).max() > 0.1


def test_a_batch_is_split_into_equal_shares_or_not_at_all() -> None:
    assert [Compute(shares=2).num_shares(batch) for batch in (1, 2, 7, 8)] == [1, 2, 1, 2]
