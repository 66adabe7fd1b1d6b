# SPDX-License-Identifier: Apache-2.0
"""Commands to joints, as ros2_control's controllers take them, as commands to actuators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from pwm_core.layout import ActionChannel, ActionLayout
from pwm_core.sources import TRAJECTORY_FIELDS
from pwm_mujoco.world import CommandRefused


class CommandReader:
    """Turns joint commands (rad, m, rad/s, N·m …) into actuator commands by actuator name.

    ``order`` are the joints of a plain array, as a controller's parameter ``joints`` has them;
    empty: the layout's order. Raises ``ValueError`` when these are not the actuators' joints.
    """

    def __init__(self, layout: ActionLayout, order: Sequence[str] = ()) -> None:
        names = [channel.joint for channel in layout.channels]
        shared = sorted(name for name, count in Counter(names).items() if count > 1)
        if shared:
            raise ValueError(
                f"joints {shared} have several actuators each, which joint commands cannot tell "
                "apart: use interface pwm"
            )
        if order and sorted(order) != sorted(names):
            raise ValueError(f"joints is {list(order)}, expected the actuated joints {names}")
        self.joints = list(order) or names
        self._channels: dict[str, ActionChannel] = {c.joint: c for c in layout.channels}

    def of_array(self, message: Float64MultiArray) -> dict[str, float]:
        """Read a forward command controller's array; ``CommandRefused`` for another length."""
        if len(message.data) != len(self.joints):
            raise CommandRefused(
                f"{len(message.data)} values, expected {len(self.joints)}, for {self.joints}"
            )
        return self._by_joint(dict(zip(self.joints, message.data, strict=True)))

    def of_trajectory(self, message: JointTrajectory) -> dict[str, float]:
        """Read the single point of a trajectory, which acts at once; it may leave out joints."""
        if len(message.points) != 1:
            raise CommandRefused(f"a trajectory of {len(message.points)} points, expected 1")
        point = message.points[0]
        return self._by_field(
            message.joint_names, {kind: getattr(point, f) for kind, f in TRAJECTORY_FIELDS.items()}
        )

    def of_joint_state(self, message: JointState) -> dict[str, float]:
        """Read position, velocity or effort of each joint named, whichever its actuator takes."""
        return self._by_field(
            message.name, {kind: getattr(message, kind) for kind in TRAJECTORY_FIELDS}
        )

    def _by_field(
        self, joints: Sequence[str], given: Mapping[str, Sequence[float]]
    ) -> dict[str, float]:
        values: dict[str, float] = {}
        for index, joint in enumerate(joints):
            kind = self._channel(joint).interpretation
            if len(given[kind]) != len(joints):
                raise CommandRefused(
                    f"{len(given[kind])} values of {kind} for {len(joints)} joints; joint {joint} "
                    f"is commanded in {kind}"
                )
            values[joint] = given[kind][index]
        if len(values) != len(joints):
            raise CommandRefused(f"joints repeat: {list(joints)}")
        return self._by_joint(values)

    def _by_joint(self, values: Mapping[str, float]) -> dict[str, float]:
        channels = {joint: self._channel(joint) for joint in values}
        return {c.name: (values[joint] - c.offset) / c.gear for joint, c in channels.items()}

    def _channel(self, joint: str) -> ActionChannel:
        if joint not in self._channels:
            raise CommandRefused(f"joint {joint!r} is none of {sorted(self._channels)}")
        return self._channels[joint]
