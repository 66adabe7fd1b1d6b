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
    rows = reader.read(np.array(first), count)
    assert (rows == np.stack([numbers[f : f + count] for f in first], 1)).all()
    rows[:] = -1
    assert (reader.read(np.array(first), count) >= 0).all()
