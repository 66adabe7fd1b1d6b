# SPDX-License-Identifier: Apache-2.0
"""DM Control's planar hopper: stand and hop; TD-MPC2's: hop backwards."""

from __future__ import annotations

import numpy as np
from dm_control.utils.rewards import tolerance

from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import joint_positions, joint_velocities
from pwm_core.tasks.dm_control.body import Body, observed
from pwm_core.tasks.dm_control.describe import custom, published
from pwm_core.tasks.frame_sensor import FrameSensor
from pwm_core.tasks.readings import Readings, Reward

STAND_HEIGHT = 0.6  # metres of the torso over the foot
HOP_SPEED = 2.0  # m/s
GEARS = {"waist": 30.0, "hip": 40.0, "knee": 30.0, "ankle": 10.0}

BODY = Body(
    name="hopper",
    domain="hopper",
    observation=ObservationLayout(
        (
            *joint_positions(["rootz"], unit="m"),
            *joint_positions(["rooty", *GEARS]),
            *joint_velocities(["rootx", "rootz"], unit="m/s"),
            *joint_velocities(["rooty", *GEARS]),
            observed("touch_toe"),
            observed("touch_heel"),
        )
    ),
    action=ActionLayout(
        tuple(
            ActionChannel(joint, joint, "effort", "1", -1.0, 1.0, 0.0, gear=gear)
            for joint, gear in GEARS.items()
        )
    ),
    simulator_step=0.02,
    sensors=tuple(FrameSensor(of, "position", "body", of) for of in ("torso", "foot")),
)


def _upright(readings: Readings) -> np.ndarray:
    height = readings.sensor("torso")[:, 2] - readings.sensor("foot")[:, 2]
    return tolerance(height, (STAND_HEIGHT, 2))


def standing(readings: Readings) -> np.ndarray:
    """Upright with little control."""
    gentle = tolerance(readings.control, margin=1, value_at_margin=0, sigmoid="quadratic")
    return _upright(readings) * (gentle.mean(axis=-1) + 4) / 5


def hopping(speed: float) -> Reward:
    """Upright and moving at ``speed``: backwards when it is negative."""

    def reward(readings: Readings) -> np.ndarray:
        velocity = readings.sensor("torso_subtreelinvel")[:, 0]
        fast = tolerance(
            np.sign(speed) * velocity,
            (abs(speed), np.inf),
            margin=abs(speed) / 2,
            value_at_margin=0.5,
            sigmoid="linear",
        )
        return _upright(readings) * fast

    return reward


TASKS = (
    published(BODY, "hopper-stand", standing, "HopperStand-v1"),
    published(BODY, "hopper-hop", hopping(HOP_SPEED), "HopperHop-v1"),
    custom(
        BODY,
        "hopper-hop-backwards",
        hopping(-HOP_SPEED / 2),
        lambda domain, seed: domain.Hopper(hopping=True, random=seed),
    ),
)
