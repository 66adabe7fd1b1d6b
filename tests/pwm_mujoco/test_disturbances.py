# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from pwm_core.tasks import get_task
from pwm_core.tasks.mjcf import MjcfTask, task_from_mjcf
from pwm_core.tasks.shift import Shift
from pwm_mujoco.disturbances import Disturbances
from pwm_mujoco.world import World

TASK = "cartpole-swingup"
NOMINAL = Shift()
PENDULUM = """
<mujoco>
  <worldbody>
    <body>
      <joint name="pivot" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.02" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor name="motor" joint="pivot" ctrlrange="-1 1"/></actuator>
  <keyframe><key qpos="1.0"/></keyframe>
</mujoco>
"""
RANGES = Disturbances(
    gain_range=(0.5, 1.5),
    bias_range=(-0.1, 0.1),
    delay_range=(0, 3),
    mass_range=(0.5, 2.0),
    friction_range=(0.5, 2.0),
)


def make_world(task: str = TASK, **settings) -> World:
    return World(task, seed=3, disturbances=Disturbances(**settings))


def play(world: World, decisions: int = 20, command: float = 0.4) -> np.ndarray:
    """Observations ``[decisions + 1, O]`` of the present episode from here under one command."""
    seen = [world.observation]
    names = world.task.action.names
    for _ in range(decisions):
        world.offer(names, [command] * len(names), world.step)
        world.decide()
        seen.append(world.observation)
    return np.array(seen)


def offline(task: str = TASK, command: float = 0.4, shift: Shift = NOMINAL) -> np.ndarray:
    """The same without a world."""
    environment = shift.of(get_task(task)).make_single(0)
    seen = [environment.reset(seed=3)[0]]
    action = get_task(task).action
    units = np.full(action.size, command, np.float32)
    for _ in range(20):
        seen.append(environment.step(action.to_normalised(units).astype(np.float32))[0])
    return np.array(seen)


@pytest.mark.parametrize("task", [TASK, "walker-walk", "gym-ant"])
def test_the_defaults_change_no_bit(task: str) -> None:
    np.testing.assert_array_equal(play(make_world(task)), offline(task))


@pytest.mark.parametrize(
    "setting",
    [
        {"actuator_gain": 0.5},
        {"sensor_bias": 0.1},
        {"sensor_noise": 0.01},
        {"observation_delay": 2},
        {"mass_scale": 1.3},
        {"push_force": 5.0, "push_interval": 0.2},
        {"gain_range": (0.5, 0.9)},
        {"bias_range": (0.1, 0.2)},
        {"delay_range": (1, 3)},
        {"mass_range": (1.2, 1.4)},
    ],
)
def test_each_has_an_effect_that_repeats_and_ends(setting: dict) -> None:
    first = play(make_world(**setting))
    np.testing.assert_array_equal(first, play(make_world(**setting)))
    assert np.abs(first - offline()).max() > 1e-3
    world = make_world(**setting)
    play(world)
    world.disturb(Disturbances())
    world.reset(seed=3)
    np.testing.assert_array_equal(play(world), offline())


@pytest.mark.parametrize("task", [TASK, "walker-walk"])
@pytest.mark.parametrize(
    "setting", [{"actuator_gain": 0.6}, {"mass_scale": 1.5}, {"observation_delay": 2}]
)
def test_the_core_shifts_robots_in_the_same_way(task: str, setting: dict) -> None:
    shifted = offline(task, shift=Shift(**setting))
    np.testing.assert_array_equal(play(make_world(task, **setting)), shifted)


def test_friction_slows_a_sliding_body() -> None:
    free, rough = (make_world("gym-hopper", friction_scale=scale) for scale in (0.0, 1.0))
    assert np.abs(play(free, 100) - play(rough, 100)).max() > 0.01


