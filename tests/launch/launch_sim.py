# SPDX-License-Identifier: Apache-2.0
"""launch_testing: sim.launch.py in a namespace.

launch_test tests/launch/launch_sim.py policy_dir:=$PWD/runs/demo/bundles
"""

from __future__ import annotations

import unittest

import launch_testing.asserts
import rclpy
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.substitutions import FindPackageShare
from launch_testing.actions import ReadyToTest
from rclpy.parameter import Parameter

from pwm_bringup.session import Session

ROBOT = "/robot1"
PATIENCE = 60.0
"""Seconds for anything to happen on a busy machine."""


def generate_test_description() -> LaunchDescription:
    """Start a simulation of cartpole-balance on the bundles of ``policy_dir``."""
    launch_file = [FindPackageShare("pwm_bringup"), "/launch/sim.launch.py"]
    arguments = {
        "policy_dir": LaunchConfiguration("policy_dir"),
        "task": "cartpole-balance",
        "namespace": ROBOT,
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


class TestSimulation(unittest.TestCase):
    """While it runs."""

    def setUp(self) -> None:
        rclpy.init()
        self.session = Session(f"{ROBOT}/mujoco_bridge", f"{ROBOT}/policy_node", PATIENCE)

    def tearDown(self) -> None:
        self.session.close()
        rclpy.shutdown()

    def test_the_policy_acts_and_the_simulation_moves(self) -> None:
        from pwm_interfaces.msg import Action, Observation

        actions: list[Action] = []
        observations: list[Observation] = []
        self.session.create_subscription(Action, f"{ROBOT}/action", actions.append, 10)
        self.session.create_subscription(
            Observation, f"{ROBOT}/observation", observations.append, 10
        )
        self.session.spin_until(
            lambda: any(not action.safe for action in actions), "an action of the policy"
        )
        first = observations[-1].step if observations else 0
        self.session.spin_until(
            lambda: bool(observations) and observations[-1].step > first, "the next step"
        )
        self.session.spin_until(lambda: self.session.status.state == "active", "its status")

    def test_a_parameter_out_of_range_is_refused(self) -> None:
        from rcl_interfaces.srv import SetParameters

        client = self.session.parameter_clients[f"{ROBOT}/mujoco_bridge"]
        self.session.spin_until(client.service_is_ready, "the parameter service")
        wrong = Parameter("real_time_factor", value=-1.0).to_parameter_msg()
        answer = self.session.call(client, SetParameters.Request(parameters=[wrong]))
        assert not answer.results[0].successful


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    """After SIGINT."""

    def test_every_process_ended_well(self, proc_info: object) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
