# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from pwm_core.evaluation.episodes import deterministic, run_episodes, uniform_random
from pwm_core.tasks import SingleEnvironment, Task, get_task

GAIN = np.array([0.3, 0.0, 3.0, 0.4, 0.8], np.float32)


@pytest.fixture
def task() -> Task:
    return dataclasses.replace(get_task("cartpole-balance"), episode_steps=30)


def balance(observation: np.ndarray) -> np.ndarray:
    return np.tanh(observation @ GAIN)[:, None]


def test_same_seeds_same_returns_whatever_runs_beside(task: Task) -> None:
    together = run_episodes(task, balance, [3, 4, 5])
    assert together.returns.shape == (3,)
    assert together.observation.shape == (31, 3, 5)
    alone = run_episodes(task, balance, [4])
    assert alone.returns[0] == together.returns[1]
    assert len(set(together.returns)) == 3
    np.testing.assert_array_equal(run_episodes(task, balance, [3, 4, 5]).returns, together.returns)


def test_return_is_the_sum_of_step_rewards(task: Task) -> None:
    environment = task.make_single(0)
    observation, _ = environment.reset(seed=8)
    total = 0.0
    for _ in range(task.episode_steps):
        observation, reward, *_ = environment.step(balance(observation[None])[0])
        total += reward
    assert run_episodes(task, balance, [8]).returns[0] == pytest.approx(total, abs=1e-9)


def test_balance_controller_earns_nearly_everything(task: Task) -> None:
    controlled = run_episodes(task, balance, range(3)).returns
    assert controlled.min() > 0.9 * 2 * task.episode_steps


def test_uniform_random_is_made_of_its_seed(task: Task) -> None:
    def returns(seed: int) -> np.ndarray:
        return run_episodes(task, uniform_random(task, seed), [0, 1]).returns

    np.testing.assert_array_equal(returns(0), returns(0))
    assert (returns(0) != returns(1)).all()


def test_deterministic_wraps_a_network() -> None:
    network = torch.nn.Linear(5, 1)
    act = deterministic(network)
    observation = np.ones((2, 5), np.float32)
    np.testing.assert_array_equal(act(observation), act(observation))
    assert act(observation).shape == (2, 1)


class Falling(SingleEnvironment):
    """An episode of seed ``n`` ends in a terminal state after ``n`` decisions; odd ones succeed."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        assert seed is not None
        self.left, self.solved = seed, bool(seed % 2)
        return np.full(1, seed, np.float32), {}

    def step(self, action: np.ndarray) -> Any:
        self.left -= 1
        # Solved on the way, but only odd episodes stay solved.
        success = self.solved or self.left > 0
        return np.full(1, self.left, np.float32), 1.0, self.left == 0, False, {"success": success}


def test_an_episode_ends_where_its_world_ends(task: Task) -> None:
    falling = dataclasses.replace(
        task, make_single=lambda _: Falling(), episode_steps=10, reports_success=True
    )
    ended = run_episodes(falling, lambda o: np.zeros((len(o), 1)), [3, 2, 99])
    assert ended.returns.tolist() == [3, 2, 10]
    assert ended.lengths.tolist() == [3, 2, 10]
    assert ended.terminated.tolist() == [True, True, False]
    assert ended.success is not None
    assert ended.success.tolist() == [True, False, True], "success counts at the end only"
    assert ended.observation[:, 1, 0].tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]


def test_a_task_without_success_reports_none(task: Task) -> None:
    assert run_episodes(task, balance, [0]).success is None
