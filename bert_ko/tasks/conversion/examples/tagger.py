"""The named entities of a text: python example.py TEXT."""

import sys

import numpy as np

from bert_ko.tasks.conversion.examples.onnx_head import SETTINGS, TOKENIZER, compute


def best_path(logits):
    """The numbers of the best tags: with a CRF by Viterbi's algorithm."""
    if SETTINGS["crf"] is None:
        return logits.argmax(axis=1).tolist()
    names = ("transitions", "start", "end")
    transitions, start, end = (np.array(SETTINGS["crf"][name]) for name in names)
    scores, origins = start + logits[0], []
    for row in logits[1:]:
        paths = scores[:, None] + transitions
        origins.append(paths.argmax(axis=0))
        scores = paths.max(axis=0) + row
    path = [int((scores + end).argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return path[::-1]


def entities(text):
    """Type, first character and the one after the last of each entity."""
    found: list = []
    for row in TOKENIZER.cut(text, max_length=SETTINGS["max_seq_length"]):
        last = ""
        path = best_path(compute(row)["tag_logits"])
        for number, offset in zip(path, row.offsets[1:-1], strict=True):
            mark, _, kind = SETTINGS["labels"][number].partition("-")
            if mark == "I" and kind == last:
                found[-1][2] = offset[1]
            elif kind:
                found.append([kind, *offset])
            last = kind
    return found


if __name__ == "__main__":
    for kind, start, end in entities(sys.argv[1]):
        print(f"{kind}\t{start}\t{end}\t{sys.argv[1][start:end]}")