@pytest.mark.parametrize("task", ["walker-walk", "gym-ant"])
def test_half_the_gain_is_half_the_force(task: str) -> None:
    efforts = []
    for gain in (1.0, 0.5):
        world = make_world(task, actuator_gain=gain)
        play(world, 1)
        efforts.append(world.environment.data.actuator_force.copy())
    assert np.abs(efforts[0]).min() > 0
    np.testing.assert_allclose(efforts[1], 0.5 * efforts[0])


def test_a_servo_loses_stiffness_too() -> None:
    world = make_world("gym-pusher", actuator_gain=0.25)
    np.testing.assert_allclose(
        world.environment.model.actuator_gainprm[:, 0],
        0.25 * get_task("gym-pusher").make_single(0).model.actuator_gainprm[:, 0],
    )


def test_a_bias_goes_through_cosine_and_sine() -> None:
    world = make_world(sensor_bias=0.25)
    slider, hinge = world.environment.data.qpos
    slider_seen, cosine, sine, *velocities = world.observation
    assert slider_seen == pytest.approx(slider + 0.25)
    assert (cosine, sine) == pytest.approx((np.cos(hinge + 0.25), np.sin(hinge + 0.25)))
    assert velocities == pytest.approx(world.environment.data.qvel)
    np.testing.assert_allclose(world.reading.position, world.environment.data.qpos + 0.25)


def test_noise_is_one_error_for_joint_and_observation() -> None:
    world = make_world(sensor_noise=0.05)
    play(world, 3)
    slider, cosine, sine, *velocities = world.observation
    assert slider == pytest.approx(world.reading.position[0])
    assert (cosine, sine) == pytest.approx(
        (np.cos(world.reading.position[1]), np.sin(world.reading.position[1]))
    )
    assert velocities == pytest.approx(world.reading.velocity)


def test_noise_has_its_standard_deviation() -> None:
    world = make_world(sensor_noise=0.05)
    errors = []
    for _ in range(400):
        world.decide(time_limit=False)
        errors.append(world.reading.position - world.environment.data.qpos)
    assert np.std(errors) == pytest.approx(0.05, rel=0.1)
    assert np.mean(errors) == pytest.approx(0.0, abs=0.01)


def test_an_orientation_is_not_shifted() -> None:
    world = make_world("gym-ant", sensor_bias=0.5)
    difference = world.reading.position - world.environment.data.qpos
    np.testing.assert_allclose(difference[3:7], 0.0)
    np.testing.assert_allclose(difference[[0, 1, 2, 7, 8]], 0.5)
    height = world.task.observation.names.index("torso/pose.position.z")
    assert world.observation[height] == pytest.approx(world.environment.data.qpos[2] + 0.5)


def test_a_delay_counts_decisions_and_joints_are_as_late() -> None:
    late, true = play(make_world(observation_delay=3)), offline()
    np.testing.assert_array_equal(late[3:], true[:-3])
    np.testing.assert_array_equal(late[:4], np.repeat(true[:1], 4, axis=0))
    world = make_world(observation_delay=3)
    play(world, 10)
    assert world.reading.position[0] == pytest.approx(true[7, 0])


def test_a_push_lasts_its_time_and_comes_back() -> None:
    settings = Disturbances(push_force=7.0, push_duration=0.1, push_interval=1.0)
    assert not settings.push(0.05, seed=0).any()
    first = settings.push(1.0, seed=0)
    assert np.linalg.norm(first) == pytest.approx(7.0)
    assert first[2] == 0.0
    np.testing.assert_array_equal(first, settings.push(1.09, seed=0))
    assert not settings.push(1.11, seed=0).any()
    assert (settings.push(2.05, seed=0) != first).any()
    assert (settings.push(1.0, seed=1) != first).any()


def test_a_push_acts_on_the_named_body_only_while_it_lasts() -> None:
    world = make_world(
        "walker-walk", push_force=9.0, push_interval=0.5, push_body="torso", push_duration=0.025
    )
    torso = world.environment.model.body("torso").id
    forces = []
    for _ in range(22):
        world.decide()
        forces.append(np.linalg.norm(world.environment.data.xfrc_applied, axis=1))
    pushed = np.array(forces) > 0
    assert pushed[:, torso].sum() == 1
    assert pushed.sum() == 1


