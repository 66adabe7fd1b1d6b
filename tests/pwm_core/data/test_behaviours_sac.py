# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec

import numpy as np
import pytest

from pwm_core.data.behaviours import BehaviourError, SoftActorCritic
from pwm_core.tasks import get_task


def test_a_longer_training_begins_with_the_episodes_of_a_shorter_one() -> None:
    """Which is also to say that a training can be repeated."""
    pytest.importorskip("stable_baselines3")
    task = get_task("gym-hopper")
    short, long = (SoftActorCritic().collect(task, count, 3) for count in (5, 7))
    assert [len(short), len(long)] == [5, 7]
    assert sum(len(e.reward) for e in short) > 100, "SAC must have begun to learn, at step 100"
    for one, other in zip(short, long, strict=False):
        np.testing.assert_array_equal(one.observation, other.observation)
        np.testing.assert_array_equal(one.action, other.action)
        assert one.terminated
    other = SoftActorCritic().collect(task, 1, 4)[0]
    assert not np.array_equal(other.observation[0], short[0].observation[0])


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "stable_baselines3" else find(name, package)

    monkeypatch.setattr("pwm_core.data.behaviours.sac.find_spec", without)
    with pytest.raises(BehaviourError, match=r"'\.\[sac\]'"):
        SoftActorCritic()
