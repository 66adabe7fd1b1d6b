# SPDX-License-Identifier: Apache-2.0
"""Two estimators of one gradient, finite differences of the objective, and learning by it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pwm_core.extraction.config import ExtractionConfig
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.loss import objectives
from pwm_core.extraction.reward import TrainingReward
from pwm_core.extraction.together import Together
from pwm_core.studies.gradient_quality import gradient_quality, own_quality
from pwm_core.studies.linear_quadratic import LinearQuadraticModel, discounted_cost, regulator
from pwm_core.studies.score_function import ProximalPolicy, ScoreFunction, standardised

OF = regulator("muscles", 3, 0.95)
CONFIG = ExtractionConfig(
    iterations=60,
    batch=64,
    horizon=3,
    actor_hidden=(),
    critic_hidden=(16,),
    critic_passes=1,
    actor_rate=3e-2,
)


def new_learner(config: ExtractionConfig = CONFIG) -> Learner:
    reward = TrainingReward(symlog=False, scale=1.0, penalty=0.0)
    return Learner(4, 3, OF.discount, reward, config, torch.device("cpu"))


def samples(batch: int, horizon: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = 0.3 * torch.randn(batch, 4, generator=generator)
    return z, torch.randn(horizon, batch, 3, generator=generator)


def objective(learner: Learner, z: Tensor, noise: Tensor) -> float:
    """The mean objective, by plain loops."""
    model, earned = LinearQuadraticModel(OF), []
    a, b = (torch.from_numpy(m).float() for m in (OF.a, OF.b))
    for eps in noise:
        action = learner.actor.sample(z, eps)
        earned.append(model.reward(torch.cat([z, action], 1)[None])[0])
        z = z @ a.T + action @ b.T
    reward = torch.stack(earned)
    value = learner.value(z)
    return float(objectives(reward, torch.ones_like(reward), value, OF.discount, 3).mean())


@torch.no_grad()
def test_first_order_gradient_is_that_of_finite_differences() -> None:
    learner, (z, noise) = new_learner(), samples(32, 3)
    together = Together(LinearQuadraticModel(OF), [learner])
    with torch.enable_grad():
        found = together.ascend(z[None], noise[:, None])[0]
    weight, step = learner.actor.mean.get_parameter("0.weight"), 1e-2
    sigma = learner.actor.log_sigma.numel()
    slopes = []
    for index in range(weight.numel()):
        heights = []
        for sign in (1, -1):
            weight.view(-1)[index] += sign * step
            heights.append(objective(learner, z, noise))
            weight.view(-1)[index] -= sign * step
        slopes.append((heights[0] - heights[1]) / (2 * step))
    shape = [p.numel() for p in learner.actor.parameters()]
    names = [name for name, _ in learner.actor.named_parameters()]
    parts = dict(zip(names, found.split(shape), strict=True))
    assert parts["log_sigma"].numel() == sigma
    torch.testing.assert_close(parts["mean.0.weight"], torch.tensor(slopes), rtol=0.02, atol=2e-3)


def test_score_function_has_the_same_mean_and_more_noise() -> None:
    learner, (z, noise) = new_learner(), samples(40_000, 3)
    model = LinearQuadraticModel(OF)
    together, zeroth = Together(model, [learner.twin()]), ScoreFunction(model, learner.twin())
    truth = together.ascend(z[None], noise[:, None])[0]
    found = zeroth.ascend(z, noise)
    assert torch.cosine_similarity(found, truth, dim=0) > 0.97
    batches = list(zip(z.split(100), noise.split(100, 1), strict=True))[:40]
    first = torch.stack([together.ascend(s[None], e[:, None])[0] for s, e in batches])
    second = torch.stack([zeroth.ascend(s, e) for s, e in batches])
    assert gradient_quality(first, truth).cosine > gradient_quality(second, truth).cosine
    assert own_quality(second)[0] > 2 * own_quality(first)[0]


@pytest.mark.parametrize("kind", [ScoreFunction, ProximalPolicy])
def test_it_learns(kind: type[ScoreFunction]) -> None:
    learner = new_learner(replace(CONFIG, horizon=8))
    method, x = kind(LinearQuadraticModel(OF), learner), samples(64, 1)[0]
    before = discounted_cost(OF, learner.actor, x, 50).mean()
    for iteration in range(60):
        z = 0.3 * torch.randn(64, 4, generator=torch.Generator().manual_seed(iteration))
        method.update(z, iteration)
    assert discounted_cost(OF, learner.actor, x, 50).mean() < 0.5 * before


@torch.no_grad()
def _change_of_densities(clip: float) -> float:
    """By how much forty passes over one batch change the density of a typical action."""
    learner = new_learner(replace(CONFIG, horizon=1, critic_passes=40, final_rate=3e-2))
    before, (z, noise) = deepcopy(learner.actor), samples(512, 1)
    method = ProximalPolicy(LinearQuadraticModel(OF), learner)
    method.clip = clip
    with torch.enable_grad():
        method.update(z, 1)
    taken = before.mean(z) + before.sigma() * noise[0]
    after, earlier = (
        torch.distributions.Normal(actor.mean(z), actor.sigma()).log_prob(taken).sum(-1)
        for actor in (learner.actor, before)
    )
    return float(((after - earlier).exp() - 1).abs().median())


def test_proximal_steps_end_where_the_ratio_is_clipped() -> None:
    assert 0 < _change_of_densities(0.2) < 0.4 < _change_of_densities(1e9)


def test_what_nobody_lives_to_see_does_not_shift_the_advantages() -> None:
    advantage = torch.tensor([[1.0, 3.0], [50.0, 3.0]])
    alive = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    found = standardised(advantage, alive)
    lived = torch.stack([found[0, 0], found[0, 1], found[1, 1]])
    assert torch.allclose(lived.mean(), torch.tensor(0.0), atol=1e-6)
    assert torch.allclose(lived.var(correction=0), torch.tensor(1.0))


def test_gradient_quality_of_known_vectors() -> None:
    truth = torch.tensor([1.0, 0.0])
    found = gradient_quality(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), truth)
    assert abs(found.cosine - 0.5**0.5) < 1e-6
    assert found.signal_to_noise == 1.0
    noise, ratio = own_quality(torch.tensor([[2.0, 1.0], [2.0, -1.0]]))
    assert noise == 2.0
    assert ratio == (4 - 1) / 2
