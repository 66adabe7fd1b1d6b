# SPDX-License-Identifier: Apache-2.0
"""The state of a world as ROS messages."""

from __future__ import annotations

import mujoco
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from pwm_interfaces.msg import Observation
from sensor_msgs.msg import JointState

from pwm_mujoco.world import World

SCALAR_JOINTS = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))


def stamp(seconds: float) -> Time:
    """Return simulated time as a ROS stamp."""
    nanoseconds = round(seconds * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def observation_message(world: World) -> Observation:
    """Return what a policy sees, with reward and the ends of the episode."""
    message = Observation(
        task=world.task.name,
        episode=world.episode,
        step=world.step,
        episode_step=world.episode_step,
        layout_hash=world.layout_hash,
        reward=float(world.reward),
        episode_return=float(world.episode_return),
        terminated=bool(world.terminated),
        truncated=bool(world.truncated),
    )
    message.data = world.observation.tolist()
    message.header.stamp = stamp(world.time)
    return message


def joint_state_message(world: World) -> JointState:
    """Return position, velocity and actuator force of every hinge and slide joint."""
    model, reading = world.environment.model, world.reading
    message = JointState()
    message.header.stamp = stamp(world.time)
    for index in range(model.njnt):
        if model.jnt_type[index] not in SCALAR_JOINTS:
            continue
        velocity = model.jnt_dofadr[index]
        message.name.append(model.joint(index).name or f"joint_{index}")
        message.position.append(float(reading.position[model.jnt_qposadr[index]]))
        message.velocity.append(float(reading.velocity[velocity]))
        message.effort.append(float(reading.effort[velocity]))
    return message


def diagnostic_message(
    time: Time, name: str, level: bytes, text: str, values: dict[str, object]
) -> DiagnosticArray:
    """Return one diagnostic status."""
    status = DiagnosticStatus(level=level, name=name, message=text, hardware_id="mujoco")
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    message = DiagnosticArray(status=[status])
    message.header.stamp = time
    return message
