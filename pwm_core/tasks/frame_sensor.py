# SPDX-License-Identifier: Apache-2.0
"""A sensor for a reward: where something is, or where it points."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco


@dataclass(frozen=True)
class FrameSensor:
    """Where a body, geom or site is (``position``), or where its z axis points (``zaxis``)."""

    name: str
    """Name in the model; the model's own sensors keep theirs."""
    quantity: str
    """``position`` or ``zaxis``, in the world's frame."""
    kind: str
    """``xbody`` (body frame), ``body`` (its centre of mass), ``geom`` or ``site``."""
    of: str
    """Name of that object."""

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add the sensor to ``spec``."""
        spec.add_sensor(
            name=self.name,
            type=_QUANTITIES[self.quantity],
            objtype=_KINDS[self.kind],
            objname=self.of,
        )


_QUANTITIES = {
    "position": mujoco.mjtSensor.mjSENS_FRAMEPOS,
    "zaxis": mujoco.mjtSensor.mjSENS_FRAMEZAXIS,
}
_KINDS = {
    "xbody": mujoco.mjtObj.mjOBJ_XBODY,
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "site": mujoco.mjtObj.mjOBJ_SITE,
}
