"""Whether shards, flags, model and vocabulary fit together; each mismatch is one sentence."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bert_ko import files
from bert_ko.data.features import FeatureNames
from bert_ko.data.manifest import MANIFEST_NAME, Manifest, ManifestShard, read_manifests
from bert_ko.data.reader import DynamicMasking, ShardSource
from bert_ko.modeling.config import ModelConfig
from bert_ko.tasks.pretraining.settings import MaskingFlags
from bert_ko.training.model_files import compare_vocab_size

if TYPE_CHECKING:  # MeCab is loaded only for a run that names a vocabulary
    from bert_ko.tokenization.tokenizer import Tokenizer


class ShardSet(NamedTuple):
    """Shards that fit together.

    Attributes:
        sources: what to read.
        feature_names: of their records.
        masking: None for shards that are masked already.
        fingerprint: of their tokenizer; None where there is no manifest.
        where: the manifest, or a shard that has none.
        warnings: for the user.
    """

    sources: tuple[ShardSource, ...]
    feature_names: FeatureNames
    masking: DynamicMasking | None
    fingerprint: str | None
    where: str
    warnings: list[str]


def find_shards(patterns: Sequence[str]) -> list[str]:
    """Files, globs and folders to paths of shards; manifests are left out."""
    paths = files.expand_inputs(patterns)
    shards = [path for path in paths if path.rpartition("/")[2] != MANIFEST_NAME]
    if not shards:
        raise FileNotFoundError(f"no shard in {', '.join(patterns)}, only {MANIFEST_NAME}.")
    return shards


def check_shards(
    patterns: Sequence[str],
    model: ModelConfig,
    config_file: str,
    max_seq_length: int,
    max_predictions_per_seq: int,
    masking_flags: MaskingFlags,
) -> ShardSet:
    """Reads the manifests of shards and compares them with what training wants.

    Args:
        patterns: files, globs and folders.
        model: its configuration.
        config_file: where that was read.
        max_seq_length: pieces of a sequence.
        max_predictions_per_seq: masked pieces of a sequence.
        masking_flags: for unmasked shards.

    Raises:
        FileNotFoundError: no shard there.
        ValueError: something does not fit; says which of the two to change.
    """
    shards = read_manifests(find_shards(patterns))
    manifests = _manifests(shards)
    if not manifests:
        return _without_manifest(shards)
    _refuse_differences(manifests)
    where, manifest = next(iter(manifests.items()))
    _compare_lengths(manifest, where, max_seq_length)
    compare_vocab_size(manifest.vocab_size, "the shards", where, model.vocab_size, config_file)
    warnings = []
    if manifest.vocab_size < model.vocab_size:
        warnings.append(
            f"{config_file} has vocab_size {model.vocab_size:,}, the shards' vocabulary "
            f"{manifest.vocab_size:,}: the rest is never trained."
        )
    masking = None
    if manifest.instances.masking == "dynamic":
        masking = _masking(manifests, masking_flags, max_predictions_per_seq)
    else:
        _compare_predictions(manifests, max_predictions_per_seq)
    sources = tuple(_source(shard.path, manifests[shard.manifest_path]) for shard in shards)
    names, fingerprint = manifest.instances.feature_names, manifest.tokenizer_fingerprint
    return ShardSet(sources, names, masking, fingerprint, where, warnings)


def _manifests(shards: Sequence[ManifestShard]) -> dict[str, Manifest]:
    """By path; none for shards of Google's script."""
    manifests = {s.manifest_path: s.manifest for s in shards if s.manifest is not None}
    without = [shard.path for shard in shards if shard.manifest is None]
    if manifests and without:
        raise ValueError(
            f"{without[0]} is in no {MANIFEST_NAME}, but other shards are; leave it out, or "
            "train on shards of finished runs of bin/create_pretraining_data alone."
        )
    return manifests


def _without_manifest(shards: Sequence[ManifestShard]) -> ShardSet:
    """Shards of Google's script: their first record will tell whether the lengths fit."""
    first = shards[0].path
    warning = (
        f"no {MANIFEST_NAME} beside {first}: it can't be checked that the shards were made with "
        "this vocabulary."
    )
    sources = tuple(ShardSource(shard.path) for shard in shards)
    return ShardSet(sources, "v1", None, None, first, [warning])


