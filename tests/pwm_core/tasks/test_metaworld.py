# SPDX-License-Identifier: Apache-2.0
"""Meta-World's fifty: one world and many worlds must be the same worlds, for every task."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from itertools import compress

import numpy as np
import pytest

from pwm_core.tasks import (
    Expert,
    Task,
    VectorEnvironment,
    all_tasks,
    get_task,
)
from pwm_core.tasks.envpool import EnvPoolEnvironment
from pwm_core.tasks.metaworld import ENVPOOL_DIFFERS, TASKS
from pwm_core.tasks.metaworld_package import MetaWorldMissingError, import_metaworld
from pwm_core.tasks.metaworld_world import MetaWorldEnvironment

PACKAGE = importlib.util.find_spec("metaworld") is not None
pytestmark = pytest.mark.skipif(not PACKAGE, reason="the package metaworld is not installed")
needs_envpool = pytest.mark.skipif(
    importlib.util.find_spec("envpool") is None, reason="EnvPool has no wheel for this Python"
)
WORLDS = 3
SEED = 11
NOW = [*range(18), 36, 37, 38]
"""The present frame and the goal; the previous frame repeats the present one after a reset."""
SAME_STATE = 2.5e-3
"""Positions (m) and quaternions this near are one state; EnvPool's MuJoCo 3.6 is 2e-4 away."""
CONTACTS = ("dial-turn", "handle-press-side", "pick-out-of-hole", "plate-slide-side")
"""Listed for what happens late in an episode, once something is touched."""
names = pytest.mark.parametrize("name", [task.name for task in TASKS])


