# SPDX-License-Identifier: Apache-2.0
"""Lockstep: an episode over ROS is the episode of the offline core."""

from __future__ import annotations

import json
import math
import os
import signal
from typing import Any

import pytest

SWINGING = (1.0, 0.5, -2.0, 0.3, 0.7)
"""A bad policy that keeps the pole swinging: every step of its episode counts for the return."""
EPISODES = 3
"""Tries for one that is heard whole: on a busy machine messages may be lost."""


def test_the_return_equals_offline_evaluation(
    make_bundle, start_bridge, start_policy, session, offline
) -> None:
    path = make_bundle("swinging", SWINGING, task="cartpole-swingup")
    start_bridge(task="cartpole-swingup", mode="lockstep")
    start_policy(trigger="observation", stale_timeout=60.0)  # a busy machine is no fault
    first = whole_episode(session, "")
    assert first["steps"] == 500
    assert first["return"] == pytest.approx(offline(path, 5).total, rel=1e-3)
    assert sum(first["frames"]["reward"]) == pytest.approx(first["return"])
    assert first["frames"]["joints"] == ["slider", "hinge_1"]
    again = whole_episode(session, "cartpole-swingup")
    assert again["frames"]["positions"] == first["frames"]["positions"]


def test_nothing_is_stale_while_the_simulation_halts(
    make_bundle, start_bridge, start_policy, session, actions, offline
) -> None:
    """A safe action that no physics has seen would count for the rate of the next command."""
    from pwm_bringup.session import run_lockstep

    path = make_bundle("upright")
    bridge = start_bridge()
    start_policy()
    session.connect()
    halts = iter([signal.SIGSTOP, signal.SIGCONT] * 10)
    session.create_timer(0.3, lambda: os.kill(bridge.pid, next(halts, signal.SIGCONT)))
    episode = run_lockstep(session, "", "", seed=11)
    assert episode["return"] == pytest.approx(offline(path, 11).total, rel=1e-3)
    last = session.frames[-1]
    steps = {frame.step for frame in session.frames if frame.episode == last.episode} - {last.step}
    answers = [action for action in actions if action.observation_step in steps]
    assert answers
    assert not [action for action in answers if action.safe]


def whole_episode(session: Any, task: str) -> dict[str, Any]:
    """Return the record of an episode of which the client heard everything."""
    from pwm_bringup.session import run_lockstep

    for _ in range(EPISODES):
        record = run_lockstep(session, task, "swinging", seed=5)
        if len(record["frames"]["positions"]) == 501:
            return record
    pytest.fail(f"of {EPISODES} episodes messages were lost")


def test_the_session_executable_writes_the_record(
    make_bundle, start_bridge, start_policy, start, domain, tmp_path, offline
) -> None:
    from pwm_bringup.processes import RosProcess

    path = make_bundle("upright")
    start_bridge()
    start_policy()
    output = tmp_path / "records" / "lockstep.json"
    arguments = ["lockstep", "--output", str(output), "--seed", "11"]
    assert RosProcess("pwm_bringup", "session", arguments, domain).wait(timeout=120) == 0
    record = json.loads(output.read_text())
    assert record["return"] == pytest.approx(offline(path, 11).total, rel=1e-3)
    assert [file.name for file in output.parent.iterdir()] == ["lockstep.json"]


def test_episodes_follow_each_other(
    make_bundle, start_bridge, start_policy, session, until
) -> None:
    make_bundle("upright")
    start_bridge(mode="lockstep", auto_reset=True, seed=3)
    start_policy(trigger="observation", stale_timeout=60.0)  # a busy machine is no fault

    def ends() -> list[Any]:
        # The nodes may be episodes ahead before discovery connects this client to them.
        return [f for f in session.frames if f.ended and f.episode < session.frames[-1].episode]

    until(lambda: len(ends()) >= 2, "two episodes, each followed by another")
    assert {frame.episode_step for frame in ends()} == {500}
    steps = [frame.step for frame in session.frames]
    assert steps == sorted(set(steps))


@pytest.fixture
def offer(session, until):
    """Publish an action by hand."""
    from pwm_interfaces.msg import Action

    publisher = session.create_publisher(Action, "action", 10)
    until(lambda: publisher.get_subscription_count(), "the bridge's subscription")

    def publish(step: int, names: list[str], values: list[float]) -> None:
        publisher.publish(Action(policy="hand", observation_step=step, names=names, values=values))

    return publish


def test_physics_waits_for_the_answer_to_its_observation(
    start_bridge, session, until, offer
) -> None:
    start_bridge(mode="lockstep")
    until(lambda: session.frames, "the first observation")
    step = session.frames[-1].step
    for names, values in (
        (["slide"], [math.nan]),
        (["slider"], [0.0]),
        (["slide", "more"], [0.0, 0.0]),
        ([], []),
    ):
        offer(step, names, values)
    offer(step + 7, ["slide"], [0.0])
    until(lambda: int(bridge_figure(session, "refused_actions")) == 4, "four refused actions")
    until(lambda: int(bridge_figure(session, "stale_actions")) == 1, "one stale action")
    assert bridge_figure(session, "step") == str(step)
    offer(step, ["slide"], [0.5])
    until(lambda: session.frames[-1].step == step + 1, "one step")
    offer(step, ["slide"], [0.5])
    until(lambda: int(bridge_figure(session, "stale_actions")) == 2, "the second answer ignored")
    assert session.frames[-1].step == step + 1


def bridge_figure(session, key: str) -> str:
    return session.diagnostics.get("mujoco_bridge", {}).get(key, "-1")
