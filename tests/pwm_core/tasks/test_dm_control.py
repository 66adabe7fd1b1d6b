# SPDX-License-Identifier: Apache-2.0
"""One world, many worlds and the planner's worlds must be the same world."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from pwm_core.tasks import Task, get_task
from pwm_core.tasks.dm_control.environment import ACTION_REPEAT
from pwm_core.tasks.sequential import SequentialVector

NAMES = ("cartpole-swingup", "cartpole-balance")
needs_envpool = pytest.mark.skipif(
    importlib.util.find_spec("envpool") is None, reason="EnvPool has no wheel for this Python"
)
KINDS = [pytest.param("envpool", marks=needs_envpool), "dm_control"]


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    return get_task(request.param)


def vector(task: Task, kind: str, count: int, seed: int):
    if kind == "envpool":
        return task.make_vector(count, seed)
    return SequentialVector([task.make_single(seed + i) for i in range(count)])


def put(environment, observation: np.ndarray) -> None:
    """Set the state that ``observation`` shows: slider, cos, sin, velocities."""
    x, cosine, sine, *velocity = observation.astype(float)
    environment.data.qpos[:] = x, np.arctan2(sine, cosine)
    environment.data.qvel[:] = velocity
    environment.data.qacc_warmstart[:] = 0
    mujoco.mj_forward(environment.model, environment.data)


@pytest.mark.parametrize("kind", KINDS)
def test_vector_and_single_agree_on_reward_and_next_observation(task: Task, kind: str) -> None:
    rng = np.random.default_rng(1)
    count, many, one = 3, vector(task, kind, 3, 7), task.make_single(0)
    before = many.reset()
    assert before.shape == (count, task.observation.size)
    assert before.dtype == np.float32
    for decision in range(60):
        action = rng.uniform(-1, 1, (count, task.action.size))
        after, reward, terminated, truncated, _ = many.step(action)
        assert not terminated.any()
        assert not truncated.any()
        if decision % 6 == 0:
            for i in range(count):
                put(one, before[i])
                observation, expected, *_ = one.step(action[i])
                np.testing.assert_allclose(after[i], observation, rtol=1e-4, atol=1e-4)
                assert reward[i] == pytest.approx(expected, abs=1e-4)
        before = after


@pytest.mark.parametrize("kind", KINDS)
def test_vector_episodes_end_after_the_tasks_length_and_start_again(kind: str) -> None:
    task = get_task("cartpole-balance")
    many = vector(task, kind, 2, 0)
    first = many.reset()
    idle = np.zeros((2, task.action.size))
    for decision in range(task.episode_steps):
        _, _, terminated, truncated, _ = many.step(idle)
        assert (terminated | truncated).all() == (decision == task.episode_steps - 1)
    again = many.reset()
    assert np.abs(again - first).max() > 1e-4, "the second episode starts elsewhere"
    _, reward, _, truncated, _ = many.step(idle)
    assert not truncated.any()
    assert np.isfinite(reward).all()


@pytest.mark.parametrize("kind", KINDS)
def test_vector_is_made_of_its_seed(kind: str) -> None:
    task = get_task("cartpole-swingup")

    def play(seed: int) -> np.ndarray:
        many = vector(task, kind, 2, seed)
        many.reset()
        return np.stack([many.step(np.full((2, 1), 0.3))[0] for _ in range(3)])

    np.testing.assert_array_equal(play(4), play(4))
    assert np.abs(play(4) - play(5)).max() > 1e-4


def starts(task: Task, kind: str, count: int) -> np.ndarray:
    if kind == "single":
        one = task.make_single(0)
        return np.stack([one.reset(seed=seed)[0] for seed in range(count)])
    many = vector(task, kind, 10, 100)
    return np.concatenate([many.reset() for _ in range(count // 10)])


@pytest.mark.parametrize("kind", KINDS)
def test_initial_states_have_one_distribution(task: Task, kind: str) -> None:
    """Means within five standard errors, spreads within half."""
    count = 100
    single, many = starts(task, "single", count), starts(task, kind, count)
    for column, name in enumerate(task.observation.names):
        a, b = single[:, column].astype(float), many[:, column].astype(float)
        error = np.sqrt((a.var() + b.var()) / count)
        assert abs(a.mean() - b.mean()) <= 5 * error + 1e-6, name
        assert a.std() == pytest.approx(b.std(), rel=0.5, abs=1e-5), name
    upright = task.name == "cartpole-balance"
    assert (single[:, 1] > 0.9).all() if upright else (single[:, 1] < -0.9).all()


def test_step_is_its_substeps_with_rewards_summed(task: Task) -> None:
    whole, parts = task.make_single(0), task.make_single(1)
    whole.reset(seed=3)
    parts.reset(seed=3)
    for action in np.linspace(-1, 1, 20)[:, None]:
        observation, reward, terminated, truncated, _ = whole.step(action)
        assert reward == sum(parts.substep(action) for _ in range(parts.substeps))
        np.testing.assert_array_equal(observation, parts.observation())
        assert isinstance(reward, float)
        assert observation.dtype == np.float32
        assert not terminated
        assert not truncated
    assert whole.substeps == ACTION_REPEAT
    assert whole.data.time == pytest.approx(20 * task.control_step)


def test_reset_with_a_seed_forgets_what_was_before(task: Task) -> None:
    environment = task.make_single(0)
    first, _ = environment.reset(seed=11)
    for _ in range(5):
        environment.step(np.array([1.0]))
    environment.reset()
    again, _ = environment.reset(seed=11)
    np.testing.assert_array_equal(first, again)
    other, _ = environment.reset(seed=12)
    assert np.abs(first - other).max() > 1e-5


def test_reset_is_the_same_in_another_process() -> None:
    program = (
        "from pwm_core.tasks import get_task\n"
        "e = get_task('cartpole-swingup').make_single(99)\n"
        "print(e.reset(seed=11)[0].tobytes().hex(), e.step([0.5])[0].tobytes().hex())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    environment = get_task("cartpole-swingup").make_single(0)
    start = environment.reset(seed=11)[0].tobytes().hex()
    after = environment.step(np.array([0.5]))[0].tobytes().hex()
    assert found.stdout.split() == [start, after]


def test_world_runs_on_past_the_episodes_end() -> None:
    """A bridge may run for hours; only the flag tells that the episode is over."""
    task = get_task("cartpole-balance")
    environment = task.make_single(0)
    environment.reset(seed=0)
    flags = []
    for _ in range(task.episode_steps + 50):
        _, reward, terminated, truncated, _ = environment.step(np.array([0.2]))
        assert not terminated
        assert np.isfinite(reward)
        flags.append(truncated)
    assert flags.index(True) == task.episode_steps - 1
    assert all(flags[task.episode_steps - 1 :])
    assert environment.data.time == pytest.approx((task.episode_steps + 50) * task.control_step)
    _, _, _, truncated, _ = environment.reset(seed=1) and environment.step(np.array([0.0]))
    assert not truncated


@pytest.mark.parametrize("threads", [1, 2])
def test_planned_rewards_are_those_of_stepping(task: Task, threads: int) -> None:
    rng = np.random.default_rng(2)
    plans = rng.uniform(-1, 1, (3, 12, task.action.size))
    environments, states = [task.make_single(0) for _ in plans], []
    for seed, environment in enumerate(environments):
        environment.reset(seed=seed)
        for _ in range(10):
            environment.step(rng.uniform(-1, 1, 1))
        states.append(environment.state())
    dynamics = task.make_dynamics(environments, threads)
    planned = dynamics.rollout(np.stack(states), plans[:, None])[:, 0]
    stepped = [
        [environment.step(action)[1] for action in plan]
        for environment, plan in zip(environments, plans, strict=True)
    ]
    assert planned.shape == (3, 12)
    np.testing.assert_allclose(planned, stepped, atol=1e-6)
