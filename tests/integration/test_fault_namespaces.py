# SPDX-License-Identifier: Apache-2.0
"""Two robots in two namespaces of one ROS domain do not hear each other."""

from __future__ import annotations

import os
import signal

import pytest

POLICIES = {"robot1": "upright", "robot2": "spare"}
STALE_TIMEOUT = {"robot1": 2.0, "robot2": 60.0}
"""Seconds without an observation that bring the safe action: only the first robot's may."""


@pytest.fixture
def robots(make_bundle, start_bridge, start_policy):
    """Return both bridges, by namespace; a busy machine alone stops at most the first robot."""
    bridges = {}
    for policy in POLICIES.values():
        make_bundle(policy)
    for robot, policy in POLICIES.items():
        bridges[robot] = start_bridge(namespace=robot, mode="realtime")
        start_policy(namespace=robot, policy=policy, stale_timeout=STALE_TIMEOUT[robot])
    return bridges


def test_two_robots_do_not_hear_each_other(robots, ask, until, listen) -> None:
    from pwm_interfaces.msg import Action
    from std_srvs.srv import SetBool

    first, second = (listen(Action, f"{robot}/action", 1000) for robot in POLICIES)
    until(lambda: len(first) > 10 and not first[-1].safe, "the first robot's actions")
    until(lambda: len(second) > 10 and not second[-1].safe, "the second robot's actions")
    begun = len(second)  # before, there may have been nothing to hold
    assert ask(SetBool, "robot1/policy_node/emergency_stop", data=True).success
    until(lambda: first[-1].safe, "the first robot's safe action")
    seen = len(second)
    until(lambda: len(second) > seen + 20, "the second robot's actions")
    assert ask(SetBool, "robot1/policy_node/emergency_stop", data=False).success
    until(lambda: not first[-1].safe, "the first robot's actions again")
    os.kill(robots["robot1"].pid, signal.SIGKILL)
    until(lambda: first[-1].safe, "the first robot's safe action")
    seen = len(second)
    until(lambda: len(second) > seen + 50, "the second robot's actions")
    assert not [action for action in second[begun:] if action.safe]
    assert {action.policy for action in first} == {"upright"}
    assert {action.policy for action in second} == {"spare"}
