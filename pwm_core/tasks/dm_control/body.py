# SPDX-License-Identifier: Apache-2.0
"""A dm_control body: its MJCF, its layouts, and the extra sensors that its rewards read."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import mujoco

from pwm_core.layout import ActionLayout, ObservationChannel, ObservationLayout


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


@dataclass(frozen=True)
class Body:
    """What all tasks of one body share."""

    name: str
    """Tasks of one name share model and layouts."""
    domain: str
    """dm_control's module of it."""
    observation: ObservationLayout
    """Meaning of the observation, in dm_control's order."""
    action: ActionLayout
    """The model's actuators."""
    simulator_step: float
    """dm_control's control step in seconds; a decision is two of them."""
    sensors: tuple[FrameSensor, ...] = ()
    """What rewards read beyond the joints and the model's own sensors."""
    pool_keys: tuple[str, ...] | None = None
    """Entries of EnvPool's observation in dm_control's order, where they are not just that."""
    edit: Callable[[ElementTree.Element], None] | None = None
    """Changes dm_control's MJCF to the body's."""

    def module(self) -> Any:
        """Return dm_control's module of the domain."""
        with warnings.catch_warnings():  # without a display glfw warns in every process
            warnings.filterwarnings("ignore", module="glfw")
            return importlib.import_module(f"dm_control.suite.{self.domain}")

    def compile(self) -> mujoco.MjModel:
        """Return the model with the extra sensors, otherwise dm_control's own."""
        xml, assets = self.module().get_model_and_assets()
        root = ElementTree.fromstring(xml)
        if self.edit is not None:
            self.edit(root)
        spec = mujoco.MjSpec.from_string(ElementTree.tostring(root, "unicode"), include=assets)
        for sensor in self.sensors:
            sensor.add_to(spec)
        with warnings.catch_warnings():  # cheetah.xml sets its total mass in a deprecated way
            warnings.filterwarnings("ignore", message="compiler attribute 'settotalmass'")
            return spec.compile()


def observed(name: str, unit: str = "1") -> ObservationChannel:
    """Return a channel that is no joint's reading, from the topic ``observation``."""
    return ObservationChannel(name, unit, "observation", name, "value")
