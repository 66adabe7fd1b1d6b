# SPDX-License-Identifier: Apache-2.0
"""The paper's teaching cases in closed form: a double pendulum and a ball against a wall."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from pwm_core.studies.true_world import TrueWorld

GRAVITY = 9.81
STEP = 0.05
"""Seconds per decision."""


class AnalyticWorld(TrueWorld):
    """A world that also says where its episodes begin."""

    @abstractmethod
    def starts(self, count: int, generator: torch.Generator) -> Tensor:
        """Return observations ``[count, O]``."""


class DoublePendulum(AnalyticWorld):
    """Two rods of 1 m with 1 kg at each end, hanging at angles zero, torques at both joints.

    Observation: cosine and sine of both angles, velocities over 8 rad/s. Chaotic without control.
    """

    torque = 10.0
    """N·m at action 1; 29 N·m would hold both rods out horizontally."""
    damping = 0.1
    """N·m·s"""
    substeps = 2

    def __init__(self) -> None:
        super().__init__(observations=6, actions=2)

    def starts(self, count: int, generator: torch.Generator) -> Tensor:
        """Return observations ``[count, O]`` of any angles and moderate velocities."""
        angle = 2 * math.pi * torch.rand(count, 2, generator=generator)
        return self.observed(angle, 2 * torch.randn(count, 2, generator=generator))

    def line(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return starts and the actions held from there for ``places [N]`` in [0, 1]."""
        hanging = self.observed(torch.zeros(1, 2), torch.zeros(1, 2)).expand(len(places), -1)
        return hanging, (2 * places - 1)[:, None].expand(-1, 2)

    line_name = "torque held at both joints, of the largest"

    def observed(self, angle: Tensor, velocity: Tensor) -> Tensor:
        """Return observations of ``angle [..., 2]`` rad and ``velocity [..., 2]`` rad/s."""
        return torch.cat([angle.cos(), angle.sin(), velocity / 8], -1)

    def state(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return angles and velocities, ``[..., 2]`` each."""
        cos, sin, velocity = observation.split(2, -1)
        return torch.atan2(sin, cos), 8 * velocity

    def acceleration(self, angle: Tensor, velocity: Tensor, torque: Tensor) -> Tensor:
        """Return angular accelerations ``[..., 2]`` for ``torque [..., 2]`` N·m at the joints."""
        apart = angle[..., 0] - angle[..., 1]
        c, s = apart.cos(), apart.sin()
        drag = self.damping * velocity
        first = torque[..., 0] - torque[..., 1] - drag[..., 0]
        first = first - s * velocity[..., 1] ** 2 - 2 * GRAVITY * angle[..., 0].sin()
        second = torque[..., 1] - drag[..., 1]
        second = second + s * velocity[..., 0] ** 2 - GRAVITY * angle[..., 1].sin()
        determinant = 2 - c**2
        solved = torch.stack([first - c * second, 2 * second - c * first], -1)
        return solved / determinant[..., None]

    def next(self, observation: Tensor, action: Tensor) -> Tensor:
        q, v = self.state(observation)
        torque, h = self.torque * action, STEP / self.substeps
        for _ in range(self.substeps):  # Runge-Kutta of fourth order
            k1 = self.acceleration(q, v, torque)
            k2 = self.acceleration(q + h / 2 * v, v + h / 2 * k1, torque)
            k3 = self.acceleration(q + h / 2 * v + h**2 / 4 * k1, v + h / 2 * k2, torque)
            k4 = self.acceleration(q + h * v + h**2 / 2 * k2, v + h * k3, torque)
            q = q + h * v + h**2 / 6 * (k1 + k2 + k3)
            v = v + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return self.observed(q, v)

    def earned(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the mean height of the ends of the rods over their joints, in m."""
        return -observation[..., :2].mean(-1) - 0.01 * action.square().sum(-1)


class BallAgainstWall(AnalyticWorld):
    """A ball with thrusters, and a wall of 1 m at ``x = 0`` between it and its goal at 2 m.

    Observation: position (m) and velocity (m/s) across and up. It bounces off ground and wall; over
    the wall it flies. The return jumps where a path clears the wall.
    """

    thrust = 12.0
    """m/s² at action 1."""
    wall, goal, bounce = 1.0, 2.0, 0.6

    def __init__(self) -> None:
        super().__init__(observations=4, actions=2)

    def starts(self, count: int, generator: torch.Generator) -> Tensor:
        """Return observations ``[count, O]`` on both sides of the wall."""
        x = 6 * torch.rand(count, generator=generator) - 3
        y = 2 * torch.rand(count, generator=generator)
        velocity = 2 * torch.randn(count, 2, generator=generator)
        return torch.cat([torch.stack([x, y], -1), velocity], -1)

    def line(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return starts and the actions held from there for ``places [N]`` in [0, 1]."""
        angle = math.pi / 2 * places
        throw = 6 * torch.stack([angle.cos(), angle.sin()], -1)
        begin = torch.tensor([-2.0, 0.2]).expand(len(places), -1)
        return torch.cat([begin, throw], -1), torch.zeros(len(places), 2)

    line_name, line_ends = "angle of the throw (°)", (0.0, 90.0)

    def next(self, observation: Tensor, action: Tensor) -> Tensor:
        x, y, vx, vy = observation.unbind(-1)
        vx = vx + STEP * self.thrust * action[..., 0]
        vy = vy + STEP * (self.thrust * action[..., 1] - GRAVITY)
        reached, height = x + STEP * vx, y + STEP * vy
        part = (x / (x - reached)).nan_to_num(0).clamp(0, 1)
        crossing = y + part * (height - y)
        hit = ((x < 0) != (reached < 0)) & (crossing < self.wall)
        reached = torch.where(hit, -self.bounce * reached, reached)
        vx = torch.where(hit, -self.bounce * vx, vx)
        down = height < 0
        height = torch.where(down, -self.bounce * height, height)
        vy = torch.where(down, -self.bounce * vy, vy)
        return torch.stack([reached, height, vx, vy], -1)

    def earned(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return 1 less the distance across to the goal in units of 3 m."""
        away = (observation[..., 0] - self.goal).abs()
        return 1 - away / 3 - 0.01 * action.square().sum(-1)
