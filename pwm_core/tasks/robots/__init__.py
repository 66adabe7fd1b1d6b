# SPDX-License-Identifier: Apache-2.0
"""Robots that can be bought, as MuJoCo Menagerie models them, seen through their own sensors."""

from __future__ import annotations

from pwm_core.tasks.robots import panda

TASKS = panda.TASKS
