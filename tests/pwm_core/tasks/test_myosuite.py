# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from pwm_core.tasks import all_tasks, get_task
from pwm_core.tasks.myosuite import SUITE, TASKS, describe, task_name

envpool = pytest.importorskip("envpool")


@pytest.mark.parametrize(
    ("myosuite_id", "name"),
    [
        ("myoLegWalk-v0", "myo-leg-walk"),
        ("myoHandPose3Fixed-v0", "myo-hand-pose-3-fixed"),
        ("myoChallengeBaodingP1-v1", "myo-challenge-baoding-p1"),
        ("myoElbowPose1D6MExoFixed-v0", "myo-elbow-pose-1d-6m-exo-fixed"),
        ("MyoHandFlashlight1On-v0", "myo-hand-flashlight-1-on"),
        ("myoHandReorientOOD-v0", "myo-hand-reorient-ood"),
        ("MyoHandWineglassDrink2-v0", "myo-hand-wineglass-drink-2"),
    ],
)
def test_names_are_myosuites(myosuite_id: str, name: str) -> None:
    assert task_name(myosuite_id) == name
    assert name in TASKS


def test_catalogue_is_envpools() -> None:
    """Sizes, limits and lengths of all tasks; no name stands for two."""
    listed = [i for i in envpool.list_all_envs() if i.startswith("MyoSuite/")]
    assert len(TASKS) == len(listed) > 300
    for envpool_id in listed:
        task = get_task(task_name(envpool_id.removeprefix("MyoSuite/")))
        spec = envpool.make_spec(envpool_id)
        assert (task.observation.size,) == spec.observation_space.shape, task.name
        assert (task.action.size,) == spec.action_space.shape, task.name
        np.testing.assert_array_equal(task.action.low, spec.action_space.low)
        np.testing.assert_array_equal(task.action.high, spec.action_space.high)
        assert task.episode_steps == spec.config.max_episode_steps, task.name


def test_catalogue_is_what_its_command_writes() -> None:
    ids = ("myoTorsoPoseFixed-v0", "myoElbowPose1D6MExoFixed-v0")
    fresh = describe(ids)
    assert fresh["tasks"] == {name: TASKS._content["tasks"][name] for name in map(task_name, ids)}
    for body, actuators in fresh["actuators"].items():
        assert TASKS._content["actuators"][body] == actuators


def test_bodies_of_80_210_and_more_than_275_muscles() -> None:
    sizes = {task.action.size for task in all_tasks(SUITE)}
    assert {80, 210, 275, 290} <= sizes
    torso = get_task("myo-torso-pose-fixed")
    assert torso.action.size == len(set(torso.action.names)) == 210
    assert (torso.action.safe == -1).all(), "muscles are let go"
    assert get_task("myo-elbow-pose-1d-6m-exo-fixed").action.safe[0] == 0, "a motor stands still"


@pytest.mark.parametrize("name", ["myo-leg-walk", "myo-torso-pose-fixed"])
def test_muscles_answer_to_their_actions(name: str) -> None:
    task = get_task(name)
    many = task.make_vector(2, 5)
    assert many.reset().shape == (2, task.observation.size)
    action = np.stack([-np.ones(task.action.size), np.ones(task.action.size)])
    for _ in range(3):
        after = many.step(action)
    assert np.isfinite(after.observation).all()
    assert np.isfinite(after.reward).all()
    activation = [i for i, key in enumerate(task.observation.names) if key.startswith("act/")]
    assert len(activation) == task.action.size
    relaxed, tense = after.observation[:, activation]
    assert (relaxed < 0.3).all()
    assert (tense > 0.3).all()


def test_a_whole_body_of_275_muscles() -> None:
    task = get_task("myo-challenge-table-tennis-p0")
    many = task.make_vector(1, 0)
    many.reset()
    after = many.step(np.zeros((1, 275)))
    assert after.observation.shape == (1, task.observation.size)
    assert np.isfinite(after.observation).all()
    assert np.isfinite(after.reward).all()


def test_falling_ends_the_episode() -> None:
    one = get_task("myo-leg-walk").make_single(0)
    one.reset(seed=0)
    decisions = 0
    while not one.terminated and decisions < 200:
        _, _, _, truncated, info = one.step(-np.ones(80))
        decisions += 1
    assert 5 < decisions < 200
    assert not truncated
    assert isinstance(info["success"], bool)
    assert one.step(-np.ones(80))[1:4] == (0.0, True, False), "it stays ended"
    one.reset()
    assert not one.terminated
