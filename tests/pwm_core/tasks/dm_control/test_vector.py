# SPDX-License-Identifier: Apache-2.0
"""Many worlds and one world must be the same world, for every task.

EnvPool's worlds show no state, but their observations do: a single world is put in the state that
an observation shows and must reach the next one with the same reward. The fish's observation lacks
its heading, which is found from how its velocity turns.
"""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from pwm_core.tasks import SingleEnvironment, Task, VectorEnvironment, all_tasks, get_task
from pwm_core.tasks.envpool import EnvPoolEnvironment, has_envpool
from pwm_core.tasks.sequential import SequentialVector

TASKS = all_tasks("mt30")
LOOPED = """
cheetah-jump cheetah-run-back cheetah-run-backwards cheetah-run-front cup-catch cup-spin finger-spin
finger-turn-easy finger-turn-hard hopper-hop-backwards pendulum-spin reacher-three-easy
reacher-three-hard walker-run-backwards walker-walk-backwards
""".split()  # noqa: SIM905 (names read better in rows)
POOLED = [task.name for task in TASKS if task.name not in LOOPED]
needs_envpool = pytest.mark.skipif(not has_envpool(), reason="no wheel for this Python")
SAME = 1e-4
"""Observations are float32, and EnvPool has another MuJoCo (3.6)."""


def single(name: str) -> SingleEnvironment:
    """Return the task's one world, ready to be put in a state."""
    environment = get_task(name).make_single(0)
    environment.reset(seed=0)
    return environment


def put(environment: SingleEnvironment, body: str, seen: np.ndarray) -> None:
    """Set the state that observation ``seen`` shows; what it leaves out changes no reward."""
    model, data, seen = environment.model, environment.data, seen.astype(float)
    data.qvel[:] = seen[len(seen) - model.nv :]
    if body == "pendulum":
        data.qpos[0] = np.arctan2(seen[1], seen[0])
    elif body == "cartpole":
        data.qpos[:] = seen[0], np.arctan2(seen[2], seen[1])
    elif body == "acrobot":
        upper, lower = np.arctan2(seen[:2], seen[2:4])
        data.qpos[:] = upper, lower - upper
    elif body == "cheetah":
        data.qpos[1:] = seen[:8]
    elif body == "hopper":
        data.qpos[1:], data.qvel[:] = seen[:6], seen[6:13]
    elif body == "reacher":
        data.qpos[:] = seen[:2]
        mujoco.mj_forward(model, data)
        model.geom("target").pos[:2] = data.geom("finger").xpos[:2] + seen[2:4]
    elif body == "walker":
        angle = np.arctan2(seen[1:14:2], seen[:14:2])
        data.qpos[:3] = seen[14] - 1.3, 0, angle[0]
        for side, first in ((3, 1), (6, 4)):
            chain = np.array([angle[0], *angle[first : first + 3]])
            data.qpos[side : side + 3] = (np.pi - np.diff(chain)) % (2 * np.pi) - np.pi
            data.qpos[side + 1] -= 2 * np.pi * (data.qpos[side + 1] > np.pi / 2)  # bent knees
    data.qacc_warmstart[:] = 0
    environment.restore(environment.state())


@needs_envpool
@pytest.mark.parametrize("name", [name for name in POOLED if name != "fish-swim"])
def test_pooled_worlds_step_as_single_ones_do(name: str) -> None:
    task, one, rng = get_task(name), single(name), np.random.default_rng(1)
    many = task.make_vector(8, 7)
    assert isinstance(many, EnvPoolEnvironment)
    before = many.reset()
    assert before.shape == (8, task.observation.size)
    assert before.dtype == np.float32
    for decision in range(20):
        action = rng.uniform(-1, 1, (8, task.action.size))
        step = many.step(action)
        assert not (step.terminated | step.truncated | step.success).any()
        for i in range(decision % 2, 8, 2):
            put(one, task.body, before[i])
            observation, reward, *_ = one.step(action[i])
            np.testing.assert_allclose(step.observation[i], observation, rtol=SAME, atol=SAME)
            assert step.reward[i] == pytest.approx(reward, abs=SAME)
        before = step.observation


