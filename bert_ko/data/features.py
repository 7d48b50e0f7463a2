"""The schema of an instance, written once for writer and reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy.typing as npt

FeatureNames = Literal["v1", "v2"]
NextSentence = Literal["nsp", "sop", "none"]
FeatureArrays = Mapping[str, npt.NDArray[Any]]  # [batch, length] each

_V2_NAMES = {"input_ids": "input_word_ids", "segment_ids": "input_type_ids"}


class FeatureSpec(NamedTuple):
    """One fixed-length feature of a record."""

    name: str
    dtype: Literal["int64", "float32"]
    length: int


def instance_features(
    max_seq_length: int, max_predictions_per_seq: int, dynamic_masking: bool
) -> tuple[FeatureSpec, ...]:
    """The features of a pre-training instance under Google's (v1) names.

    With dynamic_masking instances are unmasked and carry the word numbers of both units (1, 2, …;
    0 for special tokens and padding) instead of masked positions.
    """
    sequence = ["input_ids", "input_mask", "segment_ids"]
    sequence += ["morpheme_ids", "eojeol_ids"] if dynamic_masking else []
    specs = [FeatureSpec(name, "int64", max_seq_length) for name in sequence]
    if not dynamic_masking:
        specs += [
            FeatureSpec("masked_lm_positions", "int64", max_predictions_per_seq),
            FeatureSpec("masked_lm_ids", "int64", max_predictions_per_seq),
            FeatureSpec("masked_lm_weights", "float32", max_predictions_per_seq),
        ]
    return (*specs, FeatureSpec("next_sentence_labels", "int64", 1))


def file_name(feature: str, names: FeatureNames) -> str:
    """The name of a feature inside records: Google's, or that of TF-models' v2 code."""
    return _V2_NAMES.get(feature, feature) if names == "v2" else feature
