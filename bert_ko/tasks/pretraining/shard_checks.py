"""Whether shards match each other, flags, model and vocabulary; a mismatch is one sentence."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bert_ko import files
from bert_ko.data.features import FeatureNames
from bert_ko.data.manifest import MANIFEST_NAME, Manifest, ManifestShard, read_manifests
from bert_ko.data.masking import MaskingConfig
from bert_ko.data.reader import DynamicMasking, ShardSource
from bert_ko.data.settings import Objective
from bert_ko.page_flags import REPORT_NAME
from bert_ko.tasks.pretraining.settings import MaskingFlags, PretrainingFlags
from bert_ko.training.model_files import ModelFiles, compare_vocab_size

if TYPE_CHECKING:  # MeCab is loaded only for a run that names a vocabulary
    from bert_ko.tokenization.tokenizer import Tokenizer


# Of the pieces of unmasked shards in an evaluation, as in BERT; see check_shards.
EVALUATED_SHARE = 0.15
_NO_SHARDS = (MANIFEST_NAME, REPORT_NAME)  # what else is in a folder of shards
_RECORDS: Mapping[Objective, str] = {
    "masked_lm": "instances for a masked language model",
    "bilm": "words for a bidirectional language model",
}


class ShardSet(NamedTuple):
    """Shards that match each other."""

    sources: tuple[ShardSource, ...]  # what to read
    feature_names: FeatureNames  # of the records
    masking: DynamicMasking | None  # None if they are masked already
    masked_lm_prob: float  # the highest of them; the default where no manifest tells it
    fingerprint: str | None  # of their tokenizer; None without a manifest
    where: str  # the manifest, or a shard that has none
    warnings: list[str]  # for the user

    @property
    def paths(self) -> list[str]:
        """Of the shards."""
        return [source.path for source in self.sources]


def find_shards(patterns: Sequence[str]) -> list[str]:
    """Files, globs and folders to paths of shards; manifests and pages are left out."""
    paths = files.expand_inputs(patterns)
    shards = [path for path in paths if path.rpartition("/")[2] not in _NO_SHARDS]
    if not shards:
        raise FileNotFoundError(f"no shard in {', '.join(patterns)}, only {MANIFEST_NAME}.")
    return shards


def check_shards(
    patterns: Sequence[str],
    flags: PretrainingFlags,
    model: ModelFiles,
    is_training: bool = True,
) -> ShardSet:
    """Reads the manifests of shards and compares them with flags and model.

    Args:
        patterns: files, globs and folders.
        flags: lengths, and how to mask unmasked shards.
        model: its configuration.
        is_training: else unmasked shards are masked for evaluation: EVALUATED_SHARE of the pieces,
            as they were prepared and whatever the flags say, so that models compare.

    Raises:
        FileNotFoundError: no shard there.
        ValueError: something does not match; says which of the two to change.
    """
    shards = read_manifests(find_shards(patterns))
    refuse_other_objective(shards, "masked_lm", model.config_file)
    manifests = {s.manifest_path: s.manifest for s in shards if s.manifest is not None}
    without = [shard.path for shard in shards if shard.manifest is None]
    if not manifests:
        return _without_manifest(without)
    if without:
        raise ValueError(
            f"{without[0]} is in no {MANIFEST_NAME}, but other shards are; leave it out, or "
            "train on shards of finished runs of bin/create_pretraining_data alone."
        )
    refuse_differences({where: _must_be_equal(one) for where, one in manifests.items()})
    _compare("max_seq_length", flags, manifests)
    where, manifest = next(iter(manifests.items()))
    warnings = compare_sizes(manifest.vocab_size, where, model)
    masking = None
    if manifest.instances.masking == "dynamic":
        masking = _masking(manifests, flags, is_training)
        prob = masking.config.masked_lm_prob
        if is_training:
            warnings += _short_of_room(masking, flags)
    else:
        prob = max(one.instances.masked_lm_prob for one in manifests.values())
        _compare("max_predictions_per_seq", flags, manifests)
    sources = tuple(
        ShardSource(s.path, 0.0 if s.manifest.instances.next_sentence == "none" else 1.0)
        for s in shards
        if s.manifest is not None
    )
    names, fingerprint = manifest.instances.feature_names, manifest.tokenizer_fingerprint
    return ShardSet(sources, names, masking, prob, fingerprint, where, warnings)


def refuse_other_objective(
    shards: Sequence[ManifestShard], objective: Objective, config_file: str
) -> None:
    """Refuses shards that a model is not trained on, by a ValueError.

    Args:
        shards: those without a manifest are of Google's script, which makes instances.
        objective: that of the model.
        config_file: its configuration, for the message.
    """
    for path, where, manifest in shards:
        made_for = "masked_lm" if manifest is None else manifest.objective
        if made_for != objective:
            raise ValueError(
                f"the shards have {_RECORDS[made_for]} ({path if manifest is None else where}), "
                f"but {config_file} is of a model that needs {_RECORDS[objective]}; make shards "
                f"with bin/create_pretraining_data --objective={objective}, or name the "
                "configuration of the other kind of model."
            )


def _without_manifest(paths: Sequence[str]) -> ShardSet:
    """Shards of Google's script: their first record will tell whether the lengths match."""
    warning = (
        f"no {MANIFEST_NAME} beside {paths[0]}: it can't be checked that the shards were made with "
        "this vocabulary."
    )
    sources, prob = tuple(map(ShardSource, paths)), MaskingConfig().masked_lm_prob
    return ShardSet(sources, "v1", None, prob, None, paths[0], [warning])


