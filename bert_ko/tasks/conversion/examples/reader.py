"""Answers a question on a text: python example.py QUESTION TEXT."""

import sys

import numpy as np

from bert_ko.tasks.conversion.examples.onnx_head import SETTINGS, TOKENIZER, compute


def answer(question, text):
    """The slice of the text that is the likeliest answer, in any of its windows."""
    best, place = -np.inf, slice(0)
    names = {"max_seq_length": "max_length", "max_query_length": "max_first", "doc_stride": "step"}
    for row in TOKENIZER.cut(question, text, **{names[name]: SETTINGS[name] for name in names}):
        found = compute(row)
        scores = found["start_logits"][:, None] + found["end_logits"]
        in_text = np.array([number == 1 for number in row.sequence_ids])
        size = np.arange(len(row)) - np.arange(len(row))[:, None]  # of an answer, less 1
        allowed = in_text[:, None] & in_text & (size >= 0) & (size < 30)
        scores = np.where(allowed, scores, -np.inf)
        first, last = np.unravel_index(scores.argmax(), scores.shape)
        if scores[first, last] > best:
            best = scores[first, last]
            place = slice(row.offsets[first][0], row.offsets[last][1])
    return text[place]


if __name__ == "__main__":
    print(answer(*sys.argv[1:]))
