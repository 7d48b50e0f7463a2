"""Whether shards of words match each other, model and vocabulary; a mismatch is one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bert_ko.data.manifest import Manifest, read_manifests
from bert_ko.tasks.pretraining.shard_checks import find_shards, refuse_other_objective
from bert_ko.tokenization.word_vocabulary import WordVocabulary
from bert_ko.training.model_files import ModelFiles, compare_vocab_size


class WordShards(NamedTuple):
    """Shards of words that match each other."""

    paths: tuple[str, ...]
    fingerprint: str  # of their vocabulary
    where: str  # a manifest
    warnings: tuple[str, ...]  # for the user


def check_word_shards(patterns: Sequence[str], model: ModelFiles) -> WordShards:
    """Reads the manifests of shards and compares them with each other and the model.

    Args:
        patterns: files, globs and folders.
        model: its configuration.

    Raises:
        FileNotFoundError: no shard there.
        ValueError: something does not match; says which of the two to change.
    """
    shards = read_manifests(find_shards(patterns))
    refuse_other_objective(shards, "bilm", model.config_file)
    manifests = {s.manifest_path: s.manifest for s in shards if s.manifest is not None}
    where, manifest = next(iter(manifests.items()))
    _refuse_differences(manifests)
    size, model_size = manifest.vocab_size, model.config.vocab_size
    compare_vocab_size(size, "the shards", where, model_size, model.config_file)
    warnings: tuple[str, ...] = ()
    if size < model_size:
        warnings = (
            f"{model.config_file} has vocab_size {model_size:,}, the shards' vocabulary {size:,}: "
            "the rest is never trained.",
        )
    paths = tuple(shard.path for shard in shards)
    return WordShards(paths, manifest.tokenizer_fingerprint, where, warnings)


def _refuse_differences(manifests: Mapping[str, Manifest]) -> None:
    (first, *others) = manifests
    for name in ("bilm_unit", "tokenizer_fingerprint", "vocab_size"):
        wanted = getattr(manifests[first], name)
        for other in others:
            value = getattr(manifests[other], name)
            if value != wanted:
                raise ValueError(
                    f"the shards differ in {name}: {wanted} in {first}, {value} in {other}; "
                    "make both with the same."
                )


def compare_words(words: WordVocabulary, shards: WordShards) -> None:
    """Refuses another vocabulary than the one that shards were made with, by a ValueError."""
    if words.fingerprint != shards.fingerprint:
        raise ValueError(
            f"--vocab_file={words.source} is not the vocabulary that the shards were made with "
            f"({shards.where}); give that, or make the shards again with this."
        )
