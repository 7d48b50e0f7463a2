"""CRC-32C (Castagnoli): google_crc32c where it is installed, a table in numpy elsewhere.

The second lets a machine that has only numpy read shards. It takes some 10 us for a kilobyte, which
is dozens of times slower.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_POLYNOMIAL = 0x82F63B78  # of Castagnoli, the lowest power in the highest bit
_BLOCK = 1024  # bytes looked up together


def numpy_value(data: bytes) -> int:
    """The checksum of ``data``.

    A checksum is linear: that of a block is the XOR of what each byte alone would leave, which
    depends on the byte and on how many follow it. What came before is XORed into the first four.
    """
    table = _contributions()
    state = 0xFFFFFFFF
    for start in range(0, len(data), _BLOCK):
        block = np.frombuffer(data[start : start + _BLOCK], np.uint8).copy()
        size = len(block)
        block[:4] ^= np.frombuffer(state.to_bytes(4, "little"), np.uint8)[:size]
        left = np.bitwise_xor.reduce(table[np.arange(size - 1, -1, -1), block])
        state = (state >> (8 * size)) ^ int(left)
    return ~state & 0xFFFFFFFF


@functools.cache
def _contributions() -> npt.NDArray[np.uint32]:
    """What a byte leaves in the checksum after k more bytes: uint32 [_BLOCK, 256]."""
    row = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        row = (row >> np.uint32(1)) ^ (row & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    rows = [row]
    for _ in range(1, _BLOCK):
        rows.append((rows[-1] >> np.uint32(8)) ^ row[rows[-1] & 255])
    return np.stack(rows)


value: Callable[[bytes], int] = numpy_value
try:
    import google_crc32c
except ImportError:
    pass
else:
    value = google_crc32c.value
