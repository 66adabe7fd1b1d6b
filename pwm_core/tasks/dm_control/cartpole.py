# SPDX-License-Identifier: Apache-2.0
"""DM Control's cart-pole: balance and swing-up, with smooth and with sparse reward."""

from __future__ import annotations

import numpy as np
from dm_control.utils.rewards import tolerance

from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import joint_positions, joint_velocities
from pwm_core.tasks.dm_control.body import Body
from pwm_core.tasks.dm_control.describe import published
from pwm_core.tasks.readings import Readings

BODY = Body(
    name="cartpole",
    domain="cartpole",
    observation=ObservationLayout(
        (
            *joint_positions(["slider"], unit="m"),
            *joint_positions(["hinge_1"], transform="cos"),
            *joint_positions(["hinge_1"], transform="sin"),
            *joint_velocities(["slider"], unit="m/s"),
            *joint_velocities(["hinge_1"]),
        )
    ),
    action=ActionLayout(
        (ActionChannel("slide", "slider", "effort", "1", -1.0, 1.0, 0.0, gear=10.0),)
    ),
    simulator_step=0.01,
)


def smooth(readings: Readings) -> np.ndarray:
    """Upright, centred, slow and gentle, each a factor."""
    upright = (np.cos(readings.position("hinge_1")) + 1) / 2
    centred = (1 + tolerance(readings.position("slider"), margin=2)) / 2
    gentle = tolerance(readings.control[:, 0], margin=1, value_at_margin=0, sigmoid="quadratic")
    slow = (1 + tolerance(readings.velocity("hinge_1"), margin=5)) / 2
    return upright * centred * (4 + gentle) / 5 * slow


def sparse(readings: Readings) -> np.ndarray:
    """1 where the cart is near the middle and the pole nearly upright."""
    centred = tolerance(readings.position("slider"), (-0.25, 0.25))
    return centred * tolerance(np.cos(readings.position("hinge_1")), (0.995, 1))


TASKS = (
    published(BODY, "cartpole-balance", smooth, "CartpoleBalance-v1"),
    published(BODY, "cartpole-balance-sparse", sparse, "CartpoleBalanceSparse-v1"),
    published(BODY, "cartpole-swingup", smooth, "CartpoleSwingup-v1"),
    published(BODY, "cartpole-swingup-sparse", sparse, "CartpoleSwingupSparse-v1"),
)
