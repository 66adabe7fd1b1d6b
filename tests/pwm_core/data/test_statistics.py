# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pwm_core.data import statistics
from pwm_core.data.dataset import Dataset, DatasetWriter, TaskInfo
from pwm_core.data.statistics import observation_moments
from pwm_core.tasks import get_task


@pytest.fixture
def offset_data(tmp_path: Path) -> Dataset:
    """Episodes of unequal length whose mean is large beside their deviation."""
    rng = np.random.default_rng(0)
    writer = DatasetWriter(tmp_path, [TaskInfo.of(get_task("cartpole-swingup"))])
    for number, steps in enumerate((5, 60, 1, 33)):
        observation = 1e3 + number + rng.normal(size=(steps + 1, 5))
        action, reward = np.zeros((steps, 1)), np.zeros(steps)
        writer.append("cartpole-swingup", "x", number, observation, action, reward)
    return Dataset(tmp_path)


@pytest.mark.parametrize("rows", [1, 40, 10**6])
def test_equals_numpy_whatever_the_chunks(
    offset_data: Dataset, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(statistics, "CHUNK_ROWS", rows)
    mean, deviation = observation_moments(offset_data, offset_data.episodes)
    everything = np.asarray(offset_data.observation, np.float64)
    np.testing.assert_allclose(mean, everything.mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation, everything.std(0), rtol=1e-5)


def test_counts_the_given_episodes_only(offset_data: Dataset) -> None:
    second = offset_data.episodes[1:2]
    mean, _ = observation_moments(offset_data, second)
    np.testing.assert_allclose(mean, offset_data.observation[second[0].rows].mean(0), rtol=1e-5)
