"""extract_features: the vectors of a model's layers for the pieces or words of sentences."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bert_ko import files
from bert_ko.closing import close
from bert_ko.compression import COMPRESSIONS
from bert_ko.data.prefetch import Prefetcher
from bert_ko.flags import flag, run_command, run_module
from bert_ko.messages import say, warn
from bert_ko.modeling.elmo import ElmoConfig
from bert_ko.progress import Progress
from bert_ko.tasks.features.extraction import (
    DType,
    Extractor,
    FeatureSettings,
    Pooling,
    all_layers,
    block_size,
    load_extractor,
    parse_layers,
)
from bert_ko.tasks.features.word_extraction import (
    WordExtractor,
    load_word_extractor,
    refuse_split,
    word_encoder,
)
from bert_ko.tasks.features.words import join_words
from bert_ko.tasks.features.writers import (
    WHOLE_FORMATS,
    Format,
    load_pyarrow,
    make_layout,
    open_writer,
)
from bert_ko.tasks.sentences import encode_blocks, join
from bert_ko.text_lines import EncodingFlags, TextLines, open_lines
from bert_ko.training.model_files import ModelFlags, TrainedModel, compare_length, open_model
from bert_ko.training.positions import UntrainedPositions

_LAYERS = ("-1", "-2", "-3", "-4")  # Google's
_ENDINGS: dict[str, Format] = {
    ".npz": "npz", ".safetensors": "safetensors", ".parquet": "parquet", ".hdf5": "hdf5",
    ".h5": "hdf5",
}  # fmt: skip


@dataclass(frozen=True)
class ExtractFeaturesConfig(EncodingFlags, ModelFlags):
    """Writes the vectors of a model's layers for every piece of sentences, or for every sentence.

    The sentences keep their order; every piece has the places of its characters and its word. A
    model of words, such as ELMo, gives vectors of whole words.
    """

    input_file: str = flag(
        help="One sentence per line, or a pair for a model of pieces: a ||| b. Local or remote, "
        "maybe compressed; - is standard input."
    )
    output_file: str = flag(help="Where to write; it appears when everything is done.")
    layers: tuple[str, ...] | None = flag(
        None,
        main=True,
        help="Layers to write: -1 is the last one, 0 the first; one below the first, such as -13 "
        f"of 12, are the embeddings. Default: {','.join(_LAYERS)}; of a model of words all, its "
        "words' own vectors first.",
    )
    output_format: Literal["auto", "json", "npz", "safetensors", "parquet", "hdf5"] = flag(
        "auto",
        main=True,
        help="json: Google's lines, large and slow; hdf5: bilm-tf's layout. auto: by the ending of "
        "--output_file (.npz, .safetensors, .parquet, .hdf5, .h5), else json.",
    )
    pooling: Pooling = flag(
        "none",
        main=True,
        help="none: a vector per piece; cls: a vector per sentence, that of [CLS]; mean: the mean "
        "over its pieces without [CLS] and [SEP].",
    )
    dtype: DType = flag("float32", help="Of the values in all formats but json.")
    max_seq_length: int = flag(
        128,
        main=True,
        help="Pieces of a sentence or pair, [CLS] and [SEP] included; the rest is cut off.",
        at_least=3,
    )
    batch_size: int = flag(32, help="Sentences that are computed together.", at_least=1)
    untrained_positions: UntrainedPositions = flag(
        "extend",
        help="What positions below --max_seq_length that training has not reached are computed "
        "with. extend: the trained ones repeated; keep: the random values that they have.",
    )
    is_split_into_words: bool = flag(
        False,
        help="For a model of words: the lines are words with blanks between them, and are not "
        "split by its vocabulary's unit.",
    )
    use_one_hot_embeddings: bool = flag(
        False, help="No effect; accepted because Google's script has it."
    )

    def __post_init__(self) -> None:
        """Raises: ValueError: a value out of range, by the flag's name."""
        super().__post_init__()
        if self.layers is not None:
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
        """The format of the output."""
        if self.output_format != "auto":
            return self.output_format
        return _ENDINGS.get(os.path.splitext(self.output_file)[1].lower(), "json")

    def settings(self, model: TrainedModel) -> FeatureSettings:
        """What to extract from a model."""
        if self.layers is None and model.is_of_words:
            layers = all_layers(model.config)
        else:
            layers = parse_layers(_LAYERS if self.layers is None else self.layers)
        return FeatureSettings(
            layers,
            self.pooling,
            self.dtype,
            self.max_seq_length,
            self.batch_size,
            self.untrained_positions,
        )


