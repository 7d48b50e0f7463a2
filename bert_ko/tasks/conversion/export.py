"""What of a model is exported for other programs: the function, its inputs and its outputs.

Legend: B batch, L length, T tags, K classes, M masks, V vocabulary, N layers, H hidden_size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bert_ko.modeling.compute import Features, Model
from bert_ko.modeling.config import ModelConfig
from bert_ko.modeling.crf import restricted
from bert_ko.modeling.encoder import encode
from bert_ko.modeling.fused import Tensor
from bert_ko.modeling.heads import (
    MaskedLmHead,
    PredictingHead,
    SpanHead,
    TagHead,
    crf_of,
    model_specs,
)
from bert_ko.modeling.parameters import Arrays
from bert_ko.tasks.batches import INPUTS
from bert_ko.tasks.classifier.classifier import Classifier
from bert_ko.tasks.conversion.conversion import Conversion
from bert_ko.tasks.features.extraction import FeatureSettings, feature_outputs, parse_layers
from bert_ko.tasks.features.featurizer import Featurizer
from bert_ko.tasks.fill_mask.masked_lm import MASK, MaskedLm
from bert_ko.tasks.loading import Loadable, find_length
from bert_ko.tasks.ner.tagger import Tagger
from bert_ko.tasks.settings import LabelFlags
from bert_ko.tasks.squad.features import WindowConfig
from bert_ko.tasks.squad.reader import Reader
from bert_ko.training.backend import Axes, DeviceConfig, OutputFunction
from bert_ko.training.model_files import ModelFiles, TrainedModel

_BATCH, _LENGTH = "batch", "length"
_PIECES = (_BATCH, _LENGTH)
_INPUTS: Mapping[str, Axes] = dict.fromkeys(INPUTS, _PIECES)


class Export(NamedTuple):
    """A function of a model, and what its user must know.

    Attributes:
        kind: as ``bert_ko.load`` calls it: reader, classifier, tagger, masked_lm or features.
        config: of the model, without layers that are not computed.
        arrays: float32, the variables that the function needs.
        compute: features, int32, to outputs, float32.
        inputs: axes of the features by name.
        outputs: axes of the outputs by name.
        settings: for JSON: labels, lengths and so on.
    """

    kind: str
    config: ModelConfig
    arrays: Arrays
    compute: OutputFunction
    inputs: Mapping[str, Axes]
    outputs: Mapping[str, Axes]
    settings: Mapping[str, Any]


def export_of(conversion: Conversion, layers: Sequence[str] | None) -> Export:
    """What is exported: of the kinds that a model has the one that ``bert_ko.load`` chooses.

    Args:
        conversion: the model.
        layers: those whose vectors are exported in place of a head; None for the head, and for the
            last layer of a model without one.

    Raises:
        ValueError: the labels are unknown, or there is no such layer.
    """
    model = TrainedModel(
        conversion.source._replace(arrays=conversion.arrays),
        ModelFiles(conversion.config, conversion.source.path, conversion.tokenizer),
        DeviceConfig(),
    )
    if layers is not None:
        return _features(model, parse_layers(layers))
    kind = next(kind for kind in _EXPORTS if kind.fits(model))
    return _EXPORTS[kind](model)


def _reader(model: TrainedModel) -> Export:
    head, defaults = SpanHead(), WindowConfig()
    settings = {
        "max_seq_length": find_length(model, None, defaults.max_seq_length),
        "max_query_length": model.remembered.get("max_query_length", defaults.max_query_length),
        "doc_stride": model.remembered.get("doc_stride", defaults.doc_stride),
    }
    outputs = {"start_logits": _PIECES, "end_logits": _PIECES}
    return Export(
        Reader.kind, model.config, _arrays(model, head), head.outputs, _INPUTS, outputs, settings
    )


def _classifier(model: TrainedModel) -> Export:
    labels, head = Classifier.find_head(model)
    settings = {"max_seq_length": _label_length(model), "labels": list(labels)}
    scores: Mapping[str, Axes] = {"scores": (_BATCH,)}
    outputs = {"probabilities": (_BATCH, len(labels))} if labels else scores
    return Export(
        Classifier.kind, model.config, _arrays(model, head), head.outputs, _INPUTS, outputs,
        settings,
    )  # fmt: skip


def _tagger(model: TrainedModel) -> Export:
    labels, head = Tagger.find_head(model)
    assert isinstance(head, TagHead)
    crf = None
    if head.use_crf:  # with what may not follow, as no best path has any of that
        found = restricted(crf_of(model.source.arrays), head.allowed)
        crf = {name: value.tolist() for name, value in found._asdict().items()}
    settings = {"max_seq_length": _label_length(model), "labels": list(labels), "crf": crf}

    def compute(model: Model, batch: Features) -> dict[str, Tensor]:
        return {"tag_logits": head.logits(model, batch, encode(model, batch))}

    outputs = {"tag_logits": (_BATCH, "text_length", len(labels))}  # without [CLS] and [SEP]
    return Export(
        Tagger.kind, model.config, _arrays(model, head), compute, _INPUTS, outputs, settings
    )


def _masked_lm(model: TrainedModel) -> Export:
    head, length = MaskedLmHead(), model.config.max_position_embeddings
    masks = (_BATCH, "masks")
    return Export(
        MaskedLm.kind,
        model.config,
        _arrays(model.reaching(length), head),
        head.outputs,
        {**_INPUTS, "masked_lm_positions": masks},
        {"probabilities": (*masks, model.config.vocab_size)},
        {"max_seq_length": length, "kept_tokens": [MASK]},
    )


def _features(model: TrainedModel, layers: tuple[int, ...] = (-1,)) -> Export:
    positions = FeatureSettings(layers).positions(model.config)
    # Layers above the last chosen one are not computed.
    config = dataclasses.replace(model.config, num_hidden_layers=max(1, *positions))
    arrays = model.reaching(config.max_position_embeddings).arrays(model_specs(model.config))
    length = find_length(model, None, FeatureSettings.max_seq_length)
    return Export(
        Featurizer.kind,
        config,
        {name: arrays[name] for name in model_specs(config)},
        feature_outputs(positions, "none"),
        _INPUTS,
        {"values": (*_PIECES, len(layers), config.hidden_size)},
        {"max_seq_length": length, "layers": list(layers)},
    )


def _arrays(model: TrainedModel, head: PredictingHead) -> Arrays:
    return model.arrays(model_specs(model.config, head))


def _label_length(model: TrainedModel) -> int:
    return find_length(model, None, LabelFlags.max_seq_length)


# A model of several kinds is the first of them.
_EXPORTS: Mapping[type[Loadable], Callable[[TrainedModel], Export]] = {
    Reader: _reader,
    Classifier: _classifier,
    Tagger: _tagger,
    MaskedLm: _masked_lm,
    Featurizer: _features,
}
