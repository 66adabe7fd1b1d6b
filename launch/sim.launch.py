# SPDX-License-Identifier: Apache-2.0
"""A simulated robot and its policy.

ros2 launch pwm_bringup sim.launch.py --show-args
ros2 launch pwm_bringup sim.launch.py task:=cartpole-swingup policy_dir:=runs/demo/bundles
"""

from launch import LaunchDescription
from pwm_bringup.launch_description import launch_description
from pwm_bringup.simulation import Simulation


def generate_launch_description() -> LaunchDescription:
    """Start ``mujoco_bridge`` and ``policy_node``; the arguments are :class:`Simulation`'s."""
    return launch_description(Simulation)
