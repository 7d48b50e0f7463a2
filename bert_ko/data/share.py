"""Which rows of a batch a host makes, where several train one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Share:
    """The rows of every batch that one of several hosts makes.

    A batch is cut into parts that are computed one after another, each part into equal stretches,
    a host's in the order of the hosts, and these between its devices. The batch is the same
    whatever the number of hosts and devices.
    """

    index: int = 0  # of the host
    count: int = 1  # of hosts
    parts: int = 1
    devices: int = 1  # of all hosts together

    @property
    def pieces(self) -> int:
        """Pieces of a batch that are computed by themselves, of which its rows are a multiple."""
        return self.parts * self.devices

    def ranges(self, size: int) -> list[range]:
        """The host's rows of a batch of so many, ascending.

        >>> Share(index=1, count=2, parts=2).ranges(8)
        [range(2, 4), range(6, 8)]
        """
        if self.count == 1:
            return [range(size)]
        length = size // (self.parts * self.count)
        starts = range(self.index * length, size, self.count * length)
        return [range(start, start + length) for start in starts]

    def rows(self, size: int) -> npt.NDArray[np.int64]:
        """The same as numbers, int64 [size / count]."""
        return np.concatenate([np.asarray(part, np.int64) for part in self.ranges(size)])

    def of(self, arrays: Arrays) -> Arrays:
        """The host's part of whole arrays [B, ...], or of groups of rows [G, ...]."""
        if self.count == 1:
            return arrays
        return {name: value[self.rows(len(value))] for name, value in arrays.items()}


WHOLE = Share()  # of the only host
