"""Labels by a biLM: run_classifier and run_ner on an ELMo, from training to the Python API."""

import errno
import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import bert_ko
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.modeling.heads import model_specs
from bert_ko.modeling.heads.words import DEVIATIONS, MEANS, WORD_TABLE
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.tokenization.morphemes import dictionary_version
from bert_ko.tokenization.word_vocabulary import (
    SENTENCE_MARKS,
    Coverage,
    WordVocabulary,
    load_word_vocabulary,
    write_word_vocabulary,
)
from bert_ko.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from tests.fakes import Command, checkpoints, last, metrics, read_records, results
from tests.small_data import EXAMPLES, TAGGED, write_klue, write_table, write_texts

# Importing TensorFlow and compiling take seconds.
pytestmark = pytest.mark.slow

CONFIG = ElmoConfig(
    vocab_size=5, hidden_size=16, characters="jamo", character_embedding_size=6,
    filters=((1, 8), (2, 8)), highway_layers=1, cell_size=12, initializer_range=0.1,
    num_hidden_layers=1,
)  # fmt: skip
LAYERS = [f"elmo_input_layer_{i}" for i in range(2)]


@pytest.fixture(scope="module")
def elmo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as run_pretraining leaves it."""
    folder = tmp_path_factory.mktemp("elmo")
    words = WordVocabulary((*SENTENCE_MARKS, "오늘", "은"), "morpheme", dictionary_version())
    write_word_vocabulary(str(folder), words, Coverage(), 1)
    state = {"step": 7, "tokenizer_fingerprint": load_word_vocabulary(str(folder)).fingerprint}
    # Large, so that without training its layers tell words apart.
    initial = initial_parameters(model_specs(CONFIG), CONFIG.initializer_range, 1)
    arrays = {name: array * np.float32(2) for name, array in initial.items()}
    save_checkpoint(str(folder), 7, Checkpoint(arrays, {}, state), CONFIG, keep=0)
    return folder


COMMON: dict[str, Any] = {
    "max_seq_length": 10, "train_batch_size": 8, "learning_rate": 0.02, "optimizer": "adamw",
    "precision": "float32", "log_every_steps": 1, "elmo_network_units": 12,
    "elmo_network_dropout": 0, "do_train": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def classifier(elmo: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    table = write_texts(tmp_path_factory.mktemp("texts") / "data.tsv")
    return Command("run_classifier", {
        "task_name": "tsv", "train_file": table, "init_checkpoint": elmo, **COMMON,
    })  # fmt: skip


@pytest.fixture(scope="module")
def trained(classifier: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty epochs of three updates, evaluated and asked."""
    folder, table = tmp_path_factory.mktemp("runs") / "classes", classifier.flags["train_file"]
    ended = classifier.succeed(
        output_dir=folder, num_train_epochs=40, save_checkpoints_steps=100, do_eval=True,
        eval_file=table, do_predict=True, predict_file=table,
    )  # fmt: skip
    assert "elmo_input_gamma = " in ended.out
    return folder


def test_classes_are_learnt_and_the_mix_is_reported(trained: Path) -> None:
    found = results(trained)
    assert found["accuracy"] > 90
    assert sum(found[name] for name in LAYERS) == pytest.approx(1)
    assert found["elmo_input_gamma"] != 1 and len({found[name] for name in LAYERS}) == 2
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert f"{found['elmo_input_gamma']:.3f}" in page and "elmo_input_gamma" in page


def test_frozen_variables_stay_and_have_no_slots(trained: Path, elmo: Path) -> None:
    before = load_file(last(elmo) / "model.safetensors")
    after = load_file(last(trained) / "model.safetensors")
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    slots = load_file(last(trained) / "optimizer.safetensors")
    learnt = after.keys() - before.keys() - {MEANS, DEVIATIONS}
    assert {name.rpartition("/")[0] for name in slots} == learnt
    assert (trained / "words.txt").read_bytes() == (elmo / "words.txt").read_bytes()


