# SPDX-License-Identifier: Apache-2.0
"""True dynamics against physics and the simulator, their gradients against differences."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from pwm_core.errors import PwmError
from pwm_core.extraction.frozen_model import FrozenModel
from pwm_core.model.layer_gradients import Visit
from pwm_core.studies.analytic_worlds import GRAVITY, AnalyticWorld, BallAgainstWall, DoublePendulum
from pwm_core.studies.ground_truth_dynamics import largest_jump, wiggles
from pwm_core.studies.mujoco_world import MujocoWorld, mujoco_world
from pwm_core.studies.true_world import TrueWorld, true_returns


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def jacobian(world: TrueWorld, pair: Tensor, step: float) -> Tensor:
    """``[N, reached, pair]`` by central differences."""

    def reached(pair: Tensor) -> Tensor:
        return world.next(pair[:, : world.latent], pair[:, world.latent :])

    columns = []
    for change in torch.eye(pair.shape[1], dtype=pair.dtype) * step:
        columns.append((reached(pair + change) - reached(pair - change)) / (2 * step))
    return torch.stack(columns, -1)


@pytest.mark.parametrize("world", [DoublePendulum(), BallAgainstWall()])
def test_gradients_of_the_analytic_worlds_are_those_of_finite_differences(
    world: AnalyticWorld,
) -> None:
    observation = world.starts(8, generator()).double()
    action = torch.rand(8, world.actions, generator=generator()).double() - 0.5
    pair = torch.cat([observation, action], 1)
    expected = jacobian(world, pair, 1e-6)
    visit = Visit(world.dynamics, learning=False)
    visit.forward(pair[None])
    weight = torch.randn(8, world.latent, generator=generator()).double()
    found = visit.backward(weight[None])[0]
    torch.testing.assert_close(
        found, torch.einsum("nr,nrp->np", weight, expected), rtol=1e-5, atol=1e-5
    )


def pendulum_energy(q: Tensor, v: Tensor) -> Tensor:
    """Of two rods of 1 m with 1 kg at each end, angles from hanging, in J."""
    c = (q[:, 0] - q[:, 1]).cos()
    kinetic = v[:, 0] ** 2 + v[:, 1] ** 2 / 2 + v[:, 0] * v[:, 1] * c
    return kinetic - GRAVITY * (2 * q[:, 0].cos() + q[:, 1].cos())


def test_the_pendulum_keeps_its_energy_without_torque_and_damping() -> None:
    world = DoublePendulum()
    world.damping = 0.0
    observation = world.starts(16, generator()).double()
    before = pendulum_energy(*world.state(observation))
    for _ in range(20):
        observation = world.next(observation, torch.zeros(16, 2).double())
    after = pendulum_energy(*world.state(observation))
    torch.testing.assert_close(after, before, rtol=0, atol=0.2)  # of some 50 J that it exchanges


def test_the_pendulum_gains_the_power_of_its_torques_less_that_of_the_damping() -> None:
    world, h = DoublePendulum(), 1e-5
    q, v = world.state(world.starts(16, generator()).double())
    torque = 10 * torch.rand(16, 2, generator=generator()).double() - 5
    a = world.acceleration(q, v, torque)
    later = pendulum_energy(q + h * v, v + h * a)
    earlier = pendulum_energy(q - h * v, v - h * a)
    first, second = torque.unbind(1)
    power = first * v[:, 0] + second * (v[:, 1] - v[:, 0]) - world.damping * v.square().sum(1)
    torch.testing.assert_close((later - earlier) / (2 * h), power, rtol=1e-4, atol=1e-4)


def test_the_ball_flies_over_the_wall_or_bounces_off_it() -> None:
    world = BallAgainstWall()
    thrown = torch.tensor([[-0.1, 0.5, 6.0, 0.0], [-0.1, 1.5, 6.0, 0.0], [-2.0, 0.01, 0.0, -3.0]])
    reached = world.next(thrown, torch.zeros(3, 2))
    assert reached[0, 0] < 0
    assert reached[0, 2] == pytest.approx(-0.6 * 6)
    assert reached[1, 0] > 0
    assert reached[1, 2] == 6
    assert reached[2, 1] > 0
    assert reached[2, 3] > 0


@pytest.mark.parametrize("task", ["cartpole-swingup", "cheetah-run"])
def test_a_mujoco_world_does_what_the_task_does(task: str) -> None:
    world, rng = mujoco_world(task), np.random.default_rng(0)
    environment = world.task.make_single(0)
    observation, _ = environment.reset(seed=3)
    for _ in range(20):
        action = rng.uniform(-1, 1, world.actions).astype(np.float32)
        with torch.no_grad():
            rows = (torch.from_numpy(array)[None] for array in (observation, action))
            expected = world.next(*rows)[0]
        observation, _, _, _, _ = environment.step(action)
        np.testing.assert_allclose(observation, expected, atol=1e-4)


def contact_free() -> tuple[MujocoWorld, Tensor]:
    observation = torch.tensor([[0.1, np.cos(2.0), np.sin(2.0), 0.3, -1.0]])
    return mujoco_world("cartpole-swingup"), torch.cat([observation, torch.tensor([[0.4]])], 1)


def on_the_ground() -> tuple[MujocoWorld, Tensor]:
    world = mujoco_world("cheetah-run")
    environment = world.task.make_single(0)
    environment.reset(seed=0)
    for _ in range(25):  # until it has fallen on its feet
        observation = environment.step(np.zeros(6, np.float32))[0]
    assert environment.data.ncon > 0
    return world, torch.cat([torch.from_numpy(observation), torch.full((6,), 0.2)])[None]


def test_mujoco_gradients_without_contact_are_those_of_finite_differences() -> None:
    world, pair = contact_free()
    pair = pair.double()
    visit = Visit(world.dynamics, learning=False)
    visit.forward(pair[None])
    weight = torch.tensor([[[1.0, 0.5, -0.5, 0.3, 0.2]]]).double()
    found = visit.backward(weight)[0, 0]
    expected = (weight[0, 0] @ jacobian(world, pair, 1e-5)[0])[:]
    torch.testing.assert_close(found, expected, rtol=0.02, atol=2e-3)  # Euler's for Runge-Kutta's


def test_mujoco_gradients_in_contact_are_those_of_finite_differences() -> None:
    world, pair = on_the_ground()
    pair = pair.double()
    visit = Visit(world.dynamics, learning=False)
    visit.forward(pair[None])
    weight = torch.randn(1, 1, 17, generator=generator()).double()
    found = visit.backward(weight)[0, 0]
    expected = weight[0, 0] @ jacobian(world, pair, 1e-6)[0]
    assert torch.cosine_similarity(found, expected, dim=0) > 0.99


def test_cart_pole_reward_is_the_tasks() -> None:
    world = mujoco_world("cartpole-swingup")
    environment, rng = world.task.make_single(0), np.random.default_rng(0)
    observation, _ = environment.reset(seed=1)
    for _ in range(60):
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        before = observation
        observation, reward, _, _, _ = environment.step(action)
        rows = torch.from_numpy(np.stack([before, observation])), torch.from_numpy(action)
        earned = world.earned(rows[0], rows[1].expand(2, -1))
        low, high = sorted(earned.tolist())
        assert 0.6 * low - 1e-3 <= reward <= 1.6 * high + 1e-3


def test_cheetah_reward_follows_the_tasks() -> None:
    """The task pays for the speed of the torso's mass, the world for that of its root."""
    world = mujoco_world("cheetah-run")
    environment, rng = world.task.make_single(0), np.random.default_rng(0)
    observation, _ = environment.reset(seed=1)
    action, paid, earned = np.zeros(6), np.zeros(100), np.zeros(100)
    for step in range(100):
        action = 0.9 * action + 0.4 * rng.normal(size=6)
        before, command = observation, np.clip(action, -1, 1).astype(np.float32)
        observation, paid[step], _, _, _ = environment.step(command)
        rows = torch.from_numpy(np.stack([before, observation]))
        earned[step] = world.earned(rows, torch.from_numpy(command).expand(2, -1)).mean()
    assert np.corrcoef(paid, earned)[0, 1] > 0.8


def test_unknown_tasks_are_answered_with_the_known_ones() -> None:
    with pytest.raises(PwmError, match="no true dynamics of 'walker-walk', only of cartpole"):
        mujoco_world("walker-walk")


def test_true_returns_sum_what_is_earned() -> None:
    world = BallAgainstWall()
    policy = SimpleNamespace(act=lambda observation: torch.ones(len(observation), 2))
    start = torch.tensor([[-2.0, 0.5, 0.0, 0.0]])
    one = world.earned(start, torch.ones(1, 2))
    two = one + world.earned(world.next(start, torch.ones(1, 2)), torch.ones(1, 2))
    torch.testing.assert_close(true_returns(world, policy.act, start, 2), two)
    assert isinstance(world, FrozenModel)


def test_landscape_figures() -> None:
    assert wiggles([0.0, 1.0, 2.0]) == 1
    assert wiggles([0.0, 2.0, 0.0, 2.0]) == 3
    assert largest_jump([0.0, 0.5, 2.0]) == 0.75
