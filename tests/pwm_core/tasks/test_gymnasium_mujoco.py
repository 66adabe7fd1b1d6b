# SPDX-License-Identifier: Apache-2.0
"""Gymnasium's Python and EnvPool's C++ must be the same eleven worlds."""

from __future__ import annotations

import gymnasium
import mujoco
import numpy as np
import pytest

from pwm_core.tasks import Task, VectorEnvironment, all_tasks, get_task
from pwm_core.tasks import gymnasium_mujoco as module
from pwm_core.tasks.gymnasium_mujoco import SUITE, GymnasiumEnvironment

TASKS = all_tasks(SUITE)
EPISODIC = ("hopper", "walker2d", "ant", "humanoid", "invertedpendulum", "inverteddoublependulum")


@pytest.fixture(params=[task.name for task in TASKS])
def task(request: pytest.FixtureRequest) -> Task:
    return get_task(request.param)


@pytest.fixture(params=["envpool", "gymnasium"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With EnvPool, and as where it is not installed."""
    if request.param == "envpool":
        pytest.importorskip("envpool")
    else:
        monkeypatch.setattr(module, "has_envpool", lambda: False)
    return request.param


def single(task: Task, seed: int = 0) -> GymnasiumEnvironment:
    one = task.make_single(seed)
    assert isinstance(one, GymnasiumEnvironment)
    return one


def show(one: GymnasiumEnvironment, task: Task, observation: np.ndarray) -> None:
    """Put the world into the state that ``observation`` shows, with what it omits at zero."""
    model = one.model
    joints = {model.joint(i).name: model.joint(i) for i in range(model.njnt)}
    qpos, qvel = np.zeros(model.nq), np.zeros(model.nv)
    seen = dict(zip(task.observation.names, observation.astype(float), strict=True))
    root = [value for name, value in seen.items() if name.startswith("torso/")]
    if root:  # height, quaternion, velocities; a free joint comes first
        qpos[2:7], qvel[:6] = root[:5], root[5:]
    for name, joint in joints.items():
        if f"{name}/position/sin" in seen:
            sine, cosine = seen[f"{name}/position/sin"], seen[f"{name}/position/cos"]
            qpos[joint.qposadr] = np.arctan2(sine, cosine)
        elif f"{name}/position" in seen:
            qpos[joint.qposadr] = seen[f"{name}/position"]
        if f"{name}/velocity" in seen:
            qvel[joint.dofadr] = seen[f"{name}/velocity"]
    if "object/0" in seen:  # Pusher's slides are measured from where the model puts the object
        x, y, _ = model.body("object").pos
        qpos[joints["obj_slidex"].qposadr] = seen["object/0"] - x
        qpos[joints["obj_slidey"].qposadr] = seen["object/1"] - y
    one._environment.set_state(qpos, qvel)


def test_vector_and_single_go_the_same_way(task: Task) -> None:
    """Observation, reward and terminal states of whole stretches, before chaos sets in."""
    pytest.importorskip("envpool")
    count, rng = 3, np.random.default_rng(0)
    many, ones = task.make_vector(count, 3), [single(task) for _ in range(count)]
    for one, observation in zip(ones, many.reset(), strict=True):
        show(one, task, observation)
        np.testing.assert_allclose(one.observation()[:5], observation[:5], atol=1e-5)
    # Forces of contacts answer to the seventh digit of a position.
    coarse = np.array(["contact_force" in name for name in task.observation.names])
    ended = np.zeros(count, bool)
    for _ in range(25):
        action = rng.uniform(-1, 1, (count, task.action.size))
        after = many.step(action)
        for i in np.flatnonzero(~ended):
            observation, reward, terminated, *_ = ones[i].step(action[i])
            tolerance = np.where(coarse, 0.2, 2e-3)
            assert (np.abs(after.observation[i] - observation) <= tolerance).all()
            assert after.reward[i] == pytest.approx(reward, rel=1e-3, abs=1e-3)
            assert after.terminated[i] == terminated
        ended |= after.terminated


def run_down(many: VectorEnvironment, actions: int, decisions: int) -> np.ndarray:
    """Return when each world terminated, ``[N]``; -1 where it did not."""
    rng = np.random.default_rng(1)
    many.reset()
    when = np.full(many.num_envs, -1)
    for decision in range(decisions):
        after = many.step(rng.uniform(-1, 1, (many.num_envs, actions)))
        assert (after.terminated[when >= 0]).all(), "a world that has ended stays ended"
        assert (after.reward[when >= 0] == 0).all()
        when[(when < 0) & after.terminated] = decision
    return when


def test_terminal_states_end_episodes(task: Task, kind: str) -> None:
    assert task.episodic == (task.name.removeprefix("gym-") in EPISODIC)
    when = run_down(task.make_vector(2, 0), task.action.size, 100 if task.episodic else 10)
    # Ant falls on its back too rarely to wait for it.
    assert (when >= 0).all() == (task.episodic and task.name != "gym-ant")


def test_a_jumping_ant_ends_its_episode() -> None:
    one = get_task("gym-ant").make_single(0)
    one.step(np.zeros(8))
    assert not one.terminated
    one.data.qpos[2] = 2.0
    _, _, terminated, truncated, _ = one.step(np.zeros(8))
    assert (terminated, truncated, one.terminated) == (True, False, True)
    one.reset(seed=1)
    assert not one.terminated


def test_time_runs_out_after_the_tasks_length(kind: str) -> None:
    task = get_task("gym-reacher")
    many = task.make_vector(2, 0)
    many.reset()
    for decision in range(task.episode_steps):
        after = many.step(np.zeros((2, 2)))
        assert not after.terminated.any()
        assert after.truncated.all() == (decision == task.episode_steps - 1)


def test_layout_reads_the_joints_as_the_observation_has_them(task: Task) -> None:
    """What a robot computes from ``joint_states`` is the simulator's own observation."""
    one = task.make_single(0)
    observation, _ = one.reset(seed=5)
    assert observation.shape == one.observation_space.shape == (task.observation.size,)
    for _ in range(3):
        observation, *_ = one.step(np.full(task.action.size, 0.2))
    data, model = one.data, one.model
    scalar = [i for i in range(model.njnt) if model.jnt_type[i] != mujoco.mjtJoint.mjJNT_FREE]
    where = {
        "position": {model.joint(i).name: data.qpos[model.jnt_qposadr[i]] for i in scalar},
        "velocity": {model.joint(i).name: data.qvel[model.jnt_dofadr[i]] for i in scalar},
        "effort": {model.joint(i).name: data.qfrc_actuator[model.jnt_dofadr[i]] for i in scalar},
    }
    free = {"pose": data.qpos[:7], "twist": data.qvel[:6]}
    order = {"pose": iter(range(2, 7)), "twist": iter(range(6))}
    unit = {mujoco.mjtJoint.mjJNT_HINGE: "rad", mujoco.mjtJoint.mjJNT_SLIDE: "m"}
    for channel, value in zip(task.observation.channels, observation, strict=True):
        if channel.topic == "odom":
            part = channel.field.split(".")[0]
            assert value == pytest.approx(free[part][next(order[part])], abs=1e-5), channel.name
        elif channel.topic == "joint_states":
            raw = float(where[channel.field][channel.key])
            assert value == pytest.approx(channel.read(raw), abs=1e-5), channel.name
            if channel.field == "position" and channel.transform == "identity":
                assert channel.unit == unit[mujoco.mjtJoint(model.joint(channel.key).type[0])]


def test_action_layout_is_the_models(task: Task) -> None:
    one = single(task)
    model, layout = one.model, task.action
    assert model.nu == layout.size
    assert model.opt.timestep * one._environment.frame_skip == pytest.approx(task.control_step)
    for i, channel in enumerate(layout.channels):
        assert model.joint(model.actuator_trnid[i, 0]).name == channel.joint
        assert model.actuator_gear[i, 0] == channel.gear
        np.testing.assert_allclose(model.actuator_ctrlrange[i], [channel.low, channel.high])


def test_length_is_gymnasiums(task: Task) -> None:
    specs = {key.lower(): spec for key, spec in gymnasium.registry.items()}
    spec = specs[f"{task.name.removeprefix('gym-')}-v5"]
    assert spec.max_episode_steps == task.episode_steps


def test_full_action_reaches_the_actuators_limit() -> None:
    one = get_task("gym-invertedpendulum").make_single(0)
    one.step(np.array([-0.5]))
    assert one.data.ctrl[0] == pytest.approx(-1.5)


def test_vector_is_made_of_its_seed(kind: str) -> None:
    task = get_task("gym-hopper")
    first, again, other = (task.make_vector(2, seed).reset() for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-5


def test_reset_with_a_seed_forgets_what_was_before(task: Task) -> None:
    one, other = task.make_single(0), task.make_single(1)
    one.step(np.ones(task.action.size))
    np.testing.assert_array_equal(one.reset(seed=7)[0], other.reset(seed=7)[0])
    action = np.full(task.action.size, 0.3)
    assert one.step(action)[1] == other.step(action)[1]
    np.testing.assert_array_equal(one.state(), other.state())


def test_planned_rewards_are_those_of_stepping(task: Task) -> None:
    """From the second decision on: the first is measured from where bodies are, not were."""
    rng = np.random.default_rng(2)
    ones = [task.make_single(seed) for seed in (0, 1)]
    for one in ones:
        one.step(rng.uniform(-1, 1, task.action.size))
    before = [one.state() for one in ones]
    plans = rng.uniform(-1, 1, (2, 2, 3, task.action.size))
    assert task.make_dynamics is not None
    planned = task.make_dynamics(ones, 1).rollout(np.stack(before), plans)
    assert planned.shape == (2, 2, 3)
    for one, state, rewards, plan in zip(ones, before, planned, plans, strict=True):
        np.testing.assert_array_equal(one.state(), state)
        stepped = [float(one.step(action)[1]) for action in plan[1]]
        np.testing.assert_allclose(rewards[1, 1:], stepped[1:], rtol=1e-4, atol=1e-4)


def test_a_plan_earns_nothing_after_a_terminal_state() -> None:
    task = get_task("gym-invertedpendulum")
    one = task.make_single(0)
    assert task.make_dynamics is not None
    planned = task.make_dynamics([one], 1).rollout(one.state()[None], np.ones((1, 2, 20, 1)))
    np.testing.assert_array_equal(planned[0, 0], planned[0, 1])
    ends = int(planned[0, 0].argmin())
    assert 1 < ends < 20
    assert planned[0, 0, :ends].tolist() == [1.0] * ends
    assert not planned[0, 0, ends:].any()