def test_layers_are_standardized_by_the_texts_of_the_training(
    classifier: Command, trained: Path, elmo: Path, tmp_path: Path
) -> None:
    lines, features = tmp_path / "lines.txt", tmp_path / "features.npz"
    lines.write_text("".join(f"{text}\n" for text, _ in EXAMPLES), encoding="utf-8")
    Command("extract_features", {"init_checkpoint": elmo, "input_file": lines}).succeed(
        output_file=features, output_format="npz", precision="float32"
    )
    with np.load(features) as found:
        rows, starts = found["values"].astype(np.float64), found["sentence_offsets"]
    # Texts are cut at max_seq_length, two places of which are for the marks.
    room = classifier.flags["max_seq_length"] - 2
    words = np.concatenate([rows[start:end][:room] for start, end in pairwise(starts)])
    after = load_file(last(trained) / "model.safetensors")
    np.testing.assert_allclose(after[MEANS], words.mean(axis=0), rtol=1e-3, atol=1e-4)
    deviations = words.std(axis=0)
    least = 0.1 * deviations.mean(axis=-1, keepdims=True)
    wanted = np.maximum(deviations, least)
    np.testing.assert_allclose(after[DEVIATIONS], wanted, rtol=1e-3, atol=1e-4)
    # Further training keeps them, whatever its texts.
    table = write_texts(tmp_path / "few.tsv", EXAMPLES[:6])
    classifier.succeed(
        output_dir=tmp_path / "further", train_file=table, init_checkpoint=trained,
        num_train_epochs=1,
    )  # fmt: skip
    further = load_file(last(tmp_path / "further") / "model.safetensors")
    np.testing.assert_array_equal(further[MEANS], after[MEANS])


