# SPDX-License-Identifier: Apache-2.0
"""The tasks of a world model as one world, held against the model itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
from pwm_core.extraction.loss import objectives
from pwm_core.extraction.runner import Extraction
from pwm_core.extraction.together import Together
from pwm_core.model.store import TrainedWorldModel
from pwm_core.studies.extracting import start_latents
from pwm_core.studies.one_for_all import AllTasks, ToldActor, learn_all, new_learner

TASKS = ("cartpole-balance", "cartpole-swingup")
BATCH = 6


@pytest.fixture
def extractions(
    trained: TrainedWorldModel,
    dataset: Dataset,
    extraction_config: ExtractionConfig,
    tmp_path: Path,
) -> list[Extraction]:
    """Of both tasks, of which the first counts rewards ten times smaller and looks less far."""
    torch.manual_seed(1)
    for parameter in trained.model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    config = replace(extraction_config, batch=BATCH, iterations=2, evaluate="model")
    options = ExtractionOptions("cpu")
    found = [Extraction(trained, dataset, task, tmp_path, config, options) for task in TASKS]
    first = found[0].learner
    first.discount, first.reward = 0.9, replace(first.reward, scale=10.0)
    return found


def _latents(extractions: list[Extraction]) -> list[Tensor]:
    return [start_latents(extraction) for extraction in extractions]


def test_every_task_goes_on_as_in_the_model(extractions: list[Extraction]) -> None:
    world, latents = AllTasks(extractions), _latents(extractions)
    action = torch.rand(2, BATCH, 1) * 2 - 1
    told = world.told(torch.cat(latents))
    reached = world.next(told, action.flatten(0, 1)).unflatten(0, (2, BATCH))
    reward = world.reward(torch.cat([told, action.flatten(0, 1)], -1)).unflatten(0, (2, BATCH))
    for row, extraction in enumerate(extractions):
        model, learner = extraction.model, extraction.learner
        embedding = model.embedding(torch.full((BATCH,), extraction.index))
        expected = model.next(latents[row], action[row], embedding)
        assert torch.allclose(reached[row], torch.cat([expected, embedding], -1), atol=1e-5)
        earned = model.reward(latents[row], action[row], embedding) / learner.reward.scale
        assert torch.allclose(reward[row], earned, atol=1e-5)
        far = world.discount * world.continues(told).unflatten(0, (2, BATCH))[row]
        assert torch.allclose(far, torch.full((BATCH,), learner.discount))


def test_an_action_that_a_task_does_not_have_does_nothing(extractions: list[Extraction]) -> None:
    extractions[0].model.action_mask[extractions[0].index] = 0
    world = AllTasks(extractions)
    told = world.told(torch.cat(_latents(extractions)))
    left, right = (world.next(told, torch.full((2 * BATCH, 1), a)) for a in (-1.0, 1.0))
    assert torch.equal(left[:BATCH], right[:BATCH])
    assert not torch.allclose(left[BATCH:], right[BATCH:])


def test_the_actors_gradient_is_autograds(extractions: list[Extraction]) -> None:
    world = AllTasks(extractions)
    learner = new_learner(world, extractions[0].config, torch.device("cpu"))
    told = world.told(torch.cat(_latents(extractions)))
    noise = learner.noise(len(told), torch.Generator().manual_seed(0))
    (found,) = Together(world, [learner.twin()]).ascend(told[None], noise[:, None])
    z, rewards, goes_on = told, [], []
    for step in noise:
        action = learner.actor.sample(z, step)
        rewards.append(world.reward(torch.cat([z, action], -1)))
        z = world.next(z, action)
        goes_on.append(world.continues(z))
    value = learner.critics(z).amin(0)
    earned = (torch.stack(rewards), torch.stack(goes_on), value, world.discount, len(noise))
    objectives(*earned).mean().backward()
    expected = learner.actor_gradient()
    assert expected.norm() > 1e-4
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.norm()) + 1e-7)


def test_one_actor_learns_and_is_told_the_task(extractions: list[Extraction]) -> None:
    begun = new_learner(AllTasks(extractions), extractions[0].config, torch.device("cpu"))
    learner = learn_all(extractions)
    before, after = (one.actor.mean.get_parameter("0.weight") for one in (begun, learner))
    changed = (after - before).abs().sum(0)
    latent = extractions[0].model.config.latent
    assert changed[:latent].any()
    assert changed[latent:].any()  # by the embeddings too
    observation = torch.randn(3, 5)
    actions = [ToldActor(extraction, learner.actor)(observation) for extraction in extractions]
    assert actions[0].shape == (3, 1)
    assert not torch.allclose(*actions)
