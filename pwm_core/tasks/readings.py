# SPDX-License-Identifier: Apache-2.0
"""What rewards read, for one state or many at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np


@dataclass(frozen=True)
class Readings:
    """Joints, controls and sensors of ``N`` states of one model."""

    model: mujoco.MjModel
    qpos: np.ndarray
    """``[N, nq]``"""
    qvel: np.ndarray
    """``[N, nv]``"""
    control: np.ndarray
    """``[N, nu]`` that led to the state."""
    sensordata: np.ndarray
    """``[N, nsensordata]``"""

    @classmethod
    def of(cls, model: mujoco.MjModel, data: mujoco.MjData) -> Readings:
        """Return the readings of one state, ``N = 1``."""
        return cls(model, data.qpos[None], data.qvel[None], data.ctrl[None], data.sensordata[None])

    def position(self, joint: str) -> np.ndarray:
        """Return the position ``[N]`` of a hinge or slide."""
        return self.qpos[:, self.model.joint(joint).qposadr[0]]

    def velocity(self, joint: str) -> np.ndarray:
        """Return the velocity ``[N]`` of a hinge or slide."""
        return self.qvel[:, self.model.joint(joint).dofadr[0]]

    def sensor(self, name: str) -> np.ndarray:
        """Return the values ``[N, size]`` of a sensor."""
        sensor = self.model.sensor(name)
        return self.sensordata[:, sensor.adr[0] : sensor.adr[0] + sensor.dim[0]]

    def distance(self, first: str, second: str) -> np.ndarray:
        """Return the distance ``[N]`` between the places that two sensors give."""
        return np.linalg.norm(self.sensor(first) - self.sensor(second), axis=-1)


Reward = Callable[[Readings], np.ndarray]
"""The reward ``[N]`` of one simulator step that ended in these states."""
