"""The likeliest pieces for each [MASK] of a text: python example.py TEXT."""

import sys

from bert_ko.tasks.conversion.examples.onnx_head import SETTINGS, TOKENIZER, compute


def fill(text, top_k=5):
    """Pieces and their probabilities, for each mask."""
    vocab = TOKENIZER.tokenizer.vocab
    row, *_ = TOKENIZER.cut(text, max_length=SETTINGS["max_seq_length"])
    places = [place for place, number in enumerate(row.ids) if number == vocab.mask_id]
    found = compute(row, masked_lm_positions=places)["probabilities"]
    best = found.argsort(axis=1)[:, ::-1][:, :top_k]
    return [
        [(vocab.pieces[number], float(chances[number])) for number in numbers]
        for numbers, chances in zip(best, found, strict=True)
    ]


if __name__ == "__main__":
    for candidates in fill(sys.argv[1]):
        print(", ".join(f"{piece} {chance:.3f}" for piece, chance in candidates))
