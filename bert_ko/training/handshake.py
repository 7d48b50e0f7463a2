"""Whether shards, flags, model and vocabulary agree; each disagreement is one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from bert_ko import files
from bert_ko.data.features import FeatureNames
from bert_ko.data.manifest import MANIFEST_NAME, ManifestShard, read_manifests
from bert_ko.data.masking import MaskingConfig
from bert_ko.data.reader import DynamicMasking, ShardSource
from bert_ko.flags import flag
from bert_ko.modeling.config import BertConfig

_MUST_AGREE = (
    "tokenizer_fingerprint", "vocab_size", "max_seq_length", "max_predictions_per_seq",
    "masking", "feature_names",
)  # fmt: skip


@dataclass(frozen=True)
class MaskingFlags:
    """How unmasked shards (--masking=dynamic) are masked; None means as the shards' manifest says."""

    masked_lm_prob: float | None = flag(
        None, help="Share of the pieces to mask, in (0, 1). Default: as the shards were prepared."
    )
    do_whole_word_mask: bool | None = flag(
        None, help="Mask all pieces of a word together. Default: as the shards were prepared."
    )
    whole_word_unit: Literal["morpheme", "eojeol"] | None = flag(
        None, help="What a word is. Default: as the shards were prepared."
    )
    max_ngram_size: int | None = flag(
        None, help="Longest run of words masked together. Default: as the shards were prepared."
    )
    replace_unit: Literal["piece", "word"] | None = flag(
        None, help="What the 80/10/10 % are drawn for. Default: as the shards were prepared."
    )


class Agreement(NamedTuple):
    """What the shards are.

    Attributes:
        shards: to read.
        feature_names: of their records.
        masking: None for shards that are masked already.
        fingerprint: of their tokenizer; None where there is no manifest.
        warnings: for the user.
    """

    shards: tuple[ShardSource, ...]
    feature_names: FeatureNames
    masking: DynamicMasking | None
    fingerprint: str | None
    warnings: list[str]


def find_shards(patterns: Sequence[str]) -> list[str]:
    """Files, globs and folders to paths of shards; manifests are left out."""
    paths = files.expand_inputs(patterns)
    shards = [path for path in paths if path.rpartition("/")[2] != MANIFEST_NAME]
    if not shards:
        raise FileNotFoundError(f"no shard in {', '.join(patterns)}, only {MANIFEST_NAME}.")
    return shards


def agree(
    patterns: Sequence[str],
    config: BertConfig,
    config_file: str,
    max_seq_length: int,
    max_predictions_per_seq: int,
    masking_flags: MaskingFlags,
) -> Agreement:
    """Reads the manifests of shards and compares them with what training wants.

    Args:
        patterns: files, globs and folders.
        config: of the model; config_file: its name.
        max_seq_length: pieces of a sequence.
        max_predictions_per_seq: masked pieces of a sequence.
        masking_flags: for unmasked shards.

    Raises:
        ValueError: they disagree; says which of the two to change.
    """
    if max_seq_length > config.max_position_embeddings:
        raise ValueError(
            f"--max_seq_length={max_seq_length} is more than max_position_embeddings="
            f"{config.max_position_embeddings} of {config_file}; lower the flag, or take a model "
            "with more positions."
        )
    shards = read_manifests(find_shards(patterns))
    known = [shard for shard in shards if shard.manifest is not None]
    if not known:
        return _without_manifest(shards)
    _refuse_mixtures(shards)
    manifest = _flat(known[0])
    where = known[0].manifest_path
    _compare_lengths(manifest, where, max_seq_length, max_predictions_per_seq)
    if manifest["vocab_size"] > config.vocab_size:
        raise ValueError(
            f"vocab_size is {config.vocab_size:,} in {config_file}, but the shards have "
            f"{manifest['vocab_size']:,} pieces ({where}); set vocab_size in the config to that."
        )
    warnings = []
    if manifest["vocab_size"] < config.vocab_size:
        warnings.append(
            f"{config_file} has vocab_size {config.vocab_size:,}, the shards' vocabulary "
            f"{manifest['vocab_size']:,}: the rest is never trained."
        )
    masking = None
    if manifest["masking"] == "dynamic":
        masking = _masking(manifest, where, masking_flags, max_predictions_per_seq)
    else:
        _refuse_masking_flags(masking_flags, where)
    sources = tuple(
        ShardSource(shard.path, 0.0 if _flat(shard)["next_sentence"] == "none" else 1.0)
        for shard in shards
    )
    names = cast(FeatureNames, manifest["feature_names"])
    return Agreement(sources, names, masking, manifest["tokenizer_fingerprint"], warnings)


