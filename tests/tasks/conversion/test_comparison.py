"""The comparison after a conversion: the sentences and the largest difference."""

import importlib.util
from typing import Any

import numpy as np
import pytest

from bert_ko.tasks.conversion.comparison import (
    LIMIT,
    SENTENCES,
    can_run_transformers,
    largest_difference,
    our_outputs,
    prepare_sentences,
)
from bert_ko.tokenization.config import TokenizerConfig
from bert_ko.tokenization.tokenizer import Tokenizer
from bert_ko.tokenization.vocabulary import Vocabulary
from bert_ko.training.backend import DeviceConfig
from tests.small_models import CONFIG, PIECES, arrays_of, install_backend

TOKENIZER = Tokenizer(Vocabulary(PIECES), TokenizerConfig())


# The sentences


@pytest.mark.parametrize(("longest", "length"), [(512, 64), (64, 64), (40, 40), (10, 10)])
def test_prepare_sentences_are_pairs_as_long_as_the_model_takes(longest: int, length: int) -> None:
    batch = prepare_sentences(TOKENIZER, longest)
    vocab = TOKENIZER.vocab
    if length == 64:
        first = TOKENIZER.encode(SENTENCES[0]).ids
        assert batch["input_ids"][0, 1 : len(first) + 1].tolist() == first
        assert not (batch["input_ids"] == vocab.unk_id).any()
        assert (batch["input_mask"] == 0).any()  # padding, which must change nothing
    for values in batch.values():
        assert values.shape == (len(SENTENCES), length) and values.dtype == np.int32
    for ids, mask, segments in zip(*batch.values(), strict=True):
        count = int(mask.sum())
        assert mask.tolist() == [1] * count + [0] * (length - count)
        assert (ids[count:] == vocab.pad_id).all() and not segments[count:].any()
        assert ids[0] == vocab.cls_id and ids[count - 1] == vocab.sep_id
        first_end, _ = np.flatnonzero(ids == vocab.sep_id)
        assert segments[:count].tolist() == [0] * (first_end + 1) + [1] * (count - first_end - 1)


# The difference


def outputs(**changes: Any) -> dict[str, Any]:
    """Two sentences of three pieces, a vocabulary of four."""
    return {
        "sequence_output": np.zeros((2, 3, 5), np.float32),
        "masked_lm_logits": np.zeros((2, 3, 4), np.float32),
        "next_sentence_logits": np.zeros((2, 2), np.float32),
        "start_logits": np.zeros((2, 3), np.float32),
        **changes,
    }


def changed(name: str, place: Any, value: float) -> dict[str, Any]:
    found = outputs()
    found[name][place] = value
    return found


MASK = np.array([[1, 1, 1], [1, 0, 0]], np.int32)
NONE = {"sequence_output": 0, "masked_lm_logits": 0, "next_sentence_logits": 0, "start_logits": 0}


@pytest.mark.parametrize(
    ("name", "place", "difference"),
    [
        ("sequence_output", (0, 2, 4), 3),
        ("sequence_output", (1, 1, 0), 0),  # padding
        ("masked_lm_logits", (1, 0, 2), 3),
        ("masked_lm_logits", (0, 0, 3), 0),  # a piece of one side only
        ("masked_lm_logits", (1, 2, 0), 0),
        ("next_sentence_logits", (1, 1), 3),
        ("start_logits", (0, 1), 3),
        ("start_logits", (1, 1), 0),
    ],
)
def test_largest_difference_is_over_real_pieces_alone(
    name: str, place: Any, difference: float
) -> None:
    other = changed(name, place, -3)
    found = largest_difference(outputs(), other, MASK, [0, 1, 2])
    assert found == {**NONE, name: difference}
    assert largest_difference(other, outputs(), MASK, [0, 1, 2]) == found


def test_largest_difference_all_pieces_and_outputs_of_both_sides() -> None:
    one = changed("masked_lm_logits", (0, 0, 3), 2)
    other = {name: value for name, value in outputs().items() if name != "start_logits"}
    found = largest_difference(one, other, MASK, None)
    assert found == {"sequence_output": 0, "masked_lm_logits": 2, "next_sentence_logits": 0}


def test_largest_difference_no_number_stays_none() -> None:
    other = changed("next_sentence_logits", (0, 0), np.nan)
    found = largest_difference(outputs(), other, MASK, None)
    assert np.isnan(found["next_sentence_logits"]) and not found["next_sentence_logits"] <= LIMIT


# Both sides


def test_our_outputs_are_computed_exactly_on_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = install_backend(monkeypatch, "bert_ko.tasks.conversion.comparison")
    batch = prepare_sentences(TOKENIZER, 40)
    found = our_outputs(arrays_of("pretraining"), CONFIG, batch)
    assert found.keys() == {"sequence_output", "masked_lm_logits", "next_sentence_logits"}
    wanted = DeviceConfig(num_devices=1, precision="float32", attention="plain")
    assert backend.configs == [wanted]


@pytest.mark.parametrize("missing", ["torch", "transformers", None])
def test_can_run_transformers_needs_both_packages(
    missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = lambda name: None if name == missing else object()  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert can_run_transformers() == (missing is None)
