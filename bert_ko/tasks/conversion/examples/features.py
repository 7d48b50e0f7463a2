"""The vectors of a text's pieces: python example.py TEXT."""

import sys

from bert_ko.tasks.conversion.examples.onnx_head import SETTINGS, TOKENIZER, compute


def features(text):
    """Pieces, and their vectors, float32 [pieces, layers, hidden size]."""
    row, *_ = TOKENIZER.cut(text, max_length=SETTINGS["max_seq_length"])
    return row.tokens, compute(row)["values"]


if __name__ == "__main__":
    for piece, vectors in zip(*features(sys.argv[1]), strict=True):
        print(piece, *(f"{value:.3f}" for value in vectors[0][:5]), "…")
