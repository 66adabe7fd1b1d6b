# SPDX-License-Identifier: Apache-2.0
"""``pwm sim`` and the launch file: both nodes, one parameter file, a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pwm_bringup.sim import Sim
from pwm_core.errors import PwmError

PROGRAM = """
import sys
from pathlib import Path
from pwm_bringup.sim import Sim
sys.exit(Sim(task="cartpole-balance", policy_dir=Path(sys.argv[1]), namespace="robot1").run())
"""


def test_without_bundles_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(PwmError, match="no policy bundle"):
        Sim(policy_dir=tmp_path).run()


@pytest.fixture
def sim(make_bundle, domain: int, tmp_path: Path):
    from pwm_bringup.processes import environment

    make_bundle("upright")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "policies")],
        env=environment(domain),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.kill()
        process.communicate()


@pytest.fixture
def state(sim, listen, until):
    """Wait for the policy node below the namespace to be active and the simulation to run."""
    from pwm_interfaces.msg import Observation, PolicyStatus
    from rclpy.qos import QoSDurabilityPolicy, QoSProfile

    latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    status = listen(PolicyStatus, "robot1/policy_node/status", latched)
    observations = listen(Observation, "robot1/observation")
    until(lambda: status and status[-1].state == "active", "the policy node")
    until(lambda: len(observations) > 10, "observations")


def test_ctrl_c_ends_both_nodes(sim, state) -> None:
    sim.send_signal(signal.SIGINT)
    output, _ = sim.communicate(timeout=60)
    assert sim.returncode == 0, output
    assert "/robot1/policy_node/swap_policy" in output
    assert "Traceback" not in output


def test_a_node_that_dies_is_an_error(sim, state) -> None:
    children = Path(f"/proc/{sim.pid}/task/{sim.pid}/children").read_text().split()
    bridge = next(
        int(pid) for pid in children if "mujoco_bridge" in Path(f"/proc/{pid}/cmdline").read_text()
    )
    os.kill(bridge, signal.SIGKILL)
    output, _ = sim.communicate(timeout=60)
    assert sim.returncode == 1, output
    assert "mujoco_bridge ended with status -9" in output


def test_the_launch_file_starts_both_nodes(
    make_bundle, workspace: Path, domain: int, listen, until, tmp_path: Path
) -> None:
    pytest.importorskip("launch_ros", reason="launch_ros is not on PyPI: a full ROS 2 has it")
    from pwm_interfaces.msg import Observation, PolicyStatus

    make_bundle("upright")
    launch = subprocess.Popen(
        [
            *("ros2", "launch", "pwm_bringup", "sim.launch.py"),
            *("task:=cartpole-balance", "namespace:=robot1"),
            f"policy_dir:={tmp_path / 'policies'}",
        ],
        env=os.environ | {"ROS_DOMAIN_ID": str(domain)},
        stdin=subprocess.DEVNULL,  # at a terminal, launch leaves Ctrl-C to the terminal
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        observations = listen(Observation, "robot1/observation")
        status = listen(PolicyStatus, "robot1/policy_node/status")
        until(lambda: len(observations) > 10, "observations")
        assert not status or status[-1].policy == "upright"
        launch.send_signal(signal.SIGINT)
        output, _ = launch.communicate(timeout=60)
    finally:
        if launch.poll() is None:
            launch.kill()
    assert launch.returncode == 0, output
    assert output.count("process has finished cleanly") == 2
