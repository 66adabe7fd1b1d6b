# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from pathlib import Path

import numpy as np
import pytest

from pwm_core.data.dataset import Dataset, Episode
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.finetuning.config import GateConfig
from pwm_core.finetuning.gate import recorded_rewards
from pwm_core.finetuning.inputs import of_policy, single_task, view
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


def inside(episode: Episode, array: np.ndarray) -> np.ndarray:
    """Say of each row of ``array`` whether it is of ``episode``."""
    rows = np.arange(len(array))
    found = (rows >= episode.start) & (rows < episode.rows.stop)
    return found[:, None] if array.ndim > 1 else found


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


def test_little_old_data_knows_something(trained: TrainedWorldModel, data: Dataset) -> None:
    """Of two episodes, no decision says how near the others are to itself."""
    few, online = (view(data, TASK, part) for part in (data.episodes[:2], data.episodes[2:]))
    found = judged(trained, online, few)
    assert found.known > 0.1 * found.decisions
    poisoned = changed(online, "reward", lambda reward: reward + 100)
    assert judged(trained, poisoned, few).error > 1000


def test_what_only_the_robot_has_seen_is_not_judged(
    trained: TrainedWorldModel, data: Dataset
) -> None:
    far = data.episodes[-1]
    some = changed(data, "observation", lambda o: o + 100 * inside(far, o))
    some.reward = np.array(data.reward) + 100 * inside(far, data.reward)
    found = judged(trained, some, data)
    assert found.known <= 1500
    assert found.error < 2 * judged(trained, data, data).error


@pytest.mark.parametrize(
    ("name", "change", "known"),
    [
        pytest.param("observation", lambda o: o + 100, 0, id="far from all old data"),
        pytest.param("reward", lambda r: 0 * r, 1700, id="old rewards all the same"),
    ],
)
def test_where_nothing_can_be_said_the_gate_refuses(
    trained: TrainedWorldModel, data: Dataset, name: str, change: Callable, known: int
) -> None:
    """Not a pass: no other check is of what trains."""
    online, offline = data, changed(data, name, change)
    if name == "observation":
        online, offline = offline, online
    found = judged(trained, online, offline)
    assert math.isnan(found.error)
    assert found.known >= known
    assert found.decisions == 2000
    verdict = recorded_rewards(single_task(trained, TASK), online, offline, GateConfig(), 0)
    assert not verdict.passed
    assert f"{found.known} of 2000 decisions; nothing vouches for them" in verdict.meaning
    vouched = GateConfig(trust_rewards=True)
    verdict = recorded_rewards(single_task(trained, TASK), online, offline, vouched, 0)
    assert verdict.passed
    assert "they are trusted as told" in verdict.meaning


def test_rewards_that_contradict_are_refused_however_trusted(
    trained: TrainedWorldModel, data: Dataset
) -> None:
    wrong = changed(data, "reward", lambda r: -r)
    vouched = GateConfig(trust_rewards=True)
    assert not recorded_rewards(single_task(trained, TASK), wrong, data, vouched, 0).passed
