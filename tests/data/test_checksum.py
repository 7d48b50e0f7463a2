import importlib.util
import sys

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_ko.data import checksum

# RFC 3720, B.4, and the check value of the catalogues of checksums.
VECTORS = [
    (b"", 0),
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]
BLOCK = 1024


@pytest.mark.parametrize("value", [google_crc32c.value, checksum.numpy_value])
@pytest.mark.parametrize(("data", "known"), VECTORS)
def test_checksum_known_vectors_are_met(value, data: bytes, known: int) -> None:
    assert value(data) == known


@settings(deadline=None)
@given(st.binary(max_size=50), st.integers(0, 2 * BLOCK + 10))
def test_numpy_checksum_any_bytes_equals_google_crc32c(data: bytes, size: int) -> None:
    for content in (data, (data or b"\x80" * 7) * (1 + size // 7)):
        assert checksum.numpy_value(content) == google_crc32c.value(content)


@pytest.mark.parametrize("size", [*range(9), BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 3, 3 * BLOCK])
def test_numpy_checksum_every_block_border_equals_google_crc32c(size: int) -> None:
    data = bytes((7 * i + 13) % 256 for i in range(size))
    assert checksum.numpy_value(data) == google_crc32c.value(data)


def test_checksum_takes_google_crc32c_where_it_is_installed() -> None:
    assert checksum.value is google_crc32c.value


def test_checksum_without_google_crc32c_is_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    spec = importlib.util.spec_from_file_location("checksum_alone", checksum.__file__)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.value is module.numpy_value
    assert module.value("가나다".encode()) == google_crc32c.value("가나다".encode())
