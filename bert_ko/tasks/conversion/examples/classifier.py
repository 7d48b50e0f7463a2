"""The classes of a text or of a pair, or its score: python example.py TEXT [SECOND TEXT]."""

import sys

from bert_ko.tasks.conversion.examples.onnx_head import SETTINGS, TOKENIZER, compute


def classify(text, second=None):
    """The probability of each class, or the score."""
    row, *_ = TOKENIZER.cut(text, second, max_length=SETTINGS["max_seq_length"])
    found = compute(row)
    if "scores" in found:
        return {"score": float(found["scores"])}
    return dict(zip(SETTINGS["labels"], found["probabilities"].tolist(), strict=True))


if __name__ == "__main__":
    for label, value in classify(*sys.argv[1:]).items():
        print(f"{label}\t{value:.4f}")
