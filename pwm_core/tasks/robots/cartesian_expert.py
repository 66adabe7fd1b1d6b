# SPDX-License-Identifier: Apache-2.0
"""A Cartesian controller as arms are shipped with: straight to the target by the Jacobian."""

from __future__ import annotations

import mujoco
import numpy as np

from pwm_core.tasks.robots.robot import Robot

GAIN = 2.0
"""1/s: speed of the tool per distance to the target; more overshoots, as the servos lag 0.1 s."""
DAMPING = 0.05
"""m; keeps joints from racing where the arm is nearly stretched."""


class CartesianExpert:
    """Damped least squares (Wampler 1986) on the site ``tool``; knows the robot's kinematics.

    The observation begins with the joints' positions and ends with the target in the base frame.
    """

    def __init__(self, robot: Robot) -> None:
        self._action = robot.action
        self._model = robot.compile()
        self._data = mujoco.MjData(self._model)
        self._tool = self._model.site("tool").id

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Return actions ``[N, A]`` in ``[-1, 1]`` for observations ``[N, O]``."""
        return np.stack([self._act(row) for row in observation.astype(np.float64)])

    def _act(self, observation: np.ndarray) -> np.ndarray:
        self._data.qpos[:] = observation[: self._model.nq]
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        jacobian = np.empty((3, self._model.nv))
        mujoco.mj_jacSite(self._model, self._data, jacobian, None, self._tool)
        velocity = GAIN * (observation[-3:] - self._data.site_xpos[self._tool])
        square = jacobian @ jacobian.T + DAMPING**2 * np.eye(3)
        joints = jacobian.T @ np.linalg.solve(square, velocity)
        action = self._action.to_normalised(joints)
        return action / max(1.0, np.abs(action).max())  # slower, not elsewhere
