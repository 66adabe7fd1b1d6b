# SPDX-License-Identifier: Apache-2.0
"""DM Control's acrobot: swing up with the elbow alone."""

from __future__ import annotations

import numpy as np
from dm_control.utils.rewards import tolerance

from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import joint_positions, joint_velocities
from pwm_core.tasks.dm_control.body import Body, observed
from pwm_core.tasks.dm_control.describe import published
from pwm_core.tasks.frame_sensor import FrameSensor
from pwm_core.tasks.readings import Readings

TARGET = 0.2  # metres, its radius

BODY = Body(
    name="acrobot",
    domain="acrobot",
    observation=ObservationLayout(
        (
            *joint_positions(["shoulder"], transform="sin"),
            observed("lower_arm/horizontal"),
            *joint_positions(["shoulder"], transform="cos"),
            observed("lower_arm/vertical"),
            *joint_velocities(["shoulder", "elbow"]),
        )
    ),
    action=ActionLayout(
        (ActionChannel("elbow", "elbow", "effort", "1", -1.0, 1.0, 0.0, gear=2.0),)
    ),
    simulator_step=0.01,
    sensors=tuple(FrameSensor(of, "position", "site", of) for of in ("tip", "target")),
)


def near_target(readings: Readings) -> np.ndarray:
    """1 where the tip is in the target, less the further away it is."""
    return tolerance(readings.distance("tip", "target"), (0, TARGET), margin=1)


TASKS = (published(BODY, "acrobot-swingup", near_target, "AcrobotSwingup-v1"),)
