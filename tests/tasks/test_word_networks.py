"""Flags of a task's network on a biLM: what they say, and where they have no effect."""

import dataclasses
from typing import Any

import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.modeling.heads import WordNetwork
from bert_ko.run_classifier import RunClassifierConfig
from bert_ko.tasks.word_networks import refuse_other_network, trained_network

ELMO = ElmoConfig(vocab_size=9)
BERT = BertConfig(vocab_size=9)
REMEMBERED = {"elmo_mix": "top", "gamma": False, "elmo_at": "both", "elmo_network_units": 7}
STANDARDIZED = {**REMEMBERED, "elmo_standardize": True, "elmo_word_units": 5}


def flags(**values: Any) -> RunClassifierConfig:
    return RunClassifierConfig(
        task_name="ynat", data_dir="data", do_eval=True, output_dir="run", **values
    )


def test_network_is_what_the_flags_say() -> None:
    assert flags().network(ELMO) == WordNetwork(256, dropout=0.5, standardizes=True)
    network = flags(
        elmo_tune=True, elmo_network_dropout=0.1, layer_decay=0.5, elmo_standardize=False,
        **REMEMBERED,
    )  # fmt: skip
    assert network.network(ELMO) == WordNetwork(7, "top", False, "both", True, 0.1)
    assert flags().network(BERT) is None
    words = flags(elmo_mix="none", elmo_word_units=5)
    assert words.network(ELMO) == WordNetwork(
        256, "none", dropout=0.5, standardizes=True, word_units=5
    )


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"elmo_mix": "top"}, "--elmo_mix=top"), ({"gamma": False}, "--nogamma"),
        ({"elmo_at": "both"}, "--elmo_at=both"), ({"elmo_tune": True}, "--elmo_tune"),
        ({"elmo_network_units": 8}, "--elmo_network_units=8"),
        ({"elmo_network_dropout": 0.1}, "--elmo_network_dropout=0.1"),
        ({"elmo_standardize": False}, "--noelmo_standardize"),
        ({"elmo_word_units": 5}, "--elmo_word_units=5"),
    ],
)  # fmt: skip
def test_network_flags_with_a_model_of_pieces_are_refused(given: Any, shown: str) -> None:
    with pytest.raises(ValueError) as error:
        flags(**given).network(BERT)
    assert str(error.value) == (
        f"{shown} is for an ELMo, and the model is of model_type bert; leave the flag out."
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "--elmo_mix=none leaves nothing to read; give --elmo_word_units."),
        ({"elmo_word_units": 5, "elmo_at": "both"},
         "--elmo_at=both has no effect with --elmo_mix=none; leave the flag out."),
        ({"elmo_word_units": 5, "elmo_tune": True},
         "--elmo_tune has no effect with --elmo_mix=none; leave the flag out."),
    ],
)  # fmt: skip
def test_flags_of_what_is_not_read_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        flags(elmo_mix="none", **given).network(ELMO)
    assert str(error.value) == message


def test_trained_network_is_that_of_the_training() -> None:
    network = WordNetwork(7, "top", False, "both")
    assert trained_network(ELMO, REMEMBERED, "run") == network  # before two flags existed
    found = trained_network(ELMO, STANDARDIZED, "run")
    assert found == dataclasses.replace(network, standardizes=True, word_units=5)
    assert trained_network(BERT, {}, "run") is None
    with pytest.raises(ValueError, match=r"^elmo was not trained for labels: its elmo_mix is not"):
        trained_network(ELMO, {"random_seed": 1}, "elmo")


def test_refuse_other_network_names_the_flag() -> None:
    refuse_other_network(flags(**STANDARDIZED), STANDARDIZED, "run")
    other = {**STANDARDIZED, "elmo_standardize": False}
    with pytest.raises(ValueError, match="--elmo_standardize=True, but run was trained with False"):
        refuse_other_network(flags(**STANDARDIZED), other, "run")
    refuse_other_network(flags(), {}, "run")
    with pytest.raises(ValueError, match="--elmo_at=input, but run was trained with both; leave"):
        refuse_other_network(flags(**{**STANDARDIZED, "elmo_at": "input"}), STANDARDIZED, "run")
