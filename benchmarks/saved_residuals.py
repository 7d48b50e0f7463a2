#!/usr/bin/env python3
"""What a layer of BERT base keeps in memory for its gradient under JAX on an accelerator.

    python benchmarks/saved_residuals.py            # --length=512 --rows=64, --dropout, --packed

Nothing is computed, so that any machine will do: the update is traced, and what its forward pass
hands to its backward pass is added up, for two models that differ by one layer. XLA may keep less,
where it computes a cheap value again.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import numpy as np
from common import ROOT  # noqa: F401 - puts the checkout on the path
from jax._src.ad_checkpoint import saved_residuals  # print_saved_residuals has them as text alone

from bert_ko.modeling.bert import BertConfig
from bert_ko.modeling.compute import Compute, Model
from bert_ko.modeling.dropout import Dropout
from bert_ko.modeling.heads import PretrainingHead, model_specs
from bert_ko.training.jax_backend import accelerator_compute

HEAD = PretrainingHead()
BASE = BertConfig(vocab_size=32000, attention_probs_dropout_prob=0.0)


def batch_shapes(rows: int, length: int, is_packed: bool) -> dict[str, Any]:
    """A batch without values: name to shape and dtype."""
    masked, sequences = max(1, round(0.15 * length)), max(8, length // 8) if is_packed else 1
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        **dict.fromkeys(("input_ids", "input_mask", "segment_ids"), ((rows, length), "int32")),
        **dict.fromkeys(("masked_lm_positions", "masked_lm_ids"), ((rows, masked), "int32")),
        "masked_lm_weights": ((rows, masked), "float32"),
        "next_sentence_labels": ((rows, sequences), "int32"),
        "next_sentence_weights": ((rows, sequences) if is_packed else (rows,), "float32"),
        "masked_lm_denominator": ((), "float32"),
        "next_sentence_denominator": ((), "float32"),
    }
    if is_packed:
        shapes |= dict.fromkeys(("sequence_ids", "position_ids"), ((rows, length), "int32"))
        names = ("first_positions", "sequence_lengths")
        shapes |= dict.fromkeys(names, ((rows, sequences), "int32"))
    return {name: jax.ShapeDtypeStruct(*one) for name, one in shapes.items()}


def residuals(config: BertConfig, compute: Compute, batch: Any) -> collections.Counter[Any]:
    """Bytes by shape, dtype and number of arrays of what is kept beside the arguments."""
    params = {
        name: jax.ShapeDtypeStruct(spec.shape, np.float32)
        for name, spec in model_specs(config, HEAD).items()
    }

    def loss(params: Any, batch: Any, seed: Any) -> Any:
        return HEAD.loss(Model(params, config, compute, Dropout(seed)), batch)[0]

    found = saved_residuals(loss, params, batch, jax.ShapeDtypeStruct((2,), np.uint32))
    kept: collections.Counter[Any] = collections.Counter()
    for array, source in found:
        if "argument" not in source:
            kept[array.str_short(), source] += array.size * array.dtype.itemsize
    return kept


def main() -> None:
    """Prints what is kept, and its sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--dropout", type=float, default=0.0, help="hidden_dropout_prob.")
    parser.add_argument("--packed", action="store_true")
    flags = parser.parse_args()
    batch = batch_shapes(flags.rows, flags.length, flags.packed)
    compute = accelerator_compute("bfloat16")
    one, two = (
        residuals(
            dataclasses.replace(BASE, num_hidden_layers=n, hidden_dropout_prob=flags.dropout),
            compute,
            batch,
        )
        for n in (1, 2)
    )
    tokens = flags.rows * flags.length
    print(f"base, bfloat16, {flags.rows} rows of {flags.length}: what a layer keeps")
    for (shape, source), size in (two - one).most_common():
        print(f"{size / tokens / 1e3:6.2f} kB a token  {shape:28} {source}")
    print(f"{(two - one).total() / tokens / 1e3:.1f} kB")


if __name__ == "__main__":
    main()
