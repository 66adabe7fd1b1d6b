# SPDX-License-Identifier: Apache-2.0
"""launch_testing: robot.launch.py starts a killed policy node again, and that one commands.

launch_test tests/launch/launch_robot.py policy_dir:=$PWD/runs/demo/bundles
"""

from __future__ import annotations

import os
import signal
import tempfile
import unittest

import launch_testing.asserts
import rclpy
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.substitutions import FindPackageShare
from launch_testing.actions import ReadyToTest
from pwm_interfaces.msg import Action
from sensor_msgs.msg import JointState

from pwm_bringup.session import Session


def generate_test_description() -> LaunchDescription:
    """Start the policy node on the bundles of ``policy_dir``, dry."""
    launch_file = [FindPackageShare("pwm_bringup"), "/launch/robot.launch.py"]
    arguments = {
        "policy_dir": LaunchConfiguration("policy_dir"),
        "task": "cartpole-balance",
        "joints": "slider",
        "state_directory": tempfile.mkdtemp(),  # nothing of a stop before this test
        "dry_run": "true",
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument("policy_dir", description="Directory of bundles."),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(launch_file), launch_arguments=arguments.items()
            ),
            ReadyToTest(),
        ]
    )


class TestRobot(unittest.TestCase):
    """While it runs."""

    def setUp(self) -> None:
        rclpy.init()
        self.session = Session(patience=60.0)  # on a busy machine

    def tearDown(self) -> None:
        self.session.close()
        rclpy.shutdown()

    def test_a_killed_policy_node_comes_back(self, proc_info: object) -> None:
        def active() -> bool:
            return self.session.status.state == "active"

        actions: list[Action] = []
        self.session.create_subscription(Action, "shadow/action", actions.append, 100)
        joints = self.session.create_publisher(JointState, "joint_states", 10)

        def commands() -> bool:
            """Say where the joints are; return whether the policy answers."""
            where = JointState(name=["slider", "hinge_1"], position=[0.5, 0.1], velocity=[0.0, 0.0])
            where.header.stamp = self.session.get_clock().now().to_msg()
            joints.publish(where)
            return bool(actions) and not actions[-1].safe

        self.session.spin_until(active, "the policy node")
        self.session.spin_until(commands, "an action")
        (name,) = [name for name in proc_info.process_names() if "policy_node" in name]
        before = proc_info[name].pid
        os.kill(before, signal.SIGKILL)
        self.session.status.state = ""
        actions.clear()
        self.session.spin_until(active, "the second policy node")
        self.session.spin_until(commands, "an action of the second policy node")


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After SIGINT."""

    def test_only_the_kill_was_no_clean_end(self, proc_info: object) -> None:
        launch_testing.asserts.assertExitCodes(proc_info, [0, -signal.SIGKILL])
