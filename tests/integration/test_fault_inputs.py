# SPDX-License-Identifier: Apache-2.0
"""Observations that are no numbers, too short, too many; a clock that goes back."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pwm_core.tasks import get_task

LAYOUT = get_task("cartpole-balance").observation
GOOD = [0.1, 1.0, 0.0, 0.0, 0.0]
BAD = {
    "NaN in the observation": [math.nan, 1.0, 0.0, 0.0, 0.0],
    "infinity in the observation": [0.1, 1.0, math.inf, 0.0, -math.inf],
    "observation too short": GOOD[:4],
    "observation too long": [*GOOD, 0.0],
    "empty observation": [],
}
FLOOD = 10_000
"""Observations per second that are tried for."""


@pytest.fixture
def actions(listen) -> list:
    from pwm_interfaces.msg import Action

    return listen(Action, "action")


def test_bad_observations_are_ignored_and_then_replaced_by_the_safe_action(
    make_bundle, start_policy, session, until, observe, actions, reaction
) -> None:
    make_bundle("upright")
    node = start_policy()
    until(lambda: session.status.state == "active", "the policy node")
    for fault, data in BAD.items():
        observe(GOOD)
        until(lambda: actions and not actions[-1].safe, "the policy's actions")
        since = time.monotonic()
        observe(data)
        until(lambda: actions[-1].safe, f"the safe action after {fault}")
        reaction(fault, "ignored and counted; the last action is held, then safe action", since)
    since = time.monotonic()
    observe(GOOD)
    until(lambda: not actions[-1].safe, "the policy's actions")
    reaction("good observations again", "the policy acts", since)
    assert all(math.isfinite(value) for action in actions for value in action.values)
    assert node.returncode is None


def test_a_clock_that_goes_back_stops_nothing(
    make_bundle, start_policy, session, until, observe, actions, reaction
) -> None:
    from rosgraph_msgs.msg import Clock

    make_bundle("upright")
    start_policy(use_sim_time=True)
    clock = session.create_publisher(Clock, "/clock", 10)
    observe(GOOD)

    def stamped(second: int) -> bool:
        message = Clock()
        message.clock.sec = second
        clock.publish(message)
        return bool(actions) and not actions[-1].safe and actions[-1].header.stamp.sec == second

    until(lambda: stamped(1000), "actions at second 1000")
    before = len(actions)
    since = time.monotonic()
    until(lambda: stamped(10), "actions at second 10")
    reaction("/clock jumps back by 990 s", "the loop, on its own clock, goes on", since)
    until(lambda: len(actions) > before + 50, "fifty more actions")
    assert not [action for action in actions[before:] if action.safe]
    sequence = [action.sequence for action in actions]
    assert sequence == sorted(sequence)


@pytest.fixture
def flood(session, until) -> Iterator[Callable[[], list[int]]]:
    """Publish good observations as fast as one thread can; returns what counts them."""
    from pwm_interfaces.msg import Observation

    publisher = session.create_publisher(Observation, "observation", 10)
    message = Observation(task="cartpole-balance", layout_hash=LAYOUT.hash(), data=GOOD)
    stopped, published = threading.Event(), [0]

    def publish() -> None:
        deadline = time.monotonic()
        while not stopped.is_set():
            message.step += 1
            publisher.publish(message)
            published[0] += 1
            deadline += 1.0 / FLOOD
            time.sleep(max(0.0, deadline - time.monotonic()))

    thread = threading.Thread(target=publish, daemon=True)

    def begin() -> list[int]:
        until(publisher.get_subscription_count, "the node's subscription")
        thread.start()
        return published

    yield begin
    stopped.set()
    thread.join(timeout=10)


def test_a_flood_of_observations_leaves_the_loop_and_the_services_alive(
    make_bundle, start_policy, until, actions, flood, ask, reaction
) -> None:
    from pwm_interfaces.srv import ListPolicies

    make_bundle("upright")
    node = start_policy()
    published = flood()
    until(lambda: actions and not actions[-1].safe, "the policy's actions")
    before, sent = actions[-1], published[0]
    until(lambda: actions[-1].sequence >= before.sequence + 150, "a hundred and fifty decisions")
    assert published[0] - sent > 150 * 4
    assert actions[-1].observation_step > before.observation_step
    since = time.monotonic()
    assert ask(ListPolicies, "policy_node/list_policies").active == "upright"
    reaction("flood of observations (10 kHz tried)", "services answer, the loop ticks on", since)
    assert node.returncode is None
