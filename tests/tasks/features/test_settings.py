"""Which layers are meant."""

import pytest

from bert_ko.modeling.bert import BertConfig
from bert_ko.tasks.features.settings import FeatureSettings, parse_layers

MODEL = BertConfig(vocab_size=9, num_hidden_layers=4)


def test_positions_are_googles_and_the_embeddings_stand_below() -> None:
    settings = FeatureSettings((-1, -4, -5, 0, 3))
    assert settings.positions(MODEL) == [4, 1, 0, 1, 4]


@pytest.mark.parametrize("layer", [4, -6])
def test_positions_layer_that_is_not_there_is_an_error(layer: int) -> None:
    with pytest.raises(ValueError) as error:
        FeatureSettings((-1, layer)).positions(MODEL)
    assert str(error.value) == (
        f"--layers: there is no layer {layer}; the model has 4, from 0 to 3 or from -1 back to "
        "-4, and -5 for the embeddings."
    )


def test_parse_layers_reads_integers() -> None:
    assert parse_layers(("-1", " 2")) == (-1, 2)


@pytest.mark.parametrize("texts", [(), ("-1", "x"), ("1.0",), ("-1", "-1")])
def test_parse_layers_bad_ones_are_an_error(texts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError) as error:
        parse_layers(texts)
    assert str(error.value) == (
        f"--layers must be different integers such as -1,-2, got {','.join(texts)!r}."
    )
