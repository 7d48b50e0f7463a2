"""Shards that contradict each other, flags, model or vocabulary; a mismatch is one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from bert_ko.data.manifest import read_manifests
from bert_ko.data.masking import MaskingConfig
from bert_ko.data.reader import DynamicMasking
from bert_ko.modeling.bert import BertConfig
from bert_ko.tasks.pretraining.settings import MaskingFlags, PretrainingFlags
from bert_ko.tasks.pretraining.shard_checks import (
    ShardSet,
    check_shards,
    compare_vocabulary,
    find_shards,
    refuse_other_objective,
    refuse_overlap,
    refuse_unused_masking_flags,
)
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.model_files import ModelFiles

CONFIG = BertConfig(vocab_size=100, max_position_embeddings=64)
MANIFEST: dict[str, Any] = {
    "format": 2,
    "flags": {
        "max_seq_length": 32, "max_predictions_per_seq": 5, "masked_lm_prob": 0.15,
        "do_whole_word_mask": False, "whole_word_unit": "morpheme", "max_ngram_size": 1,
        "replace_unit": "piece", "masking": "static", "next_sentence": "nsp",
        "feature_names": "v1",
    },
    "tokenizer_fingerprint": "0123456789abcdef",
    "tokenizer": {},
    "vocab_size": 100,
    "mask_id": 4,
    "replacement_ranges": [[5, 50], [60, 99]],
    "inputs": [],
    "num_buckets": 1,
    "totals": {},
}  # fmt: skip


def make(folder: Path, *names: str, manifest: Any = MANIFEST, **changes: Any) -> str:
    """Shards that nobody opens, and their manifest with changed flags or values."""
    folder.mkdir(parents=True, exist_ok=True)
    names = names or ("a.tfrecord",)
    for name in names:
        (folder / name).write_bytes(b"x" * 10)
    flags = {k: changes.pop(k, v) for k, v in manifest["flags"].items()}
    entries = [{"path": name, "records": 1, "bytes": 10, "crc32c": "00000000"} for name in names]
    written = {**manifest, **changes, "flags": flags, "shards": entries}
    (folder / "manifest.json").write_text(json.dumps(written), encoding="utf-8")
    return str(folder)


def checked(
    *patterns: str, config: BertConfig = CONFIG, is_training: bool = True, **changes: Any
) -> ShardSet:
    values: Any = {"max_seq_length": 32, "max_predictions_per_seq": 5, **changes}
    flags = PretrainingFlags(input_file=patterns, output_dir="out", do_eval=True, **values)
    return check_shards(patterns, flags, ModelFiles(config, "model.json", None), is_training)


def refusal(*patterns: str, **changes: Any) -> str:
    """The one sentence of the error."""
    with pytest.raises(ValueError) as error:
        checked(*patterns, **changes)
    message = str(error.value)
    assert message.endswith(".") and ". " not in message and "\n" not in message
    return message


# For what they were made

WORDS: dict[str, Any] = {
    **MANIFEST, "format": 3, "flags": {"objective": "bilm", "bilm_unit": "morpheme"},
}  # fmt: skip


@pytest.mark.parametrize("is_training", [True, False])
def test_check_shards_of_words_are_refused(is_training: bool, tmp_path: Path) -> None:
    folder = make(tmp_path, manifest=WORDS)
    assert refusal(folder, is_training=is_training) == (
        f"the shards have words for a bidirectional language model ({folder}/manifest.json), but "
        "model.json is of a model that needs instances for a masked language model; make shards "
        "with bin/create_pretraining_data --objective=masked_lm, or name the configuration of the "
        "other kind of model."
    )


def test_refuse_other_objective_of_a_model_of_words(tmp_path: Path) -> None:
    instances, words = make(tmp_path / "i"), make(tmp_path / "w", manifest=WORDS)
    refuse_other_objective(read_manifests([f"{words}/a.tfrecord"]), "bilm", "elmo.json")
    paths = [f"{words}/a.tfrecord", f"{instances}/a.tfrecord"]
    with pytest.raises(ValueError, match=rf"have instances .*{instances}.*elmo.json is .* words"):
        refuse_other_objective(read_manifests(paths), "bilm", "elmo.json")
    (tmp_path / "google.tfrecord").write_bytes(b"x")
    google = str(tmp_path / "google.tfrecord")
    with pytest.raises(ValueError, match=rf"have instances .*\({google}\).*--objective=bilm"):
        refuse_other_objective(read_manifests([google]), "bilm", "elmo.json")


# What fits


def test_check_shards_static_shards(tmp_path: Path) -> None:
    folder = make(tmp_path, "b.tfrecord", "a.tfrecord")
    found = checked(folder)
    assert found == ShardSet(
        sources=((f"{folder}/a.tfrecord", 1.0), (f"{folder}/b.tfrecord", 1.0)),
        feature_names="v1",
        masking=None,
        masked_lm_prob=0.15,
        fingerprint="0123456789abcdef",
        where=f"{folder}/manifest.json",
        warnings=[],
    )


def test_check_shards_dynamic_shards_are_masked_as_prepared(tmp_path: Path) -> None:
    folder = make(
        tmp_path, masking="dynamic", max_ngram_size=3, replace_unit="word", feature_names="v2",
        masked_lm_prob=0.2,
    )  # fmt: skip
    found = checked(folder, max_predictions_per_seq=7)  # of static shards alone
    config = MaskingConfig(0.2, 7, 3, True)
    assert found.masking == DynamicMasking("piece", config, 4, ((5, 50), (60, 99)))
    assert found.feature_names == "v2"


def test_check_shards_dynamic_shards_flags_have_the_last_word(tmp_path: Path) -> None:
    folder = make(tmp_path, masking="dynamic", max_ngram_size=3)
    found = checked(
        folder, do_whole_word_mask=True, whole_word_unit="eojeol", max_ngram_size=2,
        masked_lm_prob=0.5, replace_unit="word",
    )  # fmt: skip
    assert found.masking is not None
    assert found.masking.unit == "eojeol"
    assert found.masking.config == MaskingConfig(0.5, 5, 2, True)
    assert found.masked_lm_prob == 0.5


def test_check_shards_masked_lm_prob_is_the_highest_of_static_shards(tmp_path: Path) -> None:
    folders = [make(tmp_path / str(prob), masked_lm_prob=prob) for prob in (0.1, 0.3, 0.2)]
    assert checked(*folders).masked_lm_prob == 0.3


def test_check_shards_evaluation_masks_15_percent_as_prepared(tmp_path: Path) -> None:
    folder = make(
        tmp_path, masking="dynamic", masked_lm_prob=0.3, do_whole_word_mask=True,
        whole_word_unit="eojeol", max_seq_length=64,
    )  # fmt: skip
    flags = {"masked_lm_prob": 0.5, "max_ngram_size": 3, "do_whole_word_mask": False}
    for given in ({}, flags):
        found = checked(folder, is_training=False, max_seq_length=64, **given)
        assert found.masking is not None and found.warnings == []
        assert found.masking.unit == "eojeol"
        assert found.masking.config == MaskingConfig(0.15, 10, 1, False)  # 15 % of 64 is 9.6
    more = checked(folder, is_training=False, max_seq_length=64, max_predictions_per_seq=30)
    assert more.masking is not None and more.masking.config.max_predictions_per_seq == 30


def test_check_shards_evaluation_of_static_shards_is_as_they_are(tmp_path: Path) -> None:
    assert checked(make(tmp_path), is_training=False).masking is None


def test_check_shards_evaluation_of_folders_that_differ_takes_the_flag(tmp_path: Path) -> None:
    first = make(tmp_path / "a", masking="dynamic", masked_lm_prob=0.2)
    second = make(tmp_path / "b", masking="dynamic", do_whole_word_mask=True)
    with pytest.raises(ValueError, match="say with --do_whole_word_mask how to mask them"):
        checked(first, second, is_training=False)
    found = checked(first, second, is_training=False, do_whole_word_mask=True)
    assert found.masking is not None and found.masking.unit == "morpheme"


def test_check_shards_without_room_for_the_masks_warns(tmp_path: Path) -> None:
    folder = make(tmp_path, masking="dynamic")
    assert checked(folder, max_predictions_per_seq=4).warnings == []  # 15 % of 32 is 4.8
    assert checked(folder, masked_lm_prob=0.3).warnings == [
        "--max_predictions_per_seq=5 is less than 0.3 of --max_seq_length=32: at most 16% of a "
        "full sequence is masked; raise it to 9 to mask as much as wanted."
    ]


def test_check_shards_shards_without_next_sentence_have_weight_0(tmp_path: Path) -> None:
    pairs = make(tmp_path / "pairs")
    order = make(tmp_path / "order", next_sentence="sop")
    lines = make(tmp_path / "lines", next_sentence="none")
    weights = [shard.next_sentence_weight for shard in checked(pairs, lines, order).sources]
    assert weights == [1.0, 0.0, 1.0]


def test_check_shards_shards_without_manifest_warn(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (tmp_path / "manifest.json").unlink()
    found = checked(folder)
    assert found == ShardSet(
        (( f"{folder}/a.tfrecord", 1.0),), "v1", None, 0.15, None, f"{folder}/a.tfrecord",
        [
            f"no manifest.json beside {folder}/a.tfrecord: it can't be checked that the shards "
            "were made with this vocabulary."
        ],
    )  # fmt: skip


def test_check_shards_manifest_of_something_else_is_none(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    assert checked(folder).fingerprint is None


def test_check_shards_larger_vocabulary_of_the_model_warns(tmp_path: Path) -> None:
    found = checked(make(tmp_path), config=BertConfig(vocab_size=1000))
    assert found.warnings == [
        "model.json has vocab_size 1,000, the shards' vocabulary 100: the rest is never trained."
    ]


def test_find_shards_only_a_manifest_is_an_error(tmp_path: Path) -> None:
    folder = make(tmp_path)
    assert find_shards([f"{folder}/*"]) == [f"{folder}/a.tfrecord"]
    (tmp_path / "a.tfrecord").unlink()
    with pytest.raises(FileNotFoundError, match=r"^no shard in .*, only manifest\.json\.$"):
        find_shards([folder])


# What does not


@pytest.mark.parametrize("masking", ["static", "dynamic"])
def test_check_shards_other_length_says_which_to_change(masking: str, tmp_path: Path) -> None:
    folder = make(tmp_path, masking=masking)
    assert refusal(folder, max_seq_length=64) == (
        f"--max_seq_length=64, but the shards were made with 32 ({folder}/manifest.json); set the "
        "flag to that."
    )


def test_check_shards_other_predictions_say_which_to_change(tmp_path: Path) -> None:
    folder = make(tmp_path)
    assert refusal(folder, max_predictions_per_seq=20) == (
        "--max_predictions_per_seq=20, but the shards were made with 5 "
        f"({folder}/manifest.json); set the flag to that."
    )
    other = make(tmp_path / "other", max_predictions_per_seq=6)
    assert "were made with 6" in refusal(f"{folder}/a.tfrecord", other)


def test_check_shards_too_small_vocabulary_of_the_model_says_which_to_change(
    tmp_path: Path,
) -> None:
    folder = make(tmp_path)
    assert refusal(folder, config=BertConfig(vocab_size=99)) == (
        f"vocab_size is 99 in model.json, but 100 in the shards ({folder}/manifest.json); set "
        "vocab_size in the config to that."
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokenizer_fingerprint", "fedcba9876543210"),
        ("vocab_size", 110),
        ("max_seq_length", 64),
        ("masking", "dynamic"),
        ("feature_names", "v2"),
    ],
)
def test_check_shards_folders_that_differ_are_refused(
    name: str, value: Any, tmp_path: Path
) -> None:
    first, second = make(tmp_path / "a"), make(tmp_path / "b", **{name: value})
    expected = {**MANIFEST, **MANIFEST["flags"]}[name]
    assert refusal(first, second) == (
        f"the shards differ in {name}: {expected} in {first}/manifest.json, {value} in "
        f"{second}/manifest.json; make both with the same."
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("masked_lm_prob", 0.2),
        ("do_whole_word_mask", True),
        ("whole_word_unit", "eojeol"),
        ("max_ngram_size", 3),
        ("replace_unit", "word"),
    ],
)
def test_check_shards_folders_prepared_for_other_masks_want_the_flag(
    name: str, value: Any, tmp_path: Path
) -> None:
    first = make(tmp_path / "a", masking="dynamic")
    second = make(tmp_path / "b", masking="dynamic", **{name: value})
    expected = MANIFEST["flags"][name]
    assert refusal(first, second) == (
        f"the shards were prepared with {name} {expected} ({first}/manifest.json) and {value} "
        f"({second}/manifest.json); say with --{name} how to mask them."
    )
    assert checked(first, second, **{name: value}) == checked(first, second, **{name: value})


def test_check_shards_static_folders_masked_differently_are_fine(tmp_path: Path) -> None:
    first = make(tmp_path / "a")
    second = make(tmp_path / "b", do_whole_word_mask=True, max_ngram_size=3)
    assert len(checked(first, second).sources) == 2


@pytest.mark.parametrize("known_first", [True, False])
def test_check_shards_some_shards_without_manifest_are_refused(
    known_first: bool, tmp_path: Path
) -> None:
    known, unknown = make(tmp_path / "a"), make(tmp_path / "b")
    Path(unknown, "manifest.json").unlink()
    folders = (known, unknown) if known_first else (unknown, known)
    assert refusal(*folders) == (
        f"{unknown}/a.tfrecord is in no manifest.json, but other shards are; leave it out, or "
        "train on shards of finished runs of bin/create_pretraining_data alone."
    )


def test_check_shards_shard_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path)
    Path(folder, "a.tfrecord").write_bytes(b"x" * 9)
    with pytest.raises(ValueError) as error:
        checked(folder)
    assert f"{folder}/a.tfrecord has 9 bytes, but {folder}/manifest.json says 10" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"masked_lm_prob": 1.5}, "--masked_lm_prob must be in (0, 1), got 1.5."),
        ({"max_ngram_size": 0}, "--max_ngram_size must be in [1, 1048576], got 0."),
    ],
)
def test_masking_flags_out_of_bounds_are_refused(flags: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        MaskingFlags(**flags)
    assert str(error.value) == message


def test_check_shards_manifest_that_can_not_be_used_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path, masking="dynamic", replacement_ranges="5-50")
    assert refusal(folder) == (
        f"{folder}/manifest.json: replacement_ranges must be a list, got a string."
    )


def test_check_shards_static_shards_of_format_1_are_read(tmp_path: Path) -> None:
    without = {k: v for k, v in MANIFEST.items() if k not in ("mask_id", "replacement_ranges")}
    folder = make(tmp_path, manifest={**without, "format": 1})
    assert checked(folder).fingerprint == "0123456789abcdef"


# Masking flags and held-out shards


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({"max_ngram_size": 1}, "max_ngram_size"),
        ({"do_whole_word_mask": False}, "do_whole_word_mask"),
        ({"replace_unit": "piece", "masked_lm_prob": 0.15}, "masked_lm_prob"),
    ],
)
def test_refuse_unused_masking_flags_static_shards(flags: Any, name: str, tmp_path: Path) -> None:
    static = checked(make(tmp_path / "static"))
    dynamic = checked(make(tmp_path / "dynamic", masking="dynamic"))
    with pytest.raises(ValueError) as error:
        refuse_unused_masking_flags(MaskingFlags(**flags), [static])
    assert str(error.value) == (
        f"--{name} has no effect: the shards are masked already ({static.where}); leave the flag "
        "out, or make the shards with --masking=dynamic."
    )
    refuse_unused_masking_flags(MaskingFlags(**flags), [static, dynamic])
    refuse_unused_masking_flags(MaskingFlags(), [static])


def test_refuse_unused_masking_flags_shards_without_manifest_are_static(tmp_path: Path) -> None:
    folder = make(tmp_path)
    Path(folder, "manifest.json").unlink()
    with pytest.raises(ValueError, match=rf"masked already \({folder}/a\.tfrecord\)"):
        refuse_unused_masking_flags(MaskingFlags(max_ngram_size=2), [checked(folder)])


def test_refuse_overlap_names_the_shards(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", *(f"{n}.tfrecord" for n in range(6)))
    (tmp_path / "link").symlink_to(folder)
    training = checked(folder).paths
    held_out = checked(make(tmp_path / "b")).paths
    refuse_overlap(training, held_out)
    with pytest.raises(ValueError) as error:
        refuse_overlap(training, [f"{tmp_path}/link/4.tfrecord", f"{tmp_path}/b/a.tfrecord"])
    assert str(error.value) == (
        f"--eval_input_file has shards that are trained on: {tmp_path}/link/4.tfrecord; take them "
        "out of --input_file or out of --eval_input_file."
    )
    with pytest.raises(ValueError, match=r"2\.tfrecord and 3 more; take"):
        refuse_overlap(training, training)


# The vocabulary


@pytest.fixture(scope="module")
def fits(vocab_folder: str, tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    tokenizer = load_tokenizer(vocab_folder)
    folder = tmp_path_factory.mktemp("fits")
    size, fingerprint = len(tokenizer.vocab), tokenizer.fingerprint
    make(folder, vocab_size=size, tokenizer_fingerprint=fingerprint)
    return checked(str(folder), config=BertConfig(vocab_size=size))


def test_compare_vocabulary_another_says_which_to_change(
    vocab_folder: str, wordpiece_folder: str, fits: ShardSet
) -> None:
    compare_vocabulary(load_tokenizer(vocab_folder), fits)
    other = load_tokenizer(wordpiece_folder)
    with pytest.raises(ValueError) as error:
        compare_vocabulary(other, fits)
    assert str(error.value) == (
        f"--vocab_file={wordpiece_folder} is not the tokenizer that the shards were made with "
        f"({fits.where}); give the same vocabulary and the same tokenizer flags "
        "(--tokenizer_type, …), or make the shards again with these."
    )
    # Of shards without a manifest nothing is known.
    compare_vocabulary(other, fits._replace(fingerprint=None))
