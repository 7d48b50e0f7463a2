"""Heads on an encoder: their variables, logits, losses and metrics."""

from bert_ko.modeling.heads.base import (
    CarryingHead,
    Head,
    HostBatch,
    HostScalars,
    Metrics,
    PredictingHead,
    Sums,
    carried_shapes,
    divided,
    loss_and_carried,
    model_specs,
    pool,
    pooler_specs,
)
from bert_ko.modeling.heads.bilm import WORD_BIAS, WORD_WEIGHTS, BiLmHead
from bert_ko.modeling.heads.classes import CLASS_BIAS, CLASS_WEIGHTS, ClassHead, ScoreHead
from bert_ko.modeling.heads.pretraining import (
    OUTPUT_BIAS,
    RELATIONSHIP_BIAS,
    RELATIONSHIP_WEIGHTS,
    TRANSFORM,
    MaskedLmHead,
    NextSentenceHead,
    PretrainingHead,
)
from bert_ko.modeling.heads.spans import SPAN_BIAS, SPAN_WEIGHTS, SpanHead
from bert_ko.modeling.heads.tags import (
    TAG_BIAS,
    TAG_CRF,
    TAG_END,
    TAG_START,
    TAG_TRANSITIONS,
    TAG_WEIGHTS,
    TagHead,
    crf_of,
)
from bert_ko.modeling.heads.words import WordNetwork

# Variables that mean nothing without their labels.
LABEL_VARIABLES = (
    CLASS_WEIGHTS, CLASS_BIAS, TAG_WEIGHTS, TAG_BIAS, TAG_TRANSITIONS, TAG_START, TAG_END,
)  # fmt: skip

__all__ = [
    "CLASS_BIAS", "CLASS_WEIGHTS", "LABEL_VARIABLES", "OUTPUT_BIAS", "RELATIONSHIP_BIAS",
    "RELATIONSHIP_WEIGHTS", "SPAN_BIAS", "SPAN_WEIGHTS", "TAG_BIAS", "TAG_CRF", "TAG_END",
    "TAG_START", "TAG_TRANSITIONS", "TAG_WEIGHTS", "TRANSFORM", "WORD_BIAS", "WORD_WEIGHTS",
    "BiLmHead", "CarryingHead", "ClassHead", "Head", "HostBatch", "HostScalars", "MaskedLmHead",
    "Metrics", "NextSentenceHead", "PredictingHead", "PretrainingHead", "ScoreHead", "SpanHead",
    "Sums", "TagHead", "WordNetwork", "carried_shapes", "crf_of", "divided", "loss_and_carried",
    "model_specs", "pool", "pooler_specs",
]  # fmt: skip
