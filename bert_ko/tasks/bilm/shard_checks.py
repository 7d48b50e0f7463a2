"""Whether shards of words match each other, model and vocabulary; a mismatch is one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bert_ko.data.manifest import Manifest, read_manifests
from bert_ko.tasks.pretraining.shard_checks import (
    compare_sizes,
    find_shards,
    refuse_differences,
    refuse_other_objective,
)
from bert_ko.tokenization.word_vocabulary import WordVocabulary
from bert_ko.training.model_files import ModelFiles


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
    refuse_differences({path: _must_be_equal(one) for path, one in manifests.items()})
    warnings = tuple(compare_sizes(manifest.vocab_size, where, model))
    paths = tuple(shard.path for shard in shards)
    return WordShards(paths, manifest.tokenizer_fingerprint, where, warnings)


def _must_be_equal(manifest: Manifest) -> dict[str, object]:
    names = ("bilm_unit", "tokenizer_fingerprint", "vocab_size")
    return {name: getattr(manifest, name) for name in names}


def compare_words(words: WordVocabulary, shards: WordShards) -> None:
    """Refuses another vocabulary than the one that shards were made with, by a ValueError."""
    if words.fingerprint != shards.fingerprint:
        raise ValueError(
            f"--vocab_file={words.source} is not the vocabulary that the shards were made with "
            f"({shards.where}); give that, or make the shards again with this."
        )
