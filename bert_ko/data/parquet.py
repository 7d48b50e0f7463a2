"""Parquet files to JSON lines, in bounded memory; pyarrow is imported when one is read."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

_ROWS = 128  # that are in memory at once, whatever the size of the file's row groups
_BUFFER_SIZE = 1 << 20


def read_parquet(path: str, stream: BinaryIO, fields: Sequence[str]) -> Iterator[bytes]:
    """Yields each row as a line of JSON, an object with the fields.

    Args:
        path: names the file in errors.
        stream: the file; it must seek.
        fields: columns of text.

    Raises:
        ValueError: pyarrow is missing, the file is damaged, or has no such column of text.
    """
    arrow, parquet = _load_pyarrow(path)
    names = list(dict.fromkeys(fields))
    try:
        table = parquet.ParquetFile(
            stream, buffer_size=_BUFFER_SIZE, pre_buffer=False, page_checksum_verification=True
        )
        _check_columns(path, table.schema_arrow, names, arrow)
        batches = table.iter_batches(_ROWS, columns=names, use_threads=False)
        for batch in batches:
            columns = [batch.column(name).to_pylist() for name in names]
            for row in zip(*columns, strict=True):
                record = dict(zip(names, row, strict=True))
                yield json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())  # Thrift's ends with a line end
        raise ValueError(f"{path} is no Parquet file, or is damaged: {reason}") from error


def _load_pyarrow(path: str) -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        message = f"{path} needs the package pyarrow: pip install bert_ko[parquet]"
        raise ValueError(message) from None


def _check_columns(path: str, schema: Any, names: Sequence[str], arrow: Any) -> None:
    for name in names:
        if name not in schema.names:
            raise ValueError(
                f"{path}: no column {name!r}; "
                f"--text_field must name one of: {', '.join(schema.names)}."
            )
        kind = schema.field(name).type
        kind = kind.value_type if arrow.types.is_dictionary(kind) else kind
        if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
            raise ValueError(
                f"{path}: the column {name!r} holds no text but {kind}; "
                "--text_field must name one of text."
            )
