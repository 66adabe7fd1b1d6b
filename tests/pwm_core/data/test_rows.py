# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pwm_core.data.rows import RowReader


@pytest.mark.parametrize("first", [[3], [4, 0, 7]])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("width", [1, 2])
def test_rows_are_the_files_and_may_be_written_to(
    tmp_path: Path, first: list[int], count: int, width: int
) -> None:
    """Of one run or one row the transposed bytes are in order already, and nothing copies them."""
    numbers = np.arange(10 * width, dtype="<f4").reshape(10, width)
    numbers.tofile(tmp_path / "x.f32")
    reader = RowReader(tmp_path / "x.f32", width)
    last = np.full(len(first), 9)
    rows = reader.read(np.array(first), count, last)
    assert (rows == np.stack([numbers[f : f + count] for f in first], 1)).all()
    rows[:] = -1
    assert (reader.read(np.array(first), count, last) >= 0).all()


def test_the_last_row_is_repeated(tmp_path: Path) -> None:
    """Behind the end of an episode, and of the file, there is more of the last row."""
    numbers = np.arange(20, dtype="<f4").reshape(10, 2)
    numbers.tofile(tmp_path / "x.f32")
    rows = RowReader(tmp_path / "x.f32", 2).read(np.array([1, 3, 9]), 4, np.array([4, 4, 9]))
    expected = [[1, 2, 3, 4], [3, 4, 4, 4], [9, 9, 9, 9]]
    assert (rows == numbers[np.transpose(expected)]).all()
