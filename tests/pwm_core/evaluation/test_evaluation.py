# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.data.dataset import Dataset, DatasetWriter, Episode, TaskInfo
from pwm_core.evaluation.cloning import CloningConfig, best_tenth, clone
from pwm_core.evaluation.comparison import Score, score_baselines
from pwm_core.evaluation.episodes import deterministic, run_episodes, uniform_random
from pwm_core.tasks import Task, get_task

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


def score(*returns: float) -> Score:
    return Score("t", "c", returns, ())


def test_interval_of_a_normal_sample() -> None:
    returns = np.random.default_rng(1).normal(100, 10, 50)
    low, high = score(*returns).interval
    error = returns.std() / np.sqrt(50)
    assert low == pytest.approx(returns.mean() - 1.96 * error, abs=0.6)
    assert high == pytest.approx(returns.mean() + 1.96 * error, abs=0.6)
    assert score(*returns).interval == (low, high), "the same figures give the same interval"


def test_interval_of_few_figures() -> None:
    assert score(5.0).interval is None
    assert score(5.0, 5.0, 5.0).interval == (5.0, 5.0)
    low, high = score(1.0, 3.0).interval
    assert 1.0 <= low <= 2.0 <= high <= 3.0


def episode(number: int, total: float) -> Episode:
    return Episode("t", "b", number, 0, 1, total, 0)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (9, 1), (14, 1), (16, 2), (50, 5)])
def test_best_tenth(count: int, expected: int) -> None:
    totals = np.random.default_rng(0).permutation(count).astype(float)
    chosen = best_tenth([episode(i, t) for i, t in enumerate(totals)])
    assert [e.total_reward for e in chosen] == sorted(totals, reverse=True)[:expected]


def test_cloning_reproduces_a_linear_expert(tmp_path: Path) -> None:
    info = TaskInfo.of(get_task("cartpole-balance"))
    writer = DatasetWriter(tmp_path, [info])
    rng = np.random.default_rng(0)
    expert = np.array([0.2, -0.1, 0.3, 0.1, -0.2])
    for number in range(2):
        observation = (rng.normal(size=(401, 5)) * [1, 2, 0.1, 1, 5]).astype(np.float32)
        action = np.tanh(observation[:-1] @ expert)[:, None]
        writer.append(info.name, "expert", number, observation, action, np.zeros(400))
    data = Dataset(tmp_path)
    config = CloningConfig(hidden=(64,), updates=400, batch=128, learning_rate=3e-3)
    policy = clone(data, data.episodes[:1], config)
    unseen = data.episodes[1]
    observation = torch.from_numpy(np.array(data.observation[unseen.rows][:-1]))
    expected = data.action[unseen.rows][1:]
    with torch.inference_mode():
        error = policy(observation).numpy() - expected
    assert np.square(error).mean() < 0.02 * expected.var()
    again = clone(data, data.episodes[:1], config)
    assert torch.equal(policy(observation), again(observation))


def test_baselines(dataset: Dataset) -> None:
    name = "cartpole-swingup"
    config = CloningConfig(hidden=(8,), updates=3, batch=16)
    scores = list(score_baselines(dataset, name, range(2), config))
    assert [s.controller for s in scores] == [
        "random",
        "data, mean",
        "data, best episode",
        "cloning, all data",
        "cloning, best tenth",
    ]
    totals = [e.total_reward for e in dataset.of_task(name)]
    assert scores[1].returns == tuple(totals)
    assert scores[1].mean == pytest.approx(np.mean(totals))
    assert scores[2].returns == (max(totals),)
    assert scores[2].interval is None
    for run in (scores[0], scores[3], scores[4]):
        assert run.seeds == (0, 1)
        assert len(run.returns) == 2
    assert all(s.policy is None for s in scores)
