# SPDX-License-Identifier: Apache-2.0
"""Slow, plain implementations that follow the formulas entry by entry, to hold the fast ones to."""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor
from torch.nn import functional


def symlog(x: float) -> float:
    return math.copysign(math.log(1 + abs(x)), x)


def symexp(x: float) -> float:
    return math.copysign(math.exp(abs(x)) - 1, x)


def two_hot(value: float, centres: list[float], logarithmic: bool) -> list[float]:
    """Split ``value`` between its two neighbouring bins; beyond the ends it is the last bin's."""
    x = symlog(value) if logarithmic else value
    x = min(max(x, centres[0]), centres[-1])
    weights = [0.0] * len(centres)
    for i in range(len(centres) - 1):
        if centres[i] <= x <= centres[i + 1]:
            right = (x - centres[i]) / (centres[i + 1] - centres[i])
            weights[i], weights[i + 1] = 1 - right, right
            break
    return weights


def network(layers: torch.nn.Sequential, x: Tensor, config=None) -> Tensor:
    """Linear → LayerNorm → Mish …, Linear; with ``config`` the last layer is that of latents."""
    linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    norms = [layer for layer in layers if isinstance(layer, torch.nn.LayerNorm)]
    for i, layer in enumerate(linear):
        last = i == len(linear) - 1
        weight = layer.weight
        if last and config is not None and config.latent_layer == "spectral":
            weight = weight / torch.linalg.svdvals(weight)[0]
        x = x @ weight.T + layer.bias
        if i < len(norms):
            centred = x - x.mean(-1, keepdim=True)
            x = centred / (centred.square().mean(-1, keepdim=True) + norms[i].eps).sqrt()
            x = x * norms[i].weight + norms[i].bias
        if not last:
            x = functional.mish(x)
    return x if config is None else bounded(x, config)


def bounded(x: Tensor, config) -> Tensor:
    """What follows the last LayerNorm of encoder and dynamics."""
    if config.latent_layer == "simnorm":
        parts = (x / config.simnorm_temperature).split(config.simnorm_group, dim=-1)
        return torch.cat([functional.softmax(part, dim=-1) for part in parts], -1)
    if config.latent_layer == "mish":
        return x * torch.tanh(torch.log(1 + x.exp()))
    if config.latent_layer == "relu":
        return torch.where(x > 0, x, 0 * x)
    return x


def embedding(model, task: int) -> Tensor:
    e = model.task_embedding[task]
    return e / e.norm() if e.norm() > 1 else e


def encode(model, observation: Tensor, task: int) -> Tensor:
    """Latent of one observation."""
    normal = (observation - model.observation_mean[task]) / model.observation_scale[task]
    x = torch.cat([normal, embedding(model, task)])
    return network(model.encoder, x, model.config)


def step(model, z: Tensor, action: Tensor, task: int) -> Tensor:
    x = torch.cat([z, action, embedding(model, task)])
    return network(model.dynamics, x, model.config)


def reward_logits(model, z: Tensor, action: Tensor, task: int) -> Tensor:
    return network(model.reward_head, torch.cat([z, action, embedding(model, task)]), None)


def reward(model, z: Tensor, action: Tensor, task: int) -> Tensor:
    outputs = reward_logits(model, z, action, task)
    if model.config.reward_head == "mse":
        mean = outputs[0]
    else:
        probabilities = functional.softmax(outputs, -1)
        mean = sum(p * c for p, c in zip(probabilities, model.two_hot.centres, strict=True))
    if not model.config.reward_symlog:
        return mean
    return mean.sign() * (mean.abs().exp() - 1)


def disagreement(model, z: Tensor, action: Tensor, task: int) -> Tensor:
    """Standard deviation of the heads' next latents, averaged over the latent."""
    x = torch.cat([z, action, embedding(model, task)])
    heads = [model.dynamics, *model.other_dynamics]
    latents = [network(head, x, model.config) for head in heads]
    mean = sum(latents) / len(latents)
    variance = sum((latent - mean) ** 2 for latent in latents) / len(latents)
    return variance.sqrt().mean()


def termination_logit(model, z: Tensor, task: int) -> Tensor:
    return network(model.termination_head, torch.cat([z, embedding(model, task)]), None)[0]


def continues(model, z: Tensor, task: int) -> Tensor:
    return 1 - 1 / (1 + (-termination_logit(model, z, task)).exp())


def reward_loss(model, outputs: Tensor, reward: float) -> Tensor:
    """Cross-entropy to the two-hot code, or squared error."""
    config = model.config
    if config.reward_head == "mse":
        return (outputs[0] - (symlog(reward) if config.reward_symlog else reward)) ** 2
    coded = two_hot(reward, model.two_hot.centres.tolist(), config.reward_symlog)
    return -sum(w * p for w, p in zip(coded, functional.log_softmax(outputs, -1), strict=True))


def until_the_end(windows, b: int) -> int:
    """Decisions of a window up to its first terminal state."""
    ends = windows.terminal[:, b].tolist()
    return ends.index(1) + 1 if 1 in ends else len(ends)


