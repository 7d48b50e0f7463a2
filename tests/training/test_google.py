"""Google's TF1 checkpoints: what is read of one, and that TF1's own code reads what is written."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_ko.modeling.bert import WORD_EMBEDDINGS
from bert_ko.modeling.parameters import Arrays
from bert_ko.training.google import read_tensorflow, write_tensorflow
from tests.small_models import (
    STEP,
    NumpyReader,
    arrays_of,
    assert_same_bits,
    install_tensorflow,
    slots_of,
    specs_of,
)

# What optimizers leave in a checkpoint; none of it is a variable of the model.
OPTIMIZER_NAMES = (
    "adam_m", "adam_v", "lamb_m", "lamb_v", "Adam", "Adam_1",
)  # fmt: skip
ALIKE = ("bert/embeddings/adam_vector", "bert/global_steps", "my_beta1_power", "Adam_2")


@pytest.fixture
def numpy_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    install_tensorflow(monkeypatch)


@pytest.mark.usefixtures("numpy_tensorflow")
def test_read_tensorflow_leaves_out_what_is_the_optimizers(tmp_path: Path) -> None:
    prefix = str(tmp_path / "bert_model.ckpt")
    arrays: dict[str, Any] = arrays_of("spans")
    more = {f"{name}/{slot}": array for name, array in arrays.items() for slot in OPTIMIZER_NAMES}
    more |= {"beta1_power": np.float32(0.9), "training/beta2_power": np.float32(0.999)}
    alike = {name: np.ones(2, np.float32) for name in ALIKE}
    write_tensorflow(prefix, {**arrays, **more, **alike}, STEP)
    found, step = read_tensorflow(prefix)
    assert step == STEP
    assert_same_bits(found, {**arrays, **alike})


@pytest.mark.usefixtures("numpy_tensorflow")
def test_read_tensorflow_step_is_0_where_there_is_none(tmp_path: Path) -> None:
    prefix = str(tmp_path / "bert_model.ckpt")
    with open(f"{prefix}.index", "wb") as file:
        np.savez(file, **{WORD_EMBEDDINGS: np.ones((2, 2), np.float32)})
    assert read_tensorflow(prefix)[1] == 0


@pytest.mark.usefixtures("numpy_tensorflow")
def test_read_tensorflow_numbers_become_float32_and_others_are_left_out(tmp_path: Path) -> None:
    prefix = str(tmp_path / "bert_model.ckpt")
    half, whole = np.array([0.5, 2], np.float16), np.array([1, 2], np.int32)
    mixed: Any = {"a": half, "b": half.astype(np.float64), "c": whole, "d": np.array(b"text")}
    write_tensorflow(prefix, mixed, 0)
    found, _ = read_tensorflow(prefix)
    assert_same_bits(found, {name: np.array([0.5, 2], np.float32) for name in "ab"})


@pytest.mark.usefixtures("numpy_tensorflow")
def test_read_tensorflow_damaged_is_one_line(tmp_path: Path) -> None:
    prefix = str(tmp_path / "bert_model.ckpt")
    Path(f"{prefix}.index").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError) as error:
        read_tensorflow(prefix)
    damaged = f"{prefix} can't be read; it is damaged or cut off"
    assert str(error.value) == f"{damaged}: no index"


@pytest.mark.usefixtures("numpy_tensorflow")
@pytest.mark.parametrize(
    "name", ["model/w/.ATTRIBUTES/VARIABLE_VALUE", "_CHECKPOINTABLE_OBJECT_GRAPH"]
)
def test_read_tensorflow_checkpoint_of_objects_is_named(name: str, tmp_path: Path) -> None:
    prefix = str(tmp_path / "bert_model.ckpt")
    write_tensorflow(prefix, {name: np.ones(2, np.float32)}, STEP)
    with pytest.raises(ValueError) as error:
        read_tensorflow(prefix)
    assert str(error.value) == (
        f"{prefix} is an object-based checkpoint of TensorFlow 2, with names like {name}; what is "
        f"read is a TF1 checkpoint, with names like {WORD_EMBEDDINGS}, or a Hugging Face folder."
    )


@pytest.mark.usefixtures("numpy_tensorflow")
@pytest.mark.parametrize("kind", [IndexError, RuntimeError, OSError, ValueError])
def test_write_and_read_tensorflow_errors_are_one_line(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise kind("{{node a}} /a/b.data; No space left on device [Op:SaveV2]\n[[a node]]")

    prefix = str(tmp_path / "bert_model.ckpt")
    write_tensorflow(prefix, {}, STEP)
    monkeypatch.setattr(NumpyReader, "get_tensor", fail)
    message = (
        f"{prefix} can't be read; it is damaged or cut off: /a/b.data; No space left on device"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_tensorflow(prefix)
    monkeypatch.setattr(sys.modules["tensorflow"].raw_ops, "SaveV2", fail)
    message = f"{prefix} can't be written: /a/b.data; No space left on device"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        write_tensorflow(prefix, {}, STEP)


def test_tensorflow_not_installed_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    prefix = str(tmp_path / "bert_model.ckpt")
    message = "ing {} needs TensorFlow: pip install tensorflow"
    with pytest.raises(ValueError) as error:
        read_tensorflow(prefix)
    assert str(error.value) == f"read{message.format(prefix)}"
    with pytest.raises(ValueError) as error:
        write_tensorflow(prefix, arrays_of("spans"), STEP)
    assert str(error.value) == f"writ{message.format(prefix)}"


# With TensorFlow


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return arrays_of("pretraining")


@pytest.fixture(scope="module")
def prefix(arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Written with slots."""
    path = str(tmp_path_factory.mktemp("tf1") / "bert_model.ckpt")
    write_tensorflow(path, {**arrays, **slots_of(arrays)}, STEP)
    return path


