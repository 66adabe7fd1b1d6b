# SPDX-License-Identifier: Apache-2.0
"""The Panda's task: its layouts are the model's, its reward is bounded, all worlds agree."""

from __future__ import annotations

import copy
import importlib.util
import json

import mujoco
import numpy as np
import pytest

from pwm_core.cli import main
from pwm_core.tasks import SingleEnvironment, all_tasks, get_task
from pwm_core.tasks.readings import Readings
from pwm_core.tasks.robots.environment import DivergedError
from pwm_core.tasks.robots.models import PACKAGE, load_spec
from pwm_core.tasks.robots.panda import (
    HOME,
    JOINTS,
    PANDA,
    SPEED,
    TARGET_HIGH,
    TARGET_LOW,
    TASKS,
    reach,
)
from pwm_core.tasks.stepped import SteppedDynamics

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} has no wheel for this Python"
)
TASK = get_task("panda-reach")


@pytest.fixture
def world() -> SingleEnvironment:
    environment = TASK.make_single(3)
    environment.reset(seed=3)
    return environment


def test_the_suite_lists_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--suite", "robots", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["task"] for row in listed] == [task.name for task in all_tasks("robots")]
    assert {task.name for task in TASKS} <= {row["task"] for row in listed}


def test_the_layout_is_what_a_real_arm_and_its_operator_publish() -> None:
    assert {channel.topic for channel in TASK.observation.channels} == {"joint_states", "target"}
    assert TASK.observation.names[:7] == tuple(f"{joint}/position" for joint in JOINTS)
    assert TASK.observation.names[-3:] == ("target/x", "target/y", "target/z")
    assert {channel.interpretation for channel in TASK.action.channels} == {"velocity"}
    assert not TASK.action.safe.any()


def test_names_and_limits_are_the_models(world: SingleEnvironment) -> None:
    model = world.model
    assert [model.joint(i).name for i in range(model.njnt)] == list(JOINTS)
    assert [model.actuator(i).name for i in range(model.nu)] == list(TASK.action.names)
    joints = [model.joint(model.actuator_trnid[i, 0]).name for i in range(model.nu)]
    assert joints == [channel.joint for channel in TASK.action.channels]
    np.testing.assert_allclose(model.actuator_ctrlrange[:, 0], TASK.action.low)
    np.testing.assert_allclose(model.actuator_ctrlrange[:, 1], TASK.action.high)
    np.testing.assert_allclose(model.actuator_actrange, model.jnt_range)


def test_what_menagerie_says_of_the_arm_still_holds() -> None:
    original = load_spec(PANDA.mjcf).compile()
    np.testing.assert_allclose(original.key("home").qpos[:7], HOME)
    edited = PANDA.compile()
    arm = slice(0, 7)
    np.testing.assert_array_equal(edited.jnt_range, original.jnt_range[arm])
    np.testing.assert_array_equal(edited.actuator_gainprm, original.actuator_gainprm[arm])
    np.testing.assert_array_equal(edited.actuator_forcerange, original.actuator_forcerange[arm])
    assert edited.body_mass.sum() == pytest.approx(original.body_mass.sum())


def test_the_observation_is_read_from_the_right_places(world: SingleEnvironment) -> None:
    world.step(np.linspace(-1, 1, 7))
    data = world.data
    expected = [*data.qpos, *data.qvel, *data.site("target").xpos]
    np.testing.assert_allclose(world.observation(), expected, atol=1e-6)


def test_targets_are_drawn_in_the_box_and_by_seed(world: SingleEnvironment) -> None:
    targets = np.stack([world.reset(seed=seed)[0][-3:] for seed in range(20)])
    assert (targets >= TARGET_LOW - 1e-6).all()
    assert (targets <= TARGET_HIGH + 1e-6).all()
    assert (targets.std(axis=0) > 0.05).all()
    again = TASK.make_single(99).reset(seed=7)[0]
    np.testing.assert_array_equal(again, world.reset(seed=7)[0])


def test_a_full_speed_command_moves_the_joint_at_that_speed(world: SingleEnvironment) -> None:
    world.restore(world.state())
    action = np.zeros(7)
    action[6] = 1.0  # the last joint, free of gravity and of obstacles
    for _ in range(20):
        world.step(action)
    assert world.data.qvel[6] == pytest.approx(SPEED, rel=0.02)
    assert np.abs(world.data.qvel[:6]).max() < 0.02


