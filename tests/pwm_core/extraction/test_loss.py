# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from pwm_core.extraction.actor_critic import Actor, Critics
from pwm_core.extraction.loss import (
    critic_loss,
    imagine,
    lambda_returns,
    objectives,
    survival,
)
from pwm_core.model.world_model import WorldModel

HORIZON, BATCH, ACTIONS, TASK = 3, 4, 1, 0
"""Task 0 of the random model uses one action of two."""


def objective(model: WorldModel, actor: Actor, critics: Critics, start, noise) -> torch.Tensor:
    """The actor's loss with discount 0.9."""
    embedding = model.embedding(torch.full((BATCH,), TASK))
    imagined = imagine(model, actor, start, embedding, noise)
    value = critics(imagined.latent[-1]).min(0).values
    return -objectives(imagined.reward, imagined.continues, value, 0.9, HORIZON).mean()


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
    mine = torch.autograd.grad(found, parameters, retain_graph=True)
    theirs = torch.autograd.grad(expected, parameters)
    for a, b in zip(mine, theirs, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10)


def test_gradient_is_that_of_finite_differences(
    random_model: WorldModel, actor: Actor, critics: Critics, start, noise
) -> None:
    def loss() -> torch.Tensor:
        return objective(random_model, actor, critics, start, noise)

    (gradient,) = torch.autograd.grad(loss(), [actor.log_sigma])
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            actor.log_sigma += sign * 1e-6
            values.append(loss().item())
            actor.log_sigma -= sign * 1e-6
    assert gradient.item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


def test_padded_actions_stay_zero_in_imagination(
    random_model: WorldModel, actor: Actor, start, noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    step = random_model.next

    def recording(z, action, embedding):
        seen.append(action)
        return step(z, action, embedding)

    monkeypatch.setattr(random_model, "next", recording)
    embedding = random_model.embedding(torch.full((BATCH,), TASK))
    imagined = imagine(random_model, actor, start, embedding, noise)
    assert imagined.latent.shape == (HORIZON + 1, BATCH, 16)
    assert imagined.reward.shape == (HORIZON, BATCH)
    actions = torch.stack(seen)
    assert actions.shape == (HORIZON, BATCH, 2)
    assert not actions[..., 1].any()
    assert actions[..., 0].abs().min() > 0


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


def test_model_without_termination_head_goes_on(
    random_model: WorldModel, actor: Actor, start, noise
) -> None:
    embedding = random_model.embedding(torch.full((BATCH,), TASK))
    imagined = imagine(random_model, actor, start, embedding, noise)
    assert torch.equal(imagined.continues, torch.ones(HORIZON, BATCH, dtype=torch.float64))


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
