# SPDX-License-Identifier: Apache-2.0
"""Policies solve their tasks on a robot through trajectories, end to end.

The bridge is the robot (joint states and commands only), the policy node is as ``pwm sim`` starts
it there. The other command interfaces have their episodes in ``test_bridge_robot`` and
``test_robot_tasks``; ``python -m benchmarks.command_interfaces`` plays trained policies through
all of them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import command_interfaces
from pwm_core.tasks import get_task
from pwm_core.tasks.robots.models import PACKAGE
from pwm_export.bundle import Bundle

INTERFACE = "joint_trajectory"
PANDA = get_task("panda-reach")
SLOW = 0.5
"""Simulated seconds per second: what halts the machine for a moment drops no pole."""
CLOSE = 0.2
"""Relative error of a return by commands that act as late as the machine makes them."""


@pytest.fixture
def require_same_return(workspace: Path) -> Callable[[Path, int], None]:
    """Play one episode in real time on a robot; it must earn what it does without ROS."""

    def require(path: Path, seed: int) -> None:
        bundle = Bundle.load(path)
        with command_interfaces.robot(bundle, INTERFACE, SLOW) as robot:
            found = robot.episode(seed)
            assert robot.figure("refused_actions") == "0"
            assert not robot.session.frames, "a robot does not say what a policy should see"
        offline = command_interfaces.offline_episode(bundle, seed)
        assert found == pytest.approx(offline.total, rel=CLOSE)

    return require


def test_an_effort_balances_the_pole(make_bundle, require_same_return) -> None:
    require_same_return(make_bundle("upright"), 7)


@pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} has no wheel for this Python"
)
def test_seven_velocities_turn_the_arm(make_bundle, require_same_return) -> None:
    gain = np.zeros((PANDA.observation.size, PANDA.action.size))
    gain[PANDA.observation.names.index("joint1/position"), 0] = -2
    gain[PANDA.observation.names.index("target/y"), 0] = 2
    require_same_return(make_bundle("turning", gain, task="panda-reach"), 5)
