"""The seam for encoders: all that heads, tasks, backends and conversion know of one.

Another encoder is a configuration class, its variables and one function, registered here; heads,
training, storage and conversion stay as they are.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import numpy.typing as npt

from bert_ko.modeling.bert import (
    SCOPE,
    BertConfig,
    bert_layers,
    bert_multiplications,
    bert_specs,
    from_hugging_face_config,
    to_hugging_face_config,
)
from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import (
    DEFAULT_MODEL_TYPE,
    MODEL_TYPE_KEY,
    PASSED_OVER,
    ModelConfig,
    shown,
)
from bert_ko.modeling.elmo import SCOPE as ELMO_SCOPE
from bert_ko.modeling.elmo import ElmoConfig, elmo_layers, elmo_specs
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.packing import is_packed
from bert_ko.modeling.parameters import Specs

Objective = Literal["masked_lm", "bilm"]


class HuggingFaceForm(NamedTuple):
    """What transformers calls an encoder and its settings; names of variables follow ours."""

    class_prefix: str  # "Bert" of BertModel and BertForMaskedLM
    # The values of a config.json and the file's name to our configuration, and back.
    from_config: Callable[[Mapping[str, Any], str], ModelConfig]
    to_config: Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class Encoder:
    """A family of models that turn pieces into vectors.

    Attributes:
        config_class: of its configurations; their model_type names the encoder.
        scope: the first part of its variables' names: SCOPE/embeddings/…, SCOPE/encoder/layer_N/…,
            by which layers get learning rates of their own, and SCOPE/pooler/dense of heads.
        specs: its variables, for a configuration.
        layers: a model and input_ids, input_mask, segment_ids int32 [B, L] to the embeddings and
            the output of every layer, each [B, L, H].
        hugging_face: its form in transformers, if it has one.
        packs: whether ``layers`` keeps the sequences of packed rows apart; see modeling/packing.py.
        multiplications: a configuration and float [N], the lengths of sequences, to the number of
            multiplications in the matrix products of ``layers``; None if nobody has counted them.
        objective: what it is pre-trained for. masked_lm: pieces; bilm: words, from their
            characters, so that ``layers`` has other features (see modeling/elmo.py) and heads for
            pieces don't fit.
    """

    config_class: type[ModelConfig]
    scope: str
    specs: Callable[[Any], Specs]
    layers: Callable[[Model, Features], list[Tensor]]
    hugging_face: HuggingFaceForm | None = None
    packs: bool = False
    multiplications: Callable[[Any, npt.NDArray[Any]], float] | None = None
    objective: Objective = "masked_lm"

    @property
    def model_type(self) -> str:
        """Its name in configurations."""
        return self.config_class.model_type

    @property
    def word_embeddings(self) -> str:
        """The variable [V, H] that has a row for each piece; the masked-LM head shares it."""
        return f"{self.scope}/embeddings/word_embeddings"

    @property
    def position_embeddings(self) -> str:
        """The variable that has a row for each position, if the encoder has one."""
        return f"{self.scope}/embeddings/position_embeddings"

    @property
    def pooler(self) -> str:
        """Scope of the dense layer at [CLS] that some heads stand on."""
        return f"{self.scope}/pooler/dense"


BERT = Encoder(
    BertConfig,
    SCOPE,
    bert_specs,
    bert_layers,
    HuggingFaceForm("Bert", from_hugging_face_config, to_hugging_face_config),
    packs=True,
    multiplications=bert_multiplications,
)
ELMO = Encoder(ElmoConfig, ELMO_SCOPE, elmo_specs, elmo_layers, objective="bilm")
_ENCODERS = {encoder.model_type: encoder for encoder in (BERT, ELMO)}
# One of these is in every config.json that transformers wrote, none in Google's bert_config.json.
_THEIR_KEYS = frozenset(("architectures", "layer_norm_eps", "transformers_version"))


def register(encoder: Encoder) -> None:
    """Makes an encoder known by its model_type."""
    _ENCODERS[encoder.model_type] = encoder


def find_encoder(model_type: object, source: str) -> Encoder:
    """The encoder of a model_type as a configuration has it; None is BERT.

    Raises:
        ValueError: unknown; the message names ``source``, the configuration's file.
    """
    name = DEFAULT_MODEL_TYPE if model_type is None else model_type
    if not isinstance(name, str) or name not in _ENCODERS:
        raise ValueError(
            f"{source}: {MODEL_TYPE_KEY} {shown(name)} is not known; known are "
            f"{', '.join(_ENCODERS)}."
        )
    return _ENCODERS[name]


def encoder_of(config: ModelConfig) -> Encoder:
    """The encoder of a configuration."""
    return _ENCODERS[config.model_type]


def refuse_packing(config: ModelConfig) -> None:
    """Raises: ValueError: --pack with an encoder whose sequences would see each other."""
    if not encoder_of(config).packs:
        raise ValueError(
            f"--pack: the encoder {config.model_type} does not keep the sequences of a row apart; "
            "leave the flag out."
        )


def encode(model: Model, features: Features) -> Tensor:
    """The output of the last layer, sequence_output.

    Args:
        model: variables and settings.
        features: input_ids, input_mask, segment_ids, int32 [B, L], and those of packed rows.

    Returns:
        [B, L, H], of activation_dtype.
    """
    encoder = encoder_of(model.config)
    assert encoder.packs or not is_packed(features), encoder.model_type
    return encoder.layers(model, features)[-1]


def config_from_values(values: Mapping[str, Any], source: str) -> ModelConfig:
    """The configuration that bert_config.json has, or the config.json of transformers.

    Args:
        values: of the JSON object.
        source: the file's name, for messages.

    Raises:
        ValueError: an unknown encoder, an unknown or missing key, a bad value.
    """
    if _THEIR_KEYS & values.keys():
        return config_from_hugging_face(values, source)
    return find_encoder(values.get(MODEL_TYPE_KEY), source).config_class.from_dict(values, source)


def config_from_hugging_face(values: Mapping[str, Any], source: str) -> ModelConfig:
    """Our configuration for the values of transformers' config.json, named ``source``.

    Raises:
        ValueError: a model that ours can't compute.
    """
    encoder = find_encoder(values.get(MODEL_TYPE_KEY), source)
    if encoder.hugging_face is None:
        raise ValueError(f"{source}: {encoder.model_type} is not read from this form.")
    architectures = values.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(x, str) for x in architectures):
        raise ValueError(
            f"{source}: architectures must be a list of names, got {shown(architectures)}."
        )
    prefix = encoder.hugging_face.class_prefix
    if MODEL_TYPE_KEY not in values and not all(x.startswith(prefix) for x in architectures):
        raise ValueError(f"{source}: architectures is {shown(architectures)}, no {prefix} model.")
    code = values.get("auto_map")
    if isinstance(code, Mapping) and any(str(name).startswith("AutoModel") for name in code):
        raise ValueError(f"{source}: auto_map names code of its own, which is not run.")
    _refuse_misspelt(values, {field.name for field in fields(encoder.config_class)}, source)
    return encoder.hugging_face.from_config(values, source)


def _refuse_misspelt(values: Mapping[str, Any], known: set[str], source: str) -> None:
    """Their files have any number of other keys, but one almost like ours is a slip."""
    for key in sorted(values.keys() - known - PASSED_OVER):
        likely = difflib.get_close_matches(key, known, n=1, cutoff=0.85)
        if likely:
            raise ValueError(f"{source}: unknown key {shown(key)}; is it {likely[0]}?")
