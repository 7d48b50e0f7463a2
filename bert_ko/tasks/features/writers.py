"""Files of features: Google's JSON lines, .npz, .safetensors, Parquet and HDF5.

    values            float [P, N, H], with pooling [S, N, H]
    sentence_offsets  int64 [S + 1], and the columns [P] of the sentences; not with pooling

Parquet has a row per sentence, a row group per block, and instead of these arrays lists:

    layer_-1, …       floats: the vectors of the pieces, one behind the other
    input_ids, …      ints of the pieces, the columns of the sentences; not with pooling

HDF5 has a data set per sentence, named by its number from 0:

    0, 1, …           float [N, pieces of the sentence, H], with pooling [N, H]; its attribute
                      tokens has the pieces with blanks between them, not with pooling

Legend: S sentences, P pieces (or words) of all of them, N layers, H hidden_size.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bert_ko.tasks.features.extraction import FeatureSettings, Rows, sentence_slice
from bert_ko.tasks.features.hdf5 import Hdf5File, hdf5_file
from bert_ko.tasks.features.words import WORD_COLUMNS, WordSentences
from bert_ko.tasks.sentences import PIECE_COLUMNS, Sentences
from bert_ko.tensor_files import write_array, write_header
from bert_ko.training.model_files import TrainedModel

FORMAT = "bert_ko features 1"
Format = Literal["json", "npz", "safetensors", "parquet", "hdf5"]
# Takes the blocks of sentences one after another, with their values.
Write = Callable[[Any, npt.NDArray[Any]], None]
# Their headers have the shapes, so the sentences must be known first.
WHOLE_FORMATS = ("npz", "safetensors")
_MILLION = 1e6


class Layout(NamedTuple):
    """The content of a file beside the values."""

    settings: FeatureSettings
    hidden_size: int
    pieces: tuple[str, ...] | None  # of the vocabulary, by id; None for words
    metadata: dict[str, Any]  # values for JSON, by name

    @property
    def metadata_texts(self) -> dict[str, str]:
        """Each value as JSON."""
        return {
            name: json.dumps(value, ensure_ascii=False) for name, value in self.metadata.items()
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the arrays [P]; none with pooling, which leaves no pieces."""
        if self.settings.is_pooled:
            return ()
        return WORD_COLUMNS if self.pieces is None else PIECE_COLUMNS

    def tokens(self, sentences: Rows, here: slice) -> Sequence[str]:
        """The pieces of a sentence, or its words."""
        if isinstance(sentences, WordSentences):
            return sentences.words[here]
        assert isinstance(sentences, Sentences) and self.pieces is not None
        return [self.pieces[piece] for piece in sentences.input_ids[here]]

    def values_shape(self, whole: Rows) -> tuple[int, int, int]:
        """Of all sentences together: [P, N, H], with pooling [S, N, H]."""
        count = len(whole) if self.settings.is_pooled else whole.num_pieces
        return count, len(self.settings.layers), self.hidden_size

    def arrays(self, whole: Rows) -> dict[str, npt.NDArray[Any]]:
        """The arrays beside the values; none with pooling, which leaves no pieces."""
        if self.settings.is_pooled:
            return {}
        return {"sentence_offsets": whole.sentence_offsets, **whole.columns()}


def make_layout(
    model: TrainedModel, settings: FeatureSettings, init_checkpoint: str, computed_with: str
) -> Layout:
    """Describes features of a model, its name, and the devices and precision that computed them."""
    words = model.files.words
    # None for words that the input has split itself.
    fingerprint = words.fingerprint if words is not None else None
    length = {}
    if not model.is_of_words:
        fingerprint = model.tokenizer.fingerprint
        length = {"max_seq_length": settings.max_seq_length}
    metadata = {
        "format": FORMAT,
        "layers": list(settings.layers),
        "pooling": settings.pooling,
        "dtype": settings.dtype,
        "hidden_size": model.config.hidden_size,
        **length,
        "computed_with": computed_with,
        "model": {
            "init_checkpoint": init_checkpoint,
            "kind": model.source.kind,
            "config": model.config.to_dict(),
            "tokenizer_fingerprint": fingerprint,
        },
    }
    pieces = None if model.is_of_words else model.tokenizer.vocab.pieces
    return Layout(settings, model.config.hidden_size, pieces, metadata)


@contextlib.contextmanager
def open_writer(
    output_format: Format, stream: BinaryIO, layout: Layout, whole: Rows | None
) -> Iterator[Write]:
    """Writes features; the stream has all of them when the block ends.

    Args:
        output_format: of the file.
        stream: open for writing.
        layout: of the features.
        whole: all sentences, for formats of WHOLE_FORMATS.

    Yields:
        A function for blocks and their values in the order of the sentences.
    """
    if output_format == "json":
        yield _json_writer(stream, layout)
    elif output_format == "parquet":
        with _parquet_writer(stream, layout) as write:
            yield write
    elif output_format == "hdf5":
        with hdf5_file(stream) as file:
            yield _hdf5_writer(file, layout)
    else:
        assert whole is not None
        opened = _npz_writer if output_format == "npz" else _safetensors_writer
        with opened(stream, layout, whole) as write:
            yield write


