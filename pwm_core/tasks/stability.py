# SPDX-License-Identifier: Apache-2.0
"""Whether MuJoCo gave up on a simulation, which it only counts, and starts again by itself."""

from __future__ import annotations

import mujoco

_DIVERGED = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)


def diverged(data: mujoco.MjData) -> bool:
    """Return whether positions, velocities or accelerations became no numbers, or huge."""
    return any(data.warning[kind].number for kind in _DIVERGED)
