# SPDX-License-Identifier: Apache-2.0
"""``pwm robot``: the policy node alone, started again when it dies; only trusted bundles."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pwm_bringup.robot import Robot
from pwm_core.errors import PwmError

PROGRAM = """
import sys
from pathlib import Path
from pwm_bringup.robot import Robot
robot = Robot(
    policy_dir=Path(sys.argv[1]),
    policy="swing",
    trusted_bundles=Path(sys.argv[2]),
    namespace="robot1",
    joints=("slider",),
    state_directory=Path(sys.argv[1]).parent / "stops",
    dry_run=True,
)
sys.exit(robot.run())
"""


def trust(bundles: Path) -> Path:
    """Write the trust list of a directory's bundles as the guide says."""
    names = sorted(path.name for path in bundles.glob("*.onnx"))
    done = subprocess.run(["sha256sum", *names], cwd=bundles, capture_output=True, check=True)
    path = bundles.parent / "trusted.sha256"
    path.write_bytes(done.stdout)
    return path


@pytest.fixture
def bundles(make_bundle, tmp_path: Path) -> Path:
    make_bundle("upright")
    make_bundle("swing", task="cartpole-swingup")
    return tmp_path / "policies"


@pytest.fixture
def robot(bundles: Path, domain: int):
    from pwm_bringup.processes import environment

    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(bundles), str(trust(bundles))],
        env=environment(domain),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.fixture
def states(robot, listen, until) -> list:
    """The policy node's status below the namespace, active by now."""
    from pwm_interfaces.msg import PolicyStatus
    from rclpy.qos import QoSDurabilityPolicy, QoSProfile

    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    status = listen(PolicyStatus, "robot1/policy_node/status", latched)
    until(lambda: status and status[-1].state == "active", "the policy node")
    return status


def test_without_bundles_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(PwmError, match="no policy bundle"):
        Robot(policy_dir=tmp_path).run()


def policy_node(of: subprocess.Popen) -> int:
    """Return the process id of the policy node that ``pwm robot`` started."""
    children = Path(f"/proc/{of.pid}/task/{of.pid}/children").read_text().split()
    (pid,) = [pid for pid in children if "policy_node" in Path(f"/proc/{pid}/cmdline").read_text()]
    return int(pid)


def test_a_policy_node_that_dies_is_started_again_and_commands(
    robot, states, session, until, listen
) -> None:
    from pwm_interfaces.msg import Action
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray

    actions = listen(Action, "robot1/shadow/action")
    commands = listen(Float64MultiArray, "robot1/shadow/commands")
    joints = session.create_publisher(JointState, "robot1/joint_states", 10)

    def commanded() -> bool:
        """Say where the joints are; return whether the policy answers, and to the robot."""
        message = JointState(name=["slider", "hinge_1"], position=[0.5, 0.1], velocity=[0.0, 0.0])
        message.header.stamp = session.get_clock().now().to_msg()
        joints.publish(message)
        return bool(actions and commands) and not actions[-1].safe and commands[-1].data[0] != 0.0

    until(commanded, "a command")
    os.kill(policy_node(robot), signal.SIGKILL)
    for said in (states, actions, commands):
        said.clear()
    until(lambda: states and states[-1].state == "active", "the second policy node")
    until(commanded, "a command of the second policy node")
    robot.send_signal(signal.SIGINT)
    output, _ = robot.communicate(timeout=60)
    assert robot.returncode == 0, output
    assert "policy_node ended with status -9" in output
    assert "Dry run: commands go below shadow/ only." in output
    assert "/robot1/policy_node/emergency_stop" in output
    assert "Traceback" not in output


def test_one_that_dies_while_stopped_is_started_again_stopped(robot, states, until, ask) -> None:
    from std_srvs.srv import SetBool

    stop = ask(SetBool, "robot1/policy_node/emergency_stop", data=True)
    assert (stop.success, stop.message) == (True, "emergency stop latched")
    until(lambda: states[-1].emergency_stop, "the stop in the status")
    os.kill(policy_node(robot), signal.SIGKILL)
    until(lambda: states[-1].reason == "activated swing", "the second policy node")
    assert states[-1].emergency_stop


def kept(bundles: Path, until) -> Path:
    """Return the file of the acting policy, which is written beside the node's work."""
    directory = bundles.parent / "stops"
    until(lambda: list(directory.glob("*.acting")), "the acting policy on disk")
    return next(directory.glob("*.acting"))


def test_a_node_that_replaces_a_dead_one_goes_on_with_what_acted(
    robot, states, bundles, ask, until
) -> None:
    from pwm_interfaces.srv import SwapPolicy

    acting = kept(bundles, until)
    assert "swing" in acting.read_text()
    assert ask(SwapPolicy, "robot1/policy_node/swap_policy", name="upright").success
    until(lambda: "upright" in acting.read_text(), "the new policy on disk")
    os.kill(policy_node(robot), signal.SIGKILL)
    until(lambda: states[-1].reason == "activated upright", "the second policy node")
    bundles.joinpath("upright.onnx").unlink()
    os.kill(policy_node(robot), signal.SIGKILL)
    expected = "cannot configure: unknown policy 'upright': the policies are swing; upright acted"
    until(lambda: states[-1].reason.startswith(expected), "the third policy node's refusal")
    assert states[-1].state == "unconfigured"
    assert states[-1].reason.endswith(f"end this node (or delete {acting}) and start it again")
    assert acting.exists(), "nothing has been decided"
    robot.send_signal(signal.SIGINT)
    robot.communicate(timeout=60)
    assert not acting.exists(), "decided by who ended it"


def test_a_node_that_was_told_to_end_leaves_no_policy_to_go_on_with(
    robot, states, bundles, until
) -> None:
    kept(bundles, until)
    robot.send_signal(signal.SIGTERM)
    robot.communicate(timeout=60)
    assert not list((bundles.parent / "stops").iterdir())


def test_a_tampered_bundle_is_neither_loaded_nor_swapped_in(
    robot, states, bundles, ask, until
) -> None:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState
    from pwm_interfaces.srv import ListPolicies, LoadPolicy, SwapPolicy
    from std_srvs.srv import Trigger

    path = bundles / "swing.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    node = "robot1/policy_node"
    loaded = ask(LoadPolicy, f"{node}/load_policy", name="swing")
    assert not loaded.success
    assert "bundle swing.onnx: sha256 " in loaded.message
    assert "the file has changed" in loaded.message
    assert ask(SwapPolicy, f"{node}/swap_policy", name="upright").success
    assert ask(SwapPolicy, f"{node}/swap_policy", name="swing").success, "the one in memory is good"
    trusted = bundles.parent / "trusted.sha256"
    trusted.write_text("".join(x for x in trusted.open() if "upright" not in x))
    for refused in (
        ask(SwapPolicy, f"{node}/swap_policy", name="upright"),
        ask(Trigger, f"{node}/rollback"),
    ):
        assert not refused.success
        assert "bundle upright.onnx: sha256 " in refused.message
    assert ask(ListPolicies, f"{node}/list_policies").active == "swing"
    trusted.write_text("")
    for step in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        ask(ChangeState, f"{node}/change_state", transition=Transition(id=step))
    until(lambda: "cannot activate: bundle swing.onnx" in states[-1].reason, "the refusal")
    assert states[-1].state == "inactive"
