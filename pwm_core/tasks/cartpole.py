# SPDX-License-Identifier: Apache-2.0
"""DM Control's cart-pole: layouts, batched reward, swing-up and balance."""

from __future__ import annotations

import numpy as np

from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.tasks.dm_control import dm_control_task

OBSERVATION = ObservationLayout(
    (
        ObservationChannel("slider/position", "m", "joint_states", "slider", "position"),
        ObservationChannel(
            "hinge_1/position/cos", "1", "joint_states", "hinge_1", "position", "cos"
        ),
        ObservationChannel(
            "hinge_1/position/sin", "1", "joint_states", "hinge_1", "position", "sin"
        ),
        ObservationChannel("slider/velocity", "m/s", "joint_states", "slider", "velocity"),
        ObservationChannel("hinge_1/velocity", "rad/s", "joint_states", "hinge_1", "velocity"),
    )
)
ACTION = ActionLayout(
    (ActionChannel("slide", "slider", "effort", "1", low=-1.0, high=1.0, safe=0.0, gear=10.0),)
)


def _gaussian_tolerance(x: np.ndarray, margin: float) -> np.ndarray:
    """dm_control's ``tolerance`` around 0 with value 0.1 at ``margin``."""
    return np.exp(np.log(0.1) * np.square(x / margin))


def smooth_reward(qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray) -> np.ndarray:
    """Return dm_control's smooth cart-pole reward ``[N]``, the same for balance and swing-up."""
    upright = (np.cos(qpos[:, 1]) + 1) / 2
    centred = (1 + _gaussian_tolerance(qpos[:, 0], 2.0)) / 2
    small_control = (4 + np.maximum(0.0, 1 - np.square(ctrl[:, 0]))) / 5
    small_velocity = (1 + _gaussian_tolerance(qvel[:, 1], 5.0)) / 2
    return upright * centred * small_control * small_velocity


TASKS = tuple(
    dm_control_task(
        "cartpole", name, envpool_id, OBSERVATION, ACTION, smooth_reward, simulator_step=0.01
    )
    for name, envpool_id in (("balance", "CartpoleBalance-v1"), ("swingup", "CartpoleSwingup-v1"))
)
