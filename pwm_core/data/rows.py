# SPDX-License-Identifier: Apache-2.0
"""Read runs of consecutive rows at random places of an array file, in constant time and memory.

By position, not through a memory map: a map reads megabytes around every row it is asked for, and
all of them count as this process's memory. For files that are larger than memory this decides.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pwm_core.data.schema import DatasetError


class RowReader:
    """A file of little-endian float32 rows ``[rows, width]``."""

    def __init__(self, file: Path, width: int) -> None:
        self._file = open(file, "rb", buffering=0)  # noqa: SIM115 (closed with the reader)
        self._row_bytes, self._width = 4 * width, width

    def read(self, first: np.ndarray, count: int, last: np.ndarray) -> np.ndarray:
        """Return rows ``first[b]`` to ``first[b] + count - 1`` as ``[count, batch, width]``.

        After ``last[b]`` that row is repeated. They are the caller's to write to. ``DatasetError``
        when the file has become shorter.
        """
        handle, row, size = self._file.fileno(), self._row_bytes, self._row_bytes * count
        places = (first * row).tolist()
        sizes = (np.minimum(count, last - first + 1) * row).tolist()
        runs = [os.pread(handle, *run) for run in zip(sizes, places, strict=True)]
        for b in np.flatnonzero(last - first + 1 < count):
            runs[b] += runs[b][-row:] * ((size - sizes[b]) // row)
        data = bytearray().join(runs)
        if len(data) != size * len(first):
            raise DatasetError(f"{self._file.name} was truncated while it was read")
        rows = np.frombuffer(data, "<f4").reshape(len(first), count, self._width)
        return np.ascontiguousarray(rows.transpose(1, 0, 2))
