# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from pwm_core.layout import ActionChannel, ActionLayout, ObservationChannel, ObservationLayout
from pwm_policy.joint_names import JointNames, JointNamesError

OBSERVATION = ObservationLayout(
    (
        ObservationChannel("joint1/cos", "1", "joint_states", "joint1", "position", "cos"),
        ObservationChannel("joint1/velocity", "rad/s", "joint_states", "joint1", "velocity"),
        ObservationChannel("wheel/velocity", "rad/s", "joint_states", "wheel", "velocity"),
        ObservationChannel("imu/roll", "rad/s", "imu/data", "joint1", "angular_velocity.x"),
        ObservationChannel("lift/before", "1", "action", "lift", "value"),
    )
)
ACTION = ActionLayout(
    (
        ActionChannel("lift", "joint1", "effort", "N·m", -1.0, 1.0, 0.0, gear=-2.0, rate=3.0),
        ActionChannel("grip", "finger", "position", "m", 0.0, 1.0, 0.0),
        ActionChannel("pull", "", "effort", "N", 0.0, 1.0, 0.0),
    )
)


@pytest.fixture
def named(tmp_path: Path):
    """Names by a file of this text."""

    def read(text: str, prefix: str = "") -> JointNames:
        path = tmp_path / "joints.yaml"
        path.write_text(text)
        return JointNames(OBSERVATION, ACTION, prefix, path)

    return read


def joints(names: JointNames) -> tuple[list[str], list[str]]:
    """Keys of the observation and joints of the action."""
    observation, action = names.observation(OBSERVATION), names.action(ACTION)
    return [c.key for c in observation.channels], [c.joint for c in action.channels]


def test_without_names_the_layouts_are_the_contracts() -> None:
    names = JointNames(OBSERVATION, ACTION)
    assert names.observation(OBSERVATION) == OBSERVATION
    assert names.action(ACTION) == ACTION


def test_a_prefix_is_put_before_joints_and_nothing_else() -> None:
    seen, driven = joints(JointNames(OBSERVATION, ACTION, "fr3_"))
    assert seen == ["fr3_joint1", "fr3_joint1", "fr3_wheel", "joint1", "lift"]
    assert driven == ["fr3_joint1", "fr3_finger", ""]
    action = JointNames(OBSERVATION, ACTION, "fr3_").action(ACTION)
    assert (action.names, action.channels[0].gear) == (ACTION.names, -2.0)


def test_a_file_goes_before_the_prefix(named) -> None:
    seen, driven = joints(named("joint1: shoulder\n", "fr3_"))
    assert seen[:3] == ["shoulder", "shoulder", "fr3_wheel"]
    assert driven == ["shoulder", "fr3_finger", ""]


def test_two_joints_may_change_names(named) -> None:
    assert joints(named("joint1: wheel\nwheel: joint1"))[0][:3] == ["wheel", "wheel", "joint1"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("elbow: b", "elbow is no joint of the policy's: joint1, wheel, finger"),
        ("lift: b", "lift is no joint of the policy's: joint1, wheel, finger"),
        ("joint1: a\nfinger: a", "joint1 and finger would both be a"),
        ("joint1: wheel", "joint1 and wheel would both be wheel"),
        ("joint1: 7", "has joint1: 7; expected a name"),
        ("joint1: ''", "has joint1: ''; expected a name"),
        ("- joint1", "has no names; expected CONTRACT_NAME: ROBOT_NAME"),
        ("", "has no names"),
        ("joint1: {", "is not YAML"),
    ],
)
def test_names_that_cannot_be_are_refused(named, text: str, reason: str) -> None:
    with pytest.raises(JointNamesError) as refused:
        named(text)
    assert reason in str(refused.value)
    assert "joints.yaml" in str(refused.value)


def test_every_reason_is_given_at_once(named) -> None:
    with pytest.raises(JointNamesError, match=r"elbow is no joint.*; joint1 and finger would both"):
        named("elbow: b\njoint1: a\nfinger: a")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(JointNamesError, match=r"none\.yaml cannot be read: No such file"):
        JointNames(OBSERVATION, ACTION, file=tmp_path / "none.yaml")
