# SPDX-License-Identifier: Apache-2.0
"""Planned rewards are those of stepping, for every task, over states that earn rewards."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import pytest

from pwm_core.tasks import SingleEnvironment, Task, TrueDynamics, all_tasks, get_task
from pwm_core.tasks.stepped import SteppedDynamics

NAMES = [task.name for task in all_tasks("mt30")]
EXACT = 1e-9
"""Planning and stepping run the same simulator from the same state; only sums differ."""


def near_reward(task: Task, environment: SingleEnvironment, rng: np.random.Generator) -> None:
    """Put the world where its reward is neither always zero nor always one."""
    data, body = environment.data, task.body
    if body in ("acrobot", "cartpole", "pendulum"):
        data.qpos[:] = rng.normal(0, 0.15, len(data.qpos))
        data.qvel[:] = rng.normal(0, 6 if task.name == "pendulum-spin" else 0.5, len(data.qvel))
    elif body in ("cheetah", "hopper", "walker"):
        data.qpos[:] = rng.normal(0, 0.05, len(data.qpos))
        data.joint("rootz").qpos[0] = 0.5 if body == "cheetah" else 0.0
        speed = rng.uniform(0.3, 1.3 if body == "hopper" else 5)
        data.joint("rootx").qvel[0] = -speed if "backwards" in task.name else speed
    elif body == "cup":
        data.joint("ball_x").qpos[0] = rng.normal(0, 0.02)
        data.joint("ball_z").qpos[0] = rng.uniform(0.3, 0.37)
        data.qvel[:] = rng.normal(0, 1, len(data.qvel))
    elif task.name == "finger-spin":
        data.joint("hinge").qvel[0] = rng.uniform(-20, -14)
    elif body == "finger_target":
        x, z = environment.model.site("target").pos[[0, 2]] - [0.2, 0.4]
        radius = environment.model.site("target").size[0] / 0.13
        data.joint("hinge").qpos[0] = np.arctan2(-x, z) + rng.uniform(-1.3, 1.3) * radius
    elif body in ("reacher", "reacher_three"):
        mujoco.mj_forward(environment.model, data)
        size = environment.model.geom("target").size[0]
        place = data.geom("finger").xpos[:2] + rng.normal(0, 0.7 * size, 2)
        environment.model.geom("target").pos[:2] = place
    elif body == "fish":
        mujoco.mj_forward(environment.model, data)
        place = data.geom("mouth").xpos + rng.normal(0, 0.04, 3)
        environment.model.geom("target").pos[:] = place
    environment.restore(environment.state())


def worlds(task: Task, count: int, seed: int = 0) -> list[SingleEnvironment]:
    """Return worlds in the middle of episodes, near reward."""
    rng = np.random.default_rng(seed)
    environments = [task.make_single(seed + i) for i in range(count)]
    for environment in environments:
        environment.reset()
        near_reward(task, environment, rng)
    return environments


def plan_on(environments: list[SingleEnvironment], task: Task, threads: int = 1) -> TrueDynamics:
    assert task.make_dynamics is not None
    return task.make_dynamics(environments, threads)


def states(environments: Sequence[SingleEnvironment]) -> np.ndarray:
    return np.stack([environment.state() for environment in environments])


@pytest.mark.parametrize("name", NAMES)
def test_planned_rewards_are_those_of_stepping(name: str) -> None:
    task, rng = get_task(name), np.random.default_rng(2)
    environments = worlds(task, 4)
    plans = rng.uniform(-1, 1, (4, 2, 6, task.action.size))
    before = states(environments)
    planned = plan_on(environments, task).rollout(before, plans)
    stepped = SteppedDynamics(environments, 1).rollout(before, plans)
    np.testing.assert_allclose(planned, stepped, rtol=0, atol=EXACT)
    assert planned.shape == (4, 2, 6)
    assert np.ptp(planned) > 0.01, "states and actions that all earn the same show nothing"
    for e, environment in enumerate(environments):
        environment.restore(before[e])
        played = [float(environment.step(action)[1]) for action in plans[e, 0]]
        np.testing.assert_allclose(planned[e, 0], played, rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", ["reacher-easy", "walker-walk"])
def test_threads_change_nothing(name: str) -> None:
    task = get_task(name)
    environments = worlds(task, 3)
    plans = np.random.default_rng(3).uniform(-1, 1, (3, 5, 4, task.action.size))
    one, two = (
        plan_on(environments, task, threads).rollout(states(environments), plans)
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


def test_coarser_dynamics_rank_plans_alike_the_finer_the_better() -> None:
    task, rng = get_task("walker-walk"), np.random.default_rng(4)
    (environment,) = environments = worlds(task, 1)
    step = environment.model.opt.timestep
    plans = rng.uniform(-1, 1, (1, 60, 5, task.action.size))
    assert task.make_dynamics is not None
    exact, fine, coarse = (
        task.make_dynamics(environments, 1, times).rollout(states(environments), plans)[0].sum(-1)
        for times in (1, 2, 10)
    )
    assert np.ptp(exact) > 0.5, "plans that all earn the same show nothing"
    assert 0 < np.abs(fine - exact).mean() < np.abs(coarse - exact).mean()
    assert np.corrcoef(fine, exact)[0, 1] > 0.9
    assert environment.model.opt.timestep == step


def test_steps_that_cannot_be_put_together_are_refused() -> None:
    task = get_task("walker-walk")
    environments = worlds(task, 1)
    assert task.make_dynamics is not None
    with pytest.raises(ValueError, match=r"10 steps of 0\.0025 s .* 3 at a time"):
        task.make_dynamics(environments, 1, 3)
    with pytest.raises(ValueError, match="make their own steps, not 2 at a time"):
        SteppedDynamics(environments, 1, 2)


@pytest.mark.parametrize("name", ["reacher-easy", "finger-turn-easy", "fish-swim"])
def test_every_environment_keeps_its_own_target(name: str) -> None:
    """The same physics state earns by where each episode's target is, also after a reset."""
    task = get_task(name)
    near, far = worlds(task, 2)
    dynamics = plan_on([near, far], task)
    idle = np.zeros((2, 1, 2, task.action.size))
    for _ in range(2):
        if task.body == "finger_target":
            near.model.site("target").pos[[0, 2]] = 0.2, 0.53
            far.model.site("target").pos[[0, 2]] = 0.2, 0.27
        else:
            near.model.geom("target").pos[:] = near.data.geom(
                "finger" if "reacher" in name else "mouth"
            ).xpos
            far.model.geom("target").pos[:] = near.model.geom("target").pos + 0.3
        if task.body == "finger_target":
            near.data.joint("hinge").qpos[0] = 0
            near.data.qvel[:] = 0
            near.restore(near.state())
        reward = dynamics.rollout(np.stack([near.state()] * 2), idle)[:, 0].sum(-1)
        assert reward[0] > reward[1] + 1
        near.reset(seed=9)


def test_stepping_plans_leaves_the_environment_as_it_was() -> None:
    """Everything but the plans' rewards: a twin that planned nothing goes on the same way."""
    task = get_task("hopper-stand")
    planned, twin = worlds(task, 1)[0], worlds(task, 1)[0]
    rng = np.random.default_rng(0)
    for action in rng.uniform(-1, 1, (5, task.action.size)):
        plans = rng.uniform(-1, 1, (1, 3, 4, task.action.size))
        SteppedDynamics([planned], 1).rollout(states([planned]), plans)
        for mine, other in zip(planned.step(action), twin.step(action), strict=True):
            np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(planned.state(), twin.state())
