# SPDX-License-Identifier: Apache-2.0
"""Online fine-tuning beside a robot or simulation that runs already.

ros2 launch pwm_bringup finetune.launch.py --show-args
ros2 launch pwm_bringup finetune.launch.py task:=cartpole-swingup auto_approve:=false
"""

from launch import LaunchDescription
from pwm_bringup.finetuning import OnlineFinetuning
from pwm_bringup.launch_description import launch_description


def generate_launch_description() -> LaunchDescription:
    """Start ``finetune_node``; the arguments are :class:`OnlineFinetuning`'s."""
    return launch_description(OnlineFinetuning)
