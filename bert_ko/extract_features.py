"""extract_features: what the layers of a model say of the pieces of sentences."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bert_ko import files
from bert_ko.compression import COMPRESSIONS
from bert_ko.data.prefetch import Prefetcher
from bert_ko.flags import flag, run_command
from bert_ko.progress import Progress, warn
from bert_ko.tasks.features.extraction import block_size, load_extractor
from bert_ko.tasks.features.layout import make_layout
from bert_ko.tasks.features.parquet import load_pyarrow
from bert_ko.tasks.features.settings import DType, FeatureSettings, Pooling, parse_layers
from bert_ko.tasks.features.writers import WHOLE_FORMATS, Format, open_writer
from bert_ko.tasks.sentences import encode_blocks, join
from bert_ko.text_lines import TextLines, open_lines
from bert_ko.training.model_files import ModelFlags, TrainedModel, compare_length, open_model

_ENDINGS: dict[str, Format] = {
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class ExtractFeaturesConfig(ModelFlags):
    """Writes the vectors of a model's layers for every piece of sentences, or for every sentence.

    The sentences keep their order, and every piece its characters and its words.
    """

    input_file: str = flag(
        help="A sentence a line, or a pair: a ||| b. Local or remote, maybe compressed; - is "
        "standard input."
    )
    output_file: str = flag(help="Where to write; it appears when all is done.")
    layers: tuple[str, ...] = flag(
        ("-1", "-2", "-3", "-4"),
        help="Layers to write: -1 is the last one, 0 the first; one below the first, such as -13 "
        "of 12, are the embeddings.",
    )
    output_format: Literal["auto", "json", "npz", "safetensors", "parquet"] = flag(
        "auto",
        help="json: Google's lines, large and slow. auto: by the ending of --output_file (.npz, "
        ".safetensors, .parquet), else json.",
    )
    pooling: Pooling = flag(
        "none",
        help="none: a vector a piece; cls: a vector a sentence, that of [CLS]; mean: the mean "
        "over its pieces without [CLS] and [SEP].",
    )
    dtype: DType = flag("float32", help="Of the values in all formats but json.")
    max_seq_length: int = flag(
        128,
        help="Pieces of a sentence or pair, [CLS] and [SEP] included; the rest is cut off.",
        at_least=3,
    )
    batch_size: int = flag(32, help="Sentences that are computed together.", at_least=1)
    use_one_hot_embeddings: bool = flag(
        False, help="No effect; accepted because Google's script has it."
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        parse_layers(self.layers)
        if self.format == "json" and self.dtype != "float32":
            raise ValueError(
                f"--dtype={self.dtype} has no effect on JSON; choose another --output_format, or "
                "leave the flag out."
            )
        if os.path.splitext(self.output_file)[1] in COMPRESSIONS:
            raise ValueError(
                f"--output_file={self.output_file} would not be compressed; give another name."
            )

    @property
    def format(self) -> Format:
        """Of the output."""
        if self.output_format != "auto":
            return self.output_format
        return _ENDINGS.get(os.path.splitext(self.output_file)[1].lower(), "json")

    @property
    def settings(self) -> FeatureSettings:
        """What is extracted."""
        return FeatureSettings(
            parse_layers(self.layers),
            self.pooling,
            self.dtype,
            self.max_seq_length,
            self.batch_size,
        )


def run(config: ExtractFeaturesConfig) -> None:
    """Reads sentences and a model, and writes features."""
    if config.format == "parquet":
        load_pyarrow()
    _refuse_same_file(config)
    with open_lines(config.input_file, replace=True) as lines:
        model = open_model(config)
        compare_length(config.max_seq_length, model.config, model.files.config_file)
        counts = _extract(config, model, lines)
    _report(config, lines, counts)


def _refuse_same_file(config: ExtractFeaturesConfig) -> None:
    paths = (config.input_file, config.output_file)
    if all(map(os.path.isfile, paths)) and os.path.samefile(*paths):
        raise ValueError(f"--output_file={config.output_file} is --input_file; name another.")


class _Counts(NamedTuple):
    """What is to be reported."""

    num_sentences: int
    num_pieces: int
    num_cut: int
    num_not_finite: int


def _extract(config: ExtractFeaturesConfig, model: TrainedModel, lines: TextLines) -> _Counts:
    settings = config.settings
    with files.atomic_writer(config.output_file) as stream:
        extractor, backend = load_extractor(model, settings, config.device_config)
        computed_with = f"{backend.description}, {backend.precision}"
        print(computed_with, file=sys.stderr, flush=True)
        encoded = encode_blocks(
            lines, model.tokenizer, config.max_seq_length, block_size(settings, model.config)
        )
        whole = None
        if config.format in WHOLE_FORMATS:
            parts = list(encoded)
            whole, encoded = join(parts), iter(parts)
        layout = make_layout(model, settings, config.init_checkpoint, computed_with)
        total = len(whole) if whole is not None else None
        num_pieces = num_cut = 0
        with (
            open_writer(config.format, stream, layout, whole) as write,
            Progress("extract_features", total, "sentences", compiles=True) as progress,
            Prefetcher(encoded, 1) as blocks,  # the next ones are cut while these are computed
        ):
            for block, values in extractor.compute_blocks(blocks, progress.update):
                write(block, values)
                num_pieces += block.num_pieces
                num_cut += block.num_cut
    return _Counts(lines.num_lines, num_pieces, num_cut, extractor.num_not_finite)


def _report(config: ExtractFeaturesConfig, lines: TextLines, counts: _Counts) -> None:
    """On standard error: features may go to standard output."""
    of_all = f"of {counts.num_sentences:,} lines"
    if counts.num_cut:
        warn(
            f"{counts.num_cut:,} {of_all} have more than --max_seq_length="
            f"{config.max_seq_length} pieces and were cut.",
        )
    if lines.num_damaged:
        warn(
            f"{lines.num_damaged:,} {of_all} are not UTF-8; U+FFFD stands for what can't be read.",
        )
    if counts.num_not_finite:
        warn(
            f"{counts.num_not_finite:,} {of_all} have values that are not finite as "
            f"{config.dtype}.",
        )
    if not counts.num_sentences:
        warn(f"{config.input_file} has no lines.")
    print(
        f"{config.output_file}: {config.format}, {counts.num_sentences:,} sentences, "
        f"{counts.num_pieces:,} pieces",
        file=sys.stderr,
    )


def main() -> int:
    """Runs the command."""
    return run_command(ExtractFeaturesConfig, run)
