"""ELMo: words from their characters, and a language model for each direction above them.

Both directions share the words' vectors; each has its own layers of LSTMs with projection, of which
all but the first have a residual connection. A vector of a direction has seen the words up to its
own and none beyond it.

Legend: D distinct words, K places of a word, E character_embedding_size, U filters in all, B
batch, T steps, C cell_size, P units of a direction (hidden_size is both), H hidden_size.

Source: Peters et al., arXiv:1802.05365, and the behaviour of bilm-tf: states are carried over
truncated back-propagation, dropout is on what comes into a layer, before the residual connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from bert_ko.characters import UNITS, num_characters
from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig, shown
from bert_ko.modeling.fused import FusedOp, Tensor
from bert_ko.modeling.lstm import DROP_STEPS, LSTM
from bert_ko.modeling.ops import ops
from bert_ko.modeling.parameters import ParameterSpec, Specs

SCOPE = "elmo"
DIRECTIONS = ("forward", "backward")
CHARACTERS = f"{SCOPE}/embeddings/characters"
PROJECTION = f"{SCOPE}/embeddings/projection"
# Places of a word with its two marks; bilm-tf's for bytes.
_PLACES = {"syllable": 16, "jamo": 44, "byte": 50}
_CARRY_BIAS = -2.0  # highways begin by passing most of their input on
_MOST_FILTERS = 100_000


@dataclass(frozen=True, kw_only=True)
class ElmoConfig(ModelConfig):
    """Attributes: vocab_size: words of the softmax, which the language model predicts."""

    model_type: ClassVar[str] = "elmo"

    hidden_size: int = 512  # of both directions together
    num_hidden_layers: int = 2  # of each direction
    hidden_act: str = "relu"  # of the convolutions
    # The LSTMs know no positions; not in the file.
    max_position_embeddings: int = 1_000_000

    characters: str = "syllable"  # what a character is; see bert_ko.characters
    # Places of a word, its marks of beginning and end included; None: 16 syllables, 44 jamo or 50
    # bytes.
    max_characters_per_word: int | None = None
    character_embedding_size: int = 64
    # (width in characters, number) of the convolutions.
    filters: tuple[tuple[int, int], ...] = ((1, 64), (2, 128), (3, 192), (4, 128))
    highway_layers: int = 2
    cell_size: int = 1024  # of each LSTM
    cell_clip: float | None = 3.0  # of cells; null clips nothing
    projection_clip: float | None = 3.0  # of their projections
    residual: bool = True  # over all layers but the first

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by its key."""
        if self.characters not in UNITS:
            raise ValueError(
                f"characters must be one of {', '.join(UNITS)}, got {shown(self.characters)}."
            )
        if self.max_characters_per_word is None:
            object.__setattr__(self, "max_characters_per_word", _PLACES[self.characters])
        object.__setattr__(self, "filters", _filters(self.filters))
        super().__post_init__()
        if self.hidden_size % 2:
            raise ValueError(
                f"hidden_size must be even, half of it for each direction, got {self.hidden_size}."
            )
        for name in ("cell_clip", "projection_clip"):
            limit = getattr(self, name)
            is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if limit is not None and not (is_number and 0 < limit < 1e6):
                raise ValueError(f"{name} must be a positive number or null, got {shown(limit)}.")
        if not isinstance(self.residual, bool):
            raise ValueError(f"residual must be true or false, got {shown(self.residual)}.")
        widest, places = max(width for width, _ in self.filters), self.places
        if type(places) is not int or not max(widest, 3) <= places <= 10_000:
            raise ValueError(
                "max_characters_per_word must be an integer that holds the widest filter "
                f"({widest}) and a character between two marks, got {shown(places)}."
            )

    @property
    def places(self) -> int:
        """K, places of a word."""
        assert self.max_characters_per_word is not None
        return self.max_characters_per_word

    @property
    def units(self) -> int:
        """P, of one direction."""
        return self.hidden_size // 2

    def to_dict(self) -> dict[str, Any]:
        """See ModelConfig."""
        values = super().to_dict()
        del values["max_position_embeddings"]
        return {**values, "filters": [list(pair) for pair in self.filters]}


def _filters(value: object) -> tuple[tuple[int, int], ...]:
    """Raises: ValueError: no list of pairs of positive integers."""
    is_list = isinstance(value, list | tuple) and len(value) > 0
    for pair in value if isinstance(value, list | tuple) else ():
        is_pair = isinstance(pair, list | tuple) and [*map(type, pair)] == [int, int]
        is_list = is_list and is_pair and all(0 < number <= _MOST_FILTERS for number in pair)
    if not is_list:
        raise ValueError(
            "filters must be a list of pairs [width, number] of positive integers, got "
            f"{shown(value)}."
        )
    return tuple((width, number) for width, number in value)  # type: ignore[attr-defined]


def convolution(index: int) -> str:
    """The scope of a convolution: kernel [width, E, number] and bias [number]."""
    return f"{SCOPE}/embeddings/convolution_{index}"


