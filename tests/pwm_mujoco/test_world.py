# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
import pytest

from pwm_core.layout import ActionChannel, ActionLayout
from pwm_core.tasks import get_task
from pwm_mujoco.disturbances import Disturbances
from pwm_mujoco.world import CommandRefused, World

REAL = get_task("cartpole-balance")


class Recorder:
    """An environment with two actuators that notes what it is given, and falls when told to."""

    substeps = 2
    terminated = False

    def __init__(self, seed: int) -> None:
        self.model = mujoco.MjModel.from_xml_string("<mujoco/>")
        self.data = mujoco.MjData(self.model)
        self.seeds: list[int] = []
        self.actions: list[list[float]] = []
        self.value = 0.0

    def reset(self, seed: int):
        self.seeds.append(seed)
        self.value = 0.0
        return self.observation(), {}

    def substep(self, action: np.ndarray) -> float:
        if self.value is None:
            raise RuntimeError("mjWARN_BADQACC")
        self.actions.append(action.tolist())
        return 0.5

    def observation(self) -> np.ndarray:
        return np.full(5, self.value, np.float32)


TWO_ACTUATORS = ActionLayout(
    (
        ActionChannel("hip", "hip_joint", "effort", "N·m", -2.0, 2.0, safe=0.0),
        ActionChannel("knee", "knee_joint", "position", "rad", 0.0, 4.0, safe=1.0),
    )
)


def find(name: str):
    body = "stone" if name == "other-body" else "leg"
    return dataclasses.replace(
        REAL, name=name, body=body, action=TWO_ACTUATORS, episode_steps=3, make_single=Recorder
    )


@pytest.fixture
def world() -> World:
    return World("leg-walk", seed=10, find_task=find)


def offer(world: World, hip: float = 1.0, knee: float = 3.0, **options) -> bool:
    return world.offer(["hip", "knee"], [hip, knee], options.pop("step", world.step), **options)


def test_without_a_command_the_safe_action_acts(world: World) -> None:
    world.decide()
    np.testing.assert_allclose(world.environment.actions, [[0.0, -0.5]] * 2)


@pytest.mark.parametrize("names", [["hip", "knee"], ["knee", "hip"]])
def test_commands_go_by_name(world: World, names: list[str]) -> None:
    values = {"hip": 1.0, "knee": 3.0}
    assert world.offer(names, [values[name] for name in names], world.step)
    world.substep()
    np.testing.assert_allclose(world.environment.actions, [[0.5, 0.5]])


def test_commands_are_kept_in_their_limits(world: World) -> None:
    offer(world, hip=99.0, knee=-99.0)
    world.substep()
    np.testing.assert_allclose(world.environment.actions, [[1.0, -1.0]])


@pytest.mark.parametrize(
    ("names", "values", "reason"),
    [
        (["hip"], [0.0], r"missing \['knee'\]"),
        (["hip", "knee", "toe"], [0.0] * 3, r"unknown \['toe'\]"),
        (["hip", "hip"], [0.0] * 2, r"missing \['knee'\]"),
        (["hip", "knee", "hip"], [0.0] * 3, "actuators are"),
        (["hip", "knee"], [0.0], "2 names but 1 values"),
        (["hip", "knee"], [0.0, np.nan], "not finite"),
        (["hip", "knee"], [np.inf, 0.0], "not finite"),
    ],
)
def test_commands_that_do_not_fit_are_refused(world: World, names, values, reason: str) -> None:
    with pytest.raises(CommandRefused, match=reason):
        world.offer(names, values, world.step)
    assert not world.answered


def test_only_the_first_answer_counts_in_lockstep(world: World) -> None:
    assert offer(world, exact=True)
    assert not offer(world, hip=-1.0, exact=True)
    world.decide()
    assert not offer(world, hip=-1.0, step=world.step - 1, exact=True)
    assert not world.answered
    assert offer(world, exact=True)


def test_a_late_answer_is_taken_in_real_time_but_not_one_of_another_episode(world: World) -> None:
    world.decide()
    assert offer(world, step=world.step - 1)
    before = world.step
    world.reset()
    assert not offer(world, step=before)
    assert not offer(world, step=world.step + 1)
    world.substep()
    np.testing.assert_allclose(world.environment.actions[-1], [0.0, -0.5])


