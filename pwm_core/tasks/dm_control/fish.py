# SPDX-License-Identifier: Apache-2.0
"""DM Control's fish: swim to a target."""

from __future__ import annotations

import numpy as np
from dm_control.utils.rewards import tolerance

from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import body_twist, joint_positions, joint_velocities
from pwm_core.tasks.dm_control.body import Body, observed
from pwm_core.tasks.dm_control.describe import published
from pwm_core.tasks.frame_sensor import FrameSensor
from pwm_core.tasks.readings import Readings

RADII = 0.045  # metres, of mouth and target together
ACTUATORS = {
    "tail": "tail1",
    "tail_twist": "tail_twist",
    "fins_flap": "fins_flap",
    "finleft_pitch": "finleft_pitch",
    "finright_pitch": "finright_pitch",
}
"""Actuator and its joint; the flap drives both fins' rolls through a tendon."""
JOINTS = (
    "tail1",
    "tail_twist",
    "tail2",
    "finright_roll",
    "finright_pitch",
    "finleft_roll",
    "finleft_pitch",
)

BODY = Body(
    name="fish",
    domain="fish",
    observation=ObservationLayout(
        (
            *joint_positions(JOINTS),
            observed("torso/upright"),
            *(observed(f"mouth_to_target/{axis}", "m") for axis in "xyz"),
            *body_twist("root"),
            *joint_velocities(JOINTS),
        )
    ),
    action=ActionLayout(
        tuple(
            ActionChannel(name, joint, "position", "rad", -1.0, 1.0, 0.0)
            for name, joint in ACTUATORS.items()
        )
    ),
    simulator_step=0.04,
    pool_keys=("joint_angles", "upright", "target", "velocity"),
    sensors=(
        FrameSensor("mouth", "position", "geom", "mouth"),
        FrameSensor("target", "position", "geom", "target"),
        FrameSensor("torso_zaxis", "zaxis", "xbody", "torso"),
    ),
)


def swimming(readings: Readings) -> np.ndarray:
    """The mouth at the target, and the fish upright."""
    at_target = tolerance(readings.distance("mouth", "target"), (0, RADII), margin=2 * RADII)
    upright = (readings.sensor("torso_zaxis")[:, 2] + 1) / 2
    return (7 * at_target + upright) / 8


TASKS = (published(BODY, "fish-swim", swimming, "FishSwim-v1"),)