def world_model_loss(model, windows, weights, shares=None) -> dict[str, Tensor]:
    """The loss and its parts by name, one window and one step at a time."""
    horizon, batch = windows.reward.shape
    names = ("consistency", "reward", "termination", "ensemble")
    parts = {name: torch.zeros(()) for name in names}
    heads = list(model.other_dynamics)
    for b in range(batch):
        task = int(windows.task[b])
        z = encode(model, windows.observation[0, b], task)
        for t in range(until_the_end(windows, b)):
            action = windows.action[t, b]
            weight = weights.rho**t / (horizon * batch)
            outputs = reward_logits(model, z, action, task)
            loss = reward_loss(model, outputs, float(windows.reward[t, b]))
            parts["reward"] = parts["reward"] + weight * loss
            with torch.no_grad():
                target = encode(model, windows.observation[t + 1, b], task)
            x = torch.cat([z, action, embedding(model, task)]).detach()
            for k, head in enumerate(heads):
                share = 1.0 if shares is None else float(shares[k, b])
                error = (network(head, x, model.config) - target).square().mean()
                parts["ensemble"] = parts["ensemble"] + weight * share * error / len(heads)
            z = step(model, z, action, task)
            error = (z - target).square().mean()
            parts["consistency"] = parts["consistency"] + weight * error
            if model.config.termination:
                ends = torch.sigmoid(termination_logit(model, z, task))
                chance = ends if windows.terminal[t, b] else 1 - ends
                parts["termination"] = parts["termination"] - weight * chance.log()
    parts["total"] = (
        weights.consistency * (parts["consistency"] + parts["ensemble"])
        + weights.reward * parts["reward"]
        + weights.termination * parts["termination"]
    )
    return parts


@torch.no_grad()
def judge(model, windows) -> tuple[float, list[float], float]:
    """Relative reward error, relative latent error after each step, relative error of ends."""
    horizon, batch = windows.reward.shape
    squares, latent_squares, encoded = [], [[] for _ in range(horizon)], []
    rewards, ends, chances = [], [], []
    for b in range(batch):
        task = int(windows.task[b])
        z = encode(model, windows.observation[0, b], task)
        encoded.append(z)
        for t in range(until_the_end(windows, b)):
            found = reward(model, z, windows.action[t, b], task)
            squares.append(float((found - windows.reward[t, b]) ** 2))
            rewards.append(float(windows.reward[t, b]))
            z = step(model, z, windows.action[t, b], task)
            target = encode(model, windows.observation[t + 1, b], task)
            encoded.append(target)
            latent_squares[t].append(float((z - target).square().mean()))
            if model.config.termination:
                ends.append(float(windows.terminal[t, b]))
                chances.append(1 - float(continues(model, z, task)))
    spread = float(torch.stack(encoded).var(0, correction=0).mean())
    wrong = [(chance - end) ** 2 for chance, end in zip(chances, ends, strict=True)]
    return (
        sum(squares) / len(squares) / statistics.variance(rewards),
        [sum(s) / len(s) / spread for s in latent_squares],
        sum(wrong) / len(wrong) / statistics.variance(ends) if any(ends) else math.nan,
    )


def lambda_returns(rewards: list[float], values: list[float], discount: float, lam: float):
    """Weighted mean of all n-step returns, for each start; ``values[t]`` is V of state t + 1."""
    horizon, targets = len(rewards), []
    for t in range(horizon):
        n_step = []
        for n in range(1, horizon - t + 1):
            gained = sum(discount**k * rewards[t + k] for k in range(n))
            n_step.append(gained + discount**n * values[t + n - 1])
        weights = [(1 - lam) * lam**n for n in range(len(n_step) - 1)] + [lam ** (len(n_step) - 1)]
        targets.append(sum(w * g for w, g in zip(weights, n_step, strict=True)))
    return targets


def critic_values(critics, z: Tensor) -> Tensor:
    """Values ``[members]`` of one latent, member by member."""
    values = []
    layers = list(critics.network)
    for member in range(critics.members):
        x = z
        for layer in layers:
            kind = type(layer).__name__
            if kind == "StackedLinear":
                x = x @ layer.weight[member] + layer.bias[member, 0]
            elif kind == "StackedNorm":
                centred = x - x.mean()
                x = centred / (centred.square().mean() + 1e-5).sqrt()
                x = x * layer.gain[member, 0] + layer.bias[member, 0]
            else:
                x = functional.mish(x)
        values.append(x[0])
    return torch.stack(values)


def actor_objective(model, actor, critics, starts, task, noise, discount) -> Tensor:
    """Mean discounted imagined return with the smallest critic's value at the end."""
    total = torch.zeros(())
    for b, start in enumerate(starts):
        z = start
        for t, eps in enumerate(noise[:, b]):
            mean = network(actor.mean, z, None)
            action = torch.tanh(
                mean + actor.log_sigma.exp().clamp(min=math.exp(actor.log_floor)) * eps
            )
            spare = model.action_mask.shape[1] - len(action)
            action = torch.cat([action, action.new_zeros(spare)])
            total = total + discount**t * reward(model, z, action, task)
            z = step(model, z, action, task)
        total = total + discount ** len(noise) * critic_values(critics, z).min()
    return -total / len(starts)
