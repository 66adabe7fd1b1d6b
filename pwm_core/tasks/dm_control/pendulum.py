# SPDX-License-Identifier: Apache-2.0
"""DM Control's pendulum: swing up, and TD-MPC2's spin."""

from __future__ import annotations

import numpy as np
from dm_control.utils.rewards import tolerance

from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import joint_positions, joint_velocities
from pwm_core.tasks.dm_control.body import Body
from pwm_core.tasks.dm_control.describe import custom, published
from pwm_core.tasks.readings import Readings

COSINE_OF_UPRIGHT = np.cos(np.deg2rad(8))
SPIN_SPEED = 9.0  # rad/s

BODY = Body(
    name="pendulum",
    domain="pendulum",
    observation=ObservationLayout(
        (
            *joint_positions(["hinge"], transform="cos"),
            *joint_positions(["hinge"], transform="sin"),
            *joint_velocities(["hinge"]),
        )
    ),
    action=ActionLayout((ActionChannel("torque", "hinge", "effort", "1", -1.0, 1.0, 0.0),)),
    simulator_step=0.02,
)


def upright(readings: Readings) -> np.ndarray:
    """1 within eight degrees of the top."""
    return tolerance(np.cos(readings.position("hinge")), (COSINE_OF_UPRIGHT, 1))


def spinning(readings: Readings) -> np.ndarray:
    """1 from ``SPIN_SPEED`` on, in either direction; one half at half of it, then nothing."""
    return tolerance(
        np.abs(readings.velocity("hinge")),
        (SPIN_SPEED, np.inf),
        margin=SPIN_SPEED / 2,
        value_at_margin=0.5,
        sigmoid="linear",
    )


TASKS = (
    published(BODY, "pendulum-swingup", upright, "PendulumSwingup-v1"),
    custom(BODY, "pendulum-spin", spinning, lambda domain, seed: domain.SwingUp(random=seed)),
)
