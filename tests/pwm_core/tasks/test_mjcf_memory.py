# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pwm_core.tasks import Task
from pwm_core.tasks.mjcf import MjcfTask, MjcfTaskError, task_from_mjcf
from pwm_core.tasks.task_files import read, save

PLAIN = 3
"""Cosine, sine and velocity of the pendulum."""


@pytest.fixture
def described(project: Path) -> MjcfTask:
    return MjcfTask(
        "pendulum-upright",
        project / "robots" / "pendulum.xml",
        "my_rewards:upright",
        project,
        history=2,
        previous_action=True,
    )


@pytest.fixture
def task(described: MjcfTask) -> Task:
    return task_from_mjcf(described)


def test_layout(task: Task) -> None:
    present = ("shoulder/position/cos", "shoulder/position/sin", "shoulder/velocity")
    present += ("shoulder_motor/previous_command",)
    assert task.observation.names == (
        *present,
        *(f"{name}/1_ago" for name in present),
        *(f"{name}/2_ago" for name in present),
    )


def test_an_episode_shows_its_last_decisions_and_commands(task: Task, described: MjcfTask) -> None:
    rng = np.random.default_rng(0)
    plain = task_from_mjcf(replace(described, history=0, previous_action=False)).make_single(0)
    full = task.make_single(0)
    seen, _ = plain.reset(seed=5)
    observed, _ = full.reset(seed=5)
    rows = [np.append(seen, np.float32(0.0))]
    np.testing.assert_array_equal(observed, np.tile(rows[0], 3))
    for _ in range(6):
        action = rng.uniform(-1.5, 1.5, 1)
        seen, *_ = plain.step(action)
        observed, *_ = full.step(action)
        rows.insert(0, np.append(seen, np.float32(np.clip(action, -1, 1))))
        expected = np.concatenate([rows[min(lag, len(rows) - 1)] for lag in range(3)])
        np.testing.assert_allclose(observed, expected, atol=1e-7)
    observed, _ = full.reset(seed=5)
    np.testing.assert_array_equal(observed, np.tile(rows[-1], 3))


def test_a_plan_leaves_no_trace_in_the_history(task: Task) -> None:
    one, twin = task.make_single(0), task.make_single(0)
    for environment in (one, twin):
        environment.reset(seed=1)
        environment.step(np.array([0.7]))
    plans = np.random.default_rng(0).uniform(-1, 1, (1, 2, 5, 1))
    assert task.make_dynamics is not None
    task.make_dynamics([one], 1).rollout(one.state()[None], plans)
    np.testing.assert_array_equal(one.observation(), twin.observation())
    np.testing.assert_array_equal(one.step(np.zeros(1))[0], twin.step(np.zeros(1))[0])


def test_task_files_keep_it(described: MjcfTask) -> None:
    found = read(save(described))
    assert (found.history, found.previous_action) == (2, True)


def test_a_history_that_cannot_be(described: MjcfTask) -> None:
    with pytest.raises(MjcfTaskError, match="a history of -1 decisions; 0 or more were expected"):
        task_from_mjcf(replace(described, history=-1))
