# SPDX-License-Identifier: Apache-2.0
"""Observations that are no numbers, too short, too many; a clock that goes back."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pwm_core.tasks import get_task

TASK = get_task("cartpole-balance")
LAYOUT = TASK.observation
GOOD = [0.1, 1.0, 0.0, 0.0, 0.0]
BAD = {
    "NaN in the observation": [math.nan, 1.0, 0.0, 0.0, 0.0],
    "infinity in the observation": [0.1, 1.0, math.inf, 0.0, -math.inf],
    "observation too short": GOOD[:4],
    "observation too long": [*GOOD, 0.0],
    "empty observation": [],
}
FLOOD = """
import contextlib, struct, sys, time
import rclpy
from pwm_interfaces.msg import Observation
from rclpy.serialization import deserialize_message, serialize_message

rclpy.init()
publisher = rclpy.create_node("flood").create_publisher(Observation, "/flooded/observation", 10)
layout_hash, mark = sys.argv[1], 0x0123456789ABCDEF
message = Observation(task="cartpole-balance", step=mark, layout_hash=layout_hash)
message.data = [0.1, 1.0, 0.0, 0.0, 0.0]
wire = bytearray(serialize_message(message))
(place,) = [n for n in range(len(wire)) if wire[n : n + 8] == struct.pack("<Q", mark)]
step = 0
begin = told = time.monotonic()
with contextlib.suppress(Exception):  # the end of the context
    while rclpy.ok():
        step += 1
        struct.pack_into("<Q", wire, place, step)
        publisher.publish(bytes(wire))
        time.sleep(max(0.0, begin + step / 10_000 - time.monotonic()))
"""
"""Publishes good observations, ten thousand a second if the machine can. They are written once and
then numbered: rclpy takes longer to write one than there is time."""


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
    start_policy(use_sim_time=True, stale_timeout=60.0)  # a busy machine is no fault
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
def flood(domain: int) -> Iterator[None]:
    """A process that publishes ten thousand observations a second."""
    from pwm_bringup.processes import environment

    command = [sys.executable, "-c", FLOOD, LAYOUT.hash()]
    process = subprocess.Popen(command, env=environment(domain))
    yield
    process.terminate()
    process.wait(timeout=60)


def test_a_flood_of_observations_leaves_the_loop_and_the_services_alive(
    flood, make_bundle, start, until, ask, listen, reaction
) -> None:
    """In a namespace of its own: the test's own client would hear every observation, too."""
    from diagnostic_msgs.msg import DiagnosticArray
    from pwm_interfaces.msg import Action
    from pwm_interfaces.srv import ListPolicies

    policies = make_bundle("upright").parent
    node = start("pwm_policy", "policy_node", "flooded", policy_dir=str(policies))
    actions = listen(Action, "flooded/action")
    figures = listen(DiagnosticArray, "/diagnostics")
    until(lambda: actions and not actions[-1].safe, "the policy's actions")
    figures.clear()
    until(lambda: figures, "the node's figures")
    first, began = actions[-1], time.monotonic()
    until(lambda: actions[-1].observation_step > first.observation_step + 5_000, "the flood")
    since = time.monotonic()
    assert ask(ListPolicies, "flooded/policy_node/list_policies").active == "upright"
    asked = time.monotonic()
    until(lambda: any(honest_ticks(past, figures[-1]) for past in figures[:-3]), "honest figures")
    rate = (actions[-1].observation_step - first.observation_step) / (time.monotonic() - began)
    (ticks, missed), _ = counted(figures[0], figures[-1])
    reaction(
        "flood of observations (10 kHz)",
        "services answer, the loop ticks on",
        since + time.monotonic() - asked,
        **{"published per second": rate, "missed of 1000 ticks": 1000 * missed / (ticks + missed)},
    )
    assert node.returncode is None


def honest_ticks(begin: Any, end: Any) -> bool:
    """Whether ticks and missed ones between two diagnostics fill the time.

    Not if the machine halts in between the loop and either of them: those missed are told later.
    """
    (ticks, missed), seconds = counted(begin, end)
    return ticks + missed == pytest.approx(seconds / TASK.control_step, abs=10)


def counted(begin: Any, end: Any) -> tuple[tuple[int, int], float]:
    """Return ticks, missed ones and seconds between two diagnostics."""

    def figure(message: Any, key: str) -> int:
        return int(next(v.value for v in message.status[0].values if v.key == key))

    def seconds(message: Any) -> float:
        return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9

    ticks, missed = (figure(end, k) - figure(begin, k) for k in ("ticks", "missed_ticks"))
    return (ticks, missed), seconds(end) - seconds(begin)
