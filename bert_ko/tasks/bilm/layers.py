"""The layers of a biLM for sentences: what its words mean where they stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bert_ko.data.word_characters import sentence_features
from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.ops import ops
from bert_ko.training.backend import Predict


def layer_outputs(model: Model, features: Features) -> dict[str, Tensor]:
    """For ``Backend.predictor``: layers float32 [B, T, layers + 1, H], sentence marks included."""
    layers = encoder_of(model.config).layers(model, features)
    return {"layers": ops.cast(ops.stack(layers, axis=2), "float32")}


def sentence_layers(
    predict: Predict, config: ElmoConfig, sentences: Iterable[Sequence[str]]
) -> list[npt.NDArray[Any]]:
    """The layers of sentences, each of at least one word, computed as one batch.

    A sentence begins with no state, so that its layers depend on no other sentence.

    Args:
        predict: of ``layer_outputs``, on one device.
        config: of the model.
        sentences: their words.

    Returns:
        For each sentence float32 [layers + 1, words, H]: [x; x] of the words' own vectors, then
        [forward; backward] of each layer.

    Source: the layout of bilm-tf's dump_bilm_embeddings.
    Differs: bilm-tf carries states from sentence to sentence.
    """
    rows = [list(words) for words in sentences]
    assert all(rows)
    batch = sentence_features(rows, config.characters, config.places)  # type: ignore[arg-type]
    found = predict(batch)["layers"]
    pairs = zip(found, rows, strict=True)
    return [np.moveaxis(layers[1 : len(words) + 1], 0, 1) for layers, words in pairs]
