# SPDX-License-Identifier: Apache-2.0
"""DM Control's ball in cup: catch; TD-MPC2's: swing the ball around outside the cup.

EnvPool's cup is not used: it rewards balls up to 5 cm from the cup's middle, dm_control 2.5 cm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from dm_control.utils.rewards import tolerance

from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import joint_positions, joint_velocities
from pwm_core.tasks.dm_control.body import Body
from pwm_core.tasks.dm_control.describe import custom, published
from pwm_core.tasks.frame_sensor import FrameSensor
from pwm_core.tasks.readings import Readings

INSIDE = 0.025  # metres: half the cup's inner width and depth less the ball's radius
DISTANCE = 0.5  # metres between ball and cup while spinning
SPEED = 6.0  # m/s of the ball while spinning
OUTSIDE_STARTS = 0.1  # of the episodes of spin; the others start inside the cup
JOINTS = ("cup_x", "cup_z", "ball_x", "ball_z")

BODY = Body(
    name="cup",
    domain="ball_in_cup",
    observation=ObservationLayout(
        (*joint_positions(JOINTS, unit="m"), *joint_velocities(JOINTS, unit="m/s"))
    ),
    action=ActionLayout(
        tuple(
            ActionChannel(axis, f"cup_{axis}", "effort", "1", -1.0, 1.0, 0.0, gear=5.0)
            for axis in "xz"
        )
    ),
    simulator_step=0.02,
    sensors=(
        FrameSensor("ball", "position", "xbody", "ball"),
        FrameSensor("target", "position", "site", "target"),
    ),
)


def _to_target(readings: Readings) -> np.ndarray:
    """Vector ``[N, 2]`` from the ball to the middle of the cup."""
    return (readings.sensor("target") - readings.sensor("ball"))[:, [0, 2]]


def caught(readings: Readings) -> np.ndarray:
    """1 where the ball is inside the cup."""
    return (np.abs(_to_target(readings)) < INSIDE).all(axis=-1).astype(float)


def spinning(readings: Readings) -> np.ndarray:
    """The ball far away and fast, and not inside the cup."""
    distance = np.linalg.norm(_to_target(readings), axis=-1)
    speed = np.hypot(readings.velocity("ball_x"), readings.velocity("ball_z"))
    far, fast = (
        tolerance(value, (wanted, np.inf), margin=wanted / 2, value_at_margin=0.5, sigmoid="linear")
        for value, wanted in ((distance, DISTANCE), (speed, SPEED))
    )
    return (1 - caught(readings)) * (far + 2 * fast) / 3


def _starting_inside(domain: Any, seed: int) -> Any:
    class Spin(domain.BallInCup):
        def initialize_episode(self, physics: Any) -> None:
            anywhere = self.random.uniform() < OUTSIDE_STARTS
            while True:
                super().initialize_episode(physics)
                if anywhere or physics.in_target():
                    return

    return Spin(random=seed)


TASKS = (
    published(BODY, "cup-catch", caught, None),
    custom(BODY, "cup-spin", spinning, _starting_inside),
)
