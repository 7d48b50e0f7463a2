"""What is particular to pre-training: its shards, their vocabulary, and losses that diverge."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from bert_ko.modeling.bert import POSITION_EMBEDDINGS, BertConfig
from bert_ko.modeling.heads import model_specs
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from tests.fakes import (
    REPOSITORY,
    Command,
    FakeBackend,
    checkpoints,
    last,
    log_of,
    metrics,
    read_json,
    results,
    weights,
)
from tests.small_data import CONFIG, Trainable, save_weights, write_config, write_shards

GOOGLES_KEYS = [
    "global_step", "loss", "masked_lm_accuracy", "masked_lm_loss", "next_sentence_accuracy",
    "next_sentence_loss",
]  # fmt: skip


class Shards(NamedTuple):
    """Folders of shards of several kinds; see ``pretraining``."""

    dynamic: str  # four; three of them are trained on
    static: str  # two
    lines: str  # without next sentences
    longer: str  # 64 pieces


@pytest.fixture(scope="session")
def shards(
    pretraining: Trainable, vocab_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> Shards:
    folder = tmp_path_factory.mktemp("shards")
    return Shards(
        str(Path(pretraining.train["input_file"]).parent),
        write_shards(folder / "static/a@2", vocab_folder, dupe_factor=2),
        write_shards(folder / "lines/a@1", vocab_folder, next_sentence="none", masking="dynamic"),
        write_shards(folder / "longer/a@2", vocab_folder, masking="dynamic", max_seq_length=64),
    )


@pytest.fixture
def train(pretraining: Trainable, backend: FakeBackend, tmp_path: Path) -> Command:
    """Trains, with a model of numpy and without a vocabulary."""
    return pretraining.command.having(do_train=True, vocab_file=None, output_dir=tmp_path / "run")


@pytest.fixture
def evaluate(train: Command) -> Command:
    """Evaluates alone what ``train`` has trained."""
    train.succeed()
    return train.having(do_train=False, do_eval=True)


# Shards


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dynamic", "static", "lines"])
def test_run_trains_on_every_kind_of_shards(
    kind: str, train: Command, shards: Shards, tmp_path: Path
) -> None:
    train.succeed(input_file=getattr(shards, kind))
    losses = [record["next_sentence_loss"] for record in metrics(tmp_path / "run")]
    assert losses == pytest.approx([0.0 if kind == "lines" else 0.5] * 12, rel=1e-5)


def test_run_held_out_shards_may_be_masked_already(
    train: Command, shards: Shards, tmp_path: Path
) -> None:
    train.succeed(do_eval=True, eval_input_file=shards.static, max_ngram_size=2)
    assert list(results(tmp_path / "run")) == GOOGLES_KEYS


def test_run_evaluation_alone_takes_input_file_as_google_does(
    evaluate: Command, shards: Shards, tmp_path: Path
) -> None:
    evaluate.succeed(input_file=f"{shards.dynamic}/a-00003*")
    first = results(tmp_path / "run")
    evaluate.succeed(input_file="/gone", eval_input_file=f"{shards.dynamic}/a-00003*")
    assert results(tmp_path / "run") == first


def test_run_evaluation_keeps_the_order_of_the_shards(
    evaluate: Command, shards: Shards, tmp_path: Path
) -> None:
    # Else the first batches would be others with each seed.
    found = []
    for seed in (1, 2):
        evaluate.succeed(input_file=shards.static, max_eval_steps=2, random_seed=seed)
        found.append(results(tmp_path / "run"))
    assert found[0] == found[1]


def test_run_held_out_shards_of_another_tokenizer_are_refused(
    train: Command, tmp_path: Path, wordpiece_folder: str
) -> None:
    other = write_shards(tmp_path / "other/a@1", wordpiece_folder)
    message = train(do_eval=True, eval_input_file=other).error
    assert message.startswith("the shards of --eval_input_file were made with another tokenizer")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"max_seq_length": 64}, "--max_seq_length=64, but the shards were made with 32 ("),
        ({"input_file": "{static}", "max_ngram_size": 2}, "--max_ngram_size has no effect: "),
        ({"do_eval": True, "eval_input_file": "{longer}"},
         "--max_seq_length=32, but the shards were made with 64 ("),
        ({"do_eval": True, "eval_input_file": "{dynamic}"},
         "--eval_input_file has shards that are trained on: {dynamic}/a-00000-of-00004, "),
        ({"input_file": "/nowhere/*"}, "no file matches '/nowhere/*'."),
        ({"num_train_steps": 0}, "--num_train_steps must be at least 1, got 0."),
        ({"num_warmup_steps": -1}, "--num_warmup_steps must be at least 0, got -1."),
        ({"max_eval_steps": 0}, "--max_eval_steps must be at least 1, got 0."),
        ({"shuffle_buffer_size": -1}, "--shuffle_buffer_size must be at least 0, got -1."),
        ({"do_train": None}, "give --do_train, --do_eval or both."),
        ({"eval_every_steps": 5}, "--eval_every_steps needs --eval_input_file."),
        ({"tokenizer_type": "wordpiece"}, "--tokenizer_type needs --vocab_file."),
    ],
)  # fmt: skip
def test_run_flags_or_shards_that_do_not_fit_are_refused(
    flags: dict[str, Any], message: str, train: Command, backend: FakeBackend, shards: Shards,
    tmp_path: Path,
) -> None:  # fmt: skip
    places = shards._asdict()
    given = {k: v.format(**places) if isinstance(v, str) else v for k, v in flags.items()}
    assert train(**given).error.startswith(message.format(**places))
    assert backend.configs == [] and not (tmp_path / "run").exists()


def test_run_warnings_of_all_shards_are_printed_once(
    train: Command, shards: Shards, tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    shutil.copy(f"{shards.static}/a-00000-of-00002", tmp_path / "shards")
    config = write_config(tmp_path / "a.json", vocab_size=1600)
    ended = train.succeed(
        do_eval=True, eval_input_file=tmp_path / "shards", bert_config_file=config
    )
    assert ended.warnings == [
        f"{config} has vocab_size 1,600, the shards' vocabulary 1,500: the rest is never trained.",
        f"no manifest.json beside {tmp_path}/shards/a-00000-of-00002: it can't be checked that the "
        "shards were made with this vocabulary.",
    ]


# Damaged shards


def damage(path: Path, record: int) -> None:
    """Changes a byte in the body of a record."""
    data = bytearray(path.read_bytes())
    start = 0
    for _ in range(record):
        start += 16 + int.from_bytes(data[start : start + 8], "little")
    data[start + 40] ^= 255
    path.write_bytes(data)


def test_run_damaged_shard_is_named_with_its_record(
    train: Command, shards: Shards, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(shards.dynamic, tmp_path / "shards"))
    path = folder / "a-00001-of-00004"
    damage(path, 40)
    command = train.having(input_file=f"{folder}/a-0000[0-2]*", shuffle_buffer_size=0)
    assert command().error.startswith(f"{path}: record 40: its checksum is wrong")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-3])
    assert (
        f"{path} has {size - 3:,} bytes, but {folder}/manifest.json says {size:,}"
    ) in command().error


def test_run_shard_without_manifest_is_told_by_its_records(
    train: Command, shards: Shards, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    shutil.copy(f"{shards.static}/a-00000-of-00002", path)
    command = train.having(input_file=path, shuffle_buffer_size=0)
    assert command(max_seq_length=64).error.startswith(f"{path}: record 0: ")
    path.write_bytes(path.read_bytes()[:-3])
    assert re.match(rf"{path}: record \d+: the file ends inside it", command().error)


# Packing


def forget_after(folder: Path, step: int) -> None:
    """Removes the later checkpoints of a run."""
    for path in checkpoints(folder):
        if int(path[-8:]) > step:
            shutil.rmtree(folder / path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dynamic", "static", "lines"])
def test_run_packed_takes_every_kind_of_shards_and_says_how_full_rows_are(
    kind: str, train: Command, shards: Shards, tmp_path: Path
) -> None:
    printed = train.succeed(pack=True, input_file=getattr(shards, kind)).err
    (line,) = [line for line in printed.splitlines() if line.startswith("packed: ")]
    assert re.fullmatch(
        r"packed: \d\.\d\d sequences in a row of 32 pieces, \d\d?\.\d% padding instead of "
        r"\d\d?\.\d% \(the first \d+ sequences\)",
        line,
    )
    losses = [record["next_sentence_loss"] for record in metrics(tmp_path / "run")]
    assert losses == pytest.approx([0.0 if kind == "lines" else 0.5] * 12, rel=1e-5)


def test_run_packed_shards_without_manifest_are_packed_by_the_default_share(
    train: Command, shards: Shards, tmp_path: Path
) -> None:
    path = shutil.copy(f"{shards.static}/a-00000-of-00002", tmp_path / "a")
    assert "packed: " in train.succeed(pack=True, input_file=path).err


@pytest.mark.slow
def test_run_packed_resumes_to_the_same_run(train: Command, tmp_path: Path) -> None:
    packed = train.having(
        pack=True, train_batch_size=48, save_checkpoints_steps=1, keep_checkpoint_max=0
    )
    packed.succeed()
    whole, final = metrics(tmp_path / "run"), weights(tmp_path / "run")
    assert whole[-1]["epoch"] > 0
    for step in (1, 5, 11):
        forget_after(tmp_path / "run", step)
        packed.succeed()
        assert metrics(tmp_path / "run") == whole
        assert weights(tmp_path / "run") == final


def test_run_packed_is_another_run(train: Command) -> None:
    train.succeed()
    assert "--pack" in train(pack=True).error


@pytest.mark.slow
def test_run_packed_evaluation_is_that_of_rows_of_their_own(
    train: Command, shards: Shards, tmp_path: Path
) -> None:
    train.succeed(pack=True)
    found = []
    for pack in (True, False):
        train.having(do_train=False, do_eval=True).succeed(pack=pack)
        found.append(results(tmp_path / "run"))
    assert found[0] == found[1]


# The vocabulary


def test_run_vocab_file_that_does_not_fit_is_refused(
    train: Command, shards: Shards, vocab_folder: str, wordpiece_folder: str, tmp_path: Path
) -> None:
    assert train(vocab_file=wordpiece_folder).error == (
        f"--vocab_file={wordpiece_folder} is not the tokenizer that the shards were made with "
        f"({shards.dynamic}/manifest.json); give the same vocabulary and the same tokenizer flags "
        "(--tokenizer_type, …), or make the shards again with these."
    )
    train.succeed()
    vocab = (Path(vocab_folder) / "vocab.txt").read_text("utf-8")
    (tmp_path / "run/vocab.txt").write_text(f"{vocab}mine\n", "utf-8")
    assert "differs; delete that" in train(vocab_file=vocab_folder, do_eval=True).error


@pytest.mark.slow
def test_run_vocab_file_without_config_is_opened_with_the_tokenizer_flags(
    train: Command, wordpiece_folder: str, tmp_path: Path
) -> None:
    (tmp_path / "vocab").mkdir()
    vocab = shutil.copy(f"{wordpiece_folder}/vocab.txt", tmp_path / "vocab")
    kind = {"tokenizer_type": "wordpiece"}
    folder = write_shards(tmp_path / "shards/a", vocab, masking="dynamic", **kind)
    command = train.having(input_file=folder)
    message = command(vocab_file=vocab).error
    assert "is not the tokenizer that the shards were made with" in message
    command.succeed(vocab_file=vocab, **kind)
    copy = load_tokenizer(str(tmp_path / "run"))
    assert copy.fingerprint == load_tokenizer(wordpiece_folder).fingerprint
    # They are no part of what a run is: it resumes without them.
    shutil.rmtree(last(tmp_path / "run"))
    command.succeed()


def test_run_vocab_file_is_checked_against_the_model_too(
    train: Command, shards: Shards, vocab_folder: str, tmp_path: Path
) -> None:
    path = shutil.copy(f"{shards.static}/a-00000-of-00002", tmp_path / "a")  # without a manifest
    config = write_config(tmp_path / "small.json", vocab_size=1000)
    flags = {"input_file": path, "bert_config_file": config, "vocab_file": vocab_folder}
    assert train(**flags).error == (
        f"vocab_size is 1,000 in {config}, but 1,500 in the vocabulary ({vocab_folder}); set "
        "vocab_size in the config to that."
    )


@pytest.mark.slow
def test_command_without_vocab_file_loads_no_tokenizer() -> None:
    code = "import sys\nimport bert_ko.run_pretraining\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert not set(done.stdout.split()) & {"mecab", "_mecab"}


# Where weights come from


def test_run_init_checkpoint_lands_in_the_model_and_says_what_is_not_used(
    pretraining: Trainable, train: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    arrays = save_weights(tmp_path / "first", pretraining.head, num_hidden_layers=2)
    lines = train.succeed(init_checkpoint=tmp_path / "first").err.splitlines()
    given = backend.programs[0].given[0]
    assert given.keys() == model_specs(CONFIG, pretraining.head).keys()
    assert all(np.array_equal(array, arrays[name]) for name, array in given.items())
    place = lines.index(
        f"{tmp_path}/first/checkpoint-00000007 (checkpoint of step 7): {len(given)} variables "
        "loaded, 0 new, 16 not used"
    )
    first = "bert/encoder/layer_1/attention/output/LayerNorm/beta"
    assert lines[place + 1].startswith(f"  not used (of other layers): {first}, bert/")
    assert lines[place + 1].endswith(" and 8 more")


@pytest.mark.slow
def test_run_phases_begin_where_the_ones_before_ended(
    train: Command, backend: FakeBackend, shards: Shards, classifier: Trainable, tmp_path: Path
) -> None:
    """Lengths 32, 64, classes at 24, 64, and 64 in a larger model."""
    config = write_config(tmp_path / "larger.json", max_position_embeddings=100)
    longer = train.having(input_file=shards.longer, max_seq_length=64, max_predictions_per_seq=10)
    said = r"positions (\d+) to (\d+) were never trained: .* of the first (\d+) repeated"
    train.succeed(output_dir=tmp_path / "0")
    for number, (command, flags, reached, wanted) in enumerate(
        (
            (longer, {}, 64, ("32", "63", "32")),
            (classifier.command.having(**classifier.train), {"max_seq_length": 24}, 64, None),
            (longer, {}, 64, None),
            (longer, {"bert_config_file": config}, 64, ("64", "99", "64")),
        ),
        start=1,
    ):
        before = load_checkpoint(str(last(tmp_path / str(number - 1)))).parameters
        flags = {**flags, "init_checkpoint": tmp_path / str(number - 1)}
        ended = command.succeed(output_dir=tmp_path / str(number), **flags)
        found = re.search(said, ended.err)
        assert (found and found.groups()) == wanted and ended.warnings == []
        given = dict(backend.programs[-1].given[0])
        table, trained = given.pop(POSITION_EMBEDDINGS), before.pop(POSITION_EMBEDDINGS)
        count = int(wanted[2]) if wanted else 64
        assert table.tobytes() == trained[np.arange(len(table)) % count].tobytes()
        assert all(np.array_equal(given[n], before[n]) for n in given.keys() & before.keys())
        state = load_checkpoint(str(last(tmp_path / str(number)))).state
        assert state["trained_positions"] == reached


@pytest.mark.slow
def test_run_larger_model_with_untrained_positions_kept_has_random_ones(
    train: Command, backend: FakeBackend, tmp_path: Path
) -> None:
    train.succeed()
    config = write_config(tmp_path / "larger.json", max_position_embeddings=100)
    flags = {"init_checkpoint": tmp_path / "run", "output_dir": tmp_path / "larger"}
    ended = train.succeed(bert_config_file=config, untrained_positions="keep", **flags)
    assert "stay as they are, and those from 64 on are new and random\n" in ended.err
    table = backend.programs[1].given[0][POSITION_EMBEDDINGS]
    trained = load_checkpoint(str(last(tmp_path / "run"))).parameters[POSITION_EMBEDDINGS]
    assert table[:64].tobytes() == trained.tobytes()
    assert 0 < np.abs(table[64:]).max() <= 0.04
    message = train(bert_config_file=config, do_train=False, do_eval=True,
                    **{**flags, "output_dir": tmp_path / "x"}).error  # fmt: skip
    assert "likely max_position_embeddings: the checkpoint has 64, the config 100" in message


# With TensorFlow and JAX


@pytest.fixture(scope="module")
def process(pretraining: Trainable) -> Command:
    """90 updates in a process of its own, of which something is learnt."""
    return pretraining.command.having(
        do_train=True, num_train_steps=90, save_checkpoints_steps=1000, precision="float32",
        learning_rate=1e-2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def learnt(
    pretraining: Trainable, process: Command, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("learnt") / "run"
    process.finish(output_dir=folder, **pretraining.ask, eval_every_steps=32)
    return folder


@pytest.fixture
def real(pretraining: Trainable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command with TensorFlow in this process; what is compiled once serves the next run."""
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    return pretraining.command.having(output_dir=tmp_path / "run", precision="float32")


