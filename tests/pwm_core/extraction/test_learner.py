# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.loss import critic_loss
from pwm_core.extraction.reward import TrainingReward


@pytest.mark.parametrize("states", [3, 6, 8, 10])
def test_loss_of_the_critics_is_the_mean_of_their_batches(
    extraction_config: ExtractionConfig, states: int
) -> None:
    """Three states, or six, make fewer than four batches."""
    config = replace(extraction_config, critic_batches=4, critic_passes=2, critic_rate=1e-9)
    reward = TrainingReward(symlog=False, scale=1.0, penalty=0.0)
    learner = Learner(16, 1, 0.99, reward, config, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    z, target = torch.randn(states, 16, generator=generator), torch.ones(states)
    orders = torch.arange(states).expand(2, -1)
    batches = zip(z.chunk(4), target.chunk(4), strict=True)
    expected = torch.stack([critic_loss(learner.critics, *batch) for batch in batches]).mean()
    found = learner.fit_critics(z, target, orders)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-6)
