"""Google's TF1 checkpoints: bert_model.ckpt.index and .data, read and written with TensorFlow."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from bert_ko.modeling.encoder import BERT
from bert_ko.modeling.parameters import Arrays
from bert_ko.tensor_files import FLOATS, as_float32
from bert_ko.training.devices import quieten, without_noise

_STEP = "global_step"
_NODE = re.compile(r"\{\{.*?\}\} ?| \[Op:\w+\].*")
_OBJECT = re.compile(r"/\.ATTRIBUTES/|^_CHECKPOINTABLE_OBJECT_GRAPH$")
_STATE = re.compile(r"(^|/)(global_step|beta[12]_power|adam_[mv]|lamb_[mv]|Adam(_1)?)$")


def read_tensorflow(prefix: str) -> tuple[Arrays, int]:
    """Reads the variables of a model, float32 by Google's names, and its updates, 0 if unknown.

    Raises:
        ValueError: TensorFlow is not installed, or the checkpoint is damaged or of TensorFlow 2.
    """
    tf = _tensorflow(f"reading {prefix}")
    with _translated(tf, f"{prefix} can't be read; it is damaged or cut off"):
        reader = tf.train.load_checkpoint(prefix)
        shapes = reader.get_variable_to_shape_map()
    _refuse_objects(prefix, shapes)
    names = sorted(name for name in shapes if not _STATE.search(name))
    with _translated(tf, f"{prefix} can't be read; it is damaged or cut off"):
        arrays = {name: np.asarray(reader.get_tensor(name)) for name in names}
        step = int(reader.get_tensor(_STEP)) if _STEP in shapes else 0
    return {
        name: as_float32(array, name, prefix)
        for name, array in arrays.items()
        if array.dtype.name in FLOATS
    }, max(step, 0)


def _refuse_objects(prefix: str, names: Iterable[str]) -> None:
    """Raises: ValueError: variables have the names of objects, not their own."""
    found = [name for name in names if _OBJECT.search(name)]
    if found:
        raise ValueError(
            f"{prefix} is an object-based checkpoint of TensorFlow 2, with names like {found[0]}; "
            f"what is read is a TF1 checkpoint, with names like {BERT.word_embeddings}, or a "
            "Hugging Face folder."
        )


@contextlib.contextmanager
def _translated(tf: Any, message: str) -> Iterator[None]:
    """Turns what the reader and the writer raise into a ValueError of one line."""
    kinds = (tf.errors.OpError, IndexError, RuntimeError, OSError, SystemError, ValueError)
    try:
        yield
    except kinds as error:
        # "{{node …}} PATH; No space left on device [Op:SaveV2]"
        reason = _NODE.sub("", (str(error).splitlines() or [""])[0])
        raise ValueError(f"{message}: {reason[-400:]}") from None


def write_tensorflow(prefix: str, arrays: Arrays, step: int) -> None:
    """Writes variables so that tf.train.load_checkpoint and TF1's Saver find them by name.

    Args:
        prefix: bert_model.ckpt, in a folder that exists.
        arrays: by Google's names; an optimizer's slots may be among them.
        step: becomes global_step.

    Raises:
        ValueError: TensorFlow is not installed, or the files can't be written.
    """
    tf = _tensorflow(f"writing {prefix}")
    values = {**arrays, _STEP: np.int64(step)}
    names = sorted(values)
    with _translated(tf, f"{prefix} can't be written"), without_noise():
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(values[name]) for name in names],
        )


def _tensorflow(what: str) -> Any:
    quieten()
    try:
        with without_noise():
            import tensorflow as tf
    except ImportError:
        raise ValueError(f"{what} needs TensorFlow: pip install tensorflow") from None
    return tf
