# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from pwm_bringup.arguments import arguments_of
from pwm_bringup.real_robot import RealRobot


def parameters(**said) -> dict:
    (node,) = RealRobot(policy_dir=Path("bundles"), **said).nodes()
    assert (node.package, node.executable) == ("pwm_policy", "policy_node")
    return dict(node.parameters)


def test_nothing_simulates() -> None:
    nodes = RealRobot(policy_dir=Path("bundles"), record=True).nodes()
    assert [node.executable for node in nodes] == ["policy_node", "recorder"]


def test_the_directory_of_bundles_has_to_be_named() -> None:
    required = [argument.name for argument in arguments_of(RealRobot) if argument.default is None]
    assert required == ["policy_dir"]


def test_what_is_not_said_is_left_to_the_parameter_file(tmp_path: Path) -> None:
    assert set(parameters()) == {
        "policy_dir",
        "policy",
        "task",
        "use_sim_time",
        "observation_source",
    }


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("command_interface", "joint_trajectory", "joint_trajectory"),
        ("command_topic", "arm/commands", "arm/commands"),
        ("controller", "arm_controller", "arm_controller"),
        ("joints", ("hip", "knee"), ("hip", "knee")),
        ("joint_prefix", "panda_", "panda_"),
        ("joint_names_file", Path("/etc/joints.yaml"), "/etc/joints.yaml"),
        ("rate", 50.0, 50.0),
        ("dry_run", True, True),
        ("limits_file", Path("/etc/limits.yaml"), "/etc/limits.yaml"),
        ("state_directory", Path("/var/lib/stops"), "/var/lib/stops"),
        ("trusted_bundles", Path("/etc/trusted.sha256"), "/etc/trusted.sha256"),
        ("autostart", False, False),
    ],
)
def test_what_is_said_becomes_a_parameter(name: str, value: object, expected: object) -> None:
    assert parameters(**{name: value})[name] == expected


def test_only_topics_of_another_name_are_remapped() -> None:
    robot = RealRobot(policy_dir=Path("bundles"), imu_topic="trunk/imu")
    (node,) = robot.nodes()
    assert node.remappings == (("clock", "/clock"), ("imu/data", "trunk/imu"))
