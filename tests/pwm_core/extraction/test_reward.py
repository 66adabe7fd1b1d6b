# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pwm_core.errors import PwmError
from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.reward import TrainingReward, shaped, training_reward
from pwm_core.model.two_hot import symlog
from pwm_core.model.world_model import WorldModel

REWARDS = np.array([0.0, 2.0, 4.0, 2.0], np.float32)


@pytest.fixture
def several_heads(random_model: WorldModel) -> WorldModel:
    torch.manual_seed(0)
    config = dataclasses.replace(random_model.config, dynamics_heads=3)
    return WorldModel(config, 2, 3, 2).double().requires_grad_(False)


PLACE = torch.zeros(5, dtype=torch.long)


@pytest.fixture
def pair(random_model: WorldModel) -> torch.Tensor:
    """Two steps of five rollouts."""
    torch.manual_seed(1)
    return torch.randn(2, 5, random_model.config.latent + 2, dtype=torch.float64)


def plain(model: WorldModel, pair: torch.Tensor) -> torch.Tensor:
    """The model's own reward."""
    embedding = model.embedding(PLACE).expand(2, -1, -1)
    return model.reward(pair[..., :-2], pair[..., -2:], embedding)


def trained_on(reward: TrainingReward, model: WorldModel, pair: torch.Tensor) -> torch.Tensor:
    return shaped([reward], FrozenModel(model, [0]), pair[:, None])[:, 0]


def test_default_is_reward_in_units_of_a_return(random_model: WorldModel, pair) -> None:
    reward = training_reward(ExtractionConfig(), REWARDS, 0.9, 1.0)
    assert reward.scale == pytest.approx(2.0 / 0.1)
    found = trained_on(reward, random_model, pair)
    torch.testing.assert_close(found, plain(random_model, pair) / 20)


def test_symlog_compresses_reward_and_unit(random_model: WorldModel, pair) -> None:
    config = ExtractionConfig(imagined_reward="symlog")
    reward = training_reward(config, REWARDS, 0.9, 1.0)
    assert reward.scale == pytest.approx(float(np.log1p(REWARDS).mean()) / 0.1)
    found = trained_on(reward, random_model, pair)
    torch.testing.assert_close(found, symlog(plain(random_model, pair)) / reward.scale)


def test_penalty_is_in_deviations_per_disagreement_of_the_data(
    several_heads: WorldModel, pair
) -> None:
    embedding = several_heads.embedding(PLACE)
    config = ExtractionConfig(uncertainty_penalty=0.5, scale_values=False)
    apart = torch.stack(
        [several_heads.disagreement(pair[t, :, :-2], pair[t, :, -2:], embedding) for t in range(2)]
    )
    typical = float(apart.mean())
    found = trained_on(training_reward(config, REWARDS, 0.9, typical), several_heads, pair)
    taken_off = plain(several_heads, pair) - found
    assert apart.std() > 0
    torch.testing.assert_close(taken_off, 0.5 * float(REWARDS.std()) * apart / typical)
    assert float(taken_off.mean()) == pytest.approx(0.5 * float(REWARDS.std()))


def test_penalty_without_several_heads_is_refused(random_model: WorldModel, pair) -> None:
    reward = training_reward(ExtractionConfig(uncertainty_penalty=0.5), REWARDS, 0.9, 1.0)
    with pytest.raises(PwmError, match="disagreement needs two or more"):
        trained_on(reward, random_model, pair)