def _without_manifest(shards: list[ManifestShard]) -> Agreement:
    """Shards of Google's script: their first record tells whether the lengths fit."""
    warning = (
        f"no {MANIFEST_NAME} beside {shards[0].path}: it can't be checked that the shards were "
        "made with this vocabulary."
    )
    sources = tuple(ShardSource(shard.path) for shard in shards)
    return Agreement(sources, "v1", None, None, [warning])


def _flat(shard: ManifestShard) -> dict[str, Any]:
    assert shard.manifest is not None
    return {**shard.manifest["flags"], **shard.manifest}


def _refuse_mixtures(shards: list[ManifestShard]) -> None:
    first = shards[0]
    for shard in shards[1:]:
        if (shard.manifest is None) != (first.manifest is None):
            without = shard if shard.manifest is None else first
            raise ValueError(
                f"{without.path} is not in {without.manifest_path}, but other shards are in "
                "theirs; train on shards of finished runs of bin/create_pretraining_data."
            )
        for name in _MUST_AGREE:
            ours, theirs = _flat(first)[name], _flat(shard)[name]
            if ours != theirs:
                raise ValueError(
                    f"the shards differ in {name}: {ours} in {first.manifest_path}, {theirs} in "
                    f"{shard.manifest_path}; make both with the same."
                )


def _compare_lengths(
    manifest: dict[str, Any], where: str, max_seq_length: int, max_predictions_per_seq: int
) -> None:
    if manifest["max_seq_length"] != max_seq_length:
        raise ValueError(
            f"--max_seq_length={max_seq_length}, but the shards were made with "
            f"{manifest['max_seq_length']} ({where}); set the flag to that."
        )
    is_static = manifest["masking"] != "dynamic"
    if is_static and manifest["max_predictions_per_seq"] != max_predictions_per_seq:
        raise ValueError(
            f"--max_predictions_per_seq={max_predictions_per_seq}, but the shards were made with "
            f"{manifest['max_predictions_per_seq']} ({where}); set the flag to that."
        )


def _masking(
    manifest: dict[str, Any], where: str, flags: MaskingFlags, max_predictions_per_seq: int
) -> DynamicMasking:
    if "replacement_ranges" not in manifest:
        raise ValueError(
            f"{where} is of an older version and lacks what dynamic masking needs; make the "
            "shards again with --overwrite."
        )
    typed = {k: v for k, v in _typed(flags).items() if v is not None}
    values = {**{field: manifest[field] for field in _typed(flags)}, **typed}
    if not 0 < values["masked_lm_prob"] < 1:
        raise ValueError(f"--masked_lm_prob must be in (0, 1), got {values['masked_lm_prob']}.")
    if values["max_ngram_size"] < 1:
        raise ValueError(f"--max_ngram_size must be at least 1, got {values['max_ngram_size']}.")
    return DynamicMasking(
        values["whole_word_unit"] if values["do_whole_word_mask"] else "piece",
        MaskingConfig(
            values["masked_lm_prob"],
            max_predictions_per_seq,
            values["max_ngram_size"],
            values["replace_unit"] == "word",
        ),
        manifest["mask_id"],
        tuple((first, last) for first, last in manifest["replacement_ranges"]),
    )


def _refuse_masking_flags(flags: MaskingFlags, where: str) -> None:
    typed = [name for name, value in _typed(flags).items() if value is not None]
    if typed:
        raise ValueError(
            f"--{typed[0]} has no effect: the shards are masked already ({where}). Leave the flag "
            "out, or make the shards with --masking=dynamic."
        )


def _typed(flags: MaskingFlags) -> dict[str, Any]:
    return {field.name: getattr(flags, field.name) for field in dataclasses.fields(MaskingFlags)}
