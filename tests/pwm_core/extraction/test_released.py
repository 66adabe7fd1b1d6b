# SPDX-License-Identifier: Apache-2.0
"""Preset ``released`` against a plain account of what PWM's public code does in an iteration.

    z_0 = E(o), a_t = tanh(mu(detached z_t) + sigma eps), all padded actions included
    loss = -(sum_t gamma^t symlog-reward_t + gamma^(H+1) min V(z_H)) / std of all returns so far
    critics: eight passes over four blocks of time, mean loss over members and states

Networks are Linear → Mish → LayerNorm; sigma's logarithm is clamped in place.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from pwm_core.extraction.actor_critic import Actor, Critics
from pwm_core.extraction.config import PRESETS
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.extraction.learner import Learner
from pwm_core.extraction.reward import TrainingReward
from pwm_core.extraction.together import Together
from pwm_core.model.world_model import WorldModel

TASK, ACTIONS, BATCH, HORIZON = 0, 2, 6, 4
"""Task 0 of the random model has one action, padded to two: the released actor drives both."""
CONFIG = dataclasses.replace(
    PRESETS["released"],
    batch=BATCH,
    horizon=HORIZON,
    actor_hidden=(10, 6),
    critic_hidden=(9, 5),
    iterations=7,
    seed=4,
)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class ReleasedNetwork(nn.Module):
    """Linear → Mish → LayerNorm per hidden layer, then Linear."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.linear = nn.ModuleList([nn.Linear(i, o) for i, o in pairwise(sizes)])
        self.norm = nn.ModuleList([nn.LayerNorm(size) for size in sizes[1:-1]])

    def forward(self, x: Tensor) -> Tensor:
        for linear, norm in zip(self.linear, self.norm, strict=False):
            x = norm(nn.functional.mish(linear(x)))
        return self.linear[-1](x)


