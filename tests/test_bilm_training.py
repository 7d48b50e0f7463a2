"""A bidirectional language model, pre-trained by its command: what it learns, how it resumes."""

import dataclasses
import itertools
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bert_ko.data.bilm_reader import BiLmReader, BiLmReaderConfig
from bert_ko.json_files import write_json
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.modeling.heads import BiLmHead, model_specs
from bert_ko.modeling.parameters import initial_parameters
from bert_ko.tokenization.word_vocabulary import load_word_vocabulary
from bert_ko.training.backend import DeviceConfig
from bert_ko.training.checkpoints import load_checkpoint, read_model_config
from bert_ko.training.devices import load_backend
from bert_ko.training.optimization import OptimizerConfig, hyperparameters
from tests.fakes import Command, checkpoints, last, metrics, results
from tests.hosts import on_two_hosts

# Importing TensorFlow and compiling take seconds.
pytestmark = pytest.mark.slow

# Each word but the first is decided by the one before.
CHAINS = ["봄 꽃 바람 비", "산 강 들 길", "책 글 말 뜻"]
BATCH, STEPS = 8, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of two corpora with one vocabulary, and a small model's configuration."""
    path, rng = tmp_path_factory.mktemp("bilm"), random.Random(1)
    for name, count in (("train", 300), ("held_out", 60)):
        sentences = ["\n".join(rng.choices(CHAINS, k=4)) for _ in range(count)]
        (path / f"{name}.txt").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")
    build = {"input_file": path / "train.txt", "bilm_unit": "eojeol", "num_workers": 1}
    Command("build_vocab", {"words": True, "output_dir": path / "words", **build}).succeed()
    make = Command("create_pretraining_data", {
        "objective": "bilm", "vocab_file": path / "words", "num_workers": 1,
    })  # fmt: skip
    for name in ("train", "held_out"):
        (path / name).mkdir()
        output = path / name / "words.tfrecord"
        make.succeed(input_file=path / f"{name}.txt", output_file=output, dupe_factor=None)
    write_json(str(path / "elmo.json"), {
        "model_type": "elmo", "hidden_size": 16, "cell_size": 12, "character_embedding_size": 6,
        "filters": [[1, 8], [2, 8]], "highway_layers": 1, "initializer_range": 0.1,
        "vocab_size": len(load_word_vocabulary(str(path / "words")).words),
    })  # fmt: skip
    return path


@pytest.fixture(scope="module")
def train(folder: Path) -> Command:
    return Command("run_pretraining", {
        "input_file": folder / "train", "vocab_file": folder / "words", "do_train": True,
        "bert_config_file": folder / "elmo.json", "train_batch_size": BATCH, "precision": "float32",
        "unroll_steps": STEPS, "learning_rate": 0.02, "optimizer": "adamw", "num_warmup_steps": 1,
        "log_every_steps": 1, "save_checkpoints_steps": 3, "num_train_steps": 6,
        "softmax_samples": 6,
    })  # fmt: skip


@pytest.fixture(scope="module")
def short(train: Command, folder: Path) -> Path:
    """Six updates."""
    train.finish(output_dir=folder / "short")
    return folder / "short"


def test_two_hosts_train_a_bilm_as_one_does(train: Command, short: Path, folder: Path) -> None:
    """Under JAX, with states that are carried from batch to batch, and words that are drawn."""
    output = folder / "two"
    with on_two_hosts(train, output, "jax", "two-hosts") as group:
        assert group.wait() == [0, 0], group.printed()
    pairs = list(zip(metrics(output), metrics(short), strict=True))
    assert len(pairs) == 6
    for found, wanted in pairs:
        assert found["loss"] == pytest.approx(wanted["loss"], abs=1e-5)
    found, wanted = (load_checkpoint(str(last(path))) for path in (output, short))
    assert found.state["position"] == wanted.state["position"]
    assert found.slots.keys() == wanted.slots.keys()
    for name, array in wanted.slots.items():  # what is carried is among them
        np.testing.assert_allclose(found.slots[name], array, atol=1e-4, err_msg=name)


def test_small_language_is_learnt(train: Command, folder: Path) -> None:
    """Three of five steps of a sentence are sure, and one in each direction has three choices."""
    output = folder / "learnt"
    printed = train.finish(
        output_dir=output, num_train_steps=120, do_eval=True, eval_input_file=folder / "held_out",
        softmax_samples=0, save_checkpoints_steps=1000, learning_rate=0.05,
        hidden_dropout_prob=0,
    )  # fmt: skip
    found = results(output)
    uniform = found["vocab_size"]
    assert uniform == 15
    for name in ("perplexity", "forward_perplexity", "backward_perplexity"):
        assert 1 < found[name] < 2 < uniform / 4  # 3 ** (1 / 5) is 1.25
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]))
    assert found["num_words"] == 60 * 4 * 5 and found["unknown_share"] == 0
    assert "mean" in printed and "not in the vocabulary of 15 words" in printed
    assert (output / "words.txt").read_bytes() == (folder / "words" / "words.txt").read_bytes()