def refuse_differences(manifests: Mapping[str, Mapping[str, object]]) -> None:
    """Refuses shards that can't be read together, by a ValueError.

    Args:
        manifests: by path, what must be equal in all of them.
    """
    (first, wanted), *others = manifests.items()
    for other, values in others:
        for name, value in values.items():
            if value != wanted[name]:
                raise ValueError(
                    f"the shards differ in {name}: {wanted[name]} in {first}, {value} in {other}; "
                    "make both with the same."
                )


def compare_sizes(size: int, where: str, model: ModelFiles) -> list[str]:
    """Compares the size of the shards' vocabulary, which a manifest says, with the model's.

    Returns:
        Warnings: the model's is larger.

    Raises:
        ValueError: it is smaller.
    """
    model_size = model.config.vocab_size
    compare_vocab_size(size, "the shards", where, model_size, model.config_file)
    if size == model_size:
        return []
    return [
        f"{model.config_file} has vocab_size {model_size:,}, the shards' vocabulary {size:,}: "
        "the rest is never trained."
    ]


def _must_be_equal(manifest: Manifest) -> dict[str, object]:
    return {
        "tokenizer_fingerprint": manifest.tokenizer_fingerprint,
        "vocab_size": manifest.vocab_size,
        "max_seq_length": manifest.instances.max_seq_length,
        "masking": manifest.instances.masking,
        "feature_names": manifest.instances.feature_names,
    }


def _compare(name: str, flags: PretrainingFlags, manifests: Mapping[str, Manifest]) -> None:
    for where, manifest in manifests.items():
        given, made_with = getattr(flags, name), getattr(manifest.instances, name)
        if given != made_with:
            raise ValueError(
                f"--{name}={given}, but the shards were made with {made_with} ({where}); set the "
                "flag to that."
            )


def _masking(
    manifests: Mapping[str, Manifest], flags: PretrainingFlags, is_training: bool
) -> DynamicMasking:
    first, manifest = next(iter(manifests.items()))
    given, values = flags.given_masking, {}
    for name in (field.name for field in dataclasses.fields(MaskingFlags)):
        prepared = {where: getattr(other.instances, name) for where, other in manifests.items()}
        agrees = len(set(prepared.values())) == 1
        if name in given and (is_training or not agrees):
            values[name] = given[name]
        elif not agrees and (is_training or name != "masked_lm_prob"):
            ours = prepared[first]
            where = next(where for where, theirs in prepared.items() if theirs != ours)
            raise ValueError(
                f"the shards were prepared with {name} {ours} ({first}) and {prepared[where]} "
                f"({where}); say with --{name} how to mask them."
            )
    most = flags.max_predictions_per_seq
    if not is_training:
        values["masked_lm_prob"] = EVALUATED_SHARE
        most = max(most, round(flags.max_seq_length * EVALUATED_SHARE))
    instances = dataclasses.replace(manifest.instances, **values, max_predictions_per_seq=most)
    assert manifest.mask_id is not None
    return DynamicMasking(
        instances.whole_word_unit if instances.do_whole_word_mask else "piece",
        instances.masking_config,
        manifest.mask_id,
        manifest.replacement_ranges,
    )


def _short_of_room(masking: DynamicMasking, flags: PretrainingFlags) -> list[str]:
    """A warning if long sequences have fewer masks than they were to have."""
    share, most = masking.config.masked_lm_prob, flags.max_predictions_per_seq
    wanted = int(share * flags.max_seq_length)
    if wanted <= most:
        return []
    return [
        f"--max_predictions_per_seq={most} is less than {share:g} of --max_seq_length="
        f"{flags.max_seq_length}: at most {most / flags.max_seq_length:.0%} of a full sequence is "
        f"masked; raise it to {wanted} to mask as much as wanted."
    ]


def refuse_unused_masking_flags(flags: MaskingFlags, shards: Sequence[ShardSet]) -> None:
    """Refuses masking flags, by a ValueError, if all shards are masked already."""
    given = list(flags.given_masking)
    if given and all(one.masking is None for one in shards):
        raise ValueError(
            f"--{given[0]} has no effect: the shards are masked already ({shards[0].where}); "
            "leave the flag out, or make the shards with --masking=dynamic."
        )


def refuse_overlap(training: Sequence[str], evaluation: Sequence[str]) -> None:
    """Refuses held-out shards, by their paths, that are trained on, by a ValueError."""

    def identify(path: str) -> str:
        return path if files.is_remote(path) else os.path.realpath(path)

    trained = {identify(path) for path in training}
    shared = [path for path in evaluation if identify(path) in trained]
    if shared:
        names = ", ".join(shared[:3]) + (f" and {len(shared) - 3} more" if shared[3:] else "")
        raise ValueError(
            f"--eval_input_file has shards that are trained on: {names}; take them out of "
            "--input_file or out of --eval_input_file."
        )


def compare_vocabulary(tokenizer: Tokenizer, shards: ShardSet) -> None:
    """Refuses another vocabulary than the one that shards were made with, by a ValueError."""
    if shards.fingerprint not in (None, tokenizer.fingerprint):
        raise ValueError(
            f"--vocab_file={tokenizer.source} is not the tokenizer that the shards were made with "
            f"({shards.where}); give the same vocabulary and the same tokenizer flags "
            "(--tokenizer_type, …), or make the shards again with these."
        )
