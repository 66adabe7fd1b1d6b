# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest
import torch

from pwm_core.data.dataset import Dataset, EpisodeTable
from pwm_core.data.sampler import Windows
from pwm_core.data.split import split
from pwm_core.model.world_model import WorldModel
from pwm_core.pretraining.judgement import (
    judge,
    judge_tasks,
    quality_record,
    validation_windows,
)
from pwm_core.pretraining.loss import unroll


@pytest.fixture
def windows() -> Windows:
    torch.manual_seed(5)
    horizon, batch = 3, 4
    return Windows(
        torch.randn(horizon + 1, batch, 3, dtype=torch.float64),
        torch.rand(horizon, batch, 2, dtype=torch.float64) * 2 - 1,
        torch.randn(horizon, batch) * 3,
        torch.zeros(horizon, batch),
        torch.tensor([0, 1, 1, 0]),
    )


def of_task(windows: Windows, task: int) -> Windows:
    chosen = windows.task == task
    tensors = [t[:, chosen] if t.ndim > 1 else t[chosen] for t in vars(windows).values()]
    return Windows(*tensors)


def test_judgement_equals_the_reference(
    random_model: WorldModel, windows: Windows, reference
) -> None:
    quality = judge(random_model, windows)
    reward_error, latent_error, _ = reference.judge(random_model, windows)
    assert quality.reward_error == pytest.approx(reward_error, rel=1e-4)
    assert quality.latent_error == pytest.approx(latent_error, rel=1e-6)
    assert quality.termination_error is None


def test_only_what_was_decided_is_judged(
    random_model: WorldModel, windows: Windows, reference
) -> None:
    """One window ends with its second decision, one with its last, two go on."""
    model = WorldModel(dataclasses.replace(random_model.config, termination=True), 2, 3, 2).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    windows.terminal[1:, 2] = windows.terminal[2, 0] = 1
    quality = judge(model, windows)
    reward_error, latent_error, termination_error = reference.judge(model, windows)
    assert quality.reward_error == pytest.approx(reward_error, rel=1e-4)
    assert quality.latent_error == pytest.approx(latent_error, rel=1e-6)
    assert quality.termination_error == pytest.approx(termination_error, rel=1e-4)
    windows.terminal[:] = 0
    assert judge(model, windows).termination_error is None
    windows.terminal[1:] = 1
    assert len(judge(model, windows).latent_error) == 2, "no window has a third decision"


def test_perfect_predictions_are_judged_perfect(random_model: WorldModel, windows: Windows) -> None:
    """Rewards replaced by the model's own predictions leave no reward error."""
    embedding = random_model.embedding(windows.task)
    with torch.no_grad():
        z = random_model.encode(windows.observation[0], windows.task)
        latents = unroll(random_model, z, windows.action, embedding)
        own = torch.stack(
            [random_model.reward(latents[t], windows.action[t], embedding) for t in range(3)]
        )
    perfect = Windows(windows.observation, windows.action, own, windows.terminal, windows.task)
    assert judge(random_model, perfect).reward_error < 1e-9


def test_each_task_is_judged_by_its_own_windows(
    random_model: WorldModel, windows: Windows, reference
) -> None:
    whole, per_task = judge_tasks(random_model, windows, ["first", "second"])
    assert whole == judge(random_model, windows)
    for index, name in enumerate(("first", "second")):
        reward_error, latent_error, _ = reference.judge(random_model, of_task(windows, index))
        assert per_task[name].reward_error == pytest.approx(reward_error, rel=1e-4)
        assert per_task[name].latent_error == pytest.approx(latent_error, rel=1e-6)
    record = quality_record(whole, per_task)
    assert record["reward_error"] == whole.reward_error
    assert record["tasks"]["second"]["reward_error"] == per_task["second"].reward_error


def test_constant_rewards_judge_nothing(random_model: WorldModel, windows: Windows) -> None:
    reward = torch.zeros_like(windows.reward)
    flat = Windows(windows.observation, windows.action, reward, windows.terminal, windows.task)
    assert judge(random_model, flat).reward_error is None


def test_every_held_out_task_is_among_the_windows(dataset: Dataset) -> None:
    tasks = list(dataset.tasks)
    _, held_out = split(dataset.episodes, 0.25)
    windows = validation_windows(dataset, held_out, tasks, 8, 0)
    assert windows.observation.shape == (9, 1024, 5)
    assert windows.reward.shape == (8, 1024)
    assert windows.task.bincount().tolist() == [512, 512]
    only = validation_windows(dataset, held_out.of_task(tasks[1]), tasks, 8, 0)
    assert set(only.task.tolist()) == {1}


def test_episodes_that_ended_before_the_horizon_are_judged_on(dataset: Dataset) -> None:
    fell = [
        dataclasses.replace(episode, length=5, terminated=True)
        for episode in dataset.of_task("cartpole-swingup")
    ]
    tasks = list(dataset.tasks)
    windows = validation_windows(dataset, EpisodeTable.of(fell), tasks, 8, 0)
    assert windows.task.tolist() == [tasks.index("cartpole-swingup")] * 1024
    assert (windows.decided.sum(0) <= 5).all()
    assert set(windows.decided.sum(0).tolist()) == {1, 2, 3, 4, 5}