def run(config: ExtractFeaturesConfig) -> None:
    """Reads sentences and a model, and writes features."""
    if config.format == "parquet":
        load_pyarrow()
    paths = (config.input_file, config.output_file)
    if all(map(os.path.isfile, paths)) and os.path.samefile(*paths):
        raise ValueError(f"--output_file={config.output_file} is --input_file; name another.")
    opened = open_lines(config.input_file, replace=True, encoding=config.input_encoding)
    with opened as lines:
        model = open_model(config, allows_words=True)
        if not model.is_of_words:
            compare_length(config.max_seq_length, model.config, model.files.config_file)
            refuse_split(model, is_split=config.is_split_into_words)
        num_pieces, num_cut, num_not_finite = _extract(config, model, lines)
    of_all = f"of {lines.num_lines:,} lines"
    if isinstance(model.config, ElmoConfig):
        noun, cut, limit = "words", f"{num_cut:,} of {num_pieces:,} words", model.config.places - 2
        length = f"{limit} characters"
    else:
        noun, cut = "pieces", f"{num_cut:,} {of_all}"
        length = f"--max_seq_length={config.max_seq_length} pieces"
    if num_cut:
        warn(f"{cut} have more than {length} and were cut.")
    if lines.num_damaged:
        warn(f"{lines.num_damaged:,} {of_all} are damaged; unreadable bytes became U+FFFD.")
    if num_not_finite:
        dtype = config.dtype
        warn(f"{num_not_finite:,} {of_all} have values that are not finite as {dtype}.")
    if not lines.num_lines:
        warn(f"{config.input_file} has no lines.")
    counts = f"{lines.num_lines:,} sentences, {num_pieces:,} {noun}"
    # Features may go to standard output.
    close(f"{config.format}: {counts}", [config.output_file])


def _load(
    config: ExtractFeaturesConfig, model: TrainedModel, settings: FeatureSettings, lines: TextLines
) -> tuple[Extractor | WordExtractor, Iterator[Any], str]:
    """A model on its devices, blocks of sentences that it reads, and what computes."""
    extractor: Extractor | WordExtractor
    encoded: Iterator[Any]
    size = block_size(settings, model.config)
    if model.is_of_words:
        encoder = word_encoder(model, is_split=config.is_split_into_words)
        extractor, backend = load_word_extractor(model, settings, config.device_config)
        encoded = encoder.encode_blocks(lines, size)
    else:
        extractor, backend = load_extractor(model, settings, config.device_config)
        encoded = encode_blocks(lines, model.tokenizer, config.max_seq_length, size)
    return extractor, encoded, f"{backend.description}, {backend.precision}"


def _extract(
    config: ExtractFeaturesConfig, model: TrainedModel, lines: TextLines
) -> tuple[int, int, int]:
    """Writes the file; counts pieces, what was cut and sentences that are not finite."""
    settings = config.settings(model)
    with files.atomic_writer(config.output_file) as stream:
        extractor, encoded, computed_with = _load(config, model, settings, lines)
        say(computed_with)
        whole = None
        if config.format in WHOLE_FORMATS:
            parts = list(encoded)
            whole, encoded = (join_words if model.is_of_words else join)(parts), iter(parts)
        layout = make_layout(model, settings, config.init_checkpoint, computed_with)
        total = len(whole) if whole is not None else None
        num_pieces = num_cut = 0
        with (
            open_writer(config.format, stream, layout, whole) as write,
            Progress("extract_features", total, "sentences", compiles=True) as progress,
            Prefetcher(encoded, 1) as blocks,  # the next ones are encoded while these are computed
        ):
            for block, values in extractor.compute_blocks(blocks, progress.update):
                write(block, values)
                num_pieces += block.num_pieces
                num_cut += block.num_cut
    return num_pieces, num_cut, extractor.num_not_finite


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(ExtractFeaturesConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
