# SPDX-License-Identifier: Apache-2.0
"""The adapter against EnvPool's own environments, one with terminations and one without."""

from __future__ import annotations

import numpy as np
import pytest

envpool = pytest.importorskip("envpool", reason="EnvPool has no wheel for this Python")

from pwm_core.tasks.envpool import EnvPoolEnvironment  # noqa: E402 (skips first)


def test_a_terminated_world_stays_ended_until_reset() -> None:
    """EnvPool itself would begin new episodes behind one's back."""
    worlds = EnvPoolEnvironment("Hopper-v5", 3, 4, 0, episode_steps=60)
    rng = np.random.default_rng(0)
    before, ended = worlds.reset(), np.zeros(4, bool)
    for _ in range(60):
        step = worlds.step(rng.uniform(-1, 1, (4, 3)))
        np.testing.assert_array_equal(step.observation[ended], before[ended])
        assert not step.reward[ended].any()
        assert (step.terminated >= ended).all()
        before, ended = step.observation, step.terminated
    assert ended.any(), "a hopper that moves at random falls"
    np.testing.assert_array_equal(step.truncated, ~ended)
    assert np.abs(worlds.reset() - before).max() > 1e-3
    assert not worlds.step(np.zeros((4, 3))).terminated.any()


def test_observations_and_rewards_are_the_pools_own_until_the_end() -> None:
    worlds = EnvPoolEnvironment("Hopper-v5", 3, 2, 5, episode_steps=100)
    plain = envpool.make("Hopper-v5", env_type="gymnasium", num_envs=2, seed=5)
    np.testing.assert_array_equal(worlds.reset(), plain.reset()[0].astype(np.float32))
    ended = np.zeros(2, bool)
    for action in np.random.default_rng(1).uniform(-1, 1, (60, 2, 3)):
        step = worlds.step(action)
        observation, reward, terminated, _, _ = plain.step(action)
        np.testing.assert_array_equal(step.reward[~ended], reward[~ended])
        np.testing.assert_array_equal(
            step.observation[~ended], observation[~ended].astype(np.float32)
        )
        ended |= terminated
        np.testing.assert_array_equal(step.terminated, ended)
    assert ended.any()


def test_repeats_sum_rewards_and_stop_at_the_terminal_state() -> None:
    """The same actions, once repeated here and once by hand."""
    repeated = EnvPoolEnvironment("Hopper-v5", 3, 1, 2, episode_steps=50, action_repeat=4)
    plain = EnvPoolEnvironment("Hopper-v5", 3, 1, 2, episode_steps=200)
    np.testing.assert_array_equal(repeated.reset(), plain.reset())
    for action in np.random.default_rng(3).uniform(-1, 1, (50, 1, 3)):
        step = repeated.step(action)
        singles = [plain.step(action) for _ in range(4)]
        np.testing.assert_allclose(step.reward, sum(s.reward for s in singles))
        np.testing.assert_array_equal(step.observation, singles[-1].observation)
        np.testing.assert_array_equal(step.terminated, singles[-1].terminated)
    assert step.terminated.all()


def test_actions_are_mapped_to_the_pools_limits() -> None:
    """Pendulum-v1 takes torques in [-2, 2]; its reward has the squared torque's cost."""
    worlds = EnvPoolEnvironment("Pendulum-v1", 1, 1, 0, episode_steps=5, low=-2.0, high=2.0)
    plain = envpool.make("Pendulum-v1", env_type="gymnasium", num_envs=1, seed=0)
    worlds.reset()
    plain.reset()
    for action in (-1.0, 0.25, 1.0):
        observation, reward, *_ = plain.step(np.array([[2 * action]], np.float32))
        step = worlds.step(np.array([[action]]))
        np.testing.assert_array_equal(step.observation, observation)
        np.testing.assert_allclose(step.reward, reward)


def test_success_and_time_come_from_the_pool_and_the_task() -> None:
    worlds = EnvPoolEnvironment(
        "MetaWorld/Reach-v3", 4, 2, 0, episode_steps=3, action_repeat=2, success_key="success"
    )
    assert worlds.reset().shape == (2, 39)
    truncated = []
    for _ in range(3):
        step = worlds.step(np.zeros((2, 4)))
        truncated.append(step.truncated.all())
        assert step.success.dtype == bool
    assert truncated == [False, False, True]