class Released:
    """State of a released run: actor, three critics in one optimiser, statistics of returns."""

    def __init__(self, model: WorldModel, reference, learner: Learner) -> None:
        self.model, self.reference = model, reference
        latent = model.config.latent
        self.mu = ReleasedNetwork([latent, *CONFIG.actor_hidden, ACTIONS])
        self.logstd = nn.Parameter(learner.actor.log_sigma.detach().clone())
        copy_actor(learner.actor, self.mu)
        sizes = [latent, *CONFIG.critic_hidden, 1]
        self.critics = nn.ModuleList([ReleasedNetwork(sizes) for _ in range(3)])
        copy_critics(learner.critics, self.critics)
        self.actor_parameters = [*self.mu.parameters(), self.logstd]
        self.actor_optimizer = torch.optim.Adam(self.actor_parameters, 5e-4, (0.7, 0.95))
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), 5e-4, (0.7, 0.95))
        self.mean, self.var, self.count = 0.0, 1.0, 1e-4

    def value(self, z: Tensor) -> Tensor:
        return torch.stack([critic(z)[..., 0] for critic in self.critics])

    def rollout(self, starts: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents, rewards and next values ``[H, B]``, and minus the returns ``[B]``."""
        self.logstd.data.clamp_(min=-1.427)
        latents, rewards, values, losses = [], [], [], []
        for b, z in enumerate(starts):
            total, gamma, column = torch.zeros(()), 1.0, []
            for t in range(HORIZON):
                action = torch.tanh(self.mu(z.detach()) + self.logstd.exp() * noise[t, b])
                logits = self.reference.reward_logits(self.model, z, action, TASK)
                reward = (logits.softmax(-1) * self.model.two_hot.centres).sum()
                here, z = z.detach(), self.reference.step(self.model, z, action, TASK)
                value = self.value(z).min()
                total, gamma = total + gamma * reward, gamma * 0.99
                column.append((here, reward.detach(), value.detach()))
            losses.append(-(total + 0.99 * gamma * value))
            parts = [torch.stack(part) for part in zip(*column, strict=True)]
            for store, part in zip((latents, rewards, values), parts, strict=True):
                store.append(part)
        return *(torch.stack(part, 1) for part in (latents, rewards, values)), torch.stack(losses)

    def normalise(self, losses: Tensor) -> Tensor:
        """Update mean and variance with this batch, then divide by the deviation."""
        found = losses.detach()
        delta, n = float(found.mean()) - self.mean, len(found)
        total = self.count + n
        squares = self.var * self.count + float(found.var(unbiased=False)) * n
        squares += delta**2 * self.count * n / total
        self.mean, self.var, self.count = self.mean + delta * n / total, squares / total, total
        return losses / math.sqrt(self.var + 1e-5)

    def iterate(self, starts: Tensor, noise: Tensor, iteration: int) -> dict[str, Tensor]:
        rate = (1e-5 - 5e-4) * iteration / CONFIG.iterations + 5e-4
        for optimizer in (self.actor_optimizer, self.critic_optimizer):
            optimizer.param_groups[0]["lr"] = rate
        latents, rewards, values, losses = self.rollout(starts, noise)
        loss = self.normalise(losses).mean()
        self.actor_optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.actor_parameters, 1.0)
        gradient = [parameter.grad.clone() for parameter in self.actor_parameters]
        self.actor_optimizer.step()
        columns = [
            self.reference.lambda_returns(rewards[:, b].tolist(), values[:, b].tolist(), 0.99, 0.95)
            for b in range(BATCH)
        ]
        target = torch.tensor(columns).T
        errors = self.fit(latents.reshape(HORIZON * BATCH, -1), target.reshape(-1))
        figures = {"loss": loss.detach(), "norm": norm, "target": target, "critic": errors}
        return figures | {"gradient": torch.cat([g.flatten() for g in gradient])}

    def fit(self, z: Tensor, target: Tensor) -> Tensor:
        block, total = len(z) // 4, torch.zeros(())
        for _ in range(8):
            for first in range(0, len(z), block):
                rows = slice(first, first + block)
                loss = ((self.value(z[rows]) - target[rows]) ** 2).mean()
                self.critic_optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.critics.parameters(), 100.0)
                self.critic_optimizer.step()
                total += loss.detach()
        return total / 32


@torch.no_grad()
def copy_actor(actor: Actor, mu: ReleasedNetwork) -> None:
    layers = [layer for layer in actor.mean if list(layer.parameters())]
    places = [*interleave(mu), mu.linear[-1]]
    for mine, theirs in zip(layers, places, strict=True):
        theirs.weight.copy_(mine.weight)
        theirs.bias.copy_(mine.bias)


@torch.no_grad()
def copy_critics(critics: Critics, members: nn.ModuleList) -> None:
    layers = [layer for layer in critics.network if list(layer.parameters())]
    for number, member in enumerate(members):
        for mine, theirs in zip(layers, [*interleave(member), member.linear[-1]], strict=True):
            if isinstance(theirs, nn.Linear):
                theirs.weight.copy_(mine.weight[number].T)
            else:
                theirs.weight.copy_(mine.gain[number, 0])
            theirs.bias.copy_(mine.bias[number, 0])


def interleave(network: ReleasedNetwork) -> list[nn.Module]:
    pairs = zip(network.linear, network.norm, strict=False)
    return [layer for pair in pairs for layer in pair]


@pytest.fixture
def learner() -> Learner:
    reward = TrainingReward(symlog=True, scale=1.0, penalty=0.0)
    learner = Learner(16, ACTIONS, 0.99, reward, CONFIG, torch.device("cpu"))
    with torch.no_grad():
        learner.actor.log_sigma.fill_(-1.427 + 1e-5)  # the first steps reach the floor
    return learner


def test_two_iterations_equal_the_released_ones(
    random_model: WorldModel, learner: Learner, reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Actor loss, gradient, targets, critic loss and the weights that come out."""
    released = Released(random_model, reference, learner)
    targets = []
    fit = learner.fit_critics

    def seen(z: Tensor, target: Tensor, orders: Tensor) -> Tensor:
        targets.append(target)
        return fit(z, target, orders)

    monkeypatch.setattr(learner, "fit_critics", seen)
    task = torch.full((BATCH,), TASK)
    together = Together(FrozenModel(random_model, [TASK]), [learner])
    for iteration in range(2):
        z = random_model.encode(torch.randn(BATCH, 3), task).detach()
        noise = learner.noise(BATCH, learner.generator(iteration))
        expected = released.iterate(z, noise, iteration)
        (found,) = together.update(z[None], [iteration])
        divisor = (learner.spread.state[1] + 1e-5).sqrt()
        torch.testing.assert_close(found["loss/actor"] / divisor, expected["loss"])
        torch.testing.assert_close(found["gradient_norm/actor"], expected["norm"])
        gradient = [learner.actor.get_parameter(name).grad for name in order(learner.actor)]
        flat = torch.cat([g.flatten() for g in gradient])
        assert flat.abs().max() > 1e-3
        torch.testing.assert_close(flat, sorted_like(learner.actor, released, expected["gradient"]))
        torch.testing.assert_close(targets[-1].view(HORIZON, BATCH), expected["target"])
        torch.testing.assert_close(found["loss/critic"], 3 * expected["critic"], rtol=1e-5, atol=0)
    z = torch.randn(5, 16)
    torch.testing.assert_close(learner.actor(z), torch.tanh(released.mu(z)), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(learner.critics(z), released.value(z), rtol=1e-5, atol=1e-7)


def order(actor: Actor) -> list[str]:
    return [name for name, _ in actor.named_parameters()]


def sorted_like(actor: Actor, released: Released, gradient: Tensor) -> Tensor:
    """Bring the flat gradient over (linear, norm, logstd) into the actor's order of parameters."""
    sizes = [p.numel() for p in released.actor_parameters]
    parts = dict(zip(map(id, released.actor_parameters), gradient.split(sizes), strict=True))
    layers = [*interleave(released.mu), released.mu.linear[-1]]
    own = [parts[id(p)] for layer in layers for p in (layer.weight, layer.bias)]
    names = order(actor)
    own.insert(names.index("log_sigma"), parts[id(released.logstd)])
    return torch.cat(own)


def test_released_weights_start_as_released(learner: Learner) -> None:
    """PyTorch's own initial weights for the actor, orthogonal times root two for critics."""
    first = learner.actor.mean[0].weight
    assert first.abs().max() <= 1 / math.sqrt(16)
    assert first.std().item() == pytest.approx(1 / math.sqrt(3 * 16), rel=0.15)
    for weight in learner.critics.network[0].weight.detach():  # [in, out]
        torch.testing.assert_close(weight.T @ weight, 2 * torch.eye(9))
    kinds = [type(layer).__name__ for layer in learner.critics.network]
    assert kinds[:3] == ["StackedLinear", "Mish", "StackedNorm"]


def test_the_slips_are_what_differs_from_the_paper() -> None:
    """Every row of the table in the algorithm notes that extraction has a part in."""
    paper, released = (vars(PRESETS[name]) for name in ("paper", "released"))
    assert {name for name in paper if paper[name] != released[name]} == {
        "bootstrap",
        "imagined_reward",
        "action_masks",
        "shuffle",
        "detach_actor",
        "networks",
        "resample_episodes",
        "preset",
    }
    assert (paper["iterations"], paper["batch"], paper["discount"]) == (10_000, 512, 0.99)
    assert paper["actor_hidden"] == (400, 200, 100)
    assert paper["critic_hidden"] == (400, 200)
