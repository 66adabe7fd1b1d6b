# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from pwm_core.data.sampler import Windows
from pwm_core.model.world_model import WorldModel
from pwm_core.pretraining.loss import LossWeights, judge, unroll, world_model_loss


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


def test_loss_and_gradients_equal_the_reference(
    random_model: WorldModel, windows: Windows, reference
) -> None:
    weights = LossWeights(consistency=7.0, reward=0.3, rho=0.8)
    names = [name for name, _ in random_model.named_parameters()]
    found = world_model_loss(random_model, windows, weights)
    gradients = torch.autograd.grad(found.total, list(random_model.parameters()))
    total, consistency, reward = reference.world_model_loss(random_model, windows, weights)
    expected = torch.autograd.grad(total, list(random_model.parameters()))
    for mine, theirs in (
        (found.total, total),
        (found.consistency, consistency),
        (found.reward, reward),
    ):
        torch.testing.assert_close(mine, theirs, check_dtype=False, rtol=1e-5, atol=1e-8)
    for name, mine, theirs in zip(names, gradients, expected, strict=True):
        torch.testing.assert_close(
            mine, theirs, rtol=1e-4, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}"
        )
        assert mine.abs().max() > 0, name


def test_no_gradient_reaches_the_targets(random_model: WorldModel, windows: Windows) -> None:
    """Later observations are targets only."""
    later = windows.observation[1:].clone().requires_grad_()
    observation = torch.cat([windows.observation[:1], later])
    moved = Windows(observation, windows.action, windows.reward, windows.terminal, windows.task)
    loss = world_model_loss(random_model, moved, LossWeights()).total
    (gradient,) = torch.autograd.grad(loss, later, allow_unused=True)
    assert gradient is None or not gradient.any()


def test_unroll_starts_at_z(random_model: WorldModel, windows: Windows) -> None:
    z = random_model.encode(windows.observation[0], windows.task)
    latents = unroll(random_model, z, windows.action, random_model.embedding(windows.task))
    assert latents.shape == (4, 4, 16)
    assert torch.equal(latents[0], z)


def test_judgement_equals_the_reference(
    random_model: WorldModel, windows: Windows, reference
) -> None:
    quality = judge(random_model, windows)
    reward_error, latent_error = reference.judge(random_model, windows)
    assert quality.reward_error == pytest.approx(reward_error, rel=1e-4)
    assert quality.latent_error == pytest.approx(latent_error, rel=1e-6)


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
