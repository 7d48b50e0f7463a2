"""Whether shards, flags, model and vocabulary agree; each disagreement is one sentence."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from bert_ko import files
from bert_ko.data.features import FeatureNames
from bert_ko.data.manifest import MANIFEST_NAME, ManifestShard, read_manifests
from bert_ko.data.masking import MaskingConfig
from bert_ko.data.reader import DynamicMasking, ShardSource
from bert_ko.flags import Flags, flag
from bert_ko.modeling.config import BertConfig

if TYPE_CHECKING:
    from bert_ko.tokenization.tokenizer import Tokenizer

_MUST_AGREE = (
    "tokenizer_fingerprint", "vocab_size", "max_seq_length", "masking", "feature_names",
)  # fmt: skip
# What a manifest must have besides; one of another version may lack something.
_NEEDED = (*_MUST_AGREE, "max_predictions_per_seq", "next_sentence")


@dataclass(frozen=True)
class MaskingFlags(Flags):
    """How shards of --masking=dynamic are masked; None means as their manifest says."""

    masked_lm_prob: float | None = flag(
        None,
        help="Share of the pieces to mask, in (0, 1). Default: as the shards were prepared.",
        above=0,
        below=1,
    )
    do_whole_word_mask: bool | None = flag(
        None, help="Mask all pieces of a word together. Default: as the shards were prepared."
    )
    whole_word_unit: Literal["morpheme", "eojeol"] | None = flag(
        None, help="What a word is. Default: as the shards were prepared."
    )
    max_ngram_size: int | None = flag(
        None,
        help="Longest run of words masked together. Default: as the shards were prepared.",
        at_least=1,
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
        where: the manifest, or a shard that has none.
        warnings: for the user.
    """

    shards: tuple[ShardSource, ...]
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
        config: of the model.
        config_file: its name.
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
    if all(shard.manifest is None for shard in shards):
        return _without_manifest(shards)
    _refuse_mixtures(shards)
    manifest = _flat(shards[0])
    where = shards[0].manifest_path
    _compare_lengths(manifest, where, max_seq_length)
    compare_vocab_size(manifest["vocab_size"], "the shards", where, config, config_file)
    warnings = []
    if manifest["vocab_size"] < config.vocab_size:
        warnings.append(
            f"{config_file} has vocab_size {config.vocab_size:,}, the shards' vocabulary "
            f"{manifest['vocab_size']:,}: the rest is never trained."
        )
    masking = None
    if manifest["masking"] == "dynamic":
        masking = _masking(shards, masking_flags, max_predictions_per_seq)
    else:
        _compare_predictions(shards, max_predictions_per_seq)
    sources = tuple(
        ShardSource(shard.path, 0.0 if _flat(shard)["next_sentence"] == "none" else 1.0)
        for shard in shards
    )
    names = cast(FeatureNames, manifest["feature_names"])
    fingerprint = manifest["tokenizer_fingerprint"]
    return Agreement(sources, names, masking, fingerprint, where, warnings)


def _without_manifest(shards: list[ManifestShard]) -> Agreement:
    """Shards of Google's script: their first record will tell whether the lengths fit."""
    warning = (
        f"no {MANIFEST_NAME} beside {shards[0].path}: it can't be checked that the shards were "
        "made with this vocabulary."
    )
    sources = tuple(ShardSource(shard.path) for shard in shards)
    return Agreement(sources, "v1", None, None, shards[0].path, [warning])


def _flat(shard: ManifestShard) -> dict[str, Any]:
    """What a manifest says, its flags among the rest."""
    assert shard.manifest is not None
    values = {**shard.manifest.get("flags", {}), **shard.manifest}
    needed = list(_NEEDED)
    if values.get("masking") == "dynamic":
        needed += ["mask_id", "replacement_ranges", *_values(MaskingFlags())]
    missing = [name for name in needed if name not in values]
    if missing:
        raise ValueError(
            f"{shard.manifest_path} is of another version and lacks {missing[0]}; make the shards "
            "again with --overwrite."
        )
    return values


def _refuse_mixtures(shards: list[ManifestShard]) -> None:
    first = shards[0]
    for shard in shards[1:]:
        if shard.manifest is first.manifest:
            continue
        if shard.manifest is None or first.manifest is None:
            without = shard if shard.manifest is None else first
            raise ValueError(
                f"{without.path} is in no {MANIFEST_NAME}, but other shards are; leave it out, or "
                "train on shards of finished runs of bin/create_pretraining_data alone."
            )
        for name in _MUST_AGREE:
            ours, theirs = _flat(first)[name], _flat(shard)[name]
            if ours != theirs:
                raise ValueError(
                    f"the shards differ in {name}: {ours} in {first.manifest_path}, {theirs} in "
                    f"{shard.manifest_path}; make both with the same."
                )


def _compare_lengths(manifest: dict[str, Any], where: str, max_seq_length: int) -> None:
    if manifest["max_seq_length"] != max_seq_length:
        raise ValueError(
            f"--max_seq_length={max_seq_length}, but the shards were made with "
            f"{manifest['max_seq_length']} ({where}); set the flag to that."
        )


