# SPDX-License-Identifier: Apache-2.0
"""A robot as it is bought: its model, what its sensors tell, what it can be told."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import mujoco
import numpy as np

from pwm_core.layout import ActionLayout, ObservationLayout
from pwm_core.tasks.readings import Readings
from pwm_core.tasks.robots.models import load_spec


@dataclass(frozen=True)
class Robot:
    """What all tasks of one robot share."""

    name: str
    """Tasks of one name share model and layouts."""
    mjcf: str
    """MJCF file in MuJoCo Menagerie."""
    edit: Callable[[mujoco.MjSpec], None]
    """Adds the task's world and sensors to the model."""
    observation: ObservationLayout
    """What the robot's own sensors and its operator's commands tell."""
    observe: Callable[[Readings], np.ndarray]
    """The observation ``[N, O]`` of ``N`` states."""
    action: ActionLayout
    """The model's actuators, all of them."""
    begin: Callable[[mujoco.MjModel, mujoco.MjData, np.random.Generator], None]
    """Puts the start of an episode, at random, into model and data."""
    simulator_step: float
    """Seconds per decision, which is one simulator step."""

    def compile(self) -> mujoco.MjModel:
        """Return a model of one's own; ``RobotModelMissingError`` without the package."""
        return copy.copy(_compiled(self))


@cache
def _compiled(robot: Robot) -> mujoco.MjModel:
    """Read the robot's meshes once per process."""
    spec = load_spec(robot.mjcf)
    robot.edit(spec)
    return spec.compile()