def _source(path: str, manifest: Manifest) -> ShardSource:
    return ShardSource(path, 0.0 if manifest.instances.next_sentence == "none" else 1.0)


def _refuse_differences(manifests: Mapping[str, Manifest]) -> None:
    (first, *others) = manifests
    wanted = _must_be_equal(manifests[first])
    for other in others:
        for name, value in _must_be_equal(manifests[other]).items():
            if value != wanted[name]:
                raise ValueError(
                    f"the shards differ in {name}: {wanted[name]} in {first}, {value} in {other}; "
                    "make both with the same."
                )


def _must_be_equal(manifest: Manifest) -> dict[str, object]:
    return {
        "tokenizer_fingerprint": manifest.tokenizer_fingerprint,
        "vocab_size": manifest.vocab_size,
        "max_seq_length": manifest.instances.max_seq_length,
        "masking": manifest.instances.masking,
        "feature_names": manifest.instances.feature_names,
    }


def _compare_lengths(manifest: Manifest, where: str, max_seq_length: int) -> None:
    made_with = manifest.instances.max_seq_length
    if made_with != max_seq_length:
        raise ValueError(
            f"--max_seq_length={max_seq_length}, but the shards were made with {made_with} "
            f"({where}); set the flag to that."
        )


def _compare_predictions(manifests: Mapping[str, Manifest], max_predictions_per_seq: int) -> None:
    for where, manifest in manifests.items():
        made_with = manifest.instances.max_predictions_per_seq
        if made_with != max_predictions_per_seq:
            raise ValueError(
                f"--max_predictions_per_seq={max_predictions_per_seq}, but the shards were made "
                f"with {made_with} ({where}); set the flag to that."
            )


def _masking(
    manifests: Mapping[str, Manifest], flags: MaskingFlags, max_predictions_per_seq: int
) -> DynamicMasking:
    first, manifest = next(iter(manifests.items()))
    given = flags.given_masking
    for where, other in manifests.items():
        for name in (field.name for field in dataclasses.fields(MaskingFlags)):
            ours, theirs = getattr(manifest.instances, name), getattr(other.instances, name)
            if name not in given and ours != theirs:
                raise ValueError(
                    f"the shards were prepared with {name} {ours} ({first}) and {theirs} "
                    f"({where}); say with --{name} how to mask them."
                )
    instances = dataclasses.replace(
        manifest.instances, **given, max_predictions_per_seq=max_predictions_per_seq
    )
    assert manifest.mask_id is not None
    return DynamicMasking(
        instances.whole_word_unit if instances.do_whole_word_mask else "piece",
        instances.masking_config,
        manifest.mask_id,
        manifest.replacement_ranges,
    )


def refuse_unused_masking_flags(flags: MaskingFlags, shards: Sequence[ShardSet]) -> None:
    """Masking flags need shards to mask, those for training or those for evaluation.

    Raises:
        ValueError: a flag was given, but all shards are masked already.
    """
    given = list(flags.given_masking)
    if given and all(one.masking is None for one in shards):
        raise ValueError(
            f"--{given[0]} has no effect: the shards are masked already ({shards[0].where}); "
            "leave the flag out, or make the shards with --masking=dynamic."
        )


def refuse_overlap(training: ShardSet, evaluation: ShardSet) -> None:
    """Held-out shards must not be trained on.

    Raises:
        ValueError: names those that are.
    """
    trained = {_file(shard.path) for shard in training.sources}
    shared = [shard.path for shard in evaluation.sources if _file(shard.path) in trained]
    if shared:
        names = ", ".join(shared[:3]) + (f" and {len(shared) - 3} more" if shared[3:] else "")
        raise ValueError(
            f"--eval_input_file has shards that are trained on: {names}; take them out of "
            "--input_file or out of --eval_input_file."
        )


def _file(path: str) -> str:
    return path if files.is_remote(path) else os.path.realpath(path)


def compare_vocabulary(tokenizer: Tokenizer, shards: ShardSet) -> None:
    """Refuses another vocabulary than the one that shards were made with.

    Raises:
        ValueError: says which of the two to change.
    """
    if shards.fingerprint not in (None, tokenizer.fingerprint):
        raise ValueError(
            f"--vocab_file={tokenizer.source} is not the tokenizer that the shards were made with "
            f"({shards.where}); give the same vocabulary and the same tokenizer flags "
            "(--tokenizer_type, …), or make the shards again with these."
        )
