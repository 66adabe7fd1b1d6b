# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from pwm_core.data.sampler import Windows
from pwm_core.model.world_model import WorldModel
from pwm_core.pretraining.loss import LossWeights, bootstrap_shares, unroll, world_model_loss


@pytest.fixture
def windows() -> Windows:
    torch.manual_seed(5)
    horizon, batch = 3, 4
    terminal = torch.zeros(horizon, batch)
    terminal[-1, 1] = 1
    terminal[1:, 3] = 1
    return Windows(
        torch.randn(horizon + 1, batch, 3, dtype=torch.float64),
        torch.rand(horizon, batch, 2, dtype=torch.float64) * 2 - 1,
        torch.randn(horizon, batch) * 3,
        terminal,
        torch.tensor([0, 1, 1, 0]),
    )


def with_choices(random_model: WorldModel, **choices: object) -> WorldModel:
    """A model like ``random_model`` with other choices and weights that tell."""
    model = WorldModel(replace(random_model.config, **choices), 2, 3, 2).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"reward_head": "mse"},
        {"reward_symlog": False},
        {"termination": True},
        {"dynamics_heads": 3},
        {"termination": True, "dynamics_heads": 2, "latent_layer": "mish"},
    ],
    ids=str,
)
@pytest.mark.parametrize("by_hand", [False, True])
def test_loss_and_gradients_equal_the_reference(
    random_model: WorldModel, windows: Windows, reference, choices, by_hand
) -> None:
    model = with_choices(random_model, **choices)
    model.by_hand = by_hand
    weights = LossWeights(consistency=7.0, reward=0.3, rho=0.8, termination=0.6)
    heads = model.config.dynamics_heads
    shares = torch.tensor([[0.0, 1, 3, 1], [2, 0, 1, 0]])[: heads - 1] if heads > 1 else None
    names = [name for name, _ in model.named_parameters()]
    found = world_model_loss(model, windows, weights, shares)
    gradients = torch.autograd.grad(found.total, list(model.parameters()))
    expected = reference.world_model_loss(model, windows, weights, shares)
    theirs = torch.autograd.grad(expected["total"], list(model.parameters()))
    parts = found.named()
    assert ("termination" in parts) == model.config.termination
    assert ("ensemble" in parts) == (heads > 1)
    for name, value in parts.items():
        torch.testing.assert_close(
            value, expected[name], check_dtype=False, rtol=1e-5, atol=1e-8, msg=name
        )
    for name, mine, other in zip(names, gradients, theirs, strict=True):
        torch.testing.assert_close(
            mine, other, rtol=1e-4, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}"
        )
        assert mine.abs().max() > 0, name


def test_nothing_behind_a_terminal_state_matters(
    random_model: WorldModel, windows: Windows
) -> None:
    model = with_choices(random_model, termination=True, dynamics_heads=3)
    observation, action = windows.observation.clone(), windows.action.clone()
    reward = windows.reward.clone()
    observation[3:, 3], action[2:, 3], reward[2:, 3] = 9.0, 0.9, 9.0
    other = Windows(observation, action, reward, windows.terminal, windows.task)
    first, second = (world_model_loss(model, w, LossWeights()) for w in (windows, other))
    assert first.named() == second.named()
    observation[2, 3] = 9.0  # the terminal state itself does
    assert world_model_loss(model, other, LossWeights()).named() != first.named()


def test_the_ensemble_changes_nothing_in_the_model(
    random_model: WorldModel, windows: Windows
) -> None:
    """Encoder, first head and reward get the gradients they would get alone."""
    model = with_choices(random_model, dynamics_heads=3)
    alone = WorldModel(random_model.config, 2, 3, 2).double()
    state = model.state_dict()
    alone.load_state_dict({name: state[name] for name in alone.state_dict()})
    for each in (model, alone):
        world_model_loss(each, windows, LossWeights()).total.backward()
    for name, parameter in alone.named_parameters():
        assert torch.equal(parameter.grad, model.get_parameter(name).grad), name


def test_bootstrap_shares() -> None:
    shares = bootstrap_shares(3, 20_000, seed=4, step=9)
    assert shares.shape == (2, 20_000)
    assert torch.equal(shares, bootstrap_shares(3, 20_000, seed=4, step=9))
    assert not torch.equal(shares, bootstrap_shares(3, 20_000, seed=4, step=10))
    assert not torch.equal(shares[0], shares[1])
    for counts in shares:
        assert counts.mean().item() == pytest.approx(1, abs=0.03)
        assert (counts == 0).float().mean().item() == pytest.approx(math.exp(-1), abs=0.02)


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
