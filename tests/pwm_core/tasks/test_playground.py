# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.tasks import get_task
from pwm_core.tasks.playground import TASKS, describe, task_name

envpool = pytest.importorskip("envpool")
GO1 = "playground-go1-joystick-flat"


def test_catalogue_is_envpools() -> None:
    """Sizes, lengths and rates of all tasks."""
    prefix = "MuJoCoPlayground/"
    listed = [i for i in envpool.list_all_envs() if i.startswith(prefix)]
    assert len(TASKS) == len(listed) > 20
    for envpool_id in listed:
        task = get_task(task_name(envpool_id.removeprefix(prefix).removesuffix("-v1")))
        spec = envpool.make_spec(envpool_id)
        seen = spec.observation_space
        seen = seen["state"] if hasattr(seen, "spaces") else seen
        assert (task.observation.size,) == seen.shape, task.name
        assert (task.action.size,) == spec.action_space.shape, task.name
        assert task.episode_steps == spec.config.max_episode_steps, task.name
        steps = task.control_step / spec.config.ctrl_dt
        assert steps == pytest.approx(getattr(spec.config, "action_repeat", 1)), task.name


def test_catalogue_is_what_its_command_writes() -> None:
    titles = ("Go1JoystickFlatTerrain", "SpotGetup", "PandaPickCubeCartesian")
    fresh = describe(titles)
    for part, content in fresh.items():
        stored = TASKS._content[part]
        assert content == {name: stored[name] for name in map(task_name, titles)}


@pytest.mark.parametrize("robot", ["go1", "spot", "g1", "h1", "t1", "barkour", "panda", "leap"])
def test_robots(robot: str) -> None:
    assert any(name.startswith(f"playground-{robot}") for name in TASKS)


def test_actions_of_a_walking_robot_are_joint_positions() -> None:
    """Around the pose it stands in, within MuJoCo Playground's scale of 0.5 rad."""
    layout = get_task(GO1).action
    assert {c.unit for c in layout.channels} == {"rad"}
    np.testing.assert_allclose(layout.high - layout.low, 1.0, atol=1e-6)
    np.testing.assert_allclose(layout.to_units(np.zeros(12)), layout.safe, atol=1e-6)
    legs = layout.safe.reshape(4, 3)
    np.testing.assert_allclose(np.abs(legs), np.abs(legs[:1]).repeat(4, axis=0), atol=1e-6)


def test_a_robot_holds_the_pose_that_the_layout_says() -> None:
    """The observation's joint offsets are from that pose; holding it keeps the robot standing."""
    task = get_task(GO1)
    one = task.make_single(3)
    observation, _ = one.reset(seed=3)
    first = task.observation.names.index("joint_offset/0")
    hold = task.action.to_normalised(task.action.safe)
    for _ in range(50):
        observation, reward, *_ = one.step(hold)
        assert np.isfinite(float(reward))
        assert not one.terminated
    assert np.abs(observation[first : first + 12]).max() < 0.25
    gravity = task.observation.names.index("gravity/2")
    assert abs(observation[gravity]) > 0.9


def test_falling_ends_the_episode() -> None:
    task = get_task(GO1)
    many = task.make_vector(2, 0)
    many.reset()
    rng = np.random.default_rng(0)
    for _ in range(400):
        after = many.step(np.stack([np.zeros(12), rng.choice([-1.0, 1.0], 12)]))
        if after.terminated[1]:
            break
    assert after.terminated.tolist() == [False, True]
    assert many.step(np.zeros((2, 12))).reward[1] == 0
