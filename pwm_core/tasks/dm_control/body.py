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
from pwm_core.tasks.frame_sensor import FrameSensor


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
