import io
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from bert_ko.tensor_files import load_arrays, load_tensors, save_arrays, write_array, write_header

ARRAYS: dict[str, Any] = {
    "float32": np.array([[1, 2, 3]], np.float32),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "big_endian": np.array([1, 2], ">f4"),
    "float16": np.array([0.5, -2], np.float16),
    "bfloat16": np.array([0.5, -2, 1e30], ml_dtypes.bfloat16),
    "ids": np.array([1, 1 << 40], np.int64),
    "한글": np.array(7, np.int32),
    "empty": np.zeros((0, 4), np.float32),
}


def test_save_arrays_are_read_back_in_their_own_types(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    save_arrays(path, ARRAYS, {"format": "pt"})
    for found in (load_file(path), load_tensors(path)):
        assert found.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert found[name].dtype == array.dtype.newbyteorder("=")
            np.testing.assert_array_equal(found[name], array)


def test_save_arrays_has_an_aligned_header_and_the_bytes_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_arrays(str(path), {"b": np.ones(2, np.float32), "a": np.zeros((), np.float32)})
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    assert size % 8 == 0
    assert json.loads(data[8 : 8 + size]) == {
        "__metadata__": {"crc32c": json.dumps({"b": 2750062455, "a": 1170205523})},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "a": {"dtype": "F32", "shape": [], "data_offsets": [8, 12]},
    }
    assert data[8 + size :] == b"\0\0\x80\x3f" * 2 + b"\0" * 4


def test_save_arrays_missing_folder_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "none" / "a")
    with pytest.raises(OSError) as error:
        save_arrays(path, {"a": np.zeros(1, np.float32)})
    assert error.value.filename == path


def test_write_header_takes_arrays_part_by_part(tmp_path: Path) -> None:
    values = np.arange(10, dtype=np.float16).reshape(5, 2)
    whole, parts = io.BytesIO(), tmp_path / "parts"
    shapes: dict[str, Any] = {"values": ("float16", (5, 2))}
    write_header(whole, shapes, {"모델": "가"})
    write_array(whole, values)
    with parts.open("wb") as stream:
        write_header(stream, shapes, {"모델": "가"})
        for part in (values[:3], values[3:]):
            write_array(stream, part)
    assert parts.read_bytes() == whole.getvalue()
    np.testing.assert_array_equal(load_arrays(str(parts))["values"], values)


def test_load_arrays_bfloat16_of_others_is_read(tmp_path: Path) -> None:
    save_file({"a": np.arange(6).astype(ml_dtypes.bfloat16)}, tmp_path / "a")
    assert load_arrays(str(tmp_path / "a"))["a"].astype(np.float32).tolist() == [0, 1, 2, 3, 4, 5]


def test_load_arrays_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"half", None):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^{path} is damaged or not a safetensors file \("):
            load_arrays(str(path))


def test_load_tensors_every_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_arrays(str(path), ARRAYS, {"format": "pt"})
    content = path.read_bytes()
    wanted = {name: array.tobytes() for name, array in load_tensors(str(path)).items()}
    noticed = 0
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = load_tensors(str(path))
        except ValueError as error:
            noticed += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert {name: array.tobytes() for name, array in found.items()} == wanted
    assert noticed > len(content) / 7 - 10


def test_load_tensors_changed_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_arrays(str(path), {"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)})
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\0")
    with pytest.raises(ValueError) as error:
        load_tensors(str(path))
    assert str(error.value) == f"{path} is damaged: b is not what was written (its checksum)."
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    save_file({"a": np.ones(2, np.float32), "c": np.ones(1)}, path, metadata)
    with pytest.raises(ValueError, match="is damaged: c was added after it was written"):
        load_tensors(str(path))
    save_file({"a": np.ones(2, np.float32)}, path, metadata)
    with pytest.raises(ValueError, match="is damaged: b is missing after it was written"):
        load_tensors(str(path))
    save_file({"a": np.ones(2, np.float32)}, path, {"crc32c": "x"})
    with pytest.raises(ValueError, match="is damaged: its checksums can't be read"):
        load_tensors(str(path))


def test_load_arrays_other_types_than_asked_for_are_named(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    save_arrays(path, {"a": np.ones(2, np.float16)})
    with pytest.raises(ValueError) as error:
        load_arrays(path, ("float32",))
    assert str(error.value) == f"{path}: a is float16; weights must be float32."
