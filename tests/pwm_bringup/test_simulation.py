# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from pwm_bringup.nodes import AtEnd
from pwm_bringup.simulation import Simulation


@pytest.mark.parametrize(
    ("mode", "trigger"), [("lockstep", "observation"), ("realtime", "clock"), ("paused", "clock")]
)
def test_the_policy_waits_for_the_physics_only_in_lockstep(mode, trigger: str) -> None:
    bridge, policy = Simulation(mode=mode).nodes()
    assert bridge.parameters["mode"] == mode
    assert policy.parameters["trigger"] == trigger


def test_a_bridge_that_plays_a_robot_is_driven_as_one() -> None:
    bridge, policy = Simulation(interface="ros2_control").nodes()
    assert bridge.parameters["interface"] == "ros2_control"
    assert policy.parameters["observation_source"] == "sensors"
    assert policy.parameters["command_interface"] == "forward_command"
    assert policy.parameters["joints"] == bridge.parameters["joints"] == ["slider"]
    assert "trigger" not in policy.parameters, "a robot does not wait"


def test_of_a_mere_model_the_bridge_knows_the_joints() -> None:
    bridge, policy = Simulation(interface="ros2_control", model_file=Path("arm.xml")).nodes()
    assert policy.parameters["controller"] == bridge.executable
    assert "joints" not in policy.parameters


def test_a_model_file_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bridge = Simulation(model_file=Path("arm.xml")).nodes()[0]
    assert bridge.parameters["model_file"] == str(tmp_path / "arm.xml")
    assert "model_file" not in Simulation().nodes()[0].parameters


def test_a_relative_policy_directory_is_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = Simulation(policy_dir=Path("policies")).nodes()[1]
    assert policy.parameters["policy_dir"] == str(tmp_path / "policies")


def test_what_the_end_of_a_node_means() -> None:
    at_end = {node.executable: node.at_end for node in Simulation(record=True).nodes()}
    assert at_end == {
        "mujoco_bridge": AtEnd.STOP,
        "policy_node": AtEnd.RESPAWN,
        "recorder": AtEnd.GO_ON,
    }
    assert Simulation(respawn=False).nodes()[1].at_end is AtEnd.STOP


def test_a_parameter_file_may_turn_autostart_off_where_nothing_was_said() -> None:
    assert "autostart" not in Simulation().nodes()[1].parameters
    assert Simulation(autostart=False).nodes()[1].parameters["autostart"] is False


def test_every_node_has_an_enclave_of_its_own_and_may_not_do_without() -> None:
    nodes = Simulation(security=True, record=True, keystore=Path("/etc/keystore")).nodes()
    assert [node.enclave for node in nodes] == [
        "/pwm/mujoco_bridge",
        "/pwm/policy_node",
        "/pwm/recorder",
    ]
    for node in nodes:
        assert node.variables == {
            "ROS_SECURITY_ENABLE": "true",
            "ROS_SECURITY_STRATEGY": "Enforce",
            "ROS_SECURITY_KEYSTORE": "/etc/keystore",
        }
    assert not any(node.enclave or node.variables for node in Simulation().nodes())
