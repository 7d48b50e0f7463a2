"""Head of a program that uses model.onnx."""

import json
from pathlib import Path

import numpy as np
import onnxruntime

from bert_ko.tokenization.export.model_rows import ModelRows

HERE = Path(__file__).resolve().parent
SETTINGS = json.loads((HERE / "export.json").read_text(encoding="utf-8"))
TOKENIZER = ModelRows(HERE / "tokenizer", *SETTINGS["kept_tokens"])
SESSION = onnxruntime.InferenceSession(str(HERE / "model.onnx"))


def compute(row, **more):
    """The outputs of the model for a row, by name."""
    inputs = {"input_ids": row.ids, "input_mask": row.attention_mask, "segment_ids": row.type_ids}
    batch = {name: np.array([values], np.int32) for name, values in {**inputs, **more}.items()}
    names = list(SETTINGS["outputs"])
    return {name: found[0] for name, found in zip(names, SESSION.run(names, batch), strict=True)}
