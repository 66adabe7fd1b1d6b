# SPDX-License-Identifier: Apache-2.0
"""MuJoCo through its own derivatives (``mjd_transitionFD``), for tasks whose state is observed."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from copy import copy
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from pwm_core.errors import PwmError
from pwm_core.studies.true_world import TrueWorld
from pwm_core.tasks import get_task

PERTURBATION = 1e-6
"""Step of the central differences; larger ones blur contacts."""


class MujocoStep(torch.autograd.Function):
    """``state [N, nq + nv], control [N, nu] → state`` after ``substeps``; joints hinge or slide.

    MuJoCo has no derivatives of its Runge-Kutta integrator: there those of Euler's stand in, of a
    step from the same state.
    """

    @staticmethod
    def forward(
        ctx: Any, state: Tensor, control: Tensor, model: mujoco.MjModel, substeps: int
    ) -> Tensor:
        data, size, wanted = mujoco.MjData(model), 2 * model.nv, any(ctx.needs_input_grad)
        smooth = copy(model)
        if smooth.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4:
            smooth.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
        a, b = np.zeros((size, size)), np.zeros((size, model.nu))
        reached = np.empty((len(state), size))
        slope = np.empty((len(state), size, size + model.nu))
        for row, (s, u) in enumerate(zip(state.double().numpy(), control.numpy(), strict=True)):
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:], data.ctrl[:] = s[: model.nq], s[model.nq :], u
            total = np.eye(size, size + model.nu)
            for _ in range(substeps):
                if wanted:
                    mujoco.mjd_transitionFD(smooth, data, PERTURBATION, True, a, b, None, None)
                    total = a @ total
                    total[:, size:] += b
                mujoco.mj_step(model, data)
            reached[row], slope[row] = np.concatenate([data.qpos, data.qvel]), total
        ctx.slope = torch.from_numpy(slope).to(state.dtype)
        return torch.from_numpy(reached).to(state.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        found = torch.einsum("ns,nsx->nx", gradients[0], ctx.slope)
        size = ctx.slope.shape[1]
        return found[:, :size], found[:, size:], None, None


class MujocoWorld(TrueWorld):
    """A task of one body whose observation says all of its state that matters."""

    line_name = "command held by every actuator"

    def __init__(self, task: str) -> None:
        self.task = get_task(task)
        environment = self.task.make_single(0)
        self._model, substeps = environment.model, environment.substeps
        simulator = self.task.control_step / substeps / self._model.opt.timestep
        self._substeps = substeps * round(simulator)
        self._begin = torch.from_numpy(environment.reset(seed=0)[0])
        super().__init__(self.task.observation.size, self.task.action.size)

    def line(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return starts and the actions held from there for ``places [N]`` in [0, 1]."""
        held = (2 * places - 1)[:, None].expand(-1, self.actions)
        return self._begin.expand(len(places), -1), held

    @abstractmethod
    def state(self, observation: Tensor) -> Tensor:
        """Return states ``[N, nq + nv]``."""

    @abstractmethod
    def observed(self, state: Tensor) -> Tensor:
        """Return observations ``[N, O]``."""

    def next(self, observation: Tensor, action: Tensor) -> Tensor:
        rows = observation.flatten(0, -2)
        control = action.flatten(0, -2)  # limits of the actuators are -1 and 1
        state = MujocoStep.apply(self.state(rows), control, self._model, self._substeps)
        return self.observed(state).view(observation.shape)


class CartPole(MujocoWorld):
    """DM Control's cart-pole: no contacts."""

    def state(self, observation: Tensor) -> Tensor:
        x, cos, sin, dx, dangle = observation.unbind(-1)
        return torch.stack([x, torch.atan2(sin, cos), dx, dangle], -1)

    def observed(self, state: Tensor) -> Tensor:
        x, angle, dx, dangle = state.unbind(-1)
        return torch.stack([x, angle.cos(), angle.sin(), dx, dangle], -1)

    def earned(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return dm_control's smooth reward, twice for the two steps of a decision."""
        x, cos, _, _, dangle = observation.unbind(-1)
        upright = (cos + 1) / 2
        centred = (1 + _gaussian(x / 2)) / 2
        gentle = (4 + (1 - action[..., 0].square()).clamp(0)) / 5
        slow = (1 + _gaussian(dangle / 5)) / 2
        return 2 * upright * centred * gentle * slow


class Cheetah(MujocoWorld):
    """DM Control's cheetah: it runs on the contacts of its feet."""

    def state(self, observation: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(observation[..., :1]), observation], -1)

    def observed(self, state: Tensor) -> Tensor:
        return state[..., 1:]

    def earned(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return the speed over 10 m/s, twice for the two steps; of the root, not of the torso."""
        return 2 * (observation[..., 8] / 10).clamp(0, 1)


def _gaussian(x: Tensor) -> Tensor:
    """Return dm_control's tolerance: 1 at zero, 0.1 at one."""
    return torch.exp(math.log(0.1) * x.square())


MUJOCO_WORLDS: dict[str, Callable[[str], MujocoWorld]] = {
    "cartpole-swingup": CartPole,
    "cartpole-balance": CartPole,
    "cheetah-run": Cheetah,
}
"""By task."""


def mujoco_world(task: str) -> MujocoWorld:
    """Return the true world of ``task``; ``PwmError`` lists those that there are."""
    if task not in MUJOCO_WORLDS:
        raise PwmError(f"no true dynamics of {task!r}, only of {', '.join(MUJOCO_WORLDS)}")
    return MUJOCO_WORLDS[task](task)
