"""Files of HDF5 in streams that can seek and that can't, and disks that are full."""

import io
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bert_ko import files
from bert_ko.tasks.features import hdf5
from bert_ko.tasks.features.hdf5 import hdf5_file


def write(stream: Any, count: int = 3) -> None:
    with hdf5_file(stream) as file:
        file.describe({"format": "가"})
        for number in range(count):
            file.add(str(number), np.full((2, number, 4), number, "f"), {"tokens": "가 " * 50_000})


class Pipe(io.BytesIO):
    def seek(self, *arguments: Any) -> int:
        raise io.UnsupportedOperation


def test_file_and_pipe_have_the_same_bytes(tmp_path: Path) -> None:
    path, pipe = str(tmp_path / "a.hdf5"), Pipe()
    with files.atomic_writer(path) as stream:
        write(stream)
    write(pipe)
    assert pipe.getvalue() == Path(path).read_bytes()
    with h5py.File(path, "r") as file:
        assert file.attrs["format"] == "가" and sorted(file) == ["0", "1", "2"]
        assert file["2"][()].tolist() == [[[2.0] * 4] * 2] * 2 and file["0"].shape == (2, 0, 4)
        assert file["1"].attrs["tokens"] == "가 " * 50_000  # longer than HDF5's own limit


def test_full_disk_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.hdf5"
    path.write_text("before")
    plain, room = hdf5._Target._write, [300_000]

    def write_part(target: Any, view: Any) -> None:
        room[0] -= len(view)
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        plain(target, view)

    monkeypatch.setattr(hdf5._Target, "_write", write_part)
    with pytest.raises(OSError) as error, files.atomic_writer(str(path)) as stream:
        write(stream, 100)
    assert error.value.errno == 28 and error.value.filename == str(path)
    assert os.listdir(tmp_path) == ["a.hdf5"] and path.read_text() == "before"
    assert capfd.readouterr().err == ""
