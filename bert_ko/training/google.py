"""Google's TF1 checkpoints: bert_model.ckpt.index and .data, read and written with TensorFlow."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from bert_ko.modeling.parameters import Arrays
from bert_ko.training.devices import without_noise

_STEP = "global_step"
_STATE = re.compile(r"(^|/)(global_step|beta[12]_power|adam_[mv]|lamb_[mv]|Adam(_1)?)$")


def read_tensorflow(prefix: str) -> tuple[Arrays, int]:
    """Reads the variables of a model, float32 by Google's names, and its updates, 0 if unknown.

    Raises:
        ValueError: TensorFlow is not installed, or the checkpoint is damaged.
    """
    tf = _tensorflow(f"reading {prefix}")
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = reader.get_variable_to_shape_map()
        names = sorted(name for name in shapes if not _STATE.search(name))
        arrays = {name: np.asarray(reader.get_tensor(name)) for name in names}
        step = int(reader.get_tensor(_STEP)) if _STEP in shapes else 0
    except (tf.errors.OpError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{prefix} can't be read: {reason}") from None
    return {k: v.astype(np.float32) for k, v in arrays.items() if v.dtype.kind == "f"}, step


def write_tensorflow(prefix: str, arrays: Arrays, step: int) -> None:
    """Writes variables so that tf.train.load_checkpoint and TF1's Saver find them by name.

    Args:
        prefix: bert_model.ckpt, in a folder that exists.
        arrays: by Google's names; an optimizer's slots may be among them.
        step: becomes global_step.

    Raises:
        ValueError: TensorFlow is not installed.
    """
    tf = _tensorflow(f"writing {prefix}")
    values = {**arrays, _STEP: np.int64(step)}
    names = sorted(values)
    with without_noise():
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(values[name]) for name in names],
        )


def _tensorflow(what: str) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with without_noise():
            import tensorflow as tf
    except ImportError:
        raise ValueError(f"{what} needs TensorFlow: pip install tensorflow") from None
    return tf
