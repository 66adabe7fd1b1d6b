# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.tasks import get_task
from pwm_core.tasks.dm_control.cartpole import BODY, smooth
from pwm_core.tasks.dm_control.readings import Readings


@pytest.mark.parametrize("name", ["swingup", "balance"])
def test_batched_reward_is_dm_controls_own(name: str) -> None:
    """Over states far beyond what an episode visits."""
    from dm_control import suite

    environment = suite.load("cartpole", name)
    physics, task = environment.physics, environment.task
    rng = np.random.default_rng(0)
    count = 200
    qpos = rng.uniform([-3, -7], [3, 7], (count, 2))
    qvel = rng.uniform(-8, 8, (count, 2))
    control = rng.uniform(-1, 1, (count, 1))
    expected = []
    for q, v, u in zip(qpos, qvel, control, strict=True):
        with physics.reset_context():
            physics.data.qpos[:], physics.data.qvel[:] = q, v
        physics.set_control(u)
        expected.append(task.get_reward(physics))
    readings = Readings(physics.model.ptr, qpos, qvel, control, np.empty((count, 0)))
    np.testing.assert_allclose(smooth(readings), expected, atol=1e-12)


def test_layout_reads_the_joints_as_the_observation_has_them() -> None:
    """What a robot computes from ``joint_states`` is the simulator's own observation."""
    environment = get_task("cartpole-swingup").make_single(0)
    observation, _ = environment.reset(seed=5)
    for _ in range(20):
        observation, *_ = environment.step(np.array([0.7]))
    joints = {environment.model.joint(i).name: i for i in range(environment.model.njnt)}
    values = {"position": environment.data.qpos, "velocity": environment.data.qvel}
    read = [c.read(values[c.field][joints[c.key]]) for c in BODY.observation.channels]
    np.testing.assert_allclose(observation, read, atol=1e-6)


def test_action_layout_is_the_models_actuator() -> None:
    model = get_task("cartpole-swingup").make_single(0).model
    channel = BODY.action.channels[0]
    actuator = model.actuator(0)
    assert (model.nu, actuator.name) == (1, channel.name)
    assert model.joint(actuator.trnid[0]).name == channel.joint
    np.testing.assert_allclose(actuator.ctrlrange, [channel.low, channel.high])
    assert actuator.gear[0] == channel.gear
