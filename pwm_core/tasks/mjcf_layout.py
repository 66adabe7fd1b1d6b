# SPDX-License-Identifier: Apache-2.0
"""Observation and action layouts of any MuJoCo model: all joints, named sensors, all actuators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import mujoco
import numpy as np

from pwm_core.errors import PwmError
from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.tasks.channels import (
    Channels,
    body_pose,
    body_twist,
    joint_positions,
    joint_velocities,
    vector,
)

JOINTS = "joints"
"""Entry of an observation that stands for all joint positions and velocities."""
_JOINT, _SENSOR, _ACTUATOR = (
    mujoco.mjtObj.mjOBJ_JOINT,
    mujoco.mjtObj.mjOBJ_SENSOR,
    mujoco.mjtObj.mjOBJ_ACTUATOR,
)
_IMU = {
    mujoco.mjtSensor.mjSENS_GYRO: ("angular_velocity", "rad/s"),
    mujoco.mjtSensor.mjSENS_ACCELEROMETER: ("linear_acceleration", "m/s²"),
}
_TRANSMISSIONS = {
    mujoco.mjtTrn.mjTRN_TENDON: mujoco.mjtObj.mjOBJ_TENDON,
    mujoco.mjtTrn.mjTRN_SITE: mujoco.mjtObj.mjOBJ_SITE,
    mujoco.mjtTrn.mjTRN_BODY: mujoco.mjtObj.mjOBJ_BODY,
}


class ModelLayoutError(PwmError, ValueError):
    """A model lacks what a layout needs; the message names the element and says what to add."""


def _name(model: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    """Return an element's name, or a number where the MJCF gives none."""
    return mujoco.mj_id2name(model, kind, index) or f"{kind.name[6:].lower()}_{index}"


class ModelObservation:
    """Reads an observation from MuJoCo's data, and describes it.

    Hinges without limits are seen as cosine and sine, all other hinges and slides as they are; free
    bodies as position, quaternion (w first, w >= 0: q and -q are one rotation) and velocities.
    Positions come first, then velocities, both in the model's order, then ``sensors`` in the order
    asked for.
    """

    def __init__(self, model: mujoco.MjModel, entries: Sequence[str] = (JOINTS,)) -> None:
        """``entries`` are names of sensors, and ``joints``; ``ModelLayoutError`` for others."""
        channels: Channels = ()
        parts: list[Callable[[mujoco.MjData], np.ndarray]] = []
        for entry in entries:
            if entry == JOINTS:
                channels += _joint_channels(model)
                parts.append(partial(_read_joints, model))
            else:
                sensor, found = _sensor(model, entry)
                channels += found
                parts.append(partial(_read_sensor, sensor))
        if not channels:
            raise ModelLayoutError(
                "the observation is empty: the model has no joints; name its sensors"
            )
        self.layout = ObservationLayout(channels)
        self._parts = parts

    def read(self, data: mujoco.MjData) -> np.ndarray:
        """Return the observation ``[O]``, float32."""
        return np.concatenate([part(data) for part in self._parts]).astype(np.float32)


def _turns(model: mujoco.MjModel, joint: int) -> bool:
    hinge = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE
    return bool(hinge and not model.jnt_limited[joint])


def _joint_channels(model: mujoco.MjModel) -> Channels:
    positions: Channels = ()
    velocities: Channels = ()
    for joint in range(model.njnt):
        name = _name(model, _JOINT, joint)
        match mujoco.mjtJoint(model.jnt_type[joint]):
            case mujoco.mjtJoint.mjJNT_FREE:
                body = _name(model, mujoco.mjtObj.mjOBJ_BODY, model.jnt_bodyid[joint])
                positions += body_pose(body)
                velocities += body_twist(body)
            case mujoco.mjtJoint.mjJNT_BALL:
                positions += vector(f"{name}/orientation", 4)
                velocities += vector(f"{name}/velocity", 3, "rad/s")
            case mujoco.mjtJoint.mjJNT_SLIDE:
                positions += joint_positions([name], "m")
                velocities += joint_velocities([name], "m/s")
            case _ if _turns(model, joint):
                positions += joint_positions([name], transform="cos")
                positions += joint_positions([name], transform="sin")
                velocities += joint_velocities([name])
            case _:
                positions += joint_positions([name])
                velocities += joint_velocities([name])
    return positions + velocities


