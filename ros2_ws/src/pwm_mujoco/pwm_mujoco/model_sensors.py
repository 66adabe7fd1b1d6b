# SPDX-License-Identifier: Apache-2.0
"""Which sensors of a MuJoCo model make an IMU, a force/torque sensor or a touch sensor. No ROS."""

from __future__ import annotations

import re
from dataclasses import dataclass

import mujoco
import numpy as np

from pwm_mujoco.readings import Reading

GYRO = int(mujoco.mjtSensor.mjSENS_GYRO)
"""rad/s in the site's frame, ``[3]``."""
ACCELEROMETER = int(mujoco.mjtSensor.mjSENS_ACCELEROMETER)
"""m/s² in the site's frame, gravity included: 9.81 upwards at rest, ``[3]``."""
ORIENTATION = int(mujoco.mjtSensor.mjSENS_FRAMEQUAT)
"""Unit quaternion (w, x, y, z) of the site in the world, ``[4]``."""
FORCE = int(mujoco.mjtSensor.mjSENS_FORCE)
"""N between the site's body and its parent, in the site's frame, ``[3]``."""
TORQUE = int(mujoco.mjtSensor.mjSENS_TORQUE)
"""N·m, likewise, ``[3]``."""
TOUCH = int(mujoco.mjtSensor.mjSENS_TOUCH)
"""N, sum of the normal forces on the site, ``[1]``."""


@dataclass(frozen=True)
class SiteSensors:
    """Sensors of different kinds at one place, which one message reports."""

    name: str
    """The site's, as part of a ROS name."""
    places: dict[int, slice]
    """Kind of sensor to its numbers among all sensors'."""

    def read(self, reading: Reading, kind: int) -> np.ndarray | None:
        """Return what the sensor of ``kind`` says; None without such a sensor."""
        return reading.sensors[self.places[kind]] if kind in self.places else None


@dataclass(frozen=True)
class ModelSensors:
    """The model's sensors that have a message of their own, in its order."""

    imus: tuple[SiteSensors, ...]
    """Gyroscope, accelerometer or both, and the orientation where there is one."""
    wrenches: tuple[SiteSensors, ...]
    """Force, torque or both."""
    touches: tuple[SiteSensors, ...]
    """Touch."""

    @classmethod
    def of(cls, model: mujoco.MjModel) -> ModelSensors:
        """Find them; one site makes at most one of each."""
        sites: dict[str, dict[int, slice]] = {}
        for index in range(model.nsensor):
            kind, start = int(model.sensor_type[index]), int(model.sensor_adr[index])
            place = slice(start, start + int(model.sensor_dim[index]))
            sites.setdefault(_site(model, index), {})[kind] = place
        named = [SiteSensors(ros_name(site), places) for site, places in sites.items() if site]

        def with_any(*kinds: int) -> tuple[SiteSensors, ...]:
            return tuple(sensors for sensors in named if set(kinds) & set(sensors.places))

        return cls(with_any(GYRO, ACCELEROMETER), with_any(FORCE, TORQUE), with_any(TOUCH))


def _site(model: mujoco.MjModel, sensor: int) -> str:
    """Return the name of the site that a sensor sits on; empty for others and relative ones."""
    at_site = model.sensor_objtype[sensor] == mujoco.mjtObj.mjOBJ_SITE
    if not at_site or model.sensor_refid[sensor] >= 0:
        return ""
    index = int(model.sensor_objid[sensor])
    return mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_SITE, index) or f"site_{index}"


def ros_name(name: str) -> str:
    """Return an MJCF name as part of a ROS name: letters, digits and underscores."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{plain}" if plain[0].isdigit() else plain


def free_base(model: mujoco.MjModel) -> tuple[int, int] | None:
    """Return where the first free joint begins in ``qpos`` and in ``qvel``; None without one."""
    free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
    if not free.size:
        return None
    return int(model.jnt_qposadr[free[0]]), int(model.jnt_dofadr[free[0]])
