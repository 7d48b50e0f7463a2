"""Files of features: Google's JSON lines, .npz, and .safetensors; Parquet has its own module.

    values            float [P, N, H], with pooling [S, N, H]
    sentence_offsets  int64 [S + 1], and the arrays [P] of ``Sentences``; not with pooling

Legend: S sentences, P pieces of all of them, N layers, H hidden_size.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from bert_ko.tasks.features.layout import Layout
from bert_ko.tasks.features.parquet import parquet_writer
from bert_ko.tasks.sentences import Sentences
from bert_ko.tensor_files import write_array, write_header

Format = Literal["json", "npz", "safetensors", "parquet"]
# Takes the blocks of sentences one after another, with their values.
Write = Callable[[Sentences, npt.NDArray[Any]], None]
# Their headers have the shapes, so that the sentences must be known first.
WHOLE_FORMATS = ("npz", "safetensors")
_MILLION = 1e6


@contextlib.contextmanager
def open_writer(
    output_format: Format, stream: BinaryIO, layout: Layout, whole: Sentences | None
) -> Iterator[Write]:
    """Writes features; the stream has all of them when the block ends.

    Args:
        output_format: of the file.
        stream: open for writing.
        layout: of the features.
        whole: all sentences, for formats of WHOLE_FORMATS.

    Yields:
        What takes blocks and their values in the order of the sentences.
    """
    if output_format == "json":
        yield JsonWriter(stream, layout)
    elif output_format == "parquet":
        with parquet_writer(stream, layout) as write:
            yield write
    else:
        assert whole is not None
        opened = _npz_writer if output_format == "npz" else _safetensors_writer
        with opened(stream, layout, whole) as write:
            yield write


class JsonWriter:
    """A JSON object a line.

    Source: extract_features.py of google-research/bert, to the byte. With pooling, which it does
        not have, ``layers`` stand in the object itself.
    """

    def __init__(self, stream: BinaryIO, layout: Layout):
        """Begins at line 0."""
        self._stream, self._layout = stream, layout
        self._line = 0

    def __call__(self, sentences: Sentences, values: npt.NDArray[Any]) -> None:
        """See Write."""
        offsets = sentences.sentence_offsets
        for number in range(len(sentences)):
            record: dict[str, Any] = {"linex_index": self._line}
            if self._layout.settings.is_pooled:
                record["layers"] = self._layers(_rounded(values[number]))
            else:
                start, end = offsets[number], offsets[number + 1]
                vectors = _rounded(values[start:end])
                record["features"] = [
                    {"token": self._layout.pieces[piece], "layers": self._layers(layers)}
                    for piece, layers in zip(sentences.input_ids[start:end], vectors, strict=True)
                ]
            self._stream.write(json.dumps(record).encode() + b"\n")
            self._line += 1

    def _layers(self, vectors: list[list[float]]) -> list[dict[str, Any]]:
        layers = self._layout.settings.layers
        return [
            {"index": layer, "values": vector}
            for layer, vector in zip(layers, vectors, strict=True)
        ]


def _rounded(values: npt.NDArray[Any]) -> Any:
    """Lists of floats with six decimals.

    A float32 times a million is exact in float64, so that this is what Python's round gives.
    """
    return (np.rint(values.astype(np.float64) * _MILLION) / _MILLION).tolist()


@contextlib.contextmanager
def _npz_writer(stream: BinaryIO, layout: Layout, whole: Sentences) -> Iterator[Write]:
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
def _safetensors_writer(stream: BinaryIO, layout: Layout, whole: Sentences) -> Iterator[Write]:
    arrays = layout.arrays(whole)
    shapes: dict[str, tuple[npt.DTypeLike, tuple[int, ...]]] = {
        name: (array.dtype, array.shape) for name, array in arrays.items()
    }
    shapes["values"] = (layout.settings.dtype, layout.values_shape(whole))
    write_header(stream, shapes, layout.metadata_texts)
    for array in arrays.values():
        write_array(stream, array)
    yield lambda sentences, values: write_array(stream, values)