@pytest.mark.slow
def test_write_tensorflow_is_found_by_load_checkpoint(prefix: str, arrays: Arrays) -> None:
    import tensorflow as tf

    names = sorted(path.name for path in Path(prefix).parent.iterdir())
    assert names == ["bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index"]
    assert dict(tf.train.list_variables(prefix)) == {
        "global_step": [],
        **{name: list(array.shape) for name, array in {**arrays, **slots_of(arrays)}.items()},
    }
    reader = tf.train.load_checkpoint(prefix)
    step = reader.get_tensor("global_step")
    assert (step, step.dtype) == (STEP, np.int64)
    written = {**arrays, **slots_of(arrays)}
    assert_same_bits({name: reader.get_tensor(name) for name in written}, written)


@pytest.mark.slow
def test_write_tensorflow_is_restored_by_the_saver_of_tf1(prefix: str, arrays: Arrays) -> None:
    """As Google's code does: variables of a graph by name, those of the optimizer too."""
    import tensorflow as tf

    v1 = tf.compat.v1
    zeros = {"initializer": v1.zeros_initializer()}  # operations may be deterministic here
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("bert"), v1.variable_scope("embeddings"):
            name = WORD_EMBEDDINGS.rpartition("/")[2]
            words = v1.get_variable(name, arrays[WORD_EMBEDDINGS].shape, **zeros)
        for name, array in {**arrays, **slots_of(arrays)}.items():
            if name != WORD_EMBEDDINGS:
                v1.get_variable(name, array.shape, **zeros)
        step = v1.train.get_or_create_global_step()
        v1.train.Saver().restore(session, prefix)
        assert words.op.name == WORD_EMBEDDINGS
        restored = session.run({v.op.name: v for v in v1.global_variables() if v is not step})
        assert session.run(step) == STEP
    assert_same_bits(restored, {**arrays, **slots_of(arrays)})


@pytest.mark.slow
def test_write_tensorflow_begins_training_as_googles_code_does(prefix: str, arrays: Arrays) -> None:
    """The assignment map of get_assignment_map_from_checkpoint, then init_from_checkpoint."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        names = [name for name in specs_of("spans") if name in arrays]
        zeros = v1.zeros_initializer()
        variables = {
            name: v1.get_variable(name, arrays[name].shape, initializer=zeros) for name in names
        }
        v1.train.init_from_checkpoint(prefix, {name: name for name in names})
        session.run(v1.global_variables_initializer())
        found = session.run(variables)
    assert_same_bits(found, {name: arrays[name] for name in names})


@pytest.mark.slow
def test_write_tensorflow_read_back_is_the_same(prefix: str, arrays: Arrays) -> None:
    found, step = read_tensorflow(prefix)
    assert step == STEP
    assert_same_bits(found, arrays)


@pytest.mark.slow
def test_read_tensorflow_checkpoint_without_its_data_is_one_line(
    prefix: str, tmp_path: Path
) -> None:
    shutil.copy(f"{prefix}.index", tmp_path / "bert_model.ckpt.index")
    with pytest.raises(ValueError) as error:
        read_tensorflow(str(tmp_path / "bert_model.ckpt"))
    damaged = f"{tmp_path}/bert_model.ckpt can't be read; it is damaged or cut off: "
    assert str(error.value).startswith(damaged)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1000])
def test_read_tensorflow_checkpoint_cut_off_is_one_line(
    size: int, prefix: str, tmp_path: Path
) -> None:
    for path in Path(prefix).parent.iterdir():
        shutil.copy(path, tmp_path)
    os.truncate(tmp_path / "bert_model.ckpt.data-00000-of-00001", size)
    with pytest.raises(ValueError) as error:
        read_tensorflow(str(tmp_path / "bert_model.ckpt"))
    damaged = f"{tmp_path}/bert_model.ckpt can't be read; it is damaged or cut off: "
    assert str(error.value).startswith(damaged)
    assert "\n" not in str(error.value)
