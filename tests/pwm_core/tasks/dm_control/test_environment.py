# SPDX-License-Identifier: Apache-2.0
"""One world of every task: steps, seeds and episodes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pwm_core.tasks import Task, all_tasks, get_task
from pwm_core.tasks.dm_control.environment import ACTION_REPEAT, DmControlEnvironment


@pytest.fixture(params=[task.name for task in all_tasks("mt30")])
def task(request: pytest.FixtureRequest) -> Task:
    return get_task(request.param)


def test_step_is_its_substeps_with_rewards_summed(task: Task) -> None:
    whole, parts = task.make_single(0), task.make_single(1)
    whole.reset(seed=3)
    parts.reset(seed=3)
    for action in np.random.default_rng(0).uniform(-1, 1, (10, task.action.size)):
        observation, reward, terminated, truncated, _ = whole.step(action)
        assert reward == sum(parts.substep(action) for _ in range(parts.substeps))
        np.testing.assert_array_equal(observation, parts.observation())
        assert isinstance(reward, float)
        assert observation.dtype == np.float32
        assert not terminated
        assert not truncated
    assert whole.substeps == ACTION_REPEAT
    assert whole.data.time == pytest.approx(10 * task.control_step)


def test_reset_with_a_seed_forgets_what_was_before(task: Task) -> None:
    """State, target and whatever else an episode draws."""
    environment = task.make_single(0)
    actions = np.random.default_rng(1).uniform(-1, 1, (3, task.action.size))

    def play(seed: int) -> list[np.ndarray]:
        return [environment.reset(seed=seed)[0], *(environment.step(a)[0] for a in actions)]

    first = play(11)
    environment.reset()
    np.testing.assert_array_equal(play(11), first)
    assert np.abs(np.subtract(play(12), first)).max() > 1e-3


@pytest.mark.parametrize("name", ["cartpole-swingup", "cup-spin", "reacher-three-easy"])
def test_reset_is_the_same_in_another_process(name: str) -> None:
    program = (
        "import numpy as np\n"
        "from pwm_core.tasks import get_task\n"
        f"e = get_task({name!r}).make_single(99)\n"
        "action = np.full(e.action_space.shape, 0.5)\n"
        "print(e.reset(seed=11)[0].tobytes().hex(), e.step(action)[0].tobytes().hex())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    environment = get_task(name).make_single(0)
    start = environment.reset(seed=11)[0].tobytes().hex()
    after = environment.step(np.full(environment.action_space.shape, 0.5))[0].tobytes().hex()
    assert found.stdout.split() == [start, after]


@pytest.mark.parametrize("name", ["cartpole-balance", "pendulum-spin"])
def test_world_runs_on_past_the_episodes_end(name: str) -> None:
    """A bridge may run for hours; only the flag tells that the episode is over."""
    task = get_task(name)
    environment = task.make_single(0)
    environment.reset(seed=0)
    flags = []
    for _ in range(task.episode_steps + 50):
        _, reward, terminated, truncated, _ = environment.step(np.array([0.2]))
        assert not terminated
        assert np.isfinite(float(reward))
        flags.append(truncated)
    assert flags.index(True) == task.episode_steps - 1
    assert all(flags[task.episode_steps - 1 :])
    assert environment.data.time == pytest.approx((task.episode_steps + 50) * task.control_step)
    environment.reset(seed=1)
    assert not environment.step(np.array([0.0]))[3]


def test_restored_state_goes_on_as_before(task: Task) -> None:
    """Also through contacts: the constraint solver starts where it started."""
    environment = task.make_single(0)
    environment.reset(seed=2)
    rng = np.random.default_rng(0)
    for action in rng.uniform(-1, 1, (8, task.action.size)):
        environment.step(action)
    state, actions = environment.state(), rng.uniform(-1, 1, (8, task.action.size))
    first = [environment.step(action)[:2] for action in actions]
    environment.restore(state)
    for action, (observation, reward) in zip(actions, first, strict=True):
        again, reward_again, *_ = environment.step(action)
        np.testing.assert_array_equal(again, observation)
        assert reward_again == reward


def test_most_cup_spins_start_inside_the_cup() -> None:
    """Nine of ten, and no catch does so more than by chance."""
    inside = {}
    for name in ("cup-spin", "cup-catch"):
        environment = get_task(name).make_single(0)
        assert isinstance(environment, DmControlEnvironment)
        physics = environment._environment.physics
        environment.reset(seed=0)
        inside[name] = np.mean([environment.reset() and physics.in_target() for _ in range(60)])
    assert inside["cup-spin"] > 0.75 > 0.3 > inside["cup-catch"]
