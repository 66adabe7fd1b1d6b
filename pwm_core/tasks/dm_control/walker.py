# SPDX-License-Identifier: Apache-2.0
"""DM Control's planar walker: stand, walk and run; TD-MPC2's: walk and run backwards."""

from __future__ import annotations

import numpy as np
from dm_control.utils.rewards import tolerance

from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import joint_positions, joint_velocities
from pwm_core.tasks.dm_control.body import Body, observed
from pwm_core.tasks.dm_control.describe import custom, published
from pwm_core.tasks.frame_sensor import FrameSensor
from pwm_core.tasks.readings import Readings, Reward
from pwm_core.tasks.task import Task

STAND_HEIGHT = 1.2  # metres
WALK_SPEED, RUN_SPEED = 1.0, 8.0  # m/s
GEARS = {"hip": 100.0, "knee": 50.0, "ankle": 20.0}
SIDES = ("right", "left")
JOINTS = tuple(f"{side}_{joint}" for side in SIDES for joint in GEARS)
LIMBS = tuple(f"{side}_{limb}" for side in SIDES for limb in ("thigh", "leg", "foot"))

BODY = Body(
    name="walker",
    domain="walker",
    observation=ObservationLayout(
        (
            *joint_positions(["rooty"], transform="cos"),
            *joint_positions(["rooty"], transform="sin"),
            *(observed(f"{limb}/{part}") for limb in LIMBS for part in ("vertical", "horizontal")),
            observed("torso/height", "m"),
            *joint_velocities(["rootz", "rootx"], unit="m/s"),
            *joint_velocities(["rooty", *JOINTS]),
        )
    ),
    action=ActionLayout(
        tuple(
            ActionChannel(
                joint, joint, "effort", "1", -1.0, 1.0, 0.0, gear=GEARS[joint.split("_")[1]]
            )
            for joint in JOINTS
        )
    ),
    simulator_step=0.025,
    sensors=(
        FrameSensor("torso", "position", "xbody", "torso"),
        FrameSensor("torso_zaxis", "zaxis", "xbody", "torso"),
    ),
)


def standing(readings: Readings) -> np.ndarray:
    """Torso high, and upright."""
    height, vertical = readings.sensor("torso")[:, 2], readings.sensor("torso_zaxis")[:, 2]
    high = tolerance(height, (STAND_HEIGHT, np.inf), margin=STAND_HEIGHT / 2)
    return (3 * high + (1 + vertical) / 2) / 4


def moving(speed: float) -> Reward:
    """Stand, and move at ``speed``: backwards when it is negative."""

    def reward(readings: Readings) -> np.ndarray:
        velocity = readings.sensor("torso_subtreelinvel")[:, 0]
        fast = tolerance(
            np.sign(speed) * velocity,
            (abs(speed), np.inf),
            margin=abs(speed) / 2,
            value_at_margin=0.5,
            sigmoid="linear",
        )
        return standing(readings) * (5 * fast + 1) / 6

    return reward


def _custom(name: str, reward: Reward) -> Task:
    return custom(BODY, name, reward, lambda domain, seed: domain.PlanarWalker(0, random=seed))


TASKS = (
    published(BODY, "walker-stand", standing, "WalkerStand-v1"),
    published(BODY, "walker-walk", moving(WALK_SPEED), "WalkerWalk-v1"),
    published(BODY, "walker-run", moving(RUN_SPEED), "WalkerRun-v1"),
    _custom("walker-walk-backwards", moving(-WALK_SPEED)),
    _custom("walker-run-backwards", moving(-RUN_SPEED)),
)
