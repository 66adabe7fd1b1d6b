# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from pwm_core.extraction.actor_critic import Actor, Critics
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.loss import critic_loss, lambda_returns, objectives, survival
from pwm_core.extraction.rollout import Rollout
from pwm_core.extraction.stacked_actors import StackedActors
from pwm_core.model.world_model import WorldModel

HORIZON, BATCH, ACTIONS, TASK = 3, 4, 1, 0
"""Task 0 of the random model uses one action of two."""


def objective(model: WorldModel, actor: Actor, critics: Critics, start, noise) -> torch.Tensor:
    """The actor's loss with discount 0.9; the actor's parameters have its gradient afterwards."""
    frozen = FrozenModel(model, [TASK])
    rollout = Rollout(frozen, StackedActors([actor]), start[None], noise[:, None])
    reward, continues = frozen.reward(rollout.pair[:-1]), frozen.continues(rollout.latent[1:])
    value = critics(rollout.latent[-1, 0]).min(0).values[None]
    loss = -objectives(reward, continues, value, 0.9, HORIZON).mean()
    rollout.backward(loss)
    return loss.detach()


@pytest.fixture
def actor(random_model: WorldModel) -> Actor:
    torch.manual_seed(11)
    actor = Actor(random_model.config.latent, (6,), ACTIONS, 0.24).double()
    for parameter in actor.mean.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return actor


@pytest.fixture
def critics(random_model: WorldModel) -> Critics:
    torch.manual_seed(12)
    critics = Critics(random_model.config.latent, (7, 5), 3).double()
    for parameter in critics.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return critics


@pytest.fixture
def start(random_model: WorldModel) -> torch.Tensor:
    torch.manual_seed(13)
    observation = torch.randn(BATCH, 3, dtype=torch.float64)
    return random_model.encode(observation, torch.full((BATCH,), TASK)).detach()


@pytest.fixture
def noise() -> torch.Tensor:
    torch.manual_seed(14)
    return torch.randn(HORIZON, BATCH, ACTIONS, dtype=torch.float64)


def test_objective_and_gradient_equal_the_reference(
    random_model: WorldModel, actor: Actor, critics: Critics, start, noise, reference
) -> None:
    found = objective(random_model, actor, critics, start, noise)
    expected = reference.actor_objective(
        random_model, actor, critics, start, TASK, noise, discount=0.9
    )
    torch.testing.assert_close(found, expected, check_dtype=False)
    parameters = list(actor.parameters())
    theirs = torch.autograd.grad(expected, parameters)
    for parameter, gradient in zip(parameters, theirs, strict=True):
        assert gradient.abs().max() > 0
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-10)


def test_gradient_is_that_of_finite_differences(
    random_model: WorldModel, actor: Actor, critics: Critics, start, noise
) -> None:
    def loss() -> float:
        return objective(random_model, actor, critics, start, noise).item()

    loss()
    assert actor.log_sigma.grad is not None
    gradient, values = actor.log_sigma.grad.clone(), []
    for sign in (1, -1):
        actor.log_sigma.data += sign * 1e-6
        values.append(loss())
        actor.log_sigma.data -= sign * 1e-6
    assert gradient.item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


def test_padded_actions_stay_zero_in_imagination(
    random_model: WorldModel, actor: Actor, start, noise
) -> None:
    frozen = FrozenModel(random_model, [TASK])
    rollout = Rollout(frozen, StackedActors([actor]), start[None], noise[:, None])
    assert rollout.pair.shape == (HORIZON + 1, 1, BATCH, 16 + 2)
    assert not rollout.pair[..., -1].any()
    assert rollout.pair[:-1, ..., 16].abs().min() > 0


@pytest.mark.parametrize("lam", [0.0, 0.4, 0.95, 1.0])
def test_lambda_returns_are_the_weighted_n_step_returns(reference, lam: float) -> None:
    torch.manual_seed(0)
    reward, value = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    found = lambda_returns(reward, value, torch.full_like(reward, 0.9), lam)
    assert found.shape == (5, 3)
    for b in range(3):
        expected = reference.lambda_returns(reward[:, b].tolist(), value[:, b].tolist(), 0.9, lam)
        assert found[:, b].tolist() == pytest.approx(expected)


def test_a_certain_end_cuts_the_returns() -> None:
    """Nothing after the terminal state counts, in targets and objective alike."""
    torch.manual_seed(0)
    reward, value = torch.randn(5, 1).double(), torch.randn(5, 1).double()
    continues = torch.ones_like(reward)
    continues[2] = 0  # step 2 leads to the terminal state
    found = lambda_returns(reward, value, 0.9 * continues, 0.7)
    short = value[:3].clone()
    short[2] = 0
    expected = lambda_returns(reward[:3], short, torch.full((3, 1), 0.9).double(), 0.7)
    torch.testing.assert_close(found[:3], expected)
    total = objectives(reward, continues, value[-1], 0.9, 5)
    assert total.item() == pytest.approx(sum(0.9**t * reward[t].item() for t in range(3)))


def test_survival_multiplies_up() -> None:
    continues = torch.tensor([[1.0], [0.5], [0.5]])
    assert survival(continues).flatten().tolist() == [1.0, 1.0, 0.5, 0.25]


def test_probable_ends_weigh_rewards_and_the_last_value() -> None:
    reward, continues = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.5], [0.8]])
    found = objectives(reward, continues, torch.tensor([10.0]), 0.9, 2)
    assert found.item() == pytest.approx(1 + 0.9 * 0.5 + 0.81 * 0.4 * 10)


@pytest.mark.parametrize("bootstrap", [3, 4])
def test_bootstrap_exponent(bootstrap: int) -> None:
    """γ^H, where the released code has γ^(H+1)."""
    found = objectives(torch.zeros(3, 1), torch.ones(3, 1), torch.ones(1), 0.5, bootstrap)
    assert found.item() == pytest.approx(0.5**bootstrap)


def test_critics_and_their_loss_equal_member_by_member(critics: Critics, reference) -> None:
    torch.manual_seed(1)
    z, target = torch.randn(6, 16).double(), torch.randn(6).double()
    values = critics(z)
    expected = torch.stack([reference.critic_values(critics, one) for one in z], 1)
    assert values.shape == (3, 6)
    torch.testing.assert_close(values, expected)
    loss = critic_loss(critics, z, target)
    per_member = [((expected[m] - target) ** 2).mean() for m in range(3)]
    torch.testing.assert_close(loss, sum(per_member))


def test_members_start_apart_and_learn_apart() -> None:
    """An ensemble that is three times the same critic is none."""
    torch.manual_seed(0)
    critics = Critics(16, (32,), 3)
    z = torch.randn(64, 16)
    values = critics(z)
    assert (values[0] - values[1]).abs().max() > 1e-4
    weight = critics.network[0].weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.15)
    alone = values[1].sum()
    (gradient,) = torch.autograd.grad(alone, weight)
    assert gradient[1].any()
    assert not gradient[0].any()
    assert not gradient[2].any()
