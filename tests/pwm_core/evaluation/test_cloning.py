# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.data.dataset import Dataset, DatasetWriter, Episode, TaskInfo
from pwm_core.evaluation.cloning import CloningConfig, best_tenth, clone, clone_all_tasks
from pwm_core.tasks import get_task


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


def test_one_clone_of_all_tasks_keeps_them_apart(tmp_path: Path) -> None:
    """Two tasks with opposite experts: only the task tells what to do."""
    infos = [TaskInfo.of(get_task(f"cartpole-{name}")) for name in ("swingup", "balance")]
    writer = DatasetWriter(tmp_path, infos)
    rng = np.random.default_rng(0)
    for info, sign in zip(infos, (1.0, -1.0), strict=True):
        observation = rng.normal(size=(301, 5)).astype(np.float32)
        action = sign * np.tanh(observation[:-1, :1])
        writer.append(info.name, "expert", 0, observation, action, np.zeros(300))
    config = CloningConfig(hidden=(32,), updates=150, batch=128, learning_rate=3e-3)
    policy = clone_all_tasks(Dataset(tmp_path), config)
    observation = torch.from_numpy(rng.normal(size=(50, 5)).astype(np.float32))
    expected = torch.tanh(observation[:, :1])
    with torch.inference_mode():
        swingup = policy.of_task("cartpole-swingup")(observation)
        balance = policy.of_task("cartpole-balance")(observation)
    assert swingup.shape == (50, 1)
    assert (swingup - expected).square().mean() < 0.05 * expected.var()
    assert (balance + expected).square().mean() < 0.05 * expected.var()