class CppUniform:
    """``std::uniform_real_distribution`` over ``std::mt19937``: what EnvPool draws scenes with."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.RandomState(seed)._bit_generator

    def uniform(self, low: np.ndarray, high: np.ndarray, size: int) -> np.ndarray:
        words = self._bits.random_raw(2 * size).astype(float).reshape(size, 2)
        return low + (high - low) * (words @ [1.0, 2.0**32]) / 2.0**64


def expert_of(task: Task) -> Expert:
    assert task.make_expert is not None
    return task.make_expert()


def twins(task: Task, many: VectorEnvironment) -> list[MetaWorldEnvironment]:
    """Return single worlds that will draw the scenes that the worlds of ``many`` draw."""
    singles = [MetaWorldEnvironment(task.name[3:], SEED + i) for i in range(WORLDS)]
    if isinstance(many, EnvPoolEnvironment):
        for i, single in enumerate(singles):
            single._world.np_random = CppUniform(SEED + i)
    return singles


def disagreements(task: Task, many: VectorEnvironment) -> list[str]:
    """Play two episodes' beginnings in ``many`` and in single worlds; say what is not the same.

    The same draws must give the same starts, and where state and action are the same the rewards
    must be. Some starts may differ, where the hand touches something during the reset.
    """
    singles, expert, rng = twins(task, many), expert_of(task), np.random.default_rng(0)
    starts, pairs = [], []
    for _ in range(2):
        observation = many.reset()
        others = np.stack([single.reset()[0] for single in singles])
        starts.append(np.abs(observation - others)[:, NOW])
        same = (starts[-1] < SAME_STATE).all(axis=1)
        for _ in range(8):
            noise = 0.3 * rng.standard_normal((WORLDS, task.action.size))
            action = np.clip(expert(observation) + noise, -1, 1)
            step = many.step(action)
            outcomes = [s.step(a) for s, a in zip(singles, action, strict=True)]
            observation, others = step.observation, np.stack([o[0] for o in outcomes])
            same &= (np.abs(observation - others)[:, NOW] < SAME_STATE).all(axis=1)
            pairs += [(step.reward[i], outcomes[i][1]) for i in np.flatnonzero(same)]
            assert (step.success[same] == [o[4]["success"] for o in compress(outcomes, same)]).all()
    found = []
    apart = np.median(starts, axis=1).max(axis=0)
    for i in np.flatnonzero(apart > SAME_STATE):
        found.append(f"{task.observation.names[NOW[i]]} of the start: {apart[i]:.3f} apart")
    if len(pairs) < WORLDS:
        found.append(f"only {len(pairs)} states are the same")
    else:
        reward, expected = np.array(pairs).T
        difference = np.median(np.abs(reward - expected))
        if difference > 0.01 + 0.01 * expected.mean():
            found.append(f"rewards: {difference:.4f} apart, mean {expected.mean():.4f}")
    return found


@names
def test_vector_and_single_agree_on_starts_rewards_and_success(name: str) -> None:
    task = get_task(name)
    assert disagreements(task, task.make_vector(WORLDS, SEED)) == []


@needs_envpool
@pytest.mark.parametrize(
    "name", [f"mw-{name}" for name in sorted(ENVPOOL_DIFFERS) if name not in CONTACTS]
)
def test_envpool_still_differs_where_its_threads_are_not_used(name: str, monkeypatch) -> None:
    monkeypatch.delitem(ENVPOOL_DIFFERS, name.removeprefix("mw-"))
    pool = get_task(name).make_vector(WORLDS, SEED)
    assert isinstance(pool, EnvPoolEnvironment)
    found = disagreements(get_task(name), pool)
    print(name, *found, sep="; ")  # pytest -rP shows them: docs/metaworld.md
    assert found != []


@needs_envpool
@pytest.mark.parametrize("name", [f"mw-{name}" for name in CONTACTS])
def test_envpools_contacts_still_change_what_the_expert_reaches(name: str, monkeypatch) -> None:
    monkeypatch.delitem(ENVPOOL_DIFFERS, name.removeprefix("mw-"))
    task = get_task(name)
    pool, expert = task.make_vector(WORLDS, SEED), expert_of(task)
    assert isinstance(pool, EnvPoolEnvironment)
    singles = twins(task, pool)
    returns = np.zeros((2, WORLDS))
    observation, others = pool.reset(), np.stack([single.reset()[0] for single in singles])
    for _ in range(task.episode_steps):
        step = pool.step(expert(observation))
        outcomes = [s.step(a) for s, a in zip(singles, expert(others), strict=True)]
        observation, others = step.observation, np.stack([o[0] for o in outcomes])
        returns += np.array([step.reward, [o[1] for o in outcomes]], float)
    many, one = returns.mean(axis=1)
    print(f"{name}; returns: {many:.0f} and {one:.0f}")  # pytest -rP shows them: docs/metaworld.md
    assert abs(many - one) > 0.15 * one


def test_the_published_fifty() -> None:
    published = {task.name for task in all_tasks("mt80") if task.suite == "metaworld"}
    assert published == {task.name for task in TASKS}
    assert len(published) == 50
    for task in TASKS:
        assert (task.observation.size, task.action.size) == (39, 4)
        assert (task.control_step, task.episode_steps) == (0.025, 100)
        assert task.discount == pytest.approx(0.95)
        assert task.reports_success
        assert not task.episodic


def test_tasks_of_one_body_share_a_model() -> None:
    kinds = import_metaworld("env_dict").ALL_V3_ENVIRONMENTS
    files = {task.name: kinds[f"{task.name[3:]}-v3"].model_name.fget(None) for task in TASKS}
    bodies = {task.body: files[task.name] for task in TASKS}
    assert {task.name: bodies[task.body] for task in TASKS} == files
    assert len(set(files.values())) <= len(bodies)


def test_the_layout_says_where_things_are() -> None:
    task = get_task("mw-drawer-close")
    one = MetaWorldEnvironment("drawer-close", 3)
    for _ in range(5):
        before = one.observation()
        one.substep(np.array([0.5, 0.2, -0.5, 1.0]))
    value = dict(zip(task.observation.names, one.observation(), strict=True))
    hand = [value[f"hand/position/{axis}"] for axis in "xyz"]
    np.testing.assert_allclose(hand, one.data.body("hand").xpos, atol=1e-6)
    fingers = one.data.body("rightclaw").xpos - one.data.body("leftclaw").xpos
    assert value["gripper/opening"] == pytest.approx(np.linalg.norm(fingers) / 0.1, abs=1e-6)
    goal = [value[f"goal/position/{axis}"] for axis in "xyz"]
    np.testing.assert_allclose(goal, one._world._target_pos, atol=1e-6)
    was = [value[f"previous/{name}"] for name in task.observation.names[:18]]
    np.testing.assert_array_equal(was, before[:18])


def test_the_action_layout_says_how_fast_the_hand_is_pulled() -> None:
    task = get_task("mw-reach")
    one = MetaWorldEnvironment("reach", 0)
    before = one.data.mocap_pos[0].copy()
    action = np.array([1.0, -0.5, 0.25, 0.0])
    one.step(action)
    velocity = (one.data.mocap_pos[0] - before) / task.control_step
    np.testing.assert_allclose(velocity, task.action.to_units(action)[:3], rtol=1e-5)
    duration = one.model.opt.timestep * one._world.frame_skip * one.substeps
    assert duration == pytest.approx(task.control_step)


@pytest.mark.parametrize("name", ["mw-reach", "mw-hammer", "mw-stick-push", "mw-bin-picking"])
def test_a_seed_gives_one_start_whatever_was_before(name: str) -> None:
    task = get_task(name)
    used, fresh = task.make_single(0), task.make_single(1)
    before = np.random.get_state(legacy=False)["state"]["key"].copy()
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 4)):
        used.step(action)
    used.reset()
    np.testing.assert_array_equal(used.reset(seed=5)[0], fresh.reset(seed=5)[0])
    np.testing.assert_array_equal(used.state(), fresh.state())
    assert np.abs(used.reset(seed=6)[0] - fresh.observation()).max() > 1e-3
    unused = np.random.get_state(legacy=False)["state"]["key"]
    np.testing.assert_array_equal(unused, before, "NumPy's global generator stays out of it")


def test_a_restored_state_goes_on_the_same() -> None:
    task = get_task("mw-assembly")
    one, expert = task.make_single(0), expert_of(task)

    def play(decisions: int) -> list[float]:
        return [float(one.step(expert(one.observation()[None])[0])[1]) for _ in range(decisions)]

    play(10)
    state, observation = one.state(), one.observation()
    first = play(10)
    one.restore(state)
    np.testing.assert_array_equal(one.observation(), observation)
    assert play(10) == first


def test_a_bridge_may_run_past_the_packages_time_limit() -> None:
    task = get_task("mw-reach")
    one = task.make_single(0)
    before = one.data.time
    rewards = [one.substep(np.zeros(4)) for _ in range(501)]
    assert np.isfinite(rewards).all()
    assert one.data.time == pytest.approx(before + 501 * task.control_step / one.substeps)


@pytest.mark.parametrize("name", ["mw-reach", "mw-sweep"])
def test_episodes_end_after_a_hundred_decisions(name: str) -> None:
    task = get_task(name)
    many, expert = task.make_vector(2, 0), expert_of(task)
    observation = many.reset()
    returns = np.zeros(2)
    for decision in range(task.episode_steps):
        observation, reward, terminated, truncated, success = many.step(expert(observation))
        returns += reward
        assert not terminated.any()
        assert truncated.all() == (decision == task.episode_steps - 1)
    assert success.all()
    assert (returns > 500).all()


def test_experts_take_batches_and_stay_in_range() -> None:
    for task in TASKS:
        expert = expert_of(task)
        observation = np.random.default_rng(0).normal(0, 1, (3, 39)).astype(np.float32)
        actions = expert(observation)
        assert actions.shape == (3, 4)
        assert np.abs(actions).max() <= 1
        np.testing.assert_array_equal(actions[1:2], expert(observation[1:2]))


def test_describing_tasks_loads_no_simulator() -> None:
    script = (
        "import sys, pwm_core.tasks as t; t.get_task('mw-reach');"
        "print(*{'metaworld', 'envpool'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "", done.stderr


def test_a_missing_package_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    task = get_task("mw-reach")
    for make in (lambda: expert_of(task), lambda: task.make_single(0)):
        with pytest.raises(MetaWorldMissingError, match=r"--no-deps metaworld==3\.1\.1"):
            make()
