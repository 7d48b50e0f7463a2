"""A task's own network on a bidirectional language model: what heads for labels read of its words.

The layers of the biLM are standardized, feature by feature, and mixed by learnt weights; vectors
that the task learns for the words of a vocabulary join the mix, and an LSTM for each direction
reads both. Marks of sentences are left out before it.

Legend: B batch, L length of the batch with two sentence marks, M layers that are read, H
hidden_size, U units, V units of the task's own vectors, C outputs.

Source: Peters et al., arXiv:1802.05365, sections 3.2 and 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.dropout import Dropout, drop
from bert_ko.modeling.elmo import DIRECTIONS, SCOPE, ElmoConfig, word_vectors
from bert_ko.modeling.encoder import encoder_of
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.lstm import LSTM
from bert_ko.modeling.ops import ops
from bert_ko.modeling.packing import take_rows
from bert_ko.modeling.parameters import Arrays, ParameterSpec, Specs

MixName = Literal["mix", "top", "words", "none"]
PlaceName = Literal["input", "both"]

LAYERS = "layers"
WORD_IDS = "word_ids"
NETWORK = "network"
_STATISTICS = f"{NETWORK}/statistics"
WORD_TABLE = f"{NETWORK}/words"
MEANS, DEVIATIONS = f"{_STATISTICS}/means", f"{_STATISTICS}/deviations"
_MIX_PLACES: dict[PlaceName, tuple[str, ...]] = {"input": ("input",), "both": ("input", "output")}
_MASKED = -1e30  # below every output, for the largest of words


class WordOutputs(NamedTuple):
    """What a network says of the words of a batch, without sentence marks."""

    values: Tensor  # float32 [B, L - 2, C]
    mask: Tensor  # float32 [B, L - 2], 1 for words, which come first


@dataclass(frozen=True)
class WordNetwork:
    """A biLSTM over the words of a biLM.

    Batches hold characters int32 [B, L, K], the characters of each word, or the layers
    [B, L, M, H] that ``reading`` makes of them; word_ids int32 [B, L], of the words in the
    vocabulary; input_mask int32 [B, L]; a text is its words between two sentence marks.

    Attributes:
        units: U, of each direction, and cells of each LSTM, which has a projection as the biLM's.
        mix: what is read of the biLM. mix: its layers, by learnt weights; top: the last one; words:
            the words' own vectors, without the layers above them; none: nothing.
        gamma: whether the mix has a learnt factor.
        place: whether a mix is read by the biLSTM alone, or another one is joined to its outputs.
        tunes: whether the biLM's variables learn, too.
        dropout: of what the biLSTM reads and of its outputs.
        standardizes: whether of each feature of the layers its mean is taken away, and the rest
            divided by its deviation; both are variables that never learn, 0 and 1 until the texts
            have decided them. Features of a biLM lie far from 0, some of them all on one side.
        word_units: V, of the vector of each word of the vocabulary, 0 at first; 0 for no vectors.
    """

    units: int
    mix: MixName = "mix"
    gamma: bool = True
    place: PlaceName = "input"
    tunes: bool = False
    dropout: float = 0.0
    standardizes: bool = False
    word_units: int = 0

    @property
    def reads(self) -> bool:
        """Whether anything of the biLM is read."""
        return self.mix != "none"

    @property
    def frozen(self) -> tuple[str, ...]:
        """Beginnings of the names of variables that don't learn."""
        if not (self.tunes and self.reads):
            return (f"{SCOPE}/", f"{_STATISTICS}/")
        unread = (f"{SCOPE}/encoder/",) if self.mix == "words" else ()
        return (*unread, f"{_STATISTICS}/")

    def width(self, config: Any) -> int:
        """C, of the outputs."""
        return 2 * self.units + (self._read_units(config) if self.place == "both" else 0)

    def _read_units(self, config: Any) -> int:
        assert isinstance(config, ElmoConfig)
        if not self.reads:
            return 0
        return config.units if self.mix == "words" else config.hidden_size

    def specs(self, config: ModelConfig) -> Specs:
        """The network's variables."""
        specs: Specs = {}
        layers = config.num_hidden_layers + 1 if self.mix == "mix" else 1
        if self.word_units:
            specs[WORD_TABLE] = ParameterSpec((config.vocab_size, self.word_units), "zeros")
        if self.standardizes and self.reads:
            shape: tuple[int, ...] = (layers, self._read_units(config))
            specs[MEANS] = ParameterSpec(shape, "zeros")
            specs[DEVIATIONS] = ParameterSpec(shape, "ones")
        for place in self._mix_places:
            if self.mix == "mix":
                specs[f"{_mix(place)}/weights"] = ParameterSpec((layers,), "zeros")
            if self.gamma:
                specs[f"{_mix(place)}/gamma"] = ParameterSpec((1,), "ones")
        gates = 4 * self.units
        for scope in map(_lstm, DIRECTIONS):
            shape = (self._read_units(config) + self.word_units, gates)
            specs[f"{scope}/input/kernel"] = ParameterSpec(shape, "fan_in")
            specs[f"{scope}/recurrent/kernel"] = ParameterSpec((self.units, gates), "fan_in")
            specs[f"{scope}/bias"] = ParameterSpec((gates,), "zeros")
            specs[f"{scope}/projection/kernel"] = ParameterSpec((self.units, self.units), "fan_in")
        return specs

    def outputs(self, model: Model, features: Features) -> WordOutputs:
        """Outputs for the words of a batch."""
        mask = ops.cast(features["input_mask"], "float32")[:, 2:]
        layers = self._layers(model, features)
        read = [self._mixed(model, layers, "input")] if self.reads else []
        if self.word_units:
            read.append(_looked_up(model, features[WORD_IDS][:, 1:-1]))
        x = self._drop(model, ops.concatenate(read, axis=-1))
        found = _read(model, x, ops.cast(ops.sum(mask, axis=1), "int32"), self.units)
        if self.place == "both":
            found = ops.concatenate([found, self._mixed(model, layers, "output")], axis=-1)
        return WordOutputs(self._drop(model, found), mask)

    def pooled(self, model: Model, features: Features) -> Tensor:
        """The largest output of a text's words, 0 for a text without words: float32 [B, C]."""
        values, mask = self.outputs(model, features)
        largest = ops.max(ops.where(mask[:, :, None] > 0, values, _MASKED), axis=1)
        return ops.where(mask[:, :1] > 0, largest, 0.0)

    def reading(self, model: Model, features: Features) -> dict[str, Tensor]:
        """What is read of the biLM, for ``Backend.predictor``: layers float32 [B, L, M, H]."""
        return {LAYERS: ops.stack(self._read_layers(model, features), axis=2)}

    def _layers(self, model: Model, features: Features) -> list[Tensor]:
        """What is read of the biLM, without sentence marks, each float32 [B, L - 2, H]."""
        if not self.reads:
            return []
        if LAYERS in features:
            layers = ops.unstack(ops.cast(features[LAYERS], "float32"), axis=2)
        elif self.tunes:
            layers = self._read_layers(model, features)
        else:
            layers = self._read_layers(model._replace(dropout=Dropout()), features)
            layers = list(map(ops.stop_gradient, layers))
        layers = [layer[:, 1:-1] for layer in layers]
        if not self.standardizes:
            return layers
        means, deviations = (ops.stop_gradient(model.params[n]) for n in (MEANS, DEVIATIONS))
        return [(x - means[i]) / deviations[i] for i, x in enumerate(layers)]

    def _read_layers(self, model: Model, features: Features) -> list[Tensor]:
        """The same with sentence marks, each float32 [B, L, H]."""
        characters = features["characters"]
        batch, length, places = characters.shape
        characters = ops.reshape(characters, (-1, places))
        if self.mix == "words":
            vectors = word_vectors(model, characters)
            layers = [ops.reshape(vectors, (batch, length, vectors.shape[-1]))]
        else:
            numbers = ops.reshape(ops.arange(batch * length, dtype="int32"), (batch, length))
            words = {"characters": characters, "word_places": numbers}
            words["input_mask"] = features["input_mask"]
            layers = encoder_of(model.config).layers(model, words)
            layers = layers[-1:] if self.mix == "top" else layers
        return [ops.cast(layer, "float32") for layer in layers]

    @property
    def _mix_places(self) -> tuple[str, ...]:
        return _MIX_PLACES[self.place] if self.reads else ()

    def _mixed(self, model: Model, layers: list[Tensor], place: str) -> Tensor:
        params = model.params
        found = layers[0]
        if self.mix == "mix":
            weights = ops.softmax(params[f"{_mix(place)}/weights"])
            found = sum((weights[i] * x for i, x in enumerate(layers)), ops.zeros_like(found))
        return found * params[f"{_mix(place)}/gamma"] if self.gamma else found

    def _drop(self, model: Model, x: Tensor) -> Tensor:
        seeds = model.dropout.seeds(self.dropout, tuple(x.shape))
        return drop(x, seeds[0], self.dropout) if seeds else x

    def learnt(self, arrays: Arrays) -> dict[str, float]:
        """Weights of the layers, which sum to 1, and gamma, of trained variables, by name.

        Names are elmo_input_layer_0 (the words' own vectors), … and elmo_input_gamma; elmo_output_…
        are those of the second mix.
        """
        found = {}
        for place in self._mix_places:
            if self.mix == "mix":
                powers = np.exp(arrays[f"{_mix(place)}/weights"].astype(np.float64))
                for layer, share in enumerate(powers / powers.sum()):
                    found[f"elmo_{place}_layer_{layer}"] = float(share)
            if self.gamma:
                found[f"elmo_{place}_gamma"] = float(arrays[f"{_mix(place)}/gamma"][0])
        return found


