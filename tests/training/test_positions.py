"""Which positions a batch trains, and what those begin as that training has not reached."""

import re
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.bert import POSITION_EMBEDDINGS, BertConfig
from bert_ko.training.initialization import Source
from bert_ko.training.positions import fit_positions, longest_sequence

CONFIG = BertConfig(
    vocab_size=9, hidden_size=4, num_attention_heads=2, num_hidden_layers=1, intermediate_size=4,
    max_position_embeddings=8,
)  # fmt: skip
ROWS = np.arange(32, dtype=np.float32).reshape(8, 4)
NEW = {POSITION_EMBEDDINGS: -np.ones((12, 4), np.float32)}


def batch(*lengths: int) -> dict[str, Any]:
    mask = np.int32([[i < length for i in range(6)] for length in lengths])
    return {"input_ids": np.ones_like(mask), "input_mask": mask}


@pytest.mark.parametrize("lengths", [(4,), (2, 4, 3), (0, 4)])
def test_longest_sequence_padding_does_not_count(lengths: tuple[int, ...]) -> None:
    assert longest_sequence(batch(*lengths)) == 4


def test_longest_sequence_of_no_pieces_is_zero() -> None:
    assert longest_sequence(batch(0, 0)) == 0


def test_longest_sequence_packed_rows_count_by_sequence() -> None:
    packed = {**batch(6, 5), "sequence_lengths": np.int32([[3, 3], [4, 1]])}
    assert longest_sequence(packed) == 4


def fitted(
    trained: int | None, length: int, how: Any = "extend", positions: int = 8
) -> tuple[list[int], str]:
    """The row of ROWS that each row is, -1 for a new one; and what was said."""
    config = BertConfig(**{**CONFIG.to_dict(), "max_position_embeddings": positions})
    source = Source("x", "x", {POSITION_EMBEDDINGS: ROWS}, trained_positions=trained)
    found, line = fit_positions(source, config, NEW, length, how)
    return [int(row[0]) // 4 for row in found.arrays[POSITION_EMBEDDINGS]], line


def test_fit_positions_untrained_rows_are_the_trained_ones_repeated() -> None:
    assert fitted(3, 8) == (
        [0, 1, 2, 0, 1, 2, 0, 1],
        "positions 3 to 7 were never trained: their embeddings begin as those of the first 3 "
        "repeated",
    )
    assert fitted(3, 4)[0] == [0, 1, 2, 0, 1, 2, 0, 1]  # all of them: a later phase may be longer


@pytest.mark.parametrize(("trained", "length"), [(3, 3), (3, 1), (8, 8), (None, 8)])
def test_fit_positions_that_training_has_reached_change_nothing(
    trained: int | None, length: int
) -> None:
    assert fitted(trained, length) == (list(range(8)), "")


def test_fit_positions_keep_says_that_they_are_untrained() -> None:
    said = "positions 3 to 7 were never trained: their embeddings stay as they are"
    assert fitted(3, 8, "keep") == (list(range(8)), said)
    assert fitted(0, 8) == (list(range(8)), said.replace("3", "0"))  # nothing to repeat


@pytest.mark.parametrize(
    ("trained", "how", "rows", "said"),
    [
        (3, "extend", [i % 3 for i in range(12)], "3 to 11 .* begin as those of the first 3 rep"),
        (None, "extend", [i % 8 for i in range(12)], "8 to 11 .* begin as those of the first 8 r"),
        (None, "keep", [*range(8), *[-1] * 4], "8 to 11 .* embeddings are new and random"),
        (8, "keep", [*range(8), *[-1] * 4], "8 to 11 .* embeddings are new and random"),
        (3, "keep", [*range(8), *[-1] * 4],
         "3 to 11 .* stay as they are, and those from 8 on are new and random"),
    ],
)  # fmt: skip
def test_fit_positions_of_a_larger_model(
    trained: int | None, how: Any, rows: list[int], said: str
) -> None:
    found, line = fitted(trained, 1, how, positions=12)
    assert found == rows
    assert re.match(f"positions {said}", line)


def test_fit_positions_fewer_than_the_weights_have_are_left_to_be_refused() -> None:
    assert fitted(3, 4, positions=4) == (list(range(8)), "")


def test_fit_positions_encoder_without_position_embeddings_is_left_alone() -> None:
    source = Source("x", "x", {"bert/a": ROWS}, trained_positions=3)
    assert fit_positions(source, CONFIG, {}, 8, "extend") == (source, "")


def test_fit_positions_stay_what_they_are_bit_for_bit() -> None:
    half = ROWS.astype(np.float16)
    source = Source("x", "x", {POSITION_EMBEDDINGS: half}, trained_positions=5)  # type: ignore[dict-item]
    found = fit_positions(source, CONFIG, {}, 8, "extend")[0].arrays[POSITION_EMBEDDINGS]
    assert found.dtype == np.float16
    assert found.tobytes() == np.concatenate([half[:5], half[:3]]).tobytes()
    assert source.arrays[POSITION_EMBEDDINGS].tobytes() == half.tobytes()
