# SPDX-License-Identifier: Apache-2.0
"""DM Control's cheetah: run; TD-MPC2's: backwards, on front or back feet only, and jump."""

from __future__ import annotations

import numpy as np
from dm_control.utils.rewards import tolerance

from pwm_core.layout import ActionChannel, ActionLayout, ObservationLayout
from pwm_core.tasks.channels import joint_positions, joint_velocities
from pwm_core.tasks.dm_control.body import Body
from pwm_core.tasks.dm_control.describe import custom, published
from pwm_core.tasks.frame_sensor import FrameSensor
from pwm_core.tasks.readings import Readings, Reward
from pwm_core.tasks.task import Task

RUN_SPEED = 10.0  # m/s
HEIGHT = 1.2  # metres, of what should be up
JUMP_SPEED = 0.5  # m/s sideways while jumping
GEARS = {
    "bthigh": 120.0,
    "bshin": 90.0,
    "bfoot": 60.0,
    "fthigh": 90.0,
    "fshin": 60.0,
    "ffoot": 30.0,
}

BODY = Body(
    name="cheetah",
    domain="cheetah",
    observation=ObservationLayout(
        (
            *joint_positions(["rootz"], unit="m"),
            *joint_positions(["rooty", *GEARS]),
            *joint_velocities(["rootx", "rootz"], unit="m/s"),
            *joint_velocities(["rooty", *GEARS]),
        )
    ),
    action=ActionLayout(
        tuple(
            ActionChannel(joint, joint, "effort", "1", -1.0, 1.0, 0.0, gear=gear)
            for joint, gear in GEARS.items()
        )
    ),
    simulator_step=0.01,
    sensors=tuple(FrameSensor(of, "position", "xbody", of) for of in ("torso", "bfoot", "ffoot")),
)


def _faster(speed: np.ndarray, wanted: float) -> np.ndarray:
    return tolerance(speed, (wanted, np.inf), margin=wanted, value_at_margin=0, sigmoid="linear")


def _up(height: np.ndarray) -> np.ndarray:
    return tolerance(height, (HEIGHT, np.inf), margin=HEIGHT / 2)


def _speed(readings: Readings) -> np.ndarray:
    return readings.sensor("torso_subtreelinvel")[:, 0]


def _height(readings: Readings, of: str) -> np.ndarray:
    return readings.sensor(of)[:, 2]


def forwards(readings: Readings) -> np.ndarray:
    """Speed as a part of ``RUN_SPEED``."""
    return _faster(_speed(readings), RUN_SPEED)


def backwards(readings: Readings) -> np.ndarray:
    """Speed backwards as a part of four fifths of ``RUN_SPEED``."""
    return _faster(-_speed(readings), 0.8 * RUN_SPEED)


def with_one_foot_up(foot: str) -> Reward:
    """Run at three fifths of ``RUN_SPEED`` with ``foot`` and torso high."""

    def reward(readings: Readings) -> np.ndarray:
        high = (3 * _up(_height(readings, foot)) + 2 * _up(_height(readings, "torso"))) / 5
        return high * (5 * _faster(_speed(readings), 0.6 * RUN_SPEED) + 1) / 6

    return reward


def jumping(readings: Readings) -> np.ndarray:
    """Torso and feet high, the mean over both feet, without moving along."""
    torso = _height(readings, "torso")
    high = sum(_up((torso + _height(readings, foot)) / 2) for foot in ("bfoot", "ffoot")) / 2
    on_the_spot = tolerance(
        _speed(readings),
        (-JUMP_SPEED, JUMP_SPEED),
        margin=JUMP_SPEED,
        value_at_margin=0,
        sigmoid="linear",
    )
    return (5 * high + on_the_spot) / 6


def _custom(name: str, reward: Reward) -> Task:
    return custom(BODY, name, reward, lambda domain, seed: domain.Cheetah(random=seed))


TASKS = (
    published(BODY, "cheetah-run", forwards, "CheetahRun-v1"),
    _custom("cheetah-run-backwards", backwards),
    _custom("cheetah-run-front", with_one_foot_up("bfoot")),
    _custom("cheetah-run-back", with_one_foot_up("ffoot")),
    _custom("cheetah-jump", jumping),
)
