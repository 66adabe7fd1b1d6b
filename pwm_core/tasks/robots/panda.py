# SPDX-License-Identifier: Apache-2.0
"""Franka Emika's Panda, an arm of seven joints, commanded in joint velocities as the real one is.

Model: MuJoCo Menagerie's ``franka_emika_panda`` (Apache-2.0). Its position servos stay as they
are; the velocity command moves their target. The fingers are fixed, closed.
"""

from __future__ import annotations

from functools import partial

import mujoco
import numpy as np
from dm_control.utils.rewards import tolerance

from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.tasks.channels import joint_positions, joint_velocities
from pwm_core.tasks.frame_sensor import FrameSensor
from pwm_core.tasks.readings import Readings
from pwm_core.tasks.robots.cartesian_expert import CartesianExpert
from pwm_core.tasks.robots.describe import describe
from pwm_core.tasks.robots.robot import Robot

JOINTS = tuple(f"joint{number}" for number in range(1, 8))
ACTUATORS = tuple(f"actuator{number}" for number in range(1, 8))
HOME = np.array([0, 0, 0, -1.57079, 0, 1.57079, -0.7853])
"""Menagerie's keyframe ``home``, rad."""
START_SPREAD = 0.3
"""rad around ``HOME``, per joint."""
SPEED = 1.0
"""rad/s, the fastest command; the arm's own limits are 2.175 (joints 1 to 4) and 2.61."""
TOOL = (0.0, 0.0, 0.1034)
"""m from the hand's frame to the point between the fingertips, as Franka gives it."""
TARGET_LOW, TARGET_HIGH = np.array([0.3, -0.35, 0.15]), np.array([0.65, 0.35, 0.6])
"""m, corners of the box of targets, from the base ``link0``."""
PRECISION = 0.01
"""m; nearer is not rewarded more."""
MARGIN = 0.2
"""m beyond ``PRECISION`` where a tenth of the reward is left."""
SOLVED = 0.02
"""m between tool and target that count as success."""


def reach(readings: Readings) -> np.ndarray:
    """Near the target, and a fifth less at full speed: in [0, 1]."""
    distance = readings.distance("tool", "target")
    near = tolerance(distance, (0, PRECISION), margin=MARGIN, sigmoid="long_tail")
    calm = tolerance(readings.control, margin=SPEED, value_at_margin=0, sigmoid="quadratic")
    return near * (4 + calm.mean(axis=-1)) / 5


def reached(readings: Readings) -> np.ndarray:
    """Whether the tool is within two centimetres of the target."""
    return readings.distance("tool", "target") <= SOLVED


def _edit(spec: mujoco.MjSpec) -> None:
    _fix_fingers(spec)
    for actuator in spec.actuators:
        actuator.dyntype = mujoco.mjtDyn.mjDYN_INTEGRATOR
        actuator.actlimited, actuator.actrange = 1, actuator.ctrlrange
        actuator.ctrlrange = (-SPEED, SPEED)
    spec.body("hand").add_site(name="tool", pos=TOOL, size=(0.01, 0, 0), group=3)
    # A site compiled at its body's origin stays there, whatever site_pos says later.
    middle = (TARGET_LOW + TARGET_HIGH) / 2
    spec.worldbody.add_site(
        name="target", pos=middle, size=(SOLVED, 0, 0), rgba=(0.9, 0.2, 0.1, 0.8)
    )
    for site in ("tool", "target"):
        FrameSensor(site, "position", "site", site).add_to(spec)
    camera = spec.worldbody.add_camera(name="film", pos=(1.75, -1.25, 0.95), fovy=38)
    camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_XYAXES
    camera.alt.xyaxes = (0.63, 0.78, 0, -0.28, 0.22, 0.94)


def _fix_fingers(spec: mujoco.MjSpec) -> None:
    for element in (
        *spec.keys,
        *spec.equalities,
        *spec.tendons,
        spec.actuator("actuator8"),
        spec.joint("finger_joint1"),
        spec.joint("finger_joint2"),
    ):
        spec.delete(element)


def _begin(model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
    data.qpos[:] = HOME + rng.uniform(-START_SPREAD, START_SPREAD, len(JOINTS))
    data.act[:] = data.qpos
    model.site("target").pos[:] = rng.uniform(TARGET_LOW, TARGET_HIGH)


def _observe(readings: Readings) -> np.ndarray:
    return np.concatenate([readings.qpos, readings.qvel, readings.sensor("target")], axis=-1)


PANDA = Robot(
    name="panda",
    mjcf="franka_emika_panda/scene.xml",
    edit=_edit,
    observation=ObservationLayout(
        (
            *joint_positions(JOINTS),
            *joint_velocities(JOINTS),
            *(
                ObservationChannel(f"target/{axis}", "m", "target", "target", f"point.{axis}")
                for axis in "xyz"
            ),
        )
    ),
    observe=_observe,
    action=ActionLayout(
        tuple(
            ActionChannel(actuator, joint, "velocity", "rad/s", -SPEED, SPEED, safe=0.0)
            for actuator, joint in zip(ACTUATORS, JOINTS, strict=True)
        )
    ),
    begin=_begin,
    simulator_step=0.04,
)

TASKS = (
    describe(
        PANDA,
        "panda-reach",
        reach,
        reached,
        episode_steps=100,
        make_expert=partial(CartesianExpert, PANDA),
    ),
)
