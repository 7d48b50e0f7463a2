"""fill_mask: the pieces that a pre-trained model expects in place of [MASK]."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bert_ko.closing import advise, command_line
from bert_ko.flags import flag, run_command, run_module
from bert_ko.modeling.heads import MaskedLmHead, model_specs
from bert_ko.progress import format_table
from bert_ko.tasks.fill_mask.masked_lm import Mask, MaskedLm, MaskedText
from bert_ko.text_lines import STANDARD_INPUT, EncodingFlags, open_lines
from bert_ko.training.backend import Precision
from bert_ko.training.model_files import ModelFlags, open_model

_MANY = 1024  # texts that are read before the first of them is answered


@dataclass(frozen=True)
class FillMaskConfig(EncodingFlags, ModelFlags):
    """Shows the pieces that a pre-trained model finds likely in place of [MASK] in texts.

    Texts are arguments, lines of --input_file, or lines of standard input. Several masks in a text
    are filled one by one.
    """

    text: tuple[str, ...] = flag((), main=True, help="Texts with [MASK].", positional=True)
    input_file: str | None = flag(
        None, main=True, help="A file of one text per line; - is standard input."
    )
    top_k: int = flag(5, main=True, help="Pieces to show for each mask.", at_least=1)
    batch_size: int = flag(8, help="Texts per batch.", at_least=1)
    precision: Precision = flag(
        "float32", help="Of matrix products; bfloat16 and auto are faster and less exact."
    )
    output_format: Literal["table", "json"] = flag(
        "table", main=True, help="table: to read; json: one object per line."
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        if self.text and self.input_file is not None:
            raise ValueError("give texts as arguments or --input_file, not both.")


def run(config: FillMaskConfig) -> None:
    """Opens the model, reads texts, fills their masks."""
    model = open_model(config)
    model.arrays(model_specs(model.config, MaskedLmHead()))  # fails before a text is typed
    texts = _texts(config)
    first = next(texts, None)
    if first is None:
        return
    masked_lm = MaskedLm.from_model(model, batch_size=config.batch_size)
    texts = itertools.chain([first], texts)
    # On a terminal each line is answered before the next one is read.
    size = 1 if sys.stdin.isatty() else _MANY
    while chunk := list(itertools.islice(texts, size)):
        prepared = [masked_lm.prepare(text, place) for place, text in chunk]
        filled = masked_lm.fill(prepared, config.top_k)
        for text, masks in zip(prepared, filled, strict=True):
            _show(text, masks, config.output_format == "json")
    advise(command_line("serve", config.init_checkpoint))


def _texts(config: FillMaskConfig) -> Iterator[tuple[str, str]]:
    """The origin of each text, and the text."""
    if config.text:
        yield from ((f"argument {i}", text) for i, text in enumerate(config.text, start=1))
        return
    path = STANDARD_INPUT if config.input_file is None else config.input_file
    with open_lines(path, replace=True, encoding=config.input_encoding) as lines:
        for text in lines:
            if text.strip():
                yield f"{lines.source}:{lines.num_lines}", text


def _show(text: MaskedText, masks: list[Mask], as_json: bool) -> None:
    if as_json:
        found = [
            {"start": mask.start, "candidates": [c._asdict() for c in mask.candidates]}
            for mask in masks
        ]
        print(json.dumps({"text": text.text, "masks": found}, ensure_ascii=False), flush=True)
        return
    rows = [[c.piece, f"{c.probability:.4f}", c.text] for mask in masks for c in mask.candidates]
    print(text.text)
    print(format_table(rows, ["piece", "probability", "text"]) + os.linesep, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(FillMaskConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
