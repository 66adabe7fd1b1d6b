# SPDX-License-Identifier: Apache-2.0
"""The thirty DM Control tasks of mt30: 19 of dm_control's suite and TD-MPC2's 11 variants."""

from __future__ import annotations

from pwm_core.tasks.dm_control import (
    acrobot,
    cartpole,
    cheetah,
    cup,
    finger,
    fish,
    hopper,
    pendulum,
    reacher,
    walker,
)

_BODIES = (acrobot, cartpole, cheetah, cup, finger, fish, hopper, pendulum, reacher, walker)
TASKS = tuple(task for body in _BODIES for task in body.TASKS)
