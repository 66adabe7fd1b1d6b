# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path

import numpy as np
import pytest

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.finetuning.inputs import of_policy, single_task
from pwm_core.finetuning.recorded_rewards import Agreement, agreement
from pwm_core.model.store import TrainedWorldModel

TASK = "cartpole-swingup"


@pytest.fixture
def data(dataset: Dataset, tiny_policy: Path) -> Dataset:
    return of_policy(dataset, TrainedPolicy.load(tiny_policy), 4)


def changed(data: Dataset, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Dataset:
    """A copy of ``data`` whose array ``name`` is ``change`` of what it was."""
    other = copy(data)
    setattr(other, name, change(np.array(getattr(data, name))).astype(np.float32))
    return other


def judged(trained: TrainedWorldModel, online: Dataset, offline: Dataset) -> Agreement:
    return agreement(single_task(trained, TASK), online, offline, 0)


def test_most_of_the_old_data_lies_near_itself(trained: TrainedWorldModel, data: Dataset) -> None:
    found = judged(trained, data, data)
    assert found.decisions == 2000
    assert found.known > 0.85 * found.decisions


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param(lambda r: r + 1, id="shifted"),
        pytest.param(lambda r: np.where(np.arange(len(r)) % 20 == 0, 10, r), id="one in twenty"),
    ],
)
def test_wrong_rewards_show(trained: TrainedWorldModel, data: Dataset, poison: Callable) -> None:
    clean = judged(trained, data, data).error
    assert judged(trained, changed(data, "reward", poison), data).error > 3 * clean


def test_what_only_the_robot_has_seen_is_not_judged(
    trained: TrainedWorldModel, data: Dataset
) -> None:
    far = changed(data, "observation", lambda o: o + 100)
    far.reward = -data.reward
    assert judged(trained, far, data) == Agreement(0.0, 0, 2000)
