# SPDX-License-Identifier: Apache-2.0
"""A real robot's model behind the bridge: the same episode through its topics as offline."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pwm_core.tasks import get_task
from pwm_core.tasks.robots.models import PACKAGE

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} has no wheel for this Python"
)
TASK = get_task("panda-reach")


@pytest.fixture
def turning(make_bundle) -> Path:
    """Turns the arm's base until joint 1 is, in rad, what the target's y is in m; else rests."""
    gain = np.zeros((TASK.observation.size, TASK.action.size))
    gain[TASK.observation.names.index("joint1/position"), 0] = -2
    gain[TASK.observation.names.index("target/y"), 0] = 2
    return make_bundle("turning", gain, task="panda-reach")


def test_the_pandas_return_in_lockstep_equals_offline_evaluation(
    turning, start_bridge, start_policy, session, offline
) -> None:
    from pwm_bringup.session import run_lockstep

    start_bridge(task="panda-reach", mode="lockstep")
    start_policy(trigger="observation", stale_timeout=60.0)  # a busy machine is no fault
    episode = run_lockstep(session, "", "turning", seed=5)
    assert episode["steps"] == TASK.episode_steps
    expected = offline(turning, 5)
    assert episode["return"] == pytest.approx(expected.total, rel=1e-3)
    joint1, target = (
        expected.last[TASK.observation.names.index(name)]
        for name in ("joint1/position", "target/y")
    )
    assert joint1 == pytest.approx(target, abs=0.02)
    assert episode["frames"]["joints"] == [f"joint{number}" for number in range(1, 8)]


def test_the_panda_is_driven_by_joint_states_a_target_and_joint_velocities(
    turning, start_bridge, start_policy, session, until, offline
) -> None:
    def figure(key: str) -> str:
        return session.diagnostics.get("mujoco_bridge", {}).get(key, "")

    start_bridge(
        task="panda-reach",
        interface="ros2_control",
        mode="paused",
        auto_reset=False,
        real_time_factor=0.5,  # what halts the machine for a moment spoils little
    )
    until(lambda: figure("step"), "the bridge, as a controller that can be asked")
    start_policy(
        observation_source="sensors",
        command_interface="forward_command",
        controller="mujoco_bridge",
    )
    until(lambda: session.status.state == "active", "the policy")
    until(lambda: int(figure("accepted_actions") or 0) > 10, "commands to arrive")
    session.reset(seed=5)
    session.configure("mujoco_bridge", mode="realtime")
    until(lambda: figure("episode_over") == "True", "the end of the episode")
    assert not session.frames, "a robot does not say what a policy should see"
    assert float(figure("episode_return")) == pytest.approx(offline(turning, 5).total, rel=0.2)