@pytest.mark.slow
def test_command_learns_and_says_so(learnt: Path) -> None:
    trained = [record for record in metrics(learnt) if "loss" in record]
    assert list(trained[0]) == [
        "step", "loss", "masked_lm_loss", "masked_lm_accuracy", "next_sentence_loss",
        "next_sentence_accuracy", "gradient_norm", "learning_rate", "epoch",
    ]  # fmt: skip
    losses = [record["masked_lm_loss"] for record in trained]
    assert losses[0] == pytest.approx(np.log(1500), rel=0.02)
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.4
    evaluated = [record for record in metrics(learnt) if "eval_loss" in record]
    assert [record["step"] for record in evaluated] == [32, 64]
    assert list(results(learnt)) == GOOGLES_KEYS
    assert results(learnt)["masked_lm_loss"] < evaluated[0]["eval_masked_lm_loss"]
    assert re.search(
        r"training: 90/90 steps \(100 %\), loss [\d.]+, masked-LM accuracy [\d.e-]+, "
        r"[\d.kM]+ tokens/s, [\d.k]+ steps/s, ", log_of(learnt).read_text("utf-8"),
    )  # fmt: skip


@pytest.mark.slow
def test_command_evaluation_is_the_same_with_other_batches(
    pretraining: Trainable, real: Command, learnt: Path
) -> None:
    found = []
    for size in (8, 3, 100):
        flags = {"output_dir": learnt, "eval_batch_size": size, "max_eval_steps": 1000}
        real.succeed(**pretraining.ask, **flags)
        found.append(results(learnt))
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    assert found[2] == pytest.approx(found[0], abs=1e-6)


