# SPDX-License-Identifier: Apache-2.0
"""What a robot calls the joints of the contract. No ROS.

A prefix, for drivers that say ``panda_joint1`` where the model says ``joint1``, and a file for
whatever is called otherwise altogether:

    joint1: fr3_joint1     # name in the contract: name on the robot, whole
    finger_joint1: gripper
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from pwm_core.layout import ActionLayout, ObservationLayout
from pwm_core.sources import JOINT_STATES


class JointNamesError(ValueError):
    """Joints cannot be called so; the message names each of them."""


class JointNames:
    """Says layouts with the robot's names for joints, and otherwise as the contract has them."""

    def __init__(
        self,
        observation: ObservationLayout,
        action: ActionLayout,
        prefix: str = "",
        file: Path | None = None,
    ) -> None:
        """What ``file`` does not name gets the ``prefix``.

        :class:`JointNamesError` when it names what the layouts do not have, or two joints alike.
        """
        measured = [c.key for c in observation.channels if c.topic == JOINT_STATES.topic]
        driven = [c.joint for c in action.channels if c.joint]
        joints = list(dict.fromkeys(measured + driven))
        said = _read(file) if file is not None else {}
        self._names = {joint: prefix + joint for joint in joints} | said
        objections = _objections(joints, self._names)
        if objections:
            raise JointNamesError(f"joint names file {file}: {'; '.join(objections)}")

    def observation(self, layout: ObservationLayout) -> ObservationLayout:
        """Return ``layout`` with the joints that the robot's ``joint_states`` name."""
        return ObservationLayout(
            tuple(
                replace(channel, key=self._names[channel.key])
                if channel.topic == JOINT_STATES.topic
                else channel
                for channel in layout.channels
            )
        )

    def action(self, layout: ActionLayout) -> ActionLayout:
        """Return ``layout`` with the joints that the robot's controllers name."""
        return ActionLayout(
            tuple(
                replace(channel, joint=self._names[channel.joint]) if channel.joint else channel
                for channel in layout.channels
            )
        )


def _read(file: Path) -> dict[str, str]:
    try:
        names: Any = yaml.safe_load(file.read_text())
    except OSError as error:
        raise JointNamesError(
            f"joint names file {file} cannot be read: {error.strerror}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise JointNamesError(f"joint names file {file} is not YAML: {error}") from error
    if not isinstance(names, dict):
        raise JointNamesError(
            f"joint names file {file} has no names; expected CONTRACT_NAME: ROBOT_NAME"
        )
    wrong = [key for key, name in names.items() if not (isinstance(name, str) and name)]
    if wrong:
        said = ", ".join(f"{key}: {names[key]!r}" for key in wrong)
        raise JointNamesError(f"joint names file {file} has {said}; expected a name")
    return names


def _objections(joints: list[str], names: Mapping[str, str]) -> list[str]:
    objections = [
        f"{joint} is no joint of the policy's: {', '.join(joints) or 'it has none'}"
        for joint in names
        if joint not in joints
    ]
    called: dict[str, list[str]] = {}
    for joint, name in names.items():
        called.setdefault(name, []).append(joint)
    return objections + [
        f"{' and '.join(shared)} would both be {name}"
        for name, shared in called.items()
        if len(shared) > 1
    ]