def _read_joints(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    parts = []
    for joint in range(model.njnt):
        start = model.jnt_qposadr[joint]
        width = {0: 7, 1: 4}.get(int(model.jnt_type[joint]), 1)
        position = data.qpos[start : start + width]
        if width == 7:
            position = np.append(position[:3], _one_sided(position[3:]))
        turns = _turns(model, joint)
        parts += [np.cos(position), np.sin(position)] if turns else [position]
    return np.concatenate([*parts, data.qvel])


def _one_sided(quaternion: np.ndarray) -> np.ndarray:
    """Return the rotation's quaternion ``[4]`` of length 1 with w >= 0, as it is heard from ROS."""
    return quaternion / np.copysign(np.linalg.norm(quaternion), quaternion[0])


def _read_sensor(place: slice, data: mujoco.MjData) -> np.ndarray:
    return data.sensordata[place]


def _sensor(model: mujoco.MjModel, name: str) -> tuple[slice, Channels]:
    index = mujoco.mj_name2id(model, _SENSOR, name)
    if index < 0:
        known = [_name(model, _SENSOR, i) for i in range(model.nsensor)]
        raise ModelLayoutError(
            f"the model has no sensor {name!r}: an observation is made of "
            f"{', '.join([JOINTS, *known])}"
        )
    start, width = int(model.sensor_adr[index]), int(model.sensor_dim[index])
    place = slice(start, start + width)
    kind = mujoco.mjtSensor(model.sensor_type[index])
    if kind not in _IMU:
        return place, vector(name, width)
    quantity, unit = _IMU[kind]
    return place, tuple(
        ObservationChannel(f"{name}/{axis}", unit, "imu/data", name, f"{quantity}.{axis}")
        for axis in "xyz"
    )


def action_layout(model: mujoco.MjModel) -> ActionLayout:
    """Return the layout of all actuators, in the model's order.

    Raises ``ModelLayoutError`` when there is none, or one of them has no ``ctrlrange``.
    """
    if model.nu == 0:
        raise ModelLayoutError("the model has no actuators: a task needs at least one")
    return ActionLayout(tuple(_action_channel(model, i) for i in range(model.nu)))


def _action_channel(model: mujoco.MjModel, index: int) -> ActionChannel:
    name = _name(model, _ACTUATOR, index)
    low, high = model.actuator_ctrlrange[index].tolist()
    if not (model.actuator_ctrllimited[index] and np.isfinite([low, high]).all() and low < high):
        raise ModelLayoutError(
            f'actuator {name} has no ctrlrange: give it one, e.g. ctrlrange="-1 1", since actions '
            "in [-1, 1] are scaled to it"
        )
    interpretation = _interpretation(model, index)
    joint = int(model.actuator_trnid[index, 0])
    transmission = mujoco.mjtTrn(model.actuator_trntype[index])
    if transmission in (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT):
        target, unit, rest = _joint_target(model, joint, interpretation)
    else:
        kind = _TRANSMISSIONS.get(transmission, mujoco.mjtObj.mjOBJ_SITE)
        target, unit, rest = _name(model, kind, joint), "1", 0.0
    gear = _gear(model, index, interpretation)
    rest = rest / gear if interpretation == "position" else rest
    return ActionChannel(
        name,
        target,
        interpretation,
        unit,
        low,
        high,
        safe=float(np.clip(rest, low, high)),
        gear=gear,
    )


def _gear(model: mujoco.MjModel, index: int, interpretation: str) -> float:
    """Return the joint's unit per unit of command; 1 for what does not act on a joint alone.

    A motor's force is its gear times its command; a servo's command is its gear times the joint's
    position or velocity.
    """
    gear = float(model.actuator_gear[index, 0])
    if interpretation == "effort":
        return gear * float(model.actuator_gainprm[index, 0]) or 1.0
    return 1.0 / gear if gear else 1.0


def _interpretation(model: mujoco.MjModel, index: int) -> str:
    """Tell MuJoCo's position and velocity servos, which feed the joint back, from motors."""
    if model.actuator_biastype[index] != mujoco.mjtBias.mjBIAS_AFFINE:
        return "effort"
    if model.actuator_dyntype[index] == mujoco.mjtDyn.mjDYN_INTEGRATOR:
        return "velocity"
    stiffness, damping = -model.actuator_biasprm[index, 1:3]
    if stiffness > 0:
        return "position"
    return "velocity" if damping > 0 and model.actuator_gainprm[index, 0] == damping else "effort"


def _joint_target(model: mujoco.MjModel, joint: int, interpretation: str) -> tuple[str, str, float]:
    """Return the joint's name, the command's unit, and the command at rest."""
    slide = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE
    name = _name(model, _JOINT, joint)
    if interpretation == "effort":
        return name, "1", 0.0
    unit = "m" if slide else "rad"
    if interpretation == "velocity":
        return name, f"{unit}/s", 0.0
    pose = model.key_qpos[0] if model.nkey else model.qpos0
    return name, unit, float(pose[model.jnt_qposadr[joint]])
