# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from pwm_core.extraction.actor_critic import Actor, Networks, Policy
from pwm_core.model.world_model import WorldModel


@pytest.mark.parametrize(("task", "observations", "actions"), [(0, 2, 1), (1, 3, 2)])
def test_policy_is_encoder_and_actor(
    random_model: WorldModel, task: int, observations: int, actions: int
) -> None:
    """Normalisation, padding and embedding are folded in; a task may be narrower than the model."""
    torch.manual_seed(0)
    actor = Actor(random_model.config.latent, (8,), actions, 0.24).double()
    policy = Policy(random_model.config, observations, actions, (8,), 0.24).double()
    policy.adopt(random_model, task, actor)
    raw = torch.zeros(6, 3, dtype=torch.float64)
    raw[:, :observations] = torch.randn(6, observations, dtype=torch.float64) * 5
    if observations < 3:  # padding is zero and its statistics are trivial
        random_model.observation_mean[task, observations:] = 0
        random_model.observation_scale[task, observations:] = 1
    z = random_model.encode(raw, torch.full((6,), task))
    found = policy(raw[:, :observations])
    assert found.shape == (6, actions)
    torch.testing.assert_close(found, actor(z))


def test_policy_owns_its_weights(random_model: WorldModel) -> None:
    actor = Actor(random_model.config.latent, (8,), 2, 0.24).double()
    policy = Policy(random_model.config, 3, 2, (8,), 0.24).double()
    policy.adopt(random_model, 1, actor)
    before = policy(torch.ones(1, 3, dtype=torch.float64))
    with torch.no_grad():
        for parameter in [*random_model.parameters(), *actor.parameters()]:
            parameter.zero_()
    assert torch.equal(policy(torch.ones(1, 3, dtype=torch.float64)), before)


def test_adopting_twice_folds_the_embedding_once(random_model: WorldModel) -> None:
    actor = Actor(random_model.config.latent, (8,), 2, 0.24).double()
    policy = Policy(random_model.config, 3, 2, (8,), 0.24).double()
    policy.adopt(random_model, 1, actor)
    first = policy.encoder[0].bias.clone()
    policy.adopt(random_model, 1, actor)
    assert torch.equal(policy.encoder[0].bias, first)


def test_sigma_has_a_floor() -> None:
    actor = Actor(4, (8,), 2, 0.24)
    with torch.no_grad():
        actor.log_sigma.copy_(torch.tensor([-9.0, 0.0]))
    torch.testing.assert_close(actor.sigma(), torch.tensor([0.24, 1.0]))


def test_sigma_rises_again_from_its_floor() -> None:
    """Below the floor the gradient is zero: a sigma left there would stay for ever."""
    actor = Actor(4, (8,), 1, 0.24)
    with torch.no_grad():
        actor.log_sigma.fill_(-9.0)
    actor.lift_sigma()
    assert actor.sigma().item() == pytest.approx(0.24)
    (gradient,) = torch.autograd.grad(actor.sigma().sum(), actor.log_sigma)
    assert gradient.item() == pytest.approx(0.24)


@pytest.mark.parametrize("networks", ["norm-mish", "mish-norm"])
def test_an_actor_of_padded_actions_leaves_them_behind(
    random_model: WorldModel, networks: Networks
) -> None:
    torch.manual_seed(0)
    actor = Actor(random_model.config.latent, (8,), 2, 0.24, networks).double()
    policy = Policy(random_model.config, 3, 1, (8,), 0.24, networks).double()
    policy.adopt(random_model, 0, actor)
    raw = torch.randn(6, 3, dtype=torch.float64)
    z = random_model.encode(raw, torch.zeros(6, dtype=torch.long))
    torch.testing.assert_close(policy(raw), actor(z)[:, :1])
    torch.testing.assert_close(policy.actor.sigma(), actor.sigma()[:1])


def test_samples_are_bounded_and_centred_on_the_mean() -> None:
    actor = Actor(4, (8,), 2, 0.24)
    z = torch.randn(5, 4)
    assert actor.sample(z, 100 * torch.randn(5, 2)).abs().max() <= 1
    torch.testing.assert_close(actor.sample(z, torch.zeros(5, 2)), actor(z))
