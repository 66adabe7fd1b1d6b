# SPDX-License-Identifier: Apache-2.0
"""A policy on a robot whose drivers and controllers run already.

ros2 launch pwm_bringup robot.launch.py --show-args
ros2 launch pwm_bringup robot.launch.py policy_dir:=bundles dry_run:=true
"""

from launch import LaunchDescription
from pwm_bringup.launch_description import launch_description
from pwm_bringup.real_robot import RealRobot


def generate_launch_description() -> LaunchDescription:
    """Start ``policy_node``; the arguments are :class:`RealRobot`'s."""
    return launch_description(RealRobot)
