# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.data.dataset import DatasetError, Episode
from pwm_core.extraction.starts import StartRows, resampled


def episode(start: int, length: int) -> Episode:
    return Episode("t", "b", 0, start, length, 0.0, 0, terminated=True)


EPISODES = [episode(10, 3), episode(20, 1), episode(30, 5)]


def test_every_row_but_the_last_of_an_episode() -> None:
    rows = StartRows(EPISODES)
    assert len(rows) == 9
    drawn = rows.draw(np.random.default_rng(0), 5000)
    found, counts = np.unique(drawn, return_counts=True)
    assert found.tolist() == [10, 11, 12, 20, 30, 31, 32, 33, 34]
    assert counts.min() > 450
    assert counts.max() < 660


def test_rows_with_enough_decisions_left() -> None:
    drawn = StartRows(EPISODES, left=3).draw(np.random.default_rng(0), 500)
    assert np.unique(drawn).tolist() == [10, 30, 31, 32]
    with pytest.raises(DatasetError, match="no episode has 6 decisions"):
        StartRows(EPISODES, left=6)


def test_the_draw_is_that_of_a_list_of_rows() -> None:
    """Runs begun before rows were counted go on to the same numbers."""
    listed = np.concatenate([np.arange(e.start, e.rows.stop - 1) for e in EPISODES])
    expected = np.random.default_rng([2, 7]).choice(listed, 64)
    assert StartRows(EPISODES).draw(np.random.default_rng([2, 7]), 64).tolist() == expected.tolist()


def test_resampling_loses_a_third() -> None:
    many = [episode(10 * number, 3) for number in range(1000)]
    chosen = resampled(many, seed=1)
    assert len(chosen) == 1000
    assert len({e.start for e in chosen}) == pytest.approx(632, abs=40)
    assert chosen == resampled(many, seed=1)
    assert chosen != resampled(many, seed=2)