def test_an_episode_draws_from_the_ranges_by_its_seed() -> None:
    drawn = [RANGES.drawn(seed) for seed in range(200)]
    assert drawn[7] == RANGES.drawn(7)
    assert len({d.actuator_gain for d in drawn}) == 200
    assert {d.observation_delay for d in drawn} == {0, 1, 2, 3}
    for name, low, high in (
        ("actuator_gain", 0.5, 1.5),
        ("sensor_bias", -0.1, 0.1),
        ("mass_scale", 0.5, 2.0),
        ("friction_scale", 0.5, 2.0),
    ):
        values = [getattr(d, name) for d in drawn]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    world = World(TASK, seed=0, disturbances=RANGES)
    first = world.acting
    world.reset()
    assert world.acting != first
    world.reset(seed=0)
    assert world.acting == first


def test_the_defaults_draw_nothing() -> None:
    assert Disturbances().drawn(5) == Disturbances()


def test_scaled_masses_are_in_effect_and_taken_back() -> None:
    world = make_world()
    model = world.environment.model
    nominal, inertia = model.body_mass.copy(), model.dof_invweight0.copy()
    world.disturb(Disturbances(mass_scale=2.0))
    np.testing.assert_allclose(model.body_mass, 2.0 * nominal)
    np.testing.assert_allclose(model.dof_invweight0, 0.5 * inertia)
    world.disturb(Disturbances(mass_scale=0.5))
    np.testing.assert_allclose(model.body_mass, 0.5 * nominal)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"actuator_gain": -1.0}, "actuator_gain is -1.0, expected nothing below 0"),
        ({"sensor_noise": float("nan")}, "sensor_noise is nan, expected finite"),
        ({"mass_scale": 0.0}, "mass_scale and mass_range must be above 0"),
        ({"mass_range": (1.0, 0.5)}, "lowest and the highest"),
        ({"delay_range": (1,)}, "lowest and the highest"),
        ({"push_duration": 3.0}, "expected 0 < duration <= interval"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Disturbances(**setting)


def test_a_body_that_is_not_there_is_refused_and_nothing_changes() -> None:
    world = make_world()
    with pytest.raises(ValueError, match="push_body 'head' is none of cart, pole_1"):
        world.disturb(replace(world.disturbances, push_force=1.0, push_body="head"))
    assert world.disturbances == Disturbances()


def test_every_setting_says_what_it_is() -> None:
    assert all(setting.metadata["description"] for setting in fields(Disturbances))


def test_history_remembers_what_was_measured_and_not_what_was_done(tmp_path: Path) -> None:
    (tmp_path / "pendulum.xml").write_text(PENDULUM)
    (tmp_path / "nothing_to_gain.py").write_text("def zero(model, data, action): return 0.0\n")
    task = task_from_mjcf(
        MjcfTask(
            "pendulum",
            tmp_path / "pendulum.xml",
            "nothing_to_gain:zero",
            tmp_path,
            history=1,
            previous_action=True,
        )
    )
    bias = 0.25
    world = World("pendulum", 0, lambda _: task, Disturbances(sensor_bias=bias))
    before = float(world.environment.data.qpos[0])
    world.offer(["motor"], [0.5], world.step)
    world.decide()
    now = float(world.environment.data.qpos[0])
    seen = dict(zip(task.observation.names, world.observation.tolist(), strict=True))
    values = {(c.field, c.transform, c.lag): seen[c.name] for c in task.observation.channels}
    assert values["position", "cos", 0] == pytest.approx(np.cos(now + bias))
    assert values["position", "sin", 1] == pytest.approx(np.sin(before + bias))
    assert values["value", "identity", 0] == pytest.approx(0.5)
    assert before != pytest.approx(now)