@pytest.mark.slow
def test_command_loss_that_explodes_keeps_the_last_good_checkpoint(
    real: Command, shards: Shards, tmp_path: Path
) -> None:
    message = real(do_train=True, learning_rate=1e30, save_checkpoints_steps=1).error
    (number,) = re.findall(r"^step (\d+): ", message)
    assert 2 <= int(number) <= 4
    assert len(re.findall(rf"{shards.dynamic}/a-0000[0-2]-of-00004: record \d+", message)) == 3
    kept = last(tmp_path / "run")
    assert int(kept.name[-8:]) == int(number) - 1 and f"{kept} is kept" in message
    arrays = load_checkpoint(str(kept)).parameters
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert json.dumps(metrics(tmp_path / "run"), allow_nan=False)


@pytest.mark.slow
def test_command_weights_that_are_not_finite_stop_at_the_first_step(
    real: Command, learnt: Path, tmp_path: Path
) -> None:
    arrays = load_checkpoint(str(last(learnt))).parameters
    arrays["cls/seq_relationship/output_weights"][:] = 3e38  # finite, but no sum of them is
    state = {"step": 1, "tokenizer_fingerprint": None}
    path = save_checkpoint(str(tmp_path), 1, Checkpoint(arrays, {}, state), CONFIG, 0)
    message = real(do_train=True, init_checkpoint=path).error
    assert re.match(r"step 1: the loss is \S+ and the norm of the gradients nan\.", message)
    assert "there is no checkpoint before" in message
    assert checkpoints(tmp_path / "run") == []


@pytest.mark.slow
def test_command_both_backends_have_the_same_losses(
    real: Command, learnt: Path, tmp_path: Path
) -> None:
    still = {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}
    command = real.having(
        do_train=True, bert_config_file=write_config(tmp_path / "a.json", **still),
        num_train_steps=10, init_checkpoint=learnt, learning_rate=1e-3,
    )  # fmt: skip
    printed = command.succeed(output_dir=tmp_path / "tensorflow").err
    count = len(model_specs(BertConfig(**read_json(learnt / "bert_config.json")))) + 9
    assert re.search(rf"step 90\): {count} variables loaded, 0 new, 0 not used\n", printed)
    command.finish(output_dir=tmp_path / "jax", backend="jax")
    ours, theirs = metrics(tmp_path / "tensorflow"), metrics(tmp_path / "jax")
    assert len(ours) == len(theirs) == 10
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert ours[0]["masked_lm_loss"] < np.log(1500) - 0.4  # it begins with what was learnt
