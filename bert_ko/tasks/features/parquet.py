"""Features as Parquet: a row a sentence, a column a layer, a row group a block.

    layer_-1, …        float lists: the vectors of the pieces, one behind the other
    input_ids, …       int lists of pieces, as in ``Sentences``; not with pooling

It needs the package pyarrow, which nothing else here does.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from bert_ko.tasks.features.layout import Layout
from bert_ko.tasks.sentences import PIECE_COLUMNS, Sentences


def load_pyarrow() -> tuple[Any, Any]:
    """The package, and its module for Parquet.

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
def parquet_writer(
    stream: BinaryIO, layout: Layout
) -> Iterator[Callable[[Sentences, npt.NDArray[Any]], None]]:
    """Writes features; see ``open_writer``.

    Args:
        stream: open for writing.
        layout: of the features.
    """
    arrow, parquet = load_pyarrow()
    schema = _schema(arrow, layout)
    paths = {name: f"{name}.list.element" for name in schema.names}
    with parquet.ParquetWriter(
        stream,
        schema,
        compression="zstd",
        use_dictionary=[paths[name] for name in schema.names if name in PIECE_COLUMNS],
        # What the exponents of neighbours have in common is all that can be compressed.
        use_byte_stream_split=[paths[name] for name in _layer_names(layout)],
    ) as writer:

        def write(sentences: Sentences, values: npt.NDArray[Any]) -> None:
            writer.write_table(_table(arrow, schema, layout, sentences, values))

        yield write


def _schema(arrow: Any, layout: Layout) -> Any:
    floats = {"float32": arrow.float32(), "float16": arrow.float16()}[layout.settings.dtype]
    names = () if layout.settings.is_pooled else PIECE_COLUMNS
    fields = [(name, arrow.list_(arrow.int32())) for name in names]
    fields += [(name, arrow.list_(floats)) for name in _layer_names(layout)]
    return arrow.schema(fields, metadata=layout.metadata_texts)


def _layer_names(layout: Layout) -> list[str]:
    return [f"layer_{layer}" for layer in layout.settings.layers]


def _table(
    arrow: Any, schema: Any, layout: Layout, sentences: Sentences, values: npt.NDArray[Any]
) -> Any:
    offsets = (
        np.arange(len(sentences) + 1) if layout.settings.is_pooled else sentences.sentence_offsets
    )
    columns = []
    if not layout.settings.is_pooled:
        columns = [_lists(arrow, offsets, array) for array in sentences.columns().values()]
    for number in range(values.shape[1]):
        vectors = np.ascontiguousarray(values[:, number]).reshape(-1)
        columns.append(_lists(arrow, offsets * layout.hidden_size, vectors))
    return arrow.Table.from_arrays(columns, schema=schema)


def _lists(arrow: Any, offsets: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> Any:
    # A block has far fewer than 2**31 values.
    starts = arrow.array(offsets.astype(np.int32))
    return arrow.ListArray.from_arrays(starts, arrow.array(values))