def _json_writer(stream: BinaryIO, layout: Layout) -> Write:
    """A JSON object per line.

    Source: extract_features.py of google-research/bert, to the byte. With pooling, which it does
        not have, ``layers`` are in the object itself.
    """
    lines = itertools.count()

    def layers_of(vectors: Any) -> list[dict[str, Any]]:
        pairs = zip(layout.settings.layers, vectors, strict=True)
        return [{"index": layer, "values": vector} for layer, vector in pairs]

    def write(sentences: Rows, values: npt.NDArray[Any]) -> None:
        for number in range(len(sentences)):
            record: dict[str, Any] = {"linex_index": next(lines)}
            if layout.settings.is_pooled:
                record["layers"] = layers_of(_rounded(values[number]))
            else:
                here = sentence_slice(layout.settings, sentences, number)
                record["features"] = [
                    {"token": token, "layers": layers_of(vectors)}
                    for token, vectors in zip(
                        layout.tokens(sentences, here), _rounded(values[here]), strict=True
                    )
                ]
            stream.write(json.dumps(record).encode() + b"\n")

    return write


def _rounded(values: npt.NDArray[Any]) -> Any:
    """Lists of floats with six decimals.

    A float32 times a million is exact in float64, so this is the result of Python's round.
    """
    return (np.rint(values.astype(np.float64) * _MILLION) / _MILLION).tolist()


@contextlib.contextmanager
def _npz_writer(stream: BinaryIO, layout: Layout, whole: Rows) -> Iterator[Write]:
    metadata = np.array(json.dumps(layout.metadata, ensure_ascii=False))
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in {"metadata": metadata, **layout.arrays(whole)}.items():
            with _entry(archive, name) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
        dtype = np.dtype(layout.settings.dtype).newbyteorder("<")
        with _entry(archive, "values") as entry:
            header = {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": layout.values_shape(whole),
            }
            np.lib.format.write_array_header_1_0(entry, header)
            yield lambda sentences, values: write_array(entry, values)


def _entry(archive: zipfile.ZipFile, name: str) -> Any:
    """Without the time of day: the same features are the same bytes."""
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


@contextlib.contextmanager
def _safetensors_writer(stream: BinaryIO, layout: Layout, whole: Rows) -> Iterator[Write]:
    arrays = layout.arrays(whole)
    shapes: dict[str, tuple[npt.DTypeLike, tuple[int, ...]]] = {
        name: (array.dtype, array.shape) for name, array in arrays.items()
    }
    shapes["values"] = (layout.settings.dtype, layout.values_shape(whole))
    write_header(stream, shapes, layout.metadata_texts)
    for array in arrays.values():
        write_array(stream, array)
    yield lambda sentences, values: write_array(stream, values)


def _hdf5_writer(file: Hdf5File, layout: Layout) -> Write:
    """Source: the layout of dump_bilm_embeddings of allenai/bilm-tf, which has no attributes."""
    file.describe(layout.metadata_texts)
    lines = itertools.count()

    def write(sentences: Rows, values: npt.NDArray[Any]) -> None:
        for number in range(len(sentences)):
            if layout.settings.is_pooled:
                file.add(str(next(lines)), values[number], {})
                continue
            here = sentence_slice(layout.settings, sentences, number)
            vectors = np.ascontiguousarray(np.moveaxis(values[here], 0, 1))
            tokens = " ".join(layout.tokens(sentences, here))
            file.add(str(next(lines)), vectors, {"tokens": tokens})

    return write


def load_pyarrow() -> tuple[Any, Any]:
    """The package that only Parquet needs, and its module for Parquet.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ValueError(
            "--output_format=parquet needs the package pyarrow: pip install bert_ko[parquet]"
        ) from None


@contextlib.contextmanager
def _parquet_writer(stream: BinaryIO, layout: Layout) -> Iterator[Write]:
    arrow, parquet = load_pyarrow()
    settings, columns = layout.settings, layout.columns
    layers = [f"layer_{layer}" for layer in settings.layers]
    floats = {"float32": arrow.float32(), "float16": arrow.float16()}[settings.dtype]
    fields = [(name, arrow.list_(arrow.int32())) for name in columns]
    fields += [(name, arrow.list_(floats)) for name in layers]
    schema = arrow.schema(fields, metadata=layout.metadata_texts)
    with parquet.ParquetWriter(
        stream,
        schema,
        compression="zstd",
        use_dictionary=[f"{name}.list.element" for name in columns],
        # Only the exponents of neighbours have enough in common to be compressed.
        use_byte_stream_split=[f"{name}.list.element" for name in layers],
    ) as writer:

        def lists(offsets: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> Any:
            # A block has far fewer than 2**31 values.
            starts = arrow.array(offsets.astype(np.int32))
            return arrow.ListArray.from_arrays(starts, arrow.array(values))

        def write(sentences: Rows, values: npt.NDArray[Any]) -> None:
            offsets, arrays = np.arange(len(sentences) + 1), []
            if not settings.is_pooled:
                offsets = sentences.sentence_offsets
                arrays = [lists(offsets, array) for array in sentences.columns().values()]
            for number in range(values.shape[1]):
                vectors = np.ascontiguousarray(values[:, number]).reshape(-1)
                arrays.append(lists(offsets * layout.hidden_size, vectors))
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))

        yield write