def test_a_terminal_state_ends_the_episode_before_its_time(world: World) -> None:
    world.environment.terminated = True
    world.decide()
    assert (world.terminated, world.truncated, world.halted) == (True, False, True)
    world.environment.terminated = False
    world.reset()
    assert not world.halted


def test_a_task_of_a_simulator_that_shows_no_model_is_refused_by_name() -> None:
    pytest.importorskip("envpool")
    reason = "task playground-go1-joystick-flat runs in EnvPool only.*not rendered.*ROS bridge"
    with pytest.raises(ValueError, match=reason):
        World("playground-go1-joystick-flat", seed=0)


def test_bookkeeping_of_an_episode(world: World) -> None:
    assert (world.step, world.episode, world.episode_step, world.reward) == (1, 0, 0, 0.0)
    assert not world.substep()
    assert world.substep()
    assert (world.step, world.episode_step, world.reward) == (2, 1, 1.0)
    world.decide()
    world.decide()
    assert world.truncated
    assert world.ended
    assert world.episode_return == 3.0
    assert world.time == pytest.approx(3 * REAL.control_step)
    world.reset()
    assert (world.step, world.episode, world.episode_step, world.reward) == (5, 1, 0, 0.0)
    assert world.episode_return == 0.0
    assert world.time == pytest.approx(4 * REAL.control_step)


def test_without_time_limit_an_episode_goes_on(world: World) -> None:
    for _ in range(5):
        world.decide(time_limit=False)
    assert not world.ended


def test_seeds_are_those_of_the_world_plus_the_episode_or_named(world: World) -> None:
    world.reset()
    world.reset(seed=77)
    assert world.environment.seeds == [10, 11, 77]


def test_another_task_of_the_same_body(world: World) -> None:
    world.reset(task="leg-run")
    assert world.task.name == "leg-run"
    assert world.step == 2


def test_a_task_of_another_body_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="other-body is for body stone; this world simulates leg"):
        world.reset(task="other-body")
    assert world.task.name == "leg-walk"
    assert world.episode == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, None])
def test_divergence_stops_the_world_at_its_last_finite_state(world: World, value) -> None:
    world.decide()
    world.environment.value = value
    world.decide()
    assert world.fault is not None
    assert "leg-walk diverged in episode 0 after 1 decisions" in world.fault
    assert np.isfinite(world.observation).all()
    step = world.step
    world.decide()
    assert world.step == step
    world.reset()
    assert world.fault is None
    world.decide()
    assert world.episode_step == 1


def test_the_real_physics_is_reproducible() -> None:
    def play() -> np.ndarray:
        world = World("cartpole-swingup", seed=3)
        for value in (0.5, -1.0, 0.25):
            world.offer(["slide"], [value], world.step)
            world.decide()
        return world.observation

    np.testing.assert_array_equal(play(), play())


def test_the_real_physics_diverging_is_a_fault() -> None:
    world = World("cartpole-swingup", seed=3)
    world.environment.data.qvel[:] = 1e30
    world.decide()
    assert world.fault is not None


def test_an_episode_from_a_keyframe() -> None:
    world = World("gym-humanoid", seed=3)
    world.reset(keyframe="1")  # Gymnasium's keyframes have no names
    np.testing.assert_allclose(world.environment.data.qpos, world.environment.model.key_qpos[1])
    np.testing.assert_allclose(world.reading.position, world.environment.model.key_qpos[1])
    world.decide()
    assert world.episode_step == 1
    episode = world.episode
    with pytest.raises(ValueError, match="humanoid has no keyframe 'lying': its own are 0, 1"):
        world.reset(keyframe="lying")
    assert world.episode == episode


def test_a_push_too_strong_is_a_fault_that_a_reset_ends() -> None:
    world = World("cartpole-balance", 0, disturbances=Disturbances(push_force=1e15))
    for _ in range(200):
        world.decide()
    assert world.fault is not None
    assert "diverged in episode 0 after" in world.fault
    assert np.isfinite(world.observation).all()
    assert np.isfinite(world.reading.position).all()
    world.disturb(Disturbances())
    world.reset()
    world.decide()
    assert world.fault is None
