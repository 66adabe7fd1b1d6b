# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pwm_core.errors import PwmError
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.loss import Imagined
from pwm_core.extraction.reward import training_reward
from pwm_core.model.two_hot import symlog
from pwm_core.model.world_model import WorldModel

REWARDS = np.array([0.0, 2.0, 4.0, 2.0], np.float32)


@pytest.fixture
def several_heads(random_model: WorldModel) -> WorldModel:
    torch.manual_seed(0)
    config = dataclasses.replace(random_model.config, dynamics_heads=3)
    return WorldModel(config, 2, 3, 2).double().requires_grad_(False)


def imagined(model: WorldModel) -> tuple[Imagined, torch.Tensor]:
    torch.manual_seed(1)
    latent = torch.randn(3, 5, model.config.latent, dtype=torch.float64)
    action = torch.randn(2, 5, 2, dtype=torch.float64)
    reward = torch.randn(2, 5, dtype=torch.float64)
    embedding = model.embedding(torch.zeros(5, dtype=torch.long))
    return Imagined(latent, action, reward, torch.ones(2, 5)), embedding


def test_default_is_reward_in_units_of_a_return(random_model: WorldModel) -> None:
    rollout, embedding = imagined(random_model)
    reward = training_reward(ExtractionConfig(), REWARDS, 0.9, 1.0)
    assert reward.scale == pytest.approx(2.0 / 0.1)
    found = reward(random_model, rollout, embedding)
    torch.testing.assert_close(found, rollout.reward / 20)


def test_symlog_compresses_reward_and_unit(random_model: WorldModel) -> None:
    rollout, embedding = imagined(random_model)
    config = ExtractionConfig(imagined_reward="symlog")
    reward = training_reward(config, REWARDS, 0.9, 1.0)
    assert reward.scale == pytest.approx(float(np.log1p(REWARDS).mean()) / 0.1)
    found = reward(random_model, rollout, embedding)
    torch.testing.assert_close(found, symlog(rollout.reward) / reward.scale)


def test_penalty_is_in_deviations_per_disagreement_of_the_data(several_heads: WorldModel) -> None:
    rollout, embedding = imagined(several_heads)
    config = ExtractionConfig(uncertainty_penalty=0.5, scale_values=False)
    apart = torch.stack(
        [
            several_heads.disagreement(rollout.latent[t], rollout.action[t], embedding)
            for t in range(2)
        ]
    )
    typical = float(apart.mean())
    found = training_reward(config, REWARDS, 0.9, typical)(several_heads, rollout, embedding)
    taken_off = rollout.reward - found
    assert apart.std() > 0
    torch.testing.assert_close(taken_off, 0.5 * float(REWARDS.std()) * apart / typical)
    assert float(taken_off.mean()) == pytest.approx(0.5 * float(REWARDS.std()))


def test_penalty_without_several_heads_is_refused(random_model: WorldModel) -> None:
    rollout, embedding = imagined(random_model)
    reward = training_reward(ExtractionConfig(uncertainty_penalty=0.5), REWARDS, 0.9, 1.0)
    with pytest.raises(PwmError, match="disagreement needs two or more"):
        reward(random_model, rollout, embedding)