def test_the_safe_command_holds_the_arm_where_it_is(world: SingleEnvironment) -> None:
    start = world.data.qpos.copy()
    for _ in range(50):
        world.step(TASK.action.to_normalised(TASK.action.safe))
    assert np.abs(world.data.qpos - start).max() < 0.02  # the servos sag under the arm's weight
    assert np.abs(world.data.qvel).max() < 1e-3


def readings_at(distance: float, command: np.ndarray) -> Readings:
    """A state whose target is so far from the tool."""
    model = PANDA.compile()
    data = mujoco.MjData(model)
    data.qpos[:], data.ctrl[:] = HOME, command
    mujoco.mj_forward(model, data)
    model.site("target").pos[:] = data.site("tool").xpos + np.array([0, 0, distance])
    mujoco.mj_forward(model, data)
    return Readings.of(model, data)


@pytest.mark.parametrize(
    ("distance", "speed", "expected"),
    [(0.0, 0, 1.0), (0.01, 0, 1.0), (0.21, 0, 0.1), (0.0, SPEED, 0.8), (0.21, SPEED, 0.08)],
)
def test_the_reward(distance: float, speed: float, expected: float) -> None:
    reward = reach(readings_at(distance, np.full(7, speed)))
    np.testing.assert_allclose(reward, [expected], rtol=1e-6)


def test_rewards_stay_in_the_unit_interval_and_success_is_told(world: SingleEnvironment) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        _, reward, terminated, _, info = world.step(rng.uniform(-1, 1, 7))
        assert 0 <= float(reward) <= 1
        assert not terminated
    assert not info["success"]
    world.model.site("target").pos[:] = world.data.site("tool").xpos
    assert world.step(np.zeros(7))[4]["success"]


def test_one_world_and_many_agree() -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (5, 2, 7))
    many = TASK.make_vector(2, 10)
    singles = [TASK.make_single(10 + i) for i in range(2)]
    seen = many.reset()
    np.testing.assert_array_equal(seen, [single.reset()[0] for single in singles])
    for action in actions:
        step = many.step(action)
        alone = [single.step(a) for single, a in zip(singles, action, strict=True)]
        np.testing.assert_array_equal(step.observation, [outcome[0] for outcome in alone])
        np.testing.assert_array_equal(step.reward, [outcome[1] for outcome in alone])


def test_planned_rewards_are_those_of_stepping() -> None:
    worlds = [TASK.make_single(i) for i in range(2)]
    for environment in worlds:
        environment.reset()
        tool = environment.data.site("tool").xpos
        environment.model.site("target").pos[:] = tool + np.array([0.1, 0.05, -0.1])
        environment.restore(environment.state())
    plans = np.random.default_rng(2).uniform(-1, 1, (2, 2, 6, 7))
    states = np.stack([environment.state() for environment in worlds])
    assert TASK.make_dynamics is not None
    planned = TASK.make_dynamics(worlds, 1).rollout(states, plans)
    assert planned.min() > 0.05
    stepped = SteppedDynamics(worlds, 1).rollout(states, plans)
    np.testing.assert_allclose(planned, stepped, rtol=0, atol=1e-9)


def test_the_expert_solves_the_task(world: SingleEnvironment) -> None:
    assert TASK.make_expert is not None
    expert = TASK.make_expert()
    seen, info = world.reset(seed=4)
    for _ in range(TASK.episode_steps):
        action = expert(seen[None])[0]
        assert np.abs(action).max() <= 1
        seen, _, _, truncated, info = world.step(action)
    assert truncated
    assert info["success"]


def test_diverged_physics_are_told(world: SingleEnvironment) -> None:
    world.data.qvel[:] = np.nan
    with pytest.raises(DivergedError, match="panda diverged"):
        world.step(np.zeros(7))
    seen, _ = world.reset(seed=0)
    assert np.isfinite(seen).all()
    world.step(np.zeros(7))


def test_models_are_compiled_once_and_shared_by_nobody(world: SingleEnvironment) -> None:
    other = TASK.make_single(5)
    before = copy.copy(other.model.site("target").pos)
    world.model.site("target").pos[:] = 0.4
    np.testing.assert_array_equal(other.model.site("target").pos, before)
