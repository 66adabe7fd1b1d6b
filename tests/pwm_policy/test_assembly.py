# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pwm_core.history import previous_commands, with_history
from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_core.tasks import get_task
from pwm_core.tasks.mjcf import task_from_mjcf
from pwm_policy.assembly import Assembler, ContractError

CARTPOLE = get_task("cartpole-swingup")
JOINTS = ("shoulder", "elbow", "wrist")
ACTION = ActionLayout(
    tuple(
        ActionChannel(f"{joint}_motor", joint, "effort", "N·m", -2.0, 4.0, 0.5) for joint in JOINTS
    )
)


def joint(name: str, field: str = "position", **changes) -> ObservationChannel:
    return ObservationChannel(f"{name}/{field}", "1", "joint_states", name, field, **changes)


def single(topic: str, field: str, key: str = "base") -> ObservationChannel:
    return ObservationChannel(f"{key}/{topic}/{field}", "1", topic, key, field)


ARM = ObservationLayout(
    (
        joint("elbow", scale=-1.0),
        joint("shoulder", transform="cos", scale=2.0, offset=0.5),
        joint("shoulder", "velocity"),
        joint("wrist"),
    )
)
POSE = {
    ("wrist", "position"): 0.3,
    ("shoulder", "velocity"): -1.5,
    ("shoulder", "position"): 0.4,
    ("elbow", "position"): 0.2,
}
SEEN = [-0.2, 2 * math.cos(0.4) + 0.5, -1.5, 0.3]


def assembler(layout: ObservationLayout, action: ActionLayout = ACTION) -> Assembler:
    return Assembler(layout, action, cmd_vel_timeout=0.5)


@pytest.fixture
def arm() -> Assembler:
    return assembler(ARM)


def test_by_name_whatever_the_order_and_whoever_else_is_there(arm: Assembler) -> None:
    rng = np.random.default_rng(0)
    names = list(POSE)
    for _ in range(5):
        rng.shuffle(names)
        said = {("gripper", "position"): 9.0} | {
            name: POSE[tuple(name)] for name in map(tuple, names)
        }
        assert arm.hear("joint_states", said, arrived=1.0) == ""
        np.testing.assert_allclose(arm.assemble(1.0).data, SEEN, rtol=1e-6)


def test_missing_joints_and_fields_are_named_until_they_come(arm: Assembler) -> None:
    said = {("shoulder", "position"): 0.4, ("elbow", "position"): 0.2}
    arm.hear("joint_states", said, 1.0)
    assert arm.assemble(1.0) is None
    assert arm.missing() == [
        "joint_states: velocity of shoulder",
        "joint_states: position of wrist",
    ]
    assert arm.oldest()[1] == -math.inf
    arm.hear("joint_states", POSE, 1.0)
    assert arm.missing() == []
    assert arm.assemble(1.0) is not None
    arm.forget()
    assert len(arm.missing()) == 4


