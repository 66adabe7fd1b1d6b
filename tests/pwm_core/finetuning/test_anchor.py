# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.reward import TrainingReward
from pwm_core.finetuning.anchor import AnchoredLearner


def change_after(config: ExtractionConfig, penalty: float) -> Tensor:
    """Change of the actions where it is anchored, after 100 steps towards larger ones elsewhere."""
    reward = TrainingReward(symlog=False, scale=1.0, penalty=0.0)
    learner = AnchoredLearner(8, 2, 0.9, reward, config, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    known, elsewhere = torch.randn(2, 64, 8, generator=generator)
    before = learner.actor(known).detach()
    learner.anchor(known, penalty)
    for _ in range(100):
        learner.actor.zero_grad()
        (-learner.actor(elsewhere).mean()).backward()
        learner.step_actor()
    return (learner.actor(known) - before).square().mean().sqrt()


def test_a_penalty_keeps_actions_near_what_they_were(extraction_config: ExtractionConfig) -> None:
    free, held, tight = (change_after(extraction_config, p).item() for p in (0.0, 10.0, 1000.0))
    assert free > held > tight
    assert free > 2 * tight


def test_before_it_is_anchored_nothing_is_paid(extraction_config: ExtractionConfig) -> None:
    reward = TrainingReward(symlog=False, scale=1.0, penalty=0.0)
    learner = AnchoredLearner(8, 2, 0.9, reward, extraction_config, torch.device("cpu"))
    (learner.actor(torch.ones(1, 8)).sum()).backward()
    gradient = learner.actor_gradient().clone()
    assert learner.step_actor().item() == pytest.approx(gradient.norm().item())