def test_resumed_run_has_the_same_bits_and_carried_states(
    train: Command, short: Path, folder: Path
) -> None:
    again = folder / "again"
    shutil.copytree(short, again)
    shutil.rmtree(last(again))
    assert checkpoints(again) == ["checkpoint-00000003"]
    before = load_file(last(again) / "optimizer.safetensors")
    carried = [name for name in before if name.startswith("carried/")]
    assert len(carried) == 8 and all(np.abs(before[name]).max() > 0 for name in carried)
    assert before["carried/forward/layer_1/cell"].shape == (BATCH, 12)
    train.finish(output_dir=again)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (last(again) / name).read_bytes() == (last(short) / name).read_bytes()
    assert metrics(again) == metrics(short)


def test_both_backends_have_the_same_losses(train: Command, short: Path, folder: Path) -> None:
    train.finish(output_dir=folder / "jax", backend="jax")
    pairs = list(zip(metrics(folder / "jax"), metrics(short), strict=True))
    assert len(pairs) == 6
    for one, other in pairs:
        for name in ("loss", "forward_loss", "backward_loss", "gradient_norm"):
            assert one[name] == pytest.approx(other[name], rel=1e-3), name


def test_parts_of_a_batch_and_adagrad_equal_the_whole(folder: Path) -> None:
    config = read_model_config(str(folder / "elmo.json"))
    assert isinstance(config, ElmoConfig)
    config = dataclasses.replace(config, hidden_dropout_prob=0.0)
    head, backend = BiLmHead(BATCH), load_backend(DeviceConfig(precision="float32"))
    arrays = initial_parameters(model_specs(config, head), 0.1, 1)
    optimizer = OptimizerConfig(
        name="adagrad", learning_rate=0.2, num_warmup_steps=0, initial_accumulator=0.5
    )
    slots = []
    for parts in (1, 2):
        reader = BiLmReader(
            BiLmReaderConfig(
                (str(folder / "train" / "words.tfrecord"),), BATCH, STEPS, config.vocab_size,
                "syllable", config.places, num_groups=parts,
            )
        )  # fmt: skip
        program = backend.train_program(config, head, optimizer, dict(arrays), 1)
        for step, batch in enumerate(itertools.islice(reader.batches(), 2)):
            split = {n: v.reshape(parts, -1, *v.shape[1:]) for n, v in batch.features.items()}
            scalars = head.denominators(batch.features)
            program.train_step(step, split, scalars, hyperparameters(optimizer, step))()
        slots.append(program.slots())
    one, two = slots
    assert one.keys() == two.keys() and any(name.endswith("/adagrad_squares") for name in one)
    assert one["carried/backward/layer_1/cell"].shape == (BATCH, 12)
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    program.restart(dict(arrays), 1)
    assert all(not value.any() for value in program.slots().values())


REFUSED = {
    "max_seq_length": (64, "--max_seq_length has no effect with a bidirectional language model; "
                       "give --unroll_steps."),
    "pack": (True, "--pack has no effect with a bidirectional language model; leave it out."),
    "initial_accumulator": (1, "--initial_accumulator=1.0 has no effect with --optimizer=adamw; "
                            "give adagrad, or leave it out."),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_flag_without_effect_is_refused(train: Command, tmp_path: Path, name: str) -> None:
    value, message = REFUSED[name]
    assert train(output_dir=tmp_path / "run", **{name: value}).error == message
    assert not (tmp_path / "run").exists()


def test_other_vocabulary_is_refused(train: Command, folder: Path, tmp_path: Path) -> None:
    for name, lines in (("words.txt", []), ("words.json", None)):
        text = (folder / "words" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text if lines is None else text + "새말\n", encoding="utf-8")
    ended = train(output_dir=tmp_path / "run", vocab_file=tmp_path)
    assert "is not the one that" in ended.error


def test_too_small_vocabulary_of_the_model_is_refused(
    train: Command, folder: Path, tmp_path: Path
) -> None:
    write_json(str(tmp_path / "elmo.json"), {"model_type": "elmo", "vocab_size": 9})
    ended = train(output_dir=tmp_path / "run", bert_config_file=tmp_path / "elmo.json")
    assert ended.error.startswith(f"vocab_size is 9 in {tmp_path / 'elmo.json'}, but 15 in the ")


def test_command_for_pieces_refuses_words(folder: Path, tmp_path: Path) -> None:
    config = folder / "elmo.json"
    flags = {"do_train": True, "train_file": "x", "output_dir": tmp_path / "run"}
    ended = Command("run_squad", flags)(bert_config_file=config)
    assert ended.error == (
        f"{config}: a model of model_type elmo reads whole words, and this command needs a model "
        "of pieces."
    )


@pytest.mark.parametrize("command", ["run_classifier", "run_ner"])
def test_command_for_labels_without_words_says_what_to_name(
    command: str, folder: Path, tmp_path: Path
) -> None:
    flags = {"do_train": True, "data_dir": "x", "output_dir": tmp_path / "run"}
    flags |= {"task_name": "ynat"} if command == "run_classifier" else {}
    ended = Command(command, flags)(bert_config_file=folder / "elmo.json")
    assert ended.error.startswith(f"--vocab_file: no words.txt in {tmp_path / 'run'}, by which ")


def test_chains_are_sentences_of_distinct_words() -> None:
    """Else their perplexity would be another."""
    words = [chain.split() for chain in CHAINS]
    assert len(set(itertools.chain(*words))) == 12 == 3 * 4