def compare_vocab_size(
    size: int, owner: str, where: str, config: BertConfig, config_file: str
) -> None:
    """Refuses a vocabulary that is larger than the model's.

    Raises:
        ValueError: with both numbers and what to change.
    """
    if size > config.vocab_size:
        raise ValueError(
            f"vocab_size is {config.vocab_size:,} in {config_file}, but {size:,} in {owner} "
            f"({where}); set vocab_size in the config to that."
        )


def _compare_predictions(shards: list[ManifestShard], max_predictions_per_seq: int) -> None:
    for shard in shards:
        made_with = _flat(shard)["max_predictions_per_seq"]
        if made_with != max_predictions_per_seq:
            raise ValueError(
                f"--max_predictions_per_seq={max_predictions_per_seq}, but the shards were made "
                f"with {made_with} ({shard.manifest_path}); set the flag to that."
            )


def _masking(
    shards: list[ManifestShard], flags: MaskingFlags, max_predictions_per_seq: int
) -> DynamicMasking:
    manifest = _flat(shards[0])
    typed = {name: value for name, value in _values(flags).items() if value is not None}
    values = {**{name: manifest[name] for name in _values(flags)}, **typed}
    for shard in shards:
        for name in (name for name in values if name not in typed):
            if _flat(shard)[name] != values[name]:
                raise ValueError(
                    f"the shards were prepared with {name} {values[name]} "
                    f"({shards[0].manifest_path}) and {_flat(shard)[name]} "
                    f"({shard.manifest_path}); say with --{name} how to mask them."
                )
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


def _values(flags: MaskingFlags) -> dict[str, Any]:
    return {field.name: getattr(flags, field.name) for field in dataclasses.fields(MaskingFlags)}


def refuse_idle_flags(flags: MaskingFlags, agreements: Sequence[Agreement]) -> None:
    """Masking flags need shards to mask, those for training or those for evaluation.

    Raises:
        ValueError: a flag was given, but all shards are masked already.
    """
    typed = [name for name, value in _values(flags).items() if value is not None]
    if typed and all(agreement.masking is None for agreement in agreements):
        raise ValueError(
            f"--{typed[0]} has no effect: the shards are masked already ({agreements[0].where}); "
            "leave the flag out, or make the shards with --masking=dynamic."
        )


def refuse_overlap(training: Agreement, evaluation: Agreement) -> None:
    """Held-out shards must not be trained on.

    Raises:
        ValueError: names those that are.
    """
    trained = {_file(shard.path) for shard in training.shards}
    shared = [shard.path for shard in evaluation.shards if _file(shard.path) in trained]
    if shared:
        names = ", ".join(shared[:3]) + (f" and {len(shared) - 3} more" if shared[3:] else "")
        raise ValueError(
            f"--eval_input_file has shards that are trained on: {names}; take them out of "
            "--input_file or out of --eval_input_file."
        )


def _file(path: str) -> str:
    return path if files.is_remote(path) else os.path.realpath(path)


def agree_tokenizer(
    vocab_file: str, agreement: Agreement, config: BertConfig, config_file: str
) -> Tokenizer:
    """Opens the vocabulary and compares it with the shards and the model.

    Args:
        vocab_file: vocab.txt, a .model, or a folder that holds one.
        agreement: about the shards.
        config: of the model.
        config_file: its name.

    Raises:
        FileNotFoundError: no vocabulary there.
        ValueError: they disagree; says which of the two to change.
    """
    # MeCab is loaded for the one who asks for it alone.
    from bert_ko.tokenization.folder import load_tokenizer

    tokenizer = load_tokenizer(vocab_file)
    if agreement.fingerprint not in (None, tokenizer.fingerprint):
        raise ValueError(
            f"--vocab_file={vocab_file} is not the vocabulary that the shards were made with "
            f"({agreement.where}); give that one, or make the shards again with this one."
        )
    compare_vocab_size(len(tokenizer.vocab), "the vocabulary", vocab_file, config, config_file)
    return tokenizer


def copy_vocabulary(tokenizer: Tokenizer, folder: str) -> None:
    """Puts the files of a vocabulary beside a model.

    Args:
        tokenizer: opened.
        folder: of the model; what stands there already stays.

    Raises:
        ValueError: the folder has another vocabulary.
    """
    from bert_ko.tokenization.folder import write_folder

    model = tokenizer.model.serialized if tokenizer.model else None
    with tempfile.TemporaryDirectory() as temporary:
        pieces = list(tokenizer.vocab.pieces)
        write_folder(temporary, pieces, tokenizer.config, model, tokenizer.user_dictionaries)
        contents = {}
        for name in sorted(os.listdir(temporary)):
            with open(os.path.join(temporary, name), "rb") as file:
                contents[name] = file.read()
    for name, content in contents.items():
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            continue
        with open(path, "rb") as file:
            if file.read() != content:
                raise ValueError(
                    f"--vocab_file={tokenizer.source} is to be copied to {folder}, but {path} "
                    "differs; delete that, choose another --output_dir, or leave --vocab_file out."
                )
    for name, content in contents.items():
        files.write_atomic(os.path.join(folder, name), content)
