# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pwm_core.tasks import envpool_only, get_task
from pwm_core.tasks.envpool_only import EnvPoolOnlyError

NAME = "myo-finger-pose-random"


def test_describing_a_task_loads_no_simulator() -> None:
    program = (
        "import sys; from pwm_core.tasks import all_tasks; all_tasks('playground');"
        "all_tasks('myosuite'); sys.exit(any(m in sys.modules for m in ('torch', 'envpool')))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_a_task_is_described_once() -> None:
    assert get_task(NAME) is get_task(NAME)


@pytest.mark.parametrize("what", ["model", "data", "state"])
def test_what_envpool_does_not_show_is_refused_by_name(what: str) -> None:
    one = get_task(NAME).make_single(0)
    with pytest.raises(EnvPoolOnlyError, match=f"task {NAME} runs in EnvPool only.*ROS bridge"):
        one.state() if what == "state" else getattr(one, what)


def test_without_envpool_the_way_to_get_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envpool_only, "has_envpool", lambda: False)
    with pytest.raises(EnvPoolOnlyError, match=f"task {NAME} runs in EnvPool only.*pip install"):
        get_task(NAME).make_vector(1, 0)
    with pytest.raises(EnvPoolOnlyError, match="pip install"):
        get_task(NAME).make_single(0).reset(seed=0)


class TestSingle:
    """One world of a small task."""

    @pytest.fixture(autouse=True)
    def _envpool(self) -> None:
        pytest.importorskip("envpool")

    def test_a_seed_makes_the_same_episode(self) -> None:
        task = get_task("playground-spot-getup")
        one, other = task.make_single(0), task.make_single(1)
        first, _ = one.reset(seed=7)
        one.step(np.ones(task.action.size))
        one.reset()
        np.testing.assert_array_equal(first, one.reset(seed=7)[0])
        np.testing.assert_array_equal(first, other.reset(seed=7)[0])
        assert np.abs(first - other.reset(seed=8)[0]).max() > 1e-4

    def test_is_the_vector_of_one(self) -> None:
        task = get_task(NAME)
        one, many = task.make_single(0), task.make_vector(1, 4)
        np.testing.assert_array_equal(one.reset(seed=4)[0], many.reset()[0])
        action = np.full(task.action.size, 0.3)
        for _ in range(5):
            observation, reward, terminated, truncated, info = one.step(action)
            after = many.step(action[None])
            np.testing.assert_array_equal(observation, after.observation[0])
            assert (reward, terminated, truncated, info["success"]) == (
                after.reward[0],
                after.terminated[0],
                after.truncated[0],
                after.success[0],
            )

    def test_time_runs_out_after_the_tasks_length(self) -> None:
        task = get_task(NAME)
        one = task.make_single(0)
        one.reset(seed=0)
        ends = [one.step(np.zeros(task.action.size))[2:4] for _ in range(task.episode_steps)]
        assert ends == [(False, False)] * (task.episode_steps - 1) + [(False, True)]