def test_age_is_that_of_the_oldest_measurement_even_of_one_message_among_several(arm) -> None:
    arm.hear("joint_states", POSE, 1.0)
    rest = {place: value for place, value in POSE.items() if place[0] != "wrist"}
    arm.hear("joint_states", rest, 3.0)
    assert arm.assemble(3.0).arrived == 1.0
    assert arm.oldest() == ("joint_states: position of wrist", 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_message_with_a_wanted_value_that_is_not_finite_is_ignored(arm, value: float) -> None:
    arm.hear("joint_states", POSE, 1.0)
    bad = POSE | {("elbow", "position"): value, ("wrist", "position"): 7.0}
    assert arm.hear("joint_states", bad, 2.0) == f"joint_states: position of elbow is {value}"
    found = arm.assemble(2.0)
    np.testing.assert_allclose(found.data, SEEN, rtol=1e-6)
    assert found.arrived == 1.0


def test_what_nobody_wants_may_be_anything(arm: Assembler) -> None:
    assert arm.hear("joint_states", POSE | {("elbow", "effort"): math.nan}, 1.0) == ""
    assert arm.assemble(1.0) is not None


def test_a_silent_operator_means_stop() -> None:
    layout = ObservationLayout((joint("elbow"), single("cmd_vel", "linear.x")))
    robot = assembler(layout)
    robot.hear("joint_states", {("elbow", "position"): 0.1}, 1.0)
    assert robot.missing() == []
    assert robot.assemble(1.0).data.tolist() == [np.float32(0.1), 0.0]
    robot.hear("cmd_vel", {("", "linear.x"): 0.7}, 1.0)
    assert robot.assemble(1.4).data[1] == np.float32(0.7)
    found = robot.assemble(1.6)
    assert found.data[1] == 0.0
    assert found.arrived == 1.0, "a command's age is no measurement's"


def test_a_goal_must_be_said_once_and_holds() -> None:
    layout = ObservationLayout((joint("elbow"), single("target", "point.z")))
    robot = assembler(layout)
    robot.hear("joint_states", {("elbow", "position"): 0.1}, 100.0)
    assert robot.missing() == ["target: point.z"]
    robot.hear("target", {("", "point.z"): 0.5}, 1.0)
    assert robot.assemble(100.0).data[1] == 0.5
    assert robot.assemble(100.0).arrived == 100.0


def test_history_moves_by_decisions_not_by_messages() -> None:
    robot = assembler(ObservationLayout(with_history((joint("elbow"),), 2)))
    seen = []
    for time in range(4):
        for noise in (7.0, float(time)):
            robot.hear("joint_states", {("elbow", "position"): noise}, time)
        seen.append(robot.assemble(time).data.tolist())
    assert seen == [[0, 0, 0], [1, 0, 0], [2, 1, 0], [3, 2, 1]]
    robot.reset()
    assert robot.assemble(4.0).data.tolist() == [3, 3, 3]


def test_a_newer_look_at_the_same_decision_leaves_the_history_alone() -> None:
    channels = (joint("elbow"), *previous_commands(ACTION)[:1])
    robot = assembler(ObservationLayout(with_history(channels, 1)))
    robot.hear("joint_states", {("elbow", "position"): 1.0}, 1.0)
    first = robot.assemble(1.0).data.tolist()
    robot.acted(np.array([1.0, 0.0, 0.0], np.float32))
    robot.hear("joint_states", {("elbow", "position"): 2.0}, 2.0)
    assert robot.assemble(2.0, again=True).data.tolist() == [2.0, first[1], 2.0, first[1]]
    assert robot.assemble(2.0).data.tolist() == [2.0, 0.0, 2.0, first[1]]


def test_the_previous_action_is_the_safe_one_until_there_is_one() -> None:
    channels = with_history(previous_commands(ACTION)[:1], 1)
    robot = assembler(ObservationLayout((joint("elbow"), *channels)))
    robot.hear("joint_states", {("elbow", "position"): 0.0}, 1.0)
    safe = pytest.approx((0.5 - 1.0) / 3.0)
    assert robot.assemble(1.0).data.tolist() == [0.0, safe, safe]
    robot.acted(np.array([4.0, 0.0, 0.0], np.float32))
    assert robot.assemble(1.0).data.tolist() == [0.0, 1.0, safe]
    robot.acted(np.array([-2.0, 0.0, 0.0], np.float32))
    assert robot.assemble(1.0).data.tolist() == [0.0, -1.0, 1.0]
    robot.reset()
    assert robot.assemble(1.0).data.tolist() == [0.0, safe, safe]


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (
            get_task("reacher-easy").observation.channels,
            "no topic gives to_target/x, to_target/y, which only a simulator knows",
        ),
        (
            (joint("elbow"), replace(previous_commands(ACTION)[0], key="hip_motor")),
            r"shoulder_motor/previous_command repeat commands of no actuator \(shoulder_motor, ",
        ),
        (
            tuple(single("imu/data", "angular_velocity.x", key) for key in ("chest", "head")),
            "imu/data tells of one sensor, but angular_velocity.x is wanted of chest and head",
        ),
        ((single("cmd_vel", "linear.x"),), "nothing in it is measured"),
    ],
)
def test_contracts_that_topics_cannot_fulfil(channels: tuple, message: str) -> None:
    with pytest.raises(ContractError, match=f"cannot be assembled from topics: .*{message}"):
        assembler(ObservationLayout(tuple(channels)))


def test_two_sensors_of_one_imu_are_one_topic() -> None:
    channels = (
        single("imu/data", "angular_velocity.x", "gyro"),
        single("imu/data", "linear_acceleration.x", "accelerometer"),
    )
    robot = assembler(ObservationLayout(channels))
    said = {("", "angular_velocity.x"): 1.0, ("", "linear_acceleration.x"): 2.0}
    robot.hear("imu/data", said, 1.0)
    assert robot.assemble(1.0).data.tolist() == [1.0, 2.0]


def joint_states(environment) -> dict[tuple[str, str], float]:
    """What ``joint_states`` says of a world, in reversed order."""
    model, data = environment.model, environment.data
    said = {}
    for index in reversed(range(model.njnt)):
        name = model.joint(index).name
        said[name, "position"] = float(data.qpos[model.jnt_qposadr[index]])
        said[name, "velocity"] = float(data.qvel[model.jnt_dofadr[index]])
    return said


def episode(task, environment, robot: Assembler, decisions: int) -> None:
    """Compare what a task observes with what is assembled, decision by decision."""
    rng = np.random.default_rng(0)
    for number in range(2):
        observed, _ = environment.reset(seed=number)
        robot.reset()
        for time in range(decisions):
            assert robot.hear("joint_states", joint_states(environment), time) == ""
            np.testing.assert_allclose(robot.assemble(time).data, observed, atol=1e-6)
            action = rng.uniform(-1, 1, task.action.size).astype(np.float32)
            observed, *_ = environment.step(action)
            robot.acted(task.action.to_units(action).astype(np.float32))


def test_a_task_observes_what_is_assembled() -> None:
    episode(CARTPOLE, CARTPOLE.make_single(0), assembler(CARTPOLE.observation, CARTPOLE.action), 50)


def test_a_task_with_history_and_previous_actions_observes_what_is_assembled(arm_task) -> None:
    task = task_from_mjcf(arm_task)
    assert task.observation.size == (5 + 1) * 3
    episode(task, task.make_single(0), assembler(task.observation, task.action), 12)