def _looked_up(model: Model, ids: Tensor) -> Tensor:
    """The task's own vectors of words: int32 [B, T] to float32 [B, T, V]."""
    rows = model.compute.lookup(model.params[WORD_TABLE], ops.reshape(ids, (-1,)))
    return ops.reshape(ops.cast(rows, "float32"), (*ids.shape, -1))


def _mix(place: str) -> str:
    return f"{NETWORK}/{place}_mix"


def _lstm(direction: str) -> str:
    return f"{NETWORK}/lstm/{direction}"


def _read(model: Model, x: Tensor, lengths: Tensor, units: int) -> Tensor:
    """The biLSTM: float32 [B, T, H], of which the first ``lengths`` are words, to [B, T, 2U]."""
    batch, steps, _ = x.shape
    column = ops.arange(steps, dtype="int32")[None, :]
    # The words of a row the other way round; it is its own inverse.
    reverse = ops.where(column < lengths[:, None], lengths[:, None] - 1 - column, column)

    def turned(values: Tensor) -> Tensor:
        return ops.reshape(take_rows(values, reverse), (batch, steps, values.shape[-1]))

    forward, backward = DIRECTIONS
    found = _run(model, _lstm(forward), x, units)
    other = turned(_run(model, _lstm(backward), turned(x), units))
    return ops.concatenate([found, other], axis=-1)


def _run(model: Model, scope: str, x: Tensor, units: int) -> Tensor:
    """An LSTM from its first step on: [B, T, H] to float32 [B, T, U]."""
    compute, params = model.compute, model.params
    batch, steps, size = x.shape
    rows = ops.reshape(ops.transpose(x, (1, 0, 2)), (-1, size))
    inputs = compute.matmul(rows, params[f"{scope}/input/kernel"])
    nothing = ops.zeros((batch, units))
    hiddens, _ = compute.differentiate(LSTM)(
        ops.reshape(inputs, (steps, batch, -1)),
        params[f"{scope}/bias"],
        params[f"{scope}/recurrent/kernel"],
        params[f"{scope}/projection/kernel"],
        nothing,
        nothing,
        compute=compute,
        clips=(None, None),
    )
    return ops.cast(ops.transpose(hiddens, (1, 0, 2)), "float32")