def test_layers_are_standardized_in_a_seed_that_begins_after_one_that_resumes(
    classifier: Command, tmp_path: Path
) -> None:
    run, second = tmp_path / "run", tmp_path / "run" / "seed-12346"
    flags = {"num_seeds": 2, "num_train_epochs": 1, "do_eval": True}
    command = classifier.having(eval_file=classifier.flags["train_file"], output_dir=run, **flags)
    command.succeed()
    before = load_file(last(second) / "model.safetensors")
    shutil.rmtree(second)
    command.succeed()
    after = load_file(last(second) / "model.safetensors")
    assert np.abs(after[MEANS]).max() > 0
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_trained_folder_predicts_without_further_flags(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    wanted = read_records(folder / "test_predictions.jsonl")
    table = write_table(tmp_path / "texts.tsv", [[text] for text, _ in EXAMPLES], "text")
    asked = Command("run_classifier", {"output_dir": folder})
    asked.succeed(do_predict=True, precision="float32", predict_file=table)
    assert read_records(folder / "test_predictions.jsonl") == wanted
    assert "→ " in asked.succeed(interactive=True, stdin=f"{EXAMPLES[0][0]}\n").out
    model = bert_ko.load(str(folder))
    assert isinstance(model, bert_ko.Classifier)
    for record, said in zip(wanted, model.classify([text for text, _ in EXAMPLES]), strict=True):
        assert said.label == record["label"]
        assert said.probability == pytest.approx(record["probability"], abs=1e-4)  # type: ignore[union-attr]
    assert model.classify("") is not None  # no word at all
    with pytest.raises(ValueError, match="can't be loaded as masked_lm"):
        bert_ko.load(str(folder), kind="masked_lm")


def test_folder_of_a_training_before_layers_were_standardized_predicts(
    classifier: Command, trained: Path, tmp_path: Path
) -> None:
    former, table = tmp_path / "former", classifier.flags["train_file"]
    classifier.succeed(output_dir=former, num_train_epochs=1, elmo_standardize=False)
    found = load_checkpoint(str(last(former)))
    del found.state["identity"]["elmo_standardize"]
    save_checkpoint(str(former), found.state["step"], found, CONFIG, keep=0)
    asked = Command("run_classifier", {"output_dir": former, "precision": "float32"})
    asked.succeed(do_predict=True, predict_file=table)
    assert isinstance(bert_ko.load(str(former)), bert_ko.Classifier)


def test_resumed_run_has_the_same_bits(classifier: Command, trained: Path, tmp_path: Path) -> None:
    again = shutil.copytree(trained, tmp_path / "again")
    shutil.rmtree(last(again))
    assert checkpoints(again) == ["checkpoint-00000100"]
    classifier.succeed(output_dir=again, num_train_epochs=40, save_checkpoints_steps=100)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (last(again) / name).read_bytes() == (last(trained) / name).read_bytes()


def test_layers_that_the_disk_has_no_room_for_are_computed_in_every_pass(
    classifier: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    output, table = tmp_path / "full", classifier.flags["train_file"]
    ended = classifier.succeed(
        output_dir=output, num_train_epochs=40, save_checkpoints_steps=100, do_eval=True,
        eval_file=table,
    )  # fmt: skip
    assert ended.err.count("no room for 0.0 GB (No space left on device)") == 2
    for one, other in zip(metrics(output)[:10], metrics(trained)[:10], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_both_backends_have_the_same_losses(
    classifier: Command, trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "jax"
    classifier.finish(
        output_dir=output, num_train_epochs=40, max_hours=None, backend="jax",
        save_checkpoints_steps=100,
    )  # fmt: skip
    pairs = list(zip(metrics(output), metrics(trained), strict=False))[:10]
    assert len(pairs) == 10
    for one, other in pairs:
        assert one["loss"] == pytest.approx(other["loss"], rel=2e-3)


def test_parts_of_a_batch_equal_the_whole(
    classifier: Command, trained: Path, tmp_path: Path
) -> None:
    """Words are cut with the rows of a batch that they belong to."""
    output = tmp_path / "parts"
    classifier.succeed(
        output_dir=output, gradient_accumulation_steps=2, num_train_epochs=40,
        save_checkpoints_steps=100,
    )  # fmt: skip
    for one, other in zip(metrics(output)[:5], metrics(trained)[:5], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_network_trains_without_a_biLM(classifier: Command, elmo: Path, tmp_path: Path) -> None:
    """The same network on words learnt from nothing."""
    table = classifier.flags["train_file"]
    alone = classifier.having(
        init_checkpoint=None, bert_config_file=last(elmo) / "bert_config.json", vocab_file=elmo,
        elmo_mix="words", elmo_tune=True, gamma=False,
    )  # fmt: skip
    alone.succeed(output_dir=tmp_path / "alone", num_train_epochs=20, do_eval=True, eval_file=table)
    found = results(tmp_path / "alone")
    assert found["accuracy"] > 90 and not [name for name in found if "elmo" in name]


@pytest.mark.parametrize("mix", ["mix", "none"])
def test_words_that_the_task_learns_are_of_the_trained_folder(
    classifier: Command, elmo: Path, tmp_path: Path, mix: str
) -> None:
    run, table = tmp_path / "run", classifier.flags["train_file"]
    source: dict[str, Any] = {"init_checkpoint": elmo}
    if mix == "none":  # needs no biLM, only its configuration and words
        source = {"bert_config_file": last(elmo) / "bert_config.json", "vocab_file": elmo}
    command = Command("run_classifier", {"task_name": "tsv", "train_file": table, **COMMON})
    command.succeed(
        **source, output_dir=run, num_train_epochs=2, elmo_mix=mix, elmo_word_units=7,
        do_predict=True, predict_file=table,
    )  # fmt: skip
    learnt = load_file(last(run) / "model.safetensors")[WORD_TABLE]
    assert learnt.shape == (CONFIG.vocab_size, 7)
    assert np.abs(learnt[2:]).max(axis=1).min() > 0  # <UNK>, and both words, are in the texts
    assert not learnt[:2].any()  # marks are not read
    wanted = read_records(run / "test_predictions.jsonl")
    model = bert_ko.load(str(run))
    assert isinstance(model, bert_ko.Classifier)
    for record, said in zip(wanted, model.classify([text for text, _ in EXAMPLES]), strict=True):
        assert said.probability == pytest.approx(record["probability"], abs=1e-4)  # type: ignore[union-attr]


def test_more_words_than_the_models_are_refused(
    classifier: Command, elmo: Path, tmp_path: Path
) -> None:
    words = WordVocabulary((*SENTENCE_MARKS, "오늘", "은", "비"), "morpheme", dictionary_version())
    write_word_vocabulary(str(tmp_path / "more"), words, Coverage(), 1)
    ended = classifier(output_dir=tmp_path / "run", vocab_file=tmp_path / "more", elmo_word_units=7)
    assert "vocab_size is 5 in " in ended.error and "but 6 in words.txt (" in ended.error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"pack": True}, "--pack: the encoder elmo does not keep"),
        ({"remat": True}, "--remat has no effect on a model of model_type elmo; leave the flag"),
        ({"hidden_dropout_prob": 0.2}, "--hidden_dropout_prob=0.2 has no effect on a model of "
         "model_type elmo without --elmo_tune"),
        ({"layer_decay": 0.5}, "--layer_decay=0.5 has no effect"),
        ({"tokenizer_type": "wordpiece"}, "--tokenizer_type is for pieces"),
        ({"untrained_positions": "keep"}, "--untrained_positions=keep has no effect"),
        ({"attention": "fused"}, "--attention=fused has no effect"),
        ({"init_checkpoint": None}, "an ELMo without --init_checkpoint is random"),
    ],
)  # fmt: skip
def test_flags_without_effect_are_refused(
    classifier: Command, elmo: Path, flags: Any, message: str, tmp_path: Path
) -> None:
    command = classifier.having(bert_config_file=last(elmo) / "bert_config.json", vocab_file=elmo)
    ended = command(output_dir=tmp_path / "run", **flags)
    assert message in ended.error and not (tmp_path / "run").exists()


def test_folder_without_its_words_says_what_to_name(
    classifier: Command, elmo: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(elmo, tmp_path / "bare")
    (bare / "words.txt").unlink()
    ended = classifier(init_checkpoint=bare, output_dir=tmp_path / "run")
    assert ended.error.startswith(f"--vocab_file: no words.txt in {bare}")


def test_other_mix_than_that_of_the_training_is_refused(trained: Path) -> None:
    asked = Command("run_classifier", {"output_dir": trained, "input_file": "-"})
    ended = asked(elmo_mix="top")
    assert "--elmo_mix=top, but " in ended.error and "was trained with mix" in ended.error


# Tags


def test_tags_of_characters_are_learnt_by_words_of_a_tuned_model(
    elmo: Path, tmp_path: Path
) -> None:
    path, folder = write_klue(tmp_path / "data.tsv"), tmp_path / "run"
    ended = Command("run_ner", {**COMMON, "init_checkpoint": elmo}).succeed(
        output_dir=folder, train_file=path, use_crf=True, num_train_epochs=60,
        crf_learning_rate_multiple=1, do_eval=True, eval_file=path, do_predict=True,
        predict_file=path, elmo_tune=True, elmo_at="both", elmo_network_dropout=0.1,
    )  # fmt: skip
    found = results(folder)
    before = load_file(last(elmo) / "model.safetensors")
    after = load_file(last(folder) / "model.safetensors")
    assert all(np.abs(after[name] - array).max() > 0 for name, array in before.items())
    assert found["f1"] > 80, ended.out
    assert sum(found[name.replace("input", "output")] for name in LAYERS) == pytest.approx(1)
    wanted = read_records(folder / "test_predictions.jsonl")
    model = bert_ko.load(str(folder))
    assert isinstance(model, bert_ko.Tagger)
    for record, entities in zip(wanted, model.tag([r["text"] for r in wanted]), strict=True):
        assert [(e.label, e.start, e.end) for e in entities] == [
            (e["type"], e["start"], e["end"]) for e in record["entities"]
        ]
        assert all(record["text"][e.start : e.end] == e.text for e in entities)
    assert len(wanted) == len(TAGGED)
