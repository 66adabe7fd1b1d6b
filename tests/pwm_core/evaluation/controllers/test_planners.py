# SPDX-License-Identifier: Apache-2.0
"""Every planner on a linear-quadratic problem, whose best action is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are
from torch import Tensor

from pwm_core.errors import PwmError
from pwm_core.evaluation.controllers import Planners, Planning
from pwm_core.evaluation.controllers.problem import Imagined, estimate, policy_rollout

A = np.array([[1.0, 0.2], [0.0, 0.95]])
B = np.array([[0.02, 0.0], [0.2, 0.05]])
Q, R = np.diag([1.0, 0.1]), np.diag([0.1, 0.2])
DISCOUNT = 0.99
P = solve_discrete_are(A * DISCOUNT**0.5, B * DISCOUNT**0.5, Q, R)
GAIN = np.linalg.solve(R + DISCOUNT * B.T @ P @ B, DISCOUNT * B.T @ P @ A)
START = np.array([[0.2, 0.1], [-0.2, 0.4], [0.15, -0.5]], np.float32)


def tensor(matrix: np.ndarray) -> Tensor:
    return torch.from_numpy(matrix.astype(np.float32))


class LinearQuadratic:
    """``z' = A z + B a``, reward ``−z'Qz − a'Ra``; the policy is the optimal one plus ``bias``."""

    actions, discount = 2, DISCOUNT

    def __init__(self, has_value: bool = True, bias: float = 0.0) -> None:
        self.has_value, self.bias = has_value, bias

    def encode(self, observation: Tensor) -> Tensor:
        return observation

    def imagine(self, z: Tensor, action: Tensor) -> Imagined:
        reward = -quadratic(z, Q) - quadratic(action, R)
        return Imagined(z @ tensor(A).T + action @ tensor(B).T, reward, torch.ones_like(reward))

    def value(self, z: Tensor) -> Tensor:
        return -quadratic(z, P)

    def propose(self, z: Tensor, noise: Tensor) -> Tensor:
        return (-z @ tensor(GAIN).T + self.bias + 0.1 * noise).clamp(-1, 1)


def quadratic(x: Tensor, matrix: np.ndarray) -> Tensor:
    return (x @ tensor(matrix) * x).sum(-1)


def best_actions() -> np.ndarray:
    best = -START @ GAIN.T
    assert np.abs(best).max() < 1, "the limits of actions play no part"
    return best


def regret(action: np.ndarray) -> np.ndarray:
    """Return how much worse ``action`` is than the best one, ``[E]``."""
    problem = LinearQuadratic()

    def worth(actions: np.ndarray) -> Tensor:
        plan = torch.from_numpy(actions.astype(np.float32))[None]
        return estimate(problem, torch.from_numpy(START), plan)

    return (worth(best_actions()) - worth(action)).numpy()


def test_the_best_action_is_worth_the_value() -> None:
    """The problem itself: the optimal action's estimate is the Riccati solution."""
    plan = torch.from_numpy(best_actions().astype(np.float32))[None]
    worth = estimate(LinearQuadratic(), torch.from_numpy(START), plan)
    torch.testing.assert_close(worth, -quadratic(torch.from_numpy(START), P))


SHARP = {
    "mppi": {"temperature": 10.0, "iterations": 12, "min_std": 0.01, "policy_plans": 0},
    "cem": {"generations": 12, "min_std": 0.005},
    "gradient": {"updates": 150, "learning_rate": 0.03},
    "policy+mppi": {"temperature": 300.0, "iterations": 10, "min_std": 0.005, "samples": 512},
}
"""Settings that search on, until only the optimum is left."""


def planner(name: str, **changes: object) -> Planning:
    return replace(Planners().named(name), **changes)


@pytest.mark.parametrize("name", SHARP)
def test_a_planner_finds_the_best_action(name: str) -> None:
    """The policy that some planners may ask is wrong here; the search has to correct it."""
    act = planner(name, **SHARP[name]).make(LinearQuadratic(bias=0.15), seed=0)
    action = act(START)
    assert action.shape == (3, 2)
    np.testing.assert_allclose(action, best_actions(), atol=0.06)


@pytest.mark.parametrize("name", SHARP)
def test_the_settings_as_they_are_beat_doing_nothing_and_a_poor_policy(name: str) -> None:
    problem = LinearQuadratic(bias=0.15)
    found = regret(Planners().named(name).make(problem, seed=0)(START))
    proposed = problem.propose(torch.from_numpy(START), torch.zeros(3, 2)).numpy()
    assert (found < 0.2 * regret(np.zeros((3, 2)))).all()
    assert (found < 0.9 * regret(proposed)).all()


@pytest.mark.parametrize("name", SHARP)
def test_without_a_value_the_horizon_is_longer(name: str) -> None:
    settings = Planners().named(name)
    longer = settings.make(LinearQuadratic(has_value=False), 0)
    longer(START)
    assert len(longer._plan) == settings.horizon_without_value > settings.horizon


@pytest.mark.parametrize("name", SHARP)
def test_the_seed_and_the_plan_so_far_decide(name: str) -> None:
    def two(seed: int) -> list[np.ndarray]:
        act = Planners().named(name).make(LinearQuadratic(), seed)
        return [act(START), act(START)]

    first, again = two(0), two(0)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert np.abs(first[0]).max() <= 1
    assert (two(1)[0] != first[0]).any() or name == "gradient"


def test_an_unknown_planner_is_named() -> None:
    with pytest.raises(PwmError, match=r"unknown controller 'ppo': .* mppi, cem, gradient"):
        Planners().named("ppo")


def test_estimate_equals_a_plain_loop() -> None:
    """Discounts, the probability that the episode goes on, and the terminal value."""

    class Ending(LinearQuadratic):
        def imagine(self, z: Tensor, action: Tensor) -> Imagined:
            following, reward, _ = super().imagine(z, action)
            return Imagined(following, reward, torch.sigmoid(following[..., 0]))

    problem = Ending()
    rng = np.random.default_rng(0)
    plans = torch.from_numpy(rng.uniform(-1, 1, (4, 3, 5, 2)).astype(np.float32))
    z = torch.from_numpy(START)
    found = estimate(problem, z[:, None].expand(-1, 5, -1), plans)
    for episode in range(3):
        for candidate in range(5):
            state, weight, total = START[episode].astype(float), 1.0, 0.0
            for action in plans[:, episode, candidate].numpy().astype(float):
                total += weight * -(state @ Q @ state + action @ R @ action)
                state = A @ state + B @ action
                weight *= DISCOUNT / (1 + np.exp(-state[0]))
            total -= weight * (state @ P @ state)
            assert found[episode, candidate].item() == pytest.approx(total, rel=1e-4)


def test_policy_rollout_follows_the_policy() -> None:
    z = torch.from_numpy(START)
    plans = policy_rollout(LinearQuadratic(), z, torch.zeros(3, 3, 2))
    state = START.astype(float)
    for action in plans.numpy():
        np.testing.assert_allclose(action, -state @ GAIN.T, atol=1e-5)
        state = state @ A.T + action @ B.T
