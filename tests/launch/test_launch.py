# SPDX-License-Identifier: Apache-2.0
"""The launch files with the real launch; skipped only where launch_testing is not installed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pwm_bringup.arguments import arguments_of
from pwm_bringup.finetuning import OnlineFinetuning
from pwm_bringup.processes import environment, install_prefix, leased_domain
from pwm_bringup.real_robot import RealRobot
from pwm_bringup.simulation import Simulation

pytest.importorskip("launch_testing", reason="launch is not on PyPI: a full ROS 2 has it")
pytestmark = pytest.mark.integration
HERE = Path(__file__).parent
PROGRAM = """
import sys
from launch import LaunchDescription, LaunchService
from pwm_bringup.launch_description import launch_description
from pwm_bringup.real_robot import RealRobot
service = LaunchService(argv=[])
service.context.launch_configurations["policy_dir"] = sys.argv[1]
service.context.launch_configurations["dry_run"] = "true"
service.context.launch_configurations["joints"] = "slider"
service.include_launch_description(launch_description(RealRobot))
sys.exit(service.run())
"""


@pytest.fixture
def variables():
    """What a launched process sees; a ROS domain of its own."""
    with leased_domain() as domain:
        # The search path of this process: launch itself may lie beside the workspace.
        yield environment(domain) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize("file", sorted(HERE.glob("launch_*.py")), ids=lambda path: path.stem)
def test_launch_test(file: Path, make_bundle, tmp_path: Path, variables: dict[str, str]) -> None:
    make_bundle("upright")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "launch_testing.launch_test", str(file)),
            f"policy_dir:={tmp_path / 'policies'}",
        ],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def robot(make_bundle, tmp_path: Path, variables: dict[str, str]):
    """A launched policy node that has been activated, and its process id."""
    make_bundle("upright")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "policies")],
        env=variables | {"HOME": str(tmp_path)},  # nothing of a stop before this test
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = iter(process.stdout)
    first = next(line for line in lines if "process started with pid" in line)
    assert next((line for line in lines if "activated upright" in line), None)
    yield process, int(first.rpartition("[")[2].rstrip("]\n"))
    if process.poll() is None:
        process.terminate()
    process.communicate(timeout=60)


def test_a_policy_node_that_was_told_to_end_is_not_started_again(robot) -> None:
    process, node = robot
    os.kill(node, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert "process has finished cleanly" in output
    assert "process started with pid" not in output


def test_a_policy_node_ends_with_a_killed_launch(robot) -> None:
    process, node = robot
    end = os.pidfd_open(node)
    process.kill()
    ended, _, _ = select.select([end], [], [], 60.0)
    os.close(end)
    assert ended


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sim", Simulation), ("robot", RealRobot), ("finetune", OnlineFinetuning)],
)
def test_a_launch_file_declares_what_pwm_offers(name: str, kind: type) -> None:
    from launch.launch_context import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    path = install_prefix() / "pwm_bringup/share/pwm_bringup/launch" / f"{name}.launch.py"
    description = PythonLaunchDescriptionSource(str(path)).get_launch_description(LaunchContext())
    declared = {argument.name: argument for argument in description.get_launch_arguments()}
    expected = arguments_of(kind)
    assert list(declared) == [argument.name for argument in expected]
    for argument in expected:
        assert argument.description in declared[argument.name].description
        assert (declared[argument.name].default_value is None) == (argument.default is None)


def test_the_robot_launch_file_needs_a_directory_of_bundles(variables: dict[str, str]) -> None:
    program = "import sys; from ros2cli.cli import main; sys.exit(main())"
    pytest.importorskip("ros2launch")
    done = subprocess.run(
        [sys.executable, "-c", program, "launch", "pwm_bringup", "robot.launch.py"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "missing required argument 'policy_dir'" in done.stdout + done.stderr
