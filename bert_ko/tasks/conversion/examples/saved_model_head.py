"""Head of a program that uses a SavedModel."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from bert_ko.tokenization.export.model_rows import ModelRows

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "export.json").read_text(encoding="utf-8"))
TOKENIZER = ModelRows(HERE / "tokenizer", *SETTINGS["kept_tokens"])
MODEL = tf.saved_model.load(str(HERE / "1"))


def compute(row, **more):
    """The outputs of the model for a row, by name."""
    inputs = {"input_ids": row.ids, "input_mask": row.attention_mask, "segment_ids": row.type_ids}
    batch = {name: tf.constant([values]) for name, values in {**inputs, **more}.items()}
    found = MODEL.signatures["serving_default"](**batch)
    return {name: np.array(values[0]) for name, values in found.items()}
