# SPDX-License-Identifier: Apache-2.0
"""Starting PWM Deploy's ROS 2 nodes: by launch file, or as plain processes."""
