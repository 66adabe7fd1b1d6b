# SPDX-License-Identifier: Apache-2.0
"""Every entry of every layout against the compiled model and dm_control's own observation."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from pwm_core.tasks import SingleEnvironment, all_tasks, get_task

LIMBS = [f"{side}_{limb}" for side in ("right", "left") for limb in ("thigh", "leg", "foot")]


@pytest.fixture(scope="module", params=[task.name for task in all_tasks("mt30")])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def world(name: str) -> SingleEnvironment:
    """Return the task's world after a few decisions, so that nothing is zero by chance."""
    environment = get_task(name).make_single(0)
    environment.reset(seed=5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        environment.step(rng.uniform(-1, 1, environment.action_space.shape))
    return environment


def joint_reading(environment: SingleEnvironment, joint: str, field: str) -> float:
    place = environment.data.joint(joint)
    return {"position": place.qpos, "velocity": place.qvel}[field].item()


def other_readings(model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, float]:
    """Return what the channels that are no joint's reading should be, of whatever body it is."""
    bodies = {model.body(i).name for i in range(model.nbody)}
    found: dict[str, float] = {}
    if "lower_arm" in bodies:
        rotation = data.body("lower_arm").xmat
        found |= {"lower_arm/horizontal": rotation[2], "lower_arm/vertical": rotation[8]}
    for limb in LIMBS:
        if limb in bodies:
            rotation = data.body(limb).xmat
            found |= {f"{limb}/vertical": rotation[0], f"{limb}/horizontal": rotation[2]}
            found["torso/height"] = data.body("torso").xpos[2]
    if "spinner" in bodies:
        centre = data.body("spinner").xpos
        tip, target = data.site("tip").xpos - centre, data.site("target").xpos - centre
        apart = np.linalg.norm((target - tip)[[0, 2]]) - model.site("target").size[0]
        found |= {"tip/x": tip[0], "tip/z": tip[2], "target/x": target[0], "target/z": target[2]}
        found["target/distance"] = apart
    if model.body(1).name == "arm":
        apart = data.geom("target").xpos - data.geom("finger").xpos
        found |= {"to_target/x": apart[0], "to_target/y": apart[1]}
    if "finright" in bodies:
        mouth = data.geom("mouth")
        apart = mouth.xmat.reshape(3, 3).T @ (data.geom("target").xpos - mouth.xpos)
        found |= {f"mouth_to_target/{axis}": apart[i] for i, axis in enumerate("xyz")}
        found["torso/upright"] = data.body("torso").xmat[8]
        root = data.joint("root").qvel
        for i, part in enumerate(("linear", "angular")):
            found |= {f"root/twist.{part}.{axis}": root[3 * i + j] for j, axis in enumerate("xyz")}
    for i in range(model.nsensor):
        if model.sensor(i).name.startswith("touch") and model.sensor(i).dim == 1:
            name = model.sensor(i).name
            found[name] = np.log1p(data.sensor(name).data[0])
    return found


def test_channels_are_the_observation(name: str, world: SingleEnvironment) -> None:
    """What a robot computes from its topics is the simulator's own observation, entry by entry."""
    others = other_readings(world.model, world.data)
    read = [
        channel.read(joint_reading(world, channel.key, channel.field))
        if channel.topic == "joint_states"
        else others[channel.name]
        for channel in get_task(name).observation.channels
    ]
    np.testing.assert_allclose(world.observation(), read, rtol=1e-6, atol=1e-6)


def test_units_are_those_of_the_joints(name: str, world: SingleEnvironment) -> None:
    slide = mujoco.mjtJoint.mjJNT_SLIDE
    for channel in get_task(name).observation.channels:
        if channel.topic == "joint_states":
            length = "m" if world.model.joint(channel.key).type[0] == slide else "rad"
            unit = length if channel.field == "position" else f"{length}/s"
            assert channel.unit == (unit if channel.transform == "identity" else "1"), channel.name


def test_action_channels_are_the_actuators(name: str, world: SingleEnvironment) -> None:
    model, channels = world.model, get_task(name).action.channels
    assert [model.actuator(i).name for i in range(model.nu)] == [c.name for c in channels]
    for i, channel in enumerate(channels):
        actuator = model.actuator(i)
        tendon = actuator.trntype[0] == mujoco.mjtTrn.mjTRN_TENDON
        driven = (model.tendon if tendon else model.joint)(actuator.trnid[0])
        assert driven.name == channel.joint
        np.testing.assert_array_equal(actuator.ctrlrange, [channel.low, channel.high])
        assert actuator.gear[0] == channel.gear
        servo = actuator.biastype[0] == mujoco.mjtBias.mjBIAS_AFFINE
        assert channel.interpretation == ("position" if servo else "effort")


def test_control_step_and_body(name: str, world: SingleEnvironment) -> None:
    task, before = get_task(name), world.data.time
    world.step(np.zeros(task.action.size))
    assert world.data.time - before == pytest.approx(task.control_step)
    for other in all_tasks("mt30"):
        if other.body == task.body:
            assert (other.observation, other.action) == (task.observation, task.action)
