# SPDX-License-Identifier: Apache-2.0
"""Linear-quadratic regulators with few or many actuators, whose optimum is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from pwm_core.extraction.frozen_model import FrozenModel

Body = Literal["muscles", "joints"]
"""``muscles``: two joints, pulled by all actuators from evenly spread directions, so that the
optimal cost does not depend on their number. ``joints``: a chain with an actuator for each."""

STEP = 0.05
"""Seconds per decision."""
FALL, DAMPING, COUPLING, STRENGTH = 2.0, 0.2, 1.0, 20.0
"""Accelerations per unit of angle, of velocity, of neighbours' angles apart, and of force."""
VELOCITY_COST, ACTION_COST = 0.1, 0.3
"""Costs relative to that of the angle."""


@dataclass(frozen=True)
class Regulator:
    """``x' = A x + B a``, reward ``−(x·Q x + a·R a)`` with diagonal Q and R, a discount."""

    a: np.ndarray
    """``[state, state]``"""
    b: np.ndarray
    """``[state, actions]``"""
    q: np.ndarray
    """``[state]``"""
    r: np.ndarray
    """``[actions]``"""
    discount: float

    def cost_to_go(self) -> np.ndarray:
        """Return ``P [state, state]``: from ``x`` on the least discounted cost is ``x·P x``.

        Of all controllers, as the solution of the discrete algebraic Riccati equation.
        """
        root = np.sqrt(self.discount)
        return scipy.linalg.solve_discrete_are(
            root * self.a, root * self.b, np.diag(self.q), np.diag(self.r)
        )

    def gain(self) -> np.ndarray:
        """Return ``K [actions, state]`` of the optimal controller ``a = −K x``."""
        p = self.cost_to_go()
        left = np.diag(self.r) + self.discount * self.b.T @ p @ self.b
        return np.linalg.solve(left, self.discount * self.b.T @ p @ self.a)


def regulator(body: Body, actions: int, discount: float) -> Regulator:
    """Return the upright body, which falls without control, with ``actions`` actuators."""
    joints = 2 if body == "muscles" else actions
    pull = np.eye(actions)
    if body == "muscles":
        angles = np.pi * np.arange(actions) / actions
        pull = np.sqrt(2 / actions) * np.stack([np.cos(angles), np.sin(angles)])
    neighbours = np.eye(joints, k=1) + np.eye(joints, k=-1)
    spring = COUPLING * (neighbours - np.diag(neighbours.sum(0)))
    rate = np.block(
        [
            [np.zeros((joints, joints)), np.eye(joints)],
            [FALL * np.eye(joints) + spring, -DAMPING * np.eye(joints)],
        ]
    )
    force = np.concatenate([np.zeros_like(pull), STRENGTH * pull])
    both = np.block([[rate, force], [np.zeros((actions, 2 * joints + actions))]])
    exact = scipy.linalg.expm(STEP * both)[: 2 * joints]  # the action is held for a step
    cost = np.repeat([1.0, VELOCITY_COST], joints) / joints
    effort = np.full(actions, ACTION_COST / joints)
    return Regulator(exact[:, : 2 * joints], exact[:, 2 * joints :], cost, effort, discount)


def identified(true: Regulator, transitions: int, noise: float, seed: int) -> Regulator:
    """Return A and B by least squares on random transitions, measured with ``noise``."""
    rng = np.random.default_rng(seed)
    states, actions = true.b.shape
    pair = np.concatenate(
        [rng.normal(size=(transitions, states)), rng.uniform(-1, 1, (transitions, actions))], 1
    )
    reached = pair @ np.concatenate([true.a, true.b], 1).T
    reached += noise * rng.normal(size=reached.shape)
    found = np.linalg.lstsq(pair, reached, rcond=None)[0].T
    return Regulator(found[:, :states], found[:, states:], true.q, true.r, true.discount)


class LinearQuadraticModel(FrozenModel):
    """A regulator as extraction sees a world: the latent is the state itself."""

    def __init__(self, regulator: Regulator, device: torch.device | str = "cpu") -> None:
        self.latent, self.actions = regulator.b.shape
        layer = nn.Linear(self.latent + self.actions, self.latent).requires_grad_(False)
        both = np.concatenate([regulator.a, regulator.b], 1)
        layer.weight.copy_(torch.from_numpy(both))
        layer.bias.zero_()
        self.dynamics = nn.Sequential(layer).to(device)
        cost = np.concatenate([regulator.q, regulator.r])
        self._cost = torch.from_numpy(cost).float().to(device)

    def reward(self, pair: Tensor) -> Tensor:
        return -(self._cost * pair.square()).sum(-1)

    def continues(self, z: Tensor) -> Tensor:
        return z.new_ones(z.shape[:-1])


@torch.no_grad()
def discounted_cost(regulator: Regulator, policy: nn.Module, x: Tensor, steps: int) -> Tensor:
    """Return what ``policy`` pays in ``steps`` decisions from ``x [batch, state]``, ``[batch]``."""
    arrays = regulator.a, regulator.b, regulator.q, regulator.r
    a, b, q, r = (torch.from_numpy(array).to(x) for array in arrays)
    total = x.new_zeros(len(x))
    for t in range(steps):
        action = policy(x)
        cost = (q * x.square()).sum(1) + (r * action.square()).sum(1)
        total += regulator.discount**t * cost
        x = x @ a.T + action @ b.T
    return total
