# SPDX-License-Identifier: Apache-2.0
"""Policies solve their tasks on a robot through trajectories, end to end.

The bridge is the robot (joint states and commands only), the policy node is as ``pwm sim`` starts
it there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwm_core.tasks import get_task
from pwm_core.tasks.robots.models import PACKAGE

TOPICS = {"joint_trajectory": "mujoco_bridge/joint_trajectory"}
"""By command interface: where the bridge listens for it. The others have their episodes in
``test_bridge_robot`` and ``test_robot_tasks``."""
PANDA = get_task("panda-reach")
CLOSE = 0.2
"""Relative error of a return by commands that act as late as the machine makes them."""


def figure(session: Any, key: str) -> str:
    return session.diagnostics.get("mujoco_bridge", {}).get(key, "")


@pytest.fixture
def episode(start, session, until, tmp_path: Path) -> Callable[[str, str, int], float]:
    """Run one episode in real time on the bundle there is; return what the bridge says it paid."""
    from pwm_bringup.simulation import Simulation

    def run(task: str, command_interface: str, seed: int) -> float:
        simulation = Simulation(
            interface="ros2_control", task=task, policy_dir=tmp_path / "policies", mode="paused"
        )
        bridge, policy = simulation.nodes()
        start(bridge.package, bridge.executable, **(bridge.parameters | {"auto_reset": False}))
        commands = {
            "command_interface": command_interface,
            "command_topic": TOPICS[command_interface],
        }
        start(policy.package, policy.executable, **(policy.parameters | commands))
        until(lambda: session.status.state == "active", "the policy")
        until(lambda: int(figure(session, "accepted_actions") or 0) > 10, "commands to arrive")
        session.reset(seed)
        session.configure("mujoco_bridge", mode="realtime")
        until(lambda: figure(session, "episode_over") == "True", "the end of the episode")
        assert figure(session, "refused_actions") == "0"
        assert not session.frames, "a robot does not say what a policy should see"
        return float(figure(session, "episode_return"))

    return run


@pytest.mark.parametrize("command_interface", TOPICS)
def test_an_effort_balances_the_pole(make_bundle, episode, offline, command_interface) -> None:
    path = make_bundle("upright")
    found = episode("cartpole-balance", command_interface, 7)
    assert found == pytest.approx(offline(path, 7).total, rel=CLOSE)


@pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} has no wheel for this Python"
)
@pytest.mark.parametrize("command_interface", TOPICS)
def test_seven_velocities_turn_the_arm(make_bundle, episode, offline, command_interface) -> None:
    gain = np.zeros((PANDA.observation.size, PANDA.action.size))
    gain[PANDA.observation.names.index("joint1/position"), 0] = -2
    gain[PANDA.observation.names.index("target/y"), 0] = 2
    path = make_bundle("turning", gain, task="panda-reach")
    found = episode("panda-reach", command_interface, 5)
    assert found == pytest.approx(offline(path, 5).total, rel=CLOSE)
