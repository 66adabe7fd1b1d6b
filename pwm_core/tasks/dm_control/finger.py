# SPDX-License-Identifier: Apache-2.0
"""DM Control's finger: spin a body, or turn it to an easy or a hard target.

EnvPool's finger is not used: its contacts differ (after a touch, velocities differ by several
rad/s from the same state).
"""

from __future__ import annotations

import numpy as np

from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.tasks.channels import joint_positions, joint_velocities
from pwm_core.tasks.dm_control.body import Body, observed
from pwm_core.tasks.dm_control.describe import published
from pwm_core.tasks.readings import Readings, Reward

SPIN_SPEED = 15.0  # rad/s
EASY, HARD = 0.07, 0.03
"""Radii of the targets in metres."""

_STATE = (
    *joint_positions(["proximal", "distal"]),
    observed("tip/x", "m"),
    observed("tip/z", "m"),
    *joint_velocities(["proximal", "distal", "hinge"]),
    observed("touchtop"),
    observed("touchbottom"),
)
_TARGET = (observed("target/x", "m"), observed("target/z", "m"), observed("target/distance", "m"))


def _body(name: str, observation: tuple[ObservationChannel, ...]) -> Body:
    return Body(
        name=name,
        domain="finger",
        observation=ObservationLayout(observation),
        action=ActionLayout(
            (
                ActionChannel("proximal", "proximal", "effort", "1", -1.0, 1.0, 0.0, gear=30.0),
                ActionChannel("distal", "distal", "effort", "1", -1.0, 1.0, 0.0, gear=15.0),
            )
        ),
        simulator_step=0.02,
    )


SPIN = _body("finger", _STATE)
TURN = _body("finger_target", (*_STATE, *_TARGET))


def spinning(readings: Readings) -> np.ndarray:
    """1 where the body spins at ``SPIN_SPEED`` in the negative direction."""
    return (readings.sensor("hinge_velocity")[:, 0] <= -SPIN_SPEED).astype(float)


def turned(target: float) -> Reward:
    """1 where the body's tip is within a target of that radius."""

    def reward(readings: Readings) -> np.ndarray:
        apart = (readings.sensor("target") - readings.sensor("tip"))[:, [0, 2]]
        return (np.linalg.norm(apart, axis=-1) <= target).astype(float)

    return reward


TASKS = (
    published(SPIN, "finger-spin", spinning, None),
    published(TURN, "finger-turn-easy", turned(EASY), None),
    published(TURN, "finger-turn-hard", turned(HARD), None),
)
