# SPDX-License-Identifier: Apache-2.0
"""A MuJoCo world behind ROS 2 topics."""