def highway(index: int) -> str:
    """The scope of a highway layer: carry and transform, each a kernel [U, U] and a bias [U]."""
    return f"{SCOPE}/embeddings/highway_{index}"


def lstm(layer: int, direction: str) -> str:
    """The scope of an LSTM: input and recurrent/kernel [P, 4C], bias [4C], projection/kernel."""
    return f"{SCOPE}/encoder/layer_{layer}/{direction}"


def elmo_specs(config: ElmoConfig) -> Specs:
    """The variables of the encoder."""
    size, units = config.character_embedding_size, config.units
    specs: Specs = {CHARACTERS: ParameterSpec((num_characters(config.characters), size), "unit")}  # type: ignore[arg-type]
    for index, (width, number) in enumerate(config.filters):
        specs[f"{convolution(index)}/kernel"] = ParameterSpec((width, size, number), "fan_in")
        specs[f"{convolution(index)}/bias"] = ParameterSpec((number,), "zeros")
    total = sum(number for _, number in config.filters)
    for index in range(config.highway_layers):
        for name, bias in (("carry", _CARRY_BIAS), ("transform", 0.0)):
            specs[f"{highway(index)}/{name}/kernel"] = ParameterSpec((total, total), "fan_in")
            specs[f"{highway(index)}/{name}/bias"] = ParameterSpec((total,), bias)
    specs[f"{PROJECTION}/kernel"] = ParameterSpec((total, units), "fan_in")
    specs[f"{PROJECTION}/bias"] = ParameterSpec((units,), "zeros")
    gates = 4 * config.cell_size
    for layer in range(config.num_hidden_layers):
        for scope in (lstm(layer, direction) for direction in DIRECTIONS):
            specs[f"{scope}/input/kernel"] = ParameterSpec((units, gates), "fan_in")
            specs[f"{scope}/recurrent/kernel"] = ParameterSpec((units, gates), "fan_in")
            specs[f"{scope}/bias"] = ParameterSpec((gates,), "zeros")
            shape = (config.cell_size, units)
            specs[f"{scope}/projection/kernel"] = ParameterSpec(shape, "fan_in")
    return specs


def _largest(x: Tensor, bias: Tensor, *, activation: str, dtype: str) -> Tensor:
    y = ops.max(ops.cast(x, "float32"), axis=1) + bias
    return ops.cast(ops.relu(y) if activation == "relu" else ops.tanh(y), dtype)


def _largest_gradients(
    dy: Tensor, x: Tensor, bias: Tensor, *, activation: str, dtype: str
) -> tuple[Tensor, ...]:
    """Places that are equally large share the gradient."""
    values, dy = ops.cast(x, "float32"), ops.cast(dy, "float32")
    largest = ops.max(values, axis=1, keepdims=True)
    y = largest[:, 0] + bias
    is_relu = activation == "relu"
    dy = ops.where(y > 0, dy, 0.0) if is_relu else dy * (1 - ops.square(ops.tanh(y)))
    is_largest = ops.cast(values >= largest, "float32")
    share = dy / ops.sum(is_largest, axis=1)
    return ops.cast(is_largest * share[:, None], x.dtype), ops.sum(dy, axis=0)


# x [D, N, F], bias [F] -> [D, F]: the largest of the places, then the activation.
LARGEST = FusedOp(_largest, _largest_gradients, 2)


def word_vectors(model: Model, characters: Tensor) -> Tensor:
    """Vectors of words from their characters: int32 [D, K] -> [D, P]."""
    compute, config = model.compute, model.config
    x = compute.cast(ops.take(model.params[CHARACTERS], characters, axis=0))
    features = []
    for index, (width, _) in enumerate(config.filters):
        kernel = model.params[f"{convolution(index)}/kernel"]
        places = x.shape[1] - width + 1
        windows = ops.concatenate([x[:, i : i + places] for i in range(width)], axis=-1)
        kernel = ops.reshape(kernel, (-1, kernel.shape[-1]))
        product = compute.matmul(ops.reshape(windows, (-1, kernel.shape[0])), kernel)
        features.append(
            compute.fuse(LARGEST)(
                ops.reshape(product, (-1, places, kernel.shape[-1])),
                model.params[f"{convolution(index)}/bias"],
                activation=config.hidden_act,
                dtype=compute.activation_dtype,
            )
        )
    y = ops.concatenate(features, axis=-1)
    for index in range(config.highway_layers):
        y = _highway(model, y, highway(index))
    product, bias = model.dense(y, PROJECTION)
    return ops.cast(ops.cast(product, "float32") + bias, compute.activation_dtype)


def _highway(model: Model, x: Tensor, scope: str) -> Tensor:
    (carry, carry_bias), (transform, bias) = (
        model.dense(x, f"{scope}/{name}") for name in ("carry", "transform")
    )
    gate = ops.sigmoid(ops.cast(carry, "float32") + carry_bias)
    new = ops.relu(ops.cast(transform, "float32") + bias)
    old = ops.cast(x, "float32")
    return ops.cast(gate * (new - old) + old, model.compute.activation_dtype)


