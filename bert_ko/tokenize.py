"""tokenize: what a vocabulary does to a text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bert_ko.closing import advise, command_line
from bert_ko.flags import flag, run_command, run_module
from bert_ko.progress import format_table
from bert_ko.text_lines import STANDARD_INPUT, EncodingFlags, open_lines
from bert_ko.tokenization.folder import load_tokenizer
from bert_ko.tokenization.settings import TokenizerFlags
from bert_ko.tokenization.tokenizer import Encoding, Tokenizer


@dataclass(frozen=True)
class TokenizeConfig(EncodingFlags, TokenizerFlags):
    """Shows the pieces of texts with ids, character offsets, words and parts of speech.

    Texts are arguments, lines of --input_file, or lines of standard input.
    """

    text: tuple[str, ...] = flag((), main=True, help="Texts to tokenize.", positional=True)
    input_file: str | None = flag(
        None, main=True, help="A file of one text a line; - is standard input."
    )
    json_input: bool = flag(
        False, main=True, help="Each line is a JSON string, so that a text may hold line breaks."
    )
    output_format: Literal["table", "json"] = flag(
        "table", main=True, help="table: readable columns; json: one object a line."
    )


def run(config: TokenizeConfig) -> None:
    """Tokenizes text after text."""
    if config.text and config.input_file is not None:
        raise ValueError("give texts as arguments or --input_file, not both.")
    tokenizer = load_tokenizer(config.vocab_file, config)
    show = _show_json if config.output_format == "json" else _show_table
    for number, text in enumerate(_texts(config)):
        encoding = tokenizer.encode(text, with_morphemes=tokenizer.has_morphemes)
        if number and config.output_format == "table":
            print()
        show(text, encoding, tokenizer)
    corpus = f"--input_file={config.input_file or 'text.txt'}"
    shards, vocabulary = (
        "--output_file=shards/text.tfrecord@16",
        f"--vocab_file={config.vocab_file}",
    )
    advise(command_line("create_pretraining_data", corpus, vocabulary, shards))


def _texts(config: TokenizeConfig) -> Iterator[str]:
    if config.text:
        for number, text in enumerate(config.text, start=1):
            yield _decode(text, f"argument:{number}") if config.json_input else text
        return
    path = STANDARD_INPUT if config.input_file is None else config.input_file
    with open_lines(path, replace=True, encoding=config.input_encoding) as lines:
        for line in lines:
            place = f"{lines.source}:{lines.num_lines}"
            yield _decode(line, place) if config.json_input else line


def _decode(line: str, place: str) -> str:
    try:
        text = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: not JSON: {error}.") from None
    if not isinstance(text, str):
        raise ValueError(f"{place}: must be a JSON string, got {type(text).__name__}.")
    return text


def _show_json(text: str, encoding: Encoding, tokenizer: Tokenizer) -> None:
    value: dict[str, Any] = {
        "text": text,
        "pieces": encoding.pieces,
        "ids": encoding.ids,
        "offsets": [list(span) for span in zip(encoding.starts, encoding.ends, strict=True)],
        "morpheme_ids": encoding.morpheme_ids,
        "eojeol_ids": encoding.eojeol_ids,
    }
    if tokenizer.has_morphemes:
        value["morphemes"] = [morpheme._asdict() for morpheme in encoding.morphemes]
    print(_printable(json.dumps(value, ensure_ascii=False)))


def _printable(text: str) -> str:
    """Lone surrogates as escapes, which JSON knows too."""
    return text.encode("utf-8", "backslashreplace").decode()


def _show_table(text: str, encoding: Encoding, tokenizer: Tokenizer) -> None:
    headers = ["piece", "id", "start", "end", "text", "eojeol", "morpheme"]
    rows: list[list[object]] = []
    shown = -1
    for i, (piece, number, start, end) in enumerate(encoding.with_offsets()):
        surface = _printable(json.dumps(text[start:end], ensure_ascii=False)[1:-1])
        word = encoding.morpheme_ids[i]
        numbers = (str(n) for n in (number, start, end))
        row: list[object] = [piece, *numbers, surface, str(encoding.eojeol_ids[i]), str(word)]
        if tokenizer.has_morphemes:
            row.append(encoding.morphemes[word].pos if word > shown else "")
        shown = word
        rows.append(row)
    print(format_table(rows, headers + ["pos"] * tokenizer.has_morphemes))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(TokenizeConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