@needs_envpool
def test_the_pooled_fish_swims_as_the_single_one_does() -> None:
    """From rest nothing but the reward's upright depends on the heading."""
    task, one = get_task("fish-swim"), single("fish-swim")
    many, actions = task.make_vector(4, 7), np.random.default_rng(0).uniform(-1, 1, (20, 4, 5))
    first, steps = many.reset(), [many.step(action) for action in actions]

    def play(heading: np.ndarray, seen: np.ndarray, plan: np.ndarray) -> list:
        mujoco.mj_resetData(one.model, one.data)
        mujoco.mju_mat2Quat(one.data.qpos[3:7], heading.ravel())
        one.data.qpos[7:] = seen[:7]
        mujoco.mj_forward(one.model, one.data)
        mouth = one.data.geom("mouth")
        target = mouth.xpos + mouth.xmat.reshape(3, 3) @ seen[8:11]
        one.model.geom("target").pos[:] = target
        one.restore(one.state())
        return [one.step(action) for action in plan]

    for i in range(4):
        there = np.stack([step.observation[i, 11:14] for step in steps])
        here = np.stack([s[0][11:14] for s in play(np.eye(3), first[i], actions[:, i])])
        left, _, right = np.linalg.svd(there.T @ here)  # the rotation between them (Kabsch)
        heading = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
        for (observation, reward, *_), step in zip(
            play(heading, first[i], actions[:, i]), steps, strict=True
        ):
            np.testing.assert_allclose(step.observation[i], observation, atol=SAME)
            assert step.reward[i] == pytest.approx(reward, abs=SAME)


@pytest.mark.parametrize("name", LOOPED)
def test_looped_worlds_are_single_ones(name: str) -> None:
    task = get_task(name)
    many, singles = task.make_vector(2, 3), [task.make_single(3), task.make_single(4)]
    assert isinstance(many, SequentialVector)
    np.testing.assert_array_equal(many.reset(), [one.reset()[0] for one in singles])
    for action in np.random.default_rng(1).uniform(-1, 1, (4, 2, task.action.size)):
        step = many.step(action)
        alone = [one.step(a) for one, a in zip(singles, action, strict=True)]
        np.testing.assert_array_equal(step.observation, [outcome[0] for outcome in alone])
        np.testing.assert_array_equal(step.reward, [outcome[1] for outcome in alone])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_initial_states_have_one_distribution(task: Task) -> None:
    """Means within five standard errors; spreads within half, but of rare touches."""
    one, count = single(task.name), 60
    alone = np.stack([one.reset(seed=seed)[0] for seed in range(count)]).astype(float)
    worlds = 10 if task.name in POOLED else 3
    many = task.make_vector(worlds, 1000)
    together = np.concatenate([many.reset() for _ in range(count // worlds)]).astype(float)
    assert together.shape == (count, task.observation.size)
    error = np.sqrt((alone.var(0) + together.var(0)) / count)
    names = np.array(task.observation.names)
    assert not names[np.abs(alone.mean(0) - together.mean(0)) > 5 * error + 1e-6].size
    ratio = (together.std(0) + 1e-4) / (alone.std(0) + 1e-4)
    often = (alone != 0).mean(0) > 0.5
    assert not names[often & ((ratio < 0.5) | (ratio > 2))].size


def kinds(name: str) -> list[VectorEnvironment]:
    task = get_task(name)
    loop = SequentialVector([task.make_single(i) for i in range(2)])
    return [loop, task.make_vector(2, 0)] if has_envpool() else [loop]


@pytest.mark.parametrize("kind", range(1 + has_envpool()))
def test_episodes_end_after_the_tasks_length_and_start_again(kind: int) -> None:
    task = get_task("cartpole-balance")
    many = kinds(task.name)[kind]
    assert isinstance(many, EnvPoolEnvironment) == (kind == 1)
    first = many.reset()
    idle = np.zeros((2, task.action.size))
    for decision in range(task.episode_steps):
        step = many.step(idle)
        assert not step.terminated.any()
        assert step.truncated.all() == (decision == task.episode_steps - 1)
    again = many.reset()
    assert np.abs(again - first).max() > 1e-4, "the second episode starts elsewhere"
    step = many.step(idle)
    assert not step.truncated.any()
    assert np.isfinite(step.reward).all()


@pytest.mark.parametrize("name", ["cartpole-swingup", "cup-spin", "walker-walk"])
def test_vector_is_made_of_its_seed(name: str) -> None:
    task = get_task(name)

    def play(seed: int) -> np.ndarray:
        many = task.make_vector(2, seed)
        start = many.reset()
        action = np.full((2, task.action.size), 0.3)
        return np.stack([start, *(many.step(action).observation for _ in range(3))])

    np.testing.assert_array_equal(play(4), play(4))
    assert np.abs(play(4) - play(5)).max() > 1e-4