class State(NamedTuple):
    """Of an LSTM after a step."""

    cell: Tensor  # float32 [B, C]
    hidden: Tensor  # [B, P]


def zero_states(config: ElmoConfig, batch: int) -> list[State]:
    """The state of each layer of a direction before the first step."""
    zeros = State(ops.zeros((batch, config.cell_size)), ops.zeros((batch, config.units)))
    return [zeros] * config.num_hidden_layers


def run_direction(
    model: Model, direction: str, x: Tensor, states: list[State], lengths: Tensor
) -> tuple[list[Tensor], list[State]]:
    """The layers of a direction over steps in its own order.

    Args:
        model: variables and settings.
        direction: of DIRECTIONS.
        x: vectors of words, [T, B, P].
        states: of each layer before the first step, without gradient.
        lengths: int32 [B], the steps of each row, which come first; the others are padding.

    Returns:
        The output of each layer [T, B, P], with its residual connection; and the states after the
        last step of each row, as they were where it has none.
    """
    config, found, after = model.config, [], []
    for layer in range(config.num_hidden_layers):
        x = drop_steps(model, x)
        hidden, state = _run_layer(model, lstm(layer, direction), x, states[layer], lengths)
        x = hidden + x if layer and config.residual else hidden
        found.append(x)
        after.append(state)
    return found, after


def drop_steps(model: Model, x: Tensor) -> Tensor:
    """Dropout of [T, B, P]."""
    rate = model.config.hidden_dropout_prob
    steps, batch, units = x.shape
    seeds = model.dropout.seeds(rate, (batch, steps, units))
    return model.compute.fuse(DROP_STEPS)(x, *seeds, rate=rate) if seeds else x


def _run_layer(
    model: Model, scope: str, x: Tensor, state: State, lengths: Tensor
) -> tuple[Tensor, State]:
    compute, params = model.compute, model.params
    steps, batch, units = x.shape
    inputs = compute.matmul(ops.reshape(x, (-1, units)), params[f"{scope}/input/kernel"])
    hiddens, cells = compute.differentiate(LSTM)(
        ops.reshape(inputs, (steps, batch, -1)),
        params[f"{scope}/bias"],
        params[f"{scope}/recurrent/kernel"],
        params[f"{scope}/projection/kernel"],
        ops.stop_gradient(state.cell),
        ops.stop_gradient(state.hidden),
        compute=compute,
        clips=(model.config.cell_clip, model.config.projection_clip),
    )
    # A row's last step, in [T * B].
    rows = ops.maximum(lengths - 1, 0) * batch + ops.arange(batch, dtype="int32")
    is_empty = (lengths == 0)[:, None]

    def last(values: Tensor, before: Tensor) -> Tensor:
        values = ops.take(ops.reshape(ops.stop_gradient(values), (steps * batch, -1)), rows, axis=0)
        return ops.where(is_empty, before, ops.cast(values, "float32"))

    return hiddens, State(last(cells, state.cell), last(hiddens, state.hidden))


def elmo_layers(model: Model, features: Features) -> list[Tensor]:
    """The words' vectors and the layers of both directions, for whole sentences.

    A sentence begins with no state, so that its vectors depend on no other sentence.

    Args:
        model: variables and settings.
        features: characters int32 [D, K] of distinct words; word_places int32 [B, T], the number of
            each word among them, sentence marks included; input_mask int32 [B, T], 1 for words and
            marks, which come first.

    Returns:
        [x; x], then [forward; backward] of each layer, [B, T, H].
    """
    lengths = ops.sum(ops.cast(features["input_mask"], "int32"), axis=1)
    vectors = ops.take(word_vectors(model, features["characters"]), features["word_places"], axis=0)
    batch, steps, _ = vectors.shape
    # The first ``lengths`` steps of a row the other way round; it is its own inverse.
    column = ops.arange(steps, dtype="int32")[None, :]
    reverse = ops.where(column < lengths[:, None], lengths[:, None] - 1 - column, column)
    found = [ops.concatenate([vectors, vectors], axis=-1)]
    states = zero_states(model.config, batch)
    x = ops.transpose(vectors, (1, 0, 2))
    of_forward, _ = run_direction(model, "forward", x, states, lengths)
    x = ops.transpose(_take_steps(vectors, reverse), (1, 0, 2))
    of_backward, _ = run_direction(model, "backward", x, states, lengths)
    for one, other in zip(of_forward, of_backward, strict=True):
        backward = _take_steps(ops.transpose(other, (1, 0, 2)), reverse)
        found.append(ops.concatenate([ops.transpose(one, (1, 0, 2)), backward], axis=-1))
    return found


def _take_steps(x: Tensor, steps: Tensor) -> Tensor:
    """[B, T, P] by int32 [B, T] along the steps."""
    batch, length, units = x.shape
    rows = ops.reshape(ops.arange(batch, dtype="int32")[:, None] * length + steps, (-1,))
    return ops.reshape(ops.take(ops.reshape(x, (-1, units)), rows, axis=0), x.shape)
